"""The plot of a leak profile: how far an editor moves pixels, by their distance from the mask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editbench.types import Detailed, Record

METRIC = "leak_profile"
WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 44


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
    """Everything that the template draws."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    scenarios: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def leak_curve(records: Iterable[Record]) -> Curve | None:
    """Average the leak profiles of a run, bin by bin, over the scenarios that have pixels there; None without any."""
    found = [record.values.get(METRIC) for record in records]
    profiles = [value.details for value in found if isinstance(value, Detailed)]
    if not profiles:
        return None
    edges: Sequence[float | None] = profiles[0]["edges"]
    bins = zip(*(profile["curve"] for profile in profiles), strict=True)
    columns = [[mean for mean in bin_ if mean is not None] for bin_ in bins]
    means = [math.fsum(column) / len(column) if column else 0.0 for column in columns]
    top = _above(max(means))
    room = (WIDTH - LEFT - RIGHT) / len(means)
    height = HEIGHT - TOP - BOTTOM
    bars = []
    for number, (mean, column) in enumerate(zip(means, columns, strict=True)):
        begin, end = edges[number], edges[number + 1]
        label = f"> {begin:g}" if end is None else f"{begin:g}–{end:g}"
        tall = height * mean / top
        text = f"{label} px: {mean:.4f}, {len(column)} scenarios"
        bars.append(Bar(LEFT + number * room + 3, TOP + height - tall, room - 6, tall, label, text))
    ticks = tuple((TOP + height * (1 - step / 4), f"{top * step / 4:.3g}") for step in range(5))
    return Curve(tuple(bars), ticks, len(profiles))


def _above(value: float) -> float:
    """Return the next of 1, 2, 4 or 8 times a power of ten, so that the axis has plain numbers."""
    if value <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
