"""The verb that does not believe a run: verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from editbench.cli.app import Json, app, reported
from editbench.specs import printable
from editbench.types import EditbenchError


@app.command()
@reported
def verify(
    path: Annotated[Path, typer.Argument(help="A finished run directory, with its edits.")],
    recompute: Annotated[str, typer.Option(help="How many edits to score again: a count, or all.")] = "all",
    beacon: Annotated[str, typer.Option(help="With a count: any text that decides which edits.")] = "",
    json: Json = False,
) -> None:
    """Check a run against its suite, its files and its own values, scoring its edits again. Exit 5 if it fails."""
    from editbench.records import dumps
    from editbench.verify import verdict_lines, verify_run

    if recompute != "all" and not recompute.isdecimal():
        raise EditbenchError(f"--recompute {recompute}, expected a whole number or all")
    verdict = verify_run(path, None if recompute == "all" else int(recompute), beacon)
    for line in [dumps(asdict(verdict))] if json else map(printable, verdict_lines(path, verdict)):
        print(line)
    raise typer.Exit(5 if verdict.problems else 0)
