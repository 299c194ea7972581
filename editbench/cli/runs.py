"""Verbs that make and score edits: demo, run, edit, score, merge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from editbench.cli.app import Json, app, reported
from editbench.types import EditbenchError


@app.command()
@reported
def demo(
    output_dir: Annotated[
        Path | None, typer.Option(help="Where to write.", show_default="runs/demo, runs/full")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Every scenario instead of a stratified subset.")] = False,
) -> None:
    """Run every control and classical editor on both built-in suites and print the boards. No network, no GPU."""
    from editbench.demo import run_demo
    from editbench.names import address_of

    if address := address_of(output_dir):
        raise EditbenchError(f"{address}: the demo writes pages too: give a path of this machine")
    run_demo(output_dir or Path("runs/full" if full else "runs/demo"), full)


# --------------------------------------------------------------------------------------------------- run, edit

Config = Annotated[
    Path | None, typer.Option(help="YAML file with any of these options, recipes/NAME.yaml, or a run.json; flags win.")
]
SuiteSpec = Annotated[str | None, typer.Option("--suite", help="shapes@1, photos@1, folder:PATH …")]
EditorSpec = Annotated[
    str | None,
    typer.Option(
        "--editor", help="identity, folder:PATH, 'command:PROGRAM {request} {out}', http://HOST:PORT, path.py:Name …"
    ),
]
Label = Annotated[str | None, typer.Option(help="Name on the board.", show_default="the editor's spec")]
Metrics = Annotated[str | None, typer.Option(help="Metric specs, comma-separated.", show_default="the standard set")]
Limit = Annotated[int | None, typer.Option(help="Only the first N scenarios.")]
Each = Annotated[int | None, typer.Option(help="Only the first N scenarios of every category.")]
SampleId = Annotated[list[str] | None, typer.Option(help="Only this scenario; may be repeated.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; every sample gets its own from it.", show_default="0")]
Repeats = Annotated[int | None, typer.Option(help="Edits of every scenario, each with its own seed.", show_default="1")]
SameSeed = Annotated[bool | None, typer.Option("--same-seed", help="One seed for all repeats: do they agree?")]
BatchSize = Annotated[
    str | None, typer.Option(help="Requests a call, or auto.", show_default="what the editor asks for, or 1")
]
Align = Annotated[str | None, typer.Option(help="Outputs of another size: error or resize.", show_default="error")]
Isolate = Annotated[
    bool | None,
    typer.Option("--isolate/--no-isolate", help="Run the editor in a worker process.", show_default="third-party code"),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one sample; needs a worker process.")]
MemoryLimit = Annotated[str | None, typer.Option(help="Memory of the worker process and its children, such as 8GB.")]
MaxDeaths = Annotated[
    int | None, typer.Option(help="Stop editing when the worker ended on N samples in a row.", show_default="20")
]
Retry = Annotated[int | None, typer.Option("--retry-on-error", help="Try a failed edit again N times, same seed.")]
FailOn = Annotated[float | None, typer.Option("--fail-on-error", help="Exit 3 above this share (<1) or count.")]
Shard = Annotated[str | None, typer.Option(help="i/n: only every n-th task, from the i-th on; slurm: of the array.")]
Chain = Annotated[
    str | None,
    typer.Option(help="Later turns start from the suite's picture (truth) or your output (own).", show_default="truth"),
]
Executor = Annotated[
    str | None,
    typer.Option(help="local, processes, ray or ray:ADDRESS.", show_default="local, or processes if there are workers"),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes, each with an editor of its own.", show_default="as many as fit"),
]
GpusPerWorker = Annotated[float | None, typer.Option(help="GPUs that Ray sets aside for each worker.")]
OutputDir = Annotated[
    str | None, typer.Option(help="Run directory, or s3://… or gs://….", show_default="runs/<suite>/<label>")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, edit nothing.")]


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
        same_seed: SameSeed = None,
        batch_size: BatchSize = None,
        align: Align = None,
        isolate: Isolate = None,
        timeout: Timeout = None,
        memory_limit: MemoryLimit = None,
        max_deaths: MaxDeaths = None,
        retry_on_error: Retry = None,
        fail_on_error: FailOn = None,
        shard: Shard = None,
        chain: Chain = None,
        executor: Executor = None,
        workers: Workers = None,
        gpus_per_worker: GpusPerWorker = None,
        output_dir: OutputDir = None,
        config: Config = None,
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        given = dict(locals())
        from editbench.config import NAMES, RunConfig, read_config
        from editbench.console import describe_plan, follow, summarise
        from editbench.plan import make_plan

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
        if interrupted and not plan.store.exists():
            raise KeyboardInterrupt  # before anything was written
        failed, given_up = summarise(plan, json, interrupted, score)
        if interrupted:
            raise KeyboardInterrupt
        if given_up:  # the worker ended too often
            raise typer.Exit(3)
        allowed = plan.config.fail_on_error
        if allowed is not None and failed > (allowed * plan.total if allowed < 1 else allowed):
            raise typer.Exit(3)

    return command


app.command("run", help="Edit and score: one editor on one suite. Issue the same command again to resume.")(
    reported(_run_command(score=True))
)
app.command("edit", help="Only make the edits; `editbench score` evaluates them later.")(
    reported(_run_command(score=False))
)


@app.command()
@reported
def score(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    metrics: Annotated[str | None, typer.Option(help="Metric specs to add to those of the run.")] = None,
    executor: Executor = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Evaluate metrics on the edits of a run; what is already evaluated is kept."""
    from editbench.console import follow, summarise
    from editbench.mirrors import here
    from editbench.plan import plan_of_run

    plan = plan_of_run(here(run), metrics, executor=executor, workers=workers)
    interrupted = follow(plan, edit=False)
    summarise(plan, json, interrupted)
    if interrupted:
        raise KeyboardInterrupt


@app.command()
@reported
def merge(
    output_dir: Annotated[Path, typer.Argument(help="Run directory to write.")],
    runs: Annotated[list[Path], typer.Argument(help="Run directories of the shards.")],
) -> None:
    """Merge the shards of one run (`--shard i/n`) that were made in different directories."""
    from editbench.merge import merge_runs
    from editbench.names import address_of

    missing = merge_runs(output_dir, runs)
    place = address_of(output_dir) or output_dir
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        print(f"{place}: {len(missing)} scenarios are missing: {shown}", file=sys.stderr)
        raise typer.Exit(3)
    print(f"{place}: complete, {place}/records.jsonl is written")
