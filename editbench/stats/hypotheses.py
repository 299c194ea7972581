"""Tests of paired differences: is there one, is there none worth speaking of, and the correction for asking often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from editbench.stats.intervals import ClusteredMean

Array = npt.NDArray[np.float64]

SIGNS = 9_999
"""Random choices of signs, at least."""
EXACT = 14
"""Up to so many clusters that differ, every choice of signs is looked at."""
COLUMNS = 64
ROWS = 4_096
"""Sizes of the blocks that are worked on at once, so that memory stays flat."""


def sign_flip(sums: Array, draws: int = SIGNS) -> list[float]:
    """Return two-sided p-values of paired differences having no direction.

    Under the hypothesis that two editors can be swapped, the differences of a cluster are as likely as their negatives,
    all together (Fisher 1935, §21; with clusters: Canay, Romano and Shaikh 2017). p is the share of choices of signs
    under which the sum over all clusters is at least as far from 0 as it is: over all choices if at most 14 clusters
    differ, else over random ones, the observed one among them (Phipson and Smyth 2010), so that it is never too small.
    The random ones are always the same.

    Args:
        sums: of the differences of each cluster, `(clusters, tests)`; 0 where a cluster has none.
        draws: random choices; p is at least 1 / (draws + 1).

    Returns:
        One p a test; 1 where nothing differs.
    """
    values = [1.0] * sums.shape[1]
    differing = np.count_nonzero(sums, axis=0)
    for test in np.flatnonzero((differing > 0) & (differing <= EXACT)):
        values[test] = _exact(sums[sums[:, test] != 0, test])
    many = np.flatnonzero(differing > EXACT)
    for start in range(0, len(many), COLUMNS):
        block = many[start : start + COLUMNS]
        for test, value in zip(block, _random(sums[:, block], draws), strict=True):
            values[test] = value
    return values


def _exact(sums: Array) -> float:
    bits = (np.arange(2 ** (len(sums) - 1))[:, None] >> np.arange(len(sums))) & 1  # the last sign is as good as fixed
    totals = np.abs((1.0 - 2.0 * bits) @ sums)
    return float((totals >= _bar(sums)).mean())


def _random(sums: Array, draws: int) -> list[float]:
    clusters = len(sums)
    stream = np.random.Philox(key=clusters)
    bar = _bar(sums)
    extreme = np.zeros(sums.shape[1], dtype=np.int64)
    for start in range(0, draws, ROWS):
        rows = min(ROWS, draws - start)
        raw = stream.random_raw(-(-rows * clusters // 64)).astype("<u8")  # raw bits: the same in every NumPy version
        bits = np.unpackbits(raw.view(np.uint8), count=rows * clusters).reshape(rows, clusters)
        extreme += (np.abs((1.0 - 2.0 * bits) @ sums) >= bar).sum(axis=0)
    return [float(1 + count) / (1 + draws) for count in extreme]


def _bar(sums: Array) -> Array:
    bar: Array = np.abs(sums.sum(axis=0)) - 1e-12 * np.abs(sums).sum(axis=0)  # what differs by rounding is equal
    return bar


def equivalence(difference: ClusteredMean, margin: float) -> float | None:
    """Return the p-value of two one-sided t tests (Schuirmann 1987): small if |difference| is surely below a margin.

    At most α exactly where the 1 − 2 α t interval lies inside (−margin, margin).

    Args:
        difference: the mean of paired differences.
        margin: what is too small to matter, above 0.

    Returns:
        p, or None with fewer than two clusters.
    """
    from scipy.special import stdtr

    if difference.mean is None or difference.error is None:
        return None
    room = margin - abs(difference.mean)
    if difference.error == 0:
        return 0.0 if room > 0 else 1.0
    return float(stdtr(difference.degrees, -room / difference.error))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for how many there are (Holm 1979); None stays None and is not counted."""
    known = sorted((value, position) for position, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, position) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        corrected[position] = largest
    return corrected
