"""Boundary and context metrics: values by hand, independent oracles, what must not move them and what must."""

import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, shift
from scipy.stats import spearmanr
from skimage import data
from skimage.color import rgb2gray
from skimage.filters import prewitt
from skimage.registration import phase_cross_correlation

import editbench as eb
from editbench.metrics import load_metrics, score
from editbench.metrics.boundary import LUMINANCE, ONE_LEVEL
from editbench.regions import Regions, band_width
from editbench.testing import check_metric
from editbench.types import Content, EditbenchError, Sample, Scenario, Undefined

BORDER = ("seam", "seam_z", "band_jump")
CONTEXT = (
    "leak_profile",
    "leak_auc",
    "far_change",
    *(f"global_shift:part={part}" for part in ("residual", "translation")),
)
KEEP_SIDE = ("band_jump", *CONTEXT, "global_shift")
ALL = (*BORDER, *CONTEXT, "global_shift", "gms:region=keep")


def scene(source, mask):
    content = Content(source, mask)
    return Scenario("s", "c", "edit", "Go.", load=lambda: content)


def measure(spec, source, output, mask):
    """The value of one metric on one sample."""
    (row,) = score(load_metrics([spec]), [Sample(scene(source, mask), output)])
    (value,) = row.values()
    return value


def series(spec, source, outputs, mask):
    """The values of one metric on several outputs of one scenario."""
    scenario = scene(source, mask)
    return [next(iter(row.values())) for row in score(load_metrics([spec]), [Sample(scenario, o) for o in outputs])]


def flat(height, width, level=100):
    return np.full((height, width, 3), level, np.uint8)


def left_of(column, height, width):
    """A mask over the columns left of one."""
    mask = np.zeros((height, width), bool)
    mask[:, :column] = True
    return mask


def disc(height, width, share=0.25):
    rows, columns = np.mgrid[:height, :width]
    return (rows - 0.5 * height) ** 2 + (columns - 0.45 * width) ** 2 < (share * min(height, width)) ** 2


def bytes_of(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def raised(image, where, levels):
    """The image with the pixels of a region this many levels brighter."""
    output = image.astype(np.int64)
    output[where] += levels
    return bytes_of(output)


# --------------------------------------------------------------------------------------------------- seam, by hand


def test_a_step_along_the_border_reads_half_its_height():
    source, mask = flat(8, 12), left_of(6, 8, 12)
    assert measure("seam", source, raised(source, mask, 51), mask) == pytest.approx(0.1, rel=1e-14)
    assert measure("seam", source, raised(source, ~mask, 51), mask) == pytest.approx(0.1, rel=1e-14)
    assert measure("seam", source, raised(source, mask, -51), mask) == pytest.approx(0.1, rel=1e-14)


def test_a_step_beside_the_border_reads_half_as_much_one_pixel_off_and_nothing_two_off():
    source, mask = flat(8, 12), left_of(6, 8, 12)
    for columns, expected in ((5, 0.05), (7, 0.05), (4, 0.0), (8, 0.0)):
        output = raised(source, left_of(columns, 8, 12), 51)
        assert measure("seam", source, output, mask) == pytest.approx(expected, rel=1e-14)


def test_an_edge_that_the_source_has_is_no_seam_and_taking_it_away_neither():
    mask = left_of(6, 8, 12)
    source = raised(flat(8, 12), mask, 51)
    assert measure("seam", source, flat(8, 12), mask) == 0.0
    assert measure("seam", source, raised(source, mask, 51), mask) == pytest.approx(0.1, rel=1e-14)


def test_a_seam_does_not_hide_behind_an_outline_that_it_weakens_elsewhere():
    mask = left_of(6, 8, 12)
    source = flat(8, 12)
    source[4:, :6] = 49  # in the lower half the mask follows an object that is 51 levels darker
    # A step of 51 erases that outline (less of an edge than before) and makes one in the upper half: rows 0 to 2 read
    # a tenth; rows 3 and 4 lie on the object's other edge, which runs across the border and has no share in it.
    assert measure("seam", source, raised(source, mask, 51), mask) == pytest.approx(0.1 * 4 / 8, rel=1e-12)


def test_an_edge_across_the_border_is_no_seam():
    source, mask = flat(12, 12), left_of(6, 12, 12)
    output = source.copy()
    output[6:] = 200
    assert measure("seam", source, output, mask) == 0.0


def test_the_weights_of_the_channels_are_those_of_scikit_image():
    assert np.array(LUMINANCE) / sum(LUMINANCE) == pytest.approx(
        [rgb2gray(np.eye(3)[None, [channel]]).item() for channel in range(3)]
    )
    source, mask = flat(8, 12), left_of(6, 8, 12)
    output = source.copy()
    output[mask, 1] += 51
    assert measure("seam", source, output, mask) == pytest.approx(0.1 * 0.7154, rel=1e-14)


def gradient_by_whole_image(image, mask, offset=0):
    """Normal gradient along a contour, from maps of the whole image."""
    regions = Regions(mask)
    signed = np.where(mask, 0.5 - regions.distance_inside, regions.distance_outside - 0.5)
    slopes = [np.gradient(signed, axis=axis) if signed.shape[axis] > 1 else 0 * signed for axis in (0, 1)]
    length = np.hypot(*slopes)
    contour = (np.abs(signed - offset) <= 0.5) & (length > 0)
    padded = np.pad(rgb2gray(image), 1, mode="edge")
    down, across = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return np.abs(down * slopes[0] + across * slopes[1])[contour] / length[contour]


@st.composite
def pictures(draw, least=2, most=12):
    """A source, an output and a mask with a border."""
    height, width = draw(st.integers(least, most)), draw(st.integers(least, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    source = random.integers(0, 256, (height, width, 3), np.uint8)
    output = bytes_of(source + random.normal(0, draw(st.sampled_from([1, 20, 200])), source.shape))
    mask = random.random((height, width)) < draw(st.sampled_from([0.05, 0.5, 0.95]))
    mask[0, 0], mask[-1, -1] = True, False
    return source, output, mask


@given(pictures())
@settings(deadline=None)
def test_a_seam_agrees_with_gradient_maps_of_the_whole_image(picture):
    source, output, mask = picture
    expected = np.maximum(gradient_by_whole_image(output, mask) - gradient_by_whole_image(source, mask), 0).mean()
    assert measure("seam", source, output, mask) == pytest.approx(expected, abs=1e-12)


def test_every_mask_with_a_border_has_a_normal_there():
    random = np.random.default_rng(0)
    for height, width in ((1, 2), (1, 4), (2, 2), (3, 3), (3, 4)):
        for bits in list(product([False, True], repeat=height * width))[1:-1:3]:
            mask = np.array(bits).reshape(height, width)
            source, output = random.integers(0, 256, (2, height, width, 3), np.uint8)
            assert isinstance(measure("seam", source, output, mask), float)


# ------------------------------------------------------------------------------------------------- seam_z, by hand


def test_a_step_in_a_flat_picture_is_measured_in_steps_of_one_level():
    source, mask = flat(8, 48), left_of(24, 8, 48)
    value = measure("seam_z", source, raised(source, mask, 51), mask)
    assert value == pytest.approx(51, rel=1e-12)
    assert value.details["offsets"] == [0, -16, -12, -8, 8, 12, 16]
    assert value.details["excess"] == pytest.approx([0.1, 0, 0, 0, 0, 0, 0])


def test_edges_of_the_source_along_the_other_contours_are_the_yardstick():
    mask = left_of(24, 8, 48)
    source = raised(flat(8, 48), left_of(32, 8, 48), 102)  # eight pixels outside: that contour reads 0.2, five read 0
    expected = 0.1 / np.std([0.2, 0, 0, 0, 0, 0], ddof=1)
    assert measure("seam_z", source, raised(source, mask, 51), mask) == pytest.approx(expected, rel=1e-12)


def test_new_edges_along_the_other_contours_are_held_against_the_border():
    source, mask = flat(8, 48), left_of(24, 8, 48)
    both = raised(raised(source, mask, 51), left_of(32, 8, 48), 51)
    assert measure("seam_z", source, both, mask) == pytest.approx((0.1 - 0.1 / 6) / ONE_LEVEL, rel=1e-12)
    assert measure("seam_z", source, raised(source, left_of(32, 8, 48), 51), mask) == 0.0


def test_noise_everywhere_is_a_seam_but_not_at_the_border_alone():
    source = data.astronaut()
    mask = disc(512, 512)
    random = np.random.default_rng(0)
    noisy = bytes_of(source + random.normal(0, 20, source.shape))
    step = raised(source, mask, 8)
    assert measure("seam", source, noisy, mask) > 2 * measure("seam", source, step, mask)
    assert measure("seam_z", source, noisy, mask) < 0.2 * measure("seam_z", source, step, mask)


def test_contours_that_do_not_fit_are_left_out_and_two_must_be_left():
    source, mask = flat(8, 48), left_of(12, 8, 48)  # twelve columns of mask: no contour 16 pixels inside
    value = measure("seam_z", source, raised(source, mask, 51), mask)
    assert value.details["offsets"] == [0, -12, -8, 8, 12, 16] and value == pytest.approx(51)
    source, mask = flat(8, 16), left_of(6, 8, 16)  # the one eight pixels outside alone
    assert measure("seam_z", source, source, mask) == Undefined("fewer than two contours beside the mask's border")


# ---------------------------------------------------------------------------------------------- band_jump, by hand


def test_a_band_jump_is_the_shift_of_the_band_less_that_of_the_background():
    source, mask = flat(8, 20), left_of(4, 8, 20)  # w = 2: the outer band is columns 4 and 5, far is column 11 and on
    output = source.astype(np.int64)
    output[:, 4] += [10, -30, 5]
    output[:, 5] += [10, -10, 5]
    output[:, 6:11] += 77  # in between: neither
    output[:, 11:] += [4, 4, 4]
    assert measure("band_jump", source, bytes_of(output), mask) == pytest.approx(24 / 255, rel=1e-14)


def test_a_shift_of_the_whole_image_is_no_band_jump_and_noise_cancels():
    source, mask = data.coffee(), disc(400, 600)
    source = np.clip(source, 30, 225)
    assert measure("band_jump", source, source + np.uint8(20), mask) == 0.0
    noisy = bytes_of(source + np.random.default_rng(0).normal(0, 10, source.shape))
    assert measure("band_jump", source, noisy, mask) < 0.004


def test_no_far_background_is_no_band_jump():
    source, mask = flat(8, 11), left_of(4, 8, 11)  # the last column is seven pixels away
    assert measure("band_jump", source, source, mask) == Undefined("no keep region beyond four band widths")
    wider = left_of(4, 8, 12)
    assert measure("band_jump", flat(8, 12), flat(8, 12), wider) == 0.0


# ---------------------------------------------------------------------------------------------------- leak, by hand


def test_a_leak_profile_has_one_mean_a_bin_and_its_number_is_their_mean():
    height, width, border = 4, 80, 8
    source, mask = flat(height, width, 0), left_of(border, height, width)
    output = source.copy()
    distance = np.arange(width) - border + 1
    output[:] = np.where(distance > 0, distance, 99)[:, None].astype(np.uint8)
    value = measure("leak_profile", source, output, mask)
    levels = [1.5, 3.5, 6.5, 12.5, 24.5, 48.5, 68.5]  # means of 1..2, 3..4, 5..8, …, 33..64 and 65..72
    assert value.details == {
        "edges": [0, 2, 4, 8, 16, 32, 64, None],
        "curve": pytest.approx([level / 255 for level in levels], rel=1e-14),
        "pixels": [4 * columns for columns in (2, 2, 4, 8, 16, 32, 8)],
    }
    assert value == pytest.approx(sum(levels) / 7 / 255, rel=1e-14)
    assert measure("leak_auc", source, output, mask) == float(value)
    assert json.loads(json.dumps(value.details)) == value.details


def test_bins_without_pixels_are_left_out():
    source, mask = flat(4, 12), left_of(6, 4, 12)
    value = measure("leak_profile", source, raised(source, ~mask, 51), mask)
    assert value.details["curve"][:3] == pytest.approx([0.2] * 3, rel=1e-14)
    assert value.details["curve"][3:] == [None] * 4 and value.details["pixels"] == [8, 8, 8, 0, 0, 0, 0]
    assert value == pytest.approx(0.2, rel=1e-14)


def test_a_change_of_everything_is_the_same_at_every_distance():
    source = flat(140, 160, 0)
    value = measure("leak_profile", source, source + np.uint8(255), disc(140, 160, 0.05))
    assert value.details["curve"] == [1.0] * 7 and value == 1.0


def test_far_change_is_the_error_beyond_eight_band_widths():
    source, mask = flat(4, 40), left_of(4, 4, 40)  # w = 2: beyond 16 pixels is column 20 and on
    output = raised(source, left_of(20, 4, 40), 51)
    assert measure("far_change", source, output, mask) == 0.0
    output[:, 20:, 0] += 51
    assert measure("far_change", source, output, mask) == pytest.approx(0.2 / 3, rel=1e-14)
    narrow = left_of(4, 4, 20)
    assert measure("far_change", flat(4, 20), flat(4, 20), narrow) == Undefined(
        "no keep region beyond eight band widths"
    )


def test_far_is_32_pixels_at_512():
    assert 8 * band_width(512, 512) == 32
    source, mask = flat(512, 512), left_of(100, 512, 512)
    for columns, moved in ((131, False), (132, False), (133, True)):
        output = raised(source, left_of(columns, 512, 512) ^ left_of(columns - 1, 512, 512), 51)
        assert (measure("far_change", source, output, mask) > 0) == moved


# ---------------------------------------------------------------------------------------------------- global_shift


@pytest.fixture(scope="module")
def photograph():
    """A photograph with room above and below its levels, and a mask in the middle of it."""
    source = bytes_of(30 + data.astronaut()[::2, ::2] * 0.7)
    return source, disc(*source.shape[:2])


def test_a_shift_of_all_colours_is_measured_and_taken_out(photograph):
    source, mask = photograph
    offset = np.array([10, -5, 20])
    value = measure("global_shift", source, bytes_of(source + offset.astype(float)), mask)
    assert value == pytest.approx(math.sqrt((offset**2).mean()) / 255, rel=1e-9)
    assert value.details["residual"] == 0.0 and value.details["translation"] == [0.0, 0.0]
    expected = np.column_stack([np.eye(3), offset / 255])
    assert np.array(value.details["matrix"]) == pytest.approx(expected, abs=1e-6)


def least_squares(source, output, mask):
    design = np.column_stack([source[~mask] / 255, np.ones(np.count_nonzero(~mask))])
    return np.linalg.lstsq(design, output[~mask] / 255)[0].T


def test_an_affine_map_of_colours_is_recovered_and_leaves_rounding(photograph):
    source, mask = photograph
    matrix = np.array([[0.9, 0.05, 0.0, 0.03], [0.0, 0.95, 0.02, -0.02], [0.04, 0.0, 0.85, 0.05]])
    mapped = (source @ matrix[:, :3].T / 255 + matrix[:, 3]) * 255
    value = measure("global_shift", source, bytes_of(mapped), mask)
    # Rounding moves the flat ground of this photograph as a whole: the fit follows the output that there is.
    assert np.array(value.details["matrix"]) == pytest.approx(matrix, abs=4e-3)
    assert np.array(value.details["matrix"]) == pytest.approx(least_squares(source, bytes_of(mapped), mask), abs=1e-4)
    expected = math.sqrt(((mapped - source)[~mask] ** 2).mean()) / 255
    assert value == pytest.approx(expected, rel=1e-2)
    assert measure("global_shift:part=residual", source, bytes_of(mapped), mask) < 0.6 / 255


def test_without_robustness_to_spare_the_fit_is_that_of_ordinary_least_squares(photograph, monkeypatch):
    source, mask = photograph
    output = bytes_of(source * 0.8 + np.random.default_rng(0).normal(20, 15, source.shape))
    monkeypatch.setattr("editbench.metrics.shift.FITS", 1)
    value = measure("global_shift", source, output, mask)
    expected = least_squares(source, output, mask)
    assert np.array(value.details["matrix"]) == pytest.approx(expected, abs=1e-3)
    displacement = source[~mask] / 255 @ expected[:, :3].T + expected[:, 3] - source[~mask] / 255
    assert value == pytest.approx(math.sqrt((displacement**2).mean()), rel=1e-3)


def test_a_leak_into_a_fifth_of_the_keep_region_is_no_global_shift(photograph):
    source, mask = photograph
    output = source.copy()
    distance = Regions(mask).distance_outside
    near = ~mask & (distance <= np.quantile(distance[~mask], 0.2))
    output[near] = np.random.default_rng(0).integers(0, 256, (np.count_nonzero(near), 3))
    value = measure("global_shift", source, output, mask)
    assert value == pytest.approx(0, abs=1e-9) and value.details["residual"] > 0.05


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_picture_of_one_colour_has_a_shift_but_no_slope_and_no_translation(level):
    source, mask = flat(40, 40, 100), disc(40, 40)
    value = measure("global_shift", source, flat(40, 40, level), mask)
    assert value == pytest.approx(abs(level - 100) / 255, rel=1e-9)
    assert value.details["translation"] == [0.0, 0.0] and value.details["residual"] == 0.0
    assert np.array(value.details["matrix"])[:, :3] == pytest.approx(np.eye(3), abs=1e-6)


@pytest.mark.parametrize("moved", [(0, 1), (-3, 0), (2, -7), (0.4, -0.3), (5.7, 2.2), (-24, 11)])
@pytest.mark.parametrize("cast", [False, True])
def test_a_translation_is_found_to_a_tenth_of_a_pixel(photograph, moved, cast):
    source, mask = photograph
    output = shift(source.astype(float), (*moved, 0), order=1, mode="nearest")
    output = bytes_of(output * [0.8, 1, 0.9] + [10, 0, 20] if cast else output)
    value = measure("global_shift:part=translation", source, output, mask)
    assert value.details["translation"] == pytest.approx([moved[1], moved[0]], abs=0.16)
    assert value == pytest.approx(math.hypot(*moved), abs=0.2)


@given(st.integers(0, 2**32 - 1), st.integers(60, 90), st.integers(60, 90))
@settings(deadline=None, max_examples=10)
def test_translations_are_those_of_scikit_image(seed, height, width):
    random = np.random.default_rng(seed)
    texture = gaussian_filter(random.normal(0, 300, (height + 12, width + 12, 1)), (1.5, 1.5, 0)) + 128
    texture = np.repeat(bytes_of(texture), 3, axis=2)
    row, column = random.integers(0, 4, 2)
    source, output = texture[4:][:height, 4:][:, :width], texture[row:][:height, column:][:, :width]
    mask = disc(height, width, 0.1)
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1 for n in mask.shape)
    distance = np.minimum(np.minimum(rows[:, None], columns), Regions(mask).distance_outside)
    window = np.sin(np.pi / 2 * np.minimum(distance / 16, 1)) ** 2
    grey = [rgb2gray(image) for image in (output, source)]
    faded = [(image - (image * window).sum() / window.sum()) * window for image in grey]
    down, right = phase_cross_correlation(*faded, upsample_factor=10)[0]
    found = measure("global_shift", source, output, mask).details["translation"]
    assert found == pytest.approx([right, down], abs=0.11) == [4 - column, 4 - row]


def test_where_no_shift_stands_out_there_is_none(photograph):
    source, mask = photograph
    random = np.random.default_rng(0)
    others = [data.coffee()[:256, :256], data.chelsea()[:256, 100:356], random.integers(0, 256, source.shape, np.uint8)]
    others += [255 - source, bytes_of(gaussian_filter(source.astype(float), (16, 16, 0))), flat(256, 256)]
    assert series("global_shift:part=translation", source, others, mask) == [0.0] * 6
    noise = [random.integers(100, 103, source.shape, np.uint8) for _ in range(5)]
    assert series("global_shift:part=translation", flat(256, 256), noise, mask) == [0.0] * 5


def test_a_translation_shows_through_noise_and_in_a_small_picture_with_little_in_it(photograph):
    source, mask = photograph
    noisy = np.roll(source, (3, -4), (0, 1)) + np.random.default_rng(0).normal(0, 20, source.shape)
    assert measure("global_shift", source, bytes_of(noisy), mask).details["translation"] == [-4.0, 3.0]
    crop, mask = data.coffee()[:64, :64], disc(64, 64)
    value = measure("global_shift", crop, np.roll(crop, (5, 4), (0, 1)), mask)
    assert value.details["translation"] == [4.0, 5.0]
    noisy = shift(crop.astype(float), (1, 0, 0), order=1, mode="nearest")
    noisy += np.random.default_rng(1).normal(0, 5, crop.shape)
    value = measure("global_shift", crop, bytes_of(noisy), mask)
    assert value.details["translation"] == pytest.approx([0, 1], abs=0.11)


def test_the_part_that_is_the_number_has_its_unit_and_range():
    parts = load_metrics([f"global_shift:part={part}" for part in ("residual", "translation")] + ["global_shift"])
    assert [metric.unit for metric in parts.values()] == ["", "px", ""]
    assert [metric.range[1] for metric in parts.values()] == [1.0, math.inf, math.inf]
    with pytest.raises(EditbenchError, match="expected one of colour, residual, translation"):
        load_metrics(["global_shift:part=size"])


# ------------------------------------------------------------------------------------------------------------ gms


def test_gradients_of_a_ramp_are_compared_as_by_hand():
    mask = np.zeros((5, 5), bool)
    mask[0] = True
    before, after = (np.repeat(np.arange(5)[None, :, None] * step, 5, axis=0).repeat(3, axis=2) for step in (10, 20))
    # Central differences over two pixels: 20 and 40 levels, everywhere inside.
    expected = (2 * 20 * 40 + 170) / (20**2 + 40**2 + 170)
    for region in ("keep", "all"):
        value = measure(f"gms:region={region}", before.astype(np.uint8), after.astype(np.uint8), mask)
        assert value == pytest.approx(expected, rel=1e-12)


def test_gradients_are_those_of_scikit_image():
    source = data.coffee()[:200, :300]
    output = bytes_of(gaussian_filter(source.astype(float), (2, 2, 0)))
    luminance = [image @ np.array(LUMINANCE) / sum(LUMINANCE) for image in (source, output)]
    # scikit-image: the root of the mean, not of the sum, of both directions' squares.
    a, b = (prewitt(plane) * math.sqrt(2) for plane in luminance)
    similarity = (2 * a * b + 170) / (a**2 + b**2 + 170)
    value = measure("gms:region=all", source, output, np.zeros(source.shape[:2], bool))
    assert value == pytest.approx(similarity[1:-1, 1:-1].mean(), rel=1e-9)


def test_a_colour_cast_keeps_its_gradients():
    source = blocks(5)[0] // 2
    assert measure("gms:region=all", source, source + np.uint8(60), disc(*source.shape[:2])) == 1.0


def test_a_region_without_an_inside_has_no_gradients():
    mask = np.zeros((12, 12), bool)
    mask[4:6] = True
    assert measure("gms:region=edit", flat(12, 12), flat(12, 12), mask) == Undefined(
        "edit region narrower than three pixels"
    )


def test_gradients_of_the_ground_truth_can_be_compared():
    source, target, mask = flat(64, 64), flat(64, 64), np.ones((64, 64), bool)
    target[20:40, 20:40] = 220
    content = Content(source, mask, target)
    scenario = Scenario("s", "c", "edit", "Go.", load=lambda: content)
    (row,) = score(load_metrics(["target:gms,region=edit", "gms:region=edit"]), [Sample(scenario, target)])
    assert row["target:gms,region=edit"] == 1.0 > row["gms:region=edit"]


# ------------------------------------------------------------------------------------------- for any picture and mask


@pytest.mark.parametrize("spec", ALL)
def test_the_conformance_suite_has_nothing_to_say(spec):
    assert not [finding.text for finding in check_metric(spec) if finding.error or "better" in finding.text]


@pytest.mark.parametrize("spec", ALL)
@given(pictures(20, 40))
@settings(deadline=None, max_examples=6)
def test_an_untouched_image_has_the_best_value(spec, picture):
    source, _, mask = picture
    value = measure(spec, source, source.copy(), mask)
    assert value == (1.0 if spec.startswith("gms") else 0.0) or isinstance(value, Undefined)


@pytest.mark.parametrize("spec", [spec for spec in ALL if not spec.startswith("gms")])
def test_a_mask_without_a_border_gives_no_value(spec):
    source = flat(8, 8)
    assert measure(spec, source, source, np.zeros((8, 8), bool)) == Undefined("no border: empty mask")
    assert measure(spec, source, source, np.ones((8, 8), bool)) == Undefined("no border: full mask")


TURNS = (lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: np.swapaxes(a, 0, 1))


def blocks(seed):
    """A textured picture, a disturbed one, and a blob of a mask, large enough for every metric."""
    random = np.random.default_rng(seed)
    height, width = random.integers(70, 90, 2)
    source = bytes_of(gaussian_filter(random.normal(128, 200, (height, width, 3)), (1.5, 1.5, 0)))
    output = bytes_of(source * 0.9 + random.normal(10, 8, source.shape))
    return source, output, disc(height, width, 0.25)


@pytest.mark.parametrize("spec", ALL)
@given(st.integers(0, 2**32 - 1), st.sampled_from(range(3)))
@settings(deadline=None, max_examples=8)
def test_turning_the_image_changes_nothing(spec, seed, turn):
    source, output, mask = (np.ascontiguousarray(part) for part in blocks(seed))
    turned = [np.ascontiguousarray(TURNS[turn](part)) for part in (source, output, mask)]
    value = measure(spec, source, output, mask)
    if spec == "global_shift:part=translation":  # a tenth of a pixel either way where two are equally good
        assert measure(spec, *turned) == pytest.approx(value, abs=0.15)
    elif spec.startswith("global_shift"):  # a solved system of equations
        assert measure(spec, *turned) == pytest.approx(value, rel=1e-9, abs=1e-12)
    elif spec.startswith("gms"):  # a mean in another order
        assert measure(spec, *turned) == pytest.approx(value, abs=1e-12)
    else:
        assert measure(spec, *turned) == value


@pytest.mark.parametrize("spec", [*KEEP_SIDE[:-3], "global_shift"])
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=8)
def test_the_order_of_the_channels_does_not_matter(spec, seed):
    source, output, mask = blocks(seed)
    value = measure(spec, source, output, mask)
    swapped = measure(spec, *(np.ascontiguousarray(image[..., [2, 0, 1]]) for image in (source, output)), mask)
    assert swapped == (pytest.approx(value, rel=1e-9) if spec == "global_shift" else value)


@pytest.mark.parametrize("turn", TURNS)
def test_turning_a_large_image_leaves_the_pixels_that_the_colour_fit_looks_at(turn, monkeypatch):
    monkeypatch.setattr("editbench.metrics.shift.FITTED_PIXELS", 1000)
    source, output, mask = blocks(5)
    turned = [np.ascontiguousarray(turn(part)) for part in (source, output, mask)]
    value = measure("global_shift", source, output, mask)
    assert measure("global_shift", *turned) == pytest.approx(value, rel=1e-9)
    monkeypatch.undo()
    assert measure("global_shift", source, output, mask) not in (value, pytest.approx(value, rel=1e-6))
    assert measure("global_shift", source, output, mask) == pytest.approx(value, rel=0.1)


@given(pictures())
@settings(deadline=None)
def test_a_seam_is_the_same_seen_from_the_other_side(picture):
    source, output, mask = picture
    assert measure("seam", source, output, mask) == measure("seam", source, output, ~mask)


@pytest.mark.parametrize("spec", KEEP_SIDE)
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=8)
def test_what_happens_inside_the_mask_does_not_move_a_measure_of_the_keep_region(spec, seed):
    source, output, mask = blocks(seed)
    damaged = output.copy()
    damaged[mask] = np.random.default_rng(seed).integers(0, 256, (np.count_nonzero(mask), 3))
    before, after = (measure(spec, source, image, mask) for image in (output, damaged))
    assert before == after
    assert getattr(before, "details", None) == getattr(after, "details", None)


@pytest.mark.parametrize(("spec", "reach"), [("seam", 2), ("seam_z", 18)])
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=8)
def test_a_seam_is_looked_for_near_the_border_only(spec, reach, seed):
    source, output, mask = blocks(seed)
    regions = Regions(mask)
    core = (regions.distance_inside > reach) | (regions.distance_outside > reach)
    damaged = output.copy()
    damaged[core] = np.random.default_rng(seed).integers(0, 256, (np.count_nonzero(core), 3))
    assert measure(spec, source, output, mask) == measure(spec, source, damaged, mask)
    assert measure(spec, source, output, mask) != measure(spec, source, raised(output, mask, 9), mask)


@pytest.mark.parametrize("region", ["keep", "edit", "band"])
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=8)
def test_gradients_of_the_other_region_have_no_say(region, seed):
    source, output, mask = blocks(seed)
    other = ~Regions(mask)[region]
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (2, np.count_nonzero(other), 3), np.uint8)
    elsewhere = [image.copy() for image in (source, output)]
    for image, pixels in zip(elsewhere, noise, strict=True):
        image[other] = pixels
    value = measure(f"gms:region={region}", source, output, mask)
    assert measure(f"gms:region={region}", *elsewhere, mask) == value


def test_samples_do_not_mix_in_a_batch_and_share_what_belongs_to_the_scenario():
    source, output, mask = blocks(3)
    other = scene(*blocks(4)[::2])
    metrics = load_metrics([*ALL, "gms:region=edit", "gms:region=all"])
    scenario = scene(source, mask)
    samples = [
        Sample(scenario, output),
        Sample(other, blocks(4)[1]),
        Sample(scenario, source),
        Sample(scenario, output),
    ]
    together = score(metrics, samples)
    alone = [{spec: measure(spec, s.scenario.source, s.output, s.scenario.mask) for spec in metrics} for s in samples]
    assert together == alone and together[0] == together[3] != together[1]
    assert score(metrics, samples[::-1]) == together[::-1]


# -------------------------------------------------------------------------------------------------- graded damage


def photographs():
    for name in ("astronaut", "coffee", "chelsea"):
        image = getattr(data, name)()[:300, :400]
        yield pytest.param(image, disc(*image.shape[:2], 0.2), id=name)
    suite = eb.load_suite("shapes@1")
    for index in (1, 29, 63):
        yield pytest.param(suite[index].source, suite[index].mask, id=suite[index].id)


def damages(source, mask):
    """Graded damage: where it is done, and the outputs from weak to strong."""
    regions = Regions(mask)
    outside = regions.distance_outside
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, source.shape)
    tint = np.array([1.0, 0.5, -0.5])
    image = source.astype(float)
    blurred = [gaussian_filter(image, (s, s, 0)) for s in (0.6, 1, 2, 4, 8)]
    fading = np.exp(-outside / 6)[..., None]

    def only(where, images):
        return [bytes_of(np.where(where[..., None], damaged, image)) for damaged in images]

    band, keep, far = (outside > 0) & (outside <= 6), ~mask, outside > 8 * band_width(*mask.shape)
    around = image[mask].mean(axis=0) + 40
    levels = (2, 5, 10, 20, 40)
    inward = np.sign(image[mask].mean() - image[~mask & (outside < 4)].mean()) or 1.0
    return {
        "seam": only(mask, [image + inward * level for level in (2, 4, 8, 16, 32)]),
        "noise in the band": only(band, [image + level * noise for level in levels]),
        "blur in the band": only(band, blurred),
        "cast in the band": only(band, [image + level * tint for level in levels]),
        "spill": only(keep, [image + share * fading * (around - image) for share in (0.05, 0.1, 0.2, 0.5, 1)]),
        "noise in keep": only(keep, [image + level * noise for level in levels]),
        "noise far away": only(far, [image + level * noise for level in levels]),
        "blur in keep": only(keep, blurred),
        "cast in keep": only(keep, [image + level * tint for level in levels]),
        "translation": [bytes_of(shift(image, (t, t / 2, 0), order=1, mode="nearest")) for t in (0.5, 1, 2, 4, 8)],
    }


SEES = {
    "seam": ["seam", "noise in the band", "blur in the band", "cast in the band", "spill"],
    "seam_z": ["seam", "noise in the band", "blur in the band", "cast in the band", "spill"],
    "band_jump": ["cast in the band", "spill"],
    "leak_auc": ["noise in the band", "blur in the band", "cast in the band", "spill", "noise in keep", "blur in keep"],
    "leak_profile": ["spill", "cast in keep", "noise far away"],
    "far_change": ["noise in keep", "noise far away", "blur in keep", "cast in keep", "translation"],
    "global_shift": ["cast in keep", "translation"],
    "global_shift:part=residual": ["noise in keep", "spill", "translation"],
    "global_shift:part=translation": ["translation"],
    "gms:region=keep": ["noise in keep", "blur in keep"],
}


@pytest.mark.parametrize(("source", "mask"), [*photographs()])
def test_values_grow_with_the_damage_that_they_are_there_to_see(source, mask):
    outputs = damages(source, mask)
    for spec, kinds in SEES.items():
        for kind in kinds:
            values = series(spec, source, [source, *outputs[kind]], mask)
            sign = -1 if spec.startswith("gms") else 1
            assert spearmanr(range(6), values).statistic * sign >= 0.95, (spec, kind, [float(v) for v in values])


@pytest.mark.parametrize(("source", "mask"), [*photographs()])
def test_damage_in_the_band_and_damage_far_away_are_told_apart(source, mask):
    outputs = damages(source, mask)
    for kind in ("noise in the band", "blur in the band", "cast in the band"):
        assert series("far_change", source, outputs[kind], mask) == [0.0] * 5
        curve = series("leak_profile", source, outputs[kind][-1:], mask)[0].details["curve"]
        assert curve[0] > 0 and not any(curve[3:])
    far = series("leak_profile", source, outputs["noise far away"][-1:], mask)[0].details["curve"]
    assert not any(far[:4]) and far[-1] > 0
