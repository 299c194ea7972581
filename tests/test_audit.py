"""The audit: damage stays where it is planted, correct metrics pass, and those with known mistakes are found out."""

import csv
import io
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest

import editbench as eb
from editbench.audit import audit, auditable
from editbench.audit.damage import GRADED, LEVELS, PLACES, ZONES, Canvas, plant
from editbench.audit.findings import CASES, damage_csv, to_csv
from editbench.audit.words import audit_words, reads, words_csv
from editbench.metrics import load_metrics
from editbench.metrics.judge import Judge
from editbench.regions import Regions
from editbench.report.heatmap import render_heatmap
from editbench.types import EditbenchError

SUITE = "shapes@1"


def canvas(size=96):
    rows, columns = np.mgrid[:size, :size]
    random = np.random.default_rng(0)
    clean = random.integers(60, 180, (size, size, 3), np.uint8)
    mask = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 5) ** 2
    return Canvas(clean, Regions(mask), 255 - clean, 7)


def finished(metrics, suite=SUITE, scenarios=2):
    results = {}
    for done, total, results in audit(metrics, eb.load_suite(suite), scenarios):  # noqa: B007
        pass
    assert done == total
    return results


# -------------------------------------------------------------------------------------------------------- damage


def test_zones_cover_the_picture_once():
    zones = canvas().zones
    assert set(zones) == set(ZONES)
    assert (sum(zone.astype(int) for zone in zones.values()) == 1).all()
    assert zones["core"].any() and not (zones["core"] & canvas().regions.keep).any()
    assert not (zones["near"] & canvas().regions.edit).any() and not (zones["far"] & canvas().regions.edit).any()


def test_a_metric_of_the_whole_keep_region_is_shown_damage_of_all_of_it():
    parts = canvas()
    whole = replace(parts, whole=True)
    assert not whole.zones["near"].any()
    assert (whole.zones["far"] == (parts.zones["near"] | parts.zones["far"])).all()
    assert all((whole.zones[zone] == parts.zones[zone]).all() for zone in ("core", "band"))


@pytest.mark.parametrize(("zone", "damage", "level"), CASES)
def test_damage_stays_in_its_zone(zone, damage, level):
    picture = canvas()
    output = plant(picture, damage, zone, level)
    changed = (output != picture.clean).any(axis=2)
    assert not changed[~picture.zones[zone]].any()
    assert changed[picture.zones[zone]].any()


def test_damage_grows_with_its_level():
    picture = canvas()
    for damage in GRADED:
        zone = PLACES.get(damage, ZONES)[0]
        error = [np.abs(plant(picture, damage, zone, level) - picture.clean.astype(int)).mean() for level in LEVELS]
        if damage != "shift":  # of noise: any step is as wrong as any other
            assert error == sorted(error) and error[0] < error[-1]


# ------------------------------------------------------------------------------------------------------ verdicts


@dataclass(frozen=True)
class Leaky:
    """A whole-image error that is passed off as one of the keep region."""

    region: str = "keep"

    version: ClassVar[int] = 1
    direction: ClassVar[str] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples):
        return [float(np.abs(s.output / 255 - s.scenario.source / 255).mean()) for s in samples]


@dataclass(frozen=True)
class Deaf:
    """Says that all is well."""

    region: str = "keep"

    version: ClassVar[int] = 1
    direction: ClassVar[str] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples):
        return [0.0 for _ in samples]


@dataclass(frozen=True)
class Broken(Deaf):
    """Gives no number."""

    def score(self, samples):
        raise RuntimeError("out of order")


@pytest.fixture(scope="module")
def results():
    shipped = ["psnr:region=keep", "mae:region=edit", "ssim:region=band", "seam", "leak_profile", "far_change"]
    legacy = ["legacy_pie:mse_unedit", "legacy_pie:psnr_unedit", "legacy_gie:masked_mse_unaligned"]
    return finished(load_metrics([*shipped, *legacy, "target:mae,region=edit", Leaky(), Deaf(), Broken()]))


def failures(results, name):
    (found,) = (audited.failures for spec, audited in results.items() if name in spec)
    return found


@pytest.mark.parametrize(
    "spec",
    ["psnr:region=keep", "mae:region=edit", "ssim:region=band", "seam", "leak_profile", "far_change", "target:mae"],
)
def test_correct_metrics_pass(results, spec):
    assert failures(results, spec) == ()


def test_a_metric_that_looks_elsewhere_leaks(results):
    assert "leakage" in failures(results, "Leaky") and "localisation" in failures(results, "Leaky")


def test_a_metric_that_sees_nothing_is_not_monotone(results):
    assert "monotonicity" in failures(results, "Deaf")


def test_a_metric_without_numbers_says_why(results):
    assert failures(results, "Broken") == ("RuntimeError: out of order",)


def test_pictures_on_which_a_metric_is_undefined_are_left_out(results):
    @dataclass(frozen=True)
    class Picky(Deaf):
        everywhere: bool = False

        def undefined(self, scenario):
            return "not this one" if self.everywhere or scenario.cluster == first else None

        def score(self, samples):
            return list(load_metrics(["mae:region=keep"])["mae:region=keep"].score(samples))

    first = results["seam"].responses[0].scenario_id
    first = next(s.cluster for s in eb.load_suite(SUITE) if s.id == first)
    some, none = finished({"some": Picky(), "none": Picky(everywhere=True)}).values()
    assert (some.scenarios, some.failures) == (1, ())
    assert (none.scenarios, none.failures) == (0, ("not this one",))
    assert to_csv([none]).splitlines()[1] == "none,false,not this one,near far,,,,,,,,,0"


def test_the_mistakes_of_published_protocols_are_found(results):
    """Zero fill makes an error shrink with the mask; PSNR is infinite on a clean pair; GIE's background is all."""
    assert failures(results, "legacy_pie:mse_unedit") == ("dilution",)
    assert "infinite" in failures(results, "legacy_pie:psnr_unedit")[0]
    assert "leakage" in failures(results, "legacy_gie:masked_mse_unaligned")


def test_damage_in_blind_zones_moves_pixel_metrics_by_exactly_nothing(results):
    for spec in ("psnr:region=keep", "far_change"):
        assert {r.size for r in results[spec].responses if r.zone == "core"} == {0.0}
    assert {r.size for r in results["mae:region=edit"].responses if r.zone in ("near", "far")} == {0.0}


# -------------------------------------------------------------------------------------------------------- tables


def test_tables_and_heat_map_have_a_row_a_metric(results):
    rows = list(csv.DictReader(io.StringIO(to_csv(results.values()))))
    assert [row["metric"] for row in rows] == list(results)
    assert {row["passes"] for row in rows} == {"true", "false"}
    damage = list(csv.DictReader(io.StringIO(damage_csv(results.values()))))
    assert len(damage) == len(CASES) * sum(not audited.problem for audited in results.values())
    picture = ElementTree.fromstring(render_heatmap("<audit>", list(results.values())))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "<audit>" in texts and set(results) <= set(texts) and texts.count("passes") == 7


def test_a_suite_without_borders_cannot_be_used():
    suite = eb.load_suite(SUITE)
    style = [scenario for scenario in suite if scenario.category in ("style", "no-op")][:3]

    class Few:
        name = "few"

        def __iter__(self):
            return iter(style)

    with pytest.raises(EditbenchError, match="few: no scenario has a mask with an inside, a border and far"):
        next(iter(audit(load_metrics(["psnr:region=keep"]), Few(), 2)))


def test_what_cannot_be_audited_here_is_named():
    metrics, skipped = auditable(SUITE)
    assert {"psnr:region=keep", "seam", "global_shift:part=residual"} <= set(metrics)
    assert all("\n" not in text for text in skipped)


# --------------------------------------------------------------------------------------------------------- words


@cache
def words():
    return {scenario.id: scenario.target_prompt for scenario in eb.load_suite("shapes@1:size=32")}


@dataclass(frozen=True)
class Reader:
    """Knows the right words by heart, or likes every text as much as any, or the wrong ones better."""

    kind: str = "knowing"

    version: ClassVar[int] = 1
    direction: ClassVar[str] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[str, ...]] = ("target_prompt",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def score(self, samples):
        values = {"knowing": (1.0, 0.0), "indifferent": (0.5, 0.5), "contrary": (0.0, 1.0)}[self.kind]
        return [values[words()[sample.scenario.id] != sample.scenario.target_prompt] for sample in samples]


def read(*metrics, suite="shapes@1:size=32"):
    for done, total, results in audit_words(load_metrics(metrics), eb.load_suite(suite)):  # noqa: B007
        pass
    assert done == total
    return list(results.values())


@pytest.mark.parametrize(("kind", "expected"), [("knowing", 1.0), ("indifferent", 0.5), ("contrary", 0.0)])
def test_right_words_are_told_from_wrong_ones(kind, expected):
    (found,) = read(Reader(kind))
    assert found.auroc == expected and set(found.preferred) == {expected}
    assert found.failures == (() if expected == 1.0 else ("wrong words",))
    assert len(found.right) == len(set(found.clusters)) == 40 and {len(values) for values in found.wrong} == {8}


def test_a_metric_of_which_less_is_better_is_turned_round():
    @dataclass(frozen=True)
    class Distance(Reader):
        direction: ClassVar[str] = "lower"

    good, bad = read(Reader("contrary"), Distance("contrary"))
    assert (good.auroc, bad.auroc) == (0.0, 1.0)
    (row,) = csv.DictReader(io.StringIO(words_csv([bad])))
    assert (row["passes"], row["auroc"], row["pictures"], row["wrong"]) == ("true", "1", "40", "320")


def test_metrics_that_read_are_known():
    metrics = load_metrics(["clip_score:region=all,model=shapes-tiny", "conse_score:region=all", "mae:region=keep"])
    assert [reads(metric) for metric in metrics.values()] == [True, True, False]
    assert Judge.reads
