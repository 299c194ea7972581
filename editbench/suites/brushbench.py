"""BrushBench (BrushNet, arXiv 2403.06976): pictures of 512x512, each to be filled inside and outside of its object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, read_json
from editbench.types import EditbenchError

MAPPING = "mapping_file.json"
IMAGES = "images/"
START_OF_ZERO = (
    "a run starts at 0, though starts are counted from 1: it is left out, as the authors' code does; if there are "
    "many, the file may be counted from 0"
)


class Item(TypedDict):
    """One entry of the mapping file."""

    image: str
    """With or without `images/` in front."""
    caption: str
    inpainting_mask: list[int]
    outpainting_mask: list[int]


@dataclass(frozen=True)
class BrushBench:
    """BrushBench as its authors distribute it: `mapping_file.json` and `images/`.

    Every picture is two scenarios, `<id>-inside` and then `<id>-outside`. Masks are pairs of start and length in
    row-major order, starts counted from 1, 1 = to be filled; there is no frame.

    Args:
        path: the folder that holds `mapping_file.json`.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="BrushBench",
        home="the form linked from github.com/TencentARC/BrushNet",
        licence="not found; its form asks for consent (the code is Apache-2.0)",
        redistribution="unknown",
        citation="Ju et al., BrushNet, ECCV 2024, arXiv 2403.06976",
        remarks=(
            "There are no instructions: the caption of the whole picture stands for the instruction and is the target "
            "prompt.",
        ),
        unconfirmed=("That there are 600 pictures.",),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield two scenarios for every entry of the mapping file, in its order."""
        mapping = self.path / MAPPING
        for key, value in read_json(mapping, dict).items():
            try:
                item = checked(Item, value, f"{mapping}: {key!r}")
            except EditbenchError as error:
                yield error
            else:
                yield _row(key, item, "inside", item["inpainting_mask"])
                yield _row(key, item, "outside", item["outpainting_mask"])


def _row(key: str, item: Item, side: str, runs: list[int]) -> Row:
    pairs = list(zip(runs[::2], runs[1::2], strict=False))
    kept = [number for pair in pairs if pair[0] for number in pair] + runs[2 * len(pairs) :]
    return Row(
        id=as_id(key, side),
        source=IMAGES + item["image"].removeprefix(IMAGES),
        instruction=item["caption"],
        category=side,
        mask={"form": "runs", "runs": kept, "first": 1, "size": [512, 512]},
        target_prompt=item["caption"],
        metadata={"defects": [START_OF_ZERO]} if len(kept) < len(runs) else {},
    )
