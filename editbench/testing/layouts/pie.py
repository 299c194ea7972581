"""The formats of PIE-Bench and its relatives."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image as PILImage

from editbench.regions import Mask
from editbench.suites.runs import encode_runs
from editbench.testing.examples import Example
from editbench.testing.layouts.tables import write_table
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
        mapping[item.id] = {
            "image_path": path,
            "original_prompt": f"[{item.source_prompt}]",
            "editing_prompt": f"[{item.target_prompt}]",
            "editing_instruction": item.instruction,
            "editing_type_id": type_id,
            "blended_word": "thing thing",
            "mask": encode_runs(required(item.mask)),
        }
        expected.append(replace(item, category=category, target=None))
    (folder / "mapping_file.json").write_text(json.dumps(mapping), "utf-8")
    return expected


def write_piebench_pp(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write a folder with a table of the split `V1` for every type, as on the hub; expect them in the types' order."""
    expected = []
    for place, (type_id, path, category) in sorted(enumerate(_PLACES), key=lambda found: found[1]):
        chosen = items[place :: len(_PLACES)]
        if not chosen:
            continue
        actions = [{"thing": {"position": int(type_id), "edit_type": 1, "action": "it's"}} for _ in chosen]
        texts = {
            "id": [item.id for item in chosen],
            "source_prompt": [f"[{item.source_prompt}]" for item in chosen],
            "target_prompt": [f"[{item.target_prompt}]" for item in chosen],
            "edit_action": [repr(action) for action in actions],
            "aspect_mapping": [repr({"thing": ["blue"]}) for _ in chosen],
            "blended_words": [json.dumps(["thing,thing"]) for _ in chosen],
            "mask": [" ".join(map(str, encode_runs(required(item.mask)))) for item in chosen],
        }
        table = folder / path.split("/")[0] / "V1-00000-of-00001.parquet"
        write_table(table, texts, {"image": [jpeg(item.source) for item in chosen]})
        expected += [
            replace(item, instruction=str(item.target_prompt), category=category, target=None) for item in chosen
        ]
    return expected


def write_brushbench(folder: Path, items: Sequence[Example]) -> list[Example]:
    """Write `mapping_file.json` and `images/`; the paths of every other picture begin with `images/`."""
    mapping, expected = {}, []
    for index, item in enumerate(items):
        write_jpeg(folder / "images" / f"{item.id}.jpg", item.source)
        inside = required(item.mask)
        mapping[item.id] = {
            "image": f"{'images/' if index % 2 else ''}{item.id}.jpg",
            "caption": item.target_prompt,
            "inpainting_mask": encode_runs(inside, first=1),
            "outpainting_mask": encode_runs(~inside, first=1),
        }
        told = replace(item, instruction=str(item.target_prompt), source_prompt=None, target=None)
        expected += [
            replace(told, id=f"{item.id}-{side}", mask=mask, category=side)
            for side, mask in (("inside", inside), ("outside", ~inside))
        ]
    (folder / "mapping_file.json").write_text(json.dumps(mapping), "utf-8")
    return expected


def required(mask: Mask | None) -> Mask:
    """Return a mask that must be there."""
    assert mask is not None
    return mask


def jpeg(image: Image) -> bytes:
    """Return a JPEG at quality 95."""
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_jpeg(path: Path, image: Image) -> None:
    """Write a JPEG at quality 95 with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(image))
