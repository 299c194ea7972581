"""What a suite can show: the smallest difference that it would find, and how large it would have to be for another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from editbench.stats.intervals import LEVEL, ClusteredMean

POWER = 0.8
MOST = 100_000
"""More clusters than anybody has."""


def detectable(difference: ClusteredMean, clusters: float | None = None, power: float = POWER) -> float | None:
    """Return the smallest true difference that a two-sided test at 5 % finds with this power.

    (t(0.975) + t(power)) · SE, the quantiles with the degrees of freedom of SE (Bloom 1995), SE and its degrees of
    freedom as observed, or scaled to another number of clusters of the same sizes.

    Args:
        difference: the mean of paired differences.
        clusters: how many there would be; as many as there are if None.
        power: probability of finding it.

    Returns:
        The difference, or None with fewer than two clusters.
    """
    from scipy.special import stdtrit

    if difference.error is None or difference.degrees is None:
        return None
    scale = 1.0 if clusters is None else clusters / difference.clusters
    degrees = max((difference.degrees + 1) * scale - 1, 1.0)
    quantiles = float(stdtrit(degrees, 0.5 + LEVEL / 2)) + float(stdtrit(degrees, power))
    return quantiles * difference.error / math.sqrt(scale)


def clusters_needed(difference: ClusteredMean, size: float, power: float = POWER) -> int | None:
    """Return the least number of clusters, of the sizes that there are, with which a difference is found.

    Args:
        difference: the mean of paired differences that was observed.
        size: the true difference to find, above 0.
        power: probability of finding it.

    Returns:
        At least 2; None with fewer than two clusters observed, or if it were more than 100,000.
    """
    if difference.error is None:
        return None
    low, high = 2, MOST
    if (detectable(difference, high, power) or 0.0) > size:
        return None
    while low < high:
        middle = (low + high) // 2
        if (detectable(difference, middle, power) or 0.0) <= size:
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
