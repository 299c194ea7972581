"""Verification: a run as it was made stands, and every way to make it better than it is is found."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import editbench
from editbench import journal
from editbench.cli import app
from editbench.images import pixels_sha256
from editbench.testing import examples
from editbench.testing.layouts import WRITERS
from editbench.types import EditbenchError
from editbench.verify import verify_run

METRICS = ["success", "mae:region=keep", "seam"]


class Half:
    """Darkens everything, fails on one instruction in two."""

    mask_access = "none"

    def edit(self, requests):
        return [RuntimeError("no") if r.seed % 2 else r.source // 2 for r in requests]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    editbench.run(Half(), "shapes@1:size=32", METRICS, each=1, output_dir=str(path), label="half")
    return path


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def lines(run):
    return (run / "records.jsonl").read_text().splitlines()


def rewrite(run, change, status="ok"):
    """Change the first record of a status, in the compacted file: what a submission holds."""
    found = lines(run)
    number = next(n for n, line in enumerate(found) if n and json.loads(line)["edit_status"] == status)
    record = json.loads(found[number])
    change(record)
    found[number] = editbench.records.dumps(record)
    (run / "records.jsonl").write_text("\n".join(found) + "\n")
    return record["scenario_id"]


def test_a_run_as_it_was_made_stands(run):
    statuses = {json.loads(line)["edit_status"] for line in lines(run)[1:]}
    assert statuses == {"ok", "editor_error"}
    verdict = verify_run(run)
    assert (verdict.problems, verdict.remarks, verdict.level) == ((), (), "recomputed")
    assert verdict.recomputed == verdict.cells == len(lines(run)) - 1


def test_a_part_that_is_scored_again_is_self_reported_and_the_beacon_decides_which(run):
    name = rewrite(run, lambda record: record["values"]["mae:region=keep"].update(value=0.001))
    verdicts = {beacon: verify_run(run, 3, beacon) for beacon in map(str, range(12))}
    assert {verdict.level for verdict in verdicts.values()} == {"self-reported"}
    found = {beacon for beacon, verdict in verdicts.items() if verdict.problems}
    assert 0 < len(found) < len(verdicts)
    assert all(name in verdicts[beacon].problems[0] for beacon in found)


def test_a_changed_number_is_found(run):
    name = rewrite(run, lambda record: record["values"]["seam"].update(value=0.0))
    (problem,) = verify_run(run).problems
    assert problem.startswith(f"{name}, repeat 0: seam is 0, computed again ")


def test_a_failure_made_a_success_is_found(run):
    def succeed(record):
        record.update(values={**record["values"], "success": {"value": 1.0}})

    name = rewrite(run, succeed, "editor_error")
    (problem,) = verify_run(run).problems
    assert problem == f"{name}, repeat 0: success is 1, computed again failed (no edit)"


def test_a_changed_image_is_found(run):
    record = json.loads(next(line for line in lines(run)[1:] if '"ok"' in line))
    path = run / "edits" / f"{record['edit_sha256']}.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)
    (problem,) = verify_run(run).problems
    assert "is damaged: its pixels have another hash" in problem and record["scenario_id"] in problem


def test_a_better_image_in_the_place_of_the_edit_has_other_values(run):
    suite = editbench.load_suite("shapes@1:size=32")
    targets = {scenario.id: scenario.target for scenario in suite}

    def swap(record):
        better = targets[record["scenario_id"]]
        record["edit_sha256"] = pixels_sha256(better)
        Image.fromarray(better).save(run / "edits" / f"{record['edit_sha256']}.png")

    name = rewrite(run, swap)
    assert all(name in problem and "computed again" in problem for problem in verify_run(run).problems)
    assert verify_run(run).problems


def test_swapped_records_are_found(run):
    found = [json.loads(line) for line in lines(run)]
    ids = [record["scenario_id"] for record in found[1:]]
    for record, name in zip(found[1:], ids[1:] + ids[:1], strict=True):
        record["scenario_id"] = name
    found[1:] = sorted(found[1:], key=lambda record: record["scenario_id"])
    (run / "records.jsonl").write_text("\n".join(map(editbench.records.dumps, found)) + "\n")
    assert len(verify_run(run).problems) >= len(ids)


def test_dropped_failures_are_found(run):
    kept = [line for line in lines(run) if '"editor_error"' not in line]
    dropped = len(lines(run)) - len(kept)
    (run / "records.jsonl").write_text("\n".join(kept) + "\n")
    assert sum("no record" in problem for problem in verify_run(run).problems) == dropped > 0


def test_an_edited_run_json_is_found(run):
    data = json.loads((run / "run.json").read_text())
    data["header"]["editor"]["mask_access"] = "region"
    (run / "run.json").write_text(json.dumps(data))
    (problem,) = verify_run(run).problems
    assert problem == "run.json and records.jsonl differ: editor.mask_access: 'region' -> 'none'"


@pytest.fixture(scope="module")
def chained(tmp_path_factory):
    folder, written = tmp_path_factory.mktemp("chained"), WRITERS["magicbrush:PATH"]
    written.write(folder / "data", examples(written.count, *written.size))
    suite = f"magicbrush:{folder / 'data'}"
    return editbench.run("jpeg", suite, ["mae:region=all"], chain="own", output_dir=str(folder / "run")).path


def test_a_chain_of_own_outputs_is_scored_against_what_it_was_given(chained, tmp_path):
    assert max(record.turn for record in editbench.loops.Run(chained).records().records) == 2
    assert verify_run(chained).level == "recomputed"
    for name in ("run.json", "records.jsonl"):  # as it is submitted
        shutil.copy(chained / name, tmp_path / name)
    shutil.copytree(chained / "edits", tmp_path / "edits")
    assert verify_run(tmp_path).level == "recomputed"


def test_a_chain_is_not_scored_against_what_its_journal_says(chained, tmp_path):
    run = shutil.copytree(chained, tmp_path / "run")
    records = {record["scenario_id"]: record for record in map(json.loads, lines(run)[1:])}
    second = next(record for record in records.values() if record.get("turn") == 2)
    first = next(name for name in records if name == second["scenario_id"][:-1] + "1")
    (path,) = (run / "journal").glob("*.jsonl")
    forged = []
    for event in (json.loads(line)["event"] for line in path.read_bytes().splitlines()):
        if event["type"] == "edit" and event["scenario_id"] == first:
            event["edit_sha256"] = second["edit_sha256"]
        forged += [journal.line(event)] if event["type"] != "records" else []
    path.write_bytes(b"".join(forged))
    second["values"]["mae:region=all"]["value"] = 0.0
    found = [json.dumps(second, sort_keys=True, separators=(",", ":")) if f'"{second["scenario_id"]}"' in line else line
             for line in lines(run)]  # fmt: skip
    (run / "records.jsonl").write_text("\n".join(found) + "\n")
    (problem,) = verify_run(run).problems
    assert problem.startswith(f"{second['scenario_id']}, repeat 0: mae:region=all is 0, computed again")


def test_copies_of_the_sources_are_told(tmp_path):
    def copies(source, instruction, mask, seed):
        return source

    editbench.run(copies, "shapes@1:size=32", ["mae:region=keep"], limit=3, output_dir=str(tmp_path / "run"))
    verdict = verify_run(tmp_path / "run")
    assert verdict.remarks == ("every one of the 3 edits is its source, unchanged",)
    assert verdict.level == "recomputed"


def test_the_verb_ends_with_5_and_names_what_is_wrong(run, capsys):
    with pytest.raises(SystemExit) as end:
        app(["verify", str(run)])
    assert end.value.code == 0
    assert "recomputed (12 of 12 edits scored again)" in capsys.readouterr().out
    rewrite(run, lambda record: record["values"]["success"].update(value=1.0))
    with pytest.raises(SystemExit) as end:
        app(["verify", str(run), "--json"])
    assert end.value.code == 5
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1
    with pytest.raises(SystemExit) as end:
        app(["verify", str(run), "--recompute", "some"])
    assert end.value.code == 2


def test_there_must_be_a_finished_run(tmp_path):
    with pytest.raises(EditbenchError, match="no record file"):
        verify_run(tmp_path)
