"""Adding an editor, a metric or a suite touches no file of ours: a real plug-in package is installed and used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).with_name("plugin_package")


@pytest.fixture(scope="module")
def editbench(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PACKAGE)], check=True, capture_output=True)

    def run(*arguments, cwd=site):
        command = [sys.executable, "-m", "editbench", *arguments]
        environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(site)}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)

    return run


def test_plugins_are_listed_with_their_origin_and_a_broken_one_does_no_harm(editbench):
    listed = json.loads(editbench("list", "--json").stdout)
    assert listed["editors"]["invert"] == "plug-in editbench-example 1.2.3"
    assert "largest_change" in listed["metrics"] and "gradients@1" in listed["suites"]
    broken = editbench("run", "--suite", "gradients@1", "--editor", "broken")
    assert broken.returncode == 2
    assert broken.stderr.startswith("editbench: editor 'broken' cannot be imported: ModuleNotFoundError")


def test_a_run_uses_suite_editor_and_metric_of_a_plugin_with_options(editbench, tmp_path):
    options = [
        "--suite",
        "gradients@1",
        "--editor",
        "invert:strength=0.5",
        "--json",
        "--output-dir",
        str(tmp_path / "run"),
    ]
    done = editbench("run", *options, "--metrics", "largest_change:region=edit,psnr:region=keep")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["label"] == "invert:strength=0.5" and result["statuses"] == {"ok": 2}
    # Half an inversion moves every pixel v to 127.5: the edit region's darkest row, 16, has v = 32.
    assert result["means"]["largest_change:region=edit"] == pytest.approx((127 - 32 + 127 - 33) / 2 / 255)
    typo = editbench("run", *options, "--metrics", "largest_chnage:region=edit")
    assert typo.returncode == 2 and "did you mean 'largest_change'?" in typo.stderr


def test_a_third_party_metric_passes_the_conformance_run(editbench):
    done = editbench("check", "metric", "largest_change:region=keep")
    assert done.returncode == 0, done.stdout + done.stderr
