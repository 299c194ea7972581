"""What the embedded policy is pre-trained on: exact edits, and what is spoilt about them on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edit_grpo_ref.policies.tiny_network import SIDE
from edit_grpo_ref.scenes import draw
from editbench.suites.shapes_render import render


@dataclass(frozen=True)
class Examples:
    """Edits to learn from."""

    source: npt.NDArray[np.uint8]
    """`(N, 64, 64, 3)`."""
    target: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    """`(N, 64, 64)`."""
    instructions: list[str]


def draw_examples(count: int, workers: int = 1) -> Examples:
    """Render the first `count` scenarios of the split `pretrain`, without their checks."""
    numbers = range(count)
    if workers == 1:
        return _gather(map(_example, numbers), count)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return _gather(pool.map(_example, numbers, chunksize=64), count)


_Example = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.bool_], str]


def _example(number: int) -> _Example:
    plan = draw("pretrain", number)
    content = render(plan, SIDE)
    assert content.target is not None
    return content.source, content.target, content.mask, plan.instruction


def _gather(found: Iterator[_Example], count: int) -> Examples:
    pictures = np.empty((2, count, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((count, SIDE, SIDE), np.bool_)
    instructions = []
    for number, (source, target, mask, instruction) in enumerate(found):
        pictures[0, number], pictures[1, number], masks[number] = source, target, mask
        instructions.append(instruction)
    return Examples(pictures[0], pictures[1], masks, instructions)


def spoil(
    source: torch.Tensor,
    target: torch.Tensor,
    mask: torch.Tensor,
    strength: torch.Tensor,
    tint: torch.Tensor,
    smear: torch.Tensor,
) -> torch.Tensor:
    """Return what the network is taught instead of the target.

    Args:
        source: `float32 (B, 3, H, W)`.
        target: likewise.
        mask: `float32 (B, 1, H, W)`, 1 = edit.
        strength: share of the edit that is made, `(B, 1, 1, 1)`.
        tint: share by which the surroundings move towards the mean colour of the edit, on a coarse grid over the
            picture, `(B, 1, h, w)`: it varies from place to place.
        smear: share of their texture that the surroundings lose, `(B, 1, 1, 1)`.
    """
    inside = source + strength * (target - source)
    colour = (target * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    wide = functional.pad(source, (2, 2, 2, 2), mode="reflect")
    soft = functional.avg_pool2d(functional.avg_pool2d(wide, (5, 1), stride=1), (1, 5), stride=1)
    outside = source + smear * (soft - source)
    share = functional.interpolate(tint, source.shape[2:], mode="bilinear", align_corners=True)
    outside = outside + share * (colour - outside)
    return mask * inside + (1 - mask) * outside
