"""Programs that stay: one line a request, one line an answer, started once, gone in the end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import editbench as eb
from editbench import conformance
from editbench.editors import load_editor, worker_program
from editbench.execute import InProcess
from editbench.images import Accepted
from editbench.isolation import Worker
from editbench.limits import Limits
from editbench.registry import spec_of
from editbench.testing import check_editor
from editbench.types import EditbenchError, EditRequest

SMALL = "shapes@1:size=32"

NOISE = "ProgramFailed: the program wrote to standard output what is no JSON object: print to standard error instead"
HEAD = """
import base64, io, json, os, pathlib, signal, subprocess, sys, time
from PIL import Image, ImageOps
log = pathlib.Path(sys.argv[1])
with (log / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\\n")

def answer(request, **more):
    image = Image.open(io.BytesIO(base64.b64decode(request["source"])))
    buffer = io.BytesIO()
    ImageOps.invert(image).save(buffer, "PNG")
    print(json.dumps({"image": base64.b64encode(buffer.getvalue()).decode(), **more}), flush=True)
"""

LOOP = """
print('{"ready": true}', flush=True)
for line in sys.stdin:
    request = json.loads(line)
    word = request["instruction"]
    print("working on", word, file=sys.stderr, flush=True)
    if word == "status":
        sys.exit("no memory left")
    elif word == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "noise":
        print("loading", time.time())
        answer(request)
    elif word == "number":
        print(17, flush=True)
    elif word == "shapeless":
        print('{"picture": 1}', flush=True)
    elif word == "error":
        print(json.dumps({"error": "no face found"}), flush=True)
    elif word == "broken":
        print(json.dumps({"image": "R0lGODlh"}), flush=True)
    elif word == "closes":
        os.close(1)
        time.sleep(3600)
    elif word == "hang":
        subprocess.Popen(["sleep", "3600"])
        time.sleep(3600)
    else:
        answer(request)
"""


@pytest.fixture
def box(tmp_path):
    folder = tmp_path / "a box"
    folder.mkdir()
    return folder


def program(folder, body=LOOP, more=""):
    (folder / "program.py").write_text(HEAD + body)
    return f"command:'{sys.executable}' '{folder / 'program.py'}' '{folder}',mode=worker{more}"


def pids(folder):
    return (folder / "starts").read_text().split()


def gone(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not Path("/proc", pid).exists():
            return True
        time.sleep(0.02)
    return False


def ask(word="go", seed=0, height=16):
    source = np.random.default_rng(seed).integers(0, 256, (height, 24, 3)).astype(np.uint8)
    return EditRequest(source, word, seed)


def inverted(output, request):
    return isinstance(output, Accepted) and np.array_equal(output.image, 255 - request.source)


def test_a_program_is_started_once_and_ends_with_its_input(box):
    editor = load_editor(program(box))
    assert not (box / "starts").exists() and editor.batch_size == 1 and spec_of(editor).endswith(",mode=worker")
    requests = [ask(seed=seed, height=16 + seed) for seed in range(5)]
    for output, request in zip([*editor.edit(requests), *editor.edit(requests)], requests * 2, strict=True):
        assert inverted(output, request)
    (pid,) = pids(box)
    assert Path("/proc", pid).exists()
    editor.close()
    assert gone(pid)
    assert inverted(editor.edit(requests[:1])[0], requests[0]) and len(pids(box)) == 2
    editor.close()
    editor.close()


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
def test_a_run_is_complete_and_leaves_nothing_running(box, suite):
    options = {"limit": 12, "label": "inverts", "metrics": ["mae:region=all"]}
    result = eb.run(program(box), suite, output_dir=str(box / "run"), **options)
    assert [record.edit_status for record in result.records().records] == ["ok"] * 12
    (pid,) = pids(box)
    assert gone(pid)


def test_the_mask_is_sent_only_where_that_is_declared(box):
    body = LOOP.replace("answer(request)\n", 'print(json.dumps({"error": " ".join(sorted(request))}), flush=True)\n')
    for access, fields in (("none", ""), ("hint", "mask ")):
        editor = load_editor(program(box, body, f",mask_access={access}"))
        attempt = InProcess(editor)
        scenario = eb.load_suite(SMALL)[0]
        mask = None if editor.mask_access == "none" else scenario.mask
        (output,) = attempt.run([EditRequest(scenario.source, "go", 1, mask)])
        attempt.close()
        assert output.reason == f"instruction {fields}seed source"


@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("status", "editor_error", "ProgramFailed: the program ended with status 1: no memory left"),
        ("signal", "editor_error", "ProgramFailed: the program ended with signal 11: working on signal"),
        ("noise", "editor_error", NOISE),
        ("number", "editor_error", NOISE),
        (
            "shapeless",
            "editor_error",
            "ProgramFailed: the program wrote a wrong answer: an output is neither {image} nor {error}",
        ),
        ("error", "editor_error", "no face found"),
        ("broken", "output_invalid", "not a PNG, JPEG or WebP image"),
        ("closes", "editor_error", "ProgramFailed: the program ended with signal 9: working on closes"),
    ],
)
def test_what_goes_wrong_is_charged_to_its_request_and_the_program_goes_on(box, monkeypatch, word, status, reason):
    monkeypatch.setattr(worker_program, "END_SECONDS", 1.0)
    executor = InProcess(load_editor(program(box)))
    requests = [ask(seed=1), ask(word, seed=2), ask(seed=3), ask(word, seed=4), ask(seed=5)]
    attempts = executor.run(requests)
    executor.close()
    assert [attempt.status for attempt in attempts] == ["ok", status, "ok", status, "ok"]
    assert {attempt.reason for attempt in attempts[1::2]} == {reason}
    assert all(np.array_equal(a.image, 255 - r.source) for a, r in zip(attempts[::2], requests[::2], strict=True))
    assert len(pids(box)) == (1 if word in ("error", "broken") else 3) and all(map(gone, pids(box)))
    if word == "noise":
        assert "loading" in attempts[1].traceback


def test_what_was_said_about_an_earlier_request_is_no_reason(box):
    body = LOOP.replace('print("working on"', 'word == "go" and print("working on"').replace(
        "sys.exit(", "os._exit(3), ("
    )
    good, silent = InProcess(load_editor(program(box, body))).run([ask(), ask("status")])
    assert good.status == "ok" and silent.reason == "ProgramFailed: the program ended with status 3"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no weights')\n", "the program ended with status 1: no weights (before it was ready)"),
        ("print('Loading…', flush=True)\ntime.sleep(9)\n", "what is no JSON object: print to standard error"),
        (LOOP.replace("ready", "steady"), 'the program did not begin with {"ready": true}'),
    ],
)
def test_a_program_that_is_never_ready_is_not_started_again(box, body, message):
    editor = load_editor(program(box, body))
    first, second = InProcess(editor).run([ask(), ask()])
    assert first.status == second.status == "editor_error" and message in first.reason == second.reason
    assert len(pids(box)) == 1 and gone(*pids(box))
    with pytest.raises(EditbenchError) as caught:
        Worker(spec_of(editor), Limits(30.0)).run([ask()])
    assert message in str(caught.value)


@pytest.mark.parametrize("isolate", [True, False])
def test_a_program_that_is_never_ready_stops_a_run_before_its_first_edit(box, tmp_path, isolate):
    editor = program(box, "sys.exit('no weights')\n")
    with pytest.raises(EditbenchError, match="no weights"):
        eb.run(editor, SMALL, ["mae:region=all"], limit=2, isolate=isolate, output_dir=str(tmp_path / "run"))
    assert len(pids(box)) == 1


def test_a_program_that_takes_too_long_to_be_ready_is_ended(box, monkeypatch):
    monkeypatch.setattr(worker_program, "START_SECONDS", 0.5)
    (attempt,) = InProcess(load_editor(program(box, "time.sleep(3600)\n"))).run([ask()])
    assert "the program was not ready within 0.5 s" in attempt.reason and gone(*pids(box))


def test_a_program_that_writes_before_it_reads_does_not_stop_everything(box):
    body = "print('{\"ready\": true}', flush=True)\nprint('x' * 10_000_000, flush=True)\nsys.stdin.read()\n"
    rng = np.random.default_rng(0)
    large = EditRequest(rng.integers(0, 256, (900, 900, 3)).astype(np.uint8), "go", 0)  # no pipe holds it
    executor = InProcess(load_editor(program(box, body)))
    (attempt,) = executor.run([large])
    executor.close()
    assert "print to standard error instead" in attempt.reason and gone(*pids(box))


def test_a_deadline_is_that_of_a_line_and_not_of_the_start(box):
    body = "time.sleep(1.8)\n" + LOOP
    worker = Worker(program(box, body), Limits(1.5))
    first, late, third = worker.run([ask(seed=1), ask("hang", seed=2), ask(seed=3)])
    worker.close()
    assert (first.status, third.status) == ("ok", "ok")
    assert (late.status, late.reason) == ("editor_timeout", "no answer within 1.5 s")
    assert len(pids(box)) == 3 and all(map(gone, pids(box)))  # the batch, each alone up to the hang, the one after it


@pytest.mark.parametrize("alone", [False, True], ids=["in a session", "leading one, as in a container"])
def test_a_child_of_a_program_is_ended_with_it(box, alone):
    body = LOOP.replace('["sleep", "3600"])', f'["sleep", "3600"], env={{"MARKER": "{box}"}})')
    script = (
        "import sys, signal\nfrom editbench.editors import load_editor\nfrom editbench.types import EditRequest\n"
        "import numpy as np\neditor = load_editor(sys.argv[1])\n"
        "editor.edit([EditRequest(np.zeros((16, 16, 3), np.uint8), 'hang', 0)])\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, program(box, body)], stderr=subprocess.PIPE, start_new_session=alone
    )

    def sleeping():
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(box).encode() in (process / "environ").read_bytes():
                    found += [process.name] if (process / "comm").read_text() == "sleep\n" else []
            except OSError:
                continue
        return found

    deadline = time.monotonic() + 60
    while not sleeping() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert all(map(gone, pids(box))) and sleeping() == []


def test_a_program_that_is_wrong_in_its_spec_is_refused(tmp_path):
    for spec, message in (
        ("command:env x {request},mode=worker", "gets no {request}: its requests come on standard input"),
        ("command:env x", "lacks {request}, expected PROGRAM {request} {out}, or PROGRAM,mode=worker"),
        ("command:nosuchprog,mode=worker", "no program 'nosuchprog'"),
        ("command:env x,mode=wurker", "did you mean 'worker'?"),
    ):
        with pytest.raises(EditbenchError) as caught:
            load_editor(spec)
        assert message in str(caught.value)


def test_a_program_that_hangs_is_a_finding(box, monkeypatch):
    monkeypatch.setattr(conformance, "DEADLINE_SECONDS", 0.5)
    finding, *_ = check_editor(program(box, LOOP.replace('word == "hang"', "True")))
    assert finding.error and "editor_timeout: no answer within 0.5 s" in finding.text


def test_a_program_that_is_never_ready_is_a_finding_too(box):
    (finding,) = check_editor(program(box, "sys.exit('no weights')\n"))
    assert finding.error and "no weights" in finding.text


def test_the_conformance_check_ends_what_it_started(box):
    assert check_editor(program(box)) == []
    assert all(map(gone, pids(box)))
