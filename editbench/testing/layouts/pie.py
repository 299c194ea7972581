"""The formats of PIE-Bench and its relatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from editbench.regions import Mask
from editbench.testing.examples import Example
from editbench.types import Image

_PLACES = (
    ("1", "1_change_object_80/1_artificial/1_animal", "change_object"),
    ("3", "3_delete_object_80/2_natural/4_outdoor", "delete_object"),
    ("0", "0_random_140", "random"),
)


def write_piebench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `mapping_file.json` and `annotation_images/`, as in the `data` folder of the authors."""
    mapping, expected = {}, []
    for index, item in enumerate(items):
        type_id, place, category = _PLACES[index % len(_PLACES)]
        path = f"{place}/{item.id}.jpg"
        write_jpeg(folder / "annotation_images" / path, item.source)
        assert item.mask is not None
        mapping[item.id] = {
            "image_path": path,
            "original_prompt": f"[{item.source_prompt}]",
            "editing_prompt": f"[{item.target_prompt}]",
            "editing_instruction": item.instruction,
            "editing_type_id": type_id,
            "blended_word": "thing thing",
            "mask": runs_of(item.mask, first=0),
        }
        expected.append(replace(item, category=category, target=None))
    (folder / "mapping_file.json").write_text(json.dumps(mapping), "utf-8")
    return expected


def runs_of(mask: Mask, first: int) -> list[int]:
    """Return the runs of True in row-major order as start, length, …; the number of the first pixel is `first`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    return [int(number) for number in np.stack([starts + first, ends - starts], axis=1).ravel()]


def write_jpeg(path: Path, image: Image) -> None:
    """Write a JPEG at quality 95 with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(image).save(path, "JPEG", quality=95)
