"""Every option of the trainers: dataclasses, of which the command line, presets and checkpoints are made.

Nothing here imports torch, so that `--help` is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args, get_type_hints

from editbench.specs import did_you_mean
from editbench.types import EditbenchError

WATCHING = (
    *("output_dir", "save_every", "validate_every", "validate_on", "grid_every", "tracker"),
    *("reward_workers", "reward_gpus"),
)
"""Options on which no weight depends, to the bit."""


@dataclass(frozen=True)
class Workers:
    """Who evaluates rewards."""

    count: int
    """Threads or actors; 0 for the trainer itself, when its rollouts are done."""
    ray: bool = False
    address: str | None = None
    """Of a Ray cluster; None for that of the environment, or one of our own on this machine."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `N`, `ray:N` or `ray:ADDRESS:N`; None for `auto`.

        Raises:
            EditbenchError: for anything else.
        """
        if text == "auto":
            return None
        place, _, count = text.rpartition(":")
        kind, _, address = place.partition(":")
        if not (count.isdecimal() and kind in ("", "ray") and int(count) <= 1024 and (int(count) or not place)):
            raise EditbenchError(f"reward_workers: {text!r}, expected auto, 0, N, ray:N or ray:ADDRESS:N")
        return cls(int(count), kind == "ray", address or None)


@dataclass(frozen=True)
class Settings:
    """What both trainers are told. Defaults are those of `tiny-cpu`; presets.yaml has the others."""

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
    """Seconds that a reward service may take for what is sent to it at once: the samples of a batch."""
    reward_workers: str = "auto"
    """Who evaluates rewards while rollouts go on: N threads, or ray:N, ray:ADDRESS:N actors, for each rank; 0: nobody,
    they come after the rollouts. auto: a thread, unless both would compute on the same cores."""
    reward_gpus: float = 0.0
    """GPUs, or a part of one, that Ray sets aside for each reward worker."""

    # -------------------------------------------------------------------------------------------- rollouts
    prompts: int = 6
    """Scenarios a step, over all ranks."""
    samples: int = 10
    """Edits of each scenario: the group whose rewards are compared."""
    denoising_steps: int = 6
    """Steps of a rollout."""
    eval_steps: int | None = None
    """Steps of an edit after training; as many as in a rollout if not given."""
    same_noise: bool = False
    """All samples of a group start from the same noise (DanceGRPO)."""
    explore: Literal["everywhere", "edit"] = "everywhere"
    """edit: samples of a group share all noise outside the mask, so that they differ inside it (RC-GRPO style)."""

    # ---------------------------------------------------------------------------------------------- credit
    credit: Literal["global_sum", "advantage_sum", "region", "dense"] = "region"
    """global_sum: one advantage from the sum of rewards; advantage_sum: from the sum of both advantages; region: each
    advantage on its own region; dense: one advantage a latent cell."""
    weight: str = "0.2"
    """Weight of the edit term, from 0 (keep only) to 1 (edit only); or area, equal (region and dense credit)."""
    dense_edit: bool = True
    """Dense credit for the edit region too, from |output − target| in place of its reward, where there is a target."""
    region_mean: Literal["cells", "samples"] = "cells"
    """What counts alike within a region: every latent cell of a step, or every sample, however small its mask."""
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
    """Use the mask of another scenario for credit, and turn the maps of dense credit by 180 degrees: a control."""

    # ---------------------------------------------------------------------------------------------- update
    updates: int = 1
    """Passes over the samples of a step; the first is on-policy."""
    learning_rate: float = 1e-4
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
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Check names, types and ranges of options.

        Raises:
            EditbenchError: naming the option, its value and what was expected.
        """
        from pydantic import TypeAdapter, ValidationError

        types = get_type_hints(cls)
        for name in data:
            if name not in types:
                raise EditbenchError(f"unknown option {name!r}{did_you_mean(str(name), types)}")
        data = {
            name: None if value == "none" and type(None) in get_args(types[name]) else value
            for name, value in {**data, "weight": str(data.get("weight", cls.weight))}.items()
        }
        try:
            config = TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "configuration"
            if first["type"] == "literal_error":
                choices, value = get_args(types[name]), first["input"]
                listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise EditbenchError(
                    f"{name}: {value!r}, expected {listed}{did_you_mean(str(value), choices)}"
                ) from None
            raise EditbenchError(f"{name}: {first['msg']} (got {first.get('input')!r})") from None
        config.check()
        return config

    def check(self) -> None:
        """Refuse numbers that make no sense, alone or together."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name, None)
            if isinstance(value, int | float) and not low <= value <= high:
                raise EditbenchError(f"{name}: {value}, expected {low:g} to {high:g}")
        _ = self.edit_weight
        workers = Workers.parse(self.reward_workers)
        if self.reward_gpus and not (workers and workers.ray):
            raise EditbenchError(f"reward_gpus: {self.reward_gpus:g}, expected 0 where reward_workers is not ray:N")

    @property
    def edit_weight(self) -> float | Literal["area", "equal"]:
        """`weight` as a number, or `area` or `equal`."""
        if self.weight in ("area", "equal"):
            if self.credit in ("global_sum", "advantage_sum"):
                raise EditbenchError(f"weight: {self.weight!r}, expected a number from 0 to 1 for credit {self.credit}")
            return "area" if self.weight == "area" else "equal"
        try:
            number = float(self.weight)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise EditbenchError(f"weight: {self.weight!r}, expected a number from 0 to 1, area or equal")
        return number

    def resumable_from(self, earlier: Mapping[str, Any]) -> list[str]:
        """Return what forbids going on with a run that was told `earlier`: one line an option that differs.

        How much is written, and where, may change, and who evaluates rewards; so may the number of steps, unless the
        learning rate depends on it.
        """
        free = {*WATCHING}
        free |= {"steps"} if self.schedule == "constant" else set()
        mine = asdict(self)
        return [
            f"{name}: {earlier.get(name)!r} -> {mine.get(name)!r}"
            for name in sorted({*mine, *earlier} - free)
            if earlier.get(name) != mine.get(name)
        ]


@dataclass(frozen=True)
class Config(Settings):
    """What `train` is told."""

    # -------------------------------------------------------------------------------------------- rollouts
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
    store_dtype: Literal["float32", "bfloat16"] = "float32"
    """What latents are rounded to before anything is computed from them."""

    # ---------------------------------------------------------------------------------------------- update
    trust: Literal["clip", "guard", "kl_mask"] = "clip"
    """How far an update may go: clipped ratio, ratio-normalised (GRPO-Guard), masked by KL (Flow-DPPO)."""
    clip: float = 1e-3
    """ε of the clipped ratio (in units of s for guard); the KL bound of kl_mask."""
    cps_unscaled: bool = False
    """Leave 1 / (2 s²) out of the log-probability of cps, as flow_grpo does; ε must then be chosen anew."""
    size_aware: bool = True
    """Scale ε with the square root of how much smaller a region is than the latent."""
    kl: Literal["exact", "flow_grpo", "velocity"] = "exact"
    """Form of the distance to the reference policy."""
    kl_edit: float = 0.0
    """β: weight of the distance to the reference policy in the edit region."""
    kl_keep: float = 0.0
    """The same in the keep region; global credit knows no regions, so both must then be equal."""

    def check(self) -> None:
        """Refuse numbers that make no sense, alone or together."""
        super().check()
        if self.cps_unscaled and self.sampler != "cps":
            raise EditbenchError(f"cps_unscaled: expected sampler cps, not {self.sampler}")
        if self.credit in ("global_sum", "advantage_sum") and self.kl_edit != self.kl_keep:
            raise EditbenchError(f"kl_edit: {self.kl_edit}, expected kl_keep ({self.kl_keep}) for credit {self.credit}")


@dataclass(frozen=True)
class NftConfig(Settings):
    """What `train-nft` is told."""

    # ---------------------------------------------------------------------------------------------- update
    beta: float = 1.0
    """β: how far the implicit positive and negative policies are from the old one; smaller is faster, less stable."""
    old: Literal["current", "slow", "late"] = "current"
    """Where rollouts come from: the policy itself, an average that lags more and more up to half, or from update 75 on
    up to 0.999 (DiffusionNFT's decay types 0, 1, 2)."""
    moments: int = 3
    """Noise levels at which each sample is trained in a pass, drawn from those of the rollout."""
    kl: float = 1e-4
    """Weight of the squared distance from the reference policy's velocity."""
    hinge_keep: float = 0.0
    """CoCoEdit's λ: weight of the positive policy's error in the keep region beyond `tau_keep`."""
    hinge_edit: float = 0.0
    """CoCoEdit's λ: weight of what the negative policy's edit falls short of `tau_edit`."""
    tau_keep: float = 1e-3
    """Mean squared distance of latents that the keep region may have for free."""
    tau_edit: float = 3e-2
    """Mean squared distance from the source that the edit region should have."""
    hinge_to: Literal["source", "output"] = "source"
    """What the keep hinge compares with: the source (CoCoEdit's paper), or the sampled output (its released code)."""


BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("prompts", "eval_steps", "window_size", "window_every", "updates", "steps", "batch"), (1, 1e9)),
    **dict.fromkeys(("save_every", "validate_every", "validate_on", "grid_every", "moments"), (1, 1e9)),
    **dict.fromkeys(("samples", "denoising_steps"), (2, 1e6)),
    **dict.fromkeys(
        ("reward_gpus", "noise", "min_std_edit", "min_std_keep", "clip", "kl", "kl_edit", "kl_keep", "grad_norm"),
        (0, 1e9),
    ),
    **dict.fromkeys(("learning_rate", "warmup", "weight_decay", "erode"), (0, 1e9)),
    **dict.fromkeys(("hinge_keep", "hinge_edit", "tau_keep", "tau_edit"), (0, 1e9)),
    **dict.fromkeys(("cross", "band", "ema", "split"), (0, 1)),
    **dict.fromkeys(("advantage_clip", "reward_timeout", "beta"), (1e-9, 1e9)),
    "seed": (0, 2**31 - 1),
}
