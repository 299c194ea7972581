"""CompBench (arXiv 2505.12200): edits of crowded scenes in nine tasks and two of several turns, with masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.masks import MaskPolarity
from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.linked_turns import link_turns
from editbench.suites.manifests import as_id, checked, each
from editbench.suites.parquet import Entry, find_tables, read_entries, refuse_early, split_of
from editbench.types import EditbenchError

PICTURES = ("input_image", "edited_image")
OLDER = ("original_image", "image_id")
"""Columns of an early layout, which its own README describes."""

INFERRED: MaskPolarity = "white=edit"
"""What nobody could confirm; any other polarity is one that the user gives."""
GREY = 128
"""From this level on a mask is white: how masks are encoded is not documented."""


class Item(TypedDict):
    """The columns that are no pictures."""

    task: str
    image_path: str
    instruction: str
    caption: str | None


@dataclass(frozen=True)
class CompBench:
    """CompBench, as tables of the hub.

    An id is the split and the number of the row in it. A row without a mask may change everywhere. `caption` is kept
    in the metadata: of which picture it is is not documented. In the split `multi_turn`, one row follows another where
    its input picture is, byte for byte, the other's edited picture.

    Args:
        path: the folder with the tables.
        split: `train` or `multi_turn`; by default both, in the order of their names.
        polarity: of the masks. It could not be confirmed; the area of a sample of masks is checked before a run.
    """

    path: Path = bare()
    split: str = ""
    polarity: MaskPolarity = INFERRED
    terms: ClassVar[Terms] = Terms(
        title="CompBench",
        home="huggingface.co/datasets/BohanJia/CompBench",
        licence="CC-BY-4.0 (an early card said MIT)",
        redistribution="allowed with attribution",
        citation="Jia et al., CompBench, arXiv 2505.12200",
        unconfirmed=(
            "The polarity of the masks: white is taken for the edited object, polarity=black=edit turns it round.",
            "How rows of multi_turn belong together: here by equal pictures, and alone where there are none.",
            "Which rows have no mask.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of the tables, in their order."""
        refuse_early(self.path, self.split, "input_image", OLDER)
        for split in [self.split] if self.split else sorted(set(map(split_of, find_tables(self.path)))):
            found = each(read_entries(self.path, split, Item, PICTURES, ["mask"]), partial(_row, self.polarity))
            yield from link_turns(list(found), self.path) if split == "multi_turn" else found


def _row(polarity: MaskPolarity, entry: Entry) -> Row:
    item = checked(Item, entry.values, entry.where)
    source, target = (entry.picture(column) for column in PICTURES)
    form = {"form": "file", "polarity": polarity, "threshold": GREY, "inferred": polarity == INFERRED}
    return Row(
        id=as_id(entry.id),
        source=source,
        instruction=item["instruction"],
        category=item["task"],
        cluster=item["image_path"],
        mask=None if "mask" in entry.empty else {**form, "picture": entry.picture("mask")},
        target=target,
        metadata={"image_path": item["image_path"], "caption": item["caption"]},
    )
