"""Any source-referenced metric, measured against the suite's ground truth instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from editbench.regions import RegionName
from editbench.registry import bare, create
from editbench.specs import split_list
from editbench.types import Content, Direction, Metric, Need, Sample, Scenario, Value


@dataclass(frozen=True)
class Target:
    """Another metric, with the ground truth in the place of the source: `target:mae,region=edit`.

    References:
        Those of the metric.

    Disagreements:
        The ground truth is one right answer among many: another shade of the colour that was asked for, or another
        background behind what was removed, is an error here and none to `success` or `judge`.

    Args:
        region: where to compare.
        metric: a metric that compares output and source over a region: its name, or its spec without the region, in
            brackets if it has commas (`target:[lpips:net=vgg,margin=8],region=keep`).
    """

    region: RegionName
    metric: str = bare()

    def __post_init__(self) -> None:
        if self.metric == "target":
            raise ValueError("target:target is circular")
        _ = self._inner

    @cached_property
    def _inner(self) -> Metric:
        (spec,) = split_list(f"{self.metric},region={self.region}")
        inner: Metric = create("metric", spec)
        return inner

    @property
    def version(self) -> int:
        """That of the metric."""
        return self._inner.version

    @property
    def direction(self) -> Direction:
        """That of the metric."""
        return self._inner.direction

    @property
    def unit(self) -> str:
        """That of the metric."""
        return self._inner.unit

    @property
    def range(self) -> tuple[float, float]:
        """That of the metric."""
        return self._inner.range

    @property
    def needs(self) -> tuple[Need, ...]:
        """A target, and what the metric needs."""
        return ("target", *self._inner.needs)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the metric."""
        return self._inner.libraries

    @property
    def cap(self) -> float | None:
        """That of the metric, if it has one."""
        return getattr(self._inner, "cap", None)

    @property
    def weights(self) -> Mapping[str, str]:
        """Those of the metric: values, and so their signature, depend on them."""
        weights: Any = getattr(self._inner, "weights", {})
        return dict(weights)

    @property
    def device(self) -> str | None:
        """What the metric runs on, if it is a network."""
        return getattr(self._inner, "device", None)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the metric itself has no value on a scenario."""
        extra = getattr(self._inner, "undefined", None)
        reason: str | None = extra(scenario) if extra else None
        return reason

    def score(self, samples: Sequence[Sample]) -> Sequence[Value]:
        """Return one value a sample."""
        return self._inner.score([_against_target(sample) for sample in samples])


def _against_target(sample: Sample) -> Sample:
    if "against_target" not in sample.memo:
        target, mask = sample.scenario.target, sample.scenario.mask
        assert target is not None
        scenario = replace(sample.scenario, load=lambda: Content(source=target, mask=mask))
        sample.memo["against_target"] = Sample(scenario, sample.output)
    against: Sample = sample.memo["against_target"]
    return against
