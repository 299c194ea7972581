"""TEdBench (Imagic, arXiv 2210.09276): 100 real photographs, each with the text of what it should show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import checked, each
from editbench.suites.parquet import cell, find_tables, read_rows
from editbench.types import EditbenchError


class Picture(TypedDict):
    """A cell with a picture, or without one."""

    bytes: bytes | None


class Item(TypedDict):
    """One row; the column `edited_image`, Imagic's output, is not read."""

    original_image: Picture | None
    caption: str


@dataclass(frozen=True)
class TedBench:
    """TEdBench as the Hugging Face hub has it: `data/val-00000-of-00001.parquet`.

    The whole picture may change: there are no masks. `edited_image` is what Imagic made of it, no ground truth, and so
    no target. Rows with the same picture, byte for byte, are one cluster. Ids are positions in the table, from 0.

    Args:
        path: the folder that holds the table, at any depth.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="TEdBench",
        home="huggingface.co/datasets/bahjat-kawar/tedbench",
        licence="not found",
        redistribution="unknown",
        citation="Kawar et al., Imagic, CVPR 2023, arXiv 2210.09276",
        remarks=(
            "There are no instructions: the caption of the wanted picture stands for the instruction.",
            "There are no masks and no targets: the whole picture may change, so nothing can be said about locality.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of the table, in its order."""
        for number, table in enumerate(find_tables(self.path)):
            rows = enumerate(read_rows(table, ("original_image", "caption")))
            yield from each(rows, partial(_row, self.path, table, f"{number}-" if number else ""))


def _row(root: Path, table: Path, prefix: str, numbered: tuple[int, dict[str, Any]]) -> Row:
    number, value = numbered
    item = checked(Item, value, f"{table}: row {number}")
    data = (item["original_image"] or Picture(bytes=None))["bytes"]
    return Row(
        id=f"{prefix}{number:03d}",
        source=cell(root, table, number, "original_image"),
        instruction=item["caption"],
        cluster=hashlib.sha256(data).hexdigest()[:12] if data else "",
        target_prompt=item["caption"],
    )
