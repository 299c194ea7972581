"""Looking at a policy while it trains: rewards of its edits of held-out scenarios, and pictures of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from edit_grpo_ref.checkpoint import assign
from edit_grpo_ref.config import Settings
from edit_grpo_ref.data import pick
from edit_grpo_ref.log import Row
from edit_grpo_ref.policies import Policy
from edit_grpo_ref.rewards import Scored
from edit_grpo_ref.rollout import edit, mask_access
from editbench.plan import sample_seed
from editbench.types import Image, Sample, Scenario, Task

PICTURES = 6


@contextmanager
def using(policy: Policy, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a policy other parameters for a while; none leaves it as it is."""
    if not values:
        yield
        return
    own = {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}
    assign(policy, values)
    try:
        yield
    finally:
        assign(policy, own)


def edit_scenarios(policy: Policy, scenarios: Sequence[Scenario], steps: int, size: int | None) -> list[Image]:
    """Edit scenarios as an editor would in the harness: ODE, with the seeds of a run of seed 0."""
    requests = [Task(s, 0, sample_seed(0, s.id, 0)).request(mask_access(policy)) for s in scenarios]
    images: list[Image] = []
    start = 0
    for end in range(1, len(requests) + 1):
        full = end - start == size
        if end == len(requests) or full or requests[end].source.shape != requests[start].source.shape:
            images += edit(policy, requests[start:end], steps)
            start = end
    return images


class Watch:
    """What is looked at: the first scenarios of the validation suite, or of the training suite without one.

    Args:
        config: of the run.
        policy: being trained.
        rewards: of its edits.
        active: whether this rank tells what it sees; others only edit, where no rank can without them.
    """

    def __init__(
        self, config: Settings, policy: Policy, rewards: Callable[[Sequence[Sample]], Scored], active: bool = True
    ) -> None:
        self.policy, self.rewards, self.active = policy, rewards, active
        self.steps, self.size = config.eval_steps or config.denoising_steps, config.batch
        self.validates = config.validation is not None
        count = config.validate_on if self.validates else PICTURES
        self.scenarios = pick(config.validation or config.suite, count)
        with policy.reference():
            self.before = self._edit(self.scenarios[:PICTURES])

    def _edit(self, scenarios: Sequence[Scenario]) -> list[Image]:
        return edit_scenarios(self.policy, scenarios, self.steps, self.size)

    def numbers(self) -> dict[str, float | None]:
        """Return the mean of each reward over the validation scenarios that have it."""
        samples = [Sample(*pair) for pair in zip(self.scenarios, self._edit(self.scenarios), strict=True)]
        if not self.active:
            return {}
        scored = self.rewards(samples)
        found = {name: values[scored.valid] for name, values in scored.values.items()}
        return {f"validation/{name}": float(np.mean(some)) if len(some) else None for name, some in found.items()}

    def pictures(self) -> list[Row]:
        """Return the rows of a sample grid."""
        shown = self.scenarios[:PICTURES]
        edits = zip(shown, self.before, self._edit(shown), strict=True)
        return [(scenario.instruction, scenario.source, scenario.mask, *both) for scenario, *both in edits]  # type: ignore[misc]
