"""Stable Diffusion 3 by img2img and InstructPix2Pix: latents as rows and columns, classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import DDIMScheduler
from PIL.Image import Image as Picture
from torch import Tensor

from edit_grpo_ref.policies import Condition, Prediction
from edit_grpo_ref.policies.families import SIDE, pixels, shifted_levels


@dataclass(frozen=True)
class StableDiffusion3:
    """Stable Diffusion 3 and 3.5: no input for a source, which the rollout therefore starts from, noised."""

    pipe: Any
    guidance: float = 7.0
    strength: float = 0.6
    """How far back to noise a rollout starts: 1 forgets the source."""

    prediction: ClassVar[Prediction] = "velocity"
    multiple: ClassVar[int] = 16
    from_source: ClassVar[bool] = True

    @property
    def network(self) -> torch.nn.Module:
        """The transformer."""
        return self.pipe.transformer

    def encode(self, picture: Picture, instruction: str) -> Condition:
        """Return the embeddings of the three encoders, those of an empty text, and the source's latents."""
        vae = self.pipe.vae
        latents = vae.encode(pixels(self.pipe, picture)).latent_dist.mode()
        names = ("prompt", "negative_prompt", "pooled", "negative_pooled")
        texts = self.pipe.encode_prompt(instruction, None, None, do_classifier_free_guidance=self.guidance > 1)
        found = {name: text for name, text in zip(names, texts, strict=True) if text is not None}
        return {"source": (latents - vae.config.shift_factor) * vae.config.scaling_factor, **found}

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Channels, rows, columns."""
        return self.pipe.transformer.config.in_channels, height // SIDE, width // SIDE

    def levels(self, steps: int, height: int, width: int) -> Tensor:
        """σ of the last `steps` steps of a longer schedule, of which `strength` is the share that is walked."""
        scheduler, whole = self.pipe.scheduler, max(steps, round(steps / self.strength))
        if scheduler.config.get("use_dynamic_shifting"):
            return shifted_levels(scheduler, whole, height // 16 * (width // 16))[-steps - 1 :]
        scheduler.set_timesteps(whole)
        levels: Tensor = scheduler.sigmas.float().cpu().clone()[-steps - 1 :]
        return levels

    def predict(self, x: Tensor, level: Tensor, condition: Condition, height: int, width: int) -> Tensor:
        """Return the velocity, guided by that of an empty text."""
        guided = self.guidance > 1
        names = ("negative_", "") if guided else ("",)
        predicted = self.pipe.transformer(
            hidden_states=torch.cat([x] * len(names)),
            timestep=torch.cat([level * 1000] * len(names)),
            encoder_hidden_states=torch.cat([condition[f"{name}prompt"] for name in names]),
            pooled_projections=torch.cat([condition[f"{name}pooled"] for name in names]),
            return_dict=False,
        )[0].float()
        if not guided:
            return predicted
        without, with_text = predicted.chunk(2)
        return without + self.guidance * (with_text - without)

    def decode(self, x0: Tensor, height: int, width: int) -> Tensor:
        """Undo the VAE's scale and shift, decode."""
        vae = self.pipe.vae
        latents = x0 / vae.config.scaling_factor + vae.config.shift_factor
        image: Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return image

    def spread(self, weights: Tensor) -> Tensor:
        """One weight for all channels."""
        return weights[:, None]


@dataclass(frozen=True)
class Pix2Pix:
    """InstructPix2Pix: predicts ε, sees the source's latents beside the noisy ones, guided by text and by image."""

    pipe: Any
    guidance: float = 7.5
    image_guidance: float = 1.5

    prediction: ClassVar[Prediction] = "noise"
    multiple: ClassVar[int] = 8
    from_source: ClassVar[bool] = False

    @property
    def network(self) -> torch.nn.Module:
        """The UNet."""
        return self.pipe.unet

    def encode(self, picture: Picture, instruction: str) -> Condition:
        """Return CLIP's embeddings of the instruction and of an empty one, and the source's latents, unscaled."""
        device = self.pipe.text_encoder.device
        prompt, nothing, _ = self.pipe._encode_prompt(instruction, device, 1, True).chunk(3)
        source = self.pipe.vae.encode(pixels(self.pipe, picture)).latent_dist.mode()
        return {"source": source, "prompt": prompt, "negative_prompt": nothing}

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Channels, rows, columns."""
        return self.pipe.unet.config.out_channels, height // SIDE, width // SIDE

    def _scheduler(self) -> Any:
        """DDIM on the model's own noise, as Stable Diffusion 1.5 configures it: it ends at the first ᾱ, not at 1."""
        fixed = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}
        return DDIMScheduler.from_config(self.pipe.scheduler.config, **fixed)

    def levels(self, steps: int, height: int, width: int) -> Tensor:
        """ᾱ at DDIM's timesteps."""
        scheduler = self._scheduler()
        scheduler.set_timesteps(steps)
        return torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod.reshape(1)])

    def predict(self, x: Tensor, level: Tensor, condition: Condition, height: int, width: int) -> Tensor:
        """Return ε with both guidances; the timestep is that of the level."""
        known = self._scheduler().alphas_cumprod.to(level)
        time = (known - level[:, None]).abs().argmin(1)
        source, prompt, nothing = condition["source"], condition["prompt"], condition["negative_prompt"]
        predicted = self.pipe.unet(
            torch.cat([torch.cat([x] * 3), torch.cat([source, source, torch.zeros_like(source)])], 1),
            torch.cat([time] * 3),
            encoder_hidden_states=torch.cat([prompt, nothing, nothing]),
            return_dict=False,
        )[0].float()
        with_text, with_image, bare = predicted.chunk(3)
        return bare + self.guidance * (with_text - with_image) + self.image_guidance * (with_image - bare)

    def decode(self, x0: Tensor, height: int, width: int) -> Tensor:
        """Undo the VAE's scale, decode."""
        vae = self.pipe.vae
        image: Tensor = vae.decode((x0 / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        return image

    def spread(self, weights: Tensor) -> Tensor:
        """One weight for all channels."""
        return weights[:, None]
