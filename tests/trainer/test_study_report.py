"""From made-up records to the verdict and the page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edit_grpo_ref.study import examples
from edit_grpo_ref.study import report as reporting
from edit_grpo_ref.study.analysis import at_keep, at_success, best_composite, frontier, points
from edit_grpo_ref.study.charts import Series, draw
from edit_grpo_ref.study.context import context, elsewhere
from edit_grpo_ref.study.figures import middle_weight
from edit_grpo_ref.study.plan_file import read_plan
from edit_grpo_ref.study.table import Table
from edit_grpo_ref.study.unit import Folders
from edit_grpo_ref.study.verdict import judge
from editbench.images import decode

ROOT = Path(__file__).parents[2]
METRICS = ("composite", "success", "target:mae,region=edit", "mae:region=keep", "seam", "leak_profile")
SEEDS, SCENARIOS = 6, 24


def plan(matched_keep=(0.03,), stress=None, **criterion):
    method = {"about": "…", "part": "criterion", "seeds": SEEDS, "weights": [0.2, 0.4, 0.8]}
    told = {
        "about": "…",
        "methods": ["region"],
        "against": ["advantage_sum"],
        "seeds": [0, SEEDS],
        "matching": "seed",
        "matched_success": [0.5],
        "lower_at_success": ["mae:region=keep", "seam", "leak_profile"],
        **criterion,
    }
    return read_plan(
        {
            "board": "study@1",
            "common": {"steps": 2},
            "evaluation": {"suite": "shapes@1:size=64", "metrics": list(METRICS)},
            "methods": {
                "base": {"about": "…", "part": "criterion", "seeds": SEEDS, "program": "none"},
                "region": {**method, "options": {"credit": "region"}},
                "advantage_sum": {**method, "options": {"credit": "advantage_sum"}},
            },
            "axes": {"reference": [0.2, 0.1], "matched_keep": matched_keep},
            "criteria": {"only": told},
            "stress": stress,
        },
        "made-up",
        None,
    )


def table(better=0.02, without=(), scatter=0.001, **criterion):
    """A study in which region credit has `better` less edit error, and keeps better, at every weight."""
    told = plan(**criterion)
    units = tuple(unit for unit in told.units() if unit.label not in without)
    random = np.random.default_rng(1)
    values = {metric: np.empty((len(units), SCENARIOS)) for metric in METRICS}
    for row, unit in enumerate(units):
        weight, gain = unit.weight or 0.0, better if unit.method == "region" else 0.0
        noise = scatter * random.standard_normal(SCENARIOS) + scatter * random.standard_normal()
        values["mae:region=keep"][row] = 0.02 + 0.025 * weight
        values["target:mae,region=edit"][row] = 0.12 - 0.05 * weight - gain + noise
        values["success"][row] = 0.2 + 0.5 * weight + 5 * gain
        values["composite"][row] = 0.3 + 0.1 * weight + gain + noise
        values["seam"][row] = values["leak_profile"][row] = 0.01 * (1 + weight) - gain / 10 + noise / 10
    curves = {
        "reward/edit": [[1, -0.2], [2, -0.1]],
        "reward/keep": [[1, -0.05], [2, -0.04]],
        "validation/edit": [[0, -0.3], [2, -0.25]],
    }
    cost = {"updates": 2, "reward_calls": 120, "forward_passes": 1080, "seconds": {"training": 3.0, "evaluation": 1.0}}
    facts = tuple({"curves": curves if u.weight else {}, "compute": cost, "torch": "2"} for u in units)
    names = tuple(f"{place:02}" for place in range(SCENARIOS))
    clusters = tuple(f"scene-{place // 2}" for place in range(SCENARIOS))
    profiles = np.tile([0.05, 0.04, np.nan], (len(units), 1))
    return Table(told, units, facts, names, clusters, values, profiles, (0, 2, 4, None))


def judged(*args, **told):
    return judge(table(*args, **told), "only")


def outcomes(verdict, required):
    return [clause.passed for clause in verdict.clauses if clause.required == required]


def test_a_clear_difference_meets_the_criterion():
    verdict = judged()
    assert verdict.met is True and outcomes(verdict, True) == [True] * 4
    assert verdict.sentence.startswith("The only criterion is met, by region. region passes 4 of 4 clauses")
    assert verdict.sizes[0].p == 2 / 2**SEEDS


def test_the_same_difference_the_other_way_round_fails_it():
    verdict = judged(better=-0.02)
    assert verdict.met is False
    assert outcomes(verdict, True)[0] is False
    assert verdict.sentence.startswith("The only criterion is not met. region passes 0 of 4 clauses")


def test_no_difference_fails_it():
    assert judged(better=0.0).met is False


def test_overlapping_intervals_fail_although_the_paired_test_passes():
    """Seeds that scatter together: each difference has one sign, the intervals overlap."""
    made = table(better=0.002, scatter=0.0)
    rows = {unit: row for row, unit in enumerate(made.units)}
    for unit, row in rows.items():
        made.values["target:mae,region=edit"][row] += 0.004 * unit.seed
    clause = judge(made, "only").clauses[0]
    assert clause.passed is False and "p = 0.0312" in clause.evidence


def test_too_few_seeds_fail_the_paired_test_although_intervals_are_apart():
    fewer = tuple(unit.label for unit in plan().units() if unit.seed >= 5)
    clause = judged(without=fewer).clauses[0]
    assert clause.passed is False and "p = 0.0625" in clause.evidence


def test_missing_units_are_said_first_and_half_a_sweep_is_no_frontier():
    made = table(without=("region-w0.4-s1", "base-s0"))
    verdict = judge(made, "only")
    assert verdict.sentence.startswith("Incomplete: 40 of 42 units. So far the only criterion")
    assert frontier(made, "region").seeds == (0, 2, 3, 4, 5)
    # what a point says needs no other weight
    assert [point.numbers["seam"].n for point in points(made, "region")] == [6, 5, 6]


def test_without_the_rival_nothing_is_judged():
    verdict = judged(without=[unit.label for unit in plan().units() if unit.method == "advantage_sum"])
    assert verdict.met is None and set(outcomes(verdict, True)) == {None}
    assert "cannot be judged" in verdict.sentence


def test_the_gain_at_a_matched_keep_error_by_hand():
    """At keep error 0.03 the weight is 0.4: gains 0.02 of the rival, 0.02 + 0.02 of region credit: just twice."""
    made = table(scatter=0.0)
    for name, expected in (("region", 0.08), ("advantage_sum", 0.10)):
        found = at_keep(frontier(made, name), made.plan.axes, 0.03, "seed")
        assert found.each == pytest.approx(dict.fromkeys(range(SEEDS), expected))
    clause = next(c for c in judged(scatter=0.0, gain_factor=1.99).clauses if "edit gain" in c.text)
    assert clause.passed is True and "2.00 × [2.00, 2.00] (n = 6)" in clause.evidence
    assert next(c for c in judged(scatter=0.0, gain_factor=2.01).clauses if "edit gain" in c.text).passed is False


def test_beyond_the_frontier_there_is_no_value():
    made = table(matched_keep=[0.0249, 0.0401], matched_success=[0.99])
    verdict = judge(made, "only")
    assert {one.left.n for one in (*verdict.keeps, *verdict.successes)} == {0}
    assert outcomes(verdict, True) == [True, None, None, None] and verdict.met is None
    assert all(clause.passed is None for clause in verdict.clauses if "edit gain" in clause.text)


def test_errors_at_matched_success_are_read_off_the_frontier_of_success():
    made = table(scatter=0.0)
    found = frontier(made, "advantage_sum")
    lowest, highest = found.means["success"][0, 0], found.means["success"][0, 2]
    assert at_success(found, made, made.plan.criteria["only"], "mae:region=keep", lowest).each[0] == pytest.approx(
        0.025
    )
    middle = at_success(found, made, made.plan.criteria["only"], "seam", (lowest + highest) / 2).each[0]
    assert 0.012 < middle < 0.018
    assert np.isnan(at_success(found, made, made.plan.criteria["only"], "seam", highest + 0.01).each[0])


def test_a_place_that_only_the_mean_reaches_has_a_value_of_every_seed():
    """Even seeds keep better than odd ones: 0.03 is on one half's frontiers, and on that of the mean."""
    made = table(scatter=0.0)
    for row, unit in enumerate(made.units):
        made.values["mae:region=keep"][row] += 0.012 if unit.seed % 2 else -0.012
    found, axes = frontier(made, "region"), made.plan.axes
    assert np.isnan(list(at_keep(found, axes, 0.03, "seed").each.values())).all()
    each = list(at_keep(found, axes, 0.03, "mean").each.values())
    assert np.mean(each) == pytest.approx(0.08) and len(set(np.round(each, 9))) == 2
    for seed, row in enumerate(found.means["target:mae,region=edit"]):
        row += 0.001 * seed
    assert np.mean(list(at_keep(found, axes, 0.03, "mean").each.values())) == pytest.approx(0.0825)


def test_a_seed_that_carries_a_place_is_not_dropped_from_its_value():
    """With it all six reach the place; the other five do not, and the sixth may not be left out for that."""
    made = table(scatter=0.0)
    for row, unit in enumerate(made.units):
        made.values["mae:region=keep"][row] += -0.03 if unit.seed == 2 else 0.006
    found, axes = frontier(made, "region"), made.plan.axes
    keep, edit = found.means["mae:region=keep"].mean(0), found.means["target:mae,region=edit"].mean(0)
    place = float(keep[0])
    told = at_keep(found, axes, place, "mean")
    assert told.without == (2,) and told.whole == pytest.approx(edit[0])
    assert told.number("t").low is None and told.number("t").n == SEEDS


def test_a_place_without_an_interval_supports_nothing():
    """At success .6 the rival's frontier ends in seed 2 as well: no clause passes there, none is left out."""
    made = table(scatter=0.0, better=0.005, matching="mean", matched_success=[0.5, 0.6])
    for row, unit in enumerate(made.units):
        if unit.method == "advantage_sum":
            made.values["success"][row] += 0.001 * (unit.seed == 2) - 0.0001
    verdict = judge(made, "only")
    gap = [one for one in verdict.successes if one.difference.without]
    assert [one.difference.without for one in gap] == [(2,)] * 3
    assert all((one.p, one.corrected) == (None, None) for one in gap)
    tested = [one for one in verdict.successes if one.p is not None]
    assert min(one.corrected for one in tested) == 6 * 2 / 2**SEEDS, "what could not be tested is of the family"
    assert [one.difference.mean for one in gap] == pytest.approx([one.left.mean - one.right.mean for one in gap])
    assert outcomes(verdict, True) == [True, None, None, None] and verdict.met is None
    assert "no interval: not reached without seed 2)" in verdict.clauses[1].evidence
    assert "at success 0.6 there is none" in verdict.sentence
    assert "of the 3 at other places 3 have an interval below 0" in verdict.sentence


@pytest.mark.parametrize("where", ["scatter", "few"])
def test_an_aim_passes_by_its_interval_not_by_its_mean(where):
    """The means are at twice the rival's gain and more; one seed's scatter, or one seed alone, does not show it."""
    made = table(better=0.03, scatter=0.0)
    for row, unit in enumerate(made.units):
        if unit.method == "advantage_sum" and where == "scatter":
            made.values["target:mae,region=edit"][row] += 0.03 * (unit.seed % 2) - 0.015
        if unit.method == "advantage_sum" and where == "few" and unit.seed:
            made.values["mae:region=keep"][row] += 0.05
    clause = next(one for one in judge(made, "only").clauses if "edit gain" in one.text)
    assert clause.passed is (False if where == "scatter" else None)
    assert ("[" if where == "scatter" else "(no interval)") in clause.evidence.partition("ratio 2.50 ×")[2]


def test_a_rival_that_reaches_no_place_is_behind_and_one_that_the_method_does_not_reach_is_not():
    """At success 0.65 are weights of region credit, with 0.1 more of it, and none of the rival."""
    verdict = judged(scatter=0.0, matched_success=[0.65], matching="mean")
    assert outcomes(verdict, True) == [True] * 4
    assert "advantage_sum reaches none of the 1 places" in verdict.clauses[1].evidence
    assert outcomes(judged(scatter=0.0, matched_success=[0.65]), True) == [True, None, None, None]
    assert outcomes(judged(scatter=0.0, matched_success=[0.35], matching="mean"), True) == [True, None, None, None]


def test_a_criterion_looks_at_its_own_seeds():
    made = table(seeds=[2, 4])
    for row, unit in enumerate(made.units):
        if unit.seed < 2 and unit.method == "region":
            made.values["target:mae,region=edit"][row] = 0.5
    verdict = judge(made, "only")
    assert verdict.total == 4 * 7 and verdict.sizes[0].left.n == 4
    assert verdict == judge(table(seeds=[2, 4]), "only")


def test_scenes_are_counted_and_resampled_as_wholes():
    found = frontier(table(), "region")
    assert found.scenes == 12
    assert found.over_scenes.low < found.over_scenes.mean < found.over_scenes.high


def test_the_best_composite_is_over_weights():
    weight, values = best_composite(frontier(table(), "region"))
    assert weight == 0.8 and len(values.each) == SEEDS


def test_profiles_are_compared_at_about_equal_keep_error():
    made = table()
    assert [middle_weight(made, name) for name in ("base", "region", "advantage_sum")] == [None, 0.4, 0.4]


# ----------------------------------------------------------------------------------------------------- the page


@pytest.fixture
def written(tmp_path):
    folders = Folders(tmp_path / "board", tmp_path / "work", "study@1")
    results = tmp_path / "package" / "RESULTS.md"
    made = table()
    reporting.write(made, folders, results)
    return made, folders, results


def test_the_first_paragraph_is_the_verdict_and_charts_are_found_from_there(written):
    made, folders, results = written
    text = results.read_text()
    assert text.split("\n\n")[1] == f"**{judge(made, 'only').sentence}**"
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(links) == len(set(links)) == 7
    assert all((results.parent / link).is_file() for link in links)
    page = (folders.output / "study" / "index.html").read_text()
    assert judge(made, "only").sentence in page
    assert {Path(link).name for link in links} == set(re.findall(r'<img src="(.*?)"', page))


def test_gains_are_told_by_method_with_the_seeds_that_have_one(written):
    made, text = written[0], written[2].read_text()
    base = {seed: made.means("target:mae,region=edit", made.rows("base", None, [seed]))[0] for seed in range(SEEDS)}
    edits = at_keep(frontier(made, "region"), made.plan.axes, 0.03, "mean")
    expected = np.mean([base[seed] - edits.each[seed] for seed in range(SEEDS)])
    (row,) = re.findall(r"at keep error 0\.03 \|\n\|.*\n\| region \| (.*?) \[.*\(n = 6\) \|\n", text)
    assert float(row) == pytest.approx(expected, rel=1e-3)


def test_methods_under_stress_stand_in_sections_of_their_own(tmp_path):
    conditions = {
        "small": {"about": "small masks", "options": {"steps": 3}},
        "ring": {"about": "a ring", "options": {"steps": 4}, "methods": {"region": [0.4]}},
        "never": {"about": "not run", "options": {"steps": 5}},
    }
    stress = {"seeds": 2, "methods": {"region": [0.2, 0.8], "advantage_sum": [0.4]}, "conditions": conditions}
    unrun = [unit.label for unit in plan(stress=stress).units() if unit.method.endswith("_never")]
    made = table(stress=stress, without=unrun)
    folders = Folders(tmp_path, tmp_path, "study@1")
    reporting.write(made, folders, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    hypervolumes = text.partition("## Under stress: hypervolume")[2].partition("## ")[0]
    (none, small, ring) = re.findall(r"^\| (?:none|small|ring) \|.*", hypervolumes, re.M)
    alone = frontier(made, "region", range(2), (0.2, 0.8)).over_seeds["t"].mean
    assert f"| {alone:.4g} [" in none and none.count("(n = 2)") == 2
    assert small.count("(n = 2)") == 2 and ring.endswith("| – |") and "not run" not in text
    rows = re.findall(r"^\| small \| region \| 0\.[28] \| 0\.05 \[0\.05, 0\.05\] \|.*\| 2 \| 12 \|$", text, re.M)
    assert len(rows) == 2
    assert {path.name for path in (tmp_path / "study").glob("stress-*")} == {"stress-small.svg", "stress-ring.svg"}
    everywhere = text.partition("## Every method at every weight")[2].partition("## ")[0]
    assert "region_small" not in everywhere and "region_small" not in text.partition("## What it cost")[2]


@pytest.mark.parametrize(("worse", "risen"), [(False, True), (True, False), (True, True)])
def test_a_reward_was_hacked_where_it_rises_on_the_same_scenes_and_the_edit_is_worse_than_the_base(
    tmp_path, worse, risen
):
    """On validation scenes; the rewards of training, of other scenes at every step, rise in every row."""
    conditions = {"clip": {"about": "a learned reward", "options": {"steps": 3}}}
    made = table(stress={"seeds": 2, "methods": {"region": [0.2, 0.8]}, "conditions": conditions})
    for row, unit in enumerate(made.units):
        if worse and unit.method == "region_clip" and unit.weight == 0.8:
            made.values["target:mae,region=edit"][row] += 0.2
    for facts in made.facts:
        if not risen and facts["curves"]:
            facts["curves"]["validation/edit"] = [[0, -0.3], [2, -0.31]]
    reporting.write(made, Folders(tmp_path, tmp_path, "study@1"), tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert ("So in region 0.8 under `clip` it was hacked." in text) == (worse and risen)
    assert ("no hacked reward is shown here, and so not that any credit protects from one" in text) == (
        not (worse and risen)
    )


def test_the_second_paragraph_says_what_a_later_criterion_left_out_and_how_that_is():
    made = table()
    first = made.plan.criteria["only"]
    lost = tuple(metric for metric in first.lower_at_success if metric != "seam")
    second = replace(first, methods=("advantage_sum",), against=("region",), lower_at_success=(*lost, "far"))
    made = replace(made, plan=replace(made.plan, criteria={"first": first, "second": second}))
    asks = "asks for a lower far in the place of seam, after the first one had been judged."
    assert context(made) == (f"The second criterion drops region (…) and {asks}",)
    for row, unit in enumerate(made.units):
        made.values["seam"][row] = 0.2 + (unit.weight or 0.0) if unit.method == "advantage_sum" else 0.41
    assert "The seam" not in context(made)[0], "0.4 at one weight"
    made.values["seam"][[unit.method == "region" for unit in made.units]] = 0.39
    told = "The seam of advantage_sum is higher at every weight, at least 0.4 [0.4, 0.4] (n = 6) against at most 0.39 "
    assert told in context(made)[0]


def test_more_rollouts_are_told_with_the_place_of_what_leads_without(tmp_path):
    data = table()
    longer = {f"{name}_long": replace(data.plan.methods[name], part="rest") for name in ("region", "advantage_sum")}
    told = replace(data.plan, methods={**data.plan.methods, **longer})
    turned = {"region": "advantage_sum_long", "advantage_sum": "region_long"}
    rows = [row for row, unit in enumerate(data.units) if unit.method in turned]
    units = (*data.units, *(replace(data.units[row], method=turned[data.units[row].method]) for row in rows))
    cost = {"compute": {**data.facts[0]["compute"], "reward_calls": 600}}
    every = [*range(len(data.units)), *rows]
    made = replace(
        data,
        plan=told,
        units=units,
        facts=(*data.facts, *({**data.facts[row], **cost} for row in rows)),
        values={metric: values[every] for metric, values in data.values.items()},
        profiles=data.profiles[every],
    )
    (text,) = context(made)
    assert text.startswith("With 5 times the rollouts region, whose mean hypervolume is the largest")
    assert "is number 2 of 2: advantage_sum 0." in text and text.count("(n = 6)") == 2


def test_editors_of_the_package_are_told_from_the_board_of_other_scenes(tmp_path):
    assert elsewhere(tmp_path) == []
    lines = [
        "label,metric,mean,ci_low,ci_high,n,clusters",
        "grpo:edit,success,0.11,0.08,0.15,220,65",
        "blur,seam,1,1,1,1,1",
    ]
    (tmp_path / "shapes@1.csv").write_text("\n".join(lines) + "\n")
    (section,) = elsewhere(tmp_path)
    assert section.rows == (("grpo:edit", "0.11 [0.08, 0.15] (n = 220, G = 65)", "–", "–", "–", "–", "–"),)


def test_every_row_of_numbers_has_n_and_an_interval(written):
    rows = [line for line in written[2].read_text().splitlines() if re.match(r"\| region \| 0\.\d \|", line)]
    assert len(rows) == 3 and all(row.endswith("| 6 | 12 |") and row.count("[") == len(METRICS) for row in rows)


def test_a_changed_byte_of_any_file_is_found(written):
    made, folders, results = written
    assert reporting.stale(made, folders, results) == []
    for path in (results, *sorted((folders.output / "study").iterdir())):
        before = path.read_bytes()
        path.write_bytes(before[:-2] + b"?" + before[-1:])
        assert reporting.stale(made, folders, results) == [path]
        path.write_bytes(before)
    (folders.output / "study" / "old.svg").write_text("<svg/>")
    assert reporting.stale(made, folders, results) == [folders.output / "study" / "old.svg"]


def test_a_study_of_one_seed_and_few_methods_has_a_page_too(tmp_path):
    few = table(without=[unit.label for unit in plan().units() if unit.seed or unit.method == "advantage_sum"])
    folders = Folders(tmp_path, tmp_path, "study@1")
    (verdict,) = reporting.write(few, folders, tmp_path / "RESULTS.md")
    assert verdict.sentence in (tmp_path / "study" / "index.html").read_text()
    assert "nan" not in (tmp_path / "RESULTS.md").read_text().lower()


def test_examples_are_drawn_where_all_checkpoints_are(tmp_path, monkeypatch):
    made, folders = table(), Folders(tmp_path, tmp_path, "study@1")
    told = replace(made.plan.evaluation, suite="shapes@1:size=64,categories=recolour+remove")
    made = replace(made, plan=replace(made.plan, evaluation=told))
    asked = []
    monkeypatch.setattr(
        examples, "_edits", lambda path, scenes, seed: (asked.append(Path(path).name), [s.source for s in scenes])[1]
    )
    assert examples.draw_examples(made, folders) is None
    for label in ("region-w0.2-s0", "advantage_sum-w0.4-s0"):
        monkeypatch.setattr(examples, "middle_weight", lambda _, name: {"region": 0.2, "advantage_sum": 0.4}.get(name))
        assert examples.draw_examples(made, folders) is None
        folders.checkpoints.mkdir(exist_ok=True)
        (folders.checkpoints / f"{label}.safetensors").touch()
    picture = decode(examples.draw_examples(made, folders)).image
    assert picture.shape == (20 + 4 * 118, 4 + 5 * 100, 3)
    assert asked == ["base", "region-w0.2-s0.safetensors", "advantage_sum-w0.4-s0.safetensors"]


def test_charts_hold_what_is_in_them_and_name_everything():
    picture = draw("t", "x", "y", [Series("a <b>", 0, [(0, 1), (1, 3)], whiskers=[(0.5, -2, 9)]), Series("c", 11)])
    assert "a &lt;b&gt;" in picture and "stroke-dasharray" in picture
    numbers = [float(text) for text in re.findall(r'points="([\d., ]+)"', picture)[0].replace(",", " ").split()]
    assert len(numbers) == 4 and 74 <= numbers[0] < numbers[2] <= 570 and 40 <= numbers[3] < numbers[1] <= 344
    assert json.dumps(picture) == json.dumps(
        draw("t", "x", "y", [Series("a <b>", 0, [(0, 1), (1, 3)], whiskers=[(0.5, -2, 9)]), Series("c", 11)])
    )
