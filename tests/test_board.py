import csv
import hashlib
import io
import itertools
import math
from dataclasses import replace

import pytest
import scipy.stats

from editbench.board import Column, build_boards, decimal
from editbench.record_files import RecordFile, format_records, read_records
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.report.table import CSV_COLUMNS, to_csv
from editbench.types import EditbenchError, Failed, Record, Undefined

PSNR, MAE = "psnr:region=keep", "mae:region=keep"
METRICS = {
    "composite": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "success": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    PSNR: MetricInfo(1, "higher", "dB", (0.0, 100.0), cap=100.0),
}
NO_EDIT = Failed("no edit")
FAILED = {"composite": NO_EDIT, "success": NO_EDIT, PSNR: NO_EDIT}


def scored(composite, success, psnr):
    return {"composite": composite, "success": success, PSNR: psnr}


def run(tmp_path, label, rows, scenarios=4, repeats=1, metrics=METRICS, align="error", suite=None, **editor):
    """A record file, written and read: rows are (scenario, cluster, status, values), a scenario twice is repeated."""
    header = Header(
        suite=suite or SuiteInfo("toy@1", "ab" * 32, scenarios, "toy@1"),
        editor=EditorInfo(f"spec of {label}", label, editor.pop("mask_access", "none"), **editor),
        seed=0,
        repeats=repeats,
        align=align,
        metrics=metrics,
    )
    records, seen = [], []
    for name, cluster, status, values in rows:
        pixels = None if status == "input_invalid" else hashlib.sha256(name.encode()).hexdigest()
        repeat = seen.count(name)
        edit = "ed" * 32 if status == "ok" else None
        known = {metric: value for metric, value in values.items() if metric in metrics}
        records.append(Record(name, cluster, "edit", repeat, status, edit, pixels, values=known))
        seen.append(name)
    path = tmp_path / f"{label}.jsonl"
    path.write_bytes(b"".join(format_records(header, records)))
    return read_records(path)


def simple_rows(names, composite):
    return [(name, name, "ok", scored(composite, 1.0, 30.0)) for name in names]


def simple(tmp_path, label, composite, count=4, **options):
    """A run with one composite on every scenario."""
    return run(tmp_path, label, simple_rows("abcd"[:count], composite), **options)


def only(files):
    (board,) = build_boards(files)
    return board


def cells(board, label):
    (row,) = (row for row in board.rows if row.editor.label == label)
    return {column.metric: cell for column, cell in row.cells.items()}


def numbers(cell):
    return cell.estimate.mean, cell.estimate.n, cell.estimate.clusters


def table(board):
    return {(line["label"], line["metric"]): line for line in csv.DictReader(io.StringIO(to_csv(board)))}


# ------------------------------------------------------------------------------------------------ one run, by hand


def test_means_and_counts_of_a_run_are_those_worked_out_by_hand(tmp_path):
    file = run(
        tmp_path,
        "mine",
        [
            ("a", "scene 1", "ok", scored(0.5, 1.0, 100.0)),
            ("b", "scene 1", "ok", scored(0.0, 0.0, 20.0)),
            ("c", "scene 2", "ok", scored(Undefined("no-op"), Undefined("no checks"), 31.0)),
            ("d", "scene 2", "editor_timeout", FAILED),
            ("e", "scene 3", "ok", scored(0.7, 1.0, Failed("out of memory"))),
        ],
        scenarios=5,
    )
    found = cells(only([file]), "mine")
    # Failed edits: 0 in composite and success, left out of PSNR.
    assert numbers(found["composite"]) == (pytest.approx(1.2 / 4), 4, 3)
    assert numbers(found["success"]) == (0.5, 4, 3)
    assert numbers(found[PSNR]) == (pytest.approx(151 / 3), 3, 2)
    assert [(found[name].undefined, found[name].errors, found[name].capped) for name in METRICS] == [
        (1, 0, 0),
        (1, 0, 0),
        (0, 2, 1),
    ]
    row = only([file]).rows[0]
    assert (row.total, row.failed, row.coverage, row.complete) == (5, 1, 1.0, True)
    assert row.statuses == {"editor_timeout": 1, "ok": 4}


def test_the_interval_of_a_cell_respects_the_clusters(tmp_path):
    values = {"a": 20.0, "b": 24.0, "c": 31.0, "d": 39.0}
    rows = [(name, "xy"[index // 2], "ok", {PSNR: value}) for index, (name, value) in enumerate(values.items())]
    found = cells(only([run(tmp_path, "mine", rows, metrics={PSNR: METRICS[PSNR]})]), "mine")[PSNR].estimate
    # Two clusters with means 22 and 35: mean 28.5, standard error 6.5; one degree of freedom.
    margin = scipy.stats.t.ppf(0.975, 1) * 6.5
    assert margin > 71.5
    assert found.mean == 28.5 and 0.0 < found.low < 28.5 < found.high < 100.0
    for end in (found.low, found.high):  # as far away as the variance of a mean there, in a range from 0 to 100, allows
        assert abs(end - 28.5) == pytest.approx(margin * math.sqrt(end * (100 - end) / (28.5 * 71.5)))
    free = {PSNR: replace(METRICS[PSNR], range=(None, None))}
    found = cells(only([run(tmp_path, "mine", rows, metrics=free)]), "mine")[PSNR].estimate
    assert (found.low, found.high) == pytest.approx((28.5 - margin, 28.5 + margin))


def test_a_scenario_counts_once_however_often_it_was_repeated(tmp_path):
    file = run(
        tmp_path,
        "mine",
        [
            ("a", "x", "ok", scored(1.0, 1.0, 40.0)),
            ("a", "x", "editor_error", FAILED),
            ("b", "y", "ok", scored(1.0, 1.0, 10.0)),
            ("b", "y", "ok", scored(0.5, 1.0, 20.0)),
        ],
        scenarios=2,
        repeats=2,
    )
    found = cells(only([file]), "mine")
    assert numbers(found["composite"]) == (pytest.approx((0.5 + 0.75) / 2), 2, 2)
    assert numbers(found["success"]) == (0.75, 2, 2)
    assert numbers(found[PSNR]) == ((40 + 15) / 2, 2, 2)
    assert only([file]).rows[0].failed == 1 and only([file]).rows[0].complete


def test_failed_edits_only_are_success_0_and_no_fidelity(tmp_path):
    file = run(tmp_path, "mine", [(name, name, "output_missing", FAILED) for name in "abcd"])
    found = cells(only([file]), "mine")
    assert numbers(found["success"]) == (0.0, 4, 4) and numbers(found["composite"]) == (0.0, 4, 4)
    assert numbers(found[PSNR]) == (None, 0, 0) and found[PSNR].errors == 4
    line = table(only([file]))["mine", PSNR]
    assert (line["mean"], line["ci_low"], line["ci_high"], line["n"], line["failed"]) == ("", "", "", "0", "4")


def test_a_metric_error_on_a_good_edit_is_not_turned_into_a_zero(tmp_path):
    rows = [("a", "a", "ok", scored(Failed("crashed"), 1.0, 30.0)), ("b", "b", "ok", scored(1.0, 1.0, 30.0))]
    board = only([run(tmp_path, "mine", rows, scenarios=2), simple(tmp_path, "poor", 0.1, 2, scenarios=2)])
    found = cells(board, "mine")["composite"]
    assert (numbers(found), found.errors, found.crashes) == ((1.0, 1, 1), 1, ("crashed",))
    assert ranks(board) == [("poor", 1), ("mine", None)]
    assert [(row.complete, row.gap) for row in board.rows] == [(True, ""), (False, "1 error")]


def test_a_fidelity_that_could_not_be_computed_says_its_n_and_keeps_the_rank(tmp_path):
    rows = [("a", "a", "ok", scored(1.0, 1.0, Failed("crashed"))), ("b", "b", "ok", scored(1.0, 1.0, 30.0))]
    board = only([run(tmp_path, "mine", rows, scenarios=2)])
    assert ranks(board) == [("mine", 1)] and numbers(cells(board, "mine")[PSNR]) == (30.0, 1, 1)


def test_a_failed_value_that_is_a_whole_number_counts_too(tmp_path):
    metrics = {"success": replace(METRICS["success"], failed_value=0)}
    rows = [("a", "a", "ok", {"success": 1.0}), ("b", "b", "editor_error", {"success": NO_EDIT})]
    found = cells(only([run(tmp_path, "mine", rows, scenarios=2, metrics=metrics)]), "mine")["success"]
    assert (numbers(found), found.errors) == ((0.5, 2, 2), 0)


def test_unreadable_input_leaves_the_denominator_and_is_nobodys_failure(tmp_path):
    invalid = dict.fromkeys(METRICS, Failed("input invalid"))
    file = run(
        tmp_path,
        "mine",
        [
            ("a", "a", "ok", scored(1.0, 1.0, 30.0)),
            ("b", "b", "input_invalid", invalid),
            ("c", "c", "editor_error", FAILED),
            ("d", "d", "ok", scored(0.5, 1.0, 30.0)),
        ],
    )
    row, found = only([file]).rows[0], cells(only([file]), "mine")
    assert numbers(found["success"]) == (pytest.approx(2 / 3), 3, 3)
    assert numbers(found["composite"]) == (0.5, 3, 3)
    assert (row.total, row.failed, row.coverage, row.complete, row.rank) == (3, 1, 1.0, True, 1)
    assert row.statuses["input_invalid"] == row.unreadable == 1


def test_what_another_run_could_read_was_not_tried(tmp_path):
    """Nobody leaves a hard scenario out by not reading it; one that nobody can read is in nobody's way."""
    invalid = dict.fromkeys(METRICS, Failed("input invalid"))
    rows = [("a", "a", "ok", scored(1.0, 1.0, 30.0)), *((name, name, "input_invalid", invalid) for name in "bc")]
    one = run(tmp_path, "one", rows, scenarios=3)
    assert ranks(only([one])) == [("one", 1)]
    other = run(tmp_path, "other", [*simple_rows("ab", 0.5), rows[2]], scenarios=3)
    board = only([one, other])
    assert ranks(board) == [("other", 1), ("one", None)]
    assert [(row.total, row.coverage, row.gap) for row in board.rows] == [(2, 1.0, ""), (2, 0.5, "50 % tried")]


@pytest.mark.parametrize(("value", "capped"), [(100.0, 4), (99.999, 0), (math.nextafter(100.0, 0), 0)])
def test_values_at_the_cap_are_counted(tmp_path, value, capped):
    rows = [(name, name, "ok", {PSNR: value}) for name in "abcd"]
    file = run(tmp_path, "mine", rows, metrics={PSNR: METRICS[PSNR]})
    assert cells(only([file]), "mine")[PSNR].capped == capped
    uncapped = run(tmp_path, "mine", rows, metrics={PSNR: replace(METRICS[PSNR], cap=None)})
    assert cells(only([uncapped]), "mine")[PSNR].capped == 0


# -------------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    "other",
    [
        {"align": "resize"},
        {"metrics": {**METRICS, PSNR: replace(METRICS[PSNR], version=2)}},
        {"metrics": {**METRICS, PSNR: replace(METRICS[PSNR], libraries={"numpy": "3"})}},
        {"metrics": {**METRICS, PSNR: replace(METRICS[PSNR], weights={"net": "ef"})}},
    ],
    ids=["align", "version", "library", "weights"],
)
def test_numbers_of_different_signatures_never_share_a_column(tmp_path, other):
    board = only([simple(tmp_path, "one", 0.5), simple(tmp_path, "two", 0.6, **other), simple(tmp_path, "three", 0.7)])
    columns = {row.editor.label: {c.metric: c for c in row.cells} for row in board.rows}
    assert columns["one"][PSNR] == columns["three"][PSNR] != columns["two"][PSNR]
    assert {columns["one"][PSNR], columns["two"][PSNR]} <= set(board.columns)
    assert board.column(PSNR) is None
    lines = table(board)
    assert lines["one", PSNR]["signature"] != lines["two", PSNR]["signature"]
    assert lines["one", PSNR]["signature"] == columns["one"][PSNR].signature


def test_a_metric_of_one_signature_has_one_column(tmp_path):
    board = only([simple(tmp_path, "one", 0.5), simple(tmp_path, "two", 0.6)])
    assert [column.metric for column in board.columns] == ["composite", "success", PSNR]
    assert board.column(PSNR) == board.columns[2] and board.column("mae") is None


def test_columns_stand_with_the_ranking_first_and_then_by_name(tmp_path):
    more = dict.fromkeys(["a", "noop", "success", "zoo", "composite", "success_graded", PSNR], METRICS[PSNR])
    board = only([run(tmp_path, "mine", [], metrics=more)])
    names = [column.metric for column in board.columns]
    assert names == ["composite", "success", "success_graded", "noop", "a", PSNR, "zoo"]
    assert Column("a", "2") < Column("b", "1")


# ----------------------------------------------------------------------------------------------------- ranking


def ranks(board):
    return [(row.editor.label, row.rank) for row in board.rows]


def test_rows_are_ranked_by_the_composite_and_controls_stand_among_them_without_a_rank(tmp_path):
    files = [
        simple(tmp_path, "poor", 0.25),
        simple(tmp_path, "identity", 0.0, control=True),
        simple(tmp_path, "good", 0.75),
        simple(tmp_path, "target", 1.0, control=True),
        simple(tmp_path, "middle", 0.5),
    ]
    assert ranks(only(files)) == [("target", None), ("good", 1), ("middle", 2), ("poor", 3), ("identity", None)]


def test_runs_that_are_equal_but_for_rounding_share_a_rank_and_stand_by_label(tmp_path):
    values = {"b": [0.1, 0.2], "a": [0.3, 0.0], "worse": [0.1, 0.1]}
    assert sum(values["b"]) > sum(values["a"])
    files = [
        run(
            tmp_path,
            label,
            [(name, name, "ok", scored(value, 1.0, 30.0)) for name, value in zip("pq", of_run, strict=True)],
            2,
        )
        for label, of_run in values.items()
    ]
    board = only(files)
    assert ranks(board) == [("a", 1), ("b", 1), ("worse", 3)]
    assert all(row.rank_range[0] <= row.rank <= row.rank_range[1] for row in board.rows)


def test_incomplete_runs_stand_below_complete_ones_and_have_no_rank(tmp_path):
    files = [
        simple(tmp_path, "half", 1.0, count=2),
        simple(tmp_path, "more of it", 0.9, count=3),
        simple(tmp_path, "poor", 0.1),
        simple(tmp_path, "identity", 0.0, control=True),
    ]
    board = only(files)
    assert ranks(board) == [("poor", 1), ("identity", None), ("half", None), ("more of it", None)]
    assert [(row.complete, row.coverage) for row in board.rows] == [(True, 1), (True, 1), (False, 0.5), (False, 0.75)]
    assert board.rows[2].statuses == {"not_run": 2, "ok": 2} and board.rows[2].failed == 0


def test_a_run_whose_scoring_was_interrupted_is_incomplete(tmp_path):
    best = [("a", "a", "ok", scored(1.0, 1.0, 40.0)), *((name, name, "ok", {}) for name in "bcd")]
    board = only([run(tmp_path, "interrupted", best), simple(tmp_path, "whole", 0.5)])
    assert ranks(board) == [("whole", 1), ("interrupted", None)]
    assert not board.rows[1].complete and table(board)["interrupted", PSNR]["complete"] == "false"
    assert numbers(cells(board, "interrupted")["composite"]) == (1.0, 1, 1)


def test_a_run_that_failed_altogether_is_complete_stands_last_and_has_no_rank(tmp_path):
    failed = run(tmp_path, "failed", [(name, name, "editor_killed", FAILED) for name in "abcd"])
    board = only([failed, simple(tmp_path, "poor", 0.1), simple(tmp_path, "zero", 0.0)])
    assert ranks(board) == [("poor", 1), ("zero", 2), ("failed", None)] and board.rows[2].complete
    assert ranks(only([failed])) == [("failed", None)]


def test_a_board_without_checks_is_not_ranked_and_sorted_by_label(tmp_path):
    values = scored(Undefined("no checks"), Undefined("no checks"), 30.0)
    files = [run(tmp_path, label, [(name, name, "ok", values) for name in "abcd"]) for label in ("b", "c", "a")]
    assert ranks(only(files)) == [("a", None), ("b", None), ("c", None)]
    bare = [simple(tmp_path, label, 0.5, metrics={PSNR: METRICS[PSNR]}) for label in ("z", "y")]
    assert ranks(only(bare)) == [("y", None), ("z", None)]


def test_a_suite_has_a_board_of_its_own_with_ranks_of_its_own(tmp_path):
    other = SuiteInfo("other@1", "cd" * 32, 4, "other@1")
    boards = build_boards([simple(tmp_path, "mine", 0.5), simple(tmp_path, "theirs", 0.4, suite=other)])
    assert [(board.suite.name, ranks(board)) for board in boards] == [
        ("other@1", [("theirs", 1)]),
        ("toy@1", [("mine", 1)]),
    ]
    assert build_boards([]) == []


# --------------------------------------------------------------------------------------- runs that do not fit together


def test_two_suites_of_one_name_are_refused(tmp_path):
    for other in (SuiteInfo("toy@1", "cd" * 32, 4, "toy@1"), SuiteInfo("toy@1", "ab" * 32, 2, "toy@1")):
        files = [simple(tmp_path, "one", 0.5), simple(tmp_path, "two", 0.5, count=2, suite=other)]
        for pair in (files, files[::-1]):
            with pytest.raises(EditbenchError, match=r"different suites that are both named toy@1: a corrected suite"):
                build_boards(pair)


def test_one_label_twice_is_refused(tmp_path):
    with pytest.raises(EditbenchError, match="two runs on toy@1 are labelled 'one': give one another --label"):
        build_boards([simple(tmp_path, "one", 0.5), simple(tmp_path, "one", 0.6)])


def test_other_pixels_under_one_id_are_refused_and_unreadable_ones_are_not(tmp_path):
    file = simple(tmp_path, "one", 0.5)

    def seen(label, *hashes):
        pairs = zip(file.records, hashes, strict=True)
        records = [replace(record, pixels_sha256=sha256) for record, sha256 in pairs]
        header = replace(file.header, editor=replace(file.header.editor, label=label))
        return RecordFile(header, records, file.sha256)

    same = [record.pixels_sha256 for record in file.records]
    assert len(only([file, seen("two", None, *same[1:])]).rows) == 2
    with pytest.raises(EditbenchError, match=r"scenario 'b' of toy@1: the hash of its pixels .* 'one' .* 'three'"):
        build_boards([file, seen("two", None, *same[1:]), seen("three", same[0], "ee" * 32, *same[2:])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"cluster": "elsewhere"},
            r"scenario 'b' of toy@1: the cluster is 'b' according to 'one' and 'elsewhere' accord",
        ),
        ({"category": "remove"}, r"scenario 'b' of toy@1: the category is 'edit' according to 'one' and 'remove'"),
        ({"scenario_id": "z"}, r"'two' has records of 'z': not one of toy@1's 4"),
        (
            {"values": scored(Undefined("no-op"), 1.0, 30.0)},
            r"scenario 'b' of toy@1: composite \(\w+\) is a number according to 'one' and undefined according to 'two'",
        ),
    ],
    ids=["cluster", "category", "id", "undefined"],
)
def test_what_does_not_depend_on_the_editor_is_the_same_in_every_row(tmp_path, change, message):
    file, other = simple(tmp_path, "one", 0.5), simple(tmp_path, "two", 0.0)
    records = [replace(r, **change) if r.scenario_id == "b" else r for r in other.records]
    assert len(only([file, other]).rows) == 2
    with pytest.raises(EditbenchError, match=message):
        build_boards([file, replace(other, records=records)])
    foreign = [replace(r, scenario_id=f"z-{r.scenario_id}") for r in other.records]
    with pytest.raises(EditbenchError, match="'two' has records of 'z-a'"):
        build_boards([file, replace(other, records=foreign)])


def test_runs_of_other_scenarios_that_say_the_same_are_compared_too(tmp_path):
    halves = [run(tmp_path, names, simple_rows(names, 0.5)) for names in ("ab", "cd")]
    odd = run(tmp_path, "odd", [("c", "c", "ok", scored(Undefined("no-op"), 1.0, 30.0)), *simple_rows("d", 0.5)])
    assert len(only(halves).rows) == 2
    with pytest.raises(EditbenchError, match=r"scenario 'c' of toy@1: composite"):
        build_boards([*halves, odd])


def test_runs_with_repeats_and_without_have_the_means_that_each_has_alone(tmp_path):
    values = {"a": (0.25, 0.5), "b": (0.75, 1.0), "c": (0.0, 0.5), "d": (0.5, 0.5)}
    rows = [(name, name, "ok", scored(value, 1.0, 30.0)) for name, pair in values.items() for value in pair]
    files = [
        simple(tmp_path, "one", 0.5),
        run(tmp_path, "again", rows, repeats=2),
        run(tmp_path, "rest", [("a", "a", "editor_error", FAILED), *simple_rows("bcd", 0.125)]),
    ]
    board = only(files)
    for file in files:
        label = file.header.editor.label
        assert cells(board, label) == cells(only([file]), label)
    assert cells(board, "again")["composite"].estimate.mean == 0.5
    assert cells(board, "rest")["composite"].estimate.mean == 0.09375


def test_a_metric_of_another_signature_may_be_undefined_elsewhere_and_so_may_a_failure(tmp_path):
    values = scored(Undefined("no-op"), 1.0, 30.0)
    newer = {**METRICS, "composite": replace(METRICS["composite"], version=2)}
    other = run(tmp_path, "two", [(name, name, "ok", values) for name in "abcd"], metrics=newer)
    failed = run(tmp_path, "three", [(name, name, "editor_error", FAILED) for name in "abcd"])
    assert len(only([simple(tmp_path, "one", 0.5), other, failed]).rows) == 3


# --------------------------------------------------------------------------------------------------------- CSV


def test_the_table_says_of_each_number_what_it_is(tmp_path):
    rows = [
        ("a", "x", "ok", {PSNR: 20.0}),
        ("b", "y", "ok", {PSNR: 100.0}),
        ("c", "y", "editor_oom", {PSNR: NO_EDIT}),
    ]
    metrics = {PSNR: replace(METRICS[PSNR], version=3)}
    file = run(
        tmp_path, "a (b), c", rows, metrics=metrics, trained_on=(MAE, "success"), mask_access="region", control=True
    )
    text = to_csv(only([file]))
    assert text.endswith("\n") and "\r" not in text
    head, line = csv.reader(io.StringIO(text))
    assert tuple(head) == CSV_COLUMNS
    assert dict(zip(head, line, strict=True)) == {
        "suite": "toy@1",
        "suite_sha256": "ab" * 32,
        "label": "a (b), c",
        "editor": "spec of a (b), c",
        "control": "true",
        "mask_access": "region",
        "trained_on": f"{MAE} success",
        "rank": "",
        "rank_low": "",
        "rank_high": "",
        "on_front": "",
        "complete": "false",
        "coverage": "0.75",
        "failed": "1",
        "verified": "self-reported",
        "metric": PSNR,
        "metric_version": "3",
        "signature": file.header.signature(PSNR),
        "direction": "higher",
        "unit": "dB",
        "mean": "60",
        "ci_low": "0.331885",
        "ci_high": "99.8522",
        "n": "2",
        "clusters": "2",
        "undefined": "0",
        "errors": "1",
        "capped": "1",
        "seed_sd": "",
        "records_sha256": file.sha256,
    }


def test_the_order_of_the_files_does_not_change_a_byte(tmp_path):
    elsewhere = SuiteInfo("toy@1", "ab" * 32, 4, "folder:/elsewhere")
    files = [
        simple(tmp_path, "b", 0.5),
        simple(tmp_path, "a", 0.5, suite=elsewhere),
        simple(tmp_path, "half", 0.9, count=2),
        simple(tmp_path, "identity", 0.0, align="resize", control=True),
        simple(tmp_path, "other", 0.5, suite=SuiteInfo("other@1", "cd" * 32, 4, "other@1")),
    ]
    first = build_boards(files)
    assert [row.editor.label for row in first[1].rows] == ["a", "b", "identity", "half"]
    for order in itertools.permutations(files):
        boards = build_boards(order)
        assert boards == first
        assert [to_csv(board) for board in boards] == [to_csv(board) for board in first]


def test_the_order_of_records_does_not_change_a_number(tmp_path):
    values = [1e16, 1.0, -1e16, 3.3]
    metrics = {PSNR: replace(METRICS[PSNR], range=(None, None), cap=None)}
    file = run(
        tmp_path, "mine", [(n, n, "ok", {PSNR: v}) for n, v in zip("abcd", values, strict=True)], metrics=metrics
    )
    tables = {to_csv(only([replace(file, records=order)])) for order in itertools.permutations(file.records)}
    assert len(tables) == 1
    assert table(only([file]))["mine", PSNR]["mean"] == "1.075"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (100.0, "100"),
        (31.25, "31.25"),
        (-2.5, "-2.5"),
        (1 / 3, "0.333333"),
        (2 / 3, "0.666667"),
        (99.99999, "100"),
        (1e-7, "0.0000001"),
        (-1.5e-9, "-0.0000000015"),
        (1234567.0, "1234570"),
        (1e22, "1" + "0" * 22),
        (5e-324, "0." + "0" * 323 + "494066"),
    ],
)
def test_numbers_are_plain_decimals_of_six_digits(value, text):
    assert decimal(value) == text


def test_no_number_of_a_table_has_an_exponent_or_is_minus_zero(tmp_path):
    free = MetricInfo(1, "lower", "", (None, None))
    tiny = [(name, name, "ok", {MAE: value}) for name, value in zip("abcd", (-0.0, 1e-12, 0.0, -1e-12), strict=True)]
    huge = [(name, name, "ok", {MAE: -1e300}) for name in "abcd"]
    zero = [(name, name, "ok", {MAE: -0.0}) for name in "abcd"]
    rows = {"tiny": tiny, "huge": huge, "zero": zero}
    board = only([run(tmp_path, label, row, metrics={MAE: free}) for label, row in rows.items()])
    for line in table(board).values():
        for name in ("mean", "ci_low", "ci_high", "coverage"):
            assert set(line[name]) <= set("-.0123456789") and line[name] not in ("", "-0", "-0.0")
    zeros = table(board)["zero", MAE]
    assert (zeros["mean"], zeros["ci_low"], zeros["ci_high"]) == ("0", "0", "0")
