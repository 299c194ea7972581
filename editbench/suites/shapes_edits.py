"""The twelve categories of edits, said in words, and only where a scene allows it."""

from __future__ import annotations

from dataclasses import dataclass

from editbench.suites.shapes_draw import Scene
from editbench.suites.shapes_paint import GROUND_COLOURS, STYLES, styled
from editbench.suites.shapes_scene import contrast, draw_backdrop, draw_object, stands_out
from editbench.suites.shapes_steps import STEPS, TRIES, Step, apply, draw_step, pick, possible, touched
from editbench.suites.shapes_stream import Stream
from editbench.suites.shapes_words import STYLE_WORDS, ground_phrase, prompts, refer

MIN_CHANGE = 20.0
"""CIE76 between a backdrop's colour and what a style makes of it: black and white is no edit of a grey wall."""


@dataclass(frozen=True)
class Plan:
    """Everything about one scenario but its pixels."""

    category: str
    before: Scene
    after: Scene
    steps: tuple[Step, ...]
    style: str | None
    instruction: str
    source_prompt: str
    target_prompt: str


def _sentence(order: str) -> str:
    return f"{order[0].upper()}{order[1:]}."


def _plan(category: str, before: Scene, steps: tuple[Step, ...], instruction: str, text: str) -> Plan:
    after = before
    for step in steps:
        after = apply(after, step)
    missing = (None,) * (len(after.things) - len(before.things))
    before = Scene(before.backdrop, before.things + missing)
    words = prompts(before, after, [step.index for step in steps], [step.kind for step in steps], text)
    return Plan(category, before, after, steps, None, instruction, *words)


def _several(scene: Scene, stream: Stream, text: str) -> Plan | None:
    kinds = stream.shuffled(("recolour", "remove", "move", "resize", "add", "reshape", "recolour"))
    if kinds[0] == kinds[1] and stream.chance(0.5):
        kinds[1] = "retexture"
    first = draw_step(kinds[0], scene, stream)
    if first is None:
        return None
    between = apply(scene, first)
    for _ in range(TRIES):
        # Both orders are worded in the source, where the reader is; the second must also be possible after the first.
        second = draw_step(kinds[1], scene, stream)
        if second is None or second.index == first.index or not possible(between, second):
            continue
        if not (touched(scene, first) & touched(scene, second)).any():
            return _plan("several", scene, (first, second), _sentence(f"{first.order} and {second.order}"), text)
    return None


def _background(scene: Scene, stream: Stream, text: str) -> Plan | None:
    for _ in range(TRIES):
        new = draw_backdrop(stream)
        old = scene.backdrop
        far = contrast(GROUND_COLOURS[new.colour], GROUND_COLOURS[old.colour]) >= 35
        clear = all(stands_out(thing.colour, thing.material, new.colour) for thing in scene.things if thing is not None)
        if new.kind != old.kind and far and clear:
            after = Scene(new, scene.things)
            words = ("change the background to {}", "replace the background with {}", "make {} the backdrop")
            order = stream.choice(words).format(ground_phrase(new))
            return Plan("background", scene, after, (), None, _sentence(order), *prompts(scene, after, (), (), text))
    return None


def _style(scene: Scene, stream: Stream, text: str) -> Plan:
    behind = GROUND_COLOURS[scene.backdrop.colour]
    style = next(
        name for name in stream.shuffled(tuple(STYLES)) if contrast(styled(name, behind), behind) >= MIN_CHANGE
    )
    instruction, suffix = STYLE_WORDS[style]
    source_prompt, _ = prompts(scene, scene, (), (), text)
    return Plan("style", scene, scene, (), style, instruction, source_prompt, suffix.format(source_prompt))


def _nothing(scene: Scene, stream: Stream, text: str) -> Plan:
    index, thing = pick(scene, stream)
    absent = draw_object(stream)
    while any(other is not None and other.form == absent.form for other in scene.things):
        absent = draw_object(stream)
    noun = refer(scene, index, stream)
    orders = (
        f"make {noun} {thing.colour}",
        f"make the surface of {noun} {thing.material}",
        f"remove the {absent.colour} {absent.form}",
        f"make the {absent.form} {absent.colour}",
        "leave the picture exactly as it is",
    )
    words = prompts(scene, scene, (), (), text)
    return Plan("no-op", scene, scene, (), None, _sentence(stream.choice(orders)), *words)


CATEGORIES = (*STEPS, "background", "style", "several", "no-op")


def draw_plan(category: str, scene: Scene, text: str) -> Plan | None:
    """Draw one edit of a scene, None if the scene does not allow it.

    Args:
        category: one of `CATEGORIES`.
        scene: the source's scene.
        text: key of the stream of choices.
    """
    stream = Stream(text)
    words = f"{text}/words"
    if category in STEPS:
        step = draw_step(category, scene, stream)
        return None if step is None else _plan(category, scene, (step,), _sentence(step.order), words)
    rest = {"background": _background, "style": _style, "several": _several, "no-op": _nothing}
    return rest[category](scene, stream, words)
