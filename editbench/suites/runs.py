"""Run-length encoded masks as (start, length) pairs, decoded without a loop over pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from editbench.images import InvalidImage
from editbench.masks import AcceptedMask
from editbench.regions import Mask


class Runs(TypedDict):
    """A mask as JSON data."""

    size: list[int]
    """Height, width."""
    runs: list[int]
    """Start, length, … in row-major order."""


def decode_runs(runs: Sequence[int], height: int, width: int, first: int = 0) -> AcceptedMask:
    """Decode `start, length, start, length, …` into a mask, True in every run.

    PIE-Bench counts pixels from 0 (PnPInversion, `evaluation/evaluate.py`), BrushBench from 1 (BrushNet,
    `evaluate_brushnet.py`); both in row-major order. As there, a run that goes past the end is cut off, and runs may
    overlap; each leaves a flag.

    Args:
        runs: pairs of whole numbers.
        height: of the mask, in pixels.
        width: of the mask, in pixels.
        first: number of the first pixel, 0 or 1.

    Raises:
        InvalidImage: for an odd count, a start outside the picture or a negative length.
    """
    size = height * width
    if len(runs) % 2:
        raise InvalidImage(f"{len(runs)} numbers in the run-length code, expected pairs of start and length")
    try:
        pairs = np.asarray(runs, np.int64).reshape(-1, 2)
    except OverflowError:
        raise InvalidImage("a number beyond 64 bits in the run-length code") from None
    starts, lengths = pairs[:, 0] - first, pairs[:, 1]
    for wrong, what in (
        ((starts < 0) | (starts >= size), f"start {{}}, expected {first} to {size - 1 + first}"),
        (lengths < 0, "length {}, expected 0 or more"),
    ):
        if wrong.any():
            number = int(wrong.argmax())
            value = pairs[number, 0 if "start" in what else 1]
            raise InvalidImage(f"run {number + 1} has {what.format(value)}")
    room = size - starts
    flags = {"run past the end"} if (lengths > room).any() else set()
    ends = starts + np.minimum(lengths, room)
    # +1 where a run begins and -1 where it ends: the running sum counts the runs over each pixel.
    steps = np.bincount(starts, minlength=size + 1) - np.bincount(ends, minlength=size + 1)
    depth = np.cumsum(steps[:size])
    if size and depth.max() > 1:
        flags.add("overlapping runs")
    return AcceptedMask((depth > 0).reshape(height, width), tuple(sorted(flags)))


def encode_runs(mask: Mask, first: int = 0) -> list[int]:
    """Return a mask as `start, length, …`, what `decode_runs` reads.

    Args:
        mask: `bool (H, W)`.
        first: number of the first pixel, 0 or 1.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(), [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    runs: list[int] = np.stack([starts + first, ends - starts], axis=1).ravel().tolist()
    return runs
