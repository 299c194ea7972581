"""Two runs, told apart: which fields of their headers differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editbench.records import Header


def changed_fields(old: Header, new: Header, metrics: bool) -> list[str]:
    """Return one line for each field in which two headers differ, apart from where the suite lies.

    Args:
        old: what is compared with.
        new: what is compared.
        metrics: whether metrics count too.
    """
    left_out = {"schema"} if metrics else {"schema", "metrics"}
    before, after = (
        {key: value for key, value in header.to_json().items() if key not in left_out} for header in (old, new)
    )
    return differences(_without_place(before), _without_place(after))


def _without_place(header: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the spec of the suite: the same data, by their identity, may lie elsewhere."""
    return {**header, "suite": {key: value for key, value in header["suite"].items() if key != "spec"}}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line for each leaf that differs between two JSON objects: `editor.spec: 'a' -> 'b'`."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines
