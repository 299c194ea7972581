"""Records in columns: a million of them are read, checked and averaged without an object each."""

from __future__ import annotations

import math
import operator
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from types import NoneType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import orjson

from editbench.blocks import Block, blocks_of, read_block
from editbench.names import shown
from editbench.records import Header, dumps, loads, record_from_json
from editbench.types import Detailed, EditStatus, Failed, Record, Undefined, Value

MISSING, NUMBER, UNDEFINED, FAILED = range(4)
"""What a record has of a metric."""

ROUNDING = 1e-6
"""How far outside its range a value may lie."""

_KINDS = {NoneType: MISSING, Undefined: UNDEFINED, Failed: FAILED}
_USUAL = (None, (), 1)
"""Reason, flags and turn of most records."""


class WrongRow(ValueError):
    """A record that cannot be one.

    Args:
        row: which, from 0.
        message: what is wrong with it.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Values:
    """What records have of one metric."""

    kinds: npt.NDArray[np.uint8]
    """`(n,)`: MISSING, NUMBER, UNDEFINED or FAILED."""
    numbers: npt.NDArray[np.float64]
    """`(n,)`, NaN where there is none."""
    said: Mapping[int, Undefined | Failed]
    """By row: why there is no number."""
    details: Mapping[int, str]
    """By row: the JSON of what numbers carry; as objects, they would be most of the memory and time of a board."""

    def value(self, row: int) -> Value | None:
        """Return what a record has; None for nothing."""
        if (found := self.said.get(row)) is not None:
            return found
        if (details := self.details.get(row)) is not None:
            return Detailed(float(self.numbers[row]), loads(details))
        return float(self.numbers[row]) if self.kinds[row] == NUMBER else None

    def detailed(self, key: str) -> Iterator[Mapping[str, Any]]:
        """Yield those details that may have a key, in the order of records."""
        return (loads(text) for _, text in sorted(self.details.items()) if f'"{key}"' in text)


class Columns(Sequence[Record]):
    """Records of one run; each is built when it is asked for.

    Made by `of_records` or `of_text`.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self.ids: list[str] = []
        self.clusters: list[str] = []
        self.categories: list[str] = []
        self.repeats: list[int] = []
        self.statuses: list[EditStatus] = []
        self.edits: list[str | None] = []
        self.pixels: list[str | None] = []
        self.rest: dict[int, tuple[str | None, tuple[str, ...], int]] = {}
        """By row: reason, flags and turn, where they are not None, () and 1."""
        self.values: dict[str, Values] = {}
        self._metrics = sorted(metrics)
        self._numbers = array("d")
        """Row after row, NaN where there is none."""
        self._said: dict[int, Undefined | Failed | None] = {}
        """By place among the numbers: what there is where there is none."""
        self._details: dict[int, str] = {}
        """By place among the numbers."""

    @classmethod
    def of_records(cls, records: Iterable[Record]) -> Columns:
        """Return records in columns; such already are returned as they are."""
        if isinstance(records, Columns):
            return records
        records = list(records)
        columns = cls({metric for record in records for metric in record.values})
        for record in records:
            columns._add(record)
        return columns._done()

    @classmethod
    def of_text(cls, header: Header, parts: Iterable[bytes]) -> Columns:
        """Read a record file after its header: lines in the order of scenario and repeat, each with its end.

        Args:
            header: of the file.
            parts: of its text, of any size; about one is in memory at a time.

        Raises:
            WrongRow: for a line that is no record of this run.
        """
        columns = cls(header.metrics)
        for lines in blocks_of(parts):
            try:
                block = read_block(lines, columns._metrics)
                columns._check_order(header, block.ids, block.repeats)
            except (ValueError, LookupError, TypeError, AttributeError):
                columns._add_lines(header, lines.split(b"\n"))
            else:
                columns._add_block(block)
        columns._done()._check_ranges(header)
        return columns

    def _add_lines(self, header: Header, lines: Iterable[bytes]) -> None:
        """Add lines one by one, and say what is wrong with the first that is."""
        for line in lines:
            try:
                record = record_from_json(loads(line))
                if unknown := record.values.keys() - header.metrics.keys():
                    raise ValueError(f"a value of {shown(min(unknown))}, which the header does not have")
                self._check_order(header, [record.scenario_id], [record.repeat])
            except ValueError as error:
                raise WrongRow(len(self.ids), str(error)) from error
            self._add(record)

    def _add_block(self, block: Block) -> None:
        row, place = len(self.ids), len(self._numbers)
        self.rest.update((row + own, rest) for own, rest in block.rest.items() if rest != _USUAL)
        self._said.update((place + own, value) for own, value in block.said.items())
        self._details.update((place + own, orjson.dumps(details).decode()) for own, details in block.details.items())
        self._numbers.extend(block.numbers)
        self.ids += map(sys.intern, block.ids)  # the same in all runs of a suite, as are the next two and the pixels
        self.clusters += map(sys.intern, block.clusters)
        self.categories += map(sys.intern, block.categories)
        self.repeats += block.repeats
        self.statuses += block.statuses
        self.edits += block.edits
        self.pixels += [pixels and sys.intern(pixels) for pixels in block.pixels]

    def _add(self, record: Record) -> None:
        for metric in self._metrics:
            value = record.values.get(metric)
            if isinstance(value, Detailed):
                self._details[len(self._numbers)] = dumps(value.details)
            elif not isinstance(value, float):
                self._said[len(self._numbers)] = value
            self._numbers.append(value if isinstance(value, float) else math.nan)
        rest = record.reason, record.flags, record.turn
        if rest != _USUAL:
            self.rest[len(self.ids)] = rest
        self.ids.append(sys.intern(record.scenario_id))
        self.clusters.append(sys.intern(record.cluster))
        self.categories.append(sys.intern(record.category))
        self.repeats.append(record.repeat)
        self.statuses.append(record.edit_status)
        self.edits.append(record.edit_sha256)
        self.pixels.append(record.pixels_sha256 and sys.intern(record.pixels_sha256))

    def _check_order(self, header: Header, ids: Sequence[str], repeats: Sequence[int]) -> None:
        """Raise ValueError unless these may be the next records."""
        keys = [*zip(chain(self.ids[-1:], ids), chain(self.repeats[-1:], repeats), strict=True)]
        total = len(self.ids) + len(ids)
        if total > header.suite.scenarios * header.repeats or max(repeats) >= header.repeats:
            raise ValueError(f"{keys[-1]} is one too many for {header.suite.scenarios} scenarios x {header.repeats}")
        if not all(map(operator.lt, keys, keys[1:])):
            raise ValueError(f"{keys[-1]} is a duplicate or out of order")

    def _done(self) -> Columns:
        width = len(self._metrics)
        numbers, kinds = np.frombuffer(self._numbers, np.float64), np.full(len(self._numbers), NUMBER, np.uint8)
        said: list[dict[int, Undefined | Failed]] = [{} for _ in self._metrics]
        details: list[dict[int, str]] = [{} for _ in self._metrics]
        for place, value in self._said.items():
            kinds[place] = _KINDS[type(value)]
            if value is not None:
                said[place % width][place // width] = value
        for place, text in self._details.items():
            details[place % width][place // width] = text
        for column, metric in enumerate(self._metrics):
            own = slice(column, None, width)
            self.values[metric] = Values(kinds[own].copy(), numbers[own].copy(), said[column], details[column])
        self._numbers, self._said, self._details = array("d"), {}, {}
        return self

    def _check_ranges(self, header: Header) -> None:
        for metric, info in header.metrics.items():
            numbers = self.values[metric].numbers
            low, high = info.range
            least, most = -math.inf if low is None else low - ROUNDING, math.inf if high is None else high + ROUNDING
            outside = np.flatnonzero((numbers < least) | (numbers > most))
            if outside.size:
                value = float(numbers[outside[0]])
                raise WrongRow(int(outside[0]), f"{metric} is {value!r}, outside its range [{low}, {high}]")

    # ------------------------------------------------------------------------------------------------- reading

    @cached_property
    def failed(self) -> npt.NDArray[np.bool_]:
        """`(n,)`: which edits were tried and failed."""
        return np.array([status not in ("ok", "not_run", "input_invalid") for status in self.statuses], bool)

    @cached_property
    def repeated(self) -> bool:
        """Whether a scenario has more than one record."""
        return len(set(self.ids)) < len(self.ids)

    def share(self, other: Columns) -> None:
        """Give up what is equal in the columns of another run."""
        for name in ("ids", "clusters", "categories", "repeats", "statuses", "pixels"):
            if getattr(self, name) == getattr(other, name):
                setattr(self, name, getattr(other, name))

    def of_metric(self, metric: str) -> Values:
        """Return what the records have of a metric, which may be nothing."""
        n = len(self.ids)
        return self.values.get(metric) or Values(np.zeros(n, np.uint8), np.full(n, math.nan), {}, {})

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, row: int) -> Record: ...

    @overload
    def __getitem__(self, row: slice) -> list[Record]: ...

    def __getitem__(self, row: int | slice) -> Record | list[Record]:
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        reason, flags, turn = self.rest.get(row, (None, (), 1))
        found = {metric: values.value(row) for metric, values in self.values.items()}
        return Record(
            scenario_id=self.ids[row],
            cluster=self.clusters[row],
            category=self.categories[row],
            repeat=self.repeats[row],
            edit_status=self.statuses[row],
            edit_sha256=self.edits[row],
            pixels_sha256=self.pixels[row],
            reason=reason,
            flags=flags,
            turn=turn,
            values={metric: value for metric, value in found.items() if value is not None},
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]
