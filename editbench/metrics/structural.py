"""Structural similarity over a region, by normalised convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask, RegionName
from editbench.types import Direction, Image, Need, Sample, Value

_RADIUS = 5
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def _window() -> npt.NDArray[np.float64]:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return np.asarray(weights / weights.sum())


def _blur(fields: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Blur `(H, W)` with the Gaussian window, zero beyond the frame."""
    from scipy.ndimage import correlate1d

    window = _window()
    rows = correlate1d(fields, window, axis=1, mode="constant")
    return np.asarray(correlate1d(rows, window, axis=0, mode="constant"))


def ssim_over_region(first: Image, second: Image, region: Mask) -> float:
    """Mean structural similarity over a region in which only the region's own pixels carry weight.

    Wang et al. 2004 (11×11 Gaussian window, σ = 1.5, K1 = 0.01, K2 = 0.03, population variance), per channel, with each
    local moment G*(w·x) normalised by G*w, w being the region: what lies outside it, and beyond the frame, has no
    influence. Multiplying by the mask, or averaging an ordinary map over the region, leaks across the border.

    Args:
        first: `uint8 (H, W, 3)`.
        second: the same shape.
        region: `bool (H, W)`, not empty.
    """
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    frame = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    region = region[frame]
    if np.array_equal(first[frame][region], second[frame][region]):
        return 1.0
    weight = region.astype(np.float64)
    total = np.maximum(_blur(weight), 1e-12)
    channels = [_similarity(first[frame][..., c], second[frame][..., c], weight, total)[region] for c in range(3)]
    return float(np.mean(channels))


def _similarity(
    first: npt.NDArray[np.uint8],
    second: npt.NDArray[np.uint8],
    weight: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the map of one channel, `float64 (H, W)`; one channel at a time, for large images are memory-bound."""
    x, y = first * (weight / 255), second * (weight / 255)
    mean_x, mean_y = _blur(x) / total, _blur(y) / total
    variance_x = np.maximum(_blur(x * x) / total - mean_x**2, 0)
    variance_y = np.maximum(_blur(y * y) / total - mean_y**2, 0)
    covariance = _blur(x * y) / total - mean_x * mean_y
    similarity: npt.NDArray[np.float64] = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    return similarity


@dataclass(frozen=True)
class Ssim:
    """Structural similarity over a region, by normalised convolution (see `ssim_over_region`)."""

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [ssim_over_region(s.scenario.source, s.output, s.scenario.region(self.region)) for s in samples]
