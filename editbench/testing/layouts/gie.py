"""The format of GIE-Bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editbench.testing.examples import Example
from editbench.testing.layouts.pie import required, write_jpeg

_TYPES = ("Remove Object", "Color Change")


def write_giebench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `gie_bench.json` and `images/<topic>/`, as its script downloads them, from pictures of 448x448.

    Masks are every other pixel of every other row: 224x224. The last question cannot be won.
    """
    data, expected = [], []
    for index, item in enumerate(items):
        write_jpeg(folder / "images" / "animals" / f"pexels-{item.id}.jpg", item.source)
        small = required(item.mask)[::2, ::2]
        options = ["Blue", "Red", "Not visible"]
        data.append(
            {
                "edit_instruction": item.instruction,
                "edit_type": _TYPES[index % 2],
                "evaluation_question": "What colour is it?",
                "expected_answer": "Green" if index == len(items) - 1 else "Blue",
                "image": f"/animals/pexels-{item.id}.jpg",
                "image_content_type": "animals",
                "multiple_choice_options": options,
                "object_mask": small.astype(int).tolist(),
                "url": f"https://example.org/{item.id}.jpeg",
            }
        )
        told = replace(item, id=f"{index:04d}", category=_TYPES[index % 2].lower().replace(" ", "_"), target=None)
        mask = small.repeat(2, axis=0).repeat(2, axis=1)
        expected.append(replace(told, mask=mask, source_prompt=None, target_prompt=None))
    (folder / "gie_bench.json").write_text(json.dumps(data, indent=2), "utf-8")
    return expected
