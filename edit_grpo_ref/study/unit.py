"""One unit of the study, from the base policy to two small files: the harness's records, and facts about the run.

Everything is made in a work folder; finished files are moved whole into place, the records last. A unit is done when
its records are there.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edit_grpo_ref.config import Config, NftConfig
from edit_grpo_ref.study.plan import StudyPlan, Unit
from editbench.durable import write_whole
from editbench.names import shown
from editbench.reading import JSON_BYTES, TooMuch, read_limited
from editbench.records import dumps, loads
from editbench.types import EditbenchError

CURVES = ("reward/edit", "reward/keep", "validation/edit", "validation/keep")
"""What the facts keep of a log, step by step."""


@dataclass(frozen=True)
class Folders:
    """Where a study's files are."""

    output: Path
    """Of the layout of `leaderboards/`: `records/<board>/<label>.jsonl.gz`, `study/units/<label>.json`, the report."""
    work: Path
    """Runs in progress, and checkpoints."""
    board: str

    def records(self, unit: Unit) -> Path:
        """Where the records of a unit go."""
        return self.output / "records" / self.board / f"{unit.label}.jsonl.gz"

    def facts(self, unit: Unit) -> Path:
        """Where the facts about a unit go."""
        return self.output / "study" / "units" / f"{unit.label}.json"

    @property
    def checkpoints(self) -> Path:
        """Where the policy of each trained unit goes."""
        return self.work / "checkpoints"


def is_done(plan: StudyPlan, unit: Unit, folders: Folders) -> bool:
    """Whether a unit's records are there.

    Raises:
        EditbenchError: if they are of a unit that was told something else.
    """
    if not folders.records(unit).is_file():
        return False
    found, expected = read_facts(folders.facts(unit))["fingerprint"], plan.fingerprint(unit)
    if found != expected:
        raise EditbenchError(
            f"{folders.records(unit)} was made with other options or another base policy (fingerprint {found}, now "
            f"{expected}): restore them, or move the file away to run the unit again"
        )
    return True


def read_facts(path: Path) -> dict[str, Any]:
    """Read what is known of a finished unit.

    Raises:
        EditbenchError: naming the file, if it is missing or malformed.
    """
    try:
        facts: dict[str, Any] = loads(read_limited(path, JSON_BYTES))
        if not isinstance(facts, dict):
            raise ValueError(f"{shown(facts)}, expected an object")
        missing = {"label", "fingerprint", "compute", "curves"} - set(facts)
    except OSError as error:
        raise EditbenchError(f"{path}: {error.strerror}; it belongs to the records of the same name") from None
    except (ValueError, TooMuch) as error:
        raise EditbenchError(f"{path}: malformed JSON ({error})") from None
    if missing:
        raise EditbenchError(f"{path}: without {', '.join(sorted(missing))}")
    return facts


def carry_out(plan: StudyPlan, unit: Unit, folders: Folders) -> bool:
    """Train, evaluate and deliver a unit, or go on with it; return False if it was told to stop and has saved.

    Raises:
        EditbenchError: for anything that is wrong.
    """
    import torch

    torch.set_num_threads(1)
    folders = Folders(folders.output.absolute(), folders.work.absolute(), folders.board)
    fingerprint = plan.fingerprint(unit)
    work = folders.work / "units" / f"{unit.label}-{fingerprint}"
    config = plan.config(unit, str(work / "train"))
    weights = None
    if config is not None:
        if not _train(config):
            return False
        weights = _export(work / "train", folders.checkpoints / f"{unit.label}.safetensors", unit)
    began = time.perf_counter()
    records = _evaluate(plan, unit, folders, work / "run")
    log = _log(work / "train")
    seconds = {"training": _seconds(log), "evaluation": round(time.perf_counter() - began, 1)}
    facts = {
        "label": unit.label,
        "method": unit.method,
        "weight": unit.weight,
        "seed": unit.seed,
        "fingerprint": fingerprint,
        "learning_rate": None if config is None else config.learning_rate,
        "weights_sha256": weights,
        "torch": torch.__version__,
        "compute": {**compute(plan, unit), "seconds": seconds},
        "curves": curves(log),
    }
    write_whole(folders.facts(unit), [dumps(facts).encode() + b"\n"])
    write_whole(folders.records(unit), [gzip.compress(records, 9, mtime=0)])
    return True


# ------------------------------------------------------------------------------------------- training, evaluation


def _train(config: Config | NftConfig) -> bool:
    if isinstance(config, Config):
        from edit_grpo_ref.train import train

        return train(config)
    from edit_grpo_ref.train_nft import train as train_nft

    return train_nft(config)


def _export(run: Path, to: Path, unit: Unit) -> str:
    """Write a run's policy as a checkpoint of its own and return the file's sha256."""
    from edit_grpo_ref.checkpoint import encode, for_editing, read

    data = encode(for_editing(read(run), unit.label))
    write_whole(to, [data])
    return hashlib.sha256(data).hexdigest()


def _evaluate(plan: StudyPlan, unit: Unit, folders: Folders, run: Path) -> bytes:
    """Run the harness on a unit's editor; return its record file.

    The editor's spec names its checkpoint from within the folder of checkpoints: records hold no path of this machine,
    and anyone with the checkpoints can run the same spec there.
    """
    from editbench import loops
    from editbench.config import RunConfig
    from editbench.plan import make_plan

    told = plan.evaluation
    folders.checkpoints.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folders.checkpoints):
        config = RunConfig(
            suite=told.suite,
            editor=plan.editor(unit),
            label=unit.label,
            metrics=",".join(told.metrics),
            each=told.each,
            seed=unit.seed,
            output_dir=str(run),
        )
        for _ in loops.carry_out(make_plan(config)):
            pass
    return (run / "records.jsonl").read_bytes()


# ---------------------------------------------------------------------------------------------------------- facts


def compute(plan: StudyPlan, unit: Unit) -> dict[str, int]:
    """Return what a unit costs, in numbers that do not depend on the machine.

    Returns:
        `updates` of the weights; `reward_calls`: images that were scored to learn, or to choose, from (validations are
        not among them); `forward_passes` of the network, one an image, in training, with or without gradient.
    """
    config, method = plan.config(unit), plan.methods[unit.method]
    if config is None:
        from editbench.config import RunConfig
        from editbench.plan import chosen_suite

        suite = chosen_suite(RunConfig(plan.evaluation.suite, "", each=plan.evaluation.each))
        return {"updates": 0, "reward_calls": len(suite) * method.best_of * (method.best_of > 1), "forward_passes": 0}
    images = config.steps * config.prompts * config.samples
    return {
        "updates": config.steps * config.updates,
        "reward_calls": images,
        "forward_passes": config.prompts * config.samples * sum(_passes(config, step) for step in range(config.steps)),
    }


def _passes(config: Config | NftConfig, step: int) -> int:
    """Return the forward passes that one image takes in one step of training."""
    from edit_grpo_ref import flow

    if isinstance(config, NftConfig):
        moments = min(config.moments, config.denoising_steps)
        return config.denoising_steps + config.updates * moments * (2 + (config.kl > 0))
    told = (config.window, config.denoising_steps, step, config.seed, config.window_size, config.window_every)
    trained = len(flow.window(*told)[1])
    return config.denoising_steps + config.updates * trained * (1 + (config.kl_edit > 0 or config.kl_keep > 0))


def curves(log: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Return `[step, value]` pairs of each curve, values of six significant digits."""
    found = {}
    for name in CURVES:
        pairs = [[line["step"], float(f"{line[name]:.6g}")] for line in log if line.get(name) is not None]
        if pairs:
            found[name] = pairs
    return found


def _log(run: Path) -> list[dict[str, Any]]:
    path = run / "log.jsonl"
    return [loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _seconds(log: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds of all steps, of all processes that made some of them."""
    return round(sum(value for line in log for name, value in line.items() if name.startswith("seconds/")), 1)
