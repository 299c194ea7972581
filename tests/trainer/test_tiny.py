"""The embedded policy: its size, its packing, that nothing but the network changes a picture, and its pre-training."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edit_grpo_ref import examples as examples_module
from edit_grpo_ref.examples import draw_examples, spoil
from edit_grpo_ref.policies import Policy, load_policy
from edit_grpo_ref.policies.packing import pack, pack_weights, unpack
from edit_grpo_ref.policies.tiny import WEIGHTS, Tiny, as_latents, number_words, words_of
from edit_grpo_ref.policies.tiny_network import PADDING, UNKNOWN, WORDS, Architecture, Network
from edit_grpo_ref.pretrain import RECIPES, Batches, Recipe, Student, pretrain
from edit_grpo_ref.rollout import edit
from edit_grpo_ref.scenes import CATEGORIES, Scenes
from editbench.metrics.checks import Success
from editbench.types import EditbenchError, EditRequest, Sample

SMALL = Recipe(scenes=16, steps=6, batch=8, width=16, blocks=1, warmup=2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def requests():
    return [EditRequest(s.source, s.instruction, seed) for seed, s in enumerate(Scenes("train")[n] for n in range(8))]


@pytest.fixture(scope="module")
def examples():
    return draw_examples(SMALL.scenes)


def latents(count, seed=0):
    return torch.randn(count, 256, 48, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------- limits


def test_it_is_as_small_as_promised(tiny, requests):
    assert sum(parameter.numel() for parameter in tiny.trainable().values()) <= 1_000_000
    condition = tiny.encode(requests[:1])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tiny.predict(latents(1), torch.ones(1), condition)
    assert 10e6 < counter.get_total_flops() / 2 <= 100e6  # multiply-adds, as torch counts its own operators
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_every_token_can_change_every_other(tiny, requests):
    """Attention: what is noisy in one corner has influence on the opposite one, so credit can leak."""
    condition = tiny.encode(requests[:1])
    x = latents(1).requires_grad_()
    tiny.predict(x, torch.full((1,), 0.7), condition)[0, -1].sum().backward()
    assert (x.grad[0].abs().sum(1) > 0).all()


# ------------------------------------------------------------------------------------------------------ packing


@pytest.mark.parametrize(("patch", "shape"), [(4, (2, 3, 64, 64)), (2, (2, 16, 12, 20))])
def test_packing_puts_a_patch_into_a_token_and_comes_back(patch, shape):
    picture = torch.arange(np.prod(shape), dtype=torch.float64).reshape(shape)
    tokens = pack(picture, patch)
    columns = shape[3] // patch
    assert tokens.shape == (shape[0], shape[2] // patch * columns, shape[1] * patch * patch)
    row, column = 2, 1
    expected = picture[1, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
    assert torch.equal(tokens[1, row * columns + column], expected.reshape(-1))
    assert torch.equal(unpack(tokens, patch, *shape[2:]), picture)


def test_packed_weights_are_those_of_the_latents():
    """Region means in packed space equal those in (C, h, w); a token's mean is a pool over its patch."""
    chance = torch.Generator().manual_seed(0)
    picture = torch.randn(3, 5, 12, 8, generator=chance, dtype=torch.float64)
    weights = torch.rand(3, 12, 8, generator=chance, dtype=torch.float64)
    packed = pack_weights(weights, 2, 5)
    in_tokens = (packed * pack(picture, 2)).sum((1, 2)) / packed.sum((1, 2))
    in_planes = (weights[:, None] * picture).sum((1, 2, 3)) / (5 * weights.sum((1, 2)))
    torch.testing.assert_close(in_tokens, in_planes, rtol=0, atol=1e-12)
    pooled = functional.avg_pool2d(weights[:, None], 2).reshape(3, -1)
    torch.testing.assert_close(packed.mean(2), pooled, rtol=0, atol=1e-12)


def test_weights_of_cells_reach_the_tokens_of_the_same_place(tiny, requests):
    condition = tiny.encode(requests[:2])
    rows, columns = tiny.grid(condition)
    plane = torch.rand(2, rows, columns)
    per_pixel = functional.interpolate(plane[:, None], scale_factor=4, mode="nearest")
    packed = pack_weights(per_pixel[:, 0], 4, 3)
    assert torch.equal(tiny.spread(plane).expand(2, *tiny.shape(condition)), packed)


# ------------------------------------------------------------------------------------------------------- policy


def test_it_is_a_policy_that_its_spec_makes_again(tiny, tmp_path):
    assert isinstance(tiny, Policy) and tiny.spec == "tiny" and tiny.mask_access == "none"
    elsewhere = tmp_path / "a, b.safetensors"
    elsewhere.write_bytes(WEIGHTS.read_bytes())
    other = Tiny(elsewhere)
    again = load_policy(other.spec)
    assert again.weights == elsewhere
    assert all(torch.equal(one, again.trainable()[name]) for name, one in tiny.trainable().items())


def test_the_batch_has_no_influence(tiny, requests):
    noise, level = latents(8), torch.linspace(1, 0.2, 8)
    with torch.no_grad():
        whole = tiny.predict(noise, level, tiny.encode(requests))
        for n, request in enumerate(requests):
            alone = tiny.predict(noise[n : n + 1], level[n : n + 1], tiny.encode([request]))
            torch.testing.assert_close(alone, whole[n : n + 1], rtol=0, atol=1e-5)


def test_the_same_bits_every_time(tiny, requests):
    condition = tiny.encode(requests)
    with torch.no_grad():
        first, second = (tiny.predict(latents(8), torch.full((8,), 0.5), condition) for _ in range(2))
    assert torch.equal(first, second)


def test_a_velocity_leads_to_what_the_network_means(tiny, requests):
    """x − σ v is the network's x0, whatever σ: one Euler step from any level to 0 ends there."""
    condition = tiny.encode(requests)
    level = torch.tensor([1.0, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 1 / 6])
    noise = latents(8)
    with torch.no_grad():
        velocity = tiny.predict(noise, level, condition)
        residual = tiny._network(noise, level, condition["source"], condition["words"])
    assert velocity.dtype == torch.float32
    x0 = noise - level[:, None, None] * velocity
    torch.testing.assert_close(x0, condition["source"] + residual, rtol=0, atol=1e-5)


def test_a_gate_opens_one_pixel_in_all_its_channels():
    network = Network(Architecture(10, width=16, blocks=1))
    with torch.no_grad():
        bias = network.head[2].bias
        bias[:48] = 1.0  # white
        bias[48:] = -40.0
        bias[48 + 6] = 40.0  # second row, third column of every patch
        residual = network(latents(1), torch.ones(1), torch.zeros(1, 256, 48), torch.full((1, WORDS), 2))
    expected = torch.zeros(1, 3, 64, 64)
    expected[:, :, 1::4, 2::4] = 1.0
    torch.testing.assert_close(unpack(residual, 4, 64, 64), expected)


def test_levels_go_from_noise_to_the_picture(tiny, requests):
    levels = tiny.levels(6, tiny.encode(requests[:1]))
    assert levels.dtype == torch.float32 and len(levels) == 7
    assert levels[0] == 1 and levels[-1] == 0 and (levels[1:] < levels[:-1]).all()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (96, 160), (40, 40)])
def test_what_the_network_leaves_alone_stays_to_the_bit(tiny, height, width):
    chance = np.random.default_rng(0)
    source = chance.integers(0, 256, (height, width, 3), np.uint8)
    condition = tiny.encode([EditRequest(source, "make the star red", 0)])
    assert np.array_equal(tiny.decode(condition["source"], condition)[0], source)


def test_a_change_in_one_corner_leaves_the_opposite_one_to_the_bit(tiny):
    source = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    condition = tiny.encode([EditRequest(source, "make the star red", 0)])
    x0 = condition["source"].clone()
    x0[:, 0] += 0.5
    output = tiny.decode(x0, condition)[0]
    changed = np.argwhere((output != source).any(axis=2))
    assert len(changed) >= 12 * 12 and changed.max() < 40


def test_a_change_is_as_large_in_a_large_picture(tiny):
    source = np.full((256, 256, 3), 100, np.uint8)
    condition = tiny.encode([EditRequest(source, "make the star red", 0)])
    assert (tiny.decode(condition["source"] + 20 / 127.5, condition)[0] == 120).all()
    black = tiny.encode([EditRequest(np.zeros((64, 64, 3), np.uint8), "make the star red", 0)])
    assert (tiny.decode(torch.ones(1, 256, 48), black)[0] == 255).all()


def test_the_reference_stays_what_was_loaded(requests):
    policy = Tiny()
    condition, x, level = policy.encode(requests), latents(8), torch.full((8,), 0.5)
    with torch.no_grad():
        loaded = policy.predict(x, level, condition)
        for parameter in policy.trainable().values():
            parameter.mul_(1.05)
        trained = policy.predict(x, level, condition)
        with policy.reference():
            assert torch.equal(policy.predict(x, level, condition), loaded)
        assert torch.equal(policy.predict(x, level, condition), trained) and not torch.equal(trained, loaded)


def test_a_batch_of_several_sizes_is_refused(tiny, requests):
    larger = EditRequest(np.zeros((96, 96, 3), np.uint8), "make the star red", 0)
    with pytest.raises(EditbenchError, match=r"tiny: .*expected one size"):
        tiny.encode([requests[0], larger])


def test_words_are_numbered_and_unknown_ones_say_so():
    assert words_of("Make the Star 40 % smaller.") == ["make", "the", "star", "40", "smaller"]
    rows = number_words(["the star", "the moon " + 30 * "the "], {"the": 2, "star": 3})
    assert rows.shape == (2, WORDS) and rows.dtype == torch.int64
    assert rows[0].tolist() == [2, 3] + [PADDING] * (WORDS - 2)
    assert rows[1].tolist() == [2, UNKNOWN] + [2] * (WORDS - 2)


def test_every_word_of_its_scenes_is_known(tiny):
    words = {word for n in range(400) for word in words_of(Scenes("train")[n].instruction)}
    assert words <= set(tiny._parts.vocabulary) and len(words) > 60


def test_padding_is_not_read(tiny, requests):
    """The same words further from the end of the row: only the padding differs in what it was before."""
    network = tiny._network
    condition = tiny.encode(requests[:1])
    with torch.no_grad():
        before = network(latents(1), torch.ones(1), condition["source"], condition["words"])
        kept = network.reader.embedding.weight[PADDING].clone()
        network.reader.embedding.weight[PADDING] += 3.0
        after = network(latents(1), torch.ones(1), condition["source"], condition["words"])
        network.reader.embedding.weight[PADDING] = kept
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


# ----------------------------------------------------------------------------------------- the weights in the package

SUCCESSES = {"recolour": 6, "remove": 10, "background": 6}
"""Of the first 20 validation scenarios of each category, at 6 steps."""


def test_the_weights_edit_as_well_as_the_card_says(tiny):
    suite = Scenes("validation")
    scenarios = [suite[number] for number in range(20 * len(CATEGORIES))]
    outputs = edit(tiny, [EditRequest(s.source, s.instruction, n) for n, s in enumerate(scenarios)], 6)
    values = Success().score([Sample(*pair) for pair in zip(scenarios, outputs, strict=True)])
    counts = {name: sum(v for s, v in zip(scenarios, values, strict=True) if s.category == name) for name in CATEGORIES}
    for name, count in counts.items():
        assert count == pytest.approx(SUCCESSES[name], abs=2), (name, counts)  # last bits differ between processors


# -------------------------------------------------------------------------------------------------- pre-training


def test_a_few_steps_lower_the_loss(examples):
    torch.manual_seed(0)
    recipe = dataclasses.replace(SMALL, steps=40, learning_rate=1e-2)
    vocabulary = {word: n for n, word in enumerate(sorted({w for i in examples.instructions for w in words_of(i)}), 2)}
    batch, student = Batches(recipe, examples, vocabulary).batch(0), Student(recipe, len(vocabulary) + 2)
    losses = [student.step(step, batch) for step in range(recipe.steps)]
    assert losses[-1] < 0.7 * losses[0]


def test_two_runs_are_equal_and_an_interrupted_one_too(tmp_path):
    for name, stops in (("a", [None]), ("b", [None]), ("c", [3, None])):
        for stop in stops:
            pretrain(tmp_path / name, SMALL, threads=1, stop_after=stop)
    one, two, three = ((tmp_path / name).read_bytes() for name in "abc")
    assert one == two == three
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"], "no checkpoint is left"
    other = tmp_path / "d"
    pretrain(other, SMALL, threads=1, stop_after=3)
    with pytest.raises(EditbenchError, match="is of another recipe"):
        pretrain(other, dataclasses.replace(SMALL, seed=1), threads=1)


def test_what_is_written_is_a_policy(tmp_path, requests):
    told = []
    pretrain(tmp_path / "w.safetensors", SMALL, threads=1, tell=told.append)
    policy = Tiny(tmp_path / "w.safetensors")
    assert policy._network.architecture == Architecture(len(policy._parts.vocabulary) + 2, width=16, blocks=1)
    assert [image.shape for image in edit(policy, requests[:2], 2)] == [(64, 64, 3)] * 2
    assert told[-1].step == told[-1].steps == SMALL.steps and np.isfinite(told[-1].loss)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118


def test_the_small_recipe_makes_a_larger_policy_of_the_same_kind(tiny, tmp_path, requests):
    assert tiny._network.architecture == Architecture(len(tiny._parts.vocabulary) + 2, Recipe.width, Recipe.blocks)
    assert RECIPES["tiny"] == Recipe()
    pretrain(tmp_path / "w.safetensors", dataclasses.replace(RECIPES["small"], steps=1, scenes=8, batch=2), threads=1)
    policy = Tiny(tmp_path / "w.safetensors")
    assert 3e6 < sum(parameter.numel() for parameter in policy.trainable().values()) < 3.5e6
    assert edit(policy, requests[:1], 2)[0].shape == (64, 64, 3)


def test_a_policy_that_sees_the_mask_asks_for_it(tmp_path, requests):
    pretrain(tmp_path / "w.safetensors", dataclasses.replace(SMALL, steps=1, mask=True), threads=1)
    policy = Tiny(tmp_path / "w.safetensors")
    assert policy.mask_access == "hint"
    with pytest.raises(EditbenchError, match="expected one in every request"):
        policy.encode(requests)
    mask = np.zeros((64, 64), np.bool_)
    mask[:4, 4:8] = True
    condition = policy.encode([dataclasses.replace(requests[0], mask=mask)])
    assert condition["mask"].sum(2)[0].nonzero().flatten().tolist() == [1]


def test_the_taught_picture_under_edits_inside_and_leaks_outside():
    chance = torch.Generator().manual_seed(0)
    source, target = (torch.rand(1, 3, 16, 16, generator=chance) for _ in range(2))
    mask = torch.zeros(1, 1, 16, 16)
    mask[:, :, 2:9, 3:8] = 1
    one = torch.ones(1, 1, 1, 1)
    taught = spoil(source, target, mask, 0.4 * one, 0.25 * torch.ones(1, 1, 4, 4), 0 * one)
    inside = mask.bool().expand_as(source)
    torch.testing.assert_close(taught[inside], (0.6 * source + 0.4 * target)[inside])
    colour = target[inside].reshape(3, -1).mean(1)[None, :, None, None]
    torch.testing.assert_close(taught[~inside], (0.75 * source + 0.25 * colour)[~inside])
    clean = spoil(source, target, mask, one, torch.zeros(1, 1, 4, 4), 0 * one)
    assert torch.equal(clean, torch.where(inside, target, source))
    smeared = spoil(source, source, mask, one, torch.zeros(1, 1, 4, 4), one)
    assert smeared[~inside].std() < 0.7 * source[~inside].std()


def test_batches_keep_to_the_recipe(examples):
    recipe = dataclasses.replace(SMALL, batch=64, tint=0.0, smear=0.0)
    vocabulary = {word: n for n, word in enumerate(sorted({w for i in examples.instructions for w in words_of(i)}), 2)}
    batch = Batches(recipe, examples, vocabulary).batch(0)
    outside = (batch.mask == 0).repeat(1, 1, 3)
    assert (batch.residual[outside] == 0).all()
    again = as_latents(torch.from_numpy(examples.target))
    sources = as_latents(torch.from_numpy(examples.source))
    for n in range(64):
        which = int((sources == batch.source[n]).all((1, 2)).nonzero()[0])
        whole = (again - sources)[which]
        strength = float((batch.residual[n] * whole).sum() / (whole * whole).sum())
        low, high = recipe.strength[which % len(CATEGORIES)]
        assert low <= round(strength, 4) <= high
        noise = (batch.x[n] - (1 - batch.level[n]) * (batch.source[n] + batch.residual[n])) / batch.level[n]
        assert 0.9 < float(noise.std()) < 1.1
    inside = batch.mask.repeat(1, 1, 3)
    shares = (batch.weight * inside).sum((1, 2)) / batch.weight.sum((1, 2))
    torch.testing.assert_close(shares, torch.full((64,), 0.5), rtol=0, atol=1e-4)
    torch.testing.assert_close(batch.weight.mean(), torch.tensor(1.0), rtol=0, atol=1e-4)
    assert 0.6 < float(batch.level.mean()) < 0.8 and float(batch.level.max()) <= 1


def test_every_step_and_seed_learns_from_other_examples(examples):
    vocabulary = {"the": 2}
    first = Batches(SMALL, examples, vocabulary)
    other = Batches(dataclasses.replace(SMALL, seed=1), examples, vocabulary)
    assert torch.equal(first.batch(1).x, first.batch(1).x)
    assert not torch.equal(first.batch(0).x, first.batch(1).x) and not torch.equal(first.batch(0).x, other.batch(0).x)


def test_rendering_in_processes_gives_the_same(examples):
    again = examples_module._gather(map(examples_module._example, range(4)), 4)
    assert np.array_equal(again.source, examples.source[:4]) and again.instructions == examples.instructions[:4]


# ------------------------------------------------------------------------------------------------------ packaging


def test_the_wheel_has_the_weights_and_the_card(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    wheel = next(iter(WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])))
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"edit_grpo_ref/policies/tiny.{end}" for end in ("safetensors", "md", "py")} <= set(names)
