"""What a reader must know to weigh the verdicts: what later criteria left out, where the order turns, other scenes."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

from edit_grpo_ref.study.analysis import frontier, points
from edit_grpo_ref.study.section import Section, cell, with_n
from edit_grpo_ref.study.statistics import Number
from edit_grpo_ref.study.table import Table

LONG = "_long"
"""How methods with more rollouts are named after those with the study's budget."""
LEFT_OUT = ("seam",)
"""What is compared although the last criterion does not look at it."""
WHOLE_BOARD = "shapes@1.csv"
SHOWN = ("success", "success_graded", "composite", "mae:region=keep", "leak_profile", "seam")


def context(table: Table) -> tuple[str, ...]:
    """Return the sentences that stand below the verdicts."""
    found = (*_left_out(table), *_higher(table), *_longer(table))
    return (" ".join(found),) if found else ()


def _left_out(table: Table) -> list[str]:
    """Say what each criterion no longer asks of what the one before asked."""
    found = []
    for (before, first), (name, second) in pairwise(table.plan.criteria.items()):
        gone = [method for method in first.methods if method not in second.methods]
        lost = [metric for metric in first.lower_at_success if metric not in second.lower_at_success]
        new = [metric for metric in second.lower_at_success if metric not in first.lower_at_success]
        about = " and ".join(f"{method} ({table.plan.methods[method].about})" for method in gone)
        parts = [f"drops {about}"] if gone else []
        parts += [f"asks for a lower {' and '.join(new)} in the place of {' and '.join(lost)}"] if new and lost else []
        if parts:
            found.append(f"The {name} criterion {' and '.join(parts)}, after the {before} one had been judged.")
    return found


def _higher(table: Table) -> list[str]:
    """Say where a metric that the last criterion left out speaks against its methods at every weight."""
    told = list(table.plan.criteria.values())[-1]
    found = []
    for metric in LEFT_OUT:
        if metric not in table.values or metric in told.lower_at_success:
            continue
        for method in told.methods:
            own = _ends(table, method, metric)
            rivals = {name: _ends(table, name, metric) for name in told.against}
            behind = {name: ends for name, ends in rivals.items() if own and ends and _mean(own[0]) > _mean(ends[1])}
            if own and behind:
                others = ", ".join(f"{with_n(high)} of {name}" for name, (_, high) in behind.items())
                found.append(
                    f"The {metric} of {method} is higher at every weight, at least {with_n(own[0])} against at most "
                    f"{others}."
                )
    return found


def _mean(value: Number) -> float:
    return value.mean or 0.0


def _ends(table: Table, method: str, metric: str) -> tuple[Number, Number] | None:
    """Return the lowest and the highest number over a method's weights."""
    found = sorted((one.numbers[metric] for one in points(table, method)), key=_mean)
    return (found[0], found[-1]) if found else None


def _longer(table: Table) -> list[str]:
    """Say what becomes of the method with the largest hypervolume where all have more rollouts."""
    plan, kind = table.plan, table.plan.axes.interval
    longer = {name: frontier(table, name) for name in plan.unstressed if name.endswith(LONG)}
    pairs = {name.removesuffix(LONG): one.over_seeds[kind] for name, one in longer.items() if one is not None}
    budget = {name: one.over_seeds[kind] for name in pairs if (one := frontier(table, name)) is not None}
    if len(budget) < 2:
        return []
    times = {_rollouts(table, name + LONG) / _rollouts(table, name) for name in budget}
    more = f"{times.pop():g} times the" if len(times) == 1 else "more"
    best = max(budget, key=lambda name: _mean(budget[name]))
    order = sorted(budget, key=lambda name: -_mean(pairs[name]))
    told = ", ".join(f"{name} {with_n(pairs[name])}" for name in order)
    return [
        f"With {more} rollouts {best}, whose mean hypervolume is the largest with the study's budget, is number "
        f"{order.index(best) + 1} of {len(order)}: {told}."
    ]


def _rollouts(table: Table, method: str) -> float:
    (facts, *_) = (f for unit, f in zip(table.units, table.facts, strict=True) if unit.method == method)
    return float(facts["compute"]["reward_calls"])


def elsewhere(folder: Path) -> list[Section]:
    """Return what the board of all of shapes@1 says of the package's editors; nothing where there is no such board."""
    path = folder / WHOLE_BOARD
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"].startswith("grpo:")]
    found = {(row["label"], row["metric"]): row for row in rows}
    labels = list(dict.fromkeys(row["label"] for row in rows))
    body = tuple((label, *(_on_board(found.get((label, metric))) for metric in SHOWN)) for label in labels)
    text = (
        "All twelve categories at 256 pixels, from the board `leaderboards/shapes@1.csv`; nine of them the policy was "
        "never trained on. One checkpoint each (the first seed): intervals are over scenes and say nothing of seeds; n "
        "is the number of scenarios, G that of scenes. `grpo:flow` is the sum's, `grpo:edit` dense credit's.",
    )
    return [Section("The packaged editors on all of shapes@1", text, (), ("editor", *SHOWN), body)] if body else []


def _on_board(row: dict[str, str] | None) -> str:
    if row is None:
        return "–"
    mean, low, high = (float(row[name]) for name in ("mean", "ci_low", "ci_high"))
    return f"{cell(Number(mean, low, high, int(row['n'])))} (n = {row['n']}, G = {row['clusters']})"
