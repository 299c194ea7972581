"""Intermediate results that depend on an image's pixels alone, kept because they cost more than finding them again.

Features of a source serve every metric, region and editor that is scored in a process. Memory is bounded; with
`EDITBENCH_CACHE` set to a folder they are kept on disk as well, for the next process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from editbench.images import pixels_sha256
from editbench.types import Image

Arrays: TypeAlias = tuple[npt.NDArray[Any], ...]

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

    def put(self, key: str, arrays: Arrays) -> None:
        self._bytes -= _size(self._kept.pop(key, ()))
        self._kept[key] = arrays
        self._bytes += _size(arrays)
        while self._bytes > MEMORY:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)


_memory = _Memory()


def key_of(image: Image, recipe: str) -> str:
    """Return the name of features: a hash of the pixels, their shape and everything else they depend on.

    Args:
        image: `uint8 (H, W, 3)`.
        recipe: what was computed, and with what: kind and version, hashes of weights, device, library versions.
    """
    return hashlib.sha256(f"{pixels_sha256(image)} {recipe}".encode()).hexdigest()


def features(
    images: Sequence[Image], recipe: str, compute: Callable[[Sequence[Image]], Sequence[Arrays]]
) -> list[Arrays]:
    """Return the features of each image, computing those that are not known yet.

    Args:
        images: `uint8 (H, W, 3)`, of any sizes.
        recipe: see `key_of`; two computations with different results must not share one.
        compute: returns the features of each image that it is given, independent of the others.

    Returns:
        One tuple of arrays an image. They are shared: do not write to them.
    """
    keys = [key_of(image, recipe) for image in images]
    found = {key: known for key in keys if (known := _recall(key)) is not None}
    missing = {key: image for key, image in zip(keys, images, strict=True) if key not in found}
    if missing:
        made = compute(list(missing.values()))
        for key, arrays in zip(missing, made, strict=True):
            found[key] = arrays
            _memory.put(key, arrays)
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
            _memory.put(key, arrays)
    return arrays


# -------------------------------------------------------------------------------------------------------- disk


def _path(key: str) -> Path | None:
    folder = os.environ.get(CACHE)
    return Path(folder) / "features" / key[:2] / f"{key}.safetensors" if folder else None


def _read(key: str) -> Arrays | None:
    path = _path(key)
    if path is None or not path.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with contextlib.suppress(OSError, SafetensorError):
        data = path.read_bytes()
        body, digest = data[:-32], data[-32:]
        if hashlib.sha256(key.encode() + body).digest() == digest:
            arrays = load(body)
            return tuple(arrays[name] for name in sorted(arrays))
    return None  # damaged: computed and written again


def _write(key: str, arrays: Arrays) -> None:
    path = _path(key)
    if path is None:
        return
    from safetensors.numpy import save

    body = save({f"{index:03}": np.ascontiguousarray(array) for index, array in enumerate(arrays)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not results
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(body + hashlib.sha256(key.encode() + body).digest())
        temporary.replace(path)
