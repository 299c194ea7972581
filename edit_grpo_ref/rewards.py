"""Rewards: expressions over the harness's own metrics, evaluated in batches; and reward maps for dense credit.

The number that ranks a board and the number that trains a policy come from the same object. A sample whose metric
fails, is undefined or gives no finite number has no reward: it is left out of its group and counted by reason, never
given a low score, because a low score teaches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edit_grpo_ref.expressions import Expression, ExpressionError, Values, parse
from edit_grpo_ref.services import Service
from editbench.metrics import load_metrics, score
from editbench.registry import spec_of
from editbench.types import EditbenchError, Failed, Image, Metric, Sample, Scenario, Undefined, Value

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """The rewards of a batch."""

    values: Mapping[str, Values]
    """Reward name (`edit`, `keep`) to float64 `(N,)`; 0 where there is none."""
    valid: npt.NDArray[np.bool_]
    """`bool (N,)`: whether a sample has all its rewards."""
    failures: Counter[str]
    """How many samples do not, by the first reason of each."""


def joined(parts: Sequence[Scored]) -> Scored:
    """Return the rewards of batches as those of one."""
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    failures = sum((part.failures for part in parts), Counter[str]())
    return Scored(values, np.concatenate([part.valid for part in parts]), failures)


@dataclass(frozen=True)
class Rewards:
    """Named reward expressions with everything loaded that they need."""

    expressions: Mapping[str, Expression]
    metrics: Mapping[str, Metric]
    """Every metric once, by canonical spec."""
    services: Mapping[str, Service]
    """Every reward service once, by address."""
    spelt: Mapping[str, str]
    """Each term as written to its canonical spec or address."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The canonical specs of all metrics and services: a board marks these columns."""
        return tuple(sorted({*self.metrics, *self.services}))

    def __call__(self, samples: Sequence[Sample]) -> Scored:
        """Evaluate every expression on every sample; metrics that expressions share are evaluated once."""
        values: dict[str, Values] = {}
        reasons: dict[str, list[str | None]] = {}
        rows = score(self.metrics, samples)
        for spec in self.metrics:
            values[spec], reasons[spec] = _split(spec, [row[spec] for row in rows])
        for address, service in self.services.items():
            values[address], reasons[address] = _split(address, service.score(samples))
        named = {term: values[spec] for term, spec in self.spelt.items()}
        results: dict[str, Values] = {}
        first: list[str | None] = [None] * len(samples)
        for name, expression in self.expressions.items():
            result = expression(named) if len(samples) else np.empty(0)
            for index in np.flatnonzero(~np.isfinite(result)):
                why = (reasons[self.spelt[term]][index] for term in expression.terms)
                first[index] = first[index] or next(filter(None, why), f"reward {name} is not finite")
            results[name] = np.where(np.isfinite(result), result, 0.0)
        valid = np.array([reason is None for reason in first], dtype=np.bool_)
        return Scored(results, valid, Counter(reason for reason in first if reason))


def _split(term: str, found: Sequence[Value]) -> tuple[Values, list[str | None]]:
    """Return values with NaN where there is none, and the reasons there."""
    values: Values = np.full(len(found), np.nan)
    reasons: list[str | None] = []
    for index, value in enumerate(found):
        if isinstance(value, Undefined | Failed):
            reasons.append(f"{term}: {value.reason}")
        else:
            values[index] = value
            reasons.append(None)
    return values, reasons


def load_rewards(expressions: Mapping[str, str], timeout: float = 30.0) -> Rewards:
    """Parse reward expressions and load their metrics.

    Args:
        expressions: reward name (`edit`, `keep`) to expression.
        timeout: seconds that a reward service may take for one batch.

    Raises:
        ExpressionError: for what cannot be read, or a term that names no metric; it points at the place.
    """
    parsed = {name: parse(text) for name, text in expressions.items()}
    metrics: dict[str, Metric] = {}
    services: dict[str, Service] = {}
    spelt: dict[str, str] = {}
    for expression in parsed.values():
        for term, position in expression.terms.items():
            try:
                if term.startswith(("http://", "https://")):
                    services[term] = Service(term, timeout)
                    spelt[term] = term
                    continue
                ((spec, metric),) = load_metrics([term]).items()
            except EditbenchError as error:
                raise ExpressionError(expression.text, position, str(error)) from None
            metrics[spec] = metric
            spelt[term] = spec_of(metric)
    return Rewards(parsed, metrics, services, spelt)


# -------------------------------------------------------------------------------------------------- reward maps


def change_map(scenario: Scenario, output: Image) -> Array:
    """Return |output − source| averaged over channels, `(H, W)` in [0, 1]: what each pixel lost of the source."""
    return _difference(output, scenario.source)


def target_map(scenario: Scenario, output: Image) -> Array | None:
    """Return |output − target| averaged over channels, `(H, W)` in [0, 1]; None where the suite has no target."""
    return None if scenario.target is None else _difference(output, scenario.target)


def _difference(left: Image, right: Image) -> Array:
    distance = np.abs(left.astype(np.int16) - right)
    total: Array = (distance[..., 0] + distance[..., 1] + distance[..., 2]).astype(np.float32)
    return total / np.float32(3 * 255)


def reward_maps(samples: Sequence[Sample], grid: tuple[int, int]) -> tuple[dict[str, Array], dict[str, bool]]:
    """Return, for samples of one scenario, the reward of every cell of the policy's grid.

    The keep reward of a cell is −|output − source| averaged over the cell's own keep pixels, the edit reward
    −|output − target| over its own edit pixels; a cell without such pixels has 0 in every sample, which teaches
    nothing. Cells are the pixels `[i·H/h, (i+1)·H/h)`, as in area pooling.

    Args:
        samples: samples of one scenario.
        grid: rows and columns.

    Returns:
        `edit` and `keep`, each float32 `(N, h, w)`, and for each whether it could be computed: the edit map needs a
        target.
    """
    scenario = samples[0].scenario
    keep = _pool_over([change_map(scenario, sample.output) for sample in samples], scenario.region("keep"), grid)
    found = {"keep": True, "edit": scenario.target is not None}
    if scenario.target is None:
        return {"keep": keep, "edit": np.zeros_like(keep)}, found
    errors = [_difference(sample.output, scenario.target) for sample in samples]
    return {"keep": keep, "edit": _pool_over(errors, scenario.region("edit"), grid)}, found


def _pool_over(errors: Sequence[Array], region: npt.NDArray[np.bool_], grid: tuple[int, int]) -> Array:
    """Average errors over a region's pixels in each cell, and negate; 0 in cells without any."""
    inside = region.astype(np.float32)
    sums = _pool(np.stack(errors) * inside, grid)
    counts = _pool(inside[None], grid)
    means: Array = np.divide(sums, counts, out=np.zeros_like(sums), where=np.broadcast_to(counts > 0, sums.shape))
    return -means


def _pool(maps: Array, grid: tuple[int, int]) -> Array:
    """Sum `(N, H, W)` over the cells of a grid; a pixel that two cells share belongs to both, as in area pooling."""
    for axis, cells in ((1, grid[0]), (2, grid[1])):
        size = maps.shape[axis]
        if size % cells == 0:
            shape = (*maps.shape[:axis], cells, size // cells, *maps.shape[axis + 1 :])
            maps = maps.reshape(shape).sum(axis=axis + 1)
        else:
            bounds = [(cell * size // cells, -(-(cell + 1) * size // cells)) for cell in range(cells)]
            maps = np.stack([maps.take(range(low, high), axis).sum(axis) for low, high in bounds], axis)
    return maps
