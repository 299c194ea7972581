"""A command that is issued again goes on where it stopped, and never passes old results off as new ones."""

import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench import journal
from editbench.config import RunConfig, read_config
from editbench.editors.function import FunctionEditor
from editbench.loops import carry_out
from editbench.merge import merge_runs
from editbench.plan import make_plan, plan_of_run
from editbench.types import EditbenchError

SUITE = "shapes@1:size=64"
MAE = "mae:region=all"


def run(folder, editor="identity", limit=3, metrics=(MAE,), **options):
    return eb.run(editor, SUITE, metrics, limit=limit, output_dir=str(folder), **options)


def score_again(folder, metrics=None, **options):
    """What `editbench score` does."""
    plan = plan_of_run(Path(folder), metrics)
    for _ in carry_out(plan, edit=False):
        pass
    return eb.Run(plan.store.path)


def values(result, metric=MAE):
    return [record.values[metric] for record in result.records().records]


def finished(folder, level):
    folder.mkdir(exist_ok=True)
    for index in range(3):
        scenario = eb.load_suite(SUITE)[index]
        PILImage.fromarray(np.full_like(scenario.source, level)).save(folder / f"{scenario.id}.png")


# ------------------------------------------------------------------------------------------------- stale results


def test_a_finished_image_that_was_replaced_is_looked_up_again(tmp_path):
    finished(tmp_path / "images", 10)
    before = values(run(tmp_path / "run", f"folder:{tmp_path / 'images'}"))
    events = list(journal.events(tmp_path / "run" / "journal"))
    assert values(run(tmp_path / "run", f"folder:{tmp_path / 'images'}")) == before
    again = list(journal.events(tmp_path / "run" / "journal"))[len(events) :]
    assert {event["type"] for event in again} == {"start"}  # nothing new, nothing written
    finished(tmp_path / "images", 250)
    after = values(run(tmp_path / "run", f"folder:{tmp_path / 'images'}"))
    assert all(new != old for new, old in zip(after, before, strict=True))


def define(text):
    """Make a function from source, as a notebook does when a cell is run again."""
    space = {}
    exec(compile(text, "<cell>", "exec"), space)
    return space["edit"]


def test_a_function_that_was_defined_anew_is_another_editor(tmp_path):
    keep, invert = (define(f"def edit(source):\n    return {body}\n") for body in ("source", "255 - source"))
    run(tmp_path / "run", keep)
    assert set(values(run(tmp_path / "run", define("def edit(source):\n    return source\n")))) == {0.0}
    with pytest.raises(EditbenchError, match=r"holds another run:\n  editor\.code_sha256: "):
        run(tmp_path / "run", invert)


def test_a_program_that_was_edited_is_another_editor(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.exit(1)\n")
    command = f"command:{sys.executable} {program} {{request}} {{out}}"
    assert {record.edit_status for record in run(tmp_path / "run", command).records().records} == {"editor_error"}
    program.write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(EditbenchError, match=r"editor\.code_sha256: "):
        run(tmp_path / "run", command)


def test_a_resume_refuses_other_pixels(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    grain = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    lines = []
    for name in "abcd":
        PILImage.fromarray(grain).save(folder / f"{name}.png")
        lines.append(json.dumps({"id": name, "source": f"{name}.png", "instruction": "Go."}))
    (folder / "scenarios.jsonl").write_text("\n".join(lines) + "\n")
    options = dict(suite=f"folder:{folder}", metrics=[MAE], output_dir=str(tmp_path / "run"))
    eb.run("identity", shard="1/2", **options)
    for name in "abcd":
        PILImage.fromarray(255 - grain).save(folder / f"{name}.png")
    with pytest.raises(EditbenchError, match=r"other pixels|is not what it was|holds another run"):
        eb.run("identity", **options)


@pytest.mark.parametrize("index", [1, 2])
def test_any_shard_of_a_long_run_refuses_other_pixels(tmp_path, monkeypatch, index):
    monkeypatch.setattr("editbench.keeping.DECODED", 4)
    (tmp_path / "data").mkdir()
    for shade in (100, 200):
        for name in "abcd":
            PILImage.new("RGB", (32, 32), (shade, shade, ord(name))).save(tmp_path / "data" / f"{name}.png")
        lines = [json.dumps({"id": name, "source": f"{name}.png", "instruction": "Go."}) for name in "abcd"]
        (tmp_path / "data" / "scenarios.jsonl").write_text("\n".join(lines) + "\n")
        options = {"suite": f"folder:{tmp_path / 'data'}", "metrics": [MAE], "shard": f"{index}/2"}
        with pytest.raises(EditbenchError, match="other pixels") if shade == 200 else contextlib.nullcontext():
            eb.run("identity", output_dir=str(tmp_path / "run"), **options)


# --------------------------------------------------------------------------------------------------------- score


def test_scoring_a_merged_run_scores_all_its_shards(tmp_path):
    for index in (1, 2):
        run(tmp_path / f"s{index}", limit=4, shard=f"{index}/2")
    assert merge_runs(tmp_path / "whole", [tmp_path / "s1", tmp_path / "s2"]) == []
    result = score_again(tmp_path / "whole", "mae:region=keep")
    assert len(values(result, "mae:region=keep")) == 4


def test_scoring_shards_in_one_directory_scores_them_all(tmp_path):
    for index in (1, 2):
        run(tmp_path / "run", limit=4, shard=f"{index}/2")
    assert len(values(score_again(tmp_path / "run", "mae:region=keep"), "mae:region=keep")) == 4


def test_scoring_needs_the_edits_and_not_the_editor(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("def edit(source):\n    return 255 - source\n")
    monkeypatch.chdir(tmp_path)
    before = values(run("run", "mine.py:edit"))
    file.unlink()
    result = score_again("run", "psnr:region=all")
    assert values(result) == before and all(isinstance(value, float) for value in values(result, "psnr:region=all"))

    def invert(source):
        return 255 - source

    made = run(tmp_path / "function", invert)
    assert values(score_again(made.path, "psnr:region=all"), "psnr:region=all")


def test_scoring_refuses_a_suite_that_has_changed(tmp_path):
    result = run(tmp_path / "run")
    path = result.path / "run.json"
    path.write_text(path.read_text().replace(result.records().header.suite.identity, "0" * 64))
    with pytest.raises(EditbenchError, match=r"is not what it was when .* was made"):
        plan_of_run(result.path)


# ------------------------------------------------------------------------------------------------------- metrics


def test_metrics_that_are_not_asked_for_again_are_kept(tmp_path):
    run(tmp_path / "run", metrics=[MAE, "mse:region=all"])
    result = run(tmp_path / "run", metrics=["psnr:region=all"])
    assert set(result.records().header.metrics) == {MAE, "mse:region=all", "psnr:region=all"}
    assert all(isinstance(value, float) for value in values(result, "mse:region=all"))


def test_a_value_that_failed_is_computed_again_when_asked(tmp_path, monkeypatch):
    (tmp_path / "moody.py").write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\nfrom typing import ClassVar\n\n\n"
        "@dataclass(frozen=True)\nclass Moody:\n"
        "    version: ClassVar[int] = 1\n    direction: ClassVar[str] = 'lower'\n    unit: ClassVar[str] = ''\n"
        "    range: ClassVar[tuple] = (0.0, 1.0)\n"
        "    needs: ClassVar[tuple] = ()\n    libraries: ClassVar[tuple] = ()\n\n"
        "    def score(self, samples):\n"
        "        if not Path('fine').exists():\n            raise OSError('no answer')\n"
        "        return [0.5 for _ in samples]\n"
    )
    monkeypatch.chdir(tmp_path)
    options = dict(metrics=["moody.py:Moody"])
    assert {value.reason for value in values(run("run", **options), "moody.py:Moody")} == {"OSError: no answer"}
    Path("fine").touch()
    assert {type(value).__name__ for value in values(run("run", **options), "moody.py:Moody")} == {"Failed"}
    assert set(values(run("run", retry_on_error=1, **options), "moody.py:Moody")) == {0.5}


# --------------------------------------------------------------------------------------------------- directories


def test_an_editor_that_changes_directory_does_not_scatter_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def wander(source):
        os.chdir(elsewhere)
        return source

    result = run("run", wander)
    assert not any(elsewhere.iterdir())
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", "records.jsonl", "journal", "edits"}
    assert len(values(result)) == 3


def test_a_file_that_changes_directory_when_imported_is_found_again(tmp_path, monkeypatch):
    (tmp_path / "moves.py").write_text(
        "import os\nos.makedirs('there', exist_ok=True)\nos.chdir('there')\n\n\ndef edit(source):\n    return source\n"
    )
    monkeypatch.chdir(tmp_path)
    run("run", "moves.py:edit")
    assert (tmp_path / "run" / "records.jsonl").is_file()


def test_a_journal_without_its_run_is_refused(tmp_path):
    run(tmp_path / "run", "fill")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(EditbenchError, match=r"has the journal of a run but no run\.json"):
        run(tmp_path / "run")


def test_another_run_is_refused_before_anything_is_written(tmp_path):
    run(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(EditbenchError, match=r"holds another run:\n  editor\.label: 'identity' -> 'blur"):
        make_plan(RunConfig(SUITE, "blur", limit=3, output_dir=str(tmp_path / "run")))
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


# ------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -1.0])
def test_a_deadline_is_a_number_of_seconds(seconds):
    with pytest.raises(EditbenchError, match=r"timeout: .*, expected seconds above 0"):
        make_plan(RunConfig(SUITE, "identity", timeout=seconds))


def test_ways_to_select_scenarios_exclude_each_other():
    with pytest.raises(EditbenchError, match="each and limit select scenarios in different ways"):
        make_plan(RunConfig(SUITE, "identity", limit=3, each=1))


def test_a_configuration_file_may_hold_every_option(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"suite: {SUITE}\neditor: identity\nfail-on-error: 0.1\nsample-id: recolour-000\n")
    config = RunConfig.from_mapping(read_config(path))
    assert (config.fail_on_error, config.sample_id) == (0.1, ("recolour-000",))
    path.write_bytes(b"suite: \xff\n")
    with pytest.raises(EditbenchError, match=r"run\.yaml: not UTF-8 text \(invalid start byte at byte 7\)"):
        read_config(path)


def test_a_run_json_can_be_fed_back(tmp_path):
    result = run(tmp_path / "run", limit=2)
    shutil.copy(result.path / "run.json", tmp_path / "again.json")
    config = RunConfig.from_mapping({**read_config(tmp_path / "again.json"), "output_dir": str(tmp_path / "again")})
    for _ in carry_out(make_plan(config)):
        pass
    assert (tmp_path / "again" / "records.jsonl").read_bytes() == (result.path / "records.jsonl").read_bytes()


def test_functions_are_editors_of_their_own_code():
    assert isinstance(eb.load_editor(lambda source: source), FunctionEditor)
