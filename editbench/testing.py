"""The conformance suite: what an editor, a metric or a suite of somebody else's must do, in a short friendly run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from editbench.conformance import check_editor
from editbench.metrics import load_metrics, score
from editbench.registry import create
from editbench.specs import parse
from editbench.suites.folder import FolderSuite, manifest_problems, name_of
from editbench.toys import Finding, toy_scenarios
from editbench.types import EditbenchError, Failed, Sample, Suite, Value

__all__ = ("Finding", "check_editor", "check_metric", "check_suite", "toy_scenarios")


# ------------------------------------------------------------------------------------------------------- suites


def check_suite(spec: str) -> tuple[Suite | None, list[Finding]]:
    """Read every scenario of a suite; return the suite, if it could be loaded, and what was found."""
    try:
        suite: Suite = create("suite", spec)
    except EditbenchError as error:
        parsed = parse(spec)
        problems = manifest_problems(Path(parsed.bare)) if parsed.name == "folder" and parsed.bare else []
        return None, [Finding(True, text) for text in problems or [str(error)]]
    return suite, list(_suite_findings(suite))


def _suite_findings(suite: Suite) -> Iterator[Finding]:
    folded: dict[str, str] = {}
    shares = []
    for index, scenario in enumerate(suite):
        name = name_of(suite, index, scenario.id)
        other = folded.setdefault(scenario.id.casefold(), scenario.id)
        if other is not scenario.id:
            yield Finding(True, f"{name}: id {other!r} is the same up to case")
        try:
            share = float(scenario.mask.mean())
            oddities = suite.oddities(index) if isinstance(suite, FolderSuite) else []
        except Exception as error:  # a suite may be anybody's code
            yield Finding(True, f"{name}: {error}")
            continue
        shares.append(share)
        for text in oddities:
            yield Finding(False, f"{name}: {text}")
        if share == 0:
            yield Finding(False, f"{name}: empty mask, counted as a no-op")
        elif share > 0.9:
            what = "covers everything" if share == 1 else f"covers {share:.0%}: is its polarity right?"
            yield Finding(False, f"{name}: the mask {what}")
        if not scenario.instruction.strip():
            yield Finding(False, f"{name}: empty instruction")
        if min(scenario.source.shape[:2]) < 16:
            yield Finding(False, f"{name}: a side below 16 pixels")
    if shares:
        low, middle, high = np.quantile(shares, [0, 0.5, 1])
        text = f"{len(shares)} of {len(suite)} scenarios read; mask area {low:.1%} to {high:.1%}, median {middle:.1%}"
        yield Finding(False, text)


# ------------------------------------------------------------------------------------------------------ metrics


def check_metric(metric: Any) -> list[Finding]:
    """Evaluate a metric (a spec or an object) on toy scenarios; return what is wrong or worth knowing."""
    try:
        ((spec, loaded),) = load_metrics([metric]).items()
    except EditbenchError as error:
        return [Finding(True, str(error))]
    scenarios = toy_scenarios()
    random = np.random.default_rng(0)
    samples = []
    for scenario in scenarios:
        noise = random.integers(-30, 31, scenario.source.shape)
        noisy = np.clip(scenario.source + noise, 0, 255).astype(np.uint8)
        samples += [Sample(scenario, scenario.source.copy()), Sample(scenario, noisy)]
    together = [row[spec] for row in score({spec: loaded}, samples)]
    alone = [score({spec: loaded}, [Sample(s.scenario, s.output)])[0][spec] for s in samples]
    findings = []
    low, high = loaded.range
    for sample, value, single in zip(samples, together, alone, strict=True):
        name = sample.scenario.id
        if value != single:
            findings.append(Finding(True, f"{name}: {value} in a batch, {single} alone: values must not mix samples"))
        if isinstance(value, float) and not low <= value <= high:
            findings.append(Finding(True, f"{name}: {value}, outside the declared range [{low}, {high}]"))
        if not isinstance(value, float):
            word = "failed" if isinstance(value, Failed) else "undefined"
            findings.append(Finding(word == "failed", f"{name}: {word}: {value.reason}"))
    findings += _direction_findings(loaded.direction, together)
    return list(dict.fromkeys(findings))


def _direction_findings(direction: str, values: list[Value]) -> Iterator[Finding]:
    pairs = [
        (clean, noisy)
        for clean, noisy in zip(values[::2], values[1::2], strict=True)
        if isinstance(clean, float) and isinstance(noisy, float)
    ]
    wrong = [pair for pair in pairs if (pair[0] < pair[1] if direction == "higher" else pair[0] > pair[1])]
    if wrong and direction != "none":
        text = (
            f"noise scores better than the untouched source on {len(wrong)} of {len(pairs)} (direction {direction!r})"
        )
        yield Finding(False, text)
