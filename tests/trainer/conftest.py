"""Runs that cost milliseconds: a policy of a few hundred parameters on pictures of two rectangles."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
POLICY = f"{HERE / 'toy_policy.py'}:Toy"
SUITE = f"{HERE / 'toy_suite.py'}:Squares"


@pytest.fixture(autouse=True)
def _alone(one_thread):
    """Networks of this size only lose by a second thread."""


@pytest.fixture
def told(tmp_path):
    """Options of a small run; those given win."""

    def options(**given):
        defaults = {
            "policy": POLICY,
            "suite": SUITE,
            "validation": None,
            "prompts": 3,
            "samples": 4,
            "denoising_steps": 4,
            "learning_rate": 3e-3,
            "steps": 2,
            "output_dir": str(tmp_path / "run"),
        }
        return {**defaults, **given}

    return options


@pytest.fixture
def trained(told):
    """Train with the options given; return the lines of the log."""
    from edit_grpo_ref.config import Config
    from edit_grpo_ref.options import configure
    from edit_grpo_ref.train import train

    def run(**given):
        options = told(**given)
        train(configure(Config, None, options))
        return read_log(options["output_dir"])

    return run


def read_log(folder):
    """The lines of a log."""
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
