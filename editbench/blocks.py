"""Lines of a record file, parsed and checked many at a time: whole columns of them, not each by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import orjson

from editbench.names import ID, is_name
from editbench.reading import LARGE, check_plain, count_keys
from editbench.records import OPTIONAL, check_curve, value_from_json
from editbench.types import EDIT_STATUSES, EditStatus, Failed, Record, Undefined

BLOCK_BYTES = 1 << 16
"""Parsed lines take some four times their bytes until they are in columns."""

_USUAL = frozenset(f.name for f in fields(Record)) - OPTIONAL.keys()
_STATUSES = frozenset(EDIT_STATUSES)
_NAN = float("nan")


@dataclass(frozen=True)
class Block:
    """Some records in a row."""

    ids: list[str]
    clusters: list[str]
    categories: list[str]
    repeats: list[int]
    statuses: list[EditStatus]
    edits: list[str | None]
    pixels: list[str | None]
    rest: dict[int, tuple[str | None, tuple[str, ...], int]]
    """By row: reason, flags and turn, where they are not None, () and 1."""
    numbers: list[float]
    """Row after row, metric after metric; NaN where there is none."""
    said: dict[int, Undefined | Failed]
    """By place among the numbers: why there is none."""
    details: dict[int, dict[str, Any]]
    """By place among the numbers: the details of those that carry some."""


def blocks_of(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines, which end in a line end and come in any parts: some at a time, without the last one's end."""
    rest = b""
    for part in parts:
        rest += part
        start = 0
        while len(rest) - start >= BLOCK_BYTES:
            end = rest.rfind(b"\n", start, start + BLOCK_BYTES)
            end = rest.find(b"\n", start + BLOCK_BYTES) if end < 0 else end
            if end < 0:
                break
            yield rest[start:end]
            start = end + 1
        rest = rest[start:]
    if rest:
        yield rest[:-1]


def read_block(block: bytes, metrics: Sequence[str]) -> Block:
    """Parse lines as `record_from_json` does, if all of them have a value of every metric and no text is escaped.

    Args:
        block: lines, from `blocks_of`.
        metrics: what each has a value of, sorted.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: if any is wrong, or too unusual to tell.
    """
    check_plain(block)
    rows: list[dict[str, Any]] = [*map(orjson.loads, block.split(b"\n"))]
    names = ("scenario_id", "cluster", "category", "repeat", "edit_status", "edit_sha256", "pixels_sha256", "values")
    ids, clusters, categories, repeats, statuses, edits, pixels, values = (_column(rows, name) for name in names)
    _check(set(map(type, chain(ids, clusters, categories))) == {str} and set(map(type, repeats)) == {int})
    _check(all(map(ID.fullmatch, ids)) and all(map(is_name, set(categories))) and min(repeats) >= 0)
    _check(_STATUSES.issuperset(statuses))
    _check_hashes(edits, [status == "ok" for status in statuses])
    _check_hashes(pixels, [status != "input_invalid" for status in statuses])
    _check(set(map(tuple, values)) == {tuple(metrics)})
    told = [*chain.from_iterable(map(dict.values, values))]
    numbers, said, details = _values_of(told)
    keys = sum(map(len, chain(rows, values, told))) + _keys_of([*details.values()])
    _check(keys == block.count(b'":'))  # else one stands twice
    return Block(ids, clusters, categories, repeats, statuses, edits, pixels, _rest_of(rows), numbers, said, details)


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("something is wrong or unusual")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [*map(itemgetter(name), rows)]


def _check_hashes(hashes: Sequence[str | None], expected: Sequence[bool]) -> None:
    known = [name for name in hashes if name is not None]
    _check(set(map(len, known)) <= {64} and not "".join(known).encode("ascii").translate(None, b"0123456789abcdef"))
    _check([name is not None for name in hashes] == expected)


def _rest_of(rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str | None, tuple[str, ...], int]]:
    found = {}
    for row, data in enumerate(rows):
        if len(data) > len(_USUAL):
            _check(data.keys() - _USUAL <= OPTIONAL.keys())
            reason, flags, turn = (data.get(name, usual) for name, usual in OPTIONAL.items())
            _check(reason is None or type(reason) is str)
            _check(type(flags) is list and set(map(type, flags)) <= {str} and type(turn) is int and turn > 0)
            found[row] = reason, tuple(flags), turn
    return found


def _values_of(
    told: Sequence[Mapping[str, Any]],
) -> tuple[list[float], dict[int, Undefined | Failed], dict[int, dict[str, Any]]]:
    numbers: list[Any] = [data.get("value") for data in told]
    said: dict[int, Undefined | Failed] = {}
    details: dict[int, dict[str, Any]] = {}
    unlike = [place for place, number in enumerate(numbers) if type(number) is not float]
    for place in unlike:
        value = value_from_json(told[place])
        numbers[place] = value if isinstance(value, float) else _NAN
        if isinstance(value, Undefined | Failed):
            said[place] = value
    for place in [place for place, keys in enumerate(map(len, told)) if keys > 1]:
        _check(told[place].keys() == {"value", "details"})
        details[place] = told[place]["details"]
    return numbers, said, details


def _keys_of(details: Sequence[dict[str, Any]]) -> int:
    """Return how many keys details have; what is wrong in them raises ValueError or TypeError."""
    parts: list[Any] = [*chain.from_iterable(map(dict.values, details))]
    if set(map(type, parts)) <= {list}:
        inner = [*chain.from_iterable(parts)]
        if set(map(type, inner)) <= {int, float, NoneType}:
            numbers = [*filter(None, inner)]
            if min(numbers, default=0) > -LARGE and max(numbers, default=0) < LARGE:
                for one in details:
                    _check(not one.keys() >= {"edges", "curve"} or len(one["edges"]) == len(one["curve"]) + 1)
                return sum(map(len, details))
    for one in details:
        check_curve(one)
    return sum(map(count_keys, details))
