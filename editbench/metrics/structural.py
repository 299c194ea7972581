"""Structural similarity over a region, by normalised convolution."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask, RegionName
from editbench.types import Direction, Image, Need, Sample, Value

_RADIUS = 5
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_TILE = 128
"""Side of the tiles that are worked on one at a time.

Thirteen planes of one stay in the cache, and a product with the window is too small for a BLAS to split: so it is
neither slower beside other processes nor different with another number of threads.
"""
_STRIP = 16
"""Rows or columns of a tile that are blurred at a time: a strip needs 10 more on either side, and nothing beyond."""

Floats = npt.NDArray[np.float32]
Planes = npt.NDArray[np.uint8]
"""`uint8 (3, H, W)`: an image, one channel after the other."""
Place = tuple[slice, slice]
"""Rows and columns of an image."""
Known = dict[Hashable, Any]
"""What regions of one pair of images share."""


@cache
def _window(count: int, before: int, after: int) -> Floats:
    """Return the Gaussian window at `count` places, one a row, as `float32 (count, before + count + after)`.

    Args:
        count: of places side by side.
        before: pixels that there are in front of the first place, at most the radius: the frame cuts windows off.
        after: pixels behind the last place.

    Returns:
        Rows that add up to 1.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    rows = np.array([np.pad(weights, (place, count - 1 - place)) for place in range(count)])
    rows = rows[:, _RADIUS - before : rows.shape[1] - (_RADIUS - after)]
    return np.asarray(rows / rows.sum(axis=1, keepdims=True), np.float32)


class _Strip(NamedTuple):
    """Some rows or columns of a place."""

    result: slice
    """Which of the place's."""
    reach: slice
    """Those that their windows reach, counted from the first that any window of the place reaches."""
    window: Floats
    """`float32 (result, reach)`."""


@cache
def _strips(count: int, before: int, after: int) -> tuple[_Strip, ...]:
    """Cut a place's rows or columns into strips; arguments as in `_window`."""
    strips = []
    for start in range(0, count, _STRIP):
        stop = min(start + _STRIP, count)
        first, last = max(0, before + start - _RADIUS), min(before + count + after, before + stop + _RADIUS)
        window = _window(stop - start, before + start - first, last - before - stop)
        strips.append(_Strip(slice(start, stop), slice(first, last), window))
    return tuple(strips)


def ssim_over_region(first: Image, second: Image, region: Mask, known: Known | None = None) -> float:
    """Mean structural similarity over a region in which only the region's own pixels carry weight.

    Wang et al. 2004 (11×11 Gaussian window, σ = 1.5, K1 = 0.01, K2 = 0.03, population variance), per channel, with each
    local moment G*(w·x) normalised by G*w, w being the region: what lies outside it, and beyond the frame, has no
    influence. Multiplying by the mask, or averaging an ordinary map over the region, leaks across the border.

    Within 1e-6 of exact arithmetic: moments are computed in single precision around the mean of a tile.

    Args:
        first: `uint8 (H, W, 3)`.
        second: the same shape.
        region: `bool (H, W)`, not empty.
        known: filled with what other regions of these two images need too.
    """
    known = {} if known is None else known
    if "ssim planes" not in known:
        known["ssim planes"] = tuple(np.ascontiguousarray(image.transpose(2, 0, 1)) for image in (first, second))
    x, y = known["ssim planes"]
    total = 0.0
    for place in _tiles(region):
        around = _around(place, region.shape)
        if region[around].all():
            key = ("ssim", *((side.start, side.stop) for side in place))
            if key not in known:
                known[key] = _tile_sum(x, y, place, around, None)
            total += known[key]
        else:
            total += _tile_sum(x, y, place, around, region)
    return total / (3 * int(np.count_nonzero(region)))


def _tiles(region: Mask) -> Iterator[Place]:
    """Yield the parts of tiles that contain the region, as narrow as they can be."""
    height, width = region.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = region[top : top + _TILE, left : left + _TILE]
            rows, columns = (np.flatnonzero(tile.any(axis=axis)) for axis in (1, 0))
            if rows.size:
                yield slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1)


def _around(place: Place, shape: tuple[int, ...]) -> Place:
    """Return a place with all pixels that its windows reach."""
    rows, columns = (
        slice(max(side.start - _RADIUS, 0), min(side.stop + _RADIUS, length))
        for side, length in zip(place, shape, strict=True)
    )
    return rows, columns


def _tile_sum(x: Planes, y: Planes, place: Place, around: Place, region: Mask | None) -> float:
    """Sum of the similarity over the region's pixels in a place, and over channels; region None: all of them.

    The formula is written in the difference d = x - y and the sum s = x + y: with m their local means and v their local
    variances, it is (m(s)² - m(d)² + 2 C1) (v(s) - v(d) + 2 C2) / ((m(s)² + m(d)² + 2 C1) (v(s) + v(d) + 2 C2)). Four
    moments are enough, and where nothing differs it is 1 exactly. Sums are taken around an offset, near which single
    precision is exact enough.
    """
    first, second = (image[:, *around].astype(np.float32) for image in (x, y))
    weight = None if region is None else region[around].astype(np.float32)
    fields = np.empty((12 if weight is None else 13, *first.shape[1:]), np.float32)
    np.subtract(first, second, out=fields[:3])
    first += second
    if weight is not None:
        fields[:3] *= weight
        fields[12] = weight
    if not fields[:3].any():
        return 3.0 * (x[0, *place].size if region is None else int(np.count_nonzero(region[place])))
    offset = _offset(first, weight)
    np.subtract(first, offset, out=fields[3:6])
    if weight is not None:
        fields[3:6] *= weight
    np.square(fields[:6], out=fields[6:12])

    moments = _blurred(fields, place, around)
    if weight is not None:
        moments[:12] /= np.maximum(moments[12], 1e-12)
    means, variances = moments[:6], moments[6:12]
    variances -= np.square(means)
    np.maximum(variances, 0, out=variances)
    means[3:] += offset
    np.square(means, out=means)
    difference, level = means[:3], means[3:] + np.float32(2 * _C1)
    noise, contrast = variances[:3], variances[3:] + np.float32(2 * _C2)
    similarity = (level - difference) * (contrast - noise)
    level += difference
    contrast += noise
    level *= contrast
    similarity /= level
    if region is not None:
        similarity *= region[place]
    return float(similarity.sum(dtype=np.float64))


def _blurred(fields: Floats, place: Place, around: Place) -> Floats:
    """Return the window's averages at a place, `float32 (n, h, w)`, of n fields around it, `float32 (n, H, W)`.

    Products with banded matrices, strip by strip, run at many times the speed of a sliding window.
    """
    down, across = (
        _strips(part.stop - part.start, part.start - whole.start, whole.stop - part.stop)
        for part, whole in zip(place, around, strict=True)
    )
    count, height, _ = fields.shape
    rows = np.empty((count, height, across[-1].result.stop), np.float32)
    for strip in across:
        np.matmul(fields[:, :, strip.reach], strip.window.T, out=rows[:, :, strip.result])
    averages = np.empty((count, down[-1].result.stop, rows.shape[2]), np.float32)
    for strip in down:
        np.matmul(strip.window, rows[:, strip.reach], out=averages[:, strip.result])
    return averages


def _offset(sums: Floats, weight: Floats | None) -> Floats:
    """Return a level near that of x + y, `float32 (3, 1, 1)`; whole, so that differences from it are exact."""
    mean = sums[:, ::4, ::4].mean(axis=(1, 2))
    if weight is not None:
        mean = (sums * weight).sum(axis=(1, 2)) / weight.sum()
    return np.asarray(np.rint(mean)[:, None, None], np.float32)


@dataclass(frozen=True)
class Ssim:
    """Structural similarity over a region, of which only the region's own pixels carry weight.

    The mean over the region's pixels and channels of (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)),
    with C1 = 0.01² and C2 = 0.03² for pixel values in [0, 1]. Every local moment is `G*(w·x) / G*w`, G being the
    Gaussian window (11×11, σ = 1.5) and w the region: normalised convolution. Variances are those of the population.

    References:
        Wang, Bovik, Sheikh & Simoncelli 2004; Knutsson & Westin 1993 for normalised convolution.

    Disagreements:
        Over `all` it differs from scikit-image (`gaussian_weights=True`, population variance) and torchmetrics by what
        they do within five pixels of the frame: mirrored there, left out of scikit-image's mean, nothing here. Images
        that are black outside the region (`legacy_pie`) count that as equal; a mean of an ordinary map over the region
        sees what happened beyond its border.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [ssim_over_region(s.scenario.source, s.output, s.scenario.region(self.region), s.memo) for s in samples]
