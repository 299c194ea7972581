"""The picture of an audit: how far each metric moves when one zone is damaged, and which bounds it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from editbench.audit.damage import ZONES
from editbench.audit.findings import Audited
from editbench.types import Zone

ROW, CELL, LABEL, NUMBER = 26, 74, 330, 92
"""Height of a row, and widths of a cell, of the label and of a number, in units of the picture."""
HEAD = 92


@dataclass(frozen=True)
class Tile:
    """One cell of the matrix."""

    zone: Zone
    x: int
    share: float
    text: str
    watched: bool
    """Whether the metric is meant to see damage there."""


@dataclass(frozen=True)
class Line:
    """One metric."""

    audited: Audited
    y: int
    tiles: tuple[Tile, ...]
    numbers: tuple[str, ...]


def render_heatmap(title: str, results: Sequence[Audited]) -> str:
    """Draw the leakage matrix as an SVG that needs nothing else.

    Args:
        title: what was audited.
        results: one row each, in order.
    """
    lines = [_line(audited, HEAD + number * ROW) for number, audited in enumerate(results)]
    environment = Environment(
        loader=PackageLoader("editbench.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("heatmap.svg").render(
        title=title,
        lines=lines,
        zones=[(zone, LABEL + number * CELL + CELL // 2) for number, zone in enumerate(ZONES)],
        columns=[
            (name, LABEL + len(ZONES) * CELL + number * NUMBER + NUMBER - 8)
            for number, name in enumerate(("leakage", "Spearman", "AUROC", "dilution"))
        ],
        verdict=LABEL + len(ZONES) * CELL + 4 * NUMBER + 20,
        width=LABEL + len(ZONES) * CELL + 4 * NUMBER + 260,
        height=HEAD + len(results) * ROW + 64,
        row=ROW,
        cell=CELL,
        label=LABEL,
        head=HEAD,
    )


def _line(audited: Audited, y: int) -> Line:
    tiles = []
    for number, zone in enumerate(ZONES):
        share = 0.0 if audited.problem else audited.profile[zone]
        text = "" if audited.problem else _share(share)
        tiles.append(Tile(zone, LABEL + number * CELL, share, text, zone in audited.watched))
    numbers = (audited.leakage, audited.spearman, audited.auroc, audited.dilution)
    written = tuple("" if number is None or audited.problem else f"{number:.3f}" for number in numbers)
    return Line(audited, y, tuple(tiles), written)


def _share(share: float) -> str:
    return "0" if share == 0 else "<.001" if share < 0.0005 else f"{share:.3f}".removeprefix("0")
