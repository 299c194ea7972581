"""What an edit does at the border of its mask: edges along it, and a step of colour just outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask, Regions, band_width
from editbench.types import Detailed, Direction, Image, Need, Sample, Scenario, Value, Zone

LUMINANCE = (2125, 7154, 721)
"""Ten thousandths of red, green and blue in the luminance (ITU-R BT.709, as in scikit-image): sums stay exact."""
OFFSETS = (-16, -12, -8, 8, 12, 16)
"""Pixels from the mask's border to the contours that it is compared with, negative inside the mask."""
SMALLEST_CONTOUR = 8
"""Pixels that a contour must have to be compared with: a mean over fewer is chance."""
ONE_LEVEL = 1 / 510
"""Gradient in luminance a pixel across a step of one level of 255, the finest that 8 bits can show."""

_Made = TypeVar("_Made")
_known: WeakKeyDictionary[Regions, dict[Hashable, Any]] = WeakKeyDictionary()


def kept(scenario: Scenario, key: Hashable, make: Callable[[], _Made]) -> _Made:
    """Return what depends on a scenario alone: made once, kept as long as the scenario's regions live.

    Args:
        scenario: whose pixels and mask the result depends on, and on nothing else.
        key: name of the result; two different ones must not share one.
        make: computes it.
    """
    results = _known.setdefault(scenario.regions, {})
    if key not in results:
        results[key] = make()
    made: _Made = results[key]
    return made


def no_border(scenario: Scenario) -> str | None:
    """Return why a scenario's mask has no border, None if it has one."""
    if scenario.mask.any() and not scenario.mask.all():
        return None
    return "no border: full mask" if scenario.mask.any() else "no border: empty mask"


def pixels_of(image: Image, region: Mask) -> Image:
    """Return `image[region]`, `uint8 (N, 3)`, in a fifth of the time."""
    return image.reshape(-1, 3).compress(region.ravel(), axis=0)


# ----------------------------------------------------------------------------------------------------- contours


@dataclass(frozen=True)
class _Contour:
    """The pixels of one contour of the signed distance to the border, and which way it faces there."""

    neighbours: npt.NDArray[np.intp]
    """Left, right, upper and lower neighbour of each pixel in the flattened image, `(4, N)`; itself at the frame."""
    normal: npt.NDArray[np.float64]
    """Unit vector away from the mask: rightwards, downwards, `(2, N)`."""


def _contour(scenario: Scenario, offset: int) -> _Contour:
    return kept(scenario, ("contour", offset), lambda: _trace(scenario.regions, offset))


def _trace(regions: Regions, offset: int) -> _Contour:
    """Find the pixels whose signed distance is within half a pixel of `offset`.

    The signed distance is that to the line between mask and keep, negative inside: d_outside − 1/2 or 1/2 − d_inside,
    d being the distance to the nearest pixel centre of the other side. Pixels where it has no slope have no normal and
    are left out: a line one pixel thick is judged by what lies beside it. The border itself always has some left.
    """
    signed = np.where(regions.edit, 0.5 - regions.distance_inside, regions.distance_outside - 0.5)
    rows, columns = np.nonzero(np.abs(signed - offset) <= 0.5)
    height, width = signed.shape
    left, right = np.maximum(columns - 1, 0), np.minimum(columns + 1, width - 1)
    upper, lower = np.maximum(rows - 1, 0), np.minimum(rows + 1, height - 1)
    across = (signed[rows, right] - signed[rows, left]) / np.maximum(right - left, 1)
    down = (signed[lower, columns] - signed[upper, columns]) / np.maximum(lower - upper, 1)
    length = np.sqrt(across * across + down * down)
    sloping = length > 0
    neighbours = np.stack([rows * width + left, rows * width + right, upper * width + columns, lower * width + columns])
    return _Contour(neighbours[:, sloping], np.stack([across, down])[:, sloping] / length[sloping])


def _gradient(image: Image, contour: _Contour) -> npt.NDArray[np.float64]:
    """Absolute gradient of luminance along the normal, in luminance a pixel, `float64 (N,)`: central differences.

    Beyond the frame the image goes on as its last pixel.
    """
    left, right, upper, lower = image.reshape(-1, 3)[contour.neighbours].astype(np.int64) @ np.array(LUMINANCE)
    slope: npt.NDArray[np.float64] = (right - left) * contour.normal[0] + (lower - upper) * contour.normal[1]
    return np.abs(slope) / (2 * 255 * sum(LUMINANCE))


def _source_gradient(scenario: Scenario, offset: int) -> npt.NDArray[np.float64]:
    return kept(scenario, ("normal gradient", offset), lambda: _gradient(scenario.source, _contour(scenario, offset)))


def _mean(values: npt.NDArray[np.float64]) -> float:
    """Return the mean, rounded once: the same whichever way an image is turned."""
    return math.fsum(values.tolist()) / len(values)


def _excess(sample: Sample, offset: int) -> float:
    """Mean of max(0, |∂n output| − |∂n source|) over the pixels of a contour."""
    key = ("edge in excess", offset)
    if key not in sample.memo:
        before = _source_gradient(sample.scenario, offset)
        after = _gradient(sample.output, _contour(sample.scenario, offset))
        sample.memo[key] = _mean(np.maximum(after - before, 0))
    excess: float = sample.memo[key]
    return excess


@dataclass(frozen=True)
class Seam:
    """Edge along the mask's border that the source does not have: mean of max(0, |∂n output| − |∂n source|).

    ∂n is the gradient of luminance (in [0, 1]) along the normal of the mask's border, by central differences; the mean
    runs over the border's pixels, one deep on either side. A step of h along the whole border of a flat picture reads
    h/2. The excess is taken pixel by pixel: taken between the means, a step would hide behind the outline of an object
    that the mask follows, which it weakens in some places and strengthens in others. It looks at two pixels on either
    side of the border and nowhere else.

    References:
        Defined here: there is no standard metric of seams to follow.

    Disagreements:
        What was asked for may end at the mask's border, and then has an edge there: compare with the value of the
        ground truth (the control `target`), not with 0. A seam that is blurred over more than two pixels is not seen.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = "1/px"
    range: ClassVar[tuple[float, float]] = (0.0, math.sqrt(0.5))
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("band",)
    sees: ClassVar[tuple[str, ...]] = ("seam",)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        return no_border(scenario)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [_excess(sample, 0) for sample in samples]


@dataclass(frozen=True)
class SeamZ:
    """The same along the mask's border as against contours beside it: is there an edge at the border, and only there?

    (e(0) − mean e(k)) / s, not below 0, with e(k) the excess of `Seam` along the contour k pixels from the border, for
    k = ±8, ±12, ±16, and s the standard deviation (n − 1) between these contours of the source's own mean normal
    gradient, at least that of a step of one level. As s is the source's, the value is 0 for an untouched image and
    grows with the seam alone. Noise, or another texture, makes edges along all contours and cancels. Contours of fewer
    than eight pixels do not exist; with fewer than two there is no value.

    References:
        Defined here.

    Disagreements:
        It parts from `seam` where an edit has texture of its own: that raises `seam`, and nothing here. A smooth source
        has a small s and so a large value; averages over scenarios are led by such.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = "σ"
    range: ClassVar[tuple[float, float]] = (0.0, math.sqrt(0.5) / ONE_LEVEL)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("band",)
    sees: ClassVar[tuple[str, ...]] = ("seam",)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        if reason := no_border(scenario):
            return reason
        return None if len(_offsets(scenario)) > 1 else "fewer than two contours beside the mask's border"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample, with the excess along each contour."""
        return [_seam_z(sample) for sample in samples]


def _offsets(scenario: Scenario) -> tuple[int, ...]:
    return tuple(offset for offset in OFFSETS if _contour(scenario, offset).normal.shape[1] >= SMALLEST_CONTOUR)


def _seam_z(sample: Sample) -> Detailed:
    offsets = _offsets(sample.scenario)
    means = [_mean(_source_gradient(sample.scenario, offset)) for offset in offsets]
    centre = math.fsum(means) / len(means)
    spread = math.sqrt(math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1))
    beside = [_excess(sample, offset) for offset in offsets]
    rise = max(0.0, _excess(sample, 0) - math.fsum(beside) / len(beside))
    details = {"offsets": [0, *offsets], "excess": [_excess(sample, 0), *beside]}
    return Detailed(rise / max(spread, ONE_LEVEL), details)


# ------------------------------------------------------------------------------------------------- step of colour


@dataclass(frozen=True)
class BandJump:
    """Colour shift just outside the mask that the background does not share, in the channel where it is largest.

    |mean (output − source) over the outer band − mean (output − source) over the far keep region|, pixel values scaled
    to [0, 1]: the outer band is 0 to w pixels from the mask, the far keep region 4w and more, w being
    `regions.band_width`.

    References:
        Defined here.

    Disagreements:
        A halo that is lighter in some places and darker in others cancels; `mae:region=band` and `ring` see it.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("band", "near", "far")

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        if reason := no_border(scenario):
            return reason
        return None if _near_and_far(scenario)[1].any() else "no keep region beyond four band widths"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = []
        for sample in samples:
            near, far = (self._shift(sample, part) for part in (0, 1))
            values.append(max(abs(a - b) for a, b in zip(near, far, strict=True)))
        return values

    @staticmethod
    def _shift(sample: Sample, part: int) -> list[float]:
        """Mean (output − source) of each channel over the outer band (0) or the far keep region (1)."""
        scenario = sample.scenario
        pixels = _near_and_far(scenario)[part]
        before = kept(scenario, ("sums", part), lambda: _sums(scenario.source, pixels))
        after = _sums(sample.output, pixels)
        size = int(np.count_nonzero(pixels)) * 255
        return [(b - a) / size for a, b in zip(before, after, strict=True)]


def _near_and_far(scenario: Scenario) -> tuple[Mask, Mask]:
    """The outer band and the far keep region."""

    def find() -> tuple[Mask, Mask]:
        distance, width = scenario.regions.distance_outside, band_width(*scenario.mask.shape)
        return (distance > 0) & (distance <= width), distance >= 4 * width

    return kept(scenario, "near and far", find)


def _sums(image: Image, pixels: Mask) -> list[int]:
    """Sum of each channel over some of the pixels."""
    inside = pixels_of(image, pixels)
    return [int(inside[:, channel].sum(dtype=np.int64)) for channel in range(3)]
