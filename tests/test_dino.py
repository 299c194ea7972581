"""The structural distance of DINO keys against computations that share no code with it."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from skimage import data

from editbench.metrics import describe, features, load_metrics, score, vit
from editbench.metrics.dino import DinoStructure
from editbench.registry import create, spec_of
from editbench.types import Content, EditbenchError, Sample, Scenario, Undefined

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def scene(source, mask):
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask))


def measure(metric, source, output, mask):
    ((value,),) = (row.values() for row in score({"m": metric}, [Sample(scene(source, mask), output)]))
    return value


@pytest.fixture(scope="module")
def astronaut():
    return np.ascontiguousarray(data.astronaut()[:96, 160:256])


def mirrored(image, mask):
    """An edit of what lies inside the mask, and of nothing else."""
    return np.where(mask[..., None], image[:, ::-1], image)


def square(height, width, top, left, size):
    mask = np.zeros((height, width), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def last_keys(model, image, size):
    """Keys of the last layer from the hidden states that the model itself reports, `(tokens, width)`."""
    pixels = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC)) / 255
    inputs = torch.tensor(((pixels - MEAN) / STD).transpose(2, 0, 1)[None], dtype=torch.float32)
    options = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    with torch.no_grad():
        states = model(inputs, output_hidden_states=True, **options).hidden_states
        (norm,) = (m for name, m in last_layer(model) if name.endswith(("layernorm_before", "norm1")))
        (key,) = (m for name, m in last_layer(model) if name.endswith(("k_proj", "attention.key")))
        return key(norm(states[-2]))[0].double().numpy()


def last_layer(model):
    last = f".{model.config.num_hidden_layers - 1}."
    return [(name, module) for name, module in model.named_modules() if last in name]


def cosines(keys):
    units = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    return np.einsum("id,jd->ij", units, units)


@pytest.mark.parametrize(("kind", "patch"), [("tiny_vit", 8), ("tiny_dinov2", 14)])
def test_the_value_is_the_mean_change_of_the_cosines_among_the_regions_patches(request, astronaut, kind, patch):
    tiny = request.getfixturevalue(kind)
    side = 6 * patch
    mask = square(96, 96, 16, 32, 48)  # patches 1 to 3 down, 2 to 4 across, of 6 by 6
    output = mirrored(astronaut, mask)
    before, after = (cosines(last_keys(tiny.model, image, (side, side))[1:]) for image in (astronaut, output))
    inside = square(6, 6, 1, 2, 3).ravel()
    change = (after - before) ** 2
    metric = DinoStructure("edit", model=str(tiny.folder), size=side)
    assert measure(metric, astronaut, output, mask) == pytest.approx(change[inside][:, inside].mean(), rel=1e-4)
    metric = DinoStructure("all", model=str(tiny.folder), size=side)
    assert measure(metric, astronaut, output, mask) == pytest.approx(change.mean(), rel=1e-4)
    assert change.mean() > 1e-3, "the edit must be visible to the network"


def test_a_wide_picture_keeps_its_proportions(tiny_vit):
    picture = np.ascontiguousarray(data.chelsea()[:90, :150])
    output = picture[::-1].copy()
    before, after = (cosines(last_keys(tiny_vit.model, image, (56, 32))[1:]) for image in (picture, output))
    metric = DinoStructure("all", model=str(tiny_vit.folder), size=32)  # 4 patches by 150 / 90 * 4 = 6.67: 7
    value = measure(metric, picture, output, np.ones((90, 150), bool))
    assert value == pytest.approx(((after - before) ** 2).mean(), rel=1e-4)


def test_another_layer_is_another_value_and_minus_one_is_the_last(tiny_vit, astronaut):
    def value(layer):
        metric = DinoStructure("all", model=str(tiny_vit.folder), size=32, layer=layer)
        return measure(metric, astronaut, astronaut[:, ::-1].copy(), square(96, 96, 0, 0, 50))

    features.forget()
    values = [value(layer) for layer in (0, 1, 2, -1)]
    assert len(set(values)) == 3 and values[2] == values[3]
    for layer, known in zip((0, 1, 2, -1), values, strict=True):
        features.forget()
        assert value(layer) == known, "features of one layer were taken for those of another"


@settings(max_examples=8, deadline=None)
@given(
    top=st.integers(0, 40),
    left=st.integers(0, 40),
    size=st.integers(48, 56),
    seed=st.integers(0, 9),
    region=st.sampled_from(["edit", "keep"]),
)
def test_damage_in_the_other_region_changes_nothing_to_the_last_bit(tiny_vit, astronaut, top, left, size, seed, region):
    mask = square(96, 96, top, left, size)
    here = mask if region == "edit" else ~mask
    output = np.where(here[..., None], 255 - astronaut, astronaut)
    noise = np.random.default_rng(seed).integers(0, 256, astronaut.shape).astype(np.uint8)
    damaged = np.where(here[..., None], output, noise)
    metric = DinoStructure(region, model=str(tiny_vit.folder), size=32)
    assert measure(metric, astronaut, damaged, mask) == measure(metric, astronaut, output, mask)
    assert measure(metric, astronaut, np.where(here[..., None], astronaut, noise), mask) == 0


@pytest.mark.parametrize("region", ["all", "edit", "keep"])
def test_the_source_itself_has_distance_0_exactly(tiny_vit, astronaut, region):
    metric = DinoStructure(region, model=str(tiny_vit.folder), size=32)
    assert measure(metric, astronaut, astronaut.copy(), square(96, 96, 20, 20, 40)) == 0


def test_a_patch_belongs_to_what_covers_at_least_half_of_it(tiny_vit):
    metric = DinoStructure("edit", model=str(tiny_vit.folder), size=32)  # cells of 24 pixels in a 96-pixel picture
    mask = np.zeros((96, 96), bool)
    mask[:24, :12] = mask[24:48, 24:35] = mask[48:72, 48:61] = True
    expected = np.zeros((4, 4), bool)
    expected[0, 0] = expected[2, 2] = True
    assert np.array_equal(metric._patches(mask), expected)
    assert np.array_equal(metric._patches(~mask) & metric._patches(mask), square(4, 4, 0, 0, 1)), "a tie is of both"


@pytest.mark.parametrize(
    ("size", "reason"), [(20, "fewer than two patches in the edit region"), (0, "empty edit region")]
)
def test_a_region_without_a_pair_of_patches_is_undefined(tiny_vit, astronaut, size, reason):
    metric = DinoStructure("edit", model=str(tiny_vit.folder), size=32)
    output = astronaut[:, ::-1].copy()
    assert measure(metric, astronaut, output, square(96, 96, 0, 0, size)) == Undefined(reason)


def test_values_depend_neither_on_the_batch_nor_on_the_order(tiny_vit):
    pictures = [data.astronaut()[:64, :64], data.coffee()[:64, :96], data.chelsea()[:64, :64]]
    metrics = load_metrics([f"dino_structure:region=all,model={tiny_vit.folder},size=32"])

    def samples():
        return [Sample(scene(p, square(*p.shape[:2], 9, 9, 30)), p[::-1].copy()) for p in pictures]

    together = score(metrics, samples())
    features.forget()
    assert score(metrics, samples()[::-1])[::-1] == together
    assert [score(metrics, [sample])[0] for sample in samples()] == together


def test_a_source_passes_through_the_network_once(tiny_vit, astronaut, monkeypatch):
    features.forget()
    passed = []
    real = vit.keys
    monkeypatch.setattr(
        "editbench.metrics.dino.keys", lambda n, images, k: passed.append(len(images)) or real(n, images, k)
    )
    mask = square(96, 96, 20, 20, 50)
    for region, output in (("all", astronaut[::-1]), ("edit", mirrored(astronaut, mask)), ("all", 255 - astronaut)):
        measure(DinoStructure(region, model=str(tiny_vit.folder), size=32), astronaut, output.copy(), mask)
    assert passed == [1, 1, 1, 1], "one source and three outputs"


# ---------------------------------------------------------------------------------------------------------- weights


def test_weights_are_those_of_the_files_read(tiny_vit):
    info = describe(DinoStructure("all", model=str(tiny_vit.folder)))
    assert set(info.weights) == {"config.json", "model.safetensors"}
    assert info.libraries["device"].endswith(" float32")


def test_a_model_in_the_hubs_cache_is_found_by_its_id(tiny_vit, no_weights, astronaut):
    snapshot = no_weights / "hub" / "models--facebook--dino-vitb8" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(tiny_vit.folder, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    output, mask = astronaut[::-1].copy(), square(96, 96, 20, 20, 50)
    by_id = DinoStructure("all", size=32)
    by_folder = DinoStructure("all", model=str(tiny_vit.folder), size=32)
    assert by_id.weights == by_folder.weights
    assert measure(by_id, astronaut, output, mask) == measure(by_folder, astronaut, output, mask)


def test_a_model_that_is_not_here_is_named_with_how_to_get_it(no_weights):
    with pytest.raises(EditbenchError, match="hf download facebook/dino-vitb8`, or give model=FOLDER") as error:
        _ = DinoStructure("all").weights
    assert "\n" not in str(error.value)


def changed(tiny, folder, **config):
    shutil.copytree(tiny.folder, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def test_what_cannot_be_used_is_refused_before_the_first_edit(tiny_vit, tmp_path):
    with pytest.raises(EditbenchError, match="is a 'resnet', expected one of vit, dinov2"):
        _ = DinoStructure("all", model=str(changed(tiny_vit, tmp_path / "other", model_type="resnet"))).weights
    with pytest.raises(EditbenchError, match=r"layer=3, but .* has 3 layers"):
        _ = DinoStructure("all", model=str(tiny_vit.folder), layer=3).weights
    (tmp_path / "empty").mkdir()
    with pytest.raises(EditbenchError, match=r"has no config.json, expected a transformers checkpoint"):
        _ = DinoStructure("all", model=str(tmp_path / "empty")).weights


def test_weights_that_a_checkpoint_lacks_are_not_made_up(tiny_vit, tmp_path, astronaut):
    folder = changed(tiny_vit, tmp_path / "deeper", num_hidden_layers=4)
    with pytest.raises(EditbenchError, match="is no complete AutoModel: no weights for"):
        DinoStructure("all", model=str(folder), size=32).score(
            [Sample(scene(astronaut, square(96, 96, 0, 0, 9)), 255 - astronaut)]
        )


def test_the_spec_says_what_was_chosen():
    spec = "dino_structure:region=keep,model=facebook/dinov2-base,layer=5"
    assert spec_of(create("metric", spec)) == spec
    assert spec_of(DinoStructure("all")) == "dino_structure:region=all"
    with pytest.raises(EditbenchError, match="size=0"):
        create("metric", "dino_structure:region=all,size=0")
