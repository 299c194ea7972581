"""Image and text embeddings of open_clip models, each computed once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from editbench.metrics import neural
from editbench.metrics.clip_files import ClipFiles, clip_files
from editbench.metrics.features import Arrays, features
from editbench.registry import package_version
from editbench.types import EditbenchError, Image

LIBRARIES = ("open_clip_torch", "torch", "Pillow")
"""They hold the network, its arithmetic and the resizing of images."""

Vectors = npt.NDArray[np.float64]
"""`float64 (N, d)`, rows of length 1."""


class ClipModel:
    """A loaded model.

    Args:
        files: what it is made of.

    Raises:
        EditbenchError: if the files do not make a model.
    """

    def __init__(self, files: ClipFiles) -> None:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

        options = {} if files.quick_gelu is None else {"quick_gelu": files.quick_gelu}
        words = {} if files.vocabulary is None else {"bpe_path": str(files.vocabulary)}
        try:
            with _without_hub():
                model: Any = open_clip.create_model(
                    files.name,
                    load_weights=False,  # they are loaded below, from the very file that was hashed
                    pretrained_text=False,
                    force_preprocess_cfg=dict(files.preprocess),
                    **options,
                )
                open_clip.load_checkpoint(model, str(files.checkpoint))
                self._tokenizer: Any = open_clip.get_tokenizer(files.name, **words)
        except Exception as error:  # whatever torch, transformers and open_clip raise about a file that does not fit
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise EditbenchError(f"{files.checkpoint} does not make a {files.name}: {reason}") from error
        self._model = model.eval().to(neural.device())
        self._preprocess: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        libraries = " ".join(f"{name} {package_version(name)}" for name in LIBRARIES)
        made = f"{files.name} {sorted(options.items())} {sorted(model.visual.preprocess_cfg.items())}"
        self._recipe = f"{made} {sorted(files.weights.items())} {libraries} {neural.environment()}"

    def images(self, images: Sequence[Image]) -> Vectors:
        """Embed `uint8 (H, W, 3)` images of any sizes, each resized and cropped as the model demands."""
        return _unit(features(images, f"clip image 1 {self._recipe}", self._embed_images))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; what exceeds the model's context length is cut off (see `truncated`)."""
        return _unit(features(texts, f"clip text 1 {self._recipe}", self._embed_texts))

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return what the model sees of a text."""
        return tuple(self._tokenizer([text])[0].tolist())

    def truncated(self, text: str) -> int:
        """Return how many tokens of a text, its end mark included, do not fit into the model's context."""
        tokenizer = self._tokenizer
        if hasattr(tokenizer, "encode"):
            count = len(tokenizer.encode(text)) + 2  # marks of start and end
        else:
            clean = getattr(tokenizer, "clean_fn", None) or _canonical
            count = len(tokenizer.tokenizer(clean(text)).input_ids)
        return max(0, count - int(tokenizer.context_length))

    def _embed_images(self, images: Sequence[Image]) -> list[Arrays]:
        import torch
        from PIL import Image as PILImage

        inputs = [self._preprocess(PILImage.fromarray(image)) for image in images]
        return neural.forward(inputs, lambda part: self._rows(self._model.encode_image, torch.stack(list(part))))

    def _embed_texts(self, texts: Sequence[str]) -> list[Arrays]:
        import torch

        inputs = list(self._tokenizer(list(texts)))
        return neural.forward(inputs, lambda part: self._rows(self._model.encode_text, torch.stack(list(part))))

    @staticmethod
    def _rows(encode: Any, batch: Any) -> list[Arrays]:
        return [(row,) for row in encode(batch.to(neural.device())).float().cpu().numpy()]


def load_clip(model: str, pretrained: str | None, needed_by: str) -> ClipModel:
    """Return a model, loaded once as long as its files stay the same. Arguments and errors as for `clip_files`."""
    files = clip_files(model, pretrained, needed_by)
    return _loaded(model, pretrained, tuple(files.weights.items()))


@lru_cache(maxsize=2)
def _loaded(model: str, pretrained: str | None, weights: tuple[tuple[str, str], ...]) -> ClipModel:
    return ClipModel(clip_files(model, pretrained, "clip"))


def _canonical(text: str) -> str:
    """Clean a text as open_clip's `SigLipTokenizer` does, which keeps no function for it."""
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return str(canonicalize_text(basic_clean(text)))


def _unit(rows: Sequence[Arrays]) -> Vectors:
    vectors = np.stack([row[0] for row in rows]).astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@contextlib.contextmanager
def _without_hub() -> Iterator[None]:
    """Let nothing be downloaded, and open_clip not warn that weights are missing that are loaded a moment later."""
    from huggingface_hub import constants

    offline, disabled = constants.HF_HUB_OFFLINE, logging.root.manager.disable
    constants.HF_HUB_OFFLINE = True
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.disable(disabled)
