"""Loops over faults and bad inputs: a short cut in every run, all of them with `--long` (`tox -e reliability`).

Each loop says what it tried and what held. With `--long` these figures are printed at the end and kept in
docs/reliability.md, between its two markers.
"""

from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


@pytest.fixture(scope="session")
def long(request):
    """Whether to go through all of it."""
    return request.config.getoption("--long", False)


@pytest.fixture
def figure(request):
    """Keep what a loop tried and how much of it held; the loop has checked it by then."""

    def keep(what, tried, survived):
        request.node.user_properties.append(("figure", (what, tried, survived)))

    return keep


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="all faults and all inputs, and the table in the docs")


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    rows = sorted(tuple(kept) for report in reports for name, kept in report.user_properties if name == "figure")
    if not rows:
        return
    lines = ["| what | tried | survived |\n", "|---|---|---|\n"]
    lines += [f"| {what} | {tried:,} | {survived:,} |\n" for what, tried, survived in rows]
    terminalreporter.section("figures")
    terminalreporter.write("".join(lines))
    if config.getoption("--long") and not terminalreporter.stats.get("failed"):
        text = TABLE.read_text()
        before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        TABLE.write_text(before + "".join(lines) + after)
