"""What a submission names and this package is not: code that would be imported, programs, addresses.

A submission is somebody else's, and so is every spec in it. Suite, metrics and editor that come with this package are
loaded; for all others whoever verifies has to say that they are trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from editbench.built_in import Kind
from editbench.registry import comes_with_editbench
from editbench.specs import SpecError, parse
from editbench.types import EditbenchError

REACHES_OUT: Mapping[Kind, frozenset[str]] = {
    "suite": frozenset({"hub"}),
    "editor": frozenset({"command", "http", "openai_images", "diffusers", "vae"}),
    "metric": frozenset({"judge"}),
}
"""Components of ours that run a program, call an address or download what a spec names."""
FINISHED = frozenset({"folder", "table", "geditv2_gallery", "icebench_outputs"})
"""Editors that look up images somebody has made: there is nothing to run again."""


def is_foreign(kind: Kind, spec: str) -> bool:
    """Whether loading a spec would import code of others, run a program or call an address; nothing is loaded."""
    try:
        parsed = parse(spec)
    except SpecError:
        return True
    if not comes_with_editbench(kind, parsed.name) or parsed.name in REACHES_OUT.get(kind, ()):
        return True
    inner = [*([] if parsed.bare is None else [parsed.bare]), *parsed.options.values()]
    return any(is_foreign(kind, text) for text in inner if ":" in text)


def refuse_foreign(kind: Kind, specs: Iterable[str]) -> None:
    """Raise EditbenchError, naming the first spec that has to be trusted."""
    for spec in specs:
        if is_foreign(kind, spec):
            raise EditbenchError(
                f"the run names {kind} {spec!r}, code or a service that is not of editbench: look at it, then give "
                "--trust-code"
            )


def runnable(spec: str) -> bool:
    """Whether a spec names an editor that makes edits, and not a folder of finished ones."""
    parsed = parse(spec)
    inner = parsed.options.get("editor")
    return parsed.name not in FINISHED and (inner is None or runnable(inner))
