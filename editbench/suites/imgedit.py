"""ImgEdit-Bench (arXiv 2505.20275): 737 single edits of nine kinds, a harder part, sessions of two or three turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NotRequired

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.cocoedit_masks import UNCONFIRMED, Masks, Polarity, find_masks, mask_form
from editbench.suites.manifests import as_id, checked, each, find_manifest, read_json
from editbench.suites.pictures import prefix_with
from editbench.types import EditbenchError

MANIFESTS = {
    "basic": ("basic_edit.json", "Basic/basic_edit.json", "singleturn.json", "singleturn/singleturn.json"),
    "uge": ("UGE_edit.json", "UGE/UGE_edit.json"),
}
PICTURES = ("", "singleturn/", "original_images/", "UGE/")
"""What paths of pictures may begin with."""


class Item(TypedDict):
    """One entry of `basic_edit.json`, or, without its type, of `UGE_edit.json`; by key."""

    id: str
    prompt: str
    edit_type: NotRequired[str]


class Session(TypedDict):
    """One entry of a file of the multi-turn part, by key."""

    id: str
    turn1: str
    turn2: str
    turn3: NotRequired[str | None]


@dataclass(frozen=True)
class ImgEdit:
    """ImgEdit-Bench: the JSON files of its repository, and the pictures of `Benchmark.tar`, in one folder.

    It has no masks: the whole picture may change. CoCoEdit's authors drew some for the basic part;
    `imgedit:PATH,masks=cocoedit` reads them from `PATH/imgedit/singleturn/<category>/<name>_mask.png`, brought to the
    size of the picture. A session of the multi-turn part is a chain; no pictures between its turns exist, so every
    turn has the first picture as its source: run it with `--chain own`, which is what its authors mean.

    Args:
        path: the folder that holds it all.
        part: `basic` (737 edits), `uge` (harder ones) or `multiturn` (every `*.json` in `multiturn/`).
        masks: `none`, or `cocoedit` for the basic part.
        polarity: of those masks; inferred, so its effect is told before every run.
    """

    path: Path = bare()
    part: Literal["basic", "uge", "multiturn"] = "basic"
    masks: Masks = "none"
    polarity: Polarity = "black=edit"
    terms: ClassVar[Terms] = Terms(
        title="ImgEdit-Bench",
        home="huggingface.co/datasets/sysuyy/ImgEdit (Benchmark.tar), github.com/PKU-YuanGroup/ImgEdit",
        licence="not found for the benchmark",
        redistribution="unknown",
        citation="Ye et al., ImgEdit, 2025, arXiv 2505.20275",
        unconfirmed=(
            "Where Benchmark.tar has its pictures: singleturn/, original_images/, UGE/, multiturn/ and PATH are tried.",
            "Names and places of the files of the multi-turn part; each file is one kind of session.",
            *UNCONFIRMED,
            "With masks=cocoedit: that a mask has the name of its picture, so that edits of one picture share it.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the entries of the part's files, in their order."""
        if self.masks == "cocoedit" and self.part != "basic":
            raise EditbenchError("imgedit: masks=cocoedit are those of part=basic: no others are known")
        if self.part == "multiturn":
            return self._sessions()
        manifest = find_manifest(self.path, *MANIFESTS[self.part])
        masks = find_masks(self.path, "imgedit/singleturn") if self.masks == "cocoedit" else None
        items = read_json(manifest, dict)
        prefix = prefix_with(self.path, items.values(), "id", *PICTURES)
        return each(items.items(), partial(self._row, manifest, prefix, masks))

    def _sessions(self) -> Iterator[Row | EditbenchError]:
        manifests = sorted(self.path.glob("[Mm]ultiturn/[!.]*.json"))
        for manifest in manifests or [find_manifest(self.path, "multiturn/*.json")]:
            items = read_json(manifest, dict)
            prefix = prefix_with(self.path, items.values(), "id", f"{manifest.parent.name}/", "")
            for session in each(items.items(), partial(_session, manifest, prefix)):
                yield from [session] if isinstance(session, EditbenchError) else session

    def _row(self, manifest: Path, prefix: str, masks: str | None, entry: tuple[str, object]) -> Row:
        key, value = entry
        item = checked(Item, value, f"{manifest}: {key!r}")
        if self.part == "basic" and "edit_type" not in item:
            raise EditbenchError(f"{manifest}: {key!r}: no field 'edit_type'")
        return Row(
            id=as_id(key),
            source=f"{prefix}{item['id']}",
            instruction=item["prompt"],
            category=item.get("edit_type", self.part),
            mask=None
            if masks is None
            else mask_form(f"{masks}/{item['id'].rpartition('.')[0]}_mask.png", self.polarity),
        )


def _session(manifest: Path, prefix: str, entry: tuple[str, object]) -> list[Row]:
    key, value = entry
    item = checked(Session, value, f"{manifest}: {key!r}")
    chain, source, kind = as_id(manifest.stem, key), f"{prefix}{item['id']}", manifest.stem
    turns = enumerate(filter(None, (item["turn1"], item["turn2"], item.get("turn3"))), start=1)
    return [Row(f"{chain}-turn{turn}", source, text, kind, chain=chain, turn=turn) for turn, text in turns]
