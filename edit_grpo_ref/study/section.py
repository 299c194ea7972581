"""What a report is made of: sections, and numbers as text, always with n or an interval."""

from __future__ import annotations

from dataclasses import dataclass

from edit_grpo_ref.study.statistics import Number


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    """File name and what is to be seen."""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def interval(value: Number) -> str:
    """Return the interval of a number; a dash without one."""
    return "–" if value.low is None or value.high is None else f"[{value.low:.4g}, {value.high:.4g}]"


def cell(value: Number) -> str:
    """Return a number with its interval; n stands elsewhere in the row."""
    if value.mean is None:
        return "–"
    return f"{value.mean:.4g}" + ("" if value.low is None else f" {interval(value)}")


def with_n(value: Number) -> str:
    """Return a number with its interval and how many seeds it is from, or why it has no interval."""
    seeds = ", ".join(map(str, value.without))
    why = f"; no interval: not reached without seed {seeds}" if seeds and len(value.without) == 1 else ""
    why = f"; no interval: not reached without one of seeds {seeds}" if len(value.without) > 1 else why
    return f"{cell(value)} (n = {value.n}{why})"
