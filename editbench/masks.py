"""Masks enter here: whatever the file looks like, `bool (H, W)`, True = edit, comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from editbench.images import InvalidImage, decoding, eight_bits, open_image, upright
from editbench.regions import Mask

MaskPolarity = Literal["white=edit", "black=edit", "transparent=edit"]


class AcceptedMask(NamedTuple):
    """A mask, and what had to be done to accept it."""

    mask: Mask
    flags: tuple[str, ...]


def decode_mask(
    data: bytes | Path, polarity: MaskPolarity = "white=edit", threshold: int | None = None
) -> AcceptedMask:
    """Decode a mask file. Orientation (EXIF) is applied, as it is to images.

    Args:
        data: the bytes of a file, or its path.
        polarity: which pixels mean "edit". `transparent=edit` reads the alpha channel: anything not opaque.
        threshold: grey level (1..255) from which a pixel is white, 16-bit levels being scaled to 0..255 first; None
            accepts only two levels: 0/255, 0/1, 1-bit, and 0/65535 in a 16-bit file.

    Raises:
        InvalidImage: if values other than two occur and no threshold is given; the message has a histogram.
        OSError: if the file itself cannot be opened.
    """
    opened = open_image(data)
    with decoding():
        image = upright(opened)
        flags = {"exif-orientation"} if image is not opened else set()
        if image.mode.startswith("I"):
            flags.add("16-bit")
        mask = _transparent(image, threshold) if polarity == "transparent=edit" else _white(image, threshold)
    return AcceptedMask(~mask if polarity == "black=edit" else mask, tuple(sorted(flags)))


def _transparent(image: PILImage.Image, threshold: int | None) -> Mask:
    if image.mode.startswith("I") or ("A" not in image.getbands() and "transparency" not in image.info):
        raise InvalidImage(f"mask of mode {image.mode} has no alpha channel, which 'transparent=edit' would read")
    levels = 255 - np.asarray(image.convert("RGBA"))[..., 3]
    return np.asarray(levels >= (threshold or 1))


def _white(image: PILImage.Image, threshold: int | None) -> Mask:
    deep = image.mode.startswith("I")
    levels = _deep_levels(image) if deep else _grey_levels(image)
    if threshold is not None:
        return np.asarray((eight_bits(levels) if deep else levels) >= threshold)
    whites = (65535, 255, 1) if deep else (255, 1)
    values, counts = _histogram(levels)
    if any(set(values.tolist()) <= {0, white} for white in whites):
        return np.asarray(levels > 0)
    common = sorted(zip(counts / levels.size, values, strict=True), reverse=True)[:4]
    histogram = ", ".join(f"{value} ({share:.1%})" for share, value in common)
    rest = len(values) - len(common)
    more = f" and {rest} more levels" if rest > 0 else ""
    kind, scale = ("16-bit levels", " on a scale of 0 to 255") if deep else ("grey levels", "")
    expected = " or ".join(f"0/{white}" for white in whites)
    raise InvalidImage(f"mask has {kind} {histogram}{more}, expected {expected}; or give mask_threshold (128{scale})")


def _deep_levels(image: PILImage.Image) -> npt.NDArray[Any]:
    if "transparency" in image.info:
        raise InvalidImage("16-bit mask with a transparent level")
    return np.asarray(image)


def _histogram(levels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the levels that there are, and how often; of eight bits without sorting them."""
    if levels.dtype != np.uint8:
        return np.unique(levels, return_counts=True)
    counts = np.bincount(levels.ravel(), minlength=256)
    (values,) = counts.nonzero()
    return values, counts[values]


def _grey_levels(image: PILImage.Image) -> npt.NDArray[np.uint8]:
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
        raise InvalidImage(f"mask mode {image.mode!r}, expected 1, L, P, RGB, RGBA or 16-bit grey")
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    rgba = np.asarray(image.convert("RGBA"))
    if (rgba[..., 3] != 255).any():
        raise InvalidImage("mask with transparent pixels: say mask_polarity 'transparent=edit' if alpha is the mask")
    if (rgba[..., 0] != rgba[..., 1]).any() or (rgba[..., 0] != rgba[..., 2]).any():
        raise InvalidImage("coloured mask, expected black and white")
    return rgba[..., 0]
