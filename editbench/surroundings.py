"""What an editor may change of the process that it runs in, and how that is kept from everything else there."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Surroundings:
    """Global state of a process that code can change by the way.

    These are the global random states of Python, of NumPy and, where it is loaded, of torch (its accelerators
    included, where they are in use), the working directory, the environment and the warning filters.
    """

    random_states: tuple[Any, ...]
    folder: str | None
    """None where the working directory has been removed."""
    environment: dict[str, str]
    filters: list[Any]

    @classmethod
    def now(cls) -> Surroundings:
        """Return the present state."""
        try:
            folder = os.getcwd()  # noqa: PTH109 (as text: it is compared before every call)
        except OSError:
            folder = None
        return cls(_random_states(), folder, dict(os.environ), list(warnings.filters))

    def restore(self) -> None:
        """Make this the present state again."""
        python, numpy, torch, accelerators = self.random_states
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 (the global state is what foreign code uses)
        if torch is not None:
            sys.modules["torch"].set_rng_state(torch)
        if accelerators is not None:
            sys.modules["torch"].cuda.set_rng_state_all(accelerators)
        if self.folder is not None:
            with contextlib.suppress(OSError):  # it may have been removed since
                os.chdir(self.folder)
        for name in os.environ.keys() - self.environment.keys():
            del os.environ[name]
        for name, value in self.environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if list(warnings.filters) != self.filters:
            warnings.filters[:] = self.filters  # type: ignore[index]
            with warnings.catch_warnings():
                pass  # on leaving, it tells the interpreter that its filters have changed


def _random_states() -> tuple[Any, ...]:
    numpy = np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):  # absent, or half imported
        return random.getstate(), numpy, None, None
    accelerators = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), numpy, torch.get_rng_state(), accelerators


@contextlib.contextmanager
def set_apart(kept: list[Surroundings]) -> Iterator[None]:
    """Give the block surroundings of its own: what it changes does not last outside, but does until its next time.

    So code that draws from a global generator goes on drawing, as it would alone in its process, and nobody else sees.

    Args:
        kept: what the block left the last time; empty before the first time, and filled here.
    """
    outside = Surroundings.now()
    if kept:
        kept.pop().restore()
    try:
        yield
    finally:
        kept.append(Surroundings.now())
        outside.restore()
