"""The formats of instruction-editing sets on the Hugging Face hub: Emu Edit, HumanEdit, AnyEdit, CompBench, any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editbench.testing.examples import Example
from editbench.testing.layouts.magicbrush import continued
from editbench.testing.layouts.tables import png, split_path, write_table

TASKS = ("local", "add", "remove", "background")
TYPES = ("Replace", "Add", "Remove", "Counting")


def write_emuedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the two splits of `facebook/emu_edit_test_set`: the last item is `validation`, the others are `test`."""
    expected = []
    for index, item in enumerate(items):
        name, task = f"hash{index}", TASKS[index % len(TASKS)]
        expected.append(replace(item, id=f"{index}-{name}", category=task, mask=None, target=None))
    for split, chosen in (("test", expected[:-1]), ("validation", expected[-1:])):
        texts: dict[str, Sequence[object]] = {
            "instruction": [item.instruction for item in chosen],
            "task": [item.category for item in chosen],
            "split": [split] * len(chosen),
            "idx": [int(item.id.partition("-")[0]) for item in chosen],
            "hash": [item.id.partition("-")[2] for item in chosen],
            "input_caption": [item.source_prompt for item in chosen],
            "output_caption": [item.target_prompt for item in chosen],
        }
        write_table(split_path(folder, split), texts, {"image": [png(item.source) for item in chosen]})
    return expected


def write_humanedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the split `train` of `BryanW/HumanEdit` in two files; the masks are copies with a black region."""
    expected = [replace(item, category=TYPES[index % len(TYPES)]) for index, item in enumerate(items)]
    middle = len(expected) // 2
    for part, chosen in enumerate((expected[:middle], expected[middle:])):
        texts: dict[str, Sequence[object]] = {
            "IMAGE_ID": [item.id for item in chosen],
            "EDITING_TYPE": [item.category for item in chosen],
            "CORE": [int(item.id) % 2 for item in chosen],
            "MASK": [1] * len(chosen),
            "EDITING_INSTRUCTION": [item.instruction for item in chosen],
            "OUTPUT_DESCRIPTION": ["what a person wrote"] * len(chosen),
            "INPUT_CAPTION_BY_LLAMA": [item.source_prompt for item in chosen],
            "OUTPUT_CAPTION_BY_LLAMA": [item.target_prompt for item in chosen],
        }
        pictures = {
            "INPUT_IMG": [png(item.source) for item in chosen],
            "MASK_IMG": [_painted(item) for item in chosen],
            "OUTPUT_IMG": [png(item.target) for item in chosen],
        }
        write_table(split_path(folder, "train", part, 2), texts, pictures)
    return expected


def write_humanedit_core(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the same; expect the rows that are CORE."""
    return [item for item in write_humanedit(folder, items) if int(item.id) % 2]


def _painted(item: Example) -> bytes:
    painted = item.source.copy()
    assert item.mask is not None
    painted[item.mask] = 0
    return png(painted)


def write_anyedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the split `validation` of `Bin1117/AnyEdit`; the first row needs a second picture and is not expected."""
    types = ["visual_reference", "color_alter", "remove", "background_change"]
    texts: dict[str, Sequence[object]] = {
        "image_id": [item.id for item in items],
        "edit_instruction": [item.instruction for item in items],
        "edit_type": [types[index % len(types)] for index in range(len(items))],
        "input": [item.source_prompt for item in items],
        "output": [item.target_prompt for item in items],
    }
    pictures: dict[str, list[bytes | None]] = {
        "image_file": [png(item.source) for item in items],
        "edited_file": [png(item.target) for item in items],
        "visual_input": [png(items[0].source), *[None] * (len(items) - 1)],
    }
    write_table(split_path(folder, "validation"), texts, pictures)
    return [
        replace(item, id=f"validation-{index:07d}", mask=None, category=types[index % len(types)])
        for index, item in enumerate(items)
        if index % len(types)
    ]


def write_compbench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the split `train` of `BohanJia/CompBench`; the last row has no mask."""
    items = [replace(item, source_prompt=None, target_prompt=None) for item in items]
    items[-1] = replace(items[-1], mask=None)
    tasks = ["remove", "add", "implicit_reasoning", "view"]
    expected = [
        replace(item, id=f"train-{index:07d}", category=tasks[index % len(tasks)]) for index, item in enumerate(items)
    ]
    _write_compbench(folder, "train", expected)
    return expected


def write_compbench_turns(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the split `multi_turn`: the second row goes on from the first, the others are alone."""
    first, second, *others = [
        replace(item, id=f"multi_turn-{index:07d}", source_prompt=None, target_prompt=None, category="multi_turn_add")
        for index, item in enumerate(items)
    ]
    first = replace(first, chain=first.id)
    second = replace(continued(first, second), chain=first.id, turn=2)
    expected = [first, second, *others]
    _write_compbench(folder, "multi_turn", expected)
    return expected


def _write_compbench(folder: Path, split: str, items: Sequence[Example]) -> None:
    texts: dict[str, Sequence[object]] = {
        "task": [item.category for item in items],
        "image_path": [f"{item.category}/{item.id}.jpg" for item in items],
        "instruction": [item.instruction for item in items],
        "caption": ["what is to be seen"] * len(items),
    }
    pictures: dict[str, list[bytes | None]] = {
        "input_image": [png(item.source) for item in items],
        "edited_image": [png(item.target) for item in items],
        "mask": [None if item.mask is None else png(item.mask) for item in items],
    }
    write_table(split_path(folder, split), texts, pictures)


def write_any(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write a table of no benchmark: black means edit, and one row has neither a mask nor a target."""
    expected = [replace(item, id=str(index)) for index, item in enumerate(items)]
    expected[-1] = replace(expected[-1], mask=None, target=None)
    texts: dict[str, Sequence[object]] = {
        "number": list(range(len(items))),
        "prompt": [item.instruction for item in items],
        "before": [item.source_prompt for item in items],
        "after": [item.target_prompt for item in items],
    }
    pictures: dict[str, list[bytes | None]] = {
        "picture": [png(item.source) for item in expected],
        "region": [None if item.mask is None else png(~item.mask) for item in expected],
        "truth": [None if item.target is None else png(item.target) for item in expected],
    }
    write_table(split_path(folder, "test"), texts, pictures)
    return expected
