"""Which pictures of a benchmark are not there: links rot, downloads stop half-way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from editbench.suites.pictures import Reference, file_of


class Coverage:
    """Counts rows whose source is not there, with one listing a folder instead of a question a file."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, frozenset[str]] = {}
        self._total = 0
        self._missing = Counter[str]()
        self._first: dict[str, str] = {}

    def count(self, scenario_id: str, pictures: Mapping[str, Reference | None]) -> None:
        """Look for the pictures of one scenario: its source, mask and target, as far as it has them."""
        self._total += 1
        for what, reference in pictures.items():
            if reference is not None and not self._there(reference):
                self._missing[what] += 1
                self._first.setdefault(what, scenario_id)

    def notes(self) -> list[str]:
        """Return one sentence for every kind of picture that is missing somewhere."""
        return [
            f"{count} of {self._total} scenarios have no {what} file (first: {self._first[what]}): "
            f"they stay in the suite as input_invalid, coverage {1 - count / self._total:.1%}"
            for what, count in self._missing.items()
        ]

    def _there(self, reference: Reference) -> bool:
        path = self._root / file_of(reference)
        if path.parent not in self._listed:
            try:
                self._listed[path.parent] = frozenset(found.name for found in path.parent.iterdir())
            except (OSError, ValueError):  # a name with a NUL in it
                self._listed[path.parent] = frozenset()
        return path.name in self._listed[path.parent]
