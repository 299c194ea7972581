"""A comparison as it is shown on a terminal; no name in it is read as markup."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence, Set

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from editbench.compare import Compared, Comparison, Difference, Duel, Flips
from editbench.compare.power import FACTORS, Need
from editbench.report.numbers import ARROWS, decimals, fixed
from editbench.specs import printable
from editbench.stats import LEAST, Estimate

LISTED = 8
"""Scenarios that are named."""
STYLES = {"better": "bold green", "worse": "bold red", "different": "bold", "equivalent": "cyan", "equal": "dim"}
OPTIONAL = ("d", "won:lost", "detects", "G")
"""Columns that a narrow terminal goes without, the first to go first."""
NARROWEST = {"metric": 12, "slice": 10, "verdict": 7}
"""Columns of words, and the width that they keep: they go on in the next line."""
NOTHING_DETECTED = f"– with fewer than {LEAST} clusters, which cannot show any, or where nothing varies"


def comparison_parts(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Yield the tables and lines of a comparison, in order.

    Args:
        comparison: what to show.
        width: how many characters fit into a line; numbers that do not are left to the CSV.
    """
    shown: set[str] = set()
    for duel in comparison.duels:
        yield _title(duel)
        table = _fitting(duel.differences, width)
        shown.update(_heads(table))
        yield table
        if duel.flips is not None:
            yield _flips(duel.flips)
        if duel.slices:
            yield from _slices(duel, width)
        for name, why in duel.left_out.items():
            yield Text(f"not compared: {printable(name)}, {printable(why)}")
    yield Text(_how_to_read(shown, comparison), style="italic")
    for note in comparison.notes:
        yield Text(f"note: {printable(note)}")


def _heads(table: Table) -> list[str]:
    return [str(column.header) for column in table.columns]


def _how_to_read(shown: Set[str], comparison: Comparison) -> str:
    """Explain the columns that are shown, and no other."""
    pairs = "n, in G clusters" if "G" in shown else "n"
    parts = [
        f"A − B over the scenarios on which both have a value ({pairs}), with a 95 % interval",
        f"p: sign flips of whole clusters, corrected over {comparison.tests} tests (Holm)",
    ]
    if "d" in shown:
        parts.append("d: mean difference in standard deviations")
    if "detects" in shown:
        found = [one.detectable for duel in comparison.duels for one in duel.differences]
        parts.append("detects: the smallest true difference that this suite shows four times in five")
        parts[-1] += f" ({NOTHING_DETECTED})" if None in found else ""
    return f"{'; '.join(parts)}. Verdicts are about A, at 5 %, corrected; unclear does not mean equal."


def _title(duel: Duel) -> Text:
    suite = duel.left.header.suite
    where = f"on {printable(suite.name)}, {suite.scenarios} scenarios"
    return Text(f"A = {_described(duel.left)}\nB = {_described(duel.right)}\n{where}")


def _described(run: Compared) -> str:
    failed = f", {run.failed} of {run.expected} edits failed" if run.failed else ""
    return f"{printable(run.name)} (mask {run.header.editor.mask_access}{failed})"


def _table(columns: Sequence[str], title: str | None = None) -> Table:
    table = Table(title=None if title is None else Text(title), title_justify="left", header_style="bold")
    for column in columns:
        if column in NARROWEST:
            table.add_column(Text(column), overflow="fold", min_width=NARROWEST[column])
        else:
            table.add_column(Text(column), justify="right", no_wrap=True)
    return table


def _fitting(differences: Sequence[Difference], width: int) -> Table:
    """Return the table with as many of its optional columns as there is room for, or in two lines a row."""
    for dropped in range(len(OPTIONAL) + 1):
        table = _differences(differences, OPTIONAL[:dropped])
        if _fits(table, width):
            return table
    return _differences(differences, OPTIONAL, tall=True)


def _fits(table: Table, width: int) -> bool:
    return Console(width=10**4, file=io.StringIO()).measure(table).maximum <= width


def _differences(differences: Sequence[Difference], dropped: Sequence[str], tall: bool = False) -> Table:
    rows = [_tall(_cells(found)) if tall else _cells(found) for found in differences]
    names = [name for name in rows[0] if name not in dropped]
    table = _table(names)
    for found, row in zip(differences, rows, strict=True):
        table.add_row(*(Text(row[name]) for name in names), style=STYLES.get(found.verdict))
    return table


def _tall(cells: Mapping[str, str]) -> dict[str, str]:
    """Stack the two means, and the difference on its interval."""
    return {
        "metric": cells["metric"],
        "A, B": f"{cells['A']}\n{cells['B']}",
        "A − B": cells["A − B"].replace(" ", "\n", 1),
        "n": cells["n"].replace(" of ", " of\n"),
        "p": cells["p"],
        "verdict": cells["verdict"].replace(" (", "\n("),
    }


def _cells(found: Difference) -> dict[str, str]:
    places = _places(found)
    arrow = ARROWS.get(found.info.direction, "")
    verdict: str = found.verdict
    if found.margin is not None:
        verdict += f" (within ±{found.margin:g}: p {_p(found.p_equivalent_corrected)})"
    return {
        "metric": f"{printable(found.metric)} {arrow}".rstrip(),
        "A": _fixed(found.means[0], places),
        "B": _fixed(found.means[1], places),
        "A − B": _interval(found.estimate, places),
        "n": str(found.estimate.n) if set(found.counts) == {found.estimate.n} else _shared(found),
        "G": str(found.estimate.clusters),
        "p": _p(found.p_corrected),
        "d": "–" if found.effect is None else f"{found.effect:+.2f}",
        "won:lost": f"{found.won}:{found.lost}",
        "detects": _fixed(found.detectable, places),
        "verdict": verdict,
    }


def _shared(found: Difference) -> str:
    return f"{found.estimate.n} of {found.counts[0]}, {found.counts[1]}"


def _flips(flips: Flips) -> Text:
    counts = [
        f"{len(flips.won)} won",
        f"{len(flips.lost)} lost",
        f"{flips.both_succeeded} by both",
        f"{flips.both_failed} by neither",
    ]
    if flips.alike:
        counts.append(f"{flips.alike} in equal parts of the repeats")
    lines = [f"success: {', '.join(counts)}"]
    lines += [f"  {word}: {_listed(names)}" for word, names in (("won", flips.won), ("lost", flips.lost)) if names]
    return Text("\n".join(lines))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more (--json has all)" if len(names) > LISTED else ""
    return ", ".join(map(printable, names[:LISTED])) + more


def _slices(duel: Duel, width: int) -> Iterator[RenderableType]:
    metrics = list(dict.fromkeys(part.metric for part in duel.slices))
    while len(metrics) > 1 and not _fits(_slice_table(duel, metrics), width):
        metrics.pop()
    yield _slice_table(duel, metrics)
    left_out = len({part.metric for part in duel.slices}) - len(metrics)
    if left_out:
        yield Text(f"{left_out} more {'metric' if left_out == 1 else 'metrics'} by parts with --csv and --json")


def _slice_table(duel: Duel, metrics: Sequence[str]) -> Table:
    places = {found.metric: _places(found) for found in duel.differences}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for part in duel.slices:
        text = f"{_part(part.estimate, places[part.metric])} n={part.estimate.n}"
        rows.setdefault((part.by, part.value), {})[part.metric] = text
    title = "A − B by parts of the suite (to look around: intervals are not corrected)"
    table = _table(["slice", *map(printable, metrics)], title)
    last = ""
    for (by, value), texts in rows.items():
        if last and by != last:
            table.add_section()
        last = by
        words = printable(value) if by == "category" else f"{by.replace('_', ' ')} {printable(value)}"
        table.add_row(Text(words), *(Text(texts.get(metric, "–")) for metric in metrics))
    return table


def _part(estimate: Estimate, places: int) -> str:
    if estimate.low is None or estimate.low != estimate.high:
        return _interval(estimate, places)
    return f"{_mean(estimate, places)} on each" if estimate.mean else "same"


def needs_parts(comparison: Comparison, needs: Sequence[Need], width: int) -> Iterator[RenderableType]:
    """Yield the tables of what differences need, and how to read them, in lines of `width` characters."""
    shown: set[str] = set()
    for duel in comparison.duels:
        yield _title(duel)
        own = [need for need in needs if need.right == duel.right.name]
        table = _needs(own, FACTORS)
        table = table if _fits(table, width) else _needs(own, FACTORS[:1])
        shown.update(_heads(table))
        yield table
    yield Text(_how_to_plan(shown, needs), style="italic")
    few = min((need.clusters for need in needs if 1 < need.clusters < LEAST), default=None)
    if few is not None:
        least = f"{2.0 ** (1 - few):.2g}"
        yield Text(f"note: {few} clusters cannot give p below {least}; it takes {LEAST} to show any difference at 5 %")


def _how_to_plan(shown: Set[str], needs: Sequence[Need]) -> str:
    factors = [factor for factor in FACTORS if factor == 1 or f"×{factor}" in shown]
    text = "detects: the smallest true difference that is shown four times in five, at 5 % without correction"
    if len(factors) > 1:
        text += f", with {', '.join(map(str, factors[:-1]))} and {factors[-1]} times the clusters"
    if any(value is None for need in needs for value in need.detectable[: len(factors)]):
        text += f" ({NOTHING_DETECTED})"
    return f"{text}; then what a difference needs: clusters like those that there are."


def _needs(needs: Sequence[Need], factors: Sequence[int]) -> Table:
    columns = ["metric", "n", "G", *("detects" if factor == 1 else f"×{factor}" for factor in factors)]
    table = _table([*columns, "to find", "clusters", "scenarios"])
    for need in needs:
        known = [value for value in (*need.detectable, need.size) if value]
        places = max(decimals(known, need.info.range[1]), 3)
        cells = [
            printable(need.metric),
            str(need.n),
            str(need.clusters),
            *(_fixed(value, places) for value in need.detectable[: len(factors)]),
            _fixed(need.size, places),
            *("–" if value is None else f"{value}" for value in (need.clusters_needed, need.scenarios_needed)),
        ]
        table.add_row(*map(Text, cells))
    return table


def _places(found: Difference) -> int:
    values = [*found.means, found.estimate.mean, found.detectable]
    return decimals([abs(value) for value in values if value], found.info.range[1])


def _fixed(value: float | None, places: int) -> str:
    return "–" if value is None else fixed(value, places)


def _interval(estimate: Estimate, places: int) -> str:
    mean = _mean(estimate, places)
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} [{fixed(estimate.low, places)}, {fixed(estimate.high, places)}]"


def _mean(estimate: Estimate, places: int) -> str:
    if estimate.mean is None:
        return "–"
    return ("+" if estimate.mean > 0 else "") + fixed(estimate.mean, places)


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 0.9995 else "1"
