"""Known damage, planted into exactly one zone of a picture: what an audit shows to a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask, Regions, band_width
from editbench.types import Image, Zone

ZONES: tuple[Zone, ...] = get_args(Zone)

NEAR_WIDTHS = 8
"""How far the surroundings reach, in widths of the band: 16 pixels of a picture of 256."""

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Strengths at which graded damage is planted."""

Pixels: TypeAlias = npt.NDArray[np.float64]
"""`float64 (H, W, 3)`, 0..255, not clipped."""


@dataclass(frozen=True)
class Canvas:
    """A picture, its zones, and what is needed to damage it the same way at every strength."""

    clean: Image
    regions: Regions
    other: Image
    """Another picture of the same size."""
    seed: int
    whole: bool = False
    """Whether all that lies outside the band is far: for metrics of what happened to the keep region as a whole."""

    @cached_property
    def zones(self) -> Mapping[Zone, Mask]:
        """Each zone as `bool (H, W)`; together they cover the picture, and none overlaps another."""
        outside = self.regions.distance_outside
        near = outside <= (0 if self.whole else NEAR_WIDTHS * band_width(*outside.shape))
        band, keep = self.regions.band, self.regions.keep
        return {
            "core": self.regions.edit & ~band,
            "band": band,
            "near": keep & near & ~band,
            "far": keep & ~near & ~band,
        }

    @cached_property
    def scale(self) -> float:
        """Size relative to a picture of 256 pixels, at least 1: how far blur and shift reach."""
        return max(1.0, float(min(self.clean.shape[:2])) / 256)

    @cached_property
    def noise(self) -> Pixels:
        """Standard normal noise, one pattern for all strengths."""
        return np.random.Generator(np.random.Philox(self.seed)).standard_normal(self.clean.shape)


def _noise(canvas: Canvas, level: float) -> Pixels:
    """Gaussian noise of up to 25 grey levels."""
    return canvas.clean + 25 * level * canvas.noise


def _blur(canvas: Canvas, level: float) -> Pixels:
    """A Gaussian blur of up to 4 pixels of a picture of 256."""
    from scipy.ndimage import gaussian_filter

    sigma = 4 * level * canvas.scale
    return np.asarray(gaussian_filter(canvas.clean.astype(np.float64), (sigma, sigma, 0), mode="nearest"))


def _shift(canvas: Canvas, level: float) -> Pixels:
    """A move to the right and down by up to 5 pixels of a picture of 256."""
    step = round(5 * level * canvas.scale)
    height, width = canvas.clean.shape[:2]
    rows, columns = np.arange(height) - step, np.arange(width) - step
    return canvas.clean[np.clip(rows, 0, None)][:, np.clip(columns, 0, None)].astype(np.float64)


def _cast(canvas: Canvas, level: float) -> Pixels:
    """A colour cast: up to 30 % more red and 20 % less blue, so that bright pixels move further than dark ones."""
    return canvas.clean * (1 + level * np.array([0.3, 0.0, -0.2]))


def _seam(canvas: Canvas, level: float) -> Pixels:
    """A step of up to 40 grey levels at the mask's border, fading into the mask and into what is outside it."""
    sign = np.where(canvas.regions.edit, 1.0, -0.25)
    distance = np.maximum(canvas.regions.distance_inside, canvas.regions.distance_outside)
    return canvas.clean + (40 * level * sign * np.exp(-distance / (8 * canvas.scale)))[..., None]


def _spill(canvas: Canvas, level: float) -> Pixels:
    """Another picture that shines through, less and less with the distance from the mask."""
    share = level * np.exp(-canvas.regions.distance_outside / (16 * canvas.scale))[..., None]
    return canvas.clean * (1 - share) + canvas.other * share


def _swap(canvas: Canvas, level: float) -> Pixels:
    """Another picture instead."""
    return canvas.other.astype(np.float64)


GRADED: Mapping[str, Callable[[Canvas, float], Pixels]] = {
    "noise": _noise,
    "blur": _blur,
    "shift": _shift,
    "cast": _cast,
    "seam": _seam,
    "spill": _spill,
}
"""Damage that has a strength."""

PLACES: Mapping[str, tuple[Zone, ...]] = {"seam": ("band",), "spill": ("band", "near", "far")}
"""Where damage can be planted that is not possible everywhere."""


def plant(canvas: Canvas, damage: str, zone: Zone, level: float = 1.0) -> Image:
    """Damage one zone and nothing else.

    Args:
        canvas: the picture.
        damage: a key of `GRADED`, or `swap`.
        zone: where.
        level: strength in (0, 1]; without meaning for `swap`.

    Returns:
        `uint8 (H, W, 3)`, equal to the clean picture outside the zone.
    """
    damaged: Any = (_swap if damage == "swap" else GRADED[damage])(canvas, level)
    pixels = np.floor(np.clip(damaged, 0, 255) + 0.5).astype(np.uint8)
    return np.where(canvas.zones[zone][..., None], pixels, canvas.clean)
