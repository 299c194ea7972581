"""The criterion as code: each clause passes, fails or cannot be judged, and one sentence says which way it fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edit_grpo_ref.study.analysis import (
    Comparison,
    Frontier,
    at_keep,
    at_success,
    best_composite,
    compare,
    corrected,
    edit_errors,
    frontier,
    gains,
)
from edit_grpo_ref.study.plan import Criterion
from edit_grpo_ref.study.section import with_n
from edit_grpo_ref.study.statistics import Number, Values, ratio
from edit_grpo_ref.study.table import Table


@dataclass(frozen=True)
class Clause:
    """One claim about one method."""

    method: str
    text: str
    required: bool
    """Whether the criterion needs it; otherwise it is an aim beyond it."""
    passed: bool | None
    """None: records do not say."""
    evidence: str


@dataclass(frozen=True)
class Verdict:
    """How one criterion fell."""

    name: str
    clauses: tuple[Clause, ...]
    sizes: tuple[Comparison, ...]
    """Of hypervolumes."""
    keeps: tuple[Comparison, ...]
    """Of edit errors at matched keep errors."""
    successes: tuple[Comparison, ...]
    """Of errors at matched success."""
    missing: int
    """Units of the criterion that have no records."""
    total: int
    met: bool | None
    """None: a clause that could decide it cannot be judged yet."""

    @property
    def sentence(self) -> str:
        """Return the verdict in words; what is missing first."""
        start = f"Incomplete: {self.total - self.missing} of {self.total} units. " if self.missing else ""
        so_far = "So far the" if self.missing else "The"
        winners = [method for method in dict.fromkeys(c.method for c in self.clauses) if _met(self.clauses, method)]
        if self.met:
            return f"{start}{so_far} {self.name} criterion is met, by {' and '.join(winners)}. {self._details()}"
        fell = "cannot be judged" if self.met is None else "is not met"
        return f"{start}{so_far} {self.name} criterion {fell}. {self._gaps()}{self._details()}"

    def _gaps(self) -> str:
        """Say at which matched successes the rule has no interval to look at, and how the others are."""
        there = [one for one in self.successes if one.difference.mean is not None]
        gaps = [one for one in there if one.difference.without]
        if not gaps or self.met is not None:
            return ""
        places = " and ".join(dict.fromkeys(one.what.partition(" at ")[2] for one in gaps))
        rest = [one.difference.high for one in there if one.difference.high is not None]
        below = sum(high < 0 for high in rest)
        return (
            f"Its rule needs an interval wherever both reach, and at {places} there is none: without some seed a "
            f"frontier does not reach it, so {len(gaps)} differences are without one; of the {len(rest)} at other "
            f"places {below} have an interval below 0. "
        )

    def _details(self) -> str:
        parts = []
        for method in dict.fromkeys(clause.method for clause in self.clauses):
            words = []
            for required, what in ((True, "clauses"), (False, "aims beyond it, by their intervals")):
                some = [c for c in self.clauses if c.method == method and c.required == required]
                passed = sum(clause.passed is True for clause in some)
                unknown = sum(clause.passed is None for clause in some)
                words.append(f"{passed} of {len(some)} {what}" + (f" ({unknown} not judged)" if unknown else ""))
            parts.append(f"{method} passes {' and '.join(words)}")
        return "; ".join(parts) + "."


def judge_all(table: Table) -> list[Verdict]:
    """Return the verdict of every criterion, in the plan's order."""
    return [judge(table, name) for name in table.plan.criteria]


def judge(table: Table, name: str) -> Verdict:
    """Compute every clause of one criterion of the plan from the records."""
    told, axes = table.plan.criteria[name], table.plan.axes
    methods = dict.fromkeys((*told.methods, *told.against, "base"))
    found = {method: frontier(table, method, told.counted) for method in methods}
    fronts = {method: one for method, one in found.items() if one is not None}
    pairs = [(m, r) for m in told.methods for r in told.against if m in fronts and r in fronts]
    sizes = corrected([compare(table, "hypervolume", *(_sizes(fronts[one]) for one in pair)) for pair in pairs])
    keeps = corrected(
        [
            compare(
                table,
                f"{axes.edit_error} at keep error {at:g}",
                *((one, at_keep(fronts[one], axes, at, told.matching)) for one in pair),
            )
            for pair in pairs
            for at in axes.matched_keep
        ]
    )
    successes = corrected(
        [
            compare(
                table,
                f"{metric} at {told.success} {at:g}",
                *((one, at_success(fronts[one], table, told, metric, at)) for one in pair),
            )
            for pair in pairs
            for metric in told.lower_at_success
            for at in told.matched_success
        ]
    )
    clauses: list[Clause] = []
    for method in told.methods:
        clauses += [_larger(table, told, method, rival, sizes, fronts) for rival in told.against]
        clauses += [
            _lower(table, told, method, rival, metric, successes)
            for rival in told.against
            for metric in told.lower_at_success
        ]
        clauses += [_gain(table, told, method, at, fronts) for at in axes.matched_keep]
        clauses.append(_composite(table, told, method, fronts))
    there = set(table.units)
    needed = [unit for unit in table.plan.units(methods=methods) if unit.seed in told.counted]
    outcomes = [_met(clauses, method) for method in told.methods]
    met = True if True in outcomes else None if None in outcomes else False
    missing = sum(unit not in there for unit in needed)
    return Verdict(name, tuple(clauses), tuple(sizes), tuple(keeps), tuple(successes), missing, len(needed), met)


def _met(clauses: Sequence[Clause], method: str) -> bool | None:
    """Whether a method passes all that the criterion needs: one failure decides, whatever else is unknown."""
    outcomes = [clause.passed for clause in clauses if clause.method == method and clause.required]
    return False if False in outcomes else None if None in outcomes or not outcomes else True


def _sizes(found: Frontier) -> tuple[str, Values]:
    return found.method, Values(dict(zip(found.seeds, found.hypervolumes.tolist(), strict=True)))


# ------------------------------------------------------------------------------------------------------- clauses


def _larger(
    table: Table,
    told: Criterion,
    method: str,
    rival: str,
    sizes: Sequence[Comparison],
    fronts: Mapping[str, Frontier],
) -> Clause:
    """Larger hypervolume: intervals that do not overlap, and a paired test."""
    interval = table.plan.axes.interval
    text = f"larger hypervolume than {rival}, {interval} intervals apart, corrected p ≤ {told.alpha:g}"
    here = [one for one in sizes if (one.method, one.rival) == (method, rival)]
    if not here or here[0].corrected is None:
        return Clause(method, text, True, None, "no seed has all weights of both")
    left, right = (fronts[name].over_seeds[interval] for name in (method, rival))
    if left.low is None or right.high is None:
        return Clause(method, text, True, None, "fewer than two seeds")
    passed = left.low > right.high and here[0].corrected <= told.alpha
    evidence = f"{with_n(left)} against {with_n(right)}, p = {here[0].p:.3g}, corrected {here[0].corrected:.3g}"
    return Clause(method, text, True, passed, evidence)


def _lower(
    table: Table, told: Criterion, method: str, rival: str, metric: str, successes: Sequence[Comparison]
) -> Clause:
    """Lower error at every matched success that both reach: intervals of paired differences below 0.

    Where means over seeds are matched, a rival that reaches none of the places, all of which the method reaches, is
    behind: there is nothing at which it could be lower. Where both reach a place but not without some seed, there is no
    interval: the place can neither pass nor be left out.
    """
    interval = table.plan.axes.interval
    text = f"lower {metric} than {rival} at matched {told.success}, {interval} interval of the difference below 0"
    wanted = [f"{metric} at {told.success} {at:g}" for at in told.matched_success]
    here = [one for one in successes if (one.method, one.rival) == (method, rival) and one.what in wanted]
    known = [one for one in here if one.difference.high is not None or one.difference.without]
    if told.matching == "mean" and here and all(one.left.n and not one.right.n for one in here):
        return Clause(method, text, True, True, f"{rival} reaches none of the {len(wanted)} places, {method} all")
    if not known:
        return Clause(method, text, True, None, "at no matched success do two seeds of both have a value")
    judged = [one.difference.high < 0 for one in known if one.difference.high is not None]
    passed = False if False in judged else None if len(judged) < len(known) else True
    evidence = "; ".join(f"{one.what.partition(' at ')[2]}: {with_n(one.difference)}" for one in known)
    return Clause(method, text, True, passed, f"{evidence} ({len(judged)} of {len(wanted)} places)")


def _gain(table: Table, told: Criterion, method: str, at: float, fronts: Mapping[str, Frontier]) -> Clause:
    """Aim: a multiple of the best rival's edit gain over the base at one keep error, by the ratio's whole interval."""
    axes = table.plan.axes
    text = f"at keep error {at:g} at least {told.gain_factor:g} × the edit gain of the best rival"
    if "base" not in fronts or method not in fronts:
        return Clause(method, text, False, None, "no seed has all weights")
    start = edit_errors(fronts["base"], axes)
    values = {
        name: gains(start, at_keep(fronts[name], axes, at, told.matching))
        for name in (method, *told.against)
        if name in fronts
    }
    found = {name: one.number(axes.interval) for name, one in values.items()}
    rivals = {name: one for name, one in found.items() if name != method and one.mean is not None}
    own = found[method]
    if own.mean is None or not rivals:
        where = method if own.mean is None else "any rival"
        return Clause(method, text, False, None, f"beyond the frontier of every seed of {where}")
    best = max(rivals, key=lambda name: rivals[name].mean or 0.0)
    times = ratio(values[method], values[best])
    evidence = f"{with_n(own)} against {with_n(rivals[best])} of {best}, ratio {_times(times)}"
    if times.n < 2:
        return Clause(method, text, False, None, evidence)
    return Clause(method, text, False, times.low is not None and times.low >= told.gain_factor, evidence)


def _times(value: Number) -> str:
    """Return a ratio in words, with its interval or why it has none."""
    start = "–" if value.mean is None else f"{value.mean:.2f} ×"
    if value.low is None or value.high is None:
        return f"{start} (no interval)" if value.n < 2 else f"{start} (n = {value.n}, unbounded)"
    return f"{start} [{value.low:.2f}, {value.high:.2f}] (n = {value.n})"


def _composite(table: Table, told: Criterion, method: str, fronts: Mapping[str, Frontier]) -> Clause:
    """Aim: a composite that no rival reaches at any weight."""
    text = "a larger composite than any rival at any weight"
    rivals = [name for name in told.against if name in fronts]
    if method not in fronts or not rivals:
        return Clause(method, text, False, None, "no seed has all weights of both")
    best = {name: best_composite(fronts[name])[1] for name in (method, *rivals)}
    found = [compare(table, "composite", (method, best[method]), (name, best[name])) for name in rivals]
    lows = [one.difference.low for one in found]
    passed = None if None in lows else all(low is not None and low > 0 for low in lows)
    evidence = "; ".join(f"{with_n(one.difference)} more than {one.rival}" for one in found)
    return Clause(method, text, False, passed, evidence)
