"""The forms of objects as signed distances, negative inside, and what they cover on a coarse grid.

Coordinates are those of the object: it reaches to about ± 1, v points down. Everything that makes pixels uses
+ − × ÷, square roots, comparisons and rounding alone, which IEEE 754 makes the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from editbench.suites.shapes_stream import Field

PI = 3.141592653589793


def cosine_and_sine(degrees: float) -> tuple[float, float]:
    """Return cosine and sine by their series, since those of a platform's library differ in the last bit."""
    quarter, rest = divmod(degrees, 90.0)
    x = rest * PI / 180
    sine = cosine = 0.0
    term = 1.0
    for power in range(24):
        if power % 2:
            sine += term if power % 4 == 1 else -term
        else:
            cosine += term if power % 4 == 0 else -term
        term = term * x / (power + 1)
    turns = ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))
    return turns[int(quarter) % 4]


def _length(u: Field, v: Field) -> Field:
    return np.sqrt(u * u + v * v)


def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    x, y = np.abs(u) - half_width, np.abs(v) - half_height
    return _length(np.maximum(x, 0.0), np.maximum(y, 0.0)) + np.minimum(np.maximum(x, y), 0.0)


def _ball(u: Field, v: Field) -> Field:
    return _length(u, v) - 0.9


def _square(u: Field, v: Field) -> Field:
    return _box(u, v, 0.64, 0.64) - 0.14


def _triangle(u: Field, v: Field) -> Field:
    return np.maximum(v - 0.62, 0.8660254 * np.abs(u) - 0.5 * v - 0.5)


def _hexagon(u: Field, v: Field) -> Field:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(v, 0.8660254 * u + 0.5 * v) - 0.82


def _ring(u: Field, v: Field) -> Field:
    return np.abs(_length(u, v) - 0.66) - 0.25


def _cross(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v, 0.88, 0.27), _box(u, v, 0.27, 0.88)) - 0.05


def _crescent(u: Field, v: Field) -> Field:
    u = u + 0.22
    return np.maximum(_length(u, v) - 0.95, 0.78 - _length(u - 0.52, v))


def _arrow(u: Field, v: Field) -> Field:
    head = np.maximum(v - 0.02, 0.8 * np.abs(u) - 0.6 * (v + 0.98))
    return np.minimum(head, _box(u, v - 0.44, 0.27, 0.5))


def _star(u: Field, v: Field) -> Field:
    x, y = np.abs(u), -v
    for direction in (0.809016994375, -0.809016994375):
        fold = 2.0 * np.maximum(direction * x - 0.587785252292 * y, 0.0)
        x, y = x - fold * direction, y + fold * 0.587785252292
    x, y = np.abs(x), y - 1.0
    edge_x, edge_y = 0.47 * 0.587785252292, 0.47 * 0.809016994375 - 1.0
    along = np.clip((x * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y), 0.0, 1.0)
    distance = _length(x - edge_x * along, y - edge_y * along)
    return np.where(y * edge_x - x * edge_y > 0.0, distance, -distance)


def _heart(u: Field, v: Field) -> Field:
    scale = 0.62
    x, y = np.abs(u) * scale, 0.56 - v * scale
    lobe = _length(x - 0.25, y - 0.75) - 0.3535533905932738
    fold = 0.5 * np.maximum(x + y, 0.0)
    side = np.minimum(_length(x, y - 1.0), _length(x - fold, y - fold))
    return np.where(x + y > 1.0, lobe, np.where(x > y, side, -side)) / scale


FORMS: dict[str, Callable[[Field, Field], Field]] = {
    "ball": _ball,
    "square": _square,
    "triangle": _triangle,
    "hexagon": _hexagon,
    "ring": _ring,
    "cross": _cross,
    "crescent": _crescent,
    "arrow": _arrow,
    "star": _star,
    "heart": _heart,
}
BEVELS = {"ball": 0.9, "ring": 0.25, "cross": 0.32, "star": 0.42, "crescent": 0.36, "heart": 0.5, "arrow": 0.28}
"""How far from the edge a form is rounded off; a third of its radius where nothing is said."""

_COARSE = 96
_GROWTH = 0.01


@lru_cache(maxsize=256)
def footprint(form: str, x: float, y: float, radius: float, turn: float) -> npt.NDArray[np.bool_]:
    """Return which cells of a coarse grid over the picture an object covers: what layouts are judged by.

    The outline is grown a little, as it is by the slight blur through which checks look: small forms differ less.
    """
    centres = (np.arange(_COARSE, dtype=np.float64) + 0.5) / _COARSE
    u, v = local(centres[None, :], centres[:, None], x, y, radius, turn)
    covered: npt.NDArray[np.bool_] = FORMS[form](u, v) * radius <= _GROWTH
    return covered


def local(across: Field, down: Field, x: float, y: float, radius: float, turn: float) -> tuple[Field, Field]:
    """Return picture coordinates in those of an object at (x, y), turned clockwise by `turn` degrees."""
    cosine, sine = cosine_and_sine(turn)
    dx, dy = (across - x) / radius, (down - y) / radius
    return dx * cosine + dy * sine, dy * cosine - dx * sine
