"""Published numbers beside a board: which of its columns they have in common, and everything that only they have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from editbench.board import Board
from editbench.published import PublishedCell

UNCONFIRMED, DISAGREES, DOUBTFUL = "?", "≠", "!"
"""Marks of a number; KEY says what each stands for."""
KEY = (
    f"{UNCONFIRMED} from memory, looked up by nobody; {DISAGREES} another source says otherwise; {DOUBTFUL} doubtful. "
    "Published numbers were not measured by editbench: they have neither rank nor interval."
)


@dataclass(frozen=True)
class PublishedNumber:
    """One published number, as it is shown."""

    text: str
    """In the metric's own unit, all printed digits."""
    marks: str
    notes: tuple[str, ...]
    """What the marks stand for, in words."""
    explanation: str


@dataclass(frozen=True)
class PublishedLine:
    """The numbers that one source has of one method."""

    method: str
    split: str
    source_kind: str
    source: str
    date: str
    unconfirmed: bool
    notes: tuple[str, ...]
    """Conditions, and why numbers are doubtful."""
    numbers: tuple[PublishedNumber | None, ...]
    """One for each metric of the table."""


@dataclass(frozen=True)
class PublishedTable:
    """Some metrics and every method that has a number of one of them, in alphabetical order: there is no ranking."""

    split: str
    """Which part of the benchmark, if all lines are of one."""
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    """Of each metric."""
    lines: tuple[PublishedLine, ...]


@dataclass(frozen=True)
class Beside:
    """What was published for the benchmark of a board."""

    benchmark: str
    remarks: tuple[str, ...]
    """What keeps it from being compared with the board; nothing if they may be."""
    shared: PublishedTable | None
    """Metrics that the board measured by the same definition: equal legacy specs."""
    others: tuple[PublishedTable, ...]
    """Metrics that only the publications have, and legacy metrics that the board did not measure: a table a split."""


def beside(board: Board, published: Iterable[PublishedCell]) -> Beside | None:
    """Return what was published for the benchmark of a board; None if nothing was.

    Args:
        board: from `build_boards`.
        published: from `read_published`.
    """
    cells = list(published)
    benchmark = benchmark_of(board.suite.name, {cell.benchmark for cell in cells})
    if benchmark is None:
        return None
    cells = [cell for cell in cells if cell.benchmark == benchmark]
    measured = {column.metric for column in board.columns}
    shared = [cell for cell in cells if cell.metric in measured]
    return Beside(
        benchmark,
        tuple(remarks(board.suite.name, board.suite.scenarios, cells)),
        _table(shared) if shared else None,
        _by_split([cell for cell in cells if cell.metric not in measured]),
    )


def without_board(boards: Iterable[Board], published: Sequence[PublishedCell]) -> Iterator[Beside]:
    """Yield what was published for each benchmark that none of the boards is of, by name."""
    benchmarks = sorted({cell.benchmark for cell in published})
    taken = {benchmark_of(board.suite.name, benchmarks) for board in boards}
    for benchmark in benchmarks:
        if benchmark not in taken:
            yield Beside(benchmark, (), None, _by_split([cell for cell in published if cell.benchmark == benchmark]))


def benchmark_of(suite: str, known: Iterable[str]) -> str | None:
    """Return the benchmark that a suite's name is of, without options, selection and version; None if it is no such.

    >>> [benchmark_of(name, {"gedit"}) for name in ("gedit", "gedit:masks=no[first=4]", "folder:gedit", "shapes@1")]
    ['gedit', 'gedit', 'gedit', None]
    """
    name = re.split(r"[:@\[]", suite.removeprefix("folder:"), maxsplit=1)[0]
    return name if name in set(known) else None


def remarks(suite: str, scenarios: int, cells: Iterable[PublishedCell]) -> list[str]:
    """Return what keeps numbers on a suite from being compared with those published for its benchmark, if anything.

    Args:
        suite: its name.
        scenarios: how many it has.
        cells: of the benchmark.
    """
    found = []
    whole, _, selection = suite.partition("[")
    if whole.startswith("folder:"):
        found.append("a folder of that name: whether it holds the published data is not known here")
    elif ":" in whole:
        found.append(f"the suite has options ({whole.partition(':')[2]}): see which split each published row is of")
    if selection:
        found.append(f"a selection ({selection.rstrip(']')}): means over some scenarios are not those of the whole")
    sizes = sorted({cell.scenarios for cell in cells if cell.scenarios is not None})
    if not sizes:
        found.append("how many scenarios the published numbers are over is not known here: see which split they are of")
    elif scenarios not in sizes:
        found.append(f"{scenarios} scenarios here, {' or '.join(map(str, sizes))} in what was published")
    return found


def _by_split(cells: Sequence[PublishedCell]) -> tuple[PublishedTable, ...]:
    splits = sorted({_split(cell) for cell in cells})
    return tuple(_table([cell for cell in cells if _split(cell) == split]) for split in splits)


def _split(cell: PublishedCell) -> str:
    return " · ".join(filter(None, (cell.split, cell.track)))


def _table(cells: Sequence[PublishedCell]) -> PublishedTable:
    counts = Counter(cell.metric for cell in cells)
    metrics = sorted(counts, key=lambda metric: (-counts[metric], metric))
    directions = {cell.metric: cell.direction for cell in cells}
    splits = {_split(cell) for cell in cells}
    rows: dict[tuple[str, ...], dict[str, PublishedCell]] = {}
    for cell in cells:
        rows.setdefault((_split(cell), cell.method, cell.source_kind, cell.source, cell.date), {})[cell.metric] = cell
    lines = [
        PublishedLine(
            method,
            split,
            source_kind,
            source,
            date,
            any(cell.status == "unconfirmed" for cell in found.values()),
            tuple(dict.fromkeys(text for cell in found.values() for text in (cell.note, cell.doubt) if text)),
            tuple(_number(found[metric]) if metric in found else None for metric in metrics),
        )
        for (split, method, source_kind, source, date), found in sorted(rows.items())
    ]
    split = splits.pop() if len(splits) == 1 else ""
    return PublishedTable(split, tuple(metrics), tuple(directions[metric] for metric in metrics), tuple(lines))


def _number(cell: PublishedCell) -> PublishedNumber:
    marks, notes = "", []
    if cell.status == "unconfirmed":
        marks += UNCONFIRMED
        notes.append("unconfirmed")
    if cell.disagreement:
        marks += DISAGREES
        notes.append(f"elsewhere {', '.join(f'{number:f}' for number in cell.disagreement)}")
    if cell.doubt:
        marks += DOUBTFUL
        notes.append("doubtful")
    scale = f" (the metric times {cell.scale})" if cell.scale != 1 else ""
    lines = [
        f"{cell.metric}, printed as {cell.value:f}{scale}",
        f"{cell.source_kind}: {cell.source}{f', {cell.date}' if cell.date else ''}",
        f"evidence: {cell.evidence}, status: {cell.status}",
        *([f"other sources: {', '.join(f'{number:f}' for number in cell.disagreement)}"] if cell.disagreement else []),
        *([f"doubtful: {cell.doubt}"] if cell.doubt else []),
        *([cell.note] if cell.note else []),
    ]
    return PublishedNumber(f"{cell.number:f}", marks, tuple(notes), "\n".join(lines))
