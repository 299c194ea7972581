"""The format of EditBench (Imagen Editor)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editbench.testing.examples import Example
from editbench.testing.layouts.pictures import write_mask, write_png


def write_editbench_imagen(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write two tables and their folders of pictures: the first half of the items natural, the rest generated."""
    expected = []
    middle = (len(items) + 1) // 2
    for part, chosen in (("natural", items[:middle]), ("generated", items[middle:])):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"annotations_{part}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["aos", "prompt_full", "prompt_mask-simple", "prompt_mask-rich"])
            for item in chosen:
                assert item.mask is not None
                name = f"aos_{item.id}"
                write_png(folder / f"references_{part}" / f"{name}.png", item.source)
                write_mask(folder / f"masks_{part}" / f"{name}.png", ~item.mask)
                table.writerow([name, item.target_prompt, "a thing", "a thing, blue"])
                prompt = item.target_prompt or ""
                made = replace(item, id=f"{part}-{name}", instruction=prompt, source_prompt=None, target=None)
                expected.append(replace(made, category=part))
    return expected
