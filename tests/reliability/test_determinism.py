"""The same edits give the same records, and the same records the same tables, wherever and however they are made."""

import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editbench.leaderboards import load
from editbench.metrics import load_metrics, score
from editbench.metrics.canaries import CANARIES, NETWORK_TOLERANCE, SUITE
from editbench.registry import create, package_version
from editbench.report.leaderboard import render_boards
from editbench.report.table import to_csv
from editbench.types import Sample

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.jsonl.gz")
"""Records of the editor below, without their header, which names versions; written anew where it is missing."""
METRICS = (
    "psnr:region=keep,mae:region=edit,mse:region=all,changed:region=keep,delta_e:region=keep,ssim:region=keep,"
    "gms:region=band,seam,seam_z,band_jump,leak_profile,leak_auc,far_change,global_shift,composite,success,"
    "success_graded,noop,target:psnr,region=edit,target:ssim,region=edit,legacy_pie:ssim,legacy_magicbrush:l1"
)
EDITOR = """
import numpy as np

class Editor:
    mask_access = "hint"

    def edit(self, requests):
        return [one(request) for request in requests]


def one(request):
    if request.seed % 5 == 0:
        return ValueError("no")
    rows, columns, channels = np.ogrid[: request.source.shape[0], : request.source.shape[1], :3]
    pattern = (7 * rows * rows + 13 * columns + 5 * rows * columns + 29 * channels + request.seed) % 31
    inside = np.where(request.mask[..., None], 255 - request.source, request.source)
    return np.clip(inside.astype(int) * 7 // 8 + pattern, 0, 255).astype(np.uint8)
"""
NEURAL = ("st_lpips:region=keep", "clip_score:region=all,model=shapes-tiny", "conse_score:region=edit")
ELSEWHERE = ("3.12", "3.13")
"""Versions of Python that are looked for beside the one that runs the tests."""
NEEDED = (
    "numpy", "scipy", "scikit-image", "Pillow", "pandas", "pydantic", "typer", "typing_extensions", "rich", "Jinja2",
    "markdown-it-py", "PyYAML", "filelock", "tqdm", "psutil",
)  # fmt: skip
"""What a run of pixel metrics and a board import."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("determinism")
    (folder / "editor.py").write_text(EDITOR)
    return folder


def editbench(place, *arguments, python=sys.executable, **environment):
    """Run the program in a process of its own; variables that shape text, time, order and threads can be given."""
    done = subprocess.run(
        [python, "-m", "editbench", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run(place, name, *options, **environment):
    """Return the records of a run, without the line that names versions."""
    editbench(
        place, "run", "--suite", SUITE, "--each", "2", "--editor", "editor.py:Editor", "--label", "golden",
        "--metrics", METRICS, "--output-dir", name, *options, **environment,
    )  # fmt: skip
    return (place / name / "records.jsonl").read_bytes().partition(b"\n")[2]


@pytest.fixture(scope="module")
def records(place):
    return run(place, "plain", "--no-isolate")


def test_records_are_those_of_the_golden_file(records):
    """Between processors the last bits of an exponential may differ; on one machine, see below, nothing does."""
    if not GOLDEN.exists():
        GOLDEN.write_bytes(gzip.compress(records, mtime=0))
        pytest.fail("the golden records were written anew: look at what differs before they are committed")
    golden = [json.loads(line) for line in gzip.decompress(GOLDEN.read_bytes()).splitlines()]
    found = [json.loads(line) for line in records.splitlines()]
    assert {record["edit_status"] for record in golden} == {"ok", "editor_error"}
    assert [rounded(record) for record in found] == [rounded(record) for record in golden]


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


WAYS = {
    "batches of 5": (("--no-isolate", "--batch-size", "5"), {}),
    "a worker process": (("--isolate", "--batch-size", "3"), {}),
    "four threads": (("--no-isolate",), {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}),
    "another order of hashes": (("--no-isolate",), {"PYTHONHASHSEED": "7"}),
    "another place": (("--no-isolate",), {"TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "automatic batches": (("--no-isolate", "--batch-size", "auto"), {}),
    "no UTF-8": (("--no-isolate",), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}
SHORT = ("a worker process", "no UTF-8")


def ways(long):
    return [name for name in WAYS if long or name in SHORT]


def test_records_are_the_same_bytes_however_they_are_made(place, records, long, figure):
    tried = 0
    for name in ways(long):
        options, environment = WAYS[name]
        assert run(place, name, *options, **environment) == records, name
        tried += 1
    figure("ways to make a run, bytes of the records compared", tried, tried)


@pytest.mark.parametrize("count", [2, 7])
def test_records_are_the_same_bytes_from_any_number_of_shards_in_any_order(place, records, count, long, figure):
    if count > 2 and not long:
        pytest.skip("seven processes: with --long")
    numbers = list(range(1, count + 1))
    random.Random(count).shuffle(numbers)
    for number in numbers:
        editbench(
            place, "run", "--suite", SUITE, "--each", "2", "--editor", "editor.py:Editor", "--label", "golden",
            "--metrics", METRICS, "--no-isolate", "--shard", f"{number}/{count}", "--output-dir", f"{count}-{number}",
        )  # fmt: skip
    editbench(place, "merge", f"merged-{count}", *(f"{count}-{number}" for number in numbers))
    assert (place / f"merged-{count}" / "records.jsonl").read_bytes().partition(b"\n")[2] == records
    figure(f"runs of {count} shards in any order, bytes of the records compared", 1, 1)


def test_neural_metrics_stay_within_their_tolerance_whatever_the_batch_and_the_threads(long, figure):
    import torch

    suite = create("suite", SUITE)
    scenarios = [suite[number] for number in range(24 if long else 4)]
    outputs = [CANARIES[1].output(s.source, s.source if s.target is None else s.target) for s in scenarios]
    metrics = load_metrics(NEURAL if long else NEURAL[:1])

    def scored(size, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            samples = [Sample(*pair) for pair in zip(scenarios, outputs, strict=True)]
            return [row for at in range(0, len(samples), size) for row in score(metrics, samples[at : at + size])]
        finally:
            torch.set_num_threads(before)

    base, tried = scored(1, 1), 0
    for size, threads in [(3, 1), (1, 2), (len(scenarios), 4)]:
        for ours, theirs in zip(base, scored(size, threads), strict=True):
            for spec in metrics:
                if isinstance(ours[spec], float):
                    assert abs(ours[spec] - theirs[spec]) <= NETWORK_TOLERANCE * (1 + abs(ours[spec])), spec
                    tried += 1
                else:
                    assert ours[spec] == theirs[spec]
    assert tried
    figure("values of neural metrics in other batches and threads, within tolerance", tried, tried)


# ------------------------------------------------------------------------------------------- tables and pages


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A leaderboards folder of some committed records."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "records" / "photos@1").mkdir(parents=True)
    for path in sorted((ROOT / "leaderboards" / "records" / "photos@1").glob("*.gz"))[:6]:
        shutil.copy(path, folder / "records" / "photos@1")
    return folder


def tables(folder):
    names = ("photos@1.csv", "index.html", "schema.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_tables_are_the_same_bytes_wherever_they_are_made(place, board, long, figure):
    editbench(place, "board", str(board))
    before, tried = tables(board), 0
    for name in ways(long) if long else ["another place"]:
        for path in board.glob("*.*"):
            path.unlink()
        editbench(place, "board", str(board), **WAYS[name][1])
        assert tables(board) == before, name
        tried += 1
    figure("places to make a board, bytes of table and page compared", tried, tried)


def test_tables_are_the_same_bytes_in_any_order_of_files(board, long, figure):
    paths = sorted((board / "records" / "photos@1").glob("*.gz"))
    shuffled, tried = random.Random(1), 0
    seen = set()
    for _ in range(30 if long else 3):
        shuffled.shuffle(paths)
        boards = load(paths)
        seen.add((to_csv(boards[0]), render_boards(boards, "Boards")))
        tried += 1
    assert len(seen) == 1
    figure("orders of record files, bytes of table and page compared", tried, tried)


# ------------------------------------------------------------------------------------- other versions of Python


@pytest.fixture(scope="module", params=ELSEWHERE)
def another(request, tmp_path_factory):
    """An environment of another Python, with the same packages but without torch."""
    if not request.config.getoption("--long", False):
        pytest.skip("installs packages: with --long")
    found = shutil.which(f"python{request.param}")
    if found is None or subprocess.run([found, "--version"], capture_output=True).returncode:
        pytest.skip(f"no python{request.param} on PATH")
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    pins = [f"{name}=={package_version(name)}" for name in NEEDED]
    subprocess.run([found, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *pins], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no packages for python{request.param}: {done.stderr[-300:]}")
    return str(python)


def test_another_python_makes_the_same_records_and_tables(place, records, board, another, figure):
    name = f"other-{Path(another).parents[1].name}"
    assert run(place, name, "--no-isolate", python=another) == records
    editbench(place, "board", str(board))
    before = tables(board)
    editbench(place, "board", str(board), python=another)
    assert tables(board) == before
    figure(f"Python {name.removeprefix('other-python').rstrip('0')}, bytes of records, table and page compared", 1, 1)
