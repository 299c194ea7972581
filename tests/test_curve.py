"""The plot of a leak profile shows the means of its bins."""

import pytest

from editbench.report.curve import METRIC, leak_curve
from editbench.types import Detailed, Record, Undefined


def record(name, curve):
    value = (
        Detailed(0.1, {"edges": [0, 2, None], "curve": curve, "pixels": [4, 4]}) if curve else Undefined("no border")
    )
    return Record(name, name, "edit", 0, "ok", "ab", "cd", values={METRIC: value})


def test_bars_are_means_over_the_scenarios_that_have_pixels_there():
    curve = leak_curve([record("a", [0.2, 0.1]), record("b", [0.4, None]), record("c", None)])
    near, far = curve.bars
    assert near.explanation == "0–2 px: 0.3000, 2 scenarios" and far.explanation == "> 2 px: 0.1000, 1 scenarios"
    assert near.height / far.height == pytest.approx(3)
    assert near.y + near.height == far.y + far.height == curve.bottom
    assert [text for _, text in curve.ticks] == ["0", "0.1", "0.2", "0.3", "0.4"] and curve.scenarios == 2


def test_without_profiles_there_is_no_plot():
    assert leak_curve([record("a", None)]) is None


def test_a_run_that_leaks_nothing_has_flat_bars():
    assert {bar.height for bar in leak_curve([record("a", [0.0, 0.0])]).bars} == {0.0}
