"""Verification of a finished run: is it what it says, and do its edits have the values that it claims?

What it cannot show: that the editor named in the header made the edits. Nothing in the run's files is trusted: what is
compared is the suite, loaded again, and the edits themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from editbench.cells import Cell, Key
from editbench.differences import differences
from editbench.images import InvalidImage
from editbench.metrics import INPUT_INVALID, score, values_without_edit
from editbench.metrics.canaries import tolerance
from editbench.plan import Plan, plan_of_run
from editbench.records import RecordFile, read_records
from editbench.store import RunStore
from editbench.types import Failed, Metric, Record, Sample, Scenario, Task, Value

Level = Literal["self-reported", "recomputed"]

BATCH = 8
"""Edits that are scored together, so that memory does not grow with the run."""


@dataclass(frozen=True)
class Verdict:
    """What a verification found."""

    level: Level
    """`recomputed`: every value of every edit was computed again."""
    problems: tuple[str, ...]
    """What is not as it should be, one line each; empty if the run stands."""
    remarks: tuple[str, ...]
    """What breaks nothing and a reader should know."""
    cells: int
    """(Scenario, repeat) whose files and facts were compared: all of them."""
    recomputed: int
    """Of these, how many were scored again."""


def verify_run(path: Path, recompute: int | None = None, beacon: str = "") -> Verdict:
    """Compare a run with its suite, its files and its own values.

    Args:
        path: a run directory with `run.json`, `records.jsonl` and `edits/`.
        recompute: how many (scenario, repeat) to score again; None for all.
        beacon: a text that decides which, unknown to whoever made the run.

    Raises:
        EditbenchError: if there is no finished run, its suite cannot be loaded, or is not what it was.
    """
    store = RunStore(path)
    file = read_records(store.records_path)
    changed = differences(store.read_header().to_json(), file.header.to_json())
    problems = [f"run.json and records.jsonl differ: {line}" for line in changed]
    plan = plan_of_run(path)
    remarks = [f"{spec} is computed otherwise here: {line}" for spec, line in _changed_metrics(plan, file)]
    records = {(record.scenario_id, record.repeat): record for record in file.records}
    chosen = _chosen(records, recompute, beacon)
    cells = {} if plan.chains is None else store.cells()
    samples: list[tuple[Record, Sample]] = []
    unchanged = edits = 0
    for scenario in plan.suite:
        for repeat in range(file.header.repeats):
            record = records.pop((scenario.id, repeat), None)
            if record is None:
                problems.append(f"{_name((scenario.id, repeat))}: no record")
                continue
            sample, found = _check_cell(plan, scenario, record, cells)
            problems += found
            if sample is not None:
                edits += 1
                unchanged += record.edit_sha256 is not None and bool((sample.output == sample.scenario.source).all())
            if (scenario.id, repeat) not in chosen:
                continue
            if sample is not None:
                samples.append((record, sample))
            elif not found:
                problems += _compare(plan.metrics, record, _without_edit(plan, scenario, record))
            if len(samples) == BATCH:
                problems += _recompute(plan, samples)
                samples = []
    problems += _recompute(plan, samples)
    problems += [f"{_name(key)}: not a scenario of {plan.suite.name}" for key in sorted(records)]
    if edits and unchanged == edits and not file.header.editor.control:
        remarks.append(f"every one of the {edits} edits is its source, unchanged")
    everything = len(chosen) >= plan.total and not problems
    level: Level = "recomputed" if everything else "self-reported"
    return Verdict(level, tuple(problems), tuple(remarks), plan.total, len(chosen))


def _name(key: Key) -> str:
    return f"{key[0]}, repeat {key[1]}"


def _changed_metrics(plan: Plan, file: RecordFile) -> Iterator[tuple[str, str]]:
    before, now = file.header.to_json()["metrics"], plan.header.to_json()["metrics"]
    for spec in file.header.metrics:
        for line in differences(before[spec], now[spec]):
            yield spec, line


def _chosen(records: Mapping[tuple[str, int], Record], count: int | None, beacon: str) -> set[tuple[str, int]]:
    def draw(key: tuple[str, int]) -> str:
        return hashlib.sha256(f"{beacon}/{key[0]}/{key[1]}".encode()).hexdigest()

    return set(sorted(records, key=draw)[:count])


def _check_cell(
    plan: Plan, scenario: Scenario, record: Record, cells: Mapping[Key, Cell]
) -> tuple[Sample | None, list[str]]:
    """Return the edit of a record, if it has one, and what is wrong with the record apart from its values."""
    name = _name((record.scenario_id, record.repeat))
    problems = [
        f"{name}: {fact} is {getattr(record, fact)!r}, the suite says {getattr(scenario, fact)!r}"
        for fact in ("cluster", "category", "turn")
        if getattr(record, fact) != getattr(scenario, fact)
    ]
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
        output = plan.store.read_edit(record.edit_sha256)
        task = Task(scenario, record.repeat, 0)
        shown = (task if plan.chains is None else plan.chains.given(task, cells, plan.store)).shown
        if output.shape != shown.source.shape:
            raise InvalidImage(f"is of shape {output.shape}, the source of {shown.source.shape}")
    except Exception as error:
        return None, [*problems, f"{name}: {error}"]
    return Sample(shown, output), problems


def _without_edit(plan: Plan, scenario: Scenario, record: Record) -> Mapping[str, Value]:
    if record.edit_status == "input_invalid":
        return dict.fromkeys(plan.metrics, INPUT_INVALID)
    return values_without_edit(plan.metrics, scenario)


def _recompute(plan: Plan, samples: list[tuple[Record, Sample]]) -> list[str]:
    rows = score(plan.metrics, [sample for _, sample in samples])
    return [
        line for (record, _), row in zip(samples, rows, strict=True) for line in _compare(plan.metrics, record, row)
    ]


def _compare(metrics: Mapping[str, Metric], record: Record, row: Mapping[str, Value]) -> Iterator[str]:
    for spec, metric in metrics.items():
        claimed, found = record.values.get(spec), row[spec]
        if isinstance(claimed, float) and isinstance(found, float):
            same = abs(claimed - found) <= tolerance(metric) * (1 + abs(found))
        elif isinstance(claimed, Failed) and isinstance(found, Failed):
            same = True  # reasons name libraries and versions
        else:
            same = claimed == found
        if not same:
            name = _name((record.scenario_id, record.repeat))
            yield f"{name}: {spec} is {_said(claimed)}, computed again {_said(found)}"


def verdict_lines(path: Path, verdict: Verdict, shown: int = 20) -> Iterator[str]:
    """Yield what people read of a verdict: remarks, the first problems, and a line that sums up."""
    yield from (f"note: {text}" for text in verdict.remarks)
    yield from (f"error: {text}" for text in verdict.problems[:shown])
    if len(verdict.problems) > shown:
        yield f"… and {len(verdict.problems) - shown} more; --json has all"
    state = f"does not stand, {len(verdict.problems)} problems" if verdict.problems else verdict.level
    yield f"{path}: {state} ({verdict.recomputed} of {verdict.cells} edits scored again)"


def _said(value: Value | None) -> str:
    if value is None:
        return "missing"
    return f"{float(value):.6g}" if isinstance(value, float) else f"{type(value).__name__.lower()} ({value.reason})"
