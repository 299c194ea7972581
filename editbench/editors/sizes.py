"""The size at which a model edits: its grid is reached by padding or resampling, and what was done is undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as PILImage

from editbench.images import resize, size_text
from editbench.regions import Mask
from editbench.types import Image

Fit = Literal["reflect", "edge", "resize"]
"""How sides that the grid does not divide are made legal. Rows and columns are added at the bottom and on the right
(mirrored, or the last one repeated) and cut off again; or all is resampled to the nearest legal size and back."""


def working_size(
    height: int, width: int, multiple: int, area: int | None = None, max_side: int | None = None
) -> tuple[int, int]:
    """Return the size at which a picture is edited: its own, or the one asked for, on a grid.

    Args:
        height: of the source, in pixels.
        width: of the source, in pixels.
        multiple: what both sides must be multiples of; 1 for any size.
        area: pixels to edit at, whatever the source has; the aspect ratio stays.
        max_side: the longer side, if it would be more.

    >>> working_size(512, 768, 16, area=512 * 512)
    (416, 624)
    >>> working_size(480, 640, 1, max_side=320)
    (240, 320)
    """
    scale = 1.0 if area is None else (area / (height * width)) ** 0.5
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))
    sides = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return next(sides), next(sides)


@dataclass(frozen=True)
class Fitted:
    """A source, and its mask, at a size that a model takes."""

    source: Image
    mask: Mask | None
    inner: tuple[int, int]
    """Height and width of the part that is not padding."""
    original: tuple[int, int]
    """Height and width of the source as it was."""

    @property
    def flags(self) -> tuple[str, ...]:
        """`edited-at=WxH` where the picture was resampled; padding is undone exactly and leaves none."""
        return () if self.inner == self.original else (f"edited-at={size_text(*self.inner)}",)

    def undo(self, output: Image) -> Image:
        """Cut the padding off an output of the model's size and bring the rest to the size of the source."""
        inner = output[: self.inner[0], : self.inner[1]]
        return inner if self.inner == self.original else resize(inner, *self.original)


def fit_source(
    source: Image,
    mask: Mask | None,
    multiple: int,
    fit: Fit,
    area: int | None = None,
    max_side: int | None = None,
    smallest: int = 1,
) -> Fitted:
    """Bring a source and its mask to a size that a model takes.

    A pixel of a resampled mask belongs to it where at least half of it did; padding never does.

    Args:
        source: `uint8 (H, W, 3)`.
        mask: `bool (H, W)`, or None.
        multiple: what both sides must be multiples of.
        fit: how that is reached.
        area: pixels to edit at; by default those of the source.
        max_side: longer side at most.
        smallest: what both sides must have at least, which padding gives them; `multiple` divides it.
    """
    original = source.shape[0], source.shape[1]
    inner = working_size(*original, multiple if fit == "resize" else 1, area, max_side)
    if inner != original:
        source = resize(source, *inner)
        mask = None if mask is None else _resize_mask(mask, *inner)
    bottom, right = (max(-side % multiple, smallest - side) for side in inner)
    if bottom or right:
        source = np.pad(source, ((0, bottom), (0, right), (0, 0)), mode="edge" if fit == "edge" else "reflect")
        mask = None if mask is None else np.pad(mask, ((0, bottom), (0, right)))
    return Fitted(source, mask, inner, original)


def _resize_mask(mask: Mask, height: int, width: int) -> Mask:
    picture = PILImage.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(picture.resize((width, height), PILImage.Resampling.BOX)) >= 128
