"""The line to a worker process: talking with a deadline and an eye on memory, and ending it without a trace."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field

import psutil

IN_WORKER = "EDITBENCH_WORKER"
"""Environment variable that a worker process has: what it starts stays in its group, and is killed with it."""

LOOK_SECONDS = 0.1
"""How often memory is looked at."""

PATIENCE_SECONDS = 5.0
"""How long a process that has closed its output may take to end, and one that was killed, to be gone."""

SWEEPS = 20
"""How often to look for processes that a worker has left; each look ends those that it finds."""


class MemoryExceeded(Exception):
    """A process and its children take more memory than they may."""


@dataclass
class Line:
    """A conversation with a process over its standard input and output.

    Args:
        process: started with both as unbuffered or buffered pipes; only their descriptors are used.
        seconds: from now on, for everything that is sent and read; None for no deadline.
        memory: bytes of resident memory that the process and its children may take together; None for any.
    """

    process: subprocess.Popen[bytes]
    seconds: float | None
    memory: int | None
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self._deadline = float("inf") if self.seconds is None else time.monotonic() + self.seconds

    def send(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            TimeoutError: after the deadline.
            BrokenPipeError: if the process has ended.
            MemoryExceeded: if it takes too much.
        """
        assert self.process.stdin is not None
        descriptor = self.process.stdin.fileno()
        os.set_blocking(descriptor, False)  # it may never read what it is sent
        rest = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_WRITE)
            while rest:
                self._wait(selector)
                rest = rest[os.write(descriptor, rest[: 1 << 16]) :]

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises as `send` does, and EOFError if the process has closed its output."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        chunks: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while count:
                self._wait(selector)
                chunk = os.read(descriptor, min(count, 1 << 20))
                if not chunk:
                    raise EOFError
                chunks.append(chunk)
                count -= len(chunk)
        return b"".join(chunks)

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Return when the descriptor is ready; raise TimeoutError or MemoryExceeded meanwhile."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            wait = left if self.memory is None else min(left, LOOK_SECONDS)
            if selector.select(None if wait == float("inf") else wait):
                return
            if self.memory is not None and resident_bytes(self.process.pid) > self.memory:
                raise MemoryExceeded


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; what several of them share is counted for each."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_info().rss
    return total


def has_ended(process: subprocess.Popen[bytes], seconds: float = 0.0) -> bool:
    """Whether a process has ended, or does within some seconds; its id stays taken, so that its group can be killed."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if process.returncode is not None or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)


def end_all(process: subprocess.Popen[bytes], folder: str) -> None:
    """Kill a process that leads a group, the group, and whoever else has inherited its temporary folder.

    A child that has left the group, a daemon for instance, still has the environment that it was started with.

    Args:
        process: the leader; it may have ended already, but must not have been waited for.
        folder: its TMPDIR, which no other process has.
    """
    for _ in range(SWEEPS):
        if process.returncode is None:  # else its id may be another group's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        heirs = [heir for heir in psutil.process_iter() if heir.pid != process.pid and _is_heir(heir, folder)]
        for heir in heirs:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                heir.kill()
        if not heirs:
            return
        psutil.wait_procs(heirs, timeout=1)


def _is_heir(process: psutil.Process, folder: str) -> bool:
    try:
        return process.environ().get("TMPDIR") == folder and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # it has ended, or belongs to somebody else
        return False
