"""DiffusionNFT for image editors, with CoCoEdit's hinges or with credit by region: the rivals of another family.

    edit-grpo-ref train-nft --credit advantage_sum --weight 0.4 --output-dir runs/nft
    edit-grpo-ref train-nft --credit advantage_sum --weight 0.4 --hinge-keep 0.02 --hinge-edit 0.02 --erode 2 --band 0.2
    edit-grpo-ref train-nft --credit region --weight 0.1

Nothing is sampled with noise and no transition is replayed: finished samples are noised again, and the policy learns to
predict them better or worse. A step: roll out by the ODE with the old policy; score; turn advantages into r ∈ [0, 1];
at some levels t of the rollout, x_t = (1 − t) x0 + t ε, and with v⁺ = (1 − β) v_old + β v, v⁻ = (1 + β) v_old − β v,

    loss = r ‖x̂0⁺ − x0‖² / w⁺ + (1 − r) ‖x̂0⁻ − x0‖² / w⁻,    x̂0^± = x_t − t v^±,    w^± = mean |x̂0^± − x0|

(DiffusionNFT, arXiv 2509.16117; `scripts/train_nft_sd3.py`). With β = 1 and the old policy up to date, the gradient
for v is that of (2r − 1) times flow matching. Region-NFT (ours) has an r for each region, or, dense, for each cell, and
weighs errors there; CoCoEdit (2602.14068) keeps one r and adds hinges in the latents: the positive policy must not
leave the source where it is kept, the negative one must leave it where it is edited.

Rollouts, rewards and advantages are those of `train`; left out is what it leaves out, and every sampler but the ODE.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edit_grpo_ref import credit, flow
from edit_grpo_ref.config import NftConfig
from edit_grpo_ref.log import Clock
from edit_grpo_ref.policies import Policy
from edit_grpo_ref.rollout import Sampling
from edit_grpo_ref.session import Session, open_session
from edit_grpo_ref.train import Batch, advantages_of, by_size, cell_weights, dense_maps, rewards_of, roll_out, summary
from edit_grpo_ref.trust import parts_of, region_mean
from edit_grpo_ref.watch import using
from editbench.types import EditbenchError


@dataclass(frozen=True)
class Part:
    """One region of a batch."""

    optimality: Tensor
    """r in [0, 1], `(B,)` or a map that broadcasts against `(B, *shape)`: ½ teaches nothing."""
    weights: Tensor | None
    """How much each element belongs to the region, broadcastable to `(B, *shape)`; None: all of them."""
    share: Tensor
    """Of the region in each sample's loss, `(B,)`."""


def optimality(advantages: Tensor, clip: float) -> Tensor:
    """Return r = clip(A / (2 clip) + ½, 0, 1): with DiffusionNFT's clip of 5, A / 10 + ½."""
    return (advantages / (2 * clip) + 0.5).clamp(0, 1)


def nft_loss(
    velocity: Tensor, old: Tensor, x0: Tensor, x: Tensor, level: Tensor, parts: Mapping[str, Part], beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of each sample `(B,)`, and what the positive and the negative policy predict.

    Args:
        velocity: of the policy, `(B, *shape)`, with gradient.
        old: of the old policy.
        x0: the finished latents.
        x: the same, noised to `level`.
        level: `(B,)`.
        parts: the regions.
        beta: how far the two implicit policies are from the old one.
    """
    time = flow.column(level, x)
    positive = x - time * ((1 - beta) * old + beta * velocity)
    negative = x - time * ((1 + beta) * old - beta * velocity)
    total = velocity.new_zeros(len(x))
    for part in parts.values():
        r = part.optimality if part.optimality.ndim > 1 else flow.column(part.optimality, x)
        for predicted, wanted in ((positive, r), (negative, 1 - r)):
            scale = region_mean((predicted - x0).abs().detach(), part.weights).clamp_min(1e-5)
            total = total + part.share * region_mean(wanted * (predicted - x0) ** 2, part.weights) / scale
    return total, positive, negative


def hinges(
    config: NftConfig,
    r: Tensor,
    positive: Tensor,
    negative: Tensor,
    x0: Tensor,
    source: Tensor,
    cells: Mapping[str, Tensor],
) -> Tensor:
    """Return CoCoEdit's regulariser of each sample `(B,)`.

    Args:
        config: weights and thresholds.
        r: optimality, `(B,)`.
        positive: predicted latents of the positive policy.
        negative: of the negative one.
        x0: the finished latents.
        source: the source as a latent.
        cells: weights of the regions, broadcastable to the latents.
    """
    kept = source if config.hinge_to == "source" else x0
    moved = region_mean((positive - kept) ** 2, cells["keep"])
    edited = region_mean((negative - source) ** 2, cells["edit"])
    present = region_mean(torch.ones_like(x0), cells["edit"])  # 0 where there is nothing to edit
    too_far = (moved - config.tau_keep).clamp_min(0)
    too_little = (config.tau_edit - edited).clamp_min(0) * present
    return config.hinge_keep * r * too_far + config.hinge_edit * (1 - r) * too_little


def parts_for(
    config: NftConfig,
    policy: Policy,
    batch: Batch,
    first: int,
    advantages: Mapping[str, Tensor],
    cells: Mapping[str, Tensor],
) -> dict[str, Part]:
    """Return the regions of a batch; arguments as in `train.regions_of`, `cells` already spread over the batch."""
    prompts = torch.tensor([first + prompt for prompt, _ in batch.pairs])
    samples = torch.tensor([sample for _, sample in batch.pairs])
    share = config.edit_weight if isinstance(config.edit_weight, float) else 0.5
    kind: Any = config.edit_weight if isinstance(config.edit_weight, str) else "given"
    weights = {name: None if name == "all" else cells[name] for name in advantages}
    shares = parts_of(weights, {"all": 1.0, "edit": share, "keep": 1 - share}, kind, batch.x0)
    found = {}
    for name, values in advantages.items():
        r = optimality(values[prompts, samples].to(batch.x0.device), config.advantage_clip)
        found[name] = Part(policy.spread(r) if r.ndim > 1 else r, weights[name], shares[name])
    return found


def learn(
    run: Session,
    config: NftConfig,
    batch: Batch,
    parts: Mapping[str, Part],
    cells: Mapping[str, Tensor],
    update: int,
    fraction: float,
) -> dict[str, Tensor]:
    """Add up the gradients of a batch at `moments` levels; return means of loss and statistics.

    Args:
        run: the session.
        config: of the run.
        batch: what was rolled out.
        parts: its regions.
        cells: weights of both regions over its latents, for the hinges.
        update: number of the update, on which levels and noise depend.
        fraction: of the batch in the whole step.
    """
    policy, x0 = run.policy, batch.x0
    levels = policy.levels(config.denoising_steps, batch.condition)[:-1]
    moments = min(config.moments, len(levels))
    seed = flow.derived(config.seed, "nft", update)
    chance = [random.Random(flow.derived(seed, c.scenario_id, c.sample)) for c in batch.candidates]
    order = torch.tensor([own.sample(range(len(levels)), moments) for own in chance])
    totals: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    for moment in range(moments):
        level = levels[order[:, moment].to(levels.device)].to(x0.device)
        drawn = [flow.noise(x0.shape[1:], seed, c.scenario_id, c.sample, moment) for c in batch.candidates]
        noise = torch.stack(drawn).to(x0)
        x = (1 - flow.column(level, x0)) * x0 + flow.column(level, x0) * noise
        with torch.no_grad():
            with using(policy, run.old):
                old = policy.predict(x, level, batch.condition)
            with policy.reference():
                reference = policy.predict(x, level, batch.condition) if config.kl else old
        velocity = policy.predict(x, level, batch.condition)
        losses, positive, negative = nft_loss(velocity, old, x0, x, level, parts, config.beta)
        loss = losses.mean() * config.advantage_clip / config.beta
        if config.hinge_keep or config.hinge_edit:
            each = [part.optimality.reshape(len(x0), -1).mean(1) for part in parts.values()]
            r = torch.stack(each).mean(0)  # one r, as CoCoEdit has; of several regions, their mean
            hinge = hinges(config, r, positive, negative, x0, batch.condition["source"].to(x0), cells)
            loss = loss + hinge.mean()
            totals["hinge"] += hinge.detach().mean().cpu() / moments
        distance = ((velocity - reference) ** 2).mean()
        torch.autograd.backward((loss + config.kl * distance) * (fraction / moments))
        logged = {"loss": loss, "all/kl": distance, "all/moved": ((velocity - old) ** 2).mean()}
        for name, value in logged.items():
            totals[name] += value.detach().cpu() / moments
    return dict(totals)


def old_decay(config: NftConfig, update: int) -> float:
    """Return how much of the old policy an update keeps (DiffusionNFT `return_decay`)."""
    if config.old == "slow":
        return min(0.001 * update, 0.5)
    return min(0.0075 * max(0, update - 75), 0.999) if config.old == "late" else 0.0


def one_step(run: Session, config: NftConfig, number: int) -> dict[str, Any]:
    """Roll out, score, learn; return what there is to log."""
    ranks, policy, clock = run.ranks, run.policy, Clock()
    with clock("data"):
        everyones = run.prompts(number)
    mine = ranks.share(config.prompts)
    scenarios = everyones[mine.start : mine.stop]
    with clock("rollout"), using(policy, run.old):
        sampling = Sampling("ode", config.denoising_steps)
        batches, images = roll_out(config, policy, sampling, scenarios, number, ranks, run.workers.submit)
    with clock("reward"):
        rewards, valid, failures = rewards_of(config, ranks, run.workers.collect())
    with clock("credit"):
        grid = policy.grid(batches[0].condition)
        maps = dense_maps(config, ranks, scenarios, images, grid, rewards) if config.credit == "dense" else {}
        advantages = advantages_of(config, rewards, valid, maps)
        order = credit.shuffled(config.prompts, config.seed, number) if config.placebo else range(config.prompts)
        weights = cell_weights([everyones[prompt] for prompt in order], grid, config.erode, config.band)
        scaled = by_size(config, advantages, weights)
        cells, parts = [], []
        for batch in batches:
            whose = [mine.start + prompt for prompt, _ in batch.pairs]
            cells.append({name: policy.spread(values[whose].to(batch.x0)) for name, values in weights.items()})
            parts.append(parts_for(config, policy, batch, mine.start, scaled, cells[-1]))
    entry: dict[str, Any] = {**summary(rewards, valid, advantages), "failed": dict(failures)}
    totals: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    with clock("update"):
        for update in range(number * config.updates, (number + 1) * config.updates):
            for batch, regions, own in zip(batches, parts, cells, strict=True):
                fraction = batch.count / (config.prompts * config.samples)
                for name, value in learn(run, config, batch, regions, own, update, fraction).items():
                    totals[name] += value * fraction / config.updates
            entry |= run.update(update)
        kept = old_decay(config, (number + 1) * config.updates)
        with torch.no_grad():
            for name, value in policy.trainable().items():
                run.old[name].lerp_(value, 1 - kept)
    means = ranks.sum(torch.stack(list(totals.values()))).tolist()
    return {**entry, **dict(zip(totals, means, strict=True)), **clock.lap()}


def train(config: NftConfig) -> bool:
    """Train a policy, or go on with what `output_dir` holds; return whether all steps were made.

    Raises:
        EditbenchError: for anything that is wrong, before the first step.
        StorageError: if results cannot be written; the last checkpoint is intact.
    """
    with open_session(config, keep_old=True) as run:
        if run.policy.prediction != "velocity":
            raise EditbenchError(f"train-nft needs a policy that predicts velocities, {run.policy.spec} predicts noise")
        for number in run.steps():
            run.log.write(number + 1, one_step(run, config, number))
    return not run.interrupted
