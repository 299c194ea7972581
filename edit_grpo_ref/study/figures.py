"""The charts of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edit_grpo_ref.study.analysis import Point, points
from edit_grpo_ref.study.charts import Place, Series, draw
from edit_grpo_ref.study.plan import StudyPlan, stressed
from edit_grpo_ref.study.statistics import Number
from edit_grpo_ref.study.table import PROFILE, Table, mean

SEAMS = ("seam", "band_jump", PROFILE)


def figures(table: Table) -> dict[str, str]:
    """Return every chart as SVG by file name."""
    plan = table.plan
    axes = plan.axes
    main = [name for name, method in plan.methods.items() if method.part == "criterion"]
    names = ("keep error (less is better)", "edit error (less is better)")
    found = {
        "frontiers.svg": draw("Frontiers of the criterion's methods", *names, _frontiers(table, main)),
        "frontiers-all.svg": draw("Frontiers of all methods", *names, _frontiers(table, plan.unstressed, seeds=False)),
        "leak.svg": draw(
            "Leak profiles, at the weight whose keep error is nearest to the middle one",
            "pixels from the mask",
            "mean change",
            _profiles(table),
            _bins(table),
        ),
    }
    for condition, methods in stressed_methods(table).items():
        series = _frontiers(table, ["base", *methods.values()], seeds=False, names={v: k for k, v in methods.items()})
        about = plan.stress.conditions[condition].about if plan.stress else ""
        found[f"stress-{condition}.svg"] = draw(f"Under stress: {about}", *names, series)
    for metric in SEAMS:
        if metric in table.values:
            series = _lines(table, lambda p, m=metric: (p.numbers[axes.keep_error], p.numbers[m]))  # type: ignore[misc]
            title = f"{metric} over keep error, by weight"
            found[f"{metric}.svg"] = draw(title, names[0], metric, series)
    for region in ("edit", "keep"):
        series = _rewards(table, f"reward/{region}")
        if series:
            title = f"Reward of the {region} region while training, at the middle weight"
            found[f"reward-{region}.svg"] = draw(title, "step", "mean reward of all seeds", series)
    return found


def stressed_methods(table: Table) -> dict[str, dict[str, str]]:
    """Return, by condition, each method's name and that of the same method under the condition, of those run."""
    stress, there = table.plan.stress, {unit.method for unit in table.units}
    found: dict[str, dict[str, str]] = {}
    for condition, told in ({} if stress is None else stress.conditions).items():
        names = (stress.methods if told.methods is None else told.methods) if stress else ()
        run = {name: stressed(name, condition) for name in names if stressed(name, condition) in there}
        found |= {condition: run} if run else {}
    return found


def _number(plan: StudyPlan, method: str) -> int:
    return list(plan.methods).index(method)


def _frontiers(
    table: Table, methods: Sequence[str], seeds: bool = True, names: Mapping[str, str] | None = None
) -> list[Series]:
    """Return the mean of each weight as a line, and single seeds as dots; methods without weights as crosses.

    Args:
        table: the records.
        methods: what is drawn.
        seeds: whether the dots are.
        names: of methods that are called otherwise in the chart, and have the colour of what they are called.
    """
    axes = table.plan.axes
    found = []
    for method in methods:
        rows = [row for row, unit in enumerate(table.units) if unit.method == method]
        if not rows:
            continue
        line = _known((p.numbers[axes.keep_error].mean, p.numbers[axes.edit_error].mean) for p in points(table, method))
        pairs = zip(*(table.means(m, rows).tolist() for m in (axes.keep_error, axes.edit_error)), strict=True)
        dots = _known(pairs) if seeds else []
        name = (names or {}).get(method, method)
        number = _number(table.plan, name)
        if len(table.plan.methods[method].weights) < 2:
            found.append(Series(name, number, dots=dots, cross=line[0] if line else None))
        else:
            found.append(Series(name, number, line, dots, line))
    return found


def _known(pairs: Any) -> list[Place]:
    return [(a, b) for a, b in pairs if a is not None and b is not None and not math.isnan(a) and not math.isnan(b)]


def _lines(table: Table, pick: Callable[[Point], tuple[Number, Number]]) -> list[Series]:
    """Return two numbers of each weight as a line with the second one's interval."""
    found = []
    for method in table.plan.unstressed:
        pairs = [pick(one) for one in points(table, method)]
        line = _known((x.mean, y.mean) for x, y in pairs)
        ends = [(x.mean, y.low, y.high) for x, y in pairs if x.mean is not None and None not in (y.low, y.high)]
        if line:
            found.append(Series(method, _number(table.plan, method), line, marks=line, whiskers=ends))  # type: ignore[arg-type]
    return found


# ------------------------------------------------------------------------------------------------------- profiles


def middle_weight(table: Table, method: str) -> float | None:
    """Return the weight whose mean keep error is nearest to the median over the criterion's methods and weights.

    Methods are then shown at about equal preservation, where their sweeps allow it.
    """
    keep_error = table.plan.axes.keep_error
    looked_at = dict.fromkeys(name for told in table.plan.criteria.values() for name in (*told.methods, *told.against))
    everyone = [one.numbers[keep_error].mean for name in looked_at for one in points(table, name)]
    known = [value for value in everyone if value is not None]
    centre = float(np.median(known)) if known else 0.0
    own = [(abs((one.numbers[keep_error].mean or 0.0) - centre), one.weight) for one in points(table, method)]
    return min(own, key=lambda pair: pair[0])[1] if own else None


def _bins(table: Table) -> list[str]:
    pairs = zip(table.edges[:-1], table.edges[1:], strict=True)
    names = [f"> {begin:g}" if end is None else f"{begin:g}–{end:g}" for begin, end in pairs]
    return [name for name, filled in zip(names, _filled(table), strict=True) if filled]


def _filled(table: Table) -> list[bool]:
    """Return which bins have pixels: small pictures have none far from the mask."""
    return [not np.isnan(column).all() for column in table.profiles.T]


def _profiles(table: Table) -> list[Series]:
    found = []
    filled = [place for place, there in enumerate(_filled(table)) if there]
    for method in table.plan.unstressed:
        weight = middle_weight(table, method)
        rows = [row for row, unit in enumerate(table.units) if (unit.method, unit.weight) == (method, weight)]
        if rows:
            means = [mean(table.profiles[rows, place].tolist()) for place in filled]
            line = _known(enumerate(means))
            name = method if weight is None else f"{method} {weight:g}"
            found.append(Series(name, _number(table.plan, method), line, marks=line))
    return found


def _rewards(table: Table, name: str) -> list[Series]:
    """Return the mean over seeds of a curve, step by step."""
    found = []
    for method in table.plan.unstressed:
        weight = middle_weight(table, method)
        told: list[Mapping[float, float]] = [
            dict(facts["curves"][name])
            for unit, facts in zip(table.units, table.facts, strict=True)
            if (unit.method, unit.weight) == (method, weight) and name in facts["curves"]
        ]
        steps = sorted(set.intersection(*(set(curve) for curve in told))) if told else []
        line = [(float(step), mean([curve[step] for curve in told])) for step in steps]
        if line:
            label = method if weight is None else f"{method} {weight:g}"
            found.append(Series(label, _number(table.plan, method), line))
    return found
