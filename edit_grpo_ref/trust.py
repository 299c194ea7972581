"""How far one update may move the policy, and the loss that moves it: ratios, clipping, KL, for each region by itself.

Pure functions. B is the number of (sample, step) pairs in a batch of an update. With one region that is everywhere the
loss is Flow-GRPO's (arXiv 2505.05470, with the mean over elements that its code takes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edit_grpo_ref.flow import column

Shares = Literal["area", "equal", "given"]


@dataclass(frozen=True)
class Region:
    """One region in a batch of an update."""

    advantage: Tensor
    """`(B,)`, or a map that broadcasts against `(B, *shape)`."""
    weights: Tensor | None = None
    """How much each element belongs to it, broadcastable to `(B, *shape)`; None: all of them, wholly."""
    share: float = 1.0
    """Its part of the loss where shares are `given`."""
    beta: float = 0.0
    """Weight of its divergence from the reference."""


@dataclass(frozen=True)
class Trust:
    """How far one update may move the policy."""

    kind: Literal["clip", "guard", "kl_mask"] = "guard"
    """`clip`: PPO's, on the mean log-ratio (Flow-GRPO). `guard`: the log-ratio is freed of its bias and scaled by std,
    the step's loss divided by |dt| (GRPO-Guard, 2510.22319); epsilon is in units of std. `kl_mask`: no clipping, but a
    term that moves further away from a policy already `threshold` off is left out (Flow-DPPO, 2606.11025)."""
    epsilon: float = 1e-4
    """How far a ratio may be from 1."""
    epsilon_high: float | None = None
    """The same upward, if it differs."""
    size_aware: bool = True
    """Whether epsilon grows as 1/√size of a region, as the noise of its log-ratio does."""
    threshold: float = 1e-5
    """Of `kl_mask`, in nats per element."""


def region_mean(values: Tensor, weights: Tensor | None, factors: Tensor | None = None) -> Tensor:
    """Return the weighted mean of each sample, `(B,)`; 0 where a region is empty.

    A mean over elements, and not a ratio for each of them: the log-ratio of one element is √n times as noisy as the
    mean of n, so that a range that fits the mean would clip every single one.

    Args:
        values: `(B, *shape)`.
        weights: broadcastable to it; None: 1.
        factors: of the values, broadcastable too; small ones cost less here than outside.
    """
    if weights is None:
        return (values if factors is None else values * factors).flatten(1).mean(1)
    scaled = values * (weights if factors is None else weights * factors)
    total = weights.flatten(1).sum(1) * (scaled[0].numel() // weights[0].numel())
    return scaled.flatten(1).sum(1) / torch.where(total > 0, total, 1.0)


def loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    mean: Tensor,
    old_mean: Tensor,
    std: Tensor,
    gap: Tensor,
    regions: Mapping[str, Region],
    shares: Shares = "given",
    trust: Trust = Trust(),
    divergence: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, and what there is to log about each region.

    Args:
        log_prob: of each element `(B, *shape)`, with gradient.
        old_log_prob: at rollout.
        mean: of the transition, with gradient.
        old_mean: at rollout.
        std: `(B,)`.
        gap: |dt| `(B,)`.
        regions: by name.
        shares: by what regions weigh in the sum: the elements they have, equally, or as each says. Always renormalised
            over the regions that a sample has.
        trust: the trust region.
        divergence: from the reference policy for each element, with gradient.

    Returns:
        the loss, and of each region over the samples that have it: `NAME/ratio`, `NAME/log_ratio_std`,
        `NAME/clip_fraction` (share outside the trust region), `NAME/blocked` (share of it without gradient),
        `NAME/moved` (KL from the policy of the rollout, nats per element) and `NAME/kl` (`divergence`).
    """
    safe = column(torch.where(std > 0, std, torch.inf), mean)
    moved = (mean - old_mean) ** 2 / (2 * safe**2)
    change = log_prob - old_log_prob
    if trust.kind == "guard":
        change = (change + moved) * column(std, mean)
    sizes = {name: _size(region.weights, mean) for name, region in regions.items()}
    parts = _parts(regions, shares, sizes)
    total = mean.new_zeros(())
    log: dict[str, Tensor] = {}
    for name, region in regions.items():
        log_ratio = region_mean(change, region.weights)
        ratio = log_ratio.double().exp()  # float32 has no digits left to tell 1 + 1e-7 from 1
        away = region_mean(moved.detach(), region.weights)
        low, high, bounded = _bounds(trust, ratio, std, away, mean[0].numel() / sizes[name][1])
        above, below, own = ratio > high, ratio < low, ratio
        outside = above | below
        dense = region.advantage.ndim > 1
        if dense:
            above, below, own, bounded = (column(value, change) for value in (above, below, own.detach(), bounded))
        blocked = (region.advantage > 0) & above | (region.advantage < 0) & below
        term = -region.advantage * torch.where(blocked, bounded.detach(), own)
        if dense:
            # The region's ratio decides and weighs, each cell has its own gradient: as GSPO-token does for words
            # (2507.18071). Where all cells have one advantage, it is the term above, and so its gradient.
            slope = region_mean(change, region.weights, torch.where(blocked, 0.0, term.detach()).to(change))
            term, blocked = (region_mean(value.to(change), region.weights) for value in (term, blocked))
            term = term + slope - slope.detach()
        if trust.kind == "guard":
            term = term / gap
        total = total + (parts[name] * term).mean().to(total)
        kl = torch.zeros_like(std) if divergence is None else region_mean(divergence, region.weights)
        total = total + region.beta * kl.mean()
        present = (sizes[name][0] > 0).expand_as(std)
        logged = {"ratio": ratio, "clip_fraction": outside, "blocked": blocked, "moved": away, "kl": kl}
        log |= {f"{name}/{key}": _mean_where(present, value) for key, value in logged.items()}
        spread = _mean_where(present, log_ratio**2) - _mean_where(present, log_ratio) ** 2
        log[f"{name}/log_ratio_std"] = spread.clamp_min(0).sqrt()
    return total, log


def _size(weights: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the elements of a region in each sample, and how many of weight 1 would average noise out as well."""
    if weights is None:
        whole = like.new_full((1,), like[0].numel())
        return whole, whole
    repeats = like[0].numel() // weights[0].numel()
    total, squares = weights.flatten(1).sum(1), (weights**2).flatten(1).sum(1)
    return total * repeats, torch.where(total > 0, total**2 / squares * repeats, torch.inf)


def parts_of(
    weights: Mapping[str, Tensor | None], shares: Mapping[str, float], kind: Shares, like: Tensor
) -> dict[str, Tensor]:
    """Return what each region weighs in the loss of each sample, `(B,)` or `(1,)`; of a sample, the parts sum to 1.

    Args:
        weights: of the regions' elements, as in `Region`.
        shares: by region, for `given`.
        kind: by what regions weigh.
        like: latents `(B, *shape)`.
    """
    regions = {name: Region(like.new_zeros(()), own, shares[name]) for name, own in weights.items()}
    return _parts(regions, kind, {name: _size(own, like) for name, own in weights.items()})


def _parts(
    regions: Mapping[str, Region], shares: Shares, sizes: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return what each region weighs in the loss of each sample; of a sample, the parts sum to 1."""
    raw = {}
    for name, region in regions.items():
        size = sizes[name][0]
        raw[name] = size if shares == "area" else (size > 0) * (region.share if shares == "given" else 1.0)
    whole = sum(raw.values(), start=torch.zeros(()))
    return {name: part / torch.where(whole > 0, whole, 1.0) for name, part in raw.items()}


def _bounds(trust: Trust, ratio: Tensor, std: Tensor, away: Tensor, scarcity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least and the largest ratio that teaches on both sides, and the ratio kept within them."""
    if trust.kind == "kl_mask":
        free = torch.where(away > trust.threshold, 0.0, torch.inf)
        return 1 - free, 1 + free, ratio
    unit = torch.sqrt(scarcity) if trust.size_aware else torch.ones_like(scarcity)
    if trust.kind == "guard":
        unit = unit * std
    low = 1 - trust.epsilon * unit.double()
    high = 1 + (trust.epsilon if trust.epsilon_high is None else trust.epsilon_high) * unit.double()
    return low, high, torch.minimum(torch.maximum(ratio, low), high)


def _mean_where(present: Tensor, values: Tensor) -> Tensor:
    return torch.where(present, values.detach().float(), 0.0).sum() / present.sum().clamp_min(1)
