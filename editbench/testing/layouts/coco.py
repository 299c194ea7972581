"""The formats of COCO and of what is built on its photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from editbench.regions import Mask
from editbench.suites.runs import encode_runs
from editbench.testing.examples import Example
from editbench.testing.layouts.pie import required, write_jpeg

_CATEGORIES = ("dog", "traffic light")


def write_coco(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `annotations/instances_val2017.json` and `val2017/`: polygons, runs as text and runs as numbers in turn.

    A group (`iscrowd`) stands between the objects, which a right loader leaves out. Needs pycocotools.
    """
    images, annotations, expected = [], [], []
    for index, item in enumerate(items):
        name, (height, width), mask = f"{item.id}.jpg", item.source.shape[:2], required(item.mask)
        write_jpeg(folder / "val2017" / name, item.source)
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width, "license": 4})
        shape = (_polygons(mask), _text(mask), _numbers(mask))[index % 3]
        about = {"image_id": index + 1, "category_id": 18 + index % 2, "area": float(mask.sum()), "bbox": [0, 0, 1, 1]}
        annotations += [
            {**about, "id": 900 + index, "segmentation": shape, "iscrowd": 0},
            {**about, "id": 800 + index, "segmentation": _numbers(~mask), "iscrowd": 1},
        ]
        category = _CATEGORIES[index % 2]
        told = replace(item, id=str(900 + index), instruction=f"remove the {category}", category=category)
        expected.append(replace(told, source_prompt=None, target_prompt=None, target=None))
    categories = [{"supercategory": "x", "id": 18 + number, "name": name} for number, name in enumerate(_CATEGORIES)]
    data = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(data), "utf-8")
    return expected


def write_editval(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `object.json` and `images/`: the colour of a stop sign, once or twice a picture."""
    pictures, expected = {}, []
    for index, item in enumerate(items):
        number = int(item.id)
        write_jpeg(folder / "images" / f"{number:012d}.jpg", item.source)
        colours = ["dark blue", "red"][: 1 + index % 2]
        pictures[str(number)] = {"color": {"from": [""], "to": colours}}
        told = replace(item, mask=None, target=None, source_prompt=None, target_prompt=None, category="color")
        expected += [
            replace(
                told,
                id=f"{number}-stop_sign-color-{colour.replace(' ', '_')}",
                instruction=f"make the stop sign {colour}",
            )
            for colour in colours
        ]
    (folder / "object.json").write_text("\n\n" + json.dumps({"stop_sign": pictures}, indent=4), "utf-8")
    return expected


def _polygons(mask: Mask) -> list[list[float]]:
    return [[float(number) for number in corners] for corners in _rectangles(mask)]


def _rectangles(mask: Mask) -> Iterator[tuple[int, ...]]:
    changes = np.flatnonzero((mask[1:] != mask[:-1]).any(axis=1)) + 1
    for top, bottom in pairwise([0, *changes.tolist(), len(mask)]):
        runs = encode_runs(mask[top : top + 1])
        for left, length in zip(runs[::2], runs[1::2], strict=True):
            right = left + length
            yield left, top, right, top, right, bottom, left, bottom


def _numbers(mask: Mask) -> dict[str, Any]:
    column_major = mask.ravel(order="F")
    edges = [0, *(np.flatnonzero(column_major[1:] != column_major[:-1]) + 1).tolist(), mask.size]
    counts = [end - start for start, end in pairwise(edges)]
    return {"size": [*mask.shape], "counts": [0, *counts] if column_major[0] else counts}


def _text(mask: Mask) -> dict[str, Any]:
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [*mask.shape], "counts": code["counts"].decode()}
