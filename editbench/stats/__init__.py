"""Statistics over scenarios that come in clusters: intervals, tests, ranks, and what a suite can show at all."""

from __future__ import annotations

from editbench.stats.hypotheses import equivalence, holm, sign_flip
from editbench.stats.intervals import (
    DRAWS,
    LEVEL,
    ClusteredMean,
    Clusters,
    Estimate,
    clustered_mean,
    clustered_means,
    estimate,
    estimates,
    resamples,
)
from editbench.stats.power import LEAST, clusters_needed, detectable, within_clusters
from editbench.stats.ranks import front, rank_ranges

__all__ = [
    "DRAWS",
    "LEAST",
    "LEVEL",
    "ClusteredMean",
    "Clusters",
    "Estimate",
    "clustered_mean",
    "clustered_means",
    "clusters_needed",
    "detectable",
    "equivalence",
    "estimate",
    "estimates",
    "front",
    "holm",
    "rank_ranges",
    "resamples",
    "sign_flip",
    "within_clusters",
]
