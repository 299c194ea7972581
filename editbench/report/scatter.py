"""The plot of a board: edit success against what happened outside the mask."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from editbench.board import FIDELITY, SUCCESS, Board, Cell, Row, decimal
from editbench.report.labels import Box, Group, Label, place_labels

PINNED = ("target", "identity")
"""The ends of the axes: labelled before all others."""

WIDTH, HEIGHT = 830, 430
LEFT, RIGHT, TOP, BOTTOM = 58, 250, 22, 52
"""The margins; labels stand in the right one, since that is where good editors are."""
MARK = 7
"""Half the size of a point."""
TICK_DISTANCE = 46


@dataclass(frozen=True)
class Point:
    """One run on the plot, in the coordinates of the picture."""

    row: Row
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    explanation: str

    @property
    def mark(self) -> Box:
        """What the mark covers."""
        return self.x - MARK, self.y - MARK, self.x + MARK, self.y + MARK

    @property
    def whiskers(self) -> tuple[Box, Box]:
        """What the lines of the two intervals cover."""
        (left, right), (top, bottom) = self.x_range, self.y_range
        return (left, self.y - 1, right, self.y + 1), (self.x - 1, top, self.x + 1, bottom)


@dataclass(frozen=True)
class Scatter:
    """Everything that the template draws."""

    points: tuple[Point, ...]
    labels: tuple[Label, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    front: tuple[tuple[float, float], ...]
    """Corners of the line behind which every other complete run that is no control is; empty without one."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    fidelity: str = FIDELITY


def scatter(board: Board) -> Scatter | None:
    """Return the plot of a board; None if it lacks one of the two metrics, or has several signatures of one."""
    success, fidelity = board.column(SUCCESS), board.column(FIDELITY)
    if success is None or fidelity is None:
        return None
    pairs = [
        (row, row.cells[fidelity], row.cells[success])
        for row in board.rows
        if fidelity in row.cells and success in row.cells
    ]
    shown = [pair for pair in pairs if pair[1].estimate.mean is not None and pair[2].estimate.mean is not None]
    if not shown:
        return None
    largest = max(_mean(cell) for _, cell, _ in shown) * 1.1 or 0.1
    points = [_point(row, x, y, largest) for row, x, y in sorted(shown, key=_urgency)]
    marks, whiskers = [point.mark for point in points], [box for point in points for box in point.whiskers]
    area = (LEFT, 2, WIDTH, HEIGHT - BOTTOM)
    labels = place_labels(_groups(points), marks, whiskers, area, WIDTH - RIGHT)
    points.sort(key=lambda point: (not point.row.editor.control, point.row.editor.label))
    y_ticks = [(_y(value), text) for value, text in ((0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1, "1"))]
    return Scatter(tuple(points), tuple(labels), tuple(_x_ticks(largest)), tuple(y_ticks), tuple(_front(points)))


def _front(points: Iterable[Point]) -> list[tuple[float, float]]:
    """Return the corners of the front, from its best success to its best fidelity: steps, since nothing is between."""
    best = sorted({(point.x, point.y) for point in points if point.row.on_front})
    if not best:
        return []
    corners = [(float(LEFT), best[0][1])]
    for (x, y), (_, lower) in zip(best, [*best[1:], (0.0, float(HEIGHT - BOTTOM))], strict=True):
        corners += [(x, y), (x, lower)]
    return corners


def _groups(points: Iterable[Point]) -> list[Group]:
    """Return the names of each point, those of points on top of each other together."""
    groups: list[Group] = []
    for point in points:
        name, control = point.row.editor.label, point.row.editor.control
        for index, group in enumerate(groups):
            if math.dist((point.x, point.y), (group.x, group.y)) < MARK / 2:
                groups[index] = replace(group, names=(*group.names, name), control=group.control and control)
                break
        else:
            groups.append(Group((name,), point.x, point.y, control))
    return groups


def _mean(cell: Cell) -> float:
    assert cell.estimate.mean is not None
    return cell.estimate.mean


def _x(value: float, largest: float) -> float:
    # Square root, since good editors differ near 0; reversed, so that better is on the right.
    share = math.sqrt(min(max(value / largest, 0), 1))
    return round(WIDTH - RIGHT - share * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float) -> float:
    return round(HEIGHT - BOTTOM - min(max(value, 0), 1) * (HEIGHT - TOP - BOTTOM), 1)


def _x_ticks(largest: float) -> list[tuple[float, str]]:
    ticks = [(_x(0, largest), "0")]
    candidates = [digit * 10.0**power for power in range(-6, 1) for digit in (1, 2, 5)]
    for value in reversed([value for value in candidates if value <= largest]):
        position = _x(value, largest)
        if all(abs(position - other) >= TICK_DISTANCE for other, _ in ticks):
            ticks.append((position, decimal(value)))
    return sorted(ticks)


def _urgency(shown: tuple[Row, Cell, Cell]) -> tuple[bool, bool, int, str]:
    row = shown[0]
    return row.editor.label not in PINNED, row.editor.control, row.rank or 10**6, row.editor.label


def _point(row: Row, x: Cell, y: Cell, largest: float) -> Point:
    where = _x(_mean(x), largest), _y(_mean(y))
    x_low, x_high = _ends(x)
    y_low, y_high = _ends(y)
    lines = [row.editor.label]
    for name, cell in ((SUCCESS, y), (FIDELITY, x)):
        estimate = cell.estimate
        lines.append(f"{name} {decimal(estimate.mean)} (n = {estimate.n}, G = {estimate.clusters})")
    return Point(
        row,
        *where,
        x_range=(_x(x_high, largest), _x(x_low, largest)),
        y_range=(_y(y_high), _y(y_low)),
        explanation="\n".join(lines),
    )


def _ends(cell: Cell) -> tuple[float, float]:
    low, high = cell.estimate.low, cell.estimate.high
    return (_mean(cell), _mean(cell)) if low is None or high is None else (low, high)
