"""One record of a submission against the suite, its edit and its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from editbench.cells import Cell, Key
from editbench.images import InvalidImage
from editbench.metrics import INPUT_INVALID, score, values_without_edit
from editbench.metrics.canaries import tolerance
from editbench.plan import Plan
from editbench.types import Failed, Metric, Record, Sample, Scenario, Task, Value


def name_of(key: Key) -> str:
    """Return how lines name a (scenario, repeat)."""
    return f"{key[0]}, repeat {key[1]}"


def cell_of(record: Record) -> Cell:
    """Return what a record says of its edit: the journal of a submission is not looked at."""
    return Cell({"edit_status": record.edit_status, "edit_sha256": record.edit_sha256})


def check_cell(
    plan: Plan, scenario: Scenario, record: Record, cells: Mapping[Key, Cell]
) -> tuple[Sample | None, list[str]]:
    """Return the edit of a record, if it has one, and what is wrong with the record apart from its values."""
    name = name_of((record.scenario_id, record.repeat))
    problems = [
        f"{name}: {fact} is {getattr(record, fact)!r}, the suite says {getattr(scenario, fact)!r}"
        for fact in ("cluster", "category", "turn")
        if getattr(record, fact) != getattr(scenario, fact)
    ]
    problems += [f"{name}: a value of {spec}, which the header does not have" for spec in foreign_values(plan, record)]
    if record.edit_status == "not_run":
        return None, [*problems, f"{name}: was not run"]
    try:
        pixels: str | None = scenario.pixels_sha256
    except Exception:  # a suite may be anybody's code
        pixels = None
    if (record.edit_status == "input_invalid") != (pixels is None):
        readable = "cannot" if pixels is None else "can"
        return None, [*problems, f"{name}: is {record.edit_status}, but the scenario {readable} be read here"]
    if pixels != record.pixels_sha256:
        return None, [*problems, f"{name}: the scenario has other pixels than the record says"]
    if record.edit_sha256 is None:
        return None, problems
    try:
        output = plan.store.edits.read_edit(record.edit_sha256)
        shown = given(plan, Task(scenario, record.repeat, 0), cells).shown
        if output.shape != shown.source.shape:
            raise InvalidImage(f"is of shape {output.shape}, the source of {shown.source.shape}")
    except Exception as error:
        return None, [*problems, f"{name}: {error}"]
    return Sample(shown, output), problems


def foreign_values(plan: Plan, record: Record) -> list[str]:
    """Return the metrics of a record that the header does not know."""
    return sorted(record.values.keys() - plan.metrics.keys())


def given(plan: Plan, task: Task, cells: Mapping[Key, Cell]) -> Task:
    """Return a task as the editor was given it: a later turn of own outputs begins with the output before."""
    return task if plan.chains is None else plan.chains.given(task, cells, plan.store.edits)


def without_edit(plan: Plan, scenario: Scenario, record: Record) -> Mapping[str, Value]:
    """Return the values that a record without an edit has."""
    if record.edit_status == "input_invalid":
        return dict.fromkeys(plan.metrics, INPUT_INVALID)
    return values_without_edit(plan.metrics, scenario)


def compare_again(plan: Plan, samples: Sequence[tuple[Record, Sample]]) -> list[str]:
    """Score edits again, and return what is not as claimed."""
    rows = score(plan.metrics, [sample for _, sample in samples])
    return [line for (record, _), row in zip(samples, rows, strict=True) for line in compare(plan.metrics, record, row)]


def compare(metrics: Mapping[str, Metric], record: Record, row: Mapping[str, Value]) -> Iterator[str]:
    """Yield a line for each claimed value that is not the one computed here, within the metric's tolerance."""
    for spec, metric in metrics.items():
        claimed, found = record.values.get(spec), row[spec]
        if isinstance(claimed, float) and isinstance(found, float):
            same = abs(claimed - found) <= tolerance(metric) * (1 + abs(found))
        elif isinstance(claimed, Failed) and isinstance(found, Failed):
            same = True  # reasons name libraries and versions
        else:
            same = claimed == found
        if not same:
            name = name_of((record.scenario_id, record.repeat))
            yield f"{name}: {spec} is {_said(claimed)}, computed again {_said(found)}"


def _said(value: Value | None) -> str:
    if value is None:
        return "missing"
    return f"{float(value):.6g}" if isinstance(value, float) else f"{type(value).__name__.lower()} ({value.reason})"
