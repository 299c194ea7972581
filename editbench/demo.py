"""The demo: every control and classical editor on both built-in suites, on a CPU, without network or downloads."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from editbench.config import RunConfig
from editbench.console import bar, show_boards
from editbench.leaderboards import export, load
from editbench.limits import cores
from editbench.loops import carry_out
from editbench.metrics import DEFAULT_METRICS
from editbench.orphans import when_orphaned
from editbench.plan import make_plan, plan_of_run
from editbench.specs import slug

EDITORS = (
    "identity",
    "target",
    "noise",
    "blur",
    "jpeg",
    "fill",
    "shuffle",
    "paste:editor=[recolor:leak=0.3]",
    "biharmonic",
    "recolor",
    "recolor:leak=0.3",
    "harmonise",
)
TRAINED = ("grpo:base", "grpo:flow", "grpo:edit")
"""Editors of the reference trainer, which are networks and know nothing but shapes."""
NETWORKS = {
    "shapes@1": ("st_lpips:region=keep", "clip_score:region=all,model=shapes-tiny"),
    "photos@1": ("st_lpips:region=keep",),
}
"""Metrics that run a network; the small CLIP knows nothing but shapes."""
LARGE = ("photos@1",)
"""Suites of large pictures: the subset leaves their networks out, which would take most of its time and memory."""
PIXELS = tuple(spec for spec in DEFAULT_METRICS if spec not in NETWORKS["photos@1"])
WITHOUT_TARGETS = ("photos@1",)
EACH = {"shapes@1": 2, "photos@1": 1}
"""Scenarios of every category in the subset that keeps the demo short."""


@dataclass(frozen=True)
class Job:
    """One editor on one suite."""

    suite: str
    editor: str
    each: int | None
    networks: tuple[str, ...]
    output_dir: str


def jobs(output_dir: Path, full: bool) -> list[Job]:
    """Return what the demo runs; photographs have no ground truth, so no `target`, and are no shapes."""
    return [
        Job(
            suite,
            editor,
            None if full else each,
            NETWORKS[suite] if full or suite not in LARGE else (),
            str(output_dir / suite / slug(editor)),
        )
        for suite, each in EACH.items()
        for editor in (*EDITORS, *TRAINED)
        if suite not in WITHOUT_TARGETS or editor not in ("target", *TRAINED)
    ]


def _edit(job: Job) -> None:
    config = RunConfig(job.suite, job.editor, label=job.editor, each=job.each, output_dir=job.output_dir)
    for _ in carry_out(make_plan(config, metrics=PIXELS)):
        pass


def _run_networks(job: Job) -> None:
    if job.editor in TRAINED:
        _edit(job)
    for _ in carry_out(plan_of_run(Path(job.output_dir), ",".join(job.networks)), edit=False):
        pass


def _end_with(parent: int) -> None:
    """End this process soon after its parent: nobody would wait for its work."""
    when_orphaned(parent, partial(os._exit, 1))


def run_demo(output_dir: Path, full: bool) -> None:
    """Run the demo and print the boards, where everything is, and what to try next.

    Args:
        output_dir: where runs, CSVs and the page go.
        full: every scenario instead of a stratified subset.
    """
    start = time.monotonic()
    console = Console()
    todo = jobs(output_dir, full)
    subset = " and ".join(suite if full else f"{suite} ({each} of every category)" for suite, each in EACH.items())
    rest = "" if full else "; --full runs every scenario, and networks on the photographs"
    console.print(f"{len({job.editor for job in todo})} editors on {subset}{rest}", highlight=False)
    without = [job for job in todo if job.editor not in TRAINED]
    _follow("edits and pixels", _edit, without, min(cores(), len(without)), 1, console)
    with_networks = [job for job in todo if job.networks]  # in one process: each would hold PyTorch and its weights
    _follow("networks", _run_networks, with_networks, 1, cores(), console)
    boards = load([Path(job.output_dir) for job in todo])
    written = export(boards, output_dir / "boards.csv", output_dir / "index.html")
    show_boards(boards)
    seconds = time.monotonic() - start
    print(f"done in {seconds:.0f} s")
    print(f"page:    {written[1]}")
    print(f"CSV:     {written[0]}")
    print(f"runs:    {output_dir}/<suite>/<editor>")
    pictures = output_dir / "photos@1" / "recolor"
    print(f"next:    editbench report {pictures}   (the pictures behind the numbers)")
    print("         editbench run --suite shapes@1 --editor my_model.py:edit   (your own editor; see the README)")
    print("         editbench list   (what else there is)")


def _follow(
    what: str, function: Callable[[Job], None], todo: Sequence[Job], workers: int, threads: int, console: Console
) -> None:
    """Apply a function to every job in processes of so many threads, showing each job as it finishes."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # more than there are cores would only wait for each other
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with, initargs=(os.getpid(),))
    with pool, bar(console) as progress:
        task = progress.add_task(what, total=len(todo), note="")
        futures = {pool.submit(function, job): job for job in todo}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            note = f"{futures[future].editor} on {futures[future].suite}"
            progress.update(task, advance=1, note=note)
            if not console.is_terminal:
                print(f"{what} {done}/{len(todo)} {note}", flush=True)
