"""Colour words and their sRGB values: one vocabulary for prompts, the `recolor` editor and the colour checks."""

from __future__ import annotations

import re

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 36, 40),
    "orange": (240, 130, 24),
    "yellow": (244, 210, 40),
    "green": (48, 150, 62),
    "teal": (22, 150, 150),
    "blue": (36, 84, 204),
    "purple": (126, 50, 170),
    "pink": (240, 118, 170),
    "brown": (122, 74, 38),
    "white": (242, 242, 240),
    "black": (26, 26, 30),
}
"""Far apart from each other and from mid-grey (pairwise CIE76 difference ≥ 25; a test holds it)."""

_SYNONYMS = {"violet": "purple", "turquoise": "teal", "cyan": "teal", "golden": "yellow", "gold": "yellow"}
_WORD = re.compile(r"[a-z]+")


def colour_words(text: str) -> list[str]:
    """Return the names of `COLOURS` that a text mentions, in order, synonyms resolved."""
    words = (_SYNONYMS.get(word, word) for word in _WORD.findall(text.lower()))
    return [word for word in words if word in COLOURS]


def wanted_colour(instruction: str, source_prompt: str | None, target_prompt: str | None) -> str | None:
    """Return the colour that an edit asks for, or None.

    It is the colour that the target prompt has and the source prompt has not; where that does not decide, the last
    one that the instruction mentions.
    """
    if target_prompt is not None:
        before = colour_words(source_prompt or "")
        new = [word for word in colour_words(target_prompt) if word not in before]
        if new:
            return new[-1]
    mentioned = colour_words(instruction)
    return mentioned[-1] if mentioned else None
