"""The format of TEdBench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editbench.testing.examples import Example
from editbench.testing.layouts.tables import png, split_path, write_table


def write_tedbench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the table of the split `val`, as on the hub; what stands for Imagic's output is the target."""
    pictures = {
        "original_image": [png(item.source) for item in items],
        "edited_image": [png(item.target) for item in items],
    }
    write_table(split_path(folder, "val"), {"caption": [item.target_prompt for item in items]}, pictures)
    return [
        replace(
            item,
            id=f"{index:03d}",
            mask=None,
            instruction=str(item.target_prompt),
            source_prompt=None,
            target=None,
            category="edit",
        )
        for index, item in enumerate(items)
    ]
