"""ICE-Bench (arXiv 2503.14482): creating and editing, 31 tasks; those that edit a picture are scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import LeftOut, Row, Terms
from editbench.suites.manifests import as_id, checked, each, find_manifest, read_json_lines
from editbench.types import EditbenchError

MANIFESTS = ("dataset/data.jsonl", "data.jsonl", "data/data.jsonl")


class Item(TypedDict):
    """One line of `data.jsonl`; pictures that a task does not have are an empty text, or an empty list."""

    ItemID: str
    Task: str
    SourceImage: str
    SourceMask: str
    ReferenceImages: list[str] | str
    Instruction: str
    TargetCaption: str


@dataclass(frozen=True)
class IceBench:
    """ICE-Bench: `dataset/data.jsonl` and the pictures that it names.

    A mask is where its grey level exceeds 128. Tasks without a source picture (text to image, reference generation)
    are no edits: their items are left out and counted. Finished images listed in a `gen_info.json` are an editor:
    `--editor icebench_outputs:PATH/gen_info.json`.

    Args:
        path: the folder in which `data.zip` was unpacked, or the `dataset` folder itself.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="ICE-Bench",
        home="huggingface.co/datasets/ali-vilab/ICE-Bench (data.zip), github.com/ali-vilab/ICE-Bench",
        licence="not found for the data; the code is MIT",
        redistribution="unknown",
        citation="Pan et al., ICE-Bench, ICCV 2025, arXiv 2503.14482",
        unconfirmed=(
            "The number of its items.",
            "From which folder the paths in data.jsonl count: the one above dataset/ is taken, or dataset/ itself.",
            "Whether masks always have the size of their picture; where not, they are resized and flagged, and one of "
            "another aspect ratio makes its scenario input_invalid.",
        ),
    )

    def rows(self) -> Iterator[Row | LeftOut | EditbenchError]:
        """Yield the lines of the list, in their order."""
        yield from each(read_json_lines(find_manifest(self.path, *MANIFESTS)), self._row)

    def _row(self, line: tuple[str, object]) -> Row | LeftOut:
        where, value = line
        item = checked(Item, value, where)
        if not item["SourceImage"]:
            return LeftOut(item["ItemID"], "no source picture, so nothing to edit")
        mask = item["SourceMask"]
        return Row(
            id=as_id(item["ItemID"]),
            source=self._place(item["SourceImage"]),
            instruction=item["Instruction"],
            category=item["Task"],
            mask={
                "form": "file",
                "picture": self._place(mask),
                "polarity": "white=edit",
                "threshold": 129,
                "resize": True,
            }
            if mask
            else None,
            target_prompt=item["TargetCaption"] or None,
            metadata={"item_id": item["ItemID"], "references": item["ReferenceImages"]},
        )

    def _place(self, path: str) -> str:
        """Return a path below the folder that is given, which may be the one that paths begin with."""
        first, _, rest = path.removeprefix("./").partition("/")
        return rest if first in ("dataset", "data") and not (self.path / first).is_dir() else path
