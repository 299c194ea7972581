"""The formats of ImgEdit-Bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editbench.testing.examples import Example
from editbench.testing.layouts.pictures import write_mask
from editbench.testing.layouts.pie import write_jpeg

_TYPES = (("animal", "adjust"), ("animal", "remove"), ("style", "style"))


def write_imgedit(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `basic_edit.json` and the pictures that it names."""
    return [replace(item, mask=None) for item in _written(folder, items)]


def write_imgedit_masked(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the same, and CoCoEdit's folder of masks, white = not to be edited."""
    expected = _written(folder, items)
    for index, item in enumerate(expected):
        assert item.mask is not None
        place = folder / "GEditBench_ImgEditBench_with_mask" / "imgedit" / "singleturn" / _TYPES[index % 3][0]
        write_mask(place / f"{index:09d}_mask.png", ~item.mask)
    return expected


def write_imgedit_sessions(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write two files of sessions, one of two turns in each, all others of three."""
    expected: list[Example] = []
    middle = (len(items) + 1) // 2
    for kind, chosen in (("content_memory", items[:middle]), ("version_backtracking", items[middle:])):
        sessions = {}
        for index, item in enumerate(chosen):
            name, chain = f"{item.id}.jpg", f"{kind}-{index}"
            write_jpeg(folder / "multiturn" / name, item.source)
            turns = [item.instruction, "Then make it red.", "Undo the first change."][: 2 if index == 0 else 3]
            sessions[str(index)] = {"id": name} | {f"turn{turn}": text for turn, text in enumerate(turns, start=1)}
            for turn, text in enumerate(turns, start=1):
                made = replace(_bare(item), mask=None, category=kind, instruction=text)
                expected.append(replace(made, id=f"{chain}-turn{turn}", chain=chain, turn=turn))
        (folder / "multiturn" / f"{kind}.json").write_text(json.dumps(sessions), "utf-8")
    return expected


def _written(folder: Path, items: Sequence[Example]) -> list[Example]:
    edits, expected = {}, []
    for index, item in enumerate(items):
        place, edit_type = _TYPES[index % len(_TYPES)]
        name, key = f"{place}/{index:09d}.jpg", str(1082 - index)
        write_jpeg(folder / "singleturn" / name, item.source)
        edits[key] = {"id": name, "prompt": item.instruction, "edit_type": edit_type}
        expected.append(replace(_bare(item), id=key, category=edit_type))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "basic_edit.json").write_text(json.dumps(edits), "utf-8")
    return expected


def _bare(item: Example) -> Example:
    return replace(item, source_prompt=None, target_prompt=None, target=None)
