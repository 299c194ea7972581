"""The two loops: edit and score. One editor on one suite, resumable at every batch."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench import provenance
from editbench.batches import BatchSizes, Size
from editbench.durable import StorageError
from editbench.editing import edit_batch, executor_of, is_news, needs_edit
from editbench.execute import InProcess
from editbench.isolation import Worker
from editbench.placement import leaf_of
from editbench.plan import LABEL, Plan, RunConfig, make_plan, parse_shard, sample_seed
from editbench.records import Header, RecordFile
from editbench.scoring import check_same_pixels, score_batch
from editbench.space import check_space
from editbench.specs import slug
from editbench.store import Cell, Key, RunStore
from editbench.types import AnyEditor, Editor, EditStatus, Image, Metric, Task

if TYPE_CHECKING:
    import pandas

LOOK_AHEAD = 2
"""How many batches of tasks may wait for others of their image size."""


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
        return Counter(record.edit_status for record in self.records().records)

    def differing_repeats(self) -> list[str]:
        """Return the ids of scenarios of which repeats ended in another image or status than the first.

        In a run with `same_seed`, that is an editor that is not deterministic.
        """
        first: dict[str, tuple[str, str | None]] = {}
        differing: list[str] = []
        for record in self.records().records:
            ended = record.edit_status, record.edit_sha256
            if first.setdefault(record.scenario_id, ended) != ended and record.scenario_id not in differing[-1:]:
                differing.append(record.scenario_id)
        return differing

    def to_frame(self) -> pandas.DataFrame:
        """Return one row a record and one column a metric; undefined and failed values are missing."""
        import pandas as pd

        rows = []
        for record in self.records().records:
            row = {f: getattr(record, f) for f in ("scenario_id", "cluster", "category", "repeat", "edit_status")}
            values = {spec: value if isinstance(value, float) else None for spec, value in record.values.items()}
            rows.append({**row, **values})
        return pd.DataFrame(rows)


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
    plan = make_plan(config, None if isinstance(editor, str) else editor, metrics)
    for _ in carry_out(plan):
        pass
    for notice in plan.store.notices:
        warnings.warn(notice, stacklevel=2)
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
    executor, sizes = executor_of(plan), batch_sizes(plan)
    canaries = {"canaries": list(plan.drift)} if score else {}
    shard = f"{index}-of-{count}"
    cells: dict[Key, Cell] = {}
    try:
        check_space(plan)
        made_with = provenance.collect()
        if edit and store.exists() and (line := provenance.upgraded(store.read_run().get("provenance"), made_with)):
            store.notices.append(line)
        store.begin(plan.header, {"config": asdict(config), "provenance": made_with, **canaries})
        store.open_journal(shard)
        if isinstance(executor, Worker):
            executor.log_to(store.path / "logs" / f"{shard}.log")
        begun = {name: made_with[name] for name in ("editbench", "python", "packages", "git")}
        store.append([{"type": "start", "signatures": plan.signatures, "made_with": begun}])
        cells = store.cells()
        waves = _waves(plan, index, count)
        total = sum(map(len, waves))
        done = failed = 0
        started = not isinstance(executor, InProcess)  # a worker has, or else it would not be there
        for batch in _all_batches(plan, waves, sizes, cells):
            images: dict[Key, Image] = {}
            for task in batch:
                check_same_pixels(plan, task, cells.get(task.key))
            if edit:
                wanting = [task for task in batch if needs_edit(plan, cells, task)]
                if wanting and not started:
                    assert isinstance(executor, InProcess)
                    executor.start()
                    started = True
                finished = edit_batch(plan, executor, wanting, sizes)
                if (chains := plan.chains) is not None:
                    for (event, _), task in zip(finished, wanting, strict=True):
                        event["given_sha256"] = chains.given_sha256(task, cells)
                finished = [(event, image) for event, image in finished if is_news(event, cells)]
                store.append([event for event, _ in finished])
                for event, image in finished:
                    key = event["scenario_id"], event["repeat"]
                    cells[key] = Cell(event)
                    if image is not None:
                        images[key] = image
            if score:
                events = score_batch(plan, batch, cells, images)
                store.append(events)
                for event in events:
                    cells[event["scenario_id"], event["repeat"]].add(event["values"], plan.signatures)
            done += len(batch)
            found = [cells[task.key] for task in batch if task.key in cells]
            failed += sum(cell.edit["edit_status"] not in ("ok", "input_invalid") for cell in found)
            yield Progress(done, total, failed)
        everything = cells if count == 1 else store.cells()
        if is_complete(plan.header, everything):
            store.write_records(plan.header, everything)
    except StorageError as error:
        raise StorageError(
            f"{error}; {len(cells)} of {plan.total} edits are safe in {store.path}: mend that, and issue the same "
            "command again"
        ) from error
    finally:
        if executor is not None:
            executor.close()
        store.close()


def is_complete(header: Header, cells: Mapping[Key, Cell]) -> bool:
    """Whether every (scenario, repeat) has an edit, and a value of every metric."""
    signatures = {spec: header.signature(spec) for spec in header.metrics}
    return len(cells) == header.suite.scenarios * header.repeats and all(
        cell.has(spec, signature) for cell in cells.values() for spec, signature in signatures.items()
    )


def batch_sizes(plan: Plan) -> BatchSizes:
    """Return how many requests to begin with: as many as the run was told, or else as the editor asks for."""
    leaf = None if plan.editor is None else leaf_of(plan.editor)
    asked, told = int(getattr(leaf, "batch_size", 1)), plan.config.batch_size
    mixed = not isinstance(leaf, Editor) or bool(getattr(leaf, "mixes_sizes", False))
    return BatchSizes(told if isinstance(told, int) else asked, mixed, growing=told == "auto")


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


def _all_batches(
    plan: Plan, waves: Sequence[Sequence[int]], sizes: BatchSizes, cells: Mapping[Key, Cell]
) -> Iterator[list[Task]]:
    for wave in waves:
        yield from _batches((_task(plan, position, cells) for position in wave), sizes)


def _batches(tasks: Iterable[Task], sizes: BatchSizes) -> Iterator[list[Task]]:
    """Yield tasks in batches, of one image size each unless sizes may mix.

    It looks a few batches ahead for more of one size. What cannot be read is alone.
    """
    alike: dict[Size, list[Task]] = {}
    for task in tasks:
        size = _size_of(task, sizes)
        if size is None:
            yield [task]
            continue
        waiting = alike.setdefault(size, [])
        waiting.append(task)
        full = len(waiting) >= sizes.of(size)
        if full or sum(map(len, alike.values())) >= LOOK_AHEAD * sizes.of(size):
            yield alike.pop(size if full else next(iter(alike)))
    yield from alike.values()


def _task(plan: Plan, position: int, cells: Mapping[Key, Cell]) -> Task:
    place, repeat = divmod(position, plan.config.repeats)
    scenario, config = plan.suite[place], plan.config
    task = Task(scenario, repeat, sample_seed(config.seed, scenario.id, 0 if config.same_seed else repeat))
    return task if plan.chains is None else plan.chains.given(task, cells, plan.store)


def _size_of(task: Task, sizes: BatchSizes) -> Size | None:
    try:
        return sizes.bucket(task.shown.source)
    except Exception:  # a suite may be anybody's code
        return None
