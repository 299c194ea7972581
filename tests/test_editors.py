"""Every control does exactly what its name says, the classical editors do their job, and foreign ones see no more than
they declare."""

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image as PILImage
from skimage import data
from skimage.color import deltaE_cie76, rgb2lab

import editbench as eb
from editbench.colours import COLOURS
from editbench.editors import code_sha256, load_editor
from editbench.editors.controls import Paste
from editbench.execute import InProcess
from editbench.images import InvalidImage, as_image, resize
from editbench.png import encode_png
from editbench.registry import spec_of
from editbench.testing import toy_scenarios
from editbench.types import Content, EditbenchError, EditRequest, OutputMissing, Scenario, Task

TOYS = toy_scenarios()


def crop(name="astronaut", top=0, left=0, height=64, width=80):
    return getattr(data, name)()[top : top + height, left : left + width].copy()


def disc(height=64, width=80, radius=16):
    rows, columns = np.mgrid[:height, :width]
    return (rows - height // 2) ** 2 + (columns - width // 2) ** 2 <= radius**2


def ask(source, mask=None, instruction="Go.", seed=0, **prompts):
    return EditRequest(source.copy(), instruction, seed, None if mask is None else mask.copy(), **prompts)


def edit(editor, *requests):
    """What an editor gives for one request, or for several."""
    loaded = load_editor(editor)
    outputs = loaded.edit(list(requests))
    return outputs[0] if len(requests) == 1 else list(outputs)


def task(scenario, repeat=0):
    return Task(scenario, repeat, 7)


def equal(first, second):
    return first.dtype == second.dtype == np.uint8 and np.array_equal(first, second)


# -------------------------------------------------------------------------------------------------------- controls


@pytest.mark.parametrize(
    ("editor", "access"),
    [
        *((name, "none") for name in ("identity", "noise", "blur", "jpeg", "shuffle")),
        *((name, "region") for name in ("fill", "target", "paste:editor=noise")),
    ],
)
def test_a_control_says_that_it_is_one_and_what_it_sees(editor, access):
    loaded = load_editor(editor)
    assert loaded.control is True and loaded.mask_access == access and spec_of(loaded) == editor


def test_identity_returns_the_source():
    for scenario in TOYS:
        assert equal(edit("identity", task(scenario).request("none")), scenario.source)


def test_target_answers_with_the_ground_truth_where_there_is_one():
    target = load_editor("target")
    assert list(target.prepare(TOYS)) == []
    for scenario in TOYS:
        assert equal(target.answer(task(scenario)), scenario.target)
    without = Scenario("x", "x", "edit", "Go.", load=lambda: Content(crop(), disc()))
    assert target.answer(task(without)) is None


@pytest.mark.parametrize(("editor", "sigma"), [("noise", 0.1), ("noise:sigma=0.02", 0.02)])
def test_noise_has_the_sigma_it_was_asked_for(editor, sigma):
    grey = np.full((96, 96, 3), 128, np.uint8)
    noise = edit(editor, ask(grey)).astype(float) - grey
    assert noise.std() / 255 == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.5
    red, green = noise[..., 0].ravel(), noise[..., 1].ravel()
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.05
    assert abs(np.corrcoef(red[1:], red[:-1])[0, 1]) < 0.05


def test_noise_is_clipped_and_never_wraps_around():
    for level in (0, 255):
        source = np.full((32, 32, 3), level, np.uint8)
        assert np.abs(edit("noise", ask(source)).astype(int) - level).max() < 160


def test_noise_depends_on_the_seed_alone():
    source = crop()
    first, second, third = (ask(source, seed=seed) for seed in (5, 6, 5))
    alone = edit("noise", first)
    together = edit("noise", second, third, first)
    assert equal(together[1], alone) and equal(together[2], alone)
    assert not equal(together[0], alone)
    assert equal(edit("noise:sigma=0", first), source)


def test_blur_is_a_gaussian_of_each_channel_with_mirrored_borders():
    source, sigma = crop("chelsea", 90, 140, 40, 50), 2.0
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = np.empty(source.shape)
    for channel in range(3):
        padded = np.pad(source[..., channel].astype(float), radius, mode="symmetric")
        rows = np.array([np.convolve(row, kernel, "valid") for row in padded])
        expected[..., channel] = np.array([np.convolve(column, kernel, "valid") for column in rows.T]).T
    assert np.abs(edit(f"blur:sigma={sigma}", ask(source)) - expected).max() <= 0.5 + 1e-9
    assert equal(edit("blur:sigma=0", ask(source)), source)
    assert equal(edit("blur", ask(source)), edit("blur:sigma=3", ask(source)))


@pytest.mark.parametrize("quality", [10, 75, 95])
def test_jpeg_is_pillows_round_trip(quality):
    source = crop(top=60, left=180)
    buffer = io.BytesIO()
    PILImage.fromarray(source).save(buffer, "JPEG", quality=quality)
    expected = np.asarray(PILImage.open(io.BytesIO(buffer.getvalue())))
    assert equal(edit(f"jpeg:quality={quality}", ask(source)), expected)
    assert not equal(expected, source)


def test_jpeg_loses_more_at_lower_quality():
    source = crop(top=60, left=180)
    error = [np.abs(edit(f"jpeg:quality={q}", ask(source)).astype(int) - source).mean() for q in (95, 75, 30, 5)]
    assert error == sorted(error) and error[0] < 3 < error[-1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("noise:sigma=-0.1", "sigma=-0.1, expected at least 0"),
        ("blur:sigma=-1", "sigma=-1.0, expected at least 0"),
        ("jpeg:quality=0", "quality=0, expected 1 to 95"),
        ("jpeg:quality=96", "quality=96, expected 1 to 95"),
        ("paste:editor=noise,feather=-1", "feather=-1, expected at least 0"),
        ("biharmonic:max_pixels=0", "max_pixels=0, expected at least 1"),
        ("recolor:leak=1.5", "leak=1.5, expected 0 to 1"),
        ("paste", "needs editor"),
        ("paste:editor=[recolor:leek=1]", "'recolor' has no option 'leek': did you mean 'leak'?"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_the_first_edit(spec, message):
    with pytest.raises(EditbenchError) as caught:
        load_editor(spec)
    assert message in str(caught.value)


def test_fill_paints_the_mask_mid_grey_and_nothing_else():
    for scenario in TOYS:
        output = edit("fill", task(scenario).request("region"))
        assert (output[scenario.mask] == 128).all()
        assert equal(output[~scenario.mask], scenario.source[~scenario.mask])


# --------------------------------------------------------------------------------------------------------- shuffle


def gallery(clusters, sizes=None, targets=True):
    """A suite whose i-th source has level i everywhere, and whose target has level 100 + i."""

    def load(index):
        height, width = (sizes or [(8, 8)] * len(clusters))[index]
        source = np.full((height, width, 3), index, np.uint8)
        return Content(source, np.ones((height, width), bool), source + np.uint8(100) if targets else None)

    return [
        Scenario(f"s{index}", cluster, "edit", "Go.", load=lambda index=index: load(index))
        for index, cluster in enumerate(clusters)
    ]


def shuffled(suite):
    shuffle = load_editor("shuffle")
    assert list(shuffle.prepare(suite)) == []
    return [shuffle.answer(task(scenario)) for scenario in suite]


@pytest.mark.parametrize(
    ("clusters", "partners"),
    [("aabbcc", [3, 4, 5, 0, 1, 2]), ("abba", [2, 3, 0, 1]), ("abab", [3, 0, 1, 2]), ("aaab", [3, 3, 3, 1])],
)
def test_shuffle_takes_the_next_scenario_of_another_cluster_half_a_suite_on(clusters, partners):
    assert [int(image[0, 0, 0]) for image in shuffled(gallery(clusters))] == [100 + partner for partner in partners]
    sources = shuffled(gallery(clusters, targets=False))
    assert [int(image[0, 0, 0]) for image in sources] == partners


def test_shuffle_fits_the_other_picture_to_the_source():
    suite = gallery("ab", [(8, 12), (20, 10)])
    assert [image.shape for image in shuffled(suite)] == [(8, 12, 3), (20, 10, 3)]
    toys = TOYS[:2]
    assert equal(shuffled(toys)[0], resize(toys[1].target, 64, 64))


def test_shuffle_fails_where_there_is_nothing_to_shuffle_with():
    with pytest.raises(ValueError, match="only one cluster"):
        shuffled(gallery("aaa"))


# ----------------------------------------------------------------------------------------------------------- paste


def scene(source, mask):
    return Scenario("s", "c", "edit", "Go.", load=lambda: Content(source, mask))


def test_paste_keeps_the_output_inside_and_the_source_outside():
    paste = load_editor("paste:editor=noise")
    for scenario in TOYS:
        output = 255 - scenario.source
        composed = paste.compose(scenario, output)
        assert equal(composed[scenario.mask], output[scenario.mask])
        assert equal(composed[~scenario.mask], scenario.source[~scenario.mask])


def test_a_feather_fades_in_over_its_width_inside_the_mask():
    mask = np.zeros((6, 20), bool)
    mask[:, 8:] = True
    scenario = scene(np.full((6, 20, 3), 40, np.uint8), mask)
    composed = Paste(load_editor("noise"), feather=3).compose(scenario, np.full((6, 20, 3), 240, np.uint8))
    assert (composed == composed[:1, :, :1]).all()
    assert composed[0, :, 0].tolist() == [40] * 8 + [90, 140, 190] + [240] * 9


@pytest.mark.parametrize("feather", [1, 4, 100])
def test_a_feather_leaves_the_outside_alone_and_blends_no_deeper_than_its_width(feather):
    source, mask = crop(), disc()
    scenario, output = scene(source, mask), crop("chelsea", 60, 120)
    composed = Paste(load_editor("noise"), feather).compose(scenario, output)
    assert equal(composed[~mask], source[~mask])
    deep = scenario.regions.distance_inside >= feather + 1  # on the diagonal, pixels lie between whole distances
    assert equal(composed[deep], output[deep])
    low, high = np.minimum(source, output), np.maximum(source, output)
    assert ((low <= composed) & (composed <= high)).all()
    assert not equal(composed[mask & ~deep], output[mask & ~deep])


def test_a_feather_of_a_mask_without_a_border_has_nothing_to_blend():
    source, output = crop(), crop("chelsea", 60, 120)
    paste = Paste(load_editor("noise"), 4)
    assert equal(paste.compose(scene(source, np.ones((64, 80), bool)), output), output)
    assert equal(paste.compose(scene(source, np.zeros((64, 80), bool)), output), source)


def test_a_nested_spec_is_taken_apart_and_written_back():
    spec = "paste:editor=[recolor:leak=0.3],feather=4"
    paste = load_editor(spec)
    assert (paste.feather, paste.editor.leak, paste.mask_access) == (4, 0.3, "region")
    assert paste.editor.mask_access == "hint" and paste.control
    assert spec_of(paste) == spec
    twice = load_editor("paste:editor=[paste:editor=[recolor:leak=0.3],feather=4]")
    assert twice.editor == paste and spec_of(twice) == f"paste:editor=[{spec}]"
    assert not load_editor("paste:editor=biharmonic").control


FOREIGN = """
def invert(source, mask):
    assert mask is None
    return 255 - source

class Editor:
    mask_access = "hint"
    trained_on = ("psnr:region=keep",)

    def edit(self, requests):
        return [255 - request.source for request in requests]
"""


def test_a_function_or_class_in_a_file_can_be_pasted(tmp_path):
    (tmp_path / "mine.py").write_text(FOREIGN)
    for name in ("invert", "Editor"):
        spec = f"paste:editor=[{tmp_path}/mine.py:{name}]"
        paste = load_editor(spec)
        assert spec_of(paste) == spec and spec_of(paste.editor) == f"{tmp_path}/mine.py:{name}"
        result = eb.run(
            spec,
            suite="shapes@1:size=32",
            limit=2,
            label=name,
            metrics=["mae:region=keep", "mae:region=edit"],
            output_dir=str(tmp_path / name),
        )
        for record in result.records().records:
            assert record.edit_status == "ok" and record.values["mae:region=keep"] == 0.0
            assert record.values["mae:region=edit"] > 0.1
    assert load_editor(spec).trained_on == ("psnr:region=keep",)
    pasted = load_editor(Paste(lambda source: 255 - source))
    assert equal(pasted.editor.edit([ask(crop())])[0], 255 - crop())


def test_the_code_of_a_pasted_editor_is_part_of_a_runs_identity(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FOREIGN)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    for spec in (f"{path}:Editor", f"paste:editor=[{path}:Editor],feather=2"):
        assert code_sha256(spec) == expected
    path.write_text(FOREIGN + "\nready = Editor()\n")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert code_sha256(spec_of(load_editor(f"{path}:ready"))) == expected
    with pytest.raises(EditbenchError, match=r"no file 'nowhere\.py'"):
        code_sha256("paste:editor=[nowhere.py:edit]")
    assert code_sha256("paste:editor=[recolor:leak=0.3]") is None and code_sha256("identity") is None


# ------------------------------------------------------------------------------------------------------- biharmonic


def ramp(height=64, width=80):
    rows, columns = np.mgrid[:height, :width]
    channels = [40 + 2 * columns, 220 - 2 * rows, 60 + rows + columns]
    return np.stack(channels, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("editor", "error"), [("biharmonic", 1.0), ("biharmonic:max_pixels=300", 3.0), ("biharmonic:max_pixels=100", 6.0)]
)
def test_biharmonic_continues_a_smooth_gradient_into_a_hole(editor, error):
    truth, mask = ramp(), disc()
    broken = truth.copy()
    broken[mask] = (255, 0, 255)
    output = edit(editor, ask(broken, mask))
    assert equal(output[~mask], broken[~mask])

    def distance(image):
        return np.abs(image[mask].astype(int) - truth[mask]).mean()

    assert distance(output) < error
    assert distance(output) < distance(edit("fill", ask(truth, mask))) / 5


def test_biharmonic_fails_on_a_mask_that_covers_everything_and_on_no_other():
    source, full = crop(), np.ones((64, 80), bool)
    outputs = edit("biharmonic", ask(source, disc()), ask(source, full), ask(source, ~full))
    assert isinstance(outputs[1], ValueError) and "covers everything" in str(outputs[1])
    assert not equal(outputs[0], source) and equal(outputs[2], source)
    assert equal(outputs[0], edit("biharmonic", ask(source, disc())))


def test_biharmonic_solves_a_large_hole_of_thin_stripes_from_what_lies_between():
    truth, mask = ramp(96, 70), np.zeros((96, 70), bool)
    mask[:, ::2] = True
    broken = truth.copy()
    broken[mask] = 0
    output = edit("biharmonic", ask(broken, mask))
    assert equal(output[~mask], broken[~mask])
    assert np.abs(output[mask].astype(int) - truth[mask]).mean() < 6


def test_biharmonic_does_not_look_into_the_mask():
    source, mask = crop(), disc()
    other = source.copy()
    other[mask] = np.random.default_rng(0).integers(0, 256, (mask.sum(), 3))
    for editor in ("biharmonic", "biharmonic:max_pixels=200"):
        assert equal(edit(editor, ask(source, mask)), edit(editor, ask(other, mask)))


# --------------------------------------------------------------------------------------------------------- recolor


@pytest.mark.parametrize("colour", ["red", "green", "blue", "purple", "brown"])
def test_recolor_moves_the_mask_to_the_named_colour_and_leaves_the_rest(colour):
    source, mask = crop("chelsea", 100, 150), disc()
    output = edit("recolor", ask(source, mask, f"Make the cat {colour}."))
    assert equal(output[~mask], source[~mask])
    wanted = rgb2lab(np.array([[COLOURS[colour]]], np.uint8))[0, 0]
    before, after = rgb2lab(source)[mask], rgb2lab(output)[mask]
    assert deltaE_cie76(after.mean(axis=0), wanted) < min(6, deltaE_cie76(before.mean(axis=0), wanted) / 2)
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0.97, "texture and shading stay"


def test_recolor_asks_the_prompts_before_the_instruction():
    source, mask = crop("chelsea", 100, 150), disc()
    plain = edit("recolor", ask(source, mask, "Make it blue."))
    prompts = {"source_prompt": "a green cat on a red mat", "target_prompt": "a blue cat on a red mat"}
    assert equal(edit("recolor", ask(source, mask, "Turn the green cat, on the red mat.", **prompts)), plain)
    assert not equal(edit("recolor", ask(source, mask, "Make it red.")), plain)


@pytest.mark.parametrize("leak", [0.3, 1.0])
def test_a_leak_spills_over_the_border_and_fades_out_over_an_eighth_of_the_shorter_side(leak):
    source, mask = np.full((64, 80, 3), 120, np.uint8), disc(radius=12)
    output = edit(f"recolor:leak={leak}", ask(source, mask, "Make it red."))
    clean = edit("recolor", ask(source, mask, "Make it red."))
    assert equal(output[mask], clean[mask])
    distance = scene(source, mask).regions.distance_outside
    change = np.abs(output.astype(int) - source).max(axis=2)
    assert (change[distance >= 8] == 0).all()
    means = [change[(distance >= near) & (distance < near + 1)].mean() for near in range(1, 8)]
    assert means == sorted(means, reverse=True) and means[0] > 30 * leak and means[5] > 0
    assert load_editor(f"recolor:leak={leak}").mask_access == "hint"


def test_a_clean_recolor_promises_to_stay_inside_and_is_no_control():
    clean, leaking = load_editor("recolor"), load_editor("recolor:leak=0.1")
    assert (clean.mask_access, clean.control) == ("region", False)
    assert (leaking.mask_access, leaking.control) == ("hint", True)


def test_recolor_fails_where_no_colour_is_named_and_nowhere_else():
    source, mask = crop(), disc()
    requests = [ask(source, mask, text) for text in ("Make it red.", "Remove the cat.", "Make it tired.")]
    outputs = edit("recolor", *requests)
    assert not isinstance(outputs[0], Exception)
    for failed in outputs[1:]:
        assert isinstance(failed, ValueError) and "names no colour" in str(failed)


@pytest.mark.parametrize("editor", ["recolor", "recolor:leak=1", "harmonise", "biharmonic"])
def test_an_empty_mask_changes_nothing(editor):
    source = crop()
    assert equal(edit(editor, ask(source, np.zeros((64, 80), bool), "Make it red.")), source)


# -------------------------------------------------------------------------------------------------------- harmonise


def test_harmonise_gives_the_mask_the_colours_of_its_surroundings_and_leaves_the_rest():
    random = np.random.default_rng(0)
    mask = disc()
    source = np.clip(random.normal((90, 130, 110), 4, (64, 80, 3)), 0, 255).astype(np.uint8)
    source[mask] = np.clip(random.normal((200, 60, 60), 15, (mask.sum(), 3)), 0, 255)
    distance = scene(source, mask).regions.distance_outside
    source[distance > 9] = (0, 0, 255)  # too far away to count
    output = edit("harmonise", ask(source, mask))
    assert equal(output[~mask], source[~mask])
    around = rgb2lab(source)[(distance > 0) & (distance <= 8)]
    inside = rgb2lab(output)[mask]
    assert np.abs(inside.mean(axis=0) - around.mean(axis=0)).max() < 1
    assert np.allclose(inside.std(axis=0), around.std(axis=0), rtol=0.15)


def test_harmonise_takes_contrast_away_but_never_adds_it():
    mask = disc()
    source = crop("chelsea", 100, 150)
    source[mask] = 128 + np.arange(mask.sum())[:, None] % 2
    output = edit("harmonise", ask(source, mask))
    assert rgb2lab(output)[mask][:, 0].std() < 1


def test_harmonise_fails_without_surroundings_and_works_on_a_picture_of_a_few_pixels():
    source, full = crop(), np.ones((64, 80), bool)
    outputs = edit("harmonise", ask(source, full), ask(source, disc()))
    assert isinstance(outputs[0], ValueError) and "covers everything" in str(outputs[0])
    assert not isinstance(outputs[1], Exception)
    tiny, mask = np.full((5, 5, 3), 200, np.uint8), np.eye(5, dtype=bool)
    tiny[mask] = 20
    assert np.abs(edit("harmonise", ask(tiny, mask)).astype(int) - 200).max() <= 1


@pytest.mark.parametrize("editor", ["biharmonic", "recolor", "recolor:leak=0.4", "harmonise", "noise", "jpeg", "blur"])
def test_an_output_does_not_depend_on_the_batch_or_change_the_request(editor):
    requests = [ask(crop(top=top), disc(), "Make it red.", seed=top) for top in (0, 40, 80)]
    before = [request.source.copy() for request in requests]
    together = edit(editor, *requests)
    for request, source, output in zip(requests, before, together, strict=True):
        assert equal(request.source, source)
        assert equal(edit(editor, request), output)


# -------------------------------------------------------------------------------------------------- finished images


def paint(path, level, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", size, (level, level, level)).save(path)


def levels(answers, suite, repeat=0):
    found = [answers.answer(task(scenario, repeat)) for scenario in suite]
    return [None if output is None else int(as_image(output).image[0, 0, 0]) for output in found]


def test_finished_images_are_found_by_id_and_never_by_order(tmp_path):
    suite = gallery("abcd")[::-1]
    for name, level in (("s1.png", 10), ("s0.webp", 0), ("s3.PNG", 30), ("s2.jpeg", 20)):
        paint(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("not an image")
    answers = load_editor(f"folder:{tmp_path}")
    assert list(answers.prepare(suite)) == []
    assert levels(answers, suite) == [30, 20, 10, 0]


def test_missing_and_extra_ids_are_reported_and_missing_ones_stay_missing(tmp_path):
    suite = gallery("abcd")
    for name in ("s0", "s2", "S1", "s22"):
        paint(tmp_path / f"{name}.png", 50)
    answers = load_editor(f"folder:{tmp_path}")
    missing, extra = answers.prepare(suite)
    assert missing == f"{tmp_path}: 2 of 4 scenarios have no image: s1, s3"
    assert extra == f"{tmp_path}: 2 of 4 ids are not in the suite: S1, s22"
    assert levels(answers, suite) == [50, None, 50, None]


def test_finished_images_are_looked_for_again_for_the_next_suite(tmp_path):
    for name, level in (("s0", 0), ("s1", 10)):
        paint(tmp_path / f"{name}.png", level)
    answers = load_editor(f"folder:{tmp_path}")
    assert list(answers.prepare(gallery("ab"))) == []
    (tmp_path / "s1.png").unlink()
    assert len(answers.prepare(gallery("ab"))) == 1
    assert levels(answers, gallery("ab")) == [0, None]


def test_long_lists_of_missing_ids_are_cut(tmp_path):
    suite = gallery("abcdefgh")
    paint(tmp_path / "s0.png", 0)
    (missing,) = load_editor(f"folder:{tmp_path}").prepare(suite)
    assert missing.endswith("7 of 8 scenarios have no image: s1, s2, s3, s4, s5, …")


def test_a_name_with_a_number_after_an_at_sign_answers_that_repeat(tmp_path):
    suite = gallery("ab")
    for name, level in (("s0", 1), ("s0@1", 11), ("s0@12", 21), ("s1@1", 31), ("s1@final", 41), ("s1@", 51)):
        paint(tmp_path / f"{name}.png", level)
    answers = load_editor(f"folder:{tmp_path}")
    first, twelfth, extra = answers.prepare(suite)
    assert first.endswith("1 of 2 scenarios have no image: s1")
    assert twelfth.endswith("1 of 2 scenarios have no image for repeat 12: s1")
    assert extra.endswith("2 of 4 ids are not in the suite: s1@, s1@final")
    assert [levels(answers, suite, repeat) for repeat in (0, 1, 2, 12)] == [[1, None], [11, 31], [None] * 2, [21, None]]


def test_two_images_for_one_scenario_are_refused(tmp_path):
    paint(tmp_path / "s0.png", 0)
    paint(tmp_path / "s0.jpg", 0)
    with pytest.raises(EditbenchError, match=r"s0\.jpg and .*s0\.png both answer scenario 's0'"):
        load_editor(f"folder:{tmp_path}").prepare(gallery("ab"))


def test_a_folder_that_answers_nothing_is_refused_with_an_example(tmp_path):
    paint(tmp_path / "0001.png", 0)
    with pytest.raises(EditbenchError, match=r"no image for any of the 2 scenarios; expected s0\.png"):
        load_editor(f"folder:{tmp_path}").prepare(gallery("ab"))
    (tmp_path / "list.jsonl").write_text('{"id": "s0", "image_path": "x.png"}\n')
    with pytest.raises(EditbenchError, match=r"it names files that do not exist: .*x\.png"):
        load_editor(f"folder:{tmp_path / 'list.jsonl'}").prepare(gallery("ab"))
    with pytest.raises(EditbenchError, match="no folder or JSONL file"):
        load_editor(f"folder:{tmp_path / 'gone'}").prepare(gallery("ab"))


def test_a_jsonl_lists_images_relative_to_itself(tmp_path):
    suite = gallery("abc")
    paint(tmp_path / "deep" / "x.png", 10)
    paint(tmp_path / "y.png", 20)
    items = [
        {"id": "s1", "image_path": "deep/x.png"},
        {"id": "s0", "image_path": "./y.png", "repeat": 0},
        {"id": "s1", "image_path": "y.png", "repeat": 1},
        {"id": "s2", "image_path": "gone.png"},
    ]
    text = "\n".join(json.dumps(item) + "\n" for item in items)  # blank lines do no harm
    (tmp_path / "list.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    answers = load_editor(f"folder:{tmp_path / 'list.jsonl'},mask_access=hint")
    absent, missing, missing_again = answers.prepare(suite)
    assert absent.endswith(f"1 of 4 files do not exist: {tmp_path / 'gone.png'}")
    assert missing.endswith("1 of 3 scenarios have no image: s2")
    assert missing_again.endswith("2 of 3 scenarios have no image for repeat 1: s0, s2")
    assert answers.mask_access == "hint" and levels(answers, suite) == [20, 10, None]
    assert levels(answers, suite, repeat=1) == [None, 20, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "s1"}', "'image_path'"),
        ('{"id": 1, "image_path": "x.png"}', "id and image_path must be text"),
        ('{"id": "s1", "image_path": "x.png", "repeat": "1"}', "repeat a whole number"),
        ('{"id": "s1", "id": "s0", "image_path": "x.png"}', "duplicate key 'id'"),
        ('{"id": "s1", "image_path": "x.png", "repeat": true}', "repeat a whole number"),
        ('{"id": "s1", "image_path": "x.png", "repeat": -1}', "repeat 0 or more"),
        ('{"id": "s1", "image_path": "x.png", "repaet": 1}', "unknown field 'repaet': did you mean 'repeat'?"),
        ('{"id": "s1", "image_path": "/etc/x.png"}', "must be inside the folder of the list"),
        ('{"id": "s1", "image_path": "deep/../../x.png"}', "must be inside the folder of the list"),
        ('["s1", "x.png"]', "expected {"),
        ("s1 x.png", "expected {"),
        ('{"id": "s1", "image_path": "\udcff.png"}', "can't decode byte 0xff"),
    ],
)
def test_a_wrong_line_of_a_list_is_refused_with_its_number(tmp_path, line, message):
    text = '{"id": "s0", "image_path": "x.png"}\n' + line + "\n"
    (tmp_path / "list.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(EditbenchError) as caught:
        load_editor(f"folder:{tmp_path / 'list.jsonl'}").prepare(gallery("ab"))
    assert str(caught.value).startswith(f"{tmp_path / 'list.jsonl'}:2: ") and message in str(caught.value)


def test_a_list_that_answers_a_scenario_twice_is_refused(tmp_path):
    (tmp_path / "list.jsonl").write_text('{"id": "s0", "image_path": "x.png"}\n{"id": "s0", "image_path": "y.png"}\n')
    with pytest.raises(EditbenchError, match=r"x\.png and .*y\.png both answer scenario 's0'"):
        load_editor(f"folder:{tmp_path / 'list.jsonl'}").prepare(gallery("ab"))


def test_a_run_of_finished_images_tells_missing_from_invalid(tmp_path):
    suite = eb.load_suite("shapes@1:size=32")
    good, bad, big, gone = (suite[index] for index in range(4))
    images = tmp_path / "images"
    images.mkdir()
    (images / f"{good.id}.png").write_bytes(encode_png(good.target))
    (images / f"{bad.id}.png").write_bytes(b"not a picture")
    paint(images / f"{big.id}.png", 9, (64, 64))
    result = eb.run(
        f"folder:{images}",
        suite="shapes@1:size=32",
        limit=4,
        label="finished",
        metrics=["target:mae,region=all"],
        output_dir=str(tmp_path / "run"),
    )
    records = {record.scenario_id: record for record in result.records().records}
    assert records[good.id].values["target:mae,region=all"] == 0.0
    assert {name: records[name].edit_status for name in records} == {
        good.id: "ok",
        bad.id: "output_invalid",
        big.id: "output_invalid",
        gone.id: "output_missing",
    }
    assert "size 64x64, expected 32x32" in records[big.id].reason


# ----------------------------------------------------------------------------------------------------- any program

PROGRAM = """
import json, pathlib, shutil, sys
request, out, log = map(pathlib.Path, sys.argv[1:4])
shutil.copytree(request, log / f"start-{len(list(log.iterdir()))}")
for line in (request / "requests.jsonl").read_text("utf-8").splitlines():
    item = json.loads(line)
    shutil.copy(request / item["source"], out / f"{item['name']}.png")
"""


def program(folder, body=PROGRAM, more=""):
    """The spec of a command editor that runs a small Python program."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(body)
    return f"command:'{sys.executable}' '{folder / 'program.py'}' {{request}} {{out}} '{folder / 'log'}'{more}"


@pytest.fixture
def box(tmp_path):
    """A folder whose name a shell would take apart."""
    (tmp_path / "a box").mkdir()
    (tmp_path / "a box" / "log").mkdir()
    return tmp_path / "a box"


def requests_in(folder):
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text("utf-8").splitlines()]


def test_a_program_gets_the_requests_of_a_batch_in_one_folder(box):
    sources = [crop(top=top) for top in (0, 30, 60)]
    prompts = {"source_prompt": "a disc", "target_prompt": "un disque doré ✨"}
    requests = [
        ask(sources[0], None, "Fais-le doré ✨", 3),
        ask(sources[1], seed=4, **prompts),
        ask(sources[2], seed=5),
    ]
    outputs = edit(program(box), *requests)
    assert all(equal(as_image(output).image, source) for output, source in zip(outputs, sources, strict=True))
    (log,) = (box / "log").iterdir()
    lines = requests_in(log)
    assert lines[0] == {"name": "0000", "source": "0000.source.png", "instruction": "Fais-le doré ✨", "seed": 3}
    assert lines[1] == {"name": "0001", "source": "0001.source.png", "instruction": "Go.", "seed": 4, **prompts}
    assert [line["seed"] for line in lines] == [3, 4, 5]
    assert {path.name for path in log.iterdir()} == {"requests.jsonl", *(line["source"] for line in lines)}
    assert equal(np.asarray(PILImage.open(log / "0002.source.png")), sources[2])


@pytest.mark.parametrize("access", ["none", "hint", "region"])
def test_a_program_sees_no_id_and_the_mask_only_where_that_is_declared(box, access):
    editor = load_editor(program(box, more=f",mask_access={access}"))
    assert editor.mask_access == access
    mask = disc()
    scenario = Scenario(
        id="secret-id",
        cluster="secret-cluster",
        category="secret-category",
        instruction="Go.",
        load=lambda: Content(crop(), mask, target=255 - crop()),
        metadata={"camera": "secret-camera"},
    )
    editor.edit([task(scenario).request(editor.mask_access)])
    (log,) = (box / "log").iterdir()
    ((line,), names) = requests_in(log), {path.name for path in log.iterdir()}
    assert set(line) == {"name", "source", "instruction", "seed"} | ({"mask"} if access != "none" else set())
    assert not any(b"secret" in path.read_bytes() or "secret" in path.name for path in log.iterdir())
    assert names == {"requests.jsonl", "0000.source.png"} | ({"0000.mask.png"} if access != "none" else set())
    if access != "none":
        assert equal(np.asarray(PILImage.open(log / line["mask"])), mask.astype(np.uint8) * np.uint8(255))


FAILING = """
import json, os, pathlib, shutil, signal, sys
request, out = map(pathlib.Path, sys.argv[1:3])
items = [json.loads(line) for line in (request / "requests.jsonl").read_text("utf-8").splitlines()]
for item in items:
    word, name = item["instruction"], item["name"]
    if word in ("good", "both"):
        shutil.copy(request / item["source"], out / f"{name}.png")
    if word in ("reason", "both"):
        (out / f"{name}.error.txt").write_text("\\u2728 no face found\\n", "utf-8")
    if word == "garbage":
        (out / f"{name}.png").write_bytes(b"GIF89a")
print("chatter on the standard output")
print("first line\\nlast line", file=sys.stderr)
if items[-1]["instruction"] == "status":
    sys.exit(3)
if items[-1]["instruction"] == "signal":
    os.kill(os.getpid(), signal.SIGTERM)
"""


def fail(box, *words):
    return edit(program(box, FAILING), *(ask(crop(height=16, width=16), None, word) for word in words))


def test_each_output_of_a_program_is_judged_on_its_own(box):
    good, reason, both, garbage, nothing = fail(box, "good", "reason", "both", "garbage", "nothing")
    assert equal(as_image(good).image, crop(height=16, width=16))
    for failed in (reason, both):
        assert isinstance(failed, RuntimeError) and str(failed) == "✨ no face found"
    assert isinstance(garbage, InvalidImage) and "not a PNG, JPEG or WebP" in str(garbage)
    assert isinstance(nothing, OutputMissing) and "{out}/{name}.png" in str(nothing)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("status", "the program ended with status 3: last line"),
        ("signal", "the program ended with signal 15: last line"),
    ],
)
def test_a_program_that_breaks_down_keeps_what_it_had_finished(box, word, reason):
    good, failed = fail(box, "good", word)
    assert equal(as_image(good).image, crop(height=16, width=16))
    assert isinstance(failed, RuntimeError) and str(failed) == reason


def test_a_program_that_goes_away_is_named(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    editor = load_editor(f"command:{tool} {{request}} {{out}}")
    tool.unlink()
    with pytest.raises(RuntimeError, match=r"cannot start '.*tool': No such file or directory"):
        editor.edit([ask(crop())])


DIES = """
import json, pathlib, shutil, sys
request, out, log = map(pathlib.Path, sys.argv[1:4])
items = [json.loads(line) for line in (request / "requests.jsonl").read_text().splitlines()]
with (log / "starts").open("a") as starts:
    starts.write(f"{len(items)}\\n")
for item in items:
    if item["instruction"] == "die":
        (out / f"{item['name']}.png").write_bytes(b"half a picture")
        sys.exit(f"cannot do {request / item['source']}, nor write {out}/{item['name']}.png")
    if item["instruction"] == "no":
        (out / f"{item['name']}.error.txt").write_text(f"nothing to see in {request}/{item['name']}.source.png")
        continue
    shutil.copy(request / item["source"], out / f"{item['name']}.png")
"""


def test_a_program_that_dies_is_charged_for_the_culprit_alone_and_says_the_same_in_any_batch(box):
    editor = load_editor(program(box, DIES))
    words = ["go", "no", "die", "go", "die", "go"]
    requests = [ask(crop(top=top), None, word) for top, word in enumerate(words)]
    together, alone = InProcess(editor).run(requests), [InProcess(editor).run([request])[0] for request in requests]
    assert (box / "log" / "starts").read_text().split() == ["6", *"1111", *"111111"]
    assert [attempt.status for attempt in together] == ["ok", *["editor_error"] * 2, "ok", "editor_error", "ok"]
    assert [(a.status, a.reason) for a in together] == [(a.status, a.reason) for a in alone]
    assert together[1].reason == "RuntimeError: nothing to see in {request}/{name}.source.png"
    assert together[2].reason == (
        "ProgramFailed: the program ended with status 1: "
        "cannot do {request}/{name}.source.png, nor write {out}/{name}.png"
    )
    images = zip(together, requests, strict=True)
    assert all(equal(attempt.image, request.source) for attempt, request in images if attempt.status == "ok")


MEASURED = """
import sys
from editbench.editors import load_editor
from editbench.execute import InProcess
from editbench.testing import toy_scenarios
from editbench.types import Task
request = Task(toy_scenarios()[0], 0, 7).request("none")
print(*[InProcess(load_editor(spec)).run([request])[0].peak_bytes for spec in sys.argv[1:]])
"""


def test_the_peak_memory_of_a_program_is_its_own_and_unknown_below_ours(box):
    hungry = program(box, "held = bytearray(b'x') * (600 << 20)\n")
    script = [sys.executable, "-c", MEASURED, hungry, "command:true {request} {out}", "identity"]
    script = ["sh", "-c", '"$@"; exit $?', "sh", *script]  # Linux counts the peak of who started a process for it
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    large, small, ours = map(int, done.stdout.split())
    assert large > 600 << 20 and small == 0 and 20 << 20 < ours < 500 << 20


def test_a_program_cannot_read_what_stands_on_our_standard_input(box):
    reads, writes = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(reads, 0)
        os.write(writes, b"the next frame")
        os.close(writes)
        edit(program(box, "import sys\nsys.stdin.read()\n" + PROGRAM), ask(crop()))
        assert os.read(0, 100) == b"the next frame"
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reads)


def test_a_program_is_started_once_a_batch_of_the_size_it_declares(box):
    options = {"suite": "shapes@1:size=32", "limit": 5, "metrics": ["mae:region=all"], "label": "program"}
    result = eb.run(program(box, more=",batch_size=2"), output_dir=str(box / "run"), **options)
    assert [record.values["mae:region=all"] for record in result.records().records] == [0.0] * 5
    assert sorted(len(requests_in(log)) for log in (box / "log").iterdir()) == [1, 2, 2]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("command:edit {out}", "lacks {request}"),
        ("command:edit {request}", "lacks {out}"),
        ("command:edit {request} {out},batch_size=0", "batch_size=0, expected at least 1"),
        ("command:edit {request} {out},mask_access=some", "mask_access='some', expected one of none, hint, region"),
        ("command:nosuchprog {request} {out}", "no program 'nosuchprog' (not found, or not executable)"),
        ("command:./nowhere/edit {request} {out}", "no program './nowhere/edit' (not found"),
        (f"command:{sys.executable} -u nofile.py {{request}} {{out}}", "no file 'nofile.py'"),
        ("command:python 'edit {request} {out}", "cannot be split into words: No closing quotation"),
    ],
)
def test_a_command_that_cannot_work_is_refused(spec, message):
    with pytest.raises(EditbenchError) as caught:
        load_editor(spec)
    assert message in str(caught.value)


# -------------------------------------------------------------------------------------------------- plain functions


def test_a_plain_function_gets_what_it_names():
    seen = []

    def instruct(instruction, seed, source, target_prompt):
        seen.append((instruction, seed, target_prompt))
        return 255 - source

    def keywords(**given):
        seen.append(sorted(given))
        return given["source"]

    request = ask(crop(), disc(), "Go on.", 9, target_prompt="a hat")
    assert equal(edit(instruct, request), 255 - crop())
    edit(keywords, request)
    names = ["instruction", "mask", "seed", "source", "source_prompt", "target_prompt"]
    assert seen == [("Go on.", 9, "a hat"), names]


def test_options_of_a_plain_function_that_are_not_ours_keep_their_default():
    def editor(source, strength=0.5, *, mask=None):
        return (source * strength).astype(np.uint8) if mask is None else source

    assert equal(edit(editor, ask(crop())), (crop() * 0.5).astype(np.uint8))


@pytest.mark.parametrize("access", [None, "none", "hint", "region"])
def test_a_plain_function_sees_the_mask_only_if_it_declares_so(tmp_path, access):
    masks = []

    def editor(source, mask):
        masks.append(mask)
        return source

    if access is not None:
        editor.mask_access = access
    loaded = load_editor(editor)
    assert loaded.mask_access == (access or "none")
    eb.run(editor, suite="shapes@1:size=32", limit=1, metrics=["mae:region=all"], output_dir=str(tmp_path / "run"))
    expected = eb.load_suite("shapes@1:size=32")[0].mask
    (mask,) = masks
    assert mask is None if access in (None, "none") else np.array_equal(mask, expected)


def test_a_plain_function_that_raises_fails_that_request_alone():
    def editor(source, seed):
        if seed == 1:
            raise KeyError("one")
        return source

    outputs = edit(editor, *(ask(crop(), seed=seed) for seed in range(3)))
    assert isinstance(outputs[1], KeyError) and equal(outputs[0], crop()) and equal(outputs[2], crop())


def test_a_plain_function_says_what_it_was_trained_on():
    def editor(source):
        return source

    assert load_editor(editor).trained_on == ()
    editor.trained_on = ["psnr:region=keep"]
    assert load_editor(editor).trained_on == ("psnr:region=keep",)
    assert load_editor(editor).spec.endswith("editor") and code_sha256(load_editor(editor).spec) is None


@dataclass
class Curious:
    """An editor that declares something else."""

    mask_access: str = "all"

    def edit(self, requests):
        return [request.source for request in requests]


def curious(source):
    return source


curious.mask_access = "peek"


def claims(metrics):
    """An editor trained on something else than a tuple of metrics."""

    def editor(source):
        return source

    editor.trained_on = metrics
    return editor


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda source, mask, image_guidance: source, "has parameter 'image_guidance', expected any of source"),
        (curious, "mask_access='peek', expected none, hint, region"),
        (Curious(), "mask_access='all', expected none, hint, region"),
        (Paste(Curious()), "mask_access='all', expected none, hint, region"),
        (Curious, "is a class, expected an instance"),
        (claims("psnr"), "trained_on='psnr', expected a tuple of metric specs"),
        (claims(None), "trained_on=None, expected a tuple of metric specs"),
        (claims({"psnr"}), "trained_on={'psnr'}, expected a tuple of metric specs"),
        (Paste(claims("psnr")), "trained_on='psnr', expected a tuple of metric specs"),
        (3, "is a int, expected a function (source, instruction, mask, seed) -> image"),
        ("editbench.colours:COLOURS", "is a dict, expected a function"),
        ("editbench.colours:COLORS", "has no 'COLORS': did you mean 'COLOURS'?"),
        ("harmonize", "unknown editor 'harmonize': did you mean 'harmonise'"),
    ],
)
def test_what_cannot_be_an_editor_is_refused(thing, message):
    with pytest.raises(EditbenchError) as caught:
        load_editor(thing)
    assert message in str(caught.value)


def test_an_object_with_an_edit_method_is_taken_as_it_is():
    editor = Curious("hint")
    assert load_editor(editor) is editor
    paste = Paste(editor)
    assert load_editor(paste) is paste
