"""How published benchmarks write masks, and what each form means: `bool (H, W)`, True = edit, comes out.

A form is plain data, so that an index can hold it:

- None: no mask, the whole image may change;
- `{"form": "coco", "segmentation": …, "size": [H, W]}`: polygons or runs as in COCO (`coco_masks.py`), object = edit;
- `{"form": "file", "picture": REFERENCE, "polarity": …, "threshold": …}`: a picture, polarities as in `masks.py`;
- `{"form": "painted", "picture": REFERENCE}`: a copy of the source with the edit region painted black;
- `{"form": "runs", "runs": [start, length, …], "first": 0 or 1, "size": [H, W]}`: runs of edit pixels in row-major
  order, `first` being the number of the first pixel.

Any form may have `"resize": true`: a mask of another size than its source is brought to it (nearest neighbour) and
flagged, instead of refused, unless it is of another shape; with `"stretch": true`, whatever its shape.
`"inferred": true` beside a polarity that nobody documents: its effect is told first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from editbench.images import MAX_ASPECT_CHANGE, InvalidImage, open_image, size_text, upright
from editbench.masks import AcceptedMask, decode_mask
from editbench.regions import Mask
from editbench.suites.coco_masks import decode_segmentation
from editbench.suites.pictures import read_bytes, reference_text
from editbench.suites.runs import decode_runs
from editbench.types import Image

MAX_STRETCH = 1.06
"""Models round sides to multiples of 32: of a picture of 1000 pixels, that is 3 % a side. 5:4 and 4:3 are 7 % apart."""
NEAR_BLACK = 16
"""JPEG leaves that much of a black region's border, a soft brush a few pixels of it; neither is exactly black."""
MAX_SOFT = 0.25
"""Of a painted region: a soft brush leaves up to an eighth, JPEG up to all of it."""


def counts_pixels(form: Mapping[str, Any] | None) -> bool:
    """Whether a mask is numbers, which count the pixels of its picture as it is stored: its EXIF orientation aside."""
    return form is not None and form["form"] in ("coco", "runs")


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
    if form["form"] == "painted":
        return _from_paint(form, root, source)
    mask, flags = _FORMS[form["form"]](form, root)
    stretch = form.get("stretch")
    if mask.shape == (height, width) or not (stretch or form.get("resize")):
        return AcceptedMask(mask, flags)
    ratio = mask.shape[1] * height / (mask.shape[0] * width)
    apart = max(ratio, 1 / ratio)
    if not stretch and apart > MAX_STRETCH:
        sizes = size_text(*mask.shape), size_text(height, width)
        raise InvalidImage(f"size {sizes[0]}, but the source is {sizes[1]}: turned, or of another picture?")
    if not stretch and apart > 1 + MAX_ASPECT_CHANGE:
        flags = (*flags, f"aspect ratio differs by more than {MAX_ASPECT_CHANGE:.0%}")
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


def _from_paint(form: Mapping[str, Any], root: Path, source: Image) -> AcceptedMask:
    picture = form["picture"]
    try:
        painted = upright(open_image(read_bytes(root, picture))).convert("RGB")  # what alpha hides counts as painted
    except InvalidImage as error:
        raise InvalidImage(f"{reference_text(picture)!r}: {error}") from error
    grey = np.asarray(painted.convert("L"))
    black = grey == 0
    if black.shape != source.shape[:2]:
        sizes = size_text(*black.shape), size_text(*source.shape[:2])
        raise InvalidImage(f"{reference_text(picture)!r}: size {sizes[0]}, but the source is {sizes[1]}")
    mask, flags = unpainted(black, source)
    levels = np.asarray(PILImage.fromarray(source).convert("L")).astype(np.int64)
    soft = int(((grey > 0) & (grey <= NEAR_BLACK) & (levels - grey > 2 * NEAR_BLACK)).sum())
    if soft > MAX_SOFT * mask.sum():
        counts = f"{soft} near-black pixels beside {mask.sum()} painted ones"
        raise InvalidImage(f"{reference_text(picture)!r}: {counts}: stored with loss, as by JPEG?")
    return AcceptedMask(mask, (*flags, "near-black pixels beside painted ones") if soft else flags)


def unpainted(black: Mask, source: Image) -> AcceptedMask:
    """Tell a region that was painted black from what is black in the source.

    A black pixel was painted where the source is not black. Where both are black nobody can know: a connected piece of
    such pixels counts as edit if more of its outline is painted than is not, the picture's border being not. What is
    undecided, because its outline is both, is flagged.

    Args:
        black: `bool (H, W)`, True where the painted copy is black.
        source: `uint8 (H, W, 3)`.
    """
    from scipy.ndimage import convolve, generate_binary_structure, label, sum_labels

    painted = black & (np.asarray(PILImage.fromarray(source).convert("L")) > 0)
    pieces, count = label(black & ~painted)
    beside = generate_binary_structure(2, 1).astype(np.int64)
    numbers = np.arange(count + 1)
    inside = sum_labels(convolve(painted.astype(np.int64), beside, mode="constant"), pieces, numbers)
    outside = sum_labels(convolve((~black).astype(np.int64), beside, mode="constant", cval=1), pieces, numbers)
    counts_as_edit = (inside > outside) & (numbers > 0)
    undecided = (np.minimum(inside, outside) > 0) & (numbers > 0)
    mask: Mask = painted | counts_as_edit[pieces]
    pixels = int(undecided[pieces].sum())
    return AcceptedMask(mask, (f"{pixels} black pixels may be painted or the source's own",) if pixels else ())


_FORMS: dict[str, Callable[[Mapping[str, Any], Path], AcceptedMask]] = {
    "coco": _from_coco,
    "file": _from_file,
    "runs": _from_runs,
}
