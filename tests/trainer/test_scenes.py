"""Scenes to train on: of the suite's kind, none of the suite's own, and the same on every machine."""

import hashlib
import re
from itertools import islice

import numpy as np
import pytest

from edit_grpo_ref.scenes import CATEGORIES, LENGTHS, Scenes, draw
from editbench.registry import create
from editbench.suites.shapes import SCENES, Shapes, plans
from editbench.types import EditbenchError

CONTENT_SHA256 = "48430087f22f091dc71926b493b2f219b3fb89c75d34421b68adef6e901dfd66"


def first(split, count, size=64):
    suite = Scenes(split, size)
    return [suite[number] for number in range(count)]


def scene_keys(scenes):
    """Scenes as what they show, whatever order or absent things."""
    return {(scene.backdrop, tuple(thing for thing in scene.things if thing is not None)) for scene in scenes}


def test_no_split_shares_a_scene_with_another_or_with_the_benchmark():
    benchmark = scene_keys(plan.before for scene in range(SCENES) for plan in plans(scene).values())
    splits = [scene_keys(draw(split, number).before for number in range(240)) for split in LENGTHS]
    everything = [benchmark, *splits]
    assert len(benchmark) == SCENES and all(len(split) == 240 for split in splits)
    assert len(set.union(*everything)) == sum(map(len, everything))


def test_no_object_or_backdrop_of_the_benchmark_is_seen_in_training_either():
    benchmark = [scene for number in range(SCENES) for scene in (next(iter(plans(number).values())).before,)]
    backdrops, things = (
        {scene.backdrop for scene in benchmark},
        {thing for scene in benchmark for thing in scene.things},
    )
    trained = [draw("train", number).before for number in range(240)]
    assert not backdrops & {scene.backdrop for scene in trained}
    assert not things & {thing for scene in trained for thing in scene.things if thing is not None}


@pytest.mark.parametrize("split", LENGTHS)
def test_ids_are_unique_and_say_nothing_but_the_category(split):
    scenarios = first(split, 40)
    assert len({scenario.id for scenario in scenarios}) == len({scenario.cluster for scenario in scenarios}) == 40
    for number, scenario in enumerate(scenarios):
        assert scenario.category == CATEGORIES[number % len(CATEGORIES)]
        assert re.fullmatch(rf"{scenario.category}-\d{{6}}", scenario.id)
        assert re.fullmatch(rf"{split}-\d{{6}}", scenario.cluster)


def test_targets_pass_every_check_and_sources_none_that_demands_an_edit():
    for scenario in first("train", 24):
        assert scenario.source.shape == scenario.target.shape == (64, 64, 3)
        assert scenario.mask.any() and not scenario.mask.all()
        assert np.array_equal(scenario.source[~scenario.mask], scenario.target[~scenario.mask])
        assert all(check(scenario.target).passed for check in scenario.checks), scenario.id
        results = [(check.guard, check(scenario.source).passed) for check in scenario.checks]
        assert not all(passed for _, passed in results) and all(passed for guard, passed in results if guard)


def test_pixels_and_words_are_the_same_on_every_machine():
    digest = hashlib.sha256()
    for split in LENGTHS:
        for scenario in first(split, 4):
            digest.update(f"{scenario.id}\n{scenario.cluster}\n{scenario.instruction}".encode())
            digest.update(scenario.pixels_sha256.encode())
    assert digest.hexdigest() == CONTENT_SHA256


def test_a_scenario_does_not_depend_on_which_others_were_drawn():
    assert Scenes("train")[7].pixels_sha256 == list(islice(Scenes("train"), 8))[7].pixels_sha256


def test_the_scenes_are_the_same_at_every_size():
    small, large = Scenes("train")[5], Scenes("train", 256)[5]
    assert (small.id, small.cluster, small.instruction) == (large.id, large.cluster, large.instruction)
    assert large.source.shape == (256, 256, 3)
    averaged = large.source.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(averaged - small.source).mean() < 8


def test_names_and_identities_tell_splits_and_sizes_apart():
    variants = [Scenes(split, size) for split in LENGTHS for size in (64, 128)]
    assert len({suite.identity for suite in variants}) == len({suite.name for suite in variants}) == 6
    assert Scenes("train").name == "grpo_scenes@1:split=train"
    assert Scenes("train", 128).name == "grpo_scenes@1:split=train,size=128"
    assert Scenes("train").identity != Shapes(64).identity


def test_it_is_loaded_by_spec_and_refuses_what_it_has_not():
    suite = create("suite", "edit_grpo_ref.scenes:Scenes:split=validation")
    assert suite == Scenes("validation") and len(suite) == LENGTHS["validation"]
    with pytest.raises(EditbenchError, match=r"split='test', expected .*'?train"):
        create("suite", "edit_grpo_ref.scenes:Scenes:split=test")
    with pytest.raises(EditbenchError, match="size=65, expected a multiple of 16"):
        Scenes("train", 65)
    with pytest.raises(IndexError):
        suite[len(suite)]
