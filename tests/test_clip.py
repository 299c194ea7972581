"""CLIP metrics against open_clip itself, with tiny models of random weights and its real tokenizer."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from editbench.metrics import describe, features, load_metrics, score, values_without_edit
from editbench.metrics.clip_files import clip_files
from editbench.metrics.clip_models import load_clip
from editbench.metrics.views import edit_box, shown
from editbench.registry import create, spec_of
from editbench.types import Content, Detailed, EditbenchError, Failed, Sample, Scenario, Undefined

CONFIG = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"},
}
TOLERANCE = 1e-6
"""Between one image at a time and a batch, in float32."""


def random_weights(seed=1, **options):
    import torch
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    model = CLIP(**CONFIG["model_cfg"], **options)
    with torch.no_grad():
        for parameter in (*model.transformer.parameters(), *model.visual.transformer.parameters()):
            parameter.mul_(3)  # as initialised, all texts and all images are nearly the same
    return {name: value.contiguous() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model as open_clip keeps it in a folder."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("random-clip")
    (path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    save_file(random_weights(), path / "open_clip_model.safetensors")
    return path


@pytest.fixture(scope="module")
def peer(folder):
    """Embeddings as open_clip's own examples compute them: unit vectors of images and of texts."""
    import open_clip
    import torch
    from PIL import Image
    from torch.nn.functional import normalize

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()

    class Peer:
        @torch.inference_mode()
        def images(self, images):
            batch = torch.stack([preprocess(Image.fromarray(image)) for image in images])
            return normalize(model.encode_image(batch).double(), dim=-1).numpy()

        @torch.inference_mode()
        def texts(self, texts):
            return normalize(model.encode_text(tokenizer(texts)).double(), dim=-1).numpy()

    return Peer()


def scenario(source, mask=None, before="a cat", after="a dog on a sofa", target=None):
    mask = np.ones(source.shape[:2], bool) if mask is None else mask
    content = Content(source, mask, target)
    return Scenario("s", "c", "edit", "Go.", load=lambda: content, source_prompt=before, target_prompt=after)


def values(spec, samples):
    return [next(iter(row.values())) for row in score(load_metrics([spec]), samples)]


def spec(name, folder, region="all", **options):
    written = "".join(f",{key}={value}" for key, value in options.items())
    return f"{name}:region={region},model={folder}{written}"


@pytest.fixture(scope="module")
def samples():
    """Photographs of three sizes, neither square nor as large as the model's input, damaged."""
    sources = [data.chelsea()[:, :300], data.coffee()[::2, ::2], data.astronaut()[:70, :90]]
    prompts = [("a cat", "a tiger in the snow"), ("coffee", "a bowl of soup"), ("a woman", "a smiling astronaut")]
    masks = [np.zeros(source.shape[:2], bool) for source in sources]
    for mask in masks:
        mask[20:50, 30:70] = True
    outputs = [np.roll(source, 25, axis=1) // 2 + np.uint8(40) for source in sources]
    return [
        Sample(scenario(source, mask, *words), output)
        for source, mask, words, output in zip(sources, masks, prompts, outputs, strict=True)
    ]


# ------------------------------------------------------------------------------------------------- golden values


def test_clip_score_is_a_hundred_times_open_clips_cosine(folder, peer, samples):
    images = peer.images([sample.output for sample in samples])
    texts = peer.texts([sample.scenario.target_prompt for sample in samples])
    cosines = (images * texts).sum(axis=1)
    assert values(spec("clip_score", folder), samples) == pytest.approx(
        100 * np.maximum(cosines, 0), abs=100 * TOLERANCE
    )
    assert max(cosines) > 0.02, "some value must be above the floor, or nothing was compared"


def test_opposite_directions_score_zero_not_less(folder, peer, samples):
    (output,) = peer.images([samples[0].output])
    words = ["a cat", "snow", "the number seven", "xyzzy", "blue sky", "soup", "!!!", "an old train at night"]
    cosines = peer.texts(words) @ output
    assert min(cosines) < -0.01 < 0.01 < max(cosines)
    scenes = [Sample(scenario(samples[0].scenario.source, after=word), samples[0].output) for word in words]
    found = values(spec("clip_score", folder), scenes)
    assert found == pytest.approx(100 * np.maximum(cosines, 0), abs=100 * TOLERANCE)
    assert min(found) == 0


def test_clip_directional_is_the_cosine_of_the_two_differences(folder, peer, samples):
    moved = peer.images([s.output for s in samples]) - peer.images([s.scenario.source for s in samples])
    asked = peer.texts([s.scenario.target_prompt for s in samples]) - peer.texts(
        [s.scenario.source_prompt for s in samples]
    )
    expected = (moved * asked).sum(1) / np.linalg.norm(moved, axis=1) / np.linalg.norm(asked, axis=1)
    assert values(spec("clip_directional", folder), samples) == pytest.approx(expected, abs=20 * TOLERANCE)
    assert np.ptp(expected) > 0.02


def test_clip_image_is_the_cosine_of_output_and_source(folder, peer, samples):
    expected = (peer.images([s.output for s in samples]) * peer.images([s.scenario.source for s in samples])).sum(1)
    assert values(spec("clip_image", folder), samples) == pytest.approx(expected, abs=TOLERANCE)
    assert max(expected) < 0.999


def test_the_edit_view_is_a_window_around_the_mask(folder, peer, samples):
    windows = []
    for sample in samples:
        composed = sample.scenario.source.copy()
        composed[20:50, 30:70] = sample.output[20:50, 30:70]
        # 40 wide, a quarter of that on each side: 60 x 60 about (35, 50), moved to lie in the picture
        windows.append(composed[5:65, 20:80])
    cosines = (peer.images(windows) * peer.texts([s.scenario.target_prompt for s in samples])).sum(axis=1)
    found = values(spec("clip_score", folder, "edit"), samples)
    assert found == pytest.approx(100 * np.maximum(cosines, 0), abs=100 * TOLERANCE)


def test_an_unchanged_output_has_no_direction_and_is_its_own_likeness(folder, samples):
    same = [Sample(sample.scenario, sample.scenario.source.copy()) for sample in samples]
    for region in ("all", "edit"):
        assert values(spec("clip_directional", folder, region), same) == [0.0] * 3
        assert values(spec("clip_image", folder, region), same) == [1.0] * 3


# ------------------------------------------------------------------------------------------------------- windows


def naive_box(mask, context):
    """The window by its definition: the smallest square with the margin, as near to the middle as the frame allows."""
    ys, xs = np.nonzero(mask)
    longest = max(np.ptp(ys), np.ptp(xs)) + 1
    side = longest + 2 * max(8, min(mask.shape) // 32, round(context * longest))
    found = []
    for positions, limit in ((ys, mask.shape[0]), (xs, mask.shape[1])):
        length = min(side, limit)
        middle = (positions.min() + positions.max() + 1) / 2
        starts = range(limit - length + 1)
        start = min(starts, key=lambda start: (abs(start + length / 2 - middle), start))
        found += [start, start + length]
    return tuple(found)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_window_holds_the_mask_and_lies_in_the_image(data):
    height, width = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    context = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    mask = np.zeros((height, width), bool)
    mask[top, left] = mask[bottom - 1, right - 1] = True
    box = edit_box(mask, context)
    assert box == naive_box(mask, context)
    assert 0 <= box[0] <= top < bottom <= box[1] <= height and 0 <= box[2] <= left < right <= box[3] <= width


def test_nothing_is_blacked_out():
    white = np.full((60, 90, 3), 255, np.uint8)
    mask = np.zeros((60, 90), bool)
    mask[5:9, 70:88] = True
    view = shown(white - np.uint8(9), scenario(white, mask), "edit", 0.25)
    assert set(np.unique(view)) == {246, 255} and (view == 246).sum() == 3 * mask.sum()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_damage_outside_the_mask_does_not_move_the_edit_view(folder, samples, seed):
    sample = samples[0]
    noise = np.random.default_rng(seed).integers(0, 256, sample.output.shape, dtype=np.uint8)
    damaged = Sample(sample.scenario, np.where(sample.scenario.mask[..., None], sample.output, noise))
    for name in ("clip_score", "clip_directional", "clip_image"):
        first, second = values(spec(name, folder, "edit"), [sample, damaged])
        assert first == second
    all_of_it = values(spec("clip_image", folder), [sample, damaged])
    assert all_of_it[0] != all_of_it[1]


def test_a_mask_of_everything_shows_everything(folder, samples):
    whole = [Sample(scenario(sample.scenario.source), sample.output) for sample in samples[1:]]
    for name in ("clip_score", "clip_image"):
        everything = values(spec(name, folder), whole)
        assert everything == values(spec(name, folder, "edit"), whole)


@pytest.mark.parametrize("name", ["clip_score", "clip_directional", "clip_image"])
def test_values_do_not_depend_on_the_company(name, folder, samples):
    together = values(spec(name, folder), samples)
    for order in ([2, 0, 1], [1], [0, 2]):
        features.forget()
        assert values(spec(name, folder), [samples[i] for i in order]) == [together[i] for i in order]


# ------------------------------------------------------------------------------------------- prompts and truncation


def test_a_long_prompt_is_cut_off_and_says_by_how_much(folder, samples):
    sample = samples[0]
    long = scenario(sample.scenario.source, after="cat " * 50)
    (value,) = values(spec("clip_score", folder), [Sample(long, sample.output)])
    assert isinstance(value, Detailed) and value.details == {"truncated_tokens": 50 + 2 - 20}
    fits = scenario(sample.scenario.source, after="cat " * 18)
    (other,) = values(spec("clip_score", folder), [Sample(fits, sample.output)])
    assert other == value and not isinstance(other, Detailed)
    (direction,) = values(
        spec("clip_directional", folder),
        [Sample(scenario(sample.scenario.source, before="dog " * 19, after="cat"), sample.output)],
    )
    assert direction.details == {"truncated_source_tokens": 1}


def test_a_tokenizer_of_transformers_is_used_as_open_clip_does(tmp_path, samples):
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/words"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(random_weights(), tmp_path / "open_clip_model.safetensors")
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "cat": 2, "dog": 3, "[EOS]": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 4)])
    fast = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]")
    fast.save_pretrained(tmp_path)

    name = f"local-dir:{tmp_path}"
    model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    clip = load_clip(str(tmp_path), None, "test")
    texts = ["dog", "cat " * 19, "dog " * 30]
    with torch.inference_mode():
        expected = model.encode_text(tokenizer(texts), normalize=True).double().numpy()
    np.testing.assert_allclose(clip.texts(texts), expected, atol=TOLERANCE)
    assert [clip.truncated(text) for text in texts] == [0, 0, 30 + 1 - 20]
    assert "tokenizer.json" in clip_files(str(tmp_path), None, "test").weights


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, "a dog", "no source prompt"),
        ("a cat", None, "no target prompt"),
        ("", "a dog", "no source prompt"),
        ("a cat", "a cat", "equal prompts"),
        ("a cat", "A  CAT", "prompts equal to the model"),
        ("cat " * 40 + "red", "cat " * 40 + "blue", "prompts equal to the model"),
    ],
)
def test_no_direction_is_asked_for_without_two_prompts(before, after, reason, folder, samples):
    scene = scenario(samples[0].scenario.source, before=before, after=after)
    metrics = load_metrics([spec("clip_directional", folder)])
    assert list(values_without_edit(metrics, scene).values()) == [Undefined(reason)]
    assert list(score(metrics, [Sample(scene, samples[0].output)])[0].values()) == [Undefined(reason)]


def test_an_empty_mask_has_no_edit_view_and_no_prompt_no_score(folder, samples):
    source = samples[0].scenario.source
    empty = Sample(scenario(source, np.zeros(source.shape[:2], bool)), source)
    assert values(spec("clip_score", folder, "edit"), [empty]) == [Undefined("empty edit region")]
    assert values(spec("clip_image", folder, "edit"), [empty]) == [Undefined("empty edit region")]
    assert isinstance(values(spec("clip_score", folder), [empty])[0], float)
    silent = Sample(scenario(source, after=None), source)
    assert values(spec("clip_score", folder), [silent]) == [Undefined("no target prompt")]


# ---------------------------------------------------------------------------------------------------- computed once


def test_every_image_and_text_is_embedded_once_in_a_process(folder, samples, monkeypatch):
    features.forget()
    clip = load_clip(str(folder), None, "test")
    seen = {"image": 0, "text": 0}
    for kind in seen:
        method = getattr(clip._model, f"encode_{kind}")

        def counting(batch, kind=kind, method=method):
            seen[kind] += len(batch)
            return method(batch)

        monkeypatch.setattr(clip._model, f"encode_{kind}", counting)
    other = [Sample(sample.scenario, 255 - sample.output) for sample in samples]
    for name in ("clip_score", "clip_directional", "clip_image"):
        for batch in (samples, other):
            values(spec(name, folder), batch)
    assert seen == {"image": 3 * 3, "text": 3 * 2}


def test_texts_and_images_never_share_features():
    made = []

    def compute(items):
        made.extend(items)
        return [(np.array([float(len(made))]),) for _ in items]

    features.forget()
    texts = ["a", "b", "a ", "", "\ud800"]
    keys = {features.key_of(text, "r") for text in texts} | {features.key_of("a", "R")}
    assert len(keys) == len(texts) + 1
    assert features.key_of(np.zeros((1, 1, 3), np.uint8), "r") not in keys
    features.features(texts, "r", compute)
    features.features(texts[::-1], "r", compute)
    assert made == texts


# -------------------------------------------------------------------------------------------- files and signatures


def test_the_signature_holds_every_file_that_values_depend_on(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())

    def weights():
        return describe(create("metric", spec("clip_score", copy))).weights

    first = weights()
    assert set(first) == {"open_clip_model.safetensors", "open_clip_config.json"}
    for name in first:
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(
            content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("safetensors") else content + b" "
        )
        changed = weights()
        assert {key for key in first if changed[key] != first[key]} == {name}
        (copy / name).write_bytes(content)


def test_another_checkpoint_gives_other_values(folder, samples, tmp_path):
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file(random_weights(seed=2), other)
    usual = values(spec("clip_image", folder), samples)
    unusual = values(spec("clip_image", folder, pretrained=other), samples)
    assert max(abs(a - b) for a, b in zip(usual, unusual, strict=True)) > 1e-3


@pytest.fixture
def architecture(monkeypatch, tmp_path):
    """The tiny network as one of open_clip's own architectures, with a tag whose weights are on the hub."""
    import huggingface_hub
    from open_clip import factory, pretrained

    configs = tmp_path / "model_configs"
    configs.mkdir()
    (configs / "ViT-Tiny.json").write_text(json.dumps(CONFIG["model_cfg"]))
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-Tiny", CONFIG["model_cfg"])
    tags = {
        "ours": pretrained._pcfg(hf_hub="owner/tiny/", quick_gelu=True, mean=(0.1, 0.2, 0.3)),
        "theirs": pretrained._slpcfg(hf_hub="owner/tiny/weights.bin"),
        "web": pretrained._pcfg(url="https://example.org/tiny-web.pt"),
    }
    monkeypatch.setitem(pretrained._PRETRAINED, "ViT-Tiny", tags)
    monkeypatch.setattr("editbench.metrics.clip_files._architectures", lambda: {"ViT-Tiny": configs / "ViT-Tiny.json"})
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path))
    snapshot = cache / "models--owner--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    return snapshot


def test_a_tag_is_found_in_the_cache_and_computed_as_it_was_trained(architecture, samples):
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    save_file(random_weights(quick_gelu=True), architecture / "open_clip_model.safetensors")
    files = clip_files("ViT-Tiny", "ours", "test")
    assert files.checkpoint == architecture / "open_clip_model.safetensors"
    assert files.quick_gelu is True and tuple(files.preprocess["mean"]) == (0.1, 0.2, 0.3)

    model, preprocess = open_clip.create_model_from_pretrained(
        "ViT-Tiny", str(files.checkpoint), force_quick_gelu=True, image_mean=(0.1, 0.2, 0.3)
    )
    with torch.inference_mode():
        images = [preprocess(Image.fromarray(image)) for image in (samples[0].output, samples[0].scenario.source)]
        first, second = model.eval().encode_image(torch.stack(images), normalize=True).double()
    (value,) = values("clip_image:region=all,model=ViT-Tiny,pretrained=ours", samples[:1])
    assert value == pytest.approx(float(first @ second), abs=TOLERANCE)
    plain = values(f"clip_image:region=all,model=ViT-Tiny,pretrained={files.checkpoint}", samples[:1])
    assert abs(plain[0] - value) > 1e-4, "a bare checkpoint has neither the tag's activation nor its mean"


def test_the_cache_is_looked_up_as_open_clip_fills_it(architecture, tmp_path):
    (architecture / "weights.bin").write_bytes(b"x")
    assert clip_files("ViT-Tiny", "theirs", "test").checkpoint.name == "weights.bin"
    (architecture / "weights.safetensors").write_bytes(b"x")
    assert clip_files("ViT-Tiny", "theirs", "test").checkpoint.name == "weights.safetensors"
    web = tmp_path / ".cache" / "clip" / "tiny-web.pt"
    web.parent.mkdir(parents=True)
    web.write_bytes(b"x")
    assert clip_files("ViT-Tiny", "web", "test").checkpoint == web
    (architecture / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(EditbenchError, match="no weights in"):
        clip_files("hf-hub:owner/tiny", None, "test")
    (architecture / "open_clip_pytorch_model.bin").write_bytes(b"x")
    assert clip_files("hf-hub:owner/tiny", None, "test").checkpoint == architecture / "open_clip_pytorch_model.bin"


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-Tiny", "ours", r"weights ours of ViT-Tiny are not on this machine.*python -c .*'ViT-Tiny', 'ours'"),
        ("ViT-Tiny", "our", r"no tag of ViT-Tiny: did you mean 'ours'"),
        ("ViT-Tiny", None, r"needs pretrained=…, expected a checkpoint's path or one of ours, theirs, web"),
        ("ViT-Tiny", "nowhere.pt", r"pretrained='nowhere.pt' is no file and no tag of ViT-Tiny, expected"),
        ("ViT-Tinny", "ours", r"no model 'ViT-Tinny': did you mean 'ViT-Tiny'"),
        ("shape-tiny", None, r"no model 'shape-tiny': did you mean 'shapes-tiny'"),
        (
            "hf-hub:owner/other",
            None,
            r"hf-hub:owner/other is not on this machine.*create_model\('hf-hub:owner/other'\)",
        ),
    ],
)
def test_missing_weights_say_how_to_get_them(architecture, model, pretrained, message):
    with pytest.raises(EditbenchError, match=message) as raised:
        clip_files(model, pretrained, "clip_score")
    assert "\n" not in str(raised.value) and str(raised.value).startswith("clip_score")


def test_a_tokenizer_of_the_hub_is_looked_for_too(architecture, tmp_path):
    config = json.loads((tmp_path / "model_configs" / "ViT-Tiny.json").read_text())
    config["text_cfg"]["hf_tokenizer_name"] = "owner/words"
    (tmp_path / "model_configs" / "ViT-Tiny.json").write_text(json.dumps(config))
    (architecture / "open_clip_model.safetensors").write_bytes(b"x")
    with pytest.raises(EditbenchError, match=r"tokenizer\.json of owner/words is not on this machine"):
        clip_files("ViT-Tiny", "ours", "test")
    words = tmp_path / "hub" / "models--owner--words" / "snapshots" / "def"
    words.mkdir(parents=True)
    (words / "tokenizer.json").write_text("{}")
    (words.parents[1] / "refs").mkdir()
    (words.parents[1] / "refs" / "main").write_text("def")
    assert set(clip_files("ViT-Tiny", "ours", "test").weights) == {"open_clip_model.safetensors", "tokenizer.json"}


def test_the_hub_is_not_contacted(folder, samples, monkeypatch):
    import socket

    from editbench.metrics import clip_models

    def refused(*_):
        raise AssertionError("the network was used")

    import huggingface_hub

    before = huggingface_hub.constants.HF_HUB_OFFLINE
    clip_models._loaded.cache_clear()
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert isinstance(values(spec("clip_score", folder), samples[:1])[0], float)
    with clip_models._without_hub(), pytest.raises(huggingface_hub.errors.LocalEntryNotFoundError):
        huggingface_hub.hf_hub_download("owner/name", "config.json")
    assert huggingface_hub.constants.HF_HUB_OFFLINE is before


def test_weights_that_do_not_fit_are_an_error_of_the_value(folder, samples, tmp_path):
    import torch
    from safetensors.torch import save_file

    wrong = tmp_path / "wrong.safetensors"
    save_file({"visual.proj": torch.zeros(2, 2)}, wrong)
    (value,) = values(spec("clip_score", folder, pretrained=wrong), samples[:1])
    assert isinstance(value, Failed) and "does not make a" in value.reason and "Missing key" in value.reason


# --------------------------------------------------------------------------------------------- specs, command line


@pytest.mark.parametrize(
    "text",
    [
        "clip_score:region=all,model=shapes-tiny",
        "clip_score:region=edit,model=ViT-B-32,pretrained=laion2b_s34b_b79k,context=0.5",
        "clip_directional:region=edit,model=hf-hub:owner/name",
        "clip_image:region=all,model=/some/folder",
    ],
)
def test_spec_strings_survive(text):
    assert spec_of(create("metric", text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_score:region=keep,model=shapes-tiny", "region='keep', expected one of all, edit"),
        ("clip_score:region=all", "needs model"),
        ("clip_score:region=edit,model=shapes-tiny,context=-1", "context=-1"),
        ("clip_score:region=all,model=shapes-tiny,context=1", "margin of region=edit"),
    ],
)
def test_impossible_options_are_refused(text, message):
    with pytest.raises(EditbenchError, match=re.escape(message)):
        create("metric", text)


def test_missing_weights_are_found_before_the_first_edit(tmp_path):
    command = [sys.executable, "-m", "editbench", "run", "--suite", "shapes@1:size=32", "--editor", "identity"]
    command += ["--metrics", "clip_score:region=all,model=ViT-B-32,pretrained=laion2b_s34b_b79k"]
    environment = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "o.create_model('ViT-B-32', 'laion2b_s34b_b79k')" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_finding_files_on_this_machine_imports_no_torch(folder):
    code = (
        "import sys; from editbench.registry import create\n"
        f"for model in ('shapes-tiny', {str(folder)!r}):\n"
        "    assert create('metric', f'clip_score:region=all,model={model}').weights\n"
        "assert not {'torch', 'open_clip', 'transformers'} & set(sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
