"""Run-length encoded masks as (start, length) pairs, decoded without a loop over pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from editbench.images import InvalidImage
from editbench.masks import AcceptedMask
from editbench.regions import Mask

Numbers: TypeAlias = npt.NDArray[np.int64]


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
    _check_bounds(starts, lengths, size, first)
    flags = []
    ends = starts + np.minimum(lengths, size)  # a length near the end of 64 bits must not wrap around
    if ends.max(initial=0) > size:
        flags.append("run past the end")
        ends = np.minimum(ends, size)
    if not (starts[1:] >= ends[:-1]).all():  # out of order, or one over another
        starts, ends, overlap = _merged(starts, ends)
        flags += ["overlapping runs"] * overlap
    borders = np.empty(2 * len(starts) + 2, np.int64)
    borders[0], borders[-1], borders[1:-1:2], borders[2:-1:2] = 0, size, starts, ends
    inside = np.zeros(len(borders) - 1, np.bool_)
    inside[1::2] = True
    mask = np.repeat(inside, borders[1:] - borders[:-1]).reshape(height, width)
    return AcceptedMask(mask, tuple(sorted(flags)))


def _check_bounds(starts: Numbers, lengths: Numbers, size: int, first: int) -> None:
    if not len(starts) or (starts.min() >= 0 and starts.max() < size and lengths.min() >= 0):
        return
    number = int(((starts < 0) | (starts >= size) | (lengths < 0)).argmax())
    if lengths[number] < 0:
        raise InvalidImage(f"run {number + 1} has length {lengths[number]}, expected 0 or more")
    raise InvalidImage(f"run {number + 1} has start {starts[number] + first}, expected {first} to {size - 1 + first}")


def _merged(starts: Numbers, ends: Numbers) -> tuple[Numbers, Numbers, bool]:
    """Sort runs, drop empty ones, and let each begin where those before it end; say whether any had to."""
    order = np.argsort(starts, kind="stable")
    order = order[ends[order] > starts[order]]
    starts, reached = starts[order], np.maximum.accumulate(ends[order])
    overlap = bool((starts[1:] < reached[:-1]).any())
    starts[1:] = np.maximum(starts[1:], reached[:-1])
    return starts, reached, overlap


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
