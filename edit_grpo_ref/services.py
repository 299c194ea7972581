"""Rewards from another process or machine: JSON over HTTP, a deadline for everything, failures with a type.

Request: `POST` of `{"schema": 1, "samples": [{"instruction", "source_prompt", "target_prompt", "source", "mask",
"output"}]}`, images and masks as base64 PNG (a mask is white where the edit may happen). Response:
`{"values": [number or null, …]}`, one a sample, null where the service has none. Nothing is ever unpickled, and nothing
that a server wrote gets into a reason: reasons are counted, so they must be the same each time.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from editbench.images import encode_png
from editbench.types import EditbenchError, Failed, Sample

MAX_BYTES = 1 << 22
"""Longer responses are refused while they arrive."""


class ServiceError(Exception):
    """Why a batch got no values: short, and the same each time."""


@dataclass(frozen=True)
class Service:
    """A reward service.

    Args:
        address: `http://host:port/path`.
        timeout: seconds for a whole batch, from connecting to the last byte.
    """

    address: str
    timeout: float = 30.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if not parts.hostname:
            raise EditbenchError(f"reward service {self.address!r}, expected http://host:port/path")

    def score(self, samples: Sequence[Sample]) -> list[float | Failed]:
        """Return one value a sample; a batch that fails fails as a whole, with one reason."""
        if not samples:
            return []
        body = json.dumps({"schema": 1, "samples": [_describe(sample) for sample in samples]}).encode()
        try:
            return _read_values(self._exchange(body), len(samples))
        except ServiceError as error:
            return [Failed(str(error)) for _ in samples]

    def _exchange(self, body: bytes) -> bytes:
        """Send a request and return the response, in a thread: a socket's own timeout starts anew with every byte."""
        parts = urlsplit(self.address)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        outcome: list[bytes | Exception] = []
        sockets: list[socket.socket] = []

        def talk() -> None:
            try:
                connection.connect()
                sockets.append(connection.sock)
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                with connection.getresponse() as response:
                    if response.status != 200:
                        raise ServiceError(f"HTTP {response.status}")
                    data = response.read(MAX_BYTES + 1)
                if len(data) > MAX_BYTES:
                    raise ServiceError(f"more than {MAX_BYTES} bytes")
                outcome.append(data)
            except Exception as error:  # also what a closed socket raises, whatever that is
                outcome.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        thread.join(self.timeout)
        late = thread.is_alive()
        for opened in sockets if late else ():
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)  # the thread's next read ends at once
        result = TimeoutError() if late else outcome[0]
        if isinstance(result, bytes):
            return result
        if isinstance(result, ServiceError):
            raise result
        if isinstance(result, TimeoutError):
            raise ServiceError("timeout")
        if isinstance(result, OSError | http.client.HTTPException):
            raise ServiceError(f"no answer ({type(result).__name__})")
        raise result


def _describe(sample: Sample) -> dict[str, Any]:
    scenario = sample.scenario
    return {
        "instruction": scenario.instruction,
        "source_prompt": scenario.source_prompt,
        "target_prompt": scenario.target_prompt,
        "source": _png(scenario.source),
        "mask": _png(scenario.mask.astype(np.uint8) * np.uint8(255)),
        "output": _png(sample.output),
    }


def _png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    return base64.b64encode(encode_png(image)).decode("ascii")


def _read_values(data: bytes, count: int) -> list[float | Failed]:
    try:
        answer = json.loads(data)
    except ValueError:
        raise ServiceError("not JSON") from None
    values = answer.get("values") if isinstance(answer, dict) else None
    if not isinstance(values, list):
        raise ServiceError("no list of values")
    if len(values) != count:
        raise ServiceError("another number of values than samples")
    return [_read_value(value) for value in values]


def _read_value(value: object) -> float | Failed:
    if value is None:
        return Failed("no value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Failed("not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else Failed("non-finite value")
