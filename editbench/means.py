"""The means of a board: of every metric of many runs, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from editbench.record_files import RecordFile
from editbench.stats import ClusteredMean, Clusters, Estimate, clustered_mean, clustered_means, estimates
from editbench.values import bounds_of, counted_values, seed_sd


@dataclass(frozen=True)
class Mean:
    """What a board says of one metric of a run."""

    estimate: Estimate
    seed_sd: float | None
    """Standard deviation between the repeats of a scenario, pooled over scenarios; None without repeats."""


def means_of(files: Sequence[RecordFile]) -> Iterator[Mapping[str, Mean]]:
    """Yield the means of each run by metric: computed together, for numbers one by one take longer than their sums."""
    spreads: list[float | None] = []
    found: list[ClusteredMean] = []
    for file, clusters in zip(files, _clusters(files), strict=True):
        if file.columns.repeated:
            for mean, spread in _of_repeats(file):
                found.append(mean)
                spreads.append(spread)
        else:
            found += _of_single(file, clusters)
            spreads += [None] * len(file.header.metrics)
    bounds = [bounds_of(info) for file in files for info in file.header.metrics.values()]
    means = map(Mean, estimates(found, bounds), spreads)
    for file in files:
        yield {metric: next(means) for metric in file.header.metrics}


def _clusters(files: Iterable[RecordFile]) -> Iterator[Clusters]:
    names: Sequence[str] = ()
    clusters = Clusters.of(names)
    for file in files:
        if file.columns.clusters != names:  # complete runs of one suite have the same
            names = file.columns.clusters
            clusters = Clusters.of(names)
        yield clusters


def _of_single(file: RecordFile, clusters: Clusters) -> list[ClusteredMean]:
    counted = [counted_values(file.columns, metric, info) for metric, info in file.header.metrics.items()]
    alike: dict[bytes, list[int]] = {}
    for place, (_, rows) in enumerate(counted):
        alike.setdefault(rows.tobytes(), []).append(place)
    means: dict[int, ClusteredMean] = {}
    for places in alike.values():
        values = np.stack([counted[place][0] for place in places])
        means.update(zip(places, clustered_means(values, clusters.only(counted[places[0]][1])), strict=True))
    return [means[place] for place in range(len(counted))]


def _of_repeats(file: RecordFile) -> Iterator[tuple[ClusteredMean, float | None]]:
    columns = file.columns
    cluster = dict(zip(columns.ids, columns.clusters, strict=True))
    for metric, info in file.header.metrics.items():
        numbers, counted = counted_values(columns, metric, info)
        per_scenario: dict[str, list[float]] = {}
        for row in np.flatnonzero(counted).tolist():
            per_scenario.setdefault(columns.ids[row], []).append(float(numbers[row]))
        means = [math.fsum(group) / len(group) for group in per_scenario.values()]
        yield clustered_mean(means, [cluster[name] for name in per_scenario]), seed_sd(per_scenario.values())
