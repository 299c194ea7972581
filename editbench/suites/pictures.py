"""Where the pictures of a benchmark are: a file of its folder, or a cell of a table in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from editbench.images import MAX_BYTES, InvalidImage
from editbench.reading import TooMuch, read_limited

Reference: TypeAlias = str | Mapping[str, Any]
"""A path below the benchmark's folder, or `{"parquet": path, "row": number, "column": name}`."""


def first_folder(root: Path, *names: str) -> Path:
    """Return the first of several folders below `root` that is there, or else the first."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def prefix_with(root: Path, items: Iterable[object], field: str, *prefixes: str) -> str:
    """Return the first of several beginnings of paths (`"singleturn/"`, `""`) with which any picture is there.

    One answer for all of them, by default the first: what a benchmark's files turn into, and with it its identity, must
    not depend on which pictures are missing.

    Args:
        root: the benchmark's folder.
        items: as they are read, still unchecked.
        field: which of theirs names a picture.
        *prefixes: relative to the folder.
    """
    names = [str(item.get(field)) for item in items if isinstance(item, dict)]
    return next((start for start in prefixes if any(is_file(root / f"{start}{name}") for name in names)), prefixes[0])


def is_file(path: Path) -> bool:
    """Whether there is a file, also where the name is one that none can have."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def file_of(reference: Reference) -> str:
    """Return the file that holds a picture, relative to the benchmark's folder."""
    return reference if isinstance(reference, str) else str(reference["parquet"])


def reference_text(reference: Reference) -> str:
    """Return a reference as people read it: the file, and the cell after it."""
    if isinstance(reference, str):
        return reference
    return f"{reference['parquet']}, row {reference['row']}, {reference['column']}"


def read_bytes(root: Path, reference: Reference) -> bytes:
    """Return the bytes of a picture file.

    Args:
        root: the benchmark's folder; nothing outside of it is read.
        reference: which picture.

    Raises:
        InvalidImage: if it is missing, unreadable, or not inside the folder.
    """
    if not isinstance(reference, str):
        from editbench.suites.parquet import read_cell

        # Tables are listed by the loader, never named by the data: the hub's cache is made of links, and may be.
        return read_cell(root / file_of(reference), int(reference["row"]), str(reference["column"]))
    path = inside(root, reference)
    try:
        return read_limited(path, MAX_BYTES)
    except TooMuch as error:
        raise InvalidImage(str(error)) from None
    except OSError as error:
        raise InvalidImage(str(error.strerror)) from error


def inside(root: Path, text: str) -> Path:
    """Return where a file is that data name; raises InvalidImage unless that is inside the folder, links followed."""
    pure = PurePosixPath(text)
    if not text or pure.is_absolute() or ".." in pure.parts or "\0" in text or "\\" in text:
        raise InvalidImage("expected a path inside the folder")
    try:
        path = (root / pure).resolve()
    except (OSError, RuntimeError):
        raise InvalidImage("a link that leads back to itself") from None
    if not path.is_relative_to(root.resolve()):
        raise InvalidImage(
            "a link that leads out of the folder; the hub's cache is made of links, and "
            "`hf download --local-dir` of files"
        )
    return path
