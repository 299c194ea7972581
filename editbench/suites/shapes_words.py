"""What the scenes and edits are called: noun phrases that are true and name exactly one object."""

from __future__ import annotations

from collections.abc import Sequence

from editbench.suites.shapes_draw import Backdrop, Scene, Thing
from editbench.suites.shapes_scene import POSABLE, size_word
from editbench.suites.shapes_stream import Stream

_GROUNDS = {
    "plaster": "{} plaster wall",
    "planks": "{} wooden planks",
    "bricks": "{} brick wall",
    "tiles": "{} ceramic tiles",
    "cloth": "woven {} cloth",
    "dunes": "rippled {} dunes",
    "wallpaper": "{} wallpaper with diagonal lines",
}
_OPENINGS = ("a picture of {}", "a rendering of {}", "a photo of {}", "a close-up of {}", "{}", "an image showing {}")
_JOINTS = ("{} on {}", "{} against {}", "{} in front of {}")
_POSES = {
    "arrow": ("pointing up", "pointing right", "pointing down", "pointing left"),
    "crescent": (
        "with its tips to the right",
        "with its tips pointing down",
        "with its tips to the left",
        "with its tips pointing up",
    ),
    "heart": ("standing upright", "with its tip to the left", "standing upside down", "with its tip to the right"),
    "triangle": ("pointing up", "pointing right", "pointing down", "pointing left"),
}
STYLE_WORDS = {
    "black-and-white": ("Convert the picture to black and white.", "{}, in black and white"),
    "sepia": ("Give the whole image an old sepia tone.", "{}, in sepia"),
    "cyanotype": ("Turn this into a cyanotype print.", "{}, as a cyanotype print"),
    "moonlit": ("Make it look like a moonlit night.", "{}, on a moonlit night"),
    "sunset": ("Bathe the whole scene in warm sunset light.", "{}, in warm sunset light"),
    "duotone": ("Render the image as a duotone poster, deep plum to pale straw.", "{}, as a plum and straw duotone"),
}


def a(phrase: str) -> str:
    """Put the indefinite article before a noun phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def listing(phrases: Sequence[str]) -> str:
    """Join phrases as a sentence does."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def ground_phrase(backdrop: Backdrop) -> str:
    """Return what a backdrop is called."""
    phrase = _GROUNDS[backdrop.kind].format(backdrop.colour)
    return a(phrase) if phrase.endswith(("wall", "cloth")) else phrase


def pose(thing: Thing) -> str | None:
    """Return how an object stands, where there are words for it."""
    if thing.form not in POSABLE:
        return None
    return _POSES[thing.form][int(thing.turn / 90) % 4]


def describe(thing: Thing, with_size: bool, with_pose: bool) -> str:
    """Return a noun phrase without an article: `large striped red star`."""
    words = [size_word(thing)] if with_size else []
    words += [thing.material] if thing.material != "matte" else []
    phrase = " ".join(word for word in (*words, thing.colour, thing.form) if word)
    return f"{phrase} {pose(thing)}" if with_pose and pose(thing) else phrase


def refer(scene: Scene, index: int, stream: Stream) -> str:
    """Return a definite noun phrase that only the object at `index` answers to."""
    thing = scene.things[index]
    assert thing is not None
    plain = f"{thing.colour} {thing.form}"
    options = [plain, plain]
    if sum(other is not None and other.form == thing.form for other in scene.things) == 1:
        options.append(thing.form)
    if thing.material != "matte":
        options.append(f"{thing.material} {plain}")
    if size_word(thing):
        options.append(f"{size_word(thing)} {plain}")
    places = (thing.x < 0.36, "on the left"), (thing.x > 0.64, "on the right"), (thing.y < 0.3, "at the top")
    options += [f"{plain} {words}" for true, words in places if true]
    return f"the {stream.choice(options)}"


def prompts(before: Scene, after: Scene, changed: Sequence[int], kinds: Sequence[str], text: str) -> tuple[str, str]:
    """Return the prompts of two scenes, worded alike but for what differs.

    Args:
        before: the source's scene.
        after: the target's.
        changed: places of the objects that are edited.
        kinds: what is done to each of them, so that both prompts say what the edit turns on.
        text: key of the choice of words.
    """
    found = []
    done = dict(zip(changed, kinds, strict=True))
    for scene in (before, after):
        stream = Stream(text)
        opening, joint = stream.choice(_OPENINGS), stream.choice(_JOINTS)
        phrases = []
        for index, thing in enumerate(scene.things):
            with_size = stream.chance(0.4) or done.get(index) == "resize"
            if thing is not None:
                phrases.append(a(describe(thing, with_size, done.get(index) == "pose")))
        found.append(opening.format(joint.format(listing(phrases), ground_phrase(scene.backdrop))))
    return found[0], found[1]
