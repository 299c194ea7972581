"""OpenAI's CLIP through transformers, prepared as the published protocols prepare it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from editbench.metrics.features import Arrays, features
from editbench.metrics.neural import device, environment, forward
from editbench.metrics.pretrained import load, model_folder, model_weights
from editbench.metrics.vit import Floats, normalised
from editbench.registry import package_version
from editbench.types import Image

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of CLIP's training images (OpenAI's preprocessing)."""


class Caption(NamedTuple):
    """A text in CLIP's space."""

    embedding: Floats
    """`float32 (width,)`, not normalised."""
    tokens: int
    """How many it has, start and end included."""
    read: int
    """How many of them the model took in."""


class Clip:
    """One CLIP checkpoint.

    Args:
        model: a folder, or an id in the hub's local cache.
        needed_by: the metric, for messages.
    """

    def __init__(self, model: str, needed_by: str) -> None:
        self._folder = model_folder(model, needed_by)
        self._digests = tuple(model_weights(self._folder, needed_by, text=True).values())

    def images(self, images: Sequence[Image]) -> list[Floats]:
        """Return the embedding of each image, `float32 (width,)`, not normalised."""
        return [found for (found,) in self._images(images)]

    def sources(self, images: Sequence[Image]) -> list[Floats]:
        """Return what `images` returns, remembered: for images that every editor is measured against."""
        return [found for (found,) in features(images, self._recipe("clip_image"), self._images)]

    def tokens(self, images: Sequence[Image]) -> list[Floats]:
        """Return the last layer's patch tokens of each image, `float32 (rows, columns, width)`."""
        side = int(self._network.config.vision_config.image_size // self._network.config.vision_config.patch_size)

        def run(part: Sequence[Image]) -> list[Floats]:
            hidden = self._network.vision_model(pixel_values=self._pixels(part)).last_hidden_state[:, 1:]
            return list(hidden.unflatten(1, (side, side)).float().cpu().numpy())

        return forward(images, run)

    def project(self, token: Floats) -> Floats:
        """Return the embedding that the model would make of a class token, `float32 (width,)`, not normalised."""
        import torch

        with torch.inference_mode():
            normed = self._network.vision_model.post_layernorm(torch.from_numpy(token[None]).to(device()))
            projected: Floats = self._network.visual_projection(normed)[0].float().cpu().numpy()
        return projected

    def caption(self, text: str) -> Caption:
        """Embed a text; what exceeds the model's context is cut off, the end token with it, as torchmetrics does."""
        import torch

        ids = _tokenizer(self._folder, self._digests)(text)["input_ids"]
        context = int(self._network.config.text_config.max_position_embeddings)
        read = torch.tensor([ids[:context]], device=device())
        with torch.inference_mode():
            pooled = self._network.text_model(input_ids=read).pooler_output
            embedding = self._network.text_projection(pooled)[0].float().cpu().numpy()
        return Caption(embedding, len(ids), int(read.shape[1]))

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the network sees."""
        return int(self._network.config.vision_config.image_size)

    @property
    def _network(self) -> Any:
        return _load(self._folder, self._digests)

    def _recipe(self, kind: str) -> str:
        versions = " ".join(f"{name} {package_version(name)}" for name in ("transformers", "Pillow"))
        return f"{kind} 1 {self._digests} {environment()} {versions}"

    def _images(self, images: Sequence[Image]) -> list[Arrays]:
        def run(part: Sequence[Image]) -> list[Arrays]:
            pooled = self._network.vision_model(pixel_values=self._pixels(part)).pooler_output
            return [(found,) for found in self._network.visual_projection(pooled).float().cpu().numpy()]

        return forward(images, run)

    def _pixels(self, images: Sequence[Image]) -> Any:
        import torch

        prepared = np.stack([prepare(image, self.image_size, self.image_size, _MEAN, _STD) for image in images])
        return torch.from_numpy(prepared).to(device())


def prepare(image: Image, shorter: int, crop: int, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """Resize the shorter side (Pillow, bicubic), cut out the middle, scale to [0, 1], normalise.

    Args:
        image: `uint8 (H, W, 3)`.
        shorter: length of the shorter side, in pixels.
        crop: side of the square in the middle, in pixels.
        mean: of each channel.
        std: of each channel.

    Returns:
        `float32 (3, crop, crop)`.
    """
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    least = min(height, width)
    size = shorter * width // least, shorter * height // least
    resized = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))
    top, left = (round((length - crop) / 2) for length in resized.shape[:2])
    return normalised(resized[top : top + crop, left : left + crop], mean, std)


def cosine(first: Floats, second: Floats) -> float:
    """Cosine of the angle between two embeddings."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))


@lru_cache(maxsize=2)
def _load(folder: Path, digests: tuple[str, ...]) -> Any:
    return load("CLIPModel", folder).to(device())


@lru_cache(maxsize=2)
def _tokenizer(folder: Path, digests: tuple[str, ...]) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
