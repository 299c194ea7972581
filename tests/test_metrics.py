"""Every metric against golden values, independent oracles and what must hold for any picture and any mask."""

import json
import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from editbench.metrics import DEFAULT_METRICS, describe, load_metrics, score, values_without_edit
from editbench.registry import package_version, spec_of
from editbench.types import CheckResult, Content, EditbenchError, Failed, Sample, Scenario, Undefined

REGIONAL = ("psnr", "mse", "mae", "changed", "delta_e", "ssim")
"""Names of the metrics that compare output and source over a region."""
BEST = {"psnr": 100.0, "ssim": 1.0, "mse": 0.0, "mae": 0.0, "changed": 0.0, "delta_e": 0.0}


def scene(source, mask, target=None, checks=(), **options):
    content = Content(source, mask, target, tuple(checks))
    return Scenario("s", "c", "edit", "Go.", load=lambda: content, **options)


def measure(spec, source, output, mask, **options):
    """The value of one metric on one sample."""
    (row,) = score(load_metrics([spec]), [Sample(scene(source, mask, **options), output)])
    (value,) = row.values()
    return value


def half(height, width):
    """A mask over the upper half."""
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = True
    return mask


def noisy(source, seed=0, size=25):
    noise = np.random.default_rng(seed).integers(-size, size + 1, source.shape)
    return np.clip(source + noise, 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------- golden values


@pytest.fixture(scope="module")
def golden():
    """The 64x64 construction of the reference: a small error everywhere, a big edit in the middle quarter."""
    rows, columns, channels = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    source = (rows * 7 + columns * 3 + channels * 29) % 256
    output = np.clip(source + ((rows * columns + channels) % 9 - 4), 0, 255)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    output[mask] = 255 - source[mask]
    return source.astype(np.uint8), output.astype(np.uint8), mask


@pytest.mark.parametrize(
    ("spec", "expected", "digits"),
    [
        ("mse:region=keep", 1.0760e-4, 5e-9),
        ("psnr:region=keep", 39.6820, 5e-5),
        ("ssim:region=keep", 0.983323, 5e-7),
        ("mse:region=all", 0.07895677, 5e-9),
        ("psnr:region=all", 11.0261, 5e-5),
    ],
)
def test_golden_values_are_met(golden, spec, expected, digits):
    assert measure(spec, *golden) == pytest.approx(expected, abs=digits)


def test_an_untouched_background_is_perfect_however_big_the_edit(golden):
    source, output, mask = golden
    edited = source.copy()
    edited[mask] = output[mask]
    for name in REGIONAL:
        assert measure(f"{name}:region=keep", source, edited, mask) == BEST[name]
        assert measure(f"{name}:region=edit", source, edited, mask) != BEST[name]


# ------------------------------------------------------------------------------------------------------- by hand


@pytest.fixture
def by_hand():
    """A 4x4 picture, its top row the mask; three pixels move, by 51, 7 and 8 levels."""
    source = np.full((4, 4, 3), 100, np.uint8)
    output = source.copy()
    output[0, 0, 0] += 51
    output[3, 2] += np.array([0, 7, 7], np.uint8)
    output[3, 3] -= 8
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    return source, output, mask


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mae:region=edit", 51 / 255 / 12),
        ("mae:region=keep", (7 + 7 + 8 * 3) / 255 / 36),
        ("mae:region=all", (51 + 7 + 7 + 8 * 3) / 255 / 48),
        ("mae:region=band", 51 / 255 / 36),  # two pixels deep: rows 0, 1 and 2
        ("mse:region=edit", 51**2 / 255**2 / 12),
        ("mse:region=keep", (49 + 49 + 64 * 3) / 255**2 / 36),
        ("mse:region=all", (51**2 + 49 + 49 + 64 * 3) / 255**2 / 48),
        ("psnr:region=edit", 10 * math.log10(12 * 25)),
        ("psnr:region=keep", 10 * math.log10(36 * 255**2 / 290)),
        ("changed:region=edit", 1 / 4),
        ("changed:region=keep", 1 / 12),  # 8 levels are beyond 0.03, 7 are not, and channels are not added up
        ("changed:region=all", 2 / 16),
        ("changed:region=keep,tau=0.01", 2 / 12),
        ("changed:region=all,tau=0.1", 1 / 16),
    ],
)
def test_values_on_a_4x4_picture_are_those_of_the_formula(by_hand, spec, expected):
    assert measure(spec, *by_hand) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("level", [0, 1, 8, 51, 77, 128, 254])
def test_a_change_of_exactly_tau_does_not_count(level):
    source, mask = np.zeros((4, 4, 3), np.uint8), half(4, 4)
    at, above = (np.full_like(source, value) for value in (level, level + 1))
    assert measure(f"changed:region=keep,tau={level / 255}", source, at, mask) == 0.0
    assert measure(f"changed:region=keep,tau={level / 255}", source, above, mask) == 1.0


@pytest.mark.parametrize("tau", ["1", "-0.01"])
def test_a_tau_that_nothing_can_exceed_is_refused(tau):
    with pytest.raises(EditbenchError, match="expected 0 <= tau < 1"):
        load_metrics([f"changed:region=keep,tau={tau}"])


def test_psnr_is_capped_at_100_db_for_equal_and_for_all_but_equal_pictures():
    source = np.zeros((240, 240, 3), np.uint8)
    output = source.copy()
    mask = half(240, 240)
    assert measure("psnr:region=all", source, output, mask) == 100.0
    output[0, 0, 0] = 1  # 10 log10(240 · 240 · 3 · 255²) = 100.5 dB
    assert measure("psnr:region=all", source, output, mask) == 100.0
    output[0, :4, 0] = 1  # 94.5 dB
    assert measure("psnr:region=all", source, output, mask) == pytest.approx(10 * math.log10(240**2 * 3 * 255**2 / 4))
    assert measure("psnr:region=keep", source, output, mask) == 100.0
    assert describe(load_metrics(["psnr:region=all"])["psnr:region=all"]).cap == 100.0


def test_psnr_of_black_and_white_is_0_db():
    source, mask = np.zeros((4, 4, 3), np.uint8), half(4, 4)
    assert measure("psnr:region=keep", source, source + np.uint8(255), mask) == 0.0


# --------------------------------------------------------------------------------------------- independent oracles


def photograph(name, top, left, height, width):
    return getattr(data, name)()[top : top + height, left : left + width]


@pytest.mark.parametrize("seed", range(3))
def test_mse_and_psnr_over_everything_are_those_of_scikit_image(seed):
    source = photograph("astronaut", 40 * seed, 150, 48, 56)
    output, mask = noisy(source, seed), half(48, 56)
    assert measure("mse:region=all", source, output, mask) == pytest.approx(
        mean_squared_error(source / 255, output / 255), rel=1e-12
    )
    assert measure("psnr:region=all", source, output, mask) == pytest.approx(
        peak_signal_noise_ratio(source, output, data_range=255), rel=1e-12
    )


@pytest.mark.parametrize("size", [4, 60])
def test_ssim_over_everything_is_that_of_scikit_image_away_from_the_frame(size):
    source = photograph("chelsea", 90, 130, 60, 72)
    output = source.copy()
    output[11:-11, 11:-11] = noisy(source, 1, size)[11:-11, 11:-11]  # near the frame both maps are 1
    _, similarity = structural_similarity(
        source / 255,
        output / 255,
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    ours = measure("ssim:region=all", source, output, half(60, 72))
    assert ours == pytest.approx(similarity.mean(), abs=1e-6)
    assert ours < 0.995


def slow_ssim(first, second, region):
    """Wang et al. 2004 on the region's own pixels, one window after the other."""
    height, width = region.shape
    total = 0.0
    for row, column in np.argwhere(region):
        for channel in range(3):
            weights, xs, ys = [], [], []
            for down in range(-5, 6):
                for across in range(-5, 6):
                    r, c = row + down, column + across
                    if 0 <= r < height and 0 <= c < width and region[r, c]:
                        weights.append(math.exp(-(down**2 + across**2) / (2 * 1.5**2)))
                        xs.append(first[r, c, channel] / 255)
                        ys.append(second[r, c, channel] / 255)
            w, x, y = (np.array(values) for values in (weights, xs, ys))
            w /= w.sum()
            x_mean, y_mean = (w * x).sum(), (w * y).sum()
            x_var, y_var = (w * (x - x_mean) ** 2).sum(), (w * (y - y_mean) ** 2).sum()
            both = (w * (x - x_mean) * (y - y_mean)).sum()
            c1, c2 = 0.01**2, 0.03**2
            total += (
                (2 * x_mean * y_mean + c1) * (2 * both + c2) / ((x_mean**2 + y_mean**2 + c1) * (x_var + y_var + c2))
            )
    return total / (3 * region.sum())


@pytest.mark.parametrize("region", ["edit", "keep", "all", "band"])
def test_ssim_over_an_irregular_region_is_that_of_a_loop_over_windows(region):
    source = photograph("chelsea", 100, 150, 15, 18)
    output = noisy(source, 3, 40)
    mask = np.random.default_rng(4).random((15, 18)) < 0.25
    mask[:3, :4] = mask[9:, 12:] = True
    mask[4:8] = False
    expected = slow_ssim(source, output, scene(source, mask).region(region))
    assert measure(f"ssim:region={region}", source, output, mask) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_a_single_pixel_compares_its_luminance():
    source, output = np.full((6, 6, 3), 100, np.uint8), np.full((6, 6, 3), 200, np.uint8)
    mask = np.zeros((6, 6), bool)
    mask[2, 3] = True
    x, y = 100 / 255, 200 / 255
    expected = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
    assert measure("ssim:region=edit", source, output, mask) == pytest.approx(expected, abs=1e-6)


def ciede2000(first, second):
    """CIE 142-2001, written from the text of Sharma et al. 2005."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean_chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7)))
    c1, c2 = math.hypot((1 + g) * a1, b1), math.hypot((1 + g) * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, (1 + g) * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = h2 - h1
    if c1 * c2 == 0:
        turn, mean_hue = 0.0, h1 + h2
    elif abs(turn) <= 180:
        mean_hue = (h1 + h2) / 2
    else:
        turn -= math.copysign(360, turn)
        mean_hue = (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2
    dl, dc = l2 - l1, c2 - c1
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn) / 2)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    t = 1 + sum(size * math.cos(math.radians(times * mean_hue + shift)) for size, times, shift in waves)
    sl = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    spread = 30 * math.exp(-(((mean_hue - 275) / 25) ** 2))
    rotation = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(2 * spread))
    return math.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rotation * (dc / sc) * (dh / sh))


SHARMA = (
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
)
"""Of the published test data: two colours in CIELAB, and their difference."""


def srgb_to_lab(pixel):
    """IEC 61966-2-1 and CIE 15, D65."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (level / 255 for level in pixel)]
    matrix = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = (sum(m * v for m, v in zip(row, linear, strict=True)) for row in matrix)
    white = (0.95047, 1.0, 1.08883)
    x, y, z = (
        ratio ** (1 / 3) if ratio > 216 / 24389 else (24389 / 27 * ratio + 16) / 116
        for ratio in (value / end for value, end in zip(xyz, white, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_the_colour_difference_oracle_meets_the_published_pairs():
    for first, second, expected in SHARMA:
        assert ciede2000(first, second) == pytest.approx(expected, abs=5e-5)
        assert ciede2000(second, first) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("region", ["edit", "keep", "all"])
def test_delta_e_is_the_mean_ciede2000_of_the_regions_pixels(region):
    random = np.random.default_rng(5)
    source = random.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    output = random.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    output[::2] = np.clip(source[::2] + random.integers(-9, 10, (6, 14, 3)), 0, 255)
    output[3] = source[3]
    mask = random.random((12, 14)) < 0.4
    where = scene(source, mask).region(region)
    pairs = zip(source[where].tolist(), output[where].tolist(), strict=True)
    expected = np.mean([ciede2000(srgb_to_lab(before), srgb_to_lab(after)) for before, after in pairs])
    assert measure(f"delta_e:region={region}", source, output, mask) == pytest.approx(expected, abs=2e-3)


def test_delta_e_does_not_depend_on_how_many_pixels_are_compared_at_a_time(monkeypatch):
    source = photograph("chelsea", 100, 150, 20, 20)
    output, mask = noisy(source), half(20, 20)
    whole = measure("delta_e:region=all", source, output, mask)
    monkeypatch.setattr("editbench.metrics.pixel._CHUNK", 7)
    assert measure("delta_e:region=all", source, output, mask) == pytest.approx(whole, rel=1e-12)


# ------------------------------------------------------------------------- what holds for any picture and any mask

PROPERTY = settings(max_examples=40, deadline=None, database=None, derandomize=True)


@dataclass
class Case:
    """A crop of a photograph, a mask with an inside and an outside, and two different edits of it."""

    source: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    output: np.ndarray = field(repr=False)
    other: np.ndarray = field(repr=False)

    def measure(self, spec, output=None, turn=lambda array: array):
        return measure(spec, turn(self.source), turn(self.output if output is None else output), turn(self.mask))


@st.composite
def cases(draw):
    name = draw(st.sampled_from(["astronaut", "chelsea"]))
    height, width = draw(st.integers(5, 34)), draw(st.integers(5, 34))
    top, left = draw(st.integers(0, 260)), draw(st.integers(0, 400))
    picture = photograph(name, top, left, height, width).copy()
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        mask = random.random((height, width)) < draw(st.floats(0.05, 0.95))
    else:
        rows, columns = np.sort(random.integers(0, height + 1, 2)), np.sort(random.integers(0, width + 1, 2))
        mask = np.zeros((height, width), bool)
        mask[slice(*rows), slice(*columns)] = True
    mask.flat[0], mask.flat[-1] = True, False
    output = np.clip(picture + random.integers(-60, 61, picture.shape), 0, 255).astype(np.uint8)
    untouched = random.random((height, width)) < draw(st.sampled_from([0.0, 0.3, 0.9]))
    output[untouched] = picture[untouched]
    other = random.integers(0, 256, picture.shape, dtype=np.uint8)
    return Case(picture, mask, output, other)


@PROPERTY
@given(cases())
def test_no_region_is_influenced_by_the_other(case):
    inside = case.mask[..., None]
    for name in REGIONAL:
        keep, edit = f"{name}:region=keep", f"{name}:region=edit"
        assert case.measure(keep, np.where(inside, case.other, case.output)) == case.measure(keep)
        assert case.measure(edit, np.where(inside, case.output, case.other)) == case.measure(edit)


@PROPERTY
@given(cases())
def test_a_mirrored_picture_has_the_same_values(case):
    for name in REGIONAL:
        tolerance = 1e-6 if name == "ssim" else 1e-12
        for region in ("edit", "keep", "band", "all"):
            plain = pytest.approx(case.measure(f"{name}:region={region}"), rel=1e-9, abs=tolerance)
            for turn in (np.fliplr, np.flipud, lambda array: np.swapaxes(array, 0, 1)):
                assert case.measure(f"{name}:region={region}", turn=turn) == plain


@PROPERTY
@given(st.lists(cases(), min_size=2, max_size=4))
def test_values_depend_neither_on_the_batch_nor_on_the_order_nor_on_the_other_metrics(some):
    def samples():
        return [Sample(scene(case.source, case.mask, target=case.other), case.output) for case in some]

    specs = [f"{name}:region={region}" for name in REGIONAL for region in ("keep", "edit", "band")]
    specs += ["target:psnr,region=edit", "target:ssim,region=keep"]
    together = score(load_metrics(specs), samples())
    alone = [score(load_metrics(specs[::-1]), [sample])[0] for sample in samples()]
    assert together == alone
    assert score(load_metrics(specs), samples()[::-1]) == together[::-1]
    for spec in specs:
        assert [row[spec] for row in together] == [row[spec] for row in score(load_metrics([spec]), samples())]


@PROPERTY
@given(cases())
def test_everything_is_the_edit_region_of_a_full_mask_and_the_keep_region_of_an_empty_one(case):
    full, empty = np.ones_like(case.mask), np.zeros_like(case.mask)
    for name in REGIONAL:
        whole = case.measure(f"{name}:region=all")
        assert measure(f"{name}:region=edit", case.source, case.output, full) == whole
        assert measure(f"{name}:region=keep", case.source, case.output, empty) == whole


@PROPERTY
@given(cases())
def test_edit_and_keep_make_up_the_whole(case):
    share = case.mask.mean()
    for name in ("mae", "mse", "changed", "delta_e"):
        edit, keep, whole = (case.measure(f"{name}:region={region}") for region in ("edit", "keep", "all"))
        assert share * edit + (1 - share) * keep == pytest.approx(whole, rel=1e-9, abs=1e-12)


@PROPERTY
@given(cases())
def test_values_stay_in_their_range_and_the_source_itself_has_the_best_one(case):
    for name in REGIONAL:
        for region in ("edit", "keep", "band", "all"):
            spec = f"{name}:region={region}"
            (metric,) = load_metrics([spec]).values()
            low, high = metric.range
            assert case.measure(spec, case.source.copy()) == BEST[name]
            assert BEST[name] == (high if metric.direction == "higher" else low)
            for output in (case.output, case.other, 255 - case.source):
                assert low <= case.measure(spec, output) <= high


@PROPERTY
@given(cases())
def test_output_and_source_can_change_places(case):
    for name in ("mae", "mse", "psnr", "ssim", "changed"):
        for region in ("edit", "keep", "all"):
            spec = f"{name}:region={region}"
            assert measure(spec, case.output, case.source, case.mask) == case.measure(spec)
    swapped = measure("delta_e:region=keep", case.output, case.source, case.mask)
    assert swapped == pytest.approx(case.measure("delta_e:region=keep"), rel=1e-9, abs=1e-12)


@PROPERTY
@given(cases(), st.sampled_from(["edit", "keep", "band", "all"]))
def test_a_target_metric_is_the_metric_with_the_ground_truth_in_the_place_of_the_source(case, region):
    for name in REGIONAL:
        found = measure(f"target:{name},region={region}", case.source, case.output, case.mask, target=case.other)
        assert found == measure(f"{name}:region={region}", case.other, case.output, case.mask)
        exact = measure(f"target:{name},region={region}", case.source, case.other, case.mask, target=case.other)
        assert exact == BEST[name]


# ------------------------------------------------------------------------------------------------ target metrics

FOREIGN = """
from dataclasses import dataclass
from editbench.regions import RegionName
from editbench.registry import spec_of

@dataclass(frozen=True)
class Foreign:
    region: RegionName
    version = 7
    direction = "lower"
    unit = "px"
    range = (0.0, 9.0)
    needs = ("target_prompt",)
    libraries = ("numpy",)
    weights = {"net.safetensors": "ab12"}
    failed_value = 9.0

    def undefined(self, scenario):
        return "too sad" if "sad" in scenario.metadata else None

    def score(self, samples):
        return [len(sample.scenario.target_prompt) for sample in samples]
"""


def test_a_target_metric_describes_itself_as_the_metric_does(tmp_path):
    for name in REGIONAL:
        (plain,) = load_metrics([f"{name}:region=edit"]).values()
        ((spec, against),) = load_metrics([f"target:{name},region=edit"]).items()
        assert spec == f"target:{name},region=edit"
        assert describe(against) == describe(plain)
    (tmp_path / "foreign.py").write_text(FOREIGN)
    (against,) = load_metrics([f"target:{tmp_path}/foreign.py:Foreign,region=edit"]).values()
    info = describe(against)
    assert (info.version, info.direction, info.unit, info.range) == (7, "lower", "px", (0.0, 9.0))
    assert info.weights == {"net.safetensors": "ab12"} and info.libraries == {"numpy": package_version("numpy")}


def test_what_a_metric_needs_is_needed_against_the_target_too(tmp_path):
    (tmp_path / "foreign.py").write_text(FOREIGN)
    spec = f"target:{tmp_path}/foreign.py:Foreign,region=edit"
    picture, mask = np.zeros((4, 4, 3), np.uint8), half(4, 4)
    whole = {"target": picture, "target_prompt": "blue"}
    assert measure(spec, picture, picture, mask, **whole) == 4.0
    assert measure(spec, picture, picture, mask, target=picture) == Undefined("no target prompt")
    assert measure(spec, picture, picture, mask, target_prompt="blue") == Undefined("no target")
    assert measure(spec, picture, picture, mask, **whole, metadata={"sad": 1}) == Undefined("too sad")


def test_target_passes_options_on():
    spec = "target:clip_image:model=shapes-tiny,region=all"
    ((canonical, metric),) = load_metrics([spec]).items()
    assert canonical == spec and spec_of(load_metrics([canonical])[canonical]) == spec
    assert metric.device == "cpu float32" and "shapes-tiny" in str(metric._inner)
    ((canonical, metric),) = load_metrics(["target:[st_lpips:net=vgg,margin=8],region=keep"]).items()
    assert canonical == "target:[st_lpips:net=vgg,margin=8],region=keep"
    assert (metric._inner.net, metric._inner.margin, metric._inner.region) == ("vgg", 8, "keep")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("target:target,region=edit", "circular"),
        ("target:pnsr,region=edit", "unknown metric 'pnsr': did you mean 'psnr'?"),
        ("target:success,region=edit", "'success' has no option 'region'"),
        ("target:psnr", "needs region"),
        ("target:region=edit", "needs metric"),
    ],
)
def test_a_target_metric_of_what_is_no_regional_metric_is_refused(spec, message):
    with pytest.raises(EditbenchError) as caught:
        load_metrics([spec])
    assert message in str(caught.value)


# --------------------------------------------------------------------------------------- success, composite, no-op


@dataclass
class Verdict:
    """A check whose result is known beforehand."""

    passed: bool
    grade: float = 1.0
    guard: bool = False
    name: str = "verdict"
    calls: list = field(default_factory=list)

    def __call__(self, output):
        self.calls.append(output)
        return CheckResult(self.passed, self.grade)


def moved(mask, inside, outside):
    """A grey source, and an output that is off by some levels inside and outside the mask."""
    source = np.full((*mask.shape, 3), 100, np.uint8)
    levels = np.where(mask, inside, outside)[..., None]
    return source, (source + levels).astype(np.uint8)


@pytest.mark.parametrize(
    ("passed", "outside", "expected"),
    [
        ([True], 0, 1.0),
        ([True, True], 0, 1.0),
        ([True, False], 0, 0.0),
        ([False], 0, 0.0),
        ([True], 5, math.sqrt(1 - 5 / 255 / 0.1)),
        ([True], 20, math.sqrt(1 - 20 / 255 / 0.1)),
        ([True], 25, math.sqrt(1 - 25 / 255 / 0.1)),
        ([True], 26, 0.0),
        ([True], 150, 0.0),
        ([False], 5, 0.0),
    ],
)
def test_the_composite_is_the_root_of_success_times_locality(passed, outside, expected):
    mask = half(8, 6)
    source, output = moved(mask, 90, outside)
    found = measure("composite", source, output, mask, checks=map(Verdict, passed))
    assert found == pytest.approx(expected, rel=1e-12, abs=0)


def test_locality_reaches_0_at_a_mean_error_of_exactly_tau():
    mask = half(8, 6)
    source, output = moved(mask, 0, np.tile([25, 26], (8, 3)))  # 25.5 of 255 levels on average
    assert measure("mae:region=keep", source, output, mask) == 0.1
    assert measure("composite", source, output, mask, checks=[Verdict(True)]) == 0.0


def test_success_takes_every_check_guards_included():
    mask = half(4, 4)
    source, output = moved(mask, 9, 0)
    for verdicts, expected in (
        ([Verdict(True), Verdict(True, guard=True)], 1.0),
        ([Verdict(True), Verdict(False, guard=True)], 0.0),
        ([Verdict(False, 0.99), Verdict(True, guard=True)], 0.0),
    ):
        assert measure("success", source, output, mask, checks=verdicts) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([(True, 0.5, False), (True, 1.0, False)], 0.75),
        ([(True, 0.5, False), (True, 1.0, False), (True, 0.8, True), (True, 0.4, True)], 0.75 * 0.4),
        ([(False, 0.0, False), (True, 1.0, True)], 0.0),
        ([(True, 1.0, False), (False, 0.0, True)], 0.0),
    ],
)
def test_graded_success_is_the_mean_demand_times_the_worst_guard(verdicts, expected):
    mask = half(4, 4)
    source, output = moved(mask, 9, 0)
    checks = [Verdict(*verdict) for verdict in verdicts]
    assert measure("success_graded", source, output, mask, checks=checks) == pytest.approx(expected, rel=1e-15)


def test_checks_judge_the_output_and_are_run_once_for_all_metrics():
    mask, check = half(4, 4), Verdict(True)
    source, output = moved(mask, 9, 0)
    sample = Sample(scene(source, mask, checks=[check]), output)
    score(load_metrics("success,success_graded,composite"), [sample])
    assert len(check.calls) == 1 and check.calls[0] is output


def test_a_check_that_raises_fails_what_depends_on_it_and_nothing_else():
    def explode(output):
        raise RuntimeError("no eyes")

    explode.guard, explode.name = False, "explode"
    mask = half(4, 4)
    source, output = moved(mask, 9, 0)
    (row,) = score(
        load_metrics("success,composite,mae:region=keep"), [Sample(scene(source, mask, checks=[explode]), output)]
    )
    failed = Failed("RuntimeError: no eyes")
    assert row == {"success": failed, "composite": failed, "mae:region=keep": 0.0}


@pytest.mark.parametrize(("levels", "expected"), [(0, 1.0), (10, 1 - 10 / 255 / 0.1), (26, 0.0), (120, 0.0)])
def test_a_no_op_is_scored_by_locality_over_the_whole_picture(levels, expected):
    mask = np.zeros((4, 4), bool)
    source, output = moved(mask, 0, levels)
    assert measure("noop", source, output, mask) == pytest.approx(expected, rel=1e-12, abs=0)


def test_a_failed_edit_counts_as_0_for_success_and_not_at_all_for_fidelity():
    counts = {spec: describe(metric).failed_value for spec, metric in load_metrics().items()}
    zero = {"composite", "success", "success_graded", "noop"}
    assert counts == {spec: 0.0 if spec in zero else None for spec in DEFAULT_METRICS}


# -------------------------------------------------------------------------------------------------- undefined values

FULL, EMPTY, SOME = np.ones((6, 6), bool), np.zeros((6, 6), bool), half(6, 6)


@pytest.mark.parametrize(
    ("spec", "mask", "options", "reason"),
    [
        ("psnr:region=edit", EMPTY, {}, "empty edit region"),
        ("ssim:region=keep", FULL, {}, "empty keep region"),
        ("mae:region=band", FULL, {}, "empty band region"),
        ("mae:region=band", EMPTY, {}, "empty band region"),
        ("target:mae,region=edit", SOME, {}, "no target"),
        ("target:mae,region=edit", EMPTY, {"target": np.zeros((6, 6, 3), np.uint8)}, "empty edit region"),
        ("success", SOME, {}, "no checks"),
        ("success_graded", SOME, {}, "no checks"),
        ("composite", SOME, {}, "no checks"),
        ("composite", EMPTY, {"checks": [Verdict(True)]}, "no-op"),
        ("composite", FULL, {"checks": [Verdict(True)]}, "empty keep region"),
        ("noop", SOME, {}, "not a no-op"),
        ("noop", FULL, {}, "not a no-op"),
    ],
)
def test_a_value_is_undefined_for_a_reason_in_the_scenario_whether_or_not_the_edit_failed(spec, mask, options, reason):
    source = np.zeros((6, 6, 3), np.uint8)
    assert measure(spec, source, source, mask, **options) == Undefined(reason)
    metrics = load_metrics([spec, "mae:region=all"])
    assert values_without_edit(metrics, scene(source, mask, **options)) == {
        spec: Undefined(reason),
        "mae:region=all": Failed("no edit"),
    }


# ------------------------------------------------------------------------------------------- metrics of anybody's


@dataclass(frozen=True)
class Foreign:
    """A metric that asks a function."""

    function: object
    version: ClassVar = 1
    direction: ClassVar = "none"
    unit: ClassVar = ""
    range: ClassVar = (0.0, 1e9)
    needs: ClassVar = ()
    libraries: ClassVar = ()
    spec: ClassVar = "foreign"

    def score(self, samples):
        return self.function(samples)


def ask(function, count=1):
    """The values of a metric on `count` samples, the i-th of which has i as its only level."""
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in range(count)]
    samples = [Sample(scene(picture, half(4, 4)), picture) for picture in pictures]
    return [row["foreign"] for row in score(load_metrics([Foreign(function)]), samples)]


def test_a_metric_that_raises_on_one_sample_of_a_batch_fails_that_sample_alone():
    sizes = []

    def function(samples):
        sizes.append(len(samples))
        levels = [int(sample.output[0, 0, 0]) for sample in samples]
        if 2 in levels:
            raise ZeroDivisionError("two")
        return levels

    assert ask(function, 4) == [0.0, 1.0, Failed("ZeroDivisionError: two"), 3.0]
    assert sizes == [4, 1, 1, 1, 1]


def test_a_metric_that_returns_too_few_values_is_asked_sample_by_sample():
    assert ask(lambda samples: [0.5], 3) == [0.5, 0.5, 0.5]
    failed = Failed("ValueError: returned 0 values for 1 samples")
    assert ask(lambda samples: [], 2) == [failed, failed]


class TwoNumbers:
    """Like a tensor of two elements."""

    def __float__(self):
        raise RuntimeError("only one element tensors can be converted")


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (math.nan, Failed("non-finite value")),
        (-math.inf, Failed("non-finite value")),
        (None, Failed("returned NoneType, expected a number")),
        ("good", Failed("returned str, expected a number")),
        (TwoNumbers(), Failed("returned TwoNumbers, expected a number")),
        (10**400, Failed("returned int, expected a number")),
        (np.float32(0.5), 0.5),
        (1, 1.0),
        (Undefined("no face"), Undefined("no face")),
        (Failed("judge refused"), Failed("judge refused")),
    ],
)
def test_what_a_metric_returns_becomes_a_number_or_a_reason(returned, expected):
    (value,) = ask(lambda samples: [returned])
    assert value == expected and type(value) is type(expected)


def test_the_reason_of_a_failure_is_one_line_that_does_not_vary():
    def function(samples):
        raise RuntimeError(f"broken\n  {object()!r}" + "x" * 1000)

    (first,), (second,) = ask(function), ask(function)
    assert first == second and len(first.reason) < 330
    assert first.reason.startswith("RuntimeError: broken <object object at 0x…>x")


def test_a_metric_that_cannot_say_whether_it_is_defined_fails_and_the_others_do_not():
    class Unsure(Foreign):
        def undefined(self, scenario):
            raise KeyError("age")

    source = np.zeros((4, 4, 3), np.uint8)
    metrics = load_metrics([Unsure(None), "mae:region=all"])
    expected = {"foreign": Failed("KeyError: 'age'"), "mae:region=all": 0.0}
    assert score(metrics, [Sample(scene(source, SOME[:4, :4]), source)]) == [expected]
    assert values_without_edit(metrics, scene(source, SOME[:4, :4]))["foreign"] == expected["foreign"]


def test_a_metric_is_not_asked_where_it_is_undefined():
    class Picky(Foreign):
        def undefined(self, scenario):
            return "odd" if scenario.source[0, 0, 0] % 2 else None

    pictures = [np.full((4, 4, 3), level, np.uint8) for level in range(4)]
    asked = []

    def function(samples):
        asked.extend(int(sample.output[0, 0, 0]) for sample in samples)
        return [0.0] * len(samples)

    rows = score(load_metrics([Picky(function)]), [Sample(scene(p, half(4, 4)), p) for p in pictures])
    assert [row["foreign"] for row in rows] == [0.0, Undefined("odd"), 0.0, Undefined("odd")]
    assert asked == [0, 2]


# ---------------------------------------------------------------------------------------------- load and describe


def test_the_standard_metrics_are_keyed_by_their_own_specs():
    assert tuple(load_metrics()) == DEFAULT_METRICS
    assert tuple(load_metrics(",".join(DEFAULT_METRICS))) == DEFAULT_METRICS
    assert tuple(load_metrics(load_metrics().values())) == DEFAULT_METRICS


def test_options_are_part_of_a_spec_unless_they_are_the_default():
    loaded = load_metrics("changed:region=keep,tau=0.03,changed:tau=0.1,region=keep,target:region=band,metric=mae")
    assert list(loaded) == ["changed:region=keep", "changed:region=keep,tau=0.1", "target:mae,region=band"]
    assert loaded["changed:region=keep,tau=0.1"].tau == 0.1


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("changed:region=keep,changed:region=keep,tau=0.03", "metric 'changed:region=keep' is given twice"),
        ("pnsr:region=keep", "unknown metric 'pnsr': did you mean 'psnr'?"),
        ("changed:region=keep,tao=0.1", "metric 'changed' has no option 'tao': did you mean 'tau'?"),
        ("changed:region=keep,tau=much", "tau='much', expected a finite number"),
        ("success:region=keep", "metric 'success' has no option 'region'"),
        ([object()], "is not a metric"),
    ],
)
def test_a_duplicate_or_mistyped_metric_is_refused(specs, message):
    with pytest.raises(EditbenchError) as caught:
        load_metrics(specs)
    assert message in str(caught.value)


def test_a_description_has_what_a_board_needs_and_is_json():
    info = {spec: describe(metric) for spec, metric in load_metrics().items()}
    psnr, delta_e, ssim = info["psnr:region=keep"], info["delta_e:region=keep"], info["ssim:region=keep"]
    assert (psnr.direction, psnr.unit, psnr.range, psnr.cap) == ("higher", "dB", (0.0, 100.0), 100.0)
    assert (delta_e.direction, delta_e.unit, delta_e.range, delta_e.cap) == ("lower", "ΔE00", (0.0, None), None)
    assert delta_e.libraries == {"scikit-image": package_version("scikit-image")}
    assert ssim.libraries == {"numpy": package_version("numpy")} and ssim.range == (-1.0, 1.0)
    assert describe(Foreign(None)).libraries == {}
    assert all(json.dumps(vars(each), allow_nan=False) for each in info.values())


def test_a_value_outside_the_declared_range_is_a_failure_not_a_number(by_hand):
    @dataclass(frozen=True)
    class Percent(type(load_metrics(["mae:region=all"])["mae:region=all"])):
        def score(self, samples):
            return [50.0 for _ in samples]

    source, output, mask = by_hand
    (row,) = score({"percent": Percent("all")}, [Sample(scene(source, mask), output)])
    assert row["percent"] == Failed("value 50 outside the metric's range [0, 1]")
