import hashlib
import io
import itertools
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image as PILImage
from scipy.ndimage import gaussian_filter

from editbench.colours import COLOURS
from editbench.registry import create
from editbench.suites.shapes import SCENES, Shapes, plans
from editbench.suites.shapes_checks import Silhouette
from editbench.suites.shapes_edits import CATEGORIES, MIN_CHANGE
from editbench.suites.shapes_forms import FORMS, cosine_and_sine
from editbench.suites.shapes_paint import GROUND_COLOURS, MATERIALS, PATTERNS, STYLES, second_shade, styled
from editbench.suites.shapes_scene import LARGE, MIN_CONTRAST, MIN_PATTERN_CONTRAST, SMALL, contrast
from editbench.suites.shapes_stream import Stream, lattice
from editbench.types import EditbenchError

CONTENT_SHA256 = "0efc8fff27ee66e015fc09e7da74a5279267193fa1782a15e763fde5e34f6996"


@pytest.fixture(scope="module")
def suite():
    return list(Shapes())


@pytest.fixture(scope="module")
def demanding(suite):
    return [scenario for scenario in suite if scenario.category != "no-op"]


@pytest.fixture(scope="module")
def tiny():
    return [scenario for scenario in Shapes(64) if scenario.category != "no-op"]


def content_hash(scenarios):
    digest = hashlib.sha256()
    for scenario in scenarios:
        for array in (scenario.source, scenario.mask, scenario.target):
            digest.update(array.tobytes())
        words = (scenario.id, scenario.cluster, scenario.instruction, scenario.source_prompt, scenario.target_prompt)
        digest.update("\n".join(words).encode())
    return digest.hexdigest()


def jpeg(image, quality):
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(PILImage.open(buffer))


def brighter(image, factor):
    return np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)


def passes(scenario, output):
    return all([check(output).passed for check in scenario.checks])


def right_answers(scenario):
    target = scenario.target
    return {
        "target": target,
        "jpeg 75": jpeg(target, 75),
        "2 % brighter": brighter(target, 1.02),
        "2 % darker": brighter(target, 0.98),
    }


def wrong_answers(scenario, number):
    source = scenario.source
    noise = np.random.default_rng(number).normal(0, 25.5, source.shape)
    sigma = 3 * source.shape[0] / 256
    return {
        "identity": source,
        "noise": np.clip(np.round(source + noise), 0, 255).astype(np.uint8),
        "blur": gaussian_filter(source, (sigma, sigma, 0)),
        "jpeg 30": jpeg(source, 30),
        "fill": np.where(scenario.mask[..., None], np.uint8(128), source),
    }


def other_targets(scenarios, number):
    """Targets of the next two scenarios, of the next two of the category, and of all others of the scene."""
    scenario = scenarios[number]
    kin = [other for other in scenarios if other.category == scenario.category]
    place = kin.index(scenario)
    others = [scenarios[(number + step) % len(scenarios)] for step in (1, 2)]
    others += [kin[(place + step) % len(kin)] for step in (1, 2)]
    others += [other for other in scenarios if other.cluster == scenario.cluster and other is not scenario]
    return {f"target of {other.id}": other.target for other in others}


# ------------------------------------------------------------------------------------------------ composition


def test_twelve_categories_of_twenty_over_more_than_sixty_scenes(suite):
    assert len(suite) == len(Shapes()) == 240
    assert Counter(scenario.category for scenario in suite) == dict.fromkeys(CATEGORIES, 20)
    assert len({scenario.id for scenario in suite}) == 240
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", scenario.id) for scenario in suite)
    clusters = {}
    for scenario in suite:
        clusters.setdefault(scenario.cluster, []).append(scenario.category)
    assert len(clusters) == SCENES >= 60
    assert all(len(set(categories)) == len(categories) in (3, 4) for categories in clusters.values())


def test_the_first_scenarios_span_all_categories_and_as_many_scenes(suite):
    assert [scenario.category for scenario in suite[:12]] == list(CATEGORIES)
    assert len({scenario.cluster for scenario in suite[:SCENES]}) == SCENES


def test_indexing_ends_where_the_suite_ends():
    for index in (-1, 240):
        with pytest.raises(IndexError):
            Shapes()[index]


@pytest.mark.parametrize("size", [0, 16, 100, 1040])
def test_other_sizes_are_refused(size):
    with pytest.raises(EditbenchError, match="multiple of 16"):
        Shapes(size)


def test_some_categories_are_a_suite_of_their_own_with_the_same_scenarios():
    some = create("suite", "shapes@1:size=64,categories=remove+background")
    assert some.name == "shapes@1:size=64,categories=background+remove" == create("suite", some.name).name
    everything = Shapes(64)
    assert some.identity not in (everything.identity, create("suite", "shapes@1:size=64,categories=remove").identity)
    kept = [scenario for scenario in everything if scenario.category in ("remove", "background")]
    assert len(some) == len(kept) == 40
    assert [(s.id, s.cluster, s.instruction) for s in some] == [(s.id, s.cluster, s.instruction) for s in kept]
    assert some[39].pixels_sha256 == kept[-1].pixels_sha256
    with pytest.raises(IndexError):
        some[40]
    with pytest.raises(EditbenchError, match="no category 'remov': did you mean 'remove'"):
        create("suite", "shapes@1:categories=remov")


def test_a_size_is_a_name_and_an_identity():
    assert Shapes().name == "shapes@1"
    small = create("suite", "shapes@1:size=64")
    assert small.name == "shapes@1:size=64"
    assert small.identity != Shapes().identity
    assert small.identity == Shapes(64).identity


# -------------------------------------------------------------------------------------------- same everywhere


def test_content_is_pinned(suite):
    assert content_hash(suite) == CONTENT_SHA256


def test_another_process_renders_the_same_bytes(suite):
    code = (
        "from editbench.suites.shapes import Shapes\n"
        "print(*[Shapes()[index].pixels_sha256 for index in range(0, 240, 30)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [suite[index].pixels_sha256 for index in range(0, 240, 30)]


def test_raw_streams_are_what_they_were():
    stream = Stream("a text")
    assert [stream.below(1000) for _ in range(4)] == [651, 359, 918, 344]
    assert lattice(7, 2, 2).ravel().tolist() == [
        0.8720734548204873,
        0.29536538151378355,
        0.4200976785072422,
        0.4053922457839946,
    ]
    stream = Stream("another text")
    drawn = [stream.uniform(-2, 3) for _ in range(1000)]
    assert -2 <= min(drawn) < -1.9 and 2.9 < max(drawn) < 3
    assert sorted(stream.shuffled(range(9))) == list(range(9))


def test_cosine_and_sine_agree_with_the_platform():
    for degrees in range(-360, 721, 7):
        expected = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        assert cosine_and_sine(degrees) == pytest.approx(expected, abs=1e-14)


def test_no_contrast_is_near_a_threshold():
    pairs = []
    for ground, colour in itertools.product(GROUND_COLOURS.values(), COLOURS.values()):
        pairs.append((contrast(colour, ground), MIN_CONTRAST))
        pairs.append((contrast(second_shade(colour), ground), MIN_PATTERN_CONTRAST))
    pairs += [(contrast(styled(style, rgb), rgb), MIN_CHANGE) for style in STYLES for rgb in GROUND_COLOURS.values()]
    pairs += [(contrast(*pair), 35) for pair in itertools.combinations(GROUND_COLOURS.values(), 2)]
    assert min(abs(value - threshold) for value, threshold in pairs) > 0.01


def test_contrast_agrees_with_scikit_image():
    from skimage.color import rgb2lab

    for first, second in itertools.combinations(GROUND_COLOURS.values(), 2):
        a, b = rgb2lab(np.array(first) / 255), rgb2lab(np.array(second) / 255)
        assert contrast(first, second) == pytest.approx(np.linalg.norm(a - b), abs=0.05)


def test_importing_and_listing_the_suite_is_cheap():
    code = (
        "import sys\nfrom editbench.suites.shapes import Shapes\nlist(Shapes())\n"
        "print(sorted({'torch', 'scipy', 'skimage', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------ masks


def test_nothing_changes_outside_the_mask_and_most_changes_inside(suite):
    for scenario in suite:
        changed = (scenario.source != scenario.target).any(axis=-1)
        assert not changed[~scenario.mask].any(), scenario.id
        if scenario.category == "no-op":
            assert not scenario.mask.any() and not scenario.checks
        else:
            # A pattern keeps the object's own colour between its stripes or spots.
            assert changed[scenario.mask].mean() > (0.3 if scenario.category == "retexture" else 0.6), scenario.id


def test_masks_are_irregular(suite):
    for scenario in suite:
        if scenario.category in ("style", "no-op"):
            assert scenario.mask.all() or not scenario.mask.any()
            continue
        rows, columns = np.nonzero(scenario.mask)
        box = scenario.mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 0.002 < scenario.mask.mean() < 0.99, scenario.id
        assert box.mean() < 0.985, scenario.id


def test_backdrops_are_textured_graded_and_far_from_grey(suite):
    from skimage.color import rgb2lab

    kinds = set()
    for scene in range(SCENES):
        plan = next(iter(plans(scene).values()))
        kinds.add(plan.before.backdrop.kind)
    assert len(kinds) >= 5
    grey = rgb2lab(np.full(3, 128 / 255))
    for scenario in suite[:SCENES]:
        if scenario.category != "background":
            continue
        for image in (scenario.source, scenario.target):
            pixels = rgb2lab(image[scenario.mask] / 255)
            assert np.linalg.norm(pixels - grey, axis=-1).mean() > 18
            assert np.linalg.norm(pixels - pixels.mean(axis=0), axis=-1).mean() > 2


def test_forms_and_materials_all_occur():
    things = [thing for scene in range(SCENES) for thing in next(iter(plans(scene).values())).before.things if thing]
    assert {thing.form for thing in things} == set(FORMS)
    assert {thing.material for thing in things} == set(MATERIALS)
    assert {thing.colour for thing in things} == set(COLOURS)


# ------------------------------------------------------------------------------------------------------ words


NOUN = rf"(?:(?:{'|'.join(['small', 'large', *MATERIALS, *COLOURS])}) )*(?:{'|'.join(FORMS)})"


def all_plans():
    return [plan for scene in range(SCENES) for plan in plans(scene).values()]


def matching(things, phrase):
    """Return the objects that a noun phrase like `small striped red star` may mean."""
    words = phrase.split()
    found = []
    for thing in things:
        size = "small" if thing.radius < SMALL else "large" if thing.radius >= LARGE else ""
        if set(words) & {"small", "large", *MATERIALS, *COLOURS, *FORMS} <= {
            size,
            thing.material,
            thing.colour,
            thing.form,
        }:
            found.append(thing)
    return found


def test_instructions_name_exactly_one_object_of_the_source():
    named = re.compile(rf"\bthe ({NOUN})\b")
    count = 0
    for plan in all_plans():
        if plan.category == "no-op":
            continue
        things = [thing for thing in plan.before.things if thing is not None]
        for phrase in named.findall(plan.instruction.lower()):
            assert len(matching(things, phrase)) == 1, plan.instruction
            count += 1
    assert count >= 140


def test_no_ops_ask_for_what_is_so_or_for_what_is_not_there():
    flavours = Counter()
    for plan in all_plans():
        if plan.category != "no-op":
            continue
        assert plan.before == plan.after
        things = [thing for thing in plan.before.things if thing is not None]
        phrase = re.search(rf"\bthe ({NOUN})\b", plan.instruction.lower())
        wanted = plan.instruction.rstrip(".").split()[-1]
        if phrase is None:
            flavours["nothing"] += 1
        elif plan.instruction.startswith("Remove") or not matching(things, phrase[1]):
            flavours["absent"] += 1
            assert not matching(things, phrase[1]), plan.instruction
        else:
            flavours["so already"] += 1
            assert [wanted in (thing.colour, thing.material) for thing in matching(things, phrase[1])] == [True]
    assert len(flavours) == 3


def test_prompts_describe_every_object_truthfully():
    phrases = re.compile(rf"\ban? ({NOUN})\b")
    for plan in all_plans():
        for scene, prompt in ((plan.before, plan.source_prompt), (plan.after, plan.target_prompt)):
            things = [thing for thing in scene.things if thing is not None]
            found = phrases.findall(prompt)
            assert len(found) == len(things), prompt
            for thing, phrase in zip(things, found, strict=True):
                assert thing in matching(things, phrase), (prompt, phrase)
                assert thing.colour in phrase and (thing.material == "matte" or thing.material in phrase)
            assert scene.backdrop.colour in prompt


def test_prompts_differ_where_something_changes_and_articles_are_right():
    openings = set()
    for plan in all_plans():
        if plan.category in ("recolour", "retexture", "reshape", "add", "remove", "resize", "pose", "background"):
            assert plan.source_prompt != plan.target_prompt, plan.instruction
        if plan.category == "no-op":
            assert plan.source_prompt == plan.target_prompt
        for text in (plan.instruction, plan.source_prompt, plan.target_prompt):
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower()), text
        openings.add(plan.source_prompt.split()[1])
    assert len(openings) >= 5
    assert len({plan.instruction for plan in all_plans()}) > 200


def test_colours_of_recolouring_are_in_the_vocabulary():
    for plan in all_plans():
        for step in plan.steps:
            if step.kind == "recolour":
                assert step.after.colour in COLOURS and step.order.endswith(step.after.colour)
            if step.kind == "retexture":
                assert step.after.material in PATTERNS


# ----------------------------------------------------------------------------------------------------- checks


def test_right_answers_pass_and_grade_one(demanding):
    for scenario in demanding:
        for name, output in right_answers(scenario).items():
            assert passes(scenario, output), (scenario.id, name)
        assert min(check(scenario.target).grade for check in scenario.checks) == 1, scenario.id


def test_wrong_answers_fail(demanding):
    for number, scenario in enumerate(demanding):
        for name, output in wrong_answers(scenario, number).items():
            assert not passes(scenario, output), (scenario.id, name)


def test_a_patterned_object_must_show_its_pattern(demanding):
    patterned = re.compile(rf"\b({'|'.join(PATTERNS)})\b")
    painted = 0
    for scenario in demanding:
        if scenario.category == "add" and patterned.search(scenario.instruction):
            region = (scenario.source != scenario.target).any(axis=-1)
            flat = scenario.source.copy()
            flat[region] = np.median(scenario.target[region], axis=0)
            assert not passes(scenario, flat), scenario.id
            painted += 1
    assert painted >= 3


def test_targets_of_other_scenarios_fail(demanding):
    for number, scenario in enumerate(demanding):
        for name, output in other_targets(demanding, number).items():
            assert not passes(scenario, output), (scenario.id, name)


def test_the_source_satisfies_the_guards_and_none_of_the_demands(demanding):
    for scenario in demanding:
        assert any(not check.guard for check in scenario.checks)
        for check in scenario.checks:
            result = check(scenario.source)
            assert result.passed == check.guard, (scenario.id, check.name)
            assert result.grade == (1 if check.guard else 0), (scenario.id, check.name)


def test_grades_lie_in_the_unit_interval_and_rise_on_the_way(demanding):
    for scenario in demanding[::5]:
        grades = []
        for share in (0, 0.25, 0.5, 0.75, 1):
            output = np.round(scenario.source * (1 - share) + scenario.target * share).astype(np.uint8)
            results = [check(output) for check in scenario.checks]
            assert all(0 <= result.grade <= 1 for result in results)
            demands = zip(scenario.checks, results, strict=True)
            grades.append(np.mean([result.grade for check, result in demands if not check.guard]))
        assert grades[0] == 0 and grades[-1] == 1
        assert grades[1] < 0.75 and grades[3] > grades[1], scenario.id


def test_what_a_silhouette_is_seen_as_is_the_known_one(demanding):
    """Objects stand out from what is behind them, so that their outline can be measured from pixels."""
    shares = []
    for scenario in demanding:
        for check in scenario.checks:
            if isinstance(check, Silhouette):
                window = check.sight.window
                changed = (check.sight.without != scenario.target).any(axis=-1)[window] & check.sight.where[window]
                seen = check.sight(scenario.target)
                shares.append((seen & changed).sum() / changed.sum())
    assert len(shares) > 150
    assert np.mean(shares) > 0.95 and min(shares) > 0.7


# ------------------------------------------------------------------------------------------------ other sizes


def test_a_small_suite_shows_the_same_scenes(suite, tiny):
    for small, large in zip(tiny[::12], [s for s in suite if s.category != "no-op"][::12], strict=True):
        assert (small.id, small.instruction, small.source_prompt) == (large.id, large.instruction, large.source_prompt)
        shrunk = np.array(PILImage.fromarray(large.source).resize((64, 64), PILImage.Resampling.BOX))
        assert np.abs(shrunk.astype(float) - small.source).mean() < 8
        assert abs(small.mask.mean() - large.mask.mean()) < 0.03
        assert not (small.source != small.target).any(axis=-1)[~small.mask].any()


def test_a_small_suite_is_decided_too(tiny):
    """At 64 pixels chroma subsampling blurs small objects over their own width: JPEG-75 may cost some successes."""
    survived = []
    for number, scenario in enumerate(tiny):
        right = right_answers(scenario)
        survived.append(passes(scenario, right.pop("jpeg 75")))
        assert all(passes(scenario, output) for output in right.values()), scenario.id
        wrong = wrong_answers(scenario, number)
        del wrong["jpeg 30"]
        wrong |= other_targets(tiny, number)
        for name, output in wrong.items():
            assert not passes(scenario, output), (scenario.id, name)
    assert np.mean(survived) >= 0.8


@pytest.mark.parametrize(("size", "step"), [(32, 5), (48, 7), (512, 40)])
def test_any_size_is_decided(size, step):
    for index in range(0, 240, step):
        scenario = Shapes(size)[index]
        assert scenario.source.shape == (size, size, 3)
        if scenario.checks:
            assert passes(scenario, scenario.target) and not passes(scenario, scenario.source), scenario.id
