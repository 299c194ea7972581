"""MagicBrush as tables of the hub, by its authors or by ImagenHub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from editbench.suites.benchmark import Row
from editbench.suites.manifests import as_id, checked, each
from editbench.suites.parquet import Entry, read_entries, refuse_early
from editbench.suites.pictures import Reference
from editbench.types import EditbenchError

PICTURES = ("source_img", "mask_img", "target_img")


class TableTurn(TypedDict):
    """The columns of the tables that are no pictures; captions are in ImagenHub's copy of the dev split only."""

    img_id: str
    turn_index: int
    instruction: str
    source_global_caption: NotRequired[str | None]
    target_global_caption: NotRequired[str | None]
    target_local_caption: NotRequired[str | None]


def table_rows(folder: Path, split: str, captions: str) -> Iterator[Row | EditbenchError]:
    """Yield the rows of the tables, in their order.

    Raises:
        EditbenchError: if a table is unreadable, or of the early revision that has no masks.
    """
    refuse_early(folder, split, "mask_img", ["input_img"])
    yield from each(read_entries(folder, split, TableTurn, PICTURES), partial(_row, captions=captions))


def _row(entry: Entry, captions: str) -> Row:
    item = checked(TableTurn, entry.values, entry.where)
    if item["turn_index"] < 1:
        raise EditbenchError(f"{entry.where}: turn_index={item['turn_index']}, expected 1 for the first turn")
    source, mask, target = (entry.picture(column) for column in PICTURES)
    texts: Mapping[str, Any] = item
    return Row(
        id=as_id(item["img_id"], item["turn_index"]),
        source=source,
        instruction=item["instruction"],
        cluster=item["img_id"],
        mask=transparent(mask),
        target=target,
        source_prompt=texts.get("source_global_caption") if captions == "global" else None,
        target_prompt=texts.get(f"target_{captions}_caption"),
        chain=item["img_id"],
        turn=item["turn_index"],
    )


def transparent(picture: Reference) -> dict[str, Any]:
    """Return the form of a mask that is the transparent part of a picture."""
    return {"form": "file", "picture": picture, "polarity": "transparent=edit", "threshold": None}
