"""Verifiers of where an object of a rendered scene is, or no longer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask
from editbench.suites.checks import (
    CLOSE,
    PASSING_PROGRESS,
    Plane,
    Window,
    difference,
    in_pixels,
    lab,
    low_pass,
    progress,
    smooth_lab,
    unit,
)
from editbench.types import CheckResult, Image

SEEN = 10.0
"""CIE76 from which a pixel shows something: above compression and a few percent of brightness, below any object."""
MIN_OVERLAP = 0.6
"""What a silhouette needs: of the intersection over union, and of the way there from the source's."""


@dataclass(frozen=True, eq=False)
class Sight:
    """Finds one object: it is where the picture differs from the target without that object.

    Pixels outside `where` do not count, nor those that only a shadow reaches.
    """

    without: Image
    where: Mask
    window: Window

    def __call__(self, image: Image) -> Mask:
        """Return which pixels of the window show the object."""
        delta = difference(smooth_lab(image, self.window, self._sigma), self._without)
        return (delta > SEEN) & self.where[self.window]

    @cached_property
    def _sigma(self) -> float:
        return in_pixels(self.without, 128)

    @cached_property
    def _without(self) -> Plane:
        return smooth_lab(self.without, self.window, self._sigma)


@dataclass(frozen=True, eq=False)
class _Seen:
    subject: str
    sight: Sight = field(repr=False)
    source: Image = field(repr=False)
    target: Image = field(repr=False)
    guard: bool = False

    @cached_property
    def _had(self) -> Mask:
        return self.sight(self.source)

    @cached_property
    def _wanted(self) -> Mask:
        return self.sight(self.target)


@dataclass(frozen=True, eq=False)
class Silhouette(_Seen):
    """The object covers the pixels it should: it is there, of that form, size and pose, in that place.

    Passes at an intersection over union of 0.6 with the target's; a demand also needs 0.6 of the way from the source's
    to 1, so that a form that was nearly right before is not taken for right.
    """

    @property
    def name(self) -> str:
        """`silhouette of the red star`."""
        return f"silhouette of {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        found = _overlap(self.sight(output), self._wanted)
        if self.guard:
            return CheckResult(found >= MIN_OVERLAP, unit(found / MIN_OVERLAP))
        before = _overlap(self._had, self._wanted)
        grade = unit((found - before) / (1 - before)) if before < 1 else 0.0
        return CheckResult(min(found, grade) >= MIN_OVERLAP, grade)


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum()) / max(1.0, float((first | second).sum()))


@dataclass(frozen=True, eq=False)
class Position(_Seen):
    """The object's centre is where it should be: at least half of the way, and within its own radius."""

    radius: float = 1.0
    """Of the object in the target, in pixels."""

    @property
    def name(self) -> str:
        """`position of the red star`."""
        return f"position of {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        goal = _centre(self._wanted)
        before, after = (_distance(_centre(seen), goal) for seen in (self._had, self.sight(output)))
        grade = progress(before, after, 0.3 * self.radius)
        return CheckResult(grade >= PASSING_PROGRESS and after <= self.radius, grade)


def _centre(seen: Mask) -> tuple[float, float] | None:
    rows, columns = np.nonzero(seen)
    return (float(rows.mean()), float(columns.mean())) if rows.size else None


def _distance(first: tuple[float, float] | None, second: tuple[float, float] | None) -> float:
    if first is None or second is None:
        return float("inf")
    return float(((first[0] - second[0]) ** 2 + (first[1] - second[1]) ** 2) ** 0.5)


@dataclass(frozen=True, eq=False)
class Size(_Seen):
    """The object's area is nearer to what it should be than to what it was."""

    @property
    def name(self) -> str:
        """`size of the red star`."""
        return f"size of {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        goal, before, after = (float(seen.sum()) + 1.0 for seen in (self._wanted, self._had, self.sight(output)))
        grade = progress(abs(np.log(before / goal)), abs(np.log(after / goal)), np.log(1.15))
        return CheckResult(grade >= PASSING_PROGRESS, grade)


@dataclass(frozen=True, eq=False)
class Absent:
    """Where the object was, the picture shows what is behind it: close to the target, and closer than to the source."""

    subject: str
    core: Mask = field(repr=False)
    window: Window = field(repr=False)
    source: Image = field(repr=False)
    target: Image = field(repr=False)
    share: float = 0.75
    """Of the object's visible pixels: what is left of it must not be recognisable."""
    guard: bool = False

    @property
    def name(self) -> str:
        """`absence of the red star`."""
        return f"absence of {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        now = smooth_lab(output, self.window, self._sigma)
        to_target, to_source = difference(now, self._after), difference(now, self._before)
        cleared = ((to_target <= CLOSE) & (to_target < to_source))[self.core[self.window]]
        found = float(cleared.mean())
        return CheckResult(found >= self.share, found)

    @cached_property
    def _sigma(self) -> float:
        return in_pixels(self.source, 64)

    @cached_property
    def _before(self) -> Plane:
        return smooth_lab(self.source, self.window, self._sigma)

    @cached_property
    def _after(self) -> Plane:
        return smooth_lab(self.target, self.window, self._sigma)


@dataclass(frozen=True, eq=False)
class NotElsewhere:
    """Nothing that looks like a removed object has turned up where the picture should have stayed as it was."""

    subject: str
    core: Mask = field(repr=False)
    keep: Mask = field(repr=False)
    source: Image = field(repr=False)
    share: float = 0.25
    """Of the object's visible area."""
    guard: bool = True

    @property
    def name(self) -> str:
        """`the red star is not elsewhere`."""
        return f"{self.subject} is not elsewhere"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        now, (before, colour) = self._coarse(output), self._reference
        like = (difference(now, colour) < 2 * CLOSE) & (difference(now, colour) < difference(before, colour))
        new = like & (difference(now, before) > CLOSE) & self._thin(self.keep)
        found = float(new.sum()) / max(1.0, float(self._thin(self.core).sum()))
        return CheckResult(found <= self.share, unit(1 - max(0.0, found - self.share)))

    def _coarse(self, image: Image) -> Plane:
        return lab(self._thin(low_pass(image, in_pixels(image, 64))))

    def _thin(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        step = max(1, min(plane.shape[:2]) // 128)
        return plane[::step, ::step]

    @cached_property
    def _reference(self) -> tuple[Plane, Plane]:
        return self._coarse(self.source), lab(self.source[self.core].mean(axis=0))
