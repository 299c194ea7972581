"""photos@1: every drawing is sound, the photographs are the expected ones, and the colour checks tell edits apart."""

from __future__ import annotations

import pickle
import re
import socket
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab
from skimage.filters import gaussian

from editbench.colours import COLOURS, wanted_colour
from editbench.images import resize
from editbench.registry import create, spec_of
from editbench.suites import photos
from editbench.suites.checks import ColourBecomes, StructureKept
from editbench.suites.photos import Photos, manifest, photograph, rasterise
from editbench.types import EditbenchError, Image, Scenario

CATEGORIES = {
    "recolour",
    "retexture",
    "reshape",
    "add",
    "remove",
    "resize",
    "move",
    "pose",
    "background",
    "style",
    "several",
    "no-op",
}
"""Those of shapes@1."""
SUITE = Photos()
SCENARIOS = {scenario.id: scenario for scenario in SUITE}
CHECKED = [entry["id"] for entry in manifest()["scenarios"] if "colours" in entry]
RINGS = [
    pytest.param(picture["size"], ring, id=f"{name}-{thing}-{kind}{index}")
    for name, picture in manifest()["photographs"].items()
    for thing, drawing in picture["objects"].items()
    for kind in ("outlines", "holes")
    for index, ring in enumerate(drawing.get(kind, []))
] + [
    pytest.param(manifest()["photographs"][entry["photograph"]]["size"], ring, id=f"{entry['id']}-{index}")
    for entry in manifest()["scenarios"]
    for index, ring in enumerate(entry["mask"].get("outlines", []))
]


def content_of(name: str) -> Scenario:
    """Return a scenario of its own, so that its pixels are freed after the test."""
    return SUITE[list(SCENARIOS).index(name)]


def passes(scenario: Scenario, output: Image) -> bool:
    return all(check(output).passed for check in scenario.checks)


def uint8(values: np.ndarray) -> Image:
    return np.clip(np.round(values * 255), 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------------- manifest


def test_the_suite_has_what_the_board_needs() -> None:
    assert len(SUITE) == len(SCENARIOS) == 79
    assert len({scenario.cluster for scenario in SUITE}) == 8
    assert {scenario.category for scenario in SUITE} == CATEGORIES
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) for name in SCENARIOS)
    assert len(CHECKED) >= 8
    assert len({SCENARIOS[name].cluster for name in CHECKED}) == 8


def test_identity_is_pinned_and_free_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "photograph", None)
    assert SUITE.name == "photos@1"
    assert SUITE.identity == "6f0ecc92807daa6cf2a3acfc8db5db1d4bdba46963aa3d58c5287d1a17ad3c05"
    assert "CC0-1.0" in SUITE.licence


def test_the_spec_leads_to_the_suite_and_back() -> None:
    suite = create("suite", "photos@1")
    assert suite == SUITE
    assert spec_of(suite) == "photos@1"


def test_indexing() -> None:
    assert SUITE[0].id == next(iter(SUITE)).id
    assert SUITE[-1].id == SUITE[len(SUITE) - 1].id
    for index in (len(SUITE), -len(SUITE) - 1):
        with pytest.raises(IndexError):
            SUITE[index]


def test_scenarios_travel_between_processes() -> None:
    scenario = pickle.loads(pickle.dumps(SUITE[0]))
    assert scenario == SUITE[0]
    assert scenario.pixels_sha256 == SUITE[0].pixels_sha256


def test_the_manifest_is_small() -> None:
    assert (resources.files("editbench.suites") / "photos.json").stat().st_size < 100_000


def test_prompts_are_sentences_and_captions() -> None:
    for scenario in SUITE:
        assert scenario.instruction[0].isupper() and scenario.instruction.endswith("."), scenario.id
        assert scenario.source_prompt and scenario.target_prompt, scenario.id
        assert (scenario.source_prompt == scenario.target_prompt) == (scenario.category == "no-op"), scenario.id
    assert max(Counter(scenario.instruction for scenario in SUITE).values()) == 1


def test_the_colour_can_be_read_off_the_prompts() -> None:
    for entry in manifest()["scenarios"]:
        colours = [demand["colour"] for demand in entry.get("colours", [])]
        if colours:
            found = wanted_colour(entry["instruction"], entry["source_prompt"], entry["target_prompt"])
            assert found in colours, entry["id"]


# ---------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("size, ring", RINGS)
def test_polygons_are_simple_and_inside(size: tuple[int, int], ring: photos.Ring) -> None:
    points = np.array(ring)
    assert points.dtype.kind == "i"
    assert 3 <= len(points) <= 200
    assert points.min() >= 0 and (points < size).all()
    assert not crossings(points), "edges cross"


def crossings(points: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of edges that properly cross."""
    ends = np.roll(points, -1, axis=0)

    def side(i: int, j: int) -> tuple[int, int]:
        along = ends[i] - points[i]
        first, second = points[j] - points[i], ends[j] - points[i]
        return (
            int(np.sign(along[0] * first[1] - along[1] * first[0])),
            int(np.sign(along[0] * second[1] - along[1] * second[0])),
        )

    count = len(points)
    return [
        (i, j) for i in range(count) for j in range(i + 2, count) if np.prod(side(i, j)) < 0 and np.prod(side(j, i)) < 0
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_masks_fit_their_photograph(name: str) -> None:
    scenario = content_of(name)
    assert scenario.mask.shape == scenario.source.shape[:2]
    assert scenario.source.shape[1::-1] == tuple(manifest()["photographs"][scenario.cluster]["size"])
    assert scenario.target is None
    assert (not scenario.mask.any()) == (scenario.category == "no-op")
    assert scenario.mask.all() == (scenario.category == "style")
    assert (len(scenario.checks) > 0) == (name in CHECKED)


def test_rasterising_includes_the_line_and_unites_rings() -> None:
    mask = rasterise([[(1, 1), (3, 1), (3, 2), (1, 2)], [(5, 0), (5, 0), (5, 0)]], 4, 6)
    assert mask.tolist() == [
        [False, False, False, False, False, True],
        [False, True, True, True, False, False],
        [False, True, True, True, False, False],
        [False, False, False, False, False, False],
    ]


def test_masks_are_pinned() -> None:
    pixels = {name: int(content_of(name).mask.sum()) for name in PINNED_MASKS}
    assert pixels == PINNED_MASKS


PINNED_MASKS = {
    "astronaut-recolour-suit": 55283,
    "chelsea-recolour-eyes": 3477,
    "coffee-several": 68343,
    "rocket-pose-lean": 16956,
    "motorcycle-background": 258174,
    "hubble-remove-star": 3046,
    "retina-resize-disc": 66166,
    "ihc-recolour-right-gland": 41052,
}


# ---------------------------------------------------------------------------------------------- photographs


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    photograph.cache_clear()
    for picture in manifest()["photographs"].values():
        assert photograph(picture["file"], picture["pixels_sha256"]).shape[1::-1] == tuple(picture["size"])


def test_other_pixels_are_refused() -> None:
    found = manifest()["photographs"]["coffee"]["pixels_sha256"]
    with pytest.raises(EditbenchError, match=rf"coffee\.png of scikit-image \d\S+.*{found}.*expected {'0' * 64}"):
        photograph("coffee.png", "0" * 64)


def test_a_photograph_that_is_not_installed_is_named() -> None:
    with pytest.raises(EditbenchError, match=r"scikit-image \d\S+ was installed without tea\.png"):
        photograph("tea.png", "0" * 64)


def test_a_scenario_cannot_damage_the_next_one() -> None:
    first, second = SUITE[0], SUITE[1]
    first.source[:] = 0
    assert second.source.any()


# --------------------------------------------------------------------------------------------------- checks


def recoloured(scenario: Scenario) -> Image:
    """Shift the colour of each subject to the one asked for; texture and shading stay."""
    colours = rgb2lab(scenario.source)
    for check in scenario.checks:
        if isinstance(check, ColourBecomes):
            shift = rgb2lab(np.array(COLOURS[check.colour]) / 255) - colours[check.region].mean(axis=0)
            colours[check.region] += shift
    return uint8(lab2rgb(colours))


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("name", CHECKED)
def test_a_recoloured_photograph_passes_and_controls_fail(name: str) -> None:
    scenario = content_of(name)
    source, mask = scenario.source, scenario.mask
    for check in scenario.checks:
        assert check(source).passed == check.guard, check.name
    assert passes(scenario, recoloured(scenario))

    assert not passes(scenario, source)
    filled = source.copy()
    filled[mask] = 128
    assert not passes(scenario, filled)
    noise = np.random.default_rng(7).normal(0, 0.1, source.shape)
    assert not passes(scenario, uint8(source / 255 + noise))
    assert not passes(scenario, uint8(gaussian(source, 3, channel_axis=-1)))


@pytest.mark.parametrize("name", CHECKED)
def test_paint_over_an_object_is_not_a_recoloured_object(name: str) -> None:
    scenario = content_of(name)
    painted = scenario.source.copy()
    for check in scenario.checks:
        if isinstance(check, ColourBecomes):
            painted[check.region] = COLOURS[check.colour]
    grain = np.random.default_rng(3).normal(0, 20, painted.shape) * (painted != scenario.source)
    for output in (painted, np.clip(painted + grain, 0, 255).astype(np.uint8)):
        verdicts = {type(check): check(output).passed for check in scenario.checks[:-1]}
        assert verdicts == {ColourBecomes: True, StructureKept: False}
        assert not passes(scenario, output)


@pytest.mark.parametrize("name", CHECKED)
def test_another_photograph_fails(name: str) -> None:
    scenario = content_of(name)
    height, width = scenario.source.shape[:2]
    for other, picture in manifest()["photographs"].items():
        if other != scenario.cluster and other != "retina":
            output = resize(photograph(picture["file"], picture["pixels_sha256"]), height, width)
            assert not passes(scenario, output), other


def test_doing_the_edit_elsewhere_does_not_count() -> None:
    scenario = content_of("motorcycle-recolour-bin")
    output = scenario.source.copy()
    output[~scenario.mask] = COLOURS["green"]
    assert not passes(scenario, output)
