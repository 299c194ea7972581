"""The Emu Edit test set (arXiv 2311.10089): instructions of seven tasks with captions, no masks and no targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, each
from editbench.suites.parquet import Entry, read_entries
from editbench.types import EditbenchError


class Item(TypedDict):
    """The columns that are no pictures."""

    instruction: str
    task: str
    split: str
    idx: int
    hash: str
    input_caption: str | None
    output_caption: str | None


@dataclass(frozen=True)
class EmuEdit:
    """The Emu Edit test set, as tables of the hub: whole-image scenarios.

    An id is `IDX-HASH`. The table of finished images, `facebook/emu_edit_test_set_generations`, is matched by it
    (`--editor table:PATH,id=idx+hash`), since the names of its two splits are swapped. Rows with the same caption
    before and after, which is a known mistake of the data, stay in the suite with `metadata.defects`.

    Args:
        path: the folder with the tables.
        split: of the tables: `validation` or `test`; by default all that are there.
    """

    path: Path = bare()
    split: str = ""
    terms: ClassVar[Terms] = Terms(
        title="Emu Edit test set",
        home="huggingface.co/datasets/facebook/emu_edit_test_set",
        licence="CC-BY-NC-4.0",
        redistribution="allowed with attribution",
        citation="Sheynin et al., Emu Edit, CVPR 2024, arXiv 2311.10089",
        unconfirmed=("Whether rows share a photograph: no column tells, so every row is a cluster of its own.",),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of the tables, in their order."""
        return each(read_entries(self.path, self.split, Item, ("image",)), _row)


def _row(entry: Entry) -> Row:
    item = checked(Item, entry.values, entry.where)
    same = item["input_caption"] is not None and item["input_caption"] == item["output_caption"]
    scenario_id = as_id(item["idx"], item["hash"])
    return Row(
        id=scenario_id,
        source=entry.picture("image"),
        instruction=item["instruction"],
        category=item["task"],
        cluster=scenario_id,
        source_prompt=item["input_caption"],
        target_prompt=item["output_caption"],
        metadata={"defects": ["the caption after the edit is the one before it"]} if same else {},
    )
