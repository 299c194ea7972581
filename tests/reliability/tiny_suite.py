"""A suite of any length that costs next to nothing; tests copy this file and load it as `tiny.py:Tiny:count=N`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from editbench.types import Content, Scenario

PICTURES = 50


def picture(number, size):
    return np.random.default_rng(number % PICTURES).integers(0, 256, (size, size, 3), np.uint8)


def content(number, size):
    mask = np.zeros((size, size), bool)
    mask[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = True
    return Content(picture(number, size), mask)


@dataclass(frozen=True)
class Tiny:
    count: int
    size: int = 16

    licence: ClassVar[str] = "CC0-1.0"

    @property
    def name(self):
        return f"tiny@1:count={self.count},size={self.size}"

    @property
    def identity(self):
        return f"{self.count:056d}{self.size:08d}"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        name, cluster = f"{index:07d}", f"c{index % PICTURES}"
        return Scenario(name, cluster, "noise", f"Edit {name}.", lambda: content(index, self.size))

    def __iter__(self):
        return (self[index] for index in range(self.count))
