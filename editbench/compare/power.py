"""Planning: what a suite would show with more clusters, and how many a difference needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from editbench.compare.comparison import Comparison, Difference
from editbench.records import MetricInfo
from editbench.specs import did_you_mean
from editbench.stats import clusters_needed, detectable
from editbench.types import EditbenchError

FACTORS = (1, 2, 4)
"""Sizes of the suite, in sizes of the one at hand."""


@dataclass(frozen=True)
class Need:
    """What one metric of two runs needs to be told apart, at 5 % (uncorrected) and with a power of 80 %."""

    left: str
    right: str
    metric: str
    info: MetricInfo
    n: int
    clusters: int
    detectable: tuple[float | None, ...]
    """Smallest true difference found with 1, 2 and 4 times the clusters; None with too few, or where nothing varies."""
    size: float | None
    """The difference to find: as asked for, or the one observed. None without either."""
    clusters_needed: int | None
    """For that difference, of the sizes that there are; None if it cannot be found or is 0."""
    scenarios_needed: int | None


def needs(comparison: Comparison, wanted: Mapping[str, float] | None = None) -> list[Need]:
    """Return what every compared metric needs, from the observed variances of the paired differences.

    Args:
        comparison: of runs like those to come.
        wanted: the true difference to find, by metric; those metrics alone are looked at. None: the observed ones.

    Raises:
        EditbenchError: for a metric that is not compared, or a size that is not above 0.
    """
    known = {found.metric for duel in comparison.duels for found in duel.differences}
    for metric, size in (wanted or {}).items():
        if metric not in known:
            raise EditbenchError(f"difference of {metric!r}, which is not compared{did_you_mean(metric, known)}")
        if not 0 < size < math.inf:
            raise EditbenchError(f"difference {metric}={size}, expected a number above 0")
    return [
        _need(duel.left.name, duel.right.name, found, (wanted or {}).get(found.metric))
        for duel in comparison.duels
        for found in duel.differences
        if not wanted or found.metric in wanted
    ]


def _need(left: str, right: str, found: Difference, wanted: float | None) -> Need:
    spread = found.spread
    size = wanted if wanted is not None else abs(spread.mean) if spread.mean else None
    clusters = clusters_needed(spread, size) if size else None
    return Need(
        left,
        right,
        found.metric,
        found.info,
        spread.n,
        spread.clusters,
        tuple(detectable(spread, factor * spread.clusters) for factor in FACTORS),
        size,
        clusters,
        None if clusters is None else math.ceil(clusters * spread.n / spread.clusters),
    )
