"""GIE-Bench (Apple, arXiv 2505.11493): edits of photographs from Pexels, with object masks and a question each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import checked
from editbench.suites.pictures import first_folder
from editbench.suites.runs import encode_runs
from editbench.suites.streams import read_items
from editbench.types import EditbenchError

DATA = "gie_bench.json"
SIDE = 224
"""Of a mask, in its own pixels."""
AGAIN = "the same edit of the same picture occurs before"
SCENES = ("Scene Change", "Background Change")


class Item(TypedDict):
    """One entry of the file."""

    edit_instruction: str
    edit_type: str
    evaluation_question: str
    expected_answer: str
    image: str
    """`/animals/name.jpg`."""
    image_content_type: str
    multiple_choice_options: list[str]
    object_mask: list[list[int]]
    """224 rows of 224 numbers, 1 = the object to edit."""
    url: str


@dataclass(frozen=True)
class GieBench:
    """GIE-Bench: `gie_bench.json`, unpacked from its repository, and the photographs that its script downloads.

    The file is read item by item. Ids are positions in it, from 0. Masks of 224x224 are enlarged to their picture,
    which leaves a flag. Photographs are expected as `images/<topic>/<name>`, or in `images2000/`, or beside the file;
    those whose link is dead are `input_invalid`. The multiple-choice question and the address are in the metadata.

    Args:
        path: the folder that holds `gie_bench.json`.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="GIE-Bench",
        home="github.com/apple/ml-gie-bench; the photographs by its list of addresses",
        licence="CC BY-NC-ND for the data; the photographs are Pexels'",
        redistribution="not allowed",
        citation="Qian et al., GIE-Bench, arXiv 2505.11493",
        remarks=("The right answer is the first option for more than half of the questions.",),
        unconfirmed=(
            "Whether masks of background and scene changes, which cover the scene, mean where to edit: look at them.",
        ),
    )

    @property
    def pictures(self) -> Path:
        """The folder with one folder for every topic."""
        return first_folder(self.path, "images", "images2000", ".")

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the entries of the file, in its order."""
        seen: set[int] = set()
        for number, (where, value) in enumerate(read_items(self.path / DATA)):
            try:
                item = checked(Item, value, where)
                runs = _runs(item["object_mask"], f"{where}: object_mask")
            except EditbenchError as error:
                yield error
                continue
            key = hash((item["edit_instruction"], item["image"]))
            defects = [*_defects(item, runs), *[AGAIN] * (key in seen)]
            seen.add(key)
            yield Row(
                id=f"{number:04d}",
                source=item["image"].lstrip("/"),
                instruction=item["edit_instruction"],
                category=item["edit_type"].lower().replace(" ", "_"),
                mask={"form": "runs", "runs": runs, "first": 0, "size": [SIDE, SIDE], "stretch": True},
                metadata={
                    "question": item["evaluation_question"],
                    "options": item["multiple_choice_options"],
                    "answer": item["expected_answer"],
                    "topic": item["image_content_type"],
                    "url": item["url"],
                    "defects": defects,
                },
            )


def _runs(rows: list[list[int]], where: str) -> list[int]:
    lengths = {len(row) for row in rows}
    if len(rows) != SIDE or lengths != {SIDE}:
        raise EditbenchError(f"{where}: {len(rows)} rows of {sorted(lengths)} numbers, expected {SIDE} of {SIDE}")
    mask = np.array(rows)
    if not np.isin(mask, (0, 1)).all():
        raise EditbenchError(f"{where}: numbers {mask.min()} to {mask.max()}, expected 0 and 1")
    return encode_runs(mask.astype(np.bool_))


def _defects(item: Item, runs: list[int]) -> Iterator[str]:
    if item["expected_answer"] not in item["multiple_choice_options"]:
        yield "the expected answer is not among the options: the question cannot be won"
    if not runs:
        yield "the mask is empty"
    if runs == [0, SIDE * SIDE] and item["edit_type"] not in SCENES:
        yield "the mask covers everything"
