"""Every option of the trainers: one dataclass, of which the command line, presets and checkpoints are made.

Nothing here imports torch, so that `--help` is there at once.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from editbench.specs import did_you_mean
from editbench.types import EditbenchError

Credit = Literal["global_sum", "advantage_sum", "region", "dense"]


@dataclass(frozen=True)
class Config:
    """What a training run is told. Defaults are those of `tiny-cpu`; presets.yaml has the others."""

    # ------------------------------------------------------------------------------------- policy and data
    policy: str = "tiny"
    """Policy spec: tiny, diffusers:…, module:Class or path.py:Class."""
    suite: str = "grpo_scenes@1:split=train"
    """Suite spec of the scenarios to train on."""
    split: float | None = None
    """Share of the suite's clusters to train on; the others are held out (`eval --held-out` scores those)."""
    allow_overlap: bool = False
    """Train on a benchmark's own scenarios; boards then say so."""
    validation: str | None = "grpo_scenes@1:split=validation"
    """Suite spec whose first scenarios are edited (ODE, no mask) at `validate_every`; none for no validation."""

    # --------------------------------------------------------------------------------------------- rewards
    reward_edit: str = "-[target:mae,region=edit]"
    """Reward of the edit region: an expression over metric specs in brackets."""
    reward_keep: str = "-[mae:region=keep]"
    """Reward of the keep region."""
    reward_timeout: float = 30.0
    """Seconds that a reward service may take for the samples of one step."""

    # -------------------------------------------------------------------------------------------- rollouts
    prompts: int = 6
    """Scenarios a step, over all ranks."""
    samples: int = 10
    """Edits of each scenario: the group whose rewards are compared."""
    denoising_steps: int = 6
    """Steps of a rollout."""
    eval_steps: int | None = None
    """Steps of an edit after training; as many as in a rollout if not given."""
    sampler: Literal["flow_sde", "dance_sde", "cps", "ddim"] = "flow_sde"
    """How noise enters: Flow-SDE, Dance-SDE, CPS; ddim for policies that predict noise."""
    noise: float = 0.7
    """Scale of that noise: a of Flow-SDE and CPS, η of Dance and DDIM."""
    window: Literal["half", "all", "random", "moving", "dance"] = "half"
    """Which steps are stochastic and trained, never the last: the first half; all; a random or moving window
    (Flow-GRPO-Fast, MixGRPO); dance: all are stochastic, a random 60 % of them trained."""
    window_size: int = 2
    """Steps in the random or moving window."""
    window_every: int = 25
    """Updates after which the moving window moves on."""
    same_noise: bool = False
    """All samples of a group start from the same noise (DanceGRPO)."""
    explore: Literal["everywhere", "edit"] = "everywhere"
    """edit: samples of a group share all noise outside the mask, so that they differ inside it (RC-GRPO style)."""
    store_dtype: Literal["float32", "bfloat16"] = "float32"
    """What latents are rounded to before anything is computed from them."""

    # ---------------------------------------------------------------------------------------------- credit
    credit: Credit = "region"
    """global_sum: one advantage from the sum of rewards; advantage_sum: from the sum of both advantages; region: each
    advantage on its own region; dense: one advantage a latent cell."""
    weight: str = "0.3"
    """Weight of the edit term, from 0 (keep only) to 1 (edit only); or area, equal (region and dense credit)."""
    dense_edit: bool = False
    """Dense credit for the edit region too, from |output − target| in place of its reward, where there is a target."""
    cross: float = 0.0
    """κ: how much of each region's advantage acts on the other region too."""
    erode: int = 0
    """Cells by which both regions are eroded; what is left between them is the band."""
    band: float = 1.0
    """Weight of band cells, shared between the regions by how much of a cell lies in each."""
    std: Literal["group_biased", "group_unbiased", "batch", "none"] = "group_biased"
    """What an advantage is divided by."""
    min_std_edit: float = 0.0
    """Groups whose edit rewards vary no more than this teach nothing about the edit."""
    min_std_keep: float = 0.0
    """The same of the keep rewards."""
    max_mean_edit: float | None = None
    """Groups whose mean edit reward is at least this are saturated and teach nothing about the edit."""
    max_mean_keep: float | None = None
    """The same of the keep rewards."""
    advantage_clip: float = 5.0
    """Advantages are cut off at ± this."""
    placebo: bool = False
    """Use the mask of another scenario for credit: a control."""

    # ---------------------------------------------------------------------------------------------- update
    trust: Literal["clip", "guard", "kl_mask"] = "clip"
    """How far an update may go: clipped ratio, ratio-normalised (GRPO-Guard), masked by KL (Flow-DPPO)."""
    clip: float = 1e-3
    """ε of the clipped ratio (in units of s for guard); the KL bound of kl_mask."""
    size_aware: bool = True
    """Scale ε with the square root of how much smaller a region is than the latent."""
    kl: Literal["exact", "flow_grpo", "velocity"] = "exact"
    """Form of the distance to the reference policy."""
    kl_edit: float = 0.0
    """β: weight of the distance to the reference policy in the edit region."""
    kl_keep: float = 0.0
    """The same in the keep region; global credit knows no regions, so both must then be equal."""
    updates: int = 1
    """Passes over the samples of a step; the first is on-policy."""
    learning_rate: float = 4e-5
    """Learning rate of AdamW."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate falls over `steps`."""
    warmup: int = 0
    """Updates over which it rises from 0."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema: float = 0.9
    """Decay of the moving average that becomes the editor; 0 for none."""

    # --------------------------------------------------------------------------------------------- program
    steps: int = 60
    """Steps of training: rollouts, rewards, update."""
    seed: int = 0
    """Of data, noise and everything else."""
    batch: int | None = None
    """Latents a forward pass, in rollouts and updates alike; by default all of a step that have equal shapes."""
    save_every: int = 20
    """Steps between checkpoints."""
    validate_every: int = 20
    """Steps between validations; there is one before the first step and one after the last."""
    validate_on: int = 32
    """Scenarios of a validation."""
    grid_every: int = 20
    """Steps between sample grids."""
    tracker: Literal["none", "tensorboard", "trackio"] = "none"
    """Where the log goes besides log.jsonl."""
    output_dir: str = "runs/train"
    """Where checkpoint, log and grids go; the same command again resumes."""

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Config:
        """Check names, types and ranges of options.

        Raises:
            EditbenchError: naming the option, its value and what was expected.
        """
        from pydantic import TypeAdapter, ValidationError

        for name in data:
            if name not in NAMES:
                raise EditbenchError(f"unknown option {name!r}{did_you_mean(str(name), NAMES)}")
        data = {name: str(value) if name == "weight" else value for name, value in data.items()}
        data = {name: None if value == "none" and _optional(name) else value for name, value in data.items()}
        try:
            config = TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "configuration"
            raise EditbenchError(f"{name}: {first['msg']} (got {first.get('input')!r})") from None
        config.check()
        return config

    def check(self) -> None:
        """Refuse numbers that make no sense, alone or together."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise EditbenchError(f"{name}: {value}, expected {low:g} to {high:g}")
        _ = self.edit_weight
        if self.credit in ("global_sum", "advantage_sum") and self.kl_edit != self.kl_keep:
            raise EditbenchError(f"kl_edit: {self.kl_edit}, expected kl_keep ({self.kl_keep}) for credit {self.credit}")

    @property
    def edit_weight(self) -> float | str:
        """`weight` as a number, or `area` or `equal`."""
        if self.weight in ("area", "equal"):
            if self.credit in ("global_sum", "advantage_sum"):
                raise EditbenchError(f"weight: {self.weight!r}, expected a number from 0 to 1 for credit {self.credit}")
            return self.weight
        try:
            number = float(self.weight)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise EditbenchError(f"weight: {self.weight!r}, expected a number from 0 to 1, area or equal")
        return number

    def resumable_from(self, earlier: Mapping[str, Any]) -> list[str]:
        """Return what forbids going on with a run that was told `earlier`: one line an option that differs.

        How much is written, and where, may change; so may the number of steps, unless the learning rate depends on it.
        """
        free = {"output_dir", "save_every", "validate_every", "validate_on", "grid_every", "tracker"}
        free |= {"steps"} if self.schedule == "constant" else set()
        mine = asdict(self)
        return [
            f"{name}: {earlier.get(name)!r} -> {mine[name]!r}"
            for name in sorted(NAMES - free)
            if earlier.get(name) != mine[name]
        ]


BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("prompts", "eval_steps", "window_size", "window_every", "updates", "steps", "batch"), (1, 1e9)),
    **dict.fromkeys(("save_every", "validate_every", "validate_on", "grid_every"), (1, 1e9)),
    **dict.fromkeys(("samples", "denoising_steps"), (2, 1e6)),
    **dict.fromkeys(("noise", "min_std_edit", "min_std_keep", "clip", "kl_edit", "kl_keep", "grad_norm"), (0, 1e9)),
    **dict.fromkeys(("learning_rate", "warmup", "weight_decay", "erode"), (0, 1e9)),
    **dict.fromkeys(("cross", "band", "ema", "split"), (0, 1)),
    **dict.fromkeys(("advantage_clip", "reward_timeout"), (1e-9, 1e9)),
    "seed": (0, 2**31 - 1),
}
NAMES = frozenset(f.name for f in fields(Config))
TYPES: dict[str, Any] = get_type_hints(Config)


def _optional(name: str) -> bool:
    return type(None) in get_args(TYPES[name])


PANELS = {
    "policy": "Policy and data",
    "reward_edit": "Rewards",
    "prompts": "Rollouts",
    "credit": "Credit",
    "trust": "Update",
    "steps": "Program",
}
"""The first option of each group, and what `--help` calls the group."""


@cache
def described() -> dict[str, str]:
    """Return the text below each field of `Config`."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(Config)).body if isinstance(node, ast.ClassDef))
    texts = {}
    for field, text in pairwise(body):
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


def configure(preset: str | None, given: Mapping[str, Any]) -> Config:
    """Return the options of a preset with those given on top.

    Raises:
        EditbenchError: for an unknown preset or option.
    """
    if preset is not None and preset not in presets():
        raise EditbenchError(
            f"unknown preset {preset!r}{did_you_mean(preset, presets())}, one of {', '.join(presets())}"
        )
    return Config.from_mapping({**(presets()[preset] if preset else {}), **given})


__all__ = ["NAMES", "TYPES", "Config", "Credit", "configure", "described", "presets", "replace"]
