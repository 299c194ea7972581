"""BrushBench as BrushNet evaluates it (Ju et al., ECCV 2024; `examples/brushnet/evaluate_brushnet.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from editbench.metrics.legacy import EVERYWHERE, KEEP, NETWORK_LIBRARIES, Quantity, check_options
from editbench.metrics.legacy.clip import Clip
from editbench.metrics.legacy.pie import CLIP, clip_score
from editbench.metrics.legacy.squeeze import lpips_squeeze, lpips_weights
from editbench.metrics.legacy.zero_fill import squared_error
from editbench.metrics.neural import device
from editbench.metrics.pretrained import model_folder, model_weights
from editbench.registry import bare
from editbench.types import Direction, Need, Sample, Scenario, Value, Zone

_CEILING = 1000.0
_THRESHOLD = 1e-10
"""A mean squared error below it is reported as 1000 dB."""

QUANTITIES: Mapping[str, Quantity] = {
    "mse": Quantity("lower", "", (0.0, 3.0)),
    "psnr": Quantity("higher", "dB", (10 * math.log10(1 / 3), _CEILING)),
    "lpips": Quantity("lower", "", (0.0, math.inf), "squeeze"),
    "clip": Quantity("higher", "", (0.0, 100.0), "clip", ("target_prompt",)),
}


@dataclass(frozen=True)
class LegacyBrushnet:
    """One number of BrushBench's evaluation.

    `mse` and `psnr` are over the pixels to keep, but a sum over three channels is divided by a count of pixels: mse is
    three times too large and psnr 10 log10(3) = 4.77 dB too low. A difference under 1e-10 is called 1000 dB, which no
    mean survives. `lpips` (SqueezeNet) is of images that are black inside the mask, averaged over the frame; `clip` is
    100 cos of the whole output and the caption (the target prompt), CLIP ViT-L/14. Its human-preference and aesthetic
    scores are not here: they need packages that do not install beside ours.

    References:
        Ju, Liu, Wang, Bian, Shan & Xu 2024, "BrushNet" (arXiv 2403.06976); `examples/brushnet/evaluate_brushnet.py` of
        TencentARC/BrushNet.

    Disagreements:
        `mse:region=keep` is a third of `mse` here, `psnr:region=keep` 4.77 dB above `psnr`; `lpips:region=keep` has no
        black in it.

    Args:
        name: which number.
        model: another CLIP checkpoint: a folder, or an id in the hub's cache.
        trunk: torchvision's SqueezeNet 1.1 state dict, for LPIPS; default: the one in torch hub's folder.
    """

    name: Literal["mse", "psnr", "lpips", "clip"] = bare()
    model: str | None = None
    trunk: Path | None = None

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_options(self.name, self._quantity, self.model, self.trunk)

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
        """Where the number is said to look: everything but `clip` is of the background."""
        return EVERYWHERE if self.name == "clip" else KEEP

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return self._quantity.range

    @property
    def cap(self) -> float | None:
        """What the protocol writes for (nearly) equal images, where it does."""
        return _CEILING if self.name == "psnr" else None

    @property
    def needs(self) -> tuple[Need, ...]:
        """What else the scenario must have."""
        return self._quantity.needs

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose version can change a value."""
        network = self._quantity.network
        return () if network is None else NETWORK_LIBRARIES[network]

    @property
    def _owner(self) -> str:
        return f"legacy_brushnet:{self.name}"

    @property
    def weights(self) -> Mapping[str, str]:
        """None for mse and psnr; sha256 by file of what the other numbers need, which must be downloaded.

        lpips: torchvision's `squeezenet1_1-b8a52dc0.pth`, with the head of the package `lpips`. clip:
        `openai/clip-vit-large-patch14`.

        Raises:
            EditbenchError: if a file is missing.
        """
        if self.name == "lpips":
            return lpips_weights(self.trunk, self._owner)
        if self.name == "clip":
            return model_weights(model_folder(self.model or CLIP, self._owner), self._owner, text=True)
        return {}

    @property
    def device(self) -> str | None:
        """What the number's network runs on, and in which precision."""
        return f"{device().type} float32" if self._quantity.network else None

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no value: nothing to keep (the protocol divides by 0)."""
        if self.name in ("mse", "psnr") and scenario.mask.all():
            return "the mask covers the image"
        return None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        if self.name == "lpips":
            pairs = [(s.output, s.scenario.source, s.scenario.region("keep")) for s in samples]
            return list(lpips_squeeze(pairs, self.trunk, self._owner))
        if self.name == "clip":
            clip = Clip(self.model or CLIP, self._owner)
            images = clip.images([s.output for s in samples])
            captions = [clip.caption(s.scenario.target_prompt or "") for s in samples]
            return [clip_score(image, caption) for image, caption in zip(images, captions, strict=True)]
        errors = [_mean_squared_error(sample) for sample in samples]
        if self.name == "mse":
            return list(errors)
        return [10 * math.log10(1 / error) if error >= _THRESHOLD else _CEILING for error in errors]


def _mean_squared_error(sample: Sample) -> float:
    """Sum of squares over three channels, divided by the number of pixels."""
    kept = sample.scenario.region("keep")
    error = squared_error(sample.output, sample.scenario.source, kept)
    return error / (int(np.count_nonzero(kept)) * 255**2)
