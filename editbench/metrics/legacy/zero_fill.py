"""Measures of two images after everything outside a mask was made black, averaged over the whole frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask
from editbench.types import Image

_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def squared_error(first: Image, second: Image, kept: Mask) -> int:
    """Sum of squared differences of 8-bit levels over the kept pixels and their channels; exact."""
    difference = np.abs(first.astype(np.int16) - second)[kept]
    return int((np.bincount(difference.ravel(), minlength=256) * np.arange(256) ** 2).sum())


def ssim(first: Image, second: Image, kept: Mask) -> float:
    """Mean structural similarity as torchmetrics computes it (11×11 Gaussian, σ 1.5), pixels beyond `kept` black.

    Frames are continued by reflection, and every pixel of the frame counts, black ones with similarity 1.

    Args:
        first: `uint8 (H, W, 3)`.
        second: the same shape.
        kept: `bool (H, W)`.
    """
    filled = [image * (kept[..., None] / 255) for image in (first, second)]
    return float(np.mean([_similarity(filled[0][..., c], filled[1][..., c]) for c in range(3)]))


def _similarity(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    from scipy.ndimage import correlate1d

    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()

    def blur(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rows = correlate1d(field, window, axis=1, mode="mirror")
        return np.asarray(correlate1d(rows, window, axis=0, mode="mirror"))

    mean_x, mean_y = blur(x), blur(y)
    variance_x = np.maximum(blur(x * x) - mean_x**2, 0)
    variance_y = np.maximum(blur(y * y) - mean_y**2, 0)
    covariance = blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    return float(similarity.mean())
