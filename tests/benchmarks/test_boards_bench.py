"""How soon a command answers, and what a board costs: beside imports that others live with, and parsing alone."""

import contextlib
import hashlib
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import orjson
import psutil
import pytest

from editbench.board import build_boards
from editbench.many_records import read_many
from editbench.record_files import format_records
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.types import Record

pytestmark = pytest.mark.slow
RECORDS = Path(__file__).parents[2] / "leaderboards" / "records"
EDITBENCH = ["-m", "editbench"]
PANDAS = {"`import pandas`": ["-c", "import pandas"]}
STATISTICS = {"`import pandas, scipy.stats`": ["-c", "import pandas, scipy.stats"]}
INTERPRETER = {"note": "the floor is an empty program", "floor": ["-c", ""]}
BYTES_A_RECORD = 1000
"""Resident, at most, of a record of ten metrics, two hashes and three names: a million in 1 GB."""


def write_runs(folder, runs, scenarios):
    """Write the record files of so many runs, ten metrics each; return their paths."""
    info = {f"metric_{index:02}": MetricInfo(1, "higher", "", (0.0, 1.0)) for index in range(9)}
    info = {"composite": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0), **info}
    suite = SuiteInfo("large@1", "ab" * 32, scenarios, "large@1")
    generator = np.random.default_rng(0)
    paths = []
    for run in range(runs):
        header = Header(suite, EditorInfo("x", f"editor {run}", "none"), 0, 1, "error", info)
        records = (
            Record(
                scenario_id=f"s{index:06}",
                cluster=f"c{index % 500:03}",
                category=f"category {index % 12}",
                repeat=0,
                edit_status="ok",
                edit_sha256=hashlib.sha256(f"{run}/{index}".encode()).hexdigest(),
                pixels_sha256=f"{index:064x}",
                values=dict(zip(info, values, strict=True)),
            )
            for index, values in enumerate(generator.beta(2, 2, (scenarios, 10)).tolist())
        )
        paths.append(folder / f"editor_{run}.jsonl")
        with paths[-1].open("wb") as file:
            file.writelines(format_records(header, records))
    return paths


@pytest.mark.parametrize("arguments", [["--help"], ["list"]], ids=" ".join)
def test_help_and_list(race_programs, arguments):
    """Aim: 0.4 s; importing pandas takes 0.33 to 0.37."""
    race_programs(f"`editbench {arguments[0]}`", EDITBENCH + arguments, PANDAS, least=0.9, **INTERPRETER)


def parsing(paths):
    """Return a program that does what no board can do without."""
    return f"""
import gzip, hashlib, pathlib, orjson
for path in {list(map(str, paths))!r}:
    data = gzip.decompress(pathlib.Path(path).read_bytes())
    hashlib.sha256(data).hexdigest()
    for line in data.splitlines():
        orjson.loads(line)
"""


@pytest.mark.parametrize(("command", "names"), [("board", ["*"]), ("compare", ["blur", "jpeg"])])
def test_a_board_or_comparison_of_committed_runs(race_programs, command, names):
    """Aim: 1.5 s; importing pandas and scipy.stats takes 0.96 to 1.1, so the bound is at most 1.4."""
    files = sorted(path for name in names for path in (RECORDS / "shapes@1").glob(f"{name}.jsonl.gz"))
    race_programs(
        f"`editbench {command}`, {len(files)} runs of shapes@1",
        [*EDITBENCH, command, *files],
        STATISTICS,
        least=0.8,
        note="the floor is unpacking, hashing and parsing alone",
        floor=["-c", parsing(files)],
    )


def test_all_leaderboards(race_programs):
    """Aim: 1.5 s, which 902 files of 57,000 records do not reach."""
    alone = "unpacking, hashing and parsing alone"
    race_programs(
        "`editbench board leaderboards --check`, 902 runs, both processes",
        [*EDITBENCH, "board", RECORDS.parent, "--with-published", "--check"],
        {alone: ["-c", parsing(sorted(RECORDS.glob("*/*.gz")))]},
        least=0.07,
        rounds=3,
        note="checks every value, ranks 880 runs with intervals, writes 12,000 lines and two pages",
        floor=alone,
    )


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
def test_a_run_of_one_scenario(race_programs, tmp_path, suite):
    """Aim: 1 s to the first score; this is the whole command, and importing two libraries takes 0.96 to 1.1."""
    metrics = "mae:region=keep,psnr:region=keep"
    script = "import os, runpy, sys; sys.argv[1:] = {}; runpy.run_module('editbench', run_name='__main__')"
    options = ["run", "--editor", "identity", "--suite", suite, "--limit", "1", "--metrics", metrics, "--output-dir"]
    place = f"os.path.join({str(tmp_path)!r}, str(os.getpid()))"
    program = script.format(f"{options!r} + [{place}]")
    what = f"`editbench run --suite {suite} --limit 1`, two metrics"
    race_programs(what, ["-c", program], STATISTICS, least=1.0, **INTERPRETER)


def test_a_hundred_thousand_records(race, tmp_path):
    """Read, checked, compared, averaged with intervals and ranked, in one process."""
    paths = write_runs(tmp_path, 10, 10_000)
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    before = psutil.Process().memory_info().rss
    files = read_many(paths)
    build_boards(files)
    growth = psutil.Process().memory_info().rss - before
    assert growth / (len(lines) - 10) <= BYTES_A_RECORD
    del files
    race(
        "a board of 100,000 records of ten metrics, one process",
        lambda: build_boards([file for path in paths for file in read_many([path])]),
        {"parsing alone": lambda: deque(map(orjson.loads, lines), maxlen=0)},
        floor="parsing alone",
        least=0.1,
        rounds=3,
        note="every value is checked and gets an interval",
    )


def test_a_million_records(tmp_path, figure):
    """At full size: aims 15 s (reported only, for it depends on the machine) and 1 GB of all processes together."""
    paths = write_runs(tmp_path, 50, 20_000)
    start, peak = time.perf_counter(), 0
    board = subprocess.Popen([sys.executable, *EDITBENCH, "board", *map(str, paths)], stdout=subprocess.DEVNULL)
    process = psutil.Process(board.pid)
    while board.poll() is None:
        resident = 0
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += one.memory_info().rss
        peak = max(peak, resident)
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    what = "a board over 1,000,000 records of ten metrics"
    figure(f"{what}, seconds of a clock", f"{seconds:.1f}", "15 where the machine has two idle cores")
    figure(f"{what}, resident, all processes", f"{peak / 1e6:.0f} MB", "1 GB")
    assert board.returncode == 0
    assert peak <= 10**9
