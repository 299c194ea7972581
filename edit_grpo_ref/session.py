"""What both trainers do around their steps: set up, resume, take updates, look, save, stop when told to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edit_grpo_ref import checkpoint
from edit_grpo_ref.config import Settings
from edit_grpo_ref.data import Prompts, overlap
from edit_grpo_ref.log import Log
from edit_grpo_ref.policies import Policy, load_policy
from edit_grpo_ref.ranks import Ranks, start
from edit_grpo_ref.reward_workers import RewardWorkers, reward_workers
from edit_grpo_ref.rewards import Rewards, load_rewards
from edit_grpo_ref.sharding import is_shared, whole
from edit_grpo_ref.watch import Watch, using
from editbench.stopping import Stop
from editbench.types import EditbenchError

STOPPING = "stopping after this step; once more stops at once, without saving"


@dataclass
class Session:
    """A run in progress."""

    config: Settings
    ranks: Ranks
    policy: Policy
    rewards: Rewards
    workers: RewardWorkers
    """Who evaluates them."""
    prompts: Prompts
    optimizer: torch.optim.Optimizer
    ema: Mapping[str, Tensor]
    """Moving average of the parameters, by name; empty without one."""
    old: Mapping[str, Tensor]
    """Parameters of the policy that rollouts come from, where that is another one; else empty."""
    log: Log
    watch: Watch | None
    """None on ranks that only work; where the network is shared out, all look together."""
    stop: Stop
    done: int
    """Steps made."""
    interrupted: bool = False

    @property
    def folder(self) -> Path:
        """The output directory."""
        return Path(self.config.output_dir)

    def steps(self) -> Iterator[int]:
        """Yield the number of each step that is left; between two of them, look, save, and see whether to stop."""
        if self.done == 0:
            self._look()
        while self.done < self.config.steps and not self.interrupted:
            yield self.done
            self.done += 1
            last = self.done == self.config.steps
            self.interrupted = bool(self.ranks.sum(torch.tensor(int(self.stop.wanted)))) and not last
            if not self.interrupted:
                self._look(always=last)
            if self.interrupted or last or self.done % self.config.save_every == 0:
                self._save()

    def _look(self, always: bool = False) -> None:
        if self.watch is None:
            return
        with using(self.policy, self.ema):
            if self.watch.validates and (always or self.done % self.config.validate_every == 0):
                self.log.write(self.done, self.watch.numbers())
            if always or self.done % self.config.grid_every == 0:
                self.log.grid(self.done, self.watch.pictures())

    def _save(self) -> None:
        told = overlap(self.config.suite, self.config.allow_overlap, self.config.split)
        trained_on, first = (*self.rewards.trained_on, *told), self.ranks.first
        state = checkpoint.capture(
            self.policy, self.optimizer, self.ema, self.old, self.done, trained_on, self.config, first
        )
        if first:
            checkpoint.write(self.folder, state)

    def update(self, number: int) -> dict[str, Any]:
        """Make one update from the gradients of all ranks; one whose norm is not finite changes nothing.

        Args:
            number: of the update, from 0: on it depend the learning rate and the average.

        Returns:
            `grad_norm` before clipping, `lr`, and `skipped` updates: 0 or 1.
        """
        parameters = self.policy.trainable()
        self.ranks.sum_gradients(parameters.values())
        norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters.values(), self.config.grad_norm)))
        rate = learning_rate(self.config, number)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            average(self.ema, parameters, self.config.ema, number)
        self.optimizer.zero_grad(set_to_none=True)
        return {"grad_norm": norm, "lr": rate, "skipped": int(not math.isfinite(norm))}


def learning_rate(config: Settings, update: int) -> float:
    """Return the learning rate of an update, counted from 0."""
    rate = config.learning_rate * min(1.0, (update + 1) / (config.warmup + 1))
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * update / (config.steps * config.updates)))
    return rate


def average(ema: Mapping[str, Tensor], parameters: Mapping[str, Tensor], decay: float, update: int) -> None:
    """Move an average toward the parameters; early ones count for more (flow_grpo `ema.py`: (1 + n) / (10 + n))."""
    kept = min(decay, (1 + update) / (10 + update))
    with torch.no_grad():
        for name, value in ema.items():
            value.lerp_(parameters[name], 1 - kept)


@contextmanager
def open_session(config: Settings, keep_old: bool = False) -> Iterator[Session]:
    """Set everything up for a run, or to go on with what `output_dir` holds.

    Args:
        config: of the run.
        keep_old: whether rollouts come from a policy of their own.

    Raises:
        EditbenchError: for anything that is wrong, before the first step.
        StorageError: if nothing can be written there.
    """
    rewards = load_rewards({"edit": config.reward_edit, "keep": config.reward_keep}, config.reward_timeout)
    overlap(config.suite, config.allow_overlap)
    prompts = Prompts(config.suite, config.prompts, config.seed, config.split)
    folder = Path(config.output_dir)
    torch.manual_seed(config.seed)
    with start() as ranks, Stop(STOPPING) as stop, checkpoint.locked(folder, ranks.first), ExitStack() as stack:
        ranks.check(config.prompts)
        policy = load_policy(config.policy)
        parameters = policy.trainable()
        device = next(iter(parameters.values())).device.type
        workers = stack.enter_context(reward_workers(rewards, config, device))
        if ranks.sharded and not any(map(is_shared, parameters.values())):
            raise EditbenchError(
                f"policy {policy.spec} is not made to be shared out by FSDP: start with accelerate/ddp.yaml"
            )
        optimizer = torch.optim.AdamW(parameters.values(), config.learning_rate, weight_decay=config.weight_decay)
        ema = {name: parameter.detach().clone() for name, parameter in parameters.items() if config.ema}
        old = {name: parameter.detach().clone() for name, parameter in parameters.items() if keep_old}
        workers.wait()
        done = checkpoint.resume(folder, config, policy, optimizer, ema, old)
        watch = Watch(config, policy, workers, active=ranks.first) if ranks.first or ranks.sharded else None
        log = stack.enter_context(Log(folder, config, done, active=ranks.first))
        yield Session(config, ranks, policy, rewards, workers, prompts, optimizer, ema, old, log, watch, stop, done)
