"""Two ways to one result, against each other: in one process, in turns, in processor time.

With `--table` (`tox -e bench`) the ratios go to docs/speed.md, between its two markers.
"""

import math
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "speed.md"
BEGIN, END = "<!-- ratios -->\n", "<!-- end of ratios -->\n"


@pytest.fixture
def race(request, one_thread):
    """Return what measures two calls in turns, keeps a row of the table, and fails below the least ratio.

    The ratio is of the peer's best time to ours: 2 means that ours takes half as long. What several threads do, or wait
    for, is measured by another clock.
    """

    def measure(what, ours, peers, least=None, rounds=5, note="", clock=time.process_time):
        calls = {"ours": ours, **peers}
        for call in calls.values():
            call()
        best = dict.fromkeys(calls, math.inf)
        for _ in range(rounds):
            for name, call in calls.items():
                start = clock()
                call()
                best[name] = min(best[name], clock() - start)
        for peer in peers:
            ratio = best[peer] / best["ours"]
            row = (what, peer, 1000 * best["ours"], 1000 * best[peer], ratio, note)
            request.node.user_properties.append(("ratio", row))
        ratios = {peer: best[peer] / best["ours"] for peer in peers}
        assert least is None or min(ratios.values()) >= least, ratios

    return measure


@pytest.fixture
def race_programs(race):
    """Return what races commands of this Python, in the processor time of all their processes."""

    def seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def program(arguments):
        return lambda: subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)

    def measure(what, ours, peers, **options):
        programs = {name: program(arguments) for name, arguments in peers.items()}
        race(what, program(ours), programs, clock=seconds, **options)

    return measure


def pytest_addoption(parser):
    parser.addoption("--table", action="store_true", help="keep the ratios in docs/speed.md")


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    rows = [tuple(kept) for report in reports for name, kept in report.user_properties if name == "ratio"]
    if not rows:
        return
    lines = [
        f"{machine()}\n\n",
        "| what | ours, ms | peer | its, ms | ratio | |\n",
        "|---|---|---|---|---|---|\n",
        *(
            f"| {what} | {mine:.3g} | {peer} | {its:.3g} | {ratio:.2g} | {note} |\n"
            for what, peer, mine, its, ratio, note in rows
        ),
    ]
    terminalreporter.section("ratios")
    terminalreporter.write("".join(lines))
    if config.getoption("--table") and not terminalreporter.stats.get("failed"):
        text = TABLE.read_text()
        before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        TABLE.write_text(before + "".join(lines) + after)


def machine():
    """Describe the machine in a line."""
    import os

    import numpy as np
    import torch

    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    return f"{cpu}, {os.cpu_count()} cores; {versions}; one thread."
