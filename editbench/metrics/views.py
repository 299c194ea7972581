"""What a model that takes whole pictures is shown of an edit: everything, or a window around the mask.

In the window are the output inside the mask and the source outside: nothing is blacked out, which would be an object
of its own to the model, and nothing that an editor does outside the mask has an influence.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from editbench.regions import Mask
from editbench.types import Image, Scenario

View = Literal["all", "edit"]
"""What a model is shown: the whole image, or a window around the mask."""
CONTEXT = 0.25
"""Default margin around the mask's bounding box, as a share of its longer side."""
Box: TypeAlias = tuple[int, int, int, int]
"""Top, bottom, left and right of a window in pixels, ends excluded."""


def edit_box(mask: Mask, context: float) -> Box:
    """Return a window around a mask: a square with a margin, as far as the image allows.

    Args:
        mask: `bool (H, W)`, not empty.
        context: margin on each side, as a share of the bounding box's longer side; at least 8 pixels or a 32nd of the
            image's shorter side, so that there is something to see around a small mask.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    ends = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
    longest = max(high - low for low, high in ends)
    side = longest + 2 * max(8, min(mask.shape) // 32, round(context * longest))
    (top, bottom), (left, right) = (_span(*span, side, limit) for span, limit in zip(ends, mask.shape, strict=True))
    return top, bottom, left, right


def _span(low: int, high: int, side: int, limit: int) -> tuple[int, int]:
    """Return `side` pixels about the middle of a span, moved and if need be cut to lie in the image."""
    length = min(side, limit)
    start = min(max(0, (low + high - length) // 2), limit - length)
    return start, start + length


def shown(image: Image, scenario: Scenario, region: View, context: float) -> Image:
    """Return what a model is shown of an image.

    Args:
        image: `uint8 (H, W, 3)`: the source or an output.
        scenario: whose mask says where the window is, and whose source is what surrounds the edit.
        region: `all` returns the image itself.
        context: see `edit_box`.
    """
    if region == "all":
        return image
    top, bottom, left, right = edit_box(scenario.mask, context)
    window = slice(top, bottom), slice(left, right)
    return np.where(scenario.mask[window][..., None], image[window], scenario.source[window])


def check_view(region: View, context: float) -> None:
    """Raise ValueError for a margin that is impossible or has no meaning."""
    if context < 0:
        raise ValueError(f"context={context}, expected a share of the mask's side from 0 on")
    if region == "all" and context != CONTEXT:
        raise ValueError(f"context={context} is the margin of region=edit: region=all shows the whole image")
