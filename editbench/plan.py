"""What to run: the plan that a configuration becomes once everything is loaded and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from editbench.cells import Key
from editbench.chains import Chains, chains_of, own_chains
from editbench.changes import refuse_changed
from editbench.config import RunConfig, check_config, executor_kind, read_config
from editbench.durable import probe
from editbench.editors import answers_sha256, code_sha256
from editbench.limits import Limits, memory_bytes
from editbench.metrics import describe, load_metrics
from editbench.metrics.canaries import drift
from editbench.mirrors import mirror_of, told
from editbench.names import LABEL, LABEL_RULE, address_of, shown
from editbench.placement import leaf_of, place_editor
from editbench.records import EditorInfo, Header, SuiteInfo
from editbench.registry import spec_of
from editbench.specs import slug
from editbench.store import RunStore
from editbench.suites import Selection, load_suite, select_each, select_first, select_ids
from editbench.types import Answers, AnyEditor, EditbenchError, Metric, Suite


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

    @cached_property
    def looks_up(self) -> bool:
        """Whether the edits are finished images, which may have been replaced since they were looked up."""
        return self.editor is not None and isinstance(leaf_of(self.editor), Answers)

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
    _probe(Path(config.output_dir or "runs"))
    plan = load_plan(config, editor, metrics)
    refuse_changed(plan.store, plan.suite)
    plan.store.refuse_another(plan.header)
    loaded = {**plan.metrics, **_recorded_metrics(plan.store, plan.metrics)}
    header = replace(plan.header, metrics={name: describe(metric) for name, metric in loaded.items()})
    return replace(plan, config=replace(config, metrics=",".join(loaded)), metrics=loaded, header=header)


def _probe(path: Path) -> None:
    mirror = mirror_of(path)
    if mirror is None:
        probe(path)
    else:
        mirror.objects.probe()


def load_plan(
    config: RunConfig,
    editor: AnyEditor | Callable[..., object] | None = None,
    metrics: Sequence[str | Metric] | None = None,
) -> Plan:
    """Load and check what a plan is made of, without a look at its run directory. Arguments as of `make_plan`."""
    if not isinstance(editor, str | None) and executor_kind(config) != "local":
        raise EditbenchError(
            f"executor {executor_kind(config)}: it needs an editor that other processes can build from its spec; put "
            f"{config.editor!r} into a file and name it path.py:NAME"
        )
    here = Path.cwd()  # foreign code may change directory
    given = Path(config.output_dir) if config.output_dir else None
    path = given if given is None or address_of(given) else here / given
    check_config(config)
    code = code_sha256(config.editor if editor is None else editor)
    limits = Limits(config.timeout, memory_bytes(config.memory_limit), config.max_deaths)
    chosen = place_editor(config.editor if editor is None else editor, config.isolate, limits)
    suite = chosen_suite(config)
    loaded = load_metrics(config.metrics if metrics is None else metrics)
    canonical = spec_of(chosen)
    label = config.label or (canonical if LABEL.fullmatch(canonical) else slug(canonical))
    if not LABEL.fullmatch(label):
        raise EditbenchError(f"label {shown(label)}, expected {LABEL_RULE}")
    warnings = [*getattr(_whole(suite), "warnings", ()), *_prepare(chosen, suite)]
    header = Header(
        suite=_suite_info(suite),
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
        metrics={name: describe(metric) for name, metric in loaded.items()},
    )
    header.check()
    store = RunStore(path or here / "runs" / slug(suite.name) / slug(label))
    return Plan(config, suite, chosen, loaded, header, store, tuple(warnings))


def _whole(suite: Suite) -> Suite:
    while isinstance(suite, Selection):
        suite = suite.suite
    return suite


def _suite_info(suite: Suite) -> SuiteInfo:
    return SuiteInfo(suite.name, suite.identity, len(suite), spec_of(_whole(suite)))


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


def _prepare(editor: AnyEditor, suite: Suite) -> Sequence[str]:
    leaf = leaf_of(editor)
    return leaf.prepare(suite) if isinstance(leaf, Answers) else ()


def numbers_of(plan: Plan) -> Callable[[Key], int]:
    """Return what numbers the cells of a run through all repeats; it raises KeyError for others.

    The suite is looked through at the first question: most runs begin with an empty journal.
    """
    places: dict[str, int] = {}

    def number(key: Key) -> int:
        if not places:
            places.update((scenario.id, place) for place, scenario in enumerate(plan.suite))
        scenario_id, repeat = key
        if not 0 <= repeat < plan.config.repeats:
            raise KeyError(repeat)
        return places[scenario_id] * plan.config.repeats + repeat

    return number


def in_order(plan: Plan) -> list[int]:
    """Return the numbers of all cells of a run in the order of its records."""
    ids = [scenario.id for scenario in plan.suite]
    repeats = range(plan.config.repeats)
    places = sorted(range(len(ids)), key=ids.__getitem__)
    return [place * plan.config.repeats + repeat for place in places for repeat in repeats]


def sample_seed(seed: int, scenario_id: str, repeat: int) -> int:
    """Return the seed of one sample, 31 bits, independent of batch, shard and order."""
    digest = hashlib.sha256(f"{seed}/{scenario_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def plan_of_run(path: Path, more_metrics: str | None = None, **how: Any) -> Plan:
    """Return the plan to score a run on disk, all its shards, with metrics added to its own.

    The editor is not needed: what it made is there.

    Args:
        path: the run directory.
        more_metrics: specs, separated by commas.
        **how: `executor` and so on, as in RunConfig: how the run was made says nothing about that.

    Raises:
        EditbenchError: if there is no run, or its suite is not what it was.
    """
    store = RunStore(path)
    header = store.read_header()
    probe(path)
    away = {"executor": None, "workers": None, "gpus_per_worker": 0.0}
    there = {"output_dir": told(str(path)), "shard": "1/1"}
    config = RunConfig.from_mapping({**read_config(path / "run.json"), **away, **there, **how})
    check_config(config)
    added = [spec for spec in load_metrics(more_metrics or []) if spec not in header.metrics]
    plan = scoring_plan(replace(config, metrics=",".join([*header.metrics, *added])), header)
    refuse_changed(store, plan.suite)
    return plan


def scoring_plan(config: RunConfig, header: Header) -> Plan:
    """Return the plan to score what was edited elsewhere or before: without the editor.

    Args:
        config: of the run; its metrics are those to evaluate.
        header: of the run; that of the plan has the suite as it is here.
    """
    assert config.output_dir is not None and config.metrics is not None
    suite = chosen_suite(config)
    metrics = load_metrics(config.metrics)
    described = {name: describe(metric) for name, metric in metrics.items()}
    header = replace(header, suite=_suite_info(suite), metrics=described)
    return Plan(config, suite, None, metrics, header, RunStore(Path(config.output_dir)), ())
