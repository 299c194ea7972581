import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editbench.regions import REGIONS, Regions, band_width


def drawn(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def brute_force_distance(inside):
    """Euclidean distance from each pixel that is inside to the nearest that is not; 0 for those that are not."""
    outside = np.argwhere(~inside)
    distance = np.zeros(inside.shape)
    for row, column in np.argwhere(inside):
        offsets = outside - (row, column)
        distance[row, column] = np.sqrt((offsets**2).sum(axis=1).min()) if len(outside) else np.inf
    return distance


@st.composite
def masks(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    # Sparse, balanced and dense masks: uniform bits alone hardly ever give a pixel far from the border.
    share = draw(st.sampled_from([0.03, 0.5, 0.97]))
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((height, width)) < share


SQUARE = drawn(
    ".........",
    ".........",
    ".........",
    "...###...",
    "...###...",
    "...###...",
    ".........",
    ".........",
    ".........",
)


def test_edit_is_the_mask_keep_its_complement_and_all_both():
    mask = drawn("#..", "##.")
    regions = Regions(mask)
    assert (regions["edit"] == drawn("#..", "##.")).all()
    assert (regions["keep"] == drawn(".##", "..#")).all()
    assert (regions["all"] == drawn("###", "###")).all()
    for name in REGIONS:
        assert regions[name].dtype == bool and regions[name].shape == mask.shape


def test_the_band_lies_on_both_sides_of_the_border_two_pixels_deep():
    # Two pixels outside the square, rounded at its corners (a corner pixel is 2.8 away); the centre is 2 inside.
    expected = drawn(
        ".........",
        "...###...",
        "..#####..",
        ".#######.",
        ".#######.",
        ".#######.",
        "..#####..",
        "...###...",
        ".........",
    )
    assert (Regions(SQUARE)["band"] == expected).all()


def test_the_deep_inside_of_a_large_mask_is_not_in_the_band():
    mask = np.zeros((12, 30), bool)
    mask[:, 10:] = True
    columns = np.flatnonzero(Regions(mask)["band"].all(axis=0))
    assert columns.tolist() == [8, 9, 10, 11]
    assert np.count_nonzero(Regions(mask)["band"]) == 4 * 12


def test_the_frame_of_the_image_is_no_border():
    mask = np.zeros((12, 12), bool)
    mask[:6] = True
    band = Regions(mask)["band"]
    assert np.flatnonzero(band.all(axis=1)).tolist() == [4, 5, 6, 7] and np.count_nonzero(band) == 4 * 12


@pytest.mark.parametrize(
    ("height", "width", "pixels"),
    [
        (1, 1, 2),
        (64, 64, 2),
        (256, 256, 2),
        (383, 2000, 2),
        (384, 2000, 3),
        (2000, 384, 3),
        (512, 512, 4),
        (1024, 1300, 8),
    ],
)
def test_the_band_is_a_128th_of_the_shorter_side_and_at_least_two_pixels(height, width, pixels):
    assert band_width(height, width) == pixels


def test_the_band_grows_with_the_image():
    mask = np.zeros((512, 600), bool)
    mask[:, 300:] = True
    assert np.flatnonzero(Regions(mask)["band"][0]).tolist() == list(range(296, 304))


def test_the_band_overlaps_edit_and_keep_and_takes_nothing_from_them():
    regions = Regions(SQUARE)
    band, edit, keep = regions["band"], regions["edit"], regions["keep"]
    assert (band & edit).any() and (band & keep).any()
    assert np.count_nonzero(edit) == 9 and np.count_nonzero(keep) == 81 - 9
    assert (edit ^ keep).all()


@pytest.mark.parametrize("value", [False, True])
def test_a_mask_without_a_border_has_no_band(value):
    regions = Regions(np.full((5, 7), value))
    assert not regions["band"].any()
    assert regions["edit"].all() == value and regions["keep"].all() != value and regions["all"].all()


def test_distances_to_a_region_that_is_not_there_are_infinite():
    empty, full = Regions(np.zeros((3, 4), bool)), Regions(np.ones((3, 4), bool))
    assert np.isinf(empty.distance_outside).all() and (empty.distance_inside == 0).all()
    assert np.isinf(full.distance_inside).all() and (full.distance_outside == 0).all()


def test_distances_by_hand():
    regions = Regions(drawn("#...", "....", "...."))
    expected = [[0, 1, 2, 3], [1, 2**0.5, 5**0.5, 10**0.5], [2, 5**0.5, 8**0.5, 13**0.5]]
    assert regions.distance_outside == pytest.approx(np.array(expected))
    assert regions.distance_inside.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@given(masks())
@settings(deadline=None)
def test_distances_and_band_agree_with_brute_force(mask):
    regions = Regions(mask)
    outside, inside = brute_force_distance(~mask), brute_force_distance(mask)
    assert regions.distance_outside == pytest.approx(outside)
    assert regions.distance_inside == pytest.approx(inside)
    near = (outside <= 2) & (inside <= 2) if mask.any() and not mask.all() else np.zeros_like(mask)
    assert (regions["band"] == near).all()


@given(masks())
@settings(deadline=None)
def test_inverting_a_mask_exchanges_edit_and_keep_and_leaves_the_band(mask):
    regions, inverted = Regions(mask), Regions(~mask)
    assert (regions["edit"] == inverted["keep"]).all() and (regions["keep"] == inverted["edit"]).all()
    assert (regions["band"] == inverted["band"]).all()
    assert (regions.distance_inside == inverted.distance_outside).all()


@pytest.mark.parametrize("name", [*REGIONS, "distance_inside", "distance_outside"])
def test_a_region_is_computed_once(name):
    regions = Regions(SQUARE)
    assert getattr(regions, name) is getattr(regions, name)
    if name in REGIONS:
        assert regions[name] is getattr(regions, name)


def test_computing_regions_leaves_the_mask_alone():
    mask = SQUARE.copy()
    regions = Regions(mask)
    for name in REGIONS:
        _ = regions[name]
    assert (mask == SQUARE).all() and regions["edit"] is mask
