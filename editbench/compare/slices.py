"""Parts of a suite: by category, which records keep, and by the geometry of masks, for which the suite is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from editbench.record_files import RecordFile
from editbench.regions import Mask
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

SLICES = ("category", "mask_size", "boundary")
PARTS = 3
"""Parts of equal numbers of scenarios that geometry is cut into."""
EXACT = 17
"""Digits that tell any two numbers apart."""


def slices_of(file: RecordFile, by: str) -> dict[str, str]:
    """Return which part of the suite each scenario of a record file belongs to.

    Raises:
        EditbenchError: for an unknown kind, or where the suite's masks are not available.
    """
    if by == "category":
        return {record.scenario_id: record.category for record in file.records}
    if by not in GEOMETRY:
        raise EditbenchError(f"slice {by!r}, expected {', '.join(SLICES)}{did_you_mean(by, SLICES)}")
    measure, unit = GEOMETRY[by]
    return _parts({name: measure(mask) for name, mask in _masks(file, by).items()}, unit)


def mask_size(mask: Mask) -> float:
    """Return the share of the picture that may be edited, in percent."""
    return 100 * float(mask.mean())


def boundary(mask: Mask) -> float:
    """Return the length of the mask's border: pixel edges between edit and keep, in sides of a square of equal area."""
    edges = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return float(edges) / math.sqrt(mask.size)


GEOMETRY: Mapping[str, tuple[Callable[[Mask], float], str]] = {
    "mask_size": (mask_size, " %"),
    "boundary": (boundary, " sides"),
}


def _masks(file: RecordFile, by: str) -> dict[str, Mask]:
    from editbench.suites import load_suite

    info = file.header.suite
    pixels = {record.scenario_id: record.pixels_sha256 for record in file.records}
    missing = f"records keep no masks, so slices by {by} need {info.spec!r}"
    try:
        suite = load_suite(info.spec)
    except EditbenchError as error:
        raise EditbenchError(f"{missing}, which cannot be loaded: {error}") from None
    masks = {}
    for scenario in suite:
        wanted = pixels.get(scenario.id)
        if wanted is not None:
            if scenario.pixels_sha256 != wanted:
                raise EditbenchError(f"{missing} as it was: the pixels of {scenario.id!r} are others now")
            masks[scenario.id] = scenario.mask
    return masks


def _parts(values: Mapping[str, float], unit: str) -> dict[str, str]:
    """Cut scenarios into parts of about equal number by a value; equal values stay together."""
    found = sorted(values.values())
    cuts = [found[len(found) * part // PARTS] for part in range(1, PARTS)] if found else []
    part_of = {name: int(np.searchsorted(cuts, value, side="right")) for name, value in values.items()}
    members: dict[int, list[float]] = {}
    for name, part in part_of.items():
        members.setdefault(part, []).append(values[name])
    edges = {part: (min(of_part), max(of_part)) for part, of_part in members.items()}
    digits = _digits([edge for pair in edges.values() for edge in pair])
    names = {part: f"{low:.{digits}g}–{high:.{digits}g}{unit}" for part, (low, high) in edges.items()}
    return {name: names[part] for name, part in part_of.items()}


def _digits(edges: Sequence[float]) -> int:
    """Return how many digits tell edges apart: parts go by their names, and two with one name would be one part."""
    distinct = len(set(edges))
    return next((n for n in range(3, EXACT) if len({f"{edge:.{n}g}" for edge in edges}) == distinct), EXACT)


def order_of(values: Sequence[str]) -> list[str]:
    """Return the parts of a suite in the order in which they are shown: numbers by size, categories by name."""

    def key(text: str) -> tuple[float, str]:
        first = text.split("–")[0]
        try:
            return float(first), text
        except ValueError:
            return math.inf, text

    return sorted(set(values), key=key)
