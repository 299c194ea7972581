"""Masks as COCO writes them: polygons, and run lengths down the columns, as numbers or as compressed text."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from editbench.images import MAX_PIXELS, InvalidImage, size_text
from editbench.masks import AcceptedMask
from editbench.names import shown
from editbench.types import EditbenchError


class Code(TypedDict):
    """Lengths of runs down the columns, in turn outside and inside the object."""

    size: list[int]
    """Height, width."""
    counts: list[int] | str
    """Numbers, or their text in the variable-length code of pycocotools."""


def decode_segmentation(segmentation: Any, height: int, width: int) -> AcceptedMask:
    """Decode the `segmentation` of a COCO annotation with pycocotools.

    Args:
        segmentation: polygons `[[x, y, x, y, …], …]`, whose union is the mask, or a `Code`.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Raises:
        InvalidImage: for anything else, and for runs that do not add up to the picture, the rest of which pycocotools
            would leave as it is in memory.
    """
    if height * width > MAX_PIXELS:
        raise InvalidImage(f"size {size_text(height, width)}, more than the limit of {MAX_PIXELS} pixels")
    packed = (_runs if isinstance(segmentation, Mapping) else _polygons)(segmentation, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy 2, about how pycocotools hands its array over
        mask = library().decode(packed)
    return AcceptedMask(np.ascontiguousarray(mask, np.bool_), ())


def _polygons(polygons: Any, height: int, width: int) -> Any:
    if not isinstance(polygons, Sequence) or isinstance(polygons, str) or not polygons:
        raise InvalidImage("no polygon")
    for number, polygon in enumerate(polygons, start=1):
        if not isinstance(polygon, Sequence) or not all(map(_is_number, polygon)):
            raise InvalidImage(f"polygon {number} is {shown(polygon)}, expected numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise InvalidImage(f"polygon {number} has {len(polygon)} numbers, expected x and y of 3 points or more")
        if (farthest := max(map(abs, polygon))) > 2 * max(height, width):
            size = size_text(height, width)
            raise InvalidImage(f"polygon {number} reaches {farthest:g} in a picture of {size}")
    coco = library()
    return coco.merge(coco.frPyObjects(polygons, height, width))


def _runs(code: Mapping[str, Any], height: int, width: int) -> Any:
    counts, size = code.get("counts"), code.get("size")
    if not isinstance(size, Sequence) or list(size) != [height, width]:
        told = shown(size)
        if isinstance(size, Sequence) and len(size) == 2 and all(type(side) is int for side in size):
            told = size_text(size[0], size[1])[:80]
        said = size_text(height, width)
        raise InvalidImage(f"runs for a size of {told}, but the picture is said to be {said}")
    lengths = unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, Sequence) or not all(type(length) is int for length in lengths):
        raise InvalidImage(f"runs of {shown(counts)}, expected whole numbers")
    if (shortest := min(lengths, default=0)) < 0:
        raise InvalidImage(f"a run of length {shown(shortest)}, expected 0 or more")
    if (total := sum(lengths)) != height * width:
        raise InvalidImage(f"runs of {shown(total)} pixels together, expected {height * width}")
    return library().frPyObjects({"size": size, "counts": lengths}, height, width)


def _is_number(value: object) -> bool:
    """Whether pycocotools may be given a coordinate: it crashes on NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def unpacked(text: str) -> list[int]:
    """Return the run lengths in a text of pycocotools: five bits a character, from the third run on differences.

    Raises:
        InvalidImage: for a character or an end that the code does not have.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InvalidImage(f"run-length code with {character!r} in it, expected the text of pycocotools")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last one of a number; its highest bit is the sign
            value -= (1 << shift) if bits & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise InvalidImage("run-length code that ends inside a number")
    return lengths


def library() -> Any:
    """Return `pycocotools.mask`.

    Raises:
        EditbenchError: if it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise EditbenchError("COCO masks need pycocotools: pip install 'editbench[coco]'") from None
    return mask
