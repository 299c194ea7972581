"""A service as an editor: any program, on any machine, that speaks the protocol of docs/protocol.md."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from editbench.editors.client import RANGES, Client, DeadlinePassed
from editbench.editors.protocol import VERSION, ProtocolError, output_from_json, request_to_json
from editbench.names import LONGEST_NAME, is_name, shown
from editbench.registry import bare, written_spec
from editbench.specs import printable
from editbench.transport import ApiError, check_address, check_ranges, key_from
from editbench.types import EditbenchError, EditFailed, EditRequest, MaskAccess

CHECK_SECONDS = 10.0
"""How long a service may take to say what it is: whoever starts a run is waiting for it."""
NO_INFORMATION = (404, 405, 501)
"""What a service answers that only edits."""


@dataclass(frozen=True)
class Http:
    """Where a service is, and how to ask it: `http://HOST:PORT/PATH[,option=value…]`.

    Whether its editor sees masks, how large a batch it takes and what it was trained on, the service says itself,
    before the first edit (`GET` of the address). No option changes what an answer is.

    Args:
        address: of the service, without a secret in it.
        mask_access: for a service that does not say; another word than its own is refused.
        batch_size: requests in one exchange; by default what the service asks for, or 1.
        concurrency: exchanges at the same time.
        timeout: seconds for one exchange: connecting, all repetitions and waits, the last byte.
        retries: how many times a lost connection, or one of HTTP 408, 409, 429 and 5xx is tried again.
        token: name of the environment variable with the token that the service asks for. The token itself never stands
            in a spec, for specs are published.
        max_bytes: longer responses are refused while they arrive.
    """

    address: str = bare()
    mask_access: MaskAccess | None = None
    batch_size: int | None = None
    concurrency: int = 1
    timeout: float = 600.0
    retries: int = 3
    token: str = "EDITBENCH_TOKEN"
    max_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        check_address(self.address, "the address of the service", "http://HOST:PORT/PATH without a token in it")
        check_ranges(self, {"batch_size": (1, 1024), **RANGES})
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", self.token):
            raise ValueError(f"token is no name of an environment variable, expected such as {Http.token}")

    @property
    def spec(self) -> str:
        """The canonical spec: the address first, without a name before it unless it has to stand in brackets."""
        written = written_spec(self, "http")
        return written.removeprefix("http:") if written.startswith("http:http") else written

    def opened(self) -> Service:
        """Ask the service what it is, and return it as an editor.

        Raises:
            EditbenchError: if it is not there, refuses the token, or does not say what it must.
        """
        key = key_from([self.token])
        if not key and self.token != Http.token:
            raise EditbenchError(f"{self.address}: environment variable {self.token} is not set, expected the token")
        timeout, retries = min(self.timeout, CHECK_SECONDS), min(self.retries, 1)
        with Client(self.address, timeout, retries, self.max_bytes, key) as client:
            try:
                told = client.run(client.json("GET", self.address))
            except ApiError as error:
                if error.status not in NO_INFORMATION:
                    raise EditbenchError(f"{self.address}: {error}: {_hint(self, error)}") from None
                if self.mask_access is None:
                    raise EditbenchError(
                        f"{self.address} does not say whether its editor sees masks ({error}): append "
                        ",mask_access=none (or hint, region)"
                    ) from None
                told = {"mask_access": self.mask_access}
        return Service(
            self, _information(self, told), Client(self.address, self.timeout, self.retries, self.max_bytes, key)
        )


def _hint(http: Http, error: ApiError) -> str:
    if error.status in (401, 403):
        return f"set {http.token} to the token that it was started with"
    if 300 <= error.status < 400:
        return "write the address that it redirects to"
    return "is it running? `editbench serve EDITOR` starts one"


@dataclass(frozen=True)
class Information:
    """What a service says about its editor."""

    mask_access: MaskAccess
    name: str = ""
    trained_on: tuple[str, ...] = ()
    batch_size: int = 1
    version: str = ""
    """Any text that is another one whenever answers may be others."""


def _information(http: Http, told: object) -> Information:
    if not isinstance(told, dict):
        raise EditbenchError(f"{http.address} is no service of editbench: it says nothing about its editor")
    protocol = told.get("protocol", VERSION)
    if protocol != VERSION or isinstance(protocol, bool):
        raise EditbenchError(
            f"{http.address} speaks protocol {shown(protocol)}, expected {VERSION}: update the older side"
        )
    access: Any = told.get("mask_access")
    if access not in get_args(MaskAccess):
        raise EditbenchError(f"{http.address}: mask_access is {shown(access)}, expected none, hint, region")
    if http.mask_access not in (None, access):
        raise EditbenchError(
            f"{http.address} declares mask_access={access}, not {http.mask_access}: leave the option out"
        )
    given: dict[str, Any] = {
        name: told[name] for name in ("name", "trained_on", "batch_size", "version") if name in told
    }
    trained_on = given.get("trained_on", [])
    if not isinstance(trained_on, list) or not all(
        isinstance(metric, str) and is_name(metric) for metric in trained_on
    ):
        raise EditbenchError(f"{http.address}: trained_on is {shown(trained_on)}, expected a list of metric specs")
    if type(size := given.get("batch_size", 1)) is not int or not 1 <= size <= 1024:
        raise EditbenchError(f"{http.address}: batch_size is {shown(size)}, expected 1 to 1024")
    for name in ("name", "version"):
        if not isinstance(text := given.get(name, ""), str) or len(text) > LONGEST_NAME:
            raise EditbenchError(
                f"{http.address}: {name} is {shown(text)}, expected text of up to {LONGEST_NAME} characters"
            )
    return Information(access, **{**given, "trained_on": tuple(trained_on)})


class Service:
    """A service that has said what it is.

    A batch that fails, other than for its deadline, is asked for again one by one: the culprit alone is charged.
    """

    peak_bytes: ClassVar[int] = 0

    def __init__(self, http: Http, information: Information, client: Client) -> None:
        self.spec = http.spec
        self.name = printable(information.name)
        self.mask_access = information.mask_access
        self.trained_on = information.trained_on
        self.code_sha256 = hashlib.sha256(information.version.encode()).hexdigest() if information.version else None
        self._http, self._client = http, client
        self._size = http.batch_size or information.batch_size
        self.batch_size = self._size * http.concurrency

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Return what the service gives for each request: an image, or how it failed."""
        return self._client.run(self._all(requests))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    async def _all(self, requests: Sequence[EditRequest]) -> list[object]:
        gate = asyncio.Semaphore(self._http.concurrency)
        parts = [requests[start : start + self._size] for start in range(0, len(requests), self._size)]
        outputs = await asyncio.gather(*(self._part(gate, part) for part in parts))
        return [output for part in outputs for output in part]

    async def _part(self, gate: asyncio.Semaphore, requests: Sequence[EditRequest]) -> list[object]:
        async with gate:
            try:
                return await self._exchange(requests)
            except DeadlinePassed as error:
                return [EditFailed("editor_timeout", str(error)) for _ in requests]
            except ApiError as error:
                if len(requests) == 1:
                    return [EditFailed("editor_error", str(error))]
        parts = await asyncio.gather(*(self._part(gate, [request]) for request in requests))
        return [output for part in parts for output in part]

    async def _exchange(self, requests: Sequence[EditRequest]) -> list[object]:
        body = {"protocol": VERSION, "requests": [request_to_json(request) for request in requests]}
        data = await self._client.json("POST", self._http.address, json=body)
        match data:
            case {"outputs": list() as outputs}:
                pass
            case _:
                raise ApiError("malformed response (no list of outputs)")
        if len(outputs) != len(requests):
            raise ApiError(f"malformed response ({len(outputs)} outputs for {len(requests)} requests)")
        try:
            return [output_from_json(output) for output in outputs]
        except ProtocolError as error:
            raise ApiError(f"malformed response ({error})") from None
