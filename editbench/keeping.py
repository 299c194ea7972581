"""What was made is written by a thread of its own, and then forgotten: the journal knows."""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from editbench.cells import Cell, Key
from editbench.changes import DECODED
from editbench.ledger import Ledger
from editbench.plan import Plan
from editbench.scoring import check_same_pixels, lacks_value
from editbench.types import Image
from editbench.work import Outcome

REMEMBERED = 100_000
"""Edits that are known to be intact, for cells that share one."""

WAITING = 2
"""Outcomes that may wait to be written: they hold images."""


@dataclass(frozen=True)
class _Page:
    """What is to be written."""

    edits: Mapping[str, Image | bytes]
    events: tuple[Mapping[str, Any], ...]
    numbers: Mapping[Key, int]


class Keeper:
    """Knows the cells that are at hand, and writes what becomes of them while the next are worked on.

    Encoding an image, writing and syncing it take about as long as scoring it, and leave the interpreter to others.

    Args:
        plan: whose store is open.
        ledger: of its journals; nobody else may write to it.
        edit: whether missing edits are to be made.
        score: whether metrics are to be evaluated.
    """

    def __init__(self, plan: Plan, ledger: Ledger, edit: bool, score: bool) -> None:
        self._plan, self._ledger, self._edit, self._score = plan, ledger, edit, score
        self._intact: set[str] = set()
        self._settled = itertools.count()
        self.cells: dict[Key, Cell] = {}
        """What is known of the cells at hand, and of the turns that they go on from."""
        self._numbers: dict[Key, int] = {}
        self._waiting: queue.Queue[_Page | None] = queue.Queue(WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="editbench-keeper", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the interpreter stops such threads before it closes what nobody has closed

    def settled(self, position: int) -> Cell | None:
        """Return a cell for which nothing is left to do, told without a look at its scenario; None for any other.

        Of a thousand, all over the run, the scenario is looked at: has it the pixels that it had?

        Raises:
            InvalidRecords: if a journal has changed meanwhile.
            EditbenchError: if a scenario has other pixels.
            StorageError: if journal or edit cannot be read, or a damaged edit cannot be moved.
        """
        plan = self._plan
        cell = self._ledger.cell(position, checked=False)
        if cell is None or not self._is_settled(cell):
            return None
        if next(self._settled) % (1 + plan.total // DECODED) == 0:  # not by position: shards have every n-th
            check_same_pixels(plan, plan.suite[position // plan.config.repeats], cell)
        return cell

    def _is_settled(self, cell: Cell) -> bool:
        plan = self._plan
        if self._score and any(lacks_value(plan, cell, spec) for spec in plan.signatures):
            return False
        if not self._edit:
            return True
        if plan.chains is not None or plan.looks_up or cell.edit["edit_status"] == "not_run":
            return False
        if cell.edit["edit_status"] == "ok":
            return self._is_intact(cell.edit["edit_sha256"])
        return bool(cell.edit["attempts"] > plan.config.retry_on_error)

    def _is_intact(self, sha256: str) -> bool:
        if sha256 in self._intact:
            return True
        if not self._plan.store.edits.has_edit(sha256):
            return False
        if len(self._intact) < REMEMBERED:
            self._intact.add(sha256)
        return True

    def at_hand(self, positions: Iterable[int]) -> Iterator[int]:
        """Yield positions of tasks, once what is known of their cells is in `cells`.

        Raises:
            InvalidRecords: if a journal has changed meanwhile.
        """
        plan = self._plan
        for position in positions:
            place, repeat = divmod(position, plan.config.repeats)
            key = plan.suite[place].id, repeat
            self._numbers[key] = position
            self._recall(key, position)
            if plan.chains is not None and (before := plan.chains.before.get(key[0])) is not None:
                self._recall((before, repeat), plan.chains.places[before] * plan.config.repeats + repeat)
            yield position

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome, soon.

        Raises:
            StorageError: if an earlier one could not be written.
        """
        events = tuple(outcome.events)
        keys = {(event["scenario_id"], event["repeat"]) for event in events}
        if events or outcome.edits:
            self._put(_Page(outcome.edits, events, {key: self._numbers[key] for key in keys}))

    def let_go(self, keys: Iterable[Key]) -> None:
        """Forget cells for which nothing is left to do."""
        for key in keys:
            self._numbers.pop(key, None)
            self.cells.pop(key, None)
            if self._plan.chains is not None and (before := self._plan.chains.before.get(key[0])) is not None:
                self.cells.pop((before, key[1]), None)

    def flush(self) -> None:
        """Return when everything is written. Raises as `keep` does."""
        self._waiting.join()
        self._check()

    def close(self) -> None:
        """Write what is waiting, and end the thread. Raises as `keep` does."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        self._check()

    def _recall(self, key: Key, position: int) -> None:
        if (cell := self._ledger.cell(position)) is not None:
            self.cells[key] = cell

    def _put(self, page: _Page) -> None:
        self._check()
        self._waiting.put(page)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write(self) -> None:
        while (page := self._waiting.get()) is not None:
            try:
                if self._failure is None:
                    self._keep(page)
            except BaseException as failure:
                self._failure = failure
            finally:
                self._waiting.task_done()

    def _keep(self, page: _Page) -> None:
        store = self._plan.store
        for sha256, edit in page.edits.items():
            store.edits.write_edit(sha256, edit)
        places = store.append(page.events)
        self._ledger.wrote(*places, page.events, page.numbers)
