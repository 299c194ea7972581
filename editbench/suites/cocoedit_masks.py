"""The masks that CoCoEdit's authors drew for GEdit-Bench and ImgEdit-Bench, beside the pictures of either."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from editbench.types import EditbenchError

Masks = Literal["none", "cocoedit"]
Polarity = Literal["black=edit", "white=edit"]

INFERRED: Polarity = "black=edit"
"""Whoever gives the other one knows better."""
REPOSITORY = "GEditBench_ImgEditBench_with_mask"
UNCONFIRMED = (
    "With masks=cocoedit: that white is NOT to be edited is inferred from the reward of CoCoEdit's training code; "
    "other comments in it say the opposite, and its evaluation was not seen.",
    "With masks=cocoedit: the sizes of its masks; they are brought to their picture and flagged, and one of another "
    "aspect ratio makes its scenario input_invalid.",
    "With masks=cocoedit: the fields of its two metafiles are not known: prompts are read from the benchmark itself.",
)


def find_masks(root: Path, folder: str) -> str:
    """Return where the masks of one benchmark are, relative to the benchmark's own folder.

    Args:
        root: the benchmark's folder: the masks are downloaded into it, with the name of their repository or without.
        folder: of the masks, such as `geditbench/fullset`.

    Raises:
        EditbenchError: if there are none.
    """
    for place in (folder, f"{REPOSITORY}/{folder}"):
        if (root / place).is_dir():
            return place
    raise EditbenchError(
        f"no folder {root / folder} for masks=cocoedit: download huggingface.co/datasets/wyh6666/{REPOSITORY} into "
        f"{root}, or leave masks= away"
    )


def mask_form(picture: str, polarity: Polarity) -> dict[str, Any]:
    """Return the form of one mask: of any size, with a polarity that nobody documents, unless it is given."""
    return {
        "form": "file",
        "picture": picture,
        "polarity": polarity,
        "threshold": 128,
        "inferred": polarity == INFERRED,
        "resize": True,
    }
