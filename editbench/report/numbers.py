"""How metrics and their numbers are written, wherever people or programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from editbench.board import Cell, decimal

ARROWS = {"higher": "↑", "lower": "↓"}


def name_and_options(metric: str) -> tuple[str, str]:
    """Split a metric's spec where its name ends: `psnr:region=keep` is `psnr`, `region=keep`."""
    name, _, options = metric.partition(":")
    return name, options


def decimals(values: Sequence[float], largest: float | None) -> int:
    """Return how many decimals a column gets: three significant digits for its median, within limits.

    Args:
        values: the means of the column.
        largest: upper end of the metric's range; a share gets at least three decimals, anything else two.
    """
    sizes = [abs(value) for value in values if value]
    exponent = int(f"{median_low(sizes):e}".partition("e")[2]) if sizes else 0
    least = 3 if largest is not None and largest <= 1 else 2
    return min(max(2 - exponent, least), 5)


def fixed(value: float, places: int) -> str:
    """Return a number with so many decimals; one that would look like 0 keeps a significant digit.

    >>> fixed(31.257, 1), fixed(0.0, 3), fixed(-0.0001, 3)
    ('31.3', '0.000', '-1e-04')
    """
    if value and abs(value) < 0.5 * 10**-places:
        return f"{value:.0e}"
    return f"{value:.{places}f}"


def interval(cell: Cell, places: int) -> str:
    """Return the 95 % interval in brackets; empty where there is none."""
    low, high = cell.estimate.low, cell.estimate.high
    return "" if low is None or high is None else f"[{fixed(low, places)}, {fixed(high, places)}]"


def explanation(metric: str, signature: str, cell: Cell) -> str:
    """Return everything that is known about one number, for its tooltip."""
    estimate = cell.estimate
    unit = f" {cell.info.unit}" if cell.info.unit else ""
    lines = [f"{metric}: {decimal(estimate.mean)}{unit}" if estimate.mean is not None else f"{metric}: no value"]
    if estimate.low is not None:
        lines.append(f"95 % interval [{decimal(estimate.low)}, {decimal(estimate.high)}]")
    lines.append(f"n = {estimate.n} scenarios in G = {estimate.clusters} clusters")
    lines.append(f"undefined on {cell.undefined}, errors on {cell.errors}")
    if cell.crashes:
        lines.append(f"{len(cell.crashes)} of them on good edits, the first: {cell.crashes[0]}")
    if cell.info.cap is not None:
        lines.append(f"{cell.capped} at the cap of {decimal(cell.info.cap)}{unit}")
    lines.append(f"version {cell.info.version}, signature {signature}")
    return "\n".join(lines)
