"""LPIPS with SqueezeNet on images that are black outside a mask, as torchmetrics computes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from editbench.metrics.lpips_cells import whole
from editbench.metrics.lpips_weights import hashes, lpips_files, network
from editbench.regions import Mask
from editbench.types import Image


def lpips_weights(trunk: Path | None, needed_by: str) -> dict[str, str]:
    """Return the sha256 of the trunk and of the linear heads, without torch; see `lpips_files`."""
    return hashes(lpips_files("squeeze", trunk, needed_by))


def lpips_squeeze(pairs: Sequence[tuple[Image, Image, Mask]], trunk: Path | None, needed_by: str) -> list[float]:
    """Return the LPIPS distance of each pair, black outside its mask, averaged over the whole frame.

    Args:
        pairs: two images `uint8 (H, W, 3)` and the kept pixels `bool (H, W)`.
        trunk: see `lpips_files`.
        needed_by: the metric, for messages.
    """
    filled = [(first * kept[..., None], second * kept[..., None]) for first, second, kept in pairs]
    different = [not np.array_equal(first, second) for first, second in filled]
    made = iter(network("squeeze", lpips_files("squeeze", trunk, needed_by)).distances([*compress(filled, different)]))
    return [whole(*next(made)) if differs else 0.0 for differs in different]
