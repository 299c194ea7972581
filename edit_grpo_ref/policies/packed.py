"""FLUX.1 Kontext and Qwen-Image-Edit: transformers over packed tokens, the source's after the image's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE, calculate_dimensions
from PIL.Image import Image as Picture
from torch import Tensor

from edit_grpo_ref.policies import Condition, Prediction
from edit_grpo_ref.policies.families import SIDE, pixels, shifted_levels
from edit_grpo_ref.policies.packing import pack, pack_weights, unpack


@dataclass(frozen=True)
class Kontext:
    """FLUX.1 Kontext: source tokens after the image's, with a first coordinate of 1; guidance is an input."""

    pipe: Any
    guidance: float = 2.5
    true_guidance: float = 1.0
    """Above 1, a second prediction without the instruction is subtracted, as `true_cfg_scale` does."""

    prediction: ClassVar[Prediction] = "velocity"
    multiple: ClassVar[int] = 16
    from_source: ClassVar[bool] = False

    @property
    def network(self) -> torch.nn.Module:
        """The transformer."""
        return self.pipe.transformer

    def encode(self, picture: Picture, instruction: str) -> Condition:
        """Return T5's and CLIP's embeddings, and the packed source."""
        vae = self.pipe.vae
        latents = vae.encode(pixels(self.pipe, picture)).latent_dist.mode()
        found = {"source": pack((latents - vae.config.shift_factor) * vae.config.scaling_factor, 2)}
        for name, text in (("", instruction), *((("negative_", ""),) if self.true_guidance > 1 else ())):
            found[f"{name}prompt"], found[f"{name}pooled"], _ = self.pipe.encode_prompt(text, text)
        return found

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Tokens of 2×2 latents."""
        return height // 16 * (width // 16), self.pipe.transformer.config.in_channels

    def levels(self, steps: int, height: int, width: int) -> Tensor:
        """σ, shifted by the number of tokens."""
        return shifted_levels(self.pipe.scheduler, steps, self.shape(height, width)[0])

    def predict(self, x: Tensor, level: Tensor, condition: Condition, height: int, width: int) -> Tensor:
        """Return the velocity of the image's own tokens."""
        network, count = self.pipe.transformer, x.shape[1]
        ids = self.pipe._prepare_latent_image_ids(1, height // 16, width // 16, x.device, x.dtype)
        of_source = ids.clone()
        of_source[:, 0] = 1
        guidance = x.new_full((len(x),), self.guidance) if network.config.guidance_embeds else None

        def velocity(name: str) -> Tensor:
            prompt = condition[f"{name}prompt"]
            predicted: Tensor = network(
                hidden_states=torch.cat([x, condition["source"]], 1),
                timestep=(level * 1000).to(x.dtype) / 1000,
                guidance=guidance,
                pooled_projections=condition[f"{name}pooled"],
                encoder_hidden_states=prompt,
                txt_ids=ids.new_zeros(prompt.shape[1], 3),
                img_ids=torch.cat([ids, of_source]),
                return_dict=False,
            )[0]
            return predicted[:, :count].float()

        with_text = velocity("")
        if self.true_guidance <= 1:
            return with_text
        without = velocity("negative_")
        return without + self.true_guidance * (with_text - without)

    def decode(self, x0: Tensor, height: int, width: int) -> Tensor:
        """Unpack, undo the VAE's scale and shift, decode."""
        vae = self.pipe.vae
        latents = unpack(x0, 2, height // SIDE, width // SIDE) / vae.config.scaling_factor + vae.config.shift_factor
        image: Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return image

    def spread(self, weights: Tensor) -> Tensor:
        """Pack them as the latents, every channel of a position alike."""
        return pack_weights(weights, 2, self.pipe.transformer.config.in_channels // 4)


@dataclass(frozen=True)
class Qwen:
    """Qwen-Image-Edit and its successors (2509, 2511): the instruction is read together with the picture."""

    pipe: Any
    guidance: float = 4.0
    plus: bool = False

    prediction: ClassVar[Prediction] = "velocity"
    multiple: ClassVar[int] = 16
    from_source: ClassVar[bool] = False

    @property
    def network(self) -> torch.nn.Module:
        """The transformer."""
        return self.pipe.transformer

    def encode(self, picture: Picture, instruction: str) -> Condition:
        """Return the language model's states for the instruction, and for a blank one, and the packed source."""
        seen: Any = picture
        if self.plus:
            width, height = calculate_dimensions(CONDITION_IMAGE_SIZE, picture.width / picture.height)
            seen = [self.pipe.image_processor.resize(picture, height, width)]
        latents = self.pipe.vae.encode(pixels(self.pipe, picture)[:, :, None]).latent_dist.mode()
        mean, std = self._scale(latents)
        found = {"source": pack(((latents - mean) / std)[:, :, 0], 2)}
        for name, text in (("", instruction), *((("negative_", " "),) if self.guidance > 1 else ())):
            prompt, mask = self.pipe.encode_prompt(text, seen)
            found[f"{name}prompt"] = prompt
            found[f"{name}mask"] = prompt.new_ones(prompt.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
        return found

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.pipe.vae.config
        mean, std = (
            like.new_tensor(values).reshape(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
        )
        return mean, std

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Tokens of 2×2 latents."""
        return height // 16 * (width // 16), self.pipe.transformer.config.in_channels

    def levels(self, steps: int, height: int, width: int) -> Tensor:
        """σ, shifted by the number of tokens."""
        return shifted_levels(self.pipe.scheduler, steps, self.shape(height, width)[0])

    def predict(self, x: Tensor, level: Tensor, condition: Condition, height: int, width: int) -> Tensor:
        """Return the velocity of the image's own tokens; guidance keeps the length of each token's vector."""
        rows, columns, count = height // 16, width // 16, x.shape[1]

        def velocity(name: str) -> Tensor:
            mask = condition[f"{name}mask"]
            predicted: Tensor = self.pipe.transformer(
                hidden_states=torch.cat([x, condition["source"]], 1),
                timestep=(level * 1000).to(x.dtype) / 1000,
                encoder_hidden_states=condition[f"{name}prompt"],
                encoder_hidden_states_mask=None if mask.all() else mask,
                img_shapes=[[(1, rows, columns)] * 2] * len(x),
                return_dict=False,
            )[0]
            return predicted[:, :count].float()

        with_text = velocity("")
        if self.guidance <= 1:
            return with_text
        without = velocity("negative_")
        guided = without + self.guidance * (with_text - without)
        return guided * (with_text.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))

    def decode(self, x0: Tensor, height: int, width: int) -> Tensor:
        """Unpack, undo the VAE's normalisation, decode the one frame."""
        vae = self.pipe.vae
        latents = unpack(x0, 2, height // SIDE, width // SIDE)[:, :, None].to(vae.dtype)
        mean, std = self._scale(latents)
        image: Tensor = vae.decode(latents * std + mean, return_dict=False)[0][:, :, 0]
        return image

    def spread(self, weights: Tensor) -> Tensor:
        """Pack them as the latents, every channel of a position alike."""
        return pack_weights(weights, 2, self.pipe.transformer.config.in_channels // 4)
