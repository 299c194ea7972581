"""The formats of GEdit-Bench and GEditBench v2: tables of the Hugging Face hub, masks and galleries beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editbench.testing.examples import Example
from editbench.testing.layouts.pictures import write_mask, write_png
from editbench.testing.layouts.tables import png, split_path, write_table

_TASKS = ("background_change", "subject-add", "ps_human")


def write_gedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write two parquet files; every item is in them in Chinese, too, and English comes first."""
    return [replace(item, mask=None) for item in _written_gedit(folder, items)]


def write_gedit_chinese(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the same; return the Chinese half."""
    return [replace(item, instruction=f"请：{item.instruction}") for item in write_gedit(folder, items)]


def write_gedit_masked(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the same, and CoCoEdit's folder: pictures and masks of the English half, white = not to be edited."""
    expected = _written_gedit(folder, items)
    for item in expected:
        assert item.mask is not None
        place = folder / "geditbench" / "fullset" / item.category / "en"
        key = item.id.rpartition("-")[2]
        write_png(place / f"{key}.png", item.source)
        write_mask(place / f"{key}_mask.png", ~item.mask)
    (folder / "geditbench" / "metafile_geditbench.json").write_text("{}", "utf-8")
    return expected


def _written_gedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    expected, rows = [], []
    for language in ("en", "cn"):
        for index, item in enumerate(items):
            task, key = _TASKS[index % len(_TASKS)], f"{index:032x}"
            row: dict[str, Any] = {
                "task_type": task,
                "key": key,
                "instruction": item.instruction if language == "en" else f"请：{item.instruction}",
                "instruction_language": language,
                "Intersection_exist": bool(index % 2),
            }
            rows.append((row, png(item.source)))
            if language == "en":
                made = replace(item, id=f"{task}-{key}", category=task, target=None)
                expected.append(replace(made, source_prompt=None, target_prompt=None))
    middle = len(rows) // 2 + 1
    for number, chosen in enumerate((rows[:middle], rows[middle:])):
        texts = {name: [row[name] for row, _ in chosen] for name in rows[0][0]}
        files = [picture for _, picture in chosen]
        pictures = {"input_image": files, "input_image_raw": files}
        write_table(split_path(folder, "train", number, 2), texts, pictures, group=2)
    return expected


def write_geditv2(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `data/train-00000-of-00001.parquet`."""
    expected = []
    texts: dict[str, list[object]] = {"key": [], "instruction": [], "task": []}
    for index, item in enumerate(items):
        task = _TASKS[index % len(_TASKS)].replace("-", "_")
        key = f"{task}_{index:06d}"
        for column, text in (("key", key), ("instruction", item.instruction), ("task", task)):
            texts[column].append(text)
        made = replace(item, id=key, category=task, mask=None, target=None)
        expected.append(replace(made, source_prompt=None, target_prompt=None))
    write_table(split_path(folder, "train"), texts, {"source_image": [png(item.source) for item in items]}, group=2)
    return expected


def write_geditv2_gallery(folder: Path, items: Sequence[Example], models: Sequence[str]) -> None:
    """Write the candidates gallery: a folder of every model with `<key>.png`, and `metadata.jsonl`.

    Args:
        folder: of the gallery.
        items: as `write_geditv2` returns them; every model answers with the source of each.
        models: their names.
    """
    lines = []
    for item in items:
        for model in models:
            write_png(folder / model / f"{item.id}.png", item.source)
        candidates = [{"model": model, "image": f"{model}/{item.id}.png"} for model in models]
        meta = {"key": item.id, "instruction": item.instruction, "task": item.category, "candidates": candidates}
        lines.append(json.dumps(meta))
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
