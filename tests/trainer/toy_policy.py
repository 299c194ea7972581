"""A policy of 400 parameters on 8×8 latents: everything the trainer needs of one, in a few milliseconds a step."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

STD = 0.2


@dataclass(frozen=True, eq=False)
class Toy:
    """Draws from N(source + network(source), 0.2²), of which it knows the exact velocity; latents are 8×8.

    Args:
        spread_out: 0 sees and changes each cell by itself, 1 its neighbours too, as real editors do.
    """

    spread_out: int = 1
    prediction: str = "velocity"
    mask_access: str = "none"

    @property
    def spec(self):
        options = f"spread_out={self.spread_out},prediction={self.prediction},mask_access={self.mask_access}"
        return f"{__file__}:Toy:{options}"

    @cached_property
    def networks(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            size = 2 * self.spread_out + 1
            own, original = (
                nn.Sequential(nn.Conv2d(4, 8, size, padding="same"), nn.SiLU(), nn.Conv2d(8, 3, size, padding="same"))
                for _ in range(2)
            )
            with torch.no_grad():
                own[2].weight *= 0.1
                own[2].bias[:] = torch.tensor([0.2, -0.1, 0.15])  # a tint everywhere: something to unlearn
        original = nn.Sequential(
            nn.Conv2d(4, 8, size, padding="same"), nn.SiLU(), nn.Conv2d(8, 3, size, padding="same")
        )
        original.load_state_dict(own.state_dict())
        return {"own": own, "original": original.requires_grad_(False), "used": "own"}

    def encode(self, requests):
        pictures = torch.from_numpy(np.stack([request.source for request in requests]))
        small = nn.functional.adaptive_avg_pool2d(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1, 8)
        return {"source": small, "picture": pictures}

    def shape(self, condition):
        return (3, 8, 8)

    def levels(self, steps, condition):
        falling = torch.linspace(1.0, 0.0, steps + 1)
        return falling if self.prediction == "velocity" else 1 - 0.99 * falling

    def start(self, noise, level, condition):
        return noise

    def predict(self, x, level, condition):
        source = condition["source"]
        level = level[:, None, None, None]
        known = torch.cat([source, level.expand(-1, 1, 8, 8)], dim=1)
        middle = source + self.networks[self.networks["used"]](known)
        signal, noise = (1 - level, level) if self.prediction == "velocity" else (level.sqrt(), (1 - level).sqrt())
        gain = signal * STD**2 / (signal**2 * STD**2 + noise**2)
        x0 = middle + gain * (x - signal * middle)
        return (x - x0) / level if self.prediction == "velocity" else (x - signal * x0) / noise.clamp_min(1e-2)

    def decode(self, x0, condition):
        pictures = condition["picture"]
        change = nn.functional.interpolate((x0 - condition["source"]) * 127.5, pictures.shape[1:3])
        edited = (pictures + change.permute(0, 2, 3, 1)).round().clamp(0, 255).to(torch.uint8)
        return list(edited.numpy())

    def grid(self, condition):
        return (8, 8)

    def spread(self, weights):
        return weights[:, None]

    def trainable(self):
        return dict(self.networks["own"].named_parameters())

    @contextmanager
    def reference(self):
        before, self.networks["used"] = self.networks["used"], "original"
        try:
            yield
        finally:
            self.networks["used"] = before
