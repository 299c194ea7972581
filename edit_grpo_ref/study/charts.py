"""Charts as SVG that needs nothing else: lines over pale dots, the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 74, 190, 40, 56
"""Margins; the legend stands in the right one."""
COLOURS = ("#1f5fd0", "#c2410c", "#1a7f4b", "#8b2fc9", "#a67c00", "#666c78", "#0f7c8c", "#b3261e", "#d0358f", "#4d5b00")
DASHES = ("", "6 3", "2 3")

Place = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One method in a chart, in the units of the axes, or once placed in those of the picture."""

    name: str
    number: int
    """Of the method in the plan: decides its colour, the same in all charts."""
    line: Sequence[Place] = ()
    dots: Sequence[Place] = ()
    marks: Sequence[Place] = ()
    whiskers: Sequence[tuple[float, float, float]] = ()
    """Place on the first axis, lower and upper end."""
    cross: Place | None = None
    legend: float = 0.0
    """Height of its line in the legend."""

    @property
    def colour(self) -> str:
        """Of everything that belongs to it."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def dash(self) -> str:
        """Tells series of one colour apart."""
        return DASHES[self.number // len(COLOURS) % len(DASHES)]


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(title: str, x_label: str, y_label: str, series: Sequence[Series], names: Sequence[str] = ()) -> str:
    """Draw a chart whose axes hold everything in it.

    Args:
        title: stands above it.
        x_label: of the first axis.
        y_label: of the second.
        series: what is drawn.
        names: of the places 0, 1, 2 … on the first axis, where it has names and no numbers.
    """
    xs = [x for one in series for x, _ in _places(one)]
    ys = [y for one in series for _, y in _places(one)]
    x_low, x_high = (-0.3, len(names) - 0.7) if names else _room(xs)
    y_low, y_high = _room(ys)

    def x(value: float) -> float:
        return round(LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    placed = tuple(
        Series(
            one.name,
            one.number,
            [(x(a), y(b)) for a, b in one.line],
            [(x(a), y(b)) for a, b in one.dots],
            [(x(a), y(b)) for a, b in one.marks],
            [(x(a), y(low), y(high)) for a, low, high in one.whiskers],
            None if one.cross is None else (x(one.cross[0]), y(one.cross[1])),
            TOP + 8 + 19 * position,
        )
        for position, one in enumerate(series)
    )
    named = [(x(place), name) for place, name in enumerate(names)]
    x_ticks = named or [(x(value), text) for value, text in _ticks(x_low, x_high)]
    y_ticks = [(y(value), text) for value, text in _ticks(y_low, y_high)]
    height = max(HEIGHT, TOP + 19 * len(series) + 20)
    chart = Chart(title, x_label, y_label, tuple(x_ticks), tuple(y_ticks), placed, height=height)
    environment = Environment(
        loader=PackageLoader("edit_grpo_ref.study"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("chart.svg").render(chart=chart)


def _places(series: Series) -> list[Place]:
    ends = [(x, end) for x, low, high in series.whiskers for end in (low, high)]
    cross = [] if series.cross is None else [series.cross]
    return [*series.line, *series.dots, *series.marks, *ends, *cross]


def _room(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: those of the values, and a little more."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.1
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return four to nine round numbers within an axis."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(digit * power for digit in (10, 5, 2, 1) if (high - low) / (digit * power) >= 4)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [(number * step, f"{number * step:.{places}f}") for number in range(first, last + 1)]
