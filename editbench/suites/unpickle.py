"""Reading somebody's pickle without running anything in it: containers, numbers, texts, arrays, nothing else."""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from editbench.reading import read_limited
from editbench.suites.manifests import MAX_BYTES
from editbench.types import EditbenchError


class PickledArray:
    """An array of a pickle, made by our own code: numpy's, which reads states as it finds them, never sees one."""

    array: npt.NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, column_major, data = state
        self._fill(data, dtype, shape, "F" if column_major else "C")

    def _fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
            raise pickle.UnpicklingError("an array of something else than numbers")
        self.array = np.frombuffer(bytes(data), dtype.numpy).reshape(shape, order=order)
        return self


class _Dtype:
    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[biuf][1248]", code):
            raise pickle.UnpicklingError(f"an array of {code!r}")
        self.code, self.order = code.lstrip("<>=|"), "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


def _array(*_: Any) -> PickledArray:
    return PickledArray()


def _filled(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    return PickledArray()._fill(data, dtype, shape, order)


def _number(dtype: Any, data: Any) -> Any:
    return PickledArray()._fill(data, dtype, (1,), "C").array[0].item()


def _bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_ALLOWED: dict[str, Callable[..., Any]] = {
    **{f"{module}.set": set for module in ("builtins", "__builtin__")},
    **{f"{module}.frozenset": frozenset for module in ("builtins", "__builtin__")},
    **{f"{module}.bytes": _no_bytes for module in ("builtins", "__builtin__")},
    "collections.OrderedDict": dict,
    "_codecs.encode": _bytes,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _array,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _filled for core in ("core", "_core")},
}


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C takes as much memory as a few bytes tell it to."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def _bytearray(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = _bytearray  # theirs makes room before it reads

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _ALLOWED[f"{module}.{name}"]


def read_pickle(path: Path) -> Any:
    """Read a pickle of containers, texts, numbers and numpy arrays, which come as `PickledArray`.

    Whatever else a pickle names is refused before it is looked up, so that nothing of it is imported or called.

    Raises:
        EditbenchError: naming the file and what in it is refused or broken.
    """
    try:
        return _Unpickler(io.BytesIO(read_limited(path, MAX_BYTES))).load()
    except OSError as error:
        raise EditbenchError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # what a broken pickle raises is anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EditbenchError(
            f"{path}: refused ({reason}), expected a pickle of containers, texts, numbers and numpy arrays"
        ) from None
