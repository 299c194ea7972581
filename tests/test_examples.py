"""Every example of README, CONTRIBUTING and docs/isolation.md runs, in order, in a folder of its own.

Blocks of `python FILE` are written to FILE, blocks of `python` are run, and so is each `$` line of a `console` block.
Blocks of `sh` are the two set-up commands: the packaging test and CI run them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/isolation.md"])
def test_every_example_runs(page, tmp_path):
    study = shutil.ignore_patterns("edit_grpo_ref@1*", "study")  # hundreds of record files
    shutil.copytree(ROOT / "leaderboards", tmp_path / "leaderboards", ignore=study)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for language, name, body in BLOCK.findall((ROOT / page).read_text()):
        if language == "python" and name:
            (tmp_path / name).write_text(body)
            continue
        commands = {
            "python": [[sys.executable, "-c", body]],
            "console": [["bash", "-c", line[2:]] for line in body.splitlines() if line.startswith("$ ")],
        }.get(language, [])
        for command in commands:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran >= 4


def test_the_set_up_is_two_commands():
    blocks = [body.strip() for language, _, body in BLOCK.findall((ROOT / "README.md").read_text()) if language == "sh"]
    assert blocks == ["pip install . && editbench demo", "pip install tox && tox"]


def test_the_first_lines_say_what_it_is_and_what_it_is_not():
    opening = (ROOT / "README.md").read_text().split("\n\n")[1]
    for words in ("*image* editors", "not Google's EditBench", "code-editing", 'language-model "Edit-GRPO"'):
        assert words in " ".join(opening.split())


def test_the_example_editor_is_ten_lines():
    (body,) = (body for _, name, body in BLOCK.findall((ROOT / "README.md").read_text()) if name == "my_model.py")
    assert len(body.splitlines()) <= 10
