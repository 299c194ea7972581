"""The networks behind the perceptual metrics: trunks, heads, and the distance of two images cell by cell.

A distance is that of Zhang et al. 2018 (arXiv 1801.03924, equation 1): in each of a trunk's stages, activations are
brought to unit length across channels, subtracted, squared, weighted by the head and added up over channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from editbench.metrics import features, neural
from editbench.metrics.lpips_boxes import Box, changed, share, window
from editbench.metrics.lpips_trunks import LAYOUTS, BlurredConvolution, State, apply, parameters, weight_and_blur
from editbench.types import EditbenchError, Image

if TYPE_CHECKING:
    import torch

Maps: TypeAlias = tuple[npt.NDArray[np.float32], ...]
"""The squared distance in every cell of every stage's grid: one `float32 (h, w)` a stage, at least 0."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's channel means and deviations (.485 .456 .406 and .229 .224 .225) for pixels in [-1, 1]."""
_EPSILON = 1e-10
"""Added to a length before it divides: where nothing is active, nothing differs."""
_LARGEST_BOX = 0.4
"""Share of an image up to which a processor follows what differs through the trunk, instead of starting anew."""
_CHUNK = 1 << 19
"""Bytes of activations that a processor takes through all of a stage's arithmetic at once: they stay in its cache."""


@lru_cache(maxsize=4)
def load(trunk: str, files: tuple[tuple[Path, str], ...]) -> Network:
    """Return a network that has read its weights, once a process.

    Args:
        trunk: a key of `LAYOUTS`.
        files: PyTorch state dicts with the trunk and the head, and their sha256.

    Raises:
        EditbenchError: for a file that is not what `trunk` needs.
    """
    import torch

    state: dict[str, torch.Tensor] = {}
    for path, _ in files:
        try:
            state |= torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # depends on where the file is damaged
            reason = " ".join(str(error).split())[:100]
            raise EditbenchError(f"{path}: not a PyTorch state dict ({type(error).__name__}: {reason})") from error
    try:
        return Network(trunk, state, "+".join(sha256 for _, sha256 in files))
    except KeyError as error:
        raise EditbenchError(f"{files[0][0]}: not the weights of {trunk}: it has no {error.args[0]!r}") from None


class Network:
    """A trunk with a head.

    Args:
        trunk: a key of `LAYOUTS`.
        state: weights, named as in the layout; those of the head are `lin0.model.1.weight` and so on.
        sha256: of the files with the weights.
    """

    def __init__(self, trunk: str, state: State, sha256: str) -> None:
        self._stages = LAYOUTS[trunk].stages
        self._state = {
            f"{name}.{part}": _ready(state[f"{name}.{part}"])
            for stage in self._stages
            for step in stage
            for name, part in parameters(step)
        }
        for step in (step for stage in self._stages for step in stage if isinstance(step, BlurredConvolution)):
            both = weight_and_blur(state[f"{step.name}.weight"], state[f"{step.blur}.filt"])
            self._state[f"{step.name}.weight and blur"] = _ready(both)
        self._heads = [_ready(state[f"lin{index}.model.1.weight"]).reshape(-1) for index in range(len(self._stages))]
        self.recipe = f"perceptual features 3 {trunk} {sha256} {neural.environment()}"

    def distances(self, pairs: Sequence[tuple[Image, Image]]) -> list[Maps]:
        """Compare images cell by cell.

        Args:
            pairs: two images `uint8 (H, W, 3)` of one size each. The features of the first are kept for next time.
        """
        found: list[Maps] = [()] * len(pairs)
        for positions in neural.by_shape([first for first, _ in pairs]):
            made = neural.forward([pairs[position] for position in positions], self._compare)
            for position, maps in zip(positions, made, strict=True):
                found[position] = maps
        return found

    def _compare(self, pairs: Sequence[tuple[Image, Image]]) -> list[Maps]:
        import torch

        known = features.features([first for first, _ in pairs], self.recipe, self._describe)
        if len(pairs) == 1 and neural.device().type == "cpu":
            box = changed(*pairs[0])
            if share(box, *pairs[0][0].shape[:2]) <= _LARGEST_BOX:
                return [self._compare_within(box, pairs[0][1], known[0])]
        stages = []
        for index, active in enumerate(self._activations([second for _, second in pairs])):
            rows = [torch.from_numpy(_writable(arrays[index])).to(active.device) for arrays in known]
            described = rows[0] if len(rows) == 1 else torch.stack(rows)
            distances = _squared_distances(described.view(-1, active.shape[-1]), active, self._heads[index])
            stages.append(distances.cpu().numpy())
        return [tuple(stage[position] for stage in stages) for position in range(len(pairs))]

    def _compare_within(self, box: Box, second: Image, known: features.Arrays) -> Maps:
        """Compare an image with one of known features from which it differs within a box only."""
        import torch

        maps: list[npt.NDArray[np.float32]] = []
        count = len(self._stages)
        active = torch.empty(0)
        for index, steps in enumerate(self._stages):
            described = known[index]
            before = known[index - 1].shape[:2] if index else second.shape[:2]
            crop, inside, place = window(steps, self._state, box, before, described.shape[:2])
            if index:
                x = _patched(known[index - 1], known[count + index - 1], crop, active, box)
            else:
                x = _input([second[crop]])
            for step in steps:
                x = apply(step, x, self._state)
            active = x.permute(0, 2, 3, 1)[:, *inside].contiguous()
            cells = torch.from_numpy(described[place].copy()).view(-1, active.shape[-1])
            distances = np.zeros(described.shape[:2], np.float32)
            distances[place] = _squared_distances(cells, active, self._heads[index])[0].numpy()
            maps.append(distances)
            box = place
        return tuple(maps)

    def _describe(self, images: Sequence[Image]) -> list[features.Arrays]:
        """Return the activations of each image: unit length across channels, and then the lengths.

        That is, `float32 (h, w, channels)` a stage, and `float32 (h, w, 1)` a stage.
        """
        both = [_unit_length(active) for active in self._activations(images)]
        stages = [tensors[part].cpu().numpy() for part in (0, 1) for tensors in both]
        return [tuple(stage[position] for stage in stages) for position in range(len(images))]

    def _activations(self, images: Sequence[Image]) -> Iterator[torch.Tensor]:
        """Yield what each stage ends with, `float32 (n, h, w, channels)`."""
        x = _input(images)
        for steps in self._stages:
            for step in steps:
                x = apply(step, x, self._state)
            yield x.permute(0, 2, 3, 1).contiguous()


def _chunks(cells: torch.Tensor) -> Iterator[slice]:
    """Yield parts of `float32 (count, channels)`, one after the other; everything at once on an accelerator."""
    count, channels = cells.shape
    size = max(1, _CHUNK // (4 * channels)) if cells.device.type == "cpu" else count
    for start in range(0, count, size):
        yield slice(start, start + size)


def _length(cells: torch.Tensor) -> torch.Tensor:
    import torch

    length: torch.Tensor = torch.linalg.vector_norm(cells, dim=-1, keepdim=True)
    return length.add_(_EPSILON)


def _unit_length(active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return activations brought to unit length across channels, and their lengths, in memory of their own."""
    import torch

    described, lengths = torch.empty_like(active), torch.empty_like(active[..., :1])
    cells, results = (tensor.view(-1, active.shape[-1]) for tensor in (active, described))
    for part in _chunks(cells):
        length = _length(cells[part])
        torch.div(cells[part], length, out=results[part])
        lengths.view(-1, 1)[part] = length
    return described, lengths


def _patched(
    described: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.float32],
    crop: Box,
    active: torch.Tensor,
    box: Box,
) -> torch.Tensor:
    """Return a crop of known activations, `float32 (1, channels, h, w)`, with those of another image in a box.

    Args:
        described: the known activations at unit length, `float32 (h, w, channels)`.
        lengths: what they were brought to it from, `float32 (h, w, 1)`.
        crop: what to return.
        active: activations in the box, `float32 (1, rows, columns, channels)`.
        box: where they belong; what of it lies outside the crop is left out.
    """
    import torch

    cells = torch.from_numpy(described[crop] * lengths[crop])
    sides = [(max(c.start, b.start), min(c.stop, b.stop)) for c, b in zip(crop, box, strict=True)]
    into = tuple(slice(a - c.start, b - c.start) for (a, b), c in zip(sides, crop, strict=True))
    out_of = tuple(slice(a - b.start, e - b.start) for (a, e), b in zip(sides, box, strict=True))
    cells[into] = active[0][out_of]
    return cells[None].permute(0, 3, 1, 2)


def _squared_distances(described: torch.Tensor, active: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Compare one stage of two images, cell by cell.

    Args:
        described: `float32 (cells, channels)` of unit length.
        active: `float32 (n, h, w, channels)`, of any length; n · h · w cells.
        head: the weight of each channel.

    Returns:
        `float32 (n, h, w)`.
    """
    import torch

    cells = active.view(-1, len(head))
    distances = torch.empty(active.shape[:-1], device=active.device)
    results = distances.view(-1)
    difference = None
    for part in _chunks(cells):
        room = None if difference is None else difference[: len(cells[part])]  # fresh memory costs time
        difference = torch.addcdiv(described[part], cells[part], _length(cells[part]), value=-1, out=room)
        torch.mv(difference.square_(), head, out=results[part])
    return distances


def _ready(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight on the device, channels innermost where it is a filter: convolutions run faster on that."""
    import torch

    layout = torch.channels_last if weight.dim() == 4 else torch.preserve_format
    return weight.detach().to(neural.device(), torch.float32, memory_format=layout)


def _input(images: Sequence[Image]) -> torch.Tensor:
    """Return `float32 (n, 3, H, W)`, channels innermost, scaled as the trunks expect it."""
    import torch

    # (2 / 255 · pixel - 1 - shift) / scale, for a whole row of the image at a time
    height, width = images[0].shape[:2]
    factor = torch.tensor([2 / 255 / scale for scale in _SCALE] * width, device=neural.device())
    constant = torch.tensor([-(1 + shift) / scale for shift, scale in zip(_SHIFT, _SCALE, strict=True)] * width)
    pixels = torch.from_numpy(np.stack(images)).to(neural.device()).view(-1, height, 3 * width)
    scaled = torch.addcmul(constant.to(neural.device()), pixels, factor)
    return scaled.view(-1, height, width, 3).permute(0, 3, 1, 2)


def _writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that PyTorch takes without a warning; one read from the cache on disk is read-only."""
    return array if array.flags.writeable else array.copy()


def full_size(maps: Maps, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the distance at every pixel, `float32 (height, width)`: the stages interpolated bilinearly, added up."""
    import torch
    from torch.nn import functional

    by_size: dict[tuple[int, ...], torch.Tensor] = {}
    for stage in maps:  # interpolating is linear: stages of one size are added up first
        cells = torch.from_numpy(stage)
        by_size[stage.shape] = by_size[stage.shape] + cells if stage.shape in by_size else cells
    total = torch.zeros(height, width)
    for cells in by_size.values():
        total += functional.interpolate(cells[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    return total.numpy()


def whole(maps: Maps) -> float:
    """Average every stage's distances over its own grid and add them up: LPIPS as published."""
    return math.fsum(float(stage.mean(dtype=np.float64)) for stage in maps)
