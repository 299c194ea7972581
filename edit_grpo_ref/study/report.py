"""The report: one page in Markdown and HTML and its charts, from records alone, the same bytes for the same records."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from edit_grpo_ref.study.analysis import Comparison, at_keep, best_composite, edit_errors, frontier, gains, points
from edit_grpo_ref.study.context import context, elsewhere
from edit_grpo_ref.study.figures import figures
from edit_grpo_ref.study.section import Section, cell, interval, with_n
from edit_grpo_ref.study.table import PROFILE, Table, mean
from edit_grpo_ref.study.under_stress import under_stress
from edit_grpo_ref.study.unit import Folders
from edit_grpo_ref.study.verdict import Verdict, judge_all
from editbench.durable import write_whole
from editbench.report.page import render

EXAMPLES = "examples.png"
"""Pictures that `study` draws from checkpoints; shown where it stands beside the page."""


@dataclass(frozen=True)
class Report:
    """The whole page."""

    verdicts: tuple[str, ...]
    lead: tuple[str, ...]
    sections: tuple[Section, ...]


# ---------------------------------------------------------------------------------------------------------- files


def contents(table: Table, folders: Folders, results: Path, verdicts: Sequence[Verdict]) -> dict[Path, bytes]:
    """Return every file of the report by path.

    Args:
        table: the records.
        folders: where they are.
        results: the Markdown file; it names the charts by their path from there.
        verdicts: of every criterion.
    """
    folder = folders.output / "study"
    report = write_report(table, verdicts, elsewhere(folders.output), (folder / EXAMPLES).is_file())
    environment = Environment(
        loader=PackageLoader("edit_grpo_ref.study"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    relative = Path(os.path.relpath(folder.absolute(), results.absolute().parent)).as_posix()
    markdown = environment.get_template("results.md").render(report=report, folder=relative)
    page = render("results.html", package="edit_grpo_ref.study", report=report)
    charts = {folder / name: text.encode() for name, text in figures(table).items()}
    return {results: markdown.encode(), folder / "index.html": page.encode(), **charts}


def write(table: Table, folders: Folders, results: Path) -> list[Verdict]:
    """Write the report; return its verdicts."""
    verdicts = judge_all(table)
    for path, data in contents(table, folders, results, verdicts).items():
        write_whole(path, [data])
    return verdicts


def stale(table: Table, folders: Folders, results: Path) -> list[Path]:
    """Return the files of a report that are not byte for byte what the records give, and charts that they do not."""
    found = contents(table, folders, results, judge_all(table))
    wrong = [path for path, data in found.items() if not path.is_file() or path.read_bytes() != data]
    return wrong + [path for path in sorted((folders.output / "study").glob("*.svg")) if path not in found]


# ------------------------------------------------------------------------------------------------------- sections


def write_report(table: Table, verdicts: Sequence[Verdict], other: Sequence[Section], examples: bool) -> Report:
    """Say everything that the records say, the verdicts first; `other`: sections from elsewhere."""
    plan = table.plan
    total, left = len(plan.units()), len(plan.units()) - len(table.units)
    part = f" Of all methods, {total - left} of {total} units are there." if left else ""
    lead = (
        *context(table),
        f"Every method trains the same base policy with the same budget of rollouts, reward calls and updates, and is "
        f"then an editor that sees no mask, judged on unseen scenes ({plan.evaluation.suite}: the categories that the "
        f"policy is trained on). Numbers are means over scenarios and seeds, with 95 % intervals over seeds "
        f"({_kind(plan.axes.interval)}) unless they say otherwise; n is the number of seeds, G that of scenes.{part}",
    )
    pictures = Section("Examples", ("Drawn from checkpoints; not held to the records.",), ((EXAMPLES, "examples"),))
    sections = [
        *(_criterion(table, verdict) for verdict in verdicts),
        _hypervolumes(table),
        _gains(table),
        *_details(table, verdicts[-1]),
        _points(table),
        Section(
            "Where pixels change",
            ("By distance from the mask, and at its border.",),
            tuple(
                (f"{name}.svg", name)
                for name in ("leak", "seam", "band_jump", PROFILE)
                if name in (*table.values, "leak")
            ),
        ),
        *under_stress(table),
        *other,
        Section("Training", (), _curves(table)),
        _compute(table),
    ]
    sentences = tuple(verdict.sentence for verdict in verdicts)
    return Report(sentences, lead, (*sections, *([pictures] if examples else ())))


def _kind(interval: str) -> str:
    return "t, n − 1 degrees of freedom" if interval == "t" else "percentile bootstrap"


def _criterion(table: Table, verdict: Verdict) -> Section:
    words = {True: "passes", False: "fails", None: "not judged"}
    rows = tuple(
        (one.method, one.text, "required" if one.required else "aim", words[one.passed], one.evidence)
        for one in verdict.clauses
    )
    told = table.plan.criteria[verdict.name]
    text = (
        f"{told.about} Seeds {told.counted[0]} to {told.counted[-1]}. Its clauses are computed from the records; it is "
        "met if one method passes all that are required, and aims go beyond it.",
    )
    title = f"The {verdict.name} criterion, clause by clause"
    return Section(title, text, (), ("method", "clause", "", "outcome", "evidence"), rows)


def _details(table: Table, verdict: Verdict) -> list[Section]:
    """Return the comparisons behind a verdict."""
    told = table.plan.criteria[verdict.name]
    ends = "and without a value beyond its ends"
    line = "each seed's own frontier" if told.matching == "seed" else "the frontier of the means over seeds"
    return [
        _comparisons(f"Tests of the {verdict.name} criterion", verdict.sizes, "Differences of hypervolumes, paired."),
        _comparisons("Edit error at matched keep error", verdict.keeps, f"Interpolated along {line}, {ends}."),
        _comparisons(
            f"Errors at matched {told.success}",
            verdict.successes,
            f"Interpolated along {line} (of {told.success} and keep error), {ends}.",
        ),
    ]


def _hypervolumes(table: Table) -> Section:
    axes, rows = table.plan.axes, []
    for method in table.plan.unstressed:
        found = frontier(table, method)
        if found is None:
            continue
        weight, best = best_composite(found)
        composite = cell(best.number(axes.interval))
        rows.append(
            (
                method,
                cell(found.over_seeds["t"]),
                interval(found.over_seeds["bootstrap"]),
                interval(found.over_scenes),
                composite if weight is None else f"{composite} at {weight:g}",
                str(len(found.seeds)),
                str(found.scenes),
            )
        )
    edit, keep = axes.reference
    text = (
        f"Hypervolume: the share of the rectangle from 0 to edit error {edit:g} and keep error {keep:g} that a seed's "
        f"weights dominate, over all seeds that have all weights. Larger is better.",
    )
    head = ("method", "hypervolume, t over seeds", "bootstrap over seeds", "over scenes", "best composite", "n", "G")
    charts = (("frontiers.svg", "frontiers of the criterion's methods"), ("frontiers-all.svg", "of all methods"))
    return Section("Frontiers", text, charts, head, tuple(rows))


def _gains(table: Table) -> Section:
    axes, base = table.plan.axes, frontier(table, "base")
    start = {} if base is None else edit_errors(base, axes)
    rows = []
    for method in table.plan.unstressed:
        found = frontier(table, method)
        if found is not None and len(found.weights) > 1:
            each = [gains(start, at_keep(found, axes, at, "mean")) for at in axes.matched_keep]
            rows.append((method, *(with_n(one.number(axes.interval)) for one in each)))
    text = (
        "By how much the edit error is below that of the base with the same seeds, where the mean of all seeds has "
        "that keep error (jackknife over seeds); no value where no weight reaches it, and no interval where none does "
        "without some seed.",
    )
    head = ("method", *(f"at keep error {at:g}" for at in axes.matched_keep))
    return Section("Edit gain over the base at matched keep error", text, (), head, tuple(rows))


def _comparisons(title: str, found: Sequence[Comparison], text: str) -> Section:
    rows = tuple(
        (
            one.method,
            one.rival,
            one.what,
            with_n(one.left),
            with_n(one.right),
            with_n(one.difference),
            "–" if one.p is None else f"{one.p:.3g}",
            "–" if one.corrected is None else f"{one.corrected:.3g}",
        )
        for one in found
    )
    head = ("method", "rival", "what", "method's", "rival's", "difference", "p", "corrected")
    note = f"{text} p: exact sign-flip test over seeds, two-sided; corrected after Holm over this table."
    return Section(title, (note,), (), head, rows)


def _points(table: Table) -> Section:
    shown = [metric for metric in table.plan.evaluation.metrics if metric in table.values]
    rows = []
    for method in table.plan.unstressed:
        for one in points(table, method):
            n = max((value.n for value in one.numbers.values()), default=0)
            cells = [cell(one.numbers[metric]) for metric in shown]
            rows.append((method, "–" if one.weight is None else f"{one.weight:g}", *cells, str(n), str(one.scenes)))
    return Section("Every method at every weight", (), (), ("method", "weight", *shown, "n", "G"), tuple(rows))


def _curves(table: Table) -> tuple[tuple[str, str], ...]:
    there = {name for facts in table.facts for name in facts["curves"]}
    return tuple(
        (f"reward-{region}.svg", f"reward of the {region} region")
        for region in ("edit", "keep")
        if f"reward/{region}" in there
    )


def _compute(table: Table) -> Section:
    rows = []
    for name in table.plan.unstressed:
        method = table.plan.methods[name]
        facts = [f for unit, f in zip(table.units, table.facts, strict=True) if unit.method == name]
        if not facts:
            continue
        cost = facts[0]["compute"]
        seconds = [_seconds(facts, phase) for phase in ("training", "evaluation")]
        rate = "–" if method.learning_rate is None else f"{method.learning_rate:g}"
        counts = [f"{cost[what]:,}" for what in ("updates", "reward_calls", "forward_passes")]
        rows.append((name, method.about, rate, *counts, *seconds, str(len(facts))))
    versions = sorted({facts["torch"] for facts in table.facts})
    text = (
        "A unit each. Reward calls: images scored to learn from, or to choose from; forward passes: of the network in "
        f"training, one an image. Seconds are wall-clock time of one thread on a shared machine. torch "
        f"{', '.join(versions)}.",
    )
    head = (
        "method", "what it is", "learning rate", "updates", "reward calls", "forward passes", "s training",
        "s evaluation", "units",
    )  # fmt: skip
    return Section("What it cost", text, (), head, tuple(rows))


def _seconds(facts: Sequence[Mapping[str, object]], phase: str) -> str:
    values: list[float] = [one["compute"]["seconds"][phase] for one in facts]  # type: ignore[index]
    return f"{mean(values):.0f}"
