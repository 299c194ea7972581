"""A byte-pair vocabulary in which every word of the suite's prompts is one token.

open_clip's own tokenizer reads it, so that other words are still tokens, byte by byte; its usual table of 49,408
tokens alone would be larger than the whole model.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from editbench.colours import COLOURS
from editbench.suites.shapes_draw import Backdrop, Scene, Thing
from editbench.suites.shapes_forms import FORMS
from editbench.suites.shapes_paint import BACKDROPS, GROUND_COLOURS, MATERIALS
from editbench.suites.shapes_words import STYLE_WORDS, describe, ground_phrase, prompts

_WORDINGS = 400
"""Prompts drawn to meet every opening of a sentence; there are eighteen combinations."""


def words() -> list[str]:
    """Return every word that a prompt of the suite can contain, sorted."""
    things = [
        Thing(form, colour, material, 0.5, 0.5, radius, turn, 0)
        for form in FORMS
        for colour in COLOURS
        for material in MATERIALS
        for radius, turn in ((0.09, 0.0), (0.2, 90.0), (0.2, 180.0), (0.2, 270.0))
    ]
    backdrops = [Backdrop(kind, colour, 0) for kind in BACKDROPS for colour in GROUND_COLOURS]
    scene = Scene(backdrops[0], tuple(things[:2]))
    texts = [describe(thing, True, True) for thing in things]
    texts += [ground_phrase(backdrop) for backdrop in backdrops]
    texts += [suffix for _, suffix in STYLE_WORDS.values()]
    texts += [prompts(scene, scene, (), (), str(number))[0] for number in range(_WORDINGS)]
    return sorted({word for text in texts for word in re.findall(r"[a-z]+", text)} | {"an"})


def merges() -> list[tuple[str, str]]:
    """Return the merges, in order, after which every word is one token: the commonest pair first, then by name."""
    left = Counter({(*word[:-1], f"{word[-1]}</w>"): 1 for word in words()})
    found = []
    while any(len(parts) > 1 for parts in left):
        pairs = Counter(pair for parts in left for pair in pairwise(parts))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        left = Counter({_merged(parts, best): 1 for parts in left})
    return found


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    result: list[str] = []
    for part in parts:
        if result and (result[-1], part) == pair:
            result[-1] += part
        else:
            result.append(part)
    return tuple(result)


def write(path: Path) -> None:
    """Write the merges as open_clip's `SimpleTokenizer` reads them, the same bytes every time."""
    lines = ["#version: shapes@1", *(" ".join(pair) for pair in merges())]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
