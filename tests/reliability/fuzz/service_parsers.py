"""Parsers of what services, judges, programs and worker processes answer, and of what a service is sent."""

import base64
import hashlib
import io
import json
import os
import tempfile
from functools import cache
from pathlib import Path

import httpx2
import numpy as np
from fuzz.engine import Parser
from fuzz.texts import contradictions, mutate_bytes, mutate_json

from edit_grpo_ref import services
from editbench import serve, wire
from editbench.editors import client, openai_images
from editbench.editors.http import Http, Information, Service, _information
from editbench.editors.protocol import request_to_json
from editbench.execute import Attempt, judge
from editbench.metrics import judge_cache, judge_client, judge_questions
from editbench.png import encode_png
from editbench.transport import ApiError
from editbench.types import EDIT_STATUSES, EditbenchError, EditRequest, Failed

PIXELS = np.random.default_rng(2).integers(0, 256, (8, 10, 3), np.uint8)
MASK = np.eye(8, 10, dtype=np.bool_)
PNG = base64.b64encode(encode_png(PIXELS)).decode()
REQUEST = EditRequest(source=PIXELS, mask=MASK, instruction="Paint it.", seed=7, source_prompt="a")
ADDRESS = "http://127.0.0.1:9/x"


def encoded(*values):
    return [json.dumps(value).encode() for value in values]


@cache
def answering():
    """A client whose every exchange is answered by what `answering.body` holds: status, headers and bytes."""
    made = client.Client(ADDRESS, 20.0, 0, 1 << 20, "secret-key-of-mine")

    async def answer(request):
        status, headers, body = answering.body
        return httpx2.Response(status, headers=headers, stream=_Bytes(body))

    made._http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return made


class _Bytes(httpx2.AsyncByteStream):
    def __init__(self, body):
        self.body = body

    async def __aiter__(self):
        yield self.body


def check_outputs(outputs, count):
    assert len(outputs) == count
    for output in outputs:
        attempt = judge(output)
        assert attempt.status in EDIT_STATUSES
        assert (attempt.image is None) == (attempt.status != "ok")
        assert all(flag.isprintable() and len(flag) < 60 for flag in attempt.flags), attempt.flags
        if attempt.reason is not None:
            assert len(attempt.reason) < 4000 and "secret-key" not in attempt.reason
            attempt.reason.encode()


HEADERS = (
    {},
    {"content-encoding": "gzip"},
    {"content-type": "text/html"},
    {"retry-after": "1e999"},
    {"retry-after": "nan"},
    {"location": "file:///etc/passwd"},
    {"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"},
)


def exchanged(name, seeds, make, count):
    """A parser of answers, now and then with another status or other headers: the first two bytes say which."""
    statuses = (200, 200, 200, 200, 200, 200, 200, 201, 204, 299, 301, 400, 404, 418, 429, 500, 503, 599)

    def read(data):
        answering.body = (
            statuses[data[0] % len(statuses)],
            HEADERS[data[1] % len(HEADERS) if data[1] > 200 else 0],
            data[2:],
        )
        editor = make()
        outputs = editor.edit([REQUEST] * count)
        check_outputs(outputs, count)
        if any(judge(output).image is not None for output in outputs):
            assert not contradictions(data[2:]), contradictions(data[2:])

    def mutate(draw, data, known):
        head = bytes((draw.choice((0, 0, 0, draw.randrange(256))), draw.choice((0, 0, 0, draw.randrange(256)))))
        return head + mutate_json(draw, data[2:], [seed[2:] for seed in known])

    return Parser(name, [b"\0\0" + seed for seed in seeds], read, (), mutate, 6000, 150)


def http_output():
    outputs = encoded(
        {"outputs": [{"image": PNG}, {"image": PNG, "flags": ["seen"]}]},
        {"outputs": [{"error": "no face"}, {"error": "late 0x7f00", "status": "editor_timeout"}]},
    )

    def make():
        made = Service(Http(ADDRESS), Information("region", batch_size=2), answering())
        made._size = 2
        return made

    return exchanged("http-output", outputs, make, 2)


def openai_output():
    outputs = encoded(
        {"created": 1, "data": [{"b64_json": PNG}]}, {"data": [{"url": "http://127.0.0.1:9/x/picture.png"}]}
    )
    options = openai_images.OpenaiImages("model", url=ADDRESS)
    return exchanged("openai-output", outputs, lambda: openai_images.ImagesApi(options, answering()), 1)


def http_information():
    told = encoded(
        {
            "protocol": 1,
            "name": "m",
            "mask_access": "hint",
            "trained_on": ["psnr:region=keep"],
            "batch_size": 4,
            "version": "x",
        }
    )

    def read(data):
        answering.body = (200, {}, data)
        try:
            found = _information(Http(ADDRESS), answering().run(answering().json("GET", ADDRESS)))
        except ApiError:
            return
        assert not contradictions(data), contradictions(data)
        assert type(found.batch_size) is int and all(isinstance(metric, str) for metric in found.trained_on)
        assert len(found.name) <= 4096 and len(found.version) <= 4096

    return Parser("http-information", told, read, (EditbenchError,), mutate_json, 5000, 120)


def http_request():
    body = encoded(
        {"protocol": 1, "requests": [request_to_json(REQUEST), {**request_to_json(REQUEST), "target_prompt": "b"}]}
    )

    def read(data):
        for request in serve._requests(data):
            assert request.source.dtype == np.uint8 and (
                request.mask is None or request.mask.shape == request.source.shape[:2]
            )
            assert 0 <= request.seed < 2**63
            for text in (request.instruction, request.source_prompt, request.target_prompt):
                (text or "").encode()
        assert not contradictions(data), contradictions(data)

    return Parser("http-request", body, read, (serve._RefusedError,), mutate_json, 5000, 120)


# ------------------------------------------------------------------------------------------------------ judges


def judge_answer():
    good = [
        *encoded(
            {"reasoning": "r", "score": [3, 7.5]},
            {"reasoning": "r", "answer": "yes"},
            {"reasoning": "é", "answer": "B"},
        )
    ]
    good.append(b'```json\n{"reasoning": "r", "answer": "no"}\n```')
    choice = judge_questions._reads({"yes": 1.0, "no": 0.0, "A": 0.5, "B": 0.25})

    def read(data):
        text = data.decode("utf-8", "replace")
        refused = 0
        for reader in (choice, judge_questions._read_scores):
            try:
                value = reader(text)
            except judge_questions.ParseError as error:
                refused += 1
                assert len(str(error)) < 200
                continue
            assert type(value) is float and 0 <= value <= 10
            inner = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
            assert not contradictions(inner), contradictions(inner)
        assert refused, "two answers at once"

    return Parser("judge-answer", good, read, (), mutate_json, 8000, 250)


def judge_reply():
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": '{"answer": "yes"}', "refusal": None},
        "finish_reason": "stop",
    }
    good = encoded(
        {"id": "x", "model": "m", "choices": [choice]}, {"error": {"code": "content_filter", "message": "no"}}
    )
    made = object.__new__(judge_client.Connection)
    made._key, made._retries = "secret-key-of-mine", 0
    made._client = type("Nothing", (), {"__getattr__": lambda self, name: self})()

    def read(data):
        made._attempt = lambda call: data
        reply = made._complete({"model": "m"}, json_schema=True)
        assert all(isinstance(text, str) for text in (reply.text, reply.refusal, reply.finish_reason))
        for text in (reply.text, reply.refusal, reply.finish_reason):
            text.encode()
        assert not contradictions(data), contradictions(data)

    return Parser("judge-reply", good[:1], read, (ApiError,), mutate_json, 6000, 200)


def judge_kept():
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    question = {"text": "q", "images": [["a", "b"]], "seed": 1}

    def path():
        os.environ["EDITBENCH_CACHE"] = str(home)
        return judge_cache._path(question)

    judge_cache_path = path()
    kept = judge_cache.keep(question, judge_client.Reply("t", "", "stop", True))
    good = judge_cache_path.read_bytes()
    del os.environ["EDITBENCH_CACHE"]

    def read(data):
        judge_cache_path.write_bytes(data)
        path()
        try:
            found = judge_cache.recall(question)
        finally:
            del os.environ["EDITBENCH_CACHE"]
        assert found is None or found == kept, found

    return Parser("judge-kept", [good], read, (), mutate_json, 4000, 120)


def reward_values():
    def read(data):
        values = services._read_values(data, 3)
        assert len(values) == 3
        assert all(isinstance(value, Failed) or (type(value) is float and abs(value) < 1e309) for value in values)
        assert not contradictions(data), contradictions(data)

    return Parser("reward-values", encoded({"values": [0.5, None, 1]}), read, (ApiError,), mutate_json, 4000, 120)


# ------------------------------------------------------------------------------------------------------ frames

READY = {
    "kind": "editor",
    "spec": "x.py:edit",
    "mask_access": "none",
    "trained_on": [],
    "control": False,
    "batch_size": 1,
    "mixes_sizes": False,
    "code_sha256": None,
    "one_by_one": True,
    "code": hashlib.sha256(b"").hexdigest(),
}


def reader(data):
    stream = io.BytesIO(data)

    def read(count):
        found = stream.read(count)
        if len(found) < count:
            raise EOFError
        return found

    return read


def mutate_frame(draw, data, seeds):
    """Mutate the JSON of a frame and state its new length; or its arrays, or anything."""
    if draw.random() < 0.3:
        return mutate_bytes(draw, data, seeds)
    length = int.from_bytes(data[:8], "little")
    text, body = mutate_json(draw, data[16 : 16 + length], [b"{}"]), data[16 + length :]
    if draw.random() < 0.1:
        body = mutate_bytes(draw, body, [body])
    return len(text).to_bytes(8, "little") + len(body).to_bytes(8, "little") + text + body


def frame_attempts():
    good = [
        Attempt("ok", PIXELS, ("alpha",), seconds=0.5, peak_bytes=9),
        Attempt("editor_error", reason="no", traceback="t", batch_size=2),
    ]

    def read(data):
        for fields in wire.unpack_attempts(wire.read_frame(reader(data))):
            attempt = Attempt(**fields)
            assert attempt.status in EDIT_STATUSES and (attempt.image is None) == (attempt.status != "ok")
            assert attempt.image is None or (
                attempt.image.ndim == 3 and attempt.image.shape[2] == 3 and attempt.image.size
            )
            assert isinstance(attempt.reason, str | None) and isinstance(attempt.traceback, str | None)
            assert all(isinstance(flag, str) for flag in attempt.flags)
            assert type(attempt.batch_size) is int and type(attempt.restarts) is int and type(attempt.peak_bytes) is int
            assert 0 <= attempt.seconds < 1e12
        length = int.from_bytes(data[:8], "little")
        assert not contradictions(data[16 : 16 + length]), contradictions(data[16 : 16 + length])

    return Parser("frame-attempts", [wire.pack_attempts(good)], read, (ValueError, EOFError), mutate_frame, 8000, 250)


def frame_requests():
    def read(data):
        for request in wire.unpack_requests(wire.read_frame(reader(data))):
            assert request.source.ndim == 3 and request.source.shape[2] == 3 and request.source.size
            assert request.mask is None or request.mask.shape == request.source.shape[:2]
            assert type(request.seed) is int and isinstance(request.instruction, str)

    return Parser(
        "frame-requests", [wire.pack_request([REQUEST, REQUEST])], read, (ValueError, EOFError), mutate_frame, 5000, 150
    )


def frame_ready():
    def read(data):
        found = wire.declared(wire.read_frame(reader(data)))
        assert "error" in found or set(READY) == set(found)

    return Parser(
        "frame-ready",
        [wire.write_frame(READY), wire.write_frame({"error": "no"})],
        read,
        (ValueError, EOFError),
        mutate_frame,
        4000,
        120,
    )


FACTORIES = {
    "http-output": http_output,
    "openai-output": openai_output,
    "http-information": http_information,
    "http-request": http_request,
    "judge-answer": judge_answer,
    "judge-reply": judge_reply,
    "judge-kept": judge_kept,
    "reward-values": reward_values,
    "frame-attempts": frame_attempts,
    "frame-requests": frame_requests,
    "frame-ready": frame_ready,
}
