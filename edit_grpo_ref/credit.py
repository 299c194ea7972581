"""Which part of an image answers for which reward: weights of regions, and advantages for them. Pure functions.

True = edit in every mask. P is the number of prompts, G that of samples of each. Sources of the formulas are at their
functions; where no paper is named, the choice is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from edit_grpo_ref.flow import derived

Mode = Literal["global_sum", "advantage_sum", "region", "dense"]
Std = Literal["group_biased", "group_unbiased", "batch", "none"]

# -------------------------------------------------------------------------------------------------- regions


def region_weights(mask: Tensor, grid: tuple[int, int], erode: int = 1, band: float = 0.2) -> tuple[Tensor, Tensor]:
    """Bring masks onto the grid of a policy.

    Each cell has the share w of its area that the mask covers. Cells wholly inside and more than `erode` cells from
    the border (where w crosses ½) are the edit's alone, those wholly outside and as far away the keep region's; the
    rest is a band that counts `band` · w for the edit and `band` · (1 − w) for the keep region: a VAE's decoder smears
    a cell over its neighbours. CoCoEdit (2602.14068) has the ring, radius 2 and weight 0.2; with radius 0 and weight 1
    the weights are w and 1 − w.

    Args:
        mask: `(B, H, W)`, bool or [0, 1].
        grid: rows and columns; they need not divide H and W.
        erode: radius in cells.
        band: weight of the band.

    Returns:
        edit and keep, each float32 `(B, rows, columns)`.
    """
    height, width = mask.shape[-2:]
    share = _overlap(grid[0], height).to(mask.device) @ mask.double() @ _overlap(grid[1], width).to(mask.device).T
    inside = share >= 0.5
    edit = _eroded(inside, erode) & (share > 1 - 1e-6)
    keep = _eroded(~inside, erode) & (share < 1e-6)
    border = band * (~edit & ~keep)
    return (edit + border * share).float(), (keep + border * (1 - share)).float()


def _overlap(cells: int, pixels: int) -> Tensor:
    """Return the share of each cell that each pixel covers, `(cells, pixels)`: exact where pixels straddle cells."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * pixels / cells
    start = torch.arange(pixels, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], start + 1) - torch.maximum(edges[:-1, None], start)
    return covered.clamp_min(0) * cells / pixels


def _eroded(region: Tensor, radius: int) -> Tensor:
    """Take `radius` cells off a region `(B, h, w)`; the image's own edge is no border."""
    return max_pool2d((~region)[:, None].float(), 2 * radius + 1, stride=1, padding=radius)[:, 0] == 0


def shuffled(prompts: int, seed: int, update: int) -> Tensor:
    """Return for each prompt whose masks it gets in the placebo, int64 `(P,)`: at random, but never its own."""
    if prompts < 2:
        raise ValueError("the placebo gives each prompt the masks of another: at least 2 prompts are needed")
    order = torch.randperm(prompts, generator=torch.Generator().manual_seed(derived(seed, "placebo", update)))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


# ----------------------------------------------------------------------------------------------- advantages


@dataclass(frozen=True)
class Standard:
    """How rewards become advantages."""

    std: Std = "group_biased"
    """By what the difference from the group's mean is divided: the group's standard deviation (+ 1e-4, Flow-GRPO per
    prompt), the unbiased one (+ 1e-8, DanceGRPO), that of the whole batch (+ 1e-4, Flow-GRPO's default), or nothing."""
    min_std: float = 0.0
    """A group that differs by no more than this teaches nothing: noise must not be blown up to unit advantages."""
    max_mean: float = math.inf
    """A group whose mean is at least this is saturated and teaches nothing (CoCoEdit, Edit-R1: 0.9)."""
    clip: float = 5.0
    """Largest absolute advantage (Flow-GRPO)."""


def advantages(rewards: Tensor, valid: Tensor, standard: Standard, offset: float | None = None) -> Tensor:
    """Return how much better each sample is than its group.

    Sums run over sorted values, so that the result does not depend on the order of samples or prompts by a single bit.

    Args:
        rewards: `(P, G)`, or maps `(P, G, h, w)` of which each cell is a group of its own.
        valid: bool `(P, G)`; the others failed: their advantage is 0, and they are not in the statistics.
        standard: what is divided by, filters, clipping.
        offset: added to the std; by default that of the source of `standard.std`.

    Returns:
        float32, of the shape of the rewards.
    """
    valid = valid.reshape(*valid.shape, *[1] * (rewards.ndim - 2)).expand_as(rewards)
    rewards = torch.where(valid, rewards, torch.nan).double()
    mean, std, alive = _statistics(rewards)
    alive &= (std > standard.min_std) & (mean < standard.max_mean)
    if standard.std == "none":
        divisor = torch.ones_like(std)
    elif standard.std == "group_unbiased":
        count = valid.sum(1, keepdim=True)
        divisor = std * torch.sqrt(count / (count - 1).clamp_min(1)) + (1e-8 if offset is None else offset)
    else:
        pooled = rewards.reshape(1, -1, *rewards.shape[2:])
        divisor = (_statistics(pooled)[1] if standard.std == "batch" else std) + (1e-4 if offset is None else offset)
    scaled = ((rewards - mean) / divisor).clamp(-standard.clip, standard.clip)
    return torch.where(valid & alive, scaled, 0.0).float()


def _statistics(rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased std over dimension 1 without NaN, and whether at least two values differ."""
    values = rewards.sort(dim=1).values  # NaN sorts last
    mean = values.nanmean(1, keepdim=True)
    std = (values - mean).square().nanmean(1, keepdim=True).sqrt()
    return mean, std, (values > values[:, :1]).any(1, keepdim=True)


def assign(
    mode: Mode,
    edit: Tensor,
    keep: Tensor,
    valid: Tensor,
    edit_weight: float = 0.5,
    kappa: float = 0.0,
    edit_standard: Standard = Standard(),
    keep_standard: Standard = Standard(),
    maps: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the advantages of each region; those of region `all` are for every element alike.

    - `global_sum`: one reward, the weighted sum, one normalisation (Flow-GRPO on several rewards).
    - `advantage_sum`: each reward normalised, then the weighted sum (MixGRPO `advantage_aggr`).
    - `region`: each reward normalised, each for its own region (Edit-GRPO).
    - `dense`: as `region`, but where `maps` has a region, each of its cells is normalised by itself, on what happened
      in that cell (+ 1e-3 to the std).

    Args:
        mode: which of them.
        edit: rewards of the edit `(P, G)`.
        keep: rewards of preservation `(P, G)`.
        valid: bool `(P, G)`.
        edit_weight: λ in λ · edit + (1 − λ) · keep, for the sums.
        kappa: share of the other region's advantage that a region is given on top: 0 decouples, 1 is the sum
            everywhere. What leaks between regions makes decoupling biased, the sum makes it noisy.
        edit_standard: how the edit's rewards, and sums, are normalised.
        keep_standard: the same of preservation.
        maps: reward maps `(P, G, h, w)` by region, on the policy's grid.

    Returns:
        `all`, or `edit` and `keep`; each `(P, G)` or a map.
    """
    if mode == "global_sum":
        return {"all": advantages(edit_weight * edit + (1 - edit_weight) * keep, valid, edit_standard)}
    found = {"edit": advantages(edit, valid, edit_standard), "keep": advantages(keep, valid, keep_standard)}
    if mode == "advantage_sum":
        return {"all": edit_weight * found["edit"] + (1 - edit_weight) * found["keep"]}
    if mode == "dense":
        for name, values in (maps or {}).items():
            found[name] = advantages(values, valid, edit_standard if name == "edit" else keep_standard, offset=1e-3)
    if kappa == 0:
        return found
    dimensions = max(value.ndim for value in found.values())
    own, other = (found[name].reshape(*found[name].shape, *[1] * (dimensions - found[name].ndim)) for name in found)
    return {"edit": own + kappa * other, "keep": other + kappa * own}


def by_size(advantages: Tensor, weights: Tensor) -> Tensor:
    """Scale a region's advantages by its size in each prompt, relative to the mean over prompts.

    A region's log-ratio is a mean over its cells. Where every prompt counts alike, a mask of few cells has the loudest
    gradient, and the noisiest: the variance of a mean of n grows as 1/n. Scaled, every cell counts alike.

    Args:
        advantages: `(P, G)` or `(P, G, h, w)`.
        weights: of the region's cells `(P, h, w)`.

    Returns:
        of the shape of the advantages; unchanged where all sizes are equal, 0 where the region is empty.
    """
    size = weights.sum((1, 2))
    factor = torch.where(size > 0, size / size.mean().clamp_min(1e-12), 0.0)
    return advantages * factor.reshape(-1, *[1] * (advantages.ndim - 1)).to(advantages)
