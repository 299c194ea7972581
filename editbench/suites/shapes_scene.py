"""Draw random scenes whose objects can be seen, told apart and measured."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from editbench.colours import COLOURS
from editbench.suites.shapes_draw import Backdrop, Scene, Thing
from editbench.suites.shapes_forms import FORMS, footprint
from editbench.suites.shapes_paint import BACKDROPS, GROUND_COLOURS, MATERIALS, PATTERNS, RGB, second_shade
from editbench.suites.shapes_stream import Stream

SMALL, LARGE = 0.105, 0.165
"""An object is called small below the one radius, large from the other on."""
MIN_CONTRAST = 30.0
"""CIE76 between an object's colour and the backdrop's."""
MIN_PATTERN_CONTRAST = 16.0
"""CIE76 between a pattern's second shade and the backdrop's colour."""
POSABLE = ("arrow", "heart", "crescent", "triangle")
"""Forms whose rotation by quarter turns can be seen; they stand upright or at quarter turns."""
_RADII = ((0.085, 0.1), (0.115, 0.15), (0.17, 0.205))
_MARGIN = 0.02

Cells = npt.NDArray[np.bool_]


@lru_cache(maxsize=256)
def contrast(first: RGB, second: RGB) -> float:
    """CIE76 difference of two sRGB colours; only ever compared with thresholds that no pair comes close to."""
    pair = []
    for rgb in (first, second):
        linear = [value / 3294.6 if value <= 10.31475 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb]
        x = (0.4124564 * linear[0] + 0.3575761 * linear[1] + 0.1804375 * linear[2]) / 0.95047
        y = 0.2126729 * linear[0] + 0.7151522 * linear[1] + 0.072175 * linear[2]
        z = (0.0193339 * linear[0] + 0.119192 * linear[1] + 0.9503041 * linear[2]) / 1.08883
        roots = [value ** (1 / 3) if value > 0.008856 else 7.787037 * value + 4 / 29 for value in (x, y, z)]
        pair.append((116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])))
    squares = [(a - b) * (a - b) for a, b in zip(*pair, strict=True)]
    return float((squares[0] + squares[1] + squares[2]) ** 0.5)


def stands_out(colour: str, material: str, ground: str) -> bool:
    """Whether an object of this colour and material can be told from a backdrop of this colour."""
    rgb, behind = COLOURS[colour], GROUND_COLOURS[ground]
    clear = contrast(rgb, behind) >= MIN_CONTRAST
    return clear and (material not in PATTERNS or contrast(second_shade(rgb), behind) >= MIN_PATTERN_CONTRAST)


def size_word(thing: Thing) -> str | None:
    """Return `small` or `large` where it is true."""
    return "small" if thing.radius < SMALL else "large" if thing.radius >= LARGE else None


def cells(thing: Thing) -> Cells:
    """Return what an object covers on a coarse grid."""
    return footprint(thing.form, thing.x, thing.y, thing.radius, thing.turn)


def visible_cells(scene: Scene, index: int) -> Cells:
    """Return what can be seen of an object, on a coarse grid."""
    thing = scene.things[index]
    assert thing is not None
    seen = cells(thing)
    for nearer in scene.things[index + 1 :]:
        if nearer is not None:
            seen = seen & ~cells(nearer)
    return seen


def overlap(first: Cells, second: Cells) -> float:
    """Intersection over union."""
    return float((first & second).sum()) / max(1.0, float((first | second).sum()))


def shown_share(scene: Scene, index: int) -> float:
    """Return the share of an object that nearer ones leave visible."""
    thing = scene.things[index]
    assert thing is not None
    return float(visible_cells(scene, index).sum()) / max(1.0, float(cells(thing).sum()))


def inside(thing: Thing) -> bool:
    """Whether an object lies within the picture."""
    reach = thing.radius + _MARGIN
    return reach <= thing.x <= 1 - reach and reach <= thing.y <= 1 - reach


def apart(first: Thing, second: Thing) -> bool:
    """Whether two objects may stand like this: they may touch and overlap a little, unless they share a colour."""
    dx, dy = first.x - second.x, first.y - second.y
    reach = (1.12 if first.colour == second.colour else 0.78) * (first.radius + second.radius)
    return dx * dx + dy * dy >= reach * reach


def fits(scene: Scene, thing: Thing, index: int | None = None) -> bool:
    """Whether an object may stand in a scene, in the place of the one at `index` if given."""
    others = [other for place, other in enumerate(scene.things) if other is not None and place != index]
    if not inside(thing) or not stands_out(thing.colour, thing.material, scene.backdrop.colour):
        return False
    if any((other.colour, other.form) == (thing.colour, thing.form) for other in others):
        return False
    return all(apart(thing, other) for other in others)


def draw_object(stream: Stream, size: int | None = None, forms: tuple[str, ...] = tuple(FORMS)) -> Thing:
    """Draw an object anywhere; `size` is 0, 1 or 2, drawn too if None."""
    form = stream.choice(forms)
    low, high = _RADII[stream.choice((0, 1, 1, 2)) if size is None else size]
    radius = stream.uniform(low, high)
    turn = 90.0 * stream.below(4) if form in POSABLE else stream.uniform(-24.0, 24.0)
    if form in ("heart", "triangle") and stream.chance(0.7):
        turn = 0.0
    reach = radius + _MARGIN
    return Thing(
        form=form,
        colour=stream.choice(tuple(COLOURS)),
        material=stream.choice(MATERIALS),
        x=stream.uniform(reach, 1 - reach),
        y=stream.uniform(reach, 1 - reach),
        radius=radius,
        turn=turn,
        seed=stream.below(1 << 31),
    )


def draw_backdrop(stream: Stream) -> Backdrop:
    """Draw a backdrop."""
    return Backdrop(stream.choice(tuple(BACKDROPS)), stream.choice(tuple(GROUND_COLOURS)), stream.below(1 << 31))


def draw_scene(stream: Stream) -> Scene:
    """Draw a scene of two to six objects, each of them mostly visible."""
    while True:
        scene = Scene(draw_backdrop(stream), ())
        wanted = stream.choice((2, 3, 3, 4, 4, 4, 5, 5, 6))
        for _ in range(60):
            crowded = len(scene.things) >= 3
            thing = draw_object(stream, stream.below(2) if crowded else None)
            if len(scene.things) < wanted and fits(scene, thing):
                scene = Scene(scene.backdrop, (*scene.things, thing))
        if len(scene.things) == wanted and all(shown_share(scene, index) >= 0.8 for index in range(wanted)):
            return scene
