"""The two loops: edit and score. One editor on one suite, resumable at every batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench import provenance
from editbench.batches import BatchSizes, Size
from editbench.editing import edit_batch, executor_of, is_news, needs_edit
from editbench.execute import InProcess
from editbench.isolation import Worker
from editbench.metrics import INPUT_INVALID, score, values_without_edit
from editbench.names import LABEL
from editbench.placement import leaf_of
from editbench.plan import Plan, RunConfig, make_plan, parse_shard, sample_seed
from editbench.records import Header, RecordFile, value_to_json
from editbench.specs import slug
from editbench.store import Cell, Key, RunStore
from editbench.types import AnyEditor, EditbenchError, Editor, EditStatus, Image, Metric, Sample, Task

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
    try:
        store.begin(plan.header, {"config": asdict(config), "provenance": provenance.collect(), **canaries})
        store.open_journal(shard)
        if isinstance(executor, Worker):
            executor.log_to(store.path / "logs" / f"{shard}.log")
        cells = store.cells()
        store.append([{"type": "start", "signatures": plan.signatures}])
        waves = _waves(plan, index, count)
        total = sum(map(len, waves))
        done = failed = 0
        started = not isinstance(executor, InProcess)  # a worker has, or else it would not be there
        for batch in _all_batches(plan, waves, sizes, cells):
            images: dict[Key, Image] = {}
            for task in batch:
                _check_same_pixels(plan, task, cells.get(task.key))
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
                events = _score_batch(plan, batch, cells, images)
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


# ------------------------------------------------------------------------------------------------------- score


def _score_batch(
    plan: Plan, batch: Sequence[Task], cells: Mapping[Key, Cell], images: Mapping[Key, Image]
) -> list[dict[str, Any]]:
    """Evaluate the metrics that the cells of a batch lack; return one event a cell that got values."""
    events: list[dict[str, Any]] = []
    waiting: dict[tuple[str, ...], list[tuple[Task, Sample]]] = {}
    for task in batch:
        cell = cells.get(task.key)
        if cell is None:
            continue
        missing = tuple(spec for spec in plan.signatures if _needs_score(plan, cell, spec))
        if not missing:
            continue
        status = cell.edit["edit_status"]
        if status == "ok":
            image = images.get(task.key)
            image = plan.store.read_edit(cell.edit["edit_sha256"]) if image is None else image
            waiting.setdefault(missing, []).append((task, Sample(task.shown, image)))
        elif status == "input_invalid":
            events.append(_score_event(task, dict.fromkeys(missing, INPUT_INVALID)))
        else:
            metrics = {spec: plan.metrics[spec] for spec in missing}
            events.append(_score_event(task, values_without_edit(metrics, task.scenario)))
    for missing, pairs in waiting.items():
        metrics = {spec: plan.metrics[spec] for spec in missing}
        rows = score(metrics, [sample for _, sample in pairs])
        events += [_score_event(task, row) for (task, _), row in zip(pairs, rows, strict=True)]
    return events


def _needs_score(plan: Plan, cell: Cell, spec: str) -> bool:
    if not cell.has(spec, plan.signatures[spec]):
        return True
    failed = cell.edit["edit_status"] == "ok" and "error" in cell.values[spec][1]
    return failed and plan.config.retry_on_error > 0


def _check_same_pixels(plan: Plan, task: Task, cell: Cell | None) -> None:
    if cell is None or cell.edit["edit_status"] == "input_invalid":
        return
    try:
        pixels = task.scenario.pixels_sha256
    except Exception:  # a suite may be anybody's code
        pixels = None
    if cell.edit["pixels_sha256"] != pixels:
        raise EditbenchError(
            f"scenario {task.scenario.id!r} of {plan.suite.name} has other pixels than when {plan.store.path} was "
            "edited: restore the suite, or start a new run"
        )


def _score_event(task: Task, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "score",
        "scenario_id": task.scenario.id,
        "repeat": task.repeat,
        "values": {spec: value_to_json(value) for spec, value in values.items()},
    }
