"""A service among strangers: slow ones, many of them, and small bodies that stand for large pictures."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import numpy as np
import pytest
import uvicorn

from editbench import serve
from editbench.connections import CONNECTIONS, impatient
from editbench.editors.protocol import request_to_json
from editbench.serve import Limits, Serving, application
from editbench.transport import is_loopback
from editbench.types import EditbenchError, EditRequest

HOSTS = ("127.0.0.1", "localhost")
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"


@contextlib.contextmanager
def listening(seconds=30.0, connections=CONNECTIONS, token=""):
    """A service in a thread of this process; gives its port."""
    serving = Serving("identity", Limits(1 << 20, None, token, HOSTS))
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.closing(serving):
        config = uvicorn.Config(
            application(serving),
            http=impatient(seconds),
            limit_concurrency=connections,
            log_config=None,
            lifespan="off",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def spoken(port, data, pause=0.0):
    """Send bytes, one at a time with pauses in between if there are any; return what comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
        with contextlib.suppress(ConnectionError):
            for byte in [data] if not pause else [data[at : at + 1] for at in range(len(data))]:
                stream.sendall(byte)
                time.sleep(pause)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := stream.recv(1 << 16):
                answer += chunk
        return answer


def test_a_header_that_never_ends_loses_its_connection():
    with listening(seconds=0.3) as port:
        assert spoken(port, b"") == b""
        assert spoken(port, GET) == b""  # the blank line is missing
        assert spoken(port, GET, pause=0.02) == b""  # one byte after the other does not help
        assert spoken(port, GET + b"\r\n").startswith(b"HTTP/1.1 200")


def test_a_later_header_on_a_kept_connection_has_the_same_deadline():
    whole = GET.replace(b"Connection: close\r\n", b"\r\n")
    with listening(seconds=0.3) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
        for _ in range(2):
            stream.sendall(whole)
            answer = b""
            while not answer.endswith(b"}"):
                answer += stream.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.5)  # between two requests there is no hurry
        stream.sendall(whole[:20])
        with contextlib.suppress(ConnectionError):
            assert stream.recv(1 << 16) == b""


def test_more_connections_than_there_may_be_are_told_to_come_again():
    with listening(connections=3) as port, contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.2)
        assert spoken(port, GET + b"\r\n").startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize("host", [b"[::1", b"a:b:c", b"127.0.0.1.evil.example", b"\xff", b""])
def test_a_host_that_is_none_of_its_own_is_refused_and_never_a_crash(host):
    with listening() as port:
        answer = spoken(port, b"GET / HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n")
        assert answer.split()[1][:1] == b"4", answer


@pytest.mark.parametrize("given", [b"", b"Bearer ", b"Bearer wrong", b"Bearer \xe9", b"Basic right", b"bearer right"])
def test_without_the_right_token_nobody_is_let_in(given):
    with listening(token="right") as port:
        head = GET + (b"Authorization: " + given + b"\r\n" if given else b"")
        assert spoken(port, head + b"\r\n").startswith(b"HTTP/1.1 401")
        assert spoken(port, GET + b"Authorization: Bearer right\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_small_body_cannot_stand_for_more_pixels_than_fit(monkeypatch):
    monkeypatch.setattr(serve, "BODY_PIXELS", 1000)
    black = EditRequest(source=np.zeros((20, 20, 3), np.uint8), mask=None, instruction="", seed=0)
    items = [request_to_json(black)]
    assert len(serve._requests(json.dumps({"requests": items * 2}).encode())) == 2
    with pytest.raises(serve._RefusedError, match="more than 1000 pixels together"):
        serve._requests(json.dumps({"requests": items * 3}).encode())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org", ""])
def test_whatever_others_can_reach_needs_a_token(host):
    assert not is_loopback(host)
    with pytest.raises(EditbenchError, match="set EDITBENCH_TOKEN"):
        serve.serve("identity", host, 0, Limits(1 << 20, None, "", None), print)
