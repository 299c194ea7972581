"""How the harness and a worker process talk: a JSON header and raw array bytes. Nothing is ever unpickled."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from editbench.names import shown
from editbench.records import dumps, loads
from editbench.types import EDIT_STATUSES, EditRequest

_LENGTHS = struct.Struct("<QQ")
_LONGEST = 1 << 28, 1 << 36
"""Bytes of header and body beyond which a frame is taken for something else."""


class Frame(NamedTuple):
    """One message: JSON data, and the bytes of its arrays one after the other."""

    header: dict[str, Any]
    body: bytes


def write_frame(header: Mapping[str, Any], arrays: Sequence[np.ndarray[Any, Any]] = ()) -> bytes:
    """Return a frame as bytes."""
    text = dumps(header).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return _LENGTHS.pack(len(text), len(body)) + text + body


def read_frame(read: Callable[[int], bytes]) -> Frame:
    """Read one frame; `read(n)` returns exactly n bytes or raises. Raises ValueError for what is none."""
    text, body = _LENGTHS.unpack(read(_LENGTHS.size))
    if text > _LONGEST[0] or body > _LONGEST[1]:
        raise ValueError(f"no frame: it would have {text} and {body} bytes")
    header = loads(read(text))
    if not isinstance(header, dict):
        raise ValueError(f"no frame: its header is {shown(header)}")
    return Frame(header, read(body))


def pack_request(requests: Sequence[EditRequest]) -> bytes:
    """Return requests as one frame."""
    items: list[dict[str, Any]] = []
    arrays: list[np.ndarray[Any, Any]] = []
    for request in requests:
        arrays.append(request.source)
        if request.mask is not None:
            arrays.append(request.mask)
        items.append(
            {
                "shape": request.source.shape,
                "mask": request.mask is not None,
                "instruction": request.instruction,
                "seed": request.seed,
                "source_prompt": request.source_prompt,
                "target_prompt": request.target_prompt,
            }
        )
    return write_frame({"requests": items}, arrays)


def unpack_requests(frame: Frame) -> list[EditRequest]:
    """Return the requests of a frame, in writable arrays. Raises ValueError for a frame that holds anything else."""
    requests, position = [], 0
    for item in _items(frame, "requests", _REQUEST):
        shape, has_mask = item.pop("shape"), item.pop("mask")
        source, position = _image(frame.body, position, shape)
        mask = None
        if has_mask:
            mask, position = _array(frame.body, position, np.bool_, source.shape[:2])
        requests.append(EditRequest(source=source, mask=mask, **item))
    return _whole(requests, frame, position)


def pack_attempts(attempts: Sequence[Any]) -> bytes:
    """Return attempts (dataclasses with an `image`) as one frame."""
    items = []
    for attempt in attempts:
        item = {name: value for name, value in vars(attempt).items() if name != "image"}
        items.append({**item, "shape": None if attempt.image is None else attempt.image.shape})
    return write_frame({"attempts": items}, [a.image for a in attempts if a.image is not None])


def unpack_attempts(frame: Frame) -> list[dict[str, Any]]:
    """Return the fields of the attempts of a frame. Raises ValueError for a frame that holds anything else."""
    attempts, position = [], 0
    for item in _items(frame, "attempts", _ATTEMPT):
        shape, image = item.pop("shape"), None
        if shape is not None:
            image, position = _image(frame.body, position, shape)
        if item["status"] not in EDIT_STATUSES or (item["status"] == "ok") != (image is not None):
            raise ValueError(f"an attempt of status {shown(item['status'])} with{'out' * (image is None)} an image")
        if not all(isinstance(flag, str) for flag in item["flags"]):
            raise ValueError(f"flags {shown(item['flags'])}, expected texts")
        attempts.append({**item, "flags": tuple(item["flags"]), "image": image})
    return _whole(attempts, frame, position)


def declared(frame: Frame) -> dict[str, Any]:
    """Return what a worker says about its editor, or its `error`. Raises ValueError for anything else."""
    if isinstance(frame.header.get("error"), str):
        return frame.header
    return _typed(frame.header, _DECLARED)


# -------------------------------------------------------------------------------------------------------- checks

_TEXT, _PERHAPS = (str,), (str, type(None))
_REQUEST: dict[str, tuple[type, ...]] = {
    "shape": (list,),
    "mask": (bool,),
    "instruction": _TEXT,
    "seed": (int,),
    "source_prompt": _PERHAPS,
    "target_prompt": _PERHAPS,
}
_ATTEMPT: dict[str, tuple[type, ...]] = {
    "shape": (list, type(None)),
    "status": _TEXT,
    "flags": (list,),
    "reason": _PERHAPS,
    "traceback": _PERHAPS,
    "seconds": (float, int),
    **dict.fromkeys(("peak_bytes", "batch_size", "restarts"), (int,)),
}
_DECLARED: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "spec", "mask_access"), _TEXT),
    "trained_on": (list,),
    "batch_size": (int,),
    **dict.fromkeys(("control", "mixes_sizes", "one_by_one"), (bool,)),
    **dict.fromkeys(("code_sha256", "code"), _PERHAPS),
}


def _items(frame: Frame, name: str, fields: Mapping[str, tuple[type, ...]]) -> list[dict[str, Any]]:
    items = frame.header.get(name)
    if not isinstance(items, list):
        raise ValueError(f"a frame without {name}")
    return [_typed(item, fields) for item in items]


def _typed(item: Any, fields: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(item, dict) or item.keys() != fields.keys():
        raise ValueError(f"{shown(item)}, expected {', '.join(fields)}")
    for name, kinds in fields.items():
        number = item[name]
        if type(number) not in kinds or (isinstance(number, int | float) and not 0 <= number < 2**63):
            raise ValueError(f"{name} is {shown(number)}")
    return dict(item)


def _image(body: bytes, position: int, shape: list[Any]) -> tuple[Any, int]:
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape) or shape[2] != 3:
        raise ValueError(f"an image of shape {shown(shape)}")
    return _array(body, position, np.uint8, tuple(shape))


def _array(body: bytes, position: int, kind: type[np.generic], shape: tuple[int, ...]) -> tuple[Any, int]:
    size = math.prod(shape)
    if position + size > len(body):
        raise ValueError(f"a frame whose arrays have more than its {len(body)} bytes")
    return np.frombuffer(body, kind, size, position).reshape(shape).copy(), position + size


def _whole(made: list[Any], frame: Frame, position: int) -> list[Any]:
    if position != len(frame.body):
        raise ValueError(f"a frame of {len(frame.body)} bytes, of which its arrays have {position}")
    return made
