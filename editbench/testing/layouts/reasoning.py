"""The formats of KRIS-Bench, RISEBench and ICE-Bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editbench.testing.examples import Example
from editbench.testing.layouts.pictures import write_mask, write_png
from editbench.testing.layouts.pie import write_jpeg


def write_krisbench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write two categories; in the second, items have a ground truth and two source pictures."""
    expected = []
    middle = (len(items) + 1) // 2
    for category, chosen in (("color_change", items[:middle]), ("viewpoint_change", items[middle:])):
        place, annotation = folder / "KRIS_Bench" / category, {}
        for number, item in enumerate(chosen, start=1):
            truth = item.target if category == "viewpoint_change" else None
            write_jpeg(place / f"{number}.jpg", item.source)
            entry: dict[str, Any] = {"ori_img": f"{number}.jpg", "ins_en": item.instruction, "explain_en": "It must."}
            if truth is not None:
                write_png(place / f"{number}_gt.png", truth)
                entry |= {"ori_img": [f"{number}.jpg", "another.jpg"], "gt_img": f"{number}_gt.png"}
            annotation[str(number)] = entry
            made = replace(item, id=f"{category}-{number}", category=category, target=truth, mask=None)
            expected.append(replace(made, source_prompt=None, target_prompt=None))
        (place / "annotation.json").write_text(json.dumps(annotation, ensure_ascii=False), "utf-8")
    return expected


def write_risebench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `data/data_total.json`, with the NaN that some copies have, and its pictures."""
    entries, expected = [], []
    for index, item in enumerate(items):
        category = ("temporal_reasoning", "logical_reasoning")[index % 2]
        name = f"{category}_images/{index}.png"
        write_png(folder / "data" / name, item.source)
        entries.append(
            {
                "index": f"{category}_{index}",
                "category": category,
                "instruction": f'{item.instruction} \\ NaN, "NaN"',
                "image": name,
                "reference": "A rotten banana.",
                "consistency_free": (float("nan"), True)[index % 2],
            }
        )
        made = replace(item, id=f"{category}_{index}", category=category, mask=None, target=None)
        made = replace(made, instruction=f'{item.instruction} \\ NaN, "NaN"')
        expected.append(replace(made, source_prompt=None, target_prompt=None))
    (folder / "data" / "data_total.json").write_text(json.dumps(entries), "utf-8")
    return expected


def write_icebench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `dataset/data.jsonl`: tasks with a mask, one without, and one without a source, which is no scenario."""
    expected, lines = [], []
    for index, item in enumerate(items):
        task = ("Inpainting", "Color Editing")[index % 2]
        source, mask = f"dataset/images/{item.id}.png", f"dataset/images/{item.id}_mask.png"
        write_png(folder / source, item.source)
        if task == "Inpainting":
            assert item.mask is not None
            write_mask(folder / mask, item.mask)
        lines.append(_line(f"{task}/{index}", task, source, mask if task == "Inpainting" else "", item))
        made = replace(item, id=f"{task}_{index}".replace(" ", "_"), category=task, source_prompt=None, target=None)
        expected.append(made if task == "Inpainting" else replace(made, mask=None))
    lines.insert(1, _line("Text2Image/0", "Text2Image", "", "", items[0]) if items else "")
    (folder / "dataset" / "data.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return expected


def _line(item_id: str, task: str, source: str, mask: str, item: Example) -> str:
    return json.dumps(
        {
            "ItemID": item_id,
            "Task": task,
            "SourceImage": source,
            "SourceMask": mask,
            "ReferenceImages": [],
            "Instruction": item.instruction,
            "TargetCaption": item.target_prompt,
        },
        ensure_ascii=False,
    )
