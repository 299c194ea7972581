"""The plot of a board: edit success against what happened outside the mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from editbench.board import Board, Cell, Row, decimal

SUCCESS = "success"
FIDELITY = "mae:region=keep"
PINNED = ("target", "identity")
"""The ends of the axes: labelled before all others."""

WIDTH, HEIGHT = 560, 380
LEFT, RIGHT, TOP, BOTTOM = 58, 26, 22, 52
CHARACTER, LINE, GAP = 7.3, 15, 8
"""Size of the labels' text, and how far it stands from its point."""
TICK_DISTANCE = 46


@dataclass(frozen=True)
class Label:
    """The text beside a point."""

    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Point:
    """One run on the plot, in the coordinates of the picture."""

    row: Row
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    label: Label | None
    """None where there is no room."""
    explanation: str


@dataclass(frozen=True)
class Scatter:
    """Everything that the template draws."""

    points: tuple[Point, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
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
    placed = _Labels([(_x(_mean(x), largest), _y(_mean(y))) for _, x, y in shown])
    points = [_point(row, x, y, largest, placed) for row, x, y in sorted(shown, key=_urgency)]
    points.sort(key=lambda point: (not point.row.editor.control, point.row.editor.label))
    y_ticks = [(_y(value), text) for value, text in ((0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1, "1"))]
    return Scatter(tuple(points), tuple(_x_ticks(largest)), tuple(y_ticks))


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


def _point(row: Row, x: Cell, y: Cell, largest: float, placed: _Labels) -> Point:
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
        label=placed.place(where, row.editor.label),
        explanation="\n".join(lines),
    )


def _ends(cell: Cell) -> tuple[float, float]:
    low, high = cell.estimate.low, cell.estimate.high
    return (_mean(cell), _mean(cell)) if low is None or high is None else (low, high)


class _Labels:
    """Puts each label where it covers neither a point nor another label.

    Args:
        points: the coordinates of all points.
    """

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]

    def place(self, point: tuple[float, float], text: str) -> Label | None:
        """Return a free place for a text of one line, the nearest to its point first."""
        width = len(text) * CHARACTER
        x, y = point
        for shift in (0, -LINE, LINE, -2 * LINE, 2 * LINE):
            for anchor, left in (("start", x + GAP), ("end", x - GAP - width), ("middle", x - width / 2)):
                if anchor == "middle" and shift == 0:
                    continue
                box = (left, y + shift - LINE / 2, left + width, y + shift + LINE / 2)
                if self._is_free(box):
                    self._taken.append(box)
                    at = {"start": left, "end": left + width, "middle": x}[anchor]
                    return Label(round(at, 1), round(y + shift + 4, 1), anchor)
        return None

    def _is_free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = box
        inside = left >= LEFT and right <= WIDTH and top >= 2 and bottom <= HEIGHT - BOTTOM + LINE / 2
        return inside and not any(
            left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in self._taken
        )
