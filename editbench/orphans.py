"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def when_orphaned(parent: int, act: Callable[[], object]) -> None:
    """Call a function soon after this process's parent has ended, however that was.

    Args:
        parent: the parent's id, as the parent itself knew it: it may be gone before this process looks.
        act: called in a thread of its own.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, daemon=True).start()
