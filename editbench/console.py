"""What the command line shows: progress, summaries, boards, findings."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from editbench.board import Board, Row
from editbench.config import executor_kind
from editbench.durable import write_whole
from editbench.execute import MUTATES_INPUT
from editbench.loops import Run, carry_out, differing_repeats
from editbench.mirrors import told
from editbench.placement import is_isolated
from editbench.plan import Plan
from editbench.published import PublishedCell
from editbench.record_files import RecordFile
from editbench.records import dumps
from editbench.report.published import beside
from editbench.report.terminal import board_table, published_tables
from editbench.space import check_space, free_bytes, needed_bytes
from editbench.specs import printable, slug
from editbench.stopping import GRACE_SECONDS, Stop

STOPPING = f"stopping after the edits in hand, in {GRACE_SECONDS:g} seconds at the latest; once more stops at once"

if TYPE_CHECKING:
    from editbench.audit.findings import Audited
    from editbench.audit.words import Read
    from editbench.testing import Finding


def bar(console: Console) -> Progress:
    """Return a progress bar, which shows itself on a terminal only."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
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
    for warning in (*plan.warnings, *(plan.drift if score else ())):
        console.print(Text(f"warning: {printable(warning)}"))
    if citation := getattr(plan.suite, "citation", ""):
        terms = f"data of {plan.suite.name}: licence {plan.suite.licence}; cite {citation}"
        console.print(Text(printable(terms)), soft_wrap=True)
    steps = carry_out(plan, edit, score)
    label, notices = plan.header.editor.label, plan.store.notices
    shown = noticed = 0
    with Stop(STOPPING, GRACE_SECONDS) as stop, bar(console) as progress:
        task = progress.add_task(printable(f"{label} on {plan.suite.name}"), total=None, note="")
        try:
            for step in steps:
                for notice in notices[noticed:]:
                    console.print(Text(f"warning: {printable(told(notice))}"), soft_wrap=True)
                noticed = len(notices)
                note = f"{step.failed} failed" if step.failed else ""
                progress.update(task, completed=step.done, total=step.total, note=note)
                tenth = step.done * 10 // step.total
                if not console.is_terminal and (tenth > shown or step.done == step.total):
                    print(f"{label}: {step.done}/{step.total}, {step.failed} failed", file=sys.stderr, flush=True)
                shown = tenth
                if stop.wanted and step.done < step.total:
                    return True
        except KeyboardInterrupt:
            return True
        finally:
            try:
                steps.close()
            finally:
                for notice in notices[noticed:]:
                    console.print(Text(f"warning: {printable(told(notice))}"), soft_wrap=True)
    return False


def describe_plan(plan: Plan, json: bool) -> None:
    """Print what a run would do, after looking at some scenarios and at the disk. Raises StorageError if it is full."""
    needed, free = needed_bytes(plan), free_bytes(plan)
    facts = {
        "suite": f"{plan.suite.name}, {len(plan.suite)} scenarios, licence: {plan.suite.licence}",
        **({"cite": citation} if (citation := getattr(plan.suite, "citation", "")) else {}),
        "editor": f"{plan.header.editor.spec}, mask access {plan.header.editor.mask_access}, {_place(plan)}",
        "edits": f"{plan.total} ({plan.config.repeats} of every scenario), seed {plan.config.seed}",
        "metrics": ", ".join(plan.metrics),
        "output": told(str(plan.store.path)),
        "disk": f"about {needed / 1e6:,.1f} MB needed, {free / 1e6:,.0f} MB free",
    }
    if json:
        print(dumps(facts))
    for name, text in {} if json else facts.items():
        print(f"{name:8} {printable(text)}")
    for warning in () if json else plan.warnings:
        print(f"warning: {printable(warning)}")
    check_space(plan)


def _place(plan: Plan) -> str:
    where = "in this process" if plan.editor is None or not is_isolated(plan.editor) else "in a worker process"
    kind = executor_kind(plan.config)
    if kind == "local":
        return where
    workers = "as many processes as fit" if plan.config.workers is None else f"{plan.config.workers} processes"
    return f"{workers} {'of this machine' if kind == 'processes' else f'on {plan.config.executor}'}"


def summarise(plan: Plan, json: bool, interrupted: bool, scored: bool = True) -> tuple[int, int]:
    """Print what a run has found, and what to do next; return how many edits failed, and how many were given up.

    Args:
        plan: what was carried out.
        json: whether to print it as JSON.
        interrupted: whether it was stopped before its end.
        scored: whether metrics were to be evaluated.
    """
    from editbench.board import build_boards

    file = Run(plan.store.path).records()
    (board,) = build_boards([file])
    (row,) = board.rows
    flags = Counter(flag for _, flags, _ in file.columns.rest.values() for flag in flags)
    differing = differing_repeats(file) if plan.config.same_seed else []
    given_up = file.columns.statuses.count("not_run")
    if json:
        facts = {
            "run": told(str(plan.store.path)),
            "suite": board.suite.name,
            "label": row.editor.label,
            "statuses": dict(row.statuses),
            "means": {column.metric: cell.estimate.mean for column, cell in row.cells.items()},
            "errors": {column.metric: len(cell.crashes) for column, cell in row.cells.items() if cell.crashes},
            "complete": row.complete,
            "flags": dict(flags),
        }
        if plan.config.same_seed:
            facts["differing_repeats"] = len(differing)
        print(dumps(facts))
        return row.failed, given_up
    if scored:
        show_boards([board])
    else:
        made = row.statuses.get("ok", 0)
        print(f"{printable(row.editor.label)} on {printable(board.suite.name)}: {made} of {row.total} edits are made")
    elsewhere = 0 if interrupted or plan.config.shard == "1/1" else row.statuses.get("not_run", 0) - given_up
    if elsewhere:
        print(f"{elsewhere} of {plan.total} edits are for other shards than {plan.config.shard}")
    for status, count in row.statuses.items():
        count -= elsewhere if status == "not_run" else 0
        if status != "ok" and count:
            print(f"{count} of {plan.total} edits: {status}{_reasons(file, status)}")
    for flag, count in flags.items():
        words = ": the editor wrote into the source or the mask that it was given" if flag == MUTATES_INPUT else ""
        print(f"{count} of {plan.total} edits are flagged {printable(flag)}{words}")
    if plan.config.same_seed:
        what = f"in {len(differing)} of {len(plan.suite)} scenarios" if differing else "in no scenario"
        print(f"repeats with one seed differ {what}" + (": the editor is not deterministic" if differing else ""))
    print(f"run:     {told(str(plan.store.path))}")
    for line in _next(plan, row, given_up, interrupted, scored):
        print(line)
    return row.failed, given_up


def _next(plan: Plan, row: Row, given_up: int, interrupted: bool, scored: bool) -> Iterator[str]:
    if interrupted:
        yield "stopped: everything finished is saved; issue the same command again to go on"
    elif given_up:
        yield f"stopped: the worker process ended on {plan.config.max_deaths} samples in a row (--max-deaths)"
        yield "         issue the same command again to run the rest, with --retry-on-error 1 to try those again too"
    elif row.statuses.get("not_run") and plan.config.shard != "1/1":
        yield "next:    the other shards, into the same --output-dir, or into others and then"
        yield "         editbench merge OUTPUT_DIR RUN RUN …"
    elif not scored:
        yield f"next:    editbench score {told(str(plan.store.path))}"
    else:
        yield f"next:    editbench report {told(str(plan.store.path))}     (the pictures behind the numbers)"


def _reasons(file: RecordFile, status: str) -> str:
    said = ((file.columns.statuses[row], reason) for row, (reason, _, _) in file.columns.rest.items())
    reasons = Counter(reason for found, reason in said if found == status and reason)
    common = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    return "".join(f"\n    {count} x {printable(reason)[:160]}" for reason, count in common)


# ------------------------------------------------------------------------------------------------------- boards


def show_boards(boards: Sequence[Board], published: Sequence[PublishedCell] | None = None) -> None:
    """Print boards, as many columns as fit, and below each the metrics that failed on good edits.

    Args:
        boards: from `build_boards`.
        published: numbers of others, shown in tables of their own; None leaves them out.
    """
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False, highlight=False)
    for board in boards:
        console.print(board_table(board, console.width))
        for column in board.columns:
            crashes = [reason for row in board.rows if column in row.cells for reason in row.cells[column].crashes]
            if crashes:
                what = f"{len(crashes)} {'error' if len(crashes) == 1 else 'errors'} on good edits"
                print(f"{printable(column.metric)}: {what}, the first: {printable(crashes[0])[:160]}")
        if published is not None:
            found = beside(board, published)
            for table in published_tables(board, found, console.width) if found else ():
                console.print(table)
            if found is None:
                known = ", ".join(sorted({cell.benchmark for cell in published}))
                print(f"{printable(board.suite.name)}: nothing published is known; there are numbers of {known}")


# ----------------------------------------------------------------------------------------------------- findings


def report_suite(spec: str, html: Path | None, json: bool) -> int:
    """Check a suite, print its findings, write the overlay page; return the exit code: 2 if it cannot be loaded."""
    from editbench.report.overlays import write_overlays
    from editbench.testing import check_suite

    suite, findings = check_suite(spec)
    code = report_findings(spec, findings, json)
    if suite is None:
        return 2
    page = write_overlays(suite, findings, html or Path("check") / slug(suite.name))
    print(f"overlays: {page}", file=sys.stderr if json else sys.stdout)
    return code


def report_findings(spec: str, findings: Sequence[Finding], json: bool, code: int = 5) -> int:
    """Print findings; return an exit code, `code` if one of them is an error, else 0."""
    errors = sum(finding.error for finding in findings)
    if json:
        told = [{"error": f.error, "text": f.text, **({"mend": f.mend} if f.mend else {})} for f in findings]
        print(dumps({"spec": spec, "errors": errors, "findings": told}))
    else:
        for finding in findings:
            print(f"{'error' if finding.error else 'note'}: {printable(finding.text)}")
            if finding.mend:
                print(f"    {printable(finding.mend)}")
        print(f"{spec}: {errors} errors, {len(findings) - errors} notes" if findings else f"{spec}: all is well")
    return code if errors else 0


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
    from editbench.audit.words import audit_words, reads, words_csv
    from editbench.metrics import load_metrics
    from editbench.report.heatmap import render_heatmap
    from editbench.suites import load_suite

    console = Console(stderr=True)
    pictures = load_suite(suite)
    if metrics is None:
        loaded, skipped = auditable(pictures.name)
        for text in dict.fromkeys(skipped):
            console.print(Text(f"left out: {printable(text)}"))
    else:
        loaded = load_metrics(metrics)
    readers = {spec: metric for spec, metric in loaded.items() if reads(metric)}
    lookers = {spec: metric for spec, metric in loaded.items() if spec not in readers}
    damaged: list[Audited] = []
    told: list[Read] = []
    with bar(console) as progress:
        task = progress.add_task("audit", total=None, note=suite)

        def show(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note)
            if not console.is_terminal:
                print(f"{note}: {done}/{total}", file=sys.stderr, flush=True)

        for done, total, found in audit(lookers, pictures, scenarios) if lookers else ():
            show(done, total, "damaged pictures")
            damaged = list(found.values())
        for done, total, answers in audit_words(readers, pictures) if readers else ():
            show(done, total, "pictures with wrong words")
            told = list(answers.values())
    results: list[Audited | Read] = [*damaged, *told]
    for result in results:
        verdict = ", ".join(result.failures) or "passes"
        print(f"{printable(result.spec):40} {verdict}")
    if output_dir is not None:
        files: dict[str, str] = {}
        name = slug(pictures.name)
        if damaged:
            title = f"Audit of metrics on {pictures.name}, {damaged[0].scenarios} pictures"
            files |= {f"{name}.csv": to_csv(damaged), f"{name}-damage.csv": damage_csv(damaged)}
            files[f"{name}.svg"] = render_heatmap(title, damaged)
        if told:
            files[f"{name}-words.csv"] = words_csv(told)
        for file, text in files.items():
            write_whole(output_dir / file, [text.encode()])
            print(output_dir / file)
    return 5 if any(result.failures for result in results) else 0
