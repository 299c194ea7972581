"""Which units are left, and working them off: in processes of one thread each, within the time that there is.

Issue the same command again to go on: a unit whose records are there is done, one that was stopped goes on from its
last checkpoint, one that failed is tried again.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from edit_grpo_ref.study.plan import StudyPlan, Unit
from edit_grpo_ref.study.unit import Folders, is_done, read_facts
from edit_grpo_ref.study.worker import DONE, STOPPED, output_of, work
from editbench.durable import StorageError
from editbench.record_files import read_records
from editbench.records import dumps

SHOWN = {"edit": "target:mae,region=edit", "keep": "mae:region=keep", "success": "success", "composite": "composite"}


@dataclass
class Clock:
    """How long units take: as those of the same method did, else of the same program, else of any."""

    plan: StudyPlan
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of finished units, by method."""

    def add(self, method: str, seconds: float) -> None:
        """Take in a finished unit."""
        self.seconds.setdefault(method, []).append(seconds)

    def expected(self, method: str) -> float | None:
        """Return the mean of a method's units, or the largest mean of the methods next to it; None without any."""
        if method in self.seconds:
            return statistics.fmean(self.seconds[method])
        program = self.plan.methods[method].program
        alike = [name for name in self.seconds if self.plan.methods[name].program == program]
        return max((statistics.fmean(self.seconds[name]) for name in alike or self.seconds), default=None)

    def left(self, units: Sequence[Unit], workers: int) -> float | None:
        """Return the seconds that some units will take; None if nothing is known."""
        each = [self.expected(unit.method) for unit in units]
        return None if None in each else sum(seconds or 0.0 for seconds in each) / workers


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    total: int
    """Units that were asked for."""
    done: int
    """Of these, how many have records, from this call or earlier ones."""
    failed: dict[str, str]
    """Label to reason, of those that failed in this call."""
    interrupted: bool


@dataclass
class _Job:
    unit: Unit
    process: Any
    began: float


def run(plan: StudyPlan, units: Sequence[Unit], folders: Folders, workers: int, minutes: float | None) -> Outcome:
    """Work units off, telling each one's numbers in a line of its own.

    Args:
        plan: of the study.
        units: what is asked for, in this order.
        folders: where files are.
        workers: processes at once.
        minutes: start no unit that would probably end later than this.

    Raises:
        EditbenchError: if records of a unit are there that were made with other options.
        StorageError: if the work folder cannot be written.
    """
    begin = time.monotonic()
    todo = [unit for unit in units if not is_done(plan, unit, folders)]
    print(f"{len(units) - len(todo)} of {len(units)} units are done", flush=True)
    clock = _known(plan, folders)
    jobs: list[_Job] = []
    failed: dict[str, str] = {}
    done, interrupted = len(units) - len(todo), False
    _prepare(folders)
    try:
        while todo or jobs:
            while todo and len(jobs) < workers and _fits(clock, todo[0], begin, minutes):
                jobs.append(_start(plan, todo.pop(0), folders))
            if not jobs:
                break
            for job in _finished(jobs):
                jobs.remove(job)
                code, seconds = job.process.exitcode, time.monotonic() - job.began
                if code == DONE:
                    clock.add(job.unit.method, seconds)
                    done += 1
                    numbers = f"{_numbers(job.unit, folders)}, {seconds:.0f} s"
                    left = _time(clock.left([*todo, *(other.unit for other in jobs)], workers))
                    print(f"[{done}/{len(units)}] {job.unit.label}: {numbers}; about {left} left", flush=True)
                    _note(folders, job.unit, "done", seconds)
                else:
                    reason = _reason(job.unit, folders, code)
                    failed[job.unit.label] = reason
                    print(f"{job.unit.label} failed: {reason} ({output_of(job.unit, folders)})", flush=True)
                    _note(folders, job.unit, "failed", seconds, reason)
    except KeyboardInterrupt:
        interrupted = True
        print(f"stopping: {len(jobs)} units save first; once more stops at once", flush=True)
    finally:
        _stop(jobs)
    for job in jobs:
        done += job.process.exitcode == DONE
        _note(folders, job.unit, "done" if job.process.exitcode == DONE else "stopped", time.monotonic() - job.began)
    return Outcome(len(units), done, failed, interrupted)


# --------------------------------------------------------------------------------------------------- processes


def _start(plan: StudyPlan, unit: Unit, folders: Folders) -> _Job:
    process = multiprocessing.get_context("spawn").Process(target=work, args=(plan, unit, folders, os.getpid()))
    process.start()
    return _Job(unit, process, time.monotonic())


def _finished(jobs: Sequence[_Job]) -> list[_Job]:
    """Wait until some job has ended; return those that have."""
    wait([job.process.sentinel for job in jobs])
    ended = [job for job in jobs if not job.process.is_alive()]
    for job in ended:
        job.process.join()
    return ended


def _stop(jobs: Sequence[_Job]) -> None:
    """Tell what still runs to save and stop, and wait for it; a second interrupt does not wait."""
    for job in jobs:
        job.process.terminate()
    try:
        for job in jobs:
            job.process.join()
    except KeyboardInterrupt:
        for job in jobs:
            job.process.kill()


def _prepare(folders: Folders) -> None:
    os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})  # read when a process starts
    try:
        folders.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {folders.work}: {error.strerror or error}") from error


# ----------------------------------------------------------------------------------------------- time, telling


def _known(plan: StudyPlan, folders: Folders) -> Clock:
    """Return what the units that are done say about time."""
    clock = Clock(plan)
    for unit in plan.units():
        if folders.records(unit).is_file():
            seconds = read_facts(folders.facts(unit))["compute"]["seconds"]
            clock.add(unit.method, sum(seconds.values()))
    return clock


def _fits(clock: Clock, unit: Unit, begin: float, minutes: float | None) -> bool:
    if minutes is None:
        return True
    return time.monotonic() - begin + (clock.expected(unit.method) or 0.0) <= 60 * minutes


def _numbers(unit: Unit, folders: Folders) -> str:
    """Return the means over the scenarios, as far as they go."""
    shown = []
    records = read_records(folders.records(unit)).records
    for name, metric in SHOWN.items():
        found = [record.values.get(metric) for record in records]
        numbers = [float(value) for value in found if isinstance(value, float)]
        if numbers:
            shown.append(f"{name} {statistics.fmean(numbers):.4f}")
    return ", ".join(shown)


def _reason(unit: Unit, folders: Folders, code: int) -> str:
    if code == STOPPED:
        return "stopped from outside; it has saved"
    if code < 0:
        return f"ended by signal {-code}"
    with output_of(unit, folders).open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else f"exit code {code}"


def _note(folders: Folders, unit: Unit, outcome: str, seconds: float, reason: str | None = None) -> None:
    """Append a line to the log of units."""
    entry = {"label": unit.label, "outcome": outcome, "seconds": round(seconds, 1)}
    entry |= {} if reason is None else {"reason": reason}
    try:
        with (folders.work / "units.jsonl").open("a", encoding="utf-8") as file:
            file.write(dumps(entry) + "\n")
    except OSError as error:
        raise StorageError(f"cannot write {folders.work / 'units.jsonl'}: {error.strerror}") from error


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
