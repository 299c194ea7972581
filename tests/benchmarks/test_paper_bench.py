"""A step of Flow-GRPO, beside one written straight from the paper."""

from itertools import pairwise

import pytest

from editbench.types import Sample

pytestmark = pytest.mark.slow


def test_step_of_training(race, tmp_path):
    """A step of Flow-GRPO on the embedded policy, and the same one written straight from the paper."""
    from dataclasses import replace

    import torch

    from edit_grpo_ref.config import Config
    from edit_grpo_ref.session import open_session
    from edit_grpo_ref.train import one_step

    config = Config(suite="edit_grpo_ref.scenes:Scenes", validation=None, output_dir=str(tmp_path), steps=10**6)
    with open_session(config) as run:
        config = replace(run.config, credit="global_sum", window="all")
        numbers = iter(range(10**9))
        peer = paper_step(run, config)
        race(
            "a step of Flow-GRPO, 6 prompts × 10 samples, embedded policy",
            lambda: one_step(run, config, next(numbers)),
            {"as in the paper, prompt after prompt": peer},
            least=0.9,
            rounds=3,
        )
        assert torch.isfinite(next(iter(run.policy.trainable().values()))).all()


def paper_step(run, config):
    """Flow-GRPO (arXiv 2505.05470, equations 4, 5, 8 and 9), one prompt at a time, one step of time at a time."""
    import math

    import torch

    from editbench.types import Task

    policy, a, clip = run.policy, config.noise, 1e-4
    parameters = list(policy.trainable().values())

    def moments(x, sigma, after, condition):
        level = torch.full((len(x),), sigma)
        v = policy.predict(x, level, condition)
        spread = a * math.sqrt(sigma / (1 - min(sigma, 0.96)))
        dt = after - sigma
        mean = x + (v + spread**2 / (2 * sigma) * (x + (1 - sigma) * v)) * dt
        return mean, spread * math.sqrt(-dt)

    def step():
        for scenario in run.prompts(0):
            request = Task(scenario, 0, 0).request("hint")
            condition = policy.encode([request] * config.samples)
            levels = policy.levels(config.denoising_steps, condition).tolist()
            x = torch.randn(config.samples, *policy.shape(condition))
            path = []
            with torch.no_grad():
                for sigma, after in pairwise(levels):
                    mean, std = moments(x, sigma, after, condition)
                    new = mean + std * torch.randn_like(mean)
                    logp = (-((new - mean) ** 2) / (2 * std**2)).flatten(1).mean(1)
                    path.append((x, sigma, after, new, logp))
                    x = new
                images = policy.decode(x, condition)
            rewards = run.rewards([Sample(scenario, image) for image in images])
            reward = torch.from_numpy(rewards.values["edit"] + rewards.values["keep"]).float()
            advantage = (reward - reward.mean()) / (reward.std() + 1e-4)
            for x, sigma, after, new, old in path:
                mean, std = moments(x, sigma, after, condition)
                logp = (-((new - mean) ** 2) / (2 * std**2)).flatten(1).mean(1)
                ratio = torch.exp(logp - old)
                loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
                loss.backward()
        for parameter in parameters:
            parameter.grad = None

    return step
