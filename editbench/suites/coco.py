"""COCO instances (arXiv 1405.0312), or anything annotated in its format: every object a removal with an exact mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NotRequired, TypeVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import LeftOut, Row, Terms
from editbench.suites.coco_masks import Code, library
from editbench.suites.manifests import as_id, checked
from editbench.suites.pictures import first_folder
from editbench.suites.streams import read_checked, read_items
from editbench.types import EditbenchError

Found = TypeVar("Found")


class Picture(TypedDict):
    """One of the file's `images`."""

    id: int
    file_name: str
    height: int
    width: int
    license: NotRequired[int]


class Category(TypedDict):
    """One of the file's `categories`."""

    id: int
    name: str


class Annotation(TypedDict):
    """One of the file's `annotations`: an object."""

    id: int
    image_id: int
    category_id: int
    segmentation: list[list[float]] | Code
    area: float
    """In pixels."""
    iscrowd: int


@dataclass(frozen=True)
class Coco:
    """COCO's objects as its zip files unpack: `annotations/instances_<split>.json` and `<split>/` or `images/<split>/`.

    Each object is a scenario: remove it. Groups (`iscrowd`) are left out and counted. Annotations are read one
    by one; of pictures, their sizes and names are in memory. Masks need pycocotools.

    Args:
        path: the folder that holds `annotations/`.
        split: what stands between `instances_` and `.json`.
        min_area: objects of a smaller area, in pixels, are left out and counted.
    """

    path: Path = bare()
    split: str = "val2017"
    min_area: float = 0.0
    terms: ClassVar[Terms] = Terms(
        title="COCO",
        home="cocodataset.org",
        licence="CC BY 4.0 for the annotations; the pictures are Flickr users', each under its own licence",
        redistribution="unknown",
        citation="Lin et al., Microsoft COCO, ECCV 2014, arXiv 1405.0312",
        remarks=("COCO has no edits: the instruction `remove the <category>` is ours, and there are no targets.",),
    )

    @property
    def pictures(self) -> Path:
        """The folder of the split's pictures."""
        return first_folder(self.path, self.split, f"images/{self.split}")

    def rows(self) -> Iterator[Row | LeftOut | EditbenchError]:
        """Yield the objects, in the file's order."""
        library()
        file = self.path / "annotations" / f"instances_{self.split}.json"
        pictures = {item["id"]: item for item in read_checked(file, "images.item", Picture)}
        names = {item["id"]: item["name"] for item in read_checked(file, "categories.item", Category)}
        for where, value in read_items(file, "annotations.item"):
            try:
                item = checked(Annotation, value, where)
                if item["iscrowd"]:
                    yield LeftOut(str(item["id"]), "a group (iscrowd), no single object")
                elif item["area"] < self.min_area:
                    yield LeftOut(str(item["id"]), f"smaller than min_area={self.min_area:g}")
                else:
                    picture = _known(pictures, item["image_id"], f"{where}: image_id")
                    yield _row(item, picture, _known(names, item["category_id"], f"{where}: category_id"))
            except EditbenchError as error:
                yield error


def _known(table: Mapping[int, Found], key: int, where: str) -> Found:
    if key not in table:
        raise EditbenchError(f"{where}={key}, which the file does not list")
    return table[key]


def _row(item: Annotation, picture: Picture, name: str) -> Row:
    return Row(
        id=as_id(item["id"]),
        source=picture["file_name"],
        instruction=f"remove the {name}",
        category=name,
        mask={"form": "coco", "segmentation": item["segmentation"], "size": [picture["height"], picture["width"]]},
        metadata={"area": item["area"], "license": picture.get("license")},
    )
