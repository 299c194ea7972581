"""The committed study: its report, and the two of its runs that are editors of the package."""

import hashlib
from pathlib import Path

import pytest

import editbench as eb
from edit_grpo_ref.editor import locate
from edit_grpo_ref.study import report as reporting
from edit_grpo_ref.study.analysis import best_composite, frontier
from edit_grpo_ref.study.plan import Unit
from edit_grpo_ref.study.plan_file import load_plan
from edit_grpo_ref.study.table import load
from edit_grpo_ref.study.unit import Folders, read_facts
from editbench.record_files import read_records

ROOT = Path(__file__).parents[2]
FOLDERS = Folders(ROOT / "leaderboards", ROOT / "none", "edit_grpo_ref@1")
PACKAGED = {"flow": ("global_sum", "advantage_sum"), "edit": ("region", "dense")}


@pytest.fixture(scope="module")
def study():
    return load(load_plan(None, preset="tiny-cpu"), FOLDERS)


def test_the_committed_report_is_what_the_committed_records_give(study):
    assert reporting.stale(study, FOLDERS, ROOT / "edit_grpo_ref" / "RESULTS.md") == []


@pytest.mark.parametrize("name", PACKAGED)
def test_an_editor_of_the_package_is_the_first_seed_of_the_best_method_and_weight(study, name):
    fronts = [frontier(study, method, study.plan.criteria["first"].counted) for method in PACKAGED[name]]
    best = max(fronts, key=lambda one: one.over_seeds["t"].mean)
    unit = Unit(best.method, best_composite(best)[0], 0)
    data = locate(name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == read_facts(FOLDERS.facts(unit))["weights_sha256"], unit.label
    assert len(data) <= 3_000_000


@pytest.mark.parametrize("name", PACKAGED)
def test_an_editor_of_the_package_edits_as_its_records_say(study, name, tmp_path):
    digest = hashlib.sha256(locate(name).read_bytes()).hexdigest()
    (unit,) = (u for u, facts in zip(study.units, study.facts, strict=True) if facts["weights_sha256"] == digest)
    metrics = ["target:mae,region=edit", "mae:region=keep"]
    run = eb.run(f"grpo:{name}", study.plan.evaluation.suite, metrics, limit=12, output_dir=str(tmp_path / "run"))
    committed = {record.scenario_id: record for record in read_records(FOLDERS.records(unit)).records}
    for record in run.records().records:
        for metric in metrics:
            assert record.values[metric] == pytest.approx(committed[record.scenario_id].values[metric], abs=1e-3)
