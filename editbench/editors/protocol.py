"""Requests and outputs as JSON: what services and programs that stay are spoken to in (docs/protocol.md).

Images travel as base64 PNG, masks too (white = edit). Nothing in it says which scenario is asked for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from editbench.images import Accepted, InvalidImage, decode
from editbench.masks import decode_mask
from editbench.png import encode_png
from editbench.types import EditbenchError, EditFailed, EditRequest, EditStatus, Image

VERSION = 1
"""Of the protocol; raised when an older side could not understand a newer one."""
FAILURES = tuple(status for status in get_args(EditStatus) if status not in ("ok", "input_invalid", "not_run"))
"""What may stand as `status` beside an `error`."""
FLAG = re.compile(r"[a-z0-9=_-]{1,40}")

_FIELDS = ("source", "mask", "instruction", "seed", "source_prompt", "target_prompt")


class ProtocolError(EditbenchError):
    """A message that the protocol does not know; says which part of it, and what was expected."""


# ------------------------------------------------------------------------------------------------------ requests


def request_to_json(request: EditRequest) -> dict[str, Any]:
    """Return a request as JSON data; what it does not have is left out."""
    data: dict[str, Any] = {"instruction": request.instruction, "seed": request.seed, "source": _text(request.source)}
    if request.mask is not None:
        data["mask"] = _text(request.mask.astype(np.uint8) * np.uint8(255))
    for name in ("source_prompt", "target_prompt"):
        if getattr(request, name) is not None:
            data[name] = getattr(request, name)
    return data


def request_from_json(data: object) -> EditRequest:
    """Read a request.

    Raises:
        ProtocolError: naming the field, what it is and what was expected.
    """
    if not isinstance(data, dict):
        raise ProtocolError(f"a request is {type(data).__name__}, expected an object with {', '.join(_FIELDS)}")
    for name in data:
        if name not in _FIELDS:
            raise ProtocolError(f"a request has {name!r}, expected any of {', '.join(_FIELDS)}")
    for name in ("instruction", "source_prompt", "target_prompt"):
        if not isinstance(data.get(name, ""), str | None if name != "instruction" else str):
            raise ProtocolError(f"{name} is {type(data[name]).__name__}, expected text")
    seed = data.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ProtocolError("seed is no whole number from 0")
    if "source" not in data:
        raise ProtocolError("a request has no source, expected a PNG in base64")
    try:
        source = decode(_bytes(data["source"], "source")).image
        mask = None if data.get("mask") is None else decode_mask(_bytes(data["mask"], "mask")).mask
    except InvalidImage as error:
        raise ProtocolError(f"source or mask: {error}") from None
    if mask is not None and mask.shape != source.shape[:2]:
        raise ProtocolError(f"mask of {mask.shape[1]}x{mask.shape[0]}, source of {source.shape[1]}x{source.shape[0]}")
    prompts = {name: data.get(name) for name in ("source_prompt", "target_prompt")}
    return EditRequest(source=source, mask=mask, instruction=data.get("instruction", ""), seed=seed, **prompts)


# ------------------------------------------------------------------------------------------------------- outputs


def output_to_json(image: Image | None, flags: Sequence[str], status: EditStatus, reason: str | None) -> dict[str, Any]:
    """Return one output as JSON data: an image, or a status and its reason."""
    if image is None:
        return {"error": reason or status, "status": status}
    return {"image": _text(image), **({"flags": list(flags)} if flags else {})}


def output_from_json(data: object) -> object:
    """Read one output: an image with its flags, or the exception that stands in its place.

    Raises:
        ProtocolError: if it is neither `{"image": …}` nor `{"error": …}`.
    """
    match data:
        case {"image": str() as text, **rest}:
            try:
                accepted = decode(_bytes(text, "image"))
            except InvalidImage as error:
                return error
            flags = rest.get("flags", [])
            if not (isinstance(flags, list) and len(flags) <= 8 and all(map(_is_flag, flags))):
                raise ProtocolError(f"flags are {str(flags)[:60]!r}, expected a list of at most 8 short words")
            return Accepted(accepted.image, tuple(sorted({*accepted.flags, *flags})))
        case {"error": str() as text, **rest}:
            status: Any = rest.get("status", "editor_error")
            if status not in FAILURES:
                raise ProtocolError(f"status is {str(status)[:60]!r}, expected one of {', '.join(FAILURES)}")
            reason = " ".join(re.sub(r"0x[0-9a-fA-F]+", "0x…", text).split())[:300]
            return EditFailed(status, reason or "no reason given")
    raise ProtocolError("an output is neither {image} nor {error}")


def _is_flag(flag: object) -> bool:
    return isinstance(flag, str) and FLAG.fullmatch(flag) is not None


def _text(image: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    return base64.b64encode(encode_png(image)).decode("ascii")


def _bytes(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise InvalidImage(f"{name} is no text, expected a PNG in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage(f"{name} is no base64") from None
