"""The audit of metrics: damage is planted into one zone of a clean picture, and every metric's response is measured.

A metric of the keep region must not move when only the mask was damaged, must fall further the stronger the damage, and
must tell damage in its own zones from damage elsewhere. Each of these is a number here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from editbench.audit.damage import ZONES, Canvas, plant
from editbench.audit.findings import CASES, Audited, Response
from editbench.images import resize
from editbench.metrics import describe, load_metrics, score
from editbench.regions import REGIONS
from editbench.types import (
    Content,
    EditbenchError,
    Failed,
    Metric,
    Sample,
    Scenario,
    Suite,
    Undefined,
    Value,
    Zone,
)

SMALLEST_ZONE = 64
"""Pixels that every zone of a scenario must have for it to be of use."""
SIDE = 384
"""Larger pictures are cut to a window of this side around the mask."""
PATCH = 64
"""Side of the patch of which the picture of the dilution test is made."""

WATCHED: Mapping[str, tuple[Zone, ...]] = {
    "keep": ("near", "far"),
    "edit": ("core",),
    "band": ("band",),
    "all": ("core", "near", "far"),
}
"""Zones in which a metric of a region is meant to see damage; the band lies in edit and in keep.

A metric without a region, or with narrower sight, says so in an attribute `watches`.
"""


REGIONAL = ("psnr", "mae", "mse", "ssim", "changed", "delta_e", "gms", "st_lpips", "lpips")
"""Metrics that are audited in every region,"""
OTHERS = (
    "seam",
    "seam_z",
    "band_jump",
    "ring",
    "leak_profile",
    "leak_auc",
    "far_change",
    "global_shift",
    "global_shift:part=residual",
    "global_shift:part=translation",
    *(f"legacy_pie:{name}{part}" for name in ("psnr", "mse", "ssim") for part in ("", "_unedit", "_edit")),
    "legacy_brushnet:psnr",
    "legacy_brushnet:mse",
    "legacy_gie:masked_psnr_unaligned",
    "legacy_gie:masked_mse_unaligned",
    "legacy_gie:ssim",
)
"""all others that measure a difference,"""
READERS = {
    "shapes@1": tuple(f"{name}:region=all,model=shapes-tiny" for name in ("clip_score", "clip_directional")),
    "photos@1": ("conse_score:region=all",),
}
"""and those that know the words of a suite, unless a spec says which."""


def auditable(suite: str) -> tuple[dict[str, Metric], list[str]]:
    """Return every metric that can be audited here on a suite, and why each of the others cannot."""
    specs = [f"{name}:region={region}" for name in REGIONAL for region in REGIONS]
    metrics, skipped = {}, []
    for spec in (*specs, *OTHERS, *READERS.get(suite, ())):
        try:
            ((canonical, metric),) = load_metrics([spec]).items()
            describe(metric)
            metrics[canonical] = metric
        except EditbenchError as error:
            skipped.append(str(error))
    return metrics, skipped


def audit(
    metrics: Mapping[str, Metric], suite: Suite, scenarios: int = 6
) -> Iterator[tuple[int, int, Mapping[str, Audited]]]:
    """Audit metrics on clean pairs of a suite.

    Args:
        metrics: by spec, as from `load_metrics`.
        suite: where the pictures and masks come from.
        scenarios: how many to use: the first whose zones are all large enough, each of another cluster.

    Yields:
        After each scenario: how many are done, of how many, and the results so far by spec.

    Raises:
        EditbenchError: if no scenario of the suite is of use.
    """
    chosen = list(_chosen(suite, scenarios))
    if not chosen:
        raise EditbenchError(f"{suite.name}: no scenario has a mask with an inside, a border and far surroundings")
    results = {spec: _nothing_yet(spec, metric, len(chosen)) for spec, metric in metrics.items()}
    for number, scenario in enumerate(chosen):
        neighbour = chosen[(number + 1) % len(chosen)].source
        groups: dict[tuple[bool, bool], dict[str, Metric]] = {}
        for spec, metric in metrics.items():
            kind = "target" in metric.needs, bool(getattr(metric, "whole", False))
            groups.setdefault(kind, {})[spec] = metric
        for (against_target, whole), group in groups.items():
            clean = scenario.target if against_target and scenario.target is not None else scenario.source
            canvas = Canvas(clean, scenario.regions, resize(neighbour, *clean.shape[:2]), number, whole)
            _audit_scenario(group, scenario, canvas, results)
        yield number + 1, len(chosen), results


def _chosen(suite: Suite, count: int) -> Iterator[Scenario]:
    clusters: set[str] = set()
    for scenario in suite:
        if scenario.cluster in clusters or scenario.category == "no-op":
            continue
        cut = _cut(scenario)
        canvas = Canvas(cut.source, cut.regions, cut.source, 0)
        if min(int(zone.sum()) for zone in canvas.zones.values()) >= SMALLEST_ZONE:
            clusters.add(scenario.cluster)
            yield cut
        if len(clusters) == count:
            return


def _cut(scenario: Scenario) -> Scenario:
    """Return a scenario of at most SIDE×SIDE pixels, around where the mask is."""
    mask = scenario.mask
    window = []
    for axis in (0, 1):
        inside = np.flatnonzero(mask.any(axis=1 - axis))
        middle = int(inside[[0, -1]].mean()) if inside.size else 0
        start = min(max(0, middle - SIDE // 2), max(0, mask.shape[axis] - SIDE))
        window.append(slice(start, start + SIDE))
    frame = window[0], window[1]
    target = None if scenario.target is None else scenario.target[frame]
    return _with(scenario, Content(scenario.source[frame], mask[frame], target, scenario.checks))


def _with(scenario: Scenario, content: Content) -> Scenario:
    return replace(scenario, load=partial(_same, content))


def _same(content: Content) -> Content:
    return content


def _nothing_yet(spec: str, metric: Metric, scenarios: int) -> Audited:
    watched = tuple(getattr(metric, "watches", WATCHED[getattr(metric, "region", "all")]))
    # The band lies on both sides of the border: only a metric that looks nowhere else must be blind to them.
    beside = ZONES if watched == ("band",) else tuple(zone for zone in ZONES if zone != "band")
    blind = tuple(getattr(metric, "blind", (zone for zone in beside if zone not in watched)))
    return Audited(
        spec, watched, blind, tuple(getattr(metric, "sees", ())), not getattr(metric, "device", None), scenarios
    )


def _audit_scenario(
    metrics: Mapping[str, Metric], scenario: Scenario, canvas: Canvas, results: dict[str, Audited]
) -> None:
    rows = [score(metrics, [Sample(scenario, canvas.clean)])[0]]
    for zone, damage, level in CASES:
        rows += score(metrics, [Sample(scenario, plant(canvas, damage, zone, level))])
    diluted = _dilution_rows(metrics, scenario, canvas.seed)
    for spec, metric in metrics.items():
        values = [row[spec] for row in rows]
        undefined = next((value for value in values if isinstance(value, Undefined)), None)
        failed = next((value for value in values if isinstance(value, Failed)), None)
        if failed is not None:
            results[spec] = replace(results[spec], problem=failed.reason)
        if undefined is not None:  # as it is for every editor
            results[spec] = replace(results[spec], scenarios=results[spec].scenarios - 1, undefined=undefined.reason)
        if failed is not None or undefined is not None:
            continue
        numbers = np.array(values, np.float64)
        worse = {"higher": numbers[0] - numbers[1:], "lower": numbers[1:] - numbers[0]}
        sizes = worse.get(metric.direction, np.abs(numbers[1:] - numbers[0]))
        found = [Response(scenario.id, *case, float(size)) for case, size in zip(CASES, sizes, strict=True)]
        dilution = _dilution([row[spec] for row in diluted]) if results[spec].watched == WATCHED["keep"] else None
        results[spec] = replace(
            results[spec],
            responses=(*results[spec].responses, *found),
            dilutions=(*results[spec].dilutions, *([] if dilution is None else [dilution])),
        )


def _dilution_rows(metrics: Mapping[str, Metric], scenario: Scenario, seed: int) -> list[dict[str, Value]]:
    """Score noise, twice the noise, and the same noise under a mask that leaves an eighth to keep.

    The picture is a patch of the source, mirrored over and over, so that what is kept looks the same everywhere.
    """
    height, width = scenario.source.shape[:2]
    top, left = max(0, height - PATCH) // 2, max(0, width - PATCH) // 2
    patch = scenario.source[top : top + PATCH, left : left + PATCH]
    padding = [(0, max(0, height - PATCH)), (0, max(0, width - PATCH)), (0, 0)]
    even = np.pad(patch, padding, mode="symmetric")[:height, :width]
    canvas = Canvas(even, scenario.regions, even, seed)
    noisy, noisier = (np.clip(np.rint(even + sigma * canvas.noise), 0, 255).astype(np.uint8) for sigma in (8, 16))
    outside = scenario.regions.distance_outside
    grown = outside <= np.quantile(outside, 7 / 8)
    small, large = (_with(scenario, Content(even, mask, even)) for mask in (scenario.mask, grown))
    pairs = ((small, noisy), (small, noisier), (large, noisy))
    return [score(metrics, [Sample(owner, image)])[0] for owner, image in pairs]


def _dilution(values: Sequence[Value]) -> float | None:
    if any(isinstance(value, Undefined | Failed) for value in values):
        return None
    once, twice, diluted = (float(value) for value in values if isinstance(value, float))
    return abs(diluted - once) / abs(twice - once) if twice != once else None
