"""Toy scenarios for the conformance runs, and what these have to say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from editbench.types import Content, Scenario

PROMPTS = (
    "Make the disc red.",
    "Fais disparaître le disque 🟠, s'il te plaît ✨",
    "Please " + "very carefully " * 60 + "make the disc blue.",
)


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say."""

    error: bool
    """False for a remark that breaks nothing."""
    text: str
    mend: str = ""
    """What to do about it, where that can be said."""


def toy_scenarios() -> list[Scenario]:
    """Return small scenarios of several sizes, with an irregular, an empty and a full mask, and three prompts."""
    sizes = ((64, 64), (64, 96), (96, 64), (63, 65), (64, 64), (64, 64))
    masks = {4: "empty", 5: "full"}
    return [_toy(index, size, masks.get(index, "disc")) for index, size in enumerate(sizes)]


def tiny_scenarios() -> list[Scenario]:
    """Return scenarios smaller than most models and many metrics can look at."""
    return [_toy(6, (17, 31), "disc"), _toy(7, (16, 16), "disc")]


def _toy(index: int, size: tuple[int, int], mask: str) -> Scenario:
    return Scenario(
        id=f"toy-{index}",
        cluster=f"toy-{index}",
        category="no-op" if mask == "empty" else "recolour",
        instruction=PROMPTS[index % len(PROMPTS)],
        load=partial(_toy_content, *size, index, mask),
        source_prompt="a green disc on a cloudy ground",
        target_prompt="a red disc on a cloudy ground",
    )


def _toy_content(height: int, width: int, seed: int, kind: str) -> Content:
    rows, columns = np.mgrid[:height, :width]
    random = np.random.default_rng(seed)
    ground = 90 + 60 * rows[..., None] / height + random.integers(0, 40, (height, width, 3))
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 4) ** 2
    source, target = ground.copy(), ground.copy()
    source[disc], target[disc] = (40, 160, 60), (200, 40, 40)
    mask = {"disc": disc, "empty": np.zeros_like(disc), "full": np.ones_like(disc)}[kind]
    target = np.where(mask[..., None], target, source)
    return Content(source.astype(np.uint8), mask, target.astype(np.uint8))
