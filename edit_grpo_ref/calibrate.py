"""What a sampler does to a policy before any training: noise it leaves, spread within groups, price in preservation.

Rewards of a rollout measure policy and sampler together. A sampler that leaves noise in the picture puts a ceiling on
preservation that no policy can lift; one whose noise is undone again leaves groups alike, and nothing to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from edit_grpo_ref import flow
from edit_grpo_ref.config import Config
from edit_grpo_ref.data import pick
from edit_grpo_ref.flow import Sampler, Window
from edit_grpo_ref.policies import Condition, Policy, load_policy
from edit_grpo_ref.rewards import load_rewards
from edit_grpo_ref.rollout import Candidate, Sampling, condition_of, join, rollout
from editbench.metrics import load_metrics, score
from editbench.types import Image, Sample


@dataclass(frozen=True)
class Row:
    """One sampler."""

    sampler: str
    residual: float
    """Standard deviation that the sampler leaves where the answer is fully determined, in units of the latents."""
    keep_spread: float
    """Standard deviation of a keep pixel within a group, of 1."""
    reward_std_edit: float
    """Mean within-group standard deviation of the edit reward."""
    reward_std_keep: float
    psnr_keep: float
    """Mean PSNR of the keep region in dB: the ceiling under this sampler for a policy that learns nothing."""


def residual_noise(policy: Policy, sampling: Sampling, condition: Condition) -> float:
    """Return the standard deviation that is left of the noise if the policy knew the one right answer.

    With the exact prediction for a single point every transition is linear, so the variance is carried along exactly.
    """
    levels = policy.levels(sampling.steps, condition).double()
    one = torch.ones(1, 1, dtype=torch.float64)
    variance = one.clone()
    for number in range(sampling.steps):
        level = levels[number]
        amount = level if policy.prediction == "velocity" else torch.sqrt(1 - level)
        scale = sampling.scale if number in sampling.stochastic else 0.0
        mean, std = flow.transition(sampling.kind, one, one / amount, level, levels[number + 1], levels[1], scale)
        variance = variance * mean**2 + std.reshape(1, 1) ** 2
    return float(variance.sqrt())


def calibrate(config: Config, scenarios: int = 8, every_sampler: bool = True) -> list[Row]:
    """Measure the sampler of a configuration, the ODE, and the usual alternatives.

    Args:
        config: policy, rewards, suite, group size, steps, sampler.
        scenarios: from the training suite.
        every_sampler: whether to measure more than the ODE and the configured sampler.

    Raises:
        EditbenchError: for a policy, suite or reward that does not exist.
    """
    policy = load_policy(config.policy)
    rewards = load_rewards({"edit": config.reward_edit, "keep": config.reward_keep}, config.reward_timeout)
    metrics = load_metrics(["psnr:region=keep"])
    chosen = pick(config.suite, scenarios)
    conditions = condition_of(policy, chosen)
    rows = []
    for name, sampling in _samplers(config, policy, every_sampler):
        groups: list[list[Image]] = []
        for scenario, condition in zip(chosen, conditions, strict=True):
            candidates = [Candidate(scenario.id, sample) for sample in range(config.samples)]
            joined = join([condition] * config.samples)
            x0, _ = rollout(policy, sampling, joined, candidates, config.seed)
            groups.append(policy.decode(x0, joined))
        samples = [Sample(s, image) for s, group in zip(chosen, groups, strict=True) for image in group]
        scored = rewards(samples)
        values = [row["psnr:region=keep"] for row in score(metrics, samples)]
        spread = [
            float((np.stack(group).astype(np.float32) / 255).std(axis=0)[s.region("keep")].mean())
            for s, group in zip(chosen, groups, strict=True)
        ]
        stds = {
            reward: float(np.mean([group.std() for group in _groups(found, scored.valid, config.samples)] or [0.0]))
            for reward, found in scored.values.items()
        }
        psnr = float(np.mean([value for value in values if isinstance(value, float)]))
        residual = residual_noise(policy, sampling, conditions[0])
        rows.append(Row(name, residual, float(np.mean(spread)), stds["edit"], stds["keep"], psnr))
    return rows


def _groups(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], valid: np.ndarray[tuple[int], np.dtype[np.bool_]], size: int
) -> Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    pairs = zip(values.reshape(-1, size), valid.reshape(-1, size), strict=True)
    return [group[here] for group, here in pairs if here.any()]


def _samplers(config: Config, policy: Policy, every: bool) -> list[tuple[str, Sampling]]:
    """Return named samplings, the configured one marked."""
    ode: Sampler = "ode" if policy.prediction == "velocity" else "ddim"
    found = [("ODE", Sampling(ode, config.denoising_steps))]
    variants: list[tuple[Sampler, float, Window]] = [(config.sampler, config.noise, config.window)]
    if every and policy.prediction == "velocity":
        variants += [
            ("flow_sde", 0.7, "half"),
            ("flow_sde", 0.7, "all"),
            ("dance_sde", 0.3, "all"),
            ("cps", 0.8, "all"),
        ]
    elif every:
        variants += [("ddim", 1.0, "half"), ("ddim", 1.0, "all")]
    for kind, scale, window in dict.fromkeys(variants):
        stochastic, _ = flow.window(window, config.denoising_steps, 0, config.seed, config.window_size)
        mark = " (configured)" if (kind, scale, window) == variants[0] else ""
        found.append((f"{kind} {scale:g} {window}{mark}", Sampling(kind, config.denoising_steps, scale, stochastic)))
    last = next((s for _, s in found if s.kind == "flow_sde"), None)
    if every and last is not None:
        noisy = replace(last, scale=0.7, stochastic=tuple(range(config.denoising_steps)))
        found.append(("flow_sde 0.7, last step too", noisy))
    return found


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in plain text."""
    lines: list[tuple[str, ...]] = [("sampler", "residual", "keep spread", "std r_edit", "std r_keep", "PSNR keep")]
    for row in rows:
        numbers = (row.residual, row.keep_spread, row.reward_std_edit, row.reward_std_keep)
        lines.append((row.sampler, *(f"{number:.4f}" for number in numbers), f"{row.psnr_keep:.2f} dB"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for name, *numbers_of in lines:
        padded = (text.rjust(width) for text, width in zip(numbers_of, widths[1:], strict=True))
        shown.append("  ".join([name.ljust(widths[0]), *padded]))
    return "\n".join(shown)


def as_json(rows: Sequence[Row]) -> list[dict[str, float | str]]:
    """Return rows as JSON data."""
    return [asdict(row) for row in rows]
