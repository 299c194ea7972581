"""Cards of metrics: what each one is, rendered from its class, so that the page says what the code does."""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from editbench.built_in import BUILT_IN
from editbench.metrics import DEFAULT_METRICS
from editbench.metrics.canaries import NETWORK_TOLERANCE, SPECS, TOLERANCE
from editbench.registry import create, lookup, spec_of
from editbench.specs import parse
from editbench.types import Metric

SECTIONS = ("Args", "References", "Disagreements")
"""What a class's docstring may hold beside the text that defines the metric."""

_INTRODUCTION = """\
# Metrics

One card for each built-in metric, made from its class by `editbench list metrics --cards`; a test compares this page
with what that command prints.

**Regions.** `edit` is the mask, `keep` its complement, `all` the image, `band` both sides of the mask's border, at
least two pixels deep and a 128th of the shorter side. A region's metric looks at the region's own pixels. A region that
is empty, or something else that a scenario does not have, leaves a value undefined, for every editor alike.

**Signature.** Numbers share a column only if they agree in spec and version, suite, alignment, the sha256 of every
file of weights, the versions of the libraries named here and, for networks, the device and its precision. Weights that
are missing are found before the first edit; they are never replaced by random ones.

**Canaries.** At the start of every scoring, the run's metrics are scored on a few shipped pairs of images. A value
further from the expected one, v, than the tolerance times 1 + |v| is printed and recorded in `run.json`.
"""

_NEEDS = {"target": "a ground truth", "checks": "checks", "target_prompt": "a target prompt"}
_DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "none": "neither end is better"}
_TYPES = {str: "text", int: "a whole number", float: "a number", Path: "a path", bool: "`true`, `false`"}
_ZONES = {
    "core": "inside the mask",
    "band": "at its border",
    "near": "in its surroundings",
    "far": "far from it",
}


@dataclass(frozen=True)
class Docstring:
    """A class's docstring, taken apart."""

    text: str
    """The definition, paragraphs of Markdown."""
    references: str
    disagreements: str
    options: dict[str, str]
    """What each option means."""


def read_docstring(cls: type) -> Docstring:
    """Take a docstring apart."""
    parts = dict.fromkeys(("", *SECTIONS), "")
    section = ""
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        title = line.removesuffix(":")
        if line.endswith(":") and title in SECTIONS:
            section = title
            continue
        parts[section] += f"{line}\n"
    options: dict[str, str] = {}
    name = ""
    for line in parts["Args"].splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start[1]
            options[name] = start[2]
        elif line.strip():
            options[name] += f" {line.strip()}"
    references, disagreements = (" ".join(parts[section].split()) for section in SECTIONS[1:])
    return Docstring(parts[""].strip(), references, disagreements, options)


# ---------------------------------------------------------------------------------------------------- one card


def _options(cls: type) -> list[Field[Any]]:
    """Return the options in the order in which a spec has them."""
    return sorted((f for f in fields(cls) if f.init), key=lambda f: not f.metadata.get("bare"))


def _choices(cls: type, name: str) -> tuple[Any, ...]:
    hint = typing.get_type_hints(cls)[name]
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def usage(name: str, cls: type) -> str:
    """Return how the spec of a component is written, with what must be given."""
    parts = [
        f.name.upper() if f.metadata.get("bare") else f"{f.name}={f.name.upper()}"
        for f in _options(cls)
        if f.default is MISSING
    ]
    return f"{name}:{','.join(parts)}" if parts else name


def _variants(cls: type) -> list[Metric]:
    """Return one metric for each choice of the option on which direction, unit or range depend; [] if none does."""
    option = next((f.name for f in _options(cls) if f.name != "region" and _choices(cls, f.name)), None)
    if option is None or not any(_varies(cls, name) for name in ("direction", "unit", "range")):
        return []
    given = {
        f.name: (*_choices(cls, f.name), f.name.upper())[0]
        for f in _options(cls)
        if f.default is MISSING and f.name != option
    }
    return [cls(**given, **{option: choice}) for choice in _choices(cls, option)]


def _varies(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name, None), property)


def _said(cls: type, name: str) -> str:
    """Return what a property's docstring says about it, without what it raises."""
    text = inspect.getdoc(inspect.getattr_static(cls, name).fget) or ""
    return " ".join(re.split(r"\n+Raises:", text)[0].split())


def _range(low: float, high: float, unit: str) -> str:
    ends = " to ".join("∞" if math.isinf(end) else f"{end:.6g}".replace("-", "−") for end in (low, high))
    return f"{ends} {unit}".strip()


def _needs(needs: Sequence[str]) -> str:
    return ", ".join(_NEEDS[need] for need in needs) or "nothing"


def _zones(zones: Sequence[str]) -> str:
    return ", ".join(_ZONES[zone] for zone in zones)


def _names(libraries: Sequence[str]) -> str:
    return ", ".join(libraries) or "none"


def _facts(name: str, cls: Any) -> Iterator[tuple[str, str]]:
    variants = _variants(cls)

    def fact(attribute: str, show: Any = str) -> str:
        if not _varies(cls, attribute):
            return str(show(getattr(cls, attribute)))
        return "see below" if variants else _said(cls, attribute)

    yield "Spec", f"`{usage(name, cls)}`"
    yield "Region", _region(cls)
    yield "Direction", fact("direction", _DIRECTIONS.__getitem__)
    if _varies(cls, "range") or _varies(cls, "unit"):
        yield "Range", fact("range" if _varies(cls, "range") else "unit")
    else:
        low, high = cls.range
        yield "Range", _range(low, high, cls.unit)
    if hasattr(cls, "cap"):
        yield "Cap", fact("cap", lambda cap: f"{cap:g} {cls.unit}".strip())
    yield "Needs", fact("needs", _needs)
    if hasattr(cls, "failed_value"):
        yield "A failed edit counts as", fact("failed_value", "{:g}".format)
    yield "Version", fact("version")
    yield "Libraries", fact("libraries", _names)
    yield "Weights", _said(cls, "weights") if hasattr(cls, "weights") else "none"
    if hasattr(cls, "watches"):
        yield "Must see damage", fact("watches", _zones)
    standard = [spec for spec in DEFAULT_METRICS if parse(spec).name == name]
    if standard:
        yield "In the standard set", ", ".join(f"`{spec}`" for spec in standard)
    yield "Canaries", _canaries(name)


def _region(cls: type) -> str:
    if any(f.name == "region" for f in fields(cls)):
        return ", ".join(f"`{choice}`" for choice in _choices(cls, "region"))
    return "no option: see the definition"


def _canaries(name: str) -> str:
    metrics = [create("metric", spec) for spec in SPECS if parse(spec).name == name]
    if not metrics:
        return "none: what it needs does not come with a package"
    network = any("torch" in metric.libraries for metric in metrics)
    count = "1 spec" if len(metrics) == 1 else f"{len(metrics)} specs"
    return f"{count}, tolerance {NETWORK_TOLERANCE if network else TOLERANCE:.6f}".rstrip("0")


def option_rows(cls: type, meanings: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each option of a component: name, values, default, meaning."""
    for f in _options(cls):
        choices = _choices(cls, f.name)
        hint = typing.get_type_hints(cls)[f.name]
        kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
        values = ", ".join(f"`{choice}`" for choice in choices) or " or ".join(_TYPES[kind] for kind in kinds)
        default = "must be given" if f.default is MISSING else "none" if f.default is None else f"`{f.default}`"
        meaning = meanings.get(f.name, "where to measure" if f.name == "region" else "").removesuffix(".")
        yield f"`{f.name}`", values, default, meaning


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _variant_table(variants: Sequence[Any]) -> str:
    head = ["Spec", "Direction", "Range", "Needs", "Libraries"]
    rows = []
    for metric in variants:
        low, high = metric.range
        row = [f"`{spec_of(metric)}`", _DIRECTIONS[metric.direction], _range(low, high, metric.unit)]
        rows.append([*row, _needs(metric.needs), _names(metric.libraries)])
    if _varies(type(variants[0]), "watches"):
        head.append("Must see damage")
        rows = [[*row, _zones(metric.watches)] for row, metric in zip(rows, variants, strict=True)]
    return table(head, rows)


def card(name: str) -> str:
    """Return the card of a built-in metric, Markdown."""
    cls = lookup("metric", name)
    doc = read_docstring(cls)
    parts = [f"## {name}\n", f"{doc.text}\n"]
    if doc.references:
        parts.append(f"**References.** {doc.references}\n")
    if doc.disagreements:
        parts.append(f"**Known disagreements.** {doc.disagreements}\n")
    parts.append(table(("", ""), list(_facts(name, cls))))
    options = list(option_rows(cls, doc.options))
    if options:
        parts.append(table(("Option", "Values", "Default", "Meaning"), options))
    variants = _variants(cls)
    if variants:
        parts.append(_variant_table(variants))
    return "\n".join(parts)


# --------------------------------------------------------------------------------------------------- the page


def page() -> str:
    """Return the page of all cards, Markdown: the same on every machine."""
    entries = BUILT_IN["metric"]
    index = table(("Metric", ""), [(f"[`{name}`](#{name})", entry.about) for name, entry in entries.items()])
    text = "\n".join([_INTRODUCTION, index, *(card(name) for name in entries)])
    for name, entry in entries.items():
        text = text.replace(f"`{entry.path.rpartition(':')[2]}`", f"[`{name}`](#{name})")
    return text
