"""How a family of diffusers' editors encodes a request, predicts one step and decodes: what its pipeline's loop does.

Never a pipeline's `__call__`: that draws noise of its own and keeps no probabilities. Each family is held to its
pipeline by a test that runs both. Sides are in pixels; a family's `multiple` divides them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift
from PIL.Image import Image as Picture
from torch import Tensor

from edit_grpo_ref.policies import Condition, Prediction

SIDE = 8
"""Pixels that a latent stands for in each direction."""


class Family(Protocol):
    """What differs between families."""

    prediction: ClassVar[Prediction]
    multiple: ClassVar[int]
    from_source: ClassVar[bool]
    """Whether a rollout starts from the noised source (img2img) and not from noise."""

    @property
    def network(self) -> torch.nn.Module:
        """What is trained."""

    def encode(self, picture: Picture, instruction: str) -> Condition:
        """Return what the network is told of one request, batch 1; `picture` has sides that `multiple` divides."""

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one latent."""

    def levels(self, steps: int, height: int, width: int) -> Tensor:
        """Return `steps + 1` levels, by the scheduler's own rule."""

    def predict(self, x: Tensor, level: Tensor, condition: Condition, height: int, width: int) -> Tensor:
        """Return the prediction, guidance included; `x` is in the network's dtype."""

    def decode(self, x0: Tensor, height: int, width: int) -> Tensor:
        """Return images `(B, 3, height, width)` in [−1, 1]."""

    def spread(self, weights: Tensor) -> Tensor:
        """Bring weights `(B, height/8, width/8)` to the latent's elements."""


def shifted_levels(scheduler: Any, steps: int, tokens: int) -> Tensor:
    """Return σ of a rollout with the shift that the scheduler makes for a sequence of so many tokens."""
    known = ("base_image_seq_len", 256), ("max_image_seq_len", 4096), ("base_shift", 0.5), ("max_shift", 1.15)
    mu = calculate_shift(tokens, *(scheduler.config.get(name, default) for name, default in known))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    levels: Tensor = scheduler.sigmas.float().cpu().clone()
    return levels


def pixels(pipe: Any, picture: Picture) -> Tensor:
    """Return a picture as the VAE takes it: `(1, 3, H, W)` in [−1, 1]."""
    prepared: Tensor = pipe.image_processor.preprocess(picture).to(pipe.vae.device, pipe.vae.dtype)
    return prepared
