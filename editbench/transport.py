"""What holds for every service that is spoken to over HTTP: addresses, when to try again, what is said of a failure.

What is said is the same whenever it happens: a kind, a status, a short code. Nothing that a server wrote in its own
words gets through, for it may hold request numbers, or the key.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from editbench.types import EditbenchError

MAX_WAIT = 60.0
"""Longest wait, in seconds, that a server may ask for (`Retry-After`) before it is tried again."""
LONGEST_BACKOFF = 8.0
"""Seconds beyond which the wait between two attempts does not grow."""


class ApiError(Exception):
    """No answer was to be had. The message is stable: fit for a record.

    Args:
        reason: what is said about it.
        status: of HTTP, 0 where there was no response.
        wait: seconds that the server wants to be left alone; None where it did not say.
        again: whether it may go well the next time.
    """

    def __init__(self, reason: str, status: int = 0, wait: float | None = None, again: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait
        self.again = again


def refused(status: int, header: str | None, code: str) -> ApiError:
    """Return the error for a response with a status that is no success.

    Args:
        status: of HTTP.
        header: the value of `Retry-After`, None if there is none.
        code: from `error_code`.
    """
    again = status in (408, 409, 429) or status >= 500
    return ApiError(f"HTTP {status}{code}", status, _seconds(header) if again else None, again)


def wait_before(error: ApiError, attempt: int, backoff: float) -> float:
    """Return the seconds to wait before an attempt is repeated: what the server says, or else twice as long each time.

    Args:
        error: why the attempt failed.
        attempt: how many times it was repeated before.
        backoff: seconds before the first repetition.
    """
    return min(backoff * 2**attempt, LONGEST_BACKOFF) if error.wait is None else error.wait


def _seconds(header: str | None) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110, §10.2.3); None for what cannot be read."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            seconds = max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def error_code(body: object, key: str) -> str:
    """Return the machine-readable part of an error's body, ` (context_length_exceeded)`, or nothing.

    Args:
        body: JSON data.
        key: the secret that was sent; a code with it in it is none.
    """
    match body:
        case {"error": {**detail}} | {**detail}:
            codes: list[object] = [detail.get("code"), detail.get("type")]
        case _:
            codes = []
    for code in codes:
        if isinstance(code, str) and re.fullmatch(r"[A-Za-z_]{1,40}", code) and without_key(code, key) == code:
            return f" ({code})"
    return ""


def without_key(text: str, key: str) -> str:
    """Take the key out of what a server wrote; one of a few letters is a placeholder (`none`, `EMPTY`)."""
    return text.replace(key, "[key]") if len(key) >= 8 else text


def check_address(address: str, name: str, expected: str) -> None:
    """Refuse what is no address, and any that could hold a secret.

    Args:
        address: of a service.
        name: where it was written, for the message, which does not repeat it.
        expected: what should stand there, and where a secret belongs.

    Raises:
        EditbenchError: for anything but `http(s)://HOST[:PORT]/PATH`.
    """
    try:
        parts = urlsplit(address)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        plain = False
    if not plain or parts.username is not None or parts.query or parts.fragment or not address.isprintable():
        raise EditbenchError(f"{name} is no plain address, expected {expected}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever the name servers say."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_from(names: Sequence[str]) -> str:
    """Return the first environment variable of some that is set, without blanks around it; empty if none is."""
    return next((key for name in names if (key := os.environ.get(name, "").strip())), "")


def check_ranges(options: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse options that are out of range; None is in any.

    Raises:
        ValueError: naming the option, its value and the range.
    """
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name}={value}, expected {low} to {high}")
