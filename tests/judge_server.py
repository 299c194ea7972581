"""A judge on this machine that speaks /v1/models and /v1/chat/completions, well or badly: standard library only.

It looks at the images that it is sent, so a value that comes back has been through the whole wire.
"""

import base64
import io
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

MODEL = "tiny"


def images_of(request):
    """Decode the images of a request, in order."""
    urls = [part["image_url"]["url"] for part in request["messages"][0]["content"] if part["type"] == "image_url"]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls]


def text_of(request):
    """The prompt of a request."""
    return request["messages"][0]["content"][0]["text"]


def honest(request):
    """Answer from what is seen: do the images differ, and does the only one have any contrast?"""
    text, images = text_of(request), images_of(request)
    differ = len(images) == 2 and not np.array_equal(*images)
    if "[success, restraint]" in text:
        score = [8, 9] if differ else [0, 10]
    elif "[naturalness, freedom]" in text:
        score = [7, 2] if images[0].std() < 5 else [7, 9]
    elif "<options>" in text:
        options = [line for line in text.splitlines() if line[1:3] == ". "]
        wanted = "Make the disc red" if differ else "None of these"
        (answer,) = [line[0] for line in options if wanted in line] or ["A"]
        return json.dumps({"reasoning": "seen", "answer": answer})
    else:
        return json.dumps({"reasoning": "seen", "answer": "yes" if differ else "no"})
    return json.dumps({"reasoning": "seen", "score": score})


def completion(content, model=MODEL, finish="stop", **message):
    """A response as vLLM gives it."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return {"id": f"chatcmpl-{time.time_ns()}", "object": "chat.completion", "model": model, "choices": [choice]}


class JudgeServer(ThreadingHTTPServer):
    """Answers `honest`ly unless `behaviours` says otherwise, one for each request; the last one stays."""

    daemon_threads = True

    def __init__(self, models=(MODEL,)):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models = list(models)
        self.behaviours = []
        self.check = None
        self.chats = []
        self.headers = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Lost connections are the point."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.headers.append(self.headers)
        if self.server.check is not None:
            return self.server.check(self, None)
        if self.path != "/v1/models":
            return self.send(404, {"detail": "Not Found"})
        return self.send(
            200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]}
        )

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.chats.append(request)
            self.server.headers.append(self.headers)
            waiting = self.server.behaviours
            behaviour = (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if waiting else answers(honest)
        assert self.path == "/v1/chat/completions"
        return behaviour(self, request)

    def send(self, status, body, **headers):
        """Send JSON, text or bytes as the body of a response."""
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


# -------------------------------------------------------------------------------------------------- behaviours


def answers(text, **options):
    """Answer with a text, or with what a function makes of the request."""
    return lambda handler, request: handler.send(200, completion(text(request) if callable(text) else text, **options))


def responds(status, body, **headers):
    """Respond with any status and body."""
    return lambda handler, request: handler.send(status, body, **headers)


def fails(status, code=None, **headers):
    """Fail, with a message that repeats the key and is another one each time."""

    def behaviour(handler, request):
        message = f"{handler.headers['Authorization']} in request {time.time_ns()}"
        handler.send(status, {"error": {"message": message, "type": None, "code": code}}, **headers)

    return behaviour


def hangs(handler, request):
    """Say nothing until the server closes."""
    handler.server.closing.wait(30)


def drips(handler, request):
    """Send a byte now and then, so that no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def breaks_off(handler, request):
    """Reset the connection in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "chatcmpl')
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def no_schema(handler, request):
    """Refuse `response_format`, as servers without structured output do; answer honestly without it."""
    if "response_format" in request:
        return fails(400, "unsupported_parameter")(handler, request)
    return answers(honest)(handler, request)
