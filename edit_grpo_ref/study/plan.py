"""What the study runs and how it is judged: data, read from a YAML file and checked before anything starts.

The unit of work is one method at one weight with one seed. Its fingerprint covers everything its records depend on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from edit_grpo_ref.config import Config, NftConfig
from edit_grpo_ref.options import configure
from editbench.records import dumps
from editbench.specs import did_you_mean, quote
from editbench.types import EditbenchError

Part = Literal["criterion", "rest"]
PLANS = {"full": "plan.yaml", "quick": "quick.yaml"}
"""The plans in the package."""
TRAINERS: dict[str, type[Config] | type[NftConfig]] = {"train": Config, "train-nft": NftConfig}
WATCHING = ("output_dir", "save_every", "validate_every", "validate_on", "grid_every", "tracker")
"""Options on which no weight depends."""


@dataclass(frozen=True)
class Evaluation:
    """On what, and by what, every unit is judged."""

    suite: str
    metrics: tuple[str, ...]
    trained: tuple[str, ...]
    """Categories that the policy is trained on: what the criterion looks at."""
    each: int | None = None
    """Only the first N scenarios of every category."""


@dataclass(frozen=True)
class Method:
    """One row of the comparison."""

    about: str
    part: Part
    seeds: int
    """How many; they are 0, 1, 2 …"""
    program: Literal["train", "train-nft", "none"] = "train"
    """`none`: the base policy, as it is or wrapped."""
    weights: tuple[float, ...] = ()
    """Weights of the edit to sweep, from 0 to 1; empty for a method that has none."""
    learning_rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the program that differ from the common ones."""
    paste: bool = False
    """Keep the source outside the mask."""
    best_of: int = 1
    """Choose among so many edits by the weighted sum of the common rewards."""


@dataclass(frozen=True)
class Criterion:
    """What is claimed, fixed before the runs: all of it is computed from records."""

    methods: tuple[str, ...]
    """It is met if it is met for one of these."""
    against: tuple[str, ...]
    """Each of these must have a smaller hypervolume."""
    edit_error: str = "target:mae,region=edit"
    keep_error: str = "mae:region=keep"
    success: str = "success"
    """From 0 to 1: what is matched where errors are compared at equal success."""
    reference: tuple[float, float] = (0.2, 0.1)
    """Edit and keep error beyond which a point counts nothing."""
    interval: Literal["bootstrap", "t"] = "t"
    """Which interval of the hypervolume must not overlap; over seeds."""
    matched_keep: tuple[float, ...] = ()
    """Keep errors at which edit errors are compared."""
    gain_factor: float = 2.0
    """Aim: edit gain over the base, as a multiple of that of the best rival, at every matched keep error."""
    matched_success: tuple[float, ...] = ()
    """Success rates at which keep error, seam and leak are compared."""
    lower_at_success: tuple[str, ...] = ("mae:region=keep", "seam", "leak_profile")
    alpha: float = 0.05
    """Level of the tests after Holm's correction."""


@dataclass(frozen=True)
class Unit:
    """One run."""

    method: str
    weight: float | None
    seed: int

    @property
    def label(self) -> str:
        """Name of the unit on the board, and of its files."""
        return self.method + ("" if self.weight is None else f"-w{self.weight:g}") + f"-s{self.seed}"


@dataclass(frozen=True)
class StudyPlan:
    """The whole study."""

    name: str
    board: str
    """Name of the leaderboard, and of the folder of its records."""
    common: Mapping[str, Any]
    """Options of every training run: the budget."""
    evaluation: Evaluation
    methods: Mapping[str, Method]
    criterion: Criterion
    preset: str | None = None

    def units(self, part: Part | None = None, methods: Collection[str] = ()) -> list[Unit]:
        """Return the units of a part, or of some methods, seed by seed: what is finished early is a whole sweep.

        Raises:
            EditbenchError: for a method that the plan does not have.
        """
        for name in methods:
            if name not in self.methods:
                raise EditbenchError(f"unknown method {name!r}{did_you_mean(name, self.methods)}")
        chosen = {
            name: method
            for name, method in self.methods.items()
            if part in (None, method.part) and (not methods or name in methods)
        }
        found = [
            (method.part == "rest", seed, Unit(name, weight, seed))
            for name, method in chosen.items()
            for seed in range(method.seeds)
            for weight in method.weights or (None,)
        ]
        return [unit for *_, unit in sorted(found, key=lambda entry: entry[:2])]

    def config(self, unit: Unit, output_dir: str = "") -> Config | NftConfig | None:
        """Return the options of a unit's training run; None for one without training.

        Raises:
            EditbenchError: naming the method, for an option that is unknown or makes no sense.
        """
        method = self.methods[unit.method]
        if method.program == "none":
            return None
        kind = TRAINERS[method.program]
        common = {name: value for name, value in self.common.items() if name in kind.__dataclass_fields__}
        given = {**common, **method.options, "seed": unit.seed, "output_dir": output_dir}
        given |= {} if method.learning_rate is None else {"learning_rate": method.learning_rate}
        given |= {} if unit.weight is None else {"weight": f"{unit.weight:g}"}
        try:
            return configure(kind, self.preset, given)
        except EditbenchError as error:
            raise EditbenchError(f"method {unit.method}: {error}") from None

    def editor(self, unit: Unit) -> str:
        """Return the spec of a unit's editor; that of a trained one is relative to the folder of checkpoints."""
        method = self.methods[unit.method]
        spec = "grpo:base" if method.program == "none" else f"grpo:{unit.label}.safetensors"
        if method.best_of > 1:
            reward = self.reward(0.5 if unit.weight is None else unit.weight)
            spec = f"edit_grpo_ref.evaluate:BestOf:editor=[{spec}],count={method.best_of},reward={quote(reward)}"
        return f"paste:editor=[{spec}]" if method.paste else spec

    def reward(self, weight: float) -> str:
        """Return the weighted sum of the common rewards as one expression."""
        edit, keep = (self.common.get(name, getattr(Config, name)) for name in ("reward_edit", "reward_keep"))
        return f"{weight:g}*({edit}) + {1 - weight:g}*({keep})"

    def fingerprint(self, unit: Unit) -> str:
        """Return a hash of everything that a unit's records depend on, save the libraries: 16 hex digits."""
        config = self.config(unit)
        told = {} if config is None else {k: v for k, v in asdict(config).items() if k not in WATCHING}
        method = self.methods[unit.method]
        parts = [method.program, told, self.editor(unit), unit.seed, asdict(self.evaluation), self._policy_sha256]
        return hashlib.sha256(dumps(parts).encode()).hexdigest()[:16]

    @cached_property
    def _policy_sha256(self) -> str | None:
        """Hash of the embedded policy, from which every run starts; None for another one."""
        if self.common.get("policy", Config.policy) != "tiny":
            return None
        data = files("edit_grpo_ref.policies").joinpath("tiny.safetensors").read_bytes()
        return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------------------------------------------ reading


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
    try:
        text = path.read_text("utf-8") if path else files("edit_grpo_ref.study").joinpath(name).read_text("utf-8")
        data = yaml.safe_load(text)
    except OSError as error:
        raise EditbenchError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise EditbenchError(f"{path or name}: malformed YAML ({' '.join(str(error).split())})") from None
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

    _known("plan", data, ("board", "common", "evaluation", "methods", "criterion"))
    for section, kind in (("evaluation", Evaluation), ("criterion", Criterion)):
        _known(section, data.get(section), kind.__dataclass_fields__)
    _known("methods", data.get("methods"), None)
    for method, told in data["methods"].items():
        _known(f"method {method}", told, Method.__dataclass_fields__)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", method):
            raise EditbenchError(f"method {method!r}, expected a name of small letters, digits and _")
    try:
        plan = TypeAdapter(StudyPlan).validate_python({**data, "name": name, "preset": preset})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EditbenchError(f"{where}: {first['msg']} (got {first.get('input')!r})") from None
    _check(plan)
    return plan


def _known(where: str, data: Any, names: Collection[str] | None) -> None:
    if not isinstance(data, dict):
        raise EditbenchError(f"{where}: {type(data).__name__}, expected `name: value`")
    for name in data:
        if names is not None and name not in names:
            raise EditbenchError(f"{where}: unknown key {name!r}{did_you_mean(str(name), names)}")


def _check(plan: StudyPlan) -> None:
    options = {name for kind in TRAINERS.values() for name in kind.__dataclass_fields__}
    _known("common", dict(plan.common), options)
    for name in (*plan.criterion.methods, *plan.criterion.against, "base"):
        if name not in plan.methods:
            raise EditbenchError(f"the criterion needs method {name!r}{did_you_mean(name, plan.methods)}")
    wanted: Sequence[str] = (plan.criterion.edit_error, plan.criterion.keep_error, *plan.criterion.lower_at_success)
    for metric in (*wanted, plan.criterion.success, "composite", "leak_profile"):
        if metric not in plan.evaluation.metrics:
            raise EditbenchError(f"evaluation.metrics lack {metric!r}, which the criterion needs")
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
