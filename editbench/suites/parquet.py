"""Tables of the Hugging Face kind, read row by row: texts for the index, one picture when it is its turn."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NotRequired, get_origin, get_type_hints

from editbench.images import InvalidImage
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

COLUMNS = 4
"""So many columns are in memory, one row group of each: a source, a mask, a target and an answer."""

ROWS = 16
"""Rows of a batch. A column of more than 2 GB in one row group cannot be read as a whole."""


def find_tables(folder: Path, split: str = "") -> list[Path]:
    """Return the parquet files below a folder, in order, those of one split where it is named.

    Files of a split are called `SPLIT-00000-of-00005.parquet` or `SPLIT.parquet`, or `SPLIT/0000.parquet`, as the
    Hugging Face hub names them.

    Raises:
        EditbenchError: if there is none; a split that is mistyped gets a hint.
    """
    if not folder.is_dir():
        raise EditbenchError(f"no folder {folder}")
    found = sorted(folder.rglob("[!.]*.parquet"))
    if not found:
        raise EditbenchError(f"no .parquet file below {folder}")
    chosen = [path for path in found if split in ("", split_of(path))]
    if not chosen:
        names = sorted(set(map(split_of, found)))
        hint = did_you_mean(split, names) or f", expected one of {', '.join(names)}"
        raise EditbenchError(f"{folder} has no split {split!r}{hint}")
    return chosen


def split_of(table: Path) -> str:
    """Return the split that a table is of, told from its name."""
    return table.parent.name if table.stem.isdecimal() else table.stem.split("-")[0]


def refuse_early(folder: Path, split: str, needed: str, early: Sequence[str]) -> None:
    """Raise EditbenchError if a table has a column of a benchmark's early revisions instead of a needed one."""
    for table in find_tables(folder, split):
        names = column_names(table)
        if needed not in names and any(name in names for name in early):
            raise EditbenchError(
                f"{table} is of an early revision, without {needed!r} (it has: {', '.join(names)}): download a later "
                "one, naming its revision"
            )


@dataclass(frozen=True)
class Entry:
    """One row of a table: what it says, and where its pictures are."""

    root: Path
    table: Path
    row: int
    """In its table, counted from 0."""
    number: int
    """In its split, counted from 0: the same whether or not other splits are read with it."""
    values: Mapping[str, Any]
    """By column, pictures left out."""
    empty: frozenset[str]
    """Columns of pictures that have none in this row."""

    @property
    def id(self) -> str:
        """Split and number, for rows that have no name of their own."""
        return f"{split_of(self.table)}-{self.number:07d}"

    @property
    def where(self) -> str:
        """File and row, for messages."""
        return f"{self.table}, row {self.row}"

    def text(self, column: str | None) -> str | None:
        """Return a text, or a whole number as text, as labels are in some tables; None where there is none.

        Raises:
            EditbenchError: if the cell holds anything else.
        """
        value = self.values[column] if column else None
        if value is None or type(value) is str:
            return value
        if type(value) is not int:
            raise EditbenchError(f"{self.where}: {column}={value!r}, expected text")
        return str(value)

    def instruction(self, column: str) -> str:
        """Return a text that must be there. Raises EditbenchError."""
        text = self.text(column)
        if text is None:
            raise EditbenchError(f"{self.where}: {column} is empty, expected an instruction")
        return text

    def turn(self, column: str | None) -> int:
        """Return the number of a turn, 1 without a column. Raises EditbenchError."""
        turn = self.values[column] if column else 1
        if type(turn) is not int or turn < 1:
            raise EditbenchError(f"{self.where}: {column}={turn!r}, expected a whole number from 1")
        return turn

    def picture(self, column: str) -> dict[str, Any]:
        """Return the reference of a picture, whether or not it is there."""
        return cell(self.root, self.table, self.row, column)


def read_entries(
    folder: Path,
    split: str,
    schema: type[Any],
    pictures: Sequence[str],
    optional: Sequence[str] = (),
) -> Iterator[Entry]:
    """Yield every row of a split whose columns a TypedDict names; those that are `NotRequired` there may be absent.

    Types are not checked here, see `manifests.checked`. Otherwise as `read_columns`.
    """
    hints = get_type_hints(schema, include_extras=True)  # the class itself cannot tell: its annotations are texts
    more = sorted(name for name, hint in hints.items() if get_origin(hint) is NotRequired)
    return read_columns(folder, split, sorted(hints.keys() - set(more)), pictures, more, optional)


def read_columns(
    folder: Path,
    split: str,
    texts: Sequence[str],
    pictures: Sequence[str],
    optional_texts: Sequence[str] = (),
    optional_pictures: Sequence[str] = (),
) -> Iterator[Entry]:
    """Yield every row of a split, texts only.

    Args:
        folder: with the tables below it; references of pictures are relative to it.
        split: of which split; empty for all tables.
        texts: columns that there must be.
        pictures: columns that there must be, and that must be able to hold pictures.
        optional_texts: columns that a table may be without.
        optional_pictures: columns of pictures that a table, or a row of it, may be without: see `Entry.empty`.

    Raises:
        EditbenchError: naming the table and a column that is missing or holds no pictures.
    """
    counted: Counter[str] = Counter()
    for table in find_tables(folder, split):
        kinds = {field.name: field.type for field in _open(table).schema_arrow}
        there = [name for name in optional_pictures if str(kinds.get(name, "null")) != "null"]
        for column in (*pictures, *there):
            _check_pictures(table, column)
        paths = {column: f"{column}.path" for column in there if _has_field(kinds[column], "path")}
        gone = frozenset(optional_pictures) - frozenset(there)
        for row, values in enumerate(read_rows(table, texts, optional_texts, [*paths.values()])):
            empty = gone | {column for column in paths if values.pop(column) is None}
            yield Entry(folder, table, row, counted[split_of(table)], values, empty)
            counted[split_of(table)] += 1


def check_column(table: Path, column: str) -> None:
    """Raise EditbenchError, with the name that may be meant, if a table does not have a column."""
    names = column_names(table)
    if column not in names:
        hint = did_you_mean(column, names) or f" (it has: {', '.join(names)})"
        raise EditbenchError(f"{table}: no column {column!r}{hint}")


def _check_pictures(table: Path, column: str) -> None:
    check_column(table, column)
    kind = _open(table).schema_arrow.field(column).type
    held = kind.field("bytes").type if _has_field(kind, "bytes") else kind
    if str(held) not in ("binary", "large_binary"):
        raise EditbenchError(f"{table}: column {column!r} has {kind}, expected pictures (bytes, or bytes and path)")


def _has_field(kind: Any, name: str) -> bool:
    return str(kind).startswith("struct") and kind.get_field_index(name) >= 0


def read_rows(
    table: Path, columns: Sequence[str], optional: Sequence[str] = (), parts: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the given columns of every row, `optional` ones only where the table has them.

    `parts` are fields inside columns, such as `image.path`: that much of the column is read, as a dict.

    Raises:
        EditbenchError: naming the table and a column that is missing, or what makes it unreadable.
    """
    from pyarrow import ArrowException

    for column in columns:
        check_column(table, column)
    names = column_names(table)
    chosen = [*columns, *(name for name in optional if name in names), *parts]
    try:
        for batch in _open(table).iter_batches(batch_size=256, columns=chosen):
            yield from batch.to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
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
    """One column of a table, of which the row group that was asked for last is in memory, as files, not as pixels."""

    def __init__(self, table: Path, column: str) -> None:
        self._file, self._column = _open(table), column
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = [sum(sizes[:group]) for group in range(len(sizes) + 1)]
        self._group = -1
        self._batches: list[RecordBatch] = []

    def value(self, row: int) -> Any:
        from pyarrow import ArrowException, default_memory_pool

        if not 0 <= row < self._starts[-1]:
            raise EditbenchError(f"no row {row}: the table has {self._starts[-1]}")
        group = bisect_right(self._starts, row) - 1
        if group != self._group:
            self._group, self._batches = -1, []  # so that two groups are never in memory at once
            try:
                self._batches = list(self._file.iter_batches(ROWS, [group], [self._column]))
            except (ArrowException, OSError, UnicodeDecodeError) as error:
                raise EditbenchError(f"cannot be read: {' '.join(str(error).split())}") from None
            default_memory_pool().release_unused()
            self._group = group
        place = row - self._starts[group]
        for batch in self._batches:  # they may be shorter than was asked for
            if place < len(batch):
                return batch.column(0)[place].as_py()
            place -= len(batch)
        raise EditbenchError(f"row {row} is cut off")


@lru_cache(maxsize=COLUMNS)
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
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise EditbenchError(f"{table} cannot be read: {' '.join(str(error).split())}") from None
