"""What every loader of a published benchmark shares: rows in, a suite out.

A loader is a frozen dataclass with `terms` and a method `rows`: it reads the files that say what there is, never
pixels, and yields plain data. The rest is here: an index that stays on disk, ids, identity, coverage, lazy pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from editbench.images import Accepted, InvalidImage, decode, size_text
from editbench.masks import AcceptedMask
from editbench.names import ID, ID_RULE, shown
from editbench.records import dumps, loads
from editbench.registry import spec_of, written_spec
from editbench.specs import parse, printable
from editbench.suites.coverage import Coverage
from editbench.suites.mask_forms import counts_pixels, read_mask
from editbench.suites.pictures import Reference, read_bytes, reference_text
from editbench.types import Content, EditbenchError, Image, Scenario

INDEX_VERSION = 2
"""Raised whenever what the same files turn into can change: part of every identity."""

LOOKED_AT = 32
"""So many masks, evenly spaced, are looked at before a run to see whether their polarity can be right."""


@dataclass(frozen=True)
class Terms:
    """Where a benchmark comes from and what may be done with it."""

    title: str
    home: str
    """Where to get it."""
    licence: str
    """Of the data; says so where it was not found."""
    redistribution: Literal["allowed", "allowed with attribution", "not allowed", "unknown"]
    citation: str
    unconfirmed: tuple[str, ...] = ()
    """What nobody could confirm about the layout, one sentence each; `check suite` repeats them."""
    remarks: tuple[str, ...] = ()
    """What is ours and not the benchmark's, and what is known to be wrong with it, one sentence each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario as the files of a benchmark describe it: plain data, nothing decoded."""

    id: str
    source: Reference
    instruction: str
    category: str = "edit"
    cluster: str = ""
    """The source photograph; by default the reference of `source`."""
    mask: Mapping[str, Any] | None = None
    """A form of `mask_forms.py`; None lets the whole image change."""
    target: Reference | None = None
    source_prompt: str | None = None
    target_prompt: str | None = None
    chain: str | None = None
    turn: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Plain data. `defects`, a list of fixed sentences, are counted in the suite's notes."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item that can be no scenario, such as one without a source picture: counted in the warnings, never silent."""

    id: str
    reason: str
    """The same for all items that are left out for it."""


@runtime_checkable
class Layout(Protocol):
    """A loader: a frozen dataclass, its fields are the options of its spec, `path` first.

    Where pictures may lie in one folder or another, a property `pictures` says in which: references of pictures are
    relative to it, and so are the same wherever they are. By default that is `path`.
    """

    @property
    def path(self) -> Path:
        """The downloaded folder."""

    @property
    def terms(self) -> Terms:
        """Source, licence, citation, open questions."""

    def rows(self) -> Iterator[Row | LeftOut | EditbenchError]:
        """Yield every scenario in the benchmark's own order.

        What is wrong with one item is yielded as an error in its place (see `manifests.each`), so that `check suite`
        can list them all; loading stops at the first.

        Raises:
            EditbenchError: if the files cannot be read at all.
        """


class Benchmark:
    """A published benchmark as a suite. Its rows are kept in a temporary file: memory does not grow with them.

    Args:
        layout: who knows the files.

    Raises:
        EditbenchError: naming file and item, for anything wrong outside the pixels. A picture that is missing or broken
            is no error here: its scenario stays, is `input_invalid`, and is counted in `notes`.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.spec = spec_of(layout)
        self.pictures: Path = getattr(layout, "pictures", layout.path)
        self._offsets = array("Q", [0])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, self._file.close)
        digest = hashlib.sha256(f"{INDEX_VERSION} {self.name}\n".encode())
        coverage = Coverage(self.pictures)
        seen: set[bytes] = set()
        self._defects: dict[str, list[str]] = {}
        left_out, first = Counter[str](), dict[str, str]()
        for row in layout.rows():
            if isinstance(row, EditbenchError):
                raise row
            if isinstance(row, LeftOut):
                left_out[row.reason] += 1
                first.setdefault(row.reason, row.id)
                continue
            _check_id(row.id, seen, self.name)
            for defect in row.metadata.get("defects", ()):
                self._defects.setdefault(defect, []).append(row.id)
            mask = None if row.mask is None else row.mask.get("picture")
            coverage.count(row.id, {"source": row.source, "mask": mask, "target": row.target})
            line = dumps(asdict(row)).encode() + b"\n"
            digest.update(line)
            self._file.write(line)
            self._offsets.append(self._offsets[-1] + len(line))
        self._file.flush()
        if not len(self):
            raise EditbenchError(f"{layout.path} has no scenarios: {layout.terms.title} is at {layout.terms.home}")
        self.identity = digest.hexdigest()
        self._coverage = coverage.notes()
        self._left_out = tuple(
            f"left out: {count}, {reason} (first: {printable(first[reason])})" for reason, count in left_out.items()
        )

    @property
    def name(self) -> str:
        """Name and options of the loader, without the way to its files; or the `name` that the loader has."""
        if isinstance(given := getattr(self.layout, "name", None), str):
            return given
        short = parse(self.spec).name.rpartition(":")[2]  # of a plug-in, what comes after its file or module
        anywhere: Layout = replace(self.layout, path=Path())  # type: ignore[type-var]
        name, _, options = written_spec(anywhere, short).partition(":")
        options = options.removeprefix(".").removeprefix(",")
        return f"{name}:{options}" if options else name

    @property
    def licence(self) -> str:
        """Terms of the data."""
        terms = self.layout.terms
        return f"{terms.licence} (redistribution: {terms.redistribution})"

    @property
    def citation(self) -> str:
        """What to cite."""
        return self.layout.terms.citation

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the data should know: revision, terms, defects, and what nobody could confirm."""
        terms = self.layout.terms
        revision = f"revision {self.identity[:12]} (hash of what its files say)"
        about = f"{terms.title}, licence: {self.licence}; cite {terms.citation}; from {terms.home}"
        defects = [
            f"{len(ids)} of {len(self)} scenarios: {text} (first: {ids[0]})" for text, ids in self._defects.items()
        ]
        return (revision, about, *terms.remarks, *defects, *(f"unconfirmed: {text}" for text in terms.unconfirmed))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What may be wrong with this copy: items left out, pictures missing, masks that look inverted in a sample."""
        return (*self._left_out, *self._coverage, *self._polarity())

    def _polarity(self) -> Iterator[str]:
        step = max(len(self) // LOOKED_AT, 1)
        shares, inferred = [], ""
        for index in range(0, len(self), step):
            mask = self.row(index).mask
            if mask is not None:
                inferred = mask["polarity"] if mask.get("inferred") else inferred
                with contextlib.suppress(InvalidImage):  # counted and named when it is its turn
                    shares.append(float(self[index].mask.mean()))
        if inferred and shares:
            yield (
                f"that masks are {inferred} is inferred, not documented: by it, {len(shares)} masks looked at cover "
                f"{np.median(shares):.0%} of their picture (median); the option `polarity` overrules it"
            )
        large = sum(share > 0.5 for share in shares)
        if large * 2 > len(shares):
            yield (
                f"{large} of {len(shares)} masks looked at cover more than half of their picture (median "
                f"{np.median(shares):.0%}), yet a mask is where to edit: are they inverted? See `editbench check suite`"
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Scenario:
        row = self.row(index)
        return Scenario(
            id=row.id,
            cluster=row.cluster or reference_text(row.source),
            category=row.category,
            instruction=row.instruction,
            load=partial(load_content, row, self.pictures),
            source_prompt=row.source_prompt,
            target_prompt=row.target_prompt,
            chain=row.chain,
            turn=row.turn,
            metadata=row.metadata,
        )

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))

    def row(self, index: int) -> Row:
        """Return what the files say about one scenario."""
        start, end = self._offsets[index], self._offsets[index + 1]
        return Row(**loads(os.pread(self._file.fileno(), end - start, start)))

    def oddities(self, index: int) -> list[str]:
        """Return what had to be done to accept the pictures of one scenario (`source 'a.png': alpha`)."""
        row, root = self.row(index), self.pictures
        source = _read("source", row, root)
        found = {f"source {reference_text(row.source)!r}": source.flags}
        if row.mask is not None:
            found["mask"] = _mask_of(row, root, source.image).flags
        if row.target is not None:
            found[f"target {reference_text(row.target)!r}"] = _read("target", row, root).flags
        return [f"{name}: {', '.join(flags)}" for name, flags in found.items() if flags]


def problems(layout: Layout) -> list[str]:
    """Return everything that is wrong with the files of a benchmark outside pixels, where `Benchmark` stops at one."""
    found: list[str] = []
    seen: set[bytes] = set()
    try:
        for row in layout.rows():
            try:
                if isinstance(row, EditbenchError):
                    raise row
                if isinstance(row, Row):
                    _check_id(row.id, seen, type(layout).__name__)
            except EditbenchError as error:
                found.append(str(error))
    except EditbenchError as error:
        found.append(str(error))
    return found


def load_content(row: Row, root: Path) -> Content:
    """Decode the pictures of one row.

    Raises:
        InvalidImage: naming what is wrong with which file.
    """
    source = _read("source", row, root)
    mask = _mask_of(row, root, source.image)
    target = None if row.target is None else _read("target", row, root)
    for what, pixels in (("mask", mask.mask), ("target", None if target is None else target.image)):
        if pixels is not None and pixels.shape[:2] != source.image.shape[:2]:
            sizes = size_text(*pixels.shape[:2]), size_text(*source.image.shape[:2])
            raise InvalidImage(f"{what}: size {sizes[0]}, but the source is {sizes[1]}")
    return Content(source.image, mask.mask, None if target is None else target.image)


def _mask_of(row: Row, root: Path, source: Image) -> AcceptedMask:
    try:
        return read_mask(row.mask, root, source)
    except InvalidImage as error:
        raise InvalidImage(f"mask: {error}") from error


def _read(what: str, row: Row, root: Path) -> Accepted:
    reference: Reference = getattr(row, what)
    try:
        return decode(read_bytes(root, reference), counts_pixels(row.mask))
    except InvalidImage as error:
        raise InvalidImage(f"{what} {reference_text(reference)!r}: {error}") from error


def _check_id(scenario_id: str, seen: set[bytes], where: str) -> None:
    if not ID.fullmatch(scenario_id):
        raise EditbenchError(f"{where}: id {shown(scenario_id)}, expected {ID_RULE}")
    folded = hashlib.sha256(scenario_id.casefold().encode()).digest()[:8]  # 10⁶ ids in little memory
    if folded in seen:
        raise EditbenchError(f"{where}: id {scenario_id!r} occurs twice (case is ignored)")
    seen.add(folded)
