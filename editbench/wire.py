"""How the harness and a worker process talk: a JSON header and raw array bytes. Nothing is ever unpickled."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from editbench.records import dumps, loads
from editbench.types import EditRequest

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
    return Frame(loads(read(text)), read(body))


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
    """Return the requests of a frame, in writable arrays."""
    requests, position = [], 0
    for item in frame.header["requests"]:
        height, width, channels = item.pop("shape")
        has_mask = item.pop("mask")
        size = height * width * channels
        source = np.frombuffer(frame.body, np.uint8, size, position).reshape(height, width, channels).copy()
        position += size
        mask = None
        if has_mask:
            mask = np.frombuffer(frame.body, np.bool_, height * width, position).reshape(height, width).copy()
            position += height * width
        requests.append(EditRequest(source=source, mask=mask, **item))
    return requests


def pack_attempts(attempts: Sequence[Any]) -> bytes:
    """Return attempts (dataclasses with an `image`) as one frame."""
    items = []
    for attempt in attempts:
        item = {name: value for name, value in vars(attempt).items() if name != "image"}
        items.append({**item, "shape": None if attempt.image is None else attempt.image.shape})
    return write_frame({"attempts": items}, [a.image for a in attempts if a.image is not None])


def unpack_attempts(frame: Frame) -> list[dict[str, Any]]:
    """Return the fields of the attempts of a frame."""
    attempts, position = [], 0
    for item in frame.header["attempts"]:
        shape = item.pop("shape")
        image = None
        if shape is not None:
            size = shape[0] * shape[1] * shape[2]
            image = np.frombuffer(frame.body, np.uint8, size, position).reshape(shape).copy()
            position += size
        attempts.append({**item, "flags": tuple(item["flags"]), "image": image})
    return attempts
