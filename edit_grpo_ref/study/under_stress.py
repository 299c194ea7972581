"""The part of the report about harder conditions: the same few methods under each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edit_grpo_ref.study.analysis import Frontier, best_composite, frontier, points
from edit_grpo_ref.study.figures import stressed_methods
from edit_grpo_ref.study.plan import Stress
from edit_grpo_ref.study.section import Section, cell, with_n
from edit_grpo_ref.study.statistics import Number, number
from edit_grpo_ref.study.table import Table

REWARD = "validation/edit"
"""What training was told of validation scenes, the same before and after it."""


def under_stress(table: Table) -> list[Section]:
    """Return what the records say of every condition; nothing if none was run."""
    stress, found = table.plan.stress, stressed_methods(table)
    if stress is None or not found:
        return []
    words = "; ".join(f"`{name}`: {stress.conditions[name].about}" for name in found)
    note = f"The same weights and seeds under every condition, so that columns may be compared downwards. {words}."
    axes = table.plan.axes
    return [
        _by_condition(
            table,
            stress,
            "Under stress: hypervolume",
            (note,),
            lambda one: one.over_seeds[axes.interval],
            tuple((f"stress-{name}.svg", stress.conditions[name].about) for name in found),
        ),
        _by_condition(
            table,
            stress,
            "Under stress: best composite",
            ("At the weight with the larger mean.",),
            lambda one: best_composite(one)[1].number(axes.interval),
        ),
        _points(table),
    ]


def _by_condition(
    table: Table,
    stress: Stress,
    title: str,
    text: tuple[str, ...],
    value: Callable[[Frontier], Number],
    figures: tuple[tuple[str, str], ...] = (),
) -> Section:
    """Return a table with a row a condition and a column a method."""
    found = stressed_methods(table)
    names = list(dict.fromkeys(name for methods in found.values() for name in methods))
    whole = {name: frontier(table, name, range(stress.seeds), weights) for name, weights in stress.methods.items()}
    under = {
        condition: {name: frontier(table, method) for name, method in methods.items()}
        for condition, methods in found.items()
    }
    rows = []
    for condition, fronts in {"none": whole, **under}.items():
        row = [fronts.get(name) for name in names]
        rows.append((condition, *("–" if one is None else with_n(value(one)) for one in row)))
    return Section(title, text, figures, ("condition", *names), tuple(rows))


def _points(table: Table) -> Section:
    shown = [metric for metric in table.plan.evaluation.metrics if metric in table.values]
    error, base = table.plan.axes.edit_error, points(table, "base")
    highest = base[0].numbers[error].high if base else None
    rows, hacked = [], []
    for condition, methods in stressed_methods(table).items():
        for name, method in methods.items():
            for one in points(table, method):
                cells = [cell(one.numbers[metric]) for metric in shown]
                reward, low = _rise(table, method, one.weight), one.numbers[error].low
                risen = reward.low is not None and reward.low > 0
                if risen and None not in (low, highest) and low > highest:  # type: ignore[operator]
                    hacked.append(f"{name} {one.weight:g} under `{condition}`")
                n = max((value.n for value in one.numbers.values()), default=0)
                rows.append((condition, name, f"{one.weight:g}", cell(reward), *cells, str(n), str(one.scenes)))
    told = (
        f"So in {', '.join(hacked)} it was hacked"
        if hacked
        else "That is so in no row: no hacked reward is shown here, and so not that any credit protects from one"
    )
    text = (
        "Rise of reward: of the edit's reward from before training to its end, on the same validation scenes. A reward "
        f"was hacked where that rise's interval is above 0 and the edit error's is above that of the base. {told}. "
        "What happens outside the mask, under a learned reward (`clip`, `clip_long`) too, is in mae:region=keep and "
        "far_change.",
    )
    head = ("condition", "method", "weight", "rise of reward", *shown, "n", "G")
    return Section("Under stress: every method at every weight", text, (), head, tuple(rows))


def _rise(table: Table, method: str, weight: float | None) -> Number:
    curves: Sequence[Sequence[Sequence[float]]] = [
        facts["curves"][REWARD]
        for unit, facts in zip(table.units, table.facts, strict=True)
        if (unit.method, unit.weight) == (method, weight) and REWARD in facts["curves"]
    ]
    return number([curve[-1][1] - curve[0][1] for curve in curves], table.plan.axes.interval)
