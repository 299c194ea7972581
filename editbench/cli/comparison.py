"""The verb that looks at differences: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editbench.cli.app import Json, app, reported
from editbench.types import EditbenchError


@app.command()
@reported
def compare(
    paths: Annotated[list[Path], typer.Argument(help="Run directories or record files; the first against each other.")],
    metrics: Annotated[
        str | None, typer.Option(help="Metric specs, comma-separated.", show_default="all that they share")
    ] = None,
    margin: Annotated[
        list[str] | None, typer.Option(help="METRIC=VALUE: what is too small to matter; tests equivalence.")
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Parts of the suite: category, mask_size, boundary; the last two load it.")
    ] = "category",
    power: Annotated[bool, typer.Option("--power", help="Plan: how large a suite would a difference need?")] = False,
    difference: Annotated[
        list[str] | None, typer.Option(help="METRIC=VALUE: with --power, to find.", show_default="those observed")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the page here; pictures of run directories go into img/ beside it.")
    ] = None,
    json: Json = False,
) -> None:
    """Say whether the first run is better than each of the others, by how much, where, and how sure that is."""
    from rich.console import Console

    from editbench import compare as comparing
    from editbench.compare.power import needs
    from editbench.durable import write_whole
    from editbench.mirrors import here
    from editbench.records import dumps
    from editbench.report import comparison as written
    from editbench.report.comparison_terminal import comparison_parts, needs_parts
    from editbench.specs import split_list

    if difference and not power:
        raise EditbenchError("--difference says what to find with --power: give both")
    if html is not None and power:
        raise EditbenchError("--html writes the page of a comparison, --power plans one: give one of them")
    paths = [here(path) for path in paths]
    runs = comparing.load_runs(paths)
    asked = None if metrics is None else split_list(metrics)
    parts = [] if power else [part.strip() for part in slices.split(",") if part.strip()]
    found = comparing.compare(runs, asked, comparing.amounts(margin or (), "margin"), parts)
    console = Console()
    if power:
        planned = needs(found, comparing.amounts(difference or (), "difference"))
        table, shown = written.needs_csv(planned), needs_parts(found, planned, console.width)
        data: object = written.needs_json(planned)
    else:
        table, shown = written.to_csv(found), comparison_parts(found, console.width)
        data = written.to_json(found)
    if csv is not None:
        write_whole(csv, [table.encode()])
    if html is not None:
        from editbench.leaderboards import export_comparison

        export_comparison(found, runs, paths, html)
    if json:
        print(dumps(data))
        return
    for part in shown:
        console.print(part)
    for path in (csv, html):
        if path is not None:
            print(path)
