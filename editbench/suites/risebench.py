"""RISEBench (arXiv 2504.02826): 360 edits that need reasoning: temporal, causal, spatial, logical; no masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NotRequired

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, each, find_manifest, read_json
from editbench.types import EditbenchError

MANIFESTS = tuple(
    f"{folder}{name}" for name in ("data_total.json", "datav2_total_w_subtask.json") for folder in ("", "data/")
)


class Item(TypedDict):
    """One entry of the list; what its judge is shown beside source and output may be absent, null or NaN."""

    index: str | int
    category: str
    instruction: str
    image: str
    subtask: NotRequired[str | None]
    reference: NotRequired[str | None]
    reference_img: NotRequired[str | None]
    reference_txt: NotRequired[str | None]
    reasoning_img: NotRequired[Any]
    reasoning_wo_ins: NotRequired[Any]
    consistency_free: NotRequired[Any]


@dataclass(frozen=True)
class RiseBench:
    """RISEBench: `data_total.json` and folders of pictures, `<category>_images/`, beside it or in `data/`.

    Some files have NaN, which is no JSON, where a field is absent. It is read as absent: the authors' own evaluation
    took `consistency_free: NaN` for true until 2026-04-23, which changed scores. Infinity is still refused. References
    are for a judge and are no exact targets: they are in the metadata.

    Args:
        path: the downloaded folder.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="RISEBench",
        home="huggingface.co/datasets/PhoenixZ/RISEBench, github.com/PhoenixZ810/RISEBench",
        licence="not found",
        redistribution="unknown",
        citation="Zhao et al., Envisioning Beyond the Pixels, 2025, arXiv 2504.02826",
        unconfirmed=(
            "That the list of the hub's copy is called datav2_total_w_subtask.json is known from its users only.",
            "Types of reasoning_img, reasoning_wo_ins and consistency_free; the last is true unless absent, null, "
            "false or NaN.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the entries of the list, in its order."""
        manifest = find_manifest(self.path, *MANIFESTS)
        folder = manifest.parent.relative_to(self.path)
        inner = folder if any((self.path / folder).glob("*_images")) else Path("data")
        yield from each(enumerate(read_json(manifest, list, nan_is_null=True)), partial(_row, manifest, inner))


def _row(manifest: Path, folder: Path, entry: tuple[int, object]) -> Row:
    number, value = entry
    item = checked(Item, value, f"{manifest}: item {number}")
    free = item.get("consistency_free")
    judge = {name: item.get(name) for name in ("subtask", "reference", "reference_img", "reference_txt")}
    return Row(
        id=as_id(item["index"]),
        source=(folder / item["image"]).as_posix(),
        instruction=item["instruction"],
        category=item["category"],
        metadata={**{k: v for k, v in judge.items() if v is not None}, "consistency_free": bool(free)},
    )
