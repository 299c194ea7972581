"""Where the journals of a run tell of each of its cells: a few bytes an event, so that a run of any length fits."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from editbench import journal
from editbench.cells import Cell, Key, take_in
from editbench.durable import storing
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
        self.records: str | None = None
        """The hash of the records of all that is told; None if they were not written yet, or more was told since."""

    def read(self, seen: Mapping[Path, Look], number_of: Callable[[Key], int]) -> None:
        """Take in journals that were looked at.

        Args:
            seen: from `journal.looks`.
            number_of: the number of a cell, from 0; raises KeyError for what is no cell of the run.

        Raises:
            InvalidRecords: for a damaged line, or one of what is no cell of the run.
        """
        for path, offset, raw in journal.located(seen):
            if (subject := journal.subject(path, raw)) is None:
                self._note(journal.parsed(path, raw))
                continue
            kind, scenario_id, repeat = subject
            try:
                number = number_of((scenario_id, repeat))
            except KeyError:
                what = f"scenario {shown(scenario_id)}, repeat {repeat}"
                raise InvalidRecords(f"{path}: {what} is not in the suite") from None
            self._add(number, kind, path, offset)
        if len({*self._paths}) > 1:  # shards that ran at once: what is read before the records may be newer
            self.records = None

    def wrote(
        self, path: Path, offsets: Sequence[int], events: Sequence[Mapping[str, Any]], numbers: Mapping[Key, int]
    ) -> None:
        """Take in events of numbered cells that were appended to a journal."""
        for offset, event in zip(offsets, events, strict=True):
            if event["type"] in ("edit", "score"):
                self._add(numbers[event["scenario_id"], event["repeat"]], event["type"], path, offset)
            else:
                self._note(event)

    def cell(self, number: int, checked: bool = True) -> Cell | None:
        """Return what is known of a cell; None for nothing.

        Args:
            number: of the cell.
            checked: whether to make sure that its events have the form that they are written in. Their checksums are
                compared in any case, so that only forgers can tell.

        Raises:
            InvalidRecords: if its journal has changed meanwhile, or holds what is never written.
            StorageError: if it cannot be read.
        """
        cells: dict[Key, Cell] = {}
        with storing("read the journal"):
            lines = [*self._events(number)]
        for path, raw in reversed(lines):
            event = journal.parsed(path, raw, checked)
            signatures = self._signatures.get(event["signed"]) if event["type"] == "score" else {}
            if signatures is None:
                continue
            if unknown := event.get("values", {}).keys() - signatures.keys():
                what = f"a value of {shown(min(unknown))} without the line that says of which version"
                raise InvalidRecords(f"{path}: {what}")
            take_in(cells, event, signatures)
        return next(iter(cells.values()), None)

    def close(self) -> None:
        """Close the journals."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _note(self, event: Mapping[str, Any]) -> None:
        """Take in an event that is about no cell."""
        if event["type"] == "start":
            self._signatures[journal.signed(event["signatures"])] = event["signatures"]
        elif event["type"] == "records":
            self.records = event["sha256"]

    def _add(self, number: int, kind: str, path: Path, offset: int) -> None:
        if number >= len(self._latest):
            self._latest.extend([_NONE] * (number + 1 - len(self._latest)))
        before = self._latest[number]
        if kind == "score" and before == _NONE:
            return
        self.known += before == _NONE
        self.records = None
        if not self._paths or self._paths[-1] != path:
            self._paths.append(path)
        self._before.append(_NONE if kind == "edit" else before)
        self._places.append(len(self._paths) - 1)
        self._offsets.append(offset)
        self._latest[number] = len(self._before) - 1

    def _events(self, number: int) -> Iterator[tuple[Path, bytes]]:
        """Yield the events of a cell back to its latest edit, the last one first, with the journal that has them."""
        event = self._latest[number] if number < len(self._latest) else _NONE
        while event != _NONE:
            path = self._paths[self._places[event]]
            file = self._open(path)
            file.seek(self._offsets[event])
            if (raw := journal.event_text(file.readline())) is None:
                raise InvalidRecords(f"{path}: a line has changed while the run was going on")
            yield path, raw
            event = self._before[event]

    def _open(self, path: Path) -> BinaryIO:
        if (file := self._files.get(path)) is None:
            file = self._files[path] = path.open("rb")
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file
