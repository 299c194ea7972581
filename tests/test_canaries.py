import json

import numpy as np
import pytest
from typer.testing import CliRunner

from editbench.cli import app
from editbench.config import RunConfig
from editbench.metrics import DEFAULT_METRICS, canaries, load_metrics, pixel, structural
from editbench.metrics.canaries import CANARIES, EXPECTED, SPECS, drift
from editbench.plan import make_plan

SMALL = "shapes@1:size=32"
RUN = ["run", "--suite", SMALL, "--editor", "identity", "--limit", "1", "--output-dir", "run"]


def expected():
    return json.loads(EXPECTED.read_text())


@pytest.fixture
def broken(monkeypatch):
    """A mean that forgets one pixel in a thousand."""
    right = pixel.mean_squared_error
    monkeypatch.setattr(pixel, "mean_squared_error", lambda sample, region: 0.999 * right(sample, region))


def test_every_expected_value_is_still_the_value():
    assert drift(load_metrics(SPECS)) == []


def test_every_metric_has_an_expectation_that_can_fail():
    values = expected()["values"]
    assert list(values) == list(load_metrics(SPECS))
    assert set(load_metrics(DEFAULT_METRICS)) <= set(values)
    for spec, by_canary in values.items():
        assert by_canary, spec
        inside = set(by_canary.values()) - set(load_metrics([spec])[spec].range)
        assert inside or len(set(by_canary.values())) > 1, f"{spec}: one end of its range and nothing else"


@pytest.mark.parametrize("spec", load_metrics(DEFAULT_METRICS))
def test_a_changed_expectation_of_a_default_metric_is_seen(spec, tmp_path, monkeypatch):
    data = expected()
    name, value = next(iter(data["values"][spec].items()))
    data["values"][spec][name] = value + 0.01
    monkeypatch.setattr(canaries, "EXPECTED", tmp_path / "canaries.json")
    canaries.EXPECTED.write_text(json.dumps(data))
    (line,) = drift(load_metrics([spec]))
    assert line.startswith(f"{spec} on canary {name!r}: ")


def test_the_pairs_have_an_inside_a_border_and_far_surroundings():
    shapes = {name: scenario.regions for name, scenario, _ in canaries._pairs()}
    assert list(shapes) == [canary.name for canary in CANARIES]
    assert shapes["wide mask"].distance_inside.max() > 32
    assert shapes["half done"].distance_outside.max() > 32
    assert all(regions.band.any() for name, regions in shapes.items() if name != "nothing to do")
    assert not shapes["nothing to do"].edit.any()


def test_outputs_are_made_of_whole_numbers():
    source = np.full((64, 64, 3), 100, np.uint8)
    target = source + np.uint8(80)
    assert (CANARIES[0].output(source, target) == CANARIES[0].output(source, target)).all()
    half = canaries.Canary("", 0, reached=4).output(source, target)
    assert half.dtype == np.uint8 and (half == 140).all()


def test_other_pixels_are_no_drift_of_a_metric(tmp_path, monkeypatch):
    data = expected()
    data["pixels"]["done"] = ["", ""]
    data["values"]["psnr:region=keep"]["done"] += 1
    monkeypatch.setattr(canaries, "EXPECTED", tmp_path / "canaries.json")
    canaries.EXPECTED.write_text(json.dumps(data))
    assert drift(load_metrics("psnr:region=keep")) == [
        "canary 'done' has other pixels than were shipped: its values are not compared"
    ]


def test_a_metric_without_expectation_costs_nothing(monkeypatch):
    monkeypatch.setattr(canaries, "_pairs", lambda: pytest.fail("looked at the canaries"))
    assert drift(load_metrics("changed:region=keep,tau=0.5")) == []


def test_a_metric_that_fails_has_drifted(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(structural, "ssim_over_region", fail)
    lines = drift(load_metrics("ssim:region=keep"))
    assert lines[0] == "ssim:region=keep on canary 'done': failed (RuntimeError: no such kernel), " + (
        "expected 0.976726609 ± 2e-06"
    )
    assert len(lines) == len(expected()["values"]["ssim:region=keep"])


def test_values_within_tolerance_are_no_drift(monkeypatch):
    right = structural.ssim_over_region
    monkeypatch.setattr(structural, "ssim_over_region", lambda *arguments: right(*arguments) + 9e-7)
    assert drift(load_metrics("ssim:region=keep")) == []
    monkeypatch.setattr(structural, "ssim_over_region", lambda *arguments: right(*arguments) + 3e-6)
    assert len(drift(load_metrics("ssim:region=keep"))) == len(expected()["values"]["ssim:region=keep"])


def test_what_the_recipe_writes_is_what_is_shipped(tmp_path, monkeypatch, capsys):
    specs = ("success", "psnr:region=keep")
    monkeypatch.setattr(canaries, "SPECS", specs)
    monkeypatch.setattr(canaries, "EXPECTED", tmp_path / "canaries.json")
    canaries.main()
    shipped = json.loads(EXPECTED.read_text())
    written = json.loads(canaries.EXPECTED.read_text())
    assert written == {"pixels": shipped["pixels"], "values": {spec: shipped["values"][spec] for spec in specs}}
    assert "was:" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- in runs


def test_a_run_prints_and_records_the_drift(broken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, RUN)
    assert done.exit_code == 0, done.output
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["canaries"]
    assert len(recorded) == len(expected()["values"]["psnr:region=keep"]) + len(
        expected()["values"]["target:psnr,region=edit"]
    )
    assert recorded[0].startswith("psnr:region=keep on canary 'done': 42.95")
    shown = " ".join(done.stderr.split())
    for line in recorded:
        assert f"warning: {line}" in shown


def test_a_run_without_drift_says_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, RUN)
    assert done.exit_code == 0, done.output
    assert "canary" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["canaries"] == []


def test_only_scoring_looks_at_the_canaries(broken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["edit", *RUN[1:]])
    assert done.exit_code == 0, done.output
    assert "canary" not in done.stderr
    done = CliRunner().invoke(app, ["score", "run"])
    assert done.exit_code == 0, done.output
    assert "canary" in done.stderr


def test_a_plan_scores_the_canaries_once(tmp_path, monkeypatch):
    plan = make_plan(RunConfig(suite=SMALL, editor="identity", output_dir=str(tmp_path / "run")))
    assert plan.drift == ()
    monkeypatch.setattr(canaries, "_pairs", lambda: pytest.fail("scored again"))
    assert plan.drift == ()
