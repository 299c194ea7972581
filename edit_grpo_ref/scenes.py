"""`grpo_scenes@1`: what the embedded policy learns from; scenes and edits of `shapes@1`'s kind, none of them its own.

Everything is drawn from streams keyed by `grpo-scenes/1/<split>/…`; those of `shapes@1` are keyed by `shapes/1/test/…`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from editbench.suites.shapes import GENERATOR_VERSION, SIZES
from editbench.suites.shapes_edits import Plan, draw_plan
from editbench.suites.shapes_render import render
from editbench.suites.shapes_scene import draw_scene
from editbench.suites.shapes_stream import Stream
from editbench.types import EditbenchError, Scenario

Split = Literal["pretrain", "train", "validation"]

CATEGORIES = ("recolour", "remove", "background")
"""Edits that the base policy makes neither always nor never (see its card): what a reward can move either way."""
LENGTHS: dict[Split, int] = {"pretrain": 100_000, "train": 100_000, "validation": 240}


def draw(split: Split, number: int) -> Plan:
    """Draw a scene and an edit of it; the edits of consecutive numbers are of different categories."""
    category = CATEGORIES[number % len(CATEGORIES)]
    attempt = 0
    while True:
        key = f"grpo-scenes/1/{split}/{number}/{attempt}"
        plan = draw_plan(category, draw_scene(Stream(key)), f"{key}/edit")
        if plan is not None:
            return plan
        attempt += 1


@dataclass(frozen=True)
class Scenes:
    """Rendered scenes with exact targets, masks and checks; every scenario has a scene of its own."""

    split: Split = "train"
    """`pretrain` for supervised pre-training, `train` for rewards, `validation` for choosing between policies."""
    size: int = 64
    """Width and height in pixels: a multiple of 16 from 32 to 1024. The scenes are the same at every size."""

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise EditbenchError(f"grpo_scenes@1: split={self.split!r}, expected one of {', '.join(get_args(Split))}")
        if self.size not in SIZES:
            raise EditbenchError(f"grpo_scenes@1: size={self.size}, expected a multiple of 16 from 32 to 1024")

    @property
    def name(self) -> str:
        """`grpo_scenes@1:split=train`, with the size if it is not 64."""
        return f"grpo_scenes@1:split={self.split}" + ("" if self.size == 64 else f",size={self.size}")

    @property
    def identity(self) -> str:
        """sha256 of the generator's version and options."""
        options = f"categories={','.join(CATEGORIES)} split={self.split} size={self.size}"
        return hashlib.sha256(f"grpo_scenes@1 generator={GENERATOR_VERSION} {options}".encode()).hexdigest()

    @property
    def licence(self) -> str:
        """Nobody's rights: the pictures are computed."""
        return "CC0-1.0 (generated)"

    def __len__(self) -> int:
        return LENGTHS[self.split]

    def __getitem__(self, index: int) -> Scenario:
        if not 0 <= index < len(self):
            raise IndexError(f"scenario {index} of {len(self)}")
        plan = draw(self.split, index)
        return Scenario(
            id=f"{plan.category}-{index // len(CATEGORIES):06d}",
            cluster=f"{self.split}-{index:06d}",
            category=plan.category,
            instruction=plan.instruction,
            load=partial(render, plan, self.size),
            source_prompt=plan.source_prompt,
            target_prompt=plan.target_prompt,
        )

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))
