"""The format of HATIE: pickles, written and converted."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editbench.convert_hatie import MASKS, QUERIES, convert
from editbench.testing.examples import Example
from editbench.testing.layouts.pie import required, write_jpeg

_ABOUT: dict[str, dict[str, Any]] = {
    "obj_remove": {"target": ("1058498", "dog")},
    "bg_chg": {"target": "beach", "editable_objs": ["dog"]},
    "obj_rep": {"original": ("1058498", "dog"), "target": "cat"},
    "style_chg": {"target": "oil painting"},
}
"""By type of query: what it says beside its instruction and captions."""


def write_hatie_pickles(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the pickles of masks and queries and `original_images/`, as its authors have them; one query a picture."""
    masks: list[dict[str, Any]] = []
    queries: dict[str, list[dict[str, Any]]] = {}
    expected = []
    for index, item in enumerate(items):
        kind, mask, image = [*_ABOUT][index % len(_ABOUT)], required(item.mask), f"{2300000 + index}"
        write_jpeg(folder / "original_images" / f"{image}.jpg", item.source)
        objects = {"1058498": {"mask": mask, "bbox": [0, 0, 1, 1]}}
        masks.append({"image": image, "editable_objs": objects})
        captions = {"original_caption": item.source_prompt, "target_caption": item.target_prompt}
        queries[image] = [{"id": index, "type": kind, "instruction": item.instruction, **captions, **_ABOUT[kind]}]
        edited = {"bg_chg": ~mask, "style_chg": None}.get(kind, mask)
        expected.append(replace(item, id=str(index), mask=edited, category=kind, target=None))
    for name, data in ((MASKS, masks), (f"queries/{QUERIES}", queries)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(data))
    return expected


def write_hatie(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the pickles and pictures, and convert them as a user does."""
    expected = write_hatie_pickles(folder, items)
    convert(folder)
    return expected
