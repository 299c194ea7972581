"""DiffusionNFT and its relatives: the gradient that defines it, hinges by hand, and that it learns."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edit_grpo_ref import train_nft
from edit_grpo_ref.checkpoint import read
from edit_grpo_ref.config import NftConfig
from edit_grpo_ref.options import configure
from edit_grpo_ref.train_nft import Part, hinges, nft_loss, old_decay, optimality
from edit_grpo_ref.trust import region_mean
from editbench.types import EditbenchError

HERE = Path(__file__).parent
POLICY = f"{HERE / 'toy_policy.py'}:Toy"
SUITE = f"{HERE / 'toy_suite.py'}:Squares"


@pytest.fixture
def batch():
    torch.manual_seed(0)
    shape = (5, 3, 4, 4)
    x0, noise, old = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
    level = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
    time = level[:, None, None, None]
    return {"x0": x0, "x": (1 - time) * x0 + time * noise, "old": old, "level": level}


def gradient(batch, parts, beta, at=None):
    velocity = (batch["old"] if at is None else at).clone().requires_grad_()
    total, _, _ = nft_loss(velocity, batch["old"], batch["x0"], batch["x"], batch["level"], parts, beta)
    return torch.autograd.grad(total.sum(), velocity)[0]


@pytest.mark.parametrize("beta", [0.1, 0.7, 1.0])
def test_at_the_old_policy_the_gradient_is_that_of_weighted_flow_matching(batch, beta):
    """d loss / dv = 2 β (2r − 1) (v_old − v*) t² / (D w), where v* = (x − x0) / t: the reward is all in r."""
    r = torch.rand(5, dtype=torch.float64)
    found = gradient(batch, {"all": Part(r, None, torch.ones(5, dtype=torch.float64))}, beta)
    time = batch["level"][:, None, None, None]
    wanted = (batch["x"] - batch["x0"]) / time
    scale = (batch["x"] - time * batch["old"] - batch["x0"]).abs().flatten(1).mean(1)[:, None, None, None]
    weight = (2 * r - 1)[:, None, None, None]
    expected = 2 * beta * weight * (batch["old"] - wanted) * time**2 / (48 * scale)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_half_optimal_teaches_nothing_at_the_old_policy(batch):
    half = torch.full((5,), 0.5, dtype=torch.float64)
    parts = {"all": Part(half, None, torch.ones(5, dtype=torch.float64))}
    assert gradient(batch, parts, 0.7).abs().max() < 1e-15
    assert gradient(batch, parts, 0.7, at=batch["old"] + 1).abs().max() > 1e-3


def test_a_region_that_is_everywhere_is_the_global_loss(batch):
    r, one = torch.rand(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    whole = gradient(batch, {"all": Part(r, None, one)}, 1.0)
    everywhere = torch.ones(5, 1, 4, 4, dtype=torch.float64)
    nothing = {"keep": Part(torch.rand(5, dtype=torch.float64), 1 - everywhere, 0 * one)}
    assert torch.allclose(gradient(batch, {"edit": Part(r, everywhere, one), **nothing}, 1.0), whole, atol=1e-16)
    as_map = r[:, None, None, None].expand(5, 1, 4, 4)
    assert torch.allclose(gradient(batch, {"edit": Part(as_map, everywhere, one)}, 1.0), whole, atol=1e-16)


def test_each_region_is_moved_by_its_own_reward(batch):
    mask = torch.zeros(5, 1, 4, 4, dtype=torch.float64)
    mask[:, :, :2] = 1
    one, half = torch.ones(5, dtype=torch.float64), torch.full((5,), 0.5, dtype=torch.float64)
    parts = {"edit": Part(one, mask, half), "keep": Part(half, 1 - mask, half)}
    found = gradient(batch, parts, 1.0)
    assert found[:, :, :2].abs().min() > 0 and found[:, :, 2:].abs().max() < 1e-15


def test_optimality():
    found = optimality(torch.tensor([-9.0, -5.0, 0.0, 2.5, 5.0]), 5.0)
    assert found.tolist() == [0.0, 0.0, 0.5, 0.75, 1.0]


def test_hinges_by_hand():
    config = NftConfig(hinge_keep=2.0, hinge_edit=3.0, tau_keep=0.01, tau_edit=0.5)
    mask = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    cells = {"edit": mask, "keep": 1 - mask}
    source = torch.zeros(2, 1, 1, 2)
    positive = torch.tensor([[[[9.0, 0.3]]], [[[0.1, 0.05]]]])
    negative = torch.tensor([[[[0.6, 9.0]]], [[[9.0, 9.0]]]])
    r = torch.tensor([0.25, 0.5])
    found = hinges(config, r, positive, negative, source + 1, source, cells)
    first = 2 * 0.25 * (0.3**2 - 0.01) + 3 * 0.75 * (0.5 - 0.6**2)
    second = 2 * 0.5 * max(0, (0.1**2 + 0.05**2) / 2 - 0.01)  # nothing to edit: no second hinge
    assert found.tolist() == pytest.approx([first, second])
    to_output = hinges(replace(config, hinge_to="output"), r, positive, negative, positive, source, cells)
    assert to_output[0].item() == pytest.approx(3 * 0.75 * (0.5 - 0.6**2))
    assert region_mean(torch.ones(2, 1, 1, 2), mask).tolist() == [1.0, 0.0]


def test_decay_of_the_old_policy():
    assert [old_decay(NftConfig(old="current"), n) for n in (1, 1000)] == [0.0, 0.0]
    assert [old_decay(NftConfig(old="slow"), n) for n in (0, 100, 1000)] == [0.0, 0.1, 0.5]
    found = [old_decay(NftConfig(old="late"), n) for n in (0, 75, 77, 1000)]
    assert found == pytest.approx([0.0, 0.0, 0.015, 0.999])


@pytest.fixture
def trained_nft(told):
    def run(**given):
        options = told(**given)
        train_nft.train(configure(NftConfig, None, options))
        lines = (Path(options["output_dir"]) / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return run


METHODS = {
    "DiffusionNFT": {"credit": "global_sum", "weight": "0.5"},
    "CoCoEdit": {"credit": "advantage_sum", "hinge_keep": 0.5, "hinge_edit": 0.5, "erode": 1, "band": 0.2},
    "region-NFT": {"credit": "region", "weight": "area"},
    "dense, lagging": {"credit": "dense", "old": "late", "beta": 0.3, "updates": 2},
    "placebo": {"credit": "region", "placebo": True, "hinge_keep": 0.1, "hinge_to": "output"},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_matter_of_options(trained_nft, name):
    for line in trained_nft(**METHODS[name]):
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
        assert line["grad_norm"] > 0 and line["all/moved"] >= 0 and ("hinge" in line) == ("hinge_keep" in METHODS[name])


@pytest.mark.parametrize(("mode", "weight"), [("advantage_sum", "0.5"), ("region", "0.2")])
def test_it_learns(trained_nft, mode, weight):
    options = {"steps": 40, "prompts": 4, "samples": 8, "learning_rate": 6e-3}
    log = trained_nft(credit=mode, weight=weight, **options, validation=f"{SUITE}:count=12", validate_every=40)
    before, after = (line for line in log if "validation/edit" in line)
    assert after["validation/edit"] > before["validation/edit"] + 0.03
    assert after["validation/keep"] > before["validation/keep"] + 0.01


def test_resume_includes_the_old_policy(trained_nft, told, tmp_path, monkeypatch):
    options = {"steps": 4, "save_every": 2, "old": "slow", "updates": 2}
    monkeypatch.setattr(train_nft, "old_decay", lambda config, update: 0.8)
    trained_nft(**options, output_dir=str(tmp_path / "whole"))
    original = train_nft.one_step

    def until(run, config, number):
        if number == 3:
            raise KeyError
        return original(run, config, number)

    monkeypatch.setattr(train_nft, "one_step", until)
    with pytest.raises(KeyError):
        trained_nft(**options)
    monkeypatch.setattr(train_nft, "one_step", original)
    trained_nft(**options)
    left, right = (read(Path(folder)) for folder in (told()["output_dir"], tmp_path / "whole"))
    for group in ("parameters", "ema", "old", "optimizer"):
        ours, theirs = getattr(left, group), getattr(right, group)
        assert ours.keys() == theirs.keys() and ours
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not all(torch.equal(left.old[name], left.parameters[name]) for name in left.old)


def test_noise_predictors_are_refused(trained_nft):
    with pytest.raises(EditbenchError, match="needs a policy that predicts velocities"):
        trained_nft(policy=f"{POLICY}:prediction=noise")
