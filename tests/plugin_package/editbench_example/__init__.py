"""An editor, a metric and a suite from outside editbench: what a plug-in looks like."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from editbench.regions import RegionName
from editbench.types import Content, Scenario


@dataclass(frozen=True)
class Invert:
    """Invert the image."""

    strength: float = 1.0

    mask_access: ClassVar[str] = "none"

    def edit(self, requests):
        return [(r.source + self.strength * (255.0 - 2.0 * r.source)).clip(0, 255).astype(np.uint8) for r in requests]


@dataclass(frozen=True)
class LargestChange:
    """Largest change of any channel in a region."""

    region: RegionName

    version: ClassVar[int] = 1
    direction: ClassVar[str] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple] = (0.0, 1.0)
    needs: ClassVar[tuple] = ()
    libraries: ClassVar[tuple] = ()

    def score(self, samples):
        return [self._score(sample.scenario, sample.output) for sample in samples]

    def _score(self, scenario, output):
        change = np.abs(output.astype(int) - scenario.source)
        return change[scenario.region(self.region)].max() / 255


class Gradients:
    """Two grey ramps."""

    name = "gradients@1"
    identity = "gradients-1"
    licence = "CC0-1.0"

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index >= 2:
            raise IndexError(index)
        return Scenario(f"ramp-{index}", f"ramp-{index}", "edit", "Make it darker.", lambda: self._content(index))

    def __iter__(self):
        return (self[index] for index in range(2))

    @staticmethod
    def _content(index):
        ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8)[:, None, None], (1, 64, 3)) + index
        mask = np.zeros((64, 64), dtype=bool)
        mask[16:40, 20:50] = True
        return Content(ramp, mask)
