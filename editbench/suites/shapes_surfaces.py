"""Verifiers of what surfaces of a rendered scene look like: a texture, the backdrop, a style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from editbench.regions import Mask
from editbench.suites.checks import (
    CLOSE,
    MID_GREY,
    PASSING_PROGRESS,
    Plane,
    Window,
    difference,
    in_pixels,
    lab,
    low_pass,
    luma,
    progress,
    unit,
)
from editbench.types import CheckResult, Image


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
    shape = np.array([two_fold, four_fold, 1.8 * along_lines, 0.8 * lopsided, 0.5 * crisp])
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
        sigma = in_pixels(image, 64)
        weight = low_pass(self.region.astype(np.float32), sigma)[..., None] + 1e-6
        blurred = low_pass(np.where(self.region[..., None], image, 0), sigma) / weight
        step = max(1, round(sigma))
        coarse = np.asarray(blurred)[::step, ::step]
        return lab(coarse[self.region[::step, ::step]])

    def _detail(self, image: Image) -> float:
        sigma = min(image.shape[:2]) / 256
        grey = luma(image)
        fine, coarse = (_inner_low_pass(grey, self.region, width * sigma) for width in (1, 8))
        return float((fine - coarse)[self.region].std()) + 0.5

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
        sigma = in_pixels(image, 128)
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
        return lab(low_pass(image, in_pixels(image, 128))[self.region])

    @cached_property
    def _target(self) -> Plane:
        return self._smooth(self.target)
