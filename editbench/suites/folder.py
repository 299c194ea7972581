"""Anybody's data: a folder with a `scenarios.jsonl`, one scenario a line, paths relative to the file."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, get_args

import numpy as np

from editbench.images import Accepted, InvalidImage, decode, size_text
from editbench.masks import AcceptedMask, MaskPolarity, decode_mask
from editbench.names import ID, ID_RULE, NAME_RULE, is_name, shown
from editbench.reading import lines_limited
from editbench.records import loads
from editbench.regions import Mask
from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.pictures import inside
from editbench.types import Content, EditbenchError, Image, Scenario, Suite

MANIFEST = "scenarios.jsonl"
POLARITIES: tuple[MaskPolarity, ...] = get_args(MaskPolarity)
_TEXTS = ("id", "source", "mask", "instruction", "source_prompt", "target_prompt", "target", "category", "cluster")
_FIELDS = (*_TEXTS, "mask_polarity", "mask_threshold", "meta")
_REQUIRED = ("id", "source", "instruction")
_TURNED = " after its EXIF orientation is applied"

Read = TypeVar("Read", Accepted, AcceptedMask)


@dataclass(frozen=True)
class FolderSuite:
    """A suite from files.

    Each line of `scenarios.jsonl` is an object with `id`, `source`, `mask` (absent: the whole image may change),
    `instruction`, and optionally `source_prompt`, `target_prompt`, `target`, `category`, `cluster` (default: the source
    file), `mask_polarity` (`white=edit`, `black=edit`, `transparent=edit`), `mask_threshold` (1..255) and `meta`.

    Args:
        path: the folder, or the JSONL file itself.

    Raises:
        EditbenchError: naming file and line, for anything wrong in the manifest. Images are read later.
    """

    path: Path = bare()
    _offsets: array[int] = field(default_factory=lambda: array("Q"), init=False, repr=False, compare=False)
    _numbers: array[int] = field(default_factory=lambda: array("Q"), init=False, repr=False, compare=False)
    identity: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        seen: dict[int, int] = {}
        offset = 0
        for number, line in enumerate(_lines(self.manifest), start=1):
            digest.update(line)
            if line.strip():
                self._offsets.append(offset)
                self._numbers.append(number)
                _check_id(parse_line(line, self.manifest, number)["id"], seen, self.manifest, number)
            offset += len(line)
        if not self._offsets:
            raise EditbenchError(f"{self.manifest} has no scenarios")
        object.__setattr__(self, "identity", digest.hexdigest())

    @property
    def manifest(self) -> Path:
        """The JSONL file."""
        return manifest_of(self.path)

    @property
    def name(self) -> str:
        """`folder:` and the folder's own name, without the way to it."""
        return f"folder:{self.manifest.resolve().parent.name}"

    @property
    def licence(self) -> str:
        """Unknown to us."""
        return "as given by the owner of the folder"

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Scenario:
        item = self._item(index)
        return Scenario(
            id=item["id"],
            cluster=item.get("cluster", item["source"]),
            category=item.get("category", "edit"),
            instruction=item["instruction"],
            load=partial(load_content, item, self.manifest.parent),
            source_prompt=item.get("source_prompt"),
            target_prompt=item.get("target_prompt"),
            metadata=item.get("meta", {}),
        )

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))

    def where(self, index: int) -> str:
        """Return the file and the line of a scenario, blank lines counted: `PATH/scenarios.jsonl:12`."""
        return f"{self.manifest}:{self._numbers[index]}"

    def oddities(self, index: int) -> list[str]:
        """Return what had to be done to accept the images of one scenario (`source 'a.png': alpha`)."""
        item, root = self._item(index), self.manifest.parent
        flags = {}
        for name in [name for name in ("source", "mask", "target") if name in item]:
            flags[name] = (_read_mask(item, root) if name == "mask" else _read(item, name, root)).flags
        return [f"{name} {item[name]!r}: {', '.join(found)}" for name, found in flags.items() if found]

    def _item(self, index: int) -> dict[str, Any]:
        with self.manifest.open("rb") as file:
            file.seek(self._offsets[index])
            return parse_line(file.readline(), self.manifest, self._numbers[index])


def name_of(suite: Suite, index: int, scenario_id: str) -> str:
    """Return what to call a scenario in a finding: its id, and before it file and line where a suite has them."""
    return f"{suite.where(index)}: {scenario_id}" if isinstance(suite, FolderSuite) else scenario_id


def manifest_problems(path: Path) -> list[str]:
    """Return every problem of a manifest, one line each, where `FolderSuite` stops at the first."""
    manifest = manifest_of(path)
    problems = []
    seen: dict[int, int] = {}
    for number, line in enumerate(_lines(manifest), start=1):
        if line.strip():
            try:
                _check_id(parse_line(line, manifest, number)["id"], seen, manifest, number)
            except EditbenchError as error:
                problems.append(str(error))
    return problems


def manifest_of(path: Path) -> Path:
    """Return the JSONL file of a folder suite, given the folder or the file."""
    return path / MANIFEST if path.is_dir() else path


def _lines(manifest: Path) -> Iterator[bytes]:
    if not manifest.is_file():
        raise EditbenchError(f"no {manifest}: a folder suite needs a {MANIFEST}, one JSON object a line")
    try:
        yield from lines_limited(manifest)
    except OSError as error:
        raise EditbenchError(f"{manifest} cannot be read: {error.strerror}") from None


def parse_line(line: bytes, manifest: Path, number: int) -> dict[str, Any]:
    """Parse and check one line of a manifest.

    Raises:
        EditbenchError: naming file, line, field, value and what was expected.
    """
    where = f"{manifest}:{number}"
    try:
        item = loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at place {error.start + 1} of the line"
        raise EditbenchError(f"{where}: {byte} is not UTF-8, expected one JSON object a line, as UTF-8 text") from None
    except ValueError as error:
        raise EditbenchError(f"{where}: malformed JSON ({error})") from None
    if not isinstance(item, dict):
        raise EditbenchError(f"{where}: {type(item).__name__}, expected a JSON object")
    for name in item:
        if name not in _FIELDS:
            hint = did_you_mean(name, _FIELDS) or "; free fields go into meta"
            raise EditbenchError(f"{where}: unknown field {shown(name)}{hint}")
    for name in _REQUIRED:
        if name not in item:
            raise EditbenchError(f"{where}: no field {name!r}")
    for name in _TEXTS:
        if name in item and not isinstance(item[name], str):
            raise EditbenchError(f"{where}: {name}={shown(item[name])}, expected text")
    for name in ("source", "mask", "target"):
        if name in item:
            _check_path(item[name], f"{where}: {name}")
    if not ID.fullmatch(item["id"]):
        raise EditbenchError(f"{where}: id {shown(item['id'])}, expected {ID_RULE}")
    if not is_name(item.get("category", "")):
        raise EditbenchError(f"{where}: category={shown(item['category'])}, expected {NAME_RULE}")
    polarity = item.get("mask_polarity", POLARITIES[0])
    if polarity not in POLARITIES:
        hint = did_you_mean(str(polarity), POLARITIES)
        raise EditbenchError(f"{where}: mask_polarity={shown(polarity)}, expected one of {', '.join(POLARITIES)}{hint}")
    threshold = item.get("mask_threshold")
    if threshold is not None and (type(threshold) is not int or not 1 <= threshold <= 255):
        raise EditbenchError(f"{where}: mask_threshold={shown(threshold)}, expected a grey level from 1 to 255")
    if not isinstance(item.get("meta", {}), dict):
        raise EditbenchError(f"{where}: meta={shown(item['meta'])}, expected an object")
    return item


def _check_path(text: str, where: str) -> None:
    path = PurePosixPath(text)
    unsafe = not text or path.is_absolute() or ".." in path.parts or "\\" in text or ":" in text or "\0" in text
    if unsafe:
        raise EditbenchError(f"{where}={shown(text)}, expected a path inside the suite's folder, relative to the file")


def _check_id(scenario_id: str, seen: dict[int, int], manifest: Path, number: int) -> None:
    # A 64-bit hash of the folded id instead of the text: 10⁶ ids in little memory.
    folded = int.from_bytes(hashlib.sha256(scenario_id.casefold().encode()).digest()[:8], "big")
    first = seen.setdefault(folded, number)
    if first != number:
        raise EditbenchError(f"{manifest}:{number}: id {scenario_id!r} stands on line {first} too (case is ignored)")


def load_content(item: Mapping[str, Any], root: Path) -> Content:
    """Decode the images of one manifest line.

    Raises:
        InvalidImage: naming the field and the file as the manifest spells it.
    """
    source = _read(item, "source", root)
    height, width = source.image.shape[:2]
    mask = _read_mask(item, root) if "mask" in item else AcceptedMask(np.ones((height, width), np.bool_), ())
    _check_size(f"mask {item.get('mask')!r}", mask.mask, mask.flags, source)
    target = _read(item, "target", root) if "target" in item else None
    if target is not None:
        _check_size(f"target {item['target']!r}", target.image, target.flags, source)
    return Content(source.image, mask.mask, None if target is None else target.image)


def _check_size(what: str, pixels: Image | Mask, flags: tuple[str, ...], source: Accepted) -> None:
    if pixels.shape[:2] == source.image.shape[:2]:
        return
    turned, source_turned = (_TURNED if "exif-orientation" in found else "" for found in (flags, source.flags))
    advice = "; save both without that metadata, turned the same way" if turned or source_turned else ""
    own, other = size_text(*pixels.shape[:2]), size_text(*source.image.shape[:2])
    raise InvalidImage(f"{what}: size {own}{turned}, but the source is {other}{source_turned}{advice}")


def _read(item: Mapping[str, Any], name: str, root: Path) -> Accepted:
    return _accepted(item, name, root, decode)


def _read_mask(item: Mapping[str, Any], root: Path) -> AcceptedMask:
    polarity, threshold = item.get("mask_polarity", POLARITIES[0]), item.get("mask_threshold")
    return _accepted(item, "mask", root, lambda path: decode_mask(path, polarity, threshold))


def _accepted(item: Mapping[str, Any], name: str, root: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(inside(root, item[name]))
    except InvalidImage as error:
        raise InvalidImage(f"{name} {item[name]!r}: {error}") from error
    except OSError as error:
        raise InvalidImage(f"{name} {item[name]!r}: {error.strerror}") from error
