"""Chains: sessions of several turns, in which an editor can be made to go on from its own output.

With `--chain truth` (the default) every turn is a scenario like any other: its source is what the suite has. With
`--chain own` the source of a later turn is what the editor made of the turn before, and its metrics compare with that:
what it was given is what it should have kept. Ground truth, where there is one, stays the suite's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from editbench.cells import Cell, Key
from editbench.execute import Attempt
from editbench.images import InvalidImage, size_text
from editbench.suites import Selection
from editbench.types import Content, EditbenchError, EditStatus, Image, Scenario, Suite, Task


class Edits(Protocol):
    """Where finished edits are: the run directory, or what a process of a pool was sent of it."""

    def has_edit(self, sha256: str) -> bool:
        """Whether the edit with this pixel hash is kept, and intact as far as the checksums of its file tell."""

    def find_edit(self, sha256: str) -> Image | None:
        """Return it if it is kept and its pixels have that hash."""

    def read_edit(self, sha256: str) -> Image:
        """Return it; raises InvalidImage if it is not, or no longer, there."""


class TurnMissing(EditbenchError):
    """The turn before has no output to go on from.

    Args:
        status: how it ended.
    """

    def __init__(self, status: EditStatus) -> None:
        super().__init__(f"the turn before ended as {status}")
        self.status = status

    def attempt(self) -> Attempt:
        """Return what becomes of the turns after it: what is wrong with the data is not the editor's fault."""
        status = self.status if self.status in ("input_invalid", "not_run") else "output_missing"
        return Attempt(status, reason=str(self))


@dataclass(frozen=True)
class Chains:
    """The order of a suite whose turns depend on each other."""

    waves: tuple[tuple[tuple[int, int], ...], ...]
    """For every turn: (number of the chain, index of the scenario); single scenarios are chains of one turn."""
    before: Mapping[str, str]
    """The id of a later turn to the id of the turn before it."""
    places: Mapping[str, int]
    """The id of every turn to its index in the suite."""

    def given(self, task: Task, cells: Mapping[Key, Cell], edits: Edits) -> Task:
        """Return a task with the output of the turn before as its source, read when it is needed."""
        if task.scenario.id not in self.before:
            return task
        key = self.before[task.scenario.id], task.repeat
        return replace(task, given=replace(task.scenario, load=partial(_continued, task.scenario, cells, key, edits)))

    def given_sha256(self, task: Task, cells: Mapping[Key, Cell]) -> str | None:
        """Return the hash of the output that a task goes on from; None for a first turn and where there is none."""
        before = self.before.get(task.scenario.id)
        cell = None if before is None else cells.get((before, task.repeat))
        return None if cell is None else cell.edit["edit_sha256"]


def own_chains(suite: Suite) -> Selection:
    """Return a suite as one whose later turns go on from the editor's own outputs: another identity, all scenarios.

    Raises:
        EditbenchError: if it has no chains, or not all turns of one.
    """
    turns: dict[str, list[int]] = {}
    for scenario in suite:
        if scenario.chain is not None:
            turns.setdefault(scenario.chain, []).append(scenario.turn)
    if not turns:
        raise EditbenchError(f"{suite.name} has no chains: leave --chain own away")
    for chain, found in turns.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            text = f"{suite.name} has turns {', '.join(map(str, sorted(found)))} of chain {chain!r}"
            raise EditbenchError(f"{text}, expected 1, 2, …: --chain own needs whole chains")
    return Selection(suite, tuple(range(len(suite))), "chain=own")


def chains_of(suite: Suite) -> Chains:
    """Look through a suite from `own_chains` once."""
    numbers: dict[str, int] = {}
    waves: dict[int, list[tuple[int, int]]] = {}
    turns: dict[tuple[str, int], tuple[str, int]] = {}
    for index, scenario in enumerate(suite):
        chain = scenario.id if scenario.chain is None else f"chain {scenario.chain}"
        turn = 1 if scenario.chain is None else scenario.turn
        waves.setdefault(turn, []).append((numbers.setdefault(chain, len(numbers)), index))
        turns[chain, turn] = scenario.id, index
    before = {name: turns[chain, turn - 1][0] for (chain, turn), (name, _) in turns.items() if turn > 1}
    places = {name: index for name, index in turns.values()}
    return Chains(tuple(tuple(waves[turn]) for turn in sorted(waves)), before, places)


def _continued(scenario: Scenario, cells: Mapping[Key, Cell], key: Key, edits: Edits) -> Content:
    cell = cells.get(key)
    status: EditStatus = "not_run" if cell is None else cell.edit["edit_status"]
    if cell is None or status != "ok":
        raise TurnMissing(status)
    source = edits.read_edit(cell.edit["edit_sha256"])
    if source.shape != scenario.source.shape:
        sizes = size_text(*source.shape[:2]), size_text(*scenario.source.shape[:2])
        raise InvalidImage(f"the output of the turn before is {sizes[0]}, the mask of this one {sizes[1]}")
    return replace(scenario.content, source=source)
