"""A long run of an editor that raises, hangs, crashes and answers nonsense, whose worker is killed now and then."""

import os
import random
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest
import tiny_suite
from tiny_suite import PICTURES, picture

from editbench.images import pixels_sha256
from editbench.journal import events
from editbench.store import RunStore

SHARDS = 2
TIMEOUT = 1.0
KILL_EVERY = (1.5, 3.0)
FAULTY = """
import hashlib
import os
import signal
import time

import numpy as np


def fault(instruction):
    draw = int(hashlib.sha256(instruction.encode()).hexdigest()[:8], 16) % 1000
    bounds = {"raise": 10, "hang": 15, "exit": 16, "segfault": 17, "size": 27}
    return next((name for name, bound in bounds.items() if draw < bound), None)


def edit(source, instruction):
    match fault(instruction):
        case "raise":
            raise ValueError("no")
        case "hang":
            time.sleep(3600)
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "size":
            return np.zeros((8, 8, 3), np.uint8)
    return 255 - source
"""

EXPECTED = {
    "raise": ("editor_error", r"ValueError: no"),
    "hang": ("editor_timeout", r"no answer within 1 s"),
    "exit": ("editor_killed", r"exit status 3"),
    "segfault": ("editor_killed", r"signal 11"),
    "size": ("output_invalid", r"size .*8.*8.*16.*16"),
}


def planned_fault():
    """The function by which the editor draws its faults."""
    space = {"__name__": "soak"}
    exec(compile(FAULTY, "soak", "exec"), space)
    return space["fault"]


def workers_of(process):
    """The worker processes of a run that have been there for a second."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if time.time() - child.create_time() > 1.0]
    except psutil.NoSuchProcess:
        return []


def soak(folder, count, seed):
    """Run all shards at once and kill workers until they end; return codes, kills, and resident bytes by tenth."""
    shutil.copy(tiny_suite.__file__, folder / "tiny.py")
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "temporary").mkdir()
    argv = ["run", "--suite", f"tiny.py:Tiny:count={count}", "--editor", "faulty.py:edit", "--label", "faulty"]
    argv += ["--metrics", "mae:region=keep", "--batch-size", "16", "--timeout", str(TIMEOUT), "--output-dir", "run"]
    argv += ["--isolate", "--max-deaths", "1000000"]
    runs = []
    for index in range(1, SHARDS + 1):
        with (folder / f"err{index}").open("w") as error:
            runs.append(
                subprocess.Popen(
                    [sys.executable, "-m", "editbench", *argv, "--shard", f"{index}/{SHARDS}"],
                    cwd=folder, stdout=error, stderr=error, env=environment(folder),
                )
            )  # fmt: skip
    draw, kills, memory = random.Random(seed), 0, {}
    try:
        next_kill = time.monotonic()
        while any(run.poll() is None for run in runs):
            time.sleep(0.1)
            said = re.findall(r"faulty: (\d+)/(\d+)", (folder / "err1").read_text())
            if said and runs[0].poll() is None:
                tenth = int(said[-1][0]) * 10 // int(said[-1][1])
                memory[tenth] = psutil.Process(runs[0].pid).memory_info().rss or memory.get(tenth, 0)
            if time.monotonic() > next_kill:
                for worker in draw.sample(found := workers_of(draw.choice(runs)), min(1, len(found))):
                    worker.kill()
                    kills += 1
                    next_kill = time.monotonic() + draw.uniform(*KILL_EVERY)
    finally:
        for run in runs:
            run.kill()
            run.wait()
    return [run.returncode for run in runs], kills, memory


def environment(folder):
    return {**os.environ, "TMPDIR": str(folder / "temporary"), "SOAK": str(folder)}


def alive(folder):
    """Processes that a run has left."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SOAK") == str(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.timeout(1200)
def test_a_soak_with_a_faulty_editor_ends_complete_with_every_record_right(tmp_path, long, figure):
    count = 20_000 if long else 300
    codes, kills, memory = soak(tmp_path, count, seed=7)
    errors = (tmp_path / "err1").read_text()[-2000:]
    assert codes == [0] * SHARDS, errors
    assert kills >= 1
    fault = planned_fault()
    good = [pixels_sha256(255 - picture(number, 16)) for number in range(PICTURES)]
    records = RunStore(tmp_path / "run").records().records
    assert [record.scenario_id for record in records] == [f"{index:07d}" for index in range(count)]
    faults = 0
    for index, record in enumerate(records):
        kind = fault(f"Edit {record.scenario_id}.")
        if kind is None:
            assert (record.edit_status, record.edit_sha256) == ("ok", good[index % PICTURES]), record
            assert isinstance(record.values["mae:region=keep"], float)
        else:
            status, reason = EXPECTED[kind]
            assert record.edit_status == status and re.search(reason, record.reason), record
            faults += 1
    edits = [event for event in events(tmp_path / "run" / "journal") if event["type"] == "edit"]
    assert len(edits) == count, "no sample is edited twice"
    assert alive(tmp_path) == [] and list((tmp_path / "temporary").iterdir()) == []
    assert not list(tmp_path.rglob("*.tmp"))
    if long:  # some twenty bytes a line say where the journal tells of it
        first, last = memory[2], memory[9]
        grown = (last - first) / (0.7 * count / SHARDS)
        assert grown < 500, f"{grown:.0f} bytes an edit"
    figure("soak: samples under a faulty editor", count, count)
    figure("soak: planned faults, each charged to its sample", faults, faults)


def test_the_plan_of_faults_has_the_shares_that_it_should():
    fault = planned_fault()
    kinds = [fault(f"Edit {index:07d}.") for index in range(20_000)]
    shares = {kind: kinds.count(kind) / 200 for kind in EXPECTED}
    for kind, percent in {"raise": 1, "hang": 0.5, "exit": 0.1, "segfault": 0.1, "size": 1}.items():
        assert abs(shares[kind] - percent) < 0.25 * percent + 0.02, shares
