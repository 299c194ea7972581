"""HumanEdit (arXiv 2412.04280): 5751 edits of photographs in six types, made and checked by people, with masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked
from editbench.suites.parquet import Entry, read_entries
from editbench.types import EditbenchError

PICTURES = ("INPUT_IMG", "MASK_IMG", "OUTPUT_IMG")


class Item(TypedDict):
    """The columns that are no pictures."""

    IMAGE_ID: str
    EDITING_TYPE: str
    CORE: int
    MASK: int
    EDITING_INSTRUCTION: str
    OUTPUT_DESCRIPTION: str | None
    INPUT_CAPTION_BY_LLAMA: str | None
    OUTPUT_CAPTION_BY_LLAMA: str | None


@dataclass(frozen=True)
class HumanEdit:
    """HumanEdit, as tables of the hub.

    `MASK_IMG` is the source with the edit region painted black. What is black in the source as well was either painted
    or not, and counts as edit where most of its outline is painted; `check suite` tells where that is a guess.

    Prompts are the two captions that a language model wrote; what a person wrote about the output is
    `metadata.output_description`.

    Args:
        path: the folder with the tables.
        core: only the rows that have `CORE` = 1.
        split: of the tables; the hub has `train` only.
    """

    path: Path = bare()
    core: bool = False
    split: str = ""
    terms: ClassVar[Terms] = Terms(
        title="HumanEdit",
        home="huggingface.co/datasets/BryanW/HumanEdit",
        licence="CC-BY-4.0",
        redistribution="allowed with attribution",
        citation="Bai et al., HumanEdit, arXiv 2412.04280",
        unconfirmed=(
            "How MASK_IMG is stored: JPEG would leave black pixels that are not quite black, which are flagged, and "
            "refused where they are more than a quarter of the region.",
            "What the flag MASK means; it is kept in metadata.mask.",
            "How many rows are CORE: 400, as is said.",
            "Whether two rows may have one IMAGE_ID: if so, they are `ID` and `ID-2`.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of the tables, in their order."""
        seen: dict[str, int] = {}
        for entry in read_entries(self.path, self.split, Item, PICTURES):
            try:
                item = checked(Item, entry.values, entry.where)
            except EditbenchError as error:
                yield error
                continue
            if not self.core or item["CORE"] == 1:
                seen[item["IMAGE_ID"]] = seen.get(item["IMAGE_ID"], 0) + 1
                yield _row(entry, item, seen[item["IMAGE_ID"]])


def _row(entry: Entry, item: Item, occurrence: int) -> Row:
    source, mask, target = (entry.picture(column) for column in PICTURES)
    return Row(
        id=as_id(item["IMAGE_ID"], *([occurrence] if occurrence > 1 else [])),
        source=source,
        instruction=item["EDITING_INSTRUCTION"],
        category=item["EDITING_TYPE"],
        cluster=item["IMAGE_ID"],
        mask={"form": "painted", "picture": mask},
        target=target,
        source_prompt=item["INPUT_CAPTION_BY_LLAMA"],
        target_prompt=item["OUTPUT_CAPTION_BY_LLAMA"],
        metadata={"core": item["CORE"], "mask": item["MASK"], "output_description": item["OUTPUT_DESCRIPTION"]},
    )
