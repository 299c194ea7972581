"""The page of one run: what it was, its means, and every edit beside its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from editbench.board import Cell, Column, build_boards, decimal
from editbench.images import InvalidImage
from editbench.records import Header, RecordFile
from editbench.report.curve import leak_curve
from editbench.report.numbers import ARROWS, decimals, explanation, fixed, interval
from editbench.report.page import render
from editbench.report.pictures import (
    ANCHORS,
    FULL_SCALE,
    heat_map,
    outline,
    overlay,
    thumbnail,
    thumbnail_mask,
    write_picture,
)
from editbench.store import Cell as JournalCell
from editbench.store import Key, RunStore, write_whole
from editbench.types import EditbenchError, Failed, Record, Scenario, Suite, Undefined
from editbench.values import counts_as

PAGE = "index.html"
PICTURES = "img"


@dataclass(frozen=True)
class Mean:
    """One metric of the run."""

    metric: str
    arrow: str
    text: str
    interval: str
    cell: Cell
    explanation: str
    places: int


@dataclass(frozen=True)
class Shown:
    """One value of one card."""

    mean: Mean
    text: str
    kind: str
    """`value`, `none` or `error`."""
    note: str
    sort: str


@dataclass(frozen=True)
class Pictures:
    """The pictures of one card, as paths relative to the page; None where there is none."""

    source: str | None = None
    mask: str | None = None
    output: str | None = None
    difference: str | None = None
    problem: str | None = None
    """Why a picture that should be here is not."""


@dataclass(frozen=True)
class Card:
    """One (scenario, repeat) of the gallery."""

    record: Record
    instruction: str
    pictures: Pictures
    values: tuple[Shown, ...]
    cost: str
    """Seconds and peak memory of the edit."""


@dataclass(frozen=True)
class Cost:
    """A quantity over the edits of a run, from its journal."""

    name: str
    median: str
    largest: str
    n: int


def write_gallery(run_path: Path, suite: Suite, output_dir: Path) -> Path:
    """Write the page of a run and the pictures on it; return the path of the page.

    Args:
        run_path: a run directory, finished or not.
        suite: the run's suite, or the selection that it ran on.
        output_dir: where the page goes; pictures go into `img/` below it.

    Raises:
        EditbenchError: if the suite is not the run's.
        InvalidRecords: if the run is damaged.
        StorageError: if something cannot be written.
    """
    store = RunStore(run_path)
    file, cells = store.records(), store.cells()
    _check_suite(file.header, suite)
    board = build_boards([file])[0]
    row = board.rows[0]
    means = tuple(_mean(column, row.cells[column]) for column in board.columns)
    page = render(
        "gallery.html",
        "gallery.js",
        header=file.header,
        row=row,
        means=means,
        curve=leak_curve(file.records),
        costs=_costs(cells),
        cards=list(_cards(store, file, suite, means, cells, output_dir)),
        categories=sorted({record.category for record in file.records}),
        statuses=sorted({record.edit_status for record in file.records}),
        anchors=ANCHORS,
        full_scale=FULL_SCALE,
    )
    write_whole(output_dir / PAGE, [page.encode()])
    return output_dir / PAGE


def _check_suite(header: Header, suite: Suite) -> None:
    if suite.identity != header.suite.identity:
        raise EditbenchError(
            f"the run is of {header.suite.name} ({header.suite.identity[:12]}), the suite given is {suite.name} "
            f"({suite.identity[:12]}): restore the suite that was run"
        )


def _mean(column: Column, cell: Cell) -> Mean:
    mean = cell.estimate.mean
    places = decimals([] if mean is None else [mean], cell.info.range[1])
    return Mean(
        metric=column.metric,
        arrow=ARROWS.get(cell.info.direction, ""),
        text="–" if mean is None else fixed(mean, places),
        interval=interval(cell, places),
        cell=cell,
        explanation=explanation(column.metric, column.signature, cell),
        places=places,
    )


def _costs(cells: Mapping[Key, JournalCell]) -> list[Cost]:
    edits = [cell.edit for cell in cells.values() if cell.edit["edit_status"] not in ("not_run", "input_invalid")]
    seconds = _cost("seconds an edit", [edit["seconds"] for edit in edits], 1)
    memory = _cost("peak memory in MiB", [edit["peak_bytes"] for edit in edits if edit["peak_bytes"]], 2**20)
    return [cost for cost in (seconds, memory) if cost is not None]


def _cost(name: str, values: Sequence[float], unit: int) -> Cost | None:
    if not values:
        return None
    return Cost(name, f"{median(values) / unit:.3g}", f"{max(values) / unit:.3g}", len(values))


# ------------------------------------------------------------------------------------------------------- cards


def _cards(
    store: RunStore,
    file: RecordFile,
    suite: Suite,
    means: Sequence[Mean],
    cells: Mapping[Key, JournalCell],
    output_dir: Path,
) -> Iterator[Card]:
    """Yield the cards in the suite's order, reading each scenario once."""
    waiting: dict[str, list[Record]] = {}
    for record in file.records:
        waiting.setdefault(record.scenario_id, []).append(record)
    for scenario in suite:
        records = waiting.pop(scenario.id, [])
        for record, pictures in zip(records, _pictures(store, scenario, records, cells, output_dir), strict=True):
            cell = cells.get((record.scenario_id, record.repeat))
            cost = f"{cell.edit['seconds']:.3g} s, {cell.edit['peak_bytes'] / 2**20:.0f} MiB" if cell else ""
            values = tuple(_shown(record, mean) for mean in means)
            yield Card(record, scenario.instruction, pictures, values, cost)
    if waiting:
        raise EditbenchError(f"{store.path} has records of {next(iter(waiting))!r}, which {suite.name} does not have")


def _shown(record: Record, mean: Mean) -> Shown:
    value = record.values.get(mean.metric)
    if isinstance(value, float):
        return Shown(mean, fixed(value, mean.places), "value", decimal(value), decimal(value))
    if isinstance(value, Undefined):
        return Shown(mean, "undefined", "none", value.reason, "")
    if not isinstance(value, Failed):
        return Shown(mean, "error", "error", "not scored yet", "")
    counts = counts_as(record, mean.cell.info)
    if counts is not None:
        return Shown(mean, fixed(counts, mean.places), "error", f"{value.reason}: counts as this", decimal(counts))
    return Shown(mean, "error", "error", value.reason, "")


def _pictures(
    store: RunStore,
    scenario: Scenario,
    records: Iterable[Record],
    cells: Mapping[Key, JournalCell],
    output_dir: Path,
) -> Iterator[Pictures]:
    try:
        pixels_sha256 = scenario.pixels_sha256
    except Exception as error:  # a suite may be anybody's code
        yield from (Pictures(problem=str(error)) for _ in records)
        return

    def written(image: Any) -> str:
        return f"{PICTURES}/{write_picture(image, output_dir / PICTURES)}"

    mask = thumbnail_mask(scenario.mask)
    for record in records:
        if record.pixels_sha256 not in (None, pixels_sha256):
            yield Pictures(problem="the scenario has other pixels than when it was edited")
            continue
        cell = cells.get((record.scenario_id, record.repeat))
        given = None if cell is None else cell.edit.get("given_sha256")
        before = Pictures()
        try:
            shown = scenario.source if given is None else store.read_edit(given)
            source = thumbnail(shown)
            before = Pictures(written(source), written(overlay(source, mask)))
            if record.edit_sha256 is None:
                yield before
                continue
            output = store.read_edit(record.edit_sha256)
        except InvalidImage as error:
            yield Pictures(before.source, before.mask, problem=str(error))
            continue
        difference = outline(thumbnail(heat_map(shown, output)), mask)
        yield Pictures(before.source, before.mask, written(thumbnail(output)), written(difference))
