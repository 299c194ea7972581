"""Metrics: loading, describing and evaluating them. What a value may depend on is decided here, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editbench.records import MetricInfo, stable_reason
from editbench.registry import create, package_version, spec_of
from editbench.specs import split_list
from editbench.types import Detailed, EditbenchError, Failed, Metric, Sample, Scenario, Undefined, Value

DEFAULT_METRICS = (
    "composite",
    "success",
    "success_graded",
    "noop",
    "psnr:region=keep",
    "ssim:region=keep",
    "mae:region=keep",
    "changed:region=keep",
    "delta_e:region=keep",
    "st_lpips:region=keep",
    "mae:region=band",
    "seam",
    "band_jump",
    "leak_profile",
    "far_change",
    "mae:region=edit",
    "target:psnr,region=edit",
    "target:ssim,region=edit",
)
"""What is measured unless `--metrics` says otherwise: ranking, edit success, non-edit fidelity, ground truth."""

ROUNDING = 1e-6
"""How far beyond its range a value may lie for rounding's sake."""
NO_EDIT = Failed("no edit")
INPUT_INVALID = Failed("input invalid")


def load_metrics(specs: str | Iterable[str | Metric] | None = None) -> dict[str, Metric]:
    """Create metrics, keyed by canonical spec.

    Args:
        specs: a list as written on the command line, specs or metric objects one by one, or None for the default.

    Raises:
        EditbenchError: for a spec that names no metric, or one that is given twice.
    """
    if isinstance(specs, str):
        specs = split_list(specs)
    metrics: dict[str, Metric] = {}
    for item in DEFAULT_METRICS if specs is None else specs:
        metric: Any = create("metric", item) if isinstance(item, str) else item
        if not isinstance(metric, Metric):
            raise EditbenchError(f"{item!r} is not a metric (it lacks one of version, direction, …, score)")
        spec = spec_of(metric)
        if spec in metrics:
            raise EditbenchError(f"metric {spec!r} is given twice")
        metrics[spec] = metric
    return metrics


def describe(metric: Metric) -> MetricInfo:
    """Return what a record file says about a metric."""
    low, high = (end if math.isfinite(end) else None for end in metric.range)
    libraries = {name: package_version(name) or "none" for name in metric.libraries}
    if getattr(metric, "device", None):
        libraries["device"] = metric.device  # type: ignore[attr-defined]
    return MetricInfo(
        version=metric.version,
        direction=metric.direction,
        unit=metric.unit,
        range=(low, high),
        cap=getattr(metric, "cap", None),
        failed_value=getattr(metric, "failed_value", None),
        libraries=libraries,
        weights=dict(getattr(metric, "weights", {})),
    )


def undefined_reason(metric: Metric, scenario: Scenario) -> str | None:
    """Return why a metric has no value on a scenario, whatever the editor; None if it has one."""
    extra = getattr(metric, "undefined", None)
    reason: str | None = extra(scenario) if extra else None
    if reason:
        return reason
    region = getattr(metric, "region", None)
    if region is not None and not scenario.region(region).any():
        return f"empty {region} region"
    if "target" in metric.needs and scenario.target is None:
        return "no target"
    if "checks" in metric.needs and not scenario.checks:
        return "no checks"
    if "target_prompt" in metric.needs and not scenario.target_prompt:
        return "no target prompt"
    return None


def values_without_edit(metrics: Mapping[str, Metric], scenario: Scenario) -> dict[str, Value]:
    """Return the values of a failed edit: undefined where every editor's is, otherwise an error."""
    return {spec: _without_scoring(metric, scenario) or NO_EDIT for spec, metric in metrics.items()}


def _without_scoring(metric: Metric, scenario: Scenario) -> Undefined | Failed | None:
    """Return the value of a metric that cannot be evaluated on a scenario, None for one that can."""
    try:
        reason = undefined_reason(metric, scenario)
    except Exception as error:  # a metric may be anybody's code
        return Failed(stable_reason(error))
    return Undefined(reason) if reason else None


def score(metrics: Mapping[str, Metric], samples: Sequence[Sample]) -> list[dict[str, Value]]:
    """Evaluate every metric on every sample.

    A metric that raises on a batch is tried sample by sample; a sample on which it still raises gets `Failed`.

    Returns:
        One mapping from spec to value for each sample, in order.
    """
    rows: list[dict[str, Value]] = [{} for _ in samples]
    for spec, metric in metrics.items():
        defined = []
        for row, sample in zip(rows, samples, strict=True):
            settled = _without_scoring(metric, sample.scenario)
            if settled:
                row[spec] = settled
            else:
                defined.append((row, sample))
        values = _score_batch(metric, [sample for _, sample in defined])
        for (row, _), value in zip(defined, values, strict=True):
            row[spec] = value
    return rows


def _score_batch(metric: Metric, samples: Sequence[Sample]) -> list[Value]:
    if not samples:
        return []
    try:
        values = list(metric.score(samples))
        if len(values) != len(samples):
            raise ValueError(f"returned {len(values)} values for {len(samples)} samples")
    except Exception as error:  # a metric may be anybody's code
        if len(samples) > 1:
            return [value for sample in samples for value in _score_batch(metric, [sample])]
        return [Failed(stable_reason(error))]
    return [_checked(metric, value) for value in values]


def _checked(metric: Metric, value: object) -> Value:
    if isinstance(value, Undefined | Failed):
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # TypeError, ValueError, OverflowError, a tensor's RuntimeError
        return Failed(f"returned {type(value).__name__}, expected a number")
    if not math.isfinite(number):
        return Failed("non-finite value")
    low, high = metric.range
    if not low - ROUNDING <= number <= high + ROUNDING:
        return Failed(f"value {number:g} outside the metric's range [{low:g}, {high:g}]")
    return value if isinstance(value, Detailed) else number
