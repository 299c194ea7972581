"""What an edit does to the keep region as a whole: a shift of its colours, a shift of its place, and the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from editbench.metrics.boundary import LUMINANCE, kept, no_border, pixels_of
from editbench.regions import Mask, Regions
from editbench.types import Detailed, Direction, Image, Need, Sample, Scenario, Value, Zone

Part = Literal["colour", "residual", "translation"]

FITTED_PIXELS = 1 << 16
"""The colour fit looks at about this many pixels at most, on a lattice: more do not change it, and cost time."""
TRIMMED = 0.25
"""Share of the pixels that the fit may disregard: what leaks into a quarter of the keep region moves nothing."""
FITS = 4
"""Fits, each to the pixels that the one before explains best; the first to all of them."""
CHUNK = 1 << 14
"""Pixels that the fit is taken out of at a time: what that needs stays in the cache."""
WITHIN_ROUNDING = 3.0
"""Squared error, in levels, that no pixel is disregarded for: one level in each channel."""
ROUNDING = 1 / 12
"""Variance of rounding to whole levels. A colour direction in which the source varies less gets no slope."""
TENTHS = 10
"""Translations are found to a tenth of a pixel,"""
REACH = 7
"""and looked for up to seven tenths from the best whole pixel."""
CHANCE = 2.0
"""How far the peak of a phase correlation must stand out: unrelated pictures reached 1.4, noisy shifted ones 2.8."""
RAMP = 16
"""Pixels over which the keep region is faded in for phase correlation, from the mask and from the frame."""


# ------------------------------------------------------------------------------------------------------- colour


def _lattice(keep: Mask) -> Mask:
    """Return the keep pixels that are looked at: the same ones however the image is turned or mirrored."""
    stride = math.ceil(math.sqrt(np.count_nonzero(keep) / FITTED_PIXELS))
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) % stride == 0 for n in keep.shape)
    chosen: Mask = keep & rows[:, None] & columns
    return chosen if chosen.any() else keep


def _planes(image: Image, region: Mask) -> npt.NDArray[np.float64]:
    """Colours of a region in levels of 255, `float64 (3, N)`."""
    return np.ascontiguousarray(pixels_of(image, region).T, dtype=np.float64)


def _moments(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean of each `(3, N)`, and their covariance `(3, 3)`; levels are whole numbers, so no order changes the sums."""
    count = first.shape[1]
    means = first.sum(axis=1) / count, second.sum(axis=1) / count
    return *means, first @ second.T / count - np.outer(*means)


def _displaced(row: npt.NDArray[np.float64], colours: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return what one row `(4,)` of an affine map makes of colours `(3, N)`, in a fixed order of operations."""
    result: npt.NDArray[np.float64] = row[0] * colours[0]
    result += row[1] * colours[1]
    result += row[2] * colours[2]
    result += row[3]
    return result


def _fit(source: npt.NDArray[np.float64], change: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the affine map `(3, 4)` from the source's colours to their change, both `(3, N)` in levels."""
    fit = np.zeros((3, 4))
    chosen = np.ones(source.shape[1], bool)
    for step in range(FITS):
        if step:
            left = sum((values - _displaced(row, source)) ** 2 for row, values in zip(fit, change, strict=True))
            last = math.ceil((1 - TRIMMED) * source.shape[1]) - 1
            chosen = left <= max(float(np.partition(left, last)[last]), WITHIN_ROUNDING)
        colours = source.compress(chosen, axis=1)
        mean, mean_change, common = _moments(colours, change.compress(chosen, axis=1))
        spread = _moments(colours, colours)[2] + ROUNDING * np.eye(3)
        slope = np.linalg.solve(spread, common).T
        fit = np.column_stack([slope, mean_change - slope @ mean])
    return fit


def _colour(sample: Sample) -> tuple[npt.NDArray[np.float64], float, float]:
    """Return the fitted displacement `(3, 4)` in levels, its size, and the mean absolute error that it leaves."""
    scenario = sample.scenario
    keep = scenario.region("keep")
    lattice = kept(scenario, "lattice", lambda: _lattice(keep))
    source = kept(scenario, "lattice colours", lambda: _planes(scenario.source, lattice))
    fit = _fit(source, _planes(sample.output, lattice) - source)
    mean, spread = kept(scenario, "keep moments", lambda: _moments(*[_planes(scenario.source, keep)] * 2)[1:])
    slope, centre = fit[:, :3], fit[:, :3] @ mean + fit[:, 3]
    size = math.sqrt(max(0.0, float(centre @ centre + np.trace(slope @ spread @ slope.T))) / 3) / 255
    residual = _left_over(pixels_of(scenario.source, keep), pixels_of(sample.output, keep), fit)
    return fit, size, residual


def _left_over(source: Image, output: Image, fit: npt.NDArray[np.float64]) -> float:
    """Mean absolute error, in [0, 1], of source pixels `(N, 3)`, displaced and rounded, against the output's."""
    total = 0
    for start in range(0, len(source), CHUNK):
        before, after = (pixels[start : start + CHUNK].T for pixels in (source, output))
        for channel, row in enumerate(fit):
            shifted = np.clip(np.rint(before[channel] + _displaced(row, before)), 0, 255)
            total += int(np.abs(after[channel] - shifted).sum())
    return total / (source.size * 255)


# -------------------------------------------------------------------------------------------------- translation


def _window(regions: Regions) -> npt.NDArray[np.float32]:
    """Weights `float32 (H, W)` of the keep pixels: 0 in the mask and rising to 1 over `RAMP` pixels."""
    distance = regions.distance_outside
    for axis, size in enumerate(distance.shape):
        to_frame = np.minimum(np.arange(size), np.arange(size)[::-1]) + 1
        distance = np.minimum(distance, to_frame[:, None] if axis == 0 else to_frame)
    return (np.sin(np.pi / 2 * np.minimum(distance / RAMP, 1)) ** 2).astype(np.float32)


def _windowed(image: Image, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Luminance less its mean, in levels, faded out where the window is 0: `float32 (H, W)`."""
    weights = np.array(LUMINANCE, np.float32) / sum(LUMINANCE)
    luminance = image[..., 0] * weights[0] + image[..., 1] * weights[1] + image[..., 2] * weights[2]
    mean = float((luminance * window).sum(dtype=np.float64)) / float(window.sum(dtype=np.float64))
    faded: npt.NDArray[np.float32] = (luminance - np.float32(mean)) * window
    return faded


def translation(sample: Sample) -> tuple[float, float]:
    """Return by how many pixels the keep region moved, rightwards and downwards, to a tenth of a pixel.

    Phase correlation (Kuglin & Hines 1975) of the luminance of the keep region, faded in over `RAMP` pixels; refined on
    a grid of tenths by evaluating the same Fourier sum there (Guizar-Sicairos et al. 2008). scikit-image's
    `phase_cross_correlation` gives the same numbers at several times the cost. Where no shift stands out (no texture,
    or nothing left of it) the answer is none: the peak must be `CHANCE` times as high as the highest of N values that
    unrelated spectra, whose phases are random, would give, about sqrt(2 ln N / N).
    """
    from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq

    scenario = sample.scenario
    window = kept(scenario, "window", lambda: _window(scenario.regions))
    source = kept(scenario, "windowed luminance", lambda: _windowed(scenario.source, window))
    output = _windowed(sample.output, window)
    noise = ROUNDING * float((window**2).sum(dtype=np.float64))
    product = rfft2(output) * rfft2(source).conj()
    # Frequencies at which both spectra are no more than rounding have no phase.
    product /= np.maximum(np.abs(product), np.float32(noise))
    height, width = source.shape
    surface = irfft2(product, source.shape)
    if surface.max() < CHANCE * math.sqrt(2 * math.log(surface.size) / surface.size):
        return 0.0, 0.0
    peak = np.unravel_index(np.argmax(surface), surface.shape)
    down, right = ((int(p) + n // 2) % n - n // 2 for p, n in zip(peak, surface.shape, strict=True))
    vertical, horizontal = np.exp(2j * np.pi * down * fftfreq(height)), np.exp(2j * np.pi * right * rfftfreq(width))
    product[:, 1 : (width + 1) // 2] *= 2  # the half of the spectrum that a real image's transform leaves out
    along_row, along_column = (product * vertical[:, None]).sum(axis=0), (product * horizontal).sum(axis=1)
    right_by = right * TENTHS + _refined(along_row * horizontal, rfftfreq(width))
    down_by = down * TENTHS + _refined(along_column * vertical, fftfreq(height))
    return right_by / TENTHS, down_by / TENTHS


def _refined(spectrum: npt.NDArray[np.complex128], frequencies: npt.NDArray[np.float64]) -> int:
    """Return where the Fourier sum is largest along one axis, in tenths of a pixel from a whole-pixel peak at 0."""
    tenths = np.arange(-REACH, REACH + 1)
    waves = np.exp(2j * np.pi / TENTHS * np.outer(tenths, frequencies))
    return int(tenths[np.argmax((waves * spectrum).sum(axis=1).real)])


# ------------------------------------------------------------------------------------------------------- metric


@dataclass(frozen=True)
class GlobalShift:
    """What happened to the keep region as a whole, in one of three numbers; lower is better, 0 is nothing.

    An affine map of colours, source to output, is fitted to the keep region by least trimmed squares: a quarter of the
    pixels may do as they like. `part=colour` is the size of that shift, the root mean square over pixels and channels
    of the displacement it gives the source's colours, on a scale of [0, 1]; `part=residual` the mean absolute error
    that is left when it is taken out (the source's keep region is mapped, rounded to 8 bits and compared with the
    output); `part=translation` the length in pixels of the shift in place by phase correlation.

    The details have all of them: `colour`, `residual`, `matrix` (3×4: output = matrix · (red, green, blue, 1), pixel
    values scaled to [0, 1]) and `translation` (pixels rightwards and downwards).

    References:
        Rousseeuw & Van Driessen 2006 (trimmed fit); Kuglin & Hines 1975 and Guizar-Sicairos, Thurman & Fienup 2008
        (translation, as `skimage.registration.phase_cross_correlation`).

    Disagreements:
        A change of gamma or of saturation at its ends is no affine map and stays in the residual; a rotation or a zoom
        is no translation. Where more than a quarter of the keep region was repainted, that counts as a shift of colour.

    Args:
        part: which of the three is the number.
    """

    part: Part = "colour"

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    watches: ClassVar[tuple[Zone, ...]] = ("far",)
    blind: ClassVar[tuple[Zone, ...]] = ("core",)
    whole: ClassVar[bool] = True

    @property
    def sees(self) -> tuple[str, ...]:
        """What each part is made for; the residual responds to everything that is not a shift of colours."""
        return {"colour": ("cast",), "residual": (), "translation": ("shift",)}[self.part]

    @property
    def unit(self) -> str:
        """Pixels for a translation."""
        return "px" if self.part == "translation" else ""

    @property
    def range(self) -> tuple[float, float]:
        """From 0; the residual is at most 1."""
        return (0.0, 1.0) if self.part == "residual" else (0.0, math.inf)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric has no value on a scenario."""
        return no_border(scenario)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample, with the other parts and the matrix."""
        return [self._value(sample) for sample in samples]

    def _value(self, sample: Sample) -> Detailed:
        if "global shift" not in sample.memo:
            sample.memo["global shift"] = *_colour(sample), translation(sample)
        fit, size, residual, (right, down) = sample.memo["global shift"]
        matrix = np.eye(3, 4) + fit / [1, 1, 1, 255]
        numbers = {"colour": size, "residual": residual, "translation": math.hypot(right, down)}
        details = {
            "colour": round(size, 6),
            "residual": round(residual, 6),
            "matrix": [[round(float(number), 6) + 0.0 for number in row] for row in matrix],
            "translation": [right, down],
        }
        return Detailed(numbers[self.part], details)
