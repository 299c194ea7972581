"""A service of editors on this machine, well or badly behaved: standard library only, and nothing of ours."""

import base64
import io
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def pixels(text):
    """Decode an image of a message."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def png(image):
    """Encode an image for a message."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def inverted(request):
    """What a well-behaved service gives for a request."""
    return {"image": png(255 - pixels(request["source"]))}


class EditServer(ThreadingHTTPServer):
    """Inverts every picture; `behaviour` takes care of the batches with an odd seed in them, if there is one."""

    daemon_threads = True

    def __init__(self, behaviour=None, **information):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.information = {"mask_access": "none", **information}
        self.asked = []
        self.headers = []
        self.connections = 0
        self.sent = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/edit"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def process_request(self, request, client_address):
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Lost connections are the point."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.headers.append(self.headers)
        information = self.server.information
        return information(self) if callable(information) else self.send(200, information)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.headers.append(self.headers)
        requests = json.loads(body)["requests"]
        with self.server.lock:
            self.server.asked.append(requests)
        if self.server.behaviour is not None and any(request["seed"] % 2 for request in requests):
            return self.server.behaviour(self, requests)
        return self.send(200, {"outputs": [inverted(request) for request in requests]})

    def send(self, status, body, **headers):
        """Send JSON, text or bytes as the body of a response."""
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


# -------------------------------------------------------------------------------------------------- behaviours


def responds(status, body, **headers):
    """Respond with any status and body."""
    return lambda handler, requests: handler.send(status, body, **headers)


def outputs(*made):
    """Give these outputs, each made of the first request if it is a function."""
    return lambda handler, requests: handler.send(
        200, {"outputs": [one(requests[0]) if callable(one) else one for one in made]}
    )


def first(count, behaviour):
    """Behave so the first times, well afterwards."""
    seen = []

    def behave(handler, requests):
        with handler.server.lock:
            seen.append(requests)
        if len(seen) <= count:
            return behaviour(handler, requests)
        return handler.send(200, {"outputs": [inverted(request) for request in requests]})

    return behave


def hangs(handler, requests):
    """Say nothing until the server closes."""
    handler.server.closing.wait(30)


def drips(handler, requests):
    """Send a byte of the body now and then, so that no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def drips_headers(handler, requests):
    """Send a byte of the headers now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def floods(handler, requests):
    """Send a body without an end, as fast as it is taken."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(b" " * 65536)
        handler.server.sent += 65536


def breaks_off(handler, requests):
    """Reset the connection in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"outputs": [')
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def ends_early(handler, requests):
    """Close the connection in the middle of the body, politely."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"outputs": [')
    handler.close_connection = True
