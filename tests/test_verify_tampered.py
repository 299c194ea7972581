"""Submissions that are not what they say: each way to cheat that can be seen is found, and named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import editbench
from editbench.images import pixels_sha256
from editbench.records import dumps, loads
from editbench.types import EditbenchError
from editbench.verify import verify_run, write_verdict

SUITE = "shapes@1:size=32"
METRICS = ["success", "mae:region=keep", "mae:region=edit"]
SCENARIOS = {scenario.id: scenario for scenario in editbench.load_suite(SUITE)}


class Smear:
    """Another picture in every pixel, on one in nine nothing."""

    mask_access = "none"

    def __init__(self, by=3):
        self.by = by

    def edit(self, requests):
        return [RuntimeError("no") if r.seed % 9 == 0 else r.source // 2 + r.seed % self.by for r in requests]


def make(folder, editor, label, **options):
    made = editbench.run(editor, SUITE, METRICS, each=2, output_dir=str(folder / label), label=label, **options)
    return made.path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def original(folder):
    return make(folder, Smear(), "smear")


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def tamper(run, change):
    """Write header and records anew after `change(header, records)`, in records.jsonl and run.json alike."""
    header, *records = [loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    change(header, records)
    (run / "records.jsonl").write_text("".join(f"{dumps(line)}\n" for line in [header, *records]))
    data = loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(dumps({**data, "header": header}))


def put(run, record, image):
    """Give a record an image, with the values that it really has."""
    record.update(edit_status="ok", edit_sha256=pixels_sha256(image), reason=None)
    Image.fromarray(image).save(run / "edits" / f"{record['edit_sha256']}.png")
    sample = editbench.types.Sample(SCENARIOS[record["scenario_id"]], image)
    (row,) = editbench.metrics.score(editbench.metrics.load_metrics(METRICS), [sample])
    record["values"] = {spec: editbench.records.value_to_json(value) for spec, value in row.items()}
    del record["reason"]


def failed(records):
    return [record for record in records if record["edit_status"] == "editor_error"]


def test_untampered_it_stands(run):
    tamper(run, lambda header, records: None)
    verdict = verify_run(run)
    assert (verdict.problems, verdict.remarks, verdict.level) == ((), (), "recomputed")


# ------------------------------------------------------------------------------------------ header and files


def suite_of_another_size(header, records):
    header["suite"]["scenarios"] = len(records) - 1
    records.pop()


def range_of_another_metric(header, records):
    header["metrics"]["mae:region=keep"]["version"] = 7


def a_wider_range(header, records):
    header["metrics"]["success"]["range"] = [0.0, 9.0]


def a_kinder_failed_value(header, records):
    header["metrics"]["success"]["failed_value"] = None


def another_seed(header, records):
    header["seed"] = 5


def another_label(header, records):
    header["editor"]["label"] = "theirs"


def a_control(header, records):
    header["editor"].update(spec="recolor", control=True, mask_access="region")


def no_mask(header, records):
    header["editor"].update(spec="recolor", mask_access="none")


def trained_on_nothing_known(header, records):
    header["editor"].update(spec="recolor", mask_access="region", trained_on=["lpips"])


def code_of_another(header, records):
    header["editor"].update(spec="recolor", mask_access="region", code_sha256="0" * 64)


def a_value_too_many(header, records):
    records[0]["values"]["psnr:region=keep"] = {"value": 99.0}


def a_score_of_a_failure(header, records):
    failed(records)[0]["values"]["mae:region=keep"] = {"value": 0.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (suite_of_another_size, "the suite is shapes@1:size=32[each=2] with 24"),
        (range_of_another_metric, "mae:region=keep is another metric here: version: 7 -> 1"),
        (a_wider_range, "success is another metric here: range"),
        (a_kinder_failed_value, "success is another metric here: failed_value: None -> 0.0"),
        (another_seed, "run.json: seed is 0 in its configuration, 5 in its header"),
        (another_label, "run.json: label is 'smear' in its configuration, 'theirs' in its header"),
        (a_control, "editor 'recolor': control is True in the header, False here"),
        (no_mask, "editor 'recolor': mask_access is 'none' in the header, 'region' here"),
        (trained_on_nothing_known, "trained_on is ('lpips',) in the header, () here"),
        (code_of_another, "code_sha256 is '0000"),
        (a_value_too_many, "a value of 'psnr:region=keep', which the header does not have"),
        (a_score_of_a_failure, "mae:region=keep is 0, computed again failed (no edit)"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_what_is_said_otherwise_is_found(run, change, words):
    tamper(run, change)
    verdict = verify_run(run)
    assert verdict.level == "self-reported"
    assert any(words in problem for problem in verdict.problems), verdict.problems


def test_other_libraries_are_a_remark_for_values_are_compared(run):
    def older(header, records):
        header["metrics"]["mae:region=keep"]["libraries"]["numpy"] = "1.0"

    tamper(run, older)
    verdict = verify_run(run)
    assert (verdict.problems, verdict.level) == ((), "recomputed")
    assert "mae:region=keep is computed otherwise here: libraries.numpy: '1.0'" in verdict.remarks[0]


def test_a_record_too_many_fails_the_schema(run):
    def one_more(header, records):
        records.append({**records[-1], "scenario_id": "zzz"})

    tamper(run, one_more)
    verdict = verify_run(run)
    assert "is one too many for 24 scenarios" in verdict.problems[0] and verdict.level == "self-reported"


def test_a_failure_with_an_edit_fails_the_schema(run):
    tamper(run, lambda header, records: failed(records)[0].update(edit_sha256="0" * 64))
    assert "edit_status 'editor_error' with edit_sha256" in verify_run(run).problems[0]


def test_failures_that_are_not_run_are_found(run):
    tamper(run, lambda header, records: failed(records)[0].update(edit_status="not_run"))
    assert any("was not run" in problem for problem in verify_run(run).problems)


@pytest.mark.parametrize("name", ["run.json", "records.jsonl", "edits", "an edit"])
@pytest.mark.parametrize("shown", ["itself", "no such thing"])
def test_a_symbolic_link_is_refused_before_it_is_followed(run, tmp_path, name, shown):
    path = sorted((run / "edits").glob("*.png"))[0] if name == "an edit" else run / name
    moved = tmp_path / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved if shown == "itself" else Path(__file__))
    verdict = verify_run(run)
    assert verdict.cells == 0
    assert all("is a symbolic link" in problem for problem in verdict.problems)
    assert verdict.problems


def test_images_of_no_record_are_told(run):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(run / "edits" / "extra.png")
    assert verify_run(run).remarks == ("1 files of edits/ belong to no record, extra.png first",)


@pytest.mark.parametrize(("said", "words"), [(None, "does not say whether"), (["psnr is off"], "1 canaries had other")])
def test_what_the_canaries_said_is_told(run, said, words):
    data = loads((run / "run.json").read_bytes())
    data.pop("canaries") if said is None else data.update(canaries=said)
    (run / "run.json").write_text(dumps(data))
    (remark,) = verify_run(run).remarks
    assert words in remark


def test_a_metric_that_has_drifted_here_verifies_nothing(run, monkeypatch):
    monkeypatch.setattr("editbench.plan.drift", lambda metrics: ["success on canary 'done': 0, expected 1"])
    verdict = verify_run(run)
    assert verdict.level == "self-reported"
    assert verdict.problems == ("metrics of this machine: success on canary 'done': 0, expected 1",)


# ----------------------------------------------------------------------------------------------------- copies


def test_copies_of_the_target_are_found(run):
    def take(header, records):
        for record in records[:6]:
            put(run, record, SCENARIOS[record["scenario_id"]].target)

    tamper(run, take)
    assert any("the suite's target, bit for bit" in problem for problem in verify_run(run).problems)


def test_one_copy_of_the_target_is_a_remark(run):
    def take(header, records):
        changed = (record for record in records if record["category"] == "recolour")
        put(run, record := next(changed), SCENARIOS[record["scenario_id"]].target)

    tamper(run, take)
    verdict = verify_run(run)
    assert verdict.problems == ()
    assert any("1 of 18 edits (5.6%) are each the suite's target" in remark for remark in verdict.remarks), (
        verdict.remarks
    )


@pytest.mark.parametrize("kind", ["run", "record file", "leaderboards"])
def test_outputs_of_another_submission_are_found(run, folder, kind, tmp_path):
    theirs = make(folder, Smear(7), "theirs") if not (folder / "theirs").exists() else folder / "theirs"
    hashes = {r.scenario_id: r.edit_sha256 for r in editbench.loops.Run(theirs).records().records}

    def copy(header, records):
        for record in failed(records):
            if hashes[record["scenario_id"]] is not None:
                put(run, record, np.asarray(Image.open(theirs / "edits" / f"{hashes[record['scenario_id']]}.png")))
        for record in records[::3]:
            if hashes[record["scenario_id"]] is not None:
                put(run, record, np.asarray(Image.open(theirs / "edits" / f"{hashes[record['scenario_id']]}.png")))
        header["editor"]["spec"] = "mine"

    tamper(run, copy)
    assert verify_run(run).problems == ()
    place = theirs
    if kind != "run":
        place = tmp_path / "boards" / "records" / SUITE / "theirs.jsonl"
        place.parent.mkdir(parents=True)
        shutil.copy(theirs / "records.jsonl", place)
        place = place if kind == "record file" else tmp_path / "boards"
    problems = verify_run(run, against=[place]).problems
    assert any("are each that of 'theirs' on the same scenario, bit for bit" in problem for problem in problems)


def test_a_run_is_no_copy_of_itself_or_of_the_same_editor(run, original, folder):
    again = make(folder, Smear(), "again")
    assert verify_run(run, against=[original, again]).problems == ()


@pytest.mark.parametrize("spec", ["folder:outputs", "paste:editor=[folder:outputs]", "http://localhost:8000"])
def test_a_copy_is_one_even_if_both_name_the_same_folder_or_address(run, tmp_path, spec):
    def submit(header, records):
        header["editor"].update(spec=spec, code_sha256=None)

    tamper(run, submit)
    theirs = shutil.copytree(run, tmp_path / "theirs")
    tamper(theirs, lambda header, records: header["editor"].update(label="theirs"))
    problems = verify_run(run, against=[theirs / "records.jsonl"]).problems
    assert any("are each that of 'theirs'" in problem for problem in problems)


def test_of_others_with_one_label_each_is_looked_at(run, folder, tmp_path):
    other = make(folder, Smear(11), "eleven")
    theirs = shutil.copytree(run, tmp_path / "theirs")
    for place in (theirs, shutil.copytree(other, tmp_path / "other")):
        tamper(place, lambda header, records: header["editor"].update(spec="theirs", label="theirs"))
    paths = [place / "records.jsonl" for place in (theirs, tmp_path / "other")]
    for order in (paths, paths[::-1]):
        assert any("are each that of 'theirs'" in problem for problem in verify_run(run, against=order).problems)


def test_a_verdict_that_comes_with_a_submission_is_told(run):
    write_verdict(run, replace(verify_run(run), level="regenerated"))
    (remark,) = verify_run(run).remarks
    assert remark == "verdict.json in it says regenerated, which boards believe: --write puts this verdict in its place"
    write_verdict(run, verify_run(run))
    assert verify_run(run).remarks == ()
    (run / "verdict.json").write_text("{}")
    assert any("no verdict" in remark for remark in verify_run(run).remarks)


def test_controls_are_nobodys(tmp_path):
    control = editbench.run("jpeg", SUITE, METRICS, each=1, output_dir=str(tmp_path / "jpeg")).path

    def my_jpeg(source, instruction, mask, seed):
        return editbench.load_editor("jpeg").edit([editbench.types.EditRequest(source, instruction, seed)])[0]

    mine = editbench.run(my_jpeg, SUITE, METRICS, each=1, output_dir=str(tmp_path / "mine")).path
    assert verify_run(mine, against=[control]).problems == ()


# ------------------------------------------------------------------------------------------------------- masks


def declared_none(spec, path):
    """A run of an editor that sees the mask, submitted as one that never did."""
    run = editbench.run(spec, SUITE, ["mae:region=keep"], each=6, output_dir=str(path), label="mine").path

    def hide(header, records):
        header["editor"].update(spec="mine", mask_access="none", control=False)

    tamper(run, hide)
    return run


@pytest.mark.parametrize("spec", ["recolor", "fill", "paste:editor=[blur]"])
def test_a_mask_that_was_used_is_seen(spec, tmp_path):
    problems = verify_run(declared_none(spec, tmp_path / "run"), recompute=0).problems
    assert any("end exactly where the mask ends: the mask was used" in problem for problem in problems)


@pytest.mark.parametrize("spec", ["jpeg:quality=95", "blur:sigma=0.3", "shuffle"])
def test_an_editor_that_never_saw_the_mask_is_not_accused(spec, tmp_path):
    verdict = verify_run(declared_none(spec, tmp_path / "run"), recompute=0)
    assert not [line for line in (*verdict.problems, *verdict.remarks) if "mask_access is 'none'" in line]


def test_an_editor_that_finds_the_object_is_not_accused_but_told(tmp_path):
    """A perfect editor that never saw a mask: the target, one level off, so that it is no copy."""

    def near(scenario):
        change = (scenario.target != scenario.source).any(-1, keepdims=True)
        return np.where(change, scenario.target ^ 1, scenario.source)

    run = declared_none("target", tmp_path / "run")

    def perfect(header, records):
        header["editor"]["mask_access"] = "none"
        header["metrics"] = {}
        for record in records:
            if record["edit_status"] == "ok":
                image = near(SCENARIOS[record["scenario_id"]])
                record.update(edit_sha256=pixels_sha256(image), values={})
                Image.fromarray(image).save(run / "edits" / f"{record['edit_sha256']}.png")

    tamper(run, perfect)
    verdict = verify_run(run)
    assert not [line for line in verdict.problems if "mask" in line]
    assert any("leave every pixel outside the mask as it was" in remark for remark in verdict.remarks)


# ---------------------------------------------------------------------------------------------- foreign code


@pytest.mark.parametrize("kind", ["suite", "metric"])
def test_code_that_a_submission_names_is_not_run(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('ran', 'w').close()\ndef thing(): ...\n")

    def name_it(header, records):
        if kind == "suite":
            header["suite"]["spec"] = "evil.py:thing"
        else:
            header["metrics"]["target:[evil.py:thing],region=edit"] = header["metrics"]["success"]

    tamper(run, name_it)
    with pytest.raises(EditbenchError, match=rf"the run names {kind} .*evil.py:thing.*--trust-code"):
        verify_run(run)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "spec", ["evil.py:thing", "command:[rm -rf {out}]", "http://127.0.0.1:1", "paste:editor=[command:touch]", "x.y:z"]
)
def test_an_editor_that_a_submission_names_is_not_run(run, spec):
    tamper(run, lambda header, records: header["editor"].update(spec=spec))
    assert verify_run(run).level == "recomputed"
    with pytest.raises(EditbenchError, match="the run names editor"):
        verify_run(run, regenerate=5, beacon="b")


# --------------------------------------------------------------------------------------------------- made again

EDITORS = """
import os
import numpy as np

def deterministic(source, instruction):
    return source // 2 + 20

def random(source, instruction, seed):
    noise = np.random.default_rng(seed)
    good = noise.random() < 0.5
    return np.clip(source + noise.normal(0, 3 if good else 30, source.shape), 0, 255).astype(np.uint8)

def unrepeatable(source, instruction, seed):
    return random(source, instruction, seed + int(os.environ.get("ANOTHER_MACHINE", 0)))

def nothing(source, instruction, seed):
    return None
"""


@pytest.fixture
def editors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("editors.py").write_text(EDITORS)


def of_editor(name):
    return editbench.run(
        f"editors.py:{name}", SUITE, METRICS, each=3, isolate=False, output_dir=f"runs/{name}", label="mine"
    ).path


def again(run, **options):
    return verify_run(run, regenerate=20, beacon="drawn later", trust_code=True, **options)


@pytest.mark.parametrize("name", ["deterministic", "random", "unrepeatable"])
def test_an_honest_editor_is_made_again(editors, name, monkeypatch):
    run = of_editor(name)
    monkeypatch.setenv("ANOTHER_MACHINE", "1")
    verdict = again(run)
    assert (verdict.level, verdict.regenerated, verdict.problems) == ("regenerated", 20, ())
    told = [remark for remark in verdict.remarks if "same to the last bit" in remark]
    assert bool(told) == (name == "unrepeatable")


def test_outputs_of_another_editor_are_not_what_this_one_makes(editors):
    run = of_editor("deterministic")
    tamper(run, lambda header, records: header["editor"].update(spec="editors.py:random"))
    verdict = again(run)
    assert verdict.level == "self-reported"
    assert any(p.startswith("made again with a fresh seed, mae:region=keep is ") for p in verdict.problems)


def test_a_deterministic_editor_has_to_repeat_itself(editors):
    run = of_editor("deterministic")

    def one_better(header, records):
        for record in records:
            put(run, record, (SCENARIOS[record["scenario_id"]].source // 4 * 3).astype(np.uint8))

    tamper(run, one_better)
    verdict = again(run)
    assert len(verdict.problems) == 20
    assert "levels away, and the seed changes nothing" in verdict.problems[0]


def test_the_best_of_many_seeds_is_not_what_an_editor_makes(editors):
    run = of_editor("random")
    editor = editbench.load_editor("editors.py:random")

    def best(scenario):
        requests = [editbench.types.EditRequest(scenario.source, "", seed) for seed in range(8)]
        return min(editor.edit(requests), key=lambda image: np.abs(image.astype(int) - scenario.source).mean())

    def choose(header, records):
        for record in records:
            put(run, record, best(SCENARIOS[record["scenario_id"]]))

    tamper(run, choose)
    verdict = again(run)
    assert verdict.level == "self-reported"
    assert {p.split(",")[0] for p in verdict.problems} == {
        "made again with the run's seed",
        "made again with a fresh seed",
    }


def test_failures_that_were_tried_until_they_succeeded_are_found(editors):
    run = of_editor("random")
    tamper(run, lambda header, records: header["editor"].update(spec="editors.py:nothing"))
    verdict = again(run)
    assert all("made again, the edit failed" in problem for problem in verdict.problems if "code_sha" not in problem)
    assert verdict.problems


def test_an_editor_whose_code_has_changed_is_not_run(editors):
    run = of_editor("random")
    Path("editors.py").write_text(EDITORS + "\n# better\n")
    verdict = again(run)
    assert verdict.regenerated == 0
    assert "code_sha256 is" in verdict.problems[0]


def test_too_few_are_no_evidence(editors, monkeypatch):
    run = of_editor("unrepeatable")
    monkeypatch.setenv("ANOTHER_MACHINE", "1")
    verdict = verify_run(run, regenerate=5, beacon="b", trust_code=True)
    assert (verdict.level, verdict.problems) == ("recomputed", ())
    assert "too few to tell anything" in verdict.remarks[0]


def test_failures_that_fail_again_and_one_lucky_seed_are_no_evidence(editors):
    for name in ("nothing", "random"):
        verdict = verify_run(of_editor(name), regenerate=1, beacon="b", trust_code=True)
        assert (verdict.level, verdict.regenerated, verdict.problems) == ("recomputed", 1, ())
        assert any("shows nothing" in remark or "too few" in remark for remark in verdict.remarks)


def test_without_all_values_it_is_not_recomputed_and_so_not_regenerated(editors):
    assert again(of_editor("random"), recompute=3).level == "self-reported"


def test_the_beacon_decides_what_is_made_again(editors):
    from editbench.verify.again import draw

    records = {(r.scenario_id, r.repeat): r for r in editbench.loops.Run(of_editor("random")).records().records}
    assert draw(records, 5, "a") == draw(records, 5, "a") != draw(records, 5, "b")
    failed_input = {key: replace(record, edit_status="input_invalid") for key, record in records.items()}
    assert draw(failed_input, 5, "a") == []


def test_finished_images_cannot_be_made_again_and_a_beacon_is_needed(run):
    with pytest.raises(EditbenchError, match="--regenerate needs --beacon"):
        verify_run(run, regenerate=3)
    tamper(run, lambda header, records: header["editor"].update(spec="folder:images"))
    with pytest.raises(EditbenchError, match="are finished images"):
        verify_run(run, regenerate=3, beacon="b")


def test_json_of_a_verdict_is_a_verdict(run, capsys):
    from editbench.cli import app

    with pytest.raises(SystemExit):
        app(["verify", str(run), "--write", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((run / "verdict.json").read_text())
    assert said["level"] == "recomputed" and len(said["records_sha256"]) == 64
