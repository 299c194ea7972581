"""Where two images differ, how far that reaches into a trunk, and what a stage must read to follow it.

A stage looks at its surroundings only: away from the pixels that differ, activations are those of the other image, and
known. The rest is computed on a crop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from editbench.metrics.lpips_trunks import Blur, BlurredConvolution, Convolution, Fire, Pool, State, Step
from editbench.types import Image

Box: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

_SMALLEST_CROP = 32
"""Cells a side of a crop: enough for every mirror and strip at a frame (`BlurredConvolution` has the widest, 16)."""


class _Reach(NamedTuple):
    """Result o of a step looks at cells o · stride − padding to o · stride − padding + size."""

    size: int
    stride: int
    padding: int
    mirrored: int = 0
    """Cells at the frame that are seen a second time, from beyond it."""


def _reach(step: Step, state: State) -> _Reach:
    match step:
        case Convolution(name, stride, padding):
            return _Reach(state[f"{name}.weight"].shape[-1], stride, padding)
        case Pool(size, stride):
            return _Reach(size, stride, 0)
        case Blur(name):
            return _Reach(state[f"{name}.filt"].shape[-1], 2, 2, mirrored=2)
        case BlurredConvolution(name, blur, padding):
            size = state[f"{name}.weight"].shape[-1] + state[f"{blur}.filt"].shape[-1] - 1
            return _Reach(size, 2, padding + 2, mirrored=size + 2)
        case Fire():
            return _Reach(3, 1, 1)


def changed(first: Image, second: Image) -> Box:
    """Return the smallest box with every pixel in which two images differ; they must differ somewhere."""
    moved = (first != second).reshape(len(first), -1)
    rows = np.flatnonzero(moved.any(axis=1))
    columns = np.flatnonzero(moved.any(axis=0).reshape(-1, 3).any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def share(box: Box, height: int, width: int) -> float:
    """Return a box's share of an image."""
    rows, columns = box
    return float((rows.stop - rows.start) * (columns.stop - columns.start)) / (height * width)


class Window(NamedTuple):
    """What a stage reads in order to follow a change, and where its results belong."""

    crop: Box
    """Of the stage's input."""
    inside: Box
    """Of the results for the crop: those that are right and may differ."""
    place: Box
    """Of the stage's results: the same cells."""


def window(steps: Sequence[Step], state: State, box: Box, before: tuple[int, int], after: tuple[int, int]) -> Window:
    """Return the window through which a stage follows a change.

    Args:
        steps: of the stage.
        state: the trunk's weights.
        box: the cells of the stage's input that may differ.
        before: rows and columns of the stage's input.
        after: rows and columns of its results.
    """
    reaches = [_reach(step, state) for step in steps]
    sides = [_follow(reaches, *lengths) for lengths in zip(box, before, after, strict=True)]
    crop, inside, place = zip(*sides, strict=True)
    return Window(crop, inside, place)


def _follow(reaches: Sequence[_Reach], side: slice, before: int, after: int) -> tuple[slice, slice, slice]:
    start, stop = side.start, side.stop
    for size, stride, padding, mirrored in reaches:
        start = 0 if start <= mirrored else max(0, -((size - 1 - padding - start) // stride))
        stop = (stop - 1 + padding + mirrored) // stride + 1
    start, stop = min(start, after - 1), min(stop, after)
    first, last = start, stop
    for size, stride, padding, _ in reversed(reaches):
        first, last = first * stride - padding, (last - 1) * stride - padding + size
    step = math.prod(reach.stride for reach in reaches)
    last = before if stop == after else min(before, max(last, _SMALLEST_CROP))
    first = max(0, min(first, last - _SMALLEST_CROP)) // step * step  # so that results of the crop are results of all
    offset = first // step
    return slice(first, last), slice(start - offset, stop - offset), slice(start, stop)
