"""How published benchmarks write masks, and what each form means: `bool (H, W)`, True = edit, comes out.

A form is plain data, so that an index can hold it:

- None: no mask, the whole image may change;
- `{"form": "coco", "segmentation": …, "size": [H, W]}`: polygons or runs as in COCO (`coco_masks.py`), object = edit;
- `{"form": "file", "picture": REFERENCE, "polarity": …, "threshold": …}`: a picture, polarities as in `masks.py`;
- `{"form": "runs", "runs": [start, length, …], "first": 0 or 1, "size": [H, W]}`: runs of edit pixels in row-major
  order, `first` being the number of the first pixel.

Any form may have `"resize": true`: a mask of another size than its source is brought to it (nearest neighbour) and
flagged, instead of refused. `"inferred": true` beside a polarity that nobody documents: its effect is told first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from editbench.images import InvalidImage, size_text
from editbench.masks import AcceptedMask, decode_mask
from editbench.suites.coco_masks import decode_segmentation
from editbench.suites.pictures import read_bytes, reference_text
from editbench.suites.runs import decode_runs
from editbench.types import Image


def read_mask(form: Mapping[str, Any] | None, root: Path, source: Image) -> AcceptedMask:
    """Return the mask that a form stands for.

    Args:
        form: see above.
        root: the benchmark's folder.
        source: `uint8 (H, W, 3)`, the picture that the mask belongs to.

    Raises:
        InvalidImage: for a mask that is missing, broken or (without `resize`) of another size than the source.
    """
    height, width = source.shape[:2]
    if form is None:
        return AcceptedMask(np.ones((height, width), np.bool_), ())
    mask, flags = _FORMS[form["form"]](form, root)
    if mask.shape == (height, width) or not form.get("resize"):
        return AcceptedMask(mask, flags)
    resized = PILImage.fromarray(mask).resize((width, height), PILImage.Resampling.NEAREST)
    return AcceptedMask(np.asarray(resized, np.bool_), (*flags, f"resized from {size_text(*mask.shape)}"))


def _from_coco(form: Mapping[str, Any], root: Path) -> AcceptedMask:
    height, width = form["size"]
    return decode_segmentation(form["segmentation"], height, width)


def _from_file(form: Mapping[str, Any], root: Path) -> AcceptedMask:
    picture = form["picture"]
    try:
        return decode_mask(read_bytes(root, picture), form["polarity"], form.get("threshold"))
    except InvalidImage as error:
        raise InvalidImage(f"{reference_text(picture)!r}: {error}") from error


def _from_runs(form: Mapping[str, Any], root: Path) -> AcceptedMask:
    height, width = form["size"]
    return decode_runs(form["runs"], height, width, form["first"])


_FORMS: dict[str, Callable[[Mapping[str, Any], Path], AcceptedMask]] = {
    "coco": _from_coco,
    "file": _from_file,
    "runs": _from_runs,
}
