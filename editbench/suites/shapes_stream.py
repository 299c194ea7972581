"""Random choices that are the same on every machine and NumPy version: raw bits, exact arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Choice = TypeVar("Choice")
Field = npt.NDArray[np.float64]
"""`float64`, anything over the picture."""

_TO_UNIT = 2.0**-53


class Stream:
    """A stream of choices keyed by a text.

    Only the raw bits of Philox are used: they are frozen by its definition, the methods of `Generator` are not.
    """

    def __init__(self, text: str) -> None:
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
        self._bits = np.random.Philox(key=key)

    def raw(self) -> int:
        """Return 64 random bits."""
        return int(self._bits.random_raw())

    def below(self, count: int) -> int:
        """Return an integer in [0, count)."""
        return (self.raw() * count) >> 64

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * ((self.raw() >> 11) * _TO_UNIT)

    def chance(self, share: float) -> bool:
        """Return True in this share of the cases."""
        return self.uniform(0.0, 1.0) < share

    def choice(self, options: Sequence[Choice]) -> Choice:
        """Return one of the options."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[Choice]) -> list[Choice]:
        """Return the options in random order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(len(left))]


def lattice(seed: int, rows: int, columns: int) -> Field:
    """Return random values in [0, 1) on a grid, the same for the same seed."""
    raw = np.random.Philox(key=seed).random_raw(rows * columns)
    return ((raw >> np.uint64(11)).astype(np.float64) * _TO_UNIT).reshape(rows, columns)
