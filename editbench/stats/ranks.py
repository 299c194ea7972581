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
    observed = _ranks(values.mean(axis=1))
    ranks = np.sort([_ranks(totals) for totals in drawn @ sums.T], axis=0)  # of the same scenarios: as means rank
    tail = (1 - LEVEL) / 2
    low, high = ranks[math.ceil(tail * DRAWS) - 1], ranks[math.ceil((1 - tail) * DRAWS) - 1]
    return [(int(min(a, b)), int(max(a, c))) for a, b, c in zip(observed, low, high, strict=True)]


def _ranks(values: Array) -> npt.NDArray[np.intp]:
    rounded = np.round(values, DECIMALS)
    return np.searchsorted(np.sort(-rounded), -rounded) + 1


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each point, both of whose numbers are to be small, whether no other one is better.

    Another one is better if it is at most as large in both and smaller in one; equal points are both on the front.
    """
    return [
        not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        for point in points
    ]
