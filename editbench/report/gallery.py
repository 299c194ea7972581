"""The page of one run: what it was, its means, and every edit beside its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from editbench.board import Row, build_boards
from editbench.cells import Cell as JournalCell
from editbench.cells import Key
from editbench.durable import write_whole
from editbench.record_files import RecordFile
from editbench.records import Header
from editbench.report.curve import leak_curve
from editbench.report.edits import Mean, Shot, mean_of, shots_of, to_data
from editbench.report.page import island, render
from editbench.report.pictures import ANCHORS, FULL_SCALE
from editbench.store import RunStore
from editbench.types import EditbenchError, Suite

PAGE = "index.html"


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
    means = tuple(mean_of(column, row.cells[column]) for column in board.columns)
    page = render_gallery(file, row, means, shots_of(store, file, suite, means, cells, output_dir), _costs(cells))
    write_whole(output_dir / PAGE, [page.encode()])
    return output_dir / PAGE


def render_gallery(
    file: RecordFile, row: Row, means: Sequence[Mean], shots: Iterable[Shot], costs: Sequence[Cost] = ()
) -> str:
    """Return the page of a run: facts and means as they are, the edits as data from which its script draws a few.

    Args:
        file: the records.
        row: their row on a board.
        means: of its metrics, in the order of the values of `shots`.
        shots: the edits, in the suite's order.
        costs: what the edits cost.
    """
    return render(
        "gallery.html",
        "gallery.js",
        header=file.header,
        row=row,
        means=means,
        curve=leak_curve(file.records),
        costs=costs,
        edits=island(to_data(shots)),
        categories=sorted({record.category for record in file.records}),
        statuses=sorted({record.edit_status for record in file.records}),
        anchors=ANCHORS,
        full_scale=FULL_SCALE,
    )


def _check_suite(header: Header, suite: Suite) -> None:
    if suite.identity != header.suite.identity:
        raise EditbenchError(
            f"the run is of {header.suite.name} ({header.suite.identity[:12]}), the suite given is {suite.name} "
            f"({suite.identity[:12]}): restore the suite that was run"
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
