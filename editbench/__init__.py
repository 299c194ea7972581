"""editbench: a benchmark for image editors on masked scenarios.

>>> import editbench as eb
>>> suite = eb.load_suite("shapes@1")
>>> len(suite)
240
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from editbench.board import build_boards
    from editbench.editors import load_editor
    from editbench.loops import Run, run
    from editbench.metrics import load_metrics
    from editbench.report.table import read_table
    from editbench.suites import load_suite
    from editbench.types import EditbenchError, EditRequest, Sample, Scenario

_HOMES = {
    "EditRequest": "editbench.types",
    "EditbenchError": "editbench.types",
    "Run": "editbench.loops",
    "Sample": "editbench.types",
    "Scenario": "editbench.types",
    "build_boards": "editbench.board",
    "load_editor": "editbench.editors",
    "load_metrics": "editbench.metrics",
    "load_suite": "editbench.suites",
    "read_table": "editbench.report.table",
    "run": "editbench.loops",
}

__all__ = [
    "EditRequest",
    "EditbenchError",
    "Run",
    "Sample",
    "Scenario",
    "build_boards",
    "load_editor",
    "load_metrics",
    "load_suite",
    "read_table",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import editbench` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'editbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
