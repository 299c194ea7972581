"""The site of a leaderboards folder: where to begin, methods, metric cards and audit, beside the boards themselves."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from editbench.board import FIDELITY, RANKING, SUCCESS, Board, Row
from editbench.cards import page as cards_page
from editbench.report.numbers import fixed, interval
from editbench.report.page import render, visible
from editbench.specs import slug

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markdown_it.token import Token

INDEX, BOARDS, METHODS, METRICS, AUDIT, STUDY = (
    "index.html",
    "boards.html",
    "methods.html",
    "metrics.html",
    "audit.html",
    "study/index.html",
)
PUBLISHED = "published.html"
TITLES = {
    INDEX: "overview",
    BOARDS: "boards",
    PUBLISHED: "published numbers",
    METHODS: "methods",
    METRICS: "metric cards",
    AUDIT: "audit",
    STUDY: "study",
}
RESPONSES = "-damage.csv"
"""Ends the name of tables of the audit with thousands of rows: linked to, not shown."""
BEST = 5
"""Rows of each board that the first page shows."""
SHOWN = (RANKING, SUCCESS, FIDELITY)
"""Metrics that it shows."""


@dataclass(frozen=True)
class Teaser:
    """One board on the first page."""

    name: str
    board: Board
    anchor: str
    """Where on the page of boards it is; empty for a board that is not there."""
    rows: tuple[tuple[Row, tuple[str, ...]], ...]
    """The best runs, with the numbers of `SHOWN`."""


@dataclass(frozen=True)
class AuditTable:
    """One table of the audit."""

    name: str
    picture: str | None
    responses: str | None
    """The table that it sums up."""
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def links(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the navigation of a site that has these pages: address and title, in the order of the site."""
    there = set(names)
    return [(name, title) for name, title in TITLES.items() if name in there]


def site_pages(
    boards: Mapping[str, Board], off_page: Sequence[str], audit: Mapping[str, str], names: Sequence[str]
) -> dict[str, str]:
    """Return the pages of the site that are not boards, by their file names.

    Args:
        boards: by the name of their CSV.
        off_page: names of boards that are not on the page of boards.
        audit: CSV tables by their file names, and the names of pictures, whose content does not matter.
        names: of all pages that the site has, for its navigation.
    """
    site = links(names)
    summaries = [name for name in sorted(audit) if name.endswith(".csv") and not name.endswith(RESPONSES)]
    tables = [_audit_table(name, audit[name], audit) for name in summaries]
    teasers = [_teaser(name, board, name in off_page) for name, board in sorted(boards.items())]
    pages = {
        INDEX: render("site.html", site=site, here=INDEX, teasers=teasers),
        METHODS: render("methods.html", site=site, here=METHODS),
        METRICS: render("text.html", site=site, here=METRICS, title="Metric cards", body=_markdown(cards_page())),
        AUDIT: render("audit.html", site=site, here=AUDIT, tables=tables),
    }
    return {name: page for name, page in pages.items() if name in names}


def _teaser(name: str, board: Board, off_page: bool) -> Teaser:
    ranked = sorted((row for row in board.rows if row.rank is not None), key=lambda row: row.rank or 0)[:BEST]
    rows = tuple((row, tuple(_number(board, row, metric) for metric in SHOWN)) for row in ranked)
    return Teaser(name, board, "" if off_page else slug(visible(board.suite.name)), rows)


def _number(board: Board, row: Row, metric: str) -> str:
    column = board.column(metric)
    cell = row.cells.get(column) if column else None
    if cell is None or cell.estimate.mean is None:
        return "–"
    return f"{fixed(cell.estimate.mean, 3)} {interval(cell, 3)}"


def _audit_table(name: str, text: str, audit: Mapping[str, str]) -> AuditTable:
    head, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    stem = name.removesuffix(".csv")
    picture, responses = (file if file in audit else None for file in (f"{stem}.svg", f"{stem}{RESPONSES}"))
    return AuditTable(stem, picture, responses, tuple(head), tuple(map(tuple, rows)))


# ---------------------------------------------------------------------------------------------------- Markdown


def _markdown(text: str) -> Markup:
    """Return Markdown as HTML, in which HTML of the text is text, and headings can be linked to by their words."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(visible(text).removeprefix("# Metrics\n"))
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", inline.content)
    return Markup(markdown.renderer.render(_scrolling(tokens), markdown.options, {}))


def _scrolling(tokens: Sequence[Token]) -> list[Token]:
    """Put every table into a box that scrolls, and give columns without a head none."""
    from markdown_it.token import Token

    found = []
    for token in tokens:
        if token.type == "table_open":
            box = Token(
                "html_block", "", 0, content='<div class="scroll table" tabindex="0" role="group" aria-label="table">'
            )
            found.append(box)
        found.append(token)
        if token.type == "table_close":
            found.append(Token("html_block", "", 0, content="</div>\n"))
    return found
