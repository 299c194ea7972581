"""What a suite of somebody else's must be: every scenario is read, and everything odd about it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from editbench.registry import create
from editbench.specs import parse
from editbench.suites import Inspected, load_suite
from editbench.suites.benchmark import Layout, problems
from editbench.suites.folder import manifest_problems, name_of
from editbench.toys import Finding
from editbench.types import EditbenchError, Scenario, Suite

MANY = 3
"""Of scenarios with the same trait, so many are named one by one: what many have must not bury the rest."""


def check_suite(spec: str) -> tuple[Suite | None, list[Finding]]:
    """Read every scenario of a suite; return the suite, if it could be loaded, and what was found."""
    try:
        suite = load_suite(spec)
    except EditbenchError as error:
        return None, [Finding(True, text) for text in _problems(spec) or [str(error)]]
    return suite, list(_suite_findings(suite))


def _problems(spec: str) -> list[str]:
    """Return everything that is wrong outside pixels, where loading stops at the first."""
    parsed = parse(spec)
    if parsed.name == "folder" and parsed.bare:
        return manifest_problems(Path(parsed.bare))
    try:
        made = create("suite", spec)
    except EditbenchError:
        return []
    return problems(made) if isinstance(made, Layout) else []


def _suite_findings(suite: Suite) -> Iterator[Finding]:
    for text in (*getattr(suite, "notes", ()), *getattr(suite, "warnings", ())):
        yield Finding(False, text)
    folded: dict[str, str] = {}
    turns: Counter[str] = Counter()
    shares, traits = [], dict[str, list[tuple[str, str]]]()
    for index, scenario in enumerate(suite):
        name = name_of(suite, index, scenario.id)
        other = folded.setdefault(scenario.id.casefold(), scenario.id)
        if other is not scenario.id:
            yield Finding(True, f"{name}: id {other!r} is the same up to case")
        try:
            share = float(scenario.mask.mean())
            oddities = suite.oddities(index) if isinstance(suite, Inspected) else []
        except Exception as error:  # a suite may be anybody's code
            yield Finding(True, f"{name}: {error}")
            continue
        shares.append(share)
        if scenario.chain is not None:
            turns[scenario.chain] += 1
        for trait, text in (*((text, text) for text in oddities), *_traits(scenario, share)):
            traits.setdefault(trait, []).append((name, text))
    yield from (Finding(False, text) for trait, found in traits.items() for text in _told(trait, found))
    if turns:
        least, most = min(turns.values()), max(turns.values())
        lengths = f"{least} to {most}" if least < most else str(most)
        yield Finding(False, f"{len(turns)} chain{'s' * (len(turns) > 1)} of {lengths} turns that can be read")
    if shares:
        low, middle, high = np.quantile(shares, [0, 0.5, 1])
        text = f"{len(shares)} of {len(suite)} scenarios read; mask area {low:.1%} to {high:.1%}, median {middle:.1%}"
        yield Finding(False, text)


def _traits(scenario: Scenario, share: float) -> Iterator[tuple[str, str]]:
    """Yield what is odd about a scenario, as it is told of many and of this one."""
    if share == 0:
        yield "empty mask, counted as a no-op", "empty mask, counted as a no-op"
    elif share == 1:
        yield "the mask covers everything, so nothing is to be kept", "the mask covers everything"
    elif share > 0.9:
        yield (
            "the mask covers more than 90%: is its polarity right?",
            f"the mask covers {share:.0%}: is its polarity right?",
        )
    if not scenario.instruction.strip():
        yield "empty instruction", "empty instruction"
    if min(scenario.source.shape[:2]) < 16:
        yield "a side below 16 pixels", "a side below 16 pixels"


def _told(trait: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    if len(found) > MANY:
        yield f"{len(found)} scenarios: {trait} (first: {found[0][0]})"
    else:
        yield from (f"{name}: {text}" for name, text in found)
