"""Structure without weights: are the edges of source and output in the same places?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.metrics.boundary import LUMINANCE, kept
from editbench.regions import Mask, RegionName
from editbench.types import Direction, Image, Need, Sample, Value

SIGMA = 1.5
"""Standard deviation of Canny's Gaussian in pixels, as the window of `ssim`."""
LOW, HIGH = 0.1, 0.2
"""Canny's thresholds: scikit-image's own, and fixed, for one that adapts to an image would forgive fading edges."""


def _edges(image: Image, region: Mask) -> tuple[Mask, npt.NDArray[np.float64]]:
    """Edges of the luminance inside a region, and the distance of each pixel to the nearest one (infinite if none).

    They depend on the region's own pixels and nothing else; both are of the size of the region's bounding box.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import canny

    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    frame = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    luminance = image[frame] @ np.array(LUMINANCE) / (255 * sum(LUMINANCE))
    edges: Mask = canny(luminance, SIGMA, LOW, HIGH, mask=region[frame])
    distance = distance_transform_edt(~edges) if edges.any() else np.full(edges.shape, np.inf)
    return edges, distance


@dataclass(frozen=True)
class EdgeF1:
    """Agreement of the edges of output and source over a region: F1 of matching within a tolerance.

    Edges are Canny's (scikit-image: σ = 1.5 px, thresholds 0.1 and 0.2 on the luminance in [0, 1]), smoothed by
    normalised convolution, so that only the region's own pixels have a say; its outermost pixels bear no edge.
    Precision is the share of the output's edge pixels with one of the source's within the tolerance, recall the share
    of the source's with one of the output's, and the value 2PR / (P + R) (as Martin, Fowlkes & Malik 2004 score
    boundaries, by distance instead of one-to-one matching). It is 1 if neither has an edge, 0 if one of them has none.

    Args:
        region: where to compare.
        tolerance: Euclidean distance in pixels at which two edges still are the same.
    """

    region: RegionName
    tolerance: float = 1.5

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy")

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"tolerance={self.tolerance}, expected 0 or more pixels")

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [self._value(sample) for sample in samples]

    def _value(self, sample: Sample) -> float:
        scenario, region = sample.scenario, sample.scenario.region(self.region)
        key = ("edges", self.region)
        source, to_source = kept(scenario, key, lambda: _edges(scenario.source, region))
        if key not in sample.memo:
            sample.memo[key] = _edges(sample.output, region)
        output, to_output = sample.memo[key]
        if not (source.any() and output.any()):
            return float(source.any() == output.any())
        precision = float((to_source[output] <= self.tolerance).mean())
        recall = float((to_output[source] <= self.tolerance).mean())
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
