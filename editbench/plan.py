"""What to run: a configuration, and the plan that it becomes once everything is loaded and checked."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from editbench.chains import Chains, chains_of, own_chains
from editbench.editors import answers_sha256, code_sha256
from editbench.images import AlignPolicy
from editbench.isolation import MAX_DEATHS, Limits, memory_bytes
from editbench.metrics import describe, load_metrics
from editbench.metrics.canaries import drift
from editbench.names import LABEL, LABEL_RULE, shown
from editbench.placement import leaf_of, place_editor
from editbench.reading import read_json_file, read_yaml
from editbench.recipes import config_path
from editbench.records import EditorInfo, Header, SuiteInfo
from editbench.registry import spec_of
from editbench.specs import did_you_mean, slug
from editbench.store import RunStore
from editbench.suites import Selection, load_suite, select_each, select_first, select_ids
from editbench.types import Answers, AnyEditor, EditbenchError, Metric, Suite


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
    """i/n: only every n-th task, starting with the i-th."""
    chain: Literal["truth", "own"] = "truth"
    """What a later turn of a chain starts from: the suite's picture, or what the editor made of the turn before."""
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
        if isinstance(data.get("sample_id"), str):
            data = {**data, "sample_id": [data["sample_id"]]}
        try:
            return TypeAdapter(cls).validate_python(dict(data))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "configuration"
            raise EditbenchError(f"{name}: {first['msg']} (got {shown(first.get('input'))})") from None


NAMES = frozenset(f.name for f in fields(RunConfig))


@dataclass(frozen=True)
class Plan:
    """A configuration made real: everything loaded and checked, nothing written yet."""

    config: RunConfig
    suite: Suite
    editor: AnyEditor | None
    """None where edits are only scored."""
    metrics: Mapping[str, Metric]
    header: Header
    store: RunStore
    warnings: tuple[str, ...]

    @cached_property
    def signatures(self) -> dict[str, str]:
        """The signature of every metric."""
        return {spec: self.header.signature(spec) for spec in self.metrics}

    @cached_property
    def chains(self) -> Chains | None:
        """The order of turns that go on from the editor's own outputs; None where none does."""
        return chains_of(self.suite) if self.config.chain == "own" else None

    @cached_property
    def drift(self) -> tuple[str, ...]:
        """Where metrics do not have the values on the canaries that they had when they were written, one line each."""
        return tuple(drift(self.metrics))

    @property
    def total(self) -> int:
        """Number of (scenario, repeat) cells of the whole run, all shards together."""
        return len(self.suite) * self.config.repeats


def make_plan(
    config: RunConfig,
    editor: AnyEditor | Callable[..., object] | None = None,
    metrics: Sequence[str | Metric] | None = None,
) -> Plan:
    """Load and check everything that a run needs; write nothing.

    Args:
        config: what to run.
        editor: an editor object or function to use instead of `config.editor`, which then only names it.
        metrics: metric specs or objects to use instead of `config.metrics`.

    Raises:
        EditbenchError: for anything that is wrong, before the first edit.
    """
    here = Path.cwd()  # foreign code may change directory
    path = here / config.output_dir if config.output_dir else None
    _check_numbers(config)
    code = code_sha256(config.editor if editor is None else editor)
    limits = Limits(config.timeout, memory_bytes(config.memory_limit), config.max_deaths)
    chosen = place_editor(config.editor if editor is None else editor, config.isolate, limits)
    suite = chosen_suite(config)
    loaded = load_metrics(config.metrics if metrics is None else metrics)
    canonical = spec_of(chosen)
    label = config.label or (canonical if LABEL.fullmatch(canonical) else slug(canonical))
    if not LABEL.fullmatch(label):
        raise EditbenchError(f"label {shown(label)}, expected {LABEL_RULE}")
    whole = suite
    while isinstance(whole, Selection):
        whole = whole.suite
    warnings = [*getattr(whole, "warnings", ()), *_prepare(chosen, suite)]
    header = Header(
        suite=SuiteInfo(suite.name, suite.identity, len(suite), spec_of(whole)),
        editor=EditorInfo(
            spec=canonical,
            label=label,
            mask_access=chosen.mask_access,
            control=bool(getattr(chosen, "control", False)),
            trained_on=tuple(getattr(chosen, "trained_on", ())),
            code_sha256=answers_sha256(code, leaf_of(chosen)),
        ),
        seed=config.seed,
        repeats=config.repeats,
        same_seed=config.same_seed,
        align=config.align,
        metrics={},
    )
    header.check()
    store = RunStore(path or here / "runs" / slug(suite.name) / slug(label))
    store.refuse_another(header)
    loaded = {**loaded, **_recorded_metrics(store, loaded)}
    header = replace(header, metrics={name: describe(metric) for name, metric in loaded.items()})
    config = replace(config, metrics=",".join(loaded))
    return Plan(config, suite, chosen, loaded, header, store, tuple(warnings))


def _recorded_metrics(store: RunStore, given: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics of a run on disk that were not asked for again: what is measured stays measured."""
    if not store.exists():
        return {}
    missing = [spec for spec in store.read_header().metrics if spec not in given]
    try:
        return load_metrics(missing)
    except EditbenchError as error:
        raise EditbenchError(
            f"{store.path} has values of a metric that cannot be loaded now ({error}): give another --output-dir"
        ) from None


def chosen_suite(config: RunConfig) -> Suite:
    """Return the suite of a configuration, or the selection of it that is asked for, as chains if they are."""
    selected = _selected(config)
    return own_chains(selected) if config.chain == "own" else selected


def _selected(config: RunConfig) -> Suite:
    suite = load_suite(config.suite)
    given = [name for name in ("sample_id", "each", "limit") if getattr(config, name) not in (None, ())]
    if len(given) > 1:
        raise EditbenchError(f"{' and '.join(given)} select scenarios in different ways: give one of them")
    if config.sample_id:
        return select_ids(suite, config.sample_id)
    if config.each is not None:
        return select_each(suite, config.each)
    return suite if config.limit is None else select_first(suite, config.limit)


def _check_numbers(config: RunConfig) -> None:
    minima = {"repeats": 1, "batch_size": 1, "max_deaths": 1, "retry_on_error": 0, "seed": 0}
    for name, minimum in minima.items():
        value = getattr(config, name)
        if isinstance(value, int) and value < minimum:
            raise EditbenchError(f"{name}: {value}, expected at least {minimum}")
    if config.timeout is not None and not 0 < config.timeout < math.inf:
        raise EditbenchError(f"timeout: {config.timeout}, expected seconds above 0")
    if config.fail_on_error is not None and not 0 <= config.fail_on_error < math.inf:
        raise EditbenchError(f"fail_on_error: {config.fail_on_error}, expected a share below 1 or a count")
    parse_shard(config.shard)


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) for `i/n` with 1 <= i <= n; raises EditbenchError otherwise."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise EditbenchError(f"shard {text!r}, expected i/n with i from 1 to n, such as 1/4")
    return int(match[1]), int(match[2])


def _prepare(editor: AnyEditor, suite: Suite) -> Sequence[str]:
    leaf = leaf_of(editor)
    return leaf.prepare(suite) if isinstance(leaf, Answers) else ()


def sample_seed(seed: int, scenario_id: str, repeat: int) -> int:
    """Return the seed of one sample, 31 bits, independent of batch, shard and order."""
    digest = hashlib.sha256(f"{seed}/{scenario_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


# ------------------------------------------------------------------------------------------------ from files


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


def plan_of_run(path: Path, more_metrics: str | None = None) -> Plan:
    """Return the plan to score a run on disk, all its shards, with metrics added to its own.

    The editor is not needed: what it made is there.

    Raises:
        EditbenchError: if there is no run, or its suite is not what it was.
    """
    store = RunStore(path)
    header = store.read_header()
    config = RunConfig.from_mapping({**read_config(path / "run.json"), "output_dir": str(path), "shard": "1/1"})
    suite = chosen_suite(config)
    if suite.identity != header.suite.identity:
        raise EditbenchError(
            f"{suite.name} is not what it was when {path} was made (identity {suite.identity[:12]}, then "
            f"{header.suite.identity[:12]}): restore the suite, or start a new run"
        )
    metrics = load_metrics([*header.metrics, *(m for m in load_metrics(more_metrics or []) if m not in header.metrics)])
    header = replace(header, metrics={name: describe(metric) for name, metric in metrics.items()})
    return Plan(config, suite, None, metrics, header, store, ())
