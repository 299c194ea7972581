"""Latents as sequences of tokens: one order for every policy that packs, so that its bugs show on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pack(latents: torch.Tensor, patch: int) -> torch.Tensor:
    """Cut latents into square patches, one token each.

    Args:
        latents: `(B, C, H, W)`, both sides multiples of `patch`.
        patch: side of a patch: 4 pixels for `tiny`, 2 latents for FLUX and Qwen-Image.

    Returns:
        `(B, H/patch · W/patch, C · patch²)`: patches row by row; within a token channels first, then rows and columns
        of the patch (diffusers' `FluxPipeline._pack_latents` has the same order).
    """
    batch, channels, height, width = latents.shape
    cut = latents.reshape(batch, channels, height // patch, patch, width // patch, patch)
    tokens: torch.Tensor = cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)
    return tokens


def unpack(tokens: torch.Tensor, patch: int, height: int, width: int) -> torch.Tensor:
    """Undo `pack`: `(B, H/patch · W/patch, C · patch²)` to `(B, C, height, width)`."""
    batch = tokens.shape[0]
    cut = tokens.reshape(batch, height // patch, width // patch, -1, patch, patch)
    latents: torch.Tensor = cut.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, height, width)
    return latents


def pack_weights(weights: torch.Tensor, patch: int, channels: int) -> torch.Tensor:
    """Pack one weight a latent position as `pack` packs the latents themselves.

    Args:
        weights: `(B, H, W)`.
        patch: as in `pack`.
        channels: of the latents; every channel of a position has its weight.

    Returns:
        `(B, H/patch · W/patch, channels · patch²)`, so that a weighted mean over packed latents is that over latents.
    """
    return pack(weights[:, None].expand(-1, channels, -1, -1), patch)
