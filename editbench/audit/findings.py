"""What an audit found out: how far a metric moved, where, and which bounds it keeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from editbench.audit.damage import GRADED, LEVELS, PLACES, ZONES
from editbench.board import decimal
from editbench.types import Zone

LEAKAGE, SPEARMAN, AUROC, DILUTION = 0.02, 0.95, 0.95, 0.25
"""Bounds of a passing metric: at most, at least, at least, at most."""
ROUNDING = 1e-9
"""By which a mean of rank correlations may miss its bound."""
NOTICED = 0.05
"""Share of a metric's largest mean response from which damage in a zone counts as seen."""

CASES: tuple[tuple[Zone, str, float], ...] = tuple(
    (zone, damage, level)
    for zone in ZONES
    for damage, levels in (*((name, LEVELS) for name in GRADED), ("swap", (1.0,)))
    if zone in PLACES.get(damage, ZONES)
    for level in levels
)
"""What is planted into every picture: where, what, and how strong."""


@dataclass(frozen=True)
class Response:
    """How far one metric moved, for the worse, when one zone of one scenario was damaged."""

    scenario_id: str
    zone: Zone
    damage: str
    level: float
    size: float


@dataclass(frozen=True)
class Audited:
    """What an audit found out about one metric."""

    spec: str
    watched: tuple[Zone, ...]
    blind: tuple[Zone, ...]
    """Zones from which no response may come."""
    sees: tuple[str, ...]
    """Kinds of damage that it is made for; empty for all that move it."""
    exact: bool
    """Whether not the slightest response is allowed from zones that are not the metric's."""
    scenarios: int
    """Pictures on which it has a value."""
    responses: tuple[Response, ...] = ()
    dilutions: tuple[float, ...] = ()
    problem: str | None = None
    """Why there are no numbers: it failed."""
    undefined: str | None = None
    """Why it has no value on some picture."""

    def mean(self, zone: Zone, damage: str | None = None) -> float | None:
        """Mean response to damage in a zone; None where none was planted."""
        sizes = [r.size for r in self.responses if r.zone == zone and damage in (None, r.damage)]
        return float(np.mean(sizes)) if sizes else None

    @property
    def profile(self) -> dict[Zone, float]:
        """Mean response to noise, blur, shift, cast and swap by zone, the largest being 1."""
        everywhere = [damage for damage in (*GRADED, "swap") if damage not in PLACES]
        if self.watched == ("band",):
            everywhere.append("seam")
        means = {}
        for zone in ZONES:
            found = [mean for damage in everywhere if (mean := self.mean(zone, damage)) is not None]
            means[zone] = float(np.mean(found)) if found else 0.0
        largest = max(means.values(), default=0.0)
        return {zone: value / largest if largest > 0 else 0.0 for zone, value in means.items()}

    @property
    def leakage(self) -> float | None:
        """Largest response from a blind zone as a share of that from the metric's own; None without blind zones."""
        if not self.blind:
            return None
        own = max(self.profile[zone] for zone in self.watched)
        return max(self.profile[zone] for zone in self.blind) / own if own > 0 else 1.0

    @property
    def spearman(self) -> float | None:
        """Rank correlation of strength and mean response, averaged over the kinds and zones of damage it sees."""
        found = [self._correlation(zone, damage) for zone, damage in self._seen()]
        return float(np.mean(found)) if found else None

    @property
    def auroc(self) -> float | None:
        """Probability that damage that the metric is to see moves it further than damage in a blind zone."""
        seen = self._seen()
        own = [r.size for r in self.responses if (r.zone, r.damage) in seen]
        blind = [r.size for r in self.responses if r.zone in self.blind]
        return auroc(own, blind) if own and blind else None

    @property
    def dilution(self) -> float | None:
        """How far the value of the same noise moves when the mask grows, in units of what doubling the noise does.

        The median over scenarios; None for metrics that do not watch the keep region, all of it and nothing else.
        """
        return float(np.median(self.dilutions)) if self.dilutions else None

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the bounds that are missed; empty for a metric that passes."""
        if self.problem or not self.responses:
            return (self.problem or self.undefined or "nothing was measured",)
        missed = []
        if self.leakage is not None and self.leakage > (0 if self.exact else LEAKAGE):
            missed.append("leakage")
        if self.spearman is None or self.spearman < SPEARMAN - ROUNDING:
            missed.append("monotonicity")
        if self.auroc is not None and self.auroc < AUROC:
            missed.append("localisation")
        if self.dilution is not None and self.dilution > DILUTION:
            missed.append("dilution")
        return tuple(missed)

    def _seen(self) -> list[tuple[Zone, str]]:
        """Graded damage, by zone, that the metric says it sees, or else that moves it noticeably."""
        pairs = [(zone, damage) for zone in self.watched for damage in self.sees or GRADED]
        means = {pair: self.mean(*pair) or 0.0 for pair in pairs}
        least = NOTICED * max(means.values(), default=0.0)
        return [pair for pair, mean in means.items() if mean > least]

    def _correlation(self, zone: Zone, damage: str) -> float:
        from scipy.stats import spearmanr

        curve: dict[float, list[float]] = {}
        for r in self.responses:
            if (r.zone, r.damage) == (zone, damage):
                curve.setdefault(r.level, []).append(r.size)
        means = [float(np.mean(curve[level])) for level in sorted(curve)]
        return float(spearmanr(sorted(curve), means).statistic) if len(set(means)) > 1 else 0.0


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the probability that a positive exceeds a negative, ties counting half."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


# ------------------------------------------------------------------------------------------------------ tables


def to_csv(results: Iterable[Audited]) -> str:
    """Return the verdicts and the leakage matrix, a row a metric, in plain decimals of six significant digits."""
    header = ["metric", "passes", "missed", "watches", *ZONES, "leakage", "spearman", "auroc", "dilution", "scenarios"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for audited in results:
        measured = bool(audited.responses) and not audited.problem
        shares = [audited.profile[zone] if measured else None for zone in ZONES]
        numbers = [audited.leakage, audited.spearman, audited.auroc, audited.dilution] if measured else [None] * 4
        writer.writerow(
            [
                audited.spec,
                str(not audited.failures).lower(),
                " ".join(audited.failures),
                " ".join(audited.watched),
                *map(decimal, [*shares, *numbers]),
                audited.scenarios,
            ]
        )
    return buffer.getvalue()


def damage_csv(results: Iterable[Audited]) -> str:
    """Return every mean response: a row a metric, zone, kind of damage and strength."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["metric", "zone", "damage", "level", "response"])
    for audited in results:
        for zone, damage, level in CASES:
            key = zone, damage, level
            sizes = [r.size for r in audited.responses if (r.zone, r.damage, r.level) == key]
            if sizes:
                writer.writerow([audited.spec, zone, damage, decimal(level), decimal(float(np.mean(sizes)))])
    return buffer.getvalue()
