"""The wire to a judge: chat completions of an OpenAI-compatible server, through the official client.

What is said about a failure is the same whenever it happens: a kind, a status, a short code. Nothing that a server
wrote in its own words gets through, for it may hold request numbers, or the key.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from editbench.png import encode_png
from editbench.records import loads
from editbench.specs import did_you_mean, printable
from editbench.transport import (
    MAX_WAIT,
    ApiError,
    check_address,
    error_code,
    key_from,
    refused,
    wait_before,
    without_key,
)
from editbench.types import EditbenchError, Image

KEYS = ("EDITBENCH_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first that is set counts. It is kept nowhere else."""
MAX_BYTES = 1 << 20
"""Longer responses are refused while they arrive."""
CHECK_SECONDS = 10.0
"""How long the list of models may take: whoever starts a run is waiting for it."""
BACKOFF = 0.5
"""Seconds before the first repetition where the server names none; doubled each time."""

_without_schema: set[tuple[str, str]] = set()
"""Endpoints and models that refused a schema and answered without one."""


@dataclass(frozen=True)
class Reply:
    """What the server's answer holds."""

    text: str
    refusal: str
    finish_reason: str
    json_schema: bool
    """Whether the server was made to follow the schema."""


@dataclass(frozen=True)
class Request:
    """One question, as it is put."""

    model: str
    text: str
    images: Sequence[tuple[str, Image]]
    """A caption and the pixels of each image, `uint8 (H, W, 3)`."""
    schema: Mapping[str, Any]
    """JSON schema of the answer."""
    seed: int
    temperature: float
    max_tokens: int


class Connection:
    """A client of one server; used from several threads, closed at the end.

    Args:
        endpoint: address of the API, `http://127.0.0.1:8000/v1`.
        timeout: seconds for one attempt, from the first byte to the last.
        retries: how many times a lost connection, a deadline, or one of HTTP 408, 409, 429 and 5xx is tried again.

    Raises:
        EditbenchError: if the client library is not installed.
    """

    def __init__(self, endpoint: str, timeout: float, retries: int) -> None:
        try:
            import openai
        except ImportError:
            raise EditbenchError("judge needs the openai client: pip install 'editbench[judge]'") from None
        self._openai = openai
        self._endpoint, self._timeout, self._retries = endpoint, timeout, retries
        self._key = key_from(KEYS)
        self._stopped = threading.Event()
        # Repetition is ours: the client repeats neither a body that breaks off nor one that never ends.
        self._client = openai.OpenAI(base_url=endpoint, api_key=self._key or "none", timeout=timeout, max_retries=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Let nothing be tried again: whoever waited for it has gone."""
        self._stopped.set()

    def check(self, model: str) -> None:
        """Find out whether the server is there and serves a model.

        Raises:
            EditbenchError: one line that says what is wrong and how to start a server.
        """
        start = f"`vllm serve {model}` starts one; EDITBENCH_JUDGE_URL or endpoint= says where it is"
        try:
            data = self._json(self._client.models.with_streaming_response.list)
        except ApiError as error:
            hint = start
            if error.status in (401, 403):
                hint = f"set {KEYS[0]} to a key that it accepts"
            elif error.status == 404:
                hint = "does the address end in /v1?"
            raise EditbenchError(f"judge: no list of models from {self._endpoint} ({error}): {hint}") from None
        match data:
            case {"data": [*cards]}:
                names = [card["id"] for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
                served = [printable(without_key(name, self._key))[:120] for name in names]
            case _:
                raise EditbenchError(f"judge: {self._endpoint} is no OpenAI-compatible server: {start}")
        if model not in served:
            others = ", ".join(served[:5]) or "nothing"
            hint = did_you_mean(model, served) or f": {start}"
            raise EditbenchError(f"judge: {self._endpoint} does not serve {model!r} but {others}{hint}")

    def ask(self, request: Request) -> Reply:
        """Put a question and return the answer, whatever it says.

        Where the server refuses the schema (HTTP 400 or 422), the question is put again without it.

        Raises:
            ApiError: if there is no answer, or not from the model that was asked.
        """
        parts: list[dict[str, Any]] = [{"type": "text", "text": request.text}]
        for caption, image in request.images:
            url = "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
            parts += [{"type": "text", "text": caption}, {"type": "image_url", "image_url": {"url": url}}]
        shape = {"name": "answer", "schema": request.schema, "strict": True}
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": "user", "content": parts}],
            "seed": request.seed,
            "temperature": request.temperature,
            "max_completion_tokens": request.max_tokens,
        }
        place = (self._endpoint, request.model)
        try:
            if place not in _without_schema:
                with_schema = {**arguments, "response_format": {"type": "json_schema", "json_schema": shape}}
                with contextlib.suppress(_SchemaRefusedError):
                    return self._complete(with_schema, json_schema=True)
            reply = self._complete(arguments, json_schema=False)
        except _FilteredError:
            return Reply("", "", "content_filter", json_schema=place not in _without_schema)
        _without_schema.add(place)
        return reply

    def _complete(self, arguments: Mapping[str, Any], json_schema: bool) -> Reply:
        create = self._client.chat.completions.with_streaming_response.create
        try:
            data = self._json(lambda **options: create(**arguments, **options))
        except ApiError as error:
            if "content_filter" in str(error) or "content_policy" in str(error):
                raise _FilteredError from None
            if json_schema and error.status in (400, 422):
                raise _SchemaRefusedError from None
            raise
        match data:
            case {"choices": []}:
                raise ApiError("response without choices")
            case {"model": str() as served, "choices": [{"message": {**message}, **choice}, *_]}:
                texts = [message.get("content"), message.get("refusal"), choice.get("finish_reason")]
            case _:
                raise ApiError("malformed response")
        if not all(isinstance(text, str | None) for text in texts):
            raise ApiError("malformed response")
        if served != arguments["model"]:
            other = printable(without_key(served, self._key))[:120]
            raise ApiError(f"answered by {other!r}, another model than was asked")
        content, refusal, finish = (without_key(str(text or ""), self._key) for text in texts)
        return Reply(content, refusal, finish, json_schema)

    # ---------------------------------------------------------------------------------------------- attempts

    def _json(self, call: Callable[..., Any]) -> Any:
        attempt = 0
        while True:
            try:
                body = self._attempt(call)
                break
            except ApiError as error:
                wait = wait_before(error, attempt, BACKOFF)
                if not error.again or attempt >= self._retries or wait > MAX_WAIT:
                    raise
            if self._stopped.wait(wait):
                raise ApiError("interrupted")
            attempt += 1
        try:
            return loads(body)
        except ValueError:
            raise ApiError("malformed response (not JSON)") from None

    def _attempt(self, call: Callable[..., Any]) -> bytes:
        late = f"no answer within {self._timeout:g} s"
        deadline = time.monotonic() + self._timeout
        body = bytearray()
        try:
            with call(timeout=self._timeout) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise ApiError(f"response of more than {MAX_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise ApiError(late, again=True)
        except ApiError:
            raise
        except self._openai.APIStatusError as error:
            code = error_code(error.body, self._key)
            raise refused(error.status_code, error.response.headers.get("retry-after"), code) from None
        except self._openai.APITimeoutError:
            raise ApiError(late, again=True) from None
        except self._openai.APIConnectionError:
            raise ApiError("no connection", again=True) from None
        except Exception as error:  # the body breaks off: whichever HTTP library the client is built on raises its own
            name = type(error).__name__
            raise ApiError(late if "Timeout" in name else f"connection lost ({name})", again=True) from None
        return bytes(body)


class _SchemaRefusedError(Exception):
    """The request was refused, perhaps for its schema."""


class _FilteredError(Exception):
    """The server's content filter refused the request."""


def check_endpoint(address: str, name: str) -> None:
    """Refuse what is no address of an API; `cache` stands for no server at all.

    Args:
        address: of an API.
        name: where it was written, for the message, which does not repeat it.

    Raises:
        EditbenchError: for anything but `http(s)://HOST[:PORT]/PATH` and `cache`.
    """
    if address != "cache":
        check_address(address, f"judge: {name}", f"http://HOST:PORT/v1 without a key in it ({KEYS[0]})")
