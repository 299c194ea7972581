"""Boards: rows computed from records alone. This module knows no metric and no editor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

import numpy as np

from editbench.columns import FAILED, MISSING, Columns
from editbench.means import Mean, means_of
from editbench.record_files import RecordFile
from editbench.records import EditorInfo, MetricInfo, SuiteInfo
from editbench.same_suite import check_same_scenarios, check_same_suite
from editbench.stats import Estimate, front, rank_ranges, ranks, rounded
from editbench.types import Undefined
from editbench.values import Profile, counted_values, mean_profile, scenario_means
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
    runs = zip(files, _unreadable(files), means_of(files), strict=True)
    rows = [_row(file, unreadable, means) for file, unreadable, means in runs]
    by_label = {file.header.editor.label: file for file in files}
    scores = {
        row.editor.label: score for row, score in zip(rows, rounded([_score(row) or 0.0 for row in rows]), strict=True)
    }
    rows.sort(key=lambda row: (not row.complete, -scores[row.editor.label], "ok" not in row.statuses, row.editor.label))
    rivals = [row for row in rows if _can_have_a_rank(row)]
    signatures = [column.signature for row in rivals for column in row.cells if column.metric == RANKING]
    ranked = max(sorted(set(signatures)), key=signatures.count, default="")
    rivals = [row for row in rivals if Column(RANKING, ranked) in row.cells]
    labels = [row.editor.label for row in rivals]
    rank_of = dict(zip(labels, ranks([scores[label] for label in labels]).tolist(), strict=True))
    ranges = _rank_ranges([by_label[label] for label in labels])
    on_front = _front(rows)
    placed = []
    for row in rows:
        label = row.editor.label
        placed.append(replace(row, rank=rank_of.get(label), rank_range=ranges.get(label), on_front=on_front.get(label)))
    columns = {column for row in rows for column in row.cells}
    return Board(files[0].header.suite, tuple(sorted(columns, key=_position)), tuple(placed))


def _rank_ranges(files: Sequence[RecordFile]) -> dict[str, tuple[int, int]]:
    """Return the range of ranks of each run by its label; the runs are complete, with composites of one signature."""
    if not files:
        return {}
    means = [scenario_means(file, RANKING) for file in files]
    clusters = dict(zip(files[0].columns.ids, files[0].columns.clusters, strict=True))
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


def _unreadable(files: Sequence[RecordFile]) -> list[int]:
    """Return for each run how many of its records are of scenarios that no run could read."""
    invalid = [file.columns.statuses.count("input_invalid") for file in files]
    if not any(invalid):
        return invalid
    readable: set[str] = set()
    for columns in (file.columns for file in files):
        pairs = zip(columns.ids, columns.statuses, strict=True)
        readable.update(name for name, status in pairs if status != "input_invalid")
    return [sum(name not in readable for name in file.columns.ids) for file in files]


def _row(file: RecordFile, unreadable: int, means: Mapping[str, Mean]) -> Row:
    header, columns = file.header, file.columns
    statuses = Counter[str](columns.statuses)
    missing = header.suite.scenarios * header.repeats - len(columns)
    if missing:
        statuses["not_run"] += missing
    cells = {
        Column(metric, header.signature(metric)): _cell(columns, metric, info, means[metric])
        for metric, info in header.metrics.items()
    }
    return Row(header.editor, cells, dict(sorted(statuses.items())), unreadable, None, file.sha256)


def _cell(columns: Columns, metric: str, info: MetricInfo, found: Mean) -> Cell:
    values = columns.of_metric(metric)
    numbers, counted = counted_values(columns, metric, info)
    errors = np.flatnonzero((values.kinds == FAILED) & ~counted).tolist() if values.said else []
    undefined = {columns.ids[row] for row, said in values.said.items() if isinstance(said, Undefined)}
    crashes = tuple(values.said[row].reason for row in errors if columns.statuses[row] == "ok")
    capped = 0 if info.cap is None else int((numbers[counted] >= info.cap).sum())
    unscored = int((values.kinds == MISSING).sum())
    profile = mean_profile(values.detailed("curve"))
    return Cell(found.estimate, info, len(undefined), len(errors), capped, unscored, crashes, found.seed_sd, profile)


def decimal(value: float | None) -> str:
    """Return a number in plain decimals, six significant digits; nothing for None.

    >>> decimal(0.0000123456789), decimal(31.25), decimal(-0.0), decimal(None)
    ('0.0000123457', '31.25', '0', '')
    """
    return "" if value is None else format(Decimal(f"{value + 0.0:.6g}"), "f")
