"""PIE-Bench as PnPInversion evaluates it (Ju et al., ICLR 2024; `evaluation/evaluate.py`, `matrics_calculator.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from editbench.metrics.features import Arrays, features
from editbench.metrics.legacy import EDIT, EVERYWHERE, INFINITE, KEEP, NETWORK_LIBRARIES, Quantity, check_options
from editbench.metrics.legacy.clip import Caption, Clip, cosine
from editbench.metrics.legacy.squeeze import lpips_squeeze, lpips_weights
from editbench.metrics.legacy.zero_fill import squared_error, ssim
from editbench.metrics.neural import device, environment
from editbench.metrics.pretrained import model_folder, model_weights
from editbench.metrics.vit import IMAGENET_MEAN, IMAGENET_STD, Floats, check_config, keys, self_similarity, transformer
from editbench.regions import Mask
from editbench.registry import bare, package_version
from editbench.types import Detailed, Direction, Image, Need, Sample, Scenario, Value, Zone

CLIP = "openai/clip-vit-large-patch14"
DINO = "facebook/dino-vitb8"

_PSNR = Quantity("higher", "dB", (0.0, math.inf))
_MSE = Quantity("lower", "", (0.0, 1.0))
_SSIM = Quantity("higher", "", (-1.0, 1.0))
_LPIPS = Quantity("lower", "", (0.0, math.inf), "squeeze")
_CLIP = Quantity("higher", "", (0.0, 100.0), "clip", ("target_prompt",))

QUANTITIES: Mapping[str, Quantity] = {
    **{name: _PSNR for name in ("psnr", "psnr_unedit", "psnr_edit")},
    **{name: _MSE for name in ("mse", "mse_unedit", "mse_edit")},
    **{name: _SSIM for name in ("ssim", "ssim_unedit", "ssim_edit")},
    **{name: _LPIPS for name in ("lpips", "lpips_unedit", "lpips_edit")},
    "structure_distance": Quantity("lower", "", (0.0, 4.0), "dino"),
    "clip_source": Quantity("none", "", (0.0, 100.0), "clip"),
    "clip_whole": _CLIP,
    "clip_edited": _CLIP,
}

_LAYER = -1
_SHORTER, _LONGEST = 224, 480
"""Sides in pixels of what DINO sees."""


@dataclass(frozen=True)
class LegacyPie:
    """One number of PIE-Bench's evaluation.

    The mask's outermost rows and columns count as edited (the frame rule). `…_unedit` and `…_edit` compare images that
    are black outside that region, averaged over the whole frame; without a suffix, the whole images. Hence, with `a`
    the share of framed edit pixels, psnr_unedit = 10 log10(1 / mse over the unedited pixels) − 10 log10(1 − a): a
    larger mask looks better. `psnr*` of equal pixels is infinite there, `Failed` here.

    `structure_distance` feeds pixel values up to 255 to a normalisation meant for [0, 1]; tokens include the class
    token. Its hub's code shifts interpolated position embeddings by a tenth of a patch, transformers does not: values
    agree for square images (28×28 patches, not interpolated). `clip_source` compares the source with its own prompt and
    is the same for every editor. Square brackets in prompts are dropped. Prompts longer than CLIP's context are cut.

    Values carry no scale: the tables print structure distance and LPIPS times 10³, MSE times 10⁴, SSIM times 10².

    References:
        Ju, Zeng, Bian, Liu & Xu 2024, "Direct inversion" (arXiv 2310.01506); `evaluation/matrics_calculator.py` of
        cure-lab/PnPInversion.

    Disagreements:
        Over a region, `psnr`, `mse`, `ssim`, `lpips` and `dino_structure` here average over that region alone: another
        number for every mask. Whole images agree (`psnr`, `mse`), or nearly (`ssim`, which is mirrored at the frame).

    Args:
        name: which number.
        model: another checkpoint than CLIP ViT-L/14 or DINO ViT-B/8: a folder, or an id in the hub's cache.
        trunk: torchvision's SqueezeNet 1.1 state dict, for LPIPS; default: the one in torch hub's folder.
    """

    name: Literal[
        "psnr",
        "psnr_unedit",
        "psnr_edit",
        "mse",
        "mse_unedit",
        "mse_edit",
        "ssim",
        "ssim_unedit",
        "ssim_edit",
        "lpips",
        "lpips_unedit",
        "lpips_edit",
        "structure_distance",
        "clip_source",
        "clip_whole",
        "clip_edited",
    ] = bare()
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
        """Where the number's name says that it looks."""
        return KEEP if self.name.endswith("_unedit") else EDIT if self.name.endswith("_edit") else EVERYWHERE

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return self._quantity.range

    @property
    def needs(self) -> tuple[Need, ...]:
        """What else the scenario must have."""
        return self._quantity.needs

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose version can change a value."""
        network = self._quantity.network
        if network is not None:
            return NETWORK_LIBRARIES[network]
        return ("scipy",) if self.name.startswith("ssim") else ()

    @property
    def _owner(self) -> str:
        return f"legacy_pie:{self.name}"

    @property
    def _model(self) -> str:
        return self.model or (DINO if self._quantity.network == "dino" else CLIP)

    @property
    def weights(self) -> Mapping[str, str]:
        """None for psnr, mse and ssim; sha256 by file of what the other numbers need, which must be downloaded.

        LPIPS: torchvision's `squeezenet1_1-b8a52dc0.pth`, with the head of the package `lpips`. structure_distance:
        `facebook/dino-vitb8`. CLIP: `openai/clip-vit-large-patch14`.

        Raises:
            EditbenchError: if a file is missing.
        """
        network = self._quantity.network
        if network is None:
            return {}
        if network == "squeeze":
            return lpips_weights(self.trunk, self._owner)
        folder = model_folder(self._model, self._owner)
        if network == "dino":
            check_config(folder, _LAYER, self._owner)
        return model_weights(folder, self._owner, text=network == "clip")

    @property
    def device(self) -> str | None:
        """What the number's network runs on, and in which precision."""
        return f"{device().type} float32" if self._quantity.network else None

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no value: a mask without an unedited part (the protocol writes "nan"), no prompt."""
        if self.name.endswith("_unedit") and not kept(scenario, "unedit").any():
            return "the mask and its frame cover the image"
        if self.name == "clip_source" and not scenario.source_prompt:
            return "no source prompt"
        return None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        family, _, part = self.name.partition("_")
        families: dict[str, Callable[[Sequence[Sample], str], list[Value]]] = {
            "psnr": _psnr,
            "mse": _mse,
            "ssim": _ssim,
            "lpips": self._lpips,
            "structure": self._structure_distance,
            "clip": self._clip,
        }
        return families[family](samples, part)

    def _lpips(self, samples: Sequence[Sample], part: str) -> list[Value]:
        pairs = [(s.output, s.scenario.source, kept(s.scenario, part)) for s in samples]
        return list(lpips_squeeze(pairs, self.trunk, self._owner))

    def _structure_distance(self, samples: Sequence[Sample], part: str) -> list[Value]:
        folder, digests = model_folder(self._model, self._owner), tuple(self.weights.values())
        network = transformer(folder, digests)

        def compute(images: Sequence[Image]) -> list[Arrays]:
            size = check_config(folder, _LAYER, self._owner)
            return [(found,) for found in keys(network, [_up_to_255(image, size) for image in images], _LAYER)]

        recipe = f"pie_keys 1 {digests} {environment()}"
        recipe += "".join(f" {name} {package_version(name)}" for name in ("transformers", "torchvision"))
        sources = features([s.scenario.source for s in samples], recipe, compute)
        outputs = compute([s.output for s in samples])
        pairs = zip(outputs, sources, strict=True)
        return [float(np.mean((self_similarity(a) - self_similarity(b)) ** 2)) for (a,), (b,) in pairs]

    def _clip(self, samples: Sequence[Sample], part: str) -> list[Value]:
        clip = Clip(self._model, self._owner)
        scenarios = [s.scenario for s in samples]
        if part == "source":
            images = clip.sources([scenario.source for scenario in scenarios])
            prompts = [scenario.source_prompt or "" for scenario in scenarios]
        else:
            outputs = [s.output for s in samples]
            if part == "edited":
                masks = [kept(scenario, "edit") for scenario in scenarios]
                outputs = [np.where(mask[..., None], o, np.uint8(0)) for o, mask in zip(outputs, masks, strict=True)]
            images = clip.images(outputs)
            prompts = [scenario.target_prompt or "" for scenario in scenarios]
        captions = [clip.caption(prompt.replace("[", "").replace("]", "")) for prompt in prompts]
        return [clip_score(image, caption) for image, caption in zip(images, captions, strict=True)]


def clip_score(image: Floats, caption: Caption) -> Value:
    """CLIPScore as torchmetrics reports it: 100 cos, at least 0; details say so where the caption was cut."""
    value = max(0.0, 100 * cosine(image, caption.embedding))
    cut = {"tokens": caption.tokens, "read": caption.read}
    return value if caption.read == caption.tokens else Detailed(value, cut)


def kept(scenario: Scenario, part: str) -> Mask:
    """Return the pixels that a part does not make black: `bool (H, W)`; part is `unedit`, `edit` or empty (all)."""
    framed: Mask = np.ones_like(scenario.mask)
    if part:
        framed[1:-1, 1:-1] = scenario.mask[1:-1, 1:-1]
    return ~framed if part == "unedit" else framed


def _zero_filled_mse(sample: Sample, part: str) -> float:
    """Mean over all pixels and channels of the frame, those outside `part` being equal."""
    error = squared_error(sample.output, sample.scenario.source, kept(sample.scenario, part))
    return error / (sample.output.size * 255**2)


def _mse(samples: Sequence[Sample], part: str) -> list[Value]:
    return [_zero_filled_mse(sample, part) for sample in samples]


def _psnr(samples: Sequence[Sample], part: str) -> list[Value]:
    errors = [_zero_filled_mse(sample, part) for sample in samples]
    return [10 * math.log10(1 / error) if error else INFINITE for error in errors]


def _ssim(samples: Sequence[Sample], part: str) -> list[Value]:
    return [ssim(s.output, s.scenario.source, kept(s.scenario, part)) for s in samples]


def _up_to_255(image: Image, patch: int) -> Floats:
    """What DINO is fed: resized by torchvision, not divided by 255, normalised all the same; whole patches only."""
    import torch
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))
    resized = functional.resize(pixels, [_SHORTER], max_size=_LONGEST, antialias=True)
    normal: Floats = functional.normalize(resized, list(IMAGENET_MEAN), list(IMAGENET_STD)).numpy()
    height, width = (length // patch * patch for length in normal.shape[1:])
    return np.ascontiguousarray(normal[:, :height, :width])
