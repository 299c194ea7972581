"""What `shapes-tiny` learns from: scenes, edits and captions of the suite's grammar, but none of the suite's scenes.

Everything is drawn from streams keyed by `shapes-tiny/…`; the suite's own are keyed by `shapes/1/test/…`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from editbench.colours import COLOURS
from editbench.metrics.views import Box, edit_box
from editbench.suites.shapes_draw import Scene, Stage, Thing
from editbench.suites.shapes_edits import CATEGORIES, Plan, draw_plan
from editbench.suites.shapes_forms import FORMS
from editbench.suites.shapes_paint import BACKDROPS, GROUND_COLOURS, MATERIALS, restyle
from editbench.suites.shapes_scene import POSABLE, draw_object, draw_scene, size_word
from editbench.suites.shapes_stream import Stream
from editbench.suites.shapes_words import STYLE_WORDS, prompts
from editbench.types import Image

SIZE = 128
"""Pixels that training pictures are rendered at, before they are resized for the network."""
EDITS = tuple(category for category in CATEGORIES if category != "no-op")
_SIMPLE = 3
"""One scene of so many has only one or two objects: what a word means is learnt there first."""


def draw_edit(key: str, number: int) -> Plan:
    """Draw a scene and an edit of it; the edits of consecutive numbers are of different categories.

    Args:
        key: of the collection, such as `shapes-tiny/0/train`.
        number: place in it.
    """
    category = EDITS[number % len(EDITS)]
    attempt = 0
    while True:
        name = f"{key}/{number}/{attempt}"
        stream = Stream(name)
        scene = draw_scene(stream)
        if number // len(EDITS) % _SIMPLE == 0:
            count = 2 if category in ("remove", "several") else 1 + stream.below(2)
            scene = Scene(scene.backdrop, scene.things[:count])
        plan = draw_plan(category, scene, f"{name}/edit")
        if plan is not None:
            return plan
        attempt += 1


@dataclass(frozen=True)
class Pair:
    """An edit, the pictures before and after it, and the window that shows what it changed."""

    plan: Plan
    pictures: tuple[Image, Image]
    box: Box | None


def picture_pair(plan: Plan) -> Pair:
    """Render the two pictures of an edit at `SIZE`."""
    stage = Stage(SIZE)
    before = stage.picture(plan.before)
    after = stage.picture(plan.after) if plan.style is None else restyle(plan.style, before)
    if not plan.steps:
        return Pair(plan, (before, after), None)
    mask = stage.influence(plan.before, plan.after, {step.index: True for step in plan.steps})
    return Pair(plan, (before, after), edit_box(mask, 0.25))


# ------------------------------------------------------------------------------------------------------ captions


def captions(plan: Plan, key: str, distractors: int) -> tuple[str, str, list[str]]:
    """Word the two pictures of an edit, and some that are not there, alike but for what differs.

    Args:
        plan: the edit.
        key: of the choice of words; another one words the same pictures differently.
        distractors: how many captions of scenes that differ a little from either picture.

    Returns:
        The caption before, the caption after, and the distractors, which equal neither.
    """
    stream = Stream(f"{key}/extras")
    told = {step.index: step.kind for step in plan.steps}
    for index in range(len(plan.before.things)):
        if index not in told and stream.chance(0.3):
            told[index] = stream.choice(("pose", "resize"))
    before, after = _words(plan, plan.before, plan.after, told, key)
    found: list[str] = []
    while len(found) < distractors:
        base, styled = (plan.before, None) if len(found) % 2 == 0 else (plan.after, plan.style)
        other = stream.choice(_CHANGES)(base, stream)
        if styled is not None and stream.chance(0.5):
            other, styled = base, stream.choice(tuple(STYLE_WORDS))
        text = _words(replace(plan, style=styled), base, other, told, key)[1]
        if text not in (before, after):
            found.append(text)
    return before, after, found


def _words(plan: Plan, first: Scene, second: Scene, told: dict[int, str], key: str) -> tuple[str, str]:
    before, after = prompts(first, second, tuple(told), tuple(told.values()), f"{key}/words")
    return before, after if plan.style is None else STYLE_WORDS[plan.style][1].format(after)


def _with(scene: Scene, index: int, thing: Thing | None) -> Scene:
    things = list(scene.things)
    things[index] = thing
    return Scene(scene.backdrop, tuple(things))


def _present(scene: Scene) -> list[int]:
    return [index for index, thing in enumerate(scene.things) if thing is not None]


def _one_changed(change: Callable[[Thing, Stream], Thing]) -> Callable[[Scene, Stream], Scene]:
    def changed(scene: Scene, stream: Stream) -> Scene:
        present = _present(scene)
        if not present:
            return scene
        index = stream.choice(present)
        thing = scene.things[index]
        assert thing is not None
        return _with(scene, index, change(thing, stream))

    return changed


def _resized(thing: Thing, stream: Stream) -> Thing:
    sizes = {"small": 0.09, "large": 0.2}
    return replace(thing, radius=sizes[stream.choice([word for word in sizes if word != size_word(thing)])])


def _turned(thing: Thing, stream: Stream) -> Thing:
    return replace(thing, turn=thing.turn + 90.0 * stream.choice((1, 2, 3))) if thing.form in POSABLE else thing


def _swapped(scene: Scene, stream: Stream) -> Scene:
    """Exchange one property of two objects: all the words stay, what they belong to does not."""
    present = _present(scene)
    if len(present) < 2:
        return scene
    one, two = stream.shuffled(present)[:2]
    first, second = scene.things[one], scene.things[two]
    assert first is not None and second is not None
    name = stream.choice(("colour", "form", "material"))
    values = {name: getattr(second, name)}, {name: getattr(first, name)}
    return _with(_with(scene, one, replace(first, **values[0])), two, replace(second, **values[1]))


def _without_one(scene: Scene, stream: Stream) -> Scene:
    present = _present(scene)
    return _with(scene, stream.choice(present), None) if len(present) > 1 else scene


def _with_another(scene: Scene, stream: Stream) -> Scene:
    return Scene(scene.backdrop, (*scene.things, draw_object(stream)))


def _elsewhere(scene: Scene, stream: Stream) -> Scene:
    if stream.chance(0.5):
        return Scene(replace(scene.backdrop, kind=stream.choice(tuple(BACKDROPS))), scene.things)
    return Scene(replace(scene.backdrop, colour=stream.choice(tuple(GROUND_COLOURS))), scene.things)


_CHANGES: tuple[Callable[[Scene, Stream], Scene], ...] = (
    _one_changed(lambda thing, stream: replace(thing, colour=stream.choice(tuple(COLOURS)))),
    _one_changed(lambda thing, stream: replace(thing, form=stream.choice(tuple(FORMS)))),
    _one_changed(lambda thing, stream: replace(thing, material=stream.choice(MATERIALS))),
    _one_changed(lambda thing, stream: replace(thing, material=stream.choice(MATERIALS))),
    _one_changed(_resized),
    _one_changed(_turned),
    _swapped,
    _swapped,
    _without_one,
    _with_another,
    _elsewhere,
)
"""Small changes that make a caption false; those that are hard to see come twice."""


# -------------------------------------------------------------------------------------------------------- crops


def view(pair: Pair, side: int, size: int, stream: Stream) -> Image:
    """Return one picture of a pair as the network is shown it in training: resized from a window drawn at random.

    Args:
        pair: the edit.
        side: 0 for the picture before it, 1 for the one after.
        size: pixels of the network's input.
        stream: of the choice of window.
    """
    from PIL import Image as PILImage

    if pair.box is not None and stream.chance(0.15):
        top, bottom, left, right = map(float, pair.box)
    else:
        extent = SIZE * stream.uniform(0.9, 1.0)
        left, top = stream.uniform(0.0, SIZE - extent), stream.uniform(0.0, SIZE - extent)
        right, bottom = left + extent, top + extent
    opened = PILImage.fromarray(pair.pictures[side])
    resized = opened.resize((size, size), PILImage.Resampling.BICUBIC, box=(left, top, right, bottom))
    return np.asarray(resized)
