"""A trainer that is killed at any moment of writing a checkpoint goes on as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KILLED = """
import os, signal, sys

deadly, count = int(sys.argv.pop(1)), 0


def instant():
    global count
    count += 1
    if count == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def before(real):
    def called(*arguments, **named):
        instant()
        return real(*arguments, **named)

    return called


os.fsync, os.replace = before(os.fsync), before(os.replace)

from edit_grpo_ref import checkpoint

whole = checkpoint.write_whole


def in_halves(path, chunks):
    def halves():
        for chunk in chunks:
            middle = len(chunk) // 2
            yield chunk[:middle]
            instant()
            yield chunk[middle:]

    whole(path, halves())


checkpoint.write_whole = in_halves
from edit_grpo_ref.cli import app

app()
"""


def options(folder):
    return {
        "policy": f"{TESTS / 'trainer' / 'toy_policy.py'}:Toy",
        "suite": f"{TESTS / 'trainer' / 'toy_suite.py'}:Squares",
        "validation": None,
        "prompts": 3,
        "samples": 4,
        "denoising_steps": 4,
        "learning_rate": 3e-3,
        "steps": 2,
        "save_every": 1,
        "output_dir": str(folder),
    }


def train(folder):
    from edit_grpo_ref.config import Config
    from edit_grpo_ref.options import configure
    from edit_grpo_ref.train import train as program

    program(configure(Config, None, options(folder)))


def killed(folder, number):
    """Train in a process of its own that ends at the n-th instant of writing; return its exit code."""
    given = {name.replace("_", "-"): "none" if value is None else value for name, value in options(folder).items()}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, "-c", KILLED, str(number), "train", *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def curve(folder):
    """What the log says, apart from how long it took."""
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("seconds/")} for line in lines]


def state(folder):
    from safetensors.torch import load_file

    from edit_grpo_ref.checkpoint import FILE

    return {name: value.tolist() for name, value in load_file(Path(folder) / FILE).items()}


@pytest.mark.timeout(900)
def test_killed_mid_checkpoint_the_resumed_loss_curve_is_that_of_an_uninterrupted_run(
    tmp_path, long, figure, one_thread
):
    whole = tmp_path / "whole"
    train(whole)
    tried = 0
    for number in range(1, 100) if long else (9,):
        folder = tmp_path / f"killed-{number}"
        if killed(folder, number) == 0:
            break
        train(folder)
        assert curve(folder) == curve(whole)
        assert state(folder) == state(whole)
        assert not list(folder.glob("**/*.tmp"))
        tried += 1
    assert tried >= (10 if long else 1)
    figure("instants of writing a checkpoint, killed and resumed", tried, tried)
