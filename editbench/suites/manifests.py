"""Reading the files that say what a benchmark has: strict JSON, checked types, one error an item."""

from __future__ import annotations

import ast
import codecs
import csv
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from editbench.names import LONGEST_ID, shown
from editbench.reading import TooMuch, lines_limited, read_limited
from editbench.records import dumps, loads
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

Item = TypeVar("Item")
Made = TypeVar("Made")

_MARK = codecs.BOM_UTF8

MAX_BYTES = 1 << 31
"""Of a manifest that is read as a whole; the largest known has 600 MB, and is streamed."""

DIGITS = 12
"""Of a hash at the end of an id: a million names are apart."""

_NAN = re.compile(r'("(?:[^"\\]|\\.)*")|\bNaN\b')
"""A JSON text, passed over, or a NaN outside of any."""


def find_manifest(root: Path, *names: str) -> Path:
    """Return the first of some files that is there, as versions and downloads of a benchmark differ in their place.

    Args:
        root: the benchmark's folder.
        *names: relative to it.

    Raises:
        EditbenchError: if none is there; one of a similar name in the folder gets a hint.
    """
    if not root.is_dir():
        raise EditbenchError(f"no folder {root}")
    for name in names:
        if (root / name).is_file():
            return root / name
    hint = did_you_mean(names[0], [found.name for found in root.iterdir()])
    raise EditbenchError(f"{root} has none of {', '.join(names)}{hint}")


def read_json(path: Path, expected: type[Item], nan_is_null: bool = False) -> Item:
    """Read a JSON file of an expected type (`dict`, `list`).

    A byte order mark and any line ends are accepted; duplicate keys and non-finite numbers are not.

    Args:
        path: the file.
        expected: type of the whole.
        nan_is_null: read NaN as null: where a benchmark is known to have it, since pandas writes absent values so.

    Raises:
        EditbenchError: naming the file and what is wrong.
    """
    text = read_text(path)
    if nan_is_null:
        text = _NAN.sub(lambda match: match[1] or "null", text)
    data = parse_json(text, str(path))
    if not isinstance(data, expected):
        raise EditbenchError(f"{path}: {type(data).__name__}, expected {expected.__name__}")
    return data


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield `(FILE:LINE, value)` for every line of a JSONL file that is not blank; one line is in memory.

    Raises:
        EditbenchError: naming file and line.
    """
    try:
        for number, line in enumerate(lines_limited(path), start=1):
            where = f"{path}:{number}"
            text = _text(line.removeprefix(_MARK) if number == 1 else line, where)
            if text.strip():
                yield where, parse_json(text, where)
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise EditbenchError(f"{path} cannot be read: {error.strerror}") from None


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield `(FILE: row NUMBER, cells)` for every row of a CSV file below its header.

    Args:
        path: the file.
        columns: those that it must have; others are kept.

    Raises:
        EditbenchError: naming the file and a column that is missing, or a row with too few or too many cells.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        names = list(reader.fieldnames or ())
        for column in columns:
            if names.count(column) != 1:
                hint = did_you_mean(column, names) or f" (it has: {shown(names)})"
                raise EditbenchError(f"{path}: {'two columns' if column in names else 'no column'} {column!r}{hint}")
        for number, cells in enumerate(reader, start=1):
            if None in cells or None in cells.values():
                raise EditbenchError(f"{path}: row {number} has too many or too few cells, expected {len(names)}")
            yield f"{path}: row {number}", cells
    except csv.Error as error:
        raise EditbenchError(f"{path}: malformed CSV ({error})") from None


def read_text(path: Path) -> str:
    """Read UTF-8 text; a byte order mark is dropped.

    Raises:
        EditbenchError: naming the file, and a neighbour of a similar name where it is missing.
    """
    try:
        return _text(read_limited(path, MAX_BYTES).removeprefix(_MARK), str(path))
    except TooMuch as error:
        raise TooMuch(f"{path}: {error}") from None
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise EditbenchError(f"{path} cannot be read: {error.strerror}") from None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EditbenchError(f"{where}: byte {error.start} is not UTF-8 text") from None


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; `where` is what the error begins with.

    Raises:
        EditbenchError: for malformed JSON, a duplicate key or a non-finite number.
    """
    try:
        return loads(text)
    except ValueError as error:
        raise EditbenchError(f"{where}: malformed JSON ({error})") from None


def read_literal(text: str, schema: type[Item], where: str) -> Item:
    """Read a Python literal (`{'a': 1}`), which is never evaluated, and check it as `checked` does.

    Raises:
        EditbenchError: naming the item, if it is no literal, none of that type, or one that JSON has no word for.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about backslashes
            value = ast.literal_eval(text.strip())
        dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise EditbenchError(f"{where}: {text[:60]!r}, expected a Python literal ({type(error).__name__})") from None
    return checked(schema, value, where)


def no_file(path: Path) -> EditbenchError:
    """Return the error about a file that is missing, with a neighbour of a similar name."""
    if not path.parent.is_dir():
        return EditbenchError(f"no file {path}: there is no folder {path.parent}")
    return EditbenchError(f"no file {path}{did_you_mean(path.name, [other.name for other in path.parent.iterdir()])}")


def checked(schema: type[Item], value: object, where: str) -> Item:
    """Check a value against a TypedDict, without converting anything; fields it does not name are ignored.

    Raises:
        EditbenchError: naming the item, the field, its value and what was expected.
    """
    from pydantic import ValidationError

    try:
        made: Item = _adapter(schema).validate_python(value, strict=True)  # type: ignore[arg-type]  # a class is hashable
        return made
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        known = list(value) if isinstance(value, dict) else []
        if first["type"] == "missing":
            hint = did_you_mean(place, known)
            raise EditbenchError(f"{where}: no field {place!r}{hint}") from None
        message = first["msg"].replace("Input should be", "expected")
        raise EditbenchError(f"{where}: {f'{place}=' if place else ''}{shown(first['input'])}, {message}") from None


def each(items: Iterable[Item], read: Callable[[Item], Made]) -> Iterator[Made | EditbenchError]:
    """Yield what `read` makes of every item, or the error that it raises in the item's place."""
    for item in items:
        try:
            yield read(item)
        except EditbenchError as error:
            yield error


def as_id(*parts: object) -> str:
    """Return parts of a name joined by `-`, with whatever an id may not hold replaced by `_`.

    Names in another script would all be the same then: the id ends with a hash of a name that has more than ASCII, or
    nothing that an id may hold.
    """
    text = "-".join(str(part) for part in parts)
    held = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip("._-")
    if text.isascii() and (held or not text):
        return held
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    return f"{held[: LONGEST_ID - DIGITS - 1]}-{digest}".lstrip("-")


@cache
def _adapter(schema: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(schema)
