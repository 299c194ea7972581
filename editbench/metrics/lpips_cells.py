"""Activations cell by cell: their length, how far those of two images are apart, and averages of that.

A distance is that of Zhang et al. 2018 (arXiv 1801.03924, equation 1): in each of a trunk's stages, activations are
brought to unit length across channels, subtracted, squared, weighted by the head and added up over channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask

if TYPE_CHECKING:
    import torch
    from scipy import sparse

Maps: TypeAlias = tuple[npt.NDArray[np.float32], ...]
"""The squared distance in every cell of every stage's grid: one `float32 (h, w)` a stage, at least 0."""

_EPSILON = 1e-10
"""Added to a length before it divides: where nothing is active, nothing differs."""
_CHUNK = 1 << 19
"""Bytes of activations that a processor takes through all of a stage's arithmetic at once: they stay in its cache."""


def to_unit_length(active: torch.Tensor) -> torch.Tensor:
    """Bring activations `float32 (n, h, w, channels)` to unit length across channels; return what it was."""
    import torch

    lengths = torch.empty_like(active[..., :1])
    cells = active.view(-1, active.shape[-1])
    for part in _chunks(cells):
        length = _length(cells[part])
        cells[part] /= length
        lengths.view(-1, 1)[part] = length
    return lengths


def squared_distances(described: torch.Tensor, active: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Compare one stage of two images, cell by cell.

    Args:
        described: `float32 (cells, channels)` of unit length.
        active: `float32 (n, h, w, channels)`, of any length; n · h · w cells.
        head: the weight of each channel.

    Returns:
        `float32 (n, h, w)`.
    """
    import torch

    cells = active.view(-1, len(head))
    distances = torch.empty(active.shape[:-1], device=active.device)
    results = distances.view(-1)
    difference = None
    for part in _chunks(cells):
        room = None if difference is None else difference[: len(cells[part])]  # fresh memory costs time
        difference = torch.addcdiv(described[part], cells[part], _length(cells[part]), value=-1, out=room)
        torch.mv(difference.square_(), head, out=results[part])
    return distances


def _chunks(cells: torch.Tensor) -> Iterator[slice]:
    """Yield parts of `float32 (count, channels)`, one after the other; everything at once on an accelerator."""
    count, channels = cells.shape
    size = max(1, _CHUNK // (4 * channels)) if cells.device.type == "cpu" else count
    for start in range(0, count, size):
        yield slice(start, start + size)


def _length(cells: torch.Tensor) -> torch.Tensor:
    import torch

    length: torch.Tensor = torch.linalg.vector_norm(cells, dim=-1, keepdim=True)
    return length.add_(_EPSILON)


def cell_weights(region: Mask, cells: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return how much each cell of a stage counts in an average over a region, `float32 (h, w)`; they add up to 1.

    A stage's distances are interpolated bilinearly to the image's size, and averaged over the region's pixels: both are
    linear, so that a cell's weight is the same for every image.
    """
    down, across = (_interpolation(many, few) for many, few in zip(region.shape, cells, strict=True))
    return np.asarray(down.T @ region.astype(np.float32) @ across / np.float32(np.count_nonzero(region)))


@lru_cache(maxsize=64)
def _interpolation(many: int, few: int) -> sparse.csr_array:
    """Return what makes `many` values out of `few`, `float32 (many, few)`, bilinearly and as PyTorch does."""
    import torch
    from scipy import sparse
    from torch.nn import functional

    rows = torch.eye(few)[None, None]
    return sparse.csr_array(
        functional.interpolate(rows, (many, few), mode="bilinear", align_corners=False)[0, 0].numpy()
    )


def whole(maps: Maps) -> float:
    """Average every stage's distances over its own grid and add them up: LPIPS as published."""
    return math.fsum(float(stage.mean(dtype=np.float64)) for stage in maps)
