"""How often intervals hold the truth and tests cry wolf, over simulated suites of which the truth is known.

`python -m editbench.stats.coverage` prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editbench.stats.hypotheses import holm, sign_flip
from editbench.stats.intervals import DRAWS, LEVEL, resamples, score_interval, standard_error

Array = npt.NDArray[np.float64]

SUITES = 2000
CLUSTERS = (6, 20, 60)
SIZES: Mapping[str, tuple[int, ...]] = {
    "equal": (4,),
    "unequal": (1, 2, 3, 4, 5, 6, 7),
    "very unequal": (1, 1, 1, 2, 20),
}
"""Scenarios in a cluster: drawn from these."""
COMMON = math.sqrt(0.3)
"""How much of what decides a scenario its cluster shares: an intraclass correlation of 0.3."""
ALPHA = 0.05
METRICS = 5
"""Metrics that a simulated comparison is corrected over."""


class Uniform:
    """Uniform numbers from the raw bits of one stream: the same in every NumPy version."""

    def __init__(self, key: int) -> None:
        self._stream = np.random.Philox(key=key)

    def __call__(self, *shape: int) -> Array:
        """Return numbers in (0, 1) of this shape."""
        raw = self._stream.random_raw(math.prod(shape)) >> np.uint64(11)
        return (raw.astype(np.float64).reshape(shape) + 0.5) * 2.0**-53

    def normal(self, *shape: int) -> Array:
        """Return standard normal numbers of this shape."""
        from scipy.special import ndtri

        found: Array = ndtri(self(*shape))
        return found


@dataclass(frozen=True)
class Kind:
    """One kind of data: how values come about, what their mean is and which range a metric of this kind has."""

    name: str
    draw: Callable[[Uniform, tuple[int, ...]], Array]
    """From a stream and `(suites, clusters, scenarios)`."""
    truth: float
    bounds: tuple[float, float]


def _shared(uniform: Uniform, shape: tuple[int, ...]) -> Array:
    """Return standard normal values that scenarios of a cluster share in part."""
    return COMMON * uniform.normal(*shape[:2], 1) + math.sqrt(1 - COMMON**2) * uniform.normal(*shape)


def _share(probability: float) -> Callable[[Uniform, tuple[int, ...]], Array]:
    from scipy.special import ndtri

    bar = float(ndtri(probability))
    return lambda uniform, shape: (_shared(uniform, shape) < bar).astype(np.float64)


def _skewed(uniform: Uniform, shape: tuple[int, ...]) -> Array:
    values: Array = np.exp(_shared(uniform, shape) / math.sqrt(2))
    return values


def _leak(uniform: Uniform, shape: tuple[int, ...]) -> Array:
    loud = np.exp(_shared(uniform, shape) / math.sqrt(2)) * 0.02
    values: Array = np.minimum(loud * (uniform(*shape) < 0.5), 1.0)
    return values


def _composite(uniform: Uniform, shape: tuple[int, ...]) -> Array:
    values: Array = _share(0.5)(uniform, shape) * np.sqrt(1 - 0.4 * uniform(*shape))
    return values


def _wins(uniform: Uniform, shape: tuple[int, ...]) -> Array:
    from scipy.special import ndtri

    common = _shared(uniform, shape)
    ours, theirs = ((common + uniform.normal(*shape)) / math.sqrt(2) < ndtri(share) for share in (0.4, 0.3))
    wins: Array = ours.astype(np.float64) - theirs
    return wins


def kinds() -> list[Kind]:
    """Return the kinds of data that are simulated."""
    return [
        Kind("normal", _shared, 0.0, (-math.inf, math.inf)),
        Kind("skewed (lognormal, skewness 2.9), from 0", _skewed, math.exp(0.25), (0.0, math.inf)),
        Kind("half zeros, half skewed and small, in [0, 1]", _leak, 0.01 * math.exp(0.25), (0.0, 1.0)),
        Kind("composite: half zeros, half near 0.9", _composite, 0.5 * (1 - 0.6**1.5) / 0.6, (0.0, 1.0)),
        Kind("binary, 50 %", _share(0.5), 0.5, (0.0, 1.0)),
        Kind("binary, 80 %", _share(0.8), 0.8, (0.0, 1.0)),
        Kind("binary, 95 %", _share(0.95), 0.95, (0.0, 1.0)),
        Kind("difference of two binary ones", _wins, 0.1, (-1.0, 1.0)),
    ]


# ----------------------------------------------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Coverage:
    """Shares of the simulated suites whose interval holds the truth."""

    ours: float
    plain: float
    """Of the t interval with G − 1 degrees of freedom and without correction of the standard error."""
    bootstrap: float | None
    """Of the percentile bootstrap over clusters; None where it was not tried."""
    constant: float
    """Share of suites in which all values are equal, whose interval has no width."""


def coverage(kind: Kind, clusters: int, sizes: tuple[int, ...], suites: int, bootstrap: bool = False) -> Coverage:
    """Simulate suites and return how often intervals for the mean hold the truth.

    Args:
        kind: of data.
        clusters: in each suite.
        sizes: of clusters, drawn with equal probability.
        suites: how many.
        bootstrap: whether to try the percentile bootstrap as well, which takes longest.
    """
    from scipy.special import stdtrit

    sums, counts, spread = _suites(kind, clusters, sizes, suites)
    mean = sums.sum(axis=1) / counts.sum(axis=1)
    error, degrees = standard_error(mean, sums, counts)
    low, high = score_interval(mean, stdtrit(degrees, 0.5 + LEVEL / 2) * error, kind.bounds)
    residuals = sums - mean[:, None] * counts
    usual = np.sqrt(clusters / (clusters - 1) * (residuals**2).sum(axis=1)) / counts.sum(axis=1)
    margin = stdtrit(clusters - 1, 0.5 + LEVEL / 2) * usual
    return Coverage(
        _held(kind.truth, low, high),
        _held(kind.truth, mean - margin, mean + margin),
        _bootstrap(kind.truth, sums, counts) if bootstrap else None,
        float((spread == 0).mean()),
    )


def _suites(kind: Kind, clusters: int, sizes: tuple[int, ...], suites: int) -> tuple[Array, Array, Array]:
    uniform = Uniform(clusters)
    drawn = np.array(sizes)[(uniform(suites, clusters) * len(sizes)).astype(np.intp)]
    values = kind.draw(uniform, (suites, clusters, max(sizes)))
    there = np.arange(max(sizes)) < drawn[..., None]
    spread = np.where(there, values, -np.inf).max(axis=(1, 2)) - np.where(there, values, np.inf).min(axis=(1, 2))
    return (values * there).sum(axis=2), drawn.astype(np.float64), spread


def _bootstrap(truth: float, sums: Array, counts: Array) -> float:
    drawn = np.zeros((DRAWS, sums.shape[1]))
    np.add.at(drawn, (np.arange(DRAWS)[:, None], resamples(sums.shape[1])), 1.0)
    means = (drawn @ sums.T) / (drawn @ counts.T)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return _held(truth, low, high)


def _held(truth: float, low: Array, high: Array) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


# --------------------------------------------------------------------------------------------------------- tests


@dataclass(frozen=True)
class FalseAlarms:
    """Shares of the simulated comparisons of two editors of one quality that find a difference."""

    single: float
    """By one metric, p ≤ 0.05."""
    family: float
    """By any of five metrics, corrected."""


def false_alarms(kind: Kind, clusters: int, sizes: tuple[int, ...], suites: int, swapped: bool = True) -> FalseAlarms:
    """Simulate comparisons of editors that do not differ, and return how often one is found.

    Args:
        kind: of data; an editor's five metrics are five draws that share a part.
        clusters: in each suite.
        sizes: of clusters, drawn with equal probability.
        suites: how many.
        swapped: whether both editors are alike in everything; else the second has its mean on every scenario, so that
            means are equal but differences are as skewed as the data.
    """
    uniform = Uniform(clusters + 1000)
    drawn = np.array(sizes)[(uniform(suites, clusters) * len(sizes)).astype(np.intp)]
    there = np.arange(max(sizes)) < drawn[..., None]
    shape = (suites, clusters, max(sizes))
    common = [kind.draw(uniform, shape) for _ in range(2)]
    sums = []
    for _ in range(METRICS):
        ours, theirs = ((kind.draw(uniform, shape) + part) / 2 for part in common)
        values = ours - theirs if swapped else ours - kind.truth
        sums.append((values * there).sum(axis=2))
    tests = np.stack(sums, axis=1).reshape(suites * METRICS, clusters)
    p = np.array(sign_flip(np.ascontiguousarray(tests.T))).reshape(suites, METRICS)
    corrected = [min(value for value in holm(row) if value is not None) for row in p.tolist()]
    return FalseAlarms(float((p[:, 0] <= ALPHA).mean()), float(np.mean([value <= ALPHA for value in corrected])))


# -------------------------------------------------------------------------------------------------------- tables


def coverage_table(suites: int = SUITES) -> Iterator[str]:
    """Yield the lines of the table of intervals, in Markdown."""
    yield "| values | clusters of | " + " | ".join(f"G = {count}" for count in CLUSTERS) + " | plain t | bootstrap |"
    yield "|---|---|" + "---|" * (len(CLUSTERS) + 2)
    for kind in kinds():
        for words, sizes in SIZES.items():
            found = [coverage(kind, count, sizes, suites, bootstrap=True) for count in CLUSTERS]
            ours = [_percent(one.ours) + (f" ({_percent(one.constant)})" if one.constant else "") for one in found]
            plain = " ".join(_percent(one.plain) for one in found)
            bootstrap = " ".join(_percent(one.bootstrap or 0.0) for one in found)
            yield f"| {kind.name} | {words} size | {' | '.join(ours)} | {plain} | {bootstrap} |"


def alarms_table(suites: int = SUITES) -> Iterator[str]:
    """Yield the lines of the table of false alarms, in Markdown."""
    yield "| differences of | " + " | ".join(f"G = {count}: one metric, five" for count in CLUSTERS) + " |"
    yield "|---|" + "---|" * len(CLUSTERS)
    chosen = {kind.name: kind for kind in kinds()}
    for name in ("normal", "skewed (lognormal, skewness 2.9), from 0", "binary, 50 %", "binary, 95 %"):
        for swapped, words in ((True, "two editors alike in everything"), (False, "means alike, shapes not")):
            alarms = [false_alarms(chosen[name], count, SIZES["unequal"], suites, swapped) for count in CLUSTERS]
            cells = [f"{_percent(one.single)}, {_percent(one.family)}" for one in alarms]
            yield f"| {name}; {words} | {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*coverage_table(), "", *alarms_table()]) + "\n")
