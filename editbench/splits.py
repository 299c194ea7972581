"""Boards by turn or by category: the records of a suite, parted into suites of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from editbench.record_files import RecordFile
from editbench.same_suite import check_same_suite

GroupBy = Literal["turn", "category"]
"""What a board can be split by."""


def split(files: Iterable[RecordFile], by: GroupBy) -> list[RecordFile]:
    """Return every run once for each group of its suite's scenarios: `magicbrush[turn=2]`.

    How many scenarios a group has is known from all runs of the suite together: a complete one names them all.

    Args:
        files: the records of runs, of one suite or of several.
        by: the field of a record that tells groups apart.

    Raises:
        EditbenchError: if runs of one suite name disagree about the suite.
    """
    by_name: dict[str, list[RecordFile]] = {}
    for file in files:
        by_name.setdefault(file.header.suite.name, []).append(file)
    return [part for name in sorted(by_name) for part in _parts(by_name[name], by)]


def _parts(files: Sequence[RecordFile], by: GroupBy) -> Iterator[RecordFile]:
    check_same_suite(files)
    ids: dict[int | str, set[str]] = {}
    for file in files:
        for record in file.records:
            ids.setdefault(getattr(record, by), set()).add(record.scenario_id)
    suite = files[0].header.suite
    for group in sorted(ids):
        label = f"[{by}={group}]"
        identity = hashlib.sha256(f"{suite.identity}{label}".encode()).hexdigest()
        part = replace(suite, name=f"{suite.name}{label}", identity=identity, scenarios=len(ids[group]))
        for file in files:
            records = [record for record in file.records if record.scenario_id in ids[group]]
            yield replace(file, header=replace(file.header, suite=part), records=records)
