"""A suite that is not what it was when a run was made: which of its scenarios were added, removed or changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from editbench.journal import checksum
from editbench.records import dumps
from editbench.store import RunStore
from editbench.types import EditbenchError, Scenario, Suite

SHOWN = 5
"""Ids that are named of each kind."""
DECODED = 1000
"""Scenarios whose pixels are compared: enough to tell, and soon."""


def text_sum(scenario: Scenario) -> str:
    """Return a checksum of what a scenario says: instruction, prompts, cluster, category, turn."""
    prompts = scenario.source_prompt, scenario.target_prompt
    said = [scenario.instruction, *prompts, scenario.cluster, scenario.category, scenario.turn]
    return checksum(dumps(said).encode())


def refuse_changed(store: RunStore, suite: Suite) -> None:
    """Refuse to go on with a run whose suite has kept its name and changed its identity.

    Raises:
        EditbenchError: with the ids that were added, removed and changed, as far as the run had come.
    """
    if not store.exists():
        return
    header = store.read_header()
    if header.suite.name != suite.name or header.suite.identity == suite.identity:
        return
    lines = "".join(f"\n  {line}" for line in _differences(store, suite, header.suite.scenarios * header.repeats))
    raise EditbenchError(
        f"{suite.name} is not what it was when {store.path} was made (identity {suite.identity[:12]}, then "
        f"{header.suite.identity[:12]}):{lines}\nRestore the suite, or start a new run (--output-dir, --label)."
    )


def _differences(store: RunStore, suite: Suite, cells_of_all: int) -> Iterator[str]:
    cells = store.cells()
    then = {scenario_id: cell.edit for (scenario_id, _), cell in cells.items()}
    added, changed, decoded = [], [], itertools.count()
    for scenario in suite:
        edit = then.pop(scenario.id, None)
        if edit is None:
            added.append(scenario.id)
        elif edit["text_sum"] != text_sum(scenario) or (
            next(decoded) < DECODED and edit["pixels_sha256"] != _pixels(scenario)
        ):
            changed.append(scenario.id)
    kinds = {
        "added" if len(cells) == cells_of_all else "added, or not edited yet": added,
        "removed": sorted(then),
        "changed": changed,
    }
    yield from (f"{kind}: {_named(ids)}" for kind, ids in kinds.items() if ids)
    if not any(kinds.values()):
        yield "what was edited has the same pixels and texts: checks or metadata differ"


def _pixels(scenario: Scenario) -> str | None:
    try:
        return scenario.pixels_sha256
    except Exception:  # a suite may be anybody's code
        return None


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (f", … ({len(ids)})" if len(ids) > SHOWN else "")
