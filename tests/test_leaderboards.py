"""The committed boards: they regenerate byte for byte, and everything on them that is known beforehand holds."""

import csv
import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import editbench as eb
from editbench import leaderboards
from editbench.demo import EDITORS, NETWORKS, PIXELS, TRAINED, WITHOUT_TARGETS
from editbench.record_files import read_records
from editbench.records import record_to_json
from editbench.report.terminal import board_table
from editbench.verdicts import SUFFIXES, Verdict, level_of, path_of, read_verdicts
from editbench.verify import verify_run, write_verdict

ROOT = Path(__file__).parents[1] / "leaderboards"
SUITES = ("shapes@1", "photos@1")
METRICS = {suite: (*PIXELS, *NETWORKS[suite]) for suite in SUITES}
LOCALITY = ("psnr:region=keep", "ssim:region=keep", "mae:region=keep", "changed:region=keep", "delta_e:region=keep")


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    found = leaderboards.load([copied(tmp_path_factory.mktemp("boards"))])
    return {board.suite.name: board for board in found}


def cells(board, metric):
    """Label to cell of one metric."""
    column = board.column(metric)
    return {row.editor.label: row.cells[column] for row in board.rows}


def means(board, metric):
    return {label: cell.estimate.mean for label, cell in cells(board, metric).items()}


def copied(tmp_path):
    """A copy of the folder without the study, which has hundreds of record files."""
    return shutil.copytree(ROOT, tmp_path / "leaderboards", ignore=shutil.ignore_patterns("edit_grpo_ref@1*", "study"))


def test_every_committed_file_is_what_the_records_give():
    assert leaderboards.check(ROOT) == []


@pytest.mark.parametrize("name", ["shapes@1.csv", "photos@1.csv", "index.html"])
def test_a_changed_byte_is_found(name, tmp_path):
    copy = copied(tmp_path)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert leaderboards.check(copy) == [copy / name]
    leaderboards.write(copy)
    assert (copy / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_table_without_records_is_found(tmp_path):
    copy = copied(tmp_path)
    (copy / "mine@1.csv").write_text("label,score\nmine,100\n")
    assert leaderboards.check(copy) == [copy / "mine@1.csv"]


def test_a_selection_is_refused(tmp_path):
    run = eb.run("identity", suite="photos@1", limit=1, metrics=["success"], output_dir=str(tmp_path / "run"))
    copy = copied(tmp_path)
    shutil.copy(run.path / "records.jsonl", copy / "records" / "photos@1" / "part.jsonl")
    with pytest.raises(eb.EditbenchError, match="full runs only"):
        leaderboards.load([copy])


def changed(tmp_path, change, name="recolor.jsonl.gz"):
    """A copy of the folder in which one record file was changed: a function of its lines, parsed."""
    copy = copied(tmp_path)
    path = copy / "records" / "photos@1" / "recolor.jsonl.gz"
    lines = change([json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()])
    path.unlink()
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.with_name(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return copy


def labelled(label):
    return lambda lines: [{**lines[0], "editor": {**lines[0]["editor"], "label": label}}, *lines[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:40], r"39 records, photos@1 has 79 scenarios x 1; leaderboards take full runs only"),
        (lambda lines: lines[:1], r"0 records, photos@1 has 79 scenarios x 1"),
        (labelled('=HYPERLINK("x")'), r"label '=HYPERLINK\(\"x\"\)', expected up to 64 letters"),
        (labelled("other name"), r"the records of 'other name' on photos@1 belong into records/photos@1/other-name-"),
    ],
    ids=["half", "header", "formula", "file name"],
)
def test_a_file_that_has_no_place_in_the_folder_is_refused(tmp_path, change, message):
    copy = changed(tmp_path, change)
    with pytest.raises(eb.EditbenchError, match=rf"recolor\.jsonl\.gz:(1:)? {message}"):
        leaderboards.load([copy])


def zeros_become(value, failed):
    def change(lines):
        for line in lines[1:]:
            if line["edit_status"] != "ok":
                line["values"]["composite"] = failed or line["values"]["composite"]
            elif line["values"]["composite"].get("value") == 0:
                line["values"]["composite"] = value
        return lines

    return change


def test_nobody_chooses_a_denominator(tmp_path):
    hidden = changed(tmp_path / "hidden", zeros_become({"undefined": "no-op"}, {"undefined": "no-op"}))
    with pytest.raises(
        eb.EditbenchError, match=r"composite \(\w+\) is a number according to .* according to 'recolor'"
    ):
        leaderboards.load([hidden])
    broken = changed(tmp_path / "broken", zeros_become({"error": "x"}, None))
    row = next(r for b in leaderboards.load([broken]) for r in b.rows if r.editor.label == "recolor" and not r.complete)
    assert row.rank is None and row.gap.endswith("errors")


def test_a_plain_file_stands_for_a_compressed_one_and_backups_are_left_alone(tmp_path):
    copy = changed(tmp_path, lambda lines: lines, "recolor.jsonl")
    for name in ("recolor.jsonl.bak", "recolor.jsonl.gz.orig", "recolor.jsonl~"):
        (copy / "records" / "photos@1" / name).write_text("{}")
    assert [len(b.rows) for b in leaderboards.load([copy]) if b.suite.name in SUITES] == [11, 15]


@pytest.mark.parametrize("suite", SUITES)
def test_every_control_and_classical_editor_is_there_and_complete(boards, suite):
    expected = {*EDITORS} - {"target"} if suite in WITHOUT_TARGETS else {*EDITORS, *TRAINED}
    assert {row.editor.label for row in boards[suite].rows} == expected
    assert all(row.complete for row in boards[suite].rows)


@pytest.mark.parametrize("suite", SUITES)
def test_identity_is_perfectly_local_and_does_nothing(boards, suite):
    board = boards[suite]
    psnr = cells(board, "psnr:region=keep")["identity"]
    assert psnr.estimate.mean == 100.0 and psnr.capped == psnr.estimate.n
    assert means(board, "composite")["identity"] == 0.0
    assert means(board, "success")["identity"] == 0.0
    assert means(board, "noop")["identity"] == 1.0


def test_no_ops_are_outside_the_composite(boards):
    cell = cells(boards["shapes@1"], "composite")["identity"]
    # 240 scenarios less 20 no-ops and 20 styles, whose mask leaves nothing to keep.
    assert (cell.estimate.n, cell.undefined) == (200, 40)
    assert cells(boards["shapes@1"], "noop")["identity"].estimate.n == 20
    assert cells(boards["shapes@1"], "success")["identity"].estimate.n == 220


def test_the_target_tops_shapes(boards):
    board = boards["shapes@1"]
    assert board.rows[0].editor.label == "target"
    for metric in ("composite", "success", "noop", "target:ssim,region=edit"):
        assert means(board, metric)["target"] == 1.0
    assert means(board, "success_graded")["target"] > 0.99


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("metric", LOCALITY)
def test_a_leak_ranks_below_its_clean_twin_on_every_locality_metric(boards, suite, metric):
    values = cells(boards[suite], metric)
    clean, leaking = values["recolor"], values["recolor:leak=0.3"]
    assert clean.estimate.n == leaking.estimate.n
    better = clean.estimate.mean - leaking.estimate.mean
    assert (better if clean.info.direction == "higher" else -better) > 0


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("metric", LOCALITY)
def test_the_controls_stand_in_order_on_every_locality_axis(boards, suite, metric):
    values = means(boards[suite], metric)
    sign = 1 if cells(boards[suite], metric)["identity"].info.direction == "higher" else -1
    # Scenes are smooth, and structural similarity loses more to noise there than to another smooth scene.
    labels = ("identity", "jpeg", "blur", "noise") if "ssim" in metric else ("identity", "jpeg", "noise", "shuffle")
    order = [sign * values[label] for label in labels]
    assert order == sorted(order, reverse=True) and len(set(order)) == 4
    assert values["fill"] == values["paste:editor=[recolor:leak=0.3]"] == values["identity"]
    assert sign * values["blur"] < sign * values["identity"] and sign * values["shuffle"] < sign * values["blur"]


@pytest.mark.parametrize("suite", SUITES)
def test_the_controls_stand_in_order_on_the_success_axis(boards, suite):
    values = means(boards[suite], "success")
    for label in ("identity", "noise", "blur", "jpeg", "fill", "shuffle"):
        assert values[label] == 0.0, label
    assert values["recolor"] > 0
    graded = means(boards[suite], "success_graded")
    assert graded["identity"] < 0.05 < graded["recolor"]


def test_the_honest_failures_are_counted(boards):
    rows = {row.editor.label: row for row in boards["shapes@1"].rows}
    assert rows["biharmonic"].statuses == {"editor_error": 20, "ok": 220}
    assert rows["biharmonic"].complete


@pytest.mark.parametrize(
    ("editor", "possible"),
    [
        ("biharmonic", {"remove"}),
        ("recolor", {"recolour", "add", "reshape", "resize"}),  # all of them objects of one plain colour
        ("harmonise", {"remove", "background"}),  # an object, or all but one, takes on its surroundings
    ],
)
def test_classical_editors_succeed_at_nothing_they_cannot_do(editor, possible):
    successes = {
        record.category
        for path in (ROOT / "records" / "shapes@1").glob("*.gz")
        for file in [read_records(path)]
        if file.header.editor.label == editor
        for record in file.records
        if record.values["success"] == 1.0
    }
    assert successes == possible


def assert_committed(run):
    """Compare a run of today with the committed records of its suite and editor."""
    made = run.records()
    committed = {
        record.scenario_id: record
        for path in (ROOT / "records" / made.header.suite.spec).glob("*.jsonl.gz")
        for file in [read_records(path)]
        if file.header.editor.spec == made.header.editor.spec
        for record in file.records
    }
    assert made.records
    for record in made.records:
        today, then = record_to_json(record), record_to_json(committed[record.scenario_id])
        values, old = today.pop("values"), then.pop("values")
        assert today == then
        assert {spec: set(value) for spec, value in values.items()} == {spec: set(value) for spec, value in old.items()}
        for spec, value in values.items():
            # Edits are equal to the bit; a value may move by its library's last digits, a network's by more.
            if "value" not in value:
                assert value == old[spec]
                continue
            network = spec.startswith(("st_lpips", "clip_score"))
            rel, absolute = (1e-3, 1e-3) if network else (1e-9, 1e-6)
            assert value["value"] == pytest.approx(old[spec]["value"], rel=rel, abs=absolute), spec


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("editor", ["fill", "recolor:leak=0.3", "noise"])
def test_committed_records_are_what_a_run_gives_today(suite, editor, tmp_path):
    assert_committed(eb.run(editor, suite, METRICS[suite], limit=6, output_dir=str(tmp_path / "run")))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("suite", "editor"),
    [(suite, editor) for suite in SUITES for editor in EDITORS if editor != "target" or suite not in WITHOUT_TARGETS],
)
def test_every_committed_record_is_what_a_full_run_gives_today(suite, editor, tmp_path):
    assert_committed(eb.run(editor, suite, METRICS[suite], output_dir=str(tmp_path / "run")))


def test_csvs_load_in_pandas_with_numbers_as_numbers():
    import pandas as pd

    for suite in SUITES:
        frame = pd.read_csv(ROOT / f"{suite}.csv")
        assert {frame[name].dtype.kind for name in ("mean", "ci_low", "ci_high")} == {"f"}
        assert {frame[name].dtype.kind for name in ("n", "clusters", "failed", "capped")} == {"i"}
        assert (frame["n"] + frame["undefined"] + frame["errors"]).nunique() == 1
        rows = csv.DictReader((ROOT / f"{suite}.csv").read_text().splitlines())
        assert [row["mean"] for row in rows if "e" in row["mean"].lower()] == []


def test_a_board_with_a_name_of_its_own_has_a_table_and_stays_off_the_page(tmp_path):
    copy = copied(tmp_path)
    suite = leaderboards.NAMED["edit_grpo_ref@1"]
    run = eb.run("identity", suite=suite, metrics=["success"], output_dir=str(tmp_path / "run"))
    folder = copy / "records" / "edit_grpo_ref@1"
    folder.mkdir()
    shutil.copy(run.path / "records.jsonl", folder / "identity.jsonl")
    leaderboards.write(copy)
    (row,) = csv.DictReader((copy / "edit_grpo_ref@1.csv").read_text().splitlines())
    assert (row["suite"], row["label"], row["mean"]) == (suite, "identity", "0")
    assert leaderboards.check(copy) == []
    assert (copy / "index.html").read_bytes() == (ROOT / "index.html").read_bytes()
    assert leaderboards.load([copy])[-1].suite.name == suite
    shutil.move(folder / "identity.jsonl", copy / "records" / "shapes@1" / "other.jsonl")
    with pytest.raises(eb.EditbenchError, match=r"belong into records/shapes@1:size=64,categories="):
        leaderboards.load([copy])


def verdict_of(records, **changes):
    """A verdict on these records, kept beside them."""
    found = Verdict("regenerated", read_records(records).sha256, "0.1", "a beacon", 79, 79, 16)
    path_of(records).write_bytes(replace(found, **changes).line())


def verified(folder):
    with (folder / "photos@1.csv").open(encoding="utf-8", newline="") as file:
        return {row["label"]: row["verified"] for row in csv.DictReader(file)}


def test_a_verdict_is_shown_for_the_records_that_it_is_about_and_for_no_others(tmp_path):
    copy = copied(tmp_path)
    for path in (copy / "records" / "photos@1").glob("*.verdict.json"):
        path.unlink()
    blur, noise = (copy / "records" / "photos@1" / f"{label}.jsonl.gz" for label in ("blur", "noise"))
    verdict_of(blur)
    verdict_of(noise, records_sha256="0" * 64)
    assert leaderboards.check(copy)
    leaderboards.write(copy)
    found = verified(copy)
    assert found.pop("blur") == "regenerated"
    assert set(found.values()) == {"self-reported"}
    (board,) = leaderboards.load([blur])
    assert [row.verdict.beacon for row in board.rows] == ["a beacon"]
    assert " regenerated: blur." in board_table(board, 80).caption.plain
    verdict_of(noise)
    (board,) = leaderboards.load([path for path in noise.parent.glob("*.gz") if path.name[0] in "bnj"])
    assert " regenerated: blur, noise; self-reported: all others." in board_table(board, 200).caption.plain
    page = (copy / "index.html").read_text("utf-8")
    assert "79 of 79 edits scored again, 16 made again by editbench 0.1, drawn by the beacon a beacon" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": "certified"}, "no verdict \\(level: "),
        ({"cells": "79"}, "no verdict \\(cells: "),
        ({"problems": ["a value"]}, "regenerated, but with problems"),
    ],
)
def test_a_verdict_that_cannot_be_read_is_refused_by_name(tmp_path, changes, words):
    copy = copied(tmp_path)
    records = copy / "records" / "photos@1" / "blur.jsonl.gz"
    verdict_of(records, **changes)
    with pytest.raises(eb.EditbenchError, match=rf"blur\.verdict\.json: {words}"):
        leaderboards.check(copy)
    path_of(records).write_text("{")
    with pytest.raises(eb.EditbenchError, match=r"blur\.verdict\.json: malformed JSON"):
        leaderboards.check(copy)


def test_every_committed_verdict_counts():
    verdicts = sorted((ROOT / "records").glob("*/*.verdict.json"))
    assert verdicts
    for path in verdicts:
        name = path.name.removesuffix(".verdict.json")
        (records,) = (
            path.with_name(f"{name}{suffix}") for suffix in SUFFIXES if path.with_name(f"{name}{suffix}").exists()
        )
        assert read_verdicts([records]).keys() == {read_records(records).sha256}, path


def test_a_run_directory_has_its_verdict_in_it(tmp_path):
    run = eb.run("jpeg", "shapes@1:size=32", ["mae:region=keep"], each=1, output_dir=str(tmp_path / "run")).path
    assert level_of(leaderboards.load([run])[0].rows[0].verdict) == "self-reported"
    write_verdict(run, verify_run(run, regenerate=12, beacon="b"))
    assert level_of(leaderboards.load([run])[0].rows[0].verdict) == "regenerated"
