"""GIE-Bench as its authors evaluate it (Qian et al. 2025; `evaluation_script/masked_*.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from editbench.metrics.legacy import EDIT, EVERYWHERE, INFINITE, KEEP, NETWORK_LIBRARIES, Quantity, check_options
from editbench.metrics.legacy.clip import Clip, cosine
from editbench.metrics.legacy.zero_fill import squared_error
from editbench.metrics.neural import device
from editbench.metrics.pretrained import model_folder, model_weights
from editbench.metrics.vit import Floats
from editbench.regions import Mask
from editbench.registry import bare
from editbench.types import Direction, Image, Need, Sample, Value, Zone

CLIP = "openai/clip-vit-base-patch32"
_SIDE = 224
"""Images and masks are made square, of this many pixels."""

QUANTITIES: Mapping[str, Quantity] = {
    "masked_mse_unaligned": Quantity("lower", "", (0.0, 255.0**2)),
    "masked_psnr_unaligned": Quantity("higher", "dB", (0.0, math.inf)),
    "ssim": Quantity("higher", "", (-1.0, 1.0)),
    "object_clip_sim": Quantity("none", "", (-1.0, 1.0), "clip"),
    "rest_clip_sim": Quantity("higher", "", (-1.0, 1.0), "clip"),
    "clip": Quantity("none", "", (-1.0, 1.0), "clip"),
}


@dataclass(frozen=True)
class LegacyGie:
    """One number of GIE-Bench's evaluation.

    `masked_mse_unaligned` and `masked_psnr_unaligned` are over the whole image, in squares of 8-bit levels: masks of 0
    and 1 are tested with `< 128`, so nothing is masked. The authors first warp the output on to the source (OpenCV's
    SIFT and least-median affine estimate, failures dropped from the mean); OpenCV is no dependency of ours, another
    implementation would find other warps, and so the step is left out and the name says it: values are those of an
    identity warp. `masked_psnr_unaligned` of equal images is infinite there, `Failed` here.

    `ssim` is that of 224×224 grey images that are black inside the mask (scikit-image, 7×7 uniform window, mean over
    the frame less 3 pixels a side). `object_clip_sim` and `rest_clip_sim` average CLIP ViT-B/32's last patch tokens
    over the patches that hold any pixel of the mask, or of its complement; patches on the border count for both.
    `clip` compares the whole images.

    References:
        Qian et al. 2025, "GIE-Bench" (arXiv 2505.11493); its `evaluation_script`.

    Disagreements:
        `masked_mse_unaligned` is `mse:region=all` times 255², so doing nothing is best in what is called masked; its
        `ssim` sees luminance at 224 pixels, with black that counts as equal, and `ssim` none of that.

    Args:
        name: which number.
        model: another CLIP checkpoint: a folder, or an id in the hub's cache.
    """

    name: Literal[
        "masked_mse_unaligned",
        "masked_psnr_unaligned",
        "ssim",
        "object_clip_sim",
        "rest_clip_sim",
        "clip",
    ] = bare()
    model: str | None = None

    version: ClassVar[int] = 1
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        check_options(self.name, self._quantity, self.model, None)

    @property
    def _quantity(self) -> Quantity:
        return QUANTITIES[self.name]

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        return self._quantity.direction

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return self._quantity.unit

    @property
    def watches(self) -> tuple[Zone, ...]:
        """Where the number is said to look."""
        return {"object_clip_sim": EDIT, "clip": EVERYWHERE}.get(self.name, KEEP)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return self._quantity.range

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose version can change a value."""
        if self._quantity.network:
            return NETWORK_LIBRARIES["clip"]
        return ("scikit-image", "Pillow") if self.name == "ssim" else ()

    @property
    def _owner(self) -> str:
        return f"legacy_gie:{self.name}"

    @property
    def weights(self) -> Mapping[str, str]:
        """None for the first three; the sha256 by file of `openai/clip-vit-base-patch32`, to be downloaded, for CLIP.

        Raises:
            EditbenchError: if a file is missing.
        """
        if self._quantity.network is None:
            return {}
        return model_weights(model_folder(self.model or CLIP, self._owner), self._owner, text=True)

    @property
    def device(self) -> str | None:
        """What the number's network runs on, and in which precision."""
        return f"{device().type} float32" if self._quantity.network else None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        if self._quantity.network:
            return self._clip(samples)
        if self.name == "ssim":
            return [_ssim(s.output, s.scenario.source, s.scenario.mask) for s in samples]
        everything = [np.ones_like(s.scenario.mask) for s in samples]
        pairs = zip(samples, everything, strict=True)
        errors = [squared_error(s.output, s.scenario.source, kept) / s.output.size for s, kept in pairs]
        if self.name == "masked_mse_unaligned":
            return list(errors)
        return [10 * math.log10(255**2 / error) if error else INFINITE for error in errors]

    def _clip(self, samples: Sequence[Sample]) -> list[Value]:
        clip = Clip(self.model or CLIP, self._owner)
        sources, outputs = [s.scenario.source for s in samples], [s.output for s in samples]
        if self.name == "clip":
            pairs = zip(clip.images(outputs), clip.sources(sources), strict=True)
            return [cosine(output, source) for output, source in pairs]
        values: list[Value] = []
        for sample in samples:
            means: list[Floats] = []
            wanted = sample.scenario.mask if self.name == "object_clip_sim" else ~sample.scenario.mask
            images = [_square(image, clip.image_size) for image in (sample.output, sample.scenario.source)]
            for tokens in clip.tokens(images):
                touched = _any_in_patch(_square_mask(wanted, clip.image_size), tokens.shape[0])
                count = max(1, int(np.count_nonzero(touched)))
                means.append(clip.project(tokens[touched].sum(axis=0) / np.float32(count)))
            values.append(cosine(*means))
        return values


def _square(image: Image, side: int) -> Image:
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(image).resize((side, side), Pillow.Resampling.LANCZOS))


def _square_mask(mask: Mask, side: int) -> Mask:
    """The protocol ships its masks at this size; others are brought to it by the nearest pixel."""
    from PIL import Image as Pillow

    resized = Pillow.fromarray(mask.astype(np.uint8)).resize((side, side), Pillow.Resampling.NEAREST)
    return np.asarray(resized) > 0


def _any_in_patch(mask: Mask, patches: int) -> Mask:
    """Which patches hold any pixel of a mask, `bool (patches, patches)`."""
    size = mask.shape[0] // patches
    blocks = mask[: patches * size, : patches * size].reshape(patches, size, patches, size)
    return np.asarray(blocks.any(axis=(1, 3)))


def _ssim(output: Image, source: Image, mask: Mask) -> float:
    from PIL import Image as Pillow
    from skimage.metrics import structural_similarity

    kept = ~_square_mask(mask, _SIDE)

    def filled(image: Image) -> npt.NDArray[np.float64]:
        grey = np.asarray(Pillow.fromarray(_square(image, _SIDE)).convert("L"))
        return np.asarray((grey / np.float32(255)).astype(np.float64) * kept)

    return float(structural_similarity(filled(source), filled(output), data_range=1.0))
