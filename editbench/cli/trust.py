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
    regenerate: Annotated[int, typer.Option(min=0, help="How many edits to make again, by the run's own editor.")] = 0,
    beacon: Annotated[str, typer.Option(help="Any text, chosen after the submission: decides which.")] = "",
    against: Annotated[
        list[Path] | None, typer.Option(help="A run, record file or leaderboards folder that it may not copy.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load suites, metrics and editors that are not of editbench.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep the verdict in the run directory, for boards.")] = False,
    json: Json = False,
) -> None:
    """Check a run against its suite, its files and its own values, scoring its edits again. Exit 5 if it fails."""
    from editbench.mirrors import here, mirror_of, told
    from editbench.records import dumps
    from editbench.verify import verdict_lines, verify_run, write_verdict

    if recompute != "all" and not recompute.isdecimal():
        raise EditbenchError(f"--recompute {recompute}, expected a whole number or all")
    count = None if recompute == "all" else int(recompute)
    path = here(path, edits=True)
    verdict = verify_run(path, count, beacon, regenerate, [here(other) for other in against or ()], trust_code)
    for line in [dumps(asdict(verdict))] if json else map(printable, verdict_lines(path, verdict)):
        print(told(line))
    if write:
        written = write_verdict(path, verdict)
        if (mirror := mirror_of(path)) is not None:
            mirror.put(written)
        if not json:
            print(printable(told(str(written))))
    raise typer.Exit(5 if verdict.problems else 0)
