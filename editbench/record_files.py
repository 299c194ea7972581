"""Record files: a header and one canonical JSON line per (scenario, repeat), read as columns."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from editbench.columns import Columns, WrongRow
from editbench.reading import TooMuch, gunzip, read_limited
from editbench.records import Header, InvalidRecords, dumps, loads, record_to_json
from editbench.types import Record

MAX_BYTES = 1 << 31
"""Of a record file, unpacked: a million records of two kilobytes."""


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
    try:
        raw = read_limited(path, MAX_BYTES)
        data = gunzip(raw, MAX_BYTES) if path.suffix == ".gz" else raw
    except TooMuch as error:
        raise InvalidRecords(f"{path}: {error}") from error
    except (EOFError, zlib.error) as error:
        raise InvalidRecords(f"{path}: damaged gzip file ({error})") from error
    if not data.endswith(b"\n"):
        raise InvalidRecords(f"{path}: the last line is cut off; restore the file or score the run again")
    first = data.index(b"\n") + 1
    try:
        header = Header.from_json(loads(data[: first - 1]))
        records = Columns.of_text(header, data[first:])
    except WrongRow as error:
        raise InvalidRecords(f"{path}:{error.row + 2}: {error}") from error
    except (InvalidRecords, ValueError) as error:
        raise InvalidRecords(f"{path}:1: {error}") from error
    return RecordFile(header, records, hashlib.sha256(data).hexdigest())
