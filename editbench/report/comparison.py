"""A comparison as JSON data and as one long CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from editbench.board import decimal
from editbench.compare import Compared, Comparison, Difference, Duel
from editbench.compare.power import FACTORS, Need
from editbench.stats import Estimate

CSV_COLUMNS = (
    "suite",
    "suite_sha256",
    "left",
    "right",
    "by",
    "slice",
    "metric",
    "signature",
    "direction",
    "unit",
    "left_mean",
    "right_mean",
    "difference",
    "ci_low",
    "ci_high",
    "n",
    "clusters",
    "left_n",
    "right_n",
    "p",
    "p_corrected",
    "effect",
    "superiority",
    "won",
    "lost",
    "tied",
    "detectable",
    "margin",
    "p_equivalent",
    "p_equivalent_corrected",
    "verdict",
    "left_sha256",
    "right_sha256",
)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data; numbers are not rounded."""
    return {
        "suite": {"name": comparison.suite.name, "sha256": comparison.suite.identity},
        "tests": comparison.tests,
        "duels": [_duel(duel) for duel in comparison.duels],
        "notes": list(comparison.notes),
    }


def _duel(duel: Duel) -> dict[str, Any]:
    flips = duel.flips
    return {
        "left": _run(duel.left),
        "right": _run(duel.right),
        "differences": [_difference(found) for found in duel.differences],
        "flips": None
        if flips is None
        else {
            "won": list(flips.won),
            "lost": list(flips.lost),
            "both_succeeded": flips.both_succeeded,
            "both_failed": flips.both_failed,
            "alike": flips.alike,
        },
        "slices": [
            {"by": part.by, "slice": part.value, "metric": part.metric, "means": part.means, **_estimate(part.estimate)}
            for part in duel.slices
        ],
        "left_out": dict(duel.left_out),
    }


def _run(run: Compared) -> dict[str, Any]:
    return {
        "name": run.name,
        "editor": run.header.editor.spec,
        "mask_access": run.header.editor.mask_access,
        "expected": run.expected,
        "tried": run.tried,
        "failed": run.failed,
        "records_sha256": run.file.sha256,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "difference": estimate.mean,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "n": estimate.n,
        "clusters": estimate.clusters,
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "signature": found.signature,
        "direction": found.info.direction,
        "unit": found.info.unit,
        "means": found.means,
        "counts": found.counts,
        **_estimate(found.estimate),
        "standard_error": found.spread.error,
        "degrees": found.spread.degrees,
        "agreement": found.agreement,
        "p": found.p,
        "least_p": found.least_p,
        "p_corrected": found.p_corrected,
        "effect": found.effect,
        "superiority": found.superiority,
        "won": found.won,
        "lost": found.lost,
        "tied": found.tied,
        "detectable": found.detectable,
        "margin": found.margin,
        "p_equivalent": found.p_equivalent,
        "p_equivalent_corrected": found.p_equivalent_corrected,
        "verdict": found.verdict,
    }


def to_csv(comparison: Comparison) -> str:
    """Return one row a metric of every pair of runs, then its slices, in plain decimals of six significant digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for duel in comparison.duels:
        ends = {
            "suite": comparison.suite.name,
            "suite_sha256": comparison.suite.identity,
            "left": duel.left.name,
            "right": duel.right.name,
            "left_sha256": duel.left.file.sha256,
            "right_sha256": duel.right.file.sha256,
        }
        infos = {found.metric: found for found in duel.differences}
        for found in duel.differences:
            writer.writerow({**ends, **_named(found), **_whole(found)})
        for part in duel.slices:
            cut = {"by": part.by, "slice": part.value}
            writer.writerow({**ends, **_named(infos[part.metric]), **cut, **_numbers(part.means, part.estimate)})
    return buffer.getvalue()


def _named(found: Difference) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "signature": found.signature,
        "direction": found.info.direction,
        "unit": found.info.unit,
    }


def _numbers(means: tuple[float | None, float | None], estimate: Estimate) -> dict[str, Any]:
    return {
        "left_mean": decimal(means[0]),
        "right_mean": decimal(means[1]),
        "difference": decimal(estimate.mean),
        "ci_low": decimal(estimate.low),
        "ci_high": decimal(estimate.high),
        "n": estimate.n,
        "clusters": estimate.clusters,
    }


def _whole(found: Difference) -> dict[str, Any]:
    numbers = ("p", "p_corrected", "effect", "superiority", "detectable", "margin", "p_equivalent")
    return {
        **_numbers(found.means, found.estimate),
        **{name: decimal(getattr(found, name)) for name in (*numbers, "p_equivalent_corrected")},
        "left_n": found.counts[0],
        "right_n": found.counts[1],
        "won": found.won,
        "lost": found.lost,
        "tied": found.tied,
        "verdict": found.verdict,
    }


NEED_COLUMNS = (
    "left",
    "right",
    "metric",
    "n",
    "clusters",
    *(f"detectable_x{factor}" for factor in FACTORS),
    "size",
    "clusters_needed",
    "scenarios_needed",
)


def needs_json(needs: Iterable[Need]) -> list[dict[str, Any]]:
    """Return what differences need as JSON data."""
    return [dict(zip(NEED_COLUMNS, _need(need), strict=True)) for need in needs]


def needs_csv(needs: Iterable[Need]) -> str:
    """Return what differences need as a table, in plain decimals of six significant digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(NEED_COLUMNS)
    for need in needs:
        writer.writerow([decimal(value) if isinstance(value, float) else value for value in _need(need)])
    return buffer.getvalue()


def _need(need: Need) -> list[str | int | float | None]:
    return [
        need.left,
        need.right,
        need.metric,
        need.n,
        need.clusters,
        *need.detectable,
        need.size,
        need.clusters_needed,
        need.scenarios_needed,
    ]
