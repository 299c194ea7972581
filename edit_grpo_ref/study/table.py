"""The records of a study as arrays: a row a unit, a column a scenario."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edit_grpo_ref.study.plan import StudyPlan, Unit
from edit_grpo_ref.study.unit import Folders, is_done, read_facts
from editbench.record_files import RecordFile, read_records
from editbench.types import Detailed, EditbenchError
from editbench.values import counts_as

Array = npt.NDArray[np.float64]
PROFILE = "leak_profile"


@dataclass(frozen=True)
class Table:
    """Every finished unit of a study."""

    plan: StudyPlan
    units: tuple[Unit, ...]
    facts: tuple[Mapping[str, Any], ...]
    """Of each unit."""
    scenarios: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[str, Array]
    """Metric to `(units, scenarios)`; NaN where there is no value."""
    profiles: Array
    """Mean leak profile of each unit, `(units, bins)`."""
    edges: tuple[float | None, ...]

    def rows(self, method: str, weight: float | None, seeds: Iterable[int]) -> list[int]:
        """Return the rows of a method at one weight, in the order of seeds."""
        position = {unit: row for row, unit in enumerate(self.units)}
        return [position[Unit(method, weight, seed)] for seed in seeds]

    def seeds(self, method: str) -> list[int]:
        """Return the seeds that have every weight of a method: others would have another frontier for want of units."""
        told = self.plan.methods[method]
        there = set(self.units)
        weights = told.weights or (None,)
        return [seed for seed in range(told.seeds) if all(Unit(method, weight, seed) in there for weight in weights)]

    def means(self, metric: str, rows: Sequence[int]) -> Array:
        """Return the mean of a metric over the scenarios for each of some units; NaN without any value."""
        return np.array([mean(row) for row in self.values[metric][np.asarray(rows, dtype=np.intp)]])


def mean(values: Iterable[float]) -> float:
    """Return the mean of what is not NaN, rounded once; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def load(plan: StudyPlan, folders: Folders) -> Table:
    """Read everything that is finished.

    Raises:
        EditbenchError: if nothing is, or records do not belong to this plan or to each other.
    """
    units = [unit for unit in plan.units() if is_done(plan, unit, folders)]
    if not units:
        raise EditbenchError(f"{folders.output} has no finished unit of the plan {plan.name!r}: run `study` first")
    files = [read_records(folders.records(unit)) for unit in units]
    facts = [read_facts(folders.facts(unit)) for unit in units]
    first = files[0].records
    for unit, file in zip(units, files, strict=True):
        if [r.scenario_id for r in file.records] != [r.scenario_id for r in first]:
            raise EditbenchError(f"{folders.records(unit)} has other scenarios than {folders.records(units[0])}")
    profiles = [_profile(file) for file in files]
    return Table(
        plan,
        tuple(units),
        tuple(facts),
        tuple(record.scenario_id for record in first),
        tuple(record.cluster for record in first),
        {metric: np.array([_row(file, metric) for file in files]) for metric in plan.evaluation.metrics},
        np.array([profile for profile, _ in profiles]),
        profiles[0][1],
    )


def _row(file: RecordFile, metric: str) -> list[float]:
    info = file.header.metrics[metric]
    found = []
    for record in file.records:
        value, counted = record.values.get(metric), counts_as(record, info)
        found.append(float(value) if isinstance(value, float) else math.nan if counted is None else counted)
    return found


def _profile(file: RecordFile) -> tuple[list[float], tuple[float | None, ...]]:
    """Return the mean of each bin over the scenarios that have pixels there, and the edges of the bins."""
    found = [record.values.get(PROFILE) for record in file.records]
    details = [value.details for value in found if isinstance(value, Detailed)]
    if not details:
        return [], ()
    bins = zip(*(one["curve"] for one in details), strict=True)
    return [mean(math.nan if value is None else value for value in bin_) for bin_ in bins], tuple(details[0]["edges"])
