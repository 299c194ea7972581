"""Where the labels of a plot go: beside their points, over nothing, and joined to them where there is no room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from editbench.report.page import visible

CHARACTER, LINE, GAP = 7.3, 16, 10
"""Size of the text, and how far it stands from its point."""
LONGEST = 32
"""Characters of a line."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Group:
    """What stands at one place of the plot."""

    names: tuple[str, ...]
    x: float
    y: float
    control: bool
    """Whether all of them are controls."""


@dataclass(frozen=True)
class Label:
    """The text of a group."""

    group: Group
    lines: tuple[str, ...]
    box: Box
    anchor: str
    leader: tuple[float, float] | None
    """Where the line from the point to the text ends; None where the text stands right beside its point."""

    @property
    def rows(self) -> list[tuple[float, float, str]]:
        """Where each line is written, and what."""
        left, top, right, _ = self.box
        x = {"start": left, "end": right, "middle": (left + right) / 2}[self.anchor]
        return [(round(x, 1), round(top + LINE * index + 12, 1), line) for index, line in enumerate(self.lines)]


def place_labels(
    groups: Sequence[Group], marks: Iterable[Box], whiskers: Iterable[Box], area: Box, edge: float
) -> list[Label]:
    """Return the labels of groups, most urgent first; one for which there is no room is left out.

    Args:
        groups: what to label.
        marks: what is never covered.
        whiskers: what is covered where there is no other room.
        area: what labels may use, as far as nothing is drawn there.
        edge: right end of the axis: groups that stand there are labelled in the margin, in their order from below.
    """
    at_edge = [group for group in groups if group.x >= edge - GAP]
    labels, floor = [], math.inf
    for group in sorted(at_edge, key=lambda group: -group.y):
        lines, width, height = _text(group)
        top = min(group.y - height / 2, floor - height)
        if top >= area[1]:
            floor = top
            labels.append(_label(group, lines, (edge + GAP, top, edge + GAP + width, top + height), "start"))
    places = _Places(marks, whiskers, labels, area)
    return labels + [label for group in groups if group not in at_edge for label in places.place(group)]


def _text(group: Group) -> tuple[tuple[str, ...], float, float]:
    """Return the lines of a label, its width and its height."""
    lines: list[str] = []
    for name in map(visible, group.names):
        short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        if lines and len(lines[-1]) + len(short) + 2 <= LONGEST:
            lines[-1] += f", {short}"
        else:
            lines.append(short)
    return tuple(lines), max(map(len, lines)) * CHARACTER, len(lines) * LINE


def _label(group: Group, lines: tuple[str, ...], box: Box, anchor: str) -> Label:
    near = (round(min(max(group.x, box[0] - 2), box[2] + 2), 1), round(min(max(group.y, box[1] + 6), box[3] - 6), 1))
    beside = math.dist(near, (group.x, group.y)) <= GAP
    return Label(group, lines, box, anchor, None if beside else near)


class _Places:
    """Finds free places.

    Args:
        marks: what is never covered.
        whiskers: what is covered where there is no other room.
        labels: that are there.
        area: what labels may use.
    """

    def __init__(self, marks: Iterable[Box], whiskers: Iterable[Box], labels: Sequence[Label], area: Box) -> None:
        self._area = area
        self._texts = [label.box for label in labels]
        self._marks = list(marks)
        self._lines = [*whiskers, *(step for label in labels for step in _steps(label))]

    def place(self, group: Group) -> list[Label]:
        """Return the label of a group at the free place nearest to it; nothing if there is none."""
        lines, width, height = _text(group)
        for covers, (x, y) in itertools.product((False, True), _PLACES):
            left = group.x + (x if x > 0 else x - width if x < 0 else -width / 2)
            top = group.y + y - height / 2
            anchor = "start" if x > 0 else "end" if x < 0 else "middle"
            label = _label(group, lines, (left, top, left + width, top + height), anchor)
            if self._is_free(label, covers):
                self._texts.append(label.box)
                self._lines += _steps(label)
                return [label]
        return []

    def _is_free(self, label: Label, covers_lines: bool) -> bool:
        box, area = label.box, self._area
        inside = box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]
        crossed = any(overlap(step, text) for step in _steps(label) for text in self._texts)
        taken = (*self._marks, *self._texts) if covers_lines else (*self._marks, *self._texts, *self._lines)
        return inside and not crossed and not any(overlap(box, other) for other in taken)


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes have any area in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _steps(label: Label) -> list[Box]:
    """Return small boxes along the line from a point to its label."""
    if label.leader is None:
        return []
    (x, y), (right, bottom) = (label.group.x, label.group.y), label.leader
    count = int(math.dist((x, y), label.leader) / 3) + 1
    shares = [step / count for step in range(1, count)]
    points = [(x + (right - x) * share, y + (bottom - y) * share) for share in shares]
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in points]


_PLACES = sorted(
    [(x, y * LINE / 2) for x in (GAP, -GAP, 0, 24, -24, 60, -60, 110, -110) for y in range(-40, 41) if x or abs(y) > 1],
    key=lambda place: (math.hypot(*place) + (abs(place[0]) > GAP) * 6, place[1] > 0, place),
)
"""Where a label may stand: how far from its point to the left (below 0), to the right, or centred (0), and how high."""
