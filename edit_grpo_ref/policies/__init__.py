"""The seam between the trainer and the models it trains: one protocol, and names for what implements it.

A policy is an image editor that samples by many small steps and says what it predicts at each. The trainer knows
nothing else of it. Any class with these methods will do: `load_policy("my_package.my_module:MyPolicy:option=value")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from editbench.registry import create
from editbench.specs import TOP_MODULE, SpecError, did_you_mean, parse
from editbench.types import EditRequest, Image

if TYPE_CHECKING:  # naming the policies must not cost the seconds that torch takes
    import torch
    from torch import Tensor

Condition: TypeAlias = "dict[str, Tensor]"
"""What a policy knows of a batch of requests: batch first in every tensor, made once, without gradient."""

Prediction = Literal["velocity", "noise"]

BUILT_IN = {
    "tiny": "edit_grpo_ref.policies.tiny:Tiny",
    "diffusers": "edit_grpo_ref.policies.diffusers:Diffusers",
}
"""Names of what comes with the trainer, and where it is."""


@runtime_checkable
class Policy(Protocol):
    """A model that edits images step by step.

    Latents `x` are float32 `(B, *shape)`; so is what is predicted. The grid is where regions live: each cell of it
    has a weight for the edit and one for the keep region, which `spread` brings onto the elements of a latent.
    """

    @property
    def spec(self) -> str:
        """`load_policy(policy.spec)` makes an equal one."""

    @property
    def prediction(self) -> Prediction:
        """`velocity`: ε − x0 on x = (1 − σ) x0 + σ ε; `noise`: ε on x = √ᾱ x0 + √(1 − ᾱ) ε."""

    def encode(self, requests: Sequence[EditRequest], /) -> Condition:
        """Return what the policy knows of the requests, which all have images of one size."""

    def shape(self, condition: Condition, /) -> tuple[int, ...]:
        """Return the shape of one latent, without the batch."""

    def levels(self, steps: int, condition: Condition, /) -> Tensor:
        """Return the levels of a rollout, float32 `(steps + 1,)`: σ from 1 to 0; of `noise`, ᾱ upward to the last."""

    def start(self, noise: Tensor, level: Tensor, condition: Condition, /) -> Tensor:
        """Return where a rollout starts, `(B, *shape)`, at the first level `(B,)`: noise, or noise and the source."""

    def predict(self, x: Tensor, level: Tensor, condition: Condition, /) -> Tensor:
        """Return the prediction for `x` `(B, *shape)` at `level` `(B,)`: one function for rollout and replay."""

    def decode(self, x0: Tensor, condition: Condition, /) -> list[Image]:
        """Return the images of finished latents `(B, *shape)`, each of its source's size."""

    def grid(self, condition: Condition, /) -> tuple[int, int]:
        """Return rows and columns of the grid on which regions are weighed."""

    def spread(self, weights: Tensor, /) -> Tensor:
        """Bring weights of grid cells `(B, rows, columns)` to a shape that broadcasts against `(B, *shape)`."""

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that training changes, and a checkpoint keeps, by name."""

    def reference(self) -> AbstractContextManager[None]:
        """Return a context in which `predict` is that of the policy as it was loaded."""


def load_policy(spec: str) -> Policy:
    """Build the policy that a spec names: `tiny`, `diffusers:…`, `module:Name` or `path.py:Name`, with options.

    Raises:
        SpecError: for an unknown name or option, or a value of the wrong type.
    """
    name = parse(spec).name
    if name in BUILT_IN:
        spec = BUILT_IN[name] + spec[len(name) :]
    elif ":" not in name and not TOP_MODULE.fullmatch(spec):
        hint = did_you_mean(name, BUILT_IN) or f": expected {', '.join(BUILT_IN)}, module:Name or path.py:Name"
        raise SpecError(f"unknown policy {name!r}{hint}")
    policy = create("policy", spec)
    if not isinstance(policy, Policy):
        missing = [word for word in vars(Policy) if not word.startswith("_") and not hasattr(policy, word)]
        raise SpecError(f"policy {spec!r} lacks {', '.join(missing)}: see edit_grpo_ref.policies.Policy")
    return policy


def select(condition: Condition, index: Tensor) -> Condition:
    """Return the condition of some of the requests: `index` is int64 `(N,)`, repeats are welcome."""
    return {name: tensor[index.to(tensor.device)] for name, tensor in condition.items()}
