"""The record format: a header with the stable part of a run, then one canonical JSON line per (scenario, repeat)."""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property, lru_cache
from typing import Any

from editbench.names import ID, ID_RULE, LABEL, LABEL_RULE, NAME_RULE, SHA256, is_name, shown
from editbench.reading import dumps as dumps
from editbench.reading import finite
from editbench.reading import loads as loads
from editbench.types import EDIT_STATUSES, Detailed, EditbenchError, Failed, MaskAccess, Record, Undefined, Value

SCHEMA = 1
"""Raised when a reader of today could misread a file of tomorrow."""


class InvalidRecords(EditbenchError):
    """A record file, journal or run.json that cannot be trusted; the message names file and line."""


# ------------------------------------------------------------------------------------------------------ header


@dataclass(frozen=True)
class SuiteInfo:
    """Which scenarios a run is about."""

    name: str
    identity: str
    scenarios: int
    spec: str
    """Loads the whole suite again; a selection is in the name."""


@dataclass(frozen=True)
class EditorInfo:
    """Which editor a run is about."""

    spec: str
    label: str
    mask_access: MaskAccess
    control: bool = False
    trained_on: tuple[str, ...] = ()
    code_sha256: str | None = None
    """Hash of the file of an editor named by `path.py:Name`."""


@dataclass(frozen=True)
class MetricInfo:
    """What a board needs to know about a metric, and everything its values depend on but the run."""

    version: int
    direction: str
    unit: str
    range: tuple[float | None, float | None]
    """None stands for an infinite end."""
    cap: float | None = None
    failed_value: float | None = None
    """What a failed edit counts as; None leaves it out of the mean."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """The stable part of a run: no times, no hardware, no paths but those of its specs."""

    suite: SuiteInfo
    editor: EditorInfo
    seed: int
    repeats: int
    align: str
    metrics: Mapping[str, MetricInfo]
    same_seed: bool = False
    """Whether all repeats of a scenario had one seed."""
    schema: int = SCHEMA

    def signature(self, metric: str) -> str:
        """Return the signature of one metric of this run as 12 hex digits.

        Numbers with different signatures never share a column: it covers the metric's spec and version, the suite,
        the alignment policy, the weights and the library versions that matter.
        """
        return self._signatures[metric]

    @cached_property
    def _signatures(self) -> dict[str, str]:
        parts = {metric: [metric, vars(info), self.suite.identity, self.align] for metric, info in self.metrics.items()}
        return {metric: hashlib.sha256(dumps(part).encode()).hexdigest()[:12] for metric, part in parts.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON data; `same_seed` is left out unless it is set."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data |= {"suite": dict(vars(self.suite)), "editor": dict(vars(self.editor))}
        data["metrics"] = {metric: dict(vars(info)) for metric, info in self.metrics.items()}
        return {name: value for name, value in data.items() if name != "same_seed" or value}

    @classmethod
    def from_json(cls, data: Any) -> Header:
        """Read a header back.

        Raises:
            InvalidRecords: for a newer schema or a field that is missing, unknown or of the wrong type.
        """
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
            raise InvalidRecords("no editbench header (a JSON object with a schema number)")
        if data["schema"] > SCHEMA:
            raise InvalidRecords(f"schema {data['schema']} is newer than {SCHEMA}: upgrade editbench to read it")
        try:
            metrics = {
                name: MetricInfo(**{**info, "range": tuple(info["range"])}) for name, info in data["metrics"].items()
            }
            editor = EditorInfo(**{**data["editor"], "trained_on": tuple(data["editor"]["trained_on"])})
            suite = SuiteInfo(**data["suite"])
            header = cls(**{**data, "suite": suite, "editor": editor, "metrics": metrics})
        except (AttributeError, KeyError, TypeError) as error:
            raise InvalidRecords(f"malformed header ({str(error)[:200]})") from error
        _check_types(data)
        header.check()
        return header

    def check(self) -> None:
        """Raise InvalidRecords for a number that makes no sense, or a text that may not stand in a table."""
        if not LABEL.fullmatch(self.editor.label):
            raise InvalidRecords(f"label {shown(self.editor.label)}, expected {LABEL_RULE}")
        names = [self.suite.name, self.suite.spec, self.suite.identity, self.editor.spec, *self.editor.trained_on]
        for text in (*names, *self.metrics, *(info.unit for info in self.metrics.values())):
            if not is_name(text):
                raise InvalidRecords(f"{shown(text)} in the header, expected {NAME_RULE}")
        for number, least in ((self.repeats, 1), (self.suite.scenarios, 1), (self.seed, 0)):
            if not least <= number < 2**63:
                raise InvalidRecords(f"{shown(number)} repeats, scenarios or seed, expected {least} or more")
        for bound in (b for info in self.metrics.values() for b in (info.cap, info.failed_value, *info.range)):
            if bound is not None and not -1e308 < bound < 1e308:
                raise InvalidRecords(f"{shown(bound)} as a bound of a metric, expected a finite number")


def _check_types(data: Any) -> None:
    from pydantic import ValidationError

    try:
        _header_type().validate_json(dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRecords(f"malformed header ({where}: {first['msg']}, got {shown(first['input'])})") from None


@cache
def _header_type() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Header)


# ----------------------------------------------------------------------------------------------------- records


def encodable(said: object) -> str:
    """Return the text of anything, in what UTF-8 can hold: a lone surrogate becomes `?`, a broken `__str__` nothing."""
    try:
        return str(said).encode(errors="replace").decode()
    except Exception:
        return ""


def stable_reason(error: BaseException) -> str:
    """Return one line about an exception without what varies from run to run: memory addresses, temporary files."""
    text = encodable(error)
    with contextlib.suppress(FileNotFoundError):  # there may be no temporary folder at all
        text = re.sub(rf"(?<!\w){re.escape(tempfile.gettempdir())}/[^\s/'\"]+", "{tmp}", text)
    text = " ".join(re.sub(r"0x[0-9a-fA-F]+", "0x…", text).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def value_to_json(value: Value) -> dict[str, Any]:
    """Return a metric's value as `{"value": x}`, `{"undefined": reason}` or `{"error": reason}`."""
    if isinstance(value, Undefined | Failed):
        return {"undefined" if isinstance(value, Undefined) else "error": value.reason}
    return {"value": float(value), "details": value.details} if isinstance(value, Detailed) else {"value": value}


def value_from_json(data: Any) -> Value:
    """Read a value back; raises ValueError for anything `value_to_json` does not write."""
    if isinstance(data, dict):
        number, details = data.get("value"), data.get("details")
        if type(number) in (int, float) and data.keys() <= {"value", "details"}:
            if type(details) is dict:
                check_curve(details)
                return Detailed(finite(str(number)), details)
            if len(data) == 1:
                return finite(str(number))
        for name, reasoned in (("undefined", _undefined), ("error", _failed)):
            if len(data) == 1 and type(reason := data.get(name)) is str:
                return reasoned(reason)
    raise ValueError(f"metric value {shown(data)}, expected one of value, undefined, error")


_undefined, _failed = lru_cache(1024)(Undefined), lru_cache(1024)(Failed)
"""A run has many for a few reasons."""


def check_curve(details: Mapping[str, Any]) -> None:
    """Check the curve in the details of a value, for boards compute with it."""
    if not {"edges", "curve"} <= details.keys():
        return
    edges, curve = details["edges"], details["curve"]
    if not isinstance(edges, list) or not isinstance(curve, list) or len(edges) != len(curve) + 1:
        raise ValueError("details whose edges and curve do not belong together")
    kinds = {*map(type, edges), *map(type, curve)}
    if not kinds <= {int, float, type(None)}:
        raise ValueError(f"details with {shown(min(kinds, key=str).__name__)} in a curve, expected numbers or null")
    if int in kinds and any(type(number) is int and not -(2**63) < number < 2**63 for number in (*edges, *curve)):
        raise ValueError("details with a number in a curve that is too large")


_FIELDS = tuple(f.name for f in fields(Record))

OPTIONAL: dict[str, Any] = {"reason": None, "flags": [], "turn": 1}
"""Left out of a line where they have this value."""


def record_to_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON data; absent reason and flags, and a first turn, are left out."""
    data = {name: getattr(record, name) for name in _FIELDS}
    data["values"] = {spec: value_to_json(value) for spec, value in record.values.items()}
    data["flags"] = list(record.flags)
    return {key: value for key, value in data.items() if OPTIONAL.get(key, ...) != value}


def record_from_json(data: Any) -> Record:
    """Read a record back; raises ValueError with what is wrong."""
    names = {*_FIELDS}
    if not isinstance(data, dict) or not names.difference(OPTIONAL) <= set(data) <= names:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"record with fields {shown(found)}, expected {sorted(names)}")
    if data["edit_status"] not in EDIT_STATUSES:
        raise ValueError(f"edit_status {shown(data['edit_status'])}, expected one of {', '.join(EDIT_STATUSES)}")
    for name in ("scenario_id", "cluster", "category", "edit_sha256", "pixels_sha256", "reason"):
        optional = name.endswith("sha256") or name == "reason"
        if not isinstance(data.get(name), str) and not (optional and data.get(name) is None):
            raise ValueError(f"{name} {shown(data[name])}, expected text{' or null' if optional else ''}")
    if not ID.fullmatch(data["scenario_id"]) or not is_name(data["category"]):
        found = f"{shown(data['scenario_id'])} of category {shown(data['category'])}"
        raise ValueError(f"{found}, expected an id of {ID_RULE}, and {NAME_RULE}")
    hashes, status = (data["edit_sha256"], data["pixels_sha256"]), data["edit_status"]
    if [name is not None for name in hashes] != [status == "ok", status != "input_invalid"]:
        raise ValueError(f"edit_status {status!r} with edit_sha256 and pixels_sha256 {shown(hashes)}")
    if not all(sha256 is None or SHA256.fullmatch(sha256) for sha256 in hashes):
        raise ValueError(f"hashes {shown(hashes)}, expected 64 hex digits")
    for name, least in (("repeat", 0), ("turn", 1)):
        number = data.get(name, least)
        if type(number) is not int or number < least:
            raise ValueError(f"{name} {shown(number)}, expected a whole number from {least}")
    flags = data.get("flags", [])
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise ValueError(f"flags {shown(flags)}, expected a list of texts")
    if not isinstance(data["values"], dict):
        raise ValueError(f"values {shown(data['values'])}, expected an object")
    values = {spec: value_from_json(value) for spec, value in data["values"].items()}
    return Record(**{**data, "values": values, "flags": tuple(flags)})
