"""Rewards from another process or machine: JSON over HTTP, a deadline for everything, failures with a type.

Request: `POST` of `{"schema": 1, "samples": [{"instruction", "source_prompt", "target_prompt", "source", "mask",
"output"}]}`, images and masks as base64 PNG (a mask is white where the edit may happen). Response:
`{"values": [number or null, …]}`, one a sample, null where the service has none. Nothing is ever unpickled, and nothing
that a server wrote gets into a reason: reasons are counted, so they must be the same each time.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from editbench.png import encode_png
from editbench.records import dumps, loads
from editbench.transport import ApiError
from editbench.types import EditbenchError, Failed, Sample

MAX_BYTES = 1 << 22
"""Longer responses are refused while they arrive."""


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
        body = dumps({"schema": 1, "samples": [_describe(sample) for sample in samples]}).encode()
        try:
            return _read_values(self._exchange(body), len(samples))
        except ApiError as error:
            return [Failed(str(error)) for _ in samples]

    def _exchange(self, body: bytes) -> bytes:
        """Send a request and return the response; nothing is tried again, for the next batch is."""
        from editbench.editors.client import Client  # only who has a service pays for it

        with Client(self.address, self.timeout, 0, MAX_BYTES) as client:
            kind = {"Content-Type": "application/json"}
            return client.run(client.exchange("POST", self.address, content=body, headers=kind))


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
        answer = loads(data)
    except ValueError:
        raise ApiError("not JSON") from None
    values = answer.get("values") if isinstance(answer, dict) else None
    if not isinstance(values, list):
        raise ApiError("no list of values")
    if len(values) != count:
        raise ApiError("another number of values than samples")
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
