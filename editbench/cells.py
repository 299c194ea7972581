"""What is known of one edit and its values: the events of a journal, taken together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from editbench.records import Header, value_from_json
from editbench.types import Record

Key: TypeAlias = tuple[str, int]
"""Scenario id and repeat."""

_FROM_EDIT = tuple(f.name for f in fields(Record) if f.name not in ("values", "flags"))


@dataclass
class Cell:
    """What the journal knows of one (scenario, repeat)."""

    edit: Mapping[str, Any]
    values: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Metric spec to the signature and the JSON value of its latest score."""

    def add(self, values: Mapping[str, Any], signatures: Mapping[str, str]) -> None:
        """Take in the JSON values of a score event."""
        self.values.update({spec: (signatures[spec], value) for spec, value in values.items()})

    @property
    def name(self) -> str:
        """What scores call the edit: the beginning of its hash, or how it failed."""
        return str(self.edit["edit_sha256"] or self.edit["edit_status"])[:16]

    def has(self, spec: str, signature: str) -> bool:
        """Whether a metric with this signature has been evaluated."""
        return spec in self.values and self.values[spec][0] == signature

    def record(self, header: Header) -> Record:
        """Return the record, with those of the header's metrics that have been evaluated."""
        values = {
            spec: value_from_json(self.values[spec][1])
            for spec in header.metrics
            if self.has(spec, header.signature(spec))
        }
        return Record(**{name: self.edit[name] for name in _FROM_EDIT}, flags=tuple(self.edit["flags"]), values=values)


def take_in(cells: dict[Key, Cell], event: Mapping[str, Any], signatures: Mapping[str, str]) -> None:
    """Add an edit, or a score of the edit that is there, to what is known; `signatures` are those of the score."""
    key = event["scenario_id"], event["repeat"]
    if event["type"] == "edit":
        cells[key] = Cell(event)
    elif key in cells and event["of"] == cells[key].name:
        cells[key].add(event["values"], signatures)
