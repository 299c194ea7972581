"""Paired comparison of runs: from records to differences, their intervals and tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from editbench.board import FIDELITY, RANKING, SUCCESS
from editbench.compare.comparison import ALPHA, Comparison, Difference, Duel, Flips, Slice
from editbench.compare.runs import Compared, agreement, check_same_suite
from editbench.compare.slices import order_of, slices_of
from editbench.specs import did_you_mean
from editbench.stats import clustered_mean, detectable, equivalence, estimate, holm, sign_flip, within_clusters
from editbench.stats.hypotheses import SIGNS
from editbench.types import EditbenchError
from editbench.values import bounds_of, value_of

HEADLINE = (RANKING, SUCCESS, FIDELITY)
"""Metrics that are cut into slices where nobody chose."""
DRAWS_A_TEST = 100
"""Random signs for each test of a comparison, at least, so that its correction leaves small p-values small."""


@dataclass(frozen=True)
class Pairs:
    """One metric of two runs on the scenarios on which both have a value, sorted by scenario."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    left: tuple[float, ...]
    """Mean over the paired repeats of each scenario."""
    right: tuple[float, ...]
    counts: tuple[int, int]
    """Scenarios on which each run alone has a value."""

    @property
    def differences(self) -> list[float]:
        """Left less right, scenario by scenario."""
        return [a - b for a, b in zip(self.left, self.right, strict=True)]


def compare(
    runs: Sequence[Compared],
    metrics: Sequence[str] | None = None,
    margins: Mapping[str, float] | None = None,
    slices: Sequence[str] = ("category",),
) -> Comparison:
    """Compare the first run with each of the others, scenario by scenario.

    Args:
        runs: at least two, from `load_runs`.
        metrics: specs to compare; all that the first shares with each other run if None.
        margins: by metric, the difference that is too small to matter: equivalence is tested against it.
        slices: what to cut the suite by: `category`, `mask_size`, `boundary`.

    Raises:
        EditbenchError: naming what keeps the runs from being compared.
    """
    check_same_suite(runs)
    agreed = [agreement(runs[0], right, metrics) for right in runs[1:]]
    compared = {metric for one in agreed for metric in one.metrics}
    margins = margins or {}
    for metric, margin in margins.items():
        if metric not in compared:
            raise EditbenchError(f"margin of {metric!r}, which is not compared{did_you_mean(metric, compared)}")
        if not 0 < margin < math.inf:
            raise EditbenchError(f"margin {metric}={margin}, expected a number above 0")
    parts = {by: slices_of(runs[0].file, by) for by in slices}
    clusters = {record.scenario_id: record.cluster for run in runs for record in run.file.records}
    places = {name: index for index, name in enumerate(sorted(set(clusters.values())))}
    ours = {metric: _values(runs[0], metric) for metric in sorted(compared)}
    duels, sums = [], []
    for right, one in zip(runs[1:], agreed, strict=True):
        pairs = {metric: _pairs(ours[metric], _values(right, metric), clusters) for metric in one.metrics}
        cut = [metric for metric in one.metrics if metrics is not None or metric in HEADLINE] or one.metrics[:1]
        duels.append(
            Duel(
                runs[0],
                right,
                tuple(_difference(runs[0], metric, found, margins.get(metric)) for metric, found in pairs.items()),
                _flips(pairs[SUCCESS]) if SUCCESS in pairs and pairs[SUCCESS].ids else None,
                tuple(_slices(runs[0], {metric: pairs[metric] for metric in cut}, parts)),
                one.left_out,
            )
        )
        sums += [_sums(found, places) for found in pairs.values()]
    tested = _tested(duels, np.array(sums, dtype=np.float64).reshape(len(sums), len(places)).T)
    return Comparison(runs[0].header.suite, tuple(tested), tuple(_notes(runs, tested)))


# ------------------------------------------------------------------------------------------------------- pairs


def _values(run: Compared, metric: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    info = run.header.metrics[metric]
    for record in run.file.records:
        value = value_of(record, metric, info)
        if isinstance(value, float):
            found.setdefault(record.scenario_id, {})[record.repeat] = value
    return found


def _pairs(
    left: Mapping[str, Mapping[int, float]], right: Mapping[str, Mapping[int, float]], clusters: Mapping[str, str]
) -> Pairs:
    """Pair two runs on scenario and repeat; scenarios without a common repeat are left out."""
    ids, means = [], []
    for name in sorted(left.keys() & right.keys()):
        repeats = sorted(left[name].keys() & right[name].keys())
        if repeats:
            ids.append(name)
            means.append([math.fsum(of[name][repeat] for repeat in repeats) / len(repeats) for of in (left, right)])
    return Pairs(
        tuple(ids),
        tuple(clusters[name] for name in ids),
        tuple(a for a, _ in means),
        tuple(b for _, b in means),
        (len(left), len(right)),
    )


def _sums(pairs: Pairs, places: Mapping[str, int]) -> npt.NDArray[np.float64]:
    grouped: dict[str, list[float]] = {}
    for cluster, value in zip(pairs.clusters, pairs.differences, strict=True):
        grouped.setdefault(cluster, []).append(value)
    sums = np.zeros(len(places))
    for cluster, values in grouped.items():
        sums[places[cluster]] = math.fsum(values)
    return sums


# ------------------------------------------------------------------------------------------------- one metric


def _difference(run: Compared, metric: str, pairs: Pairs, margin: float | None) -> Difference:
    info = run.header.metrics[metric]
    values = pairs.differences
    spread = clustered_mean(values, pairs.clusters)
    low, high = bounds_of(info)
    larger, smaller = sum(x > 0 for x in values), sum(x < 0 for x in values)
    won, lost = (smaller, larger) if info.direction == "lower" else (larger, smaller)
    n = len(values)
    return Difference(
        metric,
        run.header.signature(metric),
        info,
        (math.fsum(pairs.left) / n, math.fsum(pairs.right) / n) if n else (None, None),
        pairs.counts,
        estimate(values, pairs.clusters, (low - high, high - low)),
        spread,
        within_clusters(values, pairs.clusters),
        won,
        lost,
        n - won - lost,
        p=None,
        least_p=None,
        effect=_effect(values),
        superiority=(won + (n - won - lost) / 2) / n if n else None,
        detectable=detectable(spread),
        margin=margin,
        p_equivalent=None if margin is None else equivalence(spread, margin),
    )


def _effect(values: Sequence[float]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1))
    return mean / sd if sd > 0 else 0.0 if mean == 0 else None


def _flips(pairs: Pairs) -> Flips:
    outcomes = list(zip(pairs.ids, pairs.left, pairs.right, strict=True))
    tied = [left for _, left, right in outcomes if left == right]
    return Flips(
        tuple(name for name, left, right in outcomes if left > right),
        tuple(name for name, left, right in outcomes if left < right),
        tied.count(1.0),
        tied.count(0.0),
        len(tied) - tied.count(1.0) - tied.count(0.0),
    )


def _slices(run: Compared, pairs: Mapping[str, Pairs], parts: Mapping[str, Mapping[str, str]]) -> list[Slice]:
    found = []
    for by, part_of in parts.items():
        for metric, of_metric in pairs.items():
            low, high = bounds_of(run.header.metrics[metric])
            own = [part_of.get(name) for name in of_metric.ids]
            for part in order_of([part for part in own if part is not None]):
                rows = [row for row, one in enumerate(own) if one == part]
                left, right = ([side[row] for row in rows] for side in (of_metric.left, of_metric.right))
                differences = [a - b for a, b in zip(left, right, strict=True)]
                interval = estimate(differences, [of_metric.clusters[row] for row in rows], (low - high, high - low))
                means = math.fsum(left) / len(rows), math.fsum(right) / len(rows)
                found.append(Slice(by, part, metric, means, interval))
    return found


# ------------------------------------------------------------------------------------------------- all together


def _tested(duels: Sequence[Duel], sums: npt.NDArray[np.float64]) -> list[Duel]:
    """Add the p-values, corrected over all metrics and all pairs of runs.

    Args:
        duels: without them.
        sums: differences of each cluster, `(clusters, tests)`, in the order of the duels and their metrics.
    """
    found = [difference for duel in duels for difference in duel.differences]
    draws = max(SIGNS, DRAWS_A_TEST * len(found) - 1)
    values = [p if one.estimate.clusters > 1 else None for p, one in zip(sign_flip(sums, draws), found, strict=True)]
    corrected, equivalent = holm(values), holm([one.p_equivalent for one in found])
    least = [max(2.0 ** (1 - one.estimate.clusters), 1 / (draws + 1)) for one in found]
    done = iter(
        replace(
            one,
            p=p,
            least_p=None if p is None else least_p,
            p_corrected=holms,
            p_equivalent_corrected=alike,
        )
        for one, p, least_p, holms, alike in zip(found, values, least, corrected, equivalent, strict=True)
    )
    return [replace(duel, differences=tuple(next(done) for _ in duel.differences)) for duel in duels]


def _notes(runs: Sequence[Compared], duels: Sequence[Duel]) -> list[str]:
    notes = []
    for run in runs:
        if run.tried < run.expected:
            notes.append(f"{run.name!r} is incomplete: {run.tried} of {run.expected} edits were tried")
    repeats = sorted({run.header.repeats for run in runs})
    if len(repeats) > 1:
        notes.append(f"the runs have {' and '.join(map(str, repeats))} repeats: only those that both have are paired")
    for duel in duels:
        if duel.left.file.records == duel.right.file.records:
            notes.append(f"{duel.left.name!r} and {duel.right.name!r} have the same records: the same edits")
    differences = [one for duel in duels for one in duel.differences]
    known = [one for one in differences if one.least_p is not None]
    hopeless = [one for one in known if len(known) * (one.least_p or 0.0) > ALPHA]
    if hopeless:
        fewest = min(hopeless, key=lambda one: one.estimate.clusters)
        least = fewest.least_p or 0.0
        notes.append(
            f"{fewest.estimate.clusters} clusters cannot give p below {least:.2g}, which Holm's correction over "
            f"{len(known)} tests makes {min(1.0, len(known) * least):.2g}: name the metrics that matter with --metrics"
        )
    return notes
