"""`diffusers:MODEL`: FLUX.1 Kontext, Qwen-Image-Edit (and Plus), SD3/3.5 img2img, InstructPix2Pix, trained by LoRA.

What differs between them is in `packed.py` and `spatial.py`; here is what they share: loading, adapters, sizes,
a memory of encodings.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import diffusers
import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from edit_grpo_ref.flow import column
from edit_grpo_ref.policies import Condition, Prediction
from edit_grpo_ref.policies.families import SIDE, Family
from edit_grpo_ref.policies.packed import Kontext, Qwen
from edit_grpo_ref.policies.spatial import Pix2Pix, StableDiffusion3
from edit_grpo_ref.sharding import is_shared, shard
from editbench.editors.diffusers_loading import find_checkpoint
from editbench.editors.sizes import working_size
from editbench.images import resize
from editbench.registry import bare, written_spec
from editbench.specs import did_you_mean
from editbench.types import EditbenchError, EditRequest, Image

ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
FEED_FORWARD = ("net.0.proj", "net.2")
"""Ends of the names of the layers that LoRA adapts: attention and feed-forward, as flow_grpo does for FLUX."""

FAMILIES: dict[str, tuple[str, type[Any], dict[str, Any]]] = {
    "FluxKontextPipeline": ("FluxKontextPipeline", Kontext, {}),
    "QwenImageEditPipeline": ("QwenImageEditPipeline", Qwen, {}),
    "QwenImageEditPlusPipeline": ("QwenImageEditPlusPipeline", Qwen, {"plus": True}),
    "StableDiffusion3Pipeline": ("StableDiffusion3Img2ImgPipeline", StableDiffusion3, {}),
    "StableDiffusion3Img2ImgPipeline": ("StableDiffusion3Img2ImgPipeline", StableDiffusion3, {}),
    "StableDiffusionInstructPix2PixPipeline": ("StableDiffusionInstructPix2PixPipeline", Pix2Pix, {}),
}
"""By the class that a model's folder names: the pipeline to load it with, the family and its fixed options."""


@dataclass(frozen=True, eq=False)
class Diffusers:
    """An instruction-following editor of diffusers."""

    model: str = bare()
    """A folder, or a name on the hub."""
    lora: int = 32
    """Rank of the adapters (their scale is 2: α is twice the rank); 0 trains all weights."""
    guidance: float | None = None
    """Of the family, by default as its model card has it; part of the policy, in rollout and replay alike."""
    image_guidance: float | None = None
    """Of InstructPix2Pix."""
    true_guidance: float | None = None
    """Of FLUX.1 Kontext: classifier-free guidance on top of the distilled one."""
    strength: float | None = None
    """Of SD3: how far back to noise a rollout starts."""
    area: int | None = None
    """Pixels at which pictures are edited; None: at their own size. Another size costs two resamplings."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of the model; adapters, latents and steps are float32. To train all weights, `float32` is the one to take."""
    device: str = "cpu"
    """Where it runs: `cpu`, `cuda`, …"""
    checkpointing: bool = False
    """Whether activations are computed twice instead of kept."""
    revision: str | None = None
    """Of a model on the hub."""
    remembered: int = 256
    """Requests whose encodings are kept in the CPU's memory, the latest: texts are encoded once, not once a step."""

    _encoded: OrderedDict[str, Condition] = field(init=False, repr=False, default_factory=OrderedDict)
    _original: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    """All weights as they were loaded, where all are trained."""

    def __post_init__(self) -> None:
        _ = self._family  # what is wrong with the model is found here, not in the middle of a run

    @property
    def spec(self) -> str:
        """The model, and what is not at its default."""
        return written_spec(self, "diffusers")

    @property
    def prediction(self) -> Prediction:
        """`noise` for InstructPix2Pix, `velocity` for the others."""
        return self._family.prediction

    # ---------------------------------------------------------------------------------------------- loading

    @cached_property
    def _family(self) -> Family:
        name = find_checkpoint(self.model, self.revision).pipeline
        if name not in FAMILIES:
            hint = did_you_mean(name, FAMILIES) or f": expected {', '.join(FAMILIES)}"
            raise EditbenchError(f"diffusers: {self.model} is a {name}, which cannot be trained here{hint}")
        pipeline, family, fixed = FAMILIES[name]
        options = {
            option: value
            for option in ("guidance", "image_guidance", "true_guidance", "strength")
            if (value := getattr(self, option)) is not None
        }
        unknown = [option for option in options if option not in family.__dataclass_fields__]
        if unknown:
            raise EditbenchError(f"diffusers: a {name} has no {unknown[0]}: leave it out")
        pipe = getattr(diffusers, pipeline).from_pretrained(
            self.model, revision=self.revision, dtype=getattr(torch, self.dtype)
        )
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval()
        made: Family = family(pipe, **options, **fixed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # adapters start the same on every rank, and at every load
            self._make_trainable(made.network)
        sharded = shard(made.network, self.device)
        if not self.lora:
            for name, weight in made.network.named_parameters():
                self._original[name] = weight.detach().clone()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module) and not (sharded and part is made.network):
                part.to(self.device)
        return made

    def _make_trainable(self, network: Any) -> None:
        if self.checkpointing:
            network.enable_gradient_checkpointing()
        if not self.lora:
            for weight in network.requires_grad_(True).parameters():
                weight.data = weight.data.clone()  # aligned in memory as a copy is: equal weights, then equal bits
            return
        try:
            from peft import LoraConfig
        except ImportError:
            raise EditbenchError("diffusers: LoRA needs peft: pip install 'editbench[train]', or lora=0") from None
        network.add_adapter(
            LoraConfig(
                r=self.lora,
                lora_alpha=2 * self.lora,
                init_lora_weights="gaussian",
                target_modules=[*ADAPTED, *FEED_FORWARD],
            )
        )
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    # ------------------------------------------------------------------------------------- one rollout's pieces

    @torch.no_grad()
    def encode(self, requests: Sequence[EditRequest]) -> Condition:
        """Return embeddings and source latents, each request encoded by itself so that its neighbours do not matter.

        `size` is `int64 (B, 2)`, height and width of the source; the rest is the family's.
        """
        sizes = {request.source.shape for request in requests}
        if len(sizes) != 1:
            raise EditbenchError(
                f"diffusers: sources of {sorted(sizes)} in one batch, expected one size: batch by size"
            )
        rows = [self._encode(request) for request in requests]
        condition = {}
        for name in rows[0]:
            longest = max(row[name].shape[1] for row in rows)  # texts differ in length
            condition[name] = torch.cat([_padded(row[name], longest) for row in rows]).to(self.device)
        return condition

    def _encode(self, request: EditRequest) -> Condition:
        source = np.ascontiguousarray(request.source)
        key = hashlib.sha256(repr((source.shape, request.instruction)).encode() + source.tobytes()).hexdigest()
        if key not in self._encoded:
            size = torch.tensor([source.shape[:2]])
            picture = PILImage.fromarray(source)
            height, width = self._working(size)
            if (height, width) != source.shape[:2]:
                picture = PILImage.fromarray(resize(source, height, width))
            found = {"size": size, **self._family.encode(picture, request.instruction)}
            self._encoded[key] = {name: tensor.cpu() for name, tensor in found.items()}
        self._encoded.move_to_end(key)
        while len(self._encoded) > max(1, self.remembered):
            self._encoded.popitem(last=False)
        return self._encoded[key]

    def _working(self, size: Tensor) -> tuple[int, int]:
        height, width = size[0].tolist()
        return working_size(height, width, self._family.multiple, self.area)

    def shape(self, condition: Condition) -> tuple[int, ...]:
        """Packed tokens, or channels, rows and columns."""
        return self._family.shape(*self._working(condition["size"]))

    def levels(self, steps: int, condition: Condition) -> Tensor:
        """As the model's own scheduler has them, its shift included."""
        return self._family.levels(steps, *self._working(condition["size"]))

    def start(self, noise: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Noise; for img2img, the source noised to the first level."""
        if not self._family.from_source:
            return noise
        mix = column(level, noise)
        return mix * noise + (1 - mix) * condition["source"].float()

    def predict(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Return the network's prediction with guidance, float32."""
        given = x.to(getattr(torch, self.dtype))
        return self._family.predict(given, level, condition, *self._working(condition["size"])).float()

    @torch.no_grad()
    def decode(self, x0: Tensor, condition: Condition) -> list[Image]:
        """Decode, and resample to the source's size where it was edited at another."""
        images = self._family.decode(x0, *self._working(condition["size"])).float()
        whole = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).cpu().numpy()
        height, width = condition["size"][0].tolist()
        return [image if image.shape[:2] == (height, width) else resize(image, height, width) for image in whole]

    def grid(self, condition: Condition) -> tuple[int, int]:
        """One cell a latent, 8×8 pixels."""
        height, width = self._working(condition["size"])
        return height // SIDE, width // SIDE

    def spread(self, weights: Tensor) -> Tensor:
        """Packed as the latents are, or one weight for all channels."""
        return self._family.spread(weights)

    # --------------------------------------------------------------------------------------------- what is trained

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The adapters, or all weights of the network."""
        return {name: weight for name, weight in self._family.network.named_parameters() if weight.requires_grad}

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Switch the adapters off; where all weights are trained, put those that were loaded in their place."""
        network: Any = self._family.network
        if self.lora:
            network.disable_adapters()
            try:
                yield
            finally:
                network.enable_adapters()
            return
        own = {name: _held(weight) for name, weight in self.trainable().items()}
        for name, original in self._original.items():
            _hold(network.get_parameter(name), original.to(self.device))
        try:
            yield
        finally:
            for name, weight in own.items():
                _hold(network.get_parameter(name), weight)


def _held(weight: torch.nn.Parameter) -> Tensor:
    """Return a weight's values, safe from `_hold`."""
    return weight.detach().clone() if is_shared(weight) else weight.data


def _hold(weight: torch.nn.Parameter, values: Tensor) -> None:
    """Give a weight other values, of which a graph that was made with its own knows nothing.

    FSDP puts weights together from memory of its own, and the graph keeps what was put together: there, values are
    copied.
    """
    if is_shared(weight):
        with torch.no_grad():
            weight.copy_(values)
    else:
        weight.data = values


def _padded(row: Tensor, length: int) -> Tensor:
    missing = length - row.shape[1] if row.ndim > 1 else 0
    return torch.nn.functional.pad(row, [0, 0] * (row.ndim - 2) + [0, missing]) if missing else row
