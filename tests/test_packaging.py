"""What is built from this tree is complete: it works away from the clone."""

import csv
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from editbench.published import read_published

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def installed(package, folder):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(package)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=folder.parent, env=environment
        )

    where = run("-c", "import editbench; print(editbench.__file__)").stdout
    assert where.startswith(str(folder))
    return run


@pytest.mark.timeout(900)  # a minute on two idle cores
def test_the_wheel_runs_the_demo_away_from_the_clone(distributions, tmp_path):
    run = installed(distributions[0], tmp_path / "site")
    done = run("-m", "editbench", "demo")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    demo = tmp_path / "runs" / "demo"
    assert str(Path("runs/demo/index.html")) in done.stdout
    rows = list(csv.DictReader((demo / "boards.csv").read_text().splitlines()))
    assert {row["complete"] for row in rows} == {"true"}
    first = {row["suite"].split("[")[0]: row for row in reversed(rows) if row["metric"] == "composite"}
    assert first["shapes@1"]["label"] == "target"
    assert {row["label"] for row in rows if row["suite"].startswith("photos@1")} >= {"identity", "recolor", "shuffle"}
    shapes = {row["label"]: row for row in rows if row["suite"].startswith("shapes@1") and row["metric"] == "composite"}
    assert all(float(shapes[f"grpo:{name}"]["mean"]) > 0 for name in ("base", "flow", "edit"))


def test_the_sdist_builds_the_same_package(distributions, tmp_path):
    wheel, sdist = distributions
    run = installed(sdist, tmp_path / "site")
    done = run("-m", "editbench", "run", "--suite", "photos@1", "--editor", "identity", "--limit", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = run("-c", "from editbench.published import *; print(len(read_published(shipped_folder())))")
    assert int(told.stdout) == len(read_published(ROOT / "leaderboards" / "published")), told.stderr
    files = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert in_wheel <= files
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tox.ini", "tests/test_packaging.py", "LICENSE", "CITATION.cff", "README.md"} <= names


def test_the_wheel_has_everything_that_is_not_python(distributions):
    names = set(zipfile.ZipFile(distributions[0]).namelist())
    files = [path for package in ("editbench", "edit_grpo_ref") for path in (ROOT / package).rglob("*")]
    data = {str(path.relative_to(ROOT)) for path in files if path.is_file()}
    assert {name for name in data if "__pycache__" not in name} <= names
