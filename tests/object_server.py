"""A local S3 (moto) as a process of its own, whose requests can be made to fail: `python object_server.py`.

It prints its port. `/-/fail?how=503&puts=N&count=M` fails M requests once N objects are written from now on
(`how=away` closes the connection); `/-/kill?pid=P&put=N&when=before` kills a process at the N-th object that is
written from now on, `before` or `after` that is done; `/-/puts` lists the names that were written, in order.
"""

import json
import os
import signal
import socket
import sys
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Faulty:
    def __init__(self, application):
        self.application = application
        self.puts = []
        self.how, self.from_put, self.count = "", 0, 0
        self.pid, self.put, self.when = 0, 0, ""

    def __call__(self, environ, start):
        path = environ["PATH_INFO"]
        asked = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        if path == "/-/fail":
            self.how, self.count = asked["how"], int(asked["count"])
            self.from_put = len(self.puts) + int(asked["puts"])
            return self.answer(start, b"")
        if path == "/-/kill":
            self.pid, self.put, self.when = int(asked["pid"]), len(self.puts) + int(asked["put"]), asked["when"]
            return self.answer(start, b"")
        if path == "/-/puts":
            return self.answer(start, json.dumps(self.puts).encode())
        if self.count > 0 and len(self.puts) >= self.from_put:
            self.count -= 1
            if self.how == "away":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>come again</Message></Error>"]
        if environ["REQUEST_METHOD"] != "PUT":
            return self.application(environ, start)
        self.puts.append(path)
        at_hand = self.pid and len(self.puts) == self.put
        if at_hand and self.when == "before":
            os.kill(self.pid, signal.SIGKILL)
            return self.answer(start, b"")
        answer = self.application(environ, start)
        if at_hand:
            os.kill(self.pid, signal.SIGKILL)
        return answer

    def answer(self, start, body):
        start("200 OK", [("Content-Type", "application/json")])
        return [body]


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *arguments):
        pass


def main():
    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
