"""Changes to one object, and the words that ask for them; only where a scene allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from editbench.colours import COLOURS
from editbench.suites.shapes_draw import Scene, Thing
from editbench.suites.shapes_paint import PATTERNS
from editbench.suites.shapes_scene import (
    POSABLE,
    Cells,
    cells,
    draw_object,
    fits,
    overlap,
    shown_share,
    size_word,
    visible_cells,
)
from editbench.suites.shapes_stream import Stream
from editbench.suites.shapes_words import a, describe, pose, refer

MAX_OVERLAP = 0.6
"""Silhouettes before and after a change of geometry have at most this intersection over union."""
TRIES = 60
"""Draws before a scene is given up for a kind of edit."""


@dataclass(frozen=True)
class Step:
    """One change to one object, and the words that ask for it."""

    kind: str
    index: int
    after: Thing | None
    order: str


def pick(scene: Scene, stream: Stream) -> tuple[int, Thing]:
    """Draw an object and its place."""
    places = [(index, thing) for index, thing in enumerate(scene.things) if thing is not None]
    return stream.choice(places)


def _recolour(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    used = {other.colour for other in scene.things if other is not None}
    new = replace(thing, colour=stream.choice([name for name in COLOURS if name not in used]))
    words = stream.choice(("make {} {}", "paint {} {}", "change the colour of {} to {}", "turn {} {}"))
    return Step("recolour", index, new, words.format(refer(scene, index, stream), new.colour))


def _retexture(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    new = replace(thing, material=stream.choice([name for name in PATTERNS if name != thing.material]))
    noun = {"striped": "stripes", "spotted": "spots", "checkered": "checks", "marbled": "marble veins"}[new.material]
    words = stream.choice(("make {0} {1}", "give {0} a {1} surface", "cover {0} with {2}", "turn {0} {1}"))
    return Step("retexture", index, new, words.format(refer(scene, index, stream), new.material, noun))


def _reshape(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    drawn = draw_object(stream)
    new = replace(thing, form=drawn.form, turn=drawn.turn)
    if stream.chance(0.5):
        new = replace(new, colour=drawn.colour)
    if new.form == thing.form:
        return None
    words = stream.choice(("replace {} with {}", "swap {} for {}", "turn {} into {}"))
    return Step("reshape", index, new, words.format(refer(scene, index, stream), a(describe(new, False, False))))


def _add(scene: Scene, stream: Stream) -> Step | None:
    new = draw_object(stream)
    others = [other for other in scene.things if other is not None]
    if any(other.colour == new.colour for other in others):
        return None
    across = "left" if new.x < 0.36 else "right" if new.x > 0.64 else "centre"
    down = "top" if new.y < 0.36 else "bottom" if new.y > 0.64 else "middle"
    if (across, down) == ("centre", "middle"):
        return None
    place = f"in the {down} {across} corner"
    if down == "middle":
        place = f"on the {across}"
    elif across == "centre":
        place = f"at the {down}"
    noun = a(describe(new, True, False))
    words = stream.choice(("add {} {}", "put {} {}", "place {} {}"))
    return Step("add", len(scene.things), new, words.format(noun, place))


def _remove(scene: Scene, stream: Stream) -> Step | None:
    index, _ = pick(scene, stream)
    words = stream.choice(("remove {}", "delete {}", "take away {}", "erase {} from the picture"))
    return Step("remove", index, None, words.format(refer(scene, index, stream)))


_FACTORS = {
    0.5: ("shrink {} to half its size", "make {} half as large"),
    0.6: ("scale {} down to 60 % of its size", "make {} 40 % smaller"),
    1.6: ("enlarge {} to 160 % of its size", "make {} 60 % larger"),
    2.0: ("make {} twice as large", "double the size of {}"),
}


def _resize(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    factor = stream.choice(tuple(_FACTORS))
    new = replace(thing, radius=thing.radius * factor)
    if not 0.06 <= new.radius <= 0.3 or size_word(new) == size_word(thing):
        return None
    return Step("resize", index, new, stream.choice(_FACTORS[factor]).format(refer(scene, index, stream)))


_SHIFTS = {0.25: "a quarter", 1 / 3: "a third", 0.5: "half"}
_DIRECTIONS = {"to the left": (-1, 0), "to the right": (1, 0), "up": (0, -1), "down": (0, 1)}


def _move(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    shift = stream.choice(tuple(_SHIFTS))
    direction = stream.choice(tuple(_DIRECTIONS))
    across, down = _DIRECTIONS[direction]
    new = replace(thing, x=thing.x + across * shift, y=thing.y + down * shift)
    extent = "height" if down else "width"
    words = stream.choice(("move {} {} by {} of the picture's {}", "shift {} {} by {} of the image {}"))
    order = words.format(refer(scene, index, stream), direction, _SHIFTS[shift], extent)
    return Step("move", index, new, order)


def _pose(scene: Scene, stream: Stream) -> Step | None:
    index, thing = pick(scene, stream)
    quarters = stream.choice((1, 2, 3))
    if thing.form not in POSABLE:
        return None
    new = replace(thing, turn=(thing.turn + 90.0 * quarters) % 360.0)
    amount = {1: "90 degrees clockwise", 2: "180 degrees", 3: "90 degrees counterclockwise"}[quarters]
    noun = refer(scene, index, stream)
    options = [f"rotate {noun} by {amount}", f"turn {noun} by {amount}"]
    stance = pose(new)
    if stance is not None and stance.startswith("pointing"):
        options.append(f"rotate {noun} until it is {stance}")
    return Step("pose", index, new, stream.choice(options))


STEPS: dict[str, Callable[[Scene, Stream], Step | None]] = {
    "recolour": _recolour,
    "retexture": _retexture,
    "reshape": _reshape,
    "add": _add,
    "remove": _remove,
    "resize": _resize,
    "move": _move,
    "pose": _pose,
}
GEOMETRIC = ("reshape", "resize", "move", "pose")


def apply(scene: Scene, step: Step) -> Scene:
    """Return the scene after a step."""
    things = [*scene.things, None] if step.index == len(scene.things) else list(scene.things)
    things[step.index] = step.after
    return Scene(scene.backdrop, tuple(things))


def touched(before: Scene, step: Step) -> Cells:
    """Return what a step's object covers before or after it, on the coarse grid."""
    old = before.things[step.index] if step.index < len(before.things) else None
    found = [cells(thing) for thing in (old, step.after) if thing is not None]
    return found[0] | found[-1]


def possible(before: Scene, step: Step) -> bool:
    """Whether everything stays visible and the change can be told from none."""
    if step.after is not None and not fits(before, step.after, step.index):
        return False
    after = apply(before, step)
    if any(thing is not None and shown_share(after, index) < 0.75 for index, thing in enumerate(after.things)):
        return False
    if step.kind not in GEOMETRIC:
        return True
    return overlap(visible_cells(before, step.index), visible_cells(after, step.index)) <= MAX_OVERLAP


def draw_step(kind: str, scene: Scene, stream: Stream) -> Step | None:
    """Draw a change of one kind, None if the scene seems to allow none."""
    for _ in range(TRIES):
        step = STEPS[kind](scene, stream)
        if step is not None and possible(scene, step):
            return step
    return None
