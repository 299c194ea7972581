"""What comparing runs gives: frozen data that a terminal, a CSV or a page can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from editbench.compare.runs import Compared
from editbench.records import MetricInfo, SuiteInfo
from editbench.stats import ClusteredMean, Estimate

ALPHA = 0.05

Verdict = Literal["better", "worse", "different", "equivalent", "equal", "unclear", "no data"]
"""Of the first run: `different` where no direction is better, `equal` where no scenario differs at all."""


@dataclass(frozen=True)
class Difference:
    """One metric of two runs, paired on scenario and repeat: the first less the second."""

    metric: str
    signature: str
    info: MetricInfo
    means: tuple[float | None, float | None]
    """Of each run, over the pairs; None without any."""
    counts: tuple[int, int]
    """Scenarios on which each run alone has a value: the pairs are where both have."""
    estimate: Estimate
    """Of the difference; its n is the number of scenarios that both have."""
    spread: ClusteredMean
    """The same mean with its standard error."""
    agreement: float | None
    """Intraclass correlation of the differences of a cluster; None where it cannot be known."""
    won: int
    """Scenarios on which the first run is better; on which its value is larger where no direction is."""
    lost: int
    tied: int
    p: float | None
    """Of the sign-flip test over clusters; None with fewer than two."""
    least_p: float | None
    """The smallest p that so many clusters can give at all."""
    effect: float | None
    """Mean difference in standard deviations of the differences of scenarios (Cohen's d of pairs)."""
    superiority: float | None
    """Share of scenarios won, ties counting half."""
    detectable: float | None
    """Smallest true difference that this suite would show with a power of 80 %, uncorrected; None below 6 clusters."""
    margin: float | None = None
    """What is too small to matter, as stated by whoever asked."""
    p_equivalent: float | None = None
    """Of the two one-sided tests against the margin; None without one."""
    p_corrected: float | None = None
    """p after Holm's correction over all tests of the comparison."""
    p_equivalent_corrected: float | None = None
    """The same for equivalence, over all margins."""

    @cached_property
    def verdict(self) -> Verdict:
        """What can be said at 5 %, corrected."""
        mean = self.estimate.mean
        if mean is None:
            return "no data"
        if self.won == self.lost == 0:
            return "equal"
        if self.p_corrected is not None and self.p_corrected <= ALPHA and mean != 0:
            if self.info.direction == "none":
                return "different"
            return "better" if (mean > 0) == (self.info.direction == "higher") else "worse"
        if self.p_equivalent_corrected is not None and self.p_equivalent_corrected <= ALPHA:
            return "equivalent"
        return "unclear"


@dataclass(frozen=True)
class Flips:
    """Success of two runs, scenario by scenario."""

    won: tuple[str, ...]
    """Scenarios on which only the first succeeds, or more often than the second over repeats."""
    lost: tuple[str, ...]
    both_succeeded: int
    both_failed: int
    alike: int
    """Scenarios on which both succeed in the same part of their repeats."""


@dataclass(frozen=True)
class Slice:
    """One metric on a part of the suite; exploratory: not tested, its interval not corrected."""

    by: str
    """What the suite is cut by: `category`, `mask_size`, `boundary`."""
    value: str
    metric: str
    means: tuple[float, float]
    estimate: Estimate


@dataclass(frozen=True)
class Duel:
    """The first run against one other."""

    left: Compared
    right: Compared
    differences: tuple[Difference, ...]
    flips: Flips | None
    """None where the suite has no checks, or runs were not scored for success."""
    slices: tuple[Slice, ...]
    left_out: Mapping[str, str]
    """Metrics that are not compared, and why."""


@dataclass(frozen=True)
class Comparison:
    """The first run against each of the others."""

    suite: SuiteInfo
    duels: tuple[Duel, ...]
    notes: tuple[str, ...]
    """What a reader should know before believing the numbers."""

    @property
    def tests(self) -> int:
        """How many p-values Holm's correction is over."""
        return sum(found.p is not None for duel in self.duels for found in duel.differences)
