"""Structural similarity over a region, by normalised convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask, RegionName
from editbench.types import Direction, Image, Need, Sample, Value

_RADIUS = 5
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_TILE = 64
"""Side of the tiles that are worked on one at a time: thirteen planes of one stay in the cache."""

Planes = npt.NDArray[np.float32]
"""`float32 (channels, H, W)`, pixel values in [0, 255] less an offset."""


@cache
def _window(count: int) -> npt.NDArray[np.float32]:
    """Return the Gaussian window at `count` places, one a row, as `float32 (count, count + 2 · radius)`."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    rows = [np.pad(weights / weights.sum(), (place, count - 1 - place)) for place in range(count)]
    return np.array(rows, np.float32)


def ssim_over_region(first: Image, second: Image, region: Mask) -> float:
    """Mean structural similarity over a region in which only the region's own pixels carry weight.

    Wang et al. 2004 (11×11 Gaussian window, σ = 1.5, K1 = 0.01, K2 = 0.03, population variance), per channel, with each
    local moment G*(w·x) normalised by G*w, w being the region: what lies outside it, and beyond the frame, has no
    influence. Multiplying by the mask, or averaging an ordinary map over the region, leaks across the border.

    Within 1e-6 of exact arithmetic: moments are computed in single precision around the mean of a tile.

    Args:
        first: `uint8 (H, W, 3)`.
        second: the same shape.
        region: `bool (H, W)`, not empty.
    """
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    frame = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    first, second, region = first[frame], second[frame], region[frame]
    if np.array_equal(first[region], second[region]):
        return 1.0
    total = sum(_tile_sum(first, second, region, place) for place in _tiles(region))
    return total / (3 * int(np.count_nonzero(region)))


def _tiles(region: Mask) -> Iterator[tuple[slice, slice]]:
    height, width = region.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            place = slice(top, min(top + _TILE, height)), slice(left, min(left + _TILE, width))
            if region[place].any():
                yield place


def _tile_sum(first: Image, second: Image, region: Mask, place: tuple[slice, slice]) -> float:
    """Sum of the similarity over the region's pixels in a tile, and over channels.

    Blurring is a product with a banded matrix on either side. Only the sum of the variances enters the formula, so four
    moments are enough: x, y, x² + y², xy. They are taken around an offset, near which single precision is exact enough;
    it is put back where the formula needs the means themselves.
    """
    rows, columns = place
    around = tuple(slice(max(side.start - _RADIUS, 0), side.stop + _RADIUS) for side in place)
    weight = region[around].astype(np.float32)
    x, y = (np.moveaxis(image[around], 2, 0) for image in (first, second))
    offset = _offset(x, y, weight)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    fields = np.zeros((13, height + 2 * _RADIUS, width + 2 * _RADIUS), np.float32)
    above, before = (around[axis].start - place[axis].start + _RADIUS for axis in (0, 1))
    inner = fields[:, above : above + weight.shape[0], before : before + weight.shape[1]]
    inner[0] = weight
    np.subtract(x, offset, out=inner[1:4])
    np.subtract(y, offset, out=inner[4:7])
    inner[1:7] *= weight
    np.square(inner[1:4], out=inner[7:10])
    inner[7:10] += inner[4:7] ** 2
    np.multiply(inner[1:4], inner[4:7], out=inner[10:13])

    moments = _window(height) @ (fields @ _window(width).T)
    moments[1:] /= np.maximum(moments[0], 1e-12)
    mean_x, mean_y, squares, product = np.split(moments[1:], 4)
    square_of_means, product_of_means = mean_x**2 + mean_y**2, mean_x * mean_y
    variances = np.maximum(squares - square_of_means, 0)
    covariance = product - product_of_means
    shifted = offset * (mean_x + mean_y + offset)
    similarity = ((2 * (product_of_means + shifted) + _C1) * (2 * covariance + _C2)) / (
        (square_of_means + 2 * shifted + _C1) * (variances + _C2)
    )
    return float(similarity[:, region[place]].sum(dtype=np.float64))


def _offset(x: npt.NDArray[np.uint8], y: npt.NDArray[np.uint8], weight: npt.NDArray[np.float32]) -> Planes:
    """Mean level of the region's pixels in both images, `float32 (3, 1, 1)`; whole, so that differences are exact."""
    mean = ((x + y.astype(np.float32)) * weight).sum(axis=(1, 2)) / (2 * weight.sum())
    return np.asarray(np.rint(mean)[:, None, None], np.float32)


@dataclass(frozen=True)
class Ssim:
    """Structural similarity over a region, by normalised convolution (see `ssim_over_region`)."""

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [ssim_over_region(s.scenario.source, s.output, s.scenario.region(self.region)) for s in samples]
