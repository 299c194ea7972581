"""Sessions that no column tells of: a turn follows another where its source is the other's target, byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from editbench.images import InvalidImage
from editbench.suites.benchmark import Row
from editbench.suites.pictures import Reference, read_bytes
from editbench.types import EditbenchError


def link_turns(found: Sequence[Row | EditbenchError], root: Path) -> Iterator[Row | EditbenchError]:
    """Give rows that follow one another their chain and turn, and one cluster: that of the first.

    Pictures are compared as files, never decoded. Errors and rows that belong to no other come out as they are.

    Args:
        found: all rows of a split.
        root: the benchmark's folder.
    """
    rows = [row for row in found if isinstance(row, Row)]
    made = {_digest(root, row.target): row for row in reversed(rows)}
    before = {row.id: made.get(_digest(root, row.source)) for row in rows}
    paths = {row.id: _path(row, before) for row in rows}
    followed = {row.id for path in paths.values() for row in path[1:]}
    for row in found:
        if isinstance(row, EditbenchError) or not (paths[row.id][1:] or row.id in followed):
            yield row
        else:
            first = paths[row.id][-1]
            yield replace(row, chain=first.id, turn=len(paths[row.id]), cluster=first.cluster)


def _path(row: Row, before: Mapping[str, Row | None]) -> list[Row]:
    """Return a row and those before it, the nearest first; the row alone if that leads back to one of them."""
    path = [row]
    while (earlier := before[path[-1].id]) is not None:
        if earlier in path:
            return [row]
        path.append(earlier)
    return path


def _digest(root: Path, picture: Reference | None) -> bytes:
    """Hash of a picture's file; of one that is not there, of where it would be, so that it is equal to no other."""
    data = repr(picture).encode()
    with contextlib.suppress(InvalidImage):
        data = read_bytes(root, picture) if picture is not None else data
    return hashlib.sha256(data).digest()
