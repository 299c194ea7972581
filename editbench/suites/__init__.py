"""Suites: where scenarios come from, and selections of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from editbench.built_in import BUILT_IN
from editbench.registry import create, lookup
from editbench.specs import did_you_mean
from editbench.types import EditbenchError, Scenario, Suite

if TYPE_CHECKING:
    from editbench.suites.benchmark import Terms


@runtime_checkable
class Inspected(Protocol):
    """A suite that can say what had to be done to accept its pictures."""

    def oddities(self, index: int, /) -> list[str]:
        """Return one line for every picture of a scenario that was not accepted as it is."""


def load_suite(spec: str) -> Suite:
    """Load a suite by its spec string (`shapes@1`, `photos@1`, `shapes@1:size=64`, `folder:PATH`, `piebench:PATH`).

    Raises:
        EditbenchError: naming what is wrong with the spec or the data.
    """
    from editbench.suites.benchmark import Benchmark, Layout

    made = create("suite", spec)
    if isinstance(made, Layout):
        return Benchmark(made)
    suite: Suite = made
    return suite


def published_terms() -> dict[str, Terms]:
    """Return where to get each published benchmark that comes with a loader, and its terms, by name."""
    from editbench.suites.benchmark import Terms

    found = {name: getattr(lookup("suite", name), "terms", None) for name in BUILT_IN["suite"]}
    return {name: terms for name, terms in found.items() if isinstance(terms, Terms)}


@dataclass(frozen=True)
class Selection:
    """Some scenarios of a suite, as an identity and a denominator of their own."""

    suite: Suite
    indices: tuple[int, ...]
    label: str
    """What was selected, for people: `first=24`."""

    @property
    def name(self) -> str:
        """The suite's name and the selection in brackets."""
        return f"{self.suite.name}[{self.label}]"

    @property
    def identity(self) -> str:
        """sha256 of the suite's identity and the selected positions."""
        return hashlib.sha256(f"{self.suite.identity}{list(self.indices)}".encode()).hexdigest()

    @property
    def licence(self) -> str:
        """Terms of the data."""
        return self.suite.licence

    @property
    def citation(self) -> str:
        """What to cite, empty for a suite that asks for nothing."""
        return str(getattr(self.suite, "citation", ""))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Scenario:
        return self.suite[self.indices[index]]

    def __iter__(self) -> Iterator[Scenario]:
        return (self.suite[index] for index in self.indices)


def select_first(suite: Suite, count: int) -> Suite:
    """Select the first `count` scenarios; the suite itself if it has no more than that.

    Raises:
        EditbenchError: for a count below 1.
    """
    if count < 1:
        raise EditbenchError(f"limit {count}, expected at least 1")
    return suite if count >= len(suite) else Selection(suite, tuple(range(count)), f"first={count}")


def select_each(suite: Suite, count: int) -> Suite:
    """Select `count` scenarios of every category, spread over as many clusters as possible: a stratified subset.

    Raises:
        EditbenchError: for a count below 1.
    """
    if count < 1:
        raise EditbenchError(f"each {count}, expected at least 1")
    waiting: dict[str, list[tuple[int, str]]] = {}
    for index, scenario in enumerate(suite):
        waiting.setdefault(scenario.category, []).append((index, scenario.cluster))
    used: Counter[str] = Counter()
    indices = []
    for left in [left for _ in range(count) for left in waiting.values()]:
        if left:
            chosen = min(left, key=lambda found: (used[found[1]], found[0]))
            left.remove(chosen)
            used[chosen[1]] += 1
            indices.append(chosen[0])
    return suite if len(indices) == len(suite) else Selection(suite, tuple(sorted(indices)), f"each={count}")


def select_ids(suite: Suite, ids: Sequence[str]) -> Suite:
    """Select scenarios by id, in the suite's order.

    Raises:
        EditbenchError: if an id is not in the suite.
    """
    positions = {scenario.id: index for index, scenario in enumerate(suite)}
    for wanted in ids:
        if wanted not in positions:
            raise EditbenchError(f"{suite.name} has no scenario {wanted!r}{did_you_mean(wanted, positions)}")
    indices = tuple(sorted({positions[wanted] for wanted in ids}))
    digest = hashlib.sha256("\n".join(sorted(set(ids))).encode()).hexdigest()[:8]
    return Selection(suite, indices, f"ids={digest}")
