"""What a process of a pool is told, given and answers; nothing here knows how it is reached."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from editbench.cells import Cell, Key
from editbench.config import RunConfig
from editbench.differences import differences
from editbench.edit_files import as_png
from editbench.execute import AcceleratorLost, leave
from editbench.images import InvalidImage, verified
from editbench.plan import Plan, load_plan, scoring_plan
from editbench.records import Header
from editbench.scoring import lacks_value
from editbench.types import EditbenchError, Image
from editbench.work import Outcome, Work


@dataclass(frozen=True)
class Order:
    """What a process of a pool is told first."""

    config: RunConfig
    edit: bool
    score: bool
    header: Mapping[str, Any]
    """What its own plan has to come to: the same suite, editor code, metrics and library versions."""
    folder: str
    path: tuple[str, ...]
    """Working directory and `sys.path`, so that specs and files are found as here."""
    log: str

    @classmethod
    def of(cls, plan: Plan, edit: bool, score: bool, shard: str) -> Order:
        """Return the order for a plan."""
        path = plan.store.path
        config = replace(plan.config, executor="local", workers=None, gpus_per_worker=0.0, output_dir=str(path))
        log = str(path / "logs" / shard)
        return cls(config, edit, score, plan.header.to_json(), str(Path.cwd()), tuple(sys.path), log)


@dataclass(frozen=True)
class Chunk:
    """Some tasks, with what is known of them."""

    positions: tuple[int, ...]
    cells: Mapping[Key, Cell]
    kept: frozenset[str]
    """Which edits of these cells are there, by the hash of their pixels."""
    pngs: Mapping[str, bytes] = field(repr=False)
    """Of these, those that are needed."""
    _wrong: set[str] = field(default_factory=set, init=False, repr=False)
    """Of these, those that have other pixels: what is made in their place is new."""

    def has_edit(self, sha256: str) -> bool:
        """Whether an edit is there; who sent this has compared the checksums of its file."""
        return sha256 in self.kept and sha256 not in self._wrong

    def find_edit(self, sha256: str) -> Image | None:
        """Return an edit that was sent along, if its pixels have that hash."""
        try:
            return self.read_edit(sha256)
        except InvalidImage:
            self._wrong.add(sha256)
            return None

    def read_edit(self, sha256: str) -> Image:
        """Return an edit that was sent along. Raises InvalidImage."""
        if sha256 not in self.pngs:
            raise InvalidImage(f"edit {sha256[:12]} is missing")
        return verified(self.pngs[sha256], sha256)


def pack(plan: Plan, positions: tuple[int, ...], cells: Mapping[Key, Cell]) -> Chunk:
    """Return tasks with what is known of them, of the turns that they go on from, and the edits that this takes."""
    known: dict[Key, Cell] = {}
    kept: set[str] = set()
    pngs: dict[str, bytes] = {}

    def add(key: Key, read: bool) -> None:
        cell = cells.get(key)
        if cell is None:
            return
        known[key] = cell
        sha256 = cell.edit["edit_sha256"]
        if sha256 is not None and (png := plan.store.edits.intact_png(sha256)) is not None:
            kept.add(sha256)
            if read:
                pngs[sha256] = png

    for position in positions:
        place, repeat = divmod(position, plan.config.repeats)
        scenario_id = plan.suite[place].id
        cell = cells.get((scenario_id, repeat))
        add((scenario_id, repeat), cell is not None and any(lacks_value(plan, cell, spec) for spec in plan.signatures))
        before = None if plan.chains is None else plan.chains.before.get(scenario_id)
        if before is not None:
            add((before, repeat), True)
    return Chunk(positions, known, frozenset(kept), pngs)


@dataclass(frozen=True)
class Refusal:
    """Why a process cannot go on, in words for the user; it crosses any boundary, as not every exception does."""

    message: str


class SeatedWork:
    """What a process of a pool holds. `ready` is called first, `do` for each chunk, `end` last."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._work: Work | None = None

    def ready(self) -> Refusal | None:
        """Make the plan."""
        try:
            self._work = self._begin()
        except EditbenchError as error:
            return Refusal(f"on {platform.node()}: {error}")
        return None

    def _begin(self) -> Work:
        order = self._order
        sys.path[:] = order.path
        if Path(order.folder).is_dir():
            os.chdir(order.folder)
        plan = load_plan(order.config) if order.edit else scoring_plan(order.config, Header.from_json(order.header))
        changed = differences(order.header, plan.header.to_json())
        if changed:
            raise EditbenchError("not the run that was asked for:\n  " + "\n  ".join(changed))
        work = Work(plan, order.edit, order.score)
        if Path(order.log).parent.parent.is_dir():
            work.log_to(Path(f"{order.log}-{platform.node()}-{os.getpid()}.log"))
        return work

    def do(self, chunk: Chunk) -> Outcome | Refusal:
        """Do some tasks."""
        assert self._work is not None
        events: list[Mapping[str, Any]] = []
        pngs: dict[str, bytes] = {}
        finished: list[Key] = []
        start = time.monotonic()
        try:
            for outcome in self._work.outcomes(chunk.positions, dict(chunk.cells), chunk):
                events += outcome.events
                pngs |= {sha256: as_png(edit) for sha256, edit in outcome.edits.items()}
                finished += outcome.finished
        except AcceleratorLost as lost:
            leave(lost)
        except EditbenchError as error:
            return Refusal(str(error))
        return Outcome(events, pngs, tuple(finished), time.monotonic() - start)

    def end(self) -> None:
        """Let the editor leave nothing behind."""
        if self._work is not None:
            self._work.close()
