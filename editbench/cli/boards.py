"""Verbs that look at results: board, report, audit."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from editbench.cli.app import app, reported
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

if TYPE_CHECKING:
    from editbench.splits import GroupBy


@app.command()
@reported
def board(
    paths: Annotated[list[Path], typer.Argument(help="Run directories, record files, or a leaderboards folder.")],
    csv: Annotated[Path | None, typer.Option(help="Write the long table here.")] = None,
    wide: Annotated[Path | None, typer.Option(help="Write a table with one row a run here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    by: Annotated[str | None, typer.Option(help="A table for every turn or category of a suite.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Leaderboards: write nothing, exit 5 if stale.")] = False,
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Show what others published, apart. Leaderboards: published.html.")
    ] = False,
) -> None:
    """Compare runs: print the board; or regenerate (or --check) the CSVs and pages of a leaderboards folder."""
    from editbench import console, leaderboards
    from editbench.mirrors import here

    paths = [here(path) for path in paths]
    gc.disable()  # a sixth of the time, for nothing: what is read and counted holds no cycles
    try:
        if by is None and wide is None and len(paths) == 1 and leaderboards.is_folder(paths[0]):
            _leaderboards(paths[0], check, with_published)
            return
        boards = leaderboards.load(paths, group_by(by))
        published = leaderboards.published_beside(paths) if with_published else None
        console.show_boards(boards, published)
        for path in leaderboards.export(boards, csv, html, published or (), wide):
            print(path)
    finally:
        gc.enable()


def _leaderboards(folder: Path, check: bool, with_published: bool) -> None:
    from editbench import leaderboards

    if not check:
        for path in leaderboards.write(folder, with_published):
            print(path)
        return
    stale = leaderboards.check(folder, with_published)
    for path in stale:
        print(f"{path}: differs from what the records give", file=sys.stderr)
    if stale:
        raise typer.Exit(5)
    print(f"{folder}: every file is what the records give")


def group_by(text: str | None) -> GroupBy | None:
    """Return what to split boards by; a mistyped word gets a hint."""
    from editbench.splits import GroupBy

    known: tuple[GroupBy, ...] = get_args(GroupBy)
    if text is None:
        return None
    for name in known:
        if text == name:
            return name
    raise EditbenchError(f"--by {text}, expected {' or '.join(known)}{did_you_mean(text, known)}")


@app.command()
@reported
def report(
    path: Annotated[Path, typer.Argument(help="A run directory or a leaderboards folder.")],
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Folder to write; of s3://… and gs://… it has to be given.", show_default="PATH/report"),
    ] = None,
) -> None:
    """Write the pages: the gallery of a run, or the site of a leaderboards folder."""
    from editbench.leaderboards import write_site
    from editbench.mirrors import here
    from editbench.names import address_of

    if output_dir is None and (address := address_of(path)):
        raise EditbenchError(f"{address}: give --output-dir, the folder of this machine for the pages")
    print(write_site(here(path), output_dir or path / "report"))


@app.command()
@reported
def audit(
    metrics: Annotated[
        str | None, typer.Option(help="Metric specs, comma-separated.", show_default="every one that can")
    ] = None,
    suite: Annotated[str, typer.Option(help="Where pictures and masks come from.")] = "photos@1",
    scenarios: Annotated[int, typer.Option(min=1, help="How many pictures to damage.")] = 6,
    output_dir: Annotated[Path | None, typer.Option(help="Write the tables and the heat map here.")] = None,
) -> None:
    """Plant known damage into one zone of clean pictures and measure how every metric responds. Exit 5 if one fails."""
    from editbench import console

    raise typer.Exit(console.report_audit(metrics, suite, scenarios, output_dir))
