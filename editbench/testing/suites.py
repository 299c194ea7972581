"""What a suite of somebody else's must be: every scenario is read, and everything odd about it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from editbench.registry import create
from editbench.specs import parse
from editbench.suites import Inspected, load_suite
from editbench.suites.benchmark import Layout, problems
from editbench.suites.folder import manifest_problems, name_of
from editbench.toys import Finding
from editbench.types import EditbenchError, Suite

MANY = 3
"""Of scenarios with the same trait that is no fault, so many are named one by one."""


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
    shares, whole = [], []
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
        for text in oddities:
            yield Finding(False, f"{name}: {text}")
        if share == 0:
            yield Finding(False, f"{name}: empty mask, counted as a no-op")
        elif share == 1:
            whole.append(name)
        elif share > 0.9:
            yield Finding(False, f"{name}: the mask covers {share:.0%}: is its polarity right?")
        if not scenario.instruction.strip():
            yield Finding(False, f"{name}: empty instruction")
        if min(scenario.source.shape[:2]) < 16:
            yield Finding(False, f"{name}: a side below 16 pixels")
    if len(whole) <= MANY:
        yield from (Finding(False, f"{name}: the mask covers everything") for name in whole)
    else:
        yield Finding(False, f"{len(whole)} masks cover everything, so nothing is to be kept (first: {whole[0]})")
    if turns:
        text = f"{len(turns)} chains of {min(turns.values())} to {max(turns.values())} turns that can be read"
        yield Finding(False, text)
    if shares:
        low, middle, high = np.quantile(shares, [0, 0.5, 1])
        text = f"{len(shares)} of {len(suite)} scenarios read; mask area {low:.1%} to {high:.1%}, median {middle:.1%}"
        yield Finding(False, text)
