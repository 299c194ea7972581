"""Ranks with intervals, and which runs no other one beats in both of two ways."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from editbench.stats.intervals import DRAWS, LEVEL, resamples

Array = npt.NDArray[np.float64]

DECIMALS = 12
"""Values that differ by less are equal: sums in another order round otherwise."""


def rank_ranges(values: Array, clusters: Sequence[str]) -> list[tuple[int, int]]:
    """Return the ranks that each run has in the middle 95 % of 2,000 resamples of the clusters.

    The largest mean has rank 1, equal ones share the better rank. The rank that a run has is always among them.

    Args:
        values: of each run on each scenario, `(runs, scenarios)`; all are numbers.
        clusters: of each scenario.
    """
    names = sorted(set(clusters))
    position = {name: index for index, name in enumerate(names)}
    of_scenario = np.array([position[cluster] for cluster in clusters], dtype=np.intp)
    sums = np.stack([np.bincount(of_scenario, row, len(names)) for row in values])
    drawn = np.zeros((DRAWS, len(names)))
    np.add.at(drawn, (np.arange(DRAWS)[:, None], resamples(len(names))), 1.0)
    observed = ranks([math.fsum(row) / len(row) for row in values.tolist()])  # as the means of a board are
    drawn_ranks = np.sort([ranks(totals) for totals in drawn @ sums.T], axis=0)  # of the same scenarios: as means rank
    tail = (1 - LEVEL) / 2
    low, high = (drawn_ranks[math.ceil(share * DRAWS) - 1] for share in (tail, 1 - tail))
    return [(int(min(a, b)), int(max(a, c))) for a, b, c in zip(observed, low, high, strict=True)]


def rounded(values: Sequence[float] | Array) -> Array:
    """Return values such that those which are equal but for rounding are equal."""
    numbers: Array = np.array(values, np.float64)
    return numbers.round(DECIMALS)


def ranks(values: Sequence[float] | Array) -> npt.NDArray[np.intp]:
    """Return the rank of each value: 1 is the largest one's, equal ones share the better rank."""
    falling = -rounded(values)
    return np.searchsorted(np.sort(falling), falling) + 1


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each point, both of whose numbers are to be small, whether no other one is better.

    Another one is better if it is at most as large in both and smaller in one; equal points are both on the front.
    """
    return [
        not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        for point in points
    ]
