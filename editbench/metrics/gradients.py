"""Structure without weights: are the gradients of source and output the same in the same places?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from editbench.metrics.boundary import LUMINANCE, kept
from editbench.regions import Mask, RegionName
from editbench.types import Direction, Image, Need, Sample, Scenario, Value

CONSTANT = 170.0
"""Added to numerator and denominator, in squared levels of 255: T of the paper, its best on three databases."""


def _inner(region: Mask) -> Mask:
    """Pixels all of whose eight neighbours belong to the region too: where a gradient sees nothing else."""
    inner = np.zeros_like(region)
    rows = region[:-2] & region[1:-1] & region[2:]
    inner[1:-1, 1:-1] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return inner


def _gradient(image: Image) -> npt.NDArray[np.float64]:
    """Length of the Prewitt gradient of the luminance in levels of 255, `float64 (H, W)`; 0 on the frame.

    Whole numbers until the root is taken, so that it is the same however the image is turned.
    """
    luminance = image @ np.array(LUMINANCE, np.float64)
    rows = luminance[:-2] + luminance[1:-1] + luminance[2:]
    columns = luminance[:, :-2] + luminance[:, 1:-1] + luminance[:, 2:]
    across, down = rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]
    length = np.zeros(luminance.shape)
    length[1:-1, 1:-1] = np.sqrt(across**2 + down**2) / (3 * sum(LUMINANCE))
    return length


@dataclass(frozen=True)
class Gms:
    """Gradient magnitude similarity over a region: mean of (2ab + T) / (a² + b² + T).

    a and b are the lengths of the luminance's Prewitt gradient in source and output, T = 170 for levels of 255. The
    mean runs over the region's pixels whose eight neighbours belong to it as well, so that nothing else has a say. It
    is blind to a shift of all colours and to flat colour.

    References:
        Xue, Zhang, Mou & Bovik 2014, "Gradient magnitude similarity deviation".

    Disagreements:
        The paper halves the resolution first, and recommends the deviation of the map (GMSD) over its mean.
    """

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        if not scenario.region(self.region).any():
            return f"empty {self.region} region"
        return None if self._pixels(scenario).any() else f"{self.region} region narrower than three pixels"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        return [self._value(sample) for sample in samples]

    def _pixels(self, scenario: Scenario) -> Mask:
        return kept(scenario, ("inner", self.region), lambda: _inner(scenario.region(self.region)))

    def _value(self, sample: Sample) -> float:
        if "similarity of gradients" not in sample.memo:
            source = sample.scenario.source
            before = kept(sample.scenario, "gradient", lambda: _gradient(source))
            after = _gradient(sample.output)
            sample.memo["similarity of gradients"] = (2 * before * after + CONSTANT) / (before**2 + after**2 + CONSTANT)
        similarity: npt.NDArray[np.float64] = sample.memo["similarity of gradients"]
        return float(similarity[self._pixels(sample.scenario)].mean())
