"""What the records say of each method: points, frontiers, values at matched places; over seeds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edit_grpo_ref.study.plan import Axes, Criterion, Matching
from edit_grpo_ref.study.statistics import (
    Array,
    Number,
    Values,
    along,
    hypervolume,
    jackknife,
    number,
    scene_draws,
    sign_flip,
    weighted_means,
)
from edit_grpo_ref.study.table import Table, mean
from editbench.stats import LEVEL, holm


@dataclass(frozen=True)
class Point:
    """One method at one weight."""

    method: str
    weight: float | None
    numbers: Mapping[str, Number]
    """By metric; over all seeds that are there."""
    scenes: int
    """Clusters among the scenarios."""


@dataclass(frozen=True)
class Frontier:
    """One method over its weights, seed by seed."""

    method: str
    seeds: tuple[int, ...]
    weights: tuple[float | None, ...]
    means: Mapping[str, Array]
    """Metric to the mean over scenarios, `(seeds, weights)`."""
    points: Array
    """Keep error and edit error, `(seeds, weights, 2)`."""
    hypervolumes: Array
    """Of each seed."""
    over_seeds: Mapping[str, Number]
    """Mean hypervolume with the interval of each kind: `t`, `bootstrap`."""
    over_scenes: Number
    """The same, scenes resampled and seeds held fixed."""
    scenes: int

    def along(self, metric: str, axes: Array, at: float, matching: Matching) -> Values:
        """Return a metric for each seed where a frontier has one coordinate; NaN beyond its ends.

        Args:
            metric: whose value is read off.
            axes: coordinates of the points, `(seeds, weights, 2)`.
            at: the first of them.
            matching: `seed`: each seed's own frontier; `mean`: that of the means over seeds, of which each seed has its
                jackknife value, so that means, intervals and pairs are taken over seeds as ever.
        """
        values = self.means[metric]
        if matching == "seed":
            found = [along(*of_seed, at) for of_seed in zip(axes, values, strict=True)]
            return Values(dict(zip(self.seeds, found, strict=True)))
        return jackknife(lambda rows: along(axes[rows].mean(0), values[rows].mean(0), at), self.seeds)


@dataclass(frozen=True)
class Comparison:
    """A method against a rival, paired by seed."""

    method: str
    rival: str
    what: str
    left: Number
    right: Number
    difference: Number
    """Method less rival."""
    p: float | None
    """Of the exact sign-flip test."""
    corrected: float | None = None
    """After Holm's correction over the family that it was made with."""


# ------------------------------------------------------------------------------------------------ one method


def point(table: Table, method: str, weight: float | None) -> Point | None:
    """Return what all finished seeds of a method at one weight say; None without any."""
    rows = [row for row, unit in enumerate(table.units) if (unit.method, unit.weight) == (method, weight)]
    if not rows:
        return None
    numbers = {metric: number(table.means(metric, rows), table.plan.axes.interval) for metric in table.values}
    return Point(method, weight, numbers, len(set(table.clusters)))


def points(table: Table, method: str) -> list[Point]:
    """Return the points of a method that have any seed."""
    weights = table.plan.methods[method].weights or (None,)
    found = (point(table, method, weight) for weight in weights)
    return [one for one in found if one is not None]


def frontier(
    table: Table, method: str, among: Collection[int] | None = None, weights: Sequence[float | None] = ()
) -> Frontier | None:
    """Return the frontier of a method over the seeds that have all weights; None without any.

    Args:
        table: the records.
        method: of the plan.
        among: seeds to look at; None for all.
        weights: that the frontier is made of; all that the plan has if empty.
    """
    seeds = [seed for seed in table.seeds(method) if among is None or seed in among]
    axes = table.plan.axes
    if not seeds:
        return None
    weights = tuple(weights) or table.plan.methods[method].weights or (None,)
    rows = np.array([table.rows(method, weight, seeds) for weight in weights]).T
    means = {metric: table.means(metric, rows.ravel().tolist()).reshape(rows.shape) for metric in table.values}
    places = np.stack([means[axes.keep_error], means[axes.edit_error]], axis=-1)
    reference = axes.reference[1], axes.reference[0]
    sizes = hypervolume(places, reference)
    draws = scene_draws(table.clusters)
    drawn = np.stack(
        [weighted_means(table.values[metric][rows.ravel()], draws) for metric in (axes.keep_error, axes.edit_error)],
        axis=-1,
    )
    means_of_draws = hypervolume(drawn.reshape(len(draws), *rows.shape, 2), reference).mean(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = (float(end) for end in np.quantile(means_of_draws, [tail, 1 - tail]))
    return Frontier(
        method,
        tuple(seeds),
        weights,
        means,
        places,
        sizes,
        {"t": number(sizes, "t"), "bootstrap": number(sizes, "bootstrap")},
        Number(mean(sizes.tolist()), low, high, len(seeds)),
        len(set(table.clusters)),
    )


def at_keep(found: Frontier, axes: Axes, at: float, matching: Matching) -> Values:
    """Return each seed's edit error where its frontier has this keep error; NaN beyond what it reaches."""
    return found.along(axes.edit_error, found.points, at, matching)


def at_success(found: Frontier, table: Table, criterion: Criterion, metric: str, at: float) -> Values:
    """Return each seed's value of a metric where it has this success, at the least keep error that goes with it.

    The frontier is that of keep error and success; its first coordinate is failure, so that both are to be small.
    """
    keep = found.means[table.plan.axes.keep_error]
    axes = np.stack([1 - found.means[criterion.success], keep], axis=-1)
    return found.along(metric, axes, 1 - at, criterion.matching)


def best_composite(found: Frontier) -> tuple[float | None, Values]:
    """Return the weight with the largest mean composite, and each seed's composite there."""
    values = found.means["composite"]
    best = int(np.argmax([mean(column) for column in values.T.tolist()]))
    return found.weights[best], Values(dict(zip(found.seeds, values[:, best].tolist(), strict=True)))


# --------------------------------------------------------------------------------------------------- comparisons


def compare(table: Table, what: str, left: tuple[str, Values], right: tuple[str, Values]) -> Comparison:
    """Compare two methods' values by seed, over the seeds that both have; their own means are over all of theirs.

    Where one of them has no value without some seed, the difference has neither interval nor p.
    """
    kind = table.plan.axes.interval
    ours, theirs = left[1].number(kind), right[1].number(kind)
    shared = sorted(set(left[1].each) & set(right[1].each))
    differences = [left[1].each[seed] - right[1].each[seed] for seed in shared]
    difference = number(differences, kind)
    without = tuple(sorted({*ours.without, *theirs.without}))
    if without and ours.mean is not None and theirs.mean is not None:
        difference = Number(ours.mean - theirs.mean, None, None, len(shared), without)
    return Comparison(left[0], right[0], what, ours, theirs, difference, sign_flip(differences))


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with Holm's correction over all of them; one without a test for want of a seed counts too."""
    values = holm([1.0 if one.difference.without else one.p for one in family])
    return [replace(one, corrected=None if one.p is None else value) for one, value in zip(family, values, strict=True)]


def edit_errors(base: Frontier, axes: Axes) -> dict[int, float]:
    """Return each seed's edit error of a method without weights."""
    return dict(zip(base.seeds, base.means[axes.edit_error][:, 0].tolist(), strict=True))


def gains(base: Mapping[int, float], edits: Values) -> Values:
    """Return by how much each seed's edit error is below that of the base with the same seed."""
    each = {seed: base.get(seed, math.nan) - value for seed, value in edits.each.items()}
    return Values(each, mean(base.get(seed, math.nan) for seed in each) - edits.whole, edits.without)
