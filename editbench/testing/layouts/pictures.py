"""Writing the pictures of a format: PNG files and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from editbench.regions import Mask
from editbench.types import Image


def write_png(path: Path, image: Image) -> None:
    """Write a PNG file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(image).save(path, "PNG")


def write_mask(path: Path, white: Mask) -> None:
    """Write a mask as an 8-bit grey PNG file, True = white."""
    write_png(path, white.astype(np.uint8) * 255)
