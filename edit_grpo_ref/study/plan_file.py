"""Reading a plan of the study from its YAML file, and checking every name, type and option in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from edit_grpo_ref.study.plan import (
    TRAINERS,
    Axes,
    Condition,
    Criterion,
    Evaluation,
    Method,
    Stress,
    StudyPlan,
    stressed,
)
from editbench.names import shown
from editbench.reading import parse_yaml, read_yaml
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

PLANS = {"full": "plan.yaml", "quick": "quick.yaml"}
"""The plans in the package."""


def load_plan(path: Path | None, quick: bool = False, preset: str | None = None) -> StudyPlan:
    """Read a plan and check every name, type and option in it.

    Args:
        path: a YAML file; None for one of the plans in the package.
        quick: which of those.
        preset: of the trainer, below the plan's own options.

    Raises:
        EditbenchError: naming the file and what is wrong.
    """
    name = PLANS["quick" if quick else "full"]
    shipped = files("edit_grpo_ref.study").joinpath(name)
    data = read_yaml(path) if path else parse_yaml(shipped.read_text("utf-8"), name)
    try:
        return read_plan(data, path.stem if path else Path(name).stem, preset)
    except EditbenchError as error:
        raise EditbenchError(f"{path or name}: {error}") from None


def read_plan(data: Any, name: str, preset: str | None) -> StudyPlan:
    """Return a plan from what its file holds.

    Raises:
        EditbenchError: for a name that is unknown, a value of the wrong type, an option that makes no sense.
    """
    from pydantic import TypeAdapter, ValidationError

    _known("plan", data, ("board", "common", "evaluation", "methods", "axes", "criteria", "stress"))
    for section, kind in (("evaluation", Evaluation), ("axes", Axes)):
        _known(section, data.get(section), kind.__dataclass_fields__)
    _known_each("methods", "method", data.get("methods"), Method)
    _known_each("criteria", "criterion", data.get("criteria"), Criterion)
    if data.get("stress") is not None:
        _known("stress", data["stress"], Stress.__dataclass_fields__)
        _known_each("conditions", "condition", data["stress"].get("conditions"), Condition)
    try:
        stress = TypeAdapter(Stress | None).validate_python(data.get("stress"))
        methods = TypeAdapter(dict[str, Method]).validate_python(data["methods"])
        data = {**data, "stress": stress, "methods": {**methods, **_under_stress(methods, stress)}}
        plan = TypeAdapter(StudyPlan).validate_python({**data, "name": name, "preset": preset})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EditbenchError(f"{where}: {first['msg']} (got {shown(first.get('input'))})") from None
    _check(plan)
    return plan


def _known(where: str, data: Any, names: Collection[str] | None) -> None:
    if not isinstance(data, dict):
        raise EditbenchError(f"{where}: {type(data).__name__}, expected `name: value`")
    for name in data:
        if names is not None and name not in names:
            raise EditbenchError(f"{where}: unknown key {shown(name)}{did_you_mean(str(name), names)}")


def _known_each(section: str, what: str, data: Any, kind: type) -> None:
    """Check a section that holds things of one kind by name."""
    _known(section, data, None)
    for name, told in data.items():
        _known(f"{what} {name}", told, kind.__dataclass_fields__)  # type: ignore[attr-defined]
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise EditbenchError(f"{what} {name!r}, expected a name of small letters, digits and _")


def _under_stress(methods: Mapping[str, Method], stress: Stress | None) -> dict[str, Method]:
    found = {}
    for condition, told in ({} if stress is None else stress.conditions).items():
        assert stress is not None
        for name, weights in (stress.methods if told.methods is None else told.methods).items():
            if name not in methods:
                raise EditbenchError(f"condition {condition}: unknown method {name!r}{did_you_mean(name, methods)}")
            if not set(weights) <= set(methods[name].weights):
                known = f"expected some of {list(methods[name].weights)}"
                raise EditbenchError(f"condition {condition}: weights {list(weights)} of {name}, {known}")
            options = {**methods[name].options, **told.options, **told.own.get(name, {})}
            about = f"{name}: {told.about}"
            found[stressed(name, condition)] = replace(
                methods[name], about=about, part="stress", seeds=stress.seeds, weights=weights, options=options
            )
    return found


def _check(plan: StudyPlan) -> None:
    options = {name for kind in TRAINERS.values() for name in kind.__dataclass_fields__}
    _known("common", dict(plan.common), options)
    wanted = {plan.axes.edit_error, plan.axes.keep_error, "composite", "leak_profile"}
    for criterion, told in plan.criteria.items():
        for name in (*told.methods, *told.against, "base"):
            if name not in plan.methods:
                raise EditbenchError(f"criterion {criterion} needs method {name!r}{did_you_mean(name, plan.methods)}")
        wanted |= {told.success, *told.lower_at_success}
    for metric in sorted(wanted):
        if metric not in plan.evaluation.metrics:
            raise EditbenchError(f"evaluation.metrics lack {metric!r}, which the report needs")
    for name, method in plan.methods.items():
        if method.seeds < 1 or method.best_of < 1:
            raise EditbenchError(f"method {name}: seeds and best_of, expected at least 1")
        if method.program == "none" and (method.options or method.learning_rate is not None):
            raise EditbenchError(f"method {name} trains nothing and takes no options of training")
        if len(set(method.weights)) < len(method.weights) or not all(0 <= weight <= 1 for weight in method.weights):
            raise EditbenchError(f"method {name}: weights {list(method.weights)}, expected different ones from 0 to 1")
    for unit in plan.units():
        if unit.seed == 0:
            plan.config(unit)
