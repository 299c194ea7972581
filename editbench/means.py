"""The means of a board: of every metric of many runs, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from editbench.record_files import RecordFile
from editbench.stats import ClusteredMean, Clusters, Estimate, clustered_mean, clustered_means, estimates
from editbench.values import bounds_of, counted_values, seed_sd


@dataclass(frozen=True)
class Mean:
    """What a board says of one metric of a run."""

    estimate: Estimate
    seed_sd: float | None
    """Standard deviation between the repeats of a scenario, pooled over scenarios; None without repeats."""


TOGETHER = 1 << 16
"""Values that are averaged together: numbers one by one take longer than their sums, and all at once much memory."""


def means_of(files: Sequence[RecordFile]) -> Iterator[Mapping[str, Mean]]:
    """Yield the means of each run by metric."""
    found: list[ClusteredMean] = []
    spreads: list[float | None] = []
    for batch in _batches(files):
        single = iter(_of_single([file for file in batch if not file.columns.repeated]))
        for file in batch:
            if file.columns.repeated:
                for mean, spread in _of_repeats(file):
                    found.append(mean)
                    spreads.append(spread)
            else:
                found += islice(single, len(file.header.metrics))
                spreads += [None] * len(file.header.metrics)
    bounds = [bounds_of(info) for file in files for info in file.header.metrics.values()]
    means = map(Mean, estimates(found, bounds), spreads)
    for file in files:
        yield {metric: next(means) for metric in file.header.metrics}


def _batches(files: Iterable[RecordFile]) -> Iterator[list[RecordFile]]:
    batch: list[RecordFile] = []
    values = 0
    for file in files:
        batch.append(file)
        values += len(file.columns) * len(file.header.metrics)
        if values >= TOGETHER:
            yield batch
            batch, values = [], 0
    if batch:
        yield batch


def _clusters(files: Iterable[RecordFile]) -> Iterator[Clusters]:
    names: Sequence[str] = ()
    clusters = Clusters.of(names)
    for file in files:
        if file.columns.clusters != names:  # complete runs of one suite have the same
            names = file.columns.clusters
            clusters = Clusters.of(names)
        yield clusters


def _of_single(files: Sequence[RecordFile]) -> list[ClusteredMean]:
    """Return the means of every metric, run after run: those together that are over the same scenarios."""
    values: list[npt.NDArray[np.float64]] = []
    alike: dict[tuple[Clusters, bytes], list[int]] = {}
    for file, clusters in zip(files, _clusters(files), strict=True):
        for metric, info in file.header.metrics.items():
            numbers, counted = counted_values(file.columns, metric, info)
            alike.setdefault((clusters, counted.tobytes()), []).append(len(values))
            values.append(numbers)
    means: dict[int, ClusteredMean] = {}
    for (clusters, counted_bytes), places in alike.items():
        counted = np.frombuffer(counted_bytes, np.bool_)
        found = clustered_means(np.stack([values[place] for place in places]), clusters.only(counted))
        means.update(zip(places, found, strict=True))
    return [means[place] for place in range(len(values))]


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
