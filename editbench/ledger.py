"""Where the journals of a run tell of each of its cells: a few bytes an event, so that a run of any length fits."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from editbench import journal
from editbench.cells import Cell, Key, take_in
from editbench.journal import Look
from editbench.names import shown
from editbench.records import InvalidRecords

OPEN_FILES = 16
"""How many journals are kept open to read from; a run may have a thousand shards."""

_NONE = -1


class Ledger:
    """Tells of a cell what the journals say; later events replace earlier ones.

    Cells are numbered. Not thread-safe but for `wrote` in one thread and `cell`, of other cells, in another.

    """

    def __init__(self) -> None:
        self._latest = array("q")
        """By cell: its latest event."""
        self._before = array("q")
        """By event: the one before of the same cell."""
        self._offsets = array("q")
        self._places = array("l")
        """By event: which journal it is in, and where."""
        self._paths: list[Path] = []
        self._signatures: dict[str, Mapping[str, str]] = {}
        self._files: OrderedDict[Path, BinaryIO] = OrderedDict()
        self.known = 0
        """Number of cells of which something is told."""

    def read(self, seen: Mapping[Path, Look], number_of: Callable[[Key], int]) -> None:
        """Take in journals that were looked at.

        Args:
            seen: from `journal.looks`.
            number_of: the number of a cell, from 0; raises KeyError for what is no cell of the run.

        Raises:
            InvalidRecords: for a damaged line, or one of what is no cell of the run.
        """
        for path, offset, event in journal.located(seen):
            self._take_in(path, offset, event, number_of)

    def wrote(
        self, path: Path, offsets: Sequence[int], events: Sequence[Mapping[str, Any]], numbers: Mapping[Key, int]
    ) -> None:
        """Take in events of numbered cells that were appended to a journal."""
        for offset, event in zip(offsets, events, strict=True):
            self._take_in(path, offset, event, numbers.__getitem__)

    def cell(self, number: int) -> Cell | None:
        """Return what is known of a cell; None for nothing.

        Raises:
            InvalidRecords: if its journal has changed meanwhile.
            OSError: if it cannot be read.
        """
        cells: dict[Key, Cell] = {}
        for event in reversed([*self._events(number)]):
            take_in(cells, event, self._signatures.get(event.get("signed", ""), {}))
        return next(iter(cells.values()), None)

    def close(self) -> None:
        """Close the journals."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _take_in(self, path: Path, offset: int, event: Mapping[str, Any], number_of: Callable[[Key], int]) -> None:
        kind = event["type"]
        if kind == "start":
            self._signatures[journal.signed(event["signatures"])] = event["signatures"]
        if kind == "score":
            if (signatures := self._signatures.get(event["signed"])) is None:
                return
            if unknown := event["values"].keys() - signatures.keys():
                what = f"a value of {shown(min(unknown))} without the line that says of which version"
                raise InvalidRecords(f"{path}: {what}")
        if kind not in ("edit", "score"):
            return
        try:
            number = number_of((event["scenario_id"], event["repeat"]))
        except KeyError:
            cell = f"scenario {shown(event['scenario_id'])}, repeat {event['repeat']}"
            raise InvalidRecords(f"{path}: {cell} is not in the suite") from None
        if number >= len(self._latest):
            self._latest.extend([_NONE] * (number + 1 - len(self._latest)))
        before = self._latest[number]
        if kind == "score" and before == _NONE:
            return
        self.known += before == _NONE
        if not self._paths or self._paths[-1] != path:
            self._paths.append(path)
        self._before.append(_NONE if kind == "edit" else before)
        self._places.append(len(self._paths) - 1)
        self._offsets.append(offset)
        self._latest[number] = len(self._before) - 1

    def _events(self, number: int) -> Iterator[dict[str, Any]]:
        """Yield the events of a cell back to its latest edit, the last one first."""
        event = self._latest[number] if number < len(self._latest) else _NONE
        while event != _NONE:
            path = self._paths[self._places[event]]
            file = self._open(path)
            file.seek(self._offsets[event])
            yield journal.parsed(path, file.readline())
            event = self._before[event]

    def _open(self, path: Path) -> BinaryIO:
        if (file := self._files.get(path)) is None:
            file = self._files[path] = path.open("rb")
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file
