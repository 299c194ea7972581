"""Merge the shards of one run that were made in different directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from editbench import journal
from editbench.cells import Cell, Key
from editbench.compaction import compact
from editbench.config import RunConfig
from editbench.differences import changed_fields
from editbench.names import address_of
from editbench.plan import chosen_suite
from editbench.records import Header
from editbench.store import RunStore
from editbench.types import EditbenchError

Found: TypeAlias = dict[Key, tuple[Cell, RunStore]]
"""Cells and the runs that they were found in."""


def merge_runs(output_dir: Path, runs: Sequence[Path]) -> list[str]:
    """Merge runs of the same header into one directory.

    Args:
        output_dir: where to write; a run of the same header may be there already.
        runs: run directories.

    Returns:
        The ids of scenarios that no run has, or has not scored; the records are written when there are none.

    Raises:
        EditbenchError: if the runs differ in suite, editor, seed or metrics, or disagree about a scenario.
        StorageError: if results cannot be written.
    """
    stores = [RunStore(path) for path in runs]
    header = stores[0].read_header()
    for store in stores[1:]:
        changed = changed_fields(header, store.read_header(), metrics=True)
        if changed:
            lines = "\n  ".join(changed)
            raise EditbenchError(f"{stores[0].path} and {store.path} are different runs:\n  {lines}")
    merged: Found = {}
    for store in stores:
        _gather(header, merged, store, store.cells())
    target = RunStore(output_dir)
    details = stores[0].read_run()
    target.begin(
        header,
        {
            "config": {**details["config"], "shard": "1/1", "output_dir": None},
            "merged_from": [address_of(path) or str(path) for path in runs],
            "canaries": sorted({line for store in stores for line in store.read_run().get("canaries", ())}),
        },
    )
    target.open_journal("merged")
    try:
        there: Found = {key: (cell, target) for key, cell in target.cells().items()}
        for key, (cell, store) in merged.items():
            _gather(header, there, store, {key: cell})
        _copy(target, {key: found for key, found in there.items() if found[1] is not target})
        cells = target.cells()
        of_all = header.suite.scenarios * header.repeats
        if len(cells) == of_all and compact(target, header, (cells[key] for key in sorted(cells))):
            return []
    finally:
        target.close()
    complete = {key for key, cell in cells.items() if len(cell.record(header).values) == len(header.metrics)}
    suite = chosen_suite(RunConfig.from_mapping(details["config"]))
    return [s.id for s in suite if any((s.id, repeat) not in complete for repeat in range(header.repeats))]


def _gather(header: Header, found: Found, store: RunStore, cells: Mapping[Key, Cell]) -> None:
    """Add the cells of a store to what was found, in the place of cells that have been scored less."""
    for key, cell in cells.items():
        other, where = found.get(key, (None, None))
        if other is None or where is None or _extends(header, cell, other):
            found[key] = cell, store
        elif not _extends(header, other, cell, or_equals=True):
            raise EditbenchError(f"{where.path} and {store.path} disagree about {key[0]!r} (repeat {key[1]})")


def _extends(header: Header, cell: Cell, other: Cell, or_equals: bool = False) -> bool:
    """Whether a cell holds the edit of another one, all its values, and more."""
    more, less = cell.record(header), other.record(header)
    return (
        replace(more, values={}) == replace(less, values={})
        and less.values.items() <= more.values.items()
        and (or_equals or len(more.values) > len(less.values))
    )


def _copy(target: RunStore, cells: Found) -> None:
    events: list[dict[str, object]] = []
    for (scenario_id, repeat), (cell, store) in cells.items():
        sha256 = cell.edit["edit_sha256"]
        if sha256 is not None and not target.edits.path_of(sha256).exists():
            target.edits.write_edit(sha256, store.edits.verified_png(sha256))
        signatures = {spec: signature for spec, (signature, _) in cell.values.items()}
        values = {spec: value for spec, (_, value) in cell.values.items()}
        score = {
            "type": "score",
            "scenario_id": scenario_id,
            "repeat": repeat,
            "of": cell.name,
            "signed": journal.signed(signatures),
            "values": values,
        }
        events += [{"type": "start", "signatures": signatures}, dict(cell.edit), score]
    target.append(events)
