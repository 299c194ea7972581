"""The table of a board: one long CSV, byte for byte the same for the same records; its schema, and a wide view."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from editbench.board import Board, Column, decimal
from editbench.types import EditbenchError
from editbench.verdicts import level_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Field:
    """One column of the table."""

    name: str
    kind: Literal["string", "boolean", "integer", "number"]
    about: str
    required: bool = True
    """Whether every row has it; what is missing is empty."""


FIELDS = (
    Field("suite", "string", "the suite, name@version with its options"),
    Field("suite_sha256", "string", "identity of the suite"),
    Field("label", "string", "the run's name on the board"),
    Field("editor", "string", "spec of the editor"),
    Field("control", "boolean", "whether its place is known beforehand; controls have no rank"),
    Field("mask_access", "string", "none: never sees the mask; hint: sees it; region: promises to stay inside"),
    Field("trained_on", "string", "metrics and suites that the editor was trained on, with spaces between", False),
    Field("rank", "integer", "place among complete runs that are no controls, by composite", False),
    Field("rank_low", "integer", "first of the ranks in 95 % of the resamples of the suite's clusters", False),
    Field("rank_high", "integer", "last of them", False),
    Field("on_front", "boolean", "whether no other run is better in both success and fidelity", False),
    Field("complete", "boolean", "whether everything that can be tried was tried and scored"),
    Field("coverage", "number", "share of edits that were tried, 0 to 1"),
    Field("failed", "integer", "edits that were tried and failed"),
    Field("verified", "string", "self-reported, recomputed or regenerated: what a verification of these records found"),
    Field("metric", "string", "spec of the metric"),
    Field("metric_version", "integer", "version of the metric"),
    Field("signature", "string", "numbers of one metric with different signatures cannot be compared"),
    Field("direction", "string", "higher, lower or none: what is better"),
    Field("unit", "string", "unit of mean, ci_low, ci_high and seed_sd", False),
    Field("mean", "number", "over scenarios, six significant digits; empty without a value", False),
    Field("ci_low", "number", "lower end of the 95 % interval, which respects clusters", False),
    Field("ci_high", "number", "upper end of it", False),
    Field("n", "integer", "scenarios with a value"),
    Field("clusters", "integer", "sources among them: the unit of resampling"),
    Field("undefined", "integer", "scenarios on which the metric has no value, whatever the editor"),
    Field("errors", "integer", "values that could not be computed, those of failed edits among them"),
    Field("capped", "integer", "values at the metric's cap"),
    Field("seed_sd", "number", "standard deviation between repeats of a scenario, pooled", False),
    Field("records_sha256", "string", "hash of the record file that the row is computed from"),
)
CSV_COLUMNS = tuple(field.name for field in FIELDS)
_PER_RUN = ("suite", "label", "editor", "control", "mask_access", "rank", "complete", "coverage", "failed")
_OF_METRIC = {"": "mean", " ci_low": "ci_low", " ci_high": "ci_high", " n": "n"}
_PANDAS = {"string": "string", "boolean": "boolean", "integer": "Int64", "number": "Float64"}


def schema() -> str:
    """Return the Table Schema (Frictionless Data) of the table, JSON."""
    fields = [
        {
            "name": field.name,
            "type": field.kind,
            "description": field.about,
            **({"trueValues": ["true"], "falseValues": ["false"]} if field.kind == "boolean" else {}),
            **({"constraints": {"required": True}} if field.required else {}),
        }
        for field in FIELDS
    ]
    found = {
        "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
        "fields": fields,
        "missingValues": [""],
        "primaryKey": ["suite", "label", "metric", "signature"],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def read_table(path: str | Path) -> pd.DataFrame:
    """Return the table of a board as pandas holds it best: a missing rank is no NaN, a label "nan" is a text.

    Args:
        path: a CSV that `editbench board` wrote.

    Raises:
        EditbenchError: if its columns are not those of such a table.
    """
    import pandas as pd

    with Path(path).open(encoding="utf-8", newline="") as file:
        head = next(csv.reader(file), [])
    if tuple(head) != CSV_COLUMNS:
        odd = sorted({*CSV_COLUMNS} ^ {*head}) or head
        raise EditbenchError(f"{path}: no table of a board of this version, {', '.join(odd[:5])} differ")
    types = {field.name: _PANDAS[field.kind] for field in FIELDS}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])


def to_wide(boards: Sequence[Board]) -> str:
    """Return boards as one row a run, with mean, interval and n of every metric side by side.

    A metric that a board has under several signatures has columns of its own for each.
    """
    rows: list[dict[str, str]] = []
    heads: dict[str, None] = {}
    for board in boards:
        names = {
            column: column.metric if board.column(column.metric) else f"{column.metric} ({column.signature})"
            for column in board.columns
        }
        heads.update(dict.fromkeys(f"{name}{ending}" for name in names.values() for ending in _OF_METRIC))
        by_label: dict[str, dict[str, str]] = {}
        for line in csv.DictReader(io.StringIO(to_csv(board))):
            row = by_label.setdefault(line["label"], {name: line[name] for name in _PER_RUN})
            name = names[Column(line["metric"], line["signature"])]
            row.update({f"{name}{ending}": line[field] for ending, field in _OF_METRIC.items()})
        rows += by_label.values()
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_PER_RUN, *heads], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_csv(board: Board) -> str:
    """Return the board as a long table, one row a run and metric, in plain decimals of six significant digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in board.rows:
        best, worst = row.rank_range or (None, None)
        for column in sorted(row.cells):
            cell = row.cells[column]
            line = {
                "suite": board.suite.name,
                "suite_sha256": board.suite.identity,
                "label": row.editor.label,
                "editor": row.editor.spec,
                "control": str(row.editor.control).lower(),
                "mask_access": row.editor.mask_access,
                "trained_on": " ".join(row.editor.trained_on),
                "rank": row.rank,
                "rank_low": best,
                "rank_high": worst,
                "on_front": "" if row.on_front is None else str(row.on_front).lower(),
                "complete": str(row.complete).lower(),
                "coverage": decimal(row.coverage),
                "failed": row.failed,
                "verified": level_of(row.verdict),
                "metric": column.metric,
                "metric_version": cell.info.version,
                "signature": column.signature,
                "direction": cell.info.direction,
                "unit": cell.info.unit,
                "mean": decimal(cell.estimate.mean),
                "ci_low": decimal(cell.estimate.low),
                "ci_high": decimal(cell.estimate.high),
                "n": cell.estimate.n,
                "clusters": cell.estimate.clusters,
                "undefined": cell.undefined,
                "errors": cell.errors,
                "capped": cell.capped,
                "seed_sd": decimal(cell.seed_sd),
                "records_sha256": row.records_sha256,
            }
            writer.writerow(line)
    return buffer.getvalue()
