"""The networks behind the perceptual metrics: trunks, heads, and the distance of two images cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from editbench.metrics import features, neural
from editbench.metrics.lpips_boxes import Box, changed, share, window
from editbench.metrics.lpips_cells import Maps, squared_distances, to_unit_length
from editbench.metrics.lpips_trunks import LAYOUTS, BlurredConvolution, State, apply, parameters, weight_and_blur
from editbench.types import EditbenchError, Image

if TYPE_CHECKING:
    import torch

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's channel means and deviations (.485 .456 .406 and .229 .224 .225) for pixels in [-1, 1]."""
_LARGEST_BOX = 0.4
"""Share of an image up to which a processor follows what differs through the trunk, instead of starting anew."""


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

    def distances(self, series: Sequence[Sequence[Image]]) -> list[list[Maps]]:
        """Compare images cell by cell.

        Args:
            series: of `uint8 (H, W, 3)` of one size each: an image whose features are kept for next time, and one or
                two others that it is compared with; no two are equal. Where those differ from each other in a small box
                only, a processor looks at no more of the second.

        Returns:
            For each series, the maps of every image but the first.
        """
        found: list[list[Maps]] = [[]] * len(series)
        for positions in neural.by_shape([images[0] for images in series]):
            made = neural.forward([series[position] for position in positions], self._compare)
            for position, maps in zip(positions, made, strict=True):
                found[position] = maps
        return found

    def _compare(self, series: Sequence[Sequence[Image]]) -> list[list[Maps]]:
        known = features.features([images[0] for images in series], self.recipe, self._describe)
        if len(series) == 1 and neural.device().type == "cpu":
            return [self._compare_on_processor(*series[0], known=known[0])]
        flat = [(image, arrays) for images, arrays in zip(series, known, strict=True) for image in images[1:]]
        made = iter(self._compare_whole([image for image, _ in flat], [arrays for _, arrays in flat]))
        return [[next(made) for _ in images[1:]] for images in series]

    def _compare_on_processor(self, source: Image, *images: Image, known: features.Arrays) -> list[Maps]:
        if len(images) == 2 and not _is_small(changed(source, images[0]), source):
            box = changed(*images)
            if _is_small(box, source):
                return self._compare_two(*images, box, known)
        return [
            self._compare_within(box, image, known)
            if _is_small(box, source)
            else self._compare_whole([image], [known])[0]
            for image, box in ((image, changed(source, image)) for image in images)
        ]

    def _compare_whole(self, images: Sequence[Image], known: Sequence[features.Arrays]) -> list[Maps]:
        """Compare images with as many of known features."""
        stages = []
        for index, active in enumerate(self._activations(images)):
            rows = [_tensor(arrays[index]).to(active.device) for arrays in known]
            stages.append(self._distances(index, rows, active))
        return [tuple(stage[position] for stage in stages) for position in range(len(images))]

    def _compare_within(self, box: Box, image: Image, known: features.Arrays) -> Maps:
        """Compare an image with one of known features from which it differs within a box only."""
        maps: list[npt.NDArray[np.float32]] = []
        count = len(self._stages)
        active = None
        for index, described in enumerate(known[:count]):
            other = partial(_scaled, known[index - 1], known[count + index - 1])
            before = known[index - 1].shape[:2] if index else image.shape[:2]
            box, active = self._follow(index, image, active, box, other, before, described.shape[:2])
            maps.append(np.zeros(described.shape[:2], np.float32))
            maps[-1][box] = self._distances(index, [_tensor(described[box])], active)[0]
        return tuple(maps)

    def _compare_two(self, first: Image, second: Image, box: Box, known: features.Arrays) -> list[Maps]:
        """Compare two images that differ within a box only with one of known features."""
        maps: list[Maps] = []
        x, active = _input([first]), None
        for index, described in enumerate(known[: len(self._stages)]):
            whole = self._through(index, x)
            other = partial(_cut, x)
            box, active = self._follow(index, second, active, box, other, (x.shape[2], x.shape[3]), described.shape[:2])
            distances = self._distances(index, [_tensor(described)], whole)[0]
            changed = distances.copy()
            changed[box] = self._distances(index, [_tensor(described[box])], active)[0]
            maps.append((distances, changed))
            x = whole.permute(0, 3, 1, 2)
        return list(zip(*maps, strict=True))

    def _follow(
        self,
        index: int,
        image: Image,
        active: torch.Tensor | None,
        box: Box,
        other: Callable[[Box], torch.Tensor],
        before: tuple[int, int],
        after: tuple[int, int],
    ) -> tuple[Box, torch.Tensor]:
        """Take through a stage what differs from another image; return where that is, and its activations.

        Args:
            index: of the stage.
            image: what the first stage reads.
            active: what the others read, `float32 (1, rows, columns, channels)`; where it belongs is `box`.
            box: the cells of the stage's input that differ.
            other: returns the other image's cells in a box of that input, `float32 (h, w, channels)`.
            before: rows and columns of that input.
            after: rows and columns of the result.
        """
        crop, inside, place = window(self._stages[index], self._state, box, before, after)
        x = _input([image[crop]]) if active is None else _patched(other(crop), crop, active, box)
        return place, self._through(index, x)[:, *inside].contiguous()

    def _distances(
        self, index: int, described: Sequence[torch.Tensor], active: torch.Tensor
    ) -> npt.NDArray[np.float32]:
        """Compare a stage's activations `float32 (n, h, w, channels)` with those of n images at unit length."""
        import torch

        rows = described[0] if len(described) == 1 else torch.stack(list(described))
        distances = squared_distances(rows.reshape(-1, active.shape[-1]), active, self._heads[index])
        return np.asarray(distances.cpu().numpy())

    def _describe(self, images: Sequence[Image]) -> list[features.Arrays]:
        """Return the activations of each image: unit length across channels, and then the lengths.

        That is, `float32 (h, w, channels)` a stage, and `float32 (h, w, 1)` a stage.
        """
        active = list(self._activations(images))
        lengths = [to_unit_length(stage) for stage in active]
        stages = [stage.cpu().numpy() for stage in (*active, *lengths)]
        return [tuple(stage[position] for stage in stages) for position in range(len(images))]

    def _activations(self, images: Sequence[Image]) -> Iterator[torch.Tensor]:
        """Yield what each stage ends with, `float32 (n, h, w, channels)`."""
        x = _input(images)
        for index in range(len(self._stages)):
            active = self._through(index, x)
            yield active
            x = active.permute(0, 3, 1, 2)

    def _through(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return what a stage makes of `float32 (n, channels, h, w)`, as `float32 (n, h, w, channels)`."""
        for step in self._stages[index]:
            x = apply(step, x, self._state)
        return x.permute(0, 2, 3, 1).contiguous()


def _is_small(box: Box, image: Image) -> bool:
    return share(box, *image.shape[:2]) <= _LARGEST_BOX


def _scaled(described: npt.NDArray[np.float32], lengths: npt.NDArray[np.float32], box: Box) -> torch.Tensor:
    """Return activations in a box: those of unit length, `float32 (h, w, channels)`, times their lengths."""
    import torch

    return torch.from_numpy(described[box] * lengths[box])


def _cut(x: torch.Tensor, box: Box) -> torch.Tensor:
    """Return activations `float32 (1, channels, h, w)` in a box, as `float32 (rows, columns, channels)`."""
    return x[0].permute(1, 2, 0)[box].clone()


def _patched(cells: torch.Tensor, crop: Box, active: torch.Tensor, box: Box) -> torch.Tensor:
    """Replace what a crop and a box have in common; return the crop as `float32 (1, channels, h, w)`.

    Args:
        cells: activations in the crop, `float32 (h, w, channels)`, written to.
        crop: where they belong.
        active: activations in the box, `float32 (1, rows, columns, channels)`.
        box: where they belong; what of it lies outside the crop is left out.
    """
    sides = [(max(c.start, b.start), min(c.stop, b.stop)) for c, b in zip(crop, box, strict=True)]
    into = tuple(slice(a - c.start, b - c.start) for (a, b), c in zip(sides, crop, strict=True))
    out_of = tuple(slice(a - b.start, e - b.start) for (a, e), b in zip(sides, box, strict=True))
    cells[into] = active[0][out_of]
    return cells[None].permute(0, 3, 1, 2)


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


def _tensor(array: npt.NDArray[np.float32]) -> torch.Tensor:
    """Share an array's memory, unless it is read-only as those from the cache on disk: PyTorch would warn."""
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())
