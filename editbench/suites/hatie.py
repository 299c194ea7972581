"""HATIE (arXiv 2505.00502): queries about the objects of pictures of 512x512, each object with its mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NotRequired

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.benchmark import Row, Terms
from editbench.suites.manifests import as_id, checked, read_json_lines
from editbench.suites.pictures import first_folder
from editbench.suites.runs import Runs
from editbench.types import EditbenchError

CONVERTED = "hatie.jsonl"
CONVERT = "python -m editbench.convert_hatie"
WHOLE, BACKGROUND = "whole", "background"
EDITED = {
    **dict.fromkeys(("obj_add", "style_chg"), WHOLE),
    **dict.fromkeys(("attr_chg", "obj_remove", "obj_resize"), "target"),
    "obj_rep": "original",
    "bg_chg": BACKGROUND,
}
"""By type of query: whose mask it is. A field begins with the id of an object."""


class Query(TypedDict):
    """What is asked for; objects are `[id, name]`, something new is a name."""

    id: int
    type: str
    instruction: str
    original_caption: str
    target_caption: str
    original: NotRequired[Any]
    target: NotRequired[Any]


class Picture(TypedDict):
    """One line: a picture, its objects by id, all but them, and its queries."""

    image: str
    objects: dict[str, Runs]
    background: Runs
    queries: list[Query]


@dataclass(frozen=True)
class Hatie:
    """HATIE, converted: its authors' files are pickles, which can run code when they are read, and are not read here.

    Run `python -m editbench.convert_hatie PATH` once: it reads them through an unpickler that knows containers
    and arrays only, and writes `hatie.jsonl` beside them. Pictures are expected as `original_images/<image>.jpg`, or in
    `HATIE_original_images/`. As in the authors' evaluation, the mask is that of the object to be replaced, removed,
    resized or changed; for a new background all but the objects; for a new object or style the whole picture.

    Args:
        path: the folder that holds `hatie.jsonl`.
    """

    path: Path = bare()
    terms: ClassVar[Terms] = Terms(
        title="HATIE",
        home="huggingface.co/datasets/SHRyu97/HATIE and github.com/SuhoRyu/HATIE",
        licence="CC0-1.0 (the licence of its repository)",
        redistribution="allowed",
        citation="Ryu et al., HATIE, CVPR 2025, arXiv 2505.00502",
        remarks=("An object that is to grow has to leave its mask: locality of obj_resize says little.",),
        unconfirmed=("How masks are stored in the pickle: the converter takes rows of 0 and 1 and refuses others.",),
    )

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return first_folder(self.path, "original_images", "HATIE_original_images")

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the queries, picture by picture, in the file's order."""
        file = self.path / CONVERTED
        if not file.exists() and (pickles := sorted(self.path.rglob("*.pkl"))):
            raise EditbenchError(f"{pickles[0]} is a pickle, which can run code: convert it, `{CONVERT} {self.path}`")
        for where, value in read_json_lines(file):
            try:
                picture = checked(Picture, value, where)
                for query in picture["queries"]:
                    yield _row(picture, query, f"{where}: query {query['id']}")
            except EditbenchError as error:
                yield error


def _row(picture: Picture, query: Query, where: str) -> Row:
    return Row(
        id=as_id(query["id"]),
        source=f"{picture['image']}.jpg",
        instruction=query["instruction"],
        category=query["type"],
        mask=_mask(picture, query, where),
        source_prompt=query["original_caption"],
        target_prompt=query["target_caption"],
    )


def _mask(picture: Picture, query: Query, where: str) -> Mapping[str, Any] | None:
    if query["type"] not in EDITED:
        hint = did_you_mean(query["type"], EDITED) or f", expected one of {', '.join(EDITED)}"
        raise EditbenchError(f"{where}: type={query['type']!r}{hint}")
    field = EDITED[query["type"]]
    if field == WHOLE:
        return None
    parts = picture["objects"] | {BACKGROUND: picture["background"]}
    named = [BACKGROUND] if field == BACKGROUND else query.get(field)
    if not isinstance(named, list) or not named or str(named[0]) not in parts:
        raise EditbenchError(f"{where}: {field}={named!r}, expected [one of {', '.join(picture['objects'])}, its name]")
    return {"form": "runs", "first": 0, **parts[str(named[0])]}
