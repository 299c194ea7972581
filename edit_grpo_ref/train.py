"""Region-aware policy optimisation of an image editor, in the spirit of Edit-GRPO (arXiv 2605.16951): the program.

    edit-grpo-ref train --preset tiny-cpu --credit region --output-dir runs/region
    torchrun --nproc-per-node 2 -m edit_grpo_ref train --preset kontext-1gpu --output-dir runs/kontext

A step: roll out `samples` edits of each of `prompts` scenarios, keeping the stochastic transitions; score them twice,
inside the mask and outside; turn each reward into advantages within its group; replay the transitions with gradient,
and move the log-probability of each region's latents as that region's advantage says. Baselines change one option:

    Flow-GRPO            --credit global_sum (or advantage_sum) --weight 0.5; 1 rewards the edit only, 0 keeping only
    DanceGRPO            --credit global_sum --sampler dance_sde --noise 0.3 --window dance --same-noise
                         --std group_unbiased
    MixGRPO-style        --credit advantage_sum --window moving
    GRPO-Guard           --trust guard
    RC-GRPO-style        --credit global_sum --explore edit
    shuffled masks       --credit region --placebo

Left out, on purpose: reward models that have to be trained, classifier-free guidance schedules, dropping samples whose
advantages are all zero, mixed precision beyond what the policy does itself. What is not here is one import away:
transitions in `flow`, credit in `credit`, the loss in `trust`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edit_grpo_ref import credit, flow, trust
from edit_grpo_ref.config import Config, Settings
from edit_grpo_ref.log import Clock
from edit_grpo_ref.policies import Condition, Policy
from edit_grpo_ref.ranks import ALONE, Ranks
from edit_grpo_ref.rewards import Scored, reward_maps
from edit_grpo_ref.rollout import Candidate, Exploration, Move, Sampling, chunks, condition_of, join, rollout, step
from edit_grpo_ref.session import Session, open_session
from editbench.types import EditbenchError, Image, Sample, Scenario


@dataclass(frozen=True)
class Batch:
    """Latents that went through the policy together."""

    pairs: Sequence[tuple[int, int]]
    """(prompt, sample) of each, prompts counted within this rank."""
    candidates: Sequence[Candidate]
    """Scenario and sample of each, on which noise depends."""
    condition: Condition
    moves: Sequence[Move]
    x0: Tensor
    """Finished latents."""
    idle: bool = False
    """Whether it is gone through for other ranks' sake alone, and counts for nothing."""

    @property
    def count(self) -> int:
        """How many latents of the step these are."""
        return 0 if self.idle else len(self.pairs)


# ----------------------------------------------------------------------------------------------------- rollouts


def sampling_of(config: Config, policy: Policy, update: int) -> Sampling:
    """Return how latents are sampled in one step of training."""
    if (config.sampler == "ddim") != (policy.prediction == "noise"):
        expected = "ddim" if policy.prediction == "noise" else "flow_sde, dance_sde or cps"
        raise EditbenchError(f"sampler: {config.sampler!r}, expected {expected} for policy {policy.spec}")
    stochastic, trained = flow.window(
        config.window, config.denoising_steps, update, config.seed, config.window_size, config.window_every
    )
    store = getattr(torch, config.store_dtype)
    return Sampling(config.sampler, config.denoising_steps, config.noise, stochastic, trained, store)


def roll_out(
    config: Settings,
    policy: Policy,
    sampling: Sampling,
    scenarios: Sequence[Scenario],
    update: int,
    ranks: Ranks = ALONE,
    finished: Callable[[Sequence[Sample]], None] = lambda samples: None,
) -> tuple[list[Batch], list[list[Image]]]:
    """Edit every scenario `samples` times; return the batches, and the images by scenario and sample.

    `finished` is given the edits of each batch before the next is rolled out: rewards may be on their way by then.
    """
    conditions = condition_of(policy, scenarios)
    images: list[list[Image]] = [[] for _ in scenarios]
    batches = []
    cut = chunks(conditions, config.samples, config.batch)
    for number, pairs in enumerate(cut + cut[-1:] * ranks.idle(len(cut))):
        condition = join([conditions[prompt] for prompt, _ in pairs])
        inside = None
        if config.explore == "edit":
            shares = cell_weights(scenarios, policy.grid(condition), erode=0, band=1.0)["edit"]
            device = next(iter(condition.values())).device
            inside = policy.spread(shares[[prompt for prompt, _ in pairs]].to(device))
        candidates = [Candidate(scenarios[prompt].id, sample) for prompt, sample in pairs]
        exploration = Exploration(config.same_noise, inside)
        x0, moves = rollout(policy, sampling, condition, candidates, flow.derived(config.seed, update), exploration)
        batches.append(Batch(pairs, candidates, condition, moves, x0, idle=number >= len(cut)))
        if batches[-1].idle:
            continue
        edits = [(prompt, image) for (prompt, _), image in zip(pairs, policy.decode(x0, condition), strict=True)]
        for prompt, image in edits:
            images[prompt].append(image)
        finished([Sample(scenarios[prompt], image) for prompt, image in edits])
    return batches, images


def cell_weights(scenarios: Sequence[Scenario], grid: tuple[int, int], erode: int, band: float) -> dict[str, Tensor]:
    """Return how much of each grid cell belongs to each region, `(P, h, w)`."""
    pairs = [credit.region_weights(torch.from_numpy(s.mask)[None], grid, erode, band) for s in scenarios]
    return {"edit": torch.cat([edit for edit, _ in pairs]), "keep": torch.cat([keep for _, keep in pairs])}


# --------------------------------------------------------------------------------------- rewards and advantages


def rewards_of(config: Settings, ranks: Ranks, scored: Scored) -> tuple[dict[str, Tensor], Tensor, Counter[str]]:
    """Return each reward `(P, G)` of all ranks, which samples have them, and why others do not."""
    table = torch.zeros(3, config.prompts, config.samples, dtype=torch.float64)
    rows = (scored.values["edit"], scored.values["keep"], scored.valid)
    mine = ranks.share(config.prompts)
    table[:, mine.start : mine.stop] = torch.from_numpy(np.stack(rows)).reshape(3, len(mine), config.samples)
    edit, keep, valid = ranks.sum(table)
    failures = sum((Counter(found) for found in ranks.gather(dict(scored.failures))), Counter[str]())
    return {"edit": edit, "keep": keep}, valid > 0, failures


def advantages_of(
    config: Settings, rewards: Mapping[str, Tensor], valid: Tensor, maps: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the advantages of each region (or of `all`): `(P, G)`, or `(P, G, h, w)` where credit is dense."""
    filters = ((config.min_std_edit, config.max_mean_edit), (config.min_std_keep, config.max_mean_keep))
    edit, keep = (
        credit.Standard(config.std, least, math.inf if most is None else most, config.advantage_clip)
        for least, most in filters
    )
    weight = config.edit_weight if isinstance(config.edit_weight, float) else 0.5  # only sums look at it
    return credit.assign(
        config.credit, rewards["edit"], rewards["keep"], valid, weight, config.cross, edit, keep, maps=maps
    )


def dense_maps(
    config: Settings,
    ranks: Ranks,
    scenarios: Sequence[Scenario],
    images: Sequence[Sequence[Image]],
    grid: tuple[int, int],
    rewards: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return reward maps `(P, G, h, w)` of all ranks by region; a scenario without a target keeps its one reward.

    In the placebo they are turned upside down: each cell answers for what happened in the one opposite.
    """
    names = ("keep", "edit") if config.dense_edit else ("keep",)
    mine = ranks.share(config.prompts)
    table = {name: torch.zeros(config.prompts, config.samples, *grid) for name in names}
    for prompt, scenario, group in zip(mine, scenarios, images, strict=True):
        maps, found = reward_maps([Sample(scenario, image) for image in group], grid)
        for name in names:
            flat = rewards[name][prompt].float()[:, None, None].expand(-1, *grid)
            table[name][prompt] = torch.from_numpy(maps[name]) if found[name] else flat
    summed = {name: ranks.sum(values) for name, values in table.items()}
    return {name: values.flip(-2, -1) for name, values in summed.items()} if config.placebo else summed


def by_size(config: Settings, advantages: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return advantages with which every cell of a region counts alike, unless every sample is to, or areas do it."""
    if config.region_mean == "samples" or config.edit_weight == "area":
        return advantages
    return {
        name: credit.by_size(values, weights[name]) if name in weights else values
        for name, values in advantages.items()
    }


def summary(rewards: Mapping[str, Tensor], valid: Tensor, advantages: Mapping[str, Tensor]) -> dict[str, float]:
    """Return what there is to log of rewards and advantages."""
    found: dict[str, float] = {}
    for name, values in rewards.items():
        known = [group[here].double() for group, here in zip(values, valid, strict=True) if here.any()]
        if known:
            found[f"reward/{name}"] = float(torch.cat(known).mean())
            found[f"reward_std/{name}"] = float(np.mean([float(group.std(correction=0)) for group in known]))
    for name, values in advantages.items():
        found[f"advantage_std/{name}"] = float(values.std(correction=0))
        found[f"zero_variance/{name}"] = float((values.flatten(1) == 0).all(dim=1).float().mean())
    return found


# ------------------------------------------------------------------------------------------------------- update


def regions_of(
    config: Config,
    policy: Policy,
    batch: Batch,
    first: int,
    advantages: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
) -> dict[str, trust.Region]:
    """Return the regions of a batch: whose latents they are, and which way they should move.

    Args:
        config: of the run.
        policy: spreads grid cells over latents.
        batch: which (prompt, sample) pairs.
        first: this rank's first prompt.
        advantages: of all ranks, by region.
        weights: of the grid's cells `(P, h, w)`, by region.
    """
    prompts = torch.tensor([first + prompt for prompt, _ in batch.pairs])
    samples = torch.tensor([sample for _, sample in batch.pairs])
    device = next(iter(batch.condition.values())).device
    share = config.edit_weight if isinstance(config.edit_weight, float) else 0.5
    shares = {"all": 1.0, "edit": share, "keep": 1 - share}
    betas = {"all": config.kl_edit, "edit": config.kl_edit, "keep": config.kl_keep}
    found = {}
    for name, values in advantages.items():
        advantage = values[prompts, samples].to(device)
        advantage = policy.spread(advantage) if advantage.ndim > 1 else advantage
        spread = None if name == "all" else policy.spread(weights[name][prompts].to(device))
        found[name] = trust.Region(advantage, spread, shares[name], betas[name])
    return found


def learn(
    config: Config,
    policy: Policy,
    sampling: Sampling,
    batch: Batch,
    regions: Mapping[str, trust.Region],
    fraction: float,
) -> dict[str, Tensor]:
    """Replay the moves of a batch and add up their gradients; return the means of loss and statistics over moves.

    Args:
        config: of the run.
        policy: being trained.
        sampling: as in the rollout.
        batch: what was rolled out.
        regions: of the batch.
        fraction: of the batch in the whole step: the loss is a mean over all samples and moves of all ranks.
    """
    shares: Any = config.edit_weight if isinstance(config.edit_weight, str) else "given"
    bounds = trust.Trust(config.trust, config.clip, size_aware=config.size_aware, threshold=config.clip)
    totals: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    for move in batch.moves:
        now = step(policy, sampling, move.number, move.x, batch.condition)
        new = flow.log_prob(move.after, now.mean, now.std, config.cps_unscaled)
        old = flow.log_prob(move.after, move.mean, move.std, config.cps_unscaled)
        distance = None
        if config.kl_edit or config.kl_keep:
            with torch.no_grad(), policy.reference():
                then = step(policy, sampling, move.number, move.x, batch.condition)
            distance = flow.divergence(
                config.kl, now.mean, then.mean, now.std, now.gap, now.prediction, then.prediction
            )
        loss, found = trust.loss(new, old, now.mean, move.mean, now.std, now.gap, regions, shares, bounds, distance)
        torch.autograd.backward(loss * (fraction / len(batch.moves)))
        for name, value in {"loss": loss.detach(), **found}.items():
            totals[name] += value.cpu() / len(batch.moves)
    return dict(totals)


# --------------------------------------------------------------------------------------------------------- loop


def one_step(run: Session, config: Config, number: int) -> dict[str, Any]:
    """Roll out, score, learn; return what there is to log."""
    ranks, policy, clock = run.ranks, run.policy, Clock()
    with clock("data"):
        everyones = run.prompts(number)
    mine = ranks.share(config.prompts)
    scenarios = everyones[mine.start : mine.stop]
    sampling = sampling_of(config, policy, number)
    with clock("rollout"):
        batches, images = roll_out(config, policy, sampling, scenarios, number, ranks, run.workers.submit)
    with clock("reward"):
        rewards, valid, failures = rewards_of(config, ranks, run.workers.collect())
    with clock("credit"):
        grid = policy.grid(batches[0].condition)
        maps = dense_maps(config, ranks, scenarios, images, grid, rewards) if config.credit == "dense" else {}
        advantages = advantages_of(config, rewards, valid, maps)
        order = credit.shuffled(config.prompts, config.seed, number) if config.placebo else range(config.prompts)
        masked = [everyones[prompt] for prompt in order] if "edit" in advantages else []
        weights = cell_weights(masked, grid, config.erode, config.band) if masked else {}
        scaled = by_size(config, advantages, weights)
        regions = [regions_of(config, policy, batch, mine.start, scaled, weights) for batch in batches]
    entry: dict[str, Any] = {**summary(rewards, valid, advantages), "failed": dict(failures)}
    totals: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    with clock("update"):
        for update in range(number * config.updates, (number + 1) * config.updates):
            for batch, parts in zip(batches, regions, strict=True):
                fraction = batch.count / (config.prompts * config.samples)
                for name, value in learn(config, policy, sampling, batch, parts, fraction).items():
                    totals[name] += value * fraction / config.updates
            entry |= run.update(update)
    means = ranks.sum(torch.stack(list(totals.values()))).tolist()
    return {**entry, **dict(zip(totals, means, strict=True)), **clock.lap()}


def train(config: Config) -> bool:
    """Train a policy, or go on with what `output_dir` holds; return whether all steps were made.

    Raises:
        EditbenchError: for anything that is wrong, before the first step.
        StorageError: if results cannot be written; the last checkpoint is intact.
    """
    with open_session(config) as run:
        sampling_of(config, run.policy, 0)  # refuses what does not fit together
        for number in run.steps():
            run.log.write(number + 1, one_step(run, config, number))
    return not run.interrupted
