"""The two loops: edit and score. One editor on one suite, resumable at every batch."""

from __future__ import annotations

import contextlib
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench import provenance
from editbench.cells import Cell
from editbench.compaction import compact
from editbench.config import RunConfig, executor_kind, parse_shard
from editbench.durable import StorageError
from editbench.editing import executor_of
from editbench.keeping import Keeper
from editbench.ledger import Ledger
from editbench.mirrors import told
from editbench.names import LABEL
from editbench.plan import Plan, in_order, make_plan, numbers_of
from editbench.pool import Pool, seats_of
from editbench.pool.seated import Order
from editbench.record_files import RecordFile
from editbench.space import check_space
from editbench.specs import slug
from editbench.store import RunStore
from editbench.types import AnyEditor, EditbenchError, EditStatus, Metric
from editbench.work import Alone, Crew

if TYPE_CHECKING:
    import pandas


SETTLED = 1000
"""How often progress is told of cells for which nothing was left to do."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come; given after every batch."""

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Run:
    """One editor on one suite, on disk."""

    path: Path

    def records(self) -> RecordFile:
        """Return header and records; those of an unfinished run as far as it has come."""
        return RunStore(self.path).records()

    def statuses(self) -> Counter[EditStatus]:
        """Return how many edits ended how; those that were not even begun are in none of them."""
        return Counter(self.records().columns.statuses)

    def differing_repeats(self) -> list[str]:
        """Return the ids of scenarios of which repeats ended in another image or status than the first.

        In a run with `same_seed`, that is an editor that is not deterministic.
        """
        return differing_repeats(self.records())

    def to_frame(self) -> pandas.DataFrame:
        """Return one row a record and one column a metric; undefined and failed values are missing."""
        import pandas as pd

        rows = []
        for record in self.records().records:
            row = {f: getattr(record, f) for f in ("scenario_id", "cluster", "category", "repeat", "edit_status")}
            values = {spec: value if isinstance(value, float) else None for spec, value in record.values.items()}
            rows.append({**row, **values})
        return pd.DataFrame(rows)


def differing_repeats(file: RecordFile) -> list[str]:
    """Return the ids of scenarios as `Run.differing_repeats` does."""
    first: dict[str, tuple[str, str | None]] = {}
    columns, differing = file.columns, dict[str, None]()
    for name, status, sha256 in zip(columns.ids, columns.statuses, columns.edits, strict=True):
        if first.setdefault(name, (status, sha256)) != (status, sha256):
            differing[name] = None
    return [*differing]


def run(
    editor: str | AnyEditor | Callable[..., object],
    suite: str = "shapes@1",
    metrics: Sequence[str | Metric] | None = None,
    **options: Any,
) -> Run:
    """Run an editor on a suite and score it, resuming where an earlier call with the same arguments stopped.

    Args:
        editor: a spec string, an editor object or a plain function `(source, instruction, mask, seed) -> image`.
        suite: suite spec.
        metrics: metric specs or objects; None for the standard set.
        **options: any other field of `RunConfig` (label, limit, seed, repeats, output_dir, …).

    Raises:
        EditbenchError: for anything that is wrong, before the first edit.
        StorageError: if results cannot be written.
    """
    named = editor if isinstance(editor, str) else getattr(editor, "__name__", type(editor).__name__)
    config = RunConfig.from_mapping({"editor": named, "suite": suite, **options})
    if not isinstance(editor, str) and config.label is None:
        label = named if LABEL.fullmatch(named) else slug(named).strip("_@.-")
        config = replace(config, label=label or "editor")
    try:
        plan = make_plan(config, None if isinstance(editor, str) else editor, metrics)
        for _ in carry_out(plan):
            pass
    except EditbenchError as error:
        error.args = (told(str(error)),)
        raise
    for notice in plan.store.notices:
        warnings.warn(told(notice), stacklevel=2)
    return Run(plan.store.path)


def carry_out(plan: Plan, edit: bool = True, score: bool = True) -> Generator[Progress, None, None]:
    """Do what is left of a plan, batch by batch; the records are written when nothing is left.

    Args:
        plan: from `make_plan`.
        edit: whether to make missing edits.
        score: whether to evaluate metrics.

    Raises:
        EditbenchError: if the run directory holds another run, or another process is writing it.
        StorageError: if results cannot be written; what was finished before is kept.
    """
    store, config = plan.store, plan.config
    index, count = parse_shard(config.shard)
    canaries = {"canaries": list(plan.drift)} if score else {}
    shard = f"{index}-of-{count}"
    crew: Crew | None = None
    ledger = Ledger()
    try:
        check_space(plan)
        made_with = provenance.collect()
        if edit and store.exists() and (line := provenance.upgraded(store.read_run().get("provenance"), made_with)):
            store.notices.append(line)
        store.begin(plan.header, {"config": asdict(config), "provenance": made_with, **canaries})
        store.open_journal(shard)
        crew = _crew(plan, edit, score, shard)
        begun = {name: made_with[name] for name in ("editbench", "python", "packages", "git")}
        start = {"type": "start", "signatures": plan.signatures, "made_with": begun}
        path, offsets = store.append([start])
        store.read_into(ledger, numbers_of(plan))
        ledger.wrote(path, offsets, [start], {})
        with contextlib.closing(Keeper(plan, ledger, edit, score)) as keeper:  # whoever stops it is told if that fails
            yield from _work(crew, keeper, _waves(plan, index, count))
        if count > 1:  # what other shards have written meanwhile
            whole = Ledger()
            store.read_into(whole, numbers_of(plan), again=True)
            ledger.close()
            ledger = whole
        if ledger.known == plan.total and not (ledger.records and store.has_written(ledger.records, plan.header)):
            compact(store, plan.header, (ledger.cell(number, checked=False) for number in in_order(plan)))
    except StorageError as error:
        raise StorageError(
            f"{error}; {ledger.known} of {plan.total} edits are safe in {told(str(store.path))}: mend that, and issue "
            "the same command again"
        ) from error
    finally:
        ledger.close()
        if crew is not None:
            crew.close()
        elif (executor := executor_of(plan)) is not None:
            executor.close()
        store.close()


def _work(crew: Crew, keeper: Keeper, waves: Sequence[Sequence[int]]) -> Iterator[Progress]:
    """Let a crew do what is left of tasks, wave by wave. Raises as `carry_out` does."""
    total = sum(map(len, waves))
    done = failed = 0
    for wave in waves:
        left = array("q")
        for position in wave:
            if (cell := keeper.settled(position)) is None:
                left.append(position)
                continue
            done += 1
            failed += has_failed(cell)
            if done % SETTLED == 0:
                yield Progress(done, total, failed)
        if done:
            yield Progress(done, total, failed)
        if not left:
            continue
        for outcome in crew.outcomes(keeper.at_hand(left), keeper.cells):
            keeper.keep(outcome)
            if outcome.finished:
                done += len(outcome.finished)
                failed += sum(has_failed(keeper.cells[key]) for key in outcome.finished if key in keeper.cells)
                keeper.let_go(outcome.finished)
                yield Progress(done, total, failed)
        keeper.flush()


def has_failed(cell: Cell) -> bool:
    """Whether an edit is missing through no fault of the data."""
    return cell.edit["edit_status"] not in ("ok", "input_invalid")


def _crew(plan: Plan, edit: bool, score: bool, shard: str) -> Crew:
    """Return who does the tasks. With a pool, the editor of the plan has said what it declares, and is closed."""
    if executor_kind(plan.config) == "local":
        alone = Alone(plan, edit, score)
        alone.work.log_to(plan.store.path / "logs" / f"{shard}.log")
        return alone
    if (executor := executor_of(plan)) is not None:
        executor.close()
    return Pool(plan, seats_of(plan), Order.of(plan, edit, score, shard))


def _waves(plan: Plan, index: int, count: int) -> list[Sequence[int]]:
    """Return the tasks of a shard, counted through all repeats, in the order of work.

    What comes in a later wave may need what was made in the one before; a chain of own outputs stays in one shard.
    """
    repeats = plan.config.repeats
    if plan.chains is None:
        return [range(index - 1, plan.total, count)]
    return [
        [place * repeats + repeat for chain, place in wave if chain % count == index - 1 for repeat in range(repeats)]
        for wave in plan.chains.waves
    ]
