"""A run that is killed at any of its operations on the disk is finished by the same command, byte for byte."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from runpy import run_path

import pytest

from editbench.journal import events

Forks = run_path(str(Path(__file__).with_name("forks.py")))["Forks"]

SUITE = "shapes@1:size=64"
SCORED = ["--metrics", "mae:region=keep,success"]
EDITOR = """
from pathlib import Path

def edit(source):
    with Path("calls").open("a") as calls:
        calls.write("x")
    return 255 - source
"""


def command(*options, output_dir="run", verb="run", place="--no-isolate"):
    """A run of four scenarios in two batches by an editor that counts its calls."""
    given = ["--suite", SUITE, "--limit", "4", "--batch-size", "2", "--editor", "calls.py:edit", "--label", "calls"]
    return ["editbench", verb, *given, place, *SCORED, "--output-dir", output_dir, *options]


BOARD = ["editbench", "board", "run", "--csv", "board.csv"]
REPORT = ["editbench", "report", "run"]
MERGE = ["editbench", "merge", "run", "s1", "s2"]
SCORE = ["editbench", "score", "run"]
LEADERBOARDS = ["editbench", "board", "run"]


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    forks, folder = Forks(), place(tmp_path_factory.mktemp("warm"))
    forks.warm_up(folder, command(), BOARD, REPORT)
    yield forks
    forks.close()


def place(folder):
    folder.mkdir(exist_ok=True)
    (folder / "calls.py").write_text(EDITOR)
    return folder


def page(path):
    """A page without what the clock and the machine said."""
    text = path.read_text()
    text = re.sub(r"[\d.e-]+ s, \d+ MiB", "cost", text)
    return re.sub(r"<dd>median .*? <small>", "<dd>median", text)


def made(folder):
    """Everything that must not depend on how the run came to its end."""
    report = folder / "run" / "report"
    pages = {path.name: page(path) for path in report.glob("*.html")}
    pictures = {path.name: path.read_bytes() for path in report.rglob("*.*") if path.name not in pages}
    csv = (folder / "board.csv").read_bytes()
    return {**made_by_run(folder), "csv": csv, "pages": pages, "pictures": pictures}


def made_by_run(folder):
    edits = {path.name: path.read_bytes() for path in (folder / "run" / "edits").glob("*")}
    return {"records": (folder / "run" / "records.jsonl").read_bytes(), "edits": edits}


def leftovers(folder):
    return [str(path) for path in folder.rglob("*.tmp")]


def numbers(long, some, first=1, step=1):
    """The operations at which to strike: all of them, every so many, or some."""
    return range(first, 10_000, step) if long else some


PAGES_EVERY = 8
"""At how many of them the pages are made too: they are functions of records, journal and edits, compared at each."""


def finish(forks, folder, argv, pages=True, scenarios=4):
    """Issue the command again, and look at what is there."""
    before = len((folder / "calls").read_text()) if (folder / "calls").exists() else 0
    kept = [event for event in events(folder / "run" / "journal") if event["type"] == "edit"] if before else []
    again = forks.run(folder, argv)
    assert again.code == 0, again.err
    assert len((folder / "calls").read_text()) - before == scenarios - len(kept), "finished edits are not made again"
    edited = Counter(event["scenario_id"] for event in events(folder / "run" / "journal") if event["type"] == "edit")
    assert set(edited.values()) == {1} and len(edited) == scenarios
    assert leftovers(folder) == []
    for verb in (BOARD, REPORT) if pages else ():
        done = forks.run(folder, verb)
        assert done.code == 0, done.err
    return made(folder) if pages else made_by_run(folder)


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """What an uninterrupted run gives."""
    folder = place(tmp_path_factory.mktemp("whole"))
    assert forks.run(folder, command()).code == 0
    for verb in (BOARD, REPORT):
        assert forks.run(folder, verb).code == 0
    return made(folder)


PLACES = ["--no-isolate", "--isolate"]
STEPS = {
    ("--no-isolate", "SIGTERM"): (1, 2),
    ("--no-isolate", "SIGINT"): (2, 2),
    ("--isolate", "SIGTERM"): (1, 8),
    ("--isolate", "SIGINT"): (5, 8),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("where", PLACES)
def test_a_run_killed_at_its_nth_operation_is_finished_by_the_same_command(forks, whole, tmp_path, long, figure, where):
    tried = 0
    some, step = ((3, 33, 48, 71), 1) if where == "--no-isolate" else ((40,), 3)
    for number in numbers(long, some, step=step):
        folder = place(tmp_path / "place")
        ended = forks.run(folder, command(place=where), number=number)
        if ended.code != -signal.SIGKILL:
            assert ended.code == 0 and len(ended.seen) < number, ended.err
            break
        pages = tried % PAGES_EVERY == 0
        expected = whole if pages else {name: whole[name] for name in ("records", "edits")}
        assert finish(forks, folder, command(place=where), pages) == expected, f"killed at operation {number}"
        shutil.rmtree(folder)
        tried += 1
    figure(f"kill: `run {where}`, SIGKILL at the n-th operation on the disk", tried, tried)
    assert tried >= 20 or not long


POOLS = {"--workers 2": ((37,), 4), "--executor ray --workers 2": ((), 30)}
"""Options, at which operations to strike in a short run, and every how many in a long one."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("options", POOLS)
def test_a_run_with_a_pool_killed_at_its_nth_operation_is_finished_by_the_same_command(
    forks, whole, tmp_path, long, figure, options
):
    """Who is killed is the process that writes; those of the pool notice, and end."""
    tried, (some, step) = 0, POOLS[options]
    expected = {name: whole[name] for name in ("records", "edits")}
    for number in numbers(long, some, first=5, step=step):
        folder = place(tmp_path / "place")
        ended = process(folder, command(*options.split()), number, "SIGKILL")
        if ended.returncode != -signal.SIGKILL:
            assert ended.returncode == 0, ended.stderr
            break
        time.sleep(1.5)
        argv = command(*options.split()) if tried % PAGES_EVERY == 0 and "ray" not in options else command()
        assert finish(forks, folder, argv, pages=False) == expected, f"killed at operation {number}"
        shutil.rmtree(folder)
        tried += 1
    figure(f"kill: `run --no-isolate {options}`, SIGKILL at the n-th operation on the disk", tried, tried)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_told_to_stop_at_its_nth_operation_exits_130_with_the_command_that_goes_on(
    forks, whole, tmp_path, long, figure, where, name
):
    tried = 0
    for number in numbers(long, (20, 45) if where == "--no-isolate" else (42,), *STEPS[where, name]):
        folder = place(tmp_path / "place")
        ended = forks.run(folder, command(place=where), number=number, action=name)
        if len(ended.seen) < number:
            break
        assert ended.code in (130, 0), ended.err
        if ended.code == 130:
            printed = shlex.split(ended.err.strip().splitlines()[-1])
            assert printed == command(place=where)
        else:  # it was told so late that there was nothing left to stop
            assert (folder / "run" / "records.jsonl").is_file()
        assert leftovers(folder) == [], "it has cleaned up itself"
        expected = {part: whole[part] for part in ("records", "edits")}
        assert finish(forks, folder, command(place=where), pages=False) == expected, f"{name} at operation {number}"
        shutil.rmtree(folder)
        tried += 1
    figure(f"stop: `run {where}`, {name} at the n-th operation on the disk", tried, tried)


def prepared(forks, tmp_path, verb):
    """A folder on which a verb other than `run` has something to do."""
    folder = place(tmp_path / "prepared")
    match verb:
        case "merge":
            for index in (1, 2):
                assert forks.run(folder, command("--shard", f"{index}/2", output_dir=f"s{index}")).code == 0
        case "score":
            assert forks.run(folder, command(verb="edit")).code == 0
        case "report":
            assert forks.run(folder, command()).code == 0
        case "board":
            suite = f"{SUITE},categories=background"
            options = ["--suite", suite, "--editor", "identity", "--metrics", "mae:region=keep", "--output-dir", "made"]
            assert forks.run(folder, ["editbench", "run", *options]).code == 0
            records = folder / "run" / "records" / suite
            records.mkdir(parents=True)
            shutil.copy(folder / "made" / "records.jsonl", records / "identity.jsonl")
    return folder


VERBS = {"merge": MERGE, "score": SCORE, "report": REPORT, "board": LEADERBOARDS}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_killed_at_its_nth_operation_is_finished_by_the_same_command(forks, tmp_path, long, figure, verb):
    template = prepared(forks, tmp_path, verb)
    shutil.copytree(template, tmp_path / "whole")
    assert forks.run(tmp_path / "whole", VERBS[verb]).code == 0
    expected, tried = contents(tmp_path / "whole"), 0
    for number in numbers(long, (4, 19), step=6 if verb == "report" else 1):
        folder = shutil.copytree(template, tmp_path / "place")
        ended = forks.run(folder, VERBS[verb], number=number)
        if ended.code != -signal.SIGKILL:
            assert ended.code == 0 and len(ended.seen) < number, ended.err
            break
        again = forks.run(folder, VERBS[verb])
        assert again.code == 0, again.err
        assert leftovers(folder) == []
        assert contents(folder) == expected, f"killed at operation {number}"
        shutil.rmtree(folder)
        tried += 1
    figure(f"kill: `{verb}`, SIGKILL at the n-th operation on the disk", tried, tried)


def contents(folder):
    """All files but journals and run.json, which tell what happened and when."""
    skipped = {"run.json", "log.out", "log.err", "log.seen"}
    paths = [path for path in (folder / "run").rglob("*") if path.is_file() and path.name not in skipped]
    paths = [path for path in paths if path.parent.name not in ("journal", "logs")]
    return {str(path.relative_to(folder)): read(path) for path in paths}


def read(path):
    return page(path) if path.suffix == ".html" else path.read_bytes()


# ------------------------------------------------------------------------------------------------ whole processes

WITH_A_FAULT = """
import runpy, sys
sys.path.insert(0, {folder!r})
from fork_server import Faults
Faults("run", (), {number}, {action!r})
runpy.run_module("editbench", run_name="__main__", alter_sys=True)
"""


def process(folder, argv, number, action):
    """Run `python -m editbench` as a process of its own, with a fault."""
    program = WITH_A_FAULT.format(folder=str(Path(__file__).parent), number=number, action=action)
    argv = [sys.executable, "-c", program, *argv[1:]]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("number", "action"), [(30, "SIGKILL"), (30, "SIGTERM"), (31, "SIGINT")])
def test_a_whole_process_that_is_killed_is_finished_by_the_command_that_it_printed(forks, tmp_path, number, action):
    longer = command("--limit", "20")  # edits may be two batches ahead of the disk
    expected = finish(forks, place(tmp_path / "whole"), longer, pages=False, scenarios=20)
    folder = place(tmp_path / "place")
    ended = process(folder, longer, number, action)
    assert ended.returncode == (-signal.SIGKILL if action == "SIGKILL" else 130), ended.stderr
    assert not (folder / "run" / "records.jsonl").exists()
    argv = [sys.executable, "-m", "editbench", *longer[1:]]
    if action != "SIGKILL":
        argv = shlex.split(ended.stderr.strip().splitlines()[-1])
        assert argv[:3] == [sys.executable, "-m", "editbench"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert finish(forks, folder, longer, pages=False, scenarios=20) == expected


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_loop_counts_every_write_fsync_and_rename_that_the_kernel_sees(forks, tmp_path):
    folder = place(tmp_path / "place")
    counted = Counter(kind for kind, _ in forks.run(folder, command()).seen)
    shutil.rmtree(folder / "run")
    calls = "write,writev,pwrite64,ftruncate,truncate,fsync,fdatasync,rename,renameat,renameat2"
    traced = ["strace", "-f", "-y", "-qq", "-e", f"trace={calls}", "-e", "signal=none", "-o", str(folder / "trace")]
    argv = [*traced, sys.executable, "-m", "editbench", *command()[1:]]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    root = re.escape(str(folder / "run"))
    found = Counter()
    for line in (folder / "trace").read_text().splitlines():
        name = line.split()[1].split("(")[0]
        if re.search(rf'[<"]{root}[/>"]', line):
            found["fsync" if "sync" in name else "rename" if "rename" in name else "write"] += 1
    assert {kind: counted[kind] for kind in ("write", "fsync", "rename")} == dict(found)
