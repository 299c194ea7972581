"""The conformance run of a loader: items are written in a benchmark's format, loaded, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from editbench.suites import load_suite
from editbench.testing.examples import Example, examples
from editbench.toys import Finding
from editbench.types import EditbenchError, Image, Scenario

LOSSY = 8.0
"""Mean absolute error, in levels, up to which a picture counts as the same: JPEG files are part of some formats."""


@dataclass(frozen=True)
class Written:
    """A writer of one benchmark's on-disk format."""

    write: Callable[[Path, Sequence[Example]], Sequence[Example]]
    """Writes items below a folder; returns what a right loader gives, in its order."""
    size: tuple[int, int] = (96, 128)
    """Height and width of the items, where the format fixes them."""
    count: int = 4


def check_loader(spec: str, written: Written, folder: Path) -> list[Finding]:
    """Write examples in a benchmark's format, load them and compare; return what is not as it should be.

    Args:
        spec: of the suite, with the folder as `PATH`: `piebench:PATH`.
        written: the writer of that format.
        folder: an empty folder to write to.
    """
    expected = written.write(folder, examples(written.count, *written.size))
    try:
        suite = load_suite(spec.replace("PATH", str(folder)))
    except EditbenchError as error:
        return [Finding(True, str(error))]
    if len(suite) != len(expected):
        return [Finding(True, f"{len(suite)} scenarios, expected {len(expected)}")]
    findings = []
    for scenario, example in zip(suite, expected, strict=True):
        try:
            findings += [Finding(True, f"{scenario.id}: {text}") for text in _differences(scenario, example)]
        except EditbenchError as error:
            findings.append(Finding(True, f"{scenario.id}: {error}"))
    return findings


def _differences(scenario: Scenario, example: Example) -> Iterator[str]:
    for name in ("id", "instruction", "source_prompt", "target_prompt", "category", "chain", "turn"):
        found, wanted = getattr(scenario, name), getattr(example, name)
        if found != wanted and not (name == "category" and not wanted):
            yield f"{name} {found!r}, expected {wanted!r}"
    if not _alike(scenario.source, example.source):
        yield "another source"
    if (scenario.target is None) != (example.target is None):
        yield f"{'no' if scenario.target is None else 'a'} target"
    elif scenario.target is not None and example.target is not None and not _alike(scenario.target, example.target):
        yield "another target"
    wanted_mask = np.ones(scenario.mask.shape, np.bool_) if example.mask is None else example.mask
    if scenario.mask.shape != wanted_mask.shape:
        yield f"mask of shape {scenario.mask.shape}, expected {wanted_mask.shape}"
    elif np.array_equal(scenario.mask, ~wanted_mask):
        yield "the mask is inverted"
    elif wrong := int((scenario.mask != wanted_mask).sum()):
        yield f"{wrong} pixels of the mask are wrong"


def _alike(found: Image, wanted: Image) -> bool:
    return found.shape == wanted.shape and float(np.abs(found.astype(int) - wanted).mean()) < LOSSY
