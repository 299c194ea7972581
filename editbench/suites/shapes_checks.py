"""Verifiers of geometry, texture and tone for scenes whose every layer is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask
from editbench.suites.checks import MID_GREY, PASSING_PROGRESS, Plane, lab, low_pass, luma, progress, unit
from editbench.types import CheckResult, Image

Window = tuple[slice, slice]

SEEN = 10.0
"""CIE76 from which a pixel shows something: above compression and a few percent of brightness, below any object."""
CLOSE = 14.0
"""CIE76 up to which a smoothed pixel counts as the same: below the distance of any backdrop from mid-grey."""
MIN_OVERLAP = 0.6
"""What a silhouette needs: of the intersection over union, and of the way there from the source's."""


def pixels(image: Image | Mask, share: float) -> float:
    """Return a share of the picture's size in pixels, at least one: what is finer than that is the codec's."""
    return max(1.0, min(image.shape[:2]) / share)


def smooth_lab(image: Image, window: Window, sigma: float) -> Plane:
    """Return a window of an image in CIELAB, after a slight blur that takes noise and ringing out."""
    return lab(low_pass(image[window], sigma))


def difference(first: Plane, second: Plane) -> Plane:
    """CIE76 per pixel."""
    delta = first - second
    return cast(Plane, np.sqrt((delta * delta).sum(axis=-1)))


# ------------------------------------------------------------------------------------ where an object is


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
        return pixels(self.without, 128)

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
        return pixels(self.source, 64)

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
        return lab(self._thin(low_pass(image, pixels(image, 64))))

    def _thin(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        step = max(1, min(plane.shape[:2]) // 128)
        return plane[::step, ::step]

    @cached_property
    def _reference(self) -> tuple[Plane, Plane]:
        return self._coarse(self.source), lab(self.source[self.core].mean(axis=0))


# ------------------------------------------------------------------------------- what a surface looks like


@dataclass(frozen=True, eq=False)
class TextureBecomes:
    """The object's surface has the statistics of the asked material, not those of another one.

    Contrast, common direction, four-fold symmetry, how far edges run on as lines, lopsidedness and crispness of the
    luma inside the object are compared with those of the same object in every material. It passes if the asked one is
    nearest and at least half of the way from the source's has been covered; where a stripe runs does not matter.
    """

    subject: str
    material: str
    core: Mask = field(repr=False)
    window: Window = field(repr=False)
    radius: float
    """Of the object, in pixels."""
    source: Image = field(repr=False)
    target: Image = field(repr=False)
    materials: Mapping[str, Image] = field(repr=False)
    """The window in every other material."""
    guard: bool = False

    @property
    def name(self) -> str:
        """`texture of the red star is striped`."""
        return f"texture of {self.subject} is {self.material}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        found = self._measure(output[self.window])
        after = _length(found - self._goal)
        others = min(_length(found - other) for other in self._others)
        before = _length(self._before - self._goal)
        grade = progress(before, after, 0.2 * before)
        return CheckResult(after < others and grade >= PASSING_PROGRESS, grade)

    def _measure(self, pixels: Image) -> npt.NDArray[np.float64]:
        return texture_statistics(pixels, self.core[self.window], self.radius)

    @cached_property
    def _goal(self) -> npt.NDArray[np.float64]:
        return self._measure(self.target[self.window])

    @cached_property
    def _before(self) -> npt.NDArray[np.float64]:
        return self._measure(self.source[self.window])

    @cached_property
    def _others(self) -> list[npt.NDArray[np.float64]]:
        return [self._measure(pixels) for name, pixels in self.materials.items() if name != self.material]


def _length(vector: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt((vector * vector).sum()))


def texture_statistics(pixels: Image, core: Mask, radius: float) -> npt.NDArray[np.float64]:
    """Describe the surface inside `core` by numbers of the order of 1, the last five weighted by the first."""
    grey = luma(pixels)
    fine = _inner_low_pass(grey, core, max(0.7, 0.05 * radius))
    band = np.where(core, fine - _inner_low_pass(grey, core, 0.25 * radius), 0)
    inside = band[core] - band[core].mean()
    spread = float(np.sqrt((inside * inside).mean())) + 1e-6
    down, across = (np.where(core, slope, 0) for slope in np.gradient(band))
    energy, cosine, sine = across * across + down * down, across * across - down * down, 2 * across * down
    total = float(energy.sum()) + 1e-6
    weight = np.maximum(energy, 1e-6)
    two_fold = np.hypot(cosine.sum(), sine.sum()) / total
    four_fold = np.hypot(((cosine**2 - sine**2) / weight).sum(), (2 * cosine * sine / weight).sum()) / total
    nearby = 0.13 * radius
    along_lines = np.hypot(low_pass(cosine, nearby), low_pass(sine, nearby)).sum() / total
    lopsided = min(2.0, abs(float((inside**3).mean())) / spread**3)
    crisp = min(1.0, float(np.sqrt(((grey - fine)[core] ** 2).mean())) / spread)
    shape = np.array([two_fold, four_fold, 1.8 * along_lines, 0.5 * lopsided, 0.7 * crisp])
    visible = min(1.0, spread / 20)
    return np.concatenate([[1.2 * visible], visible * shape])


def _inner_low_pass(grey: Plane, core: Mask, sigma: float) -> Plane:
    """Blur from the pixels of `core` alone, so that its outline is not taken for a pattern."""
    weight = low_pass(core.astype(np.float32), sigma)
    return cast(Plane, low_pass(np.where(core, grey, 0), sigma) / np.maximum(weight, 1e-3))


@dataclass(frozen=True, eq=False)
class BackgroundBecomes:
    """The backdrop has the colour that was asked for, everywhere, and is a surface rather than a flat fill."""

    subject: str
    region: Mask = field(repr=False)
    source: Image = field(repr=False)
    target: Image = field(repr=False)
    guard: bool = False

    @property
    def name(self) -> str:
        """`background is a navy brick wall`."""
        return f"background is {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        now = self._coarse(output)
        to_target = difference(now, self._after)
        gained = 1 - to_target.sum() / max(1e-6, difference(self._before, self._after).sum())
        nearer = (to_target < difference(now, self._before)) & (to_target < difference(now, lab(np.array(MID_GREY))))
        detail = self._detail(output) / self._target_detail
        passed = gained >= PASSING_PROGRESS and float(nearer.mean()) >= 0.7 and 1 / 3 <= detail <= 3
        return CheckResult(bool(passed), unit(gained))

    def _coarse(self, image: Image) -> Plane:
        sigma = pixels(image, 64)
        weight = low_pass(self.region.astype(np.float32), sigma)[..., None] + 1e-6
        blurred = low_pass(np.where(self.region[..., None], image, 0), sigma) / weight
        step = max(1, round(sigma))
        coarse = np.asarray(blurred)[::step, ::step]
        return lab(coarse[self.region[::step, ::step]])

    def _detail(self, image: Image) -> float:
        sigma = min(image.shape[:2]) / 256
        grey = luma(image)
        return float((low_pass(grey, sigma) - low_pass(grey, 8 * sigma))[self.region].std()) + 0.5

    @cached_property
    def _before(self) -> Plane:
        return self._coarse(self.source)

    @cached_property
    def _after(self) -> Plane:
        return self._coarse(self.target)

    @cached_property
    def _target_detail(self) -> float:
        return self._detail(self.target)


@dataclass(frozen=True, eq=False)
class StyleApplied:
    """Most of the way from the source to the styled picture has been covered, summed over all pixels in CIELAB."""

    subject: str
    source: Image = field(repr=False)
    target: Image = field(repr=False)
    guard: bool = False

    @property
    def name(self) -> str:
        """`style is sepia`."""
        return f"style is {self.subject}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        left = difference(self._coarse(output), self._after).sum()
        grade = unit(1 - left / max(1e-6, difference(self._before, self._after).sum()))
        return CheckResult(grade >= PASSING_PROGRESS, grade)

    def _coarse(self, image: Image) -> Plane:
        sigma = pixels(image, 128)
        step = max(1, round(sigma))
        return lab(low_pass(image, sigma)[::step, ::step])

    @cached_property
    def _before(self) -> Plane:
        return self._coarse(self.source)

    @cached_property
    def _after(self) -> Plane:
        return self._coarse(self.target)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is shown in a region is still there: most of its smoothed pixels are close to the target's."""

    subject: str
    region: Mask = field(repr=False)
    target: Image = field(repr=False)
    share: float = 0.7
    guard: bool = True

    @property
    def name(self) -> str:
        """`the objects are kept`."""
        return f"{self.subject} are kept"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        near = difference(self._smooth(output), self._target) <= CLOSE
        found = float(near.mean())
        return CheckResult(found >= self.share, unit(found / self.share))

    def _smooth(self, image: Image) -> Plane:
        return lab(low_pass(image, pixels(image, 128))[self.region])

    @cached_property
    def _target(self) -> Plane:
        return self._smooth(self.target)
