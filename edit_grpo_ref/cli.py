"""The command line `edit-grpo-ref`: parses and calls, decides nothing. torch is imported by the verb that needs it."""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from edit_grpo_ref.config import Config, NftConfig, Settings
from edit_grpo_ref.options import PANELS, configure, described
from editbench.cli.app import Json, program, reporter
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

app = program(
    "edit-grpo-ref",
    "Train an image editor with locality rewards: what happens inside the mask and outside it teaches separately.",
)
reported = reporter("edit-grpo-ref")

Preset = Annotated[str | None, typer.Option(help="tiny-cpu or kontext-1gpu; flags win.")]


def with_options(command: Callable[..., Any], kind: type[Settings] = Config) -> Callable[..., Any]:
    """Give a command one flag for every option of a trainer; those that are given arrive as its `given`."""
    types, texts = get_type_hints(kind), described(kind)
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
    added = []
    panel = ""
    for name, hint in types.items():
        default = getattr(kind, name)
        flag = f"--{name.replace('_', '-')}"
        declared = f"{flag}/--no-{flag[2:]}" if hint is bool else flag
        shown = "none" if default is None else str(default).lower() if hint is bool else str(default)
        panel = PANELS.get(name, panel)
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        option = typer.Option(
            declared,
            help=texts[name],
            show_default=shown,
            rich_help_panel=panel,
            metavar=f"<{'|'.join(choices)}>" if choices else None,
        )
        optional = (str if choices else hint) | None  # what is no choice is told by `configure`, as in a preset
        parameter = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option]
        )
        added.append(parameter)

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        given = {name: values.pop(name) for name in types}
        return command(**values, given={name: value for name, value in given.items() if value is not None})

    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    wrapper.__signature__ = inspect.Signature([*keywords, *added])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in (*keywords, *added)}
    return wrapper


@app.command()
@reported
def pretrain(
    output: Annotated[Path, typer.Option(help="File of the weights; a checkpoint stands beside it until then.")],
    recipe: Annotated[
        str, typer.Option(help="tiny, which made the weights in the package, or small (hours).")
    ] = "tiny",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps.", show_default="the recipe's")] = None,
    scenes: Annotated[
        int | None, typer.Option(min=1, help="Scenes to learn from.", show_default="the recipe's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    mask: Annotated[bool, typer.Option("--mask", help="Show the network the mask: an ablation.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Cores; another number changes the last bits.")] = 1,
) -> None:
    """Make the embedded policy from nothing. Issue the same command again to go on after an interruption."""
    from edit_grpo_ref.pretrain import RECIPES, Progress
    from edit_grpo_ref.pretrain import pretrain as run

    if recipe not in RECIPES:
        raise EditbenchError(f"recipe {recipe!r}, expected {' or '.join(RECIPES)}{did_you_mean(recipe, RECIPES)}")
    chosen = RECIPES[recipe]
    changed = replace(chosen, steps=steps or chosen.steps, scenes=scenes or chosen.scenes, seed=seed, mask=mask)

    def tell(so_far: Progress) -> None:
        print(f"{so_far.step}/{so_far.steps}: loss {so_far.loss:.5f}, {so_far.seconds:.0f} s", flush=True)

    print(f"drawing {changed.scenes} scenes", flush=True)
    try:
        run(output, changed, threads=threads, tell=tell)
    except KeyboardInterrupt:
        print("stopped: issue the same command again to go on from the last 500 steps")
        raise typer.Exit(130) from None
    print(f"weights: {output}")
    print(f"next:    edit-grpo-ref train --policy tiny:weights={output}")


@app.command()
@reported
@with_options
def train(given: dict[str, Any], preset: Preset = None) -> None:
    """Train a policy. Issue the same command again to resume; Ctrl-C and SIGTERM save first."""
    config = configure(Config, preset, given)
    from edit_grpo_ref.train import train as run

    _tell_end(config.output_dir, run(config))


@app.command("train-nft")
@reported
@partial(with_options, kind=NftConfig)
def train_nft(given: dict[str, Any], preset: Preset = None) -> None:
    """Train a policy as DiffusionNFT does, with credit by region or CoCoEdit's hinges, to compare with."""
    config = configure(NftConfig, preset, given)
    from edit_grpo_ref.train_nft import train as run

    _tell_end(config.output_dir, run(config))


def _tell_end(folder: str, finished: bool) -> None:
    lines = [f"run:     {folder}", f"next:    edit-grpo-ref eval {folder} --suite shapes@1:size=64"]
    if not finished:
        lines = ["stopped: everything finished is saved; issue the same command again to go on"]
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        print("\n".join(lines))
    if not finished:
        raise typer.Exit(130)


@app.command("eval")
@reported
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="An output directory of train, a checkpoint, or base.")],
    suite: Annotated[str, typer.Option(help="Suite spec.")] = "shapes@1:size=64",
    label: Annotated[str | None, typer.Option(help="Name on the board.", show_default="the directory's name")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metric specs, comma-separated.", show_default="the standard set")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N scenarios.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the ODE.", show_default="as trained")] = None,
    best_of: Annotated[
        int, typer.Option(min=1, help="Choose among N edits by --reward, which sees mask and target.")
    ] = 1,
    reward: Annotated[
        str | None,
        typer.Option(help="Reward expression of --best-of.", show_default="minus the mean errors of both regions"),
    ] = None,
    paste: Annotated[bool, typer.Option("--paste", help="Keep the source outside the mask.")] = False,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only scenarios that --split left out.")] = False,
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Evaluate on what it was trained on.")] = False,
    output_dir: Annotated[str | None, typer.Option(help="Run directory.", show_default="runs/<suite>/<label>")] = None,
    json: Json = False,
) -> None:
    """Score a checkpoint with the harness."""
    from edit_grpo_ref.evaluate import evaluate as run

    interrupted = run(
        checkpoint,
        suite,
        label=label,
        metrics=metrics,
        limit=limit,
        steps=steps,
        best_of=best_of,
        reward=reward,
        paste=paste,
        held_out=held_out,
        allow_overlap=allow_overlap,
        output_dir=output_dir,
        json=json,
    )
    if interrupted:
        raise typer.Exit(130)


@app.command()
@reported
@with_options
def calibrate(
    given: dict[str, Any],
    preset: Preset = None,
    scenarios: Annotated[int, typer.Option(min=1, help="How many to roll out.")] = 8,
    json: Json = False,
) -> None:
    """Measure what samplers leave of a policy: residual noise, spread within groups, ceiling of preservation."""
    config = configure(Config, preset, given)
    from edit_grpo_ref.calibrate import as_json, table
    from edit_grpo_ref.calibrate import calibrate as measure
    from editbench.records import dumps

    rows = measure(config, scenarios)
    print(dumps(as_json(rows)) if json else table(rows))


@app.command()
@reported
def study(
    preset: Preset = "tiny-cpu",
    quick: Annotated[bool, typer.Option("--quick", help="The small plan: minutes, and no meaning.")] = False,
    plan: Annotated[Path | None, typer.Option(help="A plan of your own (YAML).", show_default="the package's")] = None,
    part: Annotated[str | None, typer.Option(help="criterion or rest.", show_default="both")] = None,
    methods: Annotated[str | None, typer.Option(help="Methods, comma-separated.", show_default="all")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no unit that would probably end later.", show_default="no limit")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, one thread each.", show_default="the number of cores")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Records and report go here.", show_default="runs/study, or runs/study-quick")
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Unfinished runs and checkpoints.", show_default="OUTPUT_DIR/work")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="The report in Markdown.", show_default="OUTPUT_DIR/study/RESULTS.md")
    ] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing; write the report.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Run nothing; fail if the report is not its records'.")
    ] = False,
) -> None:
    """Compare every method over weights and seeds. Issue the same command again to go on; finished units are kept."""
    from edit_grpo_ref.study.command import Asked
    from edit_grpo_ref.study.command import study as run

    chosen = tuple(name.strip() for name in methods.split(",")) if methods else ()
    asked = Asked(preset, quick, plan, part, chosen, minutes, workers, output_dir, work_dir, results)
    raise typer.Exit(run(asked, report_only=report_only, check=check))


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `edit-grpo-ref` program."""
    signal.signal(signal.SIGTERM, _stop)  # schedulers end a job with it: as Ctrl-C
    app()
