"""The command line: parses and calls, decides nothing. Heavy modules are imported by the verb that needs them."""

from __future__ import annotations

import signal

from editbench.cli import boards, checks, comparison, runs, services, trust
from editbench.cli.app import app

__all__ = ["app", "boards", "checks", "comparison", "main", "runs", "services", "trust"]


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `editbench` program."""
    signal.signal(signal.SIGTERM, _stop)  # schedulers end a job with it: save and exit as on Ctrl-C
    app()
