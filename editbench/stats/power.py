"""What a suite can show: the smallest difference that it would find, and how large it would have to be for another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from editbench.stats.intervals import LEVEL, ClusteredMean

POWER = 0.8
LEAST = 1 + math.ceil(-math.log2(1 - LEVEL))
"""Fewest clusters with which flipped signs can give p = 0.05: p is at least 2 / 2^G."""
MORE = {6: 1.258, 7: 1.051, 8: 1.033, 9: 1.023, 10: 1.010}
"""How much larger than for a t test a difference has to be, by the number of clusters, if they vary normally.

p has steps of 2 / 2^G. With 6 clusters it must be the least one: all on one side, which has a probability of 0.8 where
Φ(d)^6 is. The others are from 200,000 simulated suites each; from 11 clusters on it is less than 1 %.
"""
MOST = 100_000
"""More clusters than anybody has."""
ROUNDING = 1e-12
"""Of a mean: a standard error below it is that of equal values."""


def detectable(difference: ClusteredMean, clusters: float | None = None) -> float | None:
    """Return the smallest true difference that `sign_flip` finds at 5 % four times in five.

    (t(0.975) + t(0.8)) · SE, the quantiles with the degrees of freedom of SE (Bloom 1995), and `MORE` of it up to 10
    clusters; SE and its degrees of freedom as observed, or scaled to another number of clusters of the same sizes.

    Args:
        difference: the mean of paired differences.
        clusters: how many there would be; as many as there are if None.

    Returns:
        The difference; None with fewer than six clusters, which cannot show any, with fewer than two observed, and
        where all values are equal, which says nothing of how they would vary.
    """
    from scipy.special import stdtrit

    error, degrees = difference.error, difference.degrees
    clusters = difference.clusters if clusters is None else clusters
    if clusters < LEAST or error is None or degrees is None or error <= ROUNDING * abs(difference.mean or 0.0):
        return None
    scale = clusters / difference.clusters
    degrees = max((degrees + 1) * scale - 1, 1.0)
    quantiles = float(stdtrit(degrees, 0.5 + LEVEL / 2)) + float(stdtrit(degrees, POWER))
    return MORE.get(int(clusters), 1.0) * quantiles * error / math.sqrt(scale)


def clusters_needed(difference: ClusteredMean, size: float) -> int | None:
    """Return the least number of clusters, of the sizes that there are, with which a difference is found.

    Args:
        difference: the mean of paired differences that was observed.
        size: the true difference to find, above 0.

    Returns:
        At least 6; None with fewer than two clusters observed, where all values are equal, or if it were more than
        100,000.
    """
    low, high = LEAST, MOST
    if (detectable(difference, high) or math.inf) > size:
        return None
    while low < high:
        middle = (low + high) // 2
        if (detectable(difference, middle) or math.inf) <= size:
            high = middle
        else:
            low = middle + 1
    return low


def within_clusters(values: Sequence[float], clusters: Sequence[str]) -> float | None:
    """Return the intraclass correlation: 1 if scenarios of a cluster all agree, 0 if they are like any others.

    From the analysis of variance (Donner 1986), at least 0.

    Returns:
        None without two clusters, a cluster with two scenarios, or any variance.
    """
    grouped: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        grouped.setdefault(cluster, []).append(value)
    n, groups = len(values), len(grouped)
    if groups < 2 or n == groups:
        return None
    mean = math.fsum(values) / n
    means = {name: math.fsum(group) / len(group) for name, group in grouped.items()}
    between = math.fsum(len(group) * (means[name] - mean) ** 2 for name, group in grouped.items()) / (groups - 1)
    within = math.fsum((x - means[name]) ** 2 for name, group in grouped.items() for x in group) / (n - groups)
    usual = (n - sum(len(group) ** 2 for group in grouped.values()) / n) / (groups - 1)
    spread = between + (usual - 1) * within
    return max((between - within) / spread, 0.0) if spread > 0 else None
