"""Files that are written whole: a reader sees the old one or the new one, never a part, whatever is killed when."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

from editbench.names import address_of
from editbench.types import EditbenchError

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


class StorageError(EditbenchError):
    """Results could not be written: exit code 4. Everything finished before is intact."""


@contextlib.contextmanager
def storing(what: str) -> Iterator[None]:
    """Tell the failure of a file system as a StorageError, `cannot {what}: No space left on device`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {what}: {error.strerror or error}") from error


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file so that a reader sees the old or the new one, never a part, whatever is killed when.

    The temporary file is locked for as long as it is written, which tells it from what a killed process has left.

    Raises:
        EditbenchError: for an address, `s3://…`.
        StorageError: naming the path.
    """
    if address := address_of(path):
        raise EditbenchError(f"{address}: only runs go into object stores: give a path of this machine")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent.absolute())
        try:
            with _open_locked(temporary) as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def sha256_of(path: Path) -> str:
    """Return the hash of a file, of which a part is in memory at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def probe(path: Path) -> None:
    """Write into a folder, or into the nearest one above it that exists, and leave nothing there.

    Raises:
        StorageError: naming the path, if that does not work.
    """
    with storing(f"write {path}"):
        folder = existing(path)
        sweep(folder)
        file = folder / f".probe.{os.getpid()}.tmp"
        try:
            with file.open("wb") as opened:
                opened.write(b"probe")
                opened.flush()
                os.fsync(opened.fileno())
        finally:
            with contextlib.suppress(OSError):
                file.unlink()


def sync_folder(folder: Path) -> None:
    """Make sure that names given or taken in a folder stay so after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed processes have left of files that they were writing into a folder, if it exists.

    What is being written, by any process that shares the file system's locks, stays. So does everything where the file
    system has no locks.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


_sweep_once = cache(sweep)


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("wb")
        with contextlib.suppress(OSError):  # without locks nothing is swept
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # swept between opening and locking
