"""Published protocols as their code computes them, mistakes included, so that its numbers can be compared with tables.

None of these is a measure that we recommend: masked images are filled with black and averaged over the whole frame,
sums over three channels are divided by one, masks go unused. Each class says what is wrong with it. What holds for all:

- The arithmetic is that of the protocol's repository on today's releases of its libraries (torchmetrics' structural
  similarity, for one, has changed since the tables were printed).
- Images are measured at the scenario's size. Where a protocol demands or makes 512×512, its own data has that size.
- What a protocol reports as infinite is `Failed` here: records hold no infinity, and a cap would be our invention.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from editbench.types import Direction, Failed, Need, Zone

KEEP: tuple[Zone, ...] = ("near", "far")
EDIT: tuple[Zone, ...] = ("core",)
EVERYWHERE: tuple[Zone, ...] = ("core", "near", "far")

INFINITE = Failed("infinite: no pixel differs, and the protocol has no cap")
"""The value of an uncapped signal-to-noise ratio between equal images."""


class Quantity(NamedTuple):
    """What a protocol calls one of its numbers, described as a metric is."""

    direction: Direction
    unit: str
    range: tuple[float, float]
    network: Literal["clip", "dino", "squeeze"] | None = None
    needs: tuple[Need, ...] = ()


NETWORK_LIBRARIES = {
    "clip": ("torch", "transformers", "Pillow"),
    "dino": ("torch", "torchvision", "transformers", "Pillow"),
    "squeeze": ("torch", "lpips"),
}


def check_options(name: str, quantity: Quantity, model: str | None, trunk: Path | None) -> None:
    """Refuse options that a number has no use for.

    Raises:
        ValueError: naming the option.
    """
    if model is not None and quantity.network not in ("clip", "dino"):
        raise ValueError(f"{name} uses no model, got model={model!r}")
    if trunk is not None and quantity.network != "squeeze":
        raise ValueError(f"{name} uses no trunk, got trunk={str(trunk)!r}")
