"""Plots of leak profiles: how far editors move pixels, by their distance from the mask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from editbench.board import Board, Row
from editbench.report.page import visible
from editbench.types import Detailed, Record
from editbench.values import mean_profile

METRIC = "leak_profile"
WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 44
SERIES = 8
"""Lines that have a colour of their own; controls and further editors are drawn thin."""
MARGIN, CHARACTERS, SPACING = 116, 17, 12
"""Width of the margin in which thin lines are named, how long a name can be there, and how far apart names stand."""


@dataclass(frozen=True)
class Bar:
    """One bin of distance, in the coordinates of the picture."""

    x: float
    y: float
    width: float
    height: float
    label: str
    explanation: str


@dataclass(frozen=True)
class Curve:
    """The profile of one run: everything that the template draws."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    scenarios: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Line:
    """The profile of one run among others."""

    row: Row
    series: int | None
    """Which of the colours; None for what is drawn thin."""
    points: tuple[tuple[float, float], ...]
    explanation: str
    name: str = ""
    """What stands beside the end of a thin line; empty where another name stands already."""


@dataclass(frozen=True)
class Curves:
    """The profiles of a board: everything that the template draws."""

    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH + MARGIN
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def leak_curve(records: Iterable[Record]) -> Curve | None:
    """Average the leak profiles of a run, bin by bin, over the scenarios that have pixels there; None without any."""
    values = (record.values.get(METRIC) for record in records)
    profile = mean_profile(value.details for value in values if isinstance(value, Detailed))
    if profile is None:
        return None
    means = [mean or 0.0 for mean in profile.means]
    top = _above(max(means))
    room = (WIDTH - LEFT - RIGHT) / len(means)
    height = HEIGHT - TOP - BOTTOM
    bars = []
    for number, (mean, label, count) in enumerate(zip(means, _bins(profile.edges), profile.counts, strict=True)):
        tall = height * mean / top
        text = f"{label} px: {mean:.4f}, {count} scenarios"
        bars.append(Bar(LEFT + number * room + 3, TOP + height - tall, room - 6, tall, label, text))
    ticks = tuple((TOP + height * (1 - step / 4), f"{top * step / 4:.3g}") for step in range(5))
    return Curve(tuple(bars), ticks, profile.n)


def leak_curves(board: Board) -> Curves | None:
    """Return the leak profiles of a board's runs in one plot, on a square-root scale; None without any.

    Args:
        board: from `build_boards`; its best runs that are no controls get colours, in their order.
    """
    column = board.column(METRIC)
    rows = [(row, row.cells[column].profile) for row in board.rows if column is not None and column in row.cells]
    found = [(row, profile) for row, profile in rows if profile is not None]
    if not found or any(profile.edges != found[0][1].edges for _, profile in found):
        return None
    top = _above(max((mean for _, profile in found for mean in profile.means if mean is not None), default=0.0))
    labels = _bins(found[0][1].edges)
    room = (WIDTH - LEFT - RIGHT) / len(labels)
    coloured = [row for row, _ in found if not row.editor.control and row.complete][:SERIES]

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - math.sqrt(value / top) * (HEIGHT - TOP - BOTTOM), 1)

    lines = []
    for row, profile in found:
        means = [(number, mean) for number, mean in enumerate(profile.means) if mean is not None]
        points = tuple((round(LEFT + (number + 0.5) * room, 1), y(mean)) for number, mean in means)
        text = [f"{row.editor.label}, {profile.n} scenarios", *(f"{labels[i]} px: {mean:.4f}" for i, mean in means)]
        lines.append(Line(row, coloured.index(row) if row in coloured else None, points, "\n".join(text)))
    lines = _named(lines)
    lines.sort(key=lambda line: line.series is not None)  # what has a colour is drawn over the rest
    x_ticks = tuple((round(LEFT + (number + 0.5) * room, 1), label) for number, label in enumerate(labels))
    steps = (0.0, 0.01, 0.05, 0.25, 1.0)
    return Curves(tuple(lines), x_ticks, tuple((y(top * step), f"{top * step:.3g}") for step in steps))


def _named(lines: Sequence[Line]) -> list[Line]:
    """Name the thin lines from the lowest to the highest, as far as there is room."""
    named, last = [], math.inf
    for line in sorted(lines, key=lambda line: -line.points[-1][1] if line.points else 0):
        if line.series is None and line.points and line.points[-1][1] <= last - SPACING:
            last = line.points[-1][1]
            label = visible(line.row.editor.label)
            line = replace(line, name=label if len(label) <= CHARACTERS else f"{label[: CHARACTERS - 1]}…")
        named.append(line)
    return named


def _bins(edges: Sequence[float | None]) -> list[str]:
    """Return what each bin is called."""
    return [f"> {begin:g}" if end is None else f"{begin:g}–{end:g}" for begin, end in pairwise(edges)]


def _above(value: float) -> float:
    """Return the next of 1, 2, 4 or 8 times a power of ten, so that the axis has plain numbers."""
    if value <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
