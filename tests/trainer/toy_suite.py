"""Scenes that cost microseconds: a rectangle on a plain ground, to be made lighter."""

import hashlib
from dataclasses import dataclass

import numpy as np

from editbench.types import Content, Scenario

SIDE = 32


@dataclass(frozen=True)
class Squares:
    """`count` scenarios, two to a cluster.

    Args:
        masks: some cover a part of the picture, uneven ones parts of two sizes, all cover it wholly, none nothing.
        targets: whether there are any.
    """

    count: int = 40
    masks: str = "some"
    targets: bool = True

    @property
    def name(self):
        return f"squares@1:count={self.count},masks={self.masks},targets={str(self.targets).lower()}"

    @property
    def identity(self):
        return hashlib.sha256(self.name.encode()).hexdigest()

    licence = "CC0-1.0"

    def __len__(self):
        return self.count

    def __iter__(self):
        return (self[index] for index in range(self.count))

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return Scenario(
            id=f"square-{index:03d}",
            cluster=f"pair-{index // 2:03d}",
            category="lighten",
            instruction="make the rectangle lighter",
            load=lambda: self.draw(index),
        )

    def draw(self, index):
        random = np.random.default_rng(index)
        source = np.empty((SIDE, SIDE, 3), np.uint8)
        source[:] = random.integers(90, 140, 3)
        mask = np.zeros((SIDE, SIDE), bool)
        top, left = random.integers(0, SIDE // 2, 2)
        if self.masks in ("some", "uneven"):
            mask[top : top + (5 if self.masks == "uneven" and index % 2 else 14), left : left + 10] = True
        mask |= self.masks == "all"
        source[top : top + 14, left : left + 10] = random.integers(60, 90, 3)
        lighter = np.where(mask[..., None], source + np.uint8(60), source)
        return Content(source, mask, lighter if self.targets else None)
