"""PIE-Bench++ (ParallelEdits): PIE-Bench with several edits a picture, as parquet tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, each, parse_json, read_literal
from editbench.suites.parquet import Entry, find_tables, read_entries
from editbench.suites.piebench import CATEGORIES, without_brackets
from editbench.types import EditbenchError

CONFIG = re.compile(r"([0-9])_[a-z_]+_\d+")
"""The name of a type's folder: `3_delete_object_80`."""


class Item(TypedDict):
    """The texts of one row; the picture is in the column `image`."""

    id: str
    source_prompt: str
    target_prompt: str
    edit_action: str
    """A Python literal: what was edited -> `Action`."""
    aspect_mapping: str
    """A Python literal: a dict."""
    blended_words: str
    """JSON: a list of `"source word,target word"`."""
    mask: str
    """Runs as in PIE-Bench, separated by spaces."""


class Action(TypedDict):
    """One of the edits of a picture."""

    position: int
    edit_type: int
    action: str
    """`+`, `-`, or the word that is replaced."""


@dataclass(frozen=True)
class PieBenchPp:
    """PIE-Bench++: a folder for each of PIE-Bench's ten types, with the parquet files of the split `V1` below it.

    Args:
        path: the folder that holds them, or one of them.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="PIE-Bench++",
        home="huggingface.co/datasets/UB-CVML-Group/PIE_Bench_pp",
        licence="CC BY-SA 4.0",
        redistribution="allowed with attribution",
        citation="ParallelEdits, arXiv 2406.00985; and Ju et al., Direct Inversion, ICLR 2024, arXiv 2310.01506",
        remarks=("There are no instructions: the target prompt stands for the instruction.",),
        unconfirmed=(
            "That masks are PIE-Bench's pairs of start and length, separated by spaces, is known from a converter of "
            "somebody else's.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of all types in the order of their numbers."""
        categories = {table: _category(table) for table in find_tables(self.path)}
        return each(read_entries(self.path, "", Item, ["image"]), partial(_row, categories))


def _category(table: Path) -> str:
    matches = [match for name in table.absolute().parts[:-1] if (match := CONFIG.fullmatch(name))]
    if not matches:
        raise EditbenchError(f"{table}: no folder above it is called as a type of PIE-Bench: 3_delete_object_80")
    return CATEGORIES[matches[-1][1]]


def _row(categories: Mapping[Path, str], entry: Entry) -> Row:
    item = checked(Item, entry.values, entry.where)
    where = f"{entry.where} ({item['id']!r})"
    target_prompt = without_brackets(item["target_prompt"])
    return Row(
        id=as_id(item["id"]),
        source=entry.picture("image"),
        instruction=target_prompt,
        category=categories[entry.table],
        cluster=item["id"],
        mask={"form": "runs", "runs": _runs(item["mask"], where), "first": 0, "size": [512, 512]},
        source_prompt=without_brackets(item["source_prompt"]),
        target_prompt=target_prompt,
        metadata={
            "edit_action": read_literal(item["edit_action"], dict[str, Action], f"{where}: edit_action"),
            "aspect_mapping": read_literal(item["aspect_mapping"], dict[str, Any], f"{where}: aspect_mapping"),
            "blended_words": checked(list[str], parse_json(item["blended_words"], f"{where}: blended_words"), where),
        },
    )


def _runs(text: str, where: str) -> list[int]:
    try:
        return [int(number) for number in text.split()]
    except ValueError as error:
        raise EditbenchError(f"{where}: mask, expected whole numbers separated by spaces ({error})") from None
