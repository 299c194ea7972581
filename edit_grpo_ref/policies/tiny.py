"""`tiny`: the embedded policy, a flow-matching editor of 64×64 pictures that trains on a laptop.

How it was made and what it can do: `tiny.md` beside this file.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from edit_grpo_ref.policies.packing import pack, unpack
from edit_grpo_ref.policies.tiny_network import GRID, PADDING, PATCH, SIDE, TOKEN, UNKNOWN, WORDS, Architecture, Network
from editbench.durable import write_whole
from editbench.images import resize
from editbench.records import loads
from editbench.specs import quote
from editbench.types import EditbenchError, EditRequest, Image, MaskAccess

if TYPE_CHECKING:
    from edit_grpo_ref.policies import Condition, Prediction

WEIGHTS = Path(__file__).with_name("tiny.safetensors")
_WORD = re.compile(r"[a-z]+|\d+")


def words_of(instruction: str) -> list[str]:
    """Return the words and numbers of an instruction, lower case."""
    return _WORD.findall(instruction.lower())


def number_words(instructions: Sequence[str], vocabulary: Mapping[str, int]) -> torch.Tensor:
    """Return `int64 (B, WORDS)`: each instruction's words by number, cut off or padded."""
    rows = torch.full((len(instructions), WORDS), PADDING)
    for row, instruction in zip(rows, instructions, strict=True):
        numbers = [vocabulary.get(word, UNKNOWN) for word in words_of(instruction)[:WORDS]]
        row[: len(numbers)] = torch.tensor(numbers)
    return rows


def as_latents(pictures: torch.Tensor) -> torch.Tensor:
    """Turn `uint8 (B, 64, 64, 3)` into packed `float32 (B, 256, 48)` of −1 to 1."""
    return pack(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0, PATCH)


def pack_masks(masks: torch.Tensor) -> torch.Tensor:
    """Pack `bool (B, 64, 64)` to `float32 (B, 256, 16)`."""
    return pack(masks[:, None].float(), PATCH)


@dataclass
class _Parts:
    vocabulary: dict[str, int]
    network: Network
    original: Network
    """As it was loaded, never trained."""
    use_original: bool = False


@dataclass(frozen=True, eq=False)
class Tiny:
    """A flow-matching editor of 64×64 pictures, 16×16 tokens of 4×4 pixels, conditioned on source and instruction."""

    weights: Path | None = None
    """Made by `edit-grpo-ref pretrain`; those that come with the package if None."""

    prediction: ClassVar[Prediction] = "velocity"

    def __post_init__(self) -> None:
        _ = self._network  # what is wrong with the weights is found here, not in the middle of a run

    @property
    def spec(self) -> str:
        """`tiny`, with the path of other weights."""
        return "tiny" if self.weights is None else f"tiny:weights={quote(str(self.weights))}"

    @property
    def mask_access(self) -> MaskAccess:
        """`hint` for weights that were trained to be shown the mask, else `none`."""
        return "hint" if self._network.architecture.mask else "none"

    @cached_property
    def _parts(self) -> _Parts:
        vocabulary, network = load_network(WEIGHTS if self.weights is None else self.weights)
        return _Parts(vocabulary, network, copy.deepcopy(network).requires_grad_(False))

    @property
    def _network(self) -> Network:
        return self._parts.network

    def encode(self, requests: Sequence[EditRequest]) -> Condition:
        """Return sources and words; the sources at their own size too, for `decode`.

        `source` `float32 (B, 256, 48)`, `words` `int64 (B, 24)`, `picture` `uint8 (B, H, W, 3)`, and `mask`
        `float32 (B, 256, 16)` where the weights use it.
        """
        sizes = {request.source.shape for request in requests}
        if len(sizes) != 1:
            raise EditbenchError(f"tiny: sources of {sorted(sizes)} in one batch, expected one size: batch by size")
        seen = np.stack([self._shrunk(request.source) for request in requests])
        condition = {
            "source": as_latents(torch.from_numpy(seen)),
            "words": number_words([request.instruction for request in requests], self._parts.vocabulary),
            "picture": torch.from_numpy(np.stack([request.source for request in requests])),
        }
        if self._network.architecture.mask:
            masks = [request.mask for request in requests if request.mask is not None]
            if len(masks) < len(requests):
                raise EditbenchError(f"{self.spec} was trained to see the mask, expected one in every request")
            grey = [self._shrunk(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255) for mask in masks]
            condition["mask"] = pack_masks(torch.from_numpy(np.stack(grey)[..., 0] >= 128))
        return condition

    @staticmethod
    def _shrunk(image: Image) -> Image:
        return image if image.shape[:2] == (SIDE, SIDE) else resize(image, SIDE, SIDE)

    def shape(self, condition: Condition) -> tuple[int, ...]:
        """256 tokens of 48 numbers."""
        return GRID * GRID, TOKEN

    def levels(self, steps: int, condition: Condition) -> torch.Tensor:
        """σ in equal steps from 1 to 0."""
        return torch.linspace(1.0, 0.0, steps + 1)

    def start(self, noise: torch.Tensor, level: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Noise alone: the source is in the condition."""
        return noise

    def predict(self, x: torch.Tensor, level: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the velocity (x − x0) / σ at σ > 0, where x0 is the source and the network's residual."""
        source = condition["source"]
        network = self._parts.original if self._parts.use_original else self._network
        residual = network(x, level, source, condition["words"], condition.get("mask"))
        velocity: torch.Tensor = (x - source - residual) / level[:, None, None]
        return velocity

    def decode(self, x0: torch.Tensor, condition: Condition) -> list[Image]:
        """Add what was changed to the sources, enlarged to their size: what the network left alone stays to the bit."""
        pictures = condition["picture"]
        change = unpack(x0 - condition["source"], PATCH, SIDE, SIDE) * 127.5
        if pictures.shape[1:3] != (SIDE, SIDE):
            change = functional.interpolate(change, pictures.shape[1:3], mode="bicubic", align_corners=False)
        edited = (pictures + change.permute(0, 2, 3, 1)).round().clamp(0, 255).to(torch.uint8)
        return list(edited.numpy())

    def grid(self, condition: Condition) -> tuple[int, int]:
        """One cell a token."""
        return GRID, GRID

    def spread(self, weights: torch.Tensor) -> torch.Tensor:
        """`(B, 16, 16)` to `(B, 256, 1)`."""
        return weights.reshape(weights.shape[0], GRID * GRID, 1)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """All weights."""
        return dict(self._network.named_parameters())

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Use a copy of the weights that was made when they were loaded."""
        before, self._parts.use_original = self._parts.use_original, True
        try:
            yield
        finally:
            self._parts.use_original = before


def load_network(path: Path) -> tuple[dict[str, int], Network]:
    """Load a vocabulary and a network from what `save_network` wrote.

    Raises:
        EditbenchError: naming the file, if it is anything else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = loads((file.metadata() or {})["about"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        vocabulary = vocabulary_of(about["words"])
        architecture = Architecture(**about["architecture"])
        if not 0 < architecture.blocks <= 64 or not 0 < architecture.width <= 4096:
            raise ValueError(f"architecture {architecture}")
        with torch.device("meta"):  # what a file says of its sizes takes no memory before it is compared with the file
            expected = {name: value.shape for name, value in Network(architecture).state_dict().items()}
        if {name: value.shape for name, value in state.items()} != expected:
            raise ValueError("weights of other names or shapes than its architecture has")
        if not all(torch.isfinite(value).all() for value in state.values()):
            raise ValueError("weights that are not finite")
    except OSError as error:
        raise EditbenchError(f"{path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, ArithmeticError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EditbenchError(f"{path}: no network of `edit-grpo-ref pretrain`, or a damaged one ({what})") from None
    network = Network(architecture)
    network.load_state_dict(state)
    return vocabulary, network


def save_network(path: Path, words: Sequence[str], network: Network, notes: Mapping[str, Any]) -> None:
    """Write weights as float16, whole or not at all; what is loaded from the file is what counts.

    Args:
        path: a safetensors file.
        words: the vocabulary in the order of its numbers.
        network: whose weights.
        notes: anything else that the file should say about itself.
    """
    from safetensors.torch import save

    half = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    about = {"architecture": asdict(network.architecture), "words": list(words), **notes}
    write_whole(path, [save(half, {"about": json.dumps(about, sort_keys=True)})])  # several keys come in any order


def vocabulary_of(words: Sequence[str]) -> dict[str, int]:
    """Number words in their order, after `PADDING` and `UNKNOWN`."""
    if not all(isinstance(word, str) for word in words) or isinstance(words, str):
        raise ValueError("words that are no texts")
    return {word: number for number, word in enumerate(words, start=2)}
