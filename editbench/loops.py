"""The two loops: edit and score. One editor on one suite, resumable at every batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench import provenance
from editbench.execute import Attempt, Executor, InProcess, Worker, judge, measured
from editbench.images import Accepted, InvalidImage, align
from editbench.metrics import INPUT_INVALID, score, values_without_edit
from editbench.plan import Plan, RunConfig, leaf_of, make_plan, parse_shard, sample_seed
from editbench.records import Header, RecordFile, stable_reason, value_to_json
from editbench.registry import spec_of
from editbench.store import Cell, Key, RunStore
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Image, Metric, Sample, Task

if TYPE_CHECKING:
    import pandas


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
        config = replace(config, label=named)
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
    executor = _executor(plan)
    store.begin(plan.header, {"config": asdict(config), "provenance": provenance.collect()})
    store.open_journal(f"{index}-of-{count}")
    try:
        cells = store.cells()
        store.append([{"type": "start", "signatures": plan.signatures}])
        total = len(range(index - 1, plan.total, count))
        done = failed = 0
        for batch in _batches(plan, index, count):
            images: dict[Key, Image] = {}
            for task in batch:
                _check_same_pixels(plan, task, cells.get(_key(task)))
            if edit:
                finished = _edit_batch(plan, executor, [task for task in batch if _needs_edit(plan, cells, task)])
                finished = [(event, image) for event, image in finished if _is_news(event, cells)]
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
            failed += sum(key in cells and cells[key].edit["edit_status"] != "ok" for key in map(_key, batch))
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


def _key(task: Task) -> Key:
    return task.scenario.id, task.repeat


def _batches(plan: Plan, index: int, count: int) -> Iterator[list[Task]]:
    repeats = plan.config.repeats
    mine = range(index - 1, plan.total, count)
    asked = 1 if plan.editor is None else int(getattr(leaf_of(plan.editor), "batch_size", 1))
    size = plan.config.batch_size or asked
    for start in range(0, len(mine), size):
        batch = []
        for position in mine[start : start + size]:
            scenario, repeat = plan.suite[position // repeats], position % repeats
            batch.append(Task(scenario, repeat, sample_seed(plan.config.seed, scenario.id, repeat)))
        yield batch


# -------------------------------------------------------------------------------------------------------- edit


def _needs_edit(plan: Plan, cells: Mapping[Key, Cell], task: Task) -> bool:
    cell = cells.get(_key(task))
    if cell is None or cell.edit["edit_status"] == "not_run":
        return True
    if plan.editor is not None and isinstance(leaf_of(plan.editor), Answers):
        return True  # a finished image may have been replaced since it was looked up
    if cell.edit["edit_status"] == "ok":
        return not plan.store.edit_path(cell.edit["edit_sha256"]).exists()
    return bool(cell.edit["attempts"] <= plan.config.retry_on_error)


def _is_news(event: Mapping[str, Any], cells: Mapping[Key, Cell]) -> bool:
    """Whether an edit is another one than the journal has: equal ones keep their values."""
    cell = cells.get((event["scenario_id"], event["repeat"]))
    told = ("edit_status", "edit_sha256", "pixels_sha256", "reason", "flags", "attempts")
    return cell is None or any(cell.edit[name] != event[name] for name in told)


def _executor(plan: Plan) -> Executor | None:
    """Return what runs the editor; None for answers, which are looked up."""
    if plan.editor is None:
        return None
    leaf = leaf_of(plan.editor)
    if isinstance(leaf, Answers):
        return None
    return InProcess(leaf) if plan.config.timeout is None else Worker(spec_of(leaf), plan.config.timeout)


def _edit_batch(
    plan: Plan, executor: Executor | None, tasks: Sequence[Task]
) -> list[tuple[dict[str, Any], Image | None]]:
    """Make the edits of a batch; return each one's event, and its image if there is one."""
    attempts: dict[int, Attempt] = {}
    for position, task in enumerate(tasks):
        try:
            _ = task.scenario.pixels_sha256
        except Exception as error:  # a suite may be anybody's code
            reason = str(error) if isinstance(error, EditbenchError) else stable_reason(error)
            attempts[position] = Attempt("input_invalid", reason=reason)
    open_ = [position for position in range(len(tasks)) if position not in attempts]
    tries = dict.fromkeys(range(len(tasks)), 1)
    for number in range(1, plan.config.retry_on_error + 2):
        if not open_:
            break
        made = _attempts(plan, executor, [tasks[position] for position in open_])
        attempts.update(zip(open_, made, strict=True))
        tries.update(dict.fromkeys(open_, number))
        open_ = [position for position in open_ if attempts[position].status != "ok"]
    return [_finish(plan, tasks[position], attempts[position], tries[position]) for position in range(len(tasks))]


def _attempts(plan: Plan, executor: Executor | None, tasks: Sequence[Task]) -> list[Attempt]:
    assert plan.editor is not None
    leaf = leaf_of(plan.editor)
    if executor is None:
        assert isinstance(leaf, Answers)
        attempts = [measured(lambda task=task: [_answer(leaf, task)])[0] for task in tasks]  # type: ignore[misc]
    else:
        attempts = executor.run([task.request(leaf.mask_access) for task in tasks])
    return [_align(plan, task, attempt) for task, attempt in zip(tasks, attempts, strict=True)]


def _answer(answers: Answers, task: Task) -> Attempt:
    try:
        output = answers.answer(task)
    except Exception as error:
        return judge(error)
    return Attempt("output_missing", reason="no image for this scenario") if output is None else judge(output)


def _align(plan: Plan, task: Task, attempt: Attempt) -> Attempt:
    if attempt.image is None:
        return attempt
    height, width = task.scenario.source.shape[:2]
    try:
        image, flags = align(Accepted(attempt.image, attempt.flags), height, width, plan.config.align)
    except InvalidImage as error:
        return replace(attempt, status="output_invalid", image=None, flags=(), reason=str(error))
    assert plan.editor is not None
    return replace(attempt, image=_compose(plan.editor, task, image), flags=flags)


def _compose(editor: AnyEditor, task: Task, image: Image) -> Image:
    if not isinstance(editor, Composite):
        return image
    return editor.compose(task.scenario, _compose(editor.editor, task, image))


def _finish(plan: Plan, task: Task, attempt: Attempt, tries: int) -> tuple[dict[str, Any], Image | None]:
    scenario = task.scenario
    event = {
        "type": "edit",
        "scenario_id": scenario.id,
        "cluster": scenario.cluster,
        "category": scenario.category,
        "repeat": task.repeat,
        "edit_status": attempt.status,
        "edit_sha256": None if attempt.image is None else plan.store.write_edit(attempt.image),
        "pixels_sha256": None if attempt.status == "input_invalid" else scenario.pixels_sha256,
        "reason": attempt.reason,
        "flags": list(attempt.flags),
        "attempts": tries,
        "seconds": attempt.seconds,
        "peak_bytes": attempt.peak_bytes,
        "traceback": attempt.traceback,
    }
    return event, attempt.image


# ------------------------------------------------------------------------------------------------------- score


def _score_batch(
    plan: Plan, batch: Sequence[Task], cells: Mapping[Key, Cell], images: Mapping[Key, Image]
) -> list[dict[str, Any]]:
    """Evaluate the metrics that the cells of a batch lack; return one event a cell that got values."""
    events: list[dict[str, Any]] = []
    waiting: dict[tuple[str, ...], list[tuple[Task, Sample]]] = {}
    for task in batch:
        cell = cells.get(_key(task))
        if cell is None:
            continue
        missing = tuple(spec for spec in plan.signatures if _needs_score(plan, cell, spec))
        if not missing:
            continue
        status = cell.edit["edit_status"]
        if status == "ok":
            image = images.get(_key(task))
            image = plan.store.read_edit(cell.edit["edit_sha256"]) if image is None else image
            waiting.setdefault(missing, []).append((task, Sample(task.scenario, image)))
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
