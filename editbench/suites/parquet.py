"""Tables of the Hugging Face kind, read row by row: texts for the index, one picture when it is its turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from editbench.images import InvalidImage
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

ROWS = 4
"""So many pictures of a column are in memory at a time."""


def find_tables(folder: Path, split: str = "") -> list[Path]:
    """Return the parquet files below a folder, in order, those of one split where it is named.

    Files of a split are called `SPLIT-00000-of-00005.parquet` or `SPLIT.parquet`, as the Hugging Face hub names them.

    Raises:
        EditbenchError: if there is none; a split that is mistyped gets a hint.
    """
    found = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
    if not found:
        raise EditbenchError(f"no .parquet file below {folder}")
    splits = {path: path.stem.split("-")[0] for path in found}
    chosen = [path for path in found if split in ("", splits[path])]
    if not chosen:
        names = sorted(set(splits.values()))
        hint = did_you_mean(split, names) or f", expected one of {', '.join(names)}"
        raise EditbenchError(f"{folder} has no split {split!r}{hint}")
    return chosen


def read_rows(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the given columns of every row, `optional` ones only where the table has them.

    Raises:
        EditbenchError: naming the table and a column that is missing, or what makes it unreadable.
    """
    from pyarrow import ArrowException

    names = column_names(table)
    for column in columns:
        if column not in names:
            hint = did_you_mean(column, names) or f" (it has: {', '.join(names)})"
            raise EditbenchError(f"{table}: no column {column!r}{hint}")
    chosen = [*columns, *(name for name in optional if name in names)]
    try:
        for batch in _open(table).iter_batches(batch_size=256, columns=chosen):
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise EditbenchError(f"{table} cannot be read: {' '.join(str(error).split())}") from None


def column_names(table: Path) -> list[str]:
    """Return the names of a table's columns."""
    return list(_open(table).schema_arrow.names)


def cell(root: Path, table: Path, row: int, column: str) -> dict[str, Any]:
    """Return the reference of a picture in a table."""
    return {"parquet": table.relative_to(root).as_posix(), "row": row, "column": column}


def read_cell(table: Path, row: int, column: str) -> bytes:
    """Return the bytes of one picture.

    Args:
        table: the file.
        row: counted from 0.
        column: bytes, or a struct with a field `bytes`, as the `datasets` library writes pictures.

    Raises:
        InvalidImage: if there is no such picture.
    """
    try:
        stamp = table.stat()
        with _lock:
            value = _column(table, column, (stamp.st_mtime_ns, stamp.st_size)).value(row)
    except (EditbenchError, OSError) as error:
        raise InvalidImage(str(error)) from error
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise InvalidImage("the cell holds no picture")
    return value


_lock = Lock()


class _Column:
    """One column, a few rows of which are in memory; reading on is cheap, going back begins at a row group."""

    def __init__(self, table: Path, column: str) -> None:
        self._file = _open(table)
        self._table, self._column = table, column
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = [sum(sizes[:group]) for group in range(len(sizes) + 1)]
        self._batches: Iterator[Any] = iter(())
        self._first, self._rows, self._group = 0, [], -1  # type: tuple[int, list[Any], int]

    def value(self, row: int) -> Any:
        from pyarrow import ArrowException

        if not 0 <= row < self._starts[-1]:
            raise EditbenchError(f"no row {row}: the table has {self._starts[-1]}")
        group = next(number for number, start in enumerate(self._starts[1:]) if row < start)
        try:
            if group != self._group or row < self._first:
                self._batches = self._file.iter_batches(ROWS, [group], [self._column])
                self._first, self._rows, self._group = self._starts[group], [], group
            while row >= self._first + len(self._rows):
                self._first += len(self._rows)
                self._rows = next(self._batches).column(0).to_pylist()
        except (ArrowException, OSError, StopIteration) as error:
            raise EditbenchError(f"cannot be read: {' '.join(str(error).split())}") from None
        return self._rows[row - self._first]


@lru_cache(maxsize=8)
def _column(table: Path, column: str, stamp: tuple[int, int]) -> _Column:
    return _Column(table, column)


def _open(table: Path) -> ParquetFile:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise EditbenchError(f"{table.name} needs pyarrow: pip install 'editbench[parquet]'") from None
    from pyarrow import ArrowException

    try:
        return pq.ParquetFile(table)
    except (ArrowException, OSError) as error:
        raise EditbenchError(f"{table} cannot be read: {' '.join(str(error).split())}") from None
