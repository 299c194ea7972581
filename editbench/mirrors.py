"""Run directories in object stores: a copy on this machine, of which every durable step is put before it counts."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from editbench.durable import StorageError, storing
from editbench.heartbeats import Heartbeat
from editbench.names import address_of
from editbench.objects import Objects
from editbench.types import EditbenchError

FILES = ("run.json", "records.jsonl", "verdict.json")
"""What a run has beside journals, edits and logs."""
JOURNAL = re.compile(r"journal/([\w.-]+?)(?:/(\d{8}))?\.jsonl")
"""A whole journal, or a numbered segment of one: what was appended at once."""
AT_ONCE = 64
"""Edits that are fetched together."""
TRIES = 20
"""So often journals are listed again while other processes take their segments together."""


class Mirror:
    """A run directory on this machine that follows one below an address, and is followed by it.

    Whole files are one object each. An append to a journal is an object of its own, `journal/<shard>/<number>.jsonl`,
    which is created exclusively: no second writer can take its number. When the journal is closed, it is put whole, and
    the segments are removed. Edits are fetched when they are asked for.

    Args:
        address: of the run, `s3://bucket/prefix`.

    Raises:
        EditbenchError: for a protocol that lacks a guarantee.
        StorageError: if the store cannot be read.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.objects = Objects(address)
        self.folder = _room() / address.replace("://", ":/")
        self._journals: dict[str, tuple[str | None, list[str]]] = {}
        """What was fetched of each shard: the version of its whole journal, and the names of segments."""
        self._writing: str | None = None
        self._next = 1
        self._claim: Heartbeat | None = None
        self._failed = False
        self._opened = 0
        self._edits: set[str] | None = None
        """Which there are, once that has been looked up."""
        self.refresh()

    # ------------------------------------------------------------------------------------------------------ reading

    def refresh(self) -> None:
        """Fetch what others have written since, apart from edits. Raises StorageError."""
        if self.folder.is_file():  # `here` found one record file
            with storing(f"write {self.folder}"):
                self.folder.write_bytes(self.objects.get("") or b"")
            return
        self._edits = None
        contents = self.objects.get_all(FILES)
        with storing(f"write {self.folder}"):
            (self.folder / "journal").mkdir(parents=True, exist_ok=True)
            for name in FILES:
                path = self.folder / name
                path.write_bytes(contents[name]) if name in contents else path.unlink(missing_ok=True)
            for _ in range(TRIES):
                if all([self._fetch(shard, *there) for shard, there in self._listed().items()]):
                    return
        raise StorageError(f"cannot read {self.address}: its journals are replaced faster than they are read")

    def _listed(self) -> dict[str, tuple[str | None, list[str]]]:
        listed: dict[str, tuple[str | None, list[str]]] = {}
        for name, found in sorted(self.objects.names("journal").items()):
            if match := JOURNAL.fullmatch(name):
                version, segments = listed.get(match[1], (None, []))
                listed[match[1]] = (version, [*segments, name]) if match[2] else (found.version, segments)
        return listed

    def _fetch(self, shard: str, version: str | None, segments: list[str]) -> bool:
        """Bring the copy of a journal up to date; return False if that is not there any more."""
        had_version, had = self._journals.get(shard, (None, []))
        if shard == self._writing or (had_version, had) == (version, segments):
            return True
        path = self.folder / "journal" / f"{shard}.jsonl"
        grown = path.exists() and had_version == version and segments[: len(had)] == had
        wanted = segments[len(had) :] if grown else segments
        whole = [] if grown or version is None else [f"journal/{shard}.jsonl"]
        contents = self.objects.get_all([*whole, *wanted])
        if len(contents) < len(whole) + len(wanted):
            return False
        before = path.read_bytes() if grown else b"".join(contents[name] for name in whole)
        after = b"".join(contents[name] for name in wanted)
        # who was killed while it closed the journal leaves any of the segments that are in the whole already;
        # the first of others begins with the number of a session that the whole does not have
        written = not grown and bool(wanted) and contents[wanted[0]] in before
        path.write_bytes(before if written else before + after)
        self._journals[shard] = version, segments
        return True

    def fetch_edit(self, path: Path) -> None:
        """Fetch an edit, if it is there and not yet here. Raises StorageError."""
        if path.exists():
            return
        if self._edits is None:
            self._edits = set(self.objects.names("edits"))
        if self._name(path) in self._edits and (data := self.objects.get(self._name(path))) is not None:
            with storing(f"write {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def fetch_all(self, below: str, prefix: str = "") -> None:
        """Fetch the files of a folder whose names have a prefix. Raises StorageError."""
        names = [name for name in sorted(self.objects.names(below)) if name.startswith(f"{below}/{prefix}")]
        wanted = [name for name in names if ".." not in name and not (self.folder / name).exists()]
        for start in range(0, len(wanted), AT_ONCE):
            for name, data in self.objects.get_all(wanted[start : start + AT_ONCE]).items():
                with storing(f"write {self.folder / name}"):
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (self.folder / name).write_bytes(data)

    # ------------------------------------------------------------------------------------------------------ writing

    def put(self, path: Path, data: bytes | None = None) -> None:
        """Put one file of the copy, or what is to be one. Raises StorageError."""
        if data is None:
            with storing(f"read {path}"):
                data = path.read_bytes()
        self.objects.put(self._name(path), data)

    def move_aside(self, path: Path, target: Path) -> None:
        """Do to the run what was done to its copy: a damaged file was moved into quarantine. Raises StorageError."""
        self._quarantine(target)
        self.objects.delete([self._name(path)])

    def open(self, shard: str) -> Heartbeat:
        """Claim a shard, and fetch what there is of it.

        Raises:
            EditbenchError: if another process holds it; it is named.
            StorageError: if the store cannot be written.
        """
        claim = Heartbeat(self.objects, shard)
        try:
            self._failed = False
            self.refresh()
            self.fetch_all("logs", shard)
        except BaseException:
            claim.release()
            raise
        segments = self._journals.get(shard, (None, []))[1]
        self._next = 1 + max((int(name[-14:-6]) for name in segments), default=0)
        self._writing, self._claim, self._opened = shard, claim, self._length(shard)
        return claim

    def settle(self) -> None:
        """Do to the run what was done to its copy when its damage was looked for. Raises StorageError."""
        for path in sorted((self.folder / "quarantine").glob("*")):
            self._quarantine(path)
        if not (self.folder / "records.jsonl").exists():
            self.objects.delete(["records.jsonl"])
        assert self._writing is not None
        if self._length(self._writing) != self._opened or self._journals.get(self._writing, (None, []))[1]:
            self._together()

    def append(self, data: bytes) -> None:
        """Put lines that were appended to the journal.

        Raises:
            StorageError: if that fails, or another process has taken this one's place.
        """
        assert self._writing is not None
        name = f"journal/{self._writing}/{self._next:08}.jsonl"
        try:
            if not self.objects.create(name, data):
                raise StorageError(f"cannot write {self.objects.of(name)}: another process has written it")
        except StorageError:
            self._failed = True
            raise
        self._journals.setdefault(self._writing, (None, []))[1].append(name)
        self._next += 1

    def close(self) -> None:
        """Put the journal whole in the place of its segments, and the logs; what fails here is safe as it is."""
        if self._writing is not None and not self._failed:
            with contextlib.suppress(StorageError):
                self._together()
                for path in sorted((self.folder / "logs").glob("*")):
                    self.put(path)
        self._writing = self._claim = None

    def _together(self) -> None:
        assert self._claim is not None and self._writing is not None
        path = self.folder / "journal" / f"{self._writing}.jsonl"
        segments = self._journals.get(self._writing, (None, []))[1]
        if not self._length(self._writing) and not segments:
            return
        self._claim.check()
        self.put(path)
        self.objects.delete(segments)
        version = self.objects.names(self._name(path))[self._name(path)].version
        self._journals[self._writing] = version, []

    def _quarantine(self, path: Path) -> None:
        name, number = f"quarantine/{path.name}", 1
        while not self.objects.create(name if number == 1 else f"{name}.{number}", path.read_bytes()):
            number += 1

    def _length(self, shard: str) -> int:
        path = self.folder / "journal" / f"{shard}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


_mirrors: dict[str, Mirror] = {}


def mirror_of(path: Path) -> Mirror | None:
    """Return the mirror of a run at an address, made or brought up to date; None for a directory of its own.

    Args:
        path: of a run directory: what was made of an address, or the folder of a mirror.

    Raises:
        EditbenchError: for a protocol that lacks a guarantee.
        StorageError: if the store cannot be read.
    """
    address = address_of(path)
    if address is None:
        return next((mirror for mirror in _mirrors.values() if mirror.folder == path.absolute()), None)
    if address in _mirrors:
        _mirrors[address].refresh()
    else:
        _mirrors[address] = Mirror(address)
    return _mirrors[address]


def here(path: Path, edits: bool = False) -> Path:
    """Return a path, or for an address, where what it names is on this machine.

    Args:
        path: of a run directory or a record file.
        edits: whether every edit of a run is to be there, instead of those that are asked for.

    Raises:
        EditbenchError: if there is nothing at the address, or a leaderboards folder.
        StorageError: if the store cannot be read.
    """
    mirror = mirror_of(path)
    if mirror is None:
        return path
    if mirror.folder.is_file():
        return mirror.folder
    if (mirror.folder / "run.json").exists():
        if edits:
            mirror.fetch_all("edits")
        return mirror.folder
    data = mirror.objects.get("")
    if data is None:
        kind = "a leaderboards folder: copy it here" if mirror.objects.names("records") else "no run and no record file"
        raise EditbenchError(f"{mirror.address}: {kind}")
    shutil.rmtree(mirror.folder)
    mirror.folder.write_bytes(data)
    return mirror.folder


def told(text: str) -> str:
    """Return a text with addresses in the place of where their mirrors are."""
    for mirror in _mirrors.values():
        text = text.replace(str(mirror.folder), mirror.address)
    return text


@cache
def _room() -> Path:
    """Return a folder for the mirrors of this process, which goes with it; those of killed ones are swept."""
    with storing(f"write {tempfile.gettempdir()}"):
        for left in Path(tempfile.gettempdir()).glob("editbench-mirrors-*/lock"):
            with contextlib.suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent)
        room = Path(tempfile.mkdtemp(prefix="editbench-mirrors-"))
        lock = os.open(room / "lock", os.O_CREAT | os.O_WRONLY)  # for as long as this process lives
        with contextlib.suppress(OSError):  # without locks nothing is swept
            fcntl.flock(lock, fcntl.LOCK_EX)
    atexit.register(_leave, room, os.getpid())
    return room


def _leave(room: Path, process: int) -> None:
    if os.getpid() == process:  # and not a fork of it
        shutil.rmtree(room, ignore_errors=True)
