"""An HTTP client for editors: a deadline for everything, a cap on what comes back, connections that are kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from editbench.records import loads
from editbench.transport import MAX_WAIT, ApiError, error_code, is_loopback, refused, wait_before

BACKOFF = 0.5
"""Seconds before the first repetition where the server names none; doubled each time."""
CONNECT_SECONDS = 10.0
RANGES: dict[str, tuple[float, float]] = {
    "concurrency": (1, 256),
    "timeout": (0.01, 86400),
    "retries": (0, 20),
    "max_bytes": (1024, 1 << 32),
}
"""What the options of an editor behind a client may be."""
ERROR_BYTES = 1 << 16
"""How much is read of a response that is an error: its code stands at the beginning, if anywhere."""

Result = TypeVar("Result")


class DeadlinePassed(ApiError):
    """No complete answer came in time, all repetitions counted."""


class Client:
    """A client of one server, that repeats what may go well the next time.

    It works in a thread of its own, started on first use: only there can a deadline be kept that no slow byte moves.
    No redirect is followed: a request holds pictures, and perhaps a key, that are meant for the address as written.
    Proxies of the environment are used, except for this machine.

    Args:
        address: of the server; says whether it is this machine.
        timeout: seconds for one exchange: connecting, all repetitions and waits, the last byte.
        retries: how many times a lost connection, or one of HTTP 408, 409, 429 and 5xx is tried again.
        max_bytes: longer responses are refused while they arrive.
        key: sent as bearer token, and kept out of every reason; empty for none.
    """

    def __init__(self, address: str, timeout: float, retries: int, max_bytes: int, key: str = "") -> None:
        self._timeout, self._retries, self._max_bytes, self._key = timeout, retries, max_bytes, key
        self._own_machine = is_loopback(urlsplit(address).hostname or "")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._http: httpx2.AsyncClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine that makes exchanges, and return its result; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread and close every connection; the next `run` starts anew."""
        loop, thread, http = self._loop, self._thread, self._http
        self._loop = self._thread = self._http = None
        if loop is None or thread is None:
            return
        if http is not None:
            asyncio.run_coroutine_threadsafe(http.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="editbench-http", daemon=True)
            self._thread.start()
        return self._loop

    # --------------------------------------------------------------------------------------------- one exchange

    async def exchange(self, method: str, address: str, **content: Any) -> bytes:
        """Send a request until there is an answer, and return its body.

        Args:
            method: GET or POST.
            address: where to.
            **content: the body, as httpx2 takes it (`json`, or `data` and `files`).

        Raises:
            DeadlinePassed: if there was none in time.
            ApiError: if there is none, or an error.
        """
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                attempt = 0
                while True:
                    try:
                        return await self._attempt(method, address, content)
                    except ApiError as error:
                        wait = wait_before(error, attempt, BACKOFF)
                        late = asyncio.get_running_loop().time() + wait >= (deadline.when() or 0.0)
                        if not error.again or attempt >= self._retries or wait > MAX_WAIT or late:
                            raise
                    await asyncio.sleep(wait)
                    attempt += 1
        except TimeoutError:
            raise DeadlinePassed(f"no answer within {self._timeout:g} s") from None

    async def json(self, method: str, address: str, **content: Any) -> Any:
        """Return the JSON data of an answer. Raises as `exchange` does, and ApiError for anything else than JSON."""
        try:
            return loads(await self.exchange(method, address, **content))
        except ValueError:
            raise ApiError("malformed response (not JSON)") from None

    async def _attempt(self, method: str, address: str, content: Mapping[str, Any]) -> bytes:
        if self._http is None:
            # A body may be compressed a thousandfold: its size is only known if it is not.
            headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {self._key}"} if self._key else {})}
            self._http = httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
                limits=httpx2.Limits(keepalive_expiry=60.0),  # between two batches, edits are scored
                follow_redirects=False,
                trust_env=not self._own_machine,
            )
        try:
            async with self._http.stream(method, address, **content) as response:
                status = response.status_code
                if 300 <= status < 400:
                    raise ApiError(f"HTTP {status}: redirects are not followed", status)
                good = 200 <= status < 300
                body = await _body(response, self._max_bytes if good else ERROR_BYTES, whole=good)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError):
            raise ApiError("no connection", again=True) from None
        except httpx2.InvalidURL:  # one that a server gave
            raise ApiError("malformed response (no address)") from None
        except httpx2.TransportError:  # which one depends on when the connection broke
            raise ApiError("connection lost", again=True) from None
        if good:
            return body
        raise refused(status, response.headers.get("retry-after"), error_code(_loads(body), self._key))


async def _body(response: httpx2.Response, limit: int, whole: bool) -> bytes:
    """Read a body up to a limit; beyond it, a `whole` one is refused and another cut off."""
    if whole and response.headers.get("content-encoding", "identity") != "identity":
        raise ApiError("malformed response (compressed)")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            if whole:
                raise ApiError(f"response of more than {limit} bytes")
            break
    return bytes(body)


def _loads(body: bytes) -> Any:
    try:
        return loads(body)
    except ValueError:
        return None
