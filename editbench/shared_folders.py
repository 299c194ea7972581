"""Folders that machines share: whether the kernel's locks reach from one to another; files created exclusively."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from editbench.durable import existing, storing, sync_folder, write_whole
from editbench.objects import Found

MOUNTS = Path("/proc/self/mountinfo")
ALONE = {"beegfs", "9p", "virtiofs", "vboxsf", "afs"}
"""File systems whose locks stay on a machine, or may: their options do not say."""


def locks_stay_here(folder: Path, mounts: str | None = None) -> str | None:
    """Say what keeps a lock on a folder from reaching other machines; None if it reaches them, or there are none.

    Args:
        folder: which need not exist.
        mounts: what `/proc/self/mountinfo` says; where there is no such file, nothing is known, and None is returned.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(errors="replace")
        except OSError:
            return None
    place, kind, options = Path("/"), "", set[str]()
    there = existing(folder).resolve()
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, about = before.split(), after.split()
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if there.is_relative_to(point) and point.is_relative_to(place):  # later mounts lie over earlier ones
            place, kind, options = point, about[0], {*fields[5].split(","), *about[-1].split(",")}
    if kind in ("nfs", "nfs4"):
        local = options & {"nolock", "local_lock=all", "local_lock=flock"}
    elif kind == "lustre":
        local = options & {"localflock", "noflock"}
    elif kind in ("cifs", "smb3"):
        local = options & {"nobrl"}
    else:
        return kind if kind in ALONE or kind.startswith("fuse.") else None
    return f"{kind} with {min(local)}" if local else None


def has_locks(path: Path) -> bool:
    """Whether the file system of a file, which is made if it is not there, knows `flock`. Raises OSError otherwise."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # it knows, and somebody has it
            return True
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                return False
            raise
    return True


class SharedFolder:
    """A run directory as a place of claims: files appear whole or not at all, by hard links, which any server checks.

    Times are those of the server, which stamps what is written.

    Args:
        path: of the run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = str(path)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of this name, and say whether that is so. Raises StorageError."""
        path = self._path / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with storing(f"write {path} (exclusive creation, by a hard link)"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return self.get(name) == data  # an answer of the server may have been lost
                sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def put(self, name: str, data: bytes) -> None:
        """Write a file. Raises StorageError."""
        write_whole(self._path / name, [data])

    def get(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is none. Raises StorageError."""
        with storing(f"read {self._path / name}"):
            try:
                return (self._path / name).read_bytes()
            except FileNotFoundError:
                return None

    def names(self, below: str = "") -> Mapping[str, Found]:
        """List a folder, without what is being written into it. Raises StorageError."""
        found = {}
        with storing(f"list {self._path / below}"):
            for path in (self._path / below).glob("[!.]*"):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                when = datetime.fromtimestamp(stat.st_mtime, UTC)
                found[path.relative_to(self._path).as_posix()] = Found(stat.st_size, str(stat.st_mtime_ns), when)
        return found

    def delete(self, names: Sequence[str]) -> None:
        """Remove files, those that are not there too. Raises StorageError."""
        for name in names:
            with storing(f"remove {self._path / name}"):
                (self._path / name).unlink(missing_ok=True)

    def probe(self) -> datetime:
        """Create a file and remove it; return its time, by the clock of the server. Raises StorageError."""
        name = f"claims/probe-{uuid.uuid4().hex}"
        self.create(name, b"probe")
        try:
            return self.names("claims")[name].modified
        finally:
            self.delete([name])
