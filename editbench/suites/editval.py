"""EditVal (arXiv 2310.02426): edits of COCO's photographs by attribute, without masks and without targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, read_json
from editbench.suites.pictures import first_folder
from editbench.types import EditbenchError

OBJECTS = "object.json"
INSTRUCTIONS = {
    "action": "make the {what} {to}",
    "alter_parts": "{to} to the {what}",
    "background": "change the background to a {to}",
    "color": "make the {what} {to}",
    "object_addition": "add a {to}",
    "object_replacement": "replace the {what} by a {to}",
    "position_replacement": "move the {what} to the {to}",
    "positional_addition": "add a {to}, as seen from the {what}",
    "shape": "change the shape of the {what} to {to}",
    "size": "make the {what} {to}",
    "style": "change the style to {to}",
    "texture": "change the texture of the {what} to {to}",
    "viewpoint": "show the {what} from the {to}",
}
"""By edit type; the words are ours. `what` is the class of the object, `to` the attribute."""


Change = TypedDict("Change", {"from": list[str], "to": list[str]})
"""What is asked for under one edit type of one picture; an empty text stands for "whatever it is"."""


@dataclass(frozen=True)
class EditVal:
    """EditVal: `object.json` of its repository, over photographs of COCO train2017.

    One scenario for every attribute in a `to` list; the whole picture may change. Photographs are expected as
    `images/<12-digit id>.jpg`, or in `train2017/`, which may be links to folders of COCO.

    Args:
        path: the folder that holds `object.json`.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="EditVal",
        home="github.com/deep-ml-research/editval_code; the photographs from cocodataset.org",
        licence="not found; the photographs are Flickr users', each under its own licence",
        redistribution="unknown",
        citation="Basu et al., EditVal, arXiv 2310.02426",
        remarks=(
            "EditVal gives attributes, no sentences: the instructions are ours, one form for every edit type.",
            "There are no masks and no targets: the whole picture may change, so nothing can be said about locality.",
        ),
    )

    @property
    def pictures(self) -> Path:
        """The folder of the photographs."""
        return first_folder(self.path, "images", "train2017")

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield one scenario for every attribute, in the file's order."""
        file = self.path / OBJECTS
        for name, pictures in read_json(file, dict).items():
            try:
                for picture, changes in checked(dict[str, dict[str, Change]], pictures, f"{file}: {name!r}").items():
                    for kind, change in changes.items():
                        yield from _rows(file, name, picture, kind, change)
            except EditbenchError as error:
                yield error


def _rows(file: Path, name: str, picture: str, kind: str, change: Change) -> Iterator[Row]:
    where = f"{file}: {name!r}: {picture!r}"
    if kind not in INSTRUCTIONS:
        hint = did_you_mean(kind, INSTRUCTIONS) or f", expected one of {', '.join(INSTRUCTIONS)}"
        raise EditbenchError(f"{where}: edit type {kind!r}{hint}")
    if not picture.isdecimal():
        raise EditbenchError(f"{where}: expected the number of a picture in COCO")
    what = name.replace("_", " ")
    for attribute in change["to"]:
        yield Row(
            id=as_id(picture, name, kind, attribute),
            source=f"{int(picture):012d}.jpg",
            instruction=INSTRUCTIONS[kind].format(what=what, to=attribute),
            category=kind,
            metadata={"class": name, "from": change["from"], "to": attribute},
        )
