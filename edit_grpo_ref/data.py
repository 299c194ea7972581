"""Which scenarios a step trains on, and which it must not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from editbench.built_in import BUILT_IN
from editbench.specs import parse
from editbench.suites import load_suite
from editbench.types import EditbenchError, Scenario, Suite


def place(cluster: str) -> float:
    """Return where a cluster falls in [0, 1): a hash, so that nobody chooses who is held out."""
    return int.from_bytes(hashlib.sha256(f"split/{cluster}".encode()).digest()[:7], "big") / 2**56


def in_split(scenario: Scenario, split: float) -> bool:
    """Whether a scenario belongs to the share that is trained on; all scenarios of a cluster do, or none."""
    return place(scenario.cluster) < split


def is_benchmark(suite: str) -> bool:
    """Whether a suite spec names a benchmark that comes with the harness, at any size."""
    name = parse(suite).name
    return name in BUILT_IN["suite"] and name != "folder"


def overlap(suite: str, allowed: bool, split: float | None = None) -> tuple[str, ...]:
    """Return what has to be told of training on this suite, which may be a benchmark now or later.

    Nothing of `grpo_scenes@1`, which is made for training and shares no scene with a benchmark.

    Raises:
        EditbenchError: if it is a benchmark and that is not allowed.
    """
    if parse(suite).name == "grpo_scenes@1":
        return ()
    if is_benchmark(suite) and not allowed:
        raise EditbenchError(
            f"suite {suite!r} is a benchmark: what is trained on it cannot be ranked by it. Train on another suite "
            "(grpo_scenes@1:split=train, folder:PATH …), or say --allow-overlap, which boards will show"
        )
    return (f"suite:{suite}" if split is None else f"suite:{suite}[split={split:g}]",)


class Prompts:
    """Scenarios in an endless shuffled order; which ones a step sees depends on seed and step alone.

    Args:
        suite: suite spec.
        count: scenarios a step.
        seed: of the order.
        split: share of the clusters to train on; None for all. The suite is walked through once to find them.

    Raises:
        EditbenchError: if nothing is left to train on.
    """

    def __init__(self, suite: str, count: int, seed: int, split: float | None = None) -> None:
        self.suite: Suite = load_suite(suite)
        self.count, self.seed = count, seed
        if split is None:
            self.indices: Sequence[int] = range(len(self.suite))
        else:
            self.indices = [index for index, scenario in enumerate(self.suite) if in_split(scenario, split)]
        if not self.indices:
            raise EditbenchError(f"{self.suite.name} has no scenario in the split {split:g}: give a larger share")
        self._permutation = lru_cache(maxsize=2)(self._permute)
        self._scenario = lru_cache(maxsize=4096)(self.suite.__getitem__)  # small suites are rendered once

    def _permute(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.indices))

    def __call__(self, step: int) -> list[Scenario]:
        """Return the scenarios of a step."""
        found = []
        for position in range(step * self.count, (step + 1) * self.count):
            epoch, place_in_epoch = divmod(position, len(self.indices))
            found.append(self._scenario(self.indices[int(self._permutation(epoch)[place_in_epoch])]))
        return found


def pick(suite: str, count: int) -> list[Scenario]:
    """Return the first `count` scenarios, those with an edit and a keep region before others: to look at, to validate.

    Raises:
        EditbenchError: for an empty suite.
    """
    both: list[Scenario] = []
    others: list[Scenario] = []
    for number, scenario in enumerate(load_suite(suite)):
        if len(both) == count or number >= 20 * count:
            break
        (both if scenario.mask.any() and not scenario.mask.all() else others).append(scenario)
    found = (both + others)[:count]
    if not found:
        raise EditbenchError(f"suite {suite!r} has no scenarios")
    return found
