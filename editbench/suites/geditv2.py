"""GEditBench v2 (arXiv 2603.28547): 1,200 requests in 23 tasks, one of them open-set; no masks, no targets."""

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
    """The columns that are read; `source_image` is the picture."""

    key: str
    instruction: str
    task: str


@dataclass(frozen=True)
class GEditV2:
    """GEditBench v2 as the Hugging Face hub has it: parquet files, below `path` at any depth.

    A scenario has the key of its item as its id, `<task>_<six digits>`, which is what the finished images of 17
    models in its candidates gallery are named by: `--editor geditv2_gallery:PATH,model=NAME`.

    Args:
        path: the downloaded folder.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="GEditBench v2",
        home="huggingface.co/datasets/GEditBench-v2/GEditBench-v2",
        licence="not found",
        redistribution="unknown",
        citation="GEditBench v2, 2026, arXiv 2603.28547",
        unconfirmed=(
            "Its columns (key, instruction, source_image, task) are known from programs of its users only.",
            "Whether items share photographs is not recorded: each is a cluster of its own.",
            "Its authors measure outside of boxes that a model predicts; those are not part of the data.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the items in the order of the tables."""
        return each(read_entries(self.path, "", Item, ["source_image"]), _row)


def _row(entry: Entry) -> Row:
    item = checked(Item, entry.values, entry.where)
    return Row(
        id=as_id(item["key"]),
        source=entry.picture("source_image"),
        instruction=item["instruction"],
        category=item["task"],
    )
