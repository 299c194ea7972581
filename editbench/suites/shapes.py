"""`shapes@1`: 240 rendered scenarios with exact targets, exact masks and checks; no files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from editbench.specs import did_you_mean
from editbench.suites.shapes_edits import CATEGORIES, Plan, draw_plan
from editbench.suites.shapes_render import render
from editbench.suites.shapes_scene import draw_scene
from editbench.suites.shapes_stream import Stream
from editbench.types import EditbenchError, Scenario

GENERATOR_VERSION = 1
"""Raised with any change to a pixel, a word or a check; the suite's name then is a new version too."""
PER_CATEGORY = 20
SCENES = 65
"""Source scenes. Scenario n shows scene n mod 65: the three or four edits of a scene are of different categories."""
SIZES = range(32, 1025, 16)


def _members(scene: int) -> list[int]:
    return list(range(scene, PER_CATEGORY * len(CATEGORIES), SCENES))


@lru_cache(maxsize=SCENES)
def plans(scene: int) -> dict[int, Plan]:
    """Return the edits of a source scene by scenario number; the scene is redrawn until all of them are possible."""
    attempt = 0
    while True:
        key = f"shapes/1/test/{scene}/{attempt}"
        before = draw_scene(Stream(key))
        found = {}
        for number in _members(scene):
            plan = draw_plan(CATEGORIES[number % len(CATEGORIES)], before, f"{key}/{number}")
            if plan is None:
                break
            found[number] = plan
        else:
            return found
        attempt += 1


@dataclass(frozen=True)
class Shapes:
    """Shapes of many materials on textured backdrops, twelve kinds of edits, twenty of each."""

    size: int = 256
    """Width and height in pixels: a multiple of 16 from 32 to 1024. The scenes are the same at every size."""
    categories: str = ""
    """Only these, joined by `+` (`recolour+remove`); all twelve if empty. The scenarios are the same ones."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise EditbenchError(f"shapes@1: size={self.size}, expected a multiple of 16 from 32 to 1024")
        for name in self._chosen:
            if name not in CATEGORIES:
                hint = did_you_mean(name, CATEGORIES) or f", expected {', '.join(CATEGORIES)}"
                raise EditbenchError(f"shapes@1: no category {name!r}{hint}")

    @property
    def _chosen(self) -> list[str]:
        return sorted(set(self.categories.split("+"))) if self.categories else []

    @property
    def name(self) -> str:
        """`shapes@1`, with the size if it is not 256, and the categories if they are not all."""
        options = [] if self.size == 256 else [f"size={self.size}"]
        options += [f"categories={'+'.join(self._chosen)}"] if self._chosen else []
        return "shapes@1" + (f":{','.join(options)}" if options else "")

    @property
    def identity(self) -> str:
        """sha256 of the generator's version and options."""
        told = f"shapes@1 generator={GENERATOR_VERSION} size={self.size}"
        told += f" categories={self._chosen}" if self._chosen else ""
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def licence(self) -> str:
        """Nobody's rights: the pictures are computed."""
        return "CC0-1.0 (generated)"

    def __len__(self) -> int:
        return PER_CATEGORY * len(self._chosen or CATEGORIES)

    def __getitem__(self, index: int) -> Scenario:
        if not 0 <= index < len(self):
            raise IndexError(f"scenario {index} of {len(self)}")
        kept = [place for place, name in enumerate(CATEGORIES) if not self._chosen or name in self._chosen]
        number = index // len(kept) * len(CATEGORIES) + kept[index % len(kept)]
        scene = number % SCENES
        plan = plans(scene)[number]
        return Scenario(
            id=f"{plan.category}-{number // len(CATEGORIES):03d}",
            cluster=f"scene-{scene:03d}",
            category=plan.category,
            instruction=plan.instruction,
            load=partial(render, plan, self.size),
            source_prompt=plan.source_prompt,
            target_prompt=plan.target_prompt,
        )

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))
