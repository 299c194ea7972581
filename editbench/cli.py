"""The command line: parses and calls, decides nothing. Heavy modules are imported by the verb that needs them."""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from editbench import __version__
from editbench.specs import did_you_mean, printable
from editbench.types import EditbenchError

app = typer.Typer(
    name="editbench",
    help="Benchmark image editors on masked scenarios: did the edit happen where it was asked for, and did everything "
    "else stay as it was?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
check_app = typer.Typer(help="Check a suite, an editor or a metric before using it.", no_args_is_help=True)
app.add_typer(check_app, name="check")

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        print(f"editbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    global _debug
    _debug = debug


def _reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into one line and an exit code: 2 for what the user can mend, 4 for storage, 1 for our own bugs."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from editbench.store import StorageError

            if _debug:
                traceback.print_exc()
            if isinstance(error, EditbenchError):
                print(f"editbench: {printable(str(error))}", file=sys.stderr)
                raise typer.Exit(4 if isinstance(error, StorageError) else 2) from None
            print(f"editbench: internal error: {type(error).__name__}: {printable(str(error))}", file=sys.stderr)
            print("Run `editbench --debug …` to see where, and please report it.", file=sys.stderr)
            raise typer.Exit(1) from None

    return wrapper


@app.command()
@_reported
def demo(
    output_dir: Annotated[Path | None, typer.Option(help="Where to write [default: runs/demo or runs/full].")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every scenario instead of a stratified subset.")] = False,
) -> None:
    """Run every control and classical editor on both built-in suites and print the boards. No network, no GPU."""
    from editbench.demo import run_demo

    run_demo(output_dir or Path("runs/full" if full else "runs/demo"), full)


# --------------------------------------------------------------------------------------------------- run, edit

Config = Annotated[Path | None, typer.Option(help="YAML file with any of these options, or a run.json; flags win.")]
SuiteSpec = Annotated[str | None, typer.Option("--suite", help="shapes@1, photos@1, folder:PATH …")]
EditorSpec = Annotated[
    str | None,
    typer.Option("--editor", help="identity, folder:PATH, 'command:PROGRAM {request} {out}', path.py:Name …"),
]
Label = Annotated[str | None, typer.Option(help="Name on the board [default: the editor's spec].")]
Metrics = Annotated[str | None, typer.Option(help="Metric specs, comma-separated [default: the standard set].")]
Limit = Annotated[int | None, typer.Option(help="Only the first N scenarios.")]
Each = Annotated[int | None, typer.Option(help="Only the first N scenarios of every category.")]
SampleId = Annotated[list[str] | None, typer.Option(help="Only this scenario; may be repeated.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; every sample gets its own from it [default: 0].")]
Repeats = Annotated[int | None, typer.Option(help="Edits of every scenario, each with its own seed [default: 1].")]
BatchSize = Annotated[int | None, typer.Option(help="Requests a call [default: what the editor asks for, or 1].")]
Align = Annotated[str | None, typer.Option(help="Outputs of another size: error or resize [default: error].")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one sample; the editor then runs in a process.")]
Retry = Annotated[int | None, typer.Option("--retry-on-error", help="Try a failed edit again N times, same seed.")]
FailOn = Annotated[float | None, typer.Option("--fail-on-error", help="Exit 3 above this share (<1) or count.")]
Shard = Annotated[str | None, typer.Option(help="i/n: only every n-th task, starting with the i-th.")]
OutputDir = Annotated[str | None, typer.Option(help="Run directory [default: runs/<suite>/<label>].")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, edit nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _run_command(score: bool) -> Callable[..., None]:
    def command(
        suite: SuiteSpec = None,
        editor: EditorSpec = None,
        label: Label = None,
        metrics: Metrics = None,
        limit: Limit = None,
        each: Each = None,
        sample_id: SampleId = None,
        seed: Seed = None,
        repeats: Repeats = None,
        batch_size: BatchSize = None,
        align: Align = None,
        timeout: Timeout = None,
        retry_on_error: Retry = None,
        fail_on_error: FailOn = None,
        shard: Shard = None,
        output_dir: OutputDir = None,
        config: Config = None,
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        given = dict(locals())
        from editbench.console import describe_plan, follow, summarise
        from editbench.plan import NAMES, RunConfig, make_plan, read_config

        options = read_config(config) if config else {}
        options.update({name: value for name, value in given.items() if name in NAMES and value not in (None, [])})
        for name in ("suite", "editor"):
            if name not in options:
                raise EditbenchError(f"no --{name} given; `editbench list {name}s` shows what there is")
        plan = make_plan(RunConfig.from_mapping(options))
        if dry_run:
            describe_plan(plan, json)
            return
        interrupted = follow(plan, score=score)
        failed = summarise(plan, json, interrupted)
        if interrupted:
            raise typer.Exit(130)
        if fail_on_error is not None and failed > (fail_on_error * plan.total if fail_on_error < 1 else fail_on_error):
            raise typer.Exit(3)

    return command


app.command("run", help="Edit and score: one editor on one suite. Issue the same command again to resume.")(
    _reported(_run_command(score=True))
)
app.command("edit", help="Only make the edits; `editbench score` evaluates them later.")(
    _reported(_run_command(score=False))
)


@app.command()
@_reported
def score(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    metrics: Annotated[str | None, typer.Option(help="Metric specs to add to those of the run.")] = None,
    json: Json = False,
) -> None:
    """Evaluate metrics on the edits of a run; what is already evaluated is kept."""
    from editbench.console import follow, summarise
    from editbench.plan import plan_of_run

    plan = plan_of_run(run, metrics)
    interrupted = follow(plan, edit=False)
    summarise(plan, json, interrupted)
    if interrupted:
        raise typer.Exit(130)


@app.command()
@_reported
def merge(
    output_dir: Annotated[Path, typer.Argument(help="Run directory to write.")],
    runs: Annotated[list[Path], typer.Argument(help="Run directories of the shards.")],
) -> None:
    """Merge the shards of one run (`--shard i/n`) that were made in different directories."""
    from editbench.merge import merge_runs

    missing = merge_runs(output_dir, runs)
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        print(f"{output_dir}: {len(missing)} scenarios are missing: {shown}", file=sys.stderr)
        raise typer.Exit(3)
    print(f"{output_dir}: complete, {output_dir / 'records.jsonl'} is written")


# ----------------------------------------------------------------------------------------------- board, report


@app.command()
@_reported
def board(
    paths: Annotated[list[Path], typer.Argument(help="Run directories, record files, or a leaderboards folder.")],
    csv: Annotated[Path | None, typer.Option(help="Write the long table here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Leaderboards: write nothing, exit 5 if stale.")] = False,
) -> None:
    """Compare runs: print the board; or regenerate (or --check) the CSVs and pages of a leaderboards folder."""
    from editbench import console, leaderboards

    if len(paths) == 1 and leaderboards.is_folder(paths[0]):
        if check:
            stale = leaderboards.check(paths[0])
            for path in stale:
                print(f"{path}: differs from what the records give", file=sys.stderr)
            if stale:
                raise typer.Exit(5)
            print(f"{paths[0]}: every file is what the records give")
        else:
            for path in leaderboards.write(paths[0]):
                print(path)
        return
    boards = leaderboards.load(paths)
    console.show_boards(boards)
    for path in leaderboards.export(boards, csv, html):
        print(path)


@app.command()
@_reported
def report(
    path: Annotated[Path, typer.Argument(help="A run directory or a leaderboards folder.")],
    output_dir: Annotated[Path | None, typer.Option(help="Where to write [default: PATH/report].")] = None,
) -> None:
    """Write the pages: the gallery of a run, or the site of a leaderboards folder."""
    from editbench.leaderboards import write_site

    print(write_site(path, output_dir or path / "report"))


# -------------------------------------------------------------------------------------------- list, check


@app.command("list")
@_reported
def list_(
    kind: Annotated[str, typer.Argument(help="suites, editors, metrics, or config: its JSON schema.")] = "",
    json: Json = False,
) -> None:
    """List suites, editors and metrics, plug-ins included; or show the schema of `--config` files."""
    from editbench.records import dumps
    from editbench.registry import BUILT_IN, names

    if kind == "config":
        from editbench.plan import RunConfig

        print(dumps(RunConfig.schema()))
        return

    kinds = {f"{name}s": name for name in BUILT_IN}
    if kind and kind not in kinds:
        raise EditbenchError(f"unknown kind {kind!r}, expected {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    chosen = {plural: names(name) for plural, name in kinds.items() if kind in ("", plural)}
    if json:
        print(dumps(chosen))
        return
    for plural, entries in chosen.items():
        print(f"{plural}:")
        for name, about in entries.items():
            print(f"  {name:16} {printable(about)}")


@check_app.command("suite")
@_reported
def check_suite(
    spec: Annotated[str, typer.Argument(help="Suite spec, such as folder:PATH.")],
    html: Annotated[Path | None, typer.Option(help="Folder for the overlay page [default: check/<suite>].")] = None,
    json: Json = False,
) -> None:
    """Validate every scenario and draw its mask, so that polarity can be seen. Exit 1 if anything is wrong."""
    from editbench import console

    raise typer.Exit(console.report_suite(spec, html, json))


@check_app.command("editor")
@_reported
def check_editor(spec: Annotated[str, typer.Argument(help="Editor spec.")], json: Json = False) -> None:
    """Run an editor on toy scenarios and say what is wrong with its answers. Exit 1 if anything is."""
    from editbench import console, testing

    raise typer.Exit(console.report_findings(spec, testing.check_editor(spec), json))


@check_app.command("metric")
@_reported
def check_metric(spec: Annotated[str, typer.Argument(help="Metric spec.")], json: Json = False) -> None:
    """Evaluate a metric on toy scenarios and say what is wrong with its values. Exit 1 if anything is."""
    from editbench import console, testing

    raise typer.Exit(console.report_findings(spec, testing.check_metric(spec), json))


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `editbench` program."""
    signal.signal(signal.SIGTERM, _stop)  # schedulers end a job with it: save and exit as on Ctrl-C
    app()
