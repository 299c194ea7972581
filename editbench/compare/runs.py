"""The runs that are compared: loaded, named apart, and refused where their numbers do not belong side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from editbench.differences import differences
from editbench.mirrors import told
from editbench.record_files import RecordFile, read_records
from editbench.records import Header
from editbench.same_suite import check_same_scenarios
from editbench.specs import did_you_mean
from editbench.store import RunStore
from editbench.types import EditbenchError

SHOWN = 4
"""Differences that a message names."""


@dataclass(frozen=True)
class Compared:
    """One run that is compared."""

    name: str
    """Its label; with its path where another one has the same."""
    file: RecordFile

    @property
    def header(self) -> Header:
        """The stable part of the run."""
        return self.file.header

    @property
    def expected(self) -> int:
        """How many records a complete run has."""
        return self.header.suite.scenarios * self.header.repeats

    @property
    def tried(self) -> int:
        """Records of edits that were tried, or could not be."""
        return sum(record.edit_status != "not_run" for record in self.file.records)

    @property
    def failed(self) -> int:
        """Edits that were tried and failed."""
        return sum(r.edit_status not in ("ok", "not_run", "input_invalid") for r in self.file.records)


def load_runs(paths: Sequence[Path]) -> list[Compared]:
    """Load run directories and record files.

    Raises:
        EditbenchError: for fewer than two, one that is given twice, or a path that is neither.
    """
    if len(paths) < 2:
        raise EditbenchError(
            f"one run alone ({paths[0]}) cannot be compared: give another run directory or record file after it"
            if paths
            else "nothing to compare: give two run directories or record files"
        )
    resolved = [path.resolve() for path in paths]
    for path, place in zip(paths, resolved, strict=True):
        if resolved.count(place) > 1:
            raise EditbenchError(f"{path} is given twice: a run cannot differ from itself")
    files = [_read(path) for path in paths]
    labels = Counter(file.header.editor.label for file in files)
    return [
        Compared(label if labels[label] == 1 else f"{label} ({told(str(path))})", file)
        for path, file in zip(paths, files, strict=True)
        for label in [file.header.editor.label]
    ]


def _read(path: Path) -> RecordFile:
    if (path / "records").is_dir():
        raise EditbenchError(
            f"{path} is a leaderboards folder: give two of its files, records/<suite>/<label>.jsonl.gz"
        )
    if path.is_file():
        return read_records(path)
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise EditbenchError(f"no run directory or record file {str(path)!r}{near}")
    return RunStore(path).records()


def amounts(texts: Sequence[str], option: str) -> dict[str, float]:
    """Read `METRIC=VALUE` options; the last `=` is the one that counts, since metrics have some of their own.

    Raises:
        EditbenchError: for a text that is no metric and number, or a metric that is given twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        metric, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals or not metric:
            raise EditbenchError(f"--{option} {text!r}, expected METRIC=VALUE, such as composite=0.02")
        if metric in found:
            raise EditbenchError(f"--{option} gives {metric!r} twice")
        found[metric] = value
    return found


def check_same_suite(runs: Sequence[Compared]) -> None:
    """Refuse runs whose scenarios are not the same.

    Raises:
        EditbenchError: naming what differs.
    """
    first = runs[0].header.suite
    for other in runs[1:]:
        suite = other.header.suite
        if first.identity == suite.identity:
            continue
        if first.name == suite.name:
            ours, theirs = (f"{info.identity[:12]} with {info.scenarios} scenarios" for info in (first, suite))
            what = f"suites that are both named {first.name}, {ours} and {theirs}"
        else:
            what = f"suites, {first.name} and {suite.name}"
        raise EditbenchError(f"{runs[0].name!r} and {other.name!r} ran on different {what}: nothing can be paired")
    check_same_scenarios([run.file for run in runs])


@dataclass(frozen=True)
class Agreement:
    """Which metrics of two runs can be compared."""

    metrics: tuple[str, ...]
    """In the order of the first run."""
    left_out: Mapping[str, str]
    """The others, and why."""


def agreement(left: Compared, right: Compared, asked: Sequence[str] | None) -> Agreement:
    """Return the metrics that two runs share under one signature: those asked for, or all.

    Raises:
        EditbenchError: if one that is asked for, or every one, is missing or has another signature.
    """
    ours, theirs = left.header.metrics, right.header.metrics
    for metric in asked or ():
        if metric not in ours and metric not in theirs:
            raise EditbenchError(f"no run has a metric {metric!r}{did_you_mean(metric, {*ours, *theirs})}")
    left_out = {}
    for metric in sorted({*ours, *theirs}) if asked is None else asked:
        if metric not in ours or metric not in theirs:
            left_out[metric] = f"not scored in {(right if metric in ours else left).name!r}"
        elif left.header.signature(metric) != right.header.signature(metric):
            found = differences(_signed(left.header, metric), _signed(right.header, metric))
            left_out[metric] = f"its signature differs: {_listed(found)}"
    metrics = tuple(metric for metric in asked or ours if metric not in left_out)
    refused = [f"{metric}: {why}" for metric, why in left_out.items()]
    if refused and (asked is not None or not metrics):
        raise EditbenchError(f"{left.name!r} and {right.name!r} cannot be compared by {_listed(refused)}")
    if not metrics:
        raise EditbenchError(f"{left.name!r} and {right.name!r} have no metric: score them with `editbench score`")
    return Agreement(metrics, left_out)


def _signed(header: Header, metric: str) -> dict[str, Any]:
    return {**asdict(header.metrics[metric]), "align": header.align}


def _listed(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
