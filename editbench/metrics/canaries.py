"""Canaries: shipped pairs of images with the value that every metric has on them, scored at the start of a run.

A library that is newer, a kernel that is faster, weights that are others: each can move a metric without an error. A
canary's expected value does not move with it. Its pixels come from `shapes@1` by integer arithmetic alone, so they are
the same on every platform; should they ever not be, that is what is said, and their values are not compared.

`python -m editbench.metrics.canaries` writes the expected values anew: after a metric's version was raised, never to
silence a drift that nobody can explain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from editbench.images import pixels_sha256
from editbench.metrics import load_metrics, score
from editbench.records import dumps, loads
from editbench.registry import create
from editbench.types import Failed, Image, Metric, Sample, Scenario, Suite, Undefined

EXPECTED = Path(__file__).with_name("canaries.json")
SUITE = "shapes@1:size=64"

TOLERANCE = 1e-6
"""How far a value may lie from the expected one, v, for a metric without a network: this much times 1 + |v|.

Sums over 8-bit pixels are exact, and double precision in another order of operations moves 1e-12 of a value at most;
`ssim` alone works in single precision, which it keeps within 1e-6 of exact arithmetic.
"""
NETWORK_TOLERANCE = 1e-3
"""The same for a metric with a network.

Between processors single precision moves a value by 1e-5 at most; convolutions on an accelerator keep ten bits of a
product (TF32), 5e-4 of it. Other weights, another way to resize or normalise, move a value by percents.
"""


@dataclass(frozen=True)
class Canary:
    """A pair of images: a scenario's source, and an output that is made from source and target."""

    name: str
    scenario: int
    """Number of the scenario in the suite."""
    reached: int
    """How far the output has come from source to target, in eighths."""
    noise: int = 0
    """Largest deviation in levels: a fixed pattern."""
    cast: tuple[int, int, int] = (0, 0, 0)
    """Levels added to red, green and blue."""
    spill: int = 0
    """Levels added in every other block of eight pixels of the lower half: texture that the source does not have."""
    moved: int = 0
    """Pixels by which everything has moved to the right."""

    def output(self, source: Image, target: Image) -> Image:
        """Return the output of the pair."""
        height, width, _ = source.shape
        rows, columns, channels = np.ogrid[:height, :width, :3]
        pixels = (source.astype(np.int64) * (8 - self.reached) + target.astype(np.int64) * self.reached) // 8
        pixels = np.roll(pixels, self.moved, axis=1)
        pattern = (7 * rows * rows + 13 * columns + 5 * rows * columns + 29 * channels) % 31 - 15
        pixels += pattern * self.noise // 15 + np.array(self.cast)
        pixels += self.spill * (((rows // 8 + columns // 8) % 2 == 0) & (rows >= height // 2))
        output: Image = np.clip(pixels, 0, 255).astype(np.uint8)
        return output


CANARIES = (
    Canary("done", scenario=60, reached=8, noise=3),
    Canary("half done", scenario=65, reached=5, noise=12, cast=(9, -6, 3), spill=40),
    Canary("moved", scenario=6, reached=7, noise=6, moved=2),
    Canary("wide mask", scenario=20, reached=4, noise=40, cast=(-5, 4, 12), spill=30),
    Canary("nothing to do", scenario=23, reached=0, noise=8, cast=(0, 2, -4)),
)
"""A success, a half-way edit and a displaced one with small masks, one whose mask is nearly everything, and a no-op."""
FOR_NETWORKS = ("half done", "wide mask")
"""What a metric with a network is scored on: enough to see another network, at two passes a run."""

_REGIONS = ("keep", "edit", "band", "all")
SPECS = (
    *(
        f"{name}:region={region}"
        for name in ("psnr", "mae", "mse", "changed", "delta_e", "ssim", "gms", "st_lpips")
        for region in _REGIONS
    ),
    *(f"target:{name},region={region}" for name in ("psnr", "mae", "ssim") for region in ("keep", "edit", "all")),
    *(f"clip_score:region={region},model=shapes-tiny" for region in ("all", "edit")),
    *(f"clip_directional:region={region},model=shapes-tiny" for region in ("all", "edit")),
    *(f"clip_image:region={region},model=shapes-tiny" for region in ("all", "edit")),
    *(f"conse_score:region={region}" for region in ("all", "edit")),
    *("ring", "seam", "seam_z", "band_jump", "leak_profile", "leak_auc", "far_change"),
    *("global_shift", "global_shift:part=residual", "global_shift:part=translation"),
    *("composite", "success", "success_graded", "noop"),
    *(f"legacy_pie:{name}{part}" for name in ("psnr", "mse", "ssim") for part in ("", "_unedit", "_edit")),
    *("legacy_brushnet:mse", "legacy_brushnet:psnr"),
    *("legacy_gie:masked_mse_unaligned", "legacy_gie:masked_psnr_unaligned", "legacy_gie:ssim"),
    *("legacy_magicbrush:l1", "legacy_magicbrush:l2"),
)
"""Every built-in metric whose weights come with this package or from a package index."""


def drift(metrics: Mapping[str, Metric]) -> list[str]:
    """Score the canaries with those metrics that have expected values.

    Args:
        metrics: by canonical spec, from `load_metrics`.

    Returns:
        One line for each value beyond its tolerance, and for each pair whose pixels are not what they were.
    """
    expected = _read()
    known = {spec: metric for spec, metric in metrics.items() if spec in expected["values"]}
    if not known:
        return []
    pixels = _pixels()
    damaged = [name for name in pixels if pixels[name] != expected["pixels"].get(name)]
    lines = [f"canary {name!r} has other pixels than were shipped: its values are not compared" for name in damaged]
    samples = _samples()
    for spec, metric in known.items():
        values = {name: value for name, value in expected["values"][spec].items() if name not in damaged}
        rows = score({spec: metric}, [samples[name] for name in values])
        for (name, value), row in zip(values.items(), rows, strict=True):
            allowed, now = tolerance(metric) * (1 + abs(value)), row[spec]
            if not (isinstance(now, float) and abs(now - value) <= allowed):
                said = f"{now:.9g}" if isinstance(now, float) else _reason(now)
                lines.append(f"{spec} on canary {name!r}: {said}, expected {value:.9g} ± {allowed:.1g}")
    return lines


def _has_network(metric: Metric) -> bool:
    return bool(getattr(metric, "device", None))


def tolerance(metric: Metric) -> float:
    """Return how far a value may be off, times 1 + its size: sums in another order, or a network elsewhere."""
    return NETWORK_TOLERANCE if _has_network(metric) else TOLERANCE


def _reason(value: Undefined | Failed) -> str:
    return f"{'undefined' if isinstance(value, Undefined) else 'failed'} ({value.reason})"


def _read() -> dict[str, Any]:
    expected: dict[str, Any] = loads(EXPECTED.read_bytes())
    return expected


@lru_cache(maxsize=1)
def _pairs() -> tuple[tuple[str, Scenario, Image], ...]:
    suite: Suite = create("suite", SUITE)
    pairs = []
    for canary in CANARIES:
        scenario = suite[canary.scenario]
        target = scenario.source if scenario.target is None else scenario.target
        pairs.append((canary.name, scenario, canary.output(scenario.source, target)))
    return tuple(pairs)


@lru_cache(maxsize=1)
def _pixels() -> dict[str, list[str]]:
    """Return hashes of each pair: of the scenario, and of the output."""
    return {name: [scenario.pixels_sha256, pixels_sha256(output)] for name, scenario, output in _pairs()}


def _samples() -> dict[str, Sample]:
    return {name: Sample(scenario, output) for name, scenario, output in _pairs()}


def measure(specs: Iterable[str]) -> dict[str, Any]:
    """Return what the file of expected values holds: the hashes of the pairs, and each metric's value where it has one.

    Raises:
        EditbenchError: if weights are missing.
    """
    samples = _samples()
    values: dict[str, dict[str, float]] = {}
    for spec, metric in load_metrics(specs).items():
        names = FOR_NETWORKS if _has_network(metric) else tuple(samples)
        rows = score({spec: metric}, [samples[name] for name in names])
        found = {name: row[spec] for name, row in zip(names, rows, strict=True)}
        values[spec] = {name: float(value) for name, value in found.items() if isinstance(value, float)}
    return {"pixels": _pixels(), "values": values}


def _formatted(expected: Mapping[str, Mapping[str, Mapping[str, float] | Sequence[str]]]) -> str:
    """Return JSON with a line for each pair and each metric, so that a difference can be read."""
    sections = []
    for section, entries in expected.items():
        lines = ",\n".join(f"  {dumps(key)}: {dumps(entry)}" for key, entry in entries.items())
        sections.append(f" {dumps(section)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def main() -> None:
    """Write the expected values anew, and say what had drifted."""
    for line in drift(load_metrics(SPECS)) if EXPECTED.exists() else ():
        sys.stdout.write(f"was: {line}\n")
    EXPECTED.write_text(_formatted(measure(SPECS)), encoding="utf-8")
    sys.stdout.write(f"{EXPECTED}: {len(SPECS)} metrics\n")


if __name__ == "__main__":
    main()
