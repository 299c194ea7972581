"""KRIS-Bench (arXiv 2505.16707): edits that need knowledge, 1,267 items in 22 tasks; no masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NotRequired

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, each, read_json
from editbench.types import EditbenchError

ANNOTATION = "annotation.json"


class Item(TypedDict):
    """One entry of a category's annotation, by number; pictures are relative to the category's folder.

    Its evaluation reads `ins_en` and `explain_en`; `instruction` and `explain` are what its results call them.
    """

    ori_img: str | list[str]
    ins_en: NotRequired[str]
    instruction: NotRequired[str]
    explain_en: NotRequired[str]
    explain: NotRequired[str]
    gt_img: NotRequired[str | None]


@dataclass(frozen=True)
class KrisBench:
    """KRIS-Bench: `<category>/annotation.json` and its pictures, in `path` or in `path/KRIS_Bench`.

    The ground truth that some tasks have (`gt_img`) is the target. Where an item has several source pictures, the
    first is the source; all are named in its metadata.

    Args:
        path: the downloaded folder.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="KRIS-Bench",
        home="huggingface.co/datasets/Liang0223/KRIS_Bench, github.com/mercurystraw/Kris_Bench",
        licence="not found",
        redistribution="unknown",
        citation="Wu et al., KRIS-Bench, 2025, arXiv 2505.16707",
        unconfirmed=(
            "The number of items (1,267) and of tasks (22) is the paper's; the fields are those its evaluation reads.",
            "An item with several source pictures asks for more than an editor of one picture is shown.",
            "Whether a ground truth always has the size of its source; where not, the scenario is input_invalid.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the entries category by category, by name."""
        annotations = sorted(self.path.glob(f"*/{ANNOTATION}")) or sorted(self.path.glob(f"KRIS_Bench/*/{ANNOTATION}"))
        if not annotations:
            raise EditbenchError(f"{self.path} has no <category>/{ANNOTATION}, nor has its folder KRIS_Bench")
        for annotation in annotations:
            yield from each(read_json(annotation, dict).items(), partial(self._row, annotation))

    def _row(self, annotation: Path, entry: tuple[str, object]) -> Row:
        key, value = entry
        where = f"{annotation}: {key!r}"
        item = checked(Item, value, where)
        instruction = item.get("ins_en", item.get("instruction"))
        if instruction is None:
            raise EditbenchError(f"{where}: no field 'ins_en', and no 'instruction' in its place")
        pictures = [item["ori_img"]] if isinstance(item["ori_img"], str) else item["ori_img"]
        if not pictures:
            raise EditbenchError(f"{where}: ori_img=[], expected a picture")
        folder = annotation.parent.relative_to(self.path).as_posix()
        truth = item.get("gt_img")
        return Row(
            id=as_id(annotation.parent.name, key),
            source=f"{folder}/{pictures[0]}",
            instruction=instruction,
            category=annotation.parent.name,
            target=f"{folder}/{truth}" if truth else None,
            metadata={"explain": item.get("explain_en", item.get("explain")), "pictures": pictures},
        )
