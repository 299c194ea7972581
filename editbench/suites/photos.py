"""`photos@1`: the photographs that come with scikit-image, masks drawn by hand, and no pixel of its own."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import ClassVar, NotRequired, TypedDict, cast

import numpy as np
import numpy.typing as npt

from editbench.images import decode, pixels_sha256
from editbench.records import loads
from editbench.regions import Mask, Regions
from editbench.suites.checks import ColourBecomes, StructureKept
from editbench.types import Check, Content, EditbenchError, Image, Scenario

MARGIN = 2
"""Pixels along an outline that a colour check leaves out: a hand-drawn line is off by about that much."""
DECODED_PHOTOGRAPHS = 4
"""How many decoded photographs are kept in memory: at most 15 MB."""

Ring = list[tuple[int, int]]
"""Vertices (x, y). Whole pixels, so that rasterising is exact arithmetic and the same mask on every machine."""


# ------------------------------------------------------------------------------------------------ manifest


class Drawing(TypedDict):
    """One object of a photograph: the union of its outlines less its holes."""

    outlines: list[Ring]
    holes: NotRequired[list[Ring]]


class Photograph(TypedDict):
    """Where a photograph is, what it must look like, and what was outlined in it."""

    file: str
    size: tuple[int, int]
    pixels_sha256: str
    caption: str
    licence: str
    credit: str
    objects: dict[str, Drawing]


class Area(TypedDict, total=False):
    """A mask: everything, or objects widened by `dilate` pixels and free outlines; then less the objects `without`."""

    everything: bool
    objects: list[str]
    dilate: int
    outlines: list[Ring]
    without: list[str]


class ColourDemand(TypedDict):
    """What must have which colour after the edit: some objects, or all of the mask."""

    subject: str
    colour: str
    objects: NotRequired[list[str]]


class Entry(TypedDict):
    """One scenario as it is written in the manifest."""

    id: str
    photograph: str
    category: str
    instruction: str
    source_prompt: str
    target_prompt: str
    mask: Area
    colours: NotRequired[list[ColourDemand]]


class Manifest(TypedDict):
    """Everything that defines the suite."""

    photographs: dict[str, Photograph]
    scenarios: list[Entry]


@cache
def manifest() -> Manifest:
    """Return the content of `photos.json`."""
    text = (importlib.resources.files("editbench.suites") / "photos.json").read_text(encoding="utf-8")
    return cast(Manifest, loads(text))


@cache
def _identity() -> str:
    canonical = json.dumps(manifest(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


# -------------------------------------------------------------------------------------------- photographs


@lru_cache(maxsize=DECODED_PHOTOGRAPHS)
def photograph(file: str, expected: str) -> Image:
    """Decode a photograph from the installed scikit-image; it never downloads one.

    Args:
        file: its name among scikit-image's data.
        expected: what `pixels_sha256` must be.

    Raises:
        EditbenchError: if the file is not there, or its pixels are not the expected ones.
    """
    version = importlib.metadata.version("scikit-image")
    try:
        # scikit-image's own loaders would fetch a file that is not there.
        data = (importlib.resources.files("skimage") / "data" / file).read_bytes()
    except OSError:
        raise EditbenchError(
            f"photos@1: scikit-image {version} was installed without {file}: reinstall it from its wheel"
        ) from None
    image = decode(data).image
    found = pixels_sha256(image)
    if found != expected:
        pillow = importlib.metadata.version("Pillow")
        raise EditbenchError(
            f"photos@1: {file} of scikit-image {version}, decoded by Pillow {pillow}, has pixels {found}, "
            f"expected {expected}: install another release of either"
        )
    return image


# --------------------------------------------------------------------------------------------------- masks


def rasterise(rings: Sequence[Ring], height: int, width: int) -> Mask:
    """Fill polygons: a pixel belongs if its centre, at whole coordinates, lies in or on the line of one of them."""
    from skimage.draw import polygon2mask

    mask = np.zeros((height, width), np.bool_)
    for ring in rings:
        mask |= polygon2mask((height, width), np.array(ring)[:, ::-1])
    return mask


def _objects(picture: Photograph, names: Sequence[str]) -> Mask:
    width, height = picture["size"]
    mask = np.zeros((height, width), np.bool_)
    for name in names:
        mask |= (
            np.unpackbits(_object(picture["file"], name), count=height * width).reshape(height, width).view(np.bool_)
        )
    return mask


@cache
def _object(file: str, name: str) -> npt.NDArray[np.uint8]:
    """Return the pixels of an object, eight a byte: all of them take 3 MB, and every editor's run needs them again."""
    picture = next(picture for picture in manifest()["photographs"].values() if picture["file"] == file)
    width, height = picture["size"]
    drawing = picture["objects"][name]
    outlined = rasterise(drawing["outlines"], height, width) & ~rasterise(drawing.get("holes", ()), height, width)
    return np.packbits(outlined)


def _mask(picture: Photograph, area: Area) -> Mask:
    width, height = picture["size"]
    if area.get("everything", False):
        mask = np.ones((height, width), np.bool_)
    else:
        mask = _objects(picture, area.get("objects", ()))
        if "dilate" in area:
            mask = Regions(mask).distance_outside <= area["dilate"]
        mask |= rasterise(area.get("outlines", ()), height, width)
    return mask & ~_objects(picture, area.get("without", ()))


# ----------------------------------------------------------------------------------------------- scenarios


def _content(index: int) -> Content:
    entry = manifest()["scenarios"][index]
    picture = manifest()["photographs"][entry["photograph"]]
    source = photograph(picture["file"], picture["pixels_sha256"]).copy()
    mask = _mask(picture, entry["mask"])
    return Content(source, mask, checks=_checks(entry, picture, source, mask))


def _checks(entry: Entry, picture: Photograph, source: Image, mask: Mask) -> tuple[Check, ...]:
    checks: list[Check] = []
    for demand in entry.get("colours", ()):
        part = mask & _objects(picture, demand["objects"]) if "objects" in demand else mask
        inner = Regions(part).distance_inside > MARGIN
        checks.append(ColourBecomes(demand["subject"], inner, source, demand["colour"]))
        checks.append(StructureKept(source, inner, subject=demand["subject"]))  # recoloured, not painted over
    return (*checks, StructureKept(source)) if checks else ()


@dataclass(frozen=True)
class Photos:
    """Hand-drawn scenarios on the photographs of the installed scikit-image, in their native sizes."""

    name: ClassVar[str] = "photos@1"

    @property
    def identity(self) -> str:
        """sha256 of the manifest, which holds the hash of every photograph."""
        return _identity()

    @property
    def licence(self) -> str:
        """Terms of the photographs, which are not part of this package, and of the drawings, which are."""
        terms: dict[str, list[str]] = {}
        for name, picture in manifest()["photographs"].items():
            terms.setdefault(picture["licence"], []).append(name)
        photographs = "; ".join(f"{', '.join(names)}: {licence}" for licence, names in terms.items())
        return f"masks and prompts: Apache-2.0; photographs, as installed with scikit-image: {photographs}"

    def __len__(self) -> int:
        return len(manifest()["scenarios"])

    def __getitem__(self, index: int) -> Scenario:
        position = range(len(self))[index]
        entry = manifest()["scenarios"][position]
        picture = manifest()["photographs"][entry["photograph"]]
        return Scenario(
            id=entry["id"],
            cluster=entry["photograph"],
            category=entry["category"],
            instruction=entry["instruction"],
            load=partial(_content, position),
            source_prompt=entry["source_prompt"],
            target_prompt=entry["target_prompt"],
            metadata={key: picture[key] for key in ("file", "caption", "licence", "credit")},
        )

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))
