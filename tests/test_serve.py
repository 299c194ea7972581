"""`editbench serve`: a real server process, asked by real runs, and by clients that want something else of it."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest

import editbench as eb
from editbench.editors import load_editor
from editbench.editors.protocol import request_to_json
from editbench.images import Accepted
from editbench.png import encode_png
from editbench.serve import Limits, Serving
from editbench.testing import check_editor
from editbench.types import EditRequest

PROGRAM = [sys.executable, "-m", "editbench"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("EDITBENCH_"):
            monkeypatch.delenv(name)


@contextlib.contextmanager
def serving(*arguments, **environment):
    """A server in a process of its own; gives its process and its address, and sees that it ends as asked."""
    command = [*PROGRAM, "serve", "--port", "0", *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment})
    try:
        line = process.stdout.readline()
        address = line.split()[-1] if line else ""
        assert address, process.stderr.read()
        yield process, address
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, ""), error
    finally:
        process.kill()
        process.communicate()


def call(address, method="GET", **content):
    with httpx2.Client(timeout=30) as http:
        response = http.request(method, address, **content)
        return response.status_code, response.json()


def ask(height=20, seed=7):
    source = np.random.default_rng(0).integers(0, 256, (height, 30, 3)).astype(np.uint8)
    return EditRequest(source, "Go.", seed)


def post(address, *requests, **options):
    data = {"requests": [request_to_json(request) for request in requests]}
    return call(address, "POST", json=data, **options)


# ----------------------------------------------------------------------------------------------------- real runs


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
def test_a_run_over_http_has_the_records_of_a_direct_one(tmp_path, suite):
    options = {"suite": suite, "limit": 12, "metrics": ["mae:region=keep", "success"], "label": "one"}
    direct = eb.run("recolor:leak=0.2", output_dir=str(tmp_path / "direct"), **options).records()
    with serving("recolor:leak=0.2") as (_, address):
        command = ["run", "--suite", suite, "--limit", "12", "--metrics", "mae:region=keep,success", "--label", "one"]
        command += ["--editor", address, "--output-dir", str(tmp_path / "served"), "--json"]
        done = subprocess.run([*PROGRAM, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["complete"] is True
    first, second = ((tmp_path / name / "records.jsonl").read_bytes().splitlines() for name in ("direct", "served"))
    assert len(first) == 13 and first[1:] == second[1:]
    assert direct.header.editor.mask_access == json.loads(second[0])["editor"]["mask_access"] == "hint"


EDITORS = """
import time
import numpy as np
from PIL import Image

class Batches:
    mask_access = "hint"
    batch_size = 5
    trained_on = ("mae:region=keep",)
    def edit(self, requests):
        print("chatter")
        return [KeyError(r.seed) if r.seed % 3 == 0 else Image.fromarray(r.source).convert("RGBA") for r in requests]

def odd(source, seed):
    return {0: None, 1: source[:-4], 2: source}[seed % 3]

def slow(source, seed):
    with open(__file__ + ".log", "a") as log:
        log.write("at work\\n")
    time.sleep(3600 if seed == 9 else 0.8)
    return source
"""


@pytest.fixture
def editors(tmp_path):
    (tmp_path / "editors.py").write_text(EDITORS)
    return tmp_path / "editors.py"


@pytest.mark.parametrize("name", ["Batches", "odd"])
def test_failures_and_oddities_are_the_same_over_http(tmp_path, editors, name):
    options = {"suite": "shapes@1:size=32", "limit": 9, "metrics": ["mae:region=all"], "label": "one"}
    eb.run(f"{editors}:{name}", output_dir=str(tmp_path / "direct"), **options)
    with serving(f"{editors}:{name}") as (_, address):
        served = load_editor(address)
        assert served.name == f"{editors}:{name}"
        if name == "Batches":
            assert (served.mask_access, served.batch_size, served.trained_on) == ("hint", 5, ("mae:region=keep",))
        eb.run(address, output_dir=str(tmp_path / "served"), **options)
    first, second = ((tmp_path / where / "records.jsonl").read_bytes().splitlines() for where in ("direct", "served"))
    assert first[1:] == second[1:] and len({json.loads(line)["edit_status"] for line in first[1:]}) > 1


def test_the_line_that_it_prints_is_what_the_other_side_types(tmp_path):
    process = subprocess.Popen([*PROGRAM, "serve", "identity", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert re.fullmatch(r"editbench run --suite shapes@1 --label NAME --editor http://127\.0\.0\.1:\d+\n", line)
        assert not [finding for finding in check_editor(line.split()[-1]) if finding.error]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


# ------------------------------------------------------------------------------------------------- who may ask what


def test_others_are_let_in_with_the_token_only(monkeypatch):
    with serving("identity", EDITBENCH_TOKEN="open-sesame") as (_, address):
        assert call(f"{address}/health") == (200, {"status": "ok"})
        for headers in ({}, {"Authorization": "Bearer open-sesam"}, {"Authorization": "open-sesame"}):
            for method in ("GET", "POST"):
                status, body = call(address, method, headers=headers)
                assert (status, body["error"]["code"]) == (401, "wrong_token")
        monkeypatch.setenv("EDITBENCH_TOKEN", "open-sesame")
        editor = load_editor(address)
        assert isinstance(editor.edit([ask()])[0], Accepted)
        editor.close()


def test_a_page_in_a_browser_cannot_make_it_work():
    with serving("identity") as (_, address):
        status, body = call(address, headers={"Host": "attacker.example"})
        assert (status, body["error"]["code"]) == (421, "wrong_host")
        status, body = call(address, "POST", content=b"{}", headers={"Content-Type": "text/plain"})
        assert (status, body["error"]["code"]) == (415, "no_json")


PIXEL = base64.b64encode(encode_png(np.zeros((1, 1, 3), np.uint8))).decode()


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/nothing", {}, 404, "no_route"),
        ("PUT", "/", {}, 405, "no_method"),
        ("POST", "/", {"content": b"\xff{", "headers": {"Content-Type": "application/json"}}, 400, "no_json"),
        ("POST", "/", {"json": []}, 400, "no_requests"),
        ("POST", "/", {"json": {"requests": []}}, 400, "no_requests"),
        ("POST", "/", {"json": {"protocol": 2, "requests": [{}]}}, 400, "other_protocol"),
        ("POST", "/", {"json": {"requests": ["x"]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{}]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{"source": "%"}]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{"source": PIXEL, "sauce": 1}]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{"source": PIXEL, "seed": -1}]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{"source": PIXEL, "instruction": None}]}}, 422, "wrong_request"),
        ("POST", "/", {"json": {"requests": [{"source": "R0lGODlh"}]}}, 422, "wrong_request"),
        ("POST", "/", {"content": b" " * 5000, "headers": {"Content-Type": "application/json"}}, 413, "too_large"),
        (
            "POST",
            "/",
            {"content": (b" " * 1000 for _ in range(9)), "headers": {"Content-Type": "application/json"}},
            413,
            "too_large",
        ),
    ],
)
def test_a_wrong_request_gets_a_clear_error_and_the_next_is_served(strict, method, path, content, status, code):
    given, body = call(strict + path, method, **content)
    assert (given, body["error"]["code"]) == (status, code) and body["error"]["message"]
    assert post(strict, ask())[0] == 200


@pytest.fixture(scope="module")
def strict():
    with serving("identity", "--max-bytes", 4000) as (_, address):
        yield address


def test_the_version_is_another_one_when_an_option_is():
    """Who resumes a run has only the address of the service in its spec."""
    limits = Limits(1 << 20, None, "", None)
    versions = {Serving(spec, limits).information["version"] for spec in ("recolor:leak=0.2", "recolor:leak=0.3")}
    assert len(versions) == 2


# ------------------------------------------------------------------------------------------------ how edits are made


def test_one_edit_at_a_time_and_the_one_at_work_is_finished_when_it_is_told_to_end(editors):
    with serving(f"{editors}:slow") as (process, address):
        script = f"import tests_client; tests_client.go({address!r})"
        (editors.parent / "tests_client.py").write_text(CLIENT)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(editors.parent), *sys.path])}
        others = [
            subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(2)
        ]
        starts, ends = zip(*(json.loads(o.communicate(timeout=60)[0]) for o in others), strict=True)
        assert max(ends) - min(starts) >= 1.6  # two of 0.8 s each, one after the other
        last = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        log, deadline = Path(f"{editors}.log"), time.monotonic() + 60
        while log.read_text().count("at work") < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert last.communicate(timeout=60)[0] and last.returncode == 0
        assert process.wait(60) == 0


CLIENT = """
import json, time, urllib.request
PIXEL = "@@"
def go(address):
    body = json.dumps({"requests": [{"source": PIXEL, "instruction": "", "seed": 1}]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    start = time.time()
    (output,) = json.load(urllib.request.urlopen(request))["outputs"]
    assert output["image"]
    print(json.dumps([start, time.time()]))
""".replace("@@", PIXEL)


def test_an_edit_that_never_ends_is_killed_at_its_deadline(editors):
    with serving(f"{editors}:slow", "--timeout", "3") as (_, address):
        _, body = post(address, ask(seed=9), ask(seed=1))
        late, good = body["outputs"]
        assert late == {"error": "no answer within 3 s", "status": "editor_timeout"} and "image" in good


def test_an_edit_that_never_ends_does_not_keep_the_server_from_ending(editors):
    with serving(f"{editors}:slow") as (process, address):
        with contextlib.suppress(httpx2.ReadTimeout), httpx2.Client(timeout=1) as http:
            http.post(address, json={"requests": [request_to_json(ask(seed=9))]})
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)  # Ctrl-C after that: at once
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "unknown editor 'nosuch'"),
        (["target"], "looks scenarios up, which a service is never told"),
        (["paste:editor=identity"], "compose on the other side: paste:editor=[http://HOST:PORT]"),
        (["identity", "--host", "0.0.0.0"], "can be reached by others: set EDITBENCH_TOKEN"),
        (["identity", "--host", "192.0.2.1", "--token", "x"], "cannot listen on 192.0.2.1:8377"),
        (["identity", "--timeout", "0"], "timeout: 0.0, expected seconds above 0"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(arguments, message):
    done = subprocess.run([*PROGRAM, "serve", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*PROGRAM, "serve", "identity", "--port", port], capture_output=True, text=True)
    assert done.returncode == 2 and f"cannot listen on 127.0.0.1:{port}: " in done.stderr


def test_neither_side_needs_torch():
    script = "import sys, editbench.serve, editbench.editors.http, editbench.editors.openai_images\n"
    script += "print(bool({'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_without_the_server_library_one_is_told_what_to_install():
    script = "import sys\nsys.modules['uvicorn'] = None\nfrom editbench.cli import app\napp(['serve', 'identity'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'editbench[serve]'" in done.stderr


def test_a_program_of_a_served_editor_is_gone_with_it(tmp_path):
    program = tmp_path / "stays.py"
    program.write_text(
        "import os, pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "print('{\"ready\": true}', flush=True)\n"
        "for line in sys.stdin:\n    pass\n"
    )
    with serving(f"command:'{sys.executable}' '{program}',mode=worker"):
        pid = (tmp_path / "pid").read_text()  # it was ready before the server was
        assert Path("/proc", pid).exists()
    assert not Path("/proc", pid).exists()
