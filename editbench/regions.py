"""Masks to regions: the one place that knows the polarity of a mask (True = edit)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

Mask: TypeAlias = npt.NDArray[np.bool_]
"""`bool (H, W)`, True where the edit may happen."""

RegionName = Literal["edit", "keep", "all", "band"]
REGIONS: tuple[RegionName, ...] = get_args(RegionName)


def band_width(height: int, width: int) -> int:
    """Half-width of the band in pixels: `max(2, min(H, W) / 128)`, rounded down."""
    return max(2, min(height, width) // 128)


class Regions:
    """The regions of one mask, each computed at most once.

    Args:
        mask: `bool (H, W)`, True = edit. It is not copied and must not change afterwards.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def __getitem__(self, name: RegionName) -> Mask:
        """Return the region `name` as `bool (H, W)`, True = belongs to it."""
        return cast(Mask, getattr(self, name))

    @cached_property
    def edit(self) -> Mask:
        """The mask itself."""
        return self._mask

    @cached_property
    def keep(self) -> Mask:
        """Everything outside the mask."""
        return ~self._mask

    @cached_property
    def all(self) -> Mask:
        """Every pixel."""
        return np.ones_like(self._mask)

    @cached_property
    def band(self) -> Mask:
        """Both sides of the mask's border, `band_width` pixels deep; empty where there is no border."""
        width = band_width(*self._mask.shape)
        return (self.distance_outside <= width) & (self.distance_inside <= width)

    @cached_property
    def distance_outside(self) -> npt.NDArray[np.float64]:
        """Euclidean distance in pixels from each keep pixel to the mask; 0 inside it, infinite without a mask."""
        return self._distance(self.keep)

    @cached_property
    def distance_inside(self) -> npt.NDArray[np.float64]:
        """Euclidean distance in pixels from each edit pixel to the keep region; 0 outside the mask."""
        return self._distance(self.edit)

    @cached_property
    def _has_border(self) -> bool:
        return bool(self._mask.any() and not self._mask.all())

    def _distance(self, inside: Mask) -> npt.NDArray[np.float64]:
        if not self._has_border:
            return np.where(inside, np.inf, 0.0)
        from scipy.ndimage import distance_transform_edt

        transform = cast(Callable[[Mask], npt.NDArray[np.float64]], distance_transform_edt)
        return transform(inside)
