"""EditBench of Imagen Editor (Google): 240 pictures, natural and generated, to be inpainted by one prompt of three."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, each, read_csv
from editbench.types import EditbenchError

Prompt = Literal["full", "mask-simple", "mask-rich"]
Part = Literal["all", "natural", "generated"]

Item = TypedDict(
    "Item", {"aos": str, "prompt_full": str, "prompt_mask-simple": str, "prompt_mask-rich": str}, total=True
)
"""The columns that are read of `annotations_natural.csv` and `annotations_generated.csv`; there may be others."""


@dataclass(frozen=True)
class EditbenchImagen:
    """EditBench: `annotations_{part}.csv`, `references_{part}/{aos}.png` and `masks_{part}/{aos}.png`.

    Black is what is to be inpainted. The chosen prompt is the instruction and the target prompt of a scenario; all
    three are in its metadata. It is no instruction in the sense of "make it so": it describes the result.

    Args:
        path: the folder that holds the annotations.
        prompt: `full` describes the whole picture, `mask-simple` and `mask-rich` what belongs into the mask.
        part: one half only.
    """

    path: Path = bare()
    prompt: Prompt = "full"
    part: Part = "all"
    terms: ClassVar[Terms] = Terms(
        title="EditBench (Imagen Editor)",
        home="storage.cloud.google.com/editbench/editbench.tar.gz",
        licence="not found",
        redistribution="unknown",
        citation="Wang et al., Imagen Editor and EditBench, CVPR 2023, arXiv 2212.06909",
        unconfirmed=(
            "No licence was found; BrushNet's authors say that they cannot redistribute their copy of it.",
            "That black is to be inpainted is known from users of the data (BrushNet, issue 33), not from its authors.",
            "The sizes of its pictures, and what other columns its tables have.",
            "Users report pictures in the archive that cannot be decoded (FreeInpaint, issue 2); which, is not known.",
            "Other data sets have this name: LonelVino/EditBench and two EditReward-Benches are not this one.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the natural pictures, then the generated ones, in the order of their tables."""
        for part in ("natural", "generated") if self.part == "all" else (self.part,):
            table = read_csv(self.path / f"annotations_{part}.csv", list(Item.__annotations__))
            yield from each(table, partial(_row, part, f"prompt_{self.prompt}"))


def _row(part: str, column: str, found: tuple[str, dict[str, str]]) -> Row:
    where, cells = found
    item = cast(Item, cells)
    name = item["aos"].strip()
    if not name:
        raise EditbenchError(f"{where}: aos={item['aos']!r}, expected the name of a picture")
    prompt = cells[column]
    return Row(
        id=as_id(part, name),
        source=f"references_{part}/{name}.png",
        instruction=prompt,
        category=part,
        mask={
            "form": "file",
            "picture": f"masks_{part}/{name}.png",
            "polarity": "black=edit",
            "threshold": 128,
        },
        target_prompt=prompt,
        metadata={variant: cells[variant] for variant in list(Item.__annotations__)[1:]},
    )
