"""Records in columns: a million of them are read, checked and averaged without an object each."""

from __future__ import annotations

import contextlib
import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import itemgetter
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from editbench.names import ID, SHA256, is_name, shown
from editbench.reading import count_keys, parse_plain
from editbench.records import Header, loads, record_from_json, value_from_json
from editbench.types import Detailed, EditStatus, Failed, Record, Undefined, Value

MISSING, NUMBER, UNDEFINED, FAILED = range(4)
"""What a record has of a metric."""

ROUNDING = 1e-6
"""How far outside its range a value may lie."""

_USUAL = frozenset(f.name for f in fields(Record)) - {"reason", "flags", "turn"}
_NUMBER_OF = itemgetter("value")
_NAN = math.nan


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
    said: Mapping[int, Undefined | Failed | Detailed]
    """By row: why there is no number, and numbers that carry details."""

    def value(self, row: int) -> Value | None:
        """Return what a record has; None for nothing."""
        if (found := self.said.get(row)) is not None:
            return found
        return float(self.numbers[row]) if self.kinds[row] == NUMBER else None


def _numbers_of(found: Mapping[str, Any]) -> tuple[list[float], list[tuple[str, Value]], int]:
    """Return the numbers of a line's values, those that are more or no numbers, and how many keys they all have.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: for what is no value.
    """
    if set(map(len, found.values())) == {1}:
        with contextlib.suppress(KeyError):
            numbers = [*map(_NUMBER_OF, found.values())]
            if set(map(type, numbers)) == {float}:
                return numbers, [], len(numbers)
    numbers, others, keys = [], [], 0
    for metric, told in found.items():
        number = told.get("value")
        if len(told) == 1 and type(number) is float:
            numbers.append(number)
            keys += 1
            continue
        value = value_from_json(told)
        keys += 1 if len(told) == 1 else count_keys(told)
        numbers.append(value if isinstance(value, float) else _NAN)
        if type(value) is not float:
            others.append((metric, value))
    return numbers, others, keys


class Columns(Sequence[Record]):
    """Records of one run; each is built when it is asked for.

    Made by `of_records` or `of_lines`.
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
        self._others: dict[str, dict[int, Value | None]] = {metric: {} for metric in self._metrics}
        """What is no plain number, by row."""

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
    def of_lines(cls, header: Header, lines: Iterable[bytes]) -> Columns:
        """Read the lines of a record file after its header, in the order of scenario and repeat.

        Raises:
            WrongRow: for a line that is no record of this run.
        """
        columns = cls(header.metrics)
        row = -1
        try:
            for row, line in enumerate(lines):  # noqa: B007 -- the error says which
                if not columns._add_usual(line):
                    record = record_from_json(loads(line))
                    if unknown := record.values.keys() - columns._others.keys():
                        raise ValueError(f"a value of {shown(min(unknown))}, which the header does not have")
                    columns._add(record)
                columns._check_place(header)
        except ValueError as error:
            raise WrongRow(row, str(error)) from error
        columns._done()._check_ranges(header)
        return columns

    def _add_usual(self, line: bytes) -> bool:
        """Add a good edit whose line has every metric and nothing unusual, as most do; return False for any other."""
        try:
            data = parse_plain(line)
            found = data["values"]
            if data.keys() != _USUAL or data["edit_status"] != "ok" or [*found] != self._metrics:
                return False
            numbers, others, keys = _numbers_of(found)
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
        if line.count(b'":') != len(_USUAL) + len(found) + keys:  # a key stands twice
            return False
        name, cluster, category, repeat = data["scenario_id"], data["cluster"], data["category"], data["repeat"]
        edit, pixels = data["edit_sha256"], data["pixels_sha256"]
        if not (type(name) is type(cluster) is type(category) is type(edit) is type(pixels) is str):
            return False
        if type(repeat) is not int or repeat < 0:
            return False
        if not (ID.fullmatch(name) and is_name(category) and SHA256.fullmatch(edit) and SHA256.fullmatch(pixels)):
            return False
        self._numbers.extend(numbers)
        for metric, value in others:
            self._others[metric][len(self.ids)] = value
        self._place(name, cluster, category, repeat, "ok", edit, pixels)
        return True

    def _add(self, record: Record) -> None:
        for metric in self._metrics:
            value = record.values.get(metric)
            self._numbers.append(value if isinstance(value, float) else _NAN)
            if type(value) is not float:
                self._others[metric][len(self.ids)] = value
        rest = record.reason, record.flags, record.turn
        if rest != (None, (), 1):
            self.rest[len(self.ids)] = rest
        names = record.scenario_id, record.cluster, record.category
        self._place(*names, record.repeat, record.edit_status, record.edit_sha256, record.pixels_sha256)

    def _place(
        self,
        name: str,
        cluster: str,
        category: str,
        repeat: int,
        status: EditStatus,
        edit: str | None,
        pixels: str | None,
    ) -> None:
        self.ids.append(sys.intern(name))  # the same in all runs of a suite
        self.clusters.append(sys.intern(cluster))
        self.categories.append(sys.intern(category))
        self.repeats.append(repeat)
        self.statuses.append(status)
        self.edits.append(edit)
        self.pixels.append(None if pixels is None else sys.intern(pixels))

    def _check_place(self, header: Header) -> None:
        key = self.ids[-1], self.repeats[-1]
        if key[1] >= header.repeats or len(self.ids) > header.suite.scenarios * header.repeats:
            raise ValueError(f"{key} is one too many for {header.suite.scenarios} scenarios x {header.repeats}")
        if len(self.ids) > 1 and key <= (self.ids[-2], self.repeats[-2]):
            raise ValueError(f"{key} is a duplicate or out of order")

    def _done(self) -> Columns:
        table = np.frombuffer(self._numbers, np.float64).reshape(len(self.ids), len(self._metrics))
        for place, metric in enumerate(self._metrics):
            kinds = np.full(len(self.ids), NUMBER, np.uint8)
            said: dict[int, Undefined | Failed | Detailed] = {}
            for row, value in self._others[metric].items():
                if isinstance(value, Undefined | Failed | Detailed):
                    said[row] = value
                if not isinstance(value, float):
                    kinds[row] = MISSING if value is None else UNDEFINED if isinstance(value, Undefined) else FAILED
            self.values[metric] = Values(kinds, np.ascontiguousarray(table[:, place]), said)
        self._numbers, self._others = array("d"), {}
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

    def of_metric(self, metric: str) -> Values:
        """Return what the records have of a metric, which may be nothing."""
        n = len(self.ids)
        return self.values.get(metric) or Values(np.zeros(n, np.uint8), np.full(n, _NAN), {})

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
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Record.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]
