"""The page of a comparison: a forest plot of every metric, the scenarios that flipped, and the pictures behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from editbench.compare import Comparison, Difference, Duel, Slice
from editbench.durable import write_whole
from editbench.report.numbers import ARROWS, decimals, fixed
from editbench.report.page import render
from editbench.report.showcase import Showcase, Side, showcase
from editbench.stats import Estimate

LARGEST = 2.0
"""Standard deviations at the ends of the forest plot, at most; what lies further is drawn at the end."""
LISTED = 200
"""Scenarios of each kind of flip that are named."""


@dataclass(frozen=True)
class Twig:
    """One line of a forest plot, in per cent of its width; better is on the right where a direction is."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Stake:
    """One metric of two runs, as it is shown."""

    found: Difference
    arrow: str
    means: tuple[str, str]
    difference: str
    interval: str
    p: str
    effect: str
    detectable: str
    kind: str
    """Of the verdict's badge."""
    twig: Twig | None


@dataclass(frozen=True)
class Part:
    """One metric on a part of the suite, as it is shown."""

    of: Slice
    means: tuple[str, str]
    difference: str
    interval: str


@dataclass(frozen=True)
class Pair:
    """Two runs, as the page shows them."""

    duel: Duel
    stakes: tuple[Stake, ...]
    parts: tuple[Part, ...]
    showcase: Showcase | None
    end: str
    """Standard deviations at the ends of the forest plot."""


def write_comparison(comparison: Comparison, sides: Mapping[str, Side], path: Path) -> None:
    """Write the page of a comparison, and the pictures on it beside it.

    Args:
        comparison: what to show.
        sides: run directories by the name of their run; runs without one have no pictures.
        path: of the page; pictures go into `img/` beside it.

    Raises:
        StorageError: if something cannot be written.
    """
    pairs = [
        _pair(duel, showcase(duel, (sides.get(duel.left.name), sides.get(duel.right.name)), path.parent))
        for duel in comparison.duels
    ]
    page = render("comparison.html", comparison=comparison, pairs=pairs, listed=LISTED)
    write_whole(path, [page.encode()])


def _pair(duel: Duel, shown: Showcase | None) -> Pair:
    twigs = [_standardised(found) for found in duel.differences]
    ends = [abs(end) for twig in twigs if twig for end in twig]
    largest = min(max([0.1, *ends]), LARGEST)
    stakes = [_stake(found, twig, largest) for found, twig in zip(duel.differences, twigs, strict=True)]
    directions = {found.metric: found for found in duel.differences}
    parts = [_part(part, directions[part.metric]) for part in duel.slices]
    return Pair(duel, tuple(stakes), tuple(parts), shown, f"{largest:.2g}")


def _standardised(found: Difference) -> tuple[float, float, float] | None:
    """Return low end, mean and high end in standard deviations of the differences; positive is better."""
    mean, low, high = found.estimate.mean, found.estimate.low, found.estimate.high
    if mean is None or low is None or high is None:
        return None
    if found.effect:
        ends = tuple(end * found.effect / mean for end in (low, mean, high))
    elif mean == 0:
        ends = (0.0, 0.0, 0.0)
    else:  # the same on every scenario
        ends = (math.copysign(math.inf, mean),) * 3
    low, mean, high = (-end for end in reversed(ends)) if found.info.direction == "lower" else ends
    return low, mean, high


def _stake(found: Difference, twig: tuple[float, float, float] | None, largest: float) -> Stake:
    places = decimals([mean for mean in found.means if mean is not None], found.info.range[1])
    kinds = {"better": "good", "worse": "bad", "different": "warning"}
    placed = [round(50 + 50 * min(max(end / largest, -1), 1), 1) for end in twig] if twig else []
    return Stake(
        found,
        ARROWS.get(found.info.direction, ""),
        (_text(found.means[0], places), _text(found.means[1], places)),
        _signed(found.estimate.mean, places),
        _interval(found.estimate, places),
        "–" if found.p_corrected is None else f"{found.p_corrected:.2g}",
        "–" if found.effect is None else f"{found.effect:+.2f}",
        _text(found.detectable, places),
        kinds.get(found.verdict, "muted"),
        Twig(*placed) if placed else None,
    )


def _part(part: Slice, found: Difference) -> Part:
    places = decimals(part.means, found.info.range[1])
    return Part(
        part,
        (_text(part.means[0], places), _text(part.means[1], places)),
        _signed(part.estimate.mean, places),
        _interval(part.estimate, places),
    )


def _text(value: float | None, places: int) -> str:
    return "–" if value is None else fixed(value, places)


def _signed(value: float | None, places: int) -> str:
    return "–" if value is None else f"{'+' if value > 0 else ''}{fixed(value, places)}"


def _interval(estimate: Estimate, places: int) -> str:
    low, high = estimate.low, estimate.high
    return "" if low is None or high is None else f"[{fixed(low, places)}, {fixed(high, places)}]"
