"""The table of a board: one long CSV, byte for byte the same for the same records."""

from __future__ import annotations

import csv
import io

from editbench.board import Board, decimal

CSV_COLUMNS = (
    "suite",
    "suite_sha256",
    "label",
    "editor",
    "control",
    "mask_access",
    "trained_on",
    "rank",
    "rank_low",
    "rank_high",
    "on_front",
    "complete",
    "coverage",
    "failed",
    "metric",
    "metric_version",
    "signature",
    "direction",
    "unit",
    "mean",
    "ci_low",
    "ci_high",
    "n",
    "clusters",
    "undefined",
    "errors",
    "capped",
    "seed_sd",
    "records_sha256",
)


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
