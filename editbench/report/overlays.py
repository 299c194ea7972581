"""The page of a suite: every source with its mask, and what `check` found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from editbench.durable import write_whole
from editbench.report.page import render
from editbench.report.pictures import overlay, thumbnail, thumbnail_mask, write_picture
from editbench.suites.benchmark import Benchmark
from editbench.suites.folder import name_of
from editbench.toys import Finding
from editbench.types import Image, Scenario, Suite

PAGE = "index.html"
PICTURES = "img"
BINS = 20
"""Bars of the histogram of mask area."""


@dataclass(frozen=True)
class Overlay:
    """One scenario of the page."""

    scenario: Scenario
    share: float
    """Part of the picture that the mask covers."""
    source: str
    mask: str
    target: str | None
    checks: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """A scenario that could not be loaded, and of which the findings say nothing."""

    name: str
    """File, line and id, as far as there are any."""
    error: str


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram: masks that cover `low` to `high` per cent of their picture."""

    low: int
    high: int
    count: int
    height: float
    """Relative to the highest bar."""


def write_overlays(suite: Suite, findings: Sequence[Finding], output_dir: Path, limit: int = 200) -> Path:
    """Write the page of a suite and the pictures on it; return the path of the page.

    Args:
        suite: whose scenarios to show.
        findings: what a check of the suite found, shown on top, errors first; what is unreadable and not among them
            is listed too. What the suite says about itself (`notes`) is shown as that.
        output_dir: where the page goes; pictures go into `img/` below it.
        limit: how many scenarios to show, from the first.

    Raises:
        StorageError: if something cannot be written.
    """
    shown: list[Overlay] = []
    unreadable: list[Unreadable] = []
    told = {finding.text for finding in findings}
    about = [text for text in getattr(suite, "notes", ()) if text in told]
    looked_at = 0
    for index, scenario in enumerate(islice(suite, limit)):
        looked_at += 1
        try:
            shown.append(_overlay(scenario, output_dir / PICTURES))
        except Exception as error:  # a suite may be anybody's code
            name = name_of(suite, index, scenario.id)
            if f"{name}: {error}" not in told:
                unreadable.append(Unreadable(name, str(error)))
    bars = _bars([item.share for item in shown])
    masked = [item for item in shown if item.share < 1]
    page = render(
        "overlays.html",
        suite=suite,
        terms=suite.layout.terms if isinstance(suite, Benchmark) else None,
        about=about,
        findings=sorted((found for found in findings if found.text not in about), key=lambda found: not found.error),
        shown=shown,
        unreadable=unreadable,
        looked_at=looked_at,
        bars=bars,
        masked=len(masked),
    )
    write_whole(output_dir / PAGE, [page.encode()])
    return output_dir / PAGE


def _overlay(scenario: Scenario, folder: Path) -> Overlay:
    content = scenario.load()  # and not `scenario.content`, which would keep the pixels of the whole page in memory
    source, mask = thumbnail(content.source), thumbnail_mask(content.mask)
    return Overlay(
        scenario,
        float(content.mask.mean()),
        _written(source, folder),
        _written(overlay(source, mask), folder),
        None if content.target is None else _written(thumbnail(content.target), folder),
        tuple(check.name for check in content.checks),
    )


def _written(image: Image, folder: Path) -> str:
    return f"{PICTURES}/{write_picture(image, folder)}"


def _bars(shares: Iterable[float]) -> list[Bar]:
    counts = [0] * BINS
    for share in shares:
        counts[min(int(share * BINS), BINS - 1)] += 1
    highest = max(*counts, 1)
    return [
        Bar(index * 100 // BINS, (index + 1) * 100 // BINS, count, count / highest)
        for index, count in enumerate(counts)
    ]
