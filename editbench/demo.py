"""The demo: every control and classical editor on both built-in suites, on a CPU, without network or downloads."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from editbench.console import bar, show_boards
from editbench.leaderboards import export, load
from editbench.loops import carry_out
from editbench.metrics import DEFAULT_METRICS
from editbench.plan import RunConfig, make_plan
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
METRICS = {"shapes@1": (*DEFAULT_METRICS, "clip_score:region=all,model=shapes-tiny"), "photos@1": DEFAULT_METRICS}
"""What a full run measures: the small CLIP knows nothing but shapes."""
WITHOUT_NETWORKS = tuple(spec for spec in DEFAULT_METRICS if not spec.startswith("st_lpips"))
"""What the subset measures: networks would take most of its time and memory."""
WITHOUT_TARGETS = ("photos@1",)
EACH = {"shapes@1": 4, "photos@1": 2}
"""Scenarios of every category in the subset that keeps the demo short."""


@dataclass(frozen=True)
class Job:
    """One editor on one suite."""

    suite: str
    editor: str
    each: int | None
    output_dir: str


def jobs(output_dir: Path, full: bool) -> list[Job]:
    """Return what the demo runs; photographs have no ground truth, so no `target`."""
    return [
        Job(suite, editor, None if full else each, str(output_dir / suite / slug(editor)))
        for suite, each in EACH.items()
        for editor in EDITORS
        if editor != "target" or suite not in WITHOUT_TARGETS
    ]


def _run_job(job: Job) -> None:
    config = RunConfig(job.suite, job.editor, each=job.each, output_dir=job.output_dir)
    for _ in carry_out(make_plan(config, metrics=WITHOUT_NETWORKS if job.each else METRICS[job.suite])):
        pass


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended: nobody would wait for its work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_demo(output_dir: Path, full: bool) -> None:
    """Run the demo and print the boards, where everything is, and what to try next.

    Args:
        output_dir: where runs, CSVs and the page go.
        full: every scenario instead of a stratified subset.
    """
    start = time.monotonic()
    console = Console()
    todo = jobs(output_dir, full)
    subset = " and ".join(
        suite if full else f"{suite} ({each} scenarios of every category)" for suite, each in EACH.items()
    )
    console.print(
        f"{len(EDITORS)} editors on {subset}{'' if full else '; --full runs every scenario and adds the networks'}",
        highlight=False,
    )
    _follow(todo, console)
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


def _follow(todo: Sequence[Job], console: Console) -> None:
    """Run jobs in as many processes as there are cores, showing each as it finishes."""
    workers = max(1, min(os.cpu_count() or 1, len(todo)))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core: more threads would only wait for each other
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with, initargs=(os.getpid(),))
    with pool, bar(console) as progress:
        task = progress.add_task("demo", total=len(todo), note="")
        futures = {pool.submit(_run_job, job): job for job in todo}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            note = f"{futures[future].editor} on {futures[future].suite}"
            progress.update(task, advance=1, note=note)
            if not console.is_terminal:
                print(f"{done}/{len(todo)} {note}", flush=True)
