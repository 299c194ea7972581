"""Classical editors: real, weightless, and good at what they are for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from editbench.colours import COLOURS, wanted_colour
from editbench.images import resize
from editbench.regions import Mask, Regions
from editbench.types import EditRequest, Image, MaskAccess

Lab = npt.NDArray[np.float64]


def _to_lab(image: Image) -> Lab:
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(image))


def _to_image(lab: Lab) -> Image:
    from skimage.color import lab2rgb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # colours beyond sRGB are clipped, which is what is wanted
        image: Image = np.rint(np.asarray(lab2rgb(lab)) * 255).astype(np.uint8)
    return image


def _each(requests: Sequence[EditRequest], edit: Any) -> list[Image | Exception]:
    """Apply `edit` to each request; a ValueError fails that request alone."""
    outputs: list[Image | Exception] = []
    for request in requests:
        try:
            outputs.append(edit(request))
        except ValueError as error:
            outputs.append(error)
    return outputs


@dataclass(frozen=True)
class Biharmonic:
    """Inpaint the mask from its surroundings with scikit-image's biharmonic equation: removal, whatever is asked.

    Damelin and Hoang 2018, "On surface completion and image inpainting by biharmonic functions". The cost of a hole
    grows faster than its area, so a larger one is solved at a lower resolution: the solution is smooth anyway.

    Args:
        max_pixels: size of the largest hole that is solved at full resolution.
    """

    max_pixels: int = 2000

    mask_access: ClassVar[MaskAccess] = "region"

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels={self.max_pixels}, expected at least 1")

    def edit(self, requests: Sequence[EditRequest]) -> list[Image | Exception]:
        """Return inpainted sources; a mask that covers everything fails, for there is nothing to inpaint from."""
        return _each(requests, self._inpaint)

    def _inpaint(self, request: EditRequest) -> Image:
        from skimage.restoration import inpaint_biharmonic

        mask, source = request.mask, request.source
        assert mask is not None
        if mask.all():
            raise ValueError("the mask covers everything: nothing to inpaint from")
        if not mask.any():
            return source
        step = int(np.ceil(np.sqrt(np.count_nonzero(mask) / self.max_pixels)))
        small_source, small_mask = _shrink(source, mask, step)
        if small_mask.all():
            raise ValueError("the mask leaves too little to inpaint from")
        filled = inpaint_biharmonic(small_source, small_mask, channel_axis=-1)
        painted = np.rint(np.clip(filled, 0, 1) * 255).astype(np.uint8)
        if step > 1:
            rows, columns = small_mask.shape  # of whole cells: the last ones may reach beyond the frame
            painted = resize(painted, rows * step, columns * step)[: mask.shape[0], : mask.shape[1]]
        return np.where(mask[..., None], painted, source)


def _shrink(source: Image, mask: Mask, step: int) -> tuple[npt.NDArray[np.float64], Mask]:
    """Average the known pixels of each step×step cell; a cell without any is a hole."""
    if step == 1:
        return source / 255, mask
    padding = [(0, -size % step) for size in mask.shape]
    known = np.pad(~mask, padding)[..., None].astype(np.float64)
    values = np.pad(source / 255, [*padding, (0, 0)]) * known
    rows, columns = known.shape[0] // step, known.shape[1] // step
    total = values.reshape(rows, step, columns, step, 3).sum(axis=(1, 3))
    count = known.reshape(rows, step, columns, step, 1).sum(axis=(1, 3))
    return total / np.maximum(count, 1), count[..., 0] == 0


@dataclass(frozen=True)
class Recolor:
    """Move the mask's hue and lightness toward the colour that the prompt names, keeping texture and shading.

    Args:
        leak: strength in [0, 1] with which the change spills over the mask's border, fading out over an eighth of the
            shorter side. Above 0 the editor is a known-bad control for locality.
    """

    leak: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.leak <= 1:
            raise ValueError(f"leak={self.leak}, expected 0 to 1")

    @property
    def mask_access(self) -> MaskAccess:
        """A leaking editor cannot promise to stay inside."""
        return "hint" if self.leak else "region"

    @property
    def control(self) -> bool:
        """True for the leaking variant."""
        return self.leak > 0

    def edit(self, requests: Sequence[EditRequest]) -> list[Image | Exception]:
        """Return recoloured sources; a prompt that names no colour fails."""
        return _each(requests, self._recolor)

    def _recolor(self, request: EditRequest) -> Image:
        colour = wanted_colour(request.instruction, request.source_prompt, request.target_prompt)
        if colour is None:
            raise ValueError("the prompt names no colour")
        mask = request.mask
        assert mask is not None
        if not mask.any():
            return request.source
        lab = _to_lab(request.source)
        wanted = _to_lab(np.array([[COLOURS[colour]]], dtype=np.uint8))[0, 0]
        shift = wanted - lab[mask].mean(axis=0)
        weight = mask.astype(np.float64)
        if self.leak and not mask.all():
            fade = 1 - Regions(mask).distance_outside / (min(mask.shape) / 8)
            weight = np.maximum(weight, self.leak * np.clip(fade, 0, 1))
        moved = weight > 0
        output = request.source.copy()
        output[moved] = _to_image(lab + weight[..., None] * shift)[moved]
        return output


@dataclass(frozen=True)
class Harmonise:
    """Give the mask the colour statistics of its surroundings (Reinhard et al. 2001, mean and spread in CIELAB)."""

    mask_access: ClassVar[MaskAccess] = "region"

    def edit(self, requests: Sequence[EditRequest]) -> list[Image | Exception]:
        """Return harmonised sources; a mask that covers everything fails, for it has no surroundings."""
        return _each(requests, self._harmonise)

    def _harmonise(self, request: EditRequest) -> Image:
        mask = request.mask
        assert mask is not None
        if mask.all():
            raise ValueError("the mask covers everything: it has no surroundings")
        if not mask.any():
            return request.source
        lab = _to_lab(request.source)
        ring = ~mask & (Regions(mask).distance_outside <= max(1, min(mask.shape) / 8))
        inside, around = lab[mask], lab[ring]
        spread = around.std(axis=0) / np.maximum(inside.std(axis=0), 1e-6)
        lab[mask] = (inside - inside.mean(axis=0)) * np.minimum(spread, 1) + around.mean(axis=0)
        return np.where(mask[..., None], _to_image(lab), request.source)
