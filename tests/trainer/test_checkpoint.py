"""A run that was stopped, in whatever way, ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edit_grpo_ref import checkpoint
from edit_grpo_ref.checkpoint import FILE, read
from edit_grpo_ref.config import Config
from edit_grpo_ref.options import configure
from edit_grpo_ref.policies import load_policy
from edit_grpo_ref.train import train
from editbench.types import EditbenchError

HERE = Path(__file__).parent
POLICY = f"{HERE / 'toy_policy.py'}:Toy"


def assert_same_state(left, right):
    """Parameters, average, optimiser and generators are equal to the last bit."""
    ours, theirs = load_file(Path(left) / FILE), load_file(Path(right) / FILE)
    assert ours.keys() == theirs.keys()
    assert {name.partition(".")[0] for name in ours} == {"policy", "ema", "optimizer", "rng"}
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def numbers(folder):
    """What the log says, apart from how long it took."""
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("seconds/")} for line in lines]


class Broken(Exception):
    pass


@pytest.mark.parametrize("options", [{}, {"credit": "dense", "updates": 2, "window": "random", "schedule": "cosine"}])
def test_n_steps_and_m_more_are_n_plus_m(told, tmp_path, monkeypatch, options):
    options = {
        "steps": 6,
        "save_every": 2,
        "validation": told()["suite"],
        "validate_every": 2,
        "validate_on": 3,
    } | options
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    from edit_grpo_ref import train as program

    original = program.one_step

    def drawing(run, config, number):
        torch.rand(1)  # as a policy with dropout would
        return original(run, config, number)

    def until(run, config, number):
        if number == 3:  # one step after the last checkpoint
            raise Broken
        return drawing(run, config, number)

    monkeypatch.setattr(program, "one_step", drawing)
    train(configure(Config, None, told(**options, output_dir=whole)))
    monkeypatch.setattr(program, "one_step", until)
    with pytest.raises(Broken):
        train(configure(Config, None, told(**options, output_dir=parts)))
    assert read(Path(parts)).step == 2 and len(numbers(parts)) == 3 + 2
    monkeypatch.setattr(program, "one_step", drawing)
    train(configure(Config, None, told(**options, output_dir=parts)))
    assert_same_state(whole, parts)
    assert numbers(whole) == numbers(parts)


def start(options):
    flags = []
    for name, value in options.items():
        flags += [f"--{name.replace('_', '-')}", "none" if value is None else str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edit_grpo_ref", "train", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_lines(folder, count, process):
    log = Path(folder) / "log.jsonl"
    deadline = time.monotonic() + 150
    while not (log.exists() and log.read_bytes().count(b"\n") >= count):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM], ids=lambda kind: kind.name)
def test_a_process_that_is_killed_is_resumed_by_the_same_command(told, tmp_path, kind):
    """While threads evaluate rewards."""
    options = told(steps=40, samples=8, save_every=3, output_dir=str(tmp_path / "killed"), batch=8, reward_workers="2")
    process = start(options)
    wait_for_lines(options["output_dir"], 5, process)
    process.send_signal(kind)
    out, error = process.communicate(timeout=150)
    done = read(Path(options["output_dir"])).step
    assert 3 <= done < 40
    if kind == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL and done % 3 == 0
    else:
        assert process.returncode == 130, error
        assert "stopping after this step" in error
        assert "issue the same command again" in out and done == len(numbers(options["output_dir"]))
    assert train(configure(Config, None, options)) is True
    train(configure(Config, None, {**options, "output_dir": str(tmp_path / "whole")}))
    assert_same_state(options["output_dir"], tmp_path / "whole")
    assert numbers(options["output_dir"]) == numbers(tmp_path / "whole")


def test_a_finished_run_can_be_told_to_go_on(told, tmp_path):
    train(configure(Config, None, told(steps=2)))
    train(configure(Config, None, told(steps=4)))
    train(configure(Config, None, told(steps=4, output_dir=str(tmp_path / "whole"))))
    assert_same_state(told()["output_dir"], tmp_path / "whole")


def test_a_run_is_not_resumed_under_other_options(told):
    train(configure(Config, None, told()))
    with pytest.raises(EditbenchError, match=r"told something else: credit: 'region' -> 'dense'; seed: 0 -> 1"):
        train(configure(Config, None, told(credit="dense", seed=1)))
    with pytest.raises(EditbenchError, match=r"steps: 2 -> 4"):
        train(configure(Config, None, told(steps=4, schedule="cosine")))
    train(configure(Config, None, told(save_every=1, grid_every=7)))  # how much is written may change


def test_one_folder_one_process(told, tmp_path):
    with checkpoint.locked(tmp_path / "run", active=True), pytest.raises(EditbenchError, match="another process"):
        train(configure(Config, None, told()))
    train(configure(Config, None, told()))


def test_what_is_no_checkpoint_is_refused(told, tmp_path):
    with pytest.raises(EditbenchError, match="no checkpoint"):
        read(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(EditbenchError, match="not a checkpoint of edit-grpo-ref"):
        read(tmp_path / "other.safetensors")
    train(configure(Config, None, told()))
    file = Path(told()["output_dir"]) / FILE
    data = file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(EditbenchError, match="a damaged one"):
        read(tmp_path / "cut.safetensors")
    (tmp_path / "newer.safetensors").write_bytes(data.replace(b'"schema":"1"', b'"schema":"9"'))
    with pytest.raises(EditbenchError, match="schema 9 is newer"):
        read(tmp_path / "newer.safetensors")
    with pytest.raises(EditbenchError, match=r"has shape \(8, 4, 3, 3\), expected \(8, 4, 1, 1\)"):
        checkpoint.assign(load_policy(f"{POLICY}:spread_out=0"), read(file).parameters)
    with pytest.raises(EditbenchError, match="no parameter 'extra'"):
        checkpoint.assign(load_policy(POLICY), {**read(file).parameters, "extra": torch.zeros(1)})


def test_a_full_disk_leaves_the_old_checkpoint(told, monkeypatch):
    train(configure(Config, None, told(steps=2)))
    file = Path(told()["output_dir"]) / FILE
    before = file.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    from editbench.durable import StorageError

    with pytest.raises(StorageError, match="No space left"):
        train(configure(Config, None, told(steps=4)))
    assert file.read_bytes() == before


def test_the_average_is_saved_and_differs(told):
    train(configure(Config, None, told(steps=3)))
    found = read(Path(told()["output_dir"]))
    assert found.ema.keys() == found.parameters.keys()
    assert not any(torch.equal(found.ema[name], found.parameters[name]) for name in found.ema)
    light = read(Path(told()["output_dir"]), weights_only=True)
    assert not light.optimizer and not light.rng and light.step == 3
