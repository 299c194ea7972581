"""Means with n, the number of clusters and an interval; every input has a defined answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
DRAWS = 2000
FEW_CLUSTERS = 40
"""Below this many clusters the percentile bootstrap covers too little, and a t interval is used."""


@dataclass(frozen=True)
class Estimate:
    """A mean over scenarios, and how far to trust it."""

    mean: float | None
    """None without values."""
    low: float | None
    """Lower end of the 95 % interval; None with fewer than two clusters."""
    high: float | None
    n: int
    clusters: int


def estimate(values: Sequence[float], clusters: Sequence[str], bounds: tuple[float, float]) -> Estimate:
    """Return the mean of values with a 95 % interval that respects clusters.

    Scenarios of one cluster (source scene or photograph) are not independent. With fewer than 40 clusters: a t interval
    with G − 1 degrees of freedom on the cluster-robust standard error of a ratio mean (Cochran 1977, §6.3), as in
    Cameron and Miller 2015. From 40 on: the percentile bootstrap over clusters, 2,000 draws from a fixed stream.

    Args:
        values: finite numbers, one a scenario.
        clusters: the cluster of each.
        bounds: range of the metric; the interval is clipped to it.
    """
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, 0, 0)
    names = sorted(set(clusters))
    position = {name: index for index, name in enumerate(names)}
    mean = math.fsum(values) / n
    grouped: list[list[float]] = [[] for _ in names]
    for value, cluster in zip(values, clusters, strict=True):
        grouped[position[cluster]].append(value)
    if len(names) < 2:
        return Estimate(mean, None, None, n, len(names))
    sums = np.array([math.fsum(group) for group in grouped])
    counts = np.array([len(group) for group in grouped], dtype=np.float64)
    if len(names) < FEW_CLUSTERS:
        low, high = _t_interval(mean, sums, counts)
    else:
        low, high = _bootstrap_interval(sums, counts)
    low, high = min(low, mean), max(high, mean)  # of a constant, but for rounding
    return Estimate(mean, max(low, bounds[0]), min(high, bounds[1]), n, len(names))


def _t_interval(mean: float, sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    from scipy.special import stdtrit

    groups = len(sums)
    residuals = sums - mean * counts
    error = math.sqrt(groups / (groups - 1) * math.fsum((residuals**2).tolist())) / float(counts.sum())
    margin = float(stdtrit(groups - 1, 0.5 + LEVEL / 2)) * error
    return mean - margin, mean + margin


def _bootstrap_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    drawn = resamples(len(sums))
    means = np.sort(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = (1 - LEVEL) / 2
    return float(np.quantile(means, tail)), float(np.quantile(means, 1 - tail))


def resamples(groups: int) -> np.ndarray:
    """Return which clusters 2,000 bootstrap samples are made of, `intp (2000, groups)`: always the same ones."""
    raw = np.random.Philox(key=groups).random_raw(DRAWS * groups)  # raw bits: the same in every NumPy version
    drawn: np.ndarray = ((raw >> np.uint64(32)) * np.uint64(groups) >> np.uint64(32)).astype(np.intp)
    return drawn.reshape(DRAWS, groups)
