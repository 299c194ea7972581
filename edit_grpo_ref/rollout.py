"""Rollouts: noise to images, one transition at a time. Training, replay, editing and calibration share one `step`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edit_grpo_ref import flow
from edit_grpo_ref.flow import Sampler
from edit_grpo_ref.policies import Condition, Policy
from editbench.types import EditRequest, Image, MaskAccess, Scenario, Task


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled."""

    kind: Sampler = "ode"
    steps: int = 6
    scale: float = 0.0
    """How much noise enters a stochastic step."""
    stochastic: tuple[int, ...] = ()
    """Numbers of the steps that draw noise."""
    trained: tuple[int, ...] = ()
    """Those of them that are kept for the update."""
    store: torch.dtype = torch.float32
    """What latents are rounded to between steps, before anything is computed from them."""


@dataclass(frozen=True)
class Candidate:
    """One latent of a batch: whose it is, and so which noise it gets."""

    scenario_id: str
    sample: int


@dataclass(frozen=True)
class Exploration:
    """What the samples of a group share."""

    start: bool = False
    """All start from the same noise."""
    inside: Tensor | None = None
    """How much each element belongs to the edit, broadcastable to `(B, *shape)`: noise outside is shared."""


@dataclass(frozen=True)
class Move:
    """One stochastic step of a batch, as it was at rollout."""

    number: int
    x: Tensor
    """`(B, *shape)`, before."""
    after: Tensor
    """The latent that was drawn."""
    mean: Tensor
    """Of the distribution it was drawn from."""
    std: Tensor
    """`(B,)`."""


@dataclass(frozen=True)
class Prediction:
    """One transition of a batch as the policy now sees it."""

    prediction: Tensor
    mean: Tensor
    std: Tensor
    gap: Tensor
    """|σ′ − σ|, `(B,)`."""


def mask_access(policy: Policy) -> MaskAccess:
    """Return what a policy is shown of the mask: nothing, unless it declares otherwise."""
    access: MaskAccess = getattr(policy, "mask_access", "none")
    return access


def condition_of(policy: Policy, scenarios: Sequence[Scenario], seed: int = 0) -> list[Condition]:
    """Return what the policy knows of each scenario, each a batch of one; it sees the mask only if it declares so."""
    access = mask_access(policy)
    with torch.no_grad():
        return [policy.encode([Task(scenario, 0, seed).request(access)]) for scenario in scenarios]


def join(conditions: Sequence[Condition]) -> Condition:
    """Return conditions of equal shapes as one batch."""
    return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}


def chunks(conditions: Sequence[Condition], samples: int, size: int | None) -> list[list[tuple[int, int]]]:
    """Cut a step into batches: (prompt, sample) pairs in order, of equal shapes, at most `size` of them."""
    found: list[list[tuple[int, int]]] = []
    last = None
    for prompt, condition in enumerate(conditions):
        shapes = {name: tensor.shape[1:] for name, tensor in condition.items()}
        for sample in range(samples):
            if shapes != last or not found or (size is not None and len(found[-1]) >= size):
                found.append([])
            last = shapes
            found[-1].append((prompt, sample))
    return found


def step(policy: Policy, sampling: Sampling, number: int, x: Tensor, condition: Condition) -> Prediction:
    """Predict one transition: the same code, and so the same bits, in rollout and replay."""
    levels = policy.levels(sampling.steps, condition)
    prediction = policy.predict(x, levels[number].expand(len(x)).to(x.device), condition)
    scale = sampling.scale if number in sampling.stochastic else 0.0
    mean, std = flow.transition(sampling.kind, x, prediction, levels[number], levels[number + 1], levels[1], scale)
    gap = (levels[number + 1] - levels[number]).abs().expand(len(x)).to(x.device)
    return Prediction(prediction, mean, std, gap)


@torch.no_grad()
def rollout(
    policy: Policy,
    sampling: Sampling,
    condition: Condition,
    candidates: Sequence[Candidate],
    seed: int,
    exploration: Exploration = Exploration(),
) -> tuple[Tensor, list[Move]]:
    """Sample a batch.

    Args:
        policy: what predicts.
        sampling: how.
        condition: of every candidate.
        candidates: `B` of them; noise is a function of the seed, the candidate and the step, of nothing else.
        seed: of this step of training.
        exploration: what the samples of a group share.

    Returns:
        finished latents `(B, *shape)`, and the trained moves in order.
    """
    shape = policy.shape(condition)
    device = next(iter(condition.values())).device

    def noise(number: int, shared: bool) -> Tensor:
        drawn = [flow.noise(shape, seed, c.scenario_id, -1 if shared else c.sample, number) for c in candidates]
        return torch.stack(drawn).to(device)

    def explored(number: int) -> Tensor:
        own = noise(number, shared=number == -1 and exploration.start)
        if exploration.inside is None:
            return own
        return flow.localise(own, noise(number, shared=True), exploration.inside)

    first = policy.levels(sampling.steps, condition)[0].expand(len(candidates)).to(device)
    x = policy.start(explored(-1), first, condition).to(sampling.store).float()
    moves = []
    for number in range(sampling.steps):
        now = step(policy, sampling, number, x, condition)
        drawn = explored(number) if number in sampling.stochastic else torch.zeros_like(x)
        after = flow.draw(now.mean, now.std, drawn, sampling.store)
        if number in sampling.trained:
            moves.append(Move(number, x, after, now.mean, now.std))
        x = after
    return x, moves


@torch.no_grad()
def edit(policy: Policy, requests: Sequence[EditRequest], steps: int) -> list[Image]:
    """Edit images as an editor does: ODE, no exploration; the noise is that of each request's seed.

    Args:
        policy: what predicts.
        requests: of images of one size.
        steps: of the ODE.
    """
    condition = policy.encode(requests)
    kind: Sampler = "ode" if policy.prediction == "velocity" else "ddim"
    shape, device = policy.shape(condition), next(iter(condition.values())).device
    noise = torch.stack([flow.noise(shape, request.seed, "edit", 0, -1) for request in requests]).to(device)
    x = policy.start(noise, policy.levels(steps, condition)[0].expand(len(requests)).to(device), condition)
    for number in range(steps):
        x = step(policy, Sampling(kind, steps), number, x, condition).mean
    return policy.decode(x, condition)
