"""Started by `accelerate launch` with the package's configurations: two processes, really, on a toy Kontext."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import edit_grpo_ref
from edit_grpo_ref import session
from edit_grpo_ref.checkpoint import read
from edit_grpo_ref.config import Config
from edit_grpo_ref.options import configure
from edit_grpo_ref.ranks import Ranks
from edit_grpo_ref.sharding import asked
from edit_grpo_ref.train import train
from editbench.types import EditbenchError

CONFIGS = Path(edit_grpo_ref.__file__).parent / "accelerate"
WITNESS = Path(__file__).with_name("witness_policy.py")


def launch(name, options, **environment):
    """Run the trainer as the documentation says; return the process and what it wrote."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    flags = []
    for option, value in options.items():
        flags += [f"--{option.replace('_', '-')}", "none" if value is None else str(value)]
    program = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml")]
    command = [*program, "--main_process_port", port, "-m", "edit_grpo_ref", "train", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def small(told, toy_pipeline):
    """Options of a run on a toy Kontext: one prompt for the first rank, two for the second, a batch for each."""

    def options(policy="lora=2,dtype=float32", **given):
        model = f"diffusers:{toy_pipeline('kontext').folder},{policy}"
        return told(**{"policy": model, "batch": 4, "kl_keep": 0.1, "learning_rate": 1e-3, **given})

    return options


def assert_close(left, right, tolerance):
    """Everything that a checkpoint holds is equal up to the order of float32 sums."""
    one, other = read(Path(left)), read(Path(right))
    assert one.step == other.step
    for group in ("parameters", "ema", "optimizer"):
        ours, theirs = getattr(one, group), getattr(other, group)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value.shape == theirs[name].shape
            assert torch.allclose(value, theirs[name], rtol=1e-3, atol=tolerance), (group, name)


def logs(folder):
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


def assert_same_numbers(left, right):
    for one, other in zip(logs(left), logs(right), strict=True):
        assert one.get("failed") == other.get("failed")
        shown = {"reward/edit", "reward/keep", "grad_norm", "keep/kl", "validation/edit"}
        for name in shown & one.keys():
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-6), name


def test_ddp_gives_the_trajectory_of_one_process(small, tmp_path):
    options = small()
    code, said = launch("ddp", {**options, "output_dir": str(tmp_path / "two")})
    assert code == 0, said
    train(configure(Config, None, {**options, "output_dir": str(tmp_path / "one")}))
    assert_close(tmp_path / "two", tmp_path / "one", 2e-5)
    assert_same_numbers(tmp_path / "two", tmp_path / "one")


def test_fsdp_shares_out_weights_and_adapters_and_one_process_goes_on(small, told, tmp_path):
    """Two steps, validated and saved by two processes, of which one has a batch less to do; two more by one."""
    options = small(validation=told()["suite"], validate_on=3, reward_workers="2")
    options["policy"] = options["policy"].replace("diffusers:", f"{WITNESS}:Witness:") + f",notes={tmp_path}"
    two, one = str(tmp_path / "two"), str(tmp_path / "one")
    code, said = launch("fsdp", {**options, "output_dir": two})
    assert code == 0, said
    assert said.count("run: ") == 1
    held = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert held[0].keys() == held[1].keys() and any("lora" in name for name in held[0])
    for name, (mine, whole) in held[0].items():
        assert mine < whole or held[1][name][0] < whole, name
        assert mine + held[1][name][0] >= whole, name
    sums = [sum(column) for column in zip(*held[0].values(), strict=True)]
    assert sums[0] < 0.6 * sums[1], "about a half"
    train(configure(Config, None, {**options, "output_dir": one}))
    assert_close(two, one, 2e-5)
    assert_same_numbers(two, one)
    for folder in (two, one):
        train(configure(Config, None, {**options, "steps": 3, "output_dir": folder}))
    assert_close(two, one, 5e-5)


def test_fsdp_goes_on_with_all_weights_from_where_one_process_stopped(small, tmp_path):
    """The reference is then a copy, of which each holds a part too."""
    options = small("lora=0,dtype=float32", learning_rate=1e-4)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    train(configure(Config, None, {**options, "output_dir": one}))
    shutil.copytree(one, two)
    code, said = launch("fsdp", {**options, "steps": 3, "output_dir": two})
    assert code == 0, said
    train(configure(Config, None, {**options, "steps": 3, "output_dir": one}))
    assert_close(one, two, 2e-6)
    assert_same_numbers(one, two)
    assert logs(one)[-1]["keep/kl"] > 0


def test_fsdp_of_a_policy_that_does_not_share_out_is_refused(told, monkeypatch):
    monkeypatch.setattr(session, "start", lambda: nullcontext(Ranks(0, 1, sharded=True)))
    with pytest.raises(EditbenchError, match="is not made to be shared out by FSDP"):
        train(configure(Config, None, told()))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FSDP_VERSION", "1", r"accelerate: fsdp_version is '1', expected 2: parameters keep"),
        ("FSDP_RESHARD_AFTER_FORWARD", "FULL_SHARD", r"fsdp_reshard_after_forward is 'FULL_SHARD', expected true"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", r"expected false: it leaves text encoders empty"),
    ],
)
def test_what_the_trainer_relies_on_is_asked_for(monkeypatch, variable, value, message):
    assert not asked()
    right = {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}
    for name, known in {"ACCELERATE_USE_FSDP": "true", **right}.items():
        monkeypatch.setenv(name, known)
    assert asked()
    monkeypatch.setenv(variable, value)
    with pytest.raises(EditbenchError, match=message):
        asked()
    monkeypatch.setenv(variable, right[variable])
    monkeypatch.delattr("torch.distributed.fsdp.FSDPModule.set_force_sum_reduction_for_comms")
    with pytest.raises(EditbenchError, match=r"FSDP: torch .* install a newer one"):
        asked()
