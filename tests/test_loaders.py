"""Every loader of a published benchmark: written in the exact layout, loaded, run, and broken in every way."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import editbench as eb
from editbench import load_suite
from editbench.cli import app
from editbench.images import InvalidImage
from editbench.merge import merge_runs
from editbench.names import ID
from editbench.record_files import read_records
from editbench.suites.manifests import as_id
from editbench.suites.runs import decode_runs
from editbench.testing import check_loader, check_suite, examples
from editbench.testing.layouts import WRITERS
from editbench.types import EditbenchError, Undefined


@pytest.mark.parametrize("spec", WRITERS)
def test_what_is_written_in_the_format_is_loaded(spec, tmp_path):
    assert check_loader(spec, WRITERS[spec], tmp_path) == []


def editbench(*arguments):
    """Call the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as end:
        app([str(argument) for argument in arguments])
    return end.value.code


@pytest.mark.parametrize("spec", WRITERS)
def test_the_control_runs_on_it_from_end_to_end(spec, tmp_path):
    written = WRITERS[spec]
    expected = written.write(tmp_path / "data", examples(written.count, *written.size))
    loaded = spec.replace("PATH", str(tmp_path / "data"))
    run = tmp_path / "run"
    metrics = "mae:region=all,mae:region=keep"
    arguments = ("--suite", loaded, "--editor", "identity", "--metrics", metrics, "--output-dir", run)
    assert editbench("run", *arguments) == 0
    records = read_records(run / "records.jsonl").records
    assert sorted(item.id for item in expected) == [record.scenario_id for record in records]
    for record, item in zip(records, sorted(expected, key=lambda item: item.id), strict=True):
        assert record.edit_status == "ok"
        assert record.values["mae:region=all"] == 0
        everything = item.mask is None or bool(item.mask.all())
        assert record.values["mae:region=keep"] == (Undefined("empty keep region") if everything else 0)
    assert editbench("report", run, "--output-dir", tmp_path / "report") == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert all(item.id in page for item in expected)


@pytest.mark.parametrize(
    ("runs", "first", "pixels"),
    [
        ([0, 3, 515, 4], 0, {0, 1, 2, 515, 516, 517, 518}),
        ([262140, 99], 0, {262140, 262141, 262142, 262143}),
        ([262142, 2**63 - 1], 0, {262142, 262143}),
        ([1, 2], 1, {0, 1}),
        ([], 0, set()),
        ([5, 0], 0, set()),
    ],
)
def test_runs_are_decoded_as_by_hand(runs, first, pixels):
    assert set(np.flatnonzero(decode_runs(runs, 512, 512, first).mask)) == pixels


@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 70)), max_size=8), st.integers(0, 1))
def test_runs_are_decoded_as_by_a_loop(pairs, first):
    naive = np.zeros(60, bool)
    for start, length in pairs:
        naive[start : start + length] = True
    runs = [number for start, length in pairs for number in (start + first, length)]
    np.testing.assert_array_equal(decode_runs(runs, 6, 10, first).mask.ravel(), naive)


@pytest.mark.parametrize(
    ("runs", "first", "message"),
    [
        ([1, 2, 3], 0, "3 numbers"),
        ([60, 1], 0, "run 1 has start 60, expected 0 to 59"),
        ([0, 1], 1, "run 1 has start 0, expected 1 to 60"),
        ([0, 1, 3, -1], 0, "run 2 has length -1"),
        ([-4, 1], 0, "start -4"),
        ([2**70, 1], 0, "beyond 64 bits"),
    ],
)
def test_broken_runs_are_refused(runs, first, message):
    with pytest.raises(InvalidImage, match=message):
        decode_runs(runs, 6, 10, first)


def test_runs_past_the_end_and_over_each_other_are_told():
    assert decode_runs([0, 3, 2, 2], 6, 10).flags == ("overlapping runs",)
    assert decode_runs([58, 9], 6, 10).flags == ("run past the end",)
    assert decode_runs([4, 1, 0, 3, 1, 0], 6, 10).flags == ()  # out of order, and nothing inside of another


def test_a_missing_field_is_told_with_the_item_and_what_it_may_be_called(tmp_path):
    WRITERS["piebench:PATH"].write(tmp_path, [])
    item = {"image_path": "a.jpg", "original_promt": "x"}
    (tmp_path / "mapping_file.json").write_text(json.dumps({"000000000001": item}))
    with pytest.raises(EditbenchError, match="'000000000001': no field 'original_prompt': did you mean"):
        load_suite(f"piebench:{tmp_path}")


def test_names_that_an_id_cannot_hold_stay_apart_and_others_stay_as_they_are():
    assert as_id("a-1", "dark blue", "x/y") == "a-1-dark_blue-x_y" and as_id("_1") == "1" and as_id("") == ""
    names = ["猫", "狗", "é", "e\u0301", "e_", "x" * 130 + "猫", "x" * 130 + "狗", "\ud800", "-", "/"]
    ids = [as_id(name) for name in names]
    assert all(ID.fullmatch(made) for made in ids) and len(set(ids)) == len(names)
    assert as_id("猫") == hashlib.sha256("猫".encode()).hexdigest()[:12]
    assert as_id("a", "té") == "a-t_-" + hashlib.sha256("a-té".encode()).hexdigest()[:12]


def test_attributes_in_another_script_are_scenarios_of_their_own(tmp_path):
    WRITERS["editval:PATH"].write(tmp_path, examples(1))
    wanted = ["t shirt", "t-shirt", "手机", "杯子"]
    edits = {"bench": {"100": {"object_addition": {"from": [], "to": wanted}}}}
    (tmp_path / "object.json").write_text(json.dumps(edits, ensure_ascii=False), "utf-8")
    suite = load_suite(f"editval:{tmp_path}")
    assert [scenario.metadata["to"] for scenario in suite] == wanted
    assert [scenario.id for scenario in suite][:2] == [f"100-bench-object_addition-t{mark}shirt" for mark in "_-"]


# ----------------------------------------------------------------------------- where data lie, and what is missing


@pytest.fixture(scope="module", params=WRITERS)
def twins(request, tmp_path_factory):
    """A benchmark's spec, and the same files in two places."""
    written, folder = WRITERS[request.param], tmp_path_factory.mktemp("twins")
    written.write(folder / "one", examples(written.count, *written.size))
    shutil.copytree(folder / "one", folder / "elsewhere" / "two")
    return [request.param.replace("PATH", str(folder / place)) for place in ("one", "elsewhere/two")]


def test_a_suite_is_named_and_identified_by_its_data_and_not_by_their_place(twins):
    first, second = map(load_suite, twins)
    assert (first.name, first.identity) == (second.name, second.identity)
    for suite in (first, second):
        place = str(suite.pictures.parent)
        assert place not in suite.name and all(place not in str(suite.row(i)) for i in range(len(suite)))


def test_other_data_are_another_suite(tmp_path):
    written = WRITERS["piebench:PATH"]
    written.write(tmp_path, examples(2, *written.size))
    before = load_suite(f"piebench:{tmp_path}").identity
    mapping = tmp_path / "mapping_file.json"
    mapping.write_text(mapping.read_text().replace("Make it blue.", "Make it red."))
    assert load_suite(f"piebench:{tmp_path}").identity != before


@pytest.mark.parametrize(
    "spec", ["imgedit:PATH", "imgedit:PATH,part=multiturn", "piebench:PATH", "gedit:PATH,masks=cocoedit"]
)
def test_a_picture_that_is_missing_makes_no_other_suite(spec, tmp_path):
    written = WRITERS[spec]
    written.write(tmp_path, examples(written.count, *written.size))
    whole = load_suite(spec.replace("PATH", str(tmp_path)))
    next(path for path in sorted(tmp_path.rglob("*.[jp][pn]g")) if "GEdit" not in path.name).unlink()
    partial = load_suite(spec.replace("PATH", str(tmp_path)))
    assert (partial.identity, len(partial)) == (whole.identity, len(whole))
    assert not any("coverage" in text for text in whole.warnings)
    assert "gedit" in spec or sum("have no source file" in text for text in partial.warnings) == 1


def test_a_run_goes_on_and_merges_where_its_data_have_moved(tmp_path):
    written = WRITERS["piebench:PATH"]
    written.write(tmp_path / "here", examples(2, *written.size))
    options = {"metrics": ["mae:region=all"], "output_dir": str(tmp_path / "run")}
    eb.run("identity", f"piebench:{tmp_path}/here", shard="1/2", **options)
    eb.run("identity", f"piebench:{tmp_path}/here", shard="1/2", **{**options, "output_dir": str(tmp_path / "first")})
    (tmp_path / "here").rename(tmp_path / "there")
    assert len(eb.run("identity", f"piebench:{tmp_path}/there", **options).records().records) == 2
    second = {**options, "output_dir": str(tmp_path / "second")}
    eb.run("identity", f"piebench:{tmp_path}/there", shard="2/2", **second)
    assert merge_runs(tmp_path / "merged", [tmp_path / "first", tmp_path / "second"]) == []


@pytest.fixture
def named(tmp_path):
    """PIE-Bench with two items, and a way to name the first one's picture."""
    written = WRITERS["piebench:PATH"]
    written.write(tmp_path, examples(2, *written.size))

    def load(picture):
        mapping = tmp_path / "mapping_file.json"
        data = json.loads(mapping.read_text())
        data["000000000001"]["image_path"] = picture
        mapping.write_text(json.dumps(data))
        return load_suite(f"piebench:{tmp_path}")

    return load


@pytest.mark.parametrize("picture", ["a\0b.jpg", "a\0b/c.jpg", "a" * 5000, "no.jpg"])
def test_a_name_that_no_file_can_have_is_a_picture_that_is_missing(named, picture):
    suite = named(picture)
    assert any(text.startswith("1 of 2 scenarios have no source file") for text in suite.warnings)
    with pytest.raises(InvalidImage):
        _ = suite[0].source
    assert suite[1].source.shape == (512, 512, 3)


def test_a_name_that_no_file_can_have_does_not_end_the_search_for_a_folder(tmp_path):
    written = WRITERS["imgedit:PATH"]
    written.write(tmp_path, examples(2, *written.size))
    listed = json.loads((tmp_path / "basic_edit.json").read_text())
    listed = {"0": {**listed["1082"], "id": "a" * 5000}, "1": {**listed["1082"], "id": "a\0"}, **listed}
    (tmp_path / "basic_edit.json").write_text(json.dumps(listed))
    assert load_suite(f"imgedit:{tmp_path}")[2].source.shape == (96, 128, 3)


@pytest.mark.parametrize("picture", ["/etc/passwd", "../../mapping_file.json", "pipe", "", "c:\\x.jpg"])
def test_what_is_no_file_of_the_folder_is_not_read(named, picture, tmp_path):
    os.mkfifo(tmp_path / "annotation_images" / "pipe")
    with pytest.raises(InvalidImage, match=r"No such file|inside the folder|not a file"):
        _ = named(picture)[0].source


def test_what_many_scenarios_have_is_told_once(tmp_path):
    written = WRITERS["brushbench:PATH"]
    written.write(tmp_path, examples(5, *written.size))
    _, findings = check_suite(f"brushbench:{tmp_path}")
    told = [finding.text for finding in findings if "polarity" in finding.text]
    assert told == ["4 scenarios: the mask covers more than 90%: is its polarity right? (first: 000000000001-outside)"]
