"""The page of boards: one sortable table and one plot a suite, byte for byte the same for the same boards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from editbench.board import Board, Cell, Column, Row, decimal
from editbench.published import PublishedCell
from editbench.records import EditorInfo
from editbench.report.curve import Curves, leak_curves
from editbench.report.groups import GROUPS, Group, group_of
from editbench.report.numbers import ARROWS, decimals, explanation, fixed, interval, name_and_options
from editbench.report.page import render, visible
from editbench.report.published import KEY, Beside, beside, without_board
from editbench.report.scatter import Scatter, scatter
from editbench.specs import slug
from editbench.verdicts import level_of


@dataclass(frozen=True)
class Head:
    """The header of one metric's column."""

    column: Column
    group: Group
    name: str
    options: str
    arrow: str
    direction: str
    unit: str
    counts: str
    """n and G of the rows that do not say otherwise."""
    places: int
    ends: tuple[float, float]
    """Ends of the bars: the least and the largest end of any interval of a complete run."""


@dataclass(frozen=True)
class Number:
    """One number of the table, as it is shown."""

    text: str
    interval: str
    notes: tuple[str, ...]
    """n and G where they differ from the header's, how many values are at the cap, and errors on good edits."""
    sort: str
    bar: tuple[int, int, int] | None
    """Low end, mean and high end of the interval, in per cent of the column's range."""
    trained_on: bool
    explanation: str


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    row: Row
    numbers: tuple[Number | None, ...]
    statuses: str
    verified: str
    verdict: str
    """What was verified, and by which version."""


@dataclass(frozen=True)
class Section:
    """One board of the page."""

    board: Board
    anchor: str
    base: str
    """The suite, without the part of it that the board is of."""
    part: str
    """Which category or turn of the suite the board is of; empty for a whole suite."""
    heads: tuple[Head, ...]
    groups: tuple[tuple[Group, int], ...]
    """Groups of the columns from left to right, and how many columns each has."""
    complete: tuple[Line, ...]
    incomplete: tuple[Line, ...]
    plot: Scatter | None
    curves: Curves | None
    summary: str
    beside: Beside | None
    """What was published for the suite."""

    @property
    def shared(self) -> list[tuple[int, int]]:
        """Places of the columns that the board and the publications have in common: among `heads`, among theirs."""
        metrics = self.beside.shared.metrics if self.beside and self.beside.shared else ()
        places = [(place, head.column.metric) for place, head in enumerate(self.heads)]
        return [(place, metrics.index(metric)) for place, metric in places if metric in metrics]

    @property
    def compared(self) -> list[Line]:
        """The rows with a number in one of those columns."""
        lines = (*self.complete, *self.incomplete)
        return [line for line in lines if any(line.numbers[place] for place, _ in self.shared)]

    @property
    def ranked(self) -> bool:
        """Whether any row has a rank."""
        return any(line.row.rank is not None for line in self.complete)


def render_boards(
    boards: Sequence[Board],
    title: str,
    published: Sequence[PublishedCell] = (),
    every_benchmark: bool = False,
    site: Sequence[tuple[str, str]] = (),
    here: str = "",
) -> str:
    """Return one self-contained HTML page with a section for each board, in the order of the suites' names.

    Args:
        boards: from `build_boards`.
        title: of the page.
        published: numbers of others, shown under the boards of their benchmarks and never in their tables.
        every_benchmark: whether to show, after the boards, the published benchmarks that no board is of.
        site: pages of the site that the page is part of, address and title.
        here: address of the page itself.
    """
    sections = [_section(board, published) for board in sorted(boards, key=lambda board: board.suite.name)]
    alone = list(without_board(boards, published)) if every_benchmark else []
    shown = bool(alone) or any(section.beside for section in sections)
    styles = ("style.css", "published.css") if shown else ("style.css",)
    return render(
        "leaderboard.html",
        "leaderboard.js",
        styles=styles,
        title=title,
        sections=sections,
        alone=alone,
        key=KEY,
        groups=[group for group in GROUPS if any(group == found for s in sections for found, _ in s.groups)],
        site=site,
        here=here,
    )


def _section(board: Board, published: Sequence[PublishedCell]) -> Section:
    heads = sorted((_head(board, column) for column in board.columns), key=lambda head: GROUPS.index(head.group))
    lines = [_line(row, heads) for row in board.rows]
    part = re.fullmatch(r"(.*)\[((?:turn|category)=.*)\]", board.suite.name, re.DOTALL)
    return Section(
        board,
        slug(visible(board.suite.name)),
        part[1] if part else board.suite.name,
        part[2] if part else "",
        tuple(heads),
        tuple((group, len(list(found))) for group, found in groupby(head.group for head in heads)),
        tuple(line for line in lines if line.row.complete),
        tuple(line for line in lines if not line.row.complete),
        scatter(board),
        leak_curves(board),
        _summary(board.rows),
        beside(board, published),
    )


def _summary(rows: Iterable[Row]) -> str:
    kinds = Counter("incomplete" if not row.complete else "control" if row.editor.control else "editor" for row in rows)
    plural = {"editor": "editors", "control": "controls", "incomplete": "incomplete runs"}
    single = {"editor": "editor", "control": "control", "incomplete": "incomplete run"}
    parts = [f"{kinds[kind]} {(single if kinds[kind] == 1 else plural)[kind]}" for kind in plural if kinds[kind]]
    return " · ".join(parts)


def _head(board: Board, column: Column) -> Head:
    cells = [row.cells[column] for row in board.rows if column in row.cells]
    means = [cell.estimate.mean for cell in cells if cell.estimate.mean is not None]
    counts = Counter(_counts(cell) for cell in cells if cell.estimate.n)
    name, options = name_and_options(column.metric)
    info = cells[0].info
    shown = [row.cells[column] for row in board.rows if column in row.cells and row.complete] or cells
    ends = [end for cell in shown for end in (cell.estimate.mean, cell.estimate.low, cell.estimate.high)]
    numbers = [end for end in ends if end is not None]
    return Head(
        column=column,
        group=group_of(column.metric),
        name=name,
        options=options,
        arrow=ARROWS.get(info.direction, ""),
        direction=info.direction,
        unit=info.unit,
        counts=counts.most_common(1)[0][0] if counts else _counts(cells[0]),
        places=decimals(means, info.range[1]),
        ends=(min(numbers), max(numbers)) if numbers else (0.0, 0.0),
    )


def _counts(cell: Cell) -> str:
    return f"n {cell.estimate.n} · G {cell.estimate.clusters}"


def _line(row: Row, heads: Iterable[Head]) -> Line:
    numbers = tuple(_number(row, head) if head.column in row.cells else None for head in heads)
    statuses = "\n".join(f"{status}: {count}" for status, count in sorted(row.statuses.items()))
    return Line(row, numbers, statuses, level_of(row.verdict), _verdict(row))


def _verdict(row: Row) -> str:
    found = row.verdict
    if found is None:
        return "nobody has verified these records"
    drawn = f", drawn by the beacon {found.beacon}" if found.beacon else ""
    again = f"{found.recomputed} of {found.cells} edits scored again, {found.regenerated} made again"
    problems = f"; {len(found.problems)} problems" if found.problems else ""
    return f"{again} by editbench {found.editbench}{drawn}{problems}"


def _number(row: Row, head: Head) -> Number:
    cell, column = row.cells[head.column], head.column
    notes = []
    if _counts(cell) != head.counts:
        notes.append(_counts(cell))
    if cell.capped:
        notes.append(f"{cell.capped} capped")
    if cell.crashes:
        notes.append(f"{len(cell.crashes)} {'error' if len(cell.crashes) == 1 else 'errors'}")
    mean = cell.estimate.mean
    return Number(
        text="–" if mean is None else fixed(mean, head.places),
        interval=interval(cell, head.places),
        notes=tuple(notes),
        sort=decimal(mean),
        bar=_bar(cell, head.ends),
        trained_on=_trained_on(row.editor, column.metric),
        explanation=explanation(column.metric, column.signature, cell),
    )


def _bar(cell: Cell, ends: tuple[float, float]) -> tuple[int, int, int] | None:
    low, mean, high = cell.estimate.low, cell.estimate.mean, cell.estimate.high
    if low is None or mean is None or high is None or ends[0] == ends[1]:
        return None

    def place(value: float) -> int:
        return round(100 * min(max((value - ends[0]) / (ends[1] - ends[0]), 0), 1))

    return place(low), place(mean), place(high)


def _trained_on(editor: EditorInfo, metric: str) -> bool:
    return metric in editor.trained_on or name_and_options(metric)[0] in editor.trained_on
