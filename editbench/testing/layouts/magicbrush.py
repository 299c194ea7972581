"""The formats of MagicBrush: the zip of the test set, unpacked, and the tables of the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from editbench.png import encode_png
from editbench.testing.examples import Example
from editbench.testing.layouts.tables import png, split_path, write_table

Session = list[Example]


def sessions_of(items: Sequence[Example]) -> list[Session]:
    """Turn items into sessions: two turns for the first two, one turn for each other. Ids are the session's number."""
    first, second, *others = items
    sessions = [[first, continued(first, second)], *([item] for item in others)]
    return [
        [replace(turn, id=f"{turns[0].id}-{n}", chain=turns[0].id, turn=n) for n, turn in enumerate(turns, start=1)]
        for turns in sessions
    ]


def continued(before: Example, item: Example) -> Example:
    """Return an item whose source is the target of another."""
    assert before.target is not None and item.mask is not None
    target = before.target.copy()
    target[item.mask] = 255 - target[item.mask] // 2
    return replace(item, source=before.target, target=target)


def write_magicbrush(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the test set: `edit_sessions.json`, `edit_turns.json`, captions and `images/`; expect local captions."""
    sessions: dict[str, list[dict[str, str]]] = {}
    captions: dict[str, dict[str, dict[str, str | None]]] = {"local": {}, "global": {}}
    expected = []
    for turns in sessions_of(items):
        name = str(turns[0].chain)
        place = folder / "images" / name
        place.mkdir(parents=True)
        (place / f"{name}-input.png").write_bytes(png(turns[0].source))
        sessions[name], captions["local"][name], captions["global"][name] = [], {}, {}
        captions["global"][name][f"{name}-input.png"] = turns[0].source_prompt
        for n, turn in enumerate(turns, start=1):
            mask, output = f"{name}-mask{n}.png", f"{name}-output{n}.png"
            before = sessions[name][-1]["output"] if sessions[name] else f"{name}-input.png"
            (place / mask).write_bytes(transparent(turn))
            (place / output).write_bytes(png(turn.target))
            names = {"input": before, "mask": mask, "output": output, "instruction": turn.instruction}
            sessions[name].append(names)
            captions["local"][name][output] = turn.target_prompt
            captions["global"][name][output] = f"the whole: {turn.target_prompt}"
            expected.append(replace(turn, source_prompt=None))
    texts = {
        "edit_sessions.json": sessions,
        "edit_turns.json": [turn for turns in sessions.values() for turn in turns],
        "local_captions.json": captions["local"],
        "global_captions.json": captions["global"],
    }
    for name, data in texts.items():
        (folder / name).write_text(json.dumps(data), "utf-8")
    return expected


def write_magicbrush_tables(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write the split `dev` as `osunlp/MagicBrush` has it, without captions."""
    turns = [replace(turn, source_prompt=None, target_prompt=None) for turns in sessions_of(items) for turn in turns]
    texts: dict[str, Sequence[object]] = {
        "img_id": [turn.chain for turn in turns],
        "turn_index": [turn.turn for turn in turns],
        "instruction": [turn.instruction for turn in turns],
    }
    pictures = {
        "source_img": [png(turn.source) for turn in turns],
        "mask_img": [transparent(turn) for turn in turns],
        "target_img": [png(turn.target) for turn in turns],
    }
    write_table(split_path(folder, "dev"), texts, pictures)
    return turns


def transparent(item: Example) -> bytes:
    """Return the source as a PNG whose edit region is transparent, its colours still there."""
    assert item.mask is not None
    alpha = np.where(item.mask, 0, 255).astype(np.uint8)
    return encode_png(np.dstack([item.source, alpha]))
