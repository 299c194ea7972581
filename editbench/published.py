"""Numbers that others have published: read strictly, kept to the last printed digit, compared with each other.

Nothing here was measured by editbench. A number is beside one of ours only if both are of the same legacy metric, whose
spec it bears; what only a publication has is called `published:NAME`, which no metric of ours is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from editbench.built_in import BUILT_IN
from editbench.registry import create, spec_of
from editbench.specs import SpecError, did_you_mean, parse
from editbench.types import Direction, EditbenchError

SOURCE_KINDS = ("paper", "readme", "third-party rerun", "secondary note")
"""Who says so: the authors in a paper or a repository, somebody who ran it again, or somebody who copied it."""
EVIDENCE = ("repository", "paper", "issue", "note", "memory")
"""Where the number was read for this table."""
STATUSES = ("read", "unconfirmed")
"""Unconfirmed: from memory, nobody has looked it up."""
SCALES = ("1", "100", "1000", "10000")
"""What a table prints is the metric times this."""
PREFIX = "published:"
LEGACY = "legacy_"


class Published(NamedTuple):
    """A metric that we do not compute."""

    direction: Direction
    low: float
    high: float


METRICS: Mapping[str, Published] = {
    "ale_target_external_leakage": Published("lower", 0, inf),
    "ale_target_internal_leakage": Published("lower", 0, inf),
    "cocoedit_dino": Published("higher", -1, 1),
    "cocoedit_human_rank": Published("lower", 1, inf),
    "cocoedit_lpips": Published("lower", 0, inf),
    "cocoedit_psnr": Published("higher", 0, inf),
    "cocoedit_ssim": Published("higher", -1, 1),
    "compbench_lc_i_gain": Published("higher", -inf, inf),
    "compbench_lc_t_gain": Published("higher", -inf, inf),
    "compbench_psnr_gain": Published("higher", -inf, inf),
    "compbench_ssim_gain": Published("higher", -inf, inf),
    "compbench_user_preference": Published("higher", 0, 1),
    "flowdc_clip_i": Published("higher", 0, 100),
    "flowdc_clip_t": Published("higher", 0, 100),
    "flowdc_dino": Published("higher", 0, 100),
    "flowdc_lpips": Published("lower", 0, 100),
    "gedit_overall": Published("higher", 0, 10),
    "imgedit_overall": Published("higher", 1, 5),
    "risebench_accuracy": Published("higher", 0, 1),
    "scar_clip": Published("higher", 0, 100),
}
"""By the name that follows `published:`; leaderboards/published/README.md says what each is."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_FORMULA = ("=", "+", "-", "@")
_REQUIRED = ("benchmark", "method", "metric", "source")


@dataclass(frozen=True)
class PublishedCell:
    """One published number and where it stands."""

    benchmark: str
    """Name of its suite here, and of the file: `piebench`."""
    split: str
    """Which part of the benchmark."""
    track: str
    """Which of several ways to evaluate on that part; may be empty."""
    scenarios: int | None
    """Size of the split as its publisher gives it; None if not known."""
    method: str
    metric: str
    """Spec of our legacy metric of the same definition, or `published:NAME`."""
    value: Decimal
    """As printed, with its decimals."""
    scale: int
    """What is printed is the metric times this."""
    direction: Direction
    source_kind: str
    """One of SOURCE_KINDS."""
    source: str
    """Repository, table, issue, arXiv id."""
    date: str
    """ISO date of the version of the source that was read; empty if not known."""
    evidence: str
    """One of EVIDENCE."""
    status: str
    """One of STATUSES."""
    disagreement: tuple[Decimal, ...]
    """What other sources print for the same thing, in the metric's own unit; computed, see `compared`."""
    doubt: str
    """Why a reader should not trust the number; empty if nothing speaks against it."""
    note: str
    """Conditions: model, judge, hardware."""

    @property
    def number(self) -> Decimal:
        """The value in the metric's own unit, exactly."""
        return self.value.scaleb(1 - len(str(self.scale)))

    @property
    def subject(self) -> tuple[str, str, str, str, str]:
        """What the number is of: two sources that differ here disagree."""
        return self.benchmark, self.split, self.track, self.method, self.metric


COLUMNS = tuple(field.name for field in fields(PublishedCell))


class InvalidPublished(EditbenchError):
    """A table of published numbers that cannot be trusted; the message names file, line and value."""


# ---------------------------------------------------------------------------------------------------- reading


def shipped_folder() -> Path:
    """Return the folder of tables that comes with the package, in a clone that of its leaderboards."""
    packaged = Path(__file__).parent / "published_tables"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "leaderboards" / "published"


def read_published(folder: Path) -> tuple[PublishedCell, ...]:
    """Read every CSV of a folder, sorted, disagreements computed.

    Raises:
        InvalidPublished: if there is none, or naming file, line, value and what was expected.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InvalidPublished(f"{folder} has no tables of published numbers (*.csv)")
    return tuple(cell for path in paths for cell in read_table(path))


def read_table(path: Path) -> tuple[PublishedCell, ...]:
    """Read the table of one benchmark, sorted; its column of disagreements is not read but computed.

    Raises:
        InvalidPublished: naming file, line, value and what was expected.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InvalidPublished(f"{path}: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    seen: dict[tuple[str, ...], int] = {}
    cells = []
    try:
        header = next(rows, [])
        for name in header:
            _check_choice("column", name, COLUMNS)
        if tuple(header) != COLUMNS:
            raise ValueError(f"columns {','.join(header)!r}, expected {','.join(COLUMNS)!r}")
        for row in rows:
            cell = _cell(row, path.stem)
            key = (*cell.subject, cell.source)
            if key in seen:
                raise ValueError(f"{', '.join(key)!r} is in line {seen[key]} already: one source, one number")
            seen[key] = rows.line_num
            cells.append(cell)
    except (csv.Error, ValueError, SpecError) as error:
        raise InvalidPublished(f"{path}:{rows.line_num}: {error}") from None
    return compared(cells)


def _cell(row: Sequence[str], benchmark: str) -> PublishedCell:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} fields, expected {len(COLUMNS)}: a text with a comma stands in double quotes")
    texts = dict(zip(COLUMNS, row, strict=True))
    for name, text in texts.items():
        _check_text(name, text)
    if not _NAME.fullmatch(texts["benchmark"]) or texts["benchmark"] != benchmark:
        raise ValueError(f"benchmark {texts['benchmark']!r}, expected the name of the file, {benchmark!r}")
    _check_choice("source_kind", texts["source_kind"], SOURCE_KINDS)
    _check_choice("evidence", texts["evidence"], EVIDENCE)
    _check_choice("status", texts["status"], STATUSES)
    if texts["evidence"] == "memory" and texts["status"] != "unconfirmed":
        raise ValueError(f"status {texts['status']!r}, expected 'unconfirmed': the evidence is memory")
    if texts["scenarios"] and not re.fullmatch("[1-9][0-9]{0,8}", texts["scenarios"]):
        raise ValueError(f"scenarios {texts['scenarios']!r}, expected a whole number from 1, or nothing")
    if not _NUMBER.fullmatch(texts["value"]) or len(texts["value"]) > 24:
        raise ValueError(f"value {texts['value']!r}, expected a decimal number as printed: 69.43, 0.0299")
    _check_choice("scale", texts["scale"], SCALES)
    _check_date(texts["date"])
    read: dict[str, Any] = {
        "scenarios": int(texts["scenarios"]) if texts["scenarios"] else None,
        "value": Decimal(texts["value"]),
        "scale": int(texts["scale"]),
        "direction": _metric(texts["metric"]).direction,
        "disagreement": (),
    }
    cell = PublishedCell(**{**texts, **read})
    if texts["direction"] != cell.direction:
        raise ValueError(f"direction {texts['direction']!r}, expected {cell.direction!r}: that of {cell.metric}")
    _, low, high = _metric(cell.metric)
    if not low <= cell.number <= high:
        raise ValueError(
            f"value {texts['value']!r} at scale {cell.scale} is {cell.number:f}, outside the range [{low:g}, {high:g}] "
            f"of {cell.metric}: check both"
        )
    return cell


def _check_text(name: str, text: str) -> None:
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"{name} {text!r}, expected printable text without spaces around it")
    if name not in ("value", "disagreement") and text.startswith(_FORMULA):
        raise ValueError(f"{name} {text!r}, expected text that no spreadsheet takes for a formula")
    if name in _REQUIRED and not text:
        raise ValueError(f"{name} is empty")


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r}, expected one of {', '.join(known)}{did_you_mean(value, known)}")


def _check_date(text: str) -> None:
    if not text:
        return
    expected = f"date {text!r}, expected YYYY, YYYY-MM, YYYY-MM-DD or nothing"
    if not _DATE.fullmatch(text):
        raise ValueError(expected)
    try:
        date.fromisoformat(text + "2000-01-01"[len(text) :])
    except ValueError:
        raise ValueError(expected) from None


@cache
def _metric(metric: str) -> Published:
    """Return the direction and the range of a metric's name; raises ValueError for one that is not known."""
    if metric.startswith(PREFIX):
        name = metric.removeprefix(PREFIX)
        if name not in METRICS:
            raise ValueError(f"metric {metric!r} is not known{did_you_mean(name, METRICS)}")
        return METRICS[name]
    legacy = [name for name in BUILT_IN["metric"] if name.startswith(LEGACY)]
    name = parse(metric).name
    if name not in legacy:  # nothing else is created: a spec can name a file of code
        raise ValueError(f"metric {metric!r}, expected legacy_…:NAME or published:NAME{did_you_mean(name, legacy)}")
    made = create("metric", metric)
    if spec_of(made) != metric:
        raise ValueError(f"metric {metric!r}, expected its canonical spec {spec_of(made)!r}")
    return Published(made.direction, *made.range)


# -------------------------------------------------------------------------------------------------- comparing


def compared(cells: Iterable[PublishedCell]) -> tuple[PublishedCell, ...]:
    """Return cells sorted, each with what other sources say of the same thing, where rounding does not explain it.

    Two printed numbers agree if they may be one number, rounded: 0.0299 and 0.02994 do, 0.0299 and 0.0142 do not.
    """
    ordered = sorted(cells, key=lambda c: (c.benchmark, c.split, c.track, c.method, c.source_kind, c.source, c.metric))
    by_subject: dict[tuple[str, ...], list[PublishedCell]] = {}
    for cell in ordered:
        by_subject.setdefault(cell.subject, []).append(cell)
    return tuple(
        replace(
            cell,
            disagreement=tuple(
                sorted({other.number for other in by_subject[cell.subject] if _differ(cell.number, other.number)})
            ),
        )
        for cell in ordered
    )


def _differ(one: Decimal, other: Decimal) -> bool:
    rounding = sum(Decimal((0, (1,), int(number.as_tuple().exponent))) for number in (one, other)) / 2
    return abs(one - other) >= rounding


def to_csv(cells: Iterable[PublishedCell]) -> str:
    """Return the table of one benchmark as it stands on disk: sorted, with its disagreements."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in compared(cells):
        row = {name: getattr(cell, name) for name in COLUMNS}
        row["value"] = f"{cell.value:f}"
        row["scenarios"] = "" if cell.scenarios is None else cell.scenarios
        row["disagreement"] = " ".join(f"{number:f}" for number in cell.disagreement)
        writer.writerow(row.values())
    return buffer.getvalue()
