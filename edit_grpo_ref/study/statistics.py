"""Frontiers, their size, values along them, and tests over seeds: pure functions of arrays.

A point is a pair of errors, both to be small. Whatever has no value is NaN, and stays out of means with its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from editbench.stats import LEVEL, estimate, resamples

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Number:
    """A mean over seeds, and how far to trust it."""

    mean: float | None
    """None where no seed has a value."""
    low: float | None
    """Lower end of the 95 % interval; None with fewer than two seeds."""
    high: float | None
    n: int
    """Seeds with a value."""
    without: tuple[int, ...] = ()
    """Seeds that the place is not reached without: there is a mean of all, and no interval."""


@dataclass(frozen=True)
class Values:
    """One value of every seed, or one of all seeds together where the jackknife fails."""

    each: Mapping[int, float]
    """By seed; NaN where there is none."""
    whole: float = math.nan
    """The value of all seeds together, if `without` names any."""
    without: tuple[int, ...] = ()
    """Seeds that the place is not reached without, so that no seed has a value of its own."""

    def number(self, kind: Literal["bootstrap", "t"]) -> Number:
        """Return the mean over seeds with its interval; none where the place is not reached without some seed."""
        if self.without:
            return Number(self.whole, None, None, len(self.each), self.without)
        return number(list(self.each.values()), kind)


# ------------------------------------------------------------------------------------------------------ frontiers


def front(points: Array) -> npt.NDArray[np.intp]:
    """Return which points of `(N, 2)` no other one dominates, by their first coordinate; of equal ones the first.

    One point dominates another if it is at most as large in both coordinates and smaller in one.
    """
    order = np.lexsort((points[:, 1], points[:, 0]))
    kept: list[int] = []
    for index in order:
        if not np.isnan(points[index]).any() and (not kept or points[index, 1] < points[kept[-1], 1]):
            kept.append(int(index))
    return np.array(kept, dtype=np.intp)


def hypervolume(points: Array, reference: tuple[float, float]) -> Array:
    """Return the area that points dominate, as a share of the rectangle between the origin and the reference point.

    In two dimensions this is a sum of rectangles (Fonseca, Paquete and López-Ibáñez 2006); points beyond the reference
    add nothing. Errors are not negative, so the share is in [0, 1].

    Args:
        points: `(…, N, 2)`, of each of which the area is taken.
        reference: largest value of each coordinate that counts.
    """
    order = np.argsort(points[..., 0], axis=-1, kind="stable")
    x = np.minimum(np.take_along_axis(points[..., 0], order, -1), reference[0])
    y = np.minimum.accumulate(np.take_along_axis(points[..., 1], order, -1), axis=-1)
    end = np.full((*x.shape[:-1], 1), reference[0])
    widths = np.diff(np.concatenate([x, end], axis=-1), axis=-1)
    area: Array = (widths * np.maximum(reference[1] - y, 0)).sum(axis=-1)
    return area / (reference[0] * reference[1])


def along(points: Array, values: Array, at: float) -> float:
    """Return a value at one place of a frontier, interpolated between its points; NaN beyond its ends.

    Args:
        points: `(N, 2)`; the frontier is made of those that are not dominated.
        values: of all points, `(N,)`.
        at: first coordinate of the place.
    """
    chosen = front(points)
    if not len(chosen) or not points[chosen[0], 0] <= at <= points[chosen[-1], 0]:
        return math.nan
    return float(np.interp(at, points[chosen, 0], values[chosen]))


# -------------------------------------------------------------------------------------------------------- over seeds


def number(values: Sequence[float] | Array, kind: Literal["bootstrap", "t"]) -> Number:
    """Return the mean over seeds with a 95 % interval.

    Args:
        values: one a seed; NaN where a seed has none.
        kind: `t`: with n − 1 degrees of freedom; `bootstrap`: percentiles of the means of 2,000 resamples of the
            seeds, which with few seeds cover too little (Efron and Tibshirani 1993, §13.3).
    """
    known = [float(value) for value in values if not math.isnan(value)]
    if len(known) < 2:
        return Number(known[0] if known else None, None, None, len(known))
    mean = math.fsum(known) / len(known)
    if kind == "t":
        found = estimate(known, [str(seed) for seed in range(len(known))], (-math.inf, math.inf))
        return Number(mean, found.low, found.high, len(known))
    means = np.array(known)[resamples(len(known))].mean(axis=1)
    low, high = (float(end) for end in np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Number(mean, low, high, len(known))


def jackknife(estimate_of: Callable[[list[int]], float], seeds: Sequence[int]) -> Values:
    """Return one value of each seed, whose mean is the estimate from all and whose spread is the jackknife's.

    They are the pseudo-values, n · (that of all) − (n − 1) · (that of all but one), moved so that their mean is the
    estimate itself: they may be treated like independent values of it (Tukey 1958; Efron and Tibshirani 1993, §11.5).
    Where there is no estimate without one of the seeds, no seed has a value: those that would be left out are the ones
    that carry the estimate.

    Args:
        estimate_of: the estimate from some of the seeds, by position; NaN where there is none.
        seeds: their numbers.
    """
    count = len(seeds)
    everyone = list(range(count))
    whole = estimate_of(everyone)
    if count < 2 or math.isnan(whole):
        return Values(dict.fromkeys(seeds, whole))
    rest = np.array([estimate_of(everyone[:left_out] + everyone[left_out + 1 :]) for left_out in everyone])
    missing = tuple(seed for seed, value in zip(seeds, rest, strict=True) if math.isnan(value))
    if missing:
        return Values(dict.fromkeys(seeds, math.nan), whole, missing)
    found = whole + (count - 1) * (rest.mean() - rest)
    return Values(dict(zip(seeds, found.tolist(), strict=True)))


def ratio(above: Values, below: Values) -> Number:
    """Return the ratio of two means with Fieller's 95 % interval, over the seeds that both have, paired.

    It has no ends where the lower mean's own interval includes 0: such a ratio is unbounded (Fieller 1954).
    """
    if above.without or below.without:
        left, right = above.number("t").mean, below.number("t").mean
        return Number(left / right if left is not None and right else None, None, None, 0)
    shared = [seed for seed in above.each if not math.isnan(above.each[seed] + below.each.get(seed, math.nan))]
    x, y = (np.array([values.each[seed] for seed in shared]) for values in (above, below))
    n = len(shared)
    if not n or not y.any():
        return Number(None, None, None, n)
    mean = float(x.mean() / y.mean())
    if n < 2:
        return Number(mean, None, None, n)
    scale = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) ** 2 / n
    means = np.array([x.mean(), y.mean()])
    (xx, xy), (_, yy) = np.outer(means, means) - scale * np.cov(x, y)
    if yy <= 0:
        return Number(mean, None, None, n)
    half = math.sqrt(max(xy**2 - xx * yy, 0.0))
    return Number(mean, float((xy - half) / yy), float((xy + half) / yy), n)


def sign_flip(differences: Sequence[float] | Array) -> float | None:
    """Return the two-sided p-value of paired differences having no direction: exact, over all 2^n choices of signs.

    Under the hypothesis each difference is as likely as its negative (Fisher 1935, §21). p is the share of sign choices
    whose sum is at least as far from 0 as the observed one, so it is never below 2 / 2^n.

    Args:
        differences: one a seed; NaN for a seed that has none.

    Returns:
        p, or None without differences.
    """
    known = np.array([d for d in differences if not math.isnan(d)], dtype=np.float64)
    if not len(known):
        return None
    if len(known) > 20:
        raise ValueError(f"{len(known)} seeds: an exact test over 2^{len(known)} signs takes too long, at most 20")
    bits = (np.arange(2 ** len(known))[:, None] >> np.arange(len(known))) & 1
    sums = np.abs((1 - 2 * bits) @ known)
    observed = sums[0]
    return float((sums >= observed - 1e-12 * np.abs(known).sum()).mean())


# --------------------------------------------------------------------------------------------------- over scenarios


def scene_draws(clusters: Sequence[str]) -> Array:
    """Return how often each scenario is in each of 2,000 resamples of the clusters, `(2000, scenarios)`."""
    names = sorted(set(clusters))
    position = np.array([names.index(cluster) for cluster in clusters])
    drawn = resamples(len(names))
    counts = np.zeros((len(drawn), len(names)))
    np.add.at(counts, (np.arange(len(drawn))[:, None], drawn), 1.0)
    return counts[:, position]


def weighted_means(values: Array, draws: Array) -> Array:
    """Return the mean of each row of `(rows, scenarios)` under each resample, `(draws, rows)`; NaN values are left out.

    A resample in which a row has no value at all gives NaN.
    """
    known = ~np.isnan(values)
    totals = draws @ np.where(known, values, 0.0).T
    counts = draws @ known.T.astype(np.float64)
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
