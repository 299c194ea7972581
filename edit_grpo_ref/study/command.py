"""The verb `study`: what was asked for, made into a plan, folders and units; runs, then the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edit_grpo_ref.study.plan import Part, StudyPlan
from edit_grpo_ref.study.plan_file import load_plan
from edit_grpo_ref.study.run import run
from edit_grpo_ref.study.unit import Folders
from editbench.durable import write_whole
from editbench.limits import cores
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

FAILED_UNITS, STALE, INTERRUPTED = 3, 5, 130


@dataclass(frozen=True)
class Asked:
    """What the command line was given; None where it was not."""

    preset: str | None = "tiny-cpu"
    quick: bool = False
    plan: Path | None = None
    part: str | None = None
    methods: tuple[str, ...] = ()
    minutes: float | None = None
    workers: int | None = None
    output_dir: Path | None = None
    work_dir: Path | None = None
    results: Path | None = None


def study(asked: Asked, report_only: bool = False, check: bool = False) -> int:
    """Work off what is left of the units asked for, and write the report of all there are; return the exit code.

    Raises:
        EditbenchError: for anything that is wrong, before the first unit.
    """
    plan = load_plan(asked.plan, asked.quick, asked.preset)
    output = asked.output_dir or Path("runs") / ("study-quick" if asked.quick else "study")
    folders = Folders(output, asked.work_dir or output / "work", plan.board)
    units = plan.units(_part(asked.part), asked.methods)
    results = asked.results or output / "study" / "RESULTS.md"
    if check:
        return _check(plan, folders, results)
    code = 0
    if not report_only:
        outcome = run(plan, units, folders, asked.workers or cores(), asked.minutes)
        if outcome.interrupted:
            print("stopped: everything finished is saved; issue the same command again to go on")
            return INTERRUPTED
        if outcome.failed:
            print(f"{len(outcome.failed)} units failed; issue the same command again to try them once more")
            code = FAILED_UNITS
        elif outcome.done < outcome.total:
            print(f"{outcome.total - outcome.done} units are left; issue the same command again to go on")
    _write(plan, folders, results)
    return code


def _write(plan: StudyPlan, folders: Folders, results: Path) -> None:
    from edit_grpo_ref.study.examples import draw_examples
    from edit_grpo_ref.study.report import EXAMPLES, write
    from edit_grpo_ref.study.table import load

    table = load(plan, folders)
    if pictures := draw_examples(table, folders):
        write_whole(folders.output / "study" / EXAMPLES, [pictures])
    for verdict in write(table, folders, results):
        print(verdict.sentence)
    print(f"report:  {results}")
    print(f"page:    {folders.output / 'study' / 'index.html'}")


def _check(plan: StudyPlan, folders: Folders, results: Path) -> int:
    """Compare the report with its records; return 5 if a byte differs."""
    from edit_grpo_ref.study.report import stale
    from edit_grpo_ref.study.table import load

    wrong = stale(load(plan, folders), folders, results)
    for path in wrong:
        print(f"{path} is not what the records give: write it with --report-only")
    return STALE if wrong else 0


def _part(name: str | None) -> Part | None:
    for part in get_args(Part):
        if name == part:
            return part
    if name is not None:
        raise EditbenchError(
            f"part {name!r}, expected {' or '.join(get_args(Part))}{did_you_mean(name, get_args(Part))}"
        )
    return None
