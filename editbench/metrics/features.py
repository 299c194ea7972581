"""Intermediate results that depend on an image or a text alone, kept because they cost more than finding them again.

Features of a source serve every metric, region and editor that is scored in a process. Memory is bounded; with
`EDITBENCH_CACHE` set to a folder they are kept on disk as well, for the next process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from editbench.images import pixels_sha256
from editbench.types import Image

Arrays: TypeAlias = tuple[npt.NDArray[Any], ...]
Item = TypeVar("Item", Image, str)

MEMORY = 512 << 20
"""Bytes of features that a process keeps; the least recently used go first."""
CACHE = "EDITBENCH_CACHE"
"""Environment variable that names the folder of the cache on disk."""


class _Memory:
    """The most recently used features, up to `MEMORY` bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Arrays] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Arrays | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, arrays: Arrays) -> Arrays:
        """Keep features, unless they alone are too large; return them as arrays with memory of their own."""
        self._bytes -= _size(self._kept.pop(key, ()))
        if _size(arrays) > MEMORY:
            return arrays  # and let the others stay
        # A part would keep all of its array alive (the features of a whole batch), whatever is counted here.
        arrays = tuple(array.copy() if _is_part(array) else array for array in arrays)
        self._kept[key] = arrays
        self._bytes += _size(arrays)
        while self._bytes > MEMORY:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)
        return arrays


def _is_part(array: npt.NDArray[Any]) -> bool:
    return isinstance(array.base, np.ndarray) and array.base.nbytes > array.nbytes


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)


_memory = _Memory()


def key_of(item: Image | str, recipe: str) -> str:
    """Return the name of features: a hash of the pixels and their shape, or of a text, and all else they depend on.

    Args:
        item: `uint8 (H, W, 3)`, or a text.
        recipe: what was computed, and with what: kind and version, hashes of weights, device, library versions.
    """
    content = _text_sha256(item) if isinstance(item, str) else pixels_sha256(item)
    return hashlib.sha256(f"{content} {recipe}".encode()).hexdigest()


def _text_sha256(text: str) -> str:
    return hashlib.sha256(b"text " + text.encode("utf-8", "surrogatepass")).hexdigest()


def features(items: Sequence[Item], recipe: str, compute: Callable[[Sequence[Item]], Sequence[Arrays]]) -> list[Arrays]:
    """Return the features of each image or text, computing those that are not known yet.

    Args:
        items: `uint8 (H, W, 3)`, of any sizes, or texts.
        recipe: see `key_of`; two computations with different results must not share one.
        compute: returns the features of each item that it is given, independent of the others.

    Returns:
        One tuple of arrays an item. They are shared: do not write to them.
    """
    keys = [key_of(item, recipe) for item in items]
    found = {key: known for key in keys if (known := _recall(key)) is not None}
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
    if missing:
        made = compute(list(missing.values()))
        for key, arrays in zip(missing, made, strict=True):
            found[key] = _memory.put(key, arrays)
            _write(key, arrays)
    return [found[key] for key in keys]


def forget() -> None:
    """Drop everything that is kept in memory."""
    global _memory
    _memory = _Memory()


def _recall(key: str) -> Arrays | None:
    arrays = _memory.get(key)
    if arrays is None:
        arrays = _read(key)
        if arrays is not None:
            arrays = _memory.put(key, arrays)
    return arrays


# -------------------------------------------------------------------------------------------------------- disk


def _path(key: str) -> Path | None:
    folder = os.environ.get(CACHE)
    return Path(folder) / "features" / key[:2] / f"{key}.safetensors" if folder else None


def _read(key: str) -> Arrays | None:
    path = _path(key)
    if path is None:
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with contextlib.suppress(OSError, SafetensorError):  # not there, or not to be read
        data = path.read_bytes()
        body, digest = data[:-32], data[-32:]
        if hashlib.sha256(key.encode() + body).digest() == digest:
            arrays = load(body)
            return tuple(arrays[name] for name in sorted(arrays, key=int))
    return None  # damaged: computed and written again


def _write(key: str, arrays: Arrays) -> None:
    path = _path(key)
    if path is None:
        return
    from safetensors import SafetensorError
    from safetensors.numpy import save

    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with contextlib.suppress(OSError, SafetensorError):  # a cache that cannot be written costs time, not results
        body = save({str(index): np.array(array, order="C") for index, array in enumerate(arrays)})
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(body + hashlib.sha256(key.encode() + body).digest())
            temporary.replace(path)
        finally:  # a full disk gets back what was written in vain
            temporary.unlink(missing_ok=True)
