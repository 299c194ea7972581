"""What the page of a comparison shows in pictures: the largest wins and losses, both outputs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from editbench.board import RANKING
from editbench.cells import Cell as JournalCell
from editbench.cells import Key
from editbench.compare import Duel
from editbench.report.edits import Pictures, pictures_of
from editbench.report.numbers import decimals, fixed
from editbench.store import RunStore
from editbench.types import Record, Suite
from editbench.values import scenario_means

SHOWN = 6
"""Scenarios won, and lost, that have pictures."""


@dataclass(frozen=True)
class Side:
    """A run directory, for its edits."""

    store: RunStore
    cells: Mapping[Key, JournalCell]
    suite: Suite


@dataclass(frozen=True)
class Exhibit:
    """One scenario and what two runs made of it."""

    scenario_id: str
    category: str
    instruction: str
    better: bool
    """Whether the first run is."""
    values: tuple[str, str]
    statuses: tuple[str, str]
    pictures: tuple[Pictures, Pictures]


@dataclass(frozen=True)
class Showcase:
    """The largest differences of two runs in one metric."""

    metric: str
    exhibits: tuple[Exhibit, ...]
    """Wins of the first run, the largest first, then its losses, the largest first."""


def showcase(duel: Duel, sides: tuple[Side | None, Side | None], output_dir: Path) -> Showcase | None:
    """Return the scenarios on which two runs differ most in what ranks them; None if they do not differ.

    Args:
        duel: the two runs, compared.
        sides: their run directories; None for a record file, which has no pictures.
        output_dir: folder of the page; pictures go into `img/` below it.

    Raises:
        StorageError: if a picture cannot be written.
    """
    compared = [found for found in duel.differences if found.info.direction != "none" and found.won + found.lost]
    chosen = next((found for found in compared if found.metric == RANKING), compared[0] if compared else None)
    if chosen is None:
        return None
    means = [scenario_means(run.file, chosen.metric) for run in (duel.left, duel.right)]
    sign = 1 if chosen.info.direction == "higher" else -1
    gains = {name: sign * (means[0][name] - means[1][name]) for name in sorted(means[0].keys() & means[1].keys())}
    order = sorted(gains, key=lambda name: -gains[name])
    wins, losses = (order[:SHOWN], order[: -SHOWN - 1 : -1])
    names = [name for name in wins if gains[name] > 0] + [name for name in losses if gains[name] < 0]
    places = decimals([mean for of_run in means for mean in of_run.values()], chosen.info.range[1])
    instructions: dict[str, str] = {}
    left, right = (
        dict(_look(names, run.file.records, side, output_dir, instructions))
        for run, side in zip((duel.left, duel.right), sides, strict=True)
    )
    exhibits = [
        Exhibit(
            name,
            left[name][0].category,
            instructions.get(name, ""),
            gains[name] > 0,
            (fixed(means[0][name], places), fixed(means[1][name], places)),
            (left[name][0].edit_status, right[name][0].edit_status),
            (left[name][1], right[name][1]),
        )
        for name in names
    ]
    return Showcase(chosen.metric, tuple(exhibits))


def _look(
    names: Sequence[str],
    records: Sequence[Record],
    side: Side | None,
    output_dir: Path,
    instructions: dict[str, str],
) -> Iterator[tuple[str, tuple[Record, Pictures]]]:
    """Yield the first record of each scenario with its pictures; note what each scenario asks for."""
    firsts: dict[str, Record] = {}
    for record in records:
        firsts.setdefault(record.scenario_id, record)
    if side is None:
        yield from ((name, (firsts[name], Pictures())) for name in names)
        return
    for scenario in side.suite:
        if scenario.id in names:
            instructions[scenario.id] = scenario.instruction
            record = firsts[scenario.id]
            (pictures,) = pictures_of(side.store, scenario, [record], side.cells, output_dir)
            yield scenario.id, (record, pictures)
