"""Room on the disk: what a run will need, looked at before its first edit."""

from __future__ import annotations

import contextlib
import shutil

from editbench.config import parse_shard
from editbench.durable import StorageError, existing
from editbench.plan import Plan
from editbench.png import encode_png

CELL_BYTES = 2000
"""What journal and records hold of one edit, about; a traceback is more."""


def needed_bytes(plan: Plan) -> int:
    """Return about how many bytes the rest of a run will write, all that this shard has to edit.

    It is the size of three of the suite's own sources as PNG, times the edits that are not there yet: rather too little
    than too much, since edits are seldom simpler than their sources.
    """
    made = sum(1 for _ in (plan.store.path / "edits").glob("*.png"))
    left = plan.total // parse_shard(plan.config.shard)[1] - made
    if left <= 0:
        return 0
    sizes = []
    for place in sorted({0, len(plan.suite) // 2, len(plan.suite) - 1} if plan.editor is not None else ()):
        with contextlib.suppress(Exception):  # a suite may be anybody's code, and what is unreadable is not edited
            sizes.append(len(encode_png(plan.suite[place].source)))
    return left * (sum(sizes) // max(1, len(sizes)) + CELL_BYTES)


def free_bytes(plan: Plan) -> int:
    """Return how many bytes are free where a run is written."""
    return shutil.disk_usage(existing(plan.store.path)).free


def check_space(plan: Plan) -> None:
    """Refuse a run that does not fit on the disk.

    Raises:
        StorageError: with what is needed and what is free.
    """
    needed, free = needed_bytes(plan), free_bytes(plan)
    if needed > free:
        raise StorageError(
            f"{plan.store.path}: about {needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free: make room, "
            "or give another --output-dir"
        )
