"""Runs of one suite have to agree about it: nobody picks a denominator."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from editbench.columns import NUMBER, UNDEFINED
from editbench.record_files import RecordFile
from editbench.types import EditbenchError, Record, Undefined


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
    places: dict[str, int] = {}
    rows = []
    for file in files:
        rows.append(np.fromiter((places.setdefault(name, len(places)) for name in file.columns.ids), np.intp))
    if len(places) <= files[0].header.suite.scenarios and _agree(files, rows, len(places)):
        return
    _tell(files)


def _agree(files: Sequence[RecordFile], rows: Sequence[npt.NDArray[np.intp]], scenarios: int) -> bool:
    """Whether all records of a scenario have the same facts, compared as numbers."""
    known: dict[str, npt.NDArray[np.intp]] = {}
    codes: dict[Hashable, int] = {}

    def number(fact: Hashable) -> int:
        return -1 if fact is None else codes.setdefault(fact, len(codes))

    for file, of_file in zip(files, rows, strict=True):
        columns = file.columns
        facts: dict[str, npt.NDArray[np.intp]] = {
            "cluster": np.fromiter(map(number, columns.clusters), np.intp),
            "category": np.fromiter(map(number, columns.categories), np.intp),
            "pixels": np.fromiter(map(number, columns.pixels), np.intp),
        }
        for metric in file.header.metrics:
            kinds = columns.of_metric(metric).kinds
            facts[f"{metric} {file.header.signature(metric)}"] = np.where(
                (kinds == NUMBER) | (kinds == UNDEFINED), kinds, -1
            ).astype(np.intp)
        for what, found in facts.items():
            settled = known.setdefault(what, np.full(scenarios, -1, np.intp))
            told = found >= 0
            fresh = told & (settled[of_file] < 0)
            settled[of_file[fresh]] = found[fresh]
            if (settled[of_file[told]] != found[told]).any():
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
