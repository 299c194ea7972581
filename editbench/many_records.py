"""Many record files, read by two processes where there is enough to read."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from editbench.limits import cores
from editbench.record_files import RecordFile, read_records
from editbench.types import EditbenchError

ENOUGH_BYTES = 1 << 24
"""Unpacked, a fifth of a second's work: a second process and what it sends back cost a tenth."""
CHUNK_BYTES = 1 << 22
"""What a process reads before it looks for more."""
PACKED = 4
"""How many times larger a packed record file is than it looks."""


def read_many(paths: Sequence[Path]) -> list[RecordFile]:
    """Read record files, in their order.

    Raises:
        InvalidRecords: as `read_records` does, for the first that is wrong.
    """
    sizes = [path.stat().st_size * (PACKED if path.suffix == ".gz" else 1) if path.is_file() else 0 for path in paths]
    if sum(sizes) < ENOUGH_BYTES or len(paths) < 2 or not _can_fork():
        return _read(paths)
    try:
        return [*_sharing(_read_with_another(_chunks(paths, sizes)))]
    except (EditbenchError, BrokenProcessPool):
        return _read(paths)  # which tells the first that is wrong, whoever came upon one first


def _can_fork() -> bool:
    """Whether a copy of this process is sound and gains anything: no other thread may hold a lock."""
    return sys.platform == "linux" and threading.active_count() == 1 and cores() > 1


def _chunks(paths: Sequence[Path], sizes: Sequence[int]) -> list[list[Path]]:
    chunks: list[list[Path]] = [[]]
    room = CHUNK_BYTES
    for path, size in zip(paths, sizes, strict=True):
        if room < 0:
            chunks.append([])
            room = CHUNK_BYTES
        chunks[-1].append(path)
        room -= size
    return chunks


def _read(paths: Sequence[Path]) -> list[RecordFile]:
    return [read_records(path) for path in paths]


def _read_with_another(chunks: Sequence[Sequence[Path]]) -> list[RecordFile]:
    """Read chunks from the last on, while another process reads from the first on, until they meet."""
    with warnings.catch_warnings(), ProcessPoolExecutor(1, get_context("fork")) as other:
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: libraries' own, idle ones
        theirs = [other.submit(_read, chunk) for chunk in chunks]
        ours = []
        try:
            while theirs and theirs[-1].cancel():
                theirs.pop()
                ours.append(_read(chunks[len(theirs)]))
            found = [future.result() for future in theirs] + ours[::-1]
        finally:
            other.shutdown(cancel_futures=True)
    return [file for chunk in found for file in chunk]


def _sharing(files: Sequence[RecordFile]) -> Iterator[RecordFile]:
    """Yield files without the copies that each has of what all records of a suite say."""
    for file in files:
        file.columns.share(files[0].columns)
        yield file
