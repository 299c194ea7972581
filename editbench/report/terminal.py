"""The board as a table for a terminal: as many columns as fit, the most telling ones first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from editbench.board import Board, Cell, Column, Row
from editbench.report.numbers import ARROWS, name_and_options
from editbench.report.published import KEY, Beside, PublishedNumber, PublishedTable
from editbench.specs import printable
from editbench.verdicts import level_of

SHOWN = {
    "composite": "composite",
    "success": "success",
    "noop": "no-op",
    "psnr:region=keep": "PSNR keep",
    "ssim:region=keep": "SSIM keep",
    "changed:region=keep": "changed keep",
    "delta_e:region=keep": "ΔE keep",
    "mae:region=band": "MAE band",
    "target:ssim,region=edit": "SSIM target",
}
"""Columns that stand first, and their titles; whatever else a board has follows under its spec."""

LONGEST_LABEL = 34
FRONT = 32
"""Width of rank, mask access and failures with everything around them."""
CAPTION = (
    "mean ± the larger half of its 95 % interval, or [low, high] where the halves differ; n scenarios from G clusters, "
    "in the cell where it differs; after a rank the ones that it has in 95 % of resamples; controls dim; * some values "
    "at the cap."
)


def board_table(board: Board, width: int) -> Table:
    """Return the table of a board; no name in it is read as markup.

    Args:
        board: from `build_boards`.
        width: how many characters fit into a line.
    """
    labels = [_label(row) for row in board.rows]
    room = width - FRONT - max(cell_len(line) for label in labels for line in label.split("\n"))
    columns, left_out = _fitting(_columns(board), room)
    more = f" {left_out} more in the CSV and the page." if left_out else ""
    table = Table(
        title=Text(f"{printable(board.suite.name)} · {board.suite.scenarios} scenarios"),
        caption=Text(CAPTION + _verified(board) + more),
        title_justify="left",
        caption_justify="left",
        header_style="bold",
    )
    table.add_column("#", justify="right")
    table.add_column("editor", no_wrap=True)
    table.add_column("mask", no_wrap=True)
    table.add_column("failed", justify="right", no_wrap=True)
    for title, _ in columns:
        table.add_column(Text(title), justify="right", no_wrap=True)
    for index, row in enumerate(board.rows):
        style = "dim" if row.editor.control else "bold" if row.rank == 1 else None
        failed = str(row.failed or "")
        texts = [rank_text(row), labels[index], row.editor.mask_access, failed, *(cells[index] for _, cells in columns)]
        table.add_row(*map(Text, texts), style=style)
    return table


def _verified(board: Board) -> str:
    """Return which rows have been verified: by name, or how many if there are more than three."""
    labels: dict[str, list[str]] = {}
    for row in board.rows:
        labels.setdefault(level_of(row.verdict), []).append(printable(row.editor.label))
    others = labels.pop("self-reported", [])
    if not labels:
        return ""
    told = [f"{level}: {', '.join(of) if len(of) <= 3 else len(of)}" for level, of in sorted(labels.items())]
    return f" {'; '.join(told)}{'; self-reported: all others' if others else ''}."


def _fitting(columns: Iterable[tuple[str, list[str]]], room: int) -> tuple[list[tuple[str, list[str]]], int]:
    """Return the first columns, as many as there is room for, and how many are left out."""
    shown, left_out = [], 0
    for title, cells in columns:
        room -= 3 + max(cell_len(line) for line in [*title.split("\n"), *cells])
        if room >= 0:
            shown.append((title, cells))
        else:
            left_out += 1
            room = -1
    return shown, left_out


def rank_text(row: Row) -> str:
    """Return a rank and, where they are several, the first and last of those that it has in 95 % of resamples."""
    low, high = row.rank_range or (row.rank, row.rank)
    return "" if row.rank is None else f"{row.rank} [{low}–{high}]" if low != high else f"{row.rank}"


def _columns(board: Board) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the texts of each column that has a number."""
    first = list(SHOWN)
    for column in sorted(board.columns, key=lambda c: first.index(c.metric) if c.metric in first else len(first)):
        cells = [row.cells.get(column) for row in board.rows]
        found = [cell for cell in cells if cell is not None and cell.estimate.n]
        if found:
            usual = max((cell.estimate.n, cell.estimate.clusters) for cell in found)
            title = _title(board, column, ARROWS.get(found[0].info.direction, ""))
            yield f"{title}\nn={usual[0]} G={usual[1]}", [_number(cell, usual) for cell in cells]


def _title(board: Board, column: Column, arrow: str) -> str:
    name, options = name_and_options(column.metric)
    lines = [f"{SHOWN.get(column.metric, name)} {arrow}".rstrip()]
    if options and column.metric not in SHOWN:
        lines.append(options)
    if board.column(column.metric) is None:
        lines.append(column.signature)
    return "\n".join(map(printable, lines))


def _label(row: Row) -> str:
    label = _short(row.editor.label)
    return label if row.complete else f"{label}\n(incomplete: {row.gap})"


def _short(label: str) -> str:
    label = printable(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _number(cell: Cell | None, usual: tuple[int, int]) -> str:
    if cell is None or cell.estimate.mean is None:
        return "–"
    mean = cell.estimate.mean
    digits = 1 if abs(mean) >= 10 else 2 if abs(mean) >= 1 and cell.info.range[1] != 1 else 3
    text = f"{mean:.{digits}f}" + ("*" if cell.capped else "") + _spread(cell, digits)
    return text if cell.estimate.n == usual[0] else f"{text} (n={cell.estimate.n})"


def _spread(cell: Cell, digits: int) -> str:
    """Return ` ±0.05` where the interval is about as wide on both sides of the mean, else ` [low, high]`."""
    mean, low, high = cell.estimate.mean, cell.estimate.low, cell.estimate.high
    if mean is None or low is None or high is None:
        return ""
    narrow, wide = sorted((mean - low, high - mean))
    if wide - narrow <= max(wide / 5, 10.0**-digits):
        return f" ±{wide:.{digits}f}"
    ends = (f"{end:g}" if end in cell.info.range else f"{end:.{digits}f}" for end in (low, high))
    return f" [{', '.join(ends)}]"


# --------------------------------------------------------------------------------------------------- published


def published_tables(board: Board | None, beside: Beside, width: int) -> list[Table]:
    """Return what was published for a benchmark: beside our rows where the definition is the same, and the rest.

    Args:
        board: the board that it stands beside, if there is one.
        beside: from `report.published`.
        width: how many characters fit into a line.
    """
    name = printable(beside.benchmark)
    remark = (
        f"Not known to be comparable with the board: {printable('; '.join(beside.remarks))}. " if beside.remarks else ""
    )
    tables = []
    if board is not None and beside.shared is not None:
        tables.append(_published(f"{name} · measured here, and published", remark + KEY, beside.shared, board, width))
    for other in beside.others:
        title = f"{name} · published only{f' · {printable(other.split)}' if other.split else ''}"
        tables.append(_published(title, "" if tables else remark + KEY, other, None, width))
    return tables


def _published(title: str, caption: str, published: PublishedTable, board: Board | None, width: int) -> Table:
    rows = [] if board is None else [row for row in board.rows if any(c.metric in published.metrics for c in row.cells)]
    names = [*(_label(row) for row in rows), *(_short(line.method) for line in published.lines)]
    splits = [*("this board" for _ in rows), *(printable(line.split) for line in published.lines)]
    kinds = [
        *("editbench" for _ in rows),
        *(printable(f"{line.source_kind} {line.date}".rstrip()) for line in published.lines),
    ]
    front = [max(cell_len(part) for text in texts for part in text.split("\n")) for texts in (names, splits, kinds)]
    room = width - sum(max(length, 6) for length in front) - 10
    columns, left_out = _fitting(_published_columns(published, board, rows), room)
    more = f" {left_out} more in the page." if left_out else ""
    table = Table(
        title=Text(title),
        caption=Text(f"{caption}{more}".lstrip()) if caption or more else None,
        title_justify="left",
        caption_justify="left",
        header_style="bold",
    )
    for head in ("method", "split", "source"):
        table.add_column(head, no_wrap=True)
    for head, _ in columns:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for index, texts in enumerate(zip(names, splits, kinds, strict=True)):
        if index == len(rows) > 0:
            table.add_section()
        cells = (cells[index] for _, cells in columns)
        table.add_row(*map(Text, (*texts, *cells)), style="dim" if index < len(rows) else "italic")
    return table


def _published_columns(
    published: PublishedTable, board: Board | None, rows: list[Row]
) -> Iterator[tuple[str, list[str]]]:
    for place, metric in enumerate(published.metrics):
        theirs = [_published_number(line.numbers[place]) for line in published.lines]
        arrow = ARROWS.get(published.directions[place], "")
        if board is None:
            name, options = name_and_options(metric)
            yield f"{options or name} {arrow}\n{name if options else ''}".rstrip(), theirs
            continue
        for column in [column for column in board.columns if column.metric == metric]:
            cells = [row.cells.get(column) for row in rows]
            found = [(cell.estimate.n, cell.estimate.clusters) for cell in cells if cell is not None]
            usual = max(found)
            title = f"{_title(board, column, arrow)}\nn={usual[0]} G={usual[1]}"
            yield title, [*(_number(cell, usual) for cell in cells), *theirs]


def _published_number(number: PublishedNumber | None) -> str:
    return "–" if number is None else f"{number.text}{number.marks}"
