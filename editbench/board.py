"""Boards: rows computed from records alone. This module knows no metric and no editor."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from editbench.records import EditorInfo, MetricInfo, RecordFile, SuiteInfo
from editbench.stats import Estimate, estimate
from editbench.types import EditbenchError, Failed, Record, Undefined

RANKING = "composite"
"""The metric that ranks a board; without a value of it, rows stand in the order of their labels."""

FIRST = ("composite", "success", "success_graded", "noop")
"""Columns that stand first; the others follow by name."""

CSV_COLUMNS = (
    "suite",
    "suite_sha256",
    "label",
    "editor",
    "control",
    "mask_access",
    "trained_on",
    "rank",
    "complete",
    "coverage",
    "failed",
    "metric",
    "metric_version",
    "signature",
    "direction",
    "unit",
    "mean",
    "ci_low",
    "ci_high",
    "n",
    "clusters",
    "undefined",
    "errors",
    "capped",
    "records_sha256",
)


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


@dataclass(frozen=True)
class Row:
    """One run on a board."""

    editor: EditorInfo
    cells: Mapping[Column, Cell]
    statuses: Mapping[str, int]
    """How many (scenario, repeat) ended with each edit status; missing ones as `not_run`."""
    rank: int | None
    """Place among the complete runs that are not controls, by the composite; equal ones share it.

    Composites of another signature than most have are not comparable, and have no rank.
    """
    records_sha256: str

    @cached_property
    def total(self) -> int:
        """Number of (scenario, repeat) cells."""
        return sum(self.statuses.values())

    @cached_property
    def failed(self) -> int:
        """Edits that were tried and failed."""
        return self.total - sum(self.statuses.get(status, 0) for status in ("ok", "not_run", "input_invalid"))

    @cached_property
    def coverage(self) -> float:
        """Share of the cells that were tried, successfully or not."""
        return 1 - (self.statuses.get("not_run", 0) + self.statuses.get("input_invalid", 0)) / max(self.total, 1)

    @property
    def complete(self) -> bool:
        """Whether every cell was tried and scored."""
        return self.coverage == 1 and not any(cell.unscored for cell in self.cells.values())


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
        EditbenchError: if runs of one suite name disagree about the suite or its pixels, or share a label.
    """
    by_name: dict[str, list[RecordFile]] = {}
    for file in files:
        by_name.setdefault(file.header.suite.name, []).append(file)
    return [_build_board(by_name[name]) for name in sorted(by_name)]


def _build_board(files: Sequence[RecordFile]) -> Board:
    files = sorted(files, key=lambda file: file.header.editor.label)
    _check_same_suite(files)
    rows = [_row(file) for file in files]
    rows.sort(key=lambda row: (not row.complete, -(_score(row) or 0.0), row.editor.label))
    rivals = [row for row in rows if row.complete and not row.editor.control and _score(row) is not None]
    signatures = [column.signature for row in rivals for column in row.cells if column.metric == RANKING]
    ranked = max(sorted(set(signatures)), key=signatures.count, default="")
    scores = [_score(row) or 0.0 for row in rivals if Column(RANKING, ranked) in row.cells]
    placed = []
    for row in rows:
        counts = row in rivals and Column(RANKING, ranked) in row.cells
        placed.append(replace(row, rank=scores.index(_score(row) or 0.0) + 1 if counts else None))
    columns = {column for row in rows for column in row.cells}
    return Board(files[0].header.suite, tuple(sorted(columns, key=_position)), tuple(placed))


def _position(column: Column) -> tuple[int, Column]:
    return FIRST.index(column.metric) if column.metric in FIRST else len(FIRST), column


def _score(row: Row) -> float | None:
    cells = [cell for column, cell in row.cells.items() if column.metric == RANKING]
    return cells[0].estimate.mean if cells else None


def _check_same_suite(files: Sequence[RecordFile]) -> None:
    suite = files[0].header.suite
    labels: set[str] = set()
    pixels: dict[str, tuple[str, str]] = {}
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
        for record in file.records:
            if record.pixels_sha256 is not None:
                first, found = pixels.setdefault(record.scenario_id, (label, record.pixels_sha256))
                if found != record.pixels_sha256:
                    raise EditbenchError(f"{first!r} and {label!r} saw different pixels in {record.scenario_id!r}")


def _row(file: RecordFile) -> Row:
    header = file.header
    statuses = Counter[str](record.edit_status for record in file.records)
    missing = header.suite.scenarios * header.repeats - len(file.records)
    if missing:
        statuses["not_run"] += missing
    cells = {
        Column(metric, header.signature(metric)): _cell(metric, info, file.records)
        for metric, info in header.metrics.items()
    }
    return Row(header.editor, cells, dict(sorted(statuses.items())), None, file.sha256)


def _cell(metric: str, info: MetricInfo, records: Iterable[Record]) -> Cell:
    per_scenario: dict[str, list[float]] = {}
    cluster: dict[str, str] = {}
    undefined, errors, capped, unscored = set(), 0, 0, 0
    for record in records:
        value = record.values.get(metric)
        if isinstance(value, Failed) and info.failed_value is not None and _edit_failed(record):
            value = float(info.failed_value)
        if isinstance(value, float):
            per_scenario.setdefault(record.scenario_id, []).append(value)
            cluster[record.scenario_id] = record.cluster
            capped += info.cap is not None and value >= info.cap
        elif isinstance(value, Undefined):
            undefined.add(record.scenario_id)
        elif isinstance(value, Failed):
            errors += 1
        else:
            unscored += 1
    ids = sorted(per_scenario)
    means = [math.fsum(per_scenario[name]) / len(per_scenario[name]) for name in ids]
    low, high = info.range
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return Cell(
        estimate(means, [cluster[name] for name in ids], bounds), info, len(undefined), errors, capped, unscored
    )


def _edit_failed(record: Record) -> bool:
    return record.edit_status not in ("ok", "not_run", "input_invalid")


# --------------------------------------------------------------------------------------------------------- CSV


def to_csv(board: Board) -> str:
    """Return the board as a long table, one row a run and metric, in plain decimals of six significant digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in board.rows:
        for column in sorted(row.cells):
            cell = row.cells[column]
            line = {
                "suite": board.suite.name,
                "suite_sha256": board.suite.identity,
                "label": row.editor.label,
                "editor": row.editor.spec,
                "control": str(row.editor.control).lower(),
                "mask_access": row.editor.mask_access,
                "trained_on": " ".join(row.editor.trained_on),
                "rank": row.rank,
                "complete": str(row.complete).lower(),
                "coverage": decimal(row.coverage),
                "failed": row.failed,
                "metric": column.metric,
                "metric_version": cell.info.version,
                "signature": column.signature,
                "direction": cell.info.direction,
                "unit": cell.info.unit,
                "mean": decimal(cell.estimate.mean),
                "ci_low": decimal(cell.estimate.low),
                "ci_high": decimal(cell.estimate.high),
                "n": cell.estimate.n,
                "clusters": cell.estimate.clusters,
                "undefined": cell.undefined,
                "errors": cell.errors,
                "capped": cell.capped,
                "records_sha256": row.records_sha256,
            }
            writer.writerow(line)
    return buffer.getvalue()


def decimal(value: float | None) -> str:
    """Return a number in plain decimals, six significant digits; nothing for None.

    >>> decimal(0.0000123456789), decimal(31.25), decimal(-0.0), decimal(None)
    ('0.0000123457', '31.25', '0', '')
    """
    return "" if value is None else format(Decimal(f"{value + 0.0:.6g}"), "f")
