"""Pictures of what methods make of the same scenes: drawn from checkpoints, where they still are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from edit_grpo_ref.study.figures import middle_weight
from edit_grpo_ref.study.plan import Unit
from edit_grpo_ref.study.table import Table
from edit_grpo_ref.study.unit import Folders
from editbench.plan import sample_seed
from editbench.png import encode_png
from editbench.suites import load_suite, select_each
from editbench.types import Image, Scenario, Task

EACH, GAP, HEAD, LINE, COLUMN = 2, 4, 20, 18, 96
"""Scenarios a category, and sizes in pixels."""


def draw_examples(table: Table, folders: Folders) -> bytes | None:
    """Return a PNG with a row a scenario and a column a method of the criterion; None if a checkpoint is missing.

    The first seed of each method is shown, at the weight whose keep error is nearest to the middle one.
    """
    plan = table.plan
    methods = [name for name, method in plan.methods.items() if method.part == "criterion" and not method.paste]
    units = [Unit(name, middle_weight(table, name), 0) for name in methods]
    units = [unit for unit in units if unit in table.units]
    trained = [unit for unit in units if plan.methods[unit.method].program != "none"]
    if not trained or not all((folders.checkpoints / f"{unit.label}.safetensors").is_file() for unit in trained):
        return None
    shown: list[Scenario] = list(select_each(load_suite(plan.evaluation.suite), EACH))
    columns: dict[str, Sequence[Image | None]] = {
        "source": [scenario.source for scenario in shown],
        "target": [scenario.target for scenario in shown],
    }
    for unit in units:
        known = plan.methods[unit.method].program != "none"
        path = folders.checkpoints / f"{unit.label}.safetensors"
        columns[unit.method] = _edits(str(path) if known else "base", shown, unit.seed)
    return encode_png(_grid(shown, columns))


def _edits(checkpoint: str, scenarios: Sequence[Scenario], seed: int) -> list[Image | None]:
    from edit_grpo_ref.editor import GrpoEditor

    editor = GrpoEditor(checkpoint)
    requests = [Task(s, 0, sample_seed(seed, s.id, 0)).request(editor.mask_access) for s in scenarios]
    return list(editor.edit(requests))


def _grid(scenarios: Sequence[Scenario], columns: dict[str, Sequence[Image | None]]) -> Image:
    rows = len(scenarios)
    picture = PILImage.new("RGB", (GAP + len(columns) * (COLUMN + GAP), HEAD + rows * (COLUMN + LINE + GAP)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for place, (name, images) in enumerate(columns.items()):
        left = GAP + place * (COLUMN + GAP)
        pen.text((left, 4), name[:17], fill="black", font=font)
        for row, image in enumerate(images):
            if image is not None:
                enlarged = PILImage.fromarray(image).resize((COLUMN, COLUMN), PILImage.Resampling.NEAREST)
                picture.paste(enlarged, (left, HEAD + LINE + row * (COLUMN + LINE + GAP)))
    for row, scenario in enumerate(scenarios):
        pen.text((GAP, HEAD + 2 + row * (COLUMN + LINE + GAP)), scenario.instruction[:120], fill="black", font=font)
    return np.asarray(picture)
