"""Record files: a header and one canonical JSON line per (scenario, repeat), read as columns."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from editbench.columns import Columns, WrongRow
from editbench.reading import LINE_BYTES, TooMuch, gunzip, read_limited
from editbench.records import Header, InvalidRecords, dumps, loads, record_to_json
from editbench.types import Record

MAX_BYTES = 1 << 31
"""Of a record file, unpacked: a million records of two kilobytes."""
PART_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordFile:
    """A record file in memory."""

    header: Header
    records: Sequence[Record]
    sha256: str
    """Hash of the uncompressed bytes."""

    @cached_property
    def columns(self) -> Columns:
        """The records in columns."""
        return Columns.of_records(self.records)


def format_records(header: Header, records: Iterable[Record]) -> Iterator[bytes]:
    """Yield the lines of a record file; `records` must come sorted by scenario id and repeat."""
    yield dumps(header.to_json()).encode() + b"\n"
    for record in records:
        yield dumps(record_to_json(record)).encode() + b"\n"


def read_records(path: Path) -> RecordFile:
    """Read a `.jsonl` or `.jsonl.gz` record file.

    Raises:
        InvalidRecords: naming file and line, for anything but a complete, sorted file without duplicates.
    """
    if not path.is_file():
        raise InvalidRecords(f"no record file {path}")
    digest = hashlib.sha256()
    try:
        parts = _parts(path, digest)
        first, end, second = next(parts, b"").partition(b"\n")
        if not end:
            raise _Damaged("the last line is cut off")
        header = Header.from_json(loads(first))
        records = Columns.of_text(header, chain([second], parts))
    except TooMuch as error:
        raise InvalidRecords(f"{path}: {error}") from error
    except _Damaged as error:
        raise InvalidRecords(f"{path}: {error}; restore the file or score the run again") from error
    except WrongRow as error:
        raise InvalidRecords(f"{path}:{error.row + 2}: {error}") from error
    except (InvalidRecords, ValueError) as error:
        raise InvalidRecords(f"{path}:1: {error}") from error
    return RecordFile(header, records, digest.hexdigest())


class _Damaged(Exception):
    """A file that does not end as it was written."""


def _parts(path: Path, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the text of a record file, its first line whole; the digest takes it in."""
    part = b""
    try:
        for part in [gunzip(read_limited(path, MAX_BYTES), MAX_BYTES)] if path.suffix == ".gz" else _read(path):
            digest.update(part)
            yield part
    except (EOFError, zlib.error) as error:
        raise _Damaged(f"damaged gzip file ({error})") from error
    if not part.endswith(b"\n"):
        raise _Damaged("the last line is cut off")


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield file.readline(LINE_BYTES)
        while part := file.read(PART_BYTES):
            if file.tell() > MAX_BYTES:
                raise TooMuch(f"more than {MAX_BYTES} bytes")
            yield part


def file_of(header: Header, records: Iterable[Record]) -> RecordFile:
    """Return the record file that sorted records would make; one is in memory at a time, apart from its columns.

    Raises:
        InvalidRecords: for a record that cannot be one of this run.
    """
    digest = hashlib.sha256()

    def lines() -> Iterator[bytes]:
        for line in format_records(header, records):
            digest.update(line)
            yield line

    text = lines()
    next(text)
    try:
        columns = Columns.of_text(header, text)
    except WrongRow as error:
        raise InvalidRecords(f"record {error.row + 1}: {error}") from error
    return RecordFile(header, columns, digest.hexdigest())
