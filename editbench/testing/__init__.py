"""The conformance suite: what an editor, a metric or a suite of somebody else's must do, in a short friendly run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from editbench.conformance import check_editor
from editbench.metrics import load_metrics, score
from editbench.testing.examples import Example, examples
from editbench.testing.loaders import Written, check_loader
from editbench.testing.suites import check_suite
from editbench.toys import Finding, toy_scenarios
from editbench.types import EditbenchError, Failed, Sample, Value

__all__ = (
    "Example",
    "Finding",
    "Written",
    "check_editor",
    "check_loader",
    "check_metric",
    "check_suite",
    "examples",
    "toy_scenarios",
)


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
