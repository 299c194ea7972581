"""The records of a finished run, written from its journal."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator

from editbench.cells import Cell
from editbench.durable import storing
from editbench.record_files import format_records
from editbench.records import Header
from editbench.store import RunStore
from editbench.types import Record


class _Incomplete(Exception):
    """A cell has no edit, or lacks a value."""


def compact(store: RunStore, header: Header, cells: Iterable[Cell | None]) -> bool:
    """Write the records of a run if every cell has an edit and a value of every metric; return whether.

    One cell is in memory at a time. The hash of the records is in the journal before they are there.

    Args:
        store: whose journal is open.
        header: of the run.
        cells: all of them, in the order of records.

    Raises:
        StorageError: if they cannot be written.
    """
    with storing(f"write {store.records_path}"), tempfile.TemporaryFile(dir=store.path) as spool:
        digest = hashlib.sha256()
        try:
            for line in format_records(header, _records(header, cells)):
                digest.update(line)
                spool.write(line)
        except _Incomplete:
            return False
        sha256 = digest.hexdigest()
        if not store.has_written(sha256, header):
            store.append([{"type": "records", "sha256": sha256}])
            spool.seek(0)
            store.write(store.records_path, iter(lambda: spool.read(1 << 20), b""))
    return True


def _records(header: Header, cells: Iterable[Cell | None]) -> Iterator[Record]:
    signatures = {spec: header.signature(spec) for spec in header.metrics}
    for cell in cells:
        if cell is None or not all(cell.has(spec, signature) for spec, signature in signatures.items()):
            raise _Incomplete
        yield cell.record(header)
