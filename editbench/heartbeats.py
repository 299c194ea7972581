"""One writer a shard where no kernel's lock reaches: claims that say every few seconds that their owner lives."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil

from editbench.durable import StorageError
from editbench.objects import Found
from editbench.records import dumps, loads
from editbench.types import EditbenchError

BEAT_SECONDS = 15.0
"""How often an owner says that it lives."""
LAPSE_SECONDS = 120.0
"""After so long without a word, by the clock of the store, a claim may be taken over."""


_released: set[bytes] = set()
"""Claims that this process gave up, whether or not their store could be told."""


class Place(Protocol):
    """Where claims are: what `Objects` does."""

    address: str

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of this name, and say whether that is so."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""

    def get(self, name: str) -> bytes | None:
        """Return its content, if it is there."""

    def names(self, below: str = "") -> Mapping[str, Found]:
        """List a folder."""

    def delete(self, names: Sequence[str]) -> None:
        """Remove files."""

    def probe(self) -> datetime:
        """Refuse a place that cannot create exclusively; return its time."""


class Heartbeat:
    """The right to write one shard, kept alive by a thread until `release`.

    Claims on a shard are numbered. The last one counts; who takes a lapsed one over creates the next number, which only
    one process can, and removes those before it. An owner that was silent for too long (a suspended machine, a lost
    network) finds its claim gone, and stops. A claim of a process of this machine that has ended is taken over at once.

    Args:
        place: where the run is.
        shard: its name.

    Raises:
        EditbenchError: if a living process holds the shard (it is named), or the place cannot create exclusively.
        StorageError: if the place cannot be written.
    """

    def __init__(self, place: Place, shard: str) -> None:
        self._place, self._folder = place, f"claims/{shard}"
        self.left_by: str | None = None
        """Who held it before, on another machine, and has not released it."""
        now = place.probe()
        held = _numbered(place.names(self._folder))
        last = max(held, default=0)
        if last and (text := place.get(self._name_of(last))) is not None:
            self._judge(text, (now - held[last].modified).total_seconds())
        self._number, self._name, self._text = last + 1, self._name_of(last + 1), _claim()
        if not place.create(self._name, self._text):
            raise EditbenchError(f"{place.address} is being written by another process, which has just begun")
        try:
            if _numbered(place.names(self._folder)).keys() - {*held, last + 1}:
                raise EditbenchError(f"{place.address} is being written by another process, which has just begun")
            place.delete([self._name_of(number) for number in sorted(held)])
        except BaseException:  # whoever comes next is not to wait for it to lapse
            _released.add(self._text)
            with contextlib.suppress(StorageError):
                place.delete([self._name])
            raise
        self._lost, self._seen = False, time.time()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that nobody has taken the claim over.

        Raises:
            StorageError: if somebody has, or if that cannot be found out.
        """
        if not self._lost and abs(time.time() - self._seen) > LAPSE_SECONDS / 2:
            self._look()
        if self._lost:
            raise StorageError(
                f"cannot go on writing {self._place.address}: this process was not heard of for {LAPSE_SECONDS:g} "
                "seconds, and another one has taken its place"
            )

    def release(self) -> None:
        """Let others write."""
        _released.add(self._text)
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with contextlib.suppress(StorageError):
                self._place.delete([self._name])

    def _judge(self, text: bytes, age: float) -> None:
        """Raise EditbenchError if the owner of a claim may live; note it if its machine is another one."""
        claim = _read(text)
        owner = str(claim.get("owner", "another process"))
        here = claim.get("machine") == _machine()
        if text in _released or (here and not _lives(claim.get("process"), claim.get("started"))):
            return
        if age <= LAPSE_SECONDS:
            raise EditbenchError(
                f"{self._place.address} is being written by {owner}, heard of {max(0, age):.0f} seconds ago: if it "
                f"has ended, its claim lapses after {LAPSE_SECONDS:g}"
            )
        self.left_by = owner

    def _beat(self) -> None:
        while not self._lost and not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(StorageError):  # whoever appends next will be told
                self._look()

    def _look(self) -> None:
        """Renew the claim if it is still ours."""
        last = max(_numbered(self._place.names(self._folder)), default=0)
        if last != self._number or self._place.get(self._name) != self._text:
            self._lost = True
            return
        self._place.put(self._name, self._text)
        self._seen = time.time()

    def _name_of(self, number: int) -> str:
        return f"{self._folder}/{number:08}"


def _numbered(listed: Mapping[str, Found]) -> dict[int, Found]:
    return {int(number): found for name, found in listed.items() if (number := name.rpartition("/")[2]).isdecimal()}


def _claim() -> bytes:
    process = psutil.Process()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    claim = {
        "owner": f"process {process.pid} on {socket.gethostname()} since {now}",
        "machine": _machine(),
        "process": process.pid,
        "started": process.create_time(),
        "token": uuid.uuid4().hex,
    }
    return dumps(claim).encode() + b"\n"


def _read(text: bytes) -> Mapping[str, Any]:
    try:
        claim = loads(text)
    except ValueError:
        return {}
    return claim if isinstance(claim, dict) else {}


def _machine() -> str:
    """Name what numbers of processes belong to: a host, since its last start, or a container on it."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def _lives(process: Any, started: Any) -> bool:
    try:
        return bool(psutil.Process(process).create_time() == started)
    except (psutil.Error, TypeError, ValueError):
        return False
