"""A local S3 (moto) as a process of its own, whose requests can be made to fail: `python object_server.py`.

It prints its port. `POST /-/fail?how=503&skip=N&count=M` lets N requests through, then fails M of them (`how=away`
closes the connection); `GET /-/puts` lists the names that were written, in order.
"""

import json
import socket
import sys
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Faulty:
    def __init__(self, application):
        self.application = application
        self.how, self.skip, self.count = "", 0, 0
        self.puts = []

    def __call__(self, environ, start):
        path = environ["PATH_INFO"]
        if path == "/-/fail":
            asked = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
            self.how, self.skip, self.count = asked["how"], int(asked["skip"]), int(asked["count"])
            return self.answer(start, b"")
        if path == "/-/puts":
            return self.answer(start, json.dumps(self.puts).encode())
        if self.skip > 0:
            self.skip -= 1
        elif self.count > 0:
            self.count -= 1
            if self.how == "away":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>come again</Message></Error>"]
        if environ["REQUEST_METHOD"] == "PUT":
            self.puts.append(path)
        return self.application(environ, start)

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
