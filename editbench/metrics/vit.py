"""Vision transformers of the DINO family: images in, tokens and attention keys out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editbench.metrics.neural import by_shape, device, forward
from editbench.metrics.pretrained import load, model_config
from editbench.types import EditbenchError

Floats = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel statistics on which these networks were trained, for pixel values in [0, 1]."""

_INTERPOLATING = ("vit", "dinov2", "dinov2_with_registers")
"""Model types whose position embeddings fit any size, and whose patch tokens come last."""
_KEY_PROJECTIONS = ("k_proj", "key")
"""What transformers calls the linear map from tokens to keys, in its fifth and its fourth version."""


def check_config(folder: Path, layer: int, needed_by: str) -> int:
    """Return the side of a patch in pixels, having checked that a checkpoint is one that can be used; without torch.

    Args:
        folder: as returned by `model_folder`.
        layer: whose keys are asked for; negative counts from the end.
        needed_by: the metric, for the message.

    Raises:
        EditbenchError: if the model is of another type, or has no such layer.
    """
    config = model_config(folder)
    kind, layers = config.get("model_type"), config.get("num_hidden_layers", 0)
    if kind not in _INTERPOLATING:
        raise EditbenchError(f"{needed_by}: {str(folder)!r} is a {kind!r}, expected one of {', '.join(_INTERPOLATING)}")
    if not -layers <= layer < layers:
        raise EditbenchError(f"{needed_by}: layer={layer}, but {str(folder)!r} has {layers} layers")
    return int(config["patch_size"])


@lru_cache(maxsize=2)
def transformer(folder: Path, digests: tuple[str, ...]) -> Any:
    """Return the network of a checkpoint, on the device in use.

    Args:
        folder: as returned by `model_folder`.
        digests: hashes of its files, so that a changed file is read again.
    """
    options = {"add_pooling_layer": False} if model_config(folder)["model_type"] == "vit" else {}
    return load("AutoModel", folder, **options).to(device())


def keys(network: Any, images: Sequence[Floats], layer: int) -> list[Floats]:
    """Return the attention keys of each image in one layer, heads side by side.

    Args:
        network: from `transformer`.
        images: normalised, `float32 (3, H, W)`, sides multiples of the patch.
        layer: negative counts from the end.

    Returns:
        One `float32 (tokens, width)` an image: the class token, registers if any, then the patches row by row.
    """
    projections = [m for name, m in network.named_modules() if name.rpartition(".")[2] in _KEY_PROJECTIONS]
    if len(projections) != network.config.num_hidden_layers:
        raise EditbenchError(f"{type(network).__name__}: {len(projections)} key projections, expected one a layer")
    caught: list[Any] = []
    hook = projections[layer].register_forward_hook(lambda module, inputs, output: caught.append(output))

    def run(part: Sequence[Floats]) -> list[Floats]:
        caught.clear()
        _apply(network, part)
        return list(caught[0].float().cpu().numpy())

    try:
        return _by_shape(images, run)
    finally:
        hook.remove()


def class_tokens(network: Any, images: Sequence[Floats]) -> list[Floats]:
    """Return the normalised class token of each image, `float32 (width,)`; for arguments see `keys`."""

    def run(part: Sequence[Floats]) -> list[Floats]:
        return list(_apply(network, part).last_hidden_state[:, 0].float().cpu().numpy())

    return _by_shape(images, run)


def _apply(network: Any, images: Sequence[Floats]) -> Any:
    import torch

    options = {"interpolate_pos_encoding": True} if network.config.model_type == "vit" else {}
    return network(pixel_values=torch.from_numpy(np.stack(images)).to(device()), **options)


def _by_shape(images: Sequence[Floats], run: Any) -> list[Floats]:
    found: list[Any] = [None] * len(images)
    for positions in by_shape(images):
        results = forward([images[position] for position in positions], run)
        for position, result in zip(positions, results, strict=True):
            found[position] = result
    return found


def normalised(image: npt.NDArray[Any], mean: Sequence[float], std: Sequence[float]) -> Floats:
    """Return what a network takes in.

    Args:
        image: `uint8 (H, W, 3)`.
        mean: of each channel, for values in [0, 1].
        std: of each channel.

    Returns:
        `float32 (3, H, W)`.
    """
    scaled = image.astype(np.float32) / np.float32(255)
    normal = (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def self_similarity(tokens: Floats) -> npt.NDArray[np.float64]:
    """Return the cosine of every pair of keys (Tumanyan et al. 2022, eq. 3), `float64 (tokens, tokens)`.

    The product of two norms is at least 1e-8, as in the authors' code.
    """
    wide = tokens.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    cosines: npt.NDArray[np.float64] = (wide @ wide.T) / np.maximum(np.outer(norms, norms), 1e-8)
    return cosines
