"""The edits of a run as a page shows them: pictures made once, and data that a script turns into cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from editbench.board import Cell, Column, decimal
from editbench.cells import Cell as JournalCell
from editbench.cells import Key
from editbench.images import InvalidImage
from editbench.record_files import RecordFile
from editbench.report.numbers import ARROWS, decimals, explanation, fixed, interval
from editbench.report.pictures import heat_map, outline, overlay, thumbnail, thumbnail_mask, write_picture
from editbench.store import RunStore
from editbench.types import EditbenchError, Failed, Image, Record, Scenario, Suite, Undefined
from editbench.values import counts_as

PICTURES = "img"
"""Folder of the pictures, below that of the page."""


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
    """One value of one edit."""

    text: str
    kind: str
    """`value`, `none` or `error`."""
    note: str
    sort: float | None
    """None stands behind every number."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one edit, as paths relative to the page; None where there is none."""

    source: str | None = None
    mask: str | None = None
    output: str | None = None
    difference: str | None = None
    region: str | None = None
    """White where to edit, black where not: laid over a picture, it leaves one region."""
    problem: str | None = None
    """Why a picture that should be here is not."""


@dataclass(frozen=True)
class Shot:
    """One (scenario, repeat): what was asked for, what came, and its numbers."""

    record: Record
    instruction: str
    pictures: Pictures
    values: tuple[Shown, ...]
    cost: str
    """Seconds and peak memory of the edit."""


def mean_of(column: Column, cell: Cell) -> Mean:
    """Return a metric's mean as the page shows it."""
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


def to_data(shots: Iterable[Shot]) -> list[dict[str, Any]]:
    """Return edits as JSON data, without what is empty."""
    return [{name: value for name, value in _data(shot).items() if value not in ("", None, [])} for shot in shots]


def _data(shot: Shot) -> dict[str, Any]:
    record, pictures = shot.record, shot.pictures
    return {
        "id": record.scenario_id,
        "repeat": record.repeat,
        "category": record.category,
        "status": record.edit_status,
        "flags": list(record.flags),
        "reason": record.reason,
        "instruction": shot.instruction,
        "cost": shot.cost,
        "source": pictures.source,
        "mask": pictures.mask,
        "output": pictures.output,
        "difference": pictures.difference,
        "region": pictures.region,
        "problem": pictures.problem,
        "values": [[shown.text, shown.kind, shown.note, shown.sort] for shown in shot.values],
    }


def shots_of(
    store: RunStore,
    file: RecordFile,
    suite: Suite,
    means: Sequence[Mean],
    cells: Mapping[Key, JournalCell],
    output_dir: Path,
) -> Iterator[Shot]:
    """Yield the edits of a run in the suite's order, reading each scenario once.

    Args:
        store: the run.
        file: its records.
        suite: its suite.
        means: metrics to show.
        cells: its journal.
        output_dir: folder of the page; pictures go into `img/` below it.

    Raises:
        EditbenchError: if the suite lacks a scenario.
        StorageError: if a picture cannot be written.
    """
    waiting: dict[str, list[Record]] = {}
    for record in file.records:
        waiting.setdefault(record.scenario_id, []).append(record)
    for scenario in suite:
        records = waiting.pop(scenario.id, [])
        for record, pictures in zip(records, pictures_of(store, scenario, records, cells, output_dir), strict=True):
            cell = cells.get((record.scenario_id, record.repeat))
            cost = f"{cell.edit['seconds']:.3g} s, {cell.edit['peak_bytes'] / 2**20:.0f} MiB" if cell else ""
            values = tuple(_shown(record, mean) for mean in means)
            yield Shot(record, scenario.instruction, pictures, values, cost)
    if waiting:
        raise EditbenchError(f"{store.path} has records of {next(iter(waiting))!r}, which {suite.name} does not have")


def _shown(record: Record, mean: Mean) -> Shown:
    value = record.values.get(mean.metric)
    if isinstance(value, float):
        return Shown(fixed(value, mean.places), "value", "", float(decimal(value)))
    if isinstance(value, Undefined):
        return Shown("undefined", "none", value.reason, None)
    if not isinstance(value, Failed):
        return Shown("error", "error", "not scored yet", None)
    counts = counts_as(record, mean.cell.info)
    if counts is not None:
        return Shown(fixed(counts, mean.places), "error", f"{value.reason}: counts as this", counts)
    return Shown("error", "error", value.reason, None)


def pictures_of(
    store: RunStore,
    scenario: Scenario,
    records: Iterable[Record],
    cells: Mapping[Key, JournalCell],
    output_dir: Path,
) -> Iterator[Pictures]:
    """Yield the pictures of the edits of one scenario, in the order of the records, and write those that are new."""
    try:
        pixels_sha256 = scenario.pixels_sha256
    except Exception as error:  # a suite may be anybody's code
        yield from (Pictures(problem=str(error)) for _ in records)
        return

    def written(image: Any) -> str:
        return f"{PICTURES}/{write_picture(image, output_dir / PICTURES)}"

    mask = thumbnail_mask(scenario.mask)
    region: Image = np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
    for record in records:
        if record.pixels_sha256 not in (None, pixels_sha256):
            yield Pictures(problem="the scenario has other pixels than when it was edited")
            continue
        cell = cells.get((record.scenario_id, record.repeat))
        given = None if cell is None else cell.edit.get("given_sha256")
        before = Pictures()
        try:
            shown = scenario.source if given is None else store.edits.read_edit(given)
            source = thumbnail(shown)
            before = Pictures(written(source), written(overlay(source, mask)), region=written(region))
            if record.edit_sha256 is None:
                yield before
                continue
            output = store.edits.read_edit(record.edit_sha256)
        except InvalidImage as error:
            yield replace(before, problem=str(error))
            continue
        difference = outline(thumbnail(heat_map(shown, output)), mask)
        yield replace(before, output=written(thumbnail(output)), difference=written(difference))
