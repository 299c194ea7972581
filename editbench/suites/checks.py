"""Programmatic verifiers that any suite can use: a colour that was asked for, and a scene that must still be there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from editbench.colours import COLOURS
from editbench.regions import Mask
from editbench.types import CheckResult, Image

Plane = npt.NDArray[np.floating[Any]]
"""`float (H, W)` or `float (H, W, C)`, whatever the unit."""
Window = tuple[slice, slice]
"""Rows and columns of a picture."""

MID_GREY = (128, 128, 128)
"""Not a colour of the vocabulary, but what a hole is filled with: it competes with black and white."""
LIGHTNESS_WEIGHT = 0.5
"""Shading moves lightness far more than hue, so a unit of CIELAB lightness counts half."""
CLOSE = 14.0
"""CIE76 up to which a smoothed pixel counts as the same: below the distance of any backdrop from mid-grey."""
PASSING_PROGRESS = 0.5
"""An edit has been made once the picture is nearer to what was asked for than to what was there."""


# --------------------------------------------------------------------------------------------- measurements


def lab(image: npt.NDArray[Any]) -> Plane:
    """Convert sRGB pixels, uint8 or 0..255 floats of shape (…, 3), to CIELAB."""
    from skimage.color import rgb2lab

    return cast(Plane, rgb2lab(np.asarray(image, np.float32) * np.float32(1 / 255)))


def low_pass(plane: npt.NDArray[Any], sigma: float) -> Plane:
    """Blur the first two axes with a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    sigmas = (sigma, sigma) + (0,) * (plane.ndim - 2)
    blurred: Plane = gaussian_filter(np.asarray(plane, np.float32), sigmas, mode="nearest", truncate=2.5)
    return blurred


def in_pixels(image: npt.NDArray[Any], share: float) -> float:
    """Return one part in `share` of a picture's smaller side, at least a pixel: what is finer is the codec's."""
    return max(1.0, float(min(image.shape[:2])) / share)


def smooth_lab(image: Image, window: Window, sigma: float) -> Plane:
    """Return a window of an image in CIELAB, after a slight blur that takes noise and ringing out."""
    return lab(low_pass(image[window], sigma))


def difference(first: Plane, second: Plane) -> Plane:
    """CIE76 per pixel."""
    delta = first - second
    return cast(Plane, np.sqrt((delta * delta).sum(axis=-1)))


def luma(image: npt.NDArray[Any]) -> Plane:
    """Return Rec. 601 luma, 0..255."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return image.astype(np.float32) @ weights


def mean_lab(image: Image, region: Mask) -> Plane:
    """Return the mean CIELAB colour of a region, `float (3,)`."""
    return cast(Plane, lab(image[region]).mean(axis=0, dtype=np.float64))


def unit(value: float) -> float:
    """Clip to [0, 1]; a value that is not a number counts as 0."""
    return min(1.0, max(0.0, float(value))) if value == value else 0.0


def progress(before: float, after: float, tolerance: float) -> float:
    """How much of a distance to the goal was covered, in [0, 1]; within `tolerance` of the goal is all of it."""
    if after <= tolerance:
        return 1.0
    return unit((before - after) / (before - tolerance)) if before > tolerance else 0.0


# ------------------------------------------------------------------------------------------------- demands


@dataclass(frozen=True, eq=False)
class ColourBecomes:
    """The region's mean colour has moved from what it was in the source to a named colour.

    Passes if the nearest of the colour vocabulary (and mid-grey) is the asked one, in CIELAB with lightness at half
    weight, and at least half of the way from the source's colour has been covered. Where the source lies within
    the tolerance already, only the second picture decides.
    """

    subject: str
    """What is to change, with its article: `the cup`."""
    region: Mask = field(repr=False)
    source: Image = field(repr=False)
    colour: str
    """A key of `editbench.colours.COLOURS`."""
    tolerance: float = 12.0
    """Weighted CIELAB distance from the goal that counts as reached: shading and texture move a mean this far."""
    target: Image | None = field(default=None, repr=False)
    """Where known, the exact result: its mean colour is a goal too, for what shading and patterns make of a colour."""
    guard: bool = False

    @property
    def name(self) -> str:
        """`colour of the cup is blue`."""
        return f"colour of {self.subject} is {self.colour}"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        colour = mean_lab(output, self.region)
        after = self._to_goal(colour)
        grade = progress(self._before, after, self.tolerance)
        others = min(_weighted_distance(colour, rival) for rival in self._rivals)
        return CheckResult(bool(after < others and grade >= PASSING_PROGRESS), grade)

    def _to_goal(self, colour: Plane) -> float:
        return min(_weighted_distance(colour, goal) for goal in self._goals)

    @cached_property
    def _goals(self) -> list[Plane]:
        named = lab(np.array(COLOURS[self.colour]))
        return [named] if self.target is None else [named, mean_lab(self.target, self.region)]

    @cached_property
    def _rivals(self) -> list[Plane]:
        return [lab(np.array(rgb)) for name, rgb in (COLOURS | {"grey": MID_GREY}).items() if name != self.colour]

    @cached_property
    def _before(self) -> float:
        return self._to_goal(mean_lab(self.source, self.region))


def _weighted_distance(first: Plane, second: Plane) -> float:
    difference = first - second
    return float(np.sqrt((LIGHTNESS_WEIGHT * difference[0]) ** 2 + difference[1] ** 2 + difference[2] ** 2))


# -------------------------------------------------------------------------------------------------- guards


@dataclass(frozen=True, eq=False)
class ColourKept:
    """The region's mean colour is still about what it is in one of the given pictures."""

    subject: str
    region: Mask = field(repr=False)
    references: tuple[Image, ...] = field(repr=False)
    tolerance: float = 16.0
    """Weighted CIELAB distance that still counts as the same colour: a new pattern moves a mean this far."""
    guard: bool = True

    @property
    def name(self) -> str:
        """`colour of the cup is kept`."""
        return f"colour of {self.subject} is kept"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        colour = mean_lab(output, self.region)
        distance = min(_weighted_distance(colour, reference) for reference in self._colours)
        return CheckResult(distance <= self.tolerance, unit(2 - distance / self.tolerance))

    @cached_property
    def _colours(self) -> list[Plane]:
        return [mean_lab(image, self.region) for image in self.references]


@dataclass(frozen=True, eq=False)
class StructureKept:
    """The picture is still recognisably this scene: another picture, a constant or pure noise is not.

    Correlation between output and reference of what is left of the luma between two Gaussians: fine enough to have
    edges, coarse enough that noise, blur and compression do not matter, and free of overall brightness. Within a
    region only its own pixels count, so that an object keeps its structure in whatever surroundings.
    """

    reference: Image = field(repr=False)
    region: Mask | None = field(default=None, repr=False)
    """Where to look; everywhere if None."""
    threshold: float = 0.5
    """Correlation from which it passes: unrelated pictures stay within ± 0.3."""
    subject: str = "the scene"
    guard: bool = True

    @property
    def name(self) -> str:
        """`structure of the scene is kept`."""
        return f"structure of {self.subject} is kept"

    def __call__(self, output: Image) -> CheckResult:
        """Judge `output`."""
        ours, theirs = self._details(output), self._reference_details
        norm = float(np.sqrt((ours * ours).sum() * (theirs * theirs).sum()))
        correlation = float((ours * theirs).sum()) / norm if norm > 0 else 0.0
        grade = unit(correlation / self.threshold)
        return CheckResult(grade >= 1, grade)

    @cached_property
    def _reference_details(self) -> Plane:
        return self._details(self.reference)

    @cached_property
    def _weight(self) -> Plane:
        """What a pixel counts, `float32 (H, W)`: the blurs are normalised by it, so nothing outside has influence."""
        region = np.ones(self.reference.shape[:2], np.float32) if self.region is None else self.region
        return region.astype(np.float32)

    def _details(self, image: Image) -> Plane:
        size = min(image.shape[:2])
        step = max(1, size // 128)
        fine = _average(luma(image), self._weight, size / 128)[::step, ::step]
        weight = self._weight[::step, ::step]
        details = (fine - _average(fine, weight, size / 16 / step))[weight > 0]
        return cast(Plane, details - details.mean() if details.size else details)


def _average(plane: Plane, weight: Plane, sigma: float) -> Plane:
    """Return the weighted mean around each pixel, in a Gaussian window of `sigma` pixels."""
    return cast(Plane, low_pass(plane * weight, sigma) / np.maximum(low_pass(weight, sigma), 1e-6))
