"""What a run can be told: one set of names for the command line, YAML files and `run.json`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from editbench.images import AlignPolicy
from editbench.limits import MAX_DEATHS
from editbench.names import shown
from editbench.reading import read_json_file, read_yaml
from editbench.recipes import config_path
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

EXECUTORS = ("local", "processes", "ray")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run can be told; the same names as on the command line and in `--config` files."""

    suite: str
    """Suite spec: shapes@1, photos@1, folder:PATH …"""
    editor: str
    """Editor spec: identity, folder:PATH, command:PROGRAM, path.py:Name …"""
    label: str | None = None
    """Name on the board; by default the editor's spec."""
    metrics: str | None = None
    """Metric specs, separated by commas; by default the standard set."""
    limit: int | None = None
    """Only the first N scenarios: a suite identity of its own."""
    each: int | None = None
    """Only the first N scenarios of every category."""
    sample_id: tuple[str, ...] = ()
    """Only these scenarios."""
    seed: int = 0
    repeats: int = 1
    same_seed: bool = False
    """Give all repeats of a scenario one seed: where they differ, the editor is not deterministic."""
    batch_size: int | Literal["auto"] | None = None
    """Requests a call; by default what the editor asks for, or 1. `auto` doubles it until memory runs out, up to 64."""
    align: AlignPolicy = "error"
    """What to do with an output of another size: refuse it, or resize it."""
    isolate: bool | None = None
    """Whether the editor runs in a worker process; by default third-party code that is named by a spec does."""
    timeout: float | None = None
    """Seconds for one sample; needs a worker process."""
    memory_limit: str | None = None
    """Resident memory of the worker and its children together, such as 8GB or 512MiB; needs a worker process."""
    max_deaths: int = MAX_DEATHS
    """After so many samples in a row on which the worker ended, the rest is not run."""
    retry_on_error: int = 0
    """How often to try a failed edit, or a metric's value, again, with the same seed."""
    fail_on_error: float | None = None
    """Share (below 1) or count of failed edits above which the exit code is 3."""
    shard: str = "1/1"
    """i/n: only every n-th task, starting with the i-th; `slurm` takes both from the array job that this is part of."""
    chain: Literal["truth", "own"] = "truth"
    """What a later turn of a chain starts from: the suite's picture, or what the editor made of the turn before."""
    executor: str | None = None
    """Where tasks run: local (this process), processes, ray or ray:ADDRESS; processes if workers are given."""
    workers: int | None = None
    """Processes of a pool, each with an editor of its own; by default a core each, or on Ray a GPU each where asked."""
    gpus_per_worker: float = 0.0
    """GPUs, or a part of one, that Ray sets aside for each."""
    output_dir: str | None = None
    """The run directory; by default runs/<suite>/<label>."""

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Return the JSON schema of a configuration."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).json_schema()

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> RunConfig:
        """Check names and types of a configuration read from a file.

        Raises:
            EditbenchError: naming the option, its value and what was expected.
        """
        from pydantic import TypeAdapter, ValidationError

        for name in data:
            if name not in NAMES:
                raise EditbenchError(f"unknown option {shown(name)}{did_you_mean(str(name), NAMES)}")
        if isinstance(data.get("metrics"), list):
            data = {**data, "metrics": ",".join(map(str, data["metrics"]))}
        if isinstance(data.get("memory_limit"), int):
            data = {**data, "memory_limit": str(data["memory_limit"])}
        if isinstance(asked := data.get("batch_size"), str) and asked != "auto" and not asked.isdecimal():
            raise EditbenchError(
                f"batch_size: {shown(asked)}, expected a whole number or auto{did_you_mean(asked, ['auto'])}"
            )
        if data.get("shard") == "slurm":
            data = {**data, "shard": slurm_shard(os.environ)}
        if isinstance(data.get("sample_id"), str):
            data = {**data, "sample_id": [data["sample_id"]]}
        try:
            return TypeAdapter(cls).validate_python(dict(data))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "configuration"
            raise EditbenchError(f"{name}: {first['msg']} (got {shown(first.get('input'))})") from None


NAMES = frozenset(f.name for f in fields(RunConfig))


def check_config(config: RunConfig) -> None:
    """Check what the types do not say. Raises EditbenchError."""
    minima = {"repeats": 1, "batch_size": 1, "max_deaths": 1, "retry_on_error": 0, "seed": 0, "workers": 1}
    for name, minimum in minima.items():
        value = getattr(config, name)
        if isinstance(value, int) and value < minimum:
            raise EditbenchError(f"{name}: {value}, expected at least {minimum}")
    if config.timeout is not None and not 0 < config.timeout < math.inf:
        raise EditbenchError(f"timeout: {config.timeout}, expected seconds above 0")
    if config.fail_on_error is not None and not 0 <= config.fail_on_error < math.inf:
        raise EditbenchError(f"fail_on_error: {config.fail_on_error}, expected a share below 1 or a count")
    parse_shard(config.shard)
    _check_executor(config)


def _check_executor(config: RunConfig) -> None:
    kind = executor_kind(config)
    if kind not in EXECUTORS or (kind != "ray" and ":" in (config.executor or "")):
        meant = did_you_mean(kind, EXECUTORS)
        raise EditbenchError(f"executor {config.executor!r}, expected local, processes, ray or ray:ADDRESS{meant}")
    if kind == "local" and (config.workers or 1) > 1:
        raise EditbenchError(f"workers: {config.workers}, but --executor local has one: try --executor processes")
    if config.gpus_per_worker and kind != "ray":
        raise EditbenchError(f"gpus_per_worker: {config.gpus_per_worker:g}, which only --executor ray can set aside")
    if not 0 <= config.gpus_per_worker < math.inf:
        raise EditbenchError(f"gpus_per_worker: {config.gpus_per_worker}, expected 0 or more")


def executor_kind(config: RunConfig) -> str:
    """Return `local`, `processes` or `ray`: what is asked for, or what the number of workers says."""
    if config.executor is None:
        return "local" if (config.workers or 1) == 1 else "processes"
    return config.executor.partition(":")[0]


def slurm_shard(environment: Mapping[str, str]) -> str:
    """Return the shard of a task of a Slurm array job (`sbatch --array=0-15`), whatever its numbers begin with.

    Raises:
        EditbenchError: if this is none.
    """
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT")
    try:
        task, first, step, count = (int(environment[name]) for name in names)
    except (KeyError, ValueError):
        raise EditbenchError(
            f"shard 'slurm': {', '.join(names)} are not all set: is this a task of an array?"
        ) from None
    return f"{(task - first) // step + 1}/{count}"


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) for `i/n` with 1 <= i <= n; raises EditbenchError otherwise."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise EditbenchError(f"shard {text!r}, expected i/n with i from 1 to n, such as 1/4")
    return int(match[1]), int(match[2])


def read_config(path: Path) -> dict[str, Any]:
    """Read options from a YAML file, a recipe (`recipes/NAME.yaml`), or the run.json of an earlier run.

    Raises:
        EditbenchError: if the file cannot be read or is not a mapping.
    """
    path = config_path(path)
    data = read_json_file(path) if path.suffix == ".json" else read_yaml(path)
    if isinstance(data, dict) and isinstance(data.get("config"), dict):
        data = {name: value for name, value in data["config"].items() if value not in (None, [])}
    if not isinstance(data, dict):
        raise EditbenchError(f"{path}: {type(data).__name__}, expected options as `name: value`")
    found = {str(name).replace("-", "_"): value for name, value in data.items()}
    if len(found) < len(data):
        raise EditbenchError(f"{path}: an option stands twice, once with '-' and once with '_'")
    return found
