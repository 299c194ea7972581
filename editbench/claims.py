"""One writer a shard: who may append to a journal, and since when."""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from editbench.durable import storing
from editbench.heartbeats import Heartbeat
from editbench.shared_folders import SharedFolder, has_locks, locks_stay_here
from editbench.types import EditbenchError


class Claim:
    """The right to write one shard of a run, held until `release` or until this process ends, however it does.

    The lock is the kernel's (`flock`), so that one of a dead process is not in the way. Where the file system has no
    such locks, or they stay on this machine, there is a claim with a heartbeat beside it (docs/scaling.md).

    Args:
        folder: of the journals; made if it is not there.
        shard: its name.

    Raises:
        EditbenchError: if another process holds the shard; it is named.
        StorageError: if the folder cannot be written, or has neither locks nor exclusive creation.
    """

    def __init__(self, folder: Path, shard: str) -> None:
        self._owner = folder / f"{shard}.owner"
        self._lock = FileLock(folder / f"{shard}.lock")
        self._heartbeat: Heartbeat | None = None
        self.left_by: str | None = None
        """Who held it before, on another machine, and has not released it."""
        with storing(f"write {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            locks = has_locks(folder / f"{shard}.lock")
            if locks:
                self._take(folder)
        if not locks or locks_stay_here(folder):
            try:
                self._heartbeat = Heartbeat(SharedFolder(folder.parent), shard)
            except BaseException:
                self.release()
                raise
            self.left_by = self._heartbeat.left_by

    def check(self) -> None:
        """Make sure that nobody has taken the shard over; raises StorageError if somebody has."""
        if self._heartbeat is not None:
            self._heartbeat.check()

    def release(self) -> None:
        """Let others write."""
        if self._heartbeat is not None:
            self._heartbeat.release()
        with contextlib.suppress(OSError):
            self._owner.unlink()
        self._lock.release()

    def _take(self, folder: Path) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise EditbenchError(f"{folder.parent} is being written by {self._holder()}") from None
        try:
            before = self._holder() if self._owner.exists() else ""
            if before and f" on {socket.gethostname()} since " not in before:
                self.left_by = before
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
        except OSError:
            self._lock.release()
            raise

    def _holder(self) -> str:
        try:
            return self._owner.read_text(errors="replace").strip() or "another process"
        except OSError:
            return "another process"
