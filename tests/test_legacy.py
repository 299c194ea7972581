"""The published protocols against torchmetrics, scikit-image, transformers and their own arithmetic."""

import copy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from skimage import data
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.image.lpips import _LPIPS
from torchmetrics.functional.regression import mean_squared_error
from torchvision.transforms import functional as tv
from transformers import CLIPTokenizer

from editbench.metrics import describe, load_metrics, score
from editbench.metrics.legacy import zero_fill
from editbench.metrics.pixel import mean_squared_error as region_mse
from editbench.registry import create, spec_of
from editbench.types import Content, Detailed, EditbenchError, Failed, Sample, Scenario, Undefined

INFINITE = Failed("infinite: no pixel differs, and the protocol has no cap")


def scene(source, mask, target=None, **options):
    content = Content(source, mask, target)
    return Scenario("s", "c", "edit", "Go.", load=lambda: content, **options)


def measure(spec, source, output, mask, **options):
    ((value,),) = (
        row.values() for row in score(load_metrics([spec]), [Sample(scene(source, mask, **options), output)])
    )
    return value


def framed(mask):
    """PIE-Bench's mask: whatever lies on the frame counts as edited."""
    result = mask.copy()
    result[[0, -1]] = result[:, [0, -1]] = True
    return result


def centred(height, width, share):
    rows, columns = round(height * share**0.5 / 2), round(width * share**0.5 / 2)
    mask = np.zeros((height, width), bool)
    mask[height // 2 - rows : height // 2 + rows, width // 2 - columns : width // 2 + columns] = True
    return mask


def photograph():
    return np.ascontiguousarray(data.coffee()[60:200, 100:260])


def noisy(source, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma * 255, source.shape)
    return np.clip(np.round(source + noise), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------- golden values


@pytest.fixture(scope="module")
def golden():
    """The 64x64 construction of the reference: a small error everywhere, a big edit in the middle quarter."""
    rows, columns, channels = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    source = (rows * 7 + columns * 3 + channels * 29) % 256
    output = np.clip(source + ((rows * columns + channels) % 9 - 4), 0, 255)
    mask = centred(64, 64, 0.25)
    output[mask] = 255 - source[mask]
    return source.astype(np.uint8), output.astype(np.uint8), mask


def test_zero_filled_golden_values_are_met(golden):
    source, output, mask = golden
    error = zero_fill.squared_error(output, source, ~mask) / (source.size * 255**2)
    assert error == pytest.approx(8.070e-5, abs=5e-9)
    assert 10 * np.log10(1 / error) == pytest.approx(40.9314, abs=5e-5)
    assert zero_fill.ssim(output, source, ~mask) == pytest.approx(0.989115, abs=5e-7)


def test_pie_meets_the_golden_values_once_its_frame_lies_outside_the_picture(golden):
    source, output, mask = (np.pad(array, [(1, 1), (1, 1), (0, 0)][: array.ndim]) for array in golden)
    output[0] = 200  # on the frame, where PIE-Bench looks away
    larger = 66**2 / 64**2
    assert measure("legacy_pie:mse_unedit", source, output, mask) * larger == pytest.approx(8.070e-5, abs=5e-9)
    psnr = measure("legacy_pie:psnr_unedit", source, output, mask)
    assert psnr - 10 * np.log10(larger) == pytest.approx(40.9314, abs=5e-5)


def test_brushnet_golden_values_are_met(golden):
    assert measure("legacy_brushnet:mse", *golden) == pytest.approx(3.2279e-4, abs=5e-9)
    assert measure("legacy_brushnet:psnr", *golden) == pytest.approx(34.9108, abs=5e-5)


@pytest.mark.parametrize(
    ("share", "zero_filled", "brushnet", "similarity"),
    [(0.0, 26.51, 21.74, 0.5559), (0.25, 27.79, 21.77, 0.6551), (0.5, 29.56, 21.78, 0.7674)],
)
def test_a_larger_mask_looks_better_by_as_much_as_was_measured(share, zero_filled, brushnet, similarity):
    source = data.astronaut()
    output, mask = noisy(source, 0.05), centred(512, 512, share)
    values = [
        measure(f"legacy_{name}", source, output, mask)
        for name in ("pie:psnr_unedit", "brushnet:psnr", "pie:ssim_unedit")
    ]
    assert values == [
        pytest.approx(zero_filled, abs=0.08),
        pytest.approx(brushnet, abs=0.05),
        pytest.approx(similarity, abs=0.004),
    ]


# ------------------------------------------------------------------------------------------------------ torchmetrics

PARTS = {"": lambda mask: np.ones_like(mask), "_unedit": lambda mask: ~framed(mask), "_edit": framed}


def black_outside(image, kept):
    """As PnPInversion prepares an image for torchmetrics, `float32 (1, 3, H, W)`."""
    pixels = image.astype(np.float32) / 255 * kept[..., None].astype(np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_pie_agrees_with_torchmetrics_on_the_same_zero_filled_images(part, seed):
    random = np.random.default_rng(seed)
    source = photograph()
    mask = random.random(source.shape[:2]) < 0.4 if seed else centred(*source.shape[:2], 0.3)
    output = noisy(source, 0.1, seed)
    first, second = (black_outside(image, PARTS[part](mask)) for image in (output, source))
    exact = [image.double() for image in (first, second)]
    for name, function in {
        "psnr": lambda x, y: peak_signal_noise_ratio(x, y, data_range=1.0),
        "mse": mean_squared_error,
        "ssim": lambda x, y: structural_similarity_index_measure(x, y, data_range=1.0),
    }.items():
        value = measure(f"legacy_pie:{name}{part}", source, output, mask)
        assert value == pytest.approx(float(function(first, second)), abs=1e-5), name
        assert value == pytest.approx(float(function(*exact)), rel=1e-6), name


@pytest.fixture(scope="module")
def torchmetrics_lpips(tiny_trunk):
    with torch.random.fork_rng(devices=[]):
        network = _LPIPS(net="squeeze", pnet_rand=True)
    trunk = network.net.state_dict()
    network.net.load_state_dict({name: tiny_trunk.state["features." + name.split(".", 2)[2]] for name in trunk})
    return network.eval()


@pytest.mark.parametrize("part", PARTS)
def test_lpips_agrees_with_torchmetrics_on_one_and_the_same_trunk(part, tiny_trunk, torchmetrics_lpips):
    source, mask = photograph(), centred(140, 160, 0.3)
    output = noisy(source, 0.1)
    first, second = (black_outside(image, PARTS[part](mask)) for image in (output, source))
    with torch.no_grad():
        expected = float(torchmetrics_lpips(first * 2 - 1, second * 2 - 1))
    assert expected > 1e-4, "the trunk must see the noise"
    spec = f"legacy_pie:lpips{part},trunk={tiny_trunk.path}"
    assert measure(spec, source, output, mask) == pytest.approx(expected, rel=1e-5)


def test_brushnet_masks_lpips_without_a_frame(tiny_trunk, torchmetrics_lpips):
    source, mask = photograph(), centred(140, 160, 0.3)
    output = noisy(source, 0.1)
    first, second = (black_outside(image, ~mask) for image in (output, source))
    with torch.no_grad():
        expected = float(torchmetrics_lpips(first * 2 - 1, second * 2 - 1))
    spec = f"legacy_brushnet:lpips,trunk={tiny_trunk.path}"
    assert measure(spec, source, output, mask) == pytest.approx(expected, rel=1e-5)


def test_lpips_of_what_was_left_alone_is_zero(tiny_trunk):
    source, mask = photograph(), centred(140, 160, 0.3)
    for spec in (f"legacy_pie:lpips,trunk={tiny_trunk.path}", f"legacy_brushnet:lpips,trunk={tiny_trunk.path}"):
        assert measure(spec, source, source.copy(), mask) == 0.0
    edited = np.where(mask[..., None], noisy(source, 0.1), source)
    assert measure(f"legacy_brushnet:lpips,trunk={tiny_trunk.path}", source, edited, mask) == 0.0


# -------------------------------------------------------------------------------------------------- exact identities


@st.composite
def cases(draw):
    height, width = draw(st.integers(4, 20)), draw(st.integers(4, 20))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = random.random((height, width)) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    mask[1, 1] = False
    source = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    output = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    output[1, 1] = source[1, 1] ^ 1
    return source, output, mask


@settings(max_examples=40, deadline=None)
@given(cases())
def test_every_mistake_is_the_offset_that_it_is_said_to_be(case):
    source, output, mask = case
    true = region_mse(Sample(scene(source, framed(mask)), output), "keep")
    share = framed(mask).mean()
    psnr = measure("legacy_pie:psnr_unedit", *case)
    assert psnr == pytest.approx(10 * np.log10(1 / true) - 10 * np.log10(1 - share), abs=1e-9)
    assert measure("legacy_pie:mse_unedit", *case) == pytest.approx((1 - share) * true, rel=1e-12)

    kept = measure("mse:region=keep", *case)
    assert measure("legacy_brushnet:mse", *case) == pytest.approx(3 * kept, rel=1e-12)
    assert measure("legacy_brushnet:psnr", *case) == pytest.approx(10 * np.log10(1 / kept) - 10 * np.log10(3), abs=1e-9)

    whole = measure("mse:region=all", *case)
    assert measure("legacy_gie:masked_mse_unaligned", *case) == pytest.approx(255**2 * whole, rel=1e-12)
    assert measure("legacy_gie:masked_psnr_unaligned", *case) == pytest.approx(10 * np.log10(1 / whole), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(cases(), st.integers(0, 2**32 - 1))
def test_the_frame_counts_as_edited_and_gies_mask_does_not_count(case, seed):
    source, output, mask = case
    random = np.random.default_rng(seed)
    damaged = np.where(framed(mask)[..., None], random.integers(0, 256, source.shape), output).astype(np.uint8)
    for name in ("psnr_unedit", "mse_unedit", "ssim_unedit"):
        assert measure(f"legacy_pie:{name}", source, damaged, mask) == measure(f"legacy_pie:{name}", *case)
    for name in ("masked_mse_unaligned", "masked_psnr_unaligned"):
        assert measure(f"legacy_gie:{name}", source, output, ~mask) == measure(f"legacy_gie:{name}", *case)


def test_an_empty_mask_leaves_the_frame_as_the_edit_part():
    source = photograph()
    output = source.copy()
    output[0, 5] ^= 255
    error = np.mean(((output.astype(float) - source) / 255) ** 2)
    nothing = np.zeros(source.shape[:2], bool)
    assert measure("legacy_pie:mse_edit", source, output, nothing) == pytest.approx(error, rel=1e-12)
    assert measure("legacy_pie:mse_unedit", source, output, nothing) == 0


# --------------------------------------------------------------------------------------------------- odd conventions


def test_equal_pictures_have_no_finite_ratio_except_where_the_protocol_invents_one():
    source = photograph()
    mask = centred(*source.shape[:2], 0.3)
    for spec in (
        "legacy_pie:psnr",
        "legacy_pie:psnr_unedit",
        "legacy_pie:psnr_edit",
        "legacy_gie:masked_psnr_unaligned",
    ):
        assert measure(spec, source, source.copy(), mask) == INFINITE
    assert measure("legacy_brushnet:psnr", source, source.copy(), mask) == 1000
    assert create("metric", "legacy_brushnet:psnr").cap == 1000
    assert measure("legacy_pie:ssim", source, source.copy(), mask) == 1
    inside = np.where(mask[..., None], 255 - source, source)
    assert measure("legacy_pie:psnr_unedit", source, inside, mask) == INFINITE
    assert measure("legacy_pie:psnr_edit", source, inside, mask) < 20


def test_brushnet_calls_what_is_below_1e_10_a_thousand_decibels():
    source = np.zeros((400, 400, 3), np.uint8)
    output = source.copy()
    output[0, 0, 0] = 1  # (1 / 255)² / 400² = 9.6e-11
    nothing = np.zeros((400, 400), bool)
    assert measure("legacy_brushnet:psnr", source, output, nothing) == 1000
    output[0, 0, 1] = 1
    assert measure("legacy_brushnet:psnr", source, output, nothing) == pytest.approx(97.16, abs=0.01)


def test_a_mask_without_background_is_undefined_as_their_nan_is():
    source = photograph()
    everything = np.ones(source.shape[:2], bool)
    covered = Undefined("the mask and its frame cover the image")
    for name in ("psnr_unedit", "mse_unedit", "ssim_unedit", "lpips_unedit"):
        assert measure(f"legacy_pie:{name}", source, 255 - source, everything) == covered
    nearly = everything.copy()
    nearly[0, 0] = False  # the frame rule takes it back
    assert measure("legacy_pie:mse_unedit", source, 255 - source, nearly) == covered
    assert measure("legacy_brushnet:mse", source, 255 - source, everything) == Undefined("the mask covers the image")
    assert measure("legacy_gie:masked_mse_unaligned", source, 255 - source, everything) > 0


@pytest.mark.parametrize("name", ["masked_mse_unaligned", "ssim"])
def test_gie_computes_what_opencv_and_scikit_image_would_on_unaligned_images(name):
    source = photograph()
    mask = centred(*source.shape[:2], 0.3)
    output = noisy(source, 0.1)
    if name == "ssim":
        kept = np.asarray(Pillow.fromarray(~mask).resize((224, 224), Pillow.Resampling.NEAREST))
        grey = [
            np.asarray(Pillow.fromarray(image).resize((224, 224), Pillow.Resampling.LANCZOS).convert("L")) / 255 * kept
            for image in (source, output)
        ]
        expected = structural_similarity(*grey, data_range=1.0, win_size=7)
    else:
        expected = np.mean((output[..., ::-1].astype(np.float64) - source[..., ::-1]) ** 2)
    assert measure(f"legacy_gie:{name}", source, output, mask) == pytest.approx(expected, rel=1e-5)


def test_magicbrush_compares_with_the_target_after_resizing_to_it():
    target = photograph()
    source, nothing = 255 - target, np.zeros(target.shape[:2], bool)
    output = noisy(target, 0.1)
    difference = (output.astype(float) - target) / 255
    for name, expected in (("l1", np.abs(difference).mean()), ("l2", (difference**2).mean())):
        spec = f"legacy_magicbrush:{name}"
        assert measure(spec, source, output, nothing, target=target) == pytest.approx(expected, rel=1e-12)
        assert measure(spec, source, output, nothing) == Undefined("no target")
    half = np.ascontiguousarray(output[::2, ::2])
    resized = np.asarray(Pillow.fromarray(half).resize((target.shape[1], target.shape[0])))  # bicubic unless told
    expected = np.abs(resized.astype(float) - target).mean() / 255
    assert measure("legacy_magicbrush:l1", source, half, nothing, target=target) == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------------------------------- CLIP and DINO


def clip_embeddings(tiny, images=(), texts=()):
    """What transformers' own processor and heads make of pictures and texts; rows of length 1."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    found = []
    with torch.no_grad():
        for image in images:
            pixels = CLIPImageProcessorPil.from_pretrained(tiny.folder)(images=image, return_tensors="pt")
            found.append(tiny.model.get_image_features(**pixels))
        for text in texts:
            ids = CLIPTokenizer.from_pretrained(tiny.folder)(text, return_tensors="pt")
            found.append(tiny.model.get_text_features(**ids))
    rows = [getattr(item, "pooler_output", item)[0].double().numpy() for item in found]
    return [row / np.linalg.norm(row) for row in rows]


PROMPTS = {"source_prompt": "a [tall] cup", "target_prompt": "a [red] cup"}


def test_clip_scores_are_those_of_transformers_own_processor(tiny_clip):
    source = photograph()
    mask = centred(*source.shape[:2], 0.3)
    output = np.where(mask[..., None], source[::-1], source)
    edited = np.where(framed(mask)[..., None], output, 0).astype(np.uint8)
    first, whole, part = clip_embeddings(tiny_clip, [source, output, edited])
    tall, red = clip_embeddings(tiny_clip, texts=["a tall cup", "a red cup"])
    expected = {
        "pie:clip_source": 100 * first @ tall,
        "pie:clip_whole": 100 * whole @ red,
        "pie:clip_edited": 100 * part @ red,
    }
    for name, value in expected.items():
        spec = f"legacy_{name},model={tiny_clip.folder}"
        assert measure(spec, source, output, mask, **PROMPTS) == pytest.approx(max(value, 0), abs=1e-3), name
    assert max(expected.values()) > 1 and len({round(value, 3) for value in expected.values()}) == 3
    (caption,) = clip_embeddings(tiny_clip, texts=["a [red] cup"])
    spec = f"legacy_brushnet:clip,model={tiny_clip.folder}"
    value = measure(spec, source, output, mask, **PROMPTS)
    assert value == pytest.approx(max(100 * whole @ caption, 0), abs=1e-3), "BrushNet keeps brackets"


def test_a_negative_cosine_counts_as_0_for_clip_score_and_as_itself_for_magicbrush(tiny_clip, tmp_path):
    picture, nothing = photograph(), np.zeros((140, 160), bool)
    (image,), (text,) = clip_embeddings(tiny_clip, [picture]), clip_embeddings(tiny_clip, texts=["a red cup"])
    assert image @ text > 0.1
    folder = shutil.copytree(tiny_clip.folder, tmp_path / "contrary")
    contrary = copy.deepcopy(tiny_clip.model)
    with torch.no_grad():
        contrary.text_projection.weight.neg_()
    contrary.save_pretrained(folder)
    for name, expected in (("pie:clip_whole", 0), ("brushnet:clip", 0), ("magicbrush:clip_t", -image @ text)):
        value = measure(f"legacy_{name},model={folder}", picture, picture, nothing, target_prompt="a red cup")
        assert value == pytest.approx(expected, abs=1e-5), name


def test_prompts_that_are_missing_or_too_long_are_told(tiny_clip):
    source, nothing = photograph(), np.zeros((140, 160), bool)
    spec = f"legacy_pie:clip_whole,model={tiny_clip.folder}"
    assert measure(spec, source, source, nothing) == Undefined("no target prompt")
    source_spec = f"legacy_pie:clip_source,model={tiny_clip.folder}"
    assert measure(source_spec, source, source, nothing) == Undefined("no source prompt")
    long = measure(spec, source, source, nothing, target_prompt="a very long description of it all")
    assert isinstance(long, Detailed) and long.details == {"tokens": 29, "read": 24}
    (image,) = clip_embeddings(tiny_clip, [source])
    with torch.no_grad():  # torchmetrics cuts the end token off with the rest
        ids = CLIPTokenizer.from_pretrained(tiny_clip.folder)("a very long description of it all")["input_ids"]
        text = tiny_clip.model.get_text_features(input_ids=torch.tensor([ids[:24]]))
    cosine = float(
        torch.cosine_similarity(getattr(text, "pooler_output", text)[0].double(), torch.tensor(image), dim=0)
    )
    assert cosine > 0.1, "or the score would be 0 whatever was cut"
    assert long == pytest.approx(100 * cosine, abs=1e-3)
    spec = f"legacy_magicbrush:clip_t,model={tiny_clip.folder}"
    value = measure(spec, source, source, nothing, target_prompt="a very long description of it all")
    assert value == Failed("the caption has 29 tokens, the model reads 24")


def test_gies_patch_similarities_average_the_tokens_that_a_mask_touches(tiny_clip):
    source = np.ascontiguousarray(data.astronaut()[:224, 100:324])
    mask = np.zeros((224, 224), bool)
    mask[60:120, 60:110] = True  # of 56-pixel patches: rows 1 and 2, column 1
    output = np.where(mask[..., None], source[::-1], source)
    touched = {"object_clip_sim": mask, "rest_clip_sim": ~mask}
    for name, wanted in touched.items():
        blocks = wanted.reshape(4, 56, 4, 56).any(axis=(1, 3)).ravel()
        assert blocks.sum() == (2 if name == "object_clip_sim" else 16)
        means = []
        for image in (source, output):
            small = np.asarray(Pillow.fromarray(image).resize((56, 56), Pillow.Resampling.LANCZOS))
            pixels = torch.tensor(small / 255, dtype=torch.float32).permute(2, 0, 1)
            inputs = tv.normalize(pixels, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
            with torch.no_grad():
                hidden = tiny_clip.model.vision_model(inputs[None]).last_hidden_state[0, 1:][torch.tensor(blocks)]
                normed = tiny_clip.model.vision_model.post_layernorm(hidden.mean(0))
                means.append(tiny_clip.model.visual_projection(normed))
        expected = float(torch.cosine_similarity(*means, dim=0))
        assert expected < 0.9999
        spec = f"legacy_gie:{name},model={tiny_clip.folder}"
        assert measure(spec, source, output, mask) == pytest.approx(expected, abs=1e-5), name


def test_image_similarities_are_cosines_of_output_and_reference(tiny_clip, tiny_vit):
    target = photograph()
    source, nothing = np.ascontiguousarray(data.chelsea()[:140, :160]), np.zeros((140, 160), bool)
    output = noisy(target, 0.2)
    made, asked, before = clip_embeddings(tiny_clip, [output, target, source])
    spec = f"legacy_magicbrush:clip_i,model={tiny_clip.folder}"
    assert measure(spec, source, output, nothing, target=target) == pytest.approx(made @ asked, abs=1e-5)
    spec = f"legacy_gie:clip,model={tiny_clip.folder}"
    assert measure(spec, source, output, nothing) == pytest.approx(made @ before, abs=1e-5)

    tokens = []
    for image in (output, target):  # 256 and 224 are to 32 pixels what 36 is
        pixels = tv.to_tensor(tv.center_crop(tv.resize(Pillow.fromarray(image), 36, tv.InterpolationMode.BICUBIC), 32))
        with torch.no_grad():
            seen = tv.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]
            tokens.append(tiny_vit.model(seen).last_hidden_state[0, 0])
    expected = float(torch.cosine_similarity(*tokens, dim=0))
    assert expected < 0.9999
    spec = f"legacy_magicbrush:dino,model={tiny_vit.folder}"
    assert measure(spec, source, output, nothing, target=target) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [(140, 140), (330, 300), (60, 300)])
def test_structure_distance_feeds_levels_up_to_255(tiny_vit, size):
    source = np.ascontiguousarray(data.coffee()[60:, 100:][: size[0], : size[1]])
    output = source[::-1].copy()
    matrices = []
    for image in (source, output):
        pixels = torch.tensor(image.astype(np.float32)).permute(2, 0, 1)
        resized = tv.resize(pixels, [224], max_size=480)  # on tensors, as the authors do
        height, width = (length // 8 * 8 for length in resized.shape[1:])
        seen = tv.normalize(resized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None, :, :height, :width]
        with torch.no_grad():
            states = tiny_vit.model(seen, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
        layer = dict(tiny_vit.model.named_modules())
        norm = next(m for name, m in layer.items() if name.endswith("2.layernorm_before"))
        key = next(m for name, m in layer.items() if ".2." in name and name.endswith(("k_proj", "attention.key")))
        with torch.no_grad():
            keys = key(norm(states[-2]))[0].double()
        matrices.append(torch.nn.functional.normalize(keys) @ torch.nn.functional.normalize(keys).T)
    expected = float(torch.nn.functional.mse_loss(*matrices))
    assert expected > 1e-6
    spec = f"legacy_pie:structure_distance,model={tiny_vit.folder}"
    nothing = np.zeros(size, bool)
    assert measure(spec, source, output, nothing) == pytest.approx(expected, rel=1e-3)
    assert measure(spec, source, source.copy(), nothing) == 0


def test_values_depend_neither_on_the_batch_nor_on_the_order(tiny_clip, tiny_vit, tiny_trunk):
    specs = [
        "legacy_pie:ssim_unedit",
        f"legacy_pie:lpips_unedit,trunk={tiny_trunk.path}",
        f"legacy_pie:clip_edited,model={tiny_clip.folder}",
        f"legacy_pie:structure_distance,model={tiny_vit.folder}",
        f"legacy_gie:rest_clip_sim,model={tiny_clip.folder}",
        f"legacy_magicbrush:dino,model={tiny_vit.folder}",
    ]
    pictures = [data.astronaut()[:64, :64], data.coffee()[:64, :96], data.chelsea()[:64, :64]]
    metrics = load_metrics(specs)

    def samples():
        return [Sample(scene(p, centred(*p.shape[:2], 0.2), p, **PROMPTS), 255 - p[::-1]) for p in pictures]

    together = score(metrics, samples())
    assert all(isinstance(value, float) for row in together for value in row.values()), together
    assert score(metrics, samples()[::-1])[::-1] == together
    assert [score(metrics, [sample])[0] for sample in samples()] == together


# ------------------------------------------------------------------------------------------------ weights and options

CLIP_L, CLIP_B = "openai/clip-vit-large-patch14", "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ("legacy_pie:clip_source", CLIP_L),
        ("legacy_pie:clip_whole", CLIP_L),
        ("legacy_pie:clip_edited", CLIP_L),
        ("legacy_pie:structure_distance", "facebook/dino-vitb8"),
        ("legacy_brushnet:clip", CLIP_L),
        ("legacy_gie:object_clip_sim", CLIP_B),
        ("legacy_gie:rest_clip_sim", CLIP_B),
        ("legacy_gie:clip", CLIP_B),
        ("legacy_magicbrush:clip_i", CLIP_B),
        ("legacy_magicbrush:clip_t", CLIP_B),
        ("legacy_magicbrush:dino", "facebook/dino-vits16"),
    ],
)
def test_a_model_that_is_not_here_is_named_with_how_to_get_it(no_weights, spec, needs):
    with pytest.raises(EditbenchError) as error:
        describe(create("metric", spec))
    message = str(error.value)
    assert message.startswith(f"{spec} needs {needs}, ") and f"`hf download {needs}`" in message
    assert "\n" not in message


@pytest.mark.parametrize("spec", ["legacy_pie:lpips", "legacy_pie:lpips_unedit", "legacy_brushnet:lpips"])
def test_a_trunk_is_looked_for_in_torch_hubs_folder_and_checked(no_weights, tiny_trunk, spec):
    metric = create("metric", spec)
    expected = no_weights / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    with pytest.raises(EditbenchError) as error:
        describe(metric)
    message = str(error.value)
    assert str(expected) in message and "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth" in message
    expected.parent.mkdir(parents=True)
    expected.write_bytes(tiny_trunk.path.read_bytes())
    with pytest.raises(EditbenchError, match="not b8a52dc0: delete it"):
        describe(metric)
    with pytest.raises(EditbenchError, match="needs /nowhere, which does not exist"):
        describe(create("metric", f"{spec},trunk=/nowhere"))


def test_a_trunk_of_another_network_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    metric = create("metric", f"legacy_pie:lpips,trunk={tmp_path / 'other.pth'}")
    source = photograph()
    with pytest.raises(EditbenchError, match=r"not the weights of squeeze: it has no 'features[.]0[.]bias'"):
        metric.score([Sample(scene(source, np.zeros((140, 160), bool)), 255 - source)])


def test_weights_are_hashed_without_torch(tiny_clip, tiny_trunk, tiny_vit):
    specs = {
        f"legacy_pie:clip_whole,model={tiny_clip.folder}": {"config.json", "model.safetensors", "tokenizer.json"},
        f"legacy_pie:structure_distance,model={tiny_vit.folder}": {"config.json", "model.safetensors"},
        f"legacy_pie:lpips,trunk={tiny_trunk.path}": {tiny_trunk.path.name, "lpips v0.1 squeeze.pth"},
        "legacy_pie:psnr": set(),
    }
    script = (
        "import sys; from editbench.metrics import load_metrics\n"
        f"for metric in load_metrics({list(specs)!r}).values(): print(*sorted(metric.weights), sep='|')\n"
        "assert not {'torch', 'transformers', 'lpips', 'skimage'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [set(filter(None, line.split("|"))) for line in done.stdout.splitlines()] == list(specs.values())


def test_another_file_is_another_hash(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip.folder, tmp_path / "copy")
    metric = create("metric", f"legacy_pie:clip_whole,model={folder}")
    before = dict(metric.weights)
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    after = dict(metric.weights)
    assert {name for name in before if before[name] != after[name]} == {"tokenizer.json"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("legacy_pie:psnr_unedited", "did you mean.*psnr_unedit"),
        ("legacy_pie", "needs name"),
        ("legacy_pie:psnr,model=here", "psnr uses no model"),
        ("legacy_pie:clip_whole,trunk=here", "clip_whole uses no trunk"),
        ("legacy_brushnet:mse,trunk=here", "mse uses no trunk"),
        ("legacy_gie:masked_psnr", "expected one of"),
        ("legacy_magicbrush:l1,model=here", "l1 uses no model"),
    ],
)
def test_what_has_no_meaning_is_refused(spec, message):
    with pytest.raises(EditbenchError, match=message):
        create("metric", spec)


@pytest.mark.parametrize(
    "spec",
    [
        "legacy_pie:psnr_unedit",
        "legacy_pie:lpips_unedit,trunk=s.pth",
        "legacy_gie:clip,model=a/b",
        "legacy_magicbrush:l1",
    ],
)
def test_the_name_is_the_bare_option(spec):
    metric = create("metric", spec)
    assert spec_of(metric) == spec
    low, high = metric.range
    assert low < high and metric.direction in ("higher", "lower", "none")
