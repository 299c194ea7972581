"""What the study runs and how it is judged: data, read from a YAML file and checked before anything starts.

The unit of work is one method at one weight with one seed. Its fingerprint covers everything its records depend on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal, get_args

from edit_grpo_ref.config import WATCHING, Config, NftConfig
from edit_grpo_ref.options import configure
from editbench.records import dumps
from editbench.specs import did_you_mean, quote
from editbench.types import EditbenchError

Part = Literal["criterion", "rest", "stress"]
Matching = Literal["seed", "mean"]
TRAINERS: dict[str, type[Config] | type[NftConfig]] = {"train": Config, "train-nft": NftConfig}


@dataclass(frozen=True)
class Evaluation:
    """On what, and by what, every unit is judged."""

    suite: str
    metrics: tuple[str, ...]
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
class Condition:
    """One way to make it harder, or to do without a part of the method."""

    about: str
    options: Mapping[str, Any]
    """Of the program, over those of every method."""
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of single methods, over these."""
    methods: Mapping[str, tuple[float, ...]] | None = None
    """Methods and their weights; None for those that all conditions have."""


@dataclass(frozen=True)
class Stress:
    """Some methods, once more under every condition: `region_small`, and so on."""

    seeds: int
    methods: Mapping[str, tuple[float, ...]]
    """Methods of the plan, and their weights."""
    conditions: Mapping[str, Condition]


def stressed(method: str, condition: str) -> str:
    """Return the name of a method under a condition."""
    return f"{method}_{condition}"


@dataclass(frozen=True)
class Axes:
    """Where a method is in the trade, and how sure that is."""

    edit_error: str = "target:mae,region=edit"
    keep_error: str = "mae:region=keep"
    reference: tuple[float, float] = (0.2, 0.1)
    """Edit and keep error beyond which a point counts nothing."""
    interval: Literal["bootstrap", "t"] = "t"
    """Over seeds."""
    matched_keep: tuple[float, ...] = ()
    """Keep errors at which edit errors are compared."""


@dataclass(frozen=True)
class Criterion:
    """What is claimed, fixed before the runs: all of it is computed from records."""

    about: str
    methods: tuple[str, ...]
    """It is met if it is met for one of these."""
    against: tuple[str, ...]
    """Each of these must have a smaller hypervolume."""
    seeds: tuple[int, int]
    """First seed, and how many."""
    matching: Matching = "mean"
    """Where values are matched: on each seed's own frontier, or on that of the means over seeds (jackknife)."""
    gain_factor: float = 2.0
    """Aim: edit gain over the base, as a multiple of that of the best rival, at every matched keep error."""
    success: str = "success"
    """From 0 to 1: what is matched where errors are compared at equal success."""
    matched_success: tuple[float, ...] = ()
    lower_at_success: tuple[str, ...] = ("mae:region=keep", "leak_profile")
    """What must be lower than a rival's there."""
    alpha: float = 0.05
    """Level of the tests after Holm's correction."""

    @property
    def counted(self) -> range:
        """The seeds that it looks at."""
        return range(self.seeds[0], sum(self.seeds))


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
    """With one for every method and condition of the stress."""
    axes: Axes
    criteria: Mapping[str, Criterion]
    """In the order in which they were written."""
    stress: Stress | None = None
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
            (get_args(Part).index(method.part), seed, Unit(name, weight, seed))
            for name, method in chosen.items()
            for seed in range(method.seeds)
            for weight in method.weights or (None,)
        ]
        return [unit for *_, unit in sorted(found, key=lambda entry: entry[:2])]

    @property
    def unstressed(self) -> list[str]:
        """The methods as they are, without those under a condition."""
        return [name for name, method in self.methods.items() if method.part != "stress"]

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
