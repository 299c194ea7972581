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
    frontier,
    gains,
)
from edit_grpo_ref.study.statistics import Number
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
    """How the criterion fell."""

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
            return f"{start}{so_far} criterion is met, by {' and '.join(winners)}. {self._details()}"
        fell = "cannot be judged" if self.met is None else "is not met"
        return f"{start}{so_far} criterion {fell}. {self._details()}"

    def _details(self) -> str:
        parts = []
        for method in dict.fromkeys(clause.method for clause in self.clauses):
            words = []
            for required, what in ((True, "clauses"), (False, "aims beyond it")):
                some = [c for c in self.clauses if c.method == method and c.required == required]
                passed = sum(clause.passed is True for clause in some)
                unknown = sum(clause.passed is None for clause in some)
                words.append(f"{passed} of {len(some)} {what}" + (f" ({unknown} not judged)" if unknown else ""))
            parts.append(f"{method} passes {' and '.join(words)}")
        return "; ".join(parts) + "."


def judge(table: Table) -> Verdict:
    """Compute every clause of the plan's criterion from the records."""
    told, trained = table.plan.criterion, table.plan.evaluation.trained
    names = dict.fromkeys((*told.methods, *told.against, "base"))
    found = {name: frontier(table, name, trained) for name in names}
    fronts = {name: one for name, one in found.items() if one is not None}
    pairs = [(m, r) for m in told.methods for r in told.against if m in fronts and r in fronts]
    sizes = corrected([compare(table, "hypervolume", *(_sizes(fronts[name]) for name in pair)) for pair in pairs])
    keeps = corrected(
        [
            compare(
                table, f"{told.edit_error} at keep error {at:g}", *((n, at_keep(fronts[n], table, at)) for n in pair)
            )
            for pair in pairs
            for at in told.matched_keep
        ]
    )
    successes = corrected(
        [
            compare(
                table, f"{metric} at success {at:g}", *((n, at_success(fronts[n], table, metric, at)) for n in pair)
            )
            for pair in pairs
            for metric in told.lower_at_success
            for at in told.matched_success
        ]
    )
    clauses: list[Clause] = []
    for method in told.methods:
        clauses += [_larger(table, method, rival, sizes, fronts) for rival in told.against]
        clauses += [
            _lower(table, method, rival, metric, successes)
            for rival in told.against
            for metric in told.lower_at_success
        ]
        clauses += [_gain(table, method, at, fronts) for at in told.matched_keep]
        clauses.append(_composite(table, method, fronts))
    there = set(table.units)
    needed = table.plan.units(part="criterion")
    outcomes = [_met(clauses, method) for method in told.methods]
    met = True if True in outcomes else None if None in outcomes else False
    missing = sum(unit not in there for unit in needed)
    return Verdict(tuple(clauses), tuple(sizes), tuple(keeps), tuple(successes), missing, len(needed), met)


def _met(clauses: Sequence[Clause], method: str) -> bool | None:
    """Whether a method passes all that the criterion needs: one failure decides, whatever else is unknown."""
    outcomes = [clause.passed for clause in clauses if clause.method == method and clause.required]
    return False if False in outcomes else None if None in outcomes or not outcomes else True


def _sizes(found: Frontier) -> tuple[str, dict[int, float]]:
    return found.method, dict(zip(found.seeds, found.hypervolumes.tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------- clauses


def _larger(
    table: Table, method: str, rival: str, sizes: Sequence[Comparison], fronts: Mapping[str, Frontier]
) -> Clause:
    """Larger hypervolume: intervals that do not overlap, and a paired test."""
    told = table.plan.criterion
    text = f"larger hypervolume than {rival}, {told.interval} intervals apart, corrected p ≤ {told.alpha:g}"
    here = [one for one in sizes if (one.method, one.rival) == (method, rival)]
    if not here or here[0].corrected is None:
        return Clause(method, text, True, None, "no seed has all weights of both")
    left, right = (fronts[name].over_seeds[told.interval] for name in (method, rival))
    if left.low is None or right.high is None:
        return Clause(method, text, True, None, "fewer than two seeds")
    passed = left.low > right.high and here[0].corrected <= told.alpha
    evidence = f"{shown(left)} against {shown(right)}, p = {here[0].p:.3g}, corrected {here[0].corrected:.3g}"
    return Clause(method, text, True, passed, evidence)


def _lower(table: Table, method: str, rival: str, metric: str, successes: Sequence[Comparison]) -> Clause:
    """Lower error at every matched success that both reach: intervals of paired differences below 0."""
    told = table.plan.criterion
    text = f"lower {metric} than {rival} at matched success, {told.interval} interval of the difference below 0"
    wanted = [f"{metric} at success {at:g}" for at in told.matched_success]
    here = [one for one in successes if (one.method, one.rival) == (method, rival) and one.what in wanted]
    known = [one for one in here if one.difference.high is not None]
    if not known:
        return Clause(method, text, True, None, "at no matched success do two seeds of both have a value")
    passed = all(one.difference.high is not None and one.difference.high < 0 for one in known)
    evidence = "; ".join(f"{one.what.partition(' at ')[2]}: {shown(one.difference)}" for one in known)
    return Clause(method, text, True, passed, f"{evidence} ({len(known)} of {len(wanted)} places)")


def _gain(table: Table, method: str, at: float, fronts: Mapping[str, Frontier]) -> Clause:
    """Aim: a multiple of the best rival's edit gain over the base at one keep error."""
    told = table.plan.criterion
    text = f"at keep error {at:g} at least {told.gain_factor:g} × the edit gain of the best rival"
    if "base" not in fronts or method not in fronts:
        return Clause(method, text, False, None, "no seed has all weights")
    base = fronts["base"]
    start = dict(zip(base.seeds, base.means[told.edit_error][:, 0].tolist(), strict=True))
    found = {
        name: compare(table, "", (name, gains(start, at_keep(fronts[name], table, at))), ("", {})).left
        for name in (method, *told.against)
        if name in fronts
    }
    rivals = {name: one for name, one in found.items() if name != method and one.mean is not None}
    own = found[method]
    if own.mean is None or not rivals:
        where = method if own.mean is None else "any rival"
        return Clause(method, text, False, None, f"beyond the frontier of every seed of {where}")
    best = max(rivals, key=lambda name: rivals[name].mean or 0.0)
    most = rivals[best].mean or 0.0
    passed = own.mean > 0 and own.mean >= told.gain_factor * max(most, 0.0)
    ratio = f", {own.mean / most:.2f} ×" if most > 0 else ""
    return Clause(method, text, False, passed, f"{shown(own)} against {shown(rivals[best])} of {best}{ratio}")


def _composite(table: Table, method: str, fronts: Mapping[str, Frontier]) -> Clause:
    """Aim: a composite that no rival reaches at any weight."""
    text = "a larger composite than any rival at any weight"
    rivals = [name for name in table.plan.criterion.against if name in fronts]
    if method not in fronts or not rivals:
        return Clause(method, text, False, None, "no seed has all weights of both")
    best = {name: best_composite(fronts[name])[1] for name in (method, *rivals)}
    found = [compare(table, "composite", (method, best[method]), (name, best[name])) for name in rivals]
    lows = [one.difference.low for one in found]
    passed = None if None in lows else all(low is not None and low > 0 for low in lows)
    evidence = "; ".join(f"{shown(one.difference)} more than {one.rival}" for one in found)
    return Clause(method, text, False, passed, evidence)


def shown(value: Number) -> str:
    """Return a number as text: mean, interval, seeds."""
    if value.mean is None:
        return "– (n = 0)"
    if value.low is None or value.high is None:
        return f"{value.mean:.4g} (n = {value.n})"
    return f"{value.mean:.4g} [{value.low:.4g}, {value.high:.4g}] (n = {value.n})"
