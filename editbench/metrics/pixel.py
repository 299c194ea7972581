"""Pixel metrics over a region: the mean runs over the region's own pixels and channels, and over nothing else.

Errors of 8-bit images are whole numbers, so sums are exact: values do not depend on batch, thread count or platform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.regions import RegionName
from editbench.types import Direction, Image, Need, Sample, Value

_CHUNK = 1 << 15
"""Pixels whose colours are compared at a time: what the formula needs for them stays in the cache."""

_LEVELS = np.arange(256, dtype=np.int64)


def _difference(sample: Sample) -> Image:
    """Absolute difference of output and source, `uint8 (H, W, 3)`."""
    if "difference" not in sample.memo:
        high = np.maximum(sample.output, sample.scenario.source)
        low = np.minimum(sample.output, sample.scenario.source)
        sample.memo["difference"] = high - low
    difference: Image = sample.memo["difference"]
    return difference


def _histogram(sample: Sample, region: RegionName) -> npt.NDArray[np.int64]:
    """How often each absolute difference 0..255 occurs among the region's pixels and channels, `int64 (256,)`."""
    key = ("histogram", region)
    if key not in sample.memo:
        chosen = sample.scenario.region(region).ravel()
        if region == "all":
            sample.memo[key] = _count(_difference(sample))
        elif 2 * np.count_nonzero(chosen) <= chosen.size:
            sample.memo[key] = _count(np.compress(chosen, _difference(sample).reshape(-1, 3), axis=0))
        else:  # counts are whole numbers: what is left of everything is exact, and sooner found
            others = np.compress(~chosen, _difference(sample).reshape(-1, 3), axis=0)
            sample.memo[key] = _histogram(sample, "all") - _count(others)
    histogram: npt.NDArray[np.int64] = sample.memo[key]
    return histogram


def _count(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return np.bincount(levels.ravel(), minlength=256)


def _largest(sample: Sample) -> npt.NDArray[np.uint8]:
    """Largest absolute difference of a pixel's channels, `uint8 (H, W)`."""
    if "largest difference" not in sample.memo:
        red, green, blue = np.moveaxis(_difference(sample), 2, 0)
        sample.memo["largest difference"] = np.maximum(np.maximum(red, green), blue)
    largest: npt.NDArray[np.uint8] = sample.memo["largest difference"]
    return largest


def mean_absolute_error(sample: Sample, region: RegionName) -> float:
    """Mean |output − source| over a region, in [0, 1]; the region must not be empty."""
    histogram = _histogram(sample, region)
    return int((histogram * _LEVELS).sum()) / (int(histogram.sum()) * 255)


def mean_squared_error(sample: Sample, region: RegionName) -> float:
    """Mean (output − source)² over a region, in [0, 1]; the region must not be empty."""
    histogram = _histogram(sample, region)
    return int((histogram * _LEVELS**2).sum()) / (int(histogram.sum()) * 255**2)


@dataclass(frozen=True)
class Mae:
    """Mean absolute error over a region: mean |output − source|, pixel values scaled to [0, 1].

    References:
        MagicBrush's L1 is the same number against the ground truth: `target:mae,region=all`.

    Disagreements:
        Tables that black the other region out and divide by the whole frame report it times the region's share.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [mean_absolute_error(sample, self.region) for sample in samples]


@dataclass(frozen=True)
class Mse:
    """Mean squared error over a region: mean (output − source)², pixel values scaled to [0, 1].

    References:
        `legacy_pie:mse` is `mse:region=all`, and MagicBrush's L2 is `target:mse,region=all`.

    Disagreements:
        PIE-Bench's other two divide by the whole frame, not by the region; BrushNet divides a sum over three channels
        by a number of pixels, which makes it three times as large.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [mean_squared_error(sample, self.region) for sample in samples]


@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratio over a region: 10 log10(1 / mse), capped at 100 dB.

    The cap stands for identical regions, whose ratio is infinite. The largest other value, one level of one channel of
    one pixel in a 1-megapixel image, is 112.9 dB and capped too; boards count capped cells.

    References:
        `skimage.metrics.peak_signal_noise_ratio`, with which `region=all` agrees.

    Disagreements:
        PIE-Bench averages over the whole frame with the other region black, which adds −10 log10(the region's share) dB
        (`legacy_pie`): a larger mask looks better. BrushNet's is 4.77 dB too low (`legacy_brushnet`). Both let one
        untouched image make the mean infinite, or nearly. A mean of decibels weights an image by the logarithm of its
        error: where editors are close, `mse` may order them otherwise.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = "dB"
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    cap: ClassVar[float] = 100.0
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        errors = [mean_squared_error(sample, self.region) for sample in samples]
        return [min(self.cap, 10 * math.log10(1 / error)) if error else self.cap for error in errors]


@dataclass(frozen=True)
class Changed:
    """Share of the region's pixels whose largest channel difference exceeds tau.

    The default tau of 0.03 is eight levels of 255: beyond rounding and mild compression, below what the eye sees.

    References:
        A count, defined here.

    Disagreements:
        It says how much was touched, not how strongly: a faint cast over everything is worse here than a hole.

    Args:
        region: where to count.
        tau: difference, of pixel values scaled to [0, 1], up to which a pixel has not moved.
    """

    region: RegionName
    tau: float = 0.03

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.tau < 1:
            raise ValueError(f"tau={self.tau}, expected 0 <= tau < 1")

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = []
        for sample in samples:
            region = sample.scenario.region(self.region)
            moved = int(np.count_nonzero((_largest(sample) > self.tau * 255) & region))
            values.append(moved / int(np.count_nonzero(region)))
        return values


@dataclass(frozen=True)
class DeltaE:
    """Mean CIEDE2000 colour difference over a region (scikit-image, D65, 2° observer); 1 is just noticeable.

    References:
        Sharma, Wu & Dalal 2005, "The CIEDE2000 color-difference formula"; CIE 142-2001.

    Disagreements:
        The formula was fitted to small differences of uniform patches. Above about 5 it orders colours, but twice the
        number is not twice as different; and pixel by pixel it sees a shifted texture as a change of colour.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = "ΔE00"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scikit-image",)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = []
        for sample in samples:
            region = sample.scenario.region(self.region)
            total = math.fsum(self._map(sample)[region].tolist())
            values.append(total / int(np.count_nonzero(region)))
        return values

    @staticmethod
    def _map(sample: Sample) -> npt.NDArray[np.float64]:
        if "delta_e" not in sample.memo:
            from skimage.color import deltaE_ciede2000, rgb2lab

            moved = _largest(sample) > 0
            distance = np.zeros(moved.shape)
            if moved.any():
                before, after = sample.scenario.source[moved], sample.output[moved]
                parts = [slice(start, start + _CHUNK) for start in range(0, len(before), _CHUNK)]
                distance[moved] = np.concatenate(
                    [deltaE_ciede2000(rgb2lab(before[part]), rgb2lab(after[part])) for part in parts]
                )
            sample.memo["delta_e"] = distance
        result: npt.NDArray[np.float64] = sample.memo["delta_e"]
        return result
