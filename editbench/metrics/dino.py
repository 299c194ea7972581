"""Structure over a region: how the self-similarity of a vision transformer's keys has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from editbench.metrics.features import Arrays, features
from editbench.metrics.neural import device, environment
from editbench.metrics.pretrained import model_folder, model_weights
from editbench.metrics.vit import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Floats,
    check_config,
    keys,
    normalised,
    self_similarity,
    transformer,
)
from editbench.registry import package_version
from editbench.types import Direction, Image, Need, Sample, Scenario, Value


@dataclass(frozen=True)
class DinoStructure:
    """Mean squared change of the cosine self-similarity of DINO keys among the patches of a region.

    S(i, j) is the cosine of the keys of patches i and j in one attention layer, heads side by side; the value is the
    mean of `(S_output − S_source)²` over pairs of patches that both belong to the region.

    Images are resized (Pillow, bicubic) until the shorter side is `size` and both are multiples of the patch, and
    normalised with ImageNet's statistics in [0, 1]. A patch belongs to a region that covers at least half of it.
    Outside the region the output is replaced by the source beforehand: attention reaches everywhere, and what the
    editor painted elsewhere must not.

    References:
        Tumanyan, Bar-Tal, Bagon & Dekel 2022, "Splicing ViT features for semantic appearance transfer", eq. 3 and 5.

    Disagreements:
        Beside the paper: patches only (the class token belongs to no region), and the mean instead of the Frobenius
        norm, so that regions of different size compare. PIE-Bench feeds levels up to 255 to a normalisation meant for
        [0, 1] (`legacy_pie:structure_distance`): its numbers are of another network's inputs.

    Args:
        region: whose patches are compared.
        model: a folder, or an id in the hub's local cache, of a ViT (DINO) or DINOv2 checkpoint.
        layer: of the attention; negative counts from the end.
        size: shorter side in pixels that the network sees.
    """

    region: Literal["all", "edit", "keep"]
    model: str = "facebook/dino-vitb8"
    layer: int = -1
    size: int = 224

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 4.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "Pillow")

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size={self.size}, expected a number of pixels")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model, "dino_structure")

    @cached_property
    def _patch(self) -> int:
        return check_config(self._folder, self.layer, "dino_structure")

    @property
    def weights(self) -> Mapping[str, str]:
        """sha256 by file of the checkpoint `model`: its configuration and its tensors; it must be downloaded.

        Raises:
            EditbenchError: if it is not on this machine, or cannot be used.
        """
        _ = self._patch
        return model_weights(self._folder, "dino_structure")

    @property
    def device(self) -> str:
        """What the network runs on, and in which precision."""
        return f"{device().type} float32"

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why a region has no structure of its own: fewer than two patches."""
        region = scenario.region(self.region)
        if region.any() and np.count_nonzero(self._patches(region)) < 2:
            return f"fewer than two patches in the {self.region} region"
        return None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        values: list[Value] = [0.0] * len(samples)
        seen = [_within(sample, self.region) for sample in samples]
        moved = [i for i, image in enumerate(seen) if not np.array_equal(image, samples[i].scenario.source)]
        if not moved:
            return values
        digests = tuple(self.weights.values())
        network = transformer(self._folder, digests)

        def compute(images: Sequence[Image]) -> list[Arrays]:
            return [(found,) for found in keys(network, [self._prepare(image) for image in images], self.layer)]

        recipe = f"dino_keys 1 {digests} {self.layer} {self.size} {environment()}"
        recipe += "".join(f" {name} {package_version(name)}" for name in ("transformers", "Pillow"))
        sources = features([samples[i].scenario.source for i in moved], recipe, compute)
        outputs = compute([seen[i] for i in moved])
        for i, (source,), (output,) in zip(moved, sources, outputs, strict=True):
            inside = self._patches(samples[i].scenario.region(self.region)).ravel()
            before, after = (self_similarity(tokens[-inside.size :][inside]) for tokens in (source, output))
            values[i] = float(np.mean((after - before) ** 2))
        return values

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """How many patches fit an image of this size, once resized."""
        scale = self.size / (min(height, width) * self._patch)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _patches(self, region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which patches belong to a region, `bool (rows, columns)`."""
        from PIL import Image as Pillow

        rows, columns = self._grid(*region.shape)
        shares = Pillow.fromarray(region.astype(np.float32)).resize((columns, rows), Pillow.Resampling.BOX)
        return np.asarray(shares) >= 0.5 - 1e-6

    def _prepare(self, image: Image) -> Floats:
        """What the network sees of an image, `float32 (3, H, W)`."""
        from PIL import Image as Pillow

        rows, columns = self._grid(*image.shape[:2])
        size = columns * self._patch, rows * self._patch
        resized = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))
        return normalised(resized, IMAGENET_MEAN, IMAGENET_STD)


def _within(sample: Sample, region: Literal["all", "edit", "keep"]) -> Image:
    """Return the output inside a region, the source outside it."""
    if region == "all":
        return sample.output
    inside = sample.scenario.region(region)[..., None]
    return np.where(inside, sample.output, sample.scenario.source)
