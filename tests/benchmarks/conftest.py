"""Two ways to one result, against each other: in one process, in turns, in processor time.

With `--table` (`tox -e bench`) ratios and figures go to docs/speed.md, each kind between its two markers.
"""

import json
import math
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "speed.md"
HEADS = {
    "ratios": "| what | ours, ms | peer | its, ms | ratio | floor, ms | |\n|---|---|---|---|---|---|---|\n",
    "figures": "| what | measured | bound |\n|---|---|---|\n",
}


@pytest.fixture
def race(request, one_thread):
    """Return what measures two calls in turns, keeps a row of the table, and fails below the least ratio.

    The ratio is of the peer's best time to ours: 2 means that ours takes half as long. The least one is the same for
    all peers, or one for each by name. A floor is what no way to this result can go below: a call that does only that,
    or the name of the peer that does. What several threads do, or wait for, is measured by another clock.
    """

    def measure(what, ours, peers, least=None, rounds=5, note="", floor=None, clock=time.process_time):
        calls = {"ours": ours, **peers}
        if callable(floor):
            calls["floor"] = floor
            floor = "floor"
        for call in calls.values():
            call()
        best = dict.fromkeys(calls, math.inf)
        for _ in range(rounds):
            for name, call in calls.items():
                start = clock()
                call()
                best[name] = min(best[name], clock() - start)
        shown = {name: f"{1000 * seconds:.3g}" for name, seconds in best.items()}
        ratios = {peer: best[peer] / best["ours"] for peer in peers}
        for peer, ratio in ratios.items():
            row = (what, shown["ours"], peer, shown[peer], f"{ratio:.2g}", shown.get(floor, ""), note)
            request.node.user_properties.append(("ratios", row))
        bounds = least if isinstance(least, dict) else dict.fromkeys(peers, least or 0)
        assert all(ratios[peer] >= bound for peer, bound in bounds.items()), ratios

    return measure


@pytest.fixture
def figure(request):
    """Return what keeps a row of the other table: what was measured, how much it was, and its bound."""
    return lambda what, measured, bound: request.node.user_properties.append(("figures", (what, measured, bound)))


@pytest.fixture
def race_programs(race):
    """Return what races commands of this Python, in the processor time of all their processes."""

    def seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def program(arguments):
        return lambda: subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)

    def measure(what, ours, peers, floor=None, **options):
        programs = {name: program(arguments) for name, arguments in peers.items()}
        alone = program(floor) if isinstance(floor, list) else floor
        race(what, program(ours), programs, floor=alone, clock=seconds, **options)

    return measure


@pytest.fixture(scope="session")
def photographs():
    """Four photographs of 512×512."""
    import numpy as np
    from skimage import data

    from editbench.images import resize

    found = [data.astronaut()]
    for picture in (data.coffee(), data.rocket(), data.chelsea()):
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        found.append(resize(np.ascontiguousarray(picture[top : top + side, left : left + side]), 512, 512))
    return found


@pytest.fixture(scope="session")
def photograph(photographs):
    """A photograph of 512×512, a disc of 15 % as its mask, and the photograph with noise everywhere."""
    import numpy as np

    source = photographs[0]
    rows, columns = np.mgrid[:512, :512]
    mask = (rows - 256) ** 2 + (columns - 256) ** 2 < 112**2
    noise = np.random.default_rng(0).normal(0, 12, source.shape)
    return source, mask, np.clip(source + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def scored(photograph):
    """Return what makes, of a spec, a call that evaluates it on a scenario that nobody has seen before."""
    from editbench.metrics import features, load_metrics, score
    from editbench.types import Content, Sample, Scenario

    source, mask, output = photograph

    def made(spec):
        metrics = load_metrics([spec])

        def call():
            features.forget()
            scenario = Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask))
            (row,) = score(metrics, [Sample(scenario, output)])
            return row[spec]

        return call

    return made


@pytest.fixture(scope="session")
def write_suite():
    """Return what writes a suite of photographs into a folder, and returns its lines.

    They have 512×512 pixels, are cut out elsewhere each, and have a disc as mask.
    """
    import numpy as np
    from PIL import Image as Pillow
    from skimage import data

    from editbench.images import resize

    def write(folder, count):
        folder.mkdir()
        pictures = [data.astronaut(), data.coffee(), data.chelsea()]
        rows, columns = np.mgrid[:512, :512]
        Pillow.fromarray((rows - 256) ** 2 + (columns - 256) ** 2 < 112**2).save(folder / "mask.png")
        common, lines = {"mask": "mask.png", "instruction": "Go."}, []
        for index in range(count):
            picture = pictures[index % 3]
            side = 200 + 7 * (index % 13)
            cut = np.ascontiguousarray(picture[index % 60 : index % 60 + side, index % 90 : index % 90 + side])
            Pillow.fromarray(resize(cut, 512, 512)).save(folder / f"{index}.png")
            lines.append({"id": f"s{index}", "source": f"{index}.png", "cluster": f"c{index % 3}", **common})
        (folder / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return lines

    return write


def pytest_addoption(parser):
    parser.addoption("--table", action="store_true", help="keep the ratios in docs/speed.md")


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    kept = [(kind, row) for report in reports for kind, row in report.user_properties if kind in HEADS]
    tables = {}
    for kind in dict.fromkeys(kind for kind, _ in kept):
        lines = "".join(f"| {' | '.join(row)} |\n" for found, row in kept if found == kind)
        tables[kind] = f"{machine()}\n\n{HEADS[kind]}{lines}"
        terminalreporter.section(kind)
        terminalreporter.write(tables[kind])
    if config.getoption("--table") and not terminalreporter.stats.get("failed"):
        for kind, table in tables.items():
            before, rest = TABLE.read_text().split(f"<!-- {kind} -->\n")
            after = rest.split(f"<!-- end of {kind} -->\n")[1]
            TABLE.write_text(f"{before}<!-- {kind} -->\n{table}<!-- end of {kind} -->\n{after}")


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
