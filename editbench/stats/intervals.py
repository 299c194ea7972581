"""Means with n, the number of clusters and an interval; every input has a defined answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEVEL = 0.95
DRAWS = 2000


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


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over scenarios with its cluster-robust standard error."""

    mean: float | None
    """None without values."""
    error: float | None
    """Standard error; None with fewer than two clusters."""
    degrees: float | None
    """Degrees of freedom of the t distribution that goes with it: clusters − 1 if all have one size, else fewer."""
    n: int
    clusters: int


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster each of `n` values is of; the values of many metrics are cut by one."""

    rows: npt.NDArray[np.intp]
    """The values cluster after cluster, `(n,)`; clusters stand by name."""
    counts: npt.NDArray[np.intp]
    """How many values each has, above 0, `(G,)`."""

    @classmethod
    def of(cls, names: Sequence[str]) -> Clusters:
        """Return what the names of the values' clusters say."""
        places = {name: place for place, name in enumerate(sorted(set(names)))}
        of_value = np.fromiter(map(places.__getitem__, names), np.intp, len(names))
        return cls(np.argsort(of_value, kind="stable"), np.bincount(of_value, minlength=len(places)))

    def only(self, chosen: npt.NDArray[np.bool_]) -> Clusters:
        """Return those of some of the values, which keep their rows; `chosen` is `(n,)`."""
        if chosen.all():
            return self
        kept = chosen[self.rows]
        counts = np.bincount(np.repeat(np.arange(len(self.counts)), self.counts)[kept], minlength=len(self.counts))
        return Clusters(self.rows[kept], counts[counts > 0])


def estimate(values: Sequence[float], clusters: Sequence[str], bounds: tuple[float, float]) -> Estimate:
    """Return the mean of values with a 95 % interval that respects clusters.

    Where the metric has no bounds this is the t interval of `clustered_mean`. Near a bound a mean varies less than
    further away, so the interval there holds every μ that is within t standard errors of the mean, its standard error
    taken to grow with μ like that of a share or a count (Wilson 1927; Wedderburn 1974): sqrt((μ − low) · (high − μ))
    between two bounds, sqrt(μ − low) above one. It never leaves the bounds, and it is the t interval far from them.

    Args:
        values: finite numbers, one a scenario.
        clusters: the cluster of each.
        bounds: range of the metric; infinite where it has none.
    """
    return estimates([clustered_mean(values, clusters)], [bounds])[0]


def estimates(means: Sequence[ClusteredMean], bounds: Sequence[tuple[float, float]]) -> list[Estimate]:
    """Return what `estimate` does, for many means at once: `bounds` has those of each."""
    from scipy.special import stdtrit

    found = [Estimate(one.mean, None, None, one.n, one.clusters) for one in means]
    places: dict[tuple[float, float], list[int]] = {}
    for place, (one, own) in enumerate(zip(means, bounds, strict=True)):
        if one.error is not None:
            places.setdefault(own, []).append(place)
    for (least, most), alike in places.items():
        told = np.array([(means[place].mean, means[place].error, means[place].degrees) for place in alike]).T
        mean, error, degrees = np.ascontiguousarray(told)
        low, high = score_interval(mean, stdtrit(degrees, 0.5 + LEVEL / 2) * error, (least, most))
        low, high = np.minimum(low, mean), np.maximum(high, mean)  # of a constant, but for rounding
        low, high = np.maximum(low, least), np.minimum(high, most)
        for place, *interval in zip(alike, low.tolist(), high.tolist(), strict=True):
            found[place] = replace(found[place], low=interval[0], high=interval[1])
    return found


def clustered_mean(values: Sequence[float], clusters: Sequence[str]) -> ClusteredMean:
    """Return the mean of values with a standard error that respects clusters.

    Scenarios of one cluster (source scene or photograph) are not independent. The standard error is the bias-reduced
    sandwich (CR2) and its degrees of freedom those of Bell and McCaffrey 2002, for a mean: see docs/statistics.md.

    Args:
        values: finite numbers, one a scenario.
        clusters: the cluster of each.

    Raises:
        ValueError: if there are not as many clusters as values.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values of {len(clusters)} clusters")
    return clustered_means(np.array(values, np.float64)[None], Clusters.of(clusters))[0]


def clustered_means(values: Array, clusters: Clusters) -> list[ClusteredMean]:
    """Return what `clustered_mean` does, for many metrics at once.

    Args:
        values: `(metrics, n)`, finite where `clusters` has them.
        clusters: of all the values, or some.
    """
    n, groups = len(clusters.rows), len(clusters.counts)
    if not n:
        return [ClusteredMean(None, None, None, 0, 0)] * len(values)
    ordered = values[:, clusters.rows]
    by_cluster = [row.tolist() for row in ordered]
    means = [math.fsum(row) / n for row in by_cluster]
    if groups < 2:
        return [ClusteredMean(mean, None, None, n, 1) for mean in means]
    ends = np.cumsum(clusters.counts)
    sums = np.add.reduceat(ordered, ends - clusters.counts, axis=1)
    for group in np.flatnonzero(clusters.counts > 2).tolist():  # the sum of two is as exact as that of many by fsum
        span = slice(int(ends[group] - clusters.counts[group]), int(ends[group]))
        sums[:, group] = [math.fsum(row[span]) for row in by_cluster]
    errors, degrees = standard_error(np.array(means), sums, clusters.counts.astype(np.float64))
    return [
        ClusteredMean(mean, error, float(degrees), n, groups)
        for mean, error in zip(means, errors.tolist(), strict=True)
    ]


def standard_error(mean: Array | float, sums: Array, counts: Array) -> tuple[Array, Array]:
    """Return the CR2 standard error of means and its degrees of freedom.

    With residuals r of G clusters of n_g scenarios, N in all: SE² = Σ (r_g)² / (1 − n_g / N) / N², and, if scenarios
    were independent, SE² would vary like χ² with N² / (Σ n_g² + ((Σ a_g)² − Σ a_g²) / N²) degrees of freedom, where
    a_g = n_g² / (1 − n_g / N) (Bell and McCaffrey 2002; Imbens and Kolesár 2016).

    Args:
        mean: over scenarios, `(…)`.
        sums: of each cluster's values, `(…, G)`.
        counts: of each cluster's values, all above 0, `(…, G)`.
    """
    total = counts.sum(axis=-1)
    spared = 1 - counts / total[..., None]
    residuals = sums - np.asarray(mean)[..., None] * counts
    error = np.sqrt((residuals**2 / spared).sum(axis=-1)) / total
    leverage = counts**2 / spared
    crossed = leverage.sum(axis=-1) ** 2 - (leverage**2).sum(axis=-1)
    degrees = total**2 / ((counts**2).sum(axis=-1) + crossed / total**2)
    return error, degrees


def score_interval(mean: Array, margin: Array, bounds: tuple[float, float]) -> tuple[Array, Array]:
    """Return every μ with |mean − μ| ≤ margin · sqrt(V(μ) / V(mean)), V the variance that bounds suggest.

    Args:
        mean: `(…)`.
        margin: t times the standard error, `(…)`.
        bounds: of the values; V is (μ − low) (high − μ) between two, the distance from one, 1 without any.
    """
    low, high = bounds
    if math.isinf(low) and math.isinf(high):
        return mean - margin, mean + margin
    if math.isinf(low):
        upper, lower = score_interval(-mean, margin, (-high, math.inf))
        return -lower, -upper
    inside = mean > low if math.isinf(high) else (mean > low) & (mean < high)
    above = np.where(inside, mean - low, 1.0)
    if math.isinf(high):
        half = margin**2 / above / 2
        centre, reach = above + half, np.sqrt(margin**2 + half**2)
    else:
        share, step = np.where(inside, above / (high - low), 0.5), margin / (high - low)
        ratio = step**2 / (share * (1 - share))
        centre = (share + ratio / 2) / (1 + ratio) * (high - low)
        reach = np.sqrt(step**2 + ratio**2 / 4) / (1 + ratio) * (high - low)
    return np.where(inside, low + centre - reach, mean), np.where(inside, low + centre + reach, mean)


def resamples(groups: int) -> npt.NDArray[np.intp]:
    """Return which clusters 2,000 bootstrap samples are made of, `intp (2000, groups)`: always the same ones."""
    raw = np.random.Philox(key=groups).random_raw(DRAWS * groups)  # raw bits: the same in every NumPy version
    drawn: npt.NDArray[np.intp] = ((raw >> np.uint64(32)) * np.uint64(groups) >> np.uint64(32)).astype(np.intp)
    return drawn.reshape(DRAWS, groups)
