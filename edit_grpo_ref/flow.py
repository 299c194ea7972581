"""One step of a sampler as a Gaussian, its log-probability, its divergence from another: pure functions.

Time runs as in the flow-matching papers, x_σ = (1 − σ) x0 + σ ε with velocity v = ε − x0, and σ falls from 1 to 0; a
DDIM step is in terms of ᾱ, which rises. Every step is x′ ~ N(mean, std²) with a mean that is affine in x and in the
prediction. `transition` is the only place that knows std: the rollout, the log-probability, KL and trust region of the
loss all take what it returns, for the trainers before this one that computed it twice differed from themselves.

Nothing here reduces over elements: which of them count for what is the business of `credit`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Sampler = Literal["ode", "flow_sde", "dance_sde", "cps", "ddim"]
Divergence = Literal["exact", "flow_grpo", "velocity"]
Window = Literal["half", "all", "random", "moving", "dance"]
Level: TypeAlias = "float | Tensor"
"""A level for the whole batch, or one for each of it, `(B,)`."""


# ------------------------------------------------------------------------------------------------ one step


def transition(
    kind: Sampler, x: Tensor, prediction: Tensor, level: Level, next_level: Level, first_level: Level, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the Gaussian from which the next latent is drawn.

    - `ode`: Euler, mean x + v dt with dt = σ′ − σ < 0, std 0.
    - `flow_sde`: Flow-GRPO (arXiv 2505.05470; flow_grpo `sd3_sde_with_logprob.py`): std g √−dt with
      g = a √(σ / (1 − σ)); at σ = 1, where that is infinite, the second level takes the place of σ in g.
    - `dance_sde`: DanceGRPO (2505.07818; `flux_step` in its `train_grpo_flux.py`): the same with g = η at every level.
    - `cps`: FlowCPS (2509.05952): std σ′ sin(a π / 2), mean (1 − σ′) x̂0 + √(σ′² − std²) ε̂. Its marginals are not the
      ODE's, but its noise always has the size that the level says, so none is left at the end.
    - `ddim`: DDIM (2010.02502, equations 12 and 16) as DDPO uses it (2305.13301), η = 1 being ancestral sampling.

    Args:
        kind: which sampler.
        x: the latent `(B, *shape)`; computation is in float32, or float64 where x is.
        prediction: velocity, or ε of `ddim`, at x; same shape.
        level: σ, or ᾱ of `ddim`, of x.
        next_level: that of the next latent.
        first_level: the second level of the rollout, `levels[1]`; only `flow_sde` looks at it, and only at σ = 1.
        scale: a or η, how much noise; 0 makes any sampler deterministic.

    Returns:
        mean `(B, *shape)` and std `(B,)`; std 0 is a deterministic step.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    now, after, first = (
        torch.as_tensor(value, dtype=torch.float64).cpu() for value in (level, next_level, first_level)
    )
    if kind == "ddim":
        std = scale * torch.sqrt((1 - after) / (1 - now) * (1 - now / after))
        of_x = torch.sqrt(after / now)
        of_prediction = torch.sqrt((1 - after - std**2).clamp_min(0)) - of_x * torch.sqrt(1 - now)
    elif kind == "cps":
        std = after * math.sin(scale * math.pi / 2)
        noise_kept = torch.sqrt((after**2 - std**2).clamp_min(0))
        of_x = 1 - after + noise_kept
        of_prediction = noise_kept * (1 - now) - (1 - after) * now
    elif kind in ("ode", "flow_sde", "dance_sde"):
        diffusion = torch.full_like(now, 0.0 if kind == "ode" else scale)
        if kind == "flow_sde":
            diffusion = scale * torch.sqrt(now / (1 - torch.where(now < 1, now, first)))
        dt = after - now
        drift = diffusion**2 / (2 * now)
        std = diffusion * torch.sqrt(-dt)
        of_x = 1 + drift * dt
        of_prediction = (1 + drift * (1 - now)) * dt
    else:
        raise ValueError(f"sampler {kind!r}, expected ode, flow_sde, dance_sde, cps or ddim")
    mean = column(of_x, x).to(dtype) * x.to(dtype) + column(of_prediction, x).to(dtype) * prediction.to(dtype)
    return mean, std.to(x.device, dtype).expand(len(x))


def draw(mean: Tensor, std: Tensor, noise: Tensor, store: torch.dtype = torch.float32) -> Tensor:
    """Return the next latent as it will be read back from storage.

    Rounding comes before the log-probability and the next prediction: with the unrounded value in either, the ratio of
    an unchanged policy is not 1 (Flow-Factory #61).

    Args:
        mean: `(B, *shape)`.
        std: `(B,)`.
        noise: standard normal `(B, *shape)`.
        store: in what precision latents are kept between rollout and update.
    """
    return (mean + column(std, mean) * noise.to(mean)).to(store).to(mean.dtype)


def log_prob(sample: Tensor, mean: Tensor, std: Tensor, unscaled: bool = False) -> Tensor:
    """Return the log-density of each element of a sample, `(B, *shape)`; no gradient reaches the sample.

    A deterministic step (std 0) has log-probability 0 and teaches nothing.

    Args:
        sample: the next latent `(B, *shape)`.
        mean: `(B, *shape)`.
        std: `(B,)`.
        unscaled: −(x′ − mean)² alone, as flow_grpo does for CPS; a clip range must then be tuned anew.
    """
    squared = (sample.detach() - mean) ** 2
    if unscaled:
        return -squared
    safe = column(torch.where(std > 0, std, torch.ones_like(std)), mean)
    density = -squared / (2 * safe**2) - torch.log(safe) - 0.5 * math.log(2 * math.pi)
    return torch.where(column(std, mean) > 0, density, torch.zeros_like(density))


def divergence(
    form: Divergence,
    mean: Tensor,
    reference_mean: Tensor,
    std: Tensor,
    gap: Tensor,
    prediction: Tensor,
    reference_prediction: Tensor,
) -> Tensor:
    """Return how far a step is from that of the reference policy, for each element, `(B, *shape)`.

    - `exact`: KL of two Gaussians of equal std, (mean − mean_ref)² / (2 std²).
    - `flow_grpo`: the same with g² = std² / |dt| in the place of std², hence |dt| times the exact one. Deliberate
      there (flow_grpo #22): late steps weigh more, and β has to be larger.
    - `velocity`: (v − v_ref)², as DiffusionNFT has it; knows nothing of the sampler.

    Args:
        form: which of them.
        mean: of the policy, with gradient.
        reference_mean: of the reference, from the same latent.
        std: `(B,)`, of both.
        gap: |σ′ − σ|, `(B,)`.
        prediction: of the policy.
        reference_prediction: of the reference.
    """
    if form == "velocity":
        return (prediction - reference_prediction.detach()) ** 2
    safe = torch.where(std > 0, std, torch.full_like(std, math.inf))
    factor = gap if form == "flow_grpo" else torch.ones_like(gap)
    return (mean - reference_mean.detach()) ** 2 * column(factor / (2 * safe**2), mean)


def column(values: Tensor, like: Tensor) -> Tensor:
    """Return values `(B,)` or `()` with as many dimensions as `like` has, on its device."""
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.device)


# --------------------------------------------------------------------------------------------------- noise


def noise(shape: Sequence[int], seed: int, scenario_id: str, sample: int, step: int) -> Tensor:
    """Return the standard normal noise of one step of one sample, float32 on the CPU.

    It depends on its arguments alone: not on the rank, the batch, the order or the machine's generator. Samples of a
    group can therefore not coincide across ranks (flow_grpo #137), and a rollout can be repeated by itself.

    Args:
        shape: of one latent.
        seed: of the training run; an update's number may be mixed in by `derived`.
        scenario_id: which request.
        sample: which sample of its group; −1 for what the whole group shares.
        step: which step; −1 for the noise from which the rollout starts.
    """
    generator = torch.Generator("cpu").manual_seed(derived(seed, scenario_id, sample, step))
    return torch.randn(tuple(shape), generator=generator)


def derived(*parts: int | str) -> int:
    """Return a seed, 63 bits of the SHA-256 of what it is for."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def localise(own: Tensor, shared: Tensor, weight: Tensor, inside: float = 1.0, outside: float = 0.0) -> Tensor:
    """Return noise in which a group differs inside the mask and agrees outside it; still standard normal everywhere.

    After the region-decoupled perturbation of RC-GRPO-Editing (2604.09386; the formula is ours, from its description):
    √(1 − k²) · shared + k · own, with k going from `outside` to `inside` as the weight does from 0 to 1.

    Args:
        own: noise of each sample `(B, *shape)`.
        shared: noise of its group, same shape.
        weight: share of the edit in each element, in [0, 1]; broadcastable.
        inside: k where the weight is 1.
        outside: k where it is 0.
    """
    k = outside + (inside - outside) * weight
    return torch.sqrt(1 - k**2) * shared + k * own


# -------------------------------------------------------------------------------------------------- windows


def window(
    kind: Window, steps: int, update: int = 0, seed: int = 0, size: int = 2, interval: int = 25, share: float = 0.6
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which steps of a rollout draw noise, and which of those are trained on.

    The last step is always deterministic: noise drawn there stays in the image, and a reward for preservation would
    measure the sampler (at 6 steps of FLUX Kontext, 0.37 standard deviations of the latent).

    - `half` (default): the first half of the steps, where noise is still undone by later ones.
    - `all`: all but the last (Flow-GRPO with its window size 0).
    - `random`: `size` neighbours, placed anew at each update within the first half (Flow-GRPO-Fast).
    - `moving`: `size` neighbours, moved on by one each `interval` updates and back to the start (MixGRPO, 2507.21802).
    - `dance`: noise in all but the last, a random `share` of them trained (DanceGRPO).

    Args:
        kind: which of them.
        steps: of the rollout, at least 2.
        update: the number of the update.
        seed: of the training run.
        size: of the window.
        interval: updates between two moves.
        share: of the stochastic steps.
    """
    if steps < 2:
        raise ValueError(f"{steps} step of which the last is deterministic leaves nothing to learn from: at least 2")
    noisy, half = steps - 1, max(1, steps // 2)
    chance = random.Random(derived(seed, "window", update))
    if kind == "dance":
        trained = sorted(chance.sample(range(noisy), max(1, int(noisy * share))))
        return tuple(range(noisy)), tuple(trained)
    start, stop = 0, half
    if kind == "all":
        stop = noisy
    elif kind == "random":
        start = chance.randint(0, max(0, half - size))
        stop = min(start + size, noisy)
    elif kind == "moving":
        start = update // interval % max(1, noisy - size + 1)
        stop = min(start + size, noisy)
    elif kind != "half":
        raise ValueError(f"window {kind!r}, expected half, all, random, moving or dance")
    return tuple(range(start, stop)), tuple(range(start, stop))
