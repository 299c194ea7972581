"""Real pipelines of every family, with random weights: each is asked as it wants, and edits what it is given."""

import inspect
import json
import re
import subprocess
import sys
from functools import wraps
from pathlib import Path
from runpy import run_path

import diffusers
import numpy as np
import pytest
import torch

import editbench as eb
from editbench.editors import load_editor
from editbench.editors.diffusers_families import AS_IMG2IMG, FAMILIES
from editbench.editors.diffusers_loading import INDEX, Checkpoint, find_checkpoint
from editbench.registry import spec_of
from editbench.types import EditbenchError, EditRequest

ROOT = Path(__file__).parents[1]
TOYS = run_path(str(Path(__file__).with_name("toy_pipelines.py")))["TOYS"]
INPAINTING = [name for name, family in FAMILIES.items() if family.mask]
OWN_CALL = {"OmniGenPipeline", "LEditsPPPipelineStableDiffusion", "LEditsPPPipelineStableDiffusionXL"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),  # Chroma's, in diffusers itself
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # LEDITS++'s scheduler likewise
]


@pytest.fixture(autouse=True)
def small_megapixels(monkeypatch):
    """Let what works at a megapixel whatever it is told (Qwen's, LongCat's, Kandinsky's) work at 64x32 pixels."""
    from diffusers.pipelines.longcat_image import pipeline_longcat_image_edit as longcat
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as qwen
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_inpaint as qwen_inpaint
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen_plus

    for module in (qwen, qwen_inpaint):
        monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: (64, 32, None))
    for module in (longcat, qwen_plus):
        monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: (64, 32))
    listed = property(lambda self: [(64, 32)], lambda self, sizes: None)
    monkeypatch.setattr(diffusers.Kandinsky5I2IPipeline, "resolutions", listed, raising=False)


@pytest.fixture(scope="module")
def editor(toy_pipeline):
    """Return a function that loads the editor of a family, in single precision and with few steps."""
    loaded = {}

    def load(family, **options):
        key = family, *sorted(options.items())
        if key not in loaded:
            loaded[key] = load_editor(spec(toy_pipeline(family).folder, family, **options))
        return loaded[key]

    return load


def spec(folder, family, **options):
    known = FAMILIES.get(family) or FAMILIES["StableDiffusionImg2ImgPipeline"]
    options = {"dtype": "float32", "steps": 2, **({"strength": 0.9} if known.strength else {}), **options}
    if family.startswith(("Flux2Klein", "ZImage")):
        options["call"] = "[max_sequence_length=64]"  # every prompt is padded to it
    return f"diffusers:{folder}," + ",".join(f"{name}={value}" for name, value in options.items())


def asked(seed=0, height=40, width=56, access="region", **options):
    source = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    mask[8:24, 8 + 4 * seed : 40] = True
    words = ("make the star blue", "now remove the big red circle, please", "Go.")[seed % 3]
    prompts = {"source_prompt": "a red star", "target_prompt": ("a blue star", "nothing on a lawn", "x")[seed % 3]}
    mask = None if access == "none" else mask
    return EditRequest(source.repeat(8, 0).repeat(8, 1), words, seed + 5, mask, **{**prompts, **options})


def one(loaded, request):
    (output,) = loaded.edit([request])
    if isinstance(output, Exception):
        raise output
    return output


def largest(first, second):
    return np.abs(first.image.astype(int) - second.image).max()


# ------------------------------------------------------------------------------------------------------ the table


def parameters(name):
    cls = getattr(diffusers, name)
    return {**inspect.signature(cls.__call__).parameters, **inspect.signature(getattr(cls, "invert", cls)).parameters}


def test_every_family_has_a_toy():
    assert set(FAMILIES) <= set(TOYS)
    assert set(AS_IMG2IMG.values()) <= set(FAMILIES)
    assert not set(AS_IMG2IMG) & set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_says_what_the_pipeline_takes(name):
    family, taken = FAMILIES[name], parameters(name)
    assert set(family.argument_names.values()) | set(family.defaults) <= set(taken)
    assert (family.mask is not None) == ("mask_image" in taken)
    assert family.mask in (None, "mask_image")
    assert family.strength == ("strength" in taken)
    if name not in OWN_CALL:
        listens = not family.own_size.startswith("source and result")
        assert family.sized == ({"height", "width"} <= set(taken) and (listens or name == "Kandinsky5I2IPipeline"))
    assert (family.image_guidance is not None) == bool({"image_guidance_scale", "img_guidance_scale"} & set(taken))


def test_the_page_has_every_row():
    page = (ROOT / "docs" / "diffusers.md").read_text()
    for name, family in FAMILIES.items():
        mask, batch = ("region" if family.mask else "none"), ("yes" if family.batch else "no")
        cells = (
            f"`{name}`",
            family.about,
            family.prompt,
            mask,
            str(family.multiple),
            batch,
            family.own_size or "nothing",
        )
        row = "| " + " | ".join(cells) + " |"
        assert row in page.splitlines(), f"docs/diffusers.md lacks the row\n{row}"


# ------------------------------------------------------------------------------------------------- every family


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_completes_a_run_on_every_suite(name, suite, toy_pipeline, editor, tmp_path):
    steps = {"steps": 2 if name.startswith("Qwen") else 1, **({"strength": 1} if FAMILIES[name].strength else {})}
    result = eb.run(
        spec(toy_pipeline(name).folder, name, max_side=32, **steps),
        suite=suite,
        limit=12,
        batch_size=4,
        metrics=["mae:region=keep", "mae:region=edit"],
        output_dir=str(tmp_path / "run"),
    )
    file = result.records()
    assert [record.edit_status for record in file.records] == ["ok"] * 12, [r.reason for r in file.records]
    distinct = len({record.edit_sha256 for record in file.records})
    assert distinct == 12 if suite == "shapes@1" else distinct >= 6  # some photographs' masks are empty at this size
    assert file.header.editor.mask_access == ("region" if FAMILIES[name].mask else "none")
    assert all(any(flag.startswith("edited-at=") for flag in record.flags) for record in file.records)
    stretched = FAMILIES[name].own_size.startswith("source and result")
    assert all(("pipeline-size=64x32" in record.flags) == stretched for record in file.records if suite == "shapes@1")


@pytest.mark.parametrize("name", FAMILIES)
def test_an_edit_depends_on_its_own_request_alone(name, editor):
    loaded = editor(name)
    requests = [asked(seed, access=loaded.mask_access) for seed in range(3)]
    requests.insert(1, asked(1, 24, 32, loaded.mask_access))  # of another size
    alone = [one(loaded, request) for request in requests]
    assert [output.image.shape for output in alone] == [request.source.shape for request in requests]
    torch.manual_seed(len(name))  # what others have drawn does not matter, and they do not notice
    before = torch.random.get_rng_state()
    together = loaded.edit(requests)
    tolerance = 1 if FAMILIES[name].batch else 0  # sums in another order, then rounded
    assert all(largest(*pair) <= tolerance for pair in zip(alone, together, strict=True))
    assert largest(alone[0], alone[2]) > 20
    other = asked(0, access=loaded.mask_access)
    object.__setattr__(other, "seed", 77)
    assert largest(one(loaded, other), alone[0]) > 1
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_reads_the_prompt_it_is_made_for(name, editor):
    loaded = editor(name)
    access = loaded.mask_access
    plain = one(loaded, asked(access=access))
    reworded = one(loaded, asked(access=access, target_prompt="something else entirely"))
    retold = one(loaded, EditRequest(**{**vars(asked(access=access)), "instruction": "paint it all green, quickly"}))
    if FAMILIES[name].prompt == "target":
        assert largest(plain, reworded) > 0 and largest(plain, retold) == 0
        without = one(loaded, asked(access=access, target_prompt=None))
        assert without.flags == (*plain.flags, "prompt=instruction")
        told = one(loaded, asked(access=access, target_prompt=asked().instruction))
        assert largest(without, told) == 0
    else:
        assert largest(plain, reworded) == 0 and largest(plain, retold) > 0
        assert "prompt=instruction" not in plain.flags


def given(monkeypatch, loaded):
    """Note what the pipeline is called with."""
    seen = []
    cls = type(loaded._loaded)
    call = cls.__call__

    def noting(self, *arguments, **options):
        seen.append(options)
        return call(self, *arguments, **options)

    monkeypatch.setattr(cls, "__call__", noting)
    return seen


@pytest.mark.parametrize("name", INPAINTING)
def test_masks_are_white_where_the_edit_is(name, editor, monkeypatch):
    loaded = editor(name)
    assert loaded.mask_access == "region"
    request = asked(height=64, width=64)
    seen = given(monkeypatch, loaded)
    one(loaded, request)
    (options,) = seen
    assert options["mask_image"].mode == "L"
    assert np.array_equal(np.asarray(options["mask_image"]), request.mask * np.uint8(255))
    assert np.array_equal(np.asarray(options["image"]), request.source)


def test_a_blended_edit_leaves_what_is_not_masked_as_the_autoencoder_does(editor, toy_pipeline):
    """Were the polarity wrong anywhere, it would be the other way round."""
    request = asked(height=64, width=96)
    request.mask[:] = False
    request.mask[:, 48:] = True
    round_trip = one(load_editor(f"vae:{toy_pipeline('FluxInpaintPipeline').folder}"), request).image.astype(int)
    edited = one(editor("FluxInpaintPipeline", strength=1), request).image
    change = np.abs(edited - round_trip).mean(axis=(0, 2))
    assert change[:24].mean() < 0.6 * change[-24:].mean()  # the decoder's norms and attention look everywhere


def test_the_controlnet_sees_a_hole(editor, monkeypatch):
    loaded = editor("StableDiffusionControlNetInpaintPipeline")
    request = asked(height=64, width=64)
    seen = given(monkeypatch, loaded)
    one(loaded, request)
    shown = seen[0]["control_image"][0].permute(1, 2, 0).numpy()
    assert (shown[request.mask] == -1).all()
    assert np.allclose(shown[~request.mask] * 255, request.source[~request.mask], atol=1e-3)


def test_kontext_keeps_the_size_of_the_source(editor, monkeypatch):
    loaded = editor("FluxKontextPipeline")
    seen = given(monkeypatch, loaded)
    output = one(loaded, asked(height=48, width=80, access="none"))
    assert seen[0]["_auto_resize"] is False and seen[0]["max_area"] == 48 * 80
    assert output.image.shape == (48, 80, 3) and output.flags == ()


def test_ledits_is_told_what_the_source_shows(editor, monkeypatch):
    loaded = editor("LEditsPPPipelineStableDiffusion", call="[skip=0.25,edit_threshold=0.5]")
    inverted = []
    invert = type(loaded._loaded).invert
    noting = wraps(invert)(lambda self, **options: inverted.append(options) or invert(self, **options))
    monkeypatch.setattr(type(loaded._loaded), "invert", noting)
    seen = given(monkeypatch, loaded)
    one(loaded, asked(access="none"))
    assert inverted[0]["source_prompt"] == "a red star" and inverted[0]["skip"] == 0.25
    assert inverted[0]["num_inversion_steps"] == 2
    assert seen[0]["editing_prompt"] == ["a blue star"] and seen[0]["edit_threshold"] == 0.5


# ------------------------------------------------------------------------------------------------------ options


def test_options_reach_the_pipeline_under_its_own_names(editor, monkeypatch):
    loaded = editor("QwenImageEditPipeline", guidance=3, steps=3)
    seen = given(monkeypatch, loaded)
    one(loaded, asked(access="none"))
    assert seen[0]["true_cfg_scale"] == 3 and seen[0]["num_inference_steps"] == 3 and seen[0]["negative_prompt"] == " "
    loaded = editor(
        "StableDiffusionInstructPix2PixPipeline", image_guidance=1.2, call="[eta=0.5,negative_prompt=blurry]"
    )
    seen = given(monkeypatch, loaded)
    loaded.edit([asked(seed, access="none") for seed in range(2)])
    assert seen[0]["image_guidance_scale"] == 1.2 and seen[0]["eta"] == 0.5
    assert seen[0]["negative_prompt"] == ["blurry", "blurry"]


def test_a_spec_makes_the_same_editor_again(editor):
    options = {"guidance": 4.5, "call": "[skip=0.25,edit_threshold=0.5]", "area": 4096, "fit": "edge"}
    loaded = editor("LEditsPPPipelineStableDiffusion", **options)
    written = spec_of(loaded)
    assert "call=[skip=0.25,edit_threshold=0.5]" in written and "fit=edge" in written and "strength" not in written
    assert load_editor(written) == loaded and spec_of(load_editor(written)) == written


def test_the_prompt_can_be_chosen(editor):
    by_target = editor("FluxKontextPipeline", prompt="target")
    told = one(
        editor("FluxKontextPipeline"), EditRequest(**{**vars(asked(access="none")), "instruction": "a blue star"})
    )
    assert largest(one(by_target, asked(access="none")), told) == 0


def test_a_text_to_image_checkpoint_is_loaded_for_img2img(editor, toy_pipeline):
    loaded = editor("text-to-image")
    assert type(loaded._loaded) is diffusers.StableDiffusionImg2ImgPipeline
    assert ",pipeline=StableDiffusionImg2ImgPipeline," in spec_of(loaded)
    folder = toy_pipeline("text-to-image").folder
    inpainting = load_editor(f"diffusers:{folder},pipeline=StableDiffusionInpaintPipeline,dtype=float32,steps=2")
    assert inpainting.mask_access == "region"
    assert one(inpainting, asked()).image.shape == (40, 56, 3)
    saved = load_editor(f"diffusers:{toy_pipeline('FluxFillPipeline').folder},pipeline=FluxFillPipeline")
    assert "pipeline" not in spec_of(saved)  # as it was saved


def test_a_controlnet_can_come_from_elsewhere(toy_pipeline):
    base, other = toy_pipeline("text-to-image").folder, toy_pipeline("StableDiffusionControlNetInpaintPipeline").folder
    name = "StableDiffusionControlNetInpaintPipeline"
    loaded = load_editor(
        f"diffusers:{base},pipeline={name},controlnet={other / 'controlnet'},safety=false,dtype=float32,steps=2"
    )
    assert one(loaded, asked()).image.shape == (40, 56, 3)
    with pytest.raises(EditbenchError, match="takes no controlnet: leave it out"):
        load_editor(f"diffusers:{base},controlnet={other / 'controlnet'}")


def test_what_the_safety_checker_blacks_out_is_flagged(editor, toy_pipeline, tmp_path):
    checked = spec(toy_pipeline("checked").folder, "checked", max_side=32)
    result = eb.run(checked, suite="shapes@1", limit=2, metrics=["success"], output_dir=str(tmp_path / "run"))
    for record in result.records().records:
        assert record.edit_status == "ok" and {"safety-checker", "constant"} <= set(record.flags)
    assert one(editor("checked", safety="false"), asked(access="none")).image.std() > 5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_to_single(dtype, editor):
    for name in ("StableDiffusionInstructPix2PixPipeline", "FluxImg2ImgPipeline"):
        loaded = editor(name, dtype=dtype)
        assert next(loaded._loaded.vae.parameters()).dtype == getattr(torch, dtype)
        assert one(loaded, asked(access="none")).image.std() > 5


def test_attention_in_slices_changes_nothing(editor):
    sliced = editor("StableDiffusionInstructPix2PixPipeline", slicing="true")
    whole = editor("StableDiffusionInstructPix2PixPipeline")
    assert {type(p) for p in sliced._loaded.unet.attn_processors.values()} != {
        type(p) for p in whole._loaded.unet.attn_processors.values()
    }
    assert largest(one(sliced, asked(access="none")), one(whole, asked(access="none"))) <= 1


def test_the_denoising_network_is_compiled_when_asked_for(editor):
    for name in ("StableDiffusionInstructPix2PixPipeline", "FluxKontextPipeline"):
        for mode, compiled in (("default", True), ("none", False)):
            pipe = editor(name, compile=mode)._loaded
            network = getattr(pipe, "transformer", None) or pipe.unet
            assert (network._compiled_call_impl is not None) == compiled


@pytest.mark.slow
def test_a_compiled_network_edits_as_before(editor):
    compiled = editor("FluxKontextPipeline", compile="default")
    assert largest(one(compiled, asked(access="none")), one(editor("FluxKontextPipeline"), asked(access="none"))) <= 1


def test_adapters_are_loaded_and_scaled(editor, toy_pipeline, tmp_path):
    from peft import LoraConfig

    pipe = diffusers.FluxKontextPipeline.from_pretrained(toy_pipeline("FluxKontextPipeline").folder)
    pipe.transformer.add_adapter(LoraConfig(r=2, init_lora_weights="gaussian", target_modules=["to_q", "to_v"]))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in pipe.transformer.named_parameters():
            if "lora_" in name:
                weight += 0.5 * torch.randn_like(weight)
    from peft.utils import get_peft_model_state_dict

    layers = get_peft_model_state_dict(pipe.transformer)
    diffusers.FluxKontextPipeline.save_lora_weights(tmp_path, transformer_lora_layers=layers)
    (file,) = tmp_path.glob("*.safetensors")
    plain = one(editor("FluxKontextPipeline"), asked(access="none"))
    adapted = one(editor("FluxKontextPipeline", lora=file), asked(access="none"))
    assert largest(adapted, plain) > 3
    assert largest(one(editor("FluxKontextPipeline", lora=tmp_path), asked(access="none")), adapted) == 0
    assert largest(one(editor("FluxKontextPipeline", lora=file, lora_scale=0), asked(access="none")), plain) <= 1
    half = one(editor("FluxKontextPipeline", lora=file, lora_scale=0.5), asked(access="none"))
    assert largest(half, plain) > 0 and largest(half, adapted) > 0


def test_fp16_variants_are_files_of_their_own(toy_pipeline, tmp_path):
    toy_pipeline("StableDiffusionImg2ImgPipeline").pipe.save_pretrained(tmp_path, variant="fp16")
    loaded = load_editor(spec(tmp_path, "StableDiffusionImg2ImgPipeline", variant="fp16"))
    assert one(loaded, asked(access="none")).image.std() > 5


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("strength=0.5", "a FluxKontextPipeline has no strength: leave it out"),
        ("image_guidance=2", "a FluxKontextPipeline has no image_guidance: leave it out"),
        ("call=[true_cfg=2]", "is not called with 'true_cfg': did you mean 'true_cfg_scale'?"),
        ("steps=0", "steps=0, expected at least 1"),
        ("max_side=0", "max_side=0, expected at least 1"),
        ("fit=stretch", "fit='stretch', expected one of reflect, edge, resize"),
        ("dtype=fp16", "dtype='fp16', expected one of bfloat16, float16, float32"),
        ("pipeline=FluxKontextInpaint", "did you mean 'FluxKontextInpaintPipeline'"),
        ("offload=model,device=cpu", "offload=model spares an accelerator, and here is none"),
        ("guidanc=2", "has no option 'guidanc': did you mean 'guidance'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_weights_are_loaded(options, message, toy_pipeline):
    with pytest.raises(EditbenchError, match=re.escape(message)):
        load_editor(f"diffusers:{toy_pipeline('FluxKontextPipeline').folder},{options}")


def test_a_strength_out_of_range_is_refused(toy_pipeline):
    for strength in (0, 1.5):
        with pytest.raises(EditbenchError, match="expected more than 0, at most 1"):
            load_editor(f"diffusers:{toy_pipeline('FluxImg2ImgPipeline').folder},strength={strength}")


def test_a_class_that_is_in_no_row_is_named(tmp_path):
    (tmp_path / INDEX).write_text(json.dumps({"_class_name": "AudioLDM2Pipeline"}))
    with pytest.raises(EditbenchError) as caught:
        load_editor(f"diffusers:{tmp_path}")
    assert "is a AudioLDM2Pipeline" in str(caught.value) and "FluxKontextPipeline" in str(caught.value)
    assert "docs/diffusers.md says how to add one" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "has no model_index.json"), ("{", "cannot be read"), ("{}", "cannot")]
)
def test_a_folder_without_a_pipeline_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(EditbenchError, match=message):
        load_editor(f"diffusers:{tmp_path}")


def test_a_model_that_is_nowhere_is_refused(no_weights, monkeypatch):
    with pytest.raises(EditbenchError, match="neither a folder nor a name on the hub"):
        load_editor("diffusers:/nowhere/at/all")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EditbenchError, match="`hf download nobody/nothing` gets it"):
        load_editor("diffusers:nobody/nothing")


def test_a_cached_model_is_found_and_its_commit_is_written_down(no_weights, toy_pipeline):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = no_weights / "hub" / "models--some--model"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "snapshots" / commit).symlink_to(toy_pipeline("FluxFillPipeline").folder)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert find_checkpoint("some/model") == Checkpoint("FluxFillPipeline", commit)
    assert spec_of(load_editor("diffusers:some/model")) == f"diffusers:some/model,revision={commit}"
    assert spec_of(load_editor("vae:some/model")) == f"vae:some/model,revision={commit}"


def test_weights_that_are_missing_stop_a_run_before_its_first_edit(toy_pipeline, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / INDEX).write_bytes((toy_pipeline("FluxKontextPipeline").folder / INDEX).read_bytes())
    tries = []
    load = diffusers.FluxKontextPipeline.from_pretrained
    monkeypatch.setattr(
        diffusers.FluxKontextPipeline, "from_pretrained", lambda *a, **k: tries.append(a) or load(*a, **k)
    )
    with pytest.raises(eb.EditbenchError, match="could not be started: "):
        eb.run(f"diffusers:{tmp_path / 'model'}", limit=3, metrics=["success"], output_dir=str(tmp_path / "run"))
    assert len(tries) == 1


@pytest.mark.parametrize("kind", ["diffusers", "vae"])
def test_loading_a_model_is_charged_to_no_sample(kind, toy_pipeline, monkeypatch):
    """With a deadline, every sample would miss it, for the worker process loads the model anew after each."""
    loaded = load_editor(f"{kind}:{toy_pipeline('FluxKontextPipeline').folder}")
    loaded.start()
    for cls in (diffusers.FluxKontextPipeline, diffusers.AutoencoderKL):
        monkeypatch.setattr(cls, "from_pretrained", None)
    assert len(loaded.edit([asked(access="none")])) == 1


def test_what_an_editor_may_see_is_known_without_torch(toy_pipeline):
    script = (
        "import sys\nfrom editbench.editors import load_editor\nfrom editbench.registry import spec_of\n"
        f"loaded = load_editor('diffusers:{toy_pipeline('FluxFillPipeline').folder},steps=4')\n"
        "assert loaded.mask_access == 'region' and 'steps=4' in spec_of(loaded)\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# -------------------------------------------------------------------------------------------------- compositions


@pytest.mark.parametrize("feather", [0, 2])
def test_paste_makes_any_of_them_local(feather, toy_pipeline, tmp_path):
    inner = spec(toy_pipeline("FluxKontextPipeline").folder, "FluxKontextPipeline", max_side=32)
    result = eb.run(
        f"paste:editor=[{inner}],feather={feather}",
        suite="shapes@1",
        limit=3,
        metrics=["mae:region=keep", "mae:region=edit"],
        output_dir=str(tmp_path / "run"),
    )
    for record in result.records().records:
        assert record.edit_status == "ok" and record.values["mae:region=keep"] == 0
        assert record.values["mae:region=edit"] > 0.02


@pytest.mark.parametrize("name", ["StableDiffusionInpaintPipeline", "QwenImageEditPipeline", "Flux2KleinPipeline"])
def test_the_round_trip_of_an_autoencoder_is_what_its_model_does(name, toy_pipeline):
    toy = toy_pipeline(name)
    loaded = load_editor(f"vae:{toy.folder}")
    assert loaded.mask_access == "none" and loaded.control
    request = asked(height=32, width=64, access="none")
    output = one(loaded, request)
    pixels = toy.pipe.image_processor.preprocess(torch.from_numpy(request.source).permute(2, 0, 1)[None] / 255)
    vae, video = toy.pipe.vae, "Qwen" in name
    with torch.no_grad():
        latents = vae.encode(pixels[:, :, None] if video else pixels).latent_dist.mode()
        decoded = vae.decode(latents).sample
    expected = toy.pipe.image_processor.postprocess(decoded[:, :, 0] if video else decoded, output_type="np")[0]
    assert np.abs(output.image / 255 - expected).max() < 0.51 / 255
    assert one(load_editor(f"vae:{toy.folder / 'vae'}"), request).image.shape == (32, 64, 3)
    assert one(loaded, asked(height=40, width=56, access="none")).image.shape == (40, 56, 3)


def test_the_round_trip_needs_an_autoencoder(toy_pipeline, tmp_path):
    with pytest.raises(EditbenchError, match="holds no autoencoder"):
        load_editor(f"vae:{toy_pipeline('FluxKontextPipeline').folder / 'transformer'}")
    with pytest.raises(EditbenchError, match="max_side=0, expected at least 1"):
        load_editor(f"vae:{toy_pipeline('FluxKontextPipeline').folder},max_side=0")


@pytest.mark.gpu
@pytest.mark.network
def test_a_real_checkpoint_follows_an_instruction():
    """InstructPix2Pix changes a photograph when it is told to, and does so again with the same seed."""
    from skimage import data

    loaded = load_editor("diffusers:timbrooks/instruct-pix2pix,steps=20,dtype=float16,safety=false")
    source = data.astronaut()
    request = EditRequest(source, "turn it into a pencil drawing", 1)
    first, second = one(loaded, request), one(loaded, request)
    assert first.image.shape == source.shape and largest(first, second) <= 2
    assert np.abs(first.image.astype(int) - source).mean() > 10
    assert first.image.std(axis=2).mean() < 0.7 * source.std(axis=2).mean()  # less colour
