"""What the command line shows: progress, summaries, boards, findings."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from editbench.board import Board, Cell, Row
from editbench.loops import Run, carry_out
from editbench.plan import Plan
from editbench.records import dumps
from editbench.specs import printable, slug
from editbench.store import write_whole

if TYPE_CHECKING:
    from editbench.audit.findings import Audited
    from editbench.testing import Finding

SHOWN = (
    ("composite", "composite"),
    ("success", "success"),
    ("noop", "no-op"),
    ("psnr:region=keep", "PSNR keep"),
    ("ssim:region=keep", "SSIM keep"),
    ("changed:region=keep", "changed keep"),
    ("delta_e:region=keep", "ΔE keep"),
    ("mae:region=band", "MAE band"),
    ("target:ssim,region=edit", "SSIM target"),
)
"""Columns of the terminal's board, as far as a board has them; the CSV and the page have all."""


def bar(console: Console) -> Progress:
    """Return a progress bar, which shows itself on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def follow(plan: Plan, edit: bool = True, score: bool = True) -> bool:
    """Carry a plan out and show how far it is; return True if it was interrupted.

    On a terminal there is a bar, elsewhere a plain line at every tenth.
    """
    console = Console(stderr=True)
    for warning in plan.warnings:
        console.print(Text(f"warning: {printable(warning)}"))
    steps = carry_out(plan, edit, score)
    label = plan.header.editor.label
    try:
        if console.is_terminal:
            with bar(console) as progress:
                task = progress.add_task(f"{label} on {plan.suite.name}", total=None, note="")
                for step in steps:
                    note = f"{step.failed} failed" if step.failed else ""
                    progress.update(task, completed=step.done, total=step.total, note=note)
        else:
            shown = 0
            for step in steps:
                if step.done * 10 // step.total > shown or step.done == step.total:
                    shown = step.done * 10 // step.total
                    print(f"{label}: {step.done}/{step.total}, {step.failed} failed", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return True
    finally:
        steps.close()
    return False


def describe_plan(plan: Plan, json: bool) -> None:
    """Print what a run would do, after looking at the first scenario and at the disk."""
    scenario = plan.suite[0]
    pixels = scenario.source.nbytes
    folder = next(path for path in (plan.store.path, *plan.store.path.absolute().parents) if path.exists())
    needed, free = pixels * plan.total // 2, shutil.disk_usage(folder).free
    facts = {
        "suite": f"{plan.suite.name}, {len(plan.suite)} scenarios, {plan.suite.licence}",
        "editor": f"{plan.header.editor.spec}, mask access {plan.header.editor.mask_access}",
        "edits": f"{plan.total} ({plan.config.repeats} of every scenario), seed {plan.config.seed}",
        "metrics": ", ".join(plan.metrics),
        "output": str(plan.store.path),
        "disk": f"about {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free",
    }
    if json:
        print(dumps(facts))
        return
    for name, text in facts.items():
        print(f"{name:8} {text}")
    for warning in plan.warnings:
        print(f"warning: {printable(warning)}")


def summarise(plan: Plan, json: bool, interrupted: bool) -> int:
    """Print what a run has found, and what to do next; return the number of failed edits."""
    from editbench.board import build_boards

    (board,) = build_boards([Run(plan.store.path).records()])
    (row,) = board.rows
    if json:
        means = {column.metric: cell.estimate.mean for column, cell in row.cells.items()}
        facts = {"run": str(plan.store.path), "suite": board.suite.name, "label": row.editor.label}
        print(dumps({**facts, "statuses": dict(row.statuses), "means": means, "complete": row.complete}))
        return row.failed
    show_boards([board])
    for status, count in row.statuses.items():
        if status != "ok":
            print(f"{count} of {row.total} edits: {status}{_reasons(plan, status)}")
    print(f"run:     {plan.store.path}")
    if interrupted:
        print("stopped: everything finished is saved; issue the same command again to go on")
    else:
        print(f"next:    editbench report {plan.store.path}     (the pictures behind the numbers)")
    return row.failed


def _reasons(plan: Plan, status: str) -> str:
    reasons: dict[str, int] = {}
    for record in Run(plan.store.path).records().records:
        if record.edit_status == status and record.reason:
            reasons[record.reason] = reasons.get(record.reason, 0) + 1
    common = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    return "".join(f"\n    {count} x {printable(reason)[:160]}" for reason, count in common)


# ------------------------------------------------------------------------------------------------------- boards


def show_boards(boards: Sequence[Board]) -> None:
    """Print boards: means with half the width of their 95 % interval, as many columns as fit."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    for board in boards:
        console.print(_table(board, console.width))


def _table(board: Board, width: int) -> Table:
    table = Table(
        title=f"{board.suite.name} · {board.suite.scenarios} scenarios",
        caption="mean ± half of its 95 % interval; n scenarios from G clusters, in the cell where it differs; controls "
        "dim; * some values at the cap. The CSV and the page have every column.",
        title_justify="left",
        caption_justify="left",
        header_style="bold",
    )
    table.add_column("#", justify="right")
    table.add_column("editor", no_wrap=True)
    table.add_column("mask", no_wrap=True)
    table.add_column("failed", justify="right", no_wrap=True)
    labels = [_label(row) for row in board.rows]
    room = width - max(map(len, labels)) - 26
    columns = []
    for title, cells in _columns(board):
        room -= 3 + max(map(len, [*title.split("\n"), *cells]))
        if room < 0:
            break
        table.add_column(title, justify="right", no_wrap=True)
        columns.append(cells)
    for index, row in enumerate(board.rows):
        style = "dim" if row.editor.control else "bold" if row.rank == 1 else None
        front = [
            "" if row.rank is None else str(row.rank),
            labels[index],
            row.editor.mask_access,
            str(row.failed or ""),
        ]
        table.add_row(*(Text(text) for text in [*front, *(cells[index] for cells in columns)]), style=style)
    return table


def _columns(board: Board) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the texts of each column that has a number."""
    for metric, title in SHOWN:
        column = board.column(metric)
        cells = [row.cells.get(column) if column else None for row in board.rows]
        found = [cell for cell in cells if cell is not None and cell.estimate.n]
        if found:
            usual = max((cell.estimate.n, cell.estimate.clusters) for cell in found)
            arrow = {"higher": "↑", "lower": "↓"}.get(found[0].info.direction, "")
            yield f"{title} {arrow}\nn={usual[0]} G={usual[1]}", [_number(cell, usual) for cell in cells]


def _label(row: Row) -> str:
    label = row.editor.label if len(row.editor.label) <= 34 else row.editor.label[:33] + "…"
    return label if row.complete else f"{label} (incomplete: {row.coverage:.0%})"


def _number(cell: Cell | None, usual: tuple[int, int]) -> str:
    if cell is None or cell.estimate.mean is None:
        return "–"
    mean, low, high = cell.estimate.mean, cell.estimate.low, cell.estimate.high
    digits = 1 if abs(mean) >= 10 else 2 if abs(mean) >= 1 and cell.info.range[1] != 1 else 3
    text = f"{mean:.{digits}f}" + ("*" if cell.capped else "")
    if low is not None and high is not None:
        text += f" ±{(high - low) / 2:.{digits}f}"
    return text if cell.estimate.n == usual[0] else f"{text} (n={cell.estimate.n})"


# ----------------------------------------------------------------------------------------------------- findings


def report_suite(spec: str, html: Path | None, json: bool) -> int:
    """Check a suite, print its findings, write the overlay page; return the exit code."""
    from editbench.report.overlays import write_overlays
    from editbench.testing import check_suite

    suite, findings = check_suite(spec)
    code = report_findings(spec, findings, json)
    if suite is not None:
        page = write_overlays(suite, [finding.text for finding in findings], html or Path("check") / slug(suite.name))
        print(f"overlays: {page}", file=sys.stderr if json else sys.stdout)
    return code


def report_findings(spec: str, findings: Sequence[Finding], json: bool) -> int:
    """Print findings; return 1 if one of them is an error, else 0."""
    errors = sum(finding.error for finding in findings)
    if json:
        print(dumps({"spec": spec, "findings": [{"error": f.error, "text": f.text} for f in findings]}))
    else:
        for finding in findings:
            print(f"{'error' if finding.error else 'note'}: {printable(finding.text)}")
        print(f"{spec}: {errors} errors, {len(findings) - errors} notes" if findings else f"{spec}: all is well")
    return int(errors > 0)


def report_audit(metrics: str | None, suite: str, scenarios: int, output_dir: Path | None) -> int:
    """Audit metrics, show and write what was found; return 5 if one of them fails.

    Args:
        metrics: specs, or None for all fidelity metrics whose weights are at hand.
        suite: suite spec.
        scenarios: how many pictures to damage.
        output_dir: where the tables and the heat map go, if anywhere.
    """
    from editbench.audit import audit, auditable
    from editbench.audit.findings import damage_csv, to_csv
    from editbench.metrics import load_metrics
    from editbench.report.heatmap import render_heatmap
    from editbench.suites import load_suite

    console = Console(stderr=True)
    if metrics is None:
        loaded, skipped = auditable()
        for text in skipped:
            console.print(Text(f"left out: {printable(text)}"))
    else:
        loaded = load_metrics(metrics)
    pictures = load_suite(suite)
    with bar(console) as progress:
        task = progress.add_task("audit", total=scenarios, note=suite)
        results: list[Audited] = []
        for done, total, found in audit(loaded, pictures, scenarios):
            progress.update(task, completed=done, total=total)
            results = list(found.values())
    for audited in results:
        verdict = ", ".join(audited.failures) or "passes"
        print(f"{printable(audited.spec):40} {verdict}")
    if output_dir is not None:
        title = f"Audit of metrics on {pictures.name}, {results[0].scenarios} pictures"
        for name, text in (
            (f"{slug(pictures.name)}.csv", to_csv(results)),
            (f"{slug(pictures.name)}-damage.csv", damage_csv(results)),
            (f"{slug(pictures.name)}.svg", render_heatmap(title, results)),
        ):
            write_whole(output_dir / name, [text.encode()])
            print(output_dir / name)
    return 5 if any(audited.failures for audited in results) else 0
