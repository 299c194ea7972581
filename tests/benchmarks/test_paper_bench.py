"""A whole step of Flow-GRPO, beside one written straight from the paper."""

import math
from dataclasses import replace
from functools import partial
from itertools import count, pairwise

import pytest
import torch

from edit_grpo_ref import flow
from edit_grpo_ref.config import Config
from edit_grpo_ref.session import open_session
from edit_grpo_ref.train import one_step
from editbench.types import Sample, Task

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
    """A session of `tiny-cpu` whose steps are the paper's: one reward, one advantage, all steps but the last noisy."""
    config = Config(suite="edit_grpo_ref.scenes:Scenes", validation=None, output_dir=str(tmp_path), steps=10**6)
    with open_session(replace(config, credit="global_sum", window="all")) as session:
        yield session


class PaperStep:
    """Flow-GRPO (arXiv 2505.05470, equations 4, 5, 8 and 9), one prompt at a time, one step of time at a time.

    What its code adds is here too: means over elements in log-probabilities, no noise in the last step, the second
    level in the place of σ = 1, 1e-4 beside the standard deviation, clipped gradients.
    """

    def __init__(self, run, draw):
        self.run, self.config, self.policy, self.draw = run, run.config, run.policy, draw
        self.parameters = list(run.policy.trainable().values())
        self.optimizer = torch.optim.AdamW(self.parameters, self.config.learning_rate, weight_decay=0.0)

    def __call__(self, number):
        scenarios = self.run.prompts(number)
        for scenario in scenarios:
            self.learn(scenario, number, 1 / len(scenarios))
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def learn(self, scenario, number, share):
        config, clip = self.config, self.config.clip
        condition = self.policy.encode([Task(scenario, 0, 0).request("hint")] * config.samples)
        levels = self.policy.levels(config.denoising_steps, condition).tolist()
        steps = list(pairwise(levels))
        path = []
        with torch.no_grad():
            x = self.draw(number, scenario, -1)
            for index, (sigma, after) in enumerate(steps[:-1]):
                mean, std = self.moments(x, sigma, after, levels[1], condition)
                new = mean + std * self.draw(number, scenario, index)
                path.append((x, sigma, after, new, log_prob(new, mean, std)))
                x = new
            sigma, after = steps[-1]
            x = x + self.policy.predict(x, torch.full((len(x),), sigma), condition) * (after - sigma)
            images = self.policy.decode(x, condition)
        rewards = self.run.rewards([Sample(scenario, image) for image in images]).values
        weight = config.edit_weight
        reward = torch.from_numpy(weight * rewards["edit"] + (1 - weight) * rewards["keep"])
        advantage = ((reward - reward.mean()) / (reward.std(correction=0) + 1e-4)).float()
        for x, sigma, after, new, old in path:
            mean, std = self.moments(x, sigma, after, levels[1], condition)
            ratio = torch.exp(log_prob(new, mean, std) - old)
            loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
            (loss * share / len(path)).backward()

    def moments(self, x, sigma, after, second, condition):
        v = self.policy.predict(x, torch.full((len(x),), sigma), condition)
        spread = self.config.noise * math.sqrt(sigma / (1 - (second if sigma == 1 else sigma)))
        dt = after - sigma
        mean = x + (v + spread**2 / (2 * sigma) * (x + (1 - sigma) * v)) * dt
        return mean, spread * math.sqrt(-dt)


def log_prob(new, mean, std):
    return (-((new - mean) ** 2) / (2 * std**2)).flatten(1).mean(1)


def drawn(run, number, scenario, index):
    """Return the noise that our step draws."""
    seed, shape = flow.derived(run.config.seed, number), run.policy.shape({})
    return torch.stack([flow.noise(shape, seed, scenario.id, sample, index) for sample in range(run.config.samples)])


def gradients_of(step, optimizer, parameters):
    """Make a step, take it back, and return the gradients that its update was made from."""
    before, found = [parameter.detach().clone() for parameter in parameters], []

    def keep(*_):
        found.extend(parameter.grad.flatten().clone() for parameter in parameters)

    hook = optimizer.register_step_pre_hook(keep)
    step()
    hook.remove()
    moved = max(float((now.detach() - then).abs().max()) for now, then in zip(parameters, before, strict=True))
    assert moved > 0
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return torch.cat(found)


def passes(run):
    """Only what goes through the network, forward and back."""
    config, policy = run.config, run.policy
    requests = [Task(scenario, 0, 0).request("hint") for scenario in run.prompts(0)]
    condition = policy.encode([request for request in requests for _ in range(config.samples)])
    x = torch.randn(len(requests) * config.samples, *policy.shape(condition))
    level = torch.full((len(x),), 0.5)
    with torch.no_grad():
        for _ in range(config.denoising_steps):
            policy.predict(x, level, condition)
    for _ in range(config.denoising_steps - 1):
        torch.autograd.grad(policy.predict(x, level, condition).square().mean(), list(policy.trainable().values()))


def test_step_of_training(race, run):
    """From equal weights and noise, both make one update of the same gradients; then they are timed."""
    known = PaperStep(run, partial(drawn, run))
    ours = gradients_of(lambda: one_step(run, run.config, 0), run.optimizer, known.parameters)
    theirs = gradients_of(lambda: known(0), known.optimizer, known.parameters)
    assert float((ours - theirs).norm() / theirs.norm()) <= 0.01

    shape = run.config.samples, *run.policy.shape({})
    peer, numbers, others = PaperStep(run, lambda *_: torch.randn(shape)), count(1), count(1001)
    race(
        "a step of Flow-GRPO, 6 prompts × 10 samples, embedded policy",
        lambda: one_step(run, run.config, next(numbers)),
        {"as in the paper, prompt after prompt": lambda: peer(next(others))},
        least=0.9,
        rounds=3,
        note="gradients agree; ours takes all prompts in one batch, seeds each sample, and keeps an average",
        floor=partial(passes, run),
    )
    assert all(parameter.isfinite().all() for parameter in known.parameters)
