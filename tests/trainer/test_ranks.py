"""Two processes walk the path of one."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch

from edit_grpo_ref.checkpoint import read
from edit_grpo_ref.config import Config
from edit_grpo_ref.options import configure
from edit_grpo_ref.policies import load_policy
from edit_grpo_ref.ranks import Ranks
from edit_grpo_ref.study.plan_file import load_plan
from edit_grpo_ref.train import train
from editbench.types import EditbenchError


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def run_ranks(options, count):
    """Start processes as torchrun does, with its variables; return what each prints."""
    flags = []
    for name, value in options.items():
        flags += [f"--{name.replace('_', '-')}", "none" if value is None else str(value)]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(count):
        environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "edit_grpo_ref", "train", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, **pipes, text=True, env=environment))
    printed = []
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        printed.append(out + error)
    return printed


@pytest.fixture
def moody(tmp_path):
    """A metric that fails now and then, so that what is counted has to travel too."""
    (tmp_path / "moody.py").write_text(
        "from dataclasses import dataclass\n"
        "from editbench.metrics.pixel import Mae\n"
        "@dataclass(frozen=True)\n"
        "class Moody(Mae):\n"
        "    def score(self, samples):\n"
        "        return [float('nan') if int(v * 1e5) % 5 == 0 else v for v in super().score(samples)]\n"
    )
    return f"-[{tmp_path}/moody.py:Moody:region=edit]"


def test_two_ranks_give_the_trajectory_of_one_with_accumulation(told, tmp_path, moody):
    """Five prompts, so that ranks have unequal shares; batches as large as a rank's smallest share."""
    options = told(prompts=5, steps=4, credit="dense", kl_keep=0.1, std="batch", reward_edit=moody, batch=8)
    first, second = run_ranks({**options, "output_dir": str(tmp_path / "two")}, 2)
    assert "run: " in first and "step 4/4" in first and "run: " not in second and "step" not in second
    train(configure(Config, None, {**options, "output_dir": str(tmp_path / "one")}))
    one, two = (read(tmp_path / name) for name in ("one", "two"))
    assert one.step == two.step == 4
    for name, value in one.parameters.items():
        # Sums of float32 in another order; AdamW's division by a root of tiny squares enlarges that a little.
        assert torch.allclose(value, two.parameters[name], rtol=0, atol=2e-5), name
        assert not torch.equal(value, torch.zeros_like(value))
    files = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    logs = [[json.loads(line) for line in lines] for lines in files]
    assert any(line["failed"] for line in logs[0])
    for left, right in zip(*logs, strict=True):
        assert left["failed"] == right["failed"]
        for name in ("reward/edit", "reward/keep", "grad_norm", "loss", "keep/kl", "advantage_std/keep"):
            assert left[name] == pytest.approx(right[name], rel=1e-3, abs=1e-6), name


def test_a_point_of_the_study_has_one_trajectory(tmp_path):
    """Region credit of the study's plan on the embedded policy, its first steps."""
    plan = replace(load_plan(None), preset="tiny-cpu")
    unit = next(unit for unit in plan.units(methods=("region",)))
    config = replace(plan.config(unit), steps=2, samples=4, validation=None)  # small groups: seconds
    given = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    run_ranks({**given, "output_dir": str(tmp_path / "two")}, 2)
    train(replace(config, output_dir=str(tmp_path / "one")))
    one, two = (read(tmp_path / name) for name in ("one", "two"))
    assert one.step == two.step == 2
    base = load_policy("tiny").trainable()
    for name, value in one.parameters.items():
        # Batches of half the size and sums in another order: 1e-6 at most here, where two steps move by 2e-4.
        assert torch.allclose(value, two.parameters[name], rtol=0, atol=1e-5), name
    moved = [(value - base[name].detach()).abs().max().item() for name, value in one.parameters.items()]
    assert max(moved) > config.learning_rate
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for left, right in zip(*logs, strict=True):
        for name in ("reward/edit", "reward/keep", "grad_norm", "advantage_std/edit", "advantage_std/keep"):
            assert left[name] == pytest.approx(right[name], rel=1e-3, abs=1e-6), name


def test_prompts_are_shared_out_whole():
    for count in range(1, 6):
        shares = [Ranks(rank, count).share(5) for rank in range(count)]
        assert [prompt for share in shares for prompt in share] == list(range(5))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(EditbenchError, match="prompts: 5, expected at least one for each of 6 ranks"):
        Ranks(0, 6).check(5)


def test_one_rank_needs_no_process_group():
    alone = Ranks()
    values = torch.arange(3)
    assert alone.sum(values) is values and alone.gather({"a": 1}) == [{"a": 1}] and alone.first
