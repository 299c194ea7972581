"""Wrong masks, masks of some sizes, a judge that errs: each as wrong as it says, and usable by name."""

import numpy as np
import pytest

from edit_grpo_ref.config import Config
from edit_grpo_ref.options import configure
from edit_grpo_ref.study.stress import DILATION, SHIFT, Judge
from edit_grpo_ref.train import train
from editbench.metrics import load_metrics, score
from editbench.suites import load_suite
from editbench.types import EditbenchError, Sample

INNER = "grpo_scenes@1:split=validation"
STRESS = "edit_grpo_ref.study.stress"


def wrong(kind, index=4):
    spec = f"{STRESS}:WrongMasks:suite=[{INNER}],kind={kind}"
    suite = load_suite(spec)
    assert suite.name == spec and len(suite) == 240
    return suite[index], load_suite(INNER)[index]


def test_a_dilated_mask_holds_every_pixel_that_is_near_enough():
    changed, true = wrong("dilated")
    rows, columns = np.nonzero(true.mask)
    by = round(DILATION * 64)
    steps = np.abs(np.arange(64)[:, None, None] - rows) + np.abs(np.arange(64)[None, :, None] - columns)
    assert np.array_equal(changed.mask, (steps <= by).any(axis=2))
    assert np.array_equal(changed.source, true.source) and np.array_equal(changed.target, true.target)
    assert repr(changed.checks) == repr(true.checks) and changed.id == true.id


def test_a_shifted_mask_is_the_mask_elsewhere():
    changed, true = wrong("shifted")
    by = round(SHIFT * 64)
    expected = np.zeros_like(true.mask)
    expected[by:, by:] = true.mask[:-by, :-by]
    assert np.array_equal(changed.mask, expected) and expected.any()


def test_a_predicted_mask_is_mostly_where_the_edit_is():
    found = []
    for index in range(0, 18):
        changed, true = wrong("predicted", index)
        found.append((changed.mask & true.mask).sum() / (changed.mask | true.mask).sum())
        assert np.array_equal(changed.mask, wrong("predicted", index)[0].mask), "the same mask every time"
    assert 0.2 < np.mean(found) < 0.95, "neither useless nor right"


def test_sizes_are_within_their_bounds():
    everyone = load_suite(INNER)
    small = load_suite(f"{STRESS}:Sized:suite=[{INNER}],most=0.05,among=60")
    large = load_suite(f"{STRESS}:Sized:suite=[{INNER}],least=0.05,among=60")
    shares = {scenario.id: scenario.mask.mean() for scenario in list(everyone)[:60]}
    assert [s.id for s in small] == [name for name, share in shares.items() if share <= 0.05]
    assert len(small) + len(large) == 60 and len(small) > 5 and len(large) > 5
    assert small.identity != large.identity != everyone.identity
    with pytest.raises(EditbenchError, match=r"no mask covers between 0\.99 and 1"):
        len(load_suite(f"{STRESS}:Sized:suite=[{INNER}],least=0.99,among=6"))


def test_the_judge_errs_as_it_says():
    scenario = load_suite(INNER)[4]
    random = np.random.default_rng(0)
    outputs = [np.clip(scenario.source + random.normal(0, 9, scenario.source.shape), 0, 255) for _ in range(300)]
    samples = [Sample(scenario, output.astype(np.uint8)) for output in outputs]
    metrics = load_metrics(["target:mae,region=edit", "mae:region=keep"])
    exact = score(metrics, samples)
    truth = np.array([-row["target:mae,region=edit"] - 2 * row["mae:region=keep"] for row in exact])
    assert np.allclose(Judge(noise=0, bias=2).score(samples), truth)
    marks = np.array(Judge(noise=0.05, bias=2).score(samples))
    errors = marks - truth
    assert abs(errors.mean()) < 0.01 and errors.std() == pytest.approx(0.05, rel=0.15)
    assert np.array_equal(marks, Judge(noise=0.05, bias=2).score(samples))


def test_a_policy_trains_under_all_of_them(tmp_path):
    told = {
        "suite": f"{STRESS}:WrongMasks:suite=[{STRESS}:Sized:suite=[{INNER}],most=0.2,among=20],kind=dilated",
        "reward_edit": f"[{STRESS}:Judge:noise=0.01]",
        "output_dir": str(tmp_path / "run"),
        "validation": "none",
        "prompts": 2,
        "samples": 2,
        "steps": 1,
    }
    assert train(configure(Config, "tiny-cpu", told))
