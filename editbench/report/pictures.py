"""Pictures for people: thumbnails, masks drawn over images, and where an edit differs from its source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from editbench.durable import write_whole
from editbench.images import pixels_sha256
from editbench.png import encode_png
from editbench.regions import Mask
from editbench.types import Image

SIDE = 256
"""Longest side of a thumbnail in pixels."""
FULL_SCALE = 0.25
"""Mean absolute difference, as a share of the range, from which a heat map is at its brightest: the same everywhere."""
ANCHORS = ((0, 0, 4), (58, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
"""Colours of the heat map at equal steps: lightness rises evenly, so that equal steps look equal."""

_TINT = np.array((255, 45, 135))
_TINT_SHARE = 0.38
_INK, _PAPER = (20, 20, 24), (255, 255, 255)
_JPEG_QUALITY = 90


def thumbnail(image: Image) -> Image:
    """Shrink an image so that its longer side is at most `SIDE`; enlarge a small one by a whole factor."""
    return _fit(PILImage.fromarray(image), PILImage.Resampling.LANCZOS)


def thumbnail_mask(mask: Mask) -> Mask:
    """Fit a mask as `thumbnail` does; a pixel belongs to it if a quarter of what it stands for does."""
    grey = PILImage.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(_fit(grey, PILImage.Resampling.BOX) >= 64)


def _fit(image: PILImage.Image, filter_: PILImage.Resampling) -> npt.NDArray[np.uint8]:
    longest = max(image.size)
    if longest > SIDE:
        width, height = (max(1, round(side * SIDE / longest)) for side in image.size)
        return np.array(image.resize((width, height), filter_))
    factor = SIDE // longest
    return np.array(image).repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(source: Image, mask: Mask) -> Image:
    """Return the source with the mask tinted and outlined."""
    tinted = source.copy()
    tinted[mask] = np.rint(source[mask] * (1 - _TINT_SHARE) + _TINT * _TINT_SHARE).astype(np.uint8)
    return outline(tinted, mask)


def outline(image: Image, mask: Mask) -> Image:
    """Return the image with the border of the mask drawn: light just inside, dark just outside, visible on anything."""
    drawn = image.copy()
    drawn[_grown(mask) & ~mask] = _INK
    drawn[_grown(~mask) & mask] = _PAPER
    return drawn


def _grown(mask: Mask) -> Mask:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def heat_map(source: Image, output: Image) -> Image:
    """Return where the output differs from the source, on a scale that is the same for every picture.

    Args:
        source: `uint8 (H, W, 3)`.
        output: of the same size.
    """
    difference = np.abs(source.astype(np.int16) - output).mean(axis=2) / 255
    steps = np.linspace(0, 1, len(ANCHORS))
    share = np.minimum(difference / FULL_SCALE, 1)
    channels = [np.interp(share, steps, [anchor[channel] for anchor in ANCHORS]) for channel in range(3)]
    colours: Image = np.rint(np.stack(channels, axis=2)).astype(np.uint8)
    return colours


def write_picture(image: Image, folder: Path) -> str:
    """Write a picture once under the hash of its pixels, as PNG or JPEG, whichever is smaller; return its name.

    Raises:
        StorageError: naming the path.
    """
    name = pixels_sha256(image)[:24]
    for suffix in (".png", ".jpg"):
        if (folder / f"{name}{suffix}").exists():
            return f"{name}{suffix}"
    png, jpeg = encode_png(image), _encode_jpeg(image)
    suffix, data = (".png", png) if len(png) <= len(jpeg) else (".jpg", jpeg)
    write_whole(folder / f"{name}{suffix}", [data])
    return f"{name}{suffix}"


def _encode_jpeg(image: Image) -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
