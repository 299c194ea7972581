"""PIE-Bench (PnPInversion, arXiv 2310.01506): 700 pictures of 512x512 with prompts and run-length encoded masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, each, read_json
from editbench.types import EditbenchError

MAPPING = "mapping_file.json"
CATEGORIES = {
    "0": "random",
    "1": "change_object",
    "2": "add_object",
    "3": "delete_object",
    "4": "change_content",
    "5": "change_pose",
    "6": "change_colour",
    "7": "change_material",
    "8": "change_background",
    "9": "change_style",
}
"""By `editing_type_id`; the names of the folders of the benchmark, in words."""


class Item(TypedDict):
    """One entry of the mapping file."""

    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_instruction: str
    editing_type_id: str
    blended_word: str
    mask: list[int]


@dataclass(frozen=True)
class PieBench:
    """PIE-Bench as its authors distribute it: `mapping_file.json` and `annotation_images/`.

    Masks are pairs of start and length, starts counted from 0, 1 = edit. The frame of one pixel that the authors'
    evaluation adds to every mask belongs to that evaluation (`legacy_pie:*`), not to the mask. Brackets around the
    words that differ are taken out of the prompts, as the evaluation does.

    Args:
        path: the folder that holds `mapping_file.json`.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="PIE-Bench",
        home="the form linked from github.com/cure-lab/PnPInversion",
        licence="not stated by its authors",
        redistribution="unknown",
        citation="Ju et al., Direct Inversion, ICLR 2024, arXiv 2310.01506",
        unconfirmed=("No licence was found, neither of the pictures nor of the annotations.",),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the entries of the mapping file, in its order."""
        mapping = self.path / MAPPING
        return each(read_json(mapping, dict).items(), partial(_row, mapping))


def _row(mapping: Path, entry: tuple[str, object]) -> Row:
    key, value = entry
    item = checked(Item, value, f"{mapping}: {key!r}")
    if item["editing_type_id"] not in CATEGORIES:
        raise EditbenchError(f"{mapping}: {key!r}: editing_type_id={item['editing_type_id']!r}, expected '0' to '9'")
    return Row(
        id=as_id(key),
        source=f"annotation_images/{item['image_path']}",
        instruction=item["editing_instruction"],
        category=CATEGORIES[item["editing_type_id"]],
        mask={"form": "runs", "runs": item["mask"], "first": 0, "size": [512, 512]},
        source_prompt=without_brackets(item["original_prompt"]),
        target_prompt=without_brackets(item["editing_prompt"]),
        metadata={"blended_word": item["blended_word"]},
    )


def without_brackets(prompt: str) -> str:
    """Return a prompt without the marks around the words that differ (`evaluation/evaluate.py`)."""
    return prompt.replace("[", "").replace("]", "")
