import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from edit_grpo_ref.config import Config
from edit_grpo_ref.credit import region_weights
from edit_grpo_ref.flow import draw, log_prob, transition
from edit_grpo_ref.options import configure, presets
from edit_grpo_ref.policies import Policy, load_policy, select
from edit_grpo_ref.policies.diffusers import Diffusers, working_size
from edit_grpo_ref.policies.packing import pack, unpack
from edit_grpo_ref.train import train
from edit_grpo_ref.trust import Region, loss, region_mean
from editbench.types import EditbenchError, EditRequest

FAMILIES = ["kontext", "qwen", "qwen_plus", "sd3", "pix2pix"]
HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="session")
def policy(toy_pipeline):
    """Return a function that loads the policy of a family, in single precision; a test that changes it wants it new."""
    loaded = {}

    def load(family, new=False, **options):
        key = family, *sorted(options.items())
        if new or key not in loaded:
            made = Diffusers(str(toy_pipeline(family).folder), **{"dtype": "float32", "lora": 2, **options})
            if new:
                return made
            loaded[key] = made
        return loaded[key]

    return load


def request(instruction="make the star blue", seed=0, height=HEIGHT, width=WIDTH):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return EditRequest(source=coarse.repeat(8, 0).repeat(8, 1), instruction=instruction, seed=seed)


def perturb(policy, amount=0.3):
    """Change what is trained, so that it is no longer the policy that was loaded."""
    torch.manual_seed(11)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight += amount * torch.randn_like(weight)


def ode(policy, x, condition, steps):
    """Roll out without noise; return the latents after each step."""
    levels = policy.levels(steps, condition)
    kind = "ode" if policy.prediction == "velocity" else "ddim"
    latents = [policy.start(x, levels[0].expand(len(x)), condition)]
    for step in range(steps):
        predicted = policy.predict(latents[-1], levels[step].expand(len(x)), condition)
        latents.append(transition(kind, latents[-1], predicted, levels[step], levels[step + 1], levels[1], 0.0)[0])
    return latents


def noise(policy, condition, count=1, seed=3):
    return torch.randn(count, *policy.shape(condition), generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------- parity with the pipelines


@pytest.fixture
def small_qwen(monkeypatch):
    """Let Qwen's pipelines work at the source's size instead of a megapixel."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus

    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda area, ratio: (WIDTH, HEIGHT, None))
    monkeypatch.setattr(
        pipeline_qwenimage_edit_plus,
        "calculate_dimensions",
        lambda area, ratio: (WIDTH, HEIGHT) if area > 384 * 384 else (480, 320),
    )


CALLS = {
    "kontext": {"guidance_scale": 2.5, "max_area": HEIGHT * WIDTH, "_auto_resize": False},
    "qwen": {"negative_prompt": " ", "true_cfg_scale": 4.0},
    "qwen_plus": {"negative_prompt": " ", "true_cfg_scale": 4.0},
    "sd3": {"guidance_scale": 7.0, "strength": 0.6, "num_inference_steps": 10},
    "pix2pix": {"guidance_scale": 7.5, "image_guidance_scale": 1.5},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_rollout_is_the_pipelines_call(family, policy, toy_pipeline, small_qwen):
    ours, pipe, asked = policy(family), toy_pipeline(family).pipe, request()
    condition = ours.encode([asked])
    x = noise(ours, condition)
    latents = ode(ours, x, condition, steps=6)
    options = {"num_inference_steps": 6, **CALLS[family]}
    if family != "pix2pix":
        options |= {"height": HEIGHT, "width": WIDTH}
    theirs = pipe(
        image=PILImage.fromarray(asked.source),
        prompt=asked.instruction,
        latents=latents[0],
        output_type="latent",
        **options,
    ).images
    assert latents[-1].std() > 0.3
    assert (latents[-1] - theirs).abs().max() < 2e-4 * latents[-1].abs().max()
    picture = pipe(
        image=PILImage.fromarray(asked.source),
        prompt=asked.instruction,
        latents=latents[0],
        output_type="np",
        **options,
    ).images[0]
    (image,) = ours.decode(latents[-1], condition)
    assert image.std() > 5
    assert np.abs(image / 255 - picture).max() < 0.5 / 255 + 1e-3


def test_kontexts_guidance_by_a_second_prediction_is_the_pipelines(policy, toy_pipeline):
    ours, pipe, asked = policy("kontext", true_guidance=2.0, guidance=4.0), toy_pipeline("kontext").pipe, request()
    condition = ours.encode([asked])
    latents = ode(ours, noise(ours, condition), condition, steps=3)
    options = {**CALLS["kontext"], "guidance_scale": 4.0, "true_cfg_scale": 2.0, "negative_prompt": ""}
    theirs = pipe(
        image=PILImage.fromarray(asked.source),
        prompt=asked.instruction,
        latents=latents[0],
        output_type="latent",
        num_inference_steps=3,
        height=HEIGHT,
        width=WIDTH,
        **options,
    ).images
    assert (latents[-1] - theirs).abs().max() < 2e-4 * latents[-1].abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_ode_step_is_the_schedulers(family, policy, toy_pipeline):
    ours, scheduler = policy(family), toy_pipeline(family).pipe.scheduler
    condition = ours.encode([request()])
    levels = ours.levels(6, condition)
    assert levels.dtype == torch.float32
    assert levels.shape == (7,)
    kind = "ode" if ours.prediction == "velocity" else "ddim"
    if kind == "ode":
        assert levels[-1] == 0
        assert (levels.diff() < 0).all()
    else:
        assert (levels.diff() > 0).all()
    if family == "sd3":
        scheduler.set_timesteps(10)
        scheduler.set_begin_index(4)
        times = scheduler.timesteps[4:]
    elif family == "pix2pix":
        scheduler.set_timesteps(6)
        times = scheduler.timesteps
    else:
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        config = scheduler.config
        shift = calculate_shift(
            HEIGHT * WIDTH // 256,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=shift)
        scheduler.set_begin_index(0)
        times = scheduler.timesteps
    x = noise(ours, condition)
    for step, time in enumerate(times):
        predicted = noise(ours, condition, seed=step)
        mean, _ = transition(kind, x, predicted, levels[step], levels[step + 1], levels[1], 0.0)
        x = scheduler.step(predicted, time, x, return_dict=False)[0]
        assert (mean - x).abs().max() <= (0 if kind == "ode" else 2e-6 * x.abs().max())


def test_the_first_levels_of_kontext_at_512_pixels(policy):
    levels = policy("kontext").levels(6, {"size": torch.tensor([[512, 512]])})
    assert levels.tolist() == pytest.approx([1, 0.904, 0.790, 0.653, 0.484, 0.273, 0], abs=6e-4)


# ----------------------------------------------------------------------------------------------- rollout and replay


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ratio_of_an_unchanged_policy_is_one_and_its_gradient_is_not_zero(family, policy):
    ours = policy(family, new=True)
    perturb(ours, 0.02)
    condition = select(ours.encode([request()]), torch.zeros(3, dtype=torch.int64))
    levels, kind = ours.levels(4, condition), "flow_sde" if ours.prediction == "velocity" else "ddim"
    scale = 0.7 if kind == "flow_sde" else 1.0
    x = ours.start(noise(ours, condition, 3), levels[0].expand(3), condition)
    for step in range(3):
        rows = levels[step].expand(3)
        with torch.no_grad():
            mean, std = transition(
                kind, x, ours.predict(x, rows, condition), levels[step], levels[step + 1], levels[1], scale
            )
        after = draw(mean, std, noise(ours, condition, 3, seed=step + 50))
        old = log_prob(after, mean, std)
        predicted = ours.predict(x, rows, condition)
        assert predicted.dtype == torch.float32
        new_mean, new_std = transition(kind, x, predicted, levels[step], levels[step + 1], levels[1], scale)
        new = log_prob(after, new_mean, new_std)
        assert torch.equal(new, old)
        edit, keep = region_weights(torch.ones(3, HEIGHT, WIDTH), ours.grid(condition))
        regions = {
            "edit": Region(torch.tensor([1.0, -0.5, 0.2]), ours.spread(edit)),
            "keep": Region(torch.ones(3), ours.spread(keep)),
        }
        value, log = loss(new, old, new_mean, mean, std, torch.ones(3), regions)
        assert log["edit/ratio"] == 1
        gradients = torch.autograd.grad(value, list(ours.trainable().values()), allow_unused=True)
        assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
        x = after


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(family, policy):
    ours = policy(family)
    asked = [request("make the star blue"), request("now remove the big red circle, please", seed=1)]
    together = ours.encode(asked)
    x, level = noise(ours, together, 2), torch.tensor([0.7, 0.4])
    if ours.prediction == "noise":
        level = ours.levels(6, together)[[1, 4]]
    both = ours.predict(x, level, together)
    for row in range(2):
        alone = ours.predict(x[row : row + 1], level[row : row + 1], ours.encode([asked[row]]))
        assert (both[row] - alone[0]).abs().max() < 1e-4 * both.abs().max()
    assert (both[0] - ours.predict(x[:1], level[:1], ours.encode([asked[1]]))[0]).abs().max() > 1e-3


def test_texts_of_different_length_are_padded_and_the_padding_is_not_read(policy):
    ours = policy("qwen")
    condition = ours.encode([request("blue"), request("a much longer instruction")])
    assert condition["mask"].sum(1).diff().item() == len("a much longer instruction") - len("blue")
    x, level = noise(ours, condition, 2), torch.full((2,), 0.5)
    expected = ours.predict(x, level, condition)
    spoilt = {**condition, "prompt": condition["prompt"] + 9.0 * ~condition["mask"][..., None]}
    assert torch.allclose(ours.predict(x, level, spoilt), expected, atol=1e-6)


def test_qwens_guidance_keeps_the_length_of_each_tokens_vector(policy):
    guided, plain = policy("qwen"), policy("qwen", guidance=1.0)
    condition = guided.encode([request()])
    x, level = noise(guided, condition), torch.tensor([0.5])
    with_guidance, without = guided.predict(x, level, condition), plain.predict(x, level, condition)
    assert torch.allclose(with_guidance.norm(dim=-1), without.norm(dim=-1), rtol=1e-5)
    assert (with_guidance - without).abs().max() > 1e-3
    assert not [name for name in plain.encode([request()]) if name.startswith("negative")]


def test_checkpointing_changes_no_gradient(policy):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        ours = policy("kontext", new=True, checkpointing=checkpointing)
        perturb(ours, 0.02)
        condition = ours.encode([request()])
        value = ours.predict(noise(ours, condition), torch.tensor([0.6]), condition).square().mean()
        found.append(torch.autograd.grad(value, list(ours.trainable().values())))
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(*found, strict=True))


# -------------------------------------------------------------------------------------------- packing, sizes, regions


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_spread_as_the_latents_are(family, policy):
    ours = policy(family)
    condition = ours.encode([request()])
    rows, columns = ours.grid(condition)
    assert (rows, columns) == (HEIGHT // 8, WIDTH // 8)
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, 9:31, 40:85] = True
    edit, _ = region_weights(mask, (rows, columns), erode=0, band=1)
    values = torch.randn(1, 4, rows, columns)
    latents = pack(values, 2) if len(ours.shape(condition)) == 2 else values
    assert latents.shape[1:] == ours.shape(condition)
    expected = (values * edit[:, None]).sum() / (4 * edit.sum())
    assert region_mean(latents, ours.spread(edit)).item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.equal(
        latents * ours.spread(edit), pack(values * edit[:, None], 2) if latents.ndim == 3 else values * edit
    )


def test_packing_is_diffusers_own():
    from diffusers import FluxKontextPipeline

    latents = torch.randn(2, 3, 6, 10)
    assert torch.equal(pack(latents, 2), FluxKontextPipeline._pack_latents(latents, 2, 3, 6, 10))
    assert torch.equal(unpack(pack(latents, 2), 2, 6, 10), latents)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 70), (40, 24)])
@pytest.mark.parametrize("family", FAMILIES)
def test_images_have_the_size_of_their_source(family, height, width, policy):
    ours = policy(family)
    asked = EditRequest(np.full((height, width, 3), 90, np.uint8), "make it red", 0)
    condition = ours.encode([asked, asked])
    images = ours.decode(noise(ours, condition, 2), condition)
    assert [image.shape for image in images] == [(height, width, 3)] * 2
    assert all(image.dtype == np.uint8 for image in images)
    working = [side * 8 for side in ours.grid(condition)]
    assert all(side % ours._family.multiple == 0 for side in working)
    assert all(abs(side - own) <= ours._family.multiple / 2 for side, own in zip(working, (height, width), strict=True))


def test_pictures_are_edited_at_the_area_that_is_asked_for(policy):
    assert working_size(1000, 500, 16, None) == (992, 496)
    assert working_size(1000, 500, 16, 512 * 512) == (720, 368)
    assert working_size(5, 5, 16, None) == (16, 16)
    ours = policy("kontext", area=48 * 48)
    condition = ours.encode([request(height=96, width=96)])
    assert ours.grid(condition) == (6, 6)
    assert ours.decode(noise(ours, condition), condition)[0].shape == (96, 96, 3)


def test_a_batch_of_two_sizes_is_refused(policy):
    with pytest.raises(EditbenchError, match="in one batch, expected one size"):
        policy("sd3").encode([request(), request(height=32)])


def test_img2img_starts_from_the_noised_source(policy):
    ours = policy("sd3", strength=0.5)
    condition = ours.encode([request()])
    levels = ours.levels(4, condition)
    assert 0.5 < levels[0] < 0.9  # shifted by 3
    x = noise(ours, condition)
    started = ours.start(x, levels[:1], condition)
    assert torch.allclose(started, levels[0] * x + (1 - levels[0]) * condition["source"])
    assert policy("sd3", strength=1.0).levels(4, condition)[0] == 1
    kontext = policy("kontext")
    condition = kontext.encode([request()])
    x = noise(kontext, condition)
    assert torch.equal(kontext.start(x, torch.ones(1), condition), x)


# --------------------------------------------------------------------------------------------------- what is trained


@pytest.mark.parametrize("lora", [2, 0])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_the_policy_as_it_was_loaded(family, lora, policy):
    ours, base = policy(family, new=True, lora=lora), policy(family, lora=lora)
    condition = ours.encode([request()])
    x, level = noise(ours, condition), ours.levels(4, condition)[1:2]
    before = base.predict(x, level, condition)
    assert torch.equal(ours.predict(x, level, condition), before)  # adapters start at nothing
    perturb(ours, 0.05)
    changed = ours.predict(x, level, condition)
    assert (changed - before).abs().max() > 1e-4
    with torch.no_grad(), ours.reference():
        assert torch.equal(ours.predict(x, level, condition), before)
    assert torch.equal(ours.predict(x, level, condition), changed)
    with pytest.raises(RuntimeError, match="in between"), ours.reference():
        raise RuntimeError("in between")
    assert torch.equal(ours.predict(x, level, condition), changed)


def test_the_reference_may_be_asked_between_forward_and_backward(policy):
    for lora in (2, 0):
        ours = policy("kontext", new=True, lora=lora)
        perturb(ours, 0.02)
        condition = ours.encode([request()])
        x, level = noise(ours, condition), torch.tensor([0.5])
        (plain,) = torch.autograd.grad(ours.predict(x, level, condition).sum(), [next(iter(ours.trainable().values()))])
        value = ours.predict(x, level, condition).sum()
        with torch.no_grad(), ours.reference():
            ours.predict(x, level, condition)
        assert torch.equal(torch.autograd.grad(value, [next(iter(ours.trainable().values()))])[0], plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_in_single_precision_on_attention_and_feed_forward(family, policy):
    ours = policy(family, new=True, dtype="bfloat16")
    trained = ours.trainable()
    assert all(weight.dtype == torch.float32 for weight in trained.values())
    assert all("lora_" in name for name in trained)
    ends = {name.split(".lora_")[0] for name in trained}
    assert any(name.endswith("to_q") for name in ends)
    assert any(name.endswith(("net.0.proj", "proj_mlp")) for name in ends)
    whole = ours._family.network
    assert {weight.dtype for weight in whole.parameters()} == {torch.float32, torch.bfloat16}
    condition = ours.encode([request()])
    predicted = ours.predict(noise(ours, condition), ours.levels(4, condition)[1:2], condition)
    assert predicted.dtype == torch.float32
    predicted.square().sum().backward()
    others = [part for part in ours._family.pipe.components.values() if isinstance(part, torch.nn.Module)]
    others.remove(whole)
    assert len(others) >= 2
    assert not any(weight.requires_grad for part in others for weight in part.parameters())
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in trained.values())


def test_a_request_is_encoded_once(policy, monkeypatch):
    ours = policy("kontext", remembered=2)
    calls = []
    encode = type(ours._family).encode
    monkeypatch.setattr(type(ours._family), "encode", lambda self, *a: calls.append(a[1]) or encode(self, *a))
    first, second = request("one"), request("two")
    ours.encode([first, second, first])
    condition = ours.encode([second])
    assert calls == ["one", "two"]
    assert torch.equal(condition["prompt"], ours.encode([first, second])["prompt"][1:])
    ours.encode([request("three")])
    ours.encode([first])
    assert calls == ["one", "two", "three", "one"]
    ours.encode([request("one", seed=5)])  # another picture
    assert len(calls) == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_with_the_program(family, toy_pipeline, trained):
    log = trained(
        policy=f"diffusers:{toy_pipeline(family).folder},lora=2,dtype=float32",
        sampler="ddim" if family == "pix2pix" else "flow_sde",
        credit="dense" if family == "kontext" else "region",
        kl_edit=0.01,
        steps=2,
        prompts=2,
        samples=3,
    )
    steps = [line for line in log if "loss" in line]
    assert len(steps) == 2
    for line in steps:
        assert line["edit/ratio"] == line["keep/ratio"] == 1
        assert line["grad_norm"] > 0
    assert steps[0]["edit/kl"] == 0
    assert steps[1]["edit/kl"] > 0  # away from the adapters switched off


def test_the_preset_for_one_gpu_trains(toy_pipeline, told):
    """All its options but the model, the device and what makes it long."""
    preset = presets()["kontext-1gpu"]
    model = preset["policy"].replace("black-forest-labs/FLUX.1-Kontext-dev", str(toy_pipeline("kontext").folder))
    small = {"policy": model.replace("device=cuda,area=262144,lora=32", "device=cpu,area=4096,lora=2")}
    small |= {name: preset[name].replace("size=512", "size=96") for name in ("suite", "validation")}
    small |= {"samples": 3, "denoising_steps": 4, "eval_steps": 3, "steps": 2, "validate_on": 1}
    assert small["policy"] != model and "checkpointing=true" in model
    config = configure(Config, "kontext-1gpu", {**small, "output_dir": told()["output_dir"]})
    assert train(config)
    log = [json.loads(line) for line in (Path(config.output_dir) / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation/edit" in line] == [0, 2]
    for line in [line for line in log if "loss" in line]:
        assert line["edit/ratio"] == line["keep/ratio"] == 1 and not line["failed"]
        assert math.isfinite(line["grad_norm"]) and line["skipped"] == 0


# --------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("family", FAMILIES)
def test_a_spec_makes_the_same_policy_again(family, toy_pipeline):
    folder = toy_pipeline(family).folder
    ours = load_policy(f"diffusers:{folder},lora=2,dtype=float32")
    assert isinstance(ours, Policy)
    assert ours.spec == f"diffusers:{folder},lora=2,dtype=float32"
    torch.manual_seed(99)
    again = load_policy(ours.spec)
    condition = ours.encode([request()])
    x, level = noise(ours, condition), ours.levels(4, condition)[1:2]
    assert torch.equal(again.predict(x, level, condition), ours.predict(x, level, condition))
    assert list(again.trainable()) == list(ours.trainable())
    assert all(map(torch.equal, again.trainable().values(), ours.trainable().values()))  # as on another rank


def test_what_cannot_be_loaded_is_said(policy, tmp_path):
    with pytest.raises(EditbenchError, match="no model '/nowhere/at/all'"):
        load_policy("diffusers:/nowhere/at/all")
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "_diffusers_version": "0.42.1"}')
    with pytest.raises(EditbenchError, match="is a FluxPipeline, which cannot be trained here: did you mean 'FluxKon"):
        Diffusers(str(tmp_path))
    with pytest.raises(EditbenchError, match="a FluxKontextPipeline has no strength: leave it out"):
        policy("kontext", strength=0.4)


def test_without_peft_it_says_how_to_get_it(policy, monkeypatch):
    monkeypatch.delattr("peft.LoraConfig")
    with pytest.raises(EditbenchError, match=r"pip install 'editbench\[train\]', or lora=0"):
        policy("sd3", new=True)
    assert policy("sd3", lora=0).trainable()
