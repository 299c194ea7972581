"""Any checkpoint is an editor: `editbench run --editor grpo:PATH`. It samples the ODE and sees no mask.

Three come with the package: the policy as it was pre-trained, and two of the study's runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.types import EditbenchError, EditRequest, Image, MaskAccess

if TYPE_CHECKING:  # finding out about an editor must not cost the seconds that torch takes
    from edit_grpo_ref.policies import Policy

BASE = "base"
"""`grpo:base` is the embedded policy as it was pre-trained."""
PACKAGED = ("flow", "edit")
"""`grpo:flow` and `grpo:edit` are runs of the study, by Flow-GRPO and with credit by region: study/NOTES.md."""


def locate(checkpoint: str) -> Path:
    """Return the file of a checkpoint other than `base`.

    Raises:
        EditbenchError: if it is not there.
    """
    from edit_grpo_ref.checkpoint import FILE

    if checkpoint in PACKAGED:
        return Path(str(files("edit_grpo_ref"))) / "checkpoints" / f"{checkpoint}.safetensors"
    path = Path(checkpoint)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        names = (BASE, *PACKAGED)
        raise EditbenchError(
            f"no checkpoint {str(file)!r}: expected what `edit-grpo-ref train` wrote, or one of {', '.join(names)}"
            f"{did_you_mean(checkpoint, names)}"
        )
    return file


@dataclass(frozen=True)
class GrpoEditor:
    """A trained policy as an editor.

    Args:
        checkpoint: the output directory of `edit-grpo-ref train`, the checkpoint in it, or `base`, `flow` or `edit`.
        steps: of the ODE; by default as many as the run was told.
        weights: `ema`, the moving average if there is one, or `last`.
        sha256: first 12 digits of the hash of the checkpoint; written into every spec, so that a run is never resumed
            with other weights than it began with.
        batch_size: requests at once.
    """

    checkpoint: str = bare()
    steps: int | None = None
    weights: Literal["ema", "last"] = "ema"
    sha256: str | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps}, expected at least 1")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}, expected at least 1")
        if self.checkpoint == BASE:
            if self.sha256 is not None:
                raise ValueError("base has no sha256: it comes with the package")
            return
        file = locate(self.checkpoint)
        found = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        if self.sha256 not in (None, found):
            raise EditbenchError(f"{file} has sha256 {found}…, expected {self.sha256}…: it was trained on since")
        object.__setattr__(self, "sha256", found)

    @cached_property
    def _loaded(self) -> tuple[Policy, int, tuple[str, ...]]:
        """Policy, steps of the ODE, and what it was trained on."""
        from edit_grpo_ref.checkpoint import assign, read
        from edit_grpo_ref.config import Config
        from edit_grpo_ref.policies import load_policy

        if self.checkpoint == BASE:
            return load_policy("tiny"), self.steps or Config.denoising_steps, ()
        found = read(locate(self.checkpoint), weights_only=True)
        policy = load_policy(found.policy)
        assign(policy, found.ema if found.ema and self.weights == "ema" else found.parameters)
        steps = self.steps or found.config.get("eval_steps") or found.config["denoising_steps"]
        return policy, steps, found.trained_on

    @property
    def mask_access(self) -> MaskAccess:
        """That of the policy: none, but for ablations."""
        from edit_grpo_ref.rollout import mask_access

        return mask_access(self._loaded[0])

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The metrics that rewarded it, and benchmark scenarios that it has seen."""
        return self._loaded[2]

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Edit requests, those of one size at once; each one's noise comes from its own seed."""
        from edit_grpo_ref.rollout import edit

        policy, steps, _ = self._loaded
        by_size: dict[tuple[int, ...], list[int]] = {}
        for position, request in enumerate(requests):
            by_size.setdefault(request.source.shape, []).append(position)
        images: dict[int, Image] = {}
        for positions in by_size.values():
            edited = edit(policy, [requests[position] for position in positions], steps)
            images.update(zip(positions, edited, strict=True))
        return [images[position] for position in range(len(requests))]
