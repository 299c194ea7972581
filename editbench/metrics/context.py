"""What an edit does to the rest of the image, by the distance from the mask: spill around it, and drift far from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.metrics.boundary import kept, no_border
from editbench.regions import Regions, band_width
from editbench.types import Detailed, Direction, Need, Sample, Scenario, Value, Zone

EDGES = (0, 2, 4, 8, 16, 32, 64)
"""Pixels from the mask at which the bins of a leak profile begin; each ends where the next begins, and includes it."""


def _bins(regions: Regions) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the bin of each pixel, 0 for the mask and 1 to 7 around it, flattened, and how many pixels each has."""
    bins = np.searchsorted(EDGES, regions.distance_outside.ravel())
    return bins, np.bincount(bins, minlength=len(EDGES) + 1)


def _change(sample: Sample) -> npt.NDArray[np.uint16]:
    """|output − source| summed over the channels, in levels of 255, `uint16 (H, W)`."""
    if "summed change" not in sample.memo:
        source, output = sample.scenario.source, sample.output
        difference = np.maximum(source, output) - np.minimum(source, output)
        red, green, blue = (difference[..., channel] for channel in range(3))
        sample.memo["summed change"] = np.add(red, green, dtype=np.uint16) + blue
    change: npt.NDArray[np.uint16] = sample.memo["summed change"]
    return change


def _profile(sample: Sample) -> tuple[list[float | None], list[int]]:
    """Return the mean change in each bin, None for an empty one, and how many pixels it has."""
    if "leak profile" not in sample.memo:
        scenario = sample.scenario
        bins, counts = kept(scenario, "leak bins", lambda: _bins(scenario.regions))
        totals = np.bincount(bins, weights=_change(sample).ravel(), minlength=len(counts))
        pixels = [int(count) for count in counts[1:]]
        curve = [float(total) / (n * 3 * 255) if n else None for total, n in zip(totals[1:], pixels, strict=True)]
        sample.memo["leak profile"] = curve, pixels
    profile: tuple[list[float | None], list[int]] = sample.memo["leak profile"]
    return profile


def _area(curve: Sequence[float | None]) -> float:
    means = [mean for mean in curve if mean is not None]
    return math.fsum(means) / len(means)


@dataclass(frozen=True)
class LeakAuc:
    """Area under the leak profile over the logarithm of the distance from the mask: the mean of its bins.

    The profile is the mean |output − source|, pixel values scaled to [0, 1], of the keep pixels whose distance d from
    the mask is 0 < d ≤ 2, 2 < d ≤ 4, 4 < d ≤ 8, 8 < d ≤ 16, 16 < d ≤ 32, 32 < d ≤ 64 and d > 64 pixels. Each bin is
    an octave of distance wide (the first and the last count as one), so the area over log2 d, divided by its width, is
    the plain mean of the bins that have pixels: what leaks next to the mask counts as much as what drifts far away,
    though far more pixels lie there.

    References:
        Defined here.

    Disagreements:
        `mae:region=keep` weights pixels, not distances: an editor that spills a little around the mask looks worse
        here, one that drifts everywhere looks worse there. Bins are in pixels: images of other sizes do not compare.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("band", "near", "far")

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        return no_border(scenario)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [_area(_profile(sample)[0]) for sample in samples]


@dataclass(frozen=True)
class LeakProfile:
    """Mean change as a function of the distance from the mask (see `LeakAuc`, whose number it carries).

    The curve is in the details: `edges` (pixels; the last bin has no end, None), `curve` (the mean of each bin, None
    where it has no pixels) and `pixels` (how many it has).

    References:
        Defined here.

    Disagreements:
        Those of `LeakAuc`. Masks of other sizes fill other bins: read a mean curve with its `pixels`.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("band", "near", "far")

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        return no_border(scenario)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample, with the curve."""
        values: list[Value] = []
        for sample in samples:
            curve, pixels = _profile(sample)
            values.append(Detailed(_area(curve), {"edges": [*EDGES, None], "curve": curve, "pixels": pixels}))
        return values


@dataclass(frozen=True)
class FarChange:
    """Mean |output − source| far from the mask, pixel values scaled to [0, 1]: what drifts with the image as a whole.

    Far is more than eight band widths away (`regions.band_width`): 32 pixels in an image of 512, as the last but one
    bin of `LeakProfile`, and never less than 16.

    References:
        Defined here.

    Disagreements:
        It does not tell a re-encoding of the image (a VAE's, JPEG's) from a second edit in the distance: look at the
        pictures, and at `global_shift` for a change of all colours or of place.
    """

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)
    watches: ClassVar[tuple[Zone, ...]] = ("far",)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        if reason := no_border(scenario):
            return reason
        return None if self._far(scenario)[1] else "no keep region beyond eight band widths"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = []
        for sample in samples:
            far, count = self._far(sample.scenario)
            values.append(int(_change(sample)[far].sum(dtype=np.int64)) / (count * 3 * 255))
        return values

    @staticmethod
    def _far(scenario: Scenario) -> tuple[npt.NDArray[np.bool_], int]:
        def find() -> tuple[npt.NDArray[np.bool_], int]:
            far = scenario.regions.distance_outside > 8 * band_width(*scenario.mask.shape)
            return far, int(np.count_nonzero(far))

        return kept(scenario, "far", find)
