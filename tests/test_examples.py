"""Every example of these pages runs, in order, in a folder of its own.

Blocks of `LANGUAGE FILE` are written to FILE, blocks of `python` are run, and so is each `$` line of a `console` block.
A line that ends with `&` goes on beside the others once it has printed something, and is told to end after the last;
its port is any that is free. Blocks of `sh` are not run here: the packaging test and CI run the two set-up commands.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PORT = "8377"


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("README.md", 4),
        ("CONTRIBUTING.md", 8),
        ("docs/editors.md", 11),
        ("docs/protocol.md", 3),
        ("docs/isolation.md", 1),
        ("docs/scaling.md", 1),
        ("docs/verification.md", 6),
        ("leaderboards/README.md", 5),
        ("docs/suites.md", 4),
        ("docs/tables.md", 5),
    ],
)
def test_every_example_runs(page, least, tmp_path):
    study = shutil.ignore_patterns("edit_grpo_ref@1*", "study")  # hundreds of record files
    shutil.copytree(ROOT / "leaderboards", tmp_path / "leaderboards", ignore=study)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with contextlib.ExitStack() as beside:
        ran = run_examples((ROOT / page).read_text(), tmp_path, environment, beside)
    assert ran >= least


def run_examples(text, folder, environment, beside):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ran = 0
    for language, name, body in BLOCK.findall(text.replace(PORT, port)):
        if name:
            (folder / name).write_text(body)
            continue
        commands = {
            "python": [[sys.executable, "-c", body]],
            "console": [["bash", "-c", line[2:]] for line in body.splitlines() if line.startswith("$ ")],
        }.get(language, [])
        for command in commands:
            ran += 1
            if command[-1].endswith("&"):
                beside.enter_context(running(command[-1].removesuffix("&"), folder, environment))
                continue
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return ran


@contextlib.contextmanager
def running(line, folder, environment):
    """A program beside the others; gives way when it has printed a line."""
    command = ["bash", "-c", f"exec {line}"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.readline(), line
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


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


def manifests():
    """Those of Kubernetes in docs/scaling.md, by kind, with paths and names that there are."""
    found = {}
    for language, _, body in BLOCK.findall((ROOT / "docs" / "scaling.md").read_text()):
        if language == "yaml":
            body = body.replace("folder:/shared/suite", "shapes@1:size=64,categories=remove")
            data = yaml.safe_load(body.replace("diffusers:MODEL", "recolor").replace("/shared/", ""))
            found[data["kind"]] = data
    return found


def pods(data):
    """Every pod template in a manifest."""
    if isinstance(data, dict) and "containers" in data:
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return [pod for part in parts for pod in pods(part)]


def test_manifests_are_whole():
    found = manifests()
    assert {kind: data["apiVersion"] for kind, data in found.items()} == {"Job": "batch/v1", "RayJob": "ray.io/v1"}
    assert [len(pods(data)) for data in found.values()] == [1, 2]
    for data in found.values():
        assert data["metadata"]["name"] and data["spec"]
        for pod in pods(data):
            (container,) = pod["containers"]
            assert container["name"] and container["image"]
            assert {m["name"] for m in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_commands_of_manifests_run(tmp_path):
    found = manifests()
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": bin_first, "JOB_COMPLETION_INDEX": "4", "RAY_ADDRESS": "127.0.0.1:1"}
    (container,) = pods(found["Job"])[0]["containers"]
    done = subprocess.run(container["command"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "runs" / "model" / "journal" / "5-of-16.jsonl").exists(), done.stderr
    command = [*found["RayJob"]["spec"]["entrypoint"].split(), "--output-dir", "ray"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "127.0.0.1:1" in done.stderr, "read as far as the cluster, which is not there"
