"""Services as editors: what is sent, what comes back, and what becomes of a run whose service misbehaves."""

import importlib.util
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

import editbench as eb
from editbench.editors import client, load_editor
from editbench.editors.protocol import ProtocolError, output_from_json, request_from_json, request_to_json
from editbench.execute import InProcess
from editbench.images import Accepted, InvalidImage
from editbench.isolation import Worker
from editbench.limits import Limits
from editbench.registry import spec_of
from editbench.transport import check_address, is_loopback
from editbench.types import EditbenchError, EditFailed, EditRequest


def _server_module():
    spec = importlib.util.spec_from_file_location("edit_server", Path(__file__).with_name("edit_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


local = _server_module()
SMALL = "shapes@1:size=32"


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Nothing of this machine, no waiting, and no thread of a client left behind."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("EDITBENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(client, "BACKOFF", 0.001)
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "editbench-http"]


def picture(seed=0, height=20, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def ask(seed=0, mask=None, **prompts):
    return EditRequest(picture(seed), f"Go {seed} ✨", seed, mask, **prompts)


def run(tmp_path, editor, name="run", **options):
    defaults = {"suite": SMALL, "limit": 6, "metrics": ["mae:region=all"], "label": "service"}
    return eb.run(editor, output_dir=str(tmp_path / name), **{**defaults, **options})


# ---------------------------------------------------------------------------------------------------- what is sent


def test_an_address_is_an_editor_that_says_itself_what_it_sees():
    with local.EditServer(mask_access="hint", trained_on=["mae:region=keep"], batch_size=3, version="a") as server:
        editor = load_editor(f"{server.address},concurrency=2")
        assert (editor.mask_access, editor.trained_on, editor.batch_size) == ("hint", ("mae:region=keep",), 6)
        assert spec_of(editor) == f"{server.address},concurrency=2"
        server.information["version"] = "b"
        assert load_editor(server.address).code_sha256 != editor.code_sha256 is not None


def test_a_request_says_what_an_editor_may_know_and_no_more():
    mask = np.zeros((20, 30), bool)
    mask[3:5, 7:] = True
    with local.EditServer() as server:
        editor = load_editor(server.address)
        outputs = editor.edit([ask(4), ask(2, mask, target_prompt="un disque ✨")])
        editor.close()
        (first,), (second,) = server.asked
    assert [np.array_equal(o.image, 255 - picture(s)) for o, s in zip(outputs, (4, 2), strict=True)] == [True, True]
    assert set(first) == {"instruction", "seed", "source"} and first["instruction"] == "Go 4 ✨" and first["seed"] == 4
    assert set(second) == {*first, "mask", "target_prompt"} and second["target_prompt"] == "un disque ✨"
    assert np.array_equal(local.pixels(second["mask"]), np.where(mask, 255, 0))
    assert np.array_equal(local.pixels(second["source"]), picture(2))


def test_what_is_sent_can_be_read_again():
    mask = picture(1)[..., 0] > 99
    for request in (ask(3), ask(5, mask, source_prompt="", target_prompt="b")):
        again = request_from_json(json.loads(json.dumps(request_to_json(request))))
        assert np.array_equal(again.source, request.source) and (again.mask is None) == (request.mask is None)
        assert request.mask is None or np.array_equal(again.mask, request.mask)
        for name in ("instruction", "seed", "source_prompt", "target_prompt"):
            assert getattr(again, name) == getattr(request, name)


def test_batches_are_cut_to_what_the_service_takes_and_answers_keep_their_order():
    with local.EditServer(batch_size=2) as server:
        editor = load_editor(f"{server.address},concurrency=3")
        outputs = editor.edit([ask(seed) for seed in range(7)])
        editor.close()
        assert sorted(len(requests) for requests in server.asked) == [1, 2, 2, 2]
    assert all(np.array_equal(outputs[seed].image, 255 - picture(seed)) for seed in range(7))


def test_concurrency_is_what_was_asked_for_and_never_more():
    together, most, full = 0, 0, threading.Event()

    def counted(handler, requests):
        nonlocal together, most
        with handler.server.lock:
            together += 1
            most = max(most, together)
            if together == 3:
                full.set()
        full.wait(10)
        handler.server.closing.wait(0.05)  # whoever came as a fourth would be here by now
        with handler.server.lock:
            together -= 1
        handler.send(200, {"outputs": [local.inverted(request) for request in requests]})

    with local.EditServer(counted) as server:
        editor = load_editor(f"{server.address},concurrency=3")
        assert len(editor.edit([ask(seed) for seed in range(1, 13, 2)])) == 6
        editor.close()
    assert most == 3


def test_a_connection_is_kept_between_batches():
    with local.EditServer() as server:
        editor = load_editor(server.address)
        before = server.connections
        for seed in range(0, 10, 2):
            editor.edit([ask(seed)])
        editor.close()
        assert len(server.asked) == 5 and server.connections == before + 1


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with local.EditServer() as server:
        editor = load_editor(server.address)
        assert isinstance(editor.edit([ask()])[0], Accepted)
        editor.close()
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "10.0.0.1", "localhost.example")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_token_comes_from_the_environment_and_stands_in_no_spec(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_TOKEN", "very-secret-0123")

    def fails(handler, requests):
        handler.send(400, {"error": {"code": handler.headers["Authorization"].partition(" ")[2]}})

    with local.EditServer(fails) as server:
        result = run(tmp_path, f"{server.address},token=MY_TOKEN", limit=4)
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer very-secret-0123"}
        assert len(server.headers) > 4
    written = b"".join(path.read_bytes() for path in result.path.rglob("*") if path.is_file())
    assert b"MY_TOKEN" in written and b"very-secret" not in written


# ------------------------------------------------------------------------------------------- what is wrong at once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",timeout=0", "timeout=0.0, expected 0.01 to 86400"),
        (",concurrency=0", "concurrency=0, expected 1 to 256"),
        (",token=abc", "token is no name of an environment variable"),
        (",token=NOT_SET", "environment variable NOT_SET is not set"),
        (",mask_acces=none", "has no option 'mask_acces': did you mean 'mask_access'?"),
        (",mask_access=region", "declares mask_access=none, not region: leave the option out"),
        ("?key=1", "is no plain address"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with local.EditServer() as server, pytest.raises(EditbenchError) as caught:
        load_editor(server.address + options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["ftp://host/x", "file:///etc/passwd", "http:///x", "http://me:secret@host/", "http://h:0/", "http://h/#x"],
)
def test_what_is_no_plain_address_is_refused_and_not_repeated(address):
    with pytest.raises(EditbenchError) as caught:
        check_address(address, "it", "http://HOST:PORT/PATH")
    assert address not in str(caught.value)


@pytest.mark.parametrize(
    ("information", "message"),
    [
        ({}, "mask_access is None, expected none, hint, region"),
        ({"mask_access": "some"}, "mask_access is 'some', expected none, hint, region"),
        ({"mask_access": "none", "protocol": 2}, "speaks protocol 2, expected 1"),
        ({"mask_access": "none", "batch_size": "4"}, "batch_size is '4', expected 1 to 1024"),
        ({"mask_access": "none", "trained_on": "mae"}, "trained_on is 'mae', expected a list of metric specs"),
        ({"mask_access": "none", "version": 3}, "version is 3, expected text"),
        ([], "is no service of editbench"),
        (lambda handler: handler.send(200, "<html>"), "malformed response (not JSON): is it running?"),
        (lambda handler: handler.send(401, ""), "HTTP 401: set EDITBENCH_TOKEN to the token"),
        (
            lambda handler: handler.send(302, "", Location="/x"),
            "HTTP 302: redirects are not followed: write the address",
        ),
        (lambda handler: handler.send(404, ""), "does not say whether its editor sees masks (HTTP 404): append"),
        (lambda handler: handler.send(503, ""), "HTTP 503: is it running? `editbench serve EDITOR` starts one"),
    ],
)
def test_a_service_that_does_not_say_what_it_is_is_refused_before_the_first_edit(information, message, tmp_path):
    with local.EditServer() as server:
        server.information = information
        with pytest.raises(EditbenchError) as caught:
            run(tmp_path, server.address)
    assert message in str(caught.value) and not (tmp_path / "run").exists()


def test_a_service_that_is_not_there_is_found_before_the_first_edit(tmp_path):
    with local.EditServer() as server:
        pass
    with pytest.raises(EditbenchError, match="no connection: is it running"):
        run(tmp_path, server.address)


def test_a_service_that_only_edits_is_described_by_its_spec(tmp_path):
    with local.EditServer() as server:
        server.information = lambda handler: handler.send(404, "")
        result = run(tmp_path, f"{server.address},mask_access=hint")
        assert all("mask" in request for requests in server.asked for request in requests)
    assert {record.edit_status for record in result.records().records} == {"ok"}


def test_a_run_is_not_resumed_with_another_version_of_a_service(tmp_path):
    with local.EditServer(version="weights of May") as server:
        run(tmp_path, server.address)
        run(tmp_path, server.address)
        server.information["version"] = "weights of June"
        with pytest.raises(EditbenchError, match="code_sha256"):
            run(tmp_path, server.address)


# --------------------------------------------------------------------------------------------------- misbehaviour

MALFORMED = "malformed response"
CASES = {
    "500": (local.responds(500, {"error": "at 0x7f in request 17"}), "editor_error", "HTTP 500"),
    "code": (local.responds(400, {"error": {"code": "no_prompt", "id": 7}}), "editor_error", "HTTP 400 (no_prompt)"),
    "429": (local.responds(429, "slow down", Retry_After="86400"), "editor_error", "HTTP 429"),
    "hang": (local.hangs, "editor_timeout", "no answer within 1 s"),
    "drip": (local.drips, "editor_timeout", "no answer within 1 s"),
    "drip-headers": (local.drips_headers, "editor_timeout", "no answer within 1 s"),
    "html": (local.responds(200, "<html>502 at 12:01</html>"), "editor_error", f"{MALFORMED} (not JSON)"),
    "flood": (local.floods, "editor_error", "response of more than 65536 bytes"),
    "large": (local.responds(200, " " * 70_000), "editor_error", "response of more than 65536 bytes"),
    "compressed": (
        local.responds(200, b"\x1f\x8b", Content_Encoding="gzip"),
        "editor_error",
        f"{MALFORMED} (compressed)",
    ),
    "no-list": (local.responds(200, {"images": []}), "editor_error", f"{MALFORMED} (no list of outputs)"),
    "null": (local.responds(200, "null"), "editor_error", f"{MALFORMED} (no list of outputs)"),
    "none": (local.outputs(), "editor_error", f"{MALFORMED} (0 outputs for 1 requests)"),
    "two": (local.outputs(local.inverted, local.inverted), "editor_error", f"{MALFORMED} (2 outputs for 1 requests)"),
    "shapeless": (
        local.outputs({"picture": "x"}),
        "editor_error",
        f"{MALFORMED} (an output is neither {{image}} nor {{error}})",
    ),
    "no-base64": (local.outputs({"image": "%%%"}), "output_invalid", "image is no base64"),
    "no-picture": (local.outputs({"image": "R0lGODlh"}), "output_invalid", "not a PNG, JPEG or WebP image"),
    "truncated": (
        local.outputs(lambda request: {"image": local.inverted(request)["image"][:400]}),
        "output_invalid",
        "cannot be decoded (OSError): truncated or corrupt",
    ),
    "size": (
        local.outputs(lambda request: {"image": local.png(local.pixels(request["source"])[:24])}),
        "output_invalid",
        "size 32x24, expected 32x32",
    ),
    "says-why": (
        local.outputs({"error": "no face  at 0x7f12ab", "status": "output_missing"}),
        "output_missing",
        "no face at 0x…",
    ),
    "says-no-status": (local.outputs({"error": "KeyError: 'x'"}), "editor_error", "KeyError: 'x'"),
    "reset": (local.breaks_off, "editor_error", "connection lost"),
    "closed": (local.ends_early, "editor_error", "connection lost"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_complete_and_right_whatever_the_service_does(tmp_path, case):
    behaviour, status, reason = CASES[case]
    files = []
    seconds = 1 if status == "editor_timeout" else 60
    with local.EditServer(behaviour) as server:
        for name in ("first", "second"):
            result = run(tmp_path, f"{server.address},retries=1,timeout={seconds},max_bytes=65536", name, limit=4)
            files.append((result.path / "records.jsonl").read_bytes())
        assert server.sent < 16 << 20
    records = result.records().records
    failed = [record for record in records if record.edit_status != "ok"]
    assert len(records) == 4 and 0 < len(failed) < 4
    assert {(record.edit_status, record.reason) for record in failed} == {(status, reason)}
    assert files[0] == files[1]


@pytest.mark.parametrize("target", ["same", "other", "file"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_wherever_it_leads(status, target):
    with local.EditServer() as other, local.EditServer() as server:
        addresses = {"same": "/elsewhere", "other": other.address, "file": "file:///etc/hostname"}
        server.behaviour = local.responds(status, "", Location=addresses[target])
        editor = load_editor(server.address)
        (output,) = editor.edit([ask(1)])
        editor.close()
        assert isinstance(output, EditFailed) and str(output) == f"HTTP {status}: redirects are not followed"
        assert len(server.asked) == 1 and not other.asked and not other.headers


@pytest.mark.parametrize(
    "behaviour",
    [
        local.responds(500, ""),
        local.responds(503, "", Retry_After="0"),
        local.responds(429, "", Retry_After="0.01"),
        local.responds(429, "", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        local.breaks_off,
        local.ends_early,
    ],
    ids=["500", "503", "429", "429-date", "reset", "closed"],
)
def test_what_passes_is_tried_again_as_often_as_allowed(behaviour):
    for retries, good in ((2, True), (1, False)):
        with local.EditServer(local.first(2, behaviour)) as server:
            editor = load_editor(f"{server.address},retries={retries}")
            (output,) = editor.edit([ask(1)])
            editor.close()
            assert isinstance(output, Accepted) == good and len(server.asked) == retries + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_will_not_pass_is_not_tried_again(status):
    with local.EditServer(local.responds(status, "")) as server:
        editor = load_editor(f"{server.address},retries=5")
        (output,) = editor.edit([ask(1)])
        editor.close()
        assert str(output) == f"HTTP {status}" and len(server.asked) == 1


def test_the_server_says_how_long_to_wait_within_the_deadline(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(client.asyncio, "sleep", sleep)
    with local.EditServer(local.first(1, local.responds(429, "", Retry_After="7"))) as server:
        editor = load_editor(f"{server.address},timeout=60")
        assert isinstance(editor.edit([ask(1)])[0], Accepted)
        editor.close()
        assert waits == [7.0]
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with local.EditServer(local.first(1, local.responds(429, "", Retry_After=date))) as server:
        editor = load_editor(f"{server.address},timeout=60")
        assert isinstance(editor.edit([ask(1)])[0], Accepted) and 20 < waits[1] <= 30
        editor.close()
    with local.EditServer(local.responds(429, "", Retry_After="7")) as server:
        editor = load_editor(f"{server.address},timeout=5")
        assert str(editor.edit([ask(1)])[0]) == "HTTP 429"
        editor.close()
        assert len(server.asked) == 1


def test_the_deadline_holds_for_all_attempts_together():
    with local.EditServer(local.first(1, local.breaks_off)) as server:
        seen = server.behaviour

        def later(handler, requests):
            return seen(handler, requests) if len(server.asked) < 2 else local.hangs(handler, requests)

        server.behaviour = later
        editor = load_editor(f"{server.address},timeout=1.5,retries=9")
        (output,) = editor.edit([ask(1)])
        editor.close()
        assert (output.status, str(output)) == ("editor_timeout", "no answer within 1.5 s") and len(server.asked) == 2


def test_the_culprit_of_a_batch_is_charged_alone(tmp_path):
    with local.EditServer(local.responds(500, ""), batch_size=6) as server:
        together = run(tmp_path, f"{server.address},retries=0")
        server.information["batch_size"] = 1
        alone = run(tmp_path, f"{server.address},retries=0", "alone")
    records = together.records().records
    assert {record.edit_status for record in records} == {"ok", "editor_error"}
    assert records == alone.records().records


def test_a_service_that_goes_away_fails_every_edit_that_is_left(tmp_path):
    with local.EditServer() as server:
        editor = load_editor(f"{server.address},retries=1")
    result = run(tmp_path, editor)
    assert {(r.edit_status, r.reason) for r in result.records().records} == {("editor_error", "no connection")}


def test_an_interrupt_ends_what_is_being_asked():
    with local.EditServer(local.hangs) as server:
        editor = load_editor(server.address)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), 2)).start()
        with pytest.raises(KeyboardInterrupt):
            editor.edit([ask(1)])
        editor.close()


def test_a_deadline_of_the_harness_holds_for_a_service_too():
    with local.EditServer(local.hangs) as server:
        worker = Worker(server.address, Limits(3.0))
        good, late = worker.run([ask(0), ask(1)])
        worker.close()
    assert good.status == "ok" and np.array_equal(good.image, 255 - picture(0))
    assert (late.status, late.reason) == ("editor_timeout", "no answer within 3 s")


def test_flags_and_statuses_of_the_other_side_arrive():
    flagged = output_from_json({"image": local.png(picture()), "flags": ["alpha"]})
    (attempt,) = InProcess(_Gives(flagged)).run([ask()])
    assert attempt.flags == ("alpha",)
    (attempt,) = InProcess(_Gives(output_from_json({"error": "MemoryError", "status": "editor_oom"}))).run([ask()])
    assert (attempt.status, attempt.reason, attempt.traceback) == ("editor_oom", "MemoryError", None)
    for wrong in ({"error": "x", "status": "ok"}, {"image": local.png(picture()), "flags": ["<b>"]}, [], {}):
        with pytest.raises(ProtocolError):
            output_from_json(wrong)
    assert isinstance(output_from_json({"image": ""}), InvalidImage)


class _Gives:
    mask_access = "none"

    def __init__(self, output):
        self.output = output

    def edit(self, requests):
        return [self.output for _ in requests]
