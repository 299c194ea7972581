"""What a checkpoint is worth: a run of the harness on scenarios it has not seen; best-of-N and paste-back too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from edit_grpo_ref.data import in_split
from edit_grpo_ref.editor import BASE, locate
from edit_grpo_ref.rewards import Rewards, load_rewards
from editbench.config import RunConfig
from editbench.console import follow, summarise
from editbench.plan import make_plan, sample_seed
from editbench.registry import nested
from editbench.specs import parse, quote, slug
from editbench.suites import load_suite
from editbench.types import EditbenchError, Editor, Image, MaskAccess, Sample, Suite, Task


@dataclass(frozen=True)
class BestOf:
    """The best of several edits by a reward that sees mask and ground truth: search in the place of learning.

    Args:
        editor: makes the edits, each with a seed of its own.
        reward: expression over metrics.
        count: edits of each scenario.
    """

    editor: Editor = nested("editor")
    reward: str = "-[target:mae,region=edit] - [mae:region=keep]"
    count: int = 8

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}, expected at least 1")
        _ = self._rewards

    @cached_property
    def _rewards(self) -> Rewards:
        return load_rewards({"reward": self.reward})

    @property
    def mask_access(self) -> MaskAccess:
        """`hint`: whoever chooses has seen the mask."""
        return "hint"

    @property
    def trained_on(self) -> tuple[str, ...]:
        """What the editor was trained on, and what the choice looks at."""
        return tuple(sorted({*getattr(self.editor, "trained_on", ()), *self._rewards.trained_on}))

    def prepare(self, suite: Suite) -> Sequence[str]:
        """Nothing to prepare."""
        return ()

    def answer(self, task: Task) -> Image | None:
        """Return the edit with the largest reward; the first one where none has any."""
        requests = []
        for number in range(self.count):
            seed = sample_seed(task.seed, task.scenario.id, number)
            requests.append(Task(task.scenario, task.repeat, seed).request(self.editor.mask_access))
        images = [image for image in self.editor.edit(requests) if isinstance(image, np.ndarray)]
        if not images:
            return None
        scored = self._rewards([Sample(task.scenario, image) for image in images])
        values = np.where(scored.valid, scored.values["reward"], -np.inf)
        best: Image = images[int(np.argmax(values))]
        return best


def editor_spec(checkpoint: str, steps: int | None, best_of: int, reward: str | None, paste: bool) -> str:
    """Return the spec of a checkpoint as an editor, wrapped as asked."""
    spec = f"grpo:{quote(checkpoint)}" + ("" if steps is None else f",steps={steps}")
    if best_of > 1:
        chosen = "" if reward is None else f",reward={quote(reward)}"
        spec = f"edit_grpo_ref.evaluate:BestOf:editor=[{spec}],count={best_of}{chosen}"
    return f"paste:editor=[{spec}]" if paste else spec


def unseen(checkpoint: str, suite: str, held_out: bool, allow_overlap: bool) -> tuple[str, ...]:
    """Return the ids of the scenarios to evaluate on; empty for all of a suite that was not trained on.

    Raises:
        EditbenchError: if the checkpoint has seen scenarios that it would be evaluated on.
    """
    if checkpoint == BASE:
        return ()
    from edit_grpo_ref.checkpoint import read

    told = read(locate(checkpoint), weights_only=True).config
    if not _same_scenarios(told["suite"], suite):
        if held_out:
            raise EditbenchError(f"{checkpoint} was trained on {told['suite']}, of which {suite} holds nothing out")
        return ()
    if held_out and told["split"] is not None:
        return tuple(scenario.id for scenario in load_suite(suite) if not in_split(scenario, told["split"]))
    if held_out:
        raise EditbenchError(f"{checkpoint} was trained on all of {told['suite']}: train with --split to hold some out")
    if not allow_overlap:
        raise EditbenchError(
            f"{checkpoint} was trained on {told['suite']}: say --held-out for what its --split left, or --allow-overlap"
        )
    return ()


def _same_scenarios(trained: str, suite: str) -> bool:
    """Whether two suite specs are of the same scenarios: a size makes none of them new, another split does."""
    left, right = parse(load_suite(trained).name), parse(load_suite(suite).name)
    options = [{**spec.options, "size": None} for spec in (left, right)]
    return (left.name, left.bare) == (right.name, right.bare) and options[0] == options[1]


def evaluate(
    checkpoint: str,
    suite: str,
    *,
    label: str | None = None,
    metrics: str | None = None,
    limit: int | None = None,
    steps: int | None = None,
    best_of: int = 1,
    reward: str | None = None,
    paste: bool = False,
    held_out: bool = False,
    allow_overlap: bool = False,
    output_dir: str | None = None,
    json: bool = False,
) -> bool:
    """Run the harness on a checkpoint and print its board; return whether it was interrupted.

    Raises:
        EditbenchError: for anything that is wrong, before the first edit.
    """
    if reward is not None and best_of == 1:
        raise EditbenchError(f"reward: {reward!r} chooses among edits, expected --best-of N with it")
    ids = unseen(checkpoint, suite, held_out, allow_overlap)
    named = label or slug(Path(checkpoint).name or checkpoint)
    named = named if label or best_of == 1 else f"{named}-best-of-{best_of}"
    named = named if label or not paste else f"{named}-paste"
    config = RunConfig(
        suite=suite,
        editor=editor_spec(checkpoint, steps, best_of, reward, paste),
        label=named,
        metrics=metrics,
        limit=limit,
        sample_id=ids,
        output_dir=output_dir,
    )
    plan = make_plan(config)
    interrupted = follow(plan)
    summarise(plan, json, interrupted)
    return interrupted
