"""One batch of edits: requests to the editor, answers to journal events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from editbench.batches import BatchSizes, run_in_batches
from editbench.cells import Cell, Key
from editbench.chains import Edits, TurnMissing
from editbench.changes import text_sum
from editbench.execute import Attempt, Executor, InProcess, judge, timed
from editbench.images import Accepted, InvalidImage, align, pixels_sha256
from editbench.isolation import Worker
from editbench.placement import leaf_of
from editbench.plan import Plan
from editbench.records import stable_reason
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Image, Task


def needs_edit(
    plan: Plan, cells: Mapping[Key, Cell], edits: Edits, task: Task, images: dict[Key, Image] | None
) -> bool:
    """Whether an edit is missing, may be outdated, or has failed less often than it may be tried.

    One that is there and is to be scored is looked at as a whole, and left in `images`; None if none will be scored.
    """
    cell = cells.get(task.key)
    if cell is None or cell.edit["edit_status"] == "not_run":
        return True
    if plan.chains is not None and cell.edit.get("given_sha256") != plan.chains.given_sha256(task, cells):
        return True  # the turn before was made again
    if plan.looks_up:
        return True
    if cell.edit["edit_status"] == "ok":
        sha256 = cell.edit["edit_sha256"]
        if images is None or all(cell.has(spec, signature) for spec, signature in plan.signatures.items()):
            return not edits.has_edit(sha256)
        if (image := edits.find_edit(sha256)) is None:
            return True
        images[task.key] = image
        return False
    return bool(cell.edit["attempts"] <= plan.config.retry_on_error)


def is_news(event: Mapping[str, Any], cells: Mapping[Key, Cell]) -> bool:
    """Whether an edit is another one than the journal has: equal ones keep their values."""
    cell = cells.get((event["scenario_id"], event["repeat"]))
    told = ("edit_status", "edit_sha256", "pixels_sha256", "given_sha256", "reason", "flags", "attempts")
    return cell is None or any(cell.edit.get(name) != event.get(name) for name in told)


def executor_of(plan: Plan) -> Executor | None:
    """Return what runs the editor; None for answers, which are looked up."""
    if plan.editor is None:
        return None
    leaf = leaf_of(plan.editor)
    if isinstance(leaf, Answers):
        return None
    return leaf if isinstance(leaf, Worker) else InProcess(leaf)


def edit_batch(
    plan: Plan, executor: Executor | None, tasks: Sequence[Task], sizes: BatchSizes
) -> list[tuple[dict[str, Any], Image | None]]:
    """Make the edits of a batch; return each one's event, and its image if there is one."""
    attempts: dict[int, Attempt] = {}
    for position, task in enumerate(tasks):
        try:
            _ = task.scenario.pixels_sha256, task.shown.source
        except TurnMissing as missing:
            attempts[position] = missing.attempt()
        except Exception as error:  # a suite may be anybody's code
            reason = str(error) if isinstance(error, EditbenchError) else stable_reason(error)
            attempts[position] = Attempt("input_invalid", reason=reason)
    open_ = [position for position in range(len(tasks)) if position not in attempts]
    tries = dict.fromkeys(range(len(tasks)), 1)
    for number in range(1, plan.config.retry_on_error + 2):
        if not open_:
            break
        made = _attempts(plan, executor, [tasks[position] for position in open_], sizes)
        for position, attempt in zip(open_, made, strict=True):
            if number == 1 or attempt.status != "not_run":  # given up meanwhile: what is known of it stays
                attempts[position], tries[position] = attempt, number
        open_ = [position for position in open_ if attempts[position].status != "ok"]
    return [_event(tasks[position], attempts[position], tries[position]) for position in range(len(tasks))]


def _attempts(plan: Plan, executor: Executor | None, tasks: Sequence[Task], sizes: BatchSizes) -> list[Attempt]:
    assert plan.editor is not None
    leaf = leaf_of(plan.editor)
    if executor is None:
        assert isinstance(leaf, Answers)
        attempts = [timed(lambda task=task: [_answer(leaf, task)])[0] for task in tasks]  # type: ignore[misc]
    else:
        attempts = run_in_batches(executor, [task.request(leaf.mask_access) for task in tasks], sizes)
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
    height, width = task.shown.source.shape[:2]
    try:
        image, flags = align(Accepted(attempt.image, attempt.flags), height, width, plan.config.align)
    except InvalidImage as error:
        return replace(attempt, status="output_invalid", image=None, flags=(), reason=str(error))
    assert plan.editor is not None
    return replace(attempt, image=_compose(plan.editor, task, image), flags=flags)


def _compose(editor: AnyEditor, task: Task, image: Image) -> Image:
    if not isinstance(editor, Composite):
        return image
    return editor.compose(task.shown, _compose(editor.editor, task, image))


def _event(task: Task, attempt: Attempt, tries: int) -> tuple[dict[str, Any], Image | None]:
    scenario = task.scenario
    event = {
        "type": "edit",
        "scenario_id": scenario.id,
        "cluster": scenario.cluster,
        "category": scenario.category,
        "turn": scenario.turn,
        "text_sum": text_sum(scenario),
        "repeat": task.repeat,
        "edit_status": attempt.status,
        "edit_sha256": None if attempt.image is None else pixels_sha256(attempt.image),
        "pixels_sha256": None if attempt.status == "input_invalid" else scenario.pixels_sha256,
        "reason": attempt.reason,
        "flags": list(attempt.flags),
        "attempts": tries,
        "seconds": attempt.seconds,
        "peak_bytes": attempt.peak_bytes,
        "batch_size": attempt.batch_size,
        "restarts": attempt.restarts,
        "traceback": attempt.traceback,
    }
    return event, attempt.image
