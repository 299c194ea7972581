"""The network of the embedded policy: two convolutions, two transformer blocks at half resolution, one convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
"""Pixels that the network sees, a side."""
PATCH = 4
"""Pixels of a token, a side."""
GRID = SIDE // PATCH
TOKEN = 3 * PATCH * PATCH
WORDS = 24
"""Words of an instruction that are read; those of `grpo_scenes@1` have 16 at most."""
PADDING, UNKNOWN = 0, 1
"""Words by number: none, and one that is not in the vocabulary."""
_HEADS = 4
_GATE_START = -3.0
"""Before training, a twentieth of every pixel is new."""


@dataclass(frozen=True)
class Architecture:
    """Everything that decides the shapes of the weights."""

    vocabulary: int
    """Words, with `PADDING` and `UNKNOWN`."""
    width: int = 48
    """Channels at 16×16; twice as many at 8×8."""
    blocks: int = 2
    """Transformer blocks."""
    mask: bool = False
    """Whether the network is shown the mask: an ablation, since editors in the wild are not."""


class Attention(nn.Module):
    """Multi-head attention of `(B, N, width)` to `(B, M, context)`."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return what `x` finds in `context` where it is `allowed` to look, `(B, N, width)`."""
        batch, count, width = x.shape
        query = self.query(x).view(batch, count, _HEADS, -1).transpose(1, 2)
        key, value = self.key_value(context).view(batch, context.shape[1], 2, _HEADS, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        attended: Tensor = self.out(found.transpose(1, 2).reshape(batch, count, width))
        return attended


class Reader(nn.Module):
    """Words to vectors: an embedding and one layer of attention, so that words know which noun they belong to."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(WORDS, width))
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.final = nn.LayerNorm(width)

    def forward(self, words: Tensor, allowed: Tensor) -> Tensor:
        """Return `(B, WORDS, width)` for words by number `(B, WORDS)`."""
        x = self.embedding(words) + self.position
        normed = self.norm(x)
        x = x + self.attention(normed, normed, allowed)
        read: Tensor = self.final(x + self.feed(x))
        return read


class Convolution(nn.Module):
    """A residual 3×3 convolution of `(B, C, H, W)`, scaled and shifted by what is asked and how noisy `x` is."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.modulate = nn.Linear(state, 2 * width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Return `(B, C, H, W)`; `state` is `(B, state)`."""
        scale, shift = self.modulate(state)[:, :, None, None].chunk(2, dim=1)
        change: Tensor = self.conv(functional.silu(self.norm(x) * (1 + scale) + shift))
        return x + change


class Block(nn.Module):
    """A transformer block of `(B, N, width)`: tokens see each other, then the words."""

    def __init__(self, width: int, words: int, state: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.modulate = nn.Linear(state, 6 * width)
        self.look = Attention(width, width)
        self.read = Attention(width, words)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, words: Tensor, allowed: Tensor, state: Tensor) -> Tensor:
        """Return `(B, N, width)` for words `(B, WORDS, words)` and state `(B, state)`."""
        scales = self.modulate(state)[:, None].chunk(6, dim=2)
        normed = self.norms[0](x) * (1 + scales[0]) + scales[1]
        x = x + self.look(normed, normed)
        x = x + self.read(self.norms[1](x) * (1 + scales[2]) + scales[3], words, allowed)
        fed: Tensor = self.feed(self.norms[2](x) * (1 + scales[4]) + scales[5])
        return x + fed


class Network(nn.Module):
    """Says which picture a noisy one is, given the source and the instruction.

    The answer is `source + gate · (content − source)`: a picture and how much of it shows, pixel by pixel. A network
    that does nothing leaves the source as it is.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, state = architecture.width, 2 * architecture.width
        self.reader = Reader(architecture.vocabulary, width)
        self.noise = nn.Sequential(nn.Linear(64, state), nn.SiLU(), nn.Linear(state, state))
        self.summary = nn.Linear(width, state)
        seen = 2 * TOKEN + (PATCH * PATCH if architecture.mask else 0)
        self.stem = nn.Conv2d(seen, width, 1)
        self.before = nn.ModuleList([Convolution(width, state), Convolution(width, state)])
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(GRID * GRID // 4, 2 * width))
        self.blocks = nn.ModuleList(Block(2 * width, width, state) for _ in range(architecture.blocks))
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.after = Convolution(width, state)
        last = nn.Conv2d(width, TOKEN + PATCH * PATCH, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        with torch.no_grad():
            last.bias[:TOKEN] = 0.0
            last.bias[TOKEN:] = _GATE_START
        self.head = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), last)

    def forward(self, x: Tensor, level: Tensor, source: Tensor, words: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the residual over the source.

        Args:
            x: packed noisy picture, `(B, 256, 48)`, about −1 to 1.
            level: σ, `(B,)`.
            source: packed source, `(B, 256, 48)`, −1 to 1.
            words: `int64 (B, WORDS)`, padded by `PADDING`.
            mask: packed mask, `(B, 256, 16)`, if the architecture has one.

        Returns:
            `(B, 256, 48)`.
        """
        known = (words != PADDING).float()
        allowed = (words != PADDING)[:, None, None]
        read = self.reader(words, allowed)
        summary = (read * known[..., None]).sum(1) / known.sum(1, keepdim=True).clamp(min=1)
        state = functional.silu(self.noise(_waves(level)) + self.summary(summary))
        seen = torch.cat([x, source] if mask is None else [x, source, mask], dim=2)
        wide = self.stem(_as_grid(seen, GRID))
        for block in self.before:
            wide = block(wide, state)
        deep = _as_tokens(self.down(wide)) + self.position
        for block in self.blocks:
            deep = block(deep, read, allowed, state)
        raised = functional.pixel_shuffle(self.up(_as_grid(deep, GRID // 2)), 2)
        answer = _as_tokens(self.head(self.after(wide + raised, state)))
        content, gate = answer.split([TOKEN, PATCH * PATCH], dim=2)
        residual: Tensor = torch.sigmoid(gate).repeat(1, 1, 3) * (content - source)
        return residual


def _waves(level: Tensor) -> Tensor:
    """Encode σ `(B,)` by cosines and sines of 32 frequencies, `(B, 64)`."""
    frequencies = torch.exp(torch.linspace(0.0, math.log(200.0), 32, device=level.device))
    phases = level[:, None] * frequencies
    return torch.cat([phases.cos(), phases.sin()], dim=1)


def _as_grid(tokens: Tensor, side: int) -> Tensor:
    """`(B, side², C)` to `(B, C, side, side)`, which in memory is channels-last already."""
    return tokens.view(tokens.shape[0], side, side, -1).permute(0, 3, 1, 2)


def _as_tokens(grid: Tensor) -> Tensor:
    """`(B, C, side, side)` to `(B, side², C)`."""
    return grid.permute(0, 2, 3, 1).reshape(grid.shape[0], -1, grid.shape[1])
