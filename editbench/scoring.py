"""One batch of the score loop: edits to the metrics, values to journal events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editbench import journal
from editbench.cells import Cell, Key
from editbench.chains import Edits
from editbench.metrics import INPUT_INVALID, score, values_without_edit
from editbench.plan import Plan
from editbench.records import value_to_json
from editbench.types import EditbenchError, Image, Sample, Scenario, Task


def check_same_pixels(plan: Plan, scenario: Scenario, cell: Cell | None) -> None:
    """Refuse to score an edit of other pixels than the suite has now. Raises EditbenchError."""
    if cell is None or cell.edit["edit_status"] == "input_invalid":
        return
    try:
        pixels = scenario.pixels_sha256
    except Exception:  # a suite may be anybody's code
        pixels = None
    if cell.edit["pixels_sha256"] != pixels:
        raise EditbenchError(
            f"scenario {scenario.id!r} of {plan.suite.name} has other pixels than when {plan.store.path} was "
            "edited: restore the suite, or start a new run"
        )


def score_batch(
    plan: Plan, batch: Sequence[Task], cells: Mapping[Key, Cell], edits: Edits, images: Mapping[Key, Image]
) -> list[dict[str, Any]]:
    """Evaluate the metrics that the cells of a batch lack; return one event a cell that got values."""
    events: list[dict[str, Any]] = []
    waiting: dict[tuple[str, ...], list[tuple[Task, Sample]]] = {}
    for task in batch:
        cell = cells.get(task.key)
        if cell is None:
            continue
        missing = tuple(spec for spec in plan.signatures if lacks_value(plan, cell, spec))
        if not missing:
            continue
        status = cell.edit["edit_status"]
        if status == "ok":
            image = images.get(task.key)
            image = edits.read_edit(cell.edit["edit_sha256"]) if image is None else image
            waiting.setdefault(missing, []).append((task, Sample(task.shown, image)))
        elif status == "input_invalid":
            events.append(_score_event(plan, task, cell, dict.fromkeys(missing, INPUT_INVALID)))
        else:
            metrics = {spec: plan.metrics[spec] for spec in missing}
            events.append(_score_event(plan, task, cell, values_without_edit(metrics, task.scenario)))
    for missing, pairs in waiting.items():
        metrics = {spec: plan.metrics[spec] for spec in missing}
        rows = score(metrics, [sample for _, sample in pairs])
        for (task, _), row in zip(pairs, rows, strict=True):
            events.append(_score_event(plan, task, cells[task.key], row))
    return events


def lacks_value(plan: Plan, cell: Cell, spec: str) -> bool:
    """Whether a metric is still to be evaluated on a cell, or to be tried again."""
    if not cell.has(spec, plan.signatures[spec]):
        return True
    failed = cell.edit["edit_status"] == "ok" and "error" in cell.values[spec][1]
    return failed and plan.config.retry_on_error > 0


def _score_event(plan: Plan, task: Task, cell: Cell, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "score",
        "scenario_id": task.scenario.id,
        "repeat": task.repeat,
        "of": cell.name,
        "signed": journal.signed(plan.signatures),
        "values": {spec: value_to_json(value) for spec, value in values.items()},
    }
