"""What surfaces look like: the materials of objects, the backdrops behind them, and the styles of whole pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from editbench.suites.shapes_stream import Field, Stream, lattice
from editbench.types import Image

RGB = tuple[float, float, float]


def _wave(phase: Field) -> Field:
    """Triangle wave of period 1 between -1 and 1."""
    return 4.0 * np.abs(phase - np.floor(phase) - 0.5) - 1.0


def _crisp(value: Field, softness: float) -> Field:
    """Turn a sign into a step in [0, 1] that is `softness` wide."""
    return np.clip(value / softness + 0.5, 0.0, 1.0)


def _noise(grid: Field, across: Field, down: Field) -> Field:
    """Interpolate a lattice smoothly at any points of its own coordinates."""
    rows, columns = grid.shape
    left, top = np.floor(across), np.floor(down)
    x, y = across - left, down - top
    x, y = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y)
    i, j = top.astype(np.int64) % rows, left.astype(np.int64) % columns
    below, right = (i + 1) % rows, (j + 1) % columns
    upper = grid[i, j] * (1.0 - x) + grid[i, right] * x
    lower = grid[below, j] * (1.0 - x) + grid[below, right] * x
    between: Field = upper * (1.0 - y) + lower * y
    return between


def _clouds(seed: int, across: Field, down: Field, octaves: tuple[tuple[int, float], ...]) -> Field:
    """Sum of smooth noise on grids of so many cells and weights; separable, since the grids are aligned."""
    total = np.zeros((down.shape[0], across.shape[1]))
    for number, (cells, weight) in enumerate(octaves):
        grid = lattice(seed + number, cells + 2, cells + 2) - 0.5
        for axis, position in ((0, down[:, 0] * cells), (1, across[0] * cells)):
            start = np.floor(position)
            share = position - start
            share = share * share * (3.0 - 2.0 * share)
            index = start.astype(np.int64)
            if axis == 0:
                grid = grid[index] * (1.0 - share)[:, None] + grid[index + 1] * share[:, None]
            else:
                grid = grid[:, index] * (1.0 - share) + grid[:, index + 1] * share
        total = total + weight * grid
    return total


# ---------------------------------------------------------------------------------------------- materials


def _stripes(u: Field, v: Field, softness: float, seed: int) -> Field:
    return _crisp(_wave((0.8 * u + 0.6 * v) * 2.1 + (seed % 8) / 8), softness * 8.4)


def _spots(u: Field, v: Field, softness: float, seed: int) -> Field:
    row = np.floor(v * 2.1 + 0.5)
    x = u * 1.9 + 0.5 * (row - 2.0 * np.floor(row / 2.0)) + (seed % 4) / 4
    x = (x - np.floor(x) - 0.5) / 1.9
    y = v - row / 2.1
    return _crisp(0.155 - np.sqrt(x * x + y * y), softness)


def _checks(u: Field, v: Field, softness: float, seed: int) -> Field:
    shift = (seed % 4) / 8
    return _crisp(_wave(u * 1.25 + shift) * _wave(v * 1.25 + shift), softness * 5.0)


def _veins(u: Field, v: Field, softness: float, seed: int) -> Field:
    grid = lattice(seed, 9, 9)
    warp = _noise(grid, u * 1.6 + 3.0, v * 1.6 + 3.0) + 0.5 * _noise(grid, u * 3.4 + 5.0, v * 3.4 + 1.0)
    return np.clip(1.25 - 2.6 * np.abs(_wave(0.45 * u - 0.3 * v + 1.9 * warp)), 0.0, 1.0)


PATTERNS: dict[str, Callable[[Field, Field, float, int], Field]] = {
    "striped": _stripes,
    "spotted": _spots,
    "checkered": _checks,
    "marbled": _veins,
}
"""Share of the second shade at (u, v), with edges `softness` wide."""
MATERIALS = ("matte", "glossy", *PATTERNS)


def second_shade(rgb: RGB) -> RGB:
    """Return what a pattern alternates a colour with: a dark shade of light colours, a light tint of dark ones."""
    light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 118.0
    red, green, blue = (0.4 * value if light else 0.4 * value + 148.0 for value in rgb)
    return red, green, blue


def surface(material: str, rgb: RGB, u: Field, v: Field, softness: float, seed: int) -> tuple[Field, Field, Field]:
    """Return the unshaded red, green and blue of an object's surface."""
    if material not in PATTERNS:
        red, green, blue = (np.full_like(u, value) for value in rgb)
        return red, green, blue
    share = PATTERNS[material](u, v, softness, seed)
    red, green, blue = (a + (b - a) * share for a, b in zip(rgb, second_shade(rgb), strict=True))
    return red, green, blue


# ---------------------------------------------------------------------------------------------- backdrops

GROUND_COLOURS: dict[str, RGB] = {
    "cream": (238, 224, 190),
    "navy": (32, 42, 92),
    "sage": (150, 180, 128),
    "sand": (216, 180, 126),
    "rust": (156, 78, 50),
    "mint": (174, 224, 196),
    "lavender": (180, 168, 224),
    "charcoal": (48, 50, 58),
    "khaki": (172, 160, 96),
    "burgundy": (100, 28, 50),
    "peach": (248, 198, 168),
    "olive": (86, 106, 50),
    "azure": (148, 196, 230),
    "mustard": (190, 146, 40),
}
"""None of them is a word of `editbench.colours`, so that a colour word always means an object."""

_FINE = ((24, 0.05), (64, 0.07))


def _plaster(x: Field, y: Field, seed: int, pixel: float) -> Field:
    return _clouds(seed, x, y, ((3, 0.34), (6, 0.24), (12, 0.14), *_FINE))


def _planks(x: Field, y: Field, seed: int, pixel: float) -> Field:
    boards = 5 + seed % 3
    y = y * 0.85 + (seed % 7) / 7 * 0.15
    board = np.floor(y * boards)
    offset = lattice(seed, boards + 1, 2)[board[:, 0].astype(np.int64)]
    seam = 0.5 - np.abs(y * boards - board - 0.5)
    ends = x * 1.6 + offset[:, 1:]
    butt = 0.5 - np.abs(ends - np.floor(ends) - 0.5)
    gap = np.minimum(seam / boards, butt / 1.6)
    grain = _clouds(seed, x * 0.16, y, ((20, 0.3), (60, 0.22)))
    return 0.22 * (offset[:, :1] - 0.5) + grain - 0.5 * np.clip((0.006 - gap) / pixel + 0.5, 0.0, 1.0)


def _bricks(x: Field, y: Field, seed: int, pixel: float) -> Field:
    rows, columns = 8 + seed % 3, 4 + seed % 2
    x, y = x + (seed % 16) / 16 / columns, y + (seed % 11) / 11 / rows
    row = np.floor(y * rows)
    across = x * columns + 0.5 * (row - 2.0 * np.floor(row / 2.0))
    column = np.floor(across)
    tone = lattice(seed, rows + 2, columns + 3)[row.astype(np.int64), column.astype(np.int64)]
    edge = np.minimum((0.5 - np.abs(y * rows - row - 0.5)) / rows, (0.5 - np.abs(across - column - 0.5)) / columns)
    mortar = np.clip((0.0085 - edge) / pixel + 0.5, 0.0, 1.0)
    return 0.3 * (tone - 0.5) + _clouds(seed, x * 0.75, y * 0.75, ((5, 0.14), *_FINE)) - 0.34 * mortar


def _tiles(x: Field, y: Field, seed: int, pixel: float) -> Field:
    count = 4 + seed % 4
    x, y = x + (seed % 16) / 16 / count, y + (seed % 11) / 11 / count
    row, column = np.floor(y * count), np.floor(x * count)
    tone = lattice(seed, count + 2, count + 2)[row.astype(np.int64), column.astype(np.int64)]
    inner_x, inner_y = x * count - column - 0.5, y * count - row - 0.5
    edge = (0.5 - np.maximum(np.abs(inner_x), np.abs(inner_y))) / count
    joint = np.clip((0.006 - edge) / pixel + 0.5, 0.0, 1.0)
    sheen = -0.16 * (inner_x + inner_y)
    return 0.2 * (tone - 0.5) + sheen + _clouds(seed, x * 0.75, y * 0.75, ((6, 0.1), *_FINE)) - 0.4 * joint


def _cloth(x: Field, y: Field, seed: int, pixel: float) -> Field:
    threads = 34.0
    weave = _wave(x * threads) * _wave(y * threads)
    return 0.16 * weave + _clouds(seed, x, y, ((3, 0.36), (8, 0.14), (64, 0.1)))


def _dunes(x: Field, y: Field, seed: int, pixel: float) -> Field:
    warp = _clouds(seed, x, y, ((3, 1.0), (7, 0.24)))
    ripple = _wave(y * 7.0 + 2.2 * x + 1.7 * warp)
    return 0.19 * ripple + 0.2 * warp + _clouds(seed + 9, x, y, _FINE)


def _wallpaper(x: Field, y: Field, seed: int, pixel: float) -> Field:
    slant = 0.35 if seed % 2 else -0.45
    stripe = _wave((x + slant * y) * (7.0 + seed % 3) + (seed % 7) / 7)
    bold = np.clip(stripe * 6.0 + 0.5, 0.0, 1.0) - 0.5
    return 0.26 * bold + _clouds(seed, x, y, ((3, 0.22), *_FINE))


BACKDROPS: dict[str, Callable[[Field, Field, int, float], Field]] = {
    "plaster": _plaster,
    "planks": _planks,
    "bricks": _bricks,
    "tiles": _tiles,
    "cloth": _cloth,
    "dunes": _dunes,
    "wallpaper": _wallpaper,
}
"""Relative brightness, about 0, at (x, y) of a picture with pixels `pixel` wide."""


def ground(kind: str, rgb: RGB, seed: int, size: int) -> Field:
    """Return a backdrop as `(size, size, 3)` in 0..255: its pattern, lit by a gradient of brightness and warmth."""
    centres = (np.arange(size, dtype=np.float64) + 0.5) / size
    x, y = centres[None, :], centres[:, None]
    light = Stream(f"light/{seed}")
    slope_x, slope_y = light.uniform(-0.22, -0.04), light.uniform(-0.24, -0.05)
    slope = (slope_x * (x - 0.5)) + (slope_y * (y - 0.5))
    tone = (1.0 + BACKDROPS[kind](x, y, seed, 1.0 / size)) * (1.0 + slope)
    warmth = light.uniform(-0.14, 0.14) * ((x - 0.5) + (y - 0.5))
    picture = np.empty((size, size, 3))
    for channel, sign in enumerate((1.0, 0.1, -1.0)):
        picture[..., channel] = rgb[channel] * tone * (1.0 + sign * warmth)
    return picture


# ------------------------------------------------------------------------------------------------- styles


def _mix(image: Field, darks: RGB, lights: RGB) -> Field:
    grey = (0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]) * (1.0 / 255.0)
    mixed = np.empty_like(image)
    for channel in range(3):
        mixed[..., channel] = darks[channel] + (lights[channel] - darks[channel]) * grey
    return mixed


def _channels(image: Field, gains: RGB, lifts: RGB) -> Field:
    toned = np.empty_like(image)
    for channel in range(3):
        toned[..., channel] = image[..., channel] * gains[channel] + lifts[channel]
    return toned


STYLES: dict[str, Callable[[Field], Field]] = {
    "black-and-white": lambda image: _mix(image, (0, 0, 0), (255, 255, 255)),
    "sepia": lambda image: _mix(image, (34, 18, 4), (255, 232, 190)),
    "cyanotype": lambda image: _mix(image, (8, 24, 78), (226, 240, 252)),
    "moonlit": lambda image: _channels(image, (0.3, 0.38, 0.62), (2, 6, 24)),
    "sunset": lambda image: _channels(image, (0.86, 0.6, 0.42), (44, 12, 0)),
    "duotone": lambda image: _mix(image, (58, 10, 96), (255, 226, 96)),
}
"""Changes of tone and colour, point by point."""


def styled(style: str, rgb: RGB) -> RGB:
    """Return what a style makes of one colour."""
    red, green, blue = STYLES[style](np.array(rgb, np.float64)).tolist()
    return red, green, blue


def restyle(style: str, image: Image) -> Image:
    """Return a picture in another style."""
    return quantise(STYLES[style](image.astype(np.float64)))


def quantise(picture: Field) -> Image:
    """Round 0..255 to uint8."""
    return np.floor(np.clip(picture, 0.0, 255.0) + 0.5).astype(np.uint8)
