"""The program as a whole: identities that hold through it, what each option does, and that it learns."""

import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edit_grpo_ref import credit, flow
from edit_grpo_ref import train as program
from edit_grpo_ref.checkpoint import read
from edit_grpo_ref.config import Config
from edit_grpo_ref.data import Prompts, in_split, is_benchmark, overlap
from edit_grpo_ref.options import configure, described, presets
from edit_grpo_ref.policies import load_policy
from edit_grpo_ref.ranks import Ranks
from edit_grpo_ref.rewards import load_rewards
from edit_grpo_ref.session import average, learning_rate, open_session
from editbench.suites import load_suite
from editbench.types import EditbenchError, Sample

HERE = Path(__file__).parent
POLICY = f"{HERE / 'toy_policy.py'}:Toy"
SUITE = f"{HERE / 'toy_suite.py'}:Squares"


def lines_of_training(log):
    return [line for line in log if "loss" in line]


# ------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("store", ["float32", "bfloat16"])
@pytest.mark.parametrize("sampler", ["flow_sde", "dance_sde", "cps", "ddim"])
def test_an_unchanged_policy_has_ratio_one_to_the_last_bit(trained, sampler, store):
    """Rounding, batching or another formula between rollout and replay would show here."""
    policy = POLICY + (":prediction=noise" if sampler == "ddim" else "")
    log = trained(sampler=sampler, window="all", store_dtype=store, policy=policy, learning_rate=3e-2)
    for line in lines_of_training(log):
        for region in ("edit", "keep"):
            assert line[f"{region}/ratio"] == 1.0
            assert line[f"{region}/moved"] == 0.0 and line[f"{region}/clip_fraction"] == 0.0


@pytest.mark.parametrize("store", ["float32", "bfloat16"])
def test_latents_are_kept_as_it_is_told(told, store):
    """What is kept is what comes back from storage; with more in it, the ratio above would be 1 for no reason."""
    config = configure(Config, None, told(window="all", store_dtype=store))
    policy = load_policy(config.policy)
    sampling = program.sampling_of(config, policy, 0)
    (batch,), _ = program.roll_out(config, policy, sampling, Prompts(config.suite, 3, 0)(0), 0)
    for latent in (*(move.x for move in batch.moves), *(move.after for move in batch.moves), batch.x0):
        assert latent.dtype == torch.float32
        assert torch.equal(latent, latent.bfloat16().float()) == (store == "bfloat16")


def test_a_second_pass_over_the_samples_is_off_policy(trained):
    (line,) = lines_of_training(trained(updates=2, steps=1, learning_rate=3e-2))
    assert line["edit/moved"] > 0 and line["edit/clip_fraction"] > 0


def weights_after(folder):
    return read(Path(folder)).parameters


@pytest.mark.parametrize(("mode", "masks"), [("region", "all"), ("region", "none"), ("dense", "all")])
@pytest.mark.parametrize("weight", ["0.2", "area", "equal"])
def test_a_mask_that_covers_everything_or_nothing_is_flow_grpo_to_the_last_bit(trained, tmp_path, mode, weight, masks):
    """Credit by region then is Flow-GRPO with the reward of the one region there is, through the whole program."""
    rewards = {"reward_edit": "[mae:region=all]", "reward_keep": "-[mae:region=all]"}
    same = {"suite": f"{SUITE}:masks={masks}", "kl_edit": 0.1, "kl_keep": 0.1, "updates": 2, "steps": 3, **rewards}
    one_each = {"credit": mode, "weight": weight, "dense_edit": False}  # one advantage a sample, for the edit at least
    by_region = trained(**same, **one_each, output_dir=str(tmp_path / "region"))
    flow_grpo = trained(
        **same, credit="global_sum", weight="1" if masks == "all" else "0", output_dir=str(tmp_path / "flow")
    )
    name = "edit" if masks == "all" else "keep"
    for ours, theirs in zip(lines_of_training(by_region), lines_of_training(flow_grpo), strict=True):
        assert ours["loss"] == theirs["loss"] and ours["grad_norm"] == theirs["grad_norm"]
        assert ours[f"{name}/kl"] == theirs["all/kl"] and theirs["all/clip_fraction"] > 0
    ours, theirs = weights_after(tmp_path / "region"), weights_after(tmp_path / "flow")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_batches_add_up(trained, tmp_path):
    """Gradients of small batches, of unequal sizes, sum to that of the whole step, to float32's rounding."""
    options = {"steps": 3, "credit": "dense", "kl_keep": 0.1, "updates": 2}
    whole = trained(**options, output_dir=str(tmp_path / "whole"))
    parts = trained(**options, output_dir=str(tmp_path / "parts"), batch=5)
    for ours, theirs in zip(whole, parts, strict=True):
        for name in ("loss", "grad_norm", "reward/edit", "keep/kl", "edit/moved"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-7)
    left, right = weights_after(tmp_path / "whole"), weights_after(tmp_path / "parts")
    assert all(torch.allclose(left[name], right[name], atol=2e-5) for name in left)


def test_two_runs_are_equal(trained, tmp_path):
    first = trained(output_dir=str(tmp_path / "a"))
    second = trained(output_dir=str(tmp_path / "b"))
    for line in (*first, *second):
        for name in [name for name in line if name.startswith("seconds/")]:
            del line[name]
    assert first == second
    other = trained(output_dir=str(tmp_path / "c"), seed=1)
    assert [line["reward/edit"] for line in other] != [line["reward/edit"] for line in first]


# ------------------------------------------------------------------------------------------- groups and seeds


class Together:
    """Ranks that are threads: what is summed is summed in order, once all are there."""

    def __init__(self, count):
        self.count, self.barrier = count, threading.Barrier(count)
        self.box = {}

    def rank(self, number):
        outer = self

        class Rank(Ranks):
            def exchange(self, value):
                outer.box[number] = value
                outer.barrier.wait()
                found = [outer.box[key] for key in sorted(outer.box)]
                outer.barrier.wait()
                return found

            def sum(self, values):
                return torch.stack(self.exchange(values.clone())).sum(0)

            def gather(self, data):
                return self.exchange(json.loads(json.dumps(data)))

        return Rank(number, self.count)


def scored_of(rewards, scenarios, images):
    pairs = zip(scenarios, images, strict=True)
    return rewards([Sample(scenario, image) for scenario, group in pairs for image in group])


def advantages_with(config, count):
    """Advantages, images and failures of one step, shared out over `count` ranks."""
    policy = load_policy(config.policy)
    rewards = load_rewards({"edit": config.reward_edit, "keep": config.reward_keep})
    everyones = Prompts(config.suite, config.prompts, config.seed)(0)
    together = Together(count)
    results = {}

    def work(number):
        rank = together.rank(number)
        mine = rank.share(config.prompts)
        own = everyones[mine.start : mine.stop]
        sampling = program.sampling_of(config, policy, 0)
        batches, images = program.roll_out(config, policy, sampling, own, 0)
        found, valid, failures = program.rewards_of(config, rank, scored_of(rewards, own, images))
        maps = program.dense_maps(config, rank, own, images, (8, 8), found) if config.credit == "dense" else {}
        results[number] = program.advantages_of(config, found, valid, maps), images, failures, batches

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("mode", ["global_sum", "region", "dense"])
@pytest.mark.parametrize("std", ["group_biased", "batch"])
def test_advantages_do_not_depend_on_how_prompts_are_shared_out(told, mode, std):
    """One batch for each prompt, so that the policy's own float32 sums do not differ either."""
    config = configure(Config, None, told(prompts=4, batch=4, credit=mode, std=std))
    (alone, images, _, _) = advantages_with(config, 1)[0]
    for count in (2, 4):
        shared = advantages_with(config, count)
        for number in range(count):
            for name, values in alone.items():
                assert torch.equal(shared[number][0][name], values)
        together = [group for number in range(count) for group in shared[number][1]]
        assert np.array_equal(np.stack(together), np.stack(images))


def test_noise_depends_on_scenario_sample_and_step_alone(told):
    """Another batch size changes no start and no draw; samples of a group differ, and so do steps of training."""
    config = configure(Config, None, told(window="all"))
    policy = load_policy(config.policy)
    scenarios = Prompts(config.suite, config.prompts, 0)(0)
    sampling = program.sampling_of(config, policy, 0)

    def drawn(size, update=0):
        batches, _ = program.roll_out(replace(config, batch=size), policy, sampling, scenarios, update)
        starts, noises = [], []
        for batch in batches:
            starts += list(batch.moves[0].x)
            for move in batch.moves:
                noises.append((move.after - move.mean) / move.std[:, None, None, None])
        return torch.stack(starts), torch.cat([noise.flatten(1) for noise in noises])

    starts, noises = drawn(None)
    assert torch.equal(starts, drawn(1)[0]) and torch.equal(starts, drawn(5)[0])
    expected = flow.noise((3, 8, 8), flow.derived(0, 0), scenarios[1].id, 2, 0)
    assert torch.allclose(noises[1 * 4 + 2].reshape(3, 8, 8), expected, atol=1e-5)
    distinct = torch.cat([starts.flatten(1), noises])
    apart = torch.cdist(distinct, distinct) + torch.eye(len(distinct)) * 99
    assert apart.min() > 5  # 192 independent normal numbers are about 20 apart
    assert not torch.equal(starts, drawn(None, update=1)[0])


def test_steps_outside_the_window_are_eulers(told):
    """From the last stochastic step on, nothing but the ODE: a keep reward must not measure the sampler."""
    config = configure(Config, None, told(denoising_steps=6))
    policy = load_policy(config.policy)
    (batch,), _ = program.roll_out(
        config, policy, program.sampling_of(config, policy, 0), Prompts(config.suite, 3, 0)(0), 0
    )
    assert [move.number for move in batch.moves] == [0, 1, 2]
    x, levels = batch.moves[-1].after, policy.levels(6, batch.condition)
    with torch.no_grad():
        for number in range(3, 6):
            velocity = policy.predict(x, levels[number].expand(len(x)), batch.condition)
            x = x + (levels[number + 1] - levels[number]) * velocity
    assert torch.allclose(x, batch.x0, atol=1e-6)


def test_same_noise_and_local_exploration(told):
    """DanceGRPO's groups share their start; RC-GRPO's share all noise outside the mask."""
    policy = load_policy(f"{POLICY}:spread_out=0")
    scenarios = Prompts(SUITE, 3, 0)(0)

    def rolled(**options):
        config = configure(Config, None, told(**options))
        return program.roll_out(config, policy, program.sampling_of(config, policy, 0), scenarios, 0)

    (batch,), _ = rolled(same_noise=True)
    starts = batch.moves[0].x.reshape(3, 4, -1)
    assert (starts == starts[:, :1]).all() and not torch.equal(starts[0], starts[1])
    _, images = rolled(explore="edit")
    for scenario, group in zip(scenarios, images, strict=True):
        share = program.cell_weights([scenario], (8, 8), erode=0, band=1.0)["edit"][0].numpy()
        outside = (share == 0).repeat(4, 0).repeat(4, 1)
        spread = np.stack(group).astype(float).std(axis=0).mean(axis=-1)
        assert spread[outside].max() == 0 and spread[scenario.mask].mean() > 2
    _, images = rolled()
    assert np.stack(images[0]).astype(float).std(axis=0).min() > 0


def test_a_scenario_in_two_groups_is_two_groups(told):
    """Groups are positions of a step, not instructions: all of these say the same."""
    config = configure(Config, None, told(prompts=4, suite=f"{SUITE}:count=2"))
    scenarios = Prompts(config.suite, 4, 0)(0)
    assert len({scenario.id for scenario in scenarios}) == 2
    (advantages, _, _, _) = advantages_with(config, 1)[0]
    assert advantages["edit"].shape == (4, 4)
    assert torch.allclose(advantages["edit"].mean(dim=1), torch.zeros(4), atol=1e-6)


# ------------------------------------------------------------------------------------------------ the options

BASELINES = {
    "Flow-GRPO, sum": {"credit": "global_sum", "weight": "0.5"},
    "Flow-GRPO, advantage-sum": {"credit": "advantage_sum", "weight": "0.5"},
    "edit only": {"credit": "global_sum", "weight": "1"},
    "keep only": {"credit": "global_sum", "weight": "0"},
    "DanceGRPO": {
        "credit": "global_sum",
        "sampler": "dance_sde",
        "noise": 0.3,
        "window": "dance",
        "same_noise": True,
        "std": "group_unbiased",
    },
    "MixGRPO-style": {"credit": "advantage_sum", "window": "moving"},
    "GRPO-Guard": {"credit": "advantage_sum", "trust": "guard"},
    "Flow-DPPO": {"credit": "region", "trust": "kl_mask"},
    "FlowCPS": {"sampler": "cps", "noise": 0.8, "cps_unscaled": True, "credit": "global_sum"},
    "RC-GRPO-style": {"credit": "global_sum", "explore": "edit"},
    "placebo": {"credit": "region", "placebo": True},
    "region": {"credit": "region", "weight": "0.3"},
    "region, CoCoEdit's ring": {"credit": "region", "erode": 2, "band": 0.2},
    "region, half coupled": {"credit": "region", "cross": 0.5, "kl_keep": 0.1, "kl": "velocity"},
    "dense": {"credit": "dense", "weight": "0.4", "cross": 0.3},
    "dense, keep only": {"credit": "dense", "dense_edit": False},
    "every sample counts alike": {"credit": "region", "region_mean": "samples"},
}


@pytest.mark.parametrize("name", BASELINES)
def test_every_method_is_a_matter_of_options(trained, name):
    log = trained(**BASELINES[name], updates=2)
    assert len(lines_of_training(log)) == 2
    for line in log:
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
        assert line["grad_norm"] > 0 and line["skipped"] == 0 and not line["failed"]


def test_cells_count_alike_only_where_they_are_told_to(trained, tmp_path):
    norms = {}
    for name, options in {
        "cells": {"region_mean": "cells"},
        "samples": {"region_mean": "samples"},
        "area": {"region_mean": "cells", "weight": "area"},
        "area, samples": {"region_mean": "samples", "weight": "area"},
    }.items():
        log = trained(
            suite=f"{SUITE}:masks=uneven", credit="region", steps=1, output_dir=str(tmp_path / name), **options
        )
        norms[name] = lines_of_training(log)[0]["grad_norm"]
    assert norms["cells"] != norms["samples"]
    assert norms["area"] == norms["area, samples"], "areas count cells already"


def test_placebo_gives_each_prompt_the_mask_of_another(trained, tmp_path, monkeypatch):
    seen = []
    original = program.cell_weights

    def spy(scenarios, *rest):
        seen.append([scenario.id for scenario in scenarios])
        return original(scenarios, *rest)

    monkeypatch.setattr(program, "cell_weights", spy)
    trained(steps=1, output_dir=str(tmp_path / "true"))
    trained(steps=1, placebo=True, output_dir=str(tmp_path / "placebo"))
    true, placebo = seen
    assert sorted(true) == sorted(placebo) and all(a != b for a, b in zip(true, placebo, strict=True))


def test_placebo_turns_the_maps_of_dense_credit(told):
    config = configure(Config, None, told(prompts=4, batch=4, credit="dense"))
    (true, _, _, _) = advantages_with(config, 1)[0]
    for count in (1, 2):
        (placebo, _, _, _) = advantages_with(replace(config, placebo=True), count)[0]
        for name in ("edit", "keep"):
            assert torch.equal(placebo[name], true[name].flip(-2, -1)) and not torch.equal(placebo[name], true[name])


def test_a_scenario_without_target_keeps_its_one_edit_reward(told):
    """Dense credit where there is a map, one advantage where there is none."""
    options = told(credit="dense", reward_edit="[mae:region=edit]")
    with_target = advantages_with(configure(Config, None, options), 1)[0][0]["edit"]
    options["suite"] = f"{SUITE}:targets=false"
    config = configure(Config, None, options)
    without = advantages_with(config, 1)[0][0]["edit"]
    (scalar, _, _, _) = advantages_with(replace(config, dense_edit=False), 1)[0]
    assert (without == without[:, :, :1, :1]).all()
    assert torch.equal(without[:, :, 0, 0].sign(), scalar["edit"].sign()) and scalar["edit"].any()
    assert not (with_target == with_target[:, :, :1, :1]).all()


def test_the_reference_holds_a_policy_back(trained, tmp_path):
    """β pulls toward the policy as it was loaded: with a large one, it hardly moves."""
    far = trained(steps=8, output_dir=str(tmp_path / "free"), kl_keep=1e-12, kl_edit=1e-12)[-1]
    near = trained(steps=8, output_dir=str(tmp_path / "held"), kl_keep=3.0, kl_edit=3.0)[-1]
    assert far["keep/kl"] > 0 and near["keep/kl"] < 0.5 * far["keep/kl"]


def test_failed_rewards_are_counted_and_the_run_goes_on(trained, told, tmp_path):
    (tmp_path / "moody.py").write_text(
        "from dataclasses import dataclass\n"
        "from editbench.metrics.pixel import Mae\n"
        "@dataclass(frozen=True)\n"
        "class Moody(Mae):\n"
        "    def score(self, samples):\n"
        "        values = super().score(samples)\n"
        "        return [float('nan') if int(v * 1e6) % 3 == 0 else v for v in values]\n"
    )
    reward = f"-[{tmp_path}/moody.py:Moody:region=edit]"
    log = trained(steps=4, reward_edit=reward)
    failed = sum(sum(line["failed"].values()) for line in log)
    assert 0 < failed < 4 * 12
    assert all("non-finite value" in reason for line in log for reason in line["failed"])
    assert all(line["grad_norm"] > 0 for line in log)
    config = configure(Config, None, told(reward_edit=reward))
    (advantages, _, failures, _) = advantages_with(config, 1)[0]
    assert (advantages["edit"] == 0).sum() >= sum(failures.values()) > 0
    assert torch.allclose(advantages["edit"].sum(dim=1), torch.zeros(3), atol=1e-5)  # mean 0 over those that are left
    everything = trained(steps=2, reward_edit="sqrt(-1 - [mae:region=edit])", output_dir=str(tmp_path / "all"))
    assert everything[-1]["failed"] == {"reward edit is not finite": 12} and everything[-1]["grad_norm"] == 0
    assert "reward/edit" not in everything[-1]


def test_gradients_that_are_not_finite_change_nothing(told):
    with open_session(configure(Config, None, told())) as run:
        before = {name: value.detach().clone() for name, value in run.policy.trainable().items()}
        for parameter in run.policy.trainable().values():
            parameter.grad = torch.full_like(parameter, float("nan"))
        assert run.update(0)["skipped"] == 1
        after = run.policy.trainable()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.grad is None for parameter in after.values())
        assert not run.optimizer.state


def test_learning_rate_and_average():
    config = Config(learning_rate=1.0, schedule="cosine", steps=10, updates=2, warmup=3)
    rates = [learning_rate(config, update) for update in range(20)]
    assert rates[0] == pytest.approx(0.25) and rates[3] == pytest.approx(0.5 * (1 + math.cos(math.pi * 3 / 20)))
    assert rates[10] == pytest.approx(0.5) and 0 < rates[19] < 0.01
    assert learning_rate(replace(config, schedule="constant", warmup=0), 19) == 1.0
    ema, value = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    average(ema, value, 0.9, 0)
    assert ema["w"].item() == pytest.approx(0.9)  # (1 + 0) / (10 + 0) of the old is kept
    average(ema, value, 0.05, 0)
    assert ema["w"].item() == pytest.approx(0.995)


# ---------------------------------------------------------------------------------------------------- data


def test_training_on_a_benchmark_is_refused_unless_it_is_told(told, trained):
    assert is_benchmark("shapes@1:size=64") and is_benchmark("photos@1")
    assert not is_benchmark("folder:some/where") and not is_benchmark(SUITE)
    assert overlap("folder:some/where", False, 0.8) == ("suite:folder:some/where[split=0.8]",)
    assert overlap("grpo_scenes@1:split=train", False) == ()
    with pytest.raises(EditbenchError, match=r"cannot be ranked by it.*--allow-overlap"):
        overlap("shapes@1:size=64", allowed=False)
    with pytest.raises(EditbenchError, match="--allow-overlap"):
        trained(suite="shapes@1:size=32")
    trained(suite="shapes@1:size=32", allow_overlap=True, steps=1)
    found = read(Path(told()["output_dir"])).trained_on
    assert found == ("mae:region=keep", "target:mae,region=edit", "suite:shapes@1:size=32")


def test_a_split_takes_whole_clusters_and_the_order_is_a_function_of_the_seed():
    prompts = Prompts(SUITE, 5, seed=0, split=0.6)
    suite = load_suite(SUITE)
    inside = {scenario.id for scenario in suite if in_split(scenario, 0.6)}
    clusters = [{s.cluster for s in suite if (s.id in inside) == wanted} for wanted in (True, False)]
    assert not clusters[0] & clusters[1] and all(clusters)
    steps = 2 * len(inside) // 5
    seen = [scenario.id for step in range(steps) for scenario in prompts(step)]
    assert set(seen) == inside
    assert sorted(seen[: len(inside)]) == sorted(inside)  # once each before any comes again
    again = seen[len(inside) :]
    assert again != seen[: len(again)]  # in another order the next time
    same = Prompts(SUITE, 5, seed=0, split=0.6)
    assert [s.id for s in same(steps - 1)] == [s.id for s in prompts(steps - 1)]
    assert [s.id for s in Prompts(SUITE, 5, seed=1, split=0.6)(0)] != [s.id for s in prompts(0)]
    with pytest.raises(EditbenchError, match="no scenario in the split 0"):
        Prompts(SUITE, 5, seed=0, split=0.0)


# ----------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"creidt": "region"}, "unknown option 'creidt': did you mean 'credit'"),
        ({"credit": "regoin"}, r"^credit: 'regoin', expected global_sum, .* or dense: did you mean 'region'\?$"),
        ({"tracker": "wandb"}, "^tracker: 'wandb', expected none, tensorboard or trackio$"),
        ({"samples": 1}, "samples: 1, expected 2 to"),
        ({"weight": "1.5"}, "weight: '1.5', expected a number from 0 to 1, area or equal"),
        ({"weight": "area", "credit": "global_sum"}, "weight: 'area', expected a number from 0 to 1 for credit"),
        ({"kl_edit": 0.1, "credit": "global_sum"}, "kl_edit: 0.1, expected kl_keep"),
        ({"split": 1.5}, "split: 1.5, expected 0 to 1"),
        ({"cps_unscaled": True}, "cps_unscaled: expected sampler cps, not flow_sde"),
        ({"learning_rate": "fast"}, "learning_rate: .*'fast'"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, message):
    with pytest.raises(EditbenchError, match=message):
        configure(Config, None, given)


def test_a_sampler_must_fit_the_policy(trained):
    with pytest.raises(EditbenchError, match="sampler: 'ddim', expected flow_sde, dance_sde or cps"):
        trained(sampler="ddim")
    with pytest.raises(EditbenchError, match="sampler: 'flow_sde', expected ddim"):
        trained(policy=f"{POLICY}:prediction=noise")


def test_presets_and_descriptions_are_complete():
    assert set(presets()) == {"tiny-cpu", "kontext-1gpu"}
    for name in presets():
        configure(Config, name, {})
    assert set(described(Config)) == {field for field in Config.__dataclass_fields__}
    assert configure(Config, "tiny-cpu", {"steps": 7}).steps == 7
    with pytest.raises(EditbenchError, match="did you mean 'tiny-cpu'"):
        configure(Config, "tiny_cpu", {})


# ----------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("mode", "weight"), [("global_sum", "0.2"), ("advantage_sum", "0.4"), ("region", "0.1"), ("dense", "0.5")]
)
def test_it_learns_with_every_credit(trained, mode, weight):
    """From a policy that tints everything and edits nothing: the edit comes, the tint goes, on unseen scenarios."""
    options = {"steps": 40, "prompts": 4, "samples": 8, "learning_rate": 6e-3}
    log = trained(credit=mode, weight=weight, **options, validation=f"{SUITE}:count=12", validate_every=40)
    before, after = (line for line in log if "validation/edit" in line)
    assert after["validation/edit"] > before["validation/edit"] + 0.05
    assert after["validation/keep"] > before["validation/keep"] + 0.015


def test_region_weights_are_the_ones_of_credit(told):
    scenarios = Prompts(SUITE, 2, 0)(0)
    found = program.cell_weights(scenarios, (8, 8), 1, 0.2)
    mask = torch.from_numpy(np.stack([scenario.mask for scenario in scenarios]))
    edit, keep = credit.region_weights(mask, (8, 8), 1, 0.2)
    assert torch.equal(found["edit"], edit) and torch.equal(found["keep"], keep)


def test_a_reward_service_that_goes_down_masks_its_samples_and_gives_no_reward_of_0(trained, tmp_path):
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(len(request["samples"]))
            up = len(asked) <= 2
            body = json.dumps({"values": [7.0 + number for number in range(asked[-1])]}).encode() if up else b"down"
            self.send_response(200 if up else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        reward = f"[http://127.0.0.1:{server.server_address[1]}/reward]"
        log = trained(steps=4, reward_edit=reward, output_dir=str(tmp_path / "down"))
    finally:
        server.shutdown()
        server.server_close()
    up = [line for line in log if not line["failed"]]
    down = [line for line in log if sum(line["failed"].values()) == 12]
    assert up and down
    assert all("HTTP 503" in reason for line in down for reason in line["failed"])
    assert all(line["reward/edit"] >= 7 for line in up)
    assert all("reward/edit" not in line and line["grad_norm"] == 0 for line in down)
