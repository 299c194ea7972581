"""MagicBrush as its authors evaluate it (Zhang et al., NeurIPS 2023; `evaluation/image_eval.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from editbench.metrics.features import Arrays, features
from editbench.metrics.legacy import NETWORK_LIBRARIES, Quantity, check_options
from editbench.metrics.legacy.clip import Clip, cosine, prepare
from editbench.metrics.neural import device, environment
from editbench.metrics.pretrained import model_config, model_folder, model_weights
from editbench.metrics.vit import IMAGENET_MEAN, IMAGENET_STD, check_config, class_tokens, transformer
from editbench.registry import bare, package_version
from editbench.types import Direction, Failed, Image, Need, Sample, Value

CLIP = "openai/clip-vit-base-patch32"
DINO = "facebook/dino-vits16"

QUANTITIES: Mapping[str, Quantity] = {
    "l1": Quantity("lower", "", (0.0, 1.0), None, ("target",)),
    "l2": Quantity("lower", "", (0.0, 1.0), None, ("target",)),
    "clip_i": Quantity("higher", "", (-1.0, 1.0), "clip", ("target",)),
    "dino": Quantity("higher", "", (-1.0, 1.0), "dino", ("target",)),
    "clip_t": Quantity("higher", "", (-1.0, 1.0), "clip", ("target_prompt",)),
}


@dataclass(frozen=True)
class LegacyMagicbrush:
    """One number of MagicBrush's evaluation, against the ground truth; masks are not used.

    `l1` and `l2` are the mean absolute and squared difference, in [0, 1], of the output resized to the target's size
    (Pillow, bicubic). `clip_i` is the cosine of CLIP ViT-B/32's embeddings of output and target, `dino` that of DINO
    ViT-S/16's class tokens (shorter side 256, middle 224), `clip_t` that of CLIP's embeddings of the output and of the
    caption, not times 100. The caption is the scenario's target prompt, which for MagicBrush must be the *local* one
    (its README said global at first). A caption longer than CLIP's context fails, as it stops their program.

    References:
        Zhang, Mo, Chen, Sun & Su 2023, "MagicBrush" (arXiv 2306.10012); `evaluation/image_eval.py` of
        OSU-NLP-Group/MagicBrush.

    Disagreements:
        `l1` is `target:mae,region=all`, `l2` is `target:mse,region=all`: most of the image is not to be edited, so
        doing nothing scores well in all but `clip_t`. `clip_image` compares with the source, `clip_i` with the ground
        truth.

    Args:
        name: which number.
        model: another checkpoint than the protocol's: a folder, or an id in the hub's cache.
    """

    name: Literal["l1", "l2", "clip_i", "dino", "clip_t"] = bare()
    model: str | None = None

    version: ClassVar[int] = 1
    unit: ClassVar[str] = ""

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
        if network == "dino":
            return NETWORK_LIBRARIES["clip"]  # nothing of torchvision's takes part
        return ("Pillow",) if network is None else NETWORK_LIBRARIES[network]

    @property
    def _owner(self) -> str:
        return f"legacy_magicbrush:{self.name}"

    @property
    def _model(self) -> str:
        return self.model or (DINO if self.name == "dino" else CLIP)

    @property
    def weights(self) -> Mapping[str, str]:
        """None for l1 and l2; sha256 by file of what the other numbers need, which must be downloaded.

        CLIP: `openai/clip-vit-base-patch32`. dino: `facebook/dino-vits16`.

        Raises:
            EditbenchError: if a file is missing.
        """
        if self._quantity.network is None:
            return {}
        folder = model_folder(self._model, self._owner)
        if self.name == "dino":
            check_config(folder, -1, self._owner)
        return model_weights(folder, self._owner, text=self.name != "dino")

    @property
    def device(self) -> str | None:
        """What the number's network runs on, and in which precision."""
        return f"{device().type} float32" if self._quantity.network else None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        if self.name == "clip_t":
            return self._clip_t(samples)
        targets = [_target(sample) for sample in samples]
        outputs = [sample.output for sample in samples]
        if self.name == "clip_i":
            clip = Clip(self._model, self._owner)
            pairs = zip(clip.images(outputs), clip.sources(targets), strict=True)
            return [cosine(output, target) for output, target in pairs]
        if self.name == "dino":
            return self._dino(outputs, targets)
        values: list[Value] = []
        for output, target in zip(outputs, targets, strict=True):
            difference = np.abs(_resized(output, target).astype(np.int64) - target)
            power = 1 if self.name == "l1" else 2
            values.append(int((difference**power).sum()) / (target.size * 255**power))
        return values

    def _clip_t(self, samples: Sequence[Sample]) -> list[Value]:
        clip = Clip(self._model, self._owner)
        values: list[Value] = []
        for image, sample in zip(clip.images([s.output for s in samples]), samples, strict=True):
            caption = clip.caption(sample.scenario.target_prompt or "")
            if caption.read < caption.tokens:
                values.append(Failed(f"the caption has {caption.tokens} tokens, the model reads {caption.read}"))
            else:
                values.append(cosine(image, caption.embedding))
        return values

    def _dino(self, outputs: Sequence[Image], targets: Sequence[Image]) -> list[Value]:
        folder, digests = model_folder(self._model, self._owner), tuple(self.weights.values())
        network, crop = transformer(folder, digests), int(model_config(folder)["image_size"])

        def compute(images: Sequence[Image]) -> list[Arrays]:
            seen = [prepare(image, crop * 8 // 7, crop, IMAGENET_MEAN, IMAGENET_STD) for image in images]
            return [(token,) for token in class_tokens(network, seen)]

        recipe = f"dino_class 1 {digests} {environment()}"
        recipe += "".join(f" {name} {package_version(name)}" for name in ("transformers", "Pillow"))
        pairs = zip(compute(outputs), features(targets, recipe, compute), strict=True)
        return [cosine(output, target) for (output,), (target,) in pairs]


def _target(sample: Sample) -> Image:
    target = sample.scenario.target
    assert target is not None, "a scenario without a target is not scored"
    return target


def _resized(output: Image, target: Image) -> Image:
    if output.shape == target.shape:
        return output
    from PIL import Image as Pillow

    height, width = target.shape[:2]
    return np.asarray(Pillow.fromarray(output).resize((width, height), Pillow.Resampling.BICUBIC))
