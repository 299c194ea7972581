"""Real-looking items with known masks, for writing a benchmark's files the way its authors do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from editbench.images import resize
from editbench.regions import Mask
from editbench.suites.photos import Photograph, manifest, photograph
from editbench.types import Image

_WORDS = (
    ("Make it blue.", "a picture", "a picture with a blue patch"),
    ("Färbe es “rot”, s'il te plaît.", "ein Bild", "ein Bild mit einem roten Fleck"),
    ("remove the thing, then\nfill the gap", "a thing on a ground", "a ground"),
    ("Add a hat", "a person", "a person with a hat"),
    ("Change it to gold", "a box", "a golden box"),
)


@dataclass(frozen=True)
class Example:
    """One item before it is written in a format, and what a right loader makes of it afterwards."""

    id: str
    source: Image
    mask: Mask | None
    """`bool (H, W)`, True = edit; None where the format has no masks: the whole picture."""
    instruction: str
    source_prompt: str | None
    target_prompt: str | None
    target: Image | None
    category: str = ""
    """Empty where a test has nothing to say about it."""
    chain: str | None = None
    turn: int = 1


def examples(count: int = 4, height: int = 96, width: int = 128) -> list[Example]:
    """Return photographs with masks of known geometry and targets that differ from the source inside the mask only.

    Masks are no mirror images of themselves, so that a wrong axis, a wrong offset or an inverted polarity shows; the
    second one touches the picture's border and the third is two separate pieces. The first source has black pixels
    outside its mask. Every source has black, white and coloured pixels in it.

    Args:
        count: how many, at most 5 different words and as many photographs as scikit-image has.
        height: of each, in pixels, at least 16.
        width: of each, in pixels, at least 16.
    """
    pictures = list(manifest()["photographs"].values())
    return [_example(index, pictures[index % len(pictures)], height, width) for index in range(count)]


def _example(index: int, picture: Photograph, height: int, width: int) -> Example:
    source = resize(photograph(picture["file"], picture["pixels_sha256"]), height, width)
    source[-4:, :4], source[-4:, -4:] = 0, 255
    mask = _mask(index, height, width)
    target = source.copy()
    target[mask] = 255 - target[mask] // 2
    words = _WORDS[index % len(_WORDS)]
    return Example(f"{index + 1:012d}", source, mask, *words, target)


def _mask(index: int, height: int, width: int) -> Mask:
    rows, columns = np.mgrid[:height, :width]
    high, wide = height // 8, width // 8
    mask: Mask = (rows >= high) & (rows < 3 * high) & (columns >= 2 * wide) & (columns < 3 * wide)
    mask |= (rows >= 2 * high) & (rows < 3 * high) & (columns >= 2 * wide) & (columns < 5 * wide)  # an L, lying
    if index % 3 == 1:
        mask |= (rows < high // 2) & (columns >= width - wide)
    if index % 3 == 2:
        mask |= (rows - 6 * high) ** 2 + (columns - 3 * wide) ** 2 < high**2
    return mask
