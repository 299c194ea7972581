"""Runs of one suite have to agree about it: nobody picks a denominator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from editbench.record_files import RecordFile
from editbench.types import EditbenchError, Record, Undefined

_DEFINED = np.array([-1, 1, 0, -1])
"""By kind: whether a metric has a value on a scenario, whatever the editor; -1 where the record cannot tell."""


def check_same_suite(files: Sequence[RecordFile]) -> None:
    """Raise EditbenchError if runs of one suite name are of different suites, or share a label."""
    suite = files[0].header.suite
    labels: set[str] = set()
    for file in files:
        label = file.header.editor.label
        if (file.header.suite.identity, file.header.suite.scenarios) != (suite.identity, suite.scenarios):
            raise EditbenchError(
                f"{label!r} and {files[0].header.editor.label!r} ran on different suites that are both named "
                f"{suite.name}: a corrected suite needs a new version"
            )
        if label in labels:
            raise EditbenchError(f"two runs on {suite.name} are labelled {label!r}: give one another --label")
        labels.add(label)


def check_same_scenarios(files: Sequence[RecordFile]) -> None:
    """Compare what records say about scenarios, which is the same for every editor.

    Args:
        files: of runs on one suite.

    Raises:
        EditbenchError: naming the first scenario on which two runs differ.
    """
    if not _agree(files):
        _tell(files)


def _agree(files: Sequence[RecordFile]) -> bool:
    """Whether all records of a scenario have the same facts, compared as numbers."""
    codes: dict[str | None, int] = {None: -1}
    before: dict[str, tuple[Sequence[str | None], npt.NDArray[np.intp]]] = {}
    places: dict[str | None, int] = {}
    known: dict[str, npt.NDArray[np.intp]] = {}
    agreed: set[tuple[str, bytes]] = set()
    rows = np.zeros(0, np.intp)

    def numbered(what: str, texts: Sequence[str | None], numbers: dict[str | None, int]) -> npt.NDArray[np.intp]:
        if what not in before or before[what][0] != texts:  # complete runs have the same
            coded = (numbers.setdefault(text, len(numbers)) for text in texts)
            before[what] = texts, np.fromiter(coded, np.intp, len(texts))
        return before[what][1]

    scenarios = files[0].header.suite.scenarios
    for file in files:
        columns = file.columns
        previous, rows = rows, numbered("scenario", columns.ids, places)
        if rows is not previous:
            agreed.clear()
        if len(places) > scenarios:
            return False
        facts = {
            "cluster": numbered("cluster", columns.clusters, codes),
            "category": numbered("category", columns.categories, codes),
            "pixels": numbered("pixels", columns.pixels, codes),
        }
        for metric in file.header.metrics:
            kinds = columns.of_metric(metric).kinds
            facts[f"{metric} {file.header.signature(metric)}"] = _DEFINED[kinds]
        for what, found in facts.items():
            if (fact := (what, found.tobytes())) in agreed:  # most runs say the same
                continue
            agreed.add(fact)
            settled = known.setdefault(what, np.full(scenarios, -1, np.intp))
            told = found >= 0
            fresh = told & (settled[rows] < 0)
            settled[rows[fresh]] = found[fresh]
            if (settled[rows[told]] != found[told]).any():
                return False
    return True


def _tell(files: Sequence[RecordFile]) -> None:
    """Find the first scenario on which two runs differ, and raise an error that names them."""
    suite = files[0].header.suite
    ids: set[str] = set()
    facts: dict[tuple[str, str], tuple[str, str]] = {}
    for file in sorted(files, key=lambda file: -len(file.records)):
        label = file.header.editor.label
        names = {metric: f"{metric} ({file.header.signature(metric)})" for metric in file.header.metrics}
        for record in file.records:
            name = record.scenario_id
            ids.add(name)
            if len(ids) > suite.scenarios:
                raise EditbenchError(f"{label!r} has records of {name!r}: not one of {suite.name}'s {suite.scenarios}")
            for what, fact in _facts(record, names):
                first, found = facts.setdefault((name, what), (label, fact))
                if found != fact:
                    raise EditbenchError(
                        f"scenario {name!r} of {suite.name}: {what} is {found} according to {first!r} and {fact} "
                        f"according to {label!r}, but does not depend on the editor"
                    )


def _facts(record: Record, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "the cluster", repr(record.cluster)
    yield "the category", repr(record.category)
    if record.pixels_sha256 is not None:
        yield "the hash of its pixels", record.pixels_sha256[:12]
    for metric, name in names.items():
        value = record.values.get(metric)
        if isinstance(value, float | Undefined):
            yield name, "undefined" if isinstance(value, Undefined) else "a number"
