"""A process that carries out one unit of the study and nothing else: one thread, output in a file, an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

from edit_grpo_ref.study.plan import StudyPlan, Unit
from edit_grpo_ref.study.unit import Folders, carry_out
from editbench.orphans import when_orphaned

DONE, FAILED, STOPPED = 0, 1, 130


def work(plan: StudyPlan, unit: Unit, folders: Folders, parent: int) -> None:
    """Carry a unit out and end this process: 0 done, 130 stopped and saved, 1 failed with the reason as last line.

    What it says goes to `output/<label>.txt` in the work folder. It leaves the terminal's group of processes: Ctrl-C
    reaches the parent alone, which passes it on once, as SIGTERM.
    """
    os.setpgid(0, 0)
    when_orphaned(parent, partial(os.kill, os.getpid(), signal.SIGTERM))  # nobody would start what comes next
    told = output_of(unit, folders)
    told.parent.mkdir(parents=True, exist_ok=True)
    with told.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        try:
            code = DONE if carry_out(plan, unit, folders) else STOPPED
        except BaseException as error:
            traceback.print_exc()
            sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
            code = FAILED
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of libraries must not hold the process up


def output_of(unit: Unit, folders: Folders) -> Path:
    """Return the file of what a unit's process says."""
    return folders.work / "output" / f"{unit.label}.txt"
