import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from statsmodels.stats.multitest import multipletests

import editbench as eb
from editbench.board import Column, build_boards
from editbench.compare import amounts, compare, load_runs, slices
from editbench.compare.power import needs
from editbench.compare.slices import boundary, mask_size, order_of, slices_of
from editbench.record_files import format_records, read_records
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.report.comparison import CSV_COLUMNS, needs_csv, to_csv, to_json
from editbench.report.comparison_terminal import comparison_parts, needs_parts
from editbench.report.table import to_csv as board_csv
from editbench.stats import clustered_mean, estimate
from editbench.types import EditbenchError, Failed, Record, Undefined

RECORDS = Path(__file__).parents[1] / "leaderboards" / "records"
MAE = "mae:region=keep"
METRICS = {
    "composite": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "success": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    MAE: MetricInfo(1, "lower", "", (0.0, 1.0)),
}
NO_EDIT = Failed("no edit")


def header(label, metrics=METRICS, repeats=1, scenarios=12, suite=None, align="error"):
    return Header(
        suite=suite or SuiteInfo("toy@1", "ab" * 32, scenarios, "toy@1"),
        editor=EditorInfo(f"spec of {label}", label, "none"),
        seed=0,
        repeats=repeats,
        align=align,
        metrics=metrics,
    )


def written(folder, label, values, size=2, repeats=1, name=None, category=lambda index: "edit", **options):
    """A record file: `values[index]` are the metrics of one scenario, or of each of its repeats, or a status."""
    head = header(label, options.pop("metrics", METRICS), repeats, options.pop("scenarios", len(values)), **options)
    records = []
    for index, of_scenario in enumerate(values):
        for repeat, found in enumerate(of_scenario if isinstance(of_scenario, list) else [of_scenario]):
            status = found if isinstance(found, str) else "ok"
            scores = {metric: NO_EDIT if isinstance(found, str) else found.get(metric) for metric in head.metrics}
            scores = {metric: value for metric, value in scores.items() if value is not None}
            records.append(
                Record(
                    f"s{index:03}",
                    f"c{index // size:03}",
                    category(index),
                    repeat,
                    status,
                    "ed" * 32 if status == "ok" else None,
                    None if status == "input_invalid" else f"{index:064}",
                    values=scores,
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or label}.jsonl"
    path.write_bytes(b"".join(format_records(head, records)))
    return path


def scored(success, mae):
    return {"composite": 0.9 * success, "success": float(success), MAE: mae}


def two(tmp_path, ours, theirs, **options):
    return load_runs([written(tmp_path, "ours", ours, **options), written(tmp_path, "theirs", theirs, **options)])


def one(comparison, metric):
    (duel,) = comparison.duels
    return next(found for found in duel.differences if found.metric == metric)


GOOD = [scored(index % 5 > 0, 0.01 + index / 1000) for index in range(40)]
BAD = [scored(index % 5 > 2, 0.03 + index / 1000) for index in range(40)]


# ------------------------------------------------------------------------------------------------------ numbers


def test_a_difference_is_paired_and_has_the_interval_of_the_paired_differences(tmp_path):
    found = one(compare(two(tmp_path, GOOD, BAD)), "success")
    values = [float(index % 5 in (1, 2)) for index in range(40)]
    clusters = [f"c{index // 2}" for index in range(40)]
    assert (found.means, found.counts) == ((0.8, 0.4), (40, 40))
    expected = estimate(values, [f"{int(name[1:]):03}" for name in clusters], (-1.0, 1.0))
    assert found.estimate == expected
    assert 0.1 < found.estimate.high - found.estimate.low < 0.4
    assert (found.won, found.lost, found.tied) == (16, 0, 24)
    assert found.superiority == 0.7
    assert found.effect == pytest.approx(np.mean(values) / np.std(values, ddof=1))
    assert found.verdict == "better"


def test_less_is_better_where_the_metric_says_so(tmp_path):
    comparison = compare(two(tmp_path, GOOD, BAD))
    found = one(comparison, MAE)
    assert found.estimate.mean == pytest.approx(-0.02)
    assert (found.won, found.lost, found.verdict) == (40, 0, "better")
    assert one(compare(two(tmp_path / "b", BAD, GOOD)), MAE).verdict == "worse"


def test_swapping_the_runs_swaps_every_sign_and_no_p(tmp_path):
    ours, theirs = two(tmp_path, GOOD, BAD)
    there, back = compare([ours, theirs]), compare([theirs, ours])
    for metric in METRICS:
        a, b = one(there, metric), one(back, metric)
        assert (a.estimate.mean, a.p_corrected, a.won) == (-b.estimate.mean, b.p_corrected, b.lost)
        assert (a.estimate.low, a.estimate.high) == pytest.approx((-b.estimate.high, -b.estimate.low))
        assert a.effect == -b.effect


def test_p_values_are_corrected_over_all_metrics_and_runs(tmp_path):
    third = written(tmp_path, "third", BAD)
    runs = [*two(tmp_path, GOOD, BAD), *load_runs([third, written(tmp_path, "x", BAD)])[:1]]
    alone, both = compare(runs[:2]), compare(runs)
    assert (alone.tests, both.tests) == (3, 6)
    assert [found.p for found in both.duels[0].differences] == [found.p for found in alone.duels[0].differences]
    for comparison in (alone, both):
        every = [found for duel in comparison.duels for found in duel.differences]
        expected = multipletests([found.p for found in every], method="holm")[1]
        assert [found.p_corrected for found in every] == pytest.approx(expected)
    assert one(alone, "success").p < one(alone, "success").p_corrected < both.duels[1].differences[2].p_corrected


def test_repeats_are_paired_with_each_other(tmp_path):
    ours = [[scored(1, 0.1), scored(0, 0.2)], [scored(1, 0.1), "editor_error"], [scored(1, 0.3), scored(1, 0.3)]]
    theirs = [[scored(0, 0.1), scored(0, 0.1)], [scored(1, 0.3), scored(1, 0.9)], ["editor_error", "editor_error"]]
    comparison = compare(two(tmp_path, ours, theirs, size=1, repeats=2))
    mae = one(comparison, MAE)
    # First scenario: 0 and 0.1. Second: the first repeat alone, −0.2. Third: nothing of theirs.
    assert mae.estimate.mean == pytest.approx((0.05 - 0.2) / 2)
    assert (mae.estimate.n, mae.counts) == (2, (3, 2))
    success = one(comparison, "success")
    assert success.estimate.mean == pytest.approx((0.5 - 0.5 + 1.0) / 3)
    (duel,) = comparison.duels
    assert (duel.flips.won, duel.flips.lost) == (("s000", "s002"), ("s001",))


def test_runs_with_other_numbers_of_repeats_are_compared_on_those_that_both_have(tmp_path):
    ours = written(tmp_path, "ours", [[scored(1, 0.1), scored(0, 0.9)]] * 6, repeats=2)
    theirs = written(tmp_path, "theirs", [scored(1, 0.1)] * 6)
    comparison = compare(load_runs([ours, theirs]))
    assert one(comparison, MAE).verdict == "equal"
    assert any("1 and 2 repeats" in note for note in comparison.notes)


def test_a_failed_edit_is_success_0_and_has_no_fidelity(tmp_path):
    ours = ["editor_error" if index < 10 else found for index, found in enumerate(GOOD)]
    comparison = compare(two(tmp_path, ours, BAD))
    success, mae = one(comparison, "success"), one(comparison, MAE)
    assert (success.estimate.n, success.means[0]) == (40, 24 / 40)
    assert (mae.estimate.n, mae.counts, mae.verdict) == (30, (30, 40), "better")
    assert comparison.duels[0].left.failed == 10


# ----------------------------------------------------------------------------------------------- degenerate inputs


def test_without_a_scenario_in_common_there_is_no_number_and_no_verdict(tmp_path):
    half = [GOOD[0]] * 4
    ours = written(tmp_path, "ours", [*half, *["editor_error"] * 4])
    theirs = written(tmp_path, "theirs", [*["editor_error"] * 4, *half])
    found = one(compare(load_runs([ours, theirs])), MAE)
    assert (found.estimate.n, found.means, found.p, found.effect) == (0, (None, None), None, None)
    assert (found.counts, found.verdict, found.detectable) == ((4, 4), "no data", None)


def test_one_cluster_has_a_difference_and_no_interval_or_test(tmp_path):
    comparison = compare(two(tmp_path, GOOD[:4], BAD[:4], size=4))
    found = one(comparison, MAE)
    assert (found.estimate.low, found.p, found.p_corrected, found.verdict) == (None, None, None, "unclear")
    assert found.estimate.mean == pytest.approx(-0.02)
    assert comparison.tests == 0
    assert needs(comparison)[0].clusters_needed is None


def test_one_value_each(tmp_path):
    found = one(compare(two(tmp_path, GOOD[:1], BAD[:1])), MAE)
    assert (found.estimate.n, found.estimate.clusters, found.effect, found.verdict) == (1, 1, None, "unclear")


def test_ties_are_equal_and_constants_are_sure(tmp_path):
    comparison = compare(two(tmp_path, GOOD, GOOD), margins={MAE: 0.01})
    for metric in METRICS:
        found = one(comparison, metric)
        assert (found.estimate.mean, found.estimate.low, found.estimate.high, found.p) == (0.0, 0.0, 0.0, 1.0)
        assert (found.tied, found.effect, found.verdict) == (40, 0.0, "equal")
    assert any("the same records" in note for note in comparison.notes)
    assert one(comparison, MAE).p_equivalent == 0.0
    shifted = [{**found, MAE: 0.5} for found in GOOD]
    low = [{**found, MAE: 0.25} for found in GOOD]
    constant = one(compare(two(tmp_path / "c", shifted, low)), MAE)
    assert (constant.estimate.low, constant.estimate.high, constant.effect) == (0.25, 0.25, None)
    assert constant.verdict == "worse"


def test_what_is_undefined_for_all_is_no_data(tmp_path):
    nothing = [{**found, "success": Undefined("no checks")} for found in GOOD]
    comparison = compare(two(tmp_path, nothing, nothing))
    assert one(comparison, "success").verdict == "no data"
    assert comparison.duels[0].flips is None
    assert comparison.tests == 2


def test_a_run_that_is_not_finished_says_so(tmp_path):
    ours = written(tmp_path, "ours", GOOD[:30], scenarios=40)
    theirs = written(tmp_path, "theirs", BAD, scenarios=40)
    comparison = compare(load_runs([ours, theirs]))
    assert one(comparison, "success").estimate.n == 30
    assert comparison.notes[0] == "'ours' is incomplete: 30 of 40 edits were tried"


def test_too_few_clusters_for_so_many_tests_are_pointed_out(tmp_path):
    few = compare(two(tmp_path, GOOD[:12], BAD[:12]))  # six clusters: 2 / 64, three times
    assert one(few, MAE).least_p == 2 / 64
    assert one(few, MAE).verdict == "unclear"
    assert any("6 clusters cannot give p below 0.031" in note and "0.094" in note for note in few.notes)
    alone = compare(two(tmp_path / "b", GOOD[:12], BAD[:12]), metrics=[MAE])
    assert (one(alone, MAE).p_corrected, one(alone, MAE).verdict) == (2 / 64, "better")
    assert not alone.notes


# ---------------------------------------------------------------------------------------------------- equivalence


def test_close_runs_are_equivalent_within_a_margin_that_is_wide_enough(tmp_path):
    generator = np.random.default_rng(0)
    ours = [{**found, MAE: found[MAE] + generator.normal(0, 0.001)} for found in GOOD]
    runs = two(tmp_path, ours, GOOD)
    wide, narrow = (one(compare(runs, [MAE], {MAE: margin}), MAE) for margin in (0.002, 0.0001))
    assert (wide.verdict, narrow.verdict) == ("equivalent", "unclear")
    assert wide.p_equivalent < 0.001 < 0.05 < narrow.p_equivalent
    assert one(compare(runs, [MAE]), MAE).verdict == "unclear"


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"composit": 0.1}, "margin of 'composit', which is not compared: did you mean 'composite'"),
        ({"composite": 0.0}, "margin composite=0.0, expected a number above 0"),
        ({"composite": math.nan}, "expected a number above 0"),
    ],
)
def test_a_margin_that_makes_no_sense_is_refused(tmp_path, margins, message):
    with pytest.raises(EditbenchError, match=message):
        compare(two(tmp_path, GOOD, BAD), margins=margins)


def test_metrics_with_equals_signs_of_their_own_are_read_from_options():
    assert amounts(["mae:region=keep=0.5", "composite=1e-2"], "margin") == {MAE: 0.5, "composite": 0.01}
    for text in ("composite", "composite=", "=3", "composite=x"):
        with pytest.raises(EditbenchError, match="expected METRIC=VALUE"):
            amounts([text], "margin")
    with pytest.raises(EditbenchError, match="twice"):
        amounts(["composite=1", "composite=2"], "margin")


# -------------------------------------------------------------------------------------------------------- refusals


def test_other_suites_are_refused_by_name(tmp_path):
    ours = written(tmp_path, "ours", GOOD)
    other = written(tmp_path, "theirs", GOOD, suite=SuiteInfo("toy@2", "cd" * 32, 40, "toy@2"))
    with pytest.raises(EditbenchError, match="'ours' and 'theirs' ran on different suites, toy@1 and toy@2"):
        compare(load_runs([ours, other]))
    same = written(tmp_path, "theirs", GOOD, suite=SuiteInfo("toy@1", "cd" * 32, 40, "toy@1"))
    with pytest.raises(EditbenchError, match=r"both named toy@1, abababababab with 40 scenarios and cdcdcdcdcdcd"):
        compare(load_runs([ours, same]))


def test_scenarios_that_are_not_what_they_were_are_refused(tmp_path):
    ours = written(tmp_path, "ours", GOOD)
    other = written(tmp_path, "theirs", GOOD, size=4)
    with pytest.raises(EditbenchError, match=r"scenario 's00\d' of toy@1: the cluster is"):
        compare(load_runs([ours, other]))


def test_a_metric_with_another_signature_is_left_out_and_refused_if_asked_for(tmp_path):
    newer = {**METRICS, MAE: MetricInfo(2, "lower", "", (0.0, 1.0), libraries={"scipy": "2"})}
    runs = load_runs([written(tmp_path, "ours", GOOD), written(tmp_path, "theirs", BAD, metrics=newer)])
    comparison = compare(runs)
    assert [found.metric for found in comparison.duels[0].differences] == ["composite", "success"]
    assert comparison.duels[0].left_out == {
        MAE: "its signature differs: libraries.scipy: None -> '2'; version: 1 -> 2",
    }
    with pytest.raises(EditbenchError, match=rf"cannot be compared by {MAE}: its signature differs: .*version: 1 -> 2"):
        compare(runs, [MAE])


def test_runs_aligned_otherwise_share_no_signature(tmp_path):
    runs = load_runs([written(tmp_path, "ours", GOOD), written(tmp_path, "theirs", BAD, align="resize")])
    with pytest.raises(EditbenchError, match="align: 'error' -> 'resize'"):
        compare(runs)


def test_metrics_of_one_run_only_are_named(tmp_path):
    runs = load_runs([written(tmp_path, "ours", GOOD), written(tmp_path, "theirs", BAD, metrics={MAE: METRICS[MAE]})])
    assert compare(runs).duels[0].left_out == {
        "composite": "not scored in 'theirs'",
        "success": "not scored in 'theirs'",
    }
    with pytest.raises(EditbenchError, match="not scored in 'theirs'"):
        compare(runs, ["success"])
    with pytest.raises(EditbenchError, match="no run has a metric 'sucess': did you mean 'success'"):
        compare(runs, ["sucess"])


def test_paths_that_are_no_two_runs_are_refused(tmp_path):
    path = written(tmp_path, "ours", GOOD)
    with pytest.raises(EditbenchError, match="one run alone"):
        load_runs([path])
    with pytest.raises(EditbenchError, match="given twice"):
        load_runs([path, tmp_path / "x" / ".." / "ours.jsonl"])
    with pytest.raises(EditbenchError, match=r"did you mean 'ours\.jsonl'"):
        load_runs([path, tmp_path / "our.jsonl"])
    (tmp_path / "records").mkdir()
    with pytest.raises(EditbenchError, match="is a leaderboards folder"):
        load_runs([path, tmp_path])


def test_runs_of_one_label_are_told_apart_by_their_paths(tmp_path):
    paths = [written(tmp_path, "mine", GOOD, name="one"), written(tmp_path, "mine", BAD, name="two")]
    assert [run.name for run in load_runs(paths)] == [f"mine ({path})" for path in paths]


# --------------------------------------------------------------------------------------------------------- slices


def test_slices_by_category_add_up_to_the_whole(tmp_path):
    runs = two(tmp_path, GOOD, BAD, category=lambda index: "remove" if index % 5 else "add")
    comparison = compare(runs)
    parts = [part for part in comparison.duels[0].slices if part.metric == "success"]
    assert [(part.value, part.estimate.n) for part in parts] == [("add", 8), ("remove", 32)]
    whole = sum(part.estimate.mean * part.estimate.n for part in parts) / 40
    assert whole == pytest.approx(one(comparison, "success").estimate.mean)
    assert parts[1].means == (1.0, 0.5)


def test_masks_are_measured():
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:10, 5:15] = True
    assert mask_size(mask) == pytest.approx(100 * 50 / 400)
    assert boundary(mask) == pytest.approx(30 / 20)
    assert boundary(np.ones((4, 9), dtype=bool)) == 0.0


def test_parts_whose_edges_round_alike_are_still_parts(monkeypatch):
    sizes = {f"s{index}": 10.01 + index * 0.005 for index in range(9)}
    monkeypatch.setattr(slices, "_masks", lambda file, by: sizes)
    monkeypatch.setattr(slices, "GEOMETRY", {"mask_size": (float, " %")})
    parts = slices.slices_of(None, "mask_size")
    assert order_of(parts.values()) == ["10.01–10.02 %", "10.025–10.035 %", "10.04–10.05 %"]
    assert [parts[f"s{index}"] for index in (2, 3, 8)] == order_of(parts.values())
    sizes.update({f"s{index}": 10.0 + index for index in range(9)})
    assert order_of(slices.slices_of(None, "mask_size").values()) == ["10–12 %", "13–15 %", "16–18 %"]


def test_slices_by_geometry_load_the_suite_and_check_its_pixels(tmp_path):
    run = eb.run("identity", suite="shapes@1:size=32", limit=9, metrics=["success"], output_dir=str(tmp_path / "run"))
    file = run.records()
    parts = slices_of(file, "mask_size")
    suite = eb.load_suite("shapes@1:size=32")
    sizes = {suite[index].id: suite[index].mask.mean() for index in range(9)}
    assert parts.keys() == sizes.keys() and 2 <= len(set(parts.values())) <= 3
    order = sorted(sizes, key=sizes.get)
    assert parts[order[0]] != parts[order[-1]]
    head, *lines = (run.path / "records.jsonl").read_text().splitlines()
    broken = json.loads(lines[3])
    broken["pixels_sha256"] = "0" * 64
    (tmp_path / "broken.jsonl").write_text("\n".join([head, *lines[:3], json.dumps(broken), *lines[4:], ""]))
    with pytest.raises(EditbenchError, match=f"the pixels of '{broken['scenario_id']}' are others now"):
        slices_of(read_records(tmp_path / "broken.jsonl"), "boundary")


def test_slices_that_are_not_to_be_had_are_refused(tmp_path):
    runs = two(tmp_path, GOOD, BAD)
    with pytest.raises(
        EditbenchError, match=r"slices by mask_size need 'toy@1', which cannot be loaded: unknown suite"
    ):
        compare(runs, slices=["mask_size"])
    with pytest.raises(EditbenchError, match=r"slice 'mask-size', expected .*did you mean 'mask_size'"):
        compare(runs, slices=["mask-size"])


# -------------------------------------------------------------------------------------------------------- planning


def test_planning_is_for_the_observed_difference_or_the_one_that_is_asked_for(tmp_path):
    comparison = compare(two(tmp_path, GOOD, BAD))
    found = {need.metric: need for need in needs(comparison)}["success"]
    assert found.size == pytest.approx(0.4) and found.clusters_needed <= 20
    assert found.detectable[0] == one(comparison, "success").detectable
    assert found.detectable[0] > found.detectable[1] > found.detectable[2]
    (asked,) = needs(comparison, {"success": 0.01})
    assert asked.clusters_needed > 1000 and asked.scenarios_needed == 2 * asked.clusters_needed
    with pytest.raises(EditbenchError, match="did you mean 'success'"):
        needs(comparison, {"sucess": 0.1})
    with pytest.raises(EditbenchError, match="above 0"):
        needs(comparison, {"success": -0.1})


def test_five_clusters_are_told_that_they_show_no_difference_at_all(tmp_path):
    comparison = compare(two(tmp_path, GOOD[:10], BAD[:10]), ["success"])
    (found,) = needs(comparison)
    assert (found.clusters, found.detectable[0], one(comparison, "success").detectable) == (5, None, None)
    assert found.detectable[1] > found.detectable[2] and found.clusters_needed >= 6
    planned = shown(needs_parts(comparison, [found], 140), 140)
    assert "note: 5 clusters cannot give p below 0.062; it takes 6 to show any difference at 5 %" in planned
    for text in (planned, shown(comparison_parts(comparison, 140), 140)):
        assert "– with fewer than 6 clusters, which cannot show any, or where nothing varies" in " ".join(text.split())


def test_the_same_records_twice_detect_nothing(tmp_path):
    comparison = compare(two(tmp_path, GOOD, GOOD))
    assert {found.detectable for found in comparison.duels[0].differences} == {None}
    assert {need.clusters_needed for need in needs(comparison, dict.fromkeys(METRICS, 0.01))} == {None}


# -------------------------------------------------------------------------------------------------- how it is shown


def shown(parts, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for part in parts:
        console.print(part)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_terminal_shows_every_metric_at_any_width(tmp_path, width):
    comparison = compare(two(tmp_path, GOOD, BAD), margins={MAE: 0.001})
    text = shown(comparison_parts(comparison, width), width)
    assert max(map(len, text.splitlines())) <= width
    rows = [line for line in text.splitlines() if "better" in line]
    assert len(rows) == 3
    assert "success: 16 won, 0 lost, 16 by both, 8 by neither" in text
    assert ("won:lost" in text) == (width >= 140)
    planned = shown(needs_parts(comparison, needs(comparison), width), width)
    assert max(map(len, planned.splitlines())) <= width and "scenarios" in planned
    assert "cannot give p" not in planned


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 200])
def test_only_the_columns_that_are_shown_are_explained(tmp_path, width):
    comparison = compare(two(tmp_path, GOOD, BAD, metrics={**METRICS, "success_in_many_words": METRICS["success"]}))
    *tables, how = comparison_parts(comparison, width)
    heads = {str(column.header) for table in tables if isinstance(table, Table) for column in table.columns}
    assert [name in heads for name in ("d", "detects", "G")] == [
        part in str(how) for part in ("; d: mean", "; detects: the", "in G clusters")
    ]
    *tables, how = needs_parts(comparison, needs(comparison), width)
    heads = {str(column.header) for table in tables if isinstance(table, Table) for column in table.columns}
    assert ("×2" in heads, "×4" in heads) == ("1, 2 and 4 times the clusters" in str(how),) * 2


def test_names_are_neither_markup_nor_escape_sequences(tmp_path):
    paths = [written(tmp_path, f"a[red]{name}", values, name=name) for name, values in (("a", GOOD), ("b", BAD))]
    text = shown(comparison_parts(compare(load_runs(paths)), 120), 120)
    assert "[red]" in text and "\x1b" not in text
    with pytest.raises(EditbenchError, match="label '\\[red\\]"):
        read_records(written(tmp_path, "[red]\x1b[31m", GOOD, name="c"))


def test_the_csv_and_the_json_say_the_same(tmp_path):
    comparison = compare(two(tmp_path, GOOD, BAD), margins={MAE: 0.001})
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert tuple(rows[0]) == CSV_COLUMNS
    data = json.loads(json.dumps(to_json(comparison), allow_nan=False))
    differences = {found["metric"]: found for found in data["duels"][0]["differences"]}
    whole = [row for row in rows if not row["by"]]
    assert [row["metric"] for row in whole] == sorted(METRICS)
    for row in whole:
        found = differences[row["metric"]]
        for name in ("difference", "ci_low", "ci_high", "p", "p_corrected", "won", "tied", "superiority"):
            assert float(row[name]) == pytest.approx(found[name], rel=1e-5)
        assert row["verdict"] == found["verdict"] == "better"
    assert len(rows) - len(whole) == len(data["duels"][0]["slices"]) == 3
    assert data["duels"][0]["flips"]["won"] == [f"s{i:03}" for i in range(40) if i % 5 in (1, 2)]
    planned = list(csv.DictReader(io.StringIO(needs_csv(needs(comparison)))))
    assert [row["metric"] for row in planned] == sorted(METRICS) and float(planned[2]["size"]) == 0.4


# ----------------------------------------------------------------------------------------------------- the program


def editbench(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "editbench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


FLOW, BASE = (RECORDS / "shapes@1" / f"grpo-{name}.jsonl.gz" for name in ("flow-f15b8b22", "base-77aab56e"))


def test_committed_records_are_compared_without_heavy_imports(tmp_path):
    table = tmp_path / "table.csv"
    done = editbench("compare", FLOW, BASE, "--json", "--csv", table, "--margin", "composite=0.1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "pandas", "scipy.stats", "skimage", "jinja2"}
    data = json.loads(done.stdout)
    found = {one["metric"]: one for one in data["duels"][0]["differences"]}
    assert found["success"]["verdict"] == "better" and found["composite"]["margin"] == 0.1
    means = {row["metric"]: row["left_mean"] for row in csv.DictReader(table.read_text().splitlines()) if not row["by"]}
    board = csv.DictReader((RECORDS.parent / "shapes@1.csv").read_text().splitlines())
    own = {row["metric"]: row["mean"] for row in board if row["label"] == "grpo:flow"}
    assert {metric: own[metric] for metric in means} == means


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([FLOW], "one run alone"),
        ([FLOW, FLOW], "is given twice"),
        ([FLOW, RECORDS / "shapes@1" / "grpo-flow.jsonl.gz"], "did you mean"),
        ([FLOW, RECORDS / "photos@1" / "recolor.jsonl.gz"], "different suites, shapes@1 and photos@1"),
        ([FLOW, BASE, "--metrics", "compsite"], "did you mean 'composite'"),
        ([FLOW, BASE, "--margin", "0.1"], "expected METRIC=VALUE"),
        ([FLOW, BASE, "--difference", "composite=0.1"], "--difference says what to find with --power"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(arguments, message):
    command = [sys.executable, "-m", "editbench", "compare", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_the_power_of_committed_records_is_planned():
    command = [sys.executable, "-m", "editbench", "compare", FLOW, BASE, "--power", "--difference", "success=0.02"]
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, timeout=60)
    (need,) = json.loads(done.stdout)
    assert need["metric"] == "success" and need["detectable_x1"] > 0.02
    assert need["clusters_needed"] > need["clusters"]


# ----------------------------------------------------------------------------------------------------------- boards


def test_boards_say_which_ranks_a_run_may_have_and_who_is_on_the_front(tmp_path):
    close = [
        {**found, "composite": min(found["composite"] + 0.01 * (-1) ** (i // 2), 1.0)} for i, found in enumerate(GOOD)
    ]
    files = {
        "good": GOOD,
        "close": [{**found, "composite": max(found["composite"], 0.0)} for found in close],
        "bad": BAD,
    }
    paths = [written(tmp_path, name, values) for name, values in files.items()]
    (board,) = build_boards([read_records(path) for path in paths])
    rows = {row.editor.label: row for row in board.rows}
    assert rows["bad"].rank_range == (3, 3)
    assert rows["good"].rank_range == rows["close"].rank_range == (1, 2)
    assert {label: row.on_front for label, row in rows.items()} == {"good": True, "close": True, "bad": False}
    line = next(row for row in csv.DictReader(io.StringIO(board_csv(board))) if row["label"] == "good")
    assert (line["rank_low"], line["rank_high"], line["on_front"], line["seed_sd"]) == ("1", "2", "true", "")


def test_controls_and_unfinished_runs_have_no_range_and_are_not_on_the_front(tmp_path):
    unfinished = written(tmp_path, "unfinished", GOOD[:20], scenarios=40)
    (board,) = build_boards([read_records(written(tmp_path, "bad", BAD)), read_records(unfinished)])
    row = next(row for row in board.rows if row.editor.label == "unfinished")
    assert (row.rank, row.rank_range, row.on_front) == (None, None, None)


def test_the_spread_between_seeds_is_pooled_over_scenarios(tmp_path):
    values = [[scored(1, 0.1), scored(1, 0.3)], [scored(1, 0.5), scored(1, 0.5)], [scored(1, 0.2), "editor_error"]]
    (board,) = build_boards([read_records(written(tmp_path, "mine", values, repeats=2))])
    (row,) = board.rows
    cells = {column.metric: cell for column, cell in row.cells.items()}
    assert cells[MAE].seed_sd == pytest.approx(math.sqrt((0.02 + 0.0) / 2))
    assert cells["success"].seed_sd == pytest.approx(math.sqrt(0.5 / 3))
    assert isinstance(board.columns[0], Column)


# ------------------------------------------------------------------------------------------------------- simulation


TRIALS = 200


def test_runs_of_one_quality_are_seldom_said_to_differ(tmp_path):
    """Comparisons by three metrics over 10 clusters of 3: a verdict about any in at most about 5 %."""
    generator = np.random.default_rng(7)
    metrics = {name: MetricInfo(1, "higher", "", (None, None)) for name in ("a", "b", "c")}
    common = generator.normal(0, 1, (TRIALS, 2, 10))
    wrong = 0
    for trial in range(TRIALS):
        runs = []
        for side in range(2):
            values = generator.normal(0, 1, (30, 3)) + np.repeat(common[trial, side], 3)[:, None]
            scores = [dict(zip(metrics, map(float, row), strict=True)) for row in values]
            runs.append(written(tmp_path, f"run{side}", scores, size=3, metrics=metrics))
        comparison = compare(load_runs(runs), slices=())
        wrong += any(found.verdict in ("better", "worse") for found in comparison.duels[0].differences)
    assert wrong / TRIALS <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / TRIALS)
    assert wrong > 0  # a test that never speaks would pass as well


def test_the_spread_of_a_difference_is_that_of_its_interval(tmp_path):
    found = one(compare(two(tmp_path, GOOD, BAD)), "success")
    clusters = [f"c{index // 2:03}" for index in range(40)]
    assert found.spread == clustered_mean([float(index % 5 in (1, 2)) for index in range(40)], clusters)
