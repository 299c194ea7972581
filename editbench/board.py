"""Boards: rows computed from records alone. This module knows no metric and no editor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from editbench.records import EditorInfo, MetricInfo, RecordFile, SuiteInfo
from editbench.stats import Estimate, estimate, front, rank_ranges
from editbench.types import EditbenchError, Failed, Record, Undefined
from editbench.values import Profile, bounds_of, mean_profile, scenario_means, seed_sd, value_of
from editbench.verdicts import Verdict

RANKING = "composite"
"""The metric that ranks a board; without a value of it, rows stand in the order of their labels."""

SUCCESS, FIDELITY = "success", "mae:region=keep"
"""The axes of the plot, and of its front: how often the edit is there, and how much of the rest changed."""

FIRST = ("composite", "success", "success_graded", "noop")
"""Columns that stand first; the others follow by name."""


@dataclass(frozen=True, order=True)
class Column:
    """One metric under one signature."""

    metric: str
    signature: str


@dataclass(frozen=True)
class Cell:
    """One number of a board."""

    estimate: Estimate
    info: MetricInfo
    undefined: int
    """Scenarios on which the metric has no value, whatever the editor."""
    errors: int
    """Records for which it could not be computed, failed edits without a defined value among them."""
    capped: int
    """Values at the metric's cap."""
    unscored: int
    """Records without any word of the metric: scoring was interrupted."""
    crashes: tuple[str, ...]
    """Why it could not be computed for good edits: one reason a record."""
    seed_sd: float | None = None
    """Standard deviation between the repeats of a scenario, pooled over scenarios; None without repeats."""
    profile: Profile | None = None
    """The mean curve of a metric that has one."""


@dataclass(frozen=True)
class Row:
    """One run on a board."""

    editor: EditorInfo
    cells: Mapping[Column, Cell]
    statuses: Mapping[str, int]
    """How many (scenario, repeat) ended with each edit status; missing ones as `not_run`."""
    unreadable: int
    """Cells whose input no run of the board could read: they are in no denominator."""
    rank: int | None
    """Place among the complete runs that are not controls, by the composite; equal ones share it.

    Composites of another signature than most have are not comparable, and have no rank; nor has a run all of whose
    edits failed.
    """
    records_sha256: str
    rank_range: tuple[int, int] | None = None
    """First and last of the ranks that it has in 95 % of the resamples of the suite's clusters; None without a rank."""
    on_front: bool | None = None
    """Whether no other run is better in both success and fidelity; None for what has no place among them."""
    verdict: Verdict | None = None
    """What a verification found of these very records; None if there was none."""

    @cached_property
    def total(self) -> int:
        """Number of (scenario, repeat) cells that can be tried."""
        return sum(self.statuses.values()) - self.unreadable

    @cached_property
    def failed(self) -> int:
        """Edits that were tried and failed."""
        return self._tried - self.statuses.get("ok", 0)

    @cached_property
    def coverage(self) -> float:
        """Share of the cells that were tried, successfully or not, among those that can be."""
        return self._tried / max(self.total, 1)

    @cached_property
    def _tried(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in ("not_run", "input_invalid"))

    @cached_property
    def gap(self) -> str:
        """What keeps the run from being complete, in two or three words; empty if nothing does.

        A metric that counts failed edits, or ranks, must not gain from its own crashes.
        """
        if self.coverage < 1:
            return f"{math.floor(100 * self.coverage)} % tried"
        if any(cell.unscored for cell in self.cells.values()):
            return "not all scored"
        errors = sum(
            len(cell.crashes)
            for column, cell in self.cells.items()
            if column.metric == RANKING or cell.info.failed_value is not None
        )
        return f"{errors} {'error' if errors == 1 else 'errors'}" if errors else ""

    @property
    def complete(self) -> bool:
        """Whether every cell that can be tried was tried and scored."""
        return not self.gap


@dataclass(frozen=True)
class Board:
    """All runs on one suite."""

    suite: SuiteInfo
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def column(self, metric: str) -> Column | None:
        """Return the column of a metric; None if there is none, or more than one signature of it."""
        found = [column for column in self.columns if column.metric == metric]
        return found[0] if len(found) == 1 else None


def build_boards(files: Iterable[RecordFile]) -> list[Board]:
    """Group runs by suite, one board each, sorted by the suite's name.

    Raises:
        EditbenchError: if runs of one suite name disagree about the suite or its scenarios, or share a label.
    """
    by_name: dict[str, list[RecordFile]] = {}
    for file in files:
        by_name.setdefault(file.header.suite.name, []).append(file)
    return [_build_board(by_name[name]) for name in sorted(by_name)]


def _build_board(files: Sequence[RecordFile]) -> Board:
    files = sorted(files, key=lambda file: file.header.editor.label)
    check_same_suite(files)
    check_same_scenarios(files)
    readable = {r.scenario_id for file in files for r in file.records if r.edit_status != "input_invalid"}
    rows = [_row(file, readable) for file in files]
    by_label = {file.header.editor.label: file for file in files}
    rows.sort(key=lambda row: (not row.complete, -(_score(row) or 0.0), "ok" not in row.statuses, row.editor.label))
    rivals = [row for row in rows if _can_have_a_rank(row)]
    signatures = [column.signature for row in rivals for column in row.cells if column.metric == RANKING]
    ranked = max(sorted(set(signatures)), key=signatures.count, default="")
    scores = [_score(row) or 0.0 for row in rivals if Column(RANKING, ranked) in row.cells]
    rivals = [row for row in rivals if Column(RANKING, ranked) in row.cells]
    ranges = _rank_ranges([by_label[row.editor.label] for row in rivals])
    on_front = _front(rows)
    placed = []
    for row in rows:
        label = row.editor.label
        rank = scores.index(_score(row) or 0.0) + 1 if row in rivals else None
        placed.append(replace(row, rank=rank, rank_range=ranges.get(label), on_front=on_front.get(label)))
    columns = {column for row in rows for column in row.cells}
    return Board(files[0].header.suite, tuple(sorted(columns, key=_position)), tuple(placed))


def _rank_ranges(files: Sequence[RecordFile]) -> dict[str, tuple[int, int]]:
    """Return the range of ranks of each run by its label; the runs are complete, with composites of one signature."""
    import numpy as np

    if not files:
        return {}
    means = [scenario_means(file, RANKING) for file in files]
    clusters = {record.scenario_id: record.cluster for record in files[0].records}
    ids = sorted(set.intersection(*(set(of_run) for of_run in means)))
    values = np.array([[of_run[name] for name in ids] for of_run in means])
    found = rank_ranges(values, [clusters[name] for name in ids])
    return {file.header.editor.label: ranks for file, ranks in zip(files, found, strict=True)}


def _front(rows: Sequence[Row]) -> dict[str, bool]:
    columns = {column for row in rows for column in row.cells}
    success, fidelity = ([c for c in columns if c.metric == metric] for metric in (SUCCESS, FIDELITY))
    if len(success) != 1 or len(fidelity) != 1:  # several signatures cannot be compared
        return {}
    points = {}
    for row in rows:
        if not row.complete or row.editor.control or "ok" not in row.statuses:
            continue
        done, changed = (row.cells[c].estimate.mean if c in row.cells else None for c in (*success, *fidelity))
        if done is not None and changed is not None:
            points[row.editor.label] = (-done, changed)
    return dict(zip(points, front(list(points.values())), strict=True))


def _position(column: Column) -> tuple[int, Column]:
    return FIRST.index(column.metric) if column.metric in FIRST else len(FIRST), column


def _can_have_a_rank(row: Row) -> bool:
    return row.complete and not row.editor.control and _score(row) is not None and "ok" in row.statuses


def _score(row: Row) -> float | None:
    cells = [cell for column, cell in row.cells.items() if column.metric == RANKING]
    return cells[0].estimate.mean if cells else None


def check_same_suite(files: Sequence[RecordFile]) -> None:
    """Raise EditbenchError if runs of one suite name are of different suites, or share a label."""
    suite = files[0].header.suite
    labels: set[str] = set()
    for file in files:
        label = file.header.editor.label
        if (file.header.suite.identity, file.header.suite.scenarios) != (suite.identity, suite.scenarios):
            raise EditbenchError(
                f"{label!r} and {files[0].header.editor.label!r} ran on different suites that are both named "
                f"{suite.name}: a corrected suite needs a new version"
            )
        if label in labels:
            raise EditbenchError(f"two runs on {suite.name} are labelled {label!r}: give one another --label")
        labels.add(label)


def check_same_scenarios(files: Sequence[RecordFile]) -> None:
    """Compare what records say about scenarios, which is the same for every editor: nobody picks a denominator.

    Args:
        files: of runs on one suite.

    Raises:
        EditbenchError: naming the first scenario on which two runs differ.
    """
    suite = files[0].header.suite
    ids: set[str] = set()
    facts: dict[tuple[str, str], tuple[str, str]] = {}
    for file in sorted(files, key=lambda file: -len(file.records)):
        label = file.header.editor.label
        names = {metric: f"{metric} ({file.header.signature(metric)})" for metric in file.header.metrics}
        for record in file.records:
            name = record.scenario_id
            ids.add(name)
            if len(ids) > suite.scenarios:
                raise EditbenchError(f"{label!r} has records of {name!r}: not one of {suite.name}'s {suite.scenarios}")
            for what, fact in _facts(record, names):
                first, found = facts.setdefault((name, what), (label, fact))
                if found != fact:
                    raise EditbenchError(
                        f"scenario {name!r} of {suite.name}: {what} is {found} according to {first!r} and {fact} "
                        f"according to {label!r}, but does not depend on the editor"
                    )


def _facts(record: Record, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "the cluster", repr(record.cluster)
    yield "the category", repr(record.category)
    if record.pixels_sha256 is not None:
        yield "the hash of its pixels", record.pixels_sha256[:12]
    for metric, name in names.items():
        value = record.values.get(metric)
        if isinstance(value, float | Undefined):
            yield name, "undefined" if isinstance(value, Undefined) else "a number"


def _row(file: RecordFile, readable: Container[str]) -> Row:
    header = file.header
    statuses = Counter[str](record.edit_status for record in file.records)
    missing = header.suite.scenarios * header.repeats - len(file.records)
    if missing:
        statuses["not_run"] += missing
    cells = {
        Column(metric, header.signature(metric)): _cell(metric, info, file.records)
        for metric, info in header.metrics.items()
    }
    unreadable = sum(r.edit_status == "input_invalid" and r.scenario_id not in readable for r in file.records)
    return Row(header.editor, cells, dict(sorted(statuses.items())), unreadable, None, file.sha256)


def _cell(metric: str, info: MetricInfo, records: Sequence[Record]) -> Cell:
    per_scenario: dict[str, list[float]] = {}
    cluster: dict[str, str] = {}
    undefined, crashes, errors, capped, unscored = set(), [], 0, 0, 0
    for record in records:
        value = value_of(record, metric, info)
        if isinstance(value, float):
            per_scenario.setdefault(record.scenario_id, []).append(value)
            cluster[record.scenario_id] = record.cluster
            capped += info.cap is not None and value >= info.cap
        elif isinstance(value, Undefined):
            undefined.add(record.scenario_id)
        elif isinstance(value, Failed):
            errors += 1
            if record.edit_status == "ok":
                crashes.append(value.reason)
        else:
            unscored += 1
    ids = sorted(per_scenario)
    means = [math.fsum(per_scenario[name]) / len(per_scenario[name]) for name in ids]
    found = estimate(means, [cluster[name] for name in ids], bounds_of(info))
    spread, profile = seed_sd(per_scenario.values()), mean_profile(record.values.get(metric) for record in records)
    return Cell(found, info, len(undefined), errors, capped, unscored, tuple(crashes), spread, profile)


def decimal(value: float | None) -> str:
    """Return a number in plain decimals, six significant digits; nothing for None.

    >>> decimal(0.0000123456789), decimal(31.25), decimal(-0.0), decimal(None)
    ('0.0000123457', '31.25', '0', '')
    """
    return "" if value is None else format(Decimal(f"{value + 0.0:.6g}"), "f")
