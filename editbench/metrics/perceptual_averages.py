"""Over which pixels perceptual distances are averaged, and how much each of a network's cells then counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from editbench.metrics.lpips_cells import Maps, cell_weights, whole
from editbench.regions import Mask, RegionName, Regions
from editbench.types import Scenario


@dataclass(frozen=True, eq=False)
class Average:
    """The mean distance over some pixels; over a whole image, the sum of every stage's mean over its own grid."""

    pixels: Mask
    weights: dict[tuple[int, ...], npt.NDArray[np.float32]] = field(default_factory=dict)
    """Of a stage's cells, by its shape."""

    def __call__(self, maps: Maps) -> float:
        """Return the mean of a network's maps."""
        if self.pixels.all():
            return whole(maps)
        for stage in maps:
            if stage.shape not in self.weights:
                self.weights[stage.shape] = cell_weights(self.pixels, stage.shape)
        return math.fsum(float((stage * self.weights[stage.shape]).sum(dtype=np.float64)) for stage in maps)


_averages: WeakKeyDictionary[Regions, dict[tuple[RegionName, int], Average]] = WeakKeyDictionary()
"""By region and margin, for as long as a scenario lives."""


def average(scenario: Scenario, region: RegionName, margin: int) -> Average:
    """Return the mean over the pixels of a region that are far enough from its border."""
    known = _averages.setdefault(scenario.regions, {})
    if (region, margin) not in known:
        pixels = scenario.region(region)
        known[region, margin] = Average(_farther_than(margin, pixels) if region in ("edit", "keep") else pixels)
    return known[region, margin]


def _farther_than(margin: int, region: Mask) -> Mask:
    """Return a region's pixels that are farther than a margin from every pixel outside it, `bool (H, W)`.

    Distances are measured in one of two boxes, whichever is smaller: around the region, beyond which there is none of
    it, or around the rest and its margin, beyond which everything is far.
    """
    from scipy.ndimage import distance_transform_edt

    if region.all():
        return region
    around_region, around_rest = _box(region, 1), _box(~region, margin + 1)
    box = min(around_region, around_rest, key=lambda sides: math.prod(side.stop - side.start for side in sides))
    far = np.zeros_like(region) if box == around_region else region.copy()
    far[box] = distance_transform_edt(region[box]) > margin
    return far


def _box(region: Mask, pad: int) -> tuple[slice, slice]:
    """Return the rows and columns of a region that is not empty, and `pad` more on every side that has them."""
    places = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(int(found[0]) - pad, 0), int(found[-1]) + pad + 1) for found in places)
    return rows, columns
