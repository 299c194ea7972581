"""Each check against pictures made by hand, where the right verdict is plain."""

import numpy as np
import pytest

from editbench.suites.checks import ColourBecomes, ColourKept, StructureKept, low_pass, progress
from editbench.suites.shapes_checks import Absent, NotElsewhere, Position, Sight, Silhouette, Size
from editbench.suites.shapes_surfaces import BackgroundBecomes, Kept, StyleApplied, TextureBecomes

EDGE = 128
WHOLE = (slice(0, EDGE), slice(0, EDGE))
EVERYWHERE = np.ones((EDGE, EDGE), bool)
SAND = (216, 180, 126)
RED, BLUE, GREY = (208, 36, 40), (36, 84, 204), (128, 128, 128)


def plain(colour=SAND):
    """A backdrop with a little grain."""
    grain = np.random.default_rng(0).integers(-6, 7, (EDGE, EDGE, 1))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)


def disc(x, y, radius):
    down, across = np.mgrid[:EDGE, :EDGE]
    return (across - x) ** 2 + (down - y) ** 2 <= radius**2


def painted(region, colour, canvas=None):
    picture = plain() if canvas is None else canvas.copy()
    picture[region] = colour
    return picture


def verdict(check, output):
    result = check(output)
    assert 0 <= result.grade <= 1
    return result.passed


# -------------------------------------------------------------------------------------------------- colour


@pytest.fixture
def becomes_blue():
    region = disc(60, 60, 30)
    return ColourBecomes("the ball", region, painted(region, RED), "blue")


def test_colour_becomes_the_named_one(becomes_blue):
    assert becomes_blue.name == "colour of the ball is blue"
    assert not becomes_blue.guard
    region = becomes_blue.region
    assert becomes_blue(painted(region, BLUE)).grade == 1
    assert becomes_blue(becomes_blue.source).grade == 0
    assert verdict(becomes_blue, painted(region, (26, 64, 160)))  # in shade
    assert not verdict(becomes_blue, becomes_blue.source)
    for wrong in (GREY, (126, 50, 170), (26, 26, 30), (22, 150, 150)):  # nearer to another word than to blue
        assert not verdict(becomes_blue, painted(region, wrong))


def test_colour_half_painted_is_half_way(becomes_blue):
    half = becomes_blue.region & (np.arange(EDGE) < 60)
    result = becomes_blue(painted(half, BLUE, becomes_blue.source))
    assert not result.passed and 0.2 < result.grade < 0.8


def test_mid_grey_is_neither_black_nor_white():
    region = disc(60, 60, 30)
    for colour in ("black", "white"):
        check = ColourBecomes("the ball", region, painted(region, (244, 210, 40)), colour)
        assert not verdict(check, painted(region, GREY))


def test_the_colour_a_pattern_makes_counts_as_reached():
    region = disc(60, 60, 30)
    stripes = region & (np.arange(EDGE) % 8 < 4)
    target = painted(stripes, (240, 240, 240), painted(region, BLUE))
    source = painted(stripes, (240, 240, 240), painted(region, RED))
    check = ColourBecomes("the ball", region, source, "blue", target=target)
    assert check(target).grade == 1 and verdict(check, painted(region, BLUE))
    assert not verdict(check, source) and check(source).grade == 0


def test_a_kept_colour_is_that_of_any_reference():
    region = disc(60, 60, 30)
    stripes = region & (np.arange(EDGE) % 8 < 4)
    matte, striped = painted(region, RED), painted(stripes, (240, 200, 200), painted(region, RED))
    check = ColourKept("the ball", region, (matte, striped))
    assert check.guard and check.name == "colour of the ball is kept"
    assert check(matte).grade == check(striped).grade == 1
    assert verdict(check, painted(region, (180, 30, 36)))  # in shade
    for wrong in (plain(), painted(region, BLUE), painted(region, GREY)):
        assert not verdict(check, wrong)


def test_progress_has_both_ends():
    assert progress(50, 10, 10) == 1 and progress(50, 50, 10) == 0 and progress(50, 70, 10) == 0
    assert progress(50, 30, 10) == 0.5
    assert progress(5, 5, 10) == 1 and progress(5, 20, 10) == 0
    assert progress(float("inf"), float("inf"), 10) == 0


# ----------------------------------------------------------------------------------------------- structure


def test_structure_survives_tone_noise_and_blur_but_not_another_picture():
    scene = painted(disc(40, 50, 25), BLUE, painted(disc(90, 80, 20), RED))
    check = StructureKept(scene)
    assert check.guard and check(scene).grade == 1
    noisy = np.clip(scene + np.random.default_rng(1).normal(0, 20, scene.shape), 0, 255).astype(np.uint8)
    blurred = low_pass(scene, 2).astype(np.uint8)
    for kept in (noisy, blurred, (scene * 0.6).astype(np.uint8)):
        assert verdict(check, kept)
    for lost in (np.full_like(scene, 128), painted(disc(80, 30, 22), RED), scene[::-1], 255 - scene):
        assert not verdict(check, lost)


def test_structure_of_a_region_ignores_the_rest():
    scene = painted(disc(40, 64, 20), BLUE, painted(disc(100, 64, 20), RED))
    left = np.zeros((EDGE, EDGE), bool)
    left[:, :68] = True
    changed = painted(disc(100, 64, 20), (250, 250, 250), scene)
    assert verdict(StructureKept(scene, left), changed)
    assert not verdict(StructureKept(scene, left), painted(disc(40, 64, 24), SAND, scene))


def test_structure_of_a_region_is_its_own_not_its_outline():
    ball = disc(64, 64, 30)
    spots = ball & (np.random.default_rng(2).random((EDGE // 8, EDGE // 8)) < 0.5).repeat(8, 0).repeat(8, 1)
    scene = painted(spots, (240, 240, 240), painted(ball, RED))
    check = StructureKept(scene, ball)
    assert verdict(check, painted(spots, (120, 160, 250), painted(ball, BLUE)))  # recoloured
    assert verdict(check, np.where(ball[..., None], scene, 255 - plain()).astype(np.uint8))  # elsewhere
    assert not verdict(check, painted(ball, BLUE)) and not verdict(check, painted(ball, RED))


# ------------------------------------------------------------------------------------------------ geometry


def seen(source_region, target_region, colour=RED):
    sight = Sight(plain(), EVERYWHERE, WHOLE)
    return dict(
        subject="the ball", sight=sight, source=painted(source_region, colour), target=painted(target_region, colour)
    )


def test_silhouette_must_be_there_and_gone_from_where_it_was():
    before, after = disc(40, 64, 18), disc(90, 64, 18)
    check = Silhouette(**seen(before, after))
    assert check(check.target).grade == 1 and check(check.source).grade == 0
    assert verdict(check, painted(disc(91, 65, 18), RED))
    for wrong in (plain(), painted(before | after, RED), painted(disc(64, 64, 18), RED), painted(disc(90, 64, 9), RED)):
        assert not verdict(check, wrong)


def test_silhouette_as_a_guard_passes_for_the_source():
    region = disc(60, 60, 20)
    check = Silhouette(**seen(region, region), guard=True)
    assert check(check.source).grade == 1
    assert not verdict(check, plain())
    assert not verdict(check, painted(disc(60, 60, 40), RED))


def test_sight_leaves_out_what_does_not_count():
    region = disc(60, 60, 20)
    where = EVERYWHERE.copy()
    where[:, 60:] = False
    found = Sight(plain(), where, WHOLE)(painted(region, RED))
    assert not found[:, 60:].any() and found[50:70, 45:60].all()


def test_position_is_the_centre():
    check = Position(**seen(disc(40, 64, 15), disc(90, 64, 15)), radius=15)
    assert check(check.target).grade == 1 and check(check.source).grade == 0
    assert verdict(check, painted(disc(84, 66, 20), RED))
    for wrong in (plain(), painted(disc(64, 64, 15), RED), painted(disc(90, 110, 15), RED)):
        assert not verdict(check, wrong)


def test_size_is_the_area_wherever_it_is():
    check = Size(**seen(disc(64, 64, 12), disc(64, 64, 24)))
    assert check(check.target).grade == 1 and check(check.source).grade == 0
    assert verdict(check, painted(disc(50, 50, 22), RED))
    for wrong in (plain(), painted(disc(64, 64, 14), RED), painted(disc(64, 64, 62), RED)):
        assert not verdict(check, wrong)


def test_absent_means_what_is_behind_shows():
    core = disc(64, 64, 20)
    check = Absent("the ball", core, WHOLE, painted(core, RED), plain())
    assert check(plain()).grade == 1 and check(check.source).grade == 0
    assert verdict(check, painted(core, SAND))  # filled in smoothly
    for wrong in (painted(core, GREY), painted(core, BLUE), painted(disc(64, 64, 15), RED)):
        assert not verdict(check, wrong)


def test_a_removed_object_must_not_turn_up_elsewhere():
    core = disc(40, 64, 16)
    check = NotElsewhere("the ball", core, ~disc(40, 64, 20), painted(core, RED))
    assert check(check.source).grade == 1 and check(plain()).grade == 1
    assert not verdict(check, painted(disc(95, 64, 16), RED))
    assert verdict(check, painted(disc(95, 64, 3), RED))


# ------------------------------------------------------------------------------------------------ surfaces


def pattern(name, region):
    down, across = np.mgrid[:EDGE, :EDGE]
    light = {
        "matte": np.zeros((EDGE, EDGE), bool),
        "striped": (across + down) % 14 < 7,
        "spotted": ((across % 16 - 8) ** 2 + (down % 16 - 8) ** 2) < 20,
        "checkered": (across // 9 + down // 9) % 2 == 0,
    }[name]
    return painted(region & light, (230, 170, 170), painted(region, RED))


def test_texture_becomes_the_asked_one_wherever_its_stripes_run():
    region = disc(64, 64, 34)
    materials = {name: pattern(name, region) for name in ("matte", "striped", "spotted", "checkered")}
    source, target = materials["matte"], materials["striped"]
    check = TextureBecomes("the ball", "striped", disc(64, 64, 32), WHOLE, 34, source, target, materials)
    assert check(target).grade == 1 and check(source).grade == 0
    down, across = np.mgrid[:EDGE, :EDGE]
    other_way = painted(region & ((across - down) % 13 < 6), (225, 160, 165), painted(region, RED))
    assert verdict(check, other_way)
    for wrong in (source, materials["spotted"], materials["checkered"], painted(region, GREY)):
        assert not verdict(check, wrong)


def test_background_needs_its_colour_everywhere_and_some_detail():
    ball = disc(64, 64, 25)
    source, target = painted(ball, RED), painted(ball, RED, plain((32, 42, 92)))
    check = BackgroundBecomes("navy", ~ball, source, target)
    assert check(target).grade == 1 and check(source).grade == 0
    half = source.copy()
    half[:70] = target[:70]
    for wrong in (source, half, painted(~ball, GREY, source), painted(~ball, (32, 42, 92), source)):
        assert not verdict(check, wrong)


def test_style_is_most_of_the_way_in_colour():
    source = painted(disc(40, 40, 25), RED, painted(disc(90, 90, 25), BLUE))
    target = np.repeat(source.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    check = StyleApplied("black-and-white", source, target)
    assert check(target).grade == 1 and check(source).grade == 0
    assert verdict(check, (source * 0.25 + target * 0.75).astype(np.uint8))
    assert not verdict(check, (source * 0.75 + target * 0.25).astype(np.uint8))


def test_kept_is_most_of_the_region():
    ball = disc(64, 64, 25)
    scene = painted(ball, RED)
    check = Kept("the objects", ball, scene)
    assert check.guard and check.name == "the objects are kept"
    assert check(painted(ball, RED, plain((32, 42, 92)))).grade > 0.99
    assert verdict(check, painted(disc(64, 64, 8), BLUE, scene))
    assert not verdict(check, painted(ball, BLUE)) and not verdict(check, plain())
