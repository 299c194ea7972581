"""Many scenarios, many lines, two processes: what must not grow, and what must."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import orjson
import pytest
import tiny_suite

from editbench.config import RunConfig
from editbench.loops import carry_out
from editbench.plan import make_plan, plan_of_run
from editbench.store import RunStore

pytestmark = pytest.mark.slow

WATCHED = """
import json, psutil, sys
from editbench.config import RunConfig
from editbench.loops import carry_out
from editbench.plan import make_plan

suite = "tiny.py:Tiny:size=64,count=" + sys.argv[1]
plan = make_plan(RunConfig(suite, "identity", metrics="mae:region=keep", output_dir="run"))
resident = {step.done: psutil.Process().memory_info().rss for step in carry_out(plan)}
print(json.dumps(resident))
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    shutil.copy(tiny_suite.__file__, tmp_path / "tiny.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_memory_does_not_grow_with_the_scenarios(tiny, figure):
    """The bound is 50 MB for 100,000 scenarios of 64×64."""
    count = 6000
    done = subprocess.run([sys.executable, "-c", WATCHED, str(count)], cwd=tiny, capture_output=True, check=True)
    resident = {int(number): size for number, size in json.loads(done.stdout).items()}
    grown = (resident[count] - resident[count // 6]) / (count * 5 / 6)
    figure("memory that a run grows by, of 64×64 scenarios", f"{grown:.0f} bytes a scenario", "500")
    assert grown <= 500


def lines_of(path):
    with path.open("rb") as file:
        for line in file:
            hashlib.sha256(line[34:-2]).hexdigest()
            orjson.loads(line)


def test_a_long_journal(tiny, race):
    """The floor parses each line and hashes it, once; a resume reads journal, edits' checksums and records."""
    count = 5000
    plan = make_plan(
        RunConfig(f"tiny.py:Tiny:size=64,count={count}", "identity", metrics="mae:region=keep", output_dir="run")
    )
    for _ in carry_out(plan):
        pass
    journal, records = tiny / "run" / "journal" / "1-of-1.jsonl", RunStore(tiny / "run").records_path

    def resumed(compacting):
        if compacting:
            records.unlink()
        for _ in carry_out(plan):
            pass
        assert records.exists()

    floor = "parse and hash each line"
    alone = {floor: lambda: lines_of(journal)}
    race("a run of 5,000 edits that is complete, resumed", lambda: resumed(False), alone, least=0.05, floor=floor)
    race("the same, and its records written", lambda: resumed(True), alone, least=0.03, floor=floor)


SPINNING = "sum(number * number for number in range(20_000_000))"


def seconds_of(count):
    """Elapsed time of so many processes that do nothing but add."""
    start = time.monotonic()
    spinning = [subprocess.Popen([sys.executable, "-c", SPINNING]) for _ in range(count)]
    assert [process.wait() for process in spinning] == [0] * count
    return time.monotonic() - start


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processes need two cores")
def test_two_workers_score_nearly_twice_as_fast_as_one(tmp_path, write_suite, figure):
    """From the first scored sample to the last: what a process takes to start is in nobody's rate."""
    write_suite(tmp_path / "suite", 300)
    suite = f"folder:{tmp_path / 'suite'}"
    made = make_plan(RunConfig(suite, "noise", metrics="mae:region=keep", output_dir=str(tmp_path / "run")))
    for _ in carry_out(made):
        pass
    metrics = ",".join(f"ssim:region={region}" for region in ("all", "keep", "band", "edit"))
    best, capacities = {1: 0.0, 2: 0.0}, []
    for turn, workers in enumerate((1, 2, 1, 2)):
        copy = shutil.copytree(tmp_path / "run", tmp_path / f"run{turn}")
        plan = plan_of_run(copy, metrics, executor="processes", workers=workers)
        steps = [(step.done, time.monotonic()) for step in carry_out(plan, edit=False)]
        (first, start), (last, end) = steps[0], steps[-1]
        best[workers] = max(best[workers], (last - first) / (end - start))
        capacities.append(2 * seconds_of(1) / seconds_of(2))
    ratio, capacity = best[2] / best[1], min(2.0, max(capacities))
    figure("two workers' rate of scoring, to that of one", f"{ratio:.2f}", "1.8 where the machine has two idle cores")
    figure("two processes' rate of adding numbers, to that of one", f"{capacity:.2f}", "")
    assert ratio >= 0.9 * capacity, (best, capacities)
