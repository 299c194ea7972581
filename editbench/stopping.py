"""Being told to stop, by Ctrl-C or by a scheduler: what is in hand is finished first, if that does not take long."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

GRACE_SECONDS = 10.0
"""How long the batch in hand may take once a run is told to stop; Slurm kills 30 seconds after SIGTERM."""


class Stop:
    """Within it, SIGINT and SIGTERM only set `wanted`; a second one, or the end of the grace, raises KeyboardInterrupt.

    Outside of the main thread, where no handler can be set, it does nothing.

    Args:
        said: the line that is written to stderr at the first signal.
        grace: seconds; None for any.
    """

    def __init__(self, said: str, grace: float | None = None) -> None:
        self.wanted = False
        self._said, self._grace = said, grace
        self._before: dict[signal.Signals, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        if self._grace is not None:
            signal.setitimer(signal.ITIMER_REAL, self._grace)
        sys.stderr.write(self._said + "\n")

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            which = [signal.SIGINT, signal.SIGTERM, *([] if self._grace is None else [signal.SIGALRM])]
            self._before = {one: signal.signal(one, self._note) for one in which}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before and self._grace is not None:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for which, handler in self._before.items():
            signal.signal(which, handler)
