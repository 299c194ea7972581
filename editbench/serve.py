"""An editor as a service: the other side of `http://HOST:PORT` editors, in the protocol of docs/protocol.md."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
import queue
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from editbench import __version__
from editbench.batches import BatchSizes, run_in_batches
from editbench.connections import CONNECTIONS, impatient
from editbench.editors import answers_sha256, code_sha256
from editbench.editors.protocol import VERSION, ProtocolError, output_to_json, request_from_json
from editbench.execute import Executor, InProcess
from editbench.images import MAX_PIXELS
from editbench.isolation import Worker
from editbench.limits import Limits as WorkerLimits
from editbench.placement import place_editor
from editbench.records import dumps, loads
from editbench.registry import spec_of
from editbench.transport import is_loopback
from editbench.types import EditbenchError, Editor, EditRequest

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d+)?")

Outputs: TypeAlias = list[dict[str, Any]]
"""As JSON data."""

WAITING = 64
"""Exchanges that may wait for their turn; more are told to come again."""
LARGEST_BATCH = 1024
BODY_PIXELS = 4 * MAX_PIXELS
"""Of all sources in one body together: a few kilobytes may stand for a picture of hundreds of megabytes."""
BODY_SECONDS = 60.0
"""How long a request may take to arrive."""
GRACE_SECONDS = 30
"""How long the edit at work may go on once the server is told to end."""


@dataclass(frozen=True)
class Limits:
    """What a service accepts.

    Args:
        max_bytes: largest body of a request.
        timeout: seconds for one edit; None for no limit. With one, any editor runs in a worker process, as third-party
            code does anyway.
        token: what a request must carry as bearer token; empty for none.
        hosts: names under which it may be asked for, None for any. A page in a browser can make a name of its own lead
            to this machine; it cannot make the browser ask for another name.
    """

    max_bytes: int
    timeout: float | None
    token: str
    hosts: tuple[str, ...] | None


class _RefusedError(Exception):  # a request that gets an error as its response
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Serving:
    """An editor, ready to be asked: one batch at a time, in a thread of its own, always the same.

    Args:
        spec: of the editor, or a path.py:Name.
        limits: what is accepted.

    Raises:
        EditbenchError: if it cannot be loaded, or answers by scenario: a service is never told which one is asked for.
    """

    def __init__(self, spec: str, limits: Limits) -> None:
        code = code_sha256(spec)
        editor = place_editor(spec, None, WorkerLimits(limits.timeout, deaths=sys.maxsize))
        if not isinstance(editor, Editor):
            raise EditbenchError(
                f"editor {spec!r} looks scenarios up, which a service is never told: serve a plain editor, and compose "
                "on the other side: paste:editor=[http://HOST:PORT]"
            )
        self.limits = limits
        self._executor: Executor = editor if isinstance(editor, Worker) else InProcess(editor)
        self._sizes = BatchSizes(LARGEST_BATCH, bool(getattr(editor, "mixes_sizes", False)))
        self.information: Mapping[str, Any] = {
            "protocol": VERSION,
            "name": spec_of(editor),
            "mask_access": editor.mask_access,
            "trained_on": list(getattr(editor, "trained_on", ())),
            "batch_size": min(int(getattr(editor, "batch_size", 1)), LARGEST_BATCH),
            # Of everything that decides an answer: options too, for whoever resumes a run sees only the address.
            "version": f"editbench {__version__} {spec_of(editor)} {answers_sha256(code, editor) or ''}".strip(),
        }
        if isinstance(self._executor, InProcess):
            self._executor.start()
        self._waiting: queue.Queue[tuple[Sequence[EditRequest], Future[Outputs]]] = queue.Queue(WAITING)
        # A daemon: an edit that never ends must not keep the server from ending.
        threading.Thread(target=self._work, name="editbench-editor", daemon=True).start()

    def close(self) -> None:
        """Leave no process behind."""
        self._executor.close()

    async def edit(self, requests: Sequence[EditRequest]) -> Outputs:
        """Return an output for each request, as JSON data."""
        outputs: Future[Outputs] = Future()
        try:
            self._waiting.put_nowait((requests, outputs))
        except queue.Full:
            raise _RefusedError(503, "busy", f"{WAITING} requests are waiting already") from None
        return await asyncio.wrap_future(outputs)

    def _work(self) -> None:
        while True:
            requests, outputs = self._waiting.get()
            if not outputs.set_running_or_notify_cancel():
                continue
            try:
                attempts = run_in_batches(self._executor, requests, self._sizes)
                outputs.set_result([output_to_json(a.image, a.flags, a.status, a.reason) for a in attempts])
            except BaseException as error:
                outputs.set_exception(error)


# ------------------------------------------------------------------------------------------------------- routes


def application(serving: Serving) -> Starlette:
    """Return the routes: `GET /` and `POST /` as in docs/protocol.md, and `GET /health`."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Route

    def json(data: object, status: int = 200, **headers: str) -> Response:
        return Response(dumps(data), status, headers, "application/json")

    def refusal(status: int, code: str, message: str) -> Response:
        headers = {"Retry-After": "1"} if status == 503 else {"Connection": "close"}
        return json({"error": {"code": code, "message": message}}, status, **headers)

    def guarded(answer: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            try:
                _let_in(request, serving.limits)
                return json(await answer(request))
            except _RefusedError as error:
                return refusal(error.status, error.code, str(error))
            except EditbenchError as error:  # the worker process cannot be started any more
                return refusal(500, "editor_lost", str(error))

        return guard

    async def information(request: Request) -> object:
        return serving.information

    async def health(request: Request) -> Response:
        return json({"status": "ok"})

    async def edit(request: Request) -> object:
        body = await _body(request, serving.limits.max_bytes)
        return {"outputs": await serving.edit(await asyncio.to_thread(_requests, body))}

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: ("no_route", "GET /, POST / and GET /health are what there is")}
        return refusal(error.status_code, *words.get(error.status_code, ("no_method", "GET or POST is expected")))

    return Starlette(
        routes=[
            Route("/", guarded(information), methods=["GET"]),
            Route("/", guarded(edit), methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: unknown},
    )


def _let_in(request: Request, limits: Limits) -> None:
    # Not the address that starlette makes of it: where the header makes no sense, that is the one listened on.
    asked = _HOST.fullmatch(request.headers.get("host", ""))
    if limits.hosts is not None and (asked is None or asked[1].strip("[]").lower() not in limits.hosts):
        raise _RefusedError(
            421, "wrong_host", f"this service is asked for as {' or '.join(dict.fromkeys(limits.hosts))}"
        )
    given = request.headers.get("authorization", "")
    if limits.token and not hmac.compare_digest(given.encode(), f"Bearer {limits.token}".encode()):
        raise _RefusedError(401, "wrong_token", "expected the header 'Authorization: Bearer TOKEN'")


async def _body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # what a page in a browser can send elsewhere without asking is never JSON
        raise _RefusedError(415, "no_json", f"Content-Type is {kind!r}, expected 'application/json'")
    too_large = _RefusedError(413, "too_large", f"the body has more than {limit} bytes")
    if int(request.headers.get("content-length", "0")) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise _RefusedError(408, "too_slow", f"the body took more than {BODY_SECONDS:g} s") from None
    return bytes(body)


def _requests(body: bytes) -> list[EditRequest]:
    try:
        data = loads(body)
    except ValueError as error:
        raise _RefusedError(400, "no_json", f"the body is no JSON: {error}") from None
    match data:
        case {"protocol": int() as protocol} if protocol != VERSION:
            raise _RefusedError(400, "other_protocol", f"protocol {protocol}, expected {VERSION}")
        case {"requests": list() as items} if 0 < len(items) <= LARGEST_BATCH:
            pass
        case _:
            raise _RefusedError(400, "no_requests", f"expected an object with 1 to {LARGEST_BATCH} requests")
    requests: list[EditRequest] = []
    pixels = 0
    for item in items:
        try:
            requests.append(request_from_json(item))
        except ProtocolError as error:
            raise _RefusedError(422, "wrong_request", str(error)) from None
        pixels += requests[-1].source.size // 3
        if pixels > BODY_PIXELS:
            raise _RefusedError(413, "too_large", f"the sources have more than {BODY_PIXELS} pixels together")
    return requests


# ------------------------------------------------------------------------------------------------------- server


def serve(spec: str, host: str, port: int, limits: Limits, say: Callable[[str], None]) -> None:
    """Serve an editor until SIGINT or SIGTERM; the edit at work is finished first.

    Args:
        spec: of the editor.
        host: name or address to listen on. Whatever is not this machine alone needs a token.
        port: to listen on; 0 for any that is free.
        limits: what is accepted.
        say: told the line to type on the other side, once the server listens.

    Raises:
        EditbenchError: if there is something to mend first; one line.
    """
    try:
        import starlette  # noqa: F401  needed by `application`
        import uvicorn
    except ImportError:
        raise EditbenchError("serve needs starlette and uvicorn: pip install 'editbench[serve]'") from None
    if not is_loopback(host) and not limits.token:
        raise EditbenchError(f"host {host!r} can be reached by others: set EDITBENCH_TOKEN to a secret of your choice")
    if limits.timeout is not None and not 0 < limits.timeout < math.inf:
        raise EditbenchError(f"timeout: {limits.timeout}, expected seconds above 0")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise EditbenchError(f"cannot listen on {host}:{port}: {reason}; give another --port, or 0 for any") from None
    with listening:
        serving = Serving(spec, limits)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{socket.gethostname() if host in ('0.0.0.0', '::') else shown}:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                application(serving),
                loop="asyncio",
                http=impatient(),
                limit_concurrency=CONNECTIONS,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=75,  # the other side scores between two batches
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        # uvicorn ends as it is asked to, then raises the signal again; one may come before it listens to them.
        with contextlib.closing(serving), contextlib.suppress(KeyboardInterrupt):
            say(address)
            server.run(sockets=[listening])
