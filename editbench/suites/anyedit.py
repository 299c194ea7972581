"""AnyEdit (arXiv 2411.15738): 25 types of edits with captions and edited pictures, no masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NotRequired

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import LeftOut, Row, Terms
from editbench.suites.manifests import as_id, checked, each
from editbench.suites.parquet import Entry, read_entries
from editbench.types import EditbenchError

PICTURES = ("image_file", "edited_file")


class Item(TypedDict):
    """The columns that are no pictures. The instruction is `edit_instruction`, or `edit` as in the authors' code."""

    edit_type: str
    edit_instruction: NotRequired[str]
    edit: NotRequired[str]
    image_id: NotRequired[str]
    input: NotRequired[str | None]
    output: NotRequired[str | None]


@dataclass(frozen=True)
class AnyEdit:
    """AnyEdit, as tables of the hub: whole-image scenarios, the edited picture being the target.

    An id is the split and the number of the row in it. Edits of the types `visual_*` need a second picture, which an
    editor is not shown here: they are left out unless they are asked for.

    Args:
        path: the folder with the tables.
        split: of the tables: `validation` or `train`; by default all that are there.
        visual: whether edits that need a second picture are scenarios too.
    """

    path: Path = bare()
    split: str = ""
    visual: bool = False
    terms: ClassVar[Terms] = Terms(
        title="AnyEdit",
        home="huggingface.co/datasets/Bin1117/AnyEdit",
        licence="CC-BY-4.0 (early revisions of its card said MIT)",
        redistribution="allowed with attribution",
        citation="Yu et al., AnyEdit, arXiv 2411.15738",
        unconfirmed=(
            "That rows of one photograph share an image_id, which is the cluster here.",
            "The layout of AnyEdit-Test: it loads if it has the same columns.",
            "How good the edited pictures are: models made them, and filters chose.",
        ),
    )

    def rows(self) -> Iterator[Row | LeftOut | EditbenchError]:
        """Yield the rows of the tables, in their order."""
        return each(read_entries(self.path, self.split, Item, PICTURES), partial(_row, self.visual))


def _row(visual: bool, entry: Entry) -> Row | LeftOut:
    item = checked(Item, entry.values, entry.where)
    second_picture = item["edit_type"].startswith("visual_")
    if second_picture and not visual:
        return LeftOut(entry.id, "edits that need a second picture, which editors are not shown (visual=true has them)")
    instruction = item.get("edit_instruction", item.get("edit"))
    if instruction is None:
        found = ", ".join(entry.values)
        raise EditbenchError(f"{entry.where}: no column 'edit_instruction' or 'edit' (it has: {found} and pictures)")
    source, target = (entry.picture(column) for column in PICTURES)
    scenario_id = as_id(entry.id)
    return Row(
        id=scenario_id,
        source=source,
        instruction=instruction,
        category=item["edit_type"],
        cluster=item.get("image_id") or scenario_id,
        target=target,
        source_prompt=item.get("input"),
        target_prompt=item.get("output"),
        metadata={"second_picture": second_picture},
    )
