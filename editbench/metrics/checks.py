"""Edit success from a scenario's checks, locality, and the composite that ranks a board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editbench.metrics.pixel import mean_absolute_error
from editbench.regions import RegionName
from editbench.types import CheckResult, Direction, Need, Sample, Scenario, Value

TAU = 0.1
"""Mean absolute error at which locality reaches 0."""


def _results(sample: Sample) -> list[tuple[bool, CheckResult]]:
    """Each check's `guard` and result."""
    if "checks" not in sample.memo:
        sample.memo["checks"] = [(check.guard, check(sample.output)) for check in sample.scenario.checks]
    results: list[tuple[bool, CheckResult]] = sample.memo["checks"]
    return results


def _success(sample: Sample) -> float:
    return float(all(result.passed for _, result in _results(sample)))


def locality(sample: Sample, region: RegionName) -> float:
    """Return `clip(1 − mae / tau, 0, 1)` over a region: 1 is untouched, 0 a mean error of tau = 0.1 or more."""
    return max(0.0, 1 - mean_absolute_error(sample, region) / TAU)


@dataclass(frozen=True)
class Success:
    """1 if every check of the scenario passes, else 0; a failed edit counts as 0.

    A check is a program that comes with the suite: of a colour, a place, a size, of what must be gone or still there.

    References:
        The suite's: `editbench check suite SPEC` reads every scenario and its checks.

    Disagreements:
        Checks know what was asked for and have thresholds. What a person would let pass may fail, and beauty or a seam
        has no influence: read `seam`, `ring` or `judge` beside it.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("checks",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy")
    failed_value: ClassVar[float] = 0.0

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [_success(sample) for sample in samples]


@dataclass(frozen=True)
class SuccessGraded:
    """How far the edit got: the mean grade of the checks that demand an edit, times the lowest grade of the guards.

    A grade is 0 for what the source was and 1 for what was asked; a guard is a check that the source passes already.

    References:
        Defined here, on the suite's checks.

    Disagreements:
        It gives half-way edits their due, which `success` calls 0: editors that always stop short rank higher here.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("checks",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy")
    failed_value: ClassVar[float] = 0.0

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = []
        for sample in samples:
            edits = [result.grade for guard, result in _results(sample) if not guard]
            guards = [result.grade for guard, result in _results(sample) if guard]
            reached = math.fsum(edits) / len(edits) if edits else 1.0
            values.append(reached * min(guards, default=1.0))
        return values


@dataclass(frozen=True)
class Composite:
    """sqrt(success · locality over the keep region) for each scenario: 0 for doing nothing, 1 for the ground truth.

    Locality is clip(1 − mae / 0.1, 0, 1) over the keep region. Defined where the scenario has checks and a keep region
    and is not a no-op; a failed edit counts as 0.

    References:
        Defined here; boards are ranked by it.

    Disagreements:
        One number for two things is a choice: another scale than 0.1, or another mean than the geometric one, may order
        close editors otherwise. Boards show both axes, and plot them.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("checks",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy")
    failed_value: ClassVar[float] = 0.0

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the composite has no value on a scenario."""
        if not scenario.mask.any():
            return "no-op"
        return None if scenario.region("keep").any() else "empty keep region"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [math.sqrt(_success(sample) * locality(sample, "keep")) for sample in samples]


@dataclass(frozen=True)
class Noop:
    """Locality over the whole image where nothing was to be edited: 1 if the editor left the image alone.

    Locality is clip(1 − mae / 0.1, 0, 1). Defined on scenarios whose mask is empty; a failed edit counts as 0.

    References:
        Defined here.

    Disagreements:
        A re-encoding that nobody sees costs a few hundredths; refusing to answer costs everything.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()
    failed_value: ClassVar[float] = 0.0

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        return "not a no-op" if scenario.mask.any() else None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [locality(sample, "all") for sample in samples]
