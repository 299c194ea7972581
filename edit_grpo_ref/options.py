"""Options as people give them: descriptions for `--help`, groups, presets."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from edit_grpo_ref.config import Settings
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

AnySettings = TypeVar("AnySettings", bound=Settings)

PANELS = {
    "policy": "Policy and data",
    "reward_edit": "Rewards",
    "prompts": "Rollouts",
    "credit": "Credit",
    "updates": "Update",
    "steps": "Program",
    "sampler": "Rollouts",
    "trust": "Update",
    "beta": "Update",
}
"""The first option of each group, and what `--help` calls the group."""


def described(kind: type[Settings]) -> dict[str, str]:
    """Return the text below each field of a dataclass of options, inherited ones first."""
    texts = {}
    for owner in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(owner)).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                assert isinstance(text.value, ast.Constant)
                texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Return the presets by name: what each sets, apart from the defaults."""
    import yaml

    loaded: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("presets.yaml").read_text("utf-8"))
    return loaded


def configure(kind: type[AnySettings], preset: str | None, given: Mapping[str, Any]) -> AnySettings:
    """Return the options of a preset with those given on top; a preset's options of another trainer are left out.

    Raises:
        EditbenchError: for an unknown preset or option.
    """
    if preset is not None and preset not in presets():
        hint = did_you_mean(preset, presets()) or f", expected {', '.join(presets())}"
        raise EditbenchError(f"unknown preset {preset!r}{hint}")
    chosen = presets()[preset] if preset else {}
    known = kind.__dataclass_fields__
    return kind.from_mapping({**{name: value for name, value in chosen.items() if name in known}, **given})
