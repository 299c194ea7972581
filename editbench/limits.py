"""What a worker process may take: time, memory, and how often it may end."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from editbench.types import EditbenchError

MAX_DEATHS = 20

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use, as `200000 100000`; `max` stands for no quota (Linux, control groups of version 2)."""


@dataclass(frozen=True)
class Limits:
    """What a worker process may take."""

    timeout: float | None = None
    """Seconds for one sample; a batch has as many times that as it has samples."""
    memory: int | None = None
    """Bytes of resident memory of the worker and its children together."""
    deaths: int = MAX_DEATHS
    """Samples in a row on which a worker may end before no more are tried."""


def cores() -> int:
    """Return how many cores this process may use: fewer than the machine has, in a job that shares it with others."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no quota, or none that is known here
        quota, period = _QUOTA.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(1, allowed)


def memory_bytes(text: str | None) -> int | None:
    """Return `8GB` (decimal) or `8GiB` (binary) in bytes; raises EditbenchError for anything else."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if text is None:
        return None
    try:
        count = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        count = 0
    if count <= 0:
        raise EditbenchError(f"memory_limit: {text!r}, expected a size such as 8GB or 512MiB")
    return count


def memory_text(count: int) -> str:
    """Return a number of bytes as people write it: 512MB, 1.5GB."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return f"{count}B"
