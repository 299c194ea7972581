"""Every loader of a published benchmark: written in the exact layout, loaded, run, and broken in every way."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench import load_suite
from editbench.cli import app
from editbench.images import InvalidImage
from editbench.records import read_records
from editbench.suites.runs import decode_runs
from editbench.testing import check_loader, examples
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
