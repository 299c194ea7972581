"""What counts as the value of a metric in a record, and over the repeats of a scenario."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editbench.columns import FAILED, NUMBER, Columns
from editbench.record_files import RecordFile
from editbench.records import MetricInfo
from editbench.types import Failed, Record, Value


@dataclass(frozen=True)
class Profile:
    """The mean of the curves that the values of a metric carry, bin by bin."""

    edges: tuple[float | None, ...]
    """Where the bins begin and end, one more than there are bins; None stands for an open end."""
    means: tuple[float | None, ...]
    """Of each bin, over the values that have anything there; None without any."""
    counts: tuple[int, ...]
    """How many values those are."""
    n: int
    """Values that carry a curve."""


def mean_profile(found: Iterable[Mapping[str, Any]]) -> Profile | None:
    """Return the mean of the curves in details of values; None if none has an `edges` and a `curve` of one form."""
    curves = [details for details in found if {"edges", "curve"} <= details.keys()]
    if not curves or any(details["edges"] != curves[0]["edges"] for details in curves):
        return None
    bins = np.array([details["curve"] for details in curves], np.float64).T  # None becomes NaN, and no number is one
    columns = [mean_of[~np.isnan(mean_of)].tolist() for mean_of in bins]
    means = tuple(math.fsum(column) / len(column) if column else None for column in columns)
    return Profile(tuple(curves[0]["edges"]), means, tuple(map(len, columns)), len(curves))


def seed_sd(repeats: Iterable[Sequence[float]]) -> float | None:
    """Return the standard deviation between the repeats of a scenario, pooled; None if no scenario has two."""
    groups = [values for values in repeats if len(values) > 1]
    if not groups:
        return None
    centres = [math.fsum(values) / len(values) for values in groups]
    squares = math.fsum((x - mean) ** 2 for values, mean in zip(groups, centres, strict=True) for x in values)
    return math.sqrt(squares / sum(len(values) - 1 for values in groups))


def counted_values(columns: Columns, metric: str, info: MetricInfo) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what a board counts for a metric, `(n,)`, and of which records: see `value_of`."""
    values = columns.of_metric(metric)
    counted = values.kinds == NUMBER
    if info.failed_value is None:
        return values.numbers, counted
    failed = (values.kinds == FAILED) & columns.failed
    return np.where(failed, float(info.failed_value), values.numbers), counted | failed


def scenario_means(file: RecordFile, metric: str) -> dict[str, float]:
    """Return the mean over repeats of a metric for each scenario that has any value of it."""
    columns = file.columns
    numbers, counted = counted_values(columns, metric, file.header.metrics[metric])
    rows = np.flatnonzero(counted).tolist()
    if not columns.repeated:
        return dict(zip([columns.ids[row] for row in rows], numbers[rows].tolist(), strict=True))
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(columns.ids[row], []).append(float(numbers[row]))
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def bounds_of(info: MetricInfo) -> tuple[float, float]:
    """Return the range of a metric with infinities for its open ends."""
    low, high = info.range
    return -math.inf if low is None else low, math.inf if high is None else high


def value_of(record: Record, metric: str, info: MetricInfo) -> Value | None:
    """Return what a board counts for a metric in a record: where a failed edit counts as a number, that number."""
    value = record.values.get(metric)
    number = counts_as(record, info) if isinstance(value, Failed) else None
    return value if number is None else number


def counts_as(record: Record, info: MetricInfo) -> float | None:
    """Return what a metric counts a failed edit as; None if it leaves it out, or the edit did not fail."""
    if info.failed_value is None or record.edit_status in ("ok", "not_run", "input_invalid"):
        return None
    return float(info.failed_value)
