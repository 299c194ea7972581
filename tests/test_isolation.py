"""Editors that hang, crash, take all memory or meddle: the run goes on, and nothing of them is left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench import isolation
from editbench.batches import BatchSizes, run_in_batches
from editbench.config import RunConfig
from editbench.editors import answers_sha256, code_sha256
from editbench.execute import InProcess, is_out_of_memory
from editbench.isolation import Worker
from editbench.journal import events
from editbench.lifeline import Line
from editbench.limits import Limits, cores, memory_bytes
from editbench.placement import innermost, is_isolated, leaf_of, place_editor
from editbench.plan import make_plan, sample_seed
from editbench.types import Task
from editbench.work import batch_sizes

SMALL = "shapes@1:size=64"
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
LOSING = Path(__file__).with_name("losing.py")
MAE = "mae:region=all"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the test's own, which must be empty in the end, with no process that knows of it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    made_by_torch = "torchinductor_"  # where it is imported first
    assert [path for path in folder.iterdir() if not path.name.startswith(made_by_torch)] == []
    assert [process for process in psutil.process_iter() if knows(process, folder)] == []


def knows(process, folder):
    try:
        return process.pid != os.getpid() and process.environ().get("TMPDIR", "").startswith(str(folder))
    except psutil.Error:
        return False


def run(tmp_path, name, folder="run", **options):
    options = {"suite": SMALL, "limit": 3, "metrics": [MAE], "label": name, **options}
    return eb.run(f"{MISBEHAVING}:{name}", output_dir=str(tmp_path / folder), **options)


def told(result):
    return [(record.edit_status, record.reason) for record in result.records().records]


def edits(result):
    return [event for event in events(result.path / "journal") if event["type"] == "edit"]


def lines(result):
    return (result.path / "records.jsonl").read_bytes().splitlines()


def write(tmp_path, text, name="editor.py"):
    path = tmp_path / name
    path.write_text(text)
    return f"{path}:edit" if "\ndef edit" in text else f"{path}:Editor"


@pytest.fixture
def oblong(tmp_path):
    """A suite whose images are not square, so that a transposed one is seen."""
    root = tmp_path / "oblong"
    root.mkdir()
    grain = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    for name in "ab":
        PILImage.fromarray(grain).save(root / f"{name}.png")
        PILImage.fromarray(np.tri(32, 40, dtype=np.uint8) * 255).save(root / f"{name}.mask.png")
    items = [{"id": n, "source": f"{n}.png", "mask": f"{n}.mask.png", "instruction": "Go."} for n in "ab"]
    (root / "scenarios.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return f"folder:{root}"


# ------------------------------------------------------------------------------------------------ where code runs


def test_third_party_code_that_a_spec_names_runs_in_a_worker_and_ours_here():
    assert isinstance(leaf_of(place_editor("jpeg", None, Limits())), eb.load_editor("jpeg").__class__)
    for spec in ("target", "paste:editor=jpeg", "grpo:base"):
        assert not is_isolated(place_editor(spec, None, Limits()))
    for spec in (f"{MISBEHAVING}:prints", f"paste:editor=[{MISBEHAVING}:prints],feather=2"):
        placed = place_editor(spec, None, Limits())
        assert is_isolated(placed) and eb.registry.spec_of(placed) == spec
        leaf_of(placed).close()
    assert innermost("paste:editor=[paste:editor=[a.py:f],feather=1]") == "a.py:f"


def test_isolation_can_be_asked_for_and_ruled_out(tmp_path):
    forced = place_editor("paste:editor=jpeg", True, Limits())
    assert is_isolated(forced) and forced.mask_access == "region"
    leaf_of(forced).close()
    assert not is_isolated(place_editor(f"{MISBEHAVING}:prints", False, Limits()))
    for limits in (Limits(timeout=1.0), Limits(memory=10**9)):
        with pytest.raises(eb.EditbenchError, match=r"(timeout|memory_limit): .* --no-isolate rules out"):
            place_editor("jpeg", False, limits)

    def here(source):
        return source

    assert not is_isolated(place_editor(here, None, Limits()))
    with pytest.raises(eb.EditbenchError, match=r"put it into a file and name it path\.py:NAME"):
        place_editor(here, True, Limits())


def test_a_worker_declares_what_the_editor_does_and_its_code_is_never_imported_here(tmp_path):
    text = "import os\nopen({!r}, 'w').write(str(os.getpid()))\n\n\nclass Editor:\n    mask_access = 'hint'\n"
    text += "    trained_on = ('mae',)\n    batch_size = 5\n\n    def edit(self, requests):\n        return []\n"
    editor = write(tmp_path, text.format(str(tmp_path / "pid")))
    plan = make_plan(RunConfig(SMALL, f"paste:editor=[{editor}]", label="x", output_dir=str(tmp_path / "run")))
    leaf = leaf_of(plan.editor)
    assert (leaf.mask_access, leaf.trained_on, leaf.batch_size) == ("hint", ("mae",), 5)
    assert plan.header.editor.trained_on == ("mae",) and plan.header.editor.code_sha256
    assert plan.header.editor.spec == f"paste:editor=[{editor}]" and plan.header.editor.mask_access == "region"
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    assert not (tmp_path / "run").exists(), "nothing is written before the run begins"
    leaf.close()


TURNED = """
import json, pathlib, sys
from PIL import Image, ImageOps
request, out = map(pathlib.Path, sys.argv[1:])
for line in (request / "requests.jsonl").read_text().splitlines():
    told = json.loads(line)
    ImageOps.flip(Image.open(request / told["source"])).save(out / f"{told['name']}.png")
"""
CLASS = """
class Editor:
    mask_access = "none"
    batch_size = 5

    def edit(self, requests):
        return [request.source[::-1] for request in requests]
"""


@pytest.mark.parametrize("suite", ["shapes@1", "photos@1"])
@pytest.mark.parametrize("way", ["class", "program"])
def test_code_of_others_makes_a_complete_run_of_twelve(tmp_path, suite, way):
    write(tmp_path, TURNED, "turned.py")
    program = f"command:'{sys.executable}' '{tmp_path / 'turned.py'}' {{request}} {{out}}"
    editor = write(tmp_path, CLASS) if way == "class" else program
    assert is_isolated(place_editor(editor, None, Limits())) == (way == "class")
    result = eb.run(editor, suite, metrics=[MAE], limit=12, label="turned", output_dir=str(tmp_path / "run"))
    assert [record.edit_status for record in result.records().records] == ["ok"] * 12
    for event, scenario in zip(edits(result), eb.load_suite(suite), strict=False):
        stored = PILImage.open(result.path / "edits" / f"{event['edit_sha256']}.png")
        assert np.array_equal(np.asarray(stored), scenario.source[::-1])


@pytest.mark.parametrize("name", ["Darkens", "mutates", "changes_surroundings"])
def test_isolated_and_in_process_runs_give_the_same_bytes(tmp_path, name):
    here = run(tmp_path, name, "here", isolate=False, batch_size=3)
    there = run(tmp_path, name, "there", isolate=True, batch_size=3)
    assert lines(here) == lines(there)
    assert [path.name for path in (there.path / "logs").iterdir()] == ["1-of-1.log"]
    assert not (here.path / "logs").exists()


def test_an_editor_of_ours_gives_the_same_bytes_in_a_worker(tmp_path):
    options = {"suite": SMALL, "limit": 3, "metrics": [MAE]}
    one, two = (eb.run("noise", output_dir=str(tmp_path / str(i)), isolate=i, **options) for i in (False, True))
    assert lines(one) == lines(two)


# --------------------------------------------------------------------------------------------- what is no good image


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("transposed", "output_invalid", "size 32x40, expected 40x32"),
        ("channels_first", "ok", ()),
        ("two_channels", "output_invalid", "array of shape (32, 40, 2), expected (H, W, 3)"),
        ("rgba", "ok", ()),
        ("transparent", "ok", ("alpha", "constant")),
        ("grey", "ok", ()),
        ("palette", "ok", ()),
        ("bilevel", "ok", ()),
        ("cmyk", "ok", ("cmyk",)),
        ("float_mode", "output_invalid", "mode 'F'"),
        ("sixteen_bit", "ok", ("16-bit",)),
        ("signed", "output_invalid", "expected [0, 1]"),
        ("infinite", "output_invalid", "non-finite"),
        ("black", "ok", ("constant",)),
        ("integers", "output_invalid", "int64"),
        ("objects", "output_invalid", "object"),
        ("empty", "output_invalid", "expected (H, W, 3)"),
        ("a_class", "output_invalid", "returned type"),
        ("generator", "output_invalid", "returned generator"),
    ],
)
def test_what_is_returned_is_taken_as_it_is_or_refused_by_name(tmp_path, oblong, name, status, words):
    result = run(tmp_path, f"returns_{name}", suite=oblong, limit=None, isolate=False)
    records = result.records().records
    assert [record.edit_status for record in records] == [status] * 2
    if status == "ok":
        assert {record.flags for record in records} == {words}
    else:
        assert all(words in record.reason for record in records)


def test_a_transparent_pixel_does_not_show_its_hidden_colour(tmp_path, oblong):
    result = run(tmp_path, "returns_transparent", suite=oblong, limit=None, isolate=False)
    image = np.array(PILImage.open(next((result.path / "edits").iterdir())))
    assert not (image == 77).any()


def test_a_batch_that_is_no_list_fails_and_says_what_was_expected(tmp_path):
    result = run(tmp_path, "Lazy", batch_size=2, isolate=False)
    assert told(result) == [("output_invalid", "returned generator, expected a list of 1 images")] * 3


@pytest.mark.parametrize(("name", "size"), [("Reuses", 1), ("reuses", 4)])
def test_one_buffer_for_all_answers_is_copied_in_time(tmp_path, name, size):
    result = run(tmp_path, name, batch_size=size, limit=4, isolate=False)
    assert len({record.edit_sha256 for record in result.records().records}) == 4


def test_an_answer_is_not_changed_by_the_next_call():
    class Reuses:
        mask_access = "none"
        buffer = np.zeros((8, 8, 3), np.uint8)

        def edit(self, requests):
            self.buffer[:] = requests[0].source + 1
            return [self.buffer for _ in requests]

    requests = [eb.EditRequest(np.full((8, 8, 3), level, np.uint8), "", 0) for level in (10, 20, 30)]
    attempts = run_in_batches(InProcess(Reuses()), requests, BatchSizes(1))
    assert [attempt.image[0, 0, 0] for attempt in attempts] == [11, 21, 31]


@pytest.mark.parametrize("isolate", [False, True])
def test_writing_into_the_input_is_flagged_counts_and_reaches_nobody(tmp_path, isolate):
    result = run(tmp_path, "mutates", isolate=isolate, metrics=["mae:region=edit", "mae:region=keep"])
    records = result.records().records
    assert {record.flags for record in records} == {("mutates_input",)}
    suite = eb.load_suite(SMALL)
    scenarios = {suite[index].id: suite[index] for index in range(3)}
    for record in records:
        scenario = scenarios[record.scenario_id]
        keep = ~scenario.mask
        change = np.abs(255 - 2 * scenario.source[keep].astype(int)).mean() / 255
        assert record.values["mae:region=keep"] == pytest.approx(change)


def test_drawing_on_the_mask_alone_is_seen_too(tmp_path):
    def editor(source, mask):
        mask[:] = False
        return source

    editor.mask_access = "hint"
    result = eb.run(editor, SMALL, [MAE], limit=1, output_dir=str(tmp_path / "run"))
    assert result.records().records[0].flags == ("mutates_input",)


# ------------------------------------------------------------------------------------------------- ways to end badly


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("raises", "editor_error", "RuntimeError: no luck with object at 0x…"),
        ("raises_anything", "editor_error", "Ended: over"),
        ("exits", "editor_error", "SystemExit: 3"),
        ("asks", "editor_error", "EOFError: EOF when reading a line"),
        ("interrupts", "editor_killed", "signal 2"),
        ("leaves", "editor_killed", "exit status 7"),
        ("leaves_well", "editor_killed", "exit status 0"),
        ("dies", "editor_killed", "signal 11"),
        ("aborts", "editor_killed", "signal 6"),
        ("kills_itself", "editor_killed", "signal 9"),
        ("writes_everywhere", "editor_killed", "an answer that cannot be read"),
    ],
)
def test_however_an_editor_ends_its_samples_are_charged_and_the_run_is_complete(tmp_path, name, status, reason):
    result = run(tmp_path, name, limit=2)
    assert told(result) == [(status, reason)] * 2
    values = [record.values[MAE] for record in result.records().records]
    assert not any(isinstance(value, float) for value in values)
    assert [event["restarts"] for event in edits(result)] == [2 if status == "editor_killed" else 0] * 2


def test_an_editor_that_closes_our_pipe_is_ended(tmp_path):
    result = run(tmp_path, "closes_everything", limit=1)
    assert {status for status, _ in told(result)} == {"editor_killed"}


@pytest.mark.parametrize("name", ["hangs", "stops"])
def test_an_editor_that_never_answers_is_ended_at_its_deadline_and_not_tried_again(tmp_path, name):
    result = run(tmp_path, name, limit=1, timeout=0.5)
    assert told(result) == [("editor_timeout", "no answer within 0.5 s")]
    assert [event["restarts"] for event in edits(result)] == [1]


def test_a_process_that_reads_nothing_does_not_hold_us():
    program = ["sh", "-c", "head -c 5000 >/dev/null; exec sleep 60"]  # with room for some of a chunk, not for all
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        with pytest.raises(TimeoutError):
            Line(process, 0.2, None).send(bytes(10**6))
        process.kill()


def test_building_a_model_is_not_charged_to_the_first_sample(tmp_path):
    text = "import time\nclass Editor:\n    mask_access = 'none'\n    def __init__(self):\n        time.sleep(1.5)\n"
    text += "    def edit(self, requests):\n        return [request.source for request in requests]\n"
    result = eb.run(write(tmp_path, text), SMALL, [MAE], limit=1, timeout=1.0, output_dir=str(tmp_path / "run"))
    assert told(result) == [("ok", None)]
    assert edits(result)[0]["seconds"] < 1


def seeds(count):
    suite = eb.load_suite(SMALL)
    return {suite[index].id: sample_seed(0, suite[index].id, 0) for index in range(count)}


BATCHED = """
import os, sys
from pathlib import Path

class Editor:
    mask_access = "none"

    def edit(self, requests):
        with open({calls!r}, "a") as file:
            file.write(f"{{len(requests)}} ")
        {trouble}
        return [255 - request.source for request in requests]
"""


def batched(tmp_path, trouble, folder="run", file="editor.py", **options):
    """Run a class that logs the size of each of its batches, and gets into trouble."""
    editor = write(tmp_path, BATCHED.format(calls=str(tmp_path / "calls"), trouble=trouble), file)
    options = {"limit": 4, "batch_size": 4, "label": "batched", **options}
    result = eb.run(editor, SMALL, [MAE], output_dir=str(tmp_path / folder), **options)
    return result, [int(word) for word in (tmp_path / "calls").read_text().split()]


def test_a_worker_gets_whole_batches(tmp_path):
    result, calls = batched(tmp_path, "", limit=6)
    assert calls == [4, 2] and {status for status, _ in told(result)} == {"ok"}
    assert [event["batch_size"] for event in edits(result)] == [4, 4, 4, 4, 2, 2]


@pytest.mark.parametrize(
    ("trouble", "status", "reason"),
    [
        ("os.abort()", "editor_killed", "signal 6"),
        ("import time; time.sleep(3600)", "editor_timeout", "no answer within 1 s"),
    ],
)
def test_a_poisonous_sample_in_a_batch_is_charged_alone(tmp_path, trouble, status, reason):
    poison, seed = list(seeds(4).items())[1]
    trouble = f"if any(request.seed == {seed} for request in requests): {trouble}"
    result, calls = batched(tmp_path, trouble, timeout=1.0)
    found = {record.scenario_id: (record.edit_status, record.reason) for record in result.records().records}
    assert found.pop(poison) == (status, reason)
    assert set(found.values()) == {("ok", None)}
    assert calls == [4, 1, 1, 1, 1], "each is tried in the batch and once alone"


def test_a_batch_that_ends_the_worker_and_none_of_its_requests_does_is_too_large(tmp_path):
    result, calls = batched(tmp_path, "if len(requests) > 2: os.abort()", limit=8)
    assert {status for status, _ in told(result)} == {"ok"}
    assert calls == [4, 1, 1, 1, 1, 2, 2]


def test_a_worker_that_dies_by_chance_is_started_once_more(tmp_path):
    marker = str(tmp_path / "once")
    trouble = f"Path({marker!r}).exists() or (Path({marker!r}).touch(), os.abort())"
    result, calls = batched(tmp_path, trouble, batch_size=1, limit=2)
    assert {status for status, _ in told(result)} == {"ok"} and calls == [1, 1, 1]
    assert [event["restarts"] for event in edits(result)] == [1, 0]


def test_after_too_many_deaths_in_a_row_the_rest_is_not_run_and_can_be_later(tmp_path):
    marker = tmp_path / "mended"
    trouble = f"Path({str(marker)!r}).exists() or os.abort()"
    result, calls = batched(tmp_path, trouble, batch_size=2, limit=6, max_deaths=3)
    statuses = [event["edit_status"] for event in edits(result)]
    assert statuses == ["editor_killed"] * 3 + ["not_run"] * 3
    assert {reason for status, reason in told(result) if status == "not_run"} == {
        "the worker process ended on 3 samples in a row"
    }
    assert calls == [2, 1, 1, 2, 1]
    (board,) = eb.build_boards([result.records()])
    assert not board.rows[0].complete and board.rows[0].statuses["not_run"] == 3
    marker.touch()
    result, _ = batched(tmp_path, trouble, batch_size=2, limit=6, max_deaths=3)
    assert sorted(status for status, _ in told(result)) == ["editor_killed"] * 3 + ["ok"] * 3
    result, _ = batched(tmp_path, trouble, batch_size=2, limit=6, max_deaths=3, retry_on_error=1)
    assert {status for status, _ in told(result)} == {"ok"}


def test_deaths_that_are_not_in_a_row_do_not_stop_a_run(tmp_path):
    deadly = list(seeds(6).values())[::2]
    result, _ = batched(tmp_path, f"if requests[0].seed in {deadly}: os.abort()", batch_size=1, limit=6, max_deaths=2)
    assert [event["edit_status"] for event in edits(result)] == ["editor_killed", "ok"] * 3


def test_a_sample_that_is_tried_again_is_one_of_those_in_a_row(tmp_path):
    result = run(tmp_path, "kills_itself", max_deaths=2, retry_on_error=2)
    assert [(event["edit_status"], event["attempts"]) for event in edits(result)] == [
        ("editor_killed", 3),
        ("editor_killed", 1),
        ("not_run", 1),
    ]


def test_giving_up_exits_3_and_says_how_to_go_on(tmp_path):
    command = ["run", "--suite", SMALL, "--editor", f"{MISBEHAVING}:kills_itself", "--limit", "3", "--metrics", MAE]
    command += ["--max-deaths", "1", "--output-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "editbench", *command], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "2 of 3 edits: not_run" in done.stdout and "issue the same command again" in done.stdout


def test_an_editor_that_cannot_be_built_a_second_time_is_charged_and_not_us(tmp_path):
    marker = str(tmp_path / "built")
    text = f"import os\nfrom pathlib import Path\nassert not Path({marker!r}).exists()\nPath({marker!r}).touch()\n\n"
    editor = write(tmp_path, text + "\ndef edit(source):\n    os.abort()\n")
    result = eb.run(editor, SMALL, [MAE], limit=2, output_dir=str(tmp_path / "run"))
    assert {status for status, _ in told(result)} == {"editor_killed"}
    assert all(reason.startswith("cannot be started again: ") for _, reason in told(result))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_is_killed_while_it_starts_is_started_once_more_and_no_sample_is_charged(tmp_path, killed):
    """As by the host when memory is short: the first or the second of three starts is killed."""
    counter = str(tmp_path / "starts")
    text = (
        "import os, signal\nfrom pathlib import Path\n"
        f"path = Path({counter!r})\nstarts = len(path.read_text()) if path.exists() else 0\n"
        "path.write_text('x' * (starts + 1))\n"
        f"if starts == {killed}:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    first = 1 - killed
    edit = f"\ndef edit(source):\n    os.abort() if starts == {first} else None\n    return source\n"
    editor = write(tmp_path, text + edit)
    result = eb.run(editor, SMALL, [MAE], limit=2, output_dir=str(tmp_path / "run"))
    assert {status for status, _ in told(result)} == {"ok"}


def test_an_editor_whose_file_is_changed_meanwhile_is_not_started_again(tmp_path):
    """Else a run would mix the answers of two editors under the hash of one."""
    text = "import os\nfrom pathlib import Path\n\ndef edit(source):\n    path = Path(__file__)\n"
    editor = write(tmp_path, text + "    path.write_text(path.read_text() + '# more\\n')\n    os.abort()\n")
    result = eb.run(editor, SMALL, [MAE], limit=2, output_dir=str(tmp_path / "run"))
    assert result.statuses() == {"not_run": 2}
    assert all(event["reason"].startswith("the editor is another one than when") for event in edits(result))
    with pytest.raises(eb.EditbenchError, match="holds another run"):
        eb.run(editor, SMALL, [MAE], limit=2, output_dir=str(tmp_path / "run"))


LIFE = """
from pathlib import Path

class Editor:
    mask_access = "none"
    code_sha256 = "ab"
    started = False

    def start(self):
        self.started = True

    def close(self):
        Path(__file__).with_name("closed").touch()

    def edit(self, requests):
        assert self.started
        return [255 - request.source for request in requests]
"""


@pytest.mark.parametrize("isolate", [True, False])
def test_an_editor_is_started_and_closed_wherever_it_runs(tmp_path, isolate):
    editor = write(tmp_path, LIFE)
    result = eb.run(editor, SMALL, [MAE], limit=2, isolate=isolate, output_dir=str(tmp_path / "run"))
    assert set(told(result)) == {("ok", None)} and (tmp_path / "closed").exists()


def test_an_interrupt_ends_an_edit_at_once():
    suite = eb.load_suite(SMALL)
    worker = Worker(f"{MISBEHAVING}:hangs", Limits())
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worker.run([Task(suite[0], 0, 0).request("none")])
    worker.close()
    assert time.monotonic() - start < isolation.PATIENCE_SECONDS / 2


@pytest.mark.parametrize("isolate", [True, False])
def test_what_an_editor_declares_beside_its_file_decides_too(tmp_path, isolate):
    editor = write(tmp_path, LIFE)
    plan = make_plan(RunConfig(SMALL, editor, isolate=isolate, output_dir=str(tmp_path / "run")))
    assert plan.header.editor.code_sha256 == answers_sha256(code_sha256(editor), SimpleNamespace(code_sha256="ab"))
    assert plan.header.editor.code_sha256 not in ("ab", code_sha256(editor))


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("size", [0, None, "all"])
def test_a_batch_size_that_is_none_is_refused(tmp_path, size, isolate):
    text = f"class Editor:\n    mask_access = 'none'\n    batch_size = {size!r}\n    edit = list\n"
    with pytest.raises(eb.EditbenchError, match=f"batch_size={size!r}, expected a whole number of at least 1"):
        place_editor(write(tmp_path, text), isolate, Limits())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\nos.abort()\n", r"could not be started in a worker process \(signal 6"),
        ("import os\nprint('no licence', flush=True)\nos._exit(3)\n", r"\(exit status 3: no licence\)"),
        ("raise RuntimeError('no weights')\n", r"cannot be imported: RuntimeError: no weights"),
        ("import time\ntime.sleep(3600)\n", r"was not ready within 1\.5 s"),
        ("x = bytearray(10**9)\nimport time\ntime.sleep(3600)\n", r"took more than 300MB of memory before its first"),
    ],
)
def test_an_editor_that_cannot_be_built_stops_the_run_before_it_begins(tmp_path, monkeypatch, text, words):
    if "3600" in text and "bytearray" not in text:
        monkeypatch.setattr(isolation, "START_SECONDS", 1.5)
    editor = write(tmp_path, text + "\ndef edit(source):\n    return source\n")
    with pytest.raises(eb.EditbenchError, match=words):
        eb.run(editor, SMALL, [MAE], limit=1, memory_limit="300MB", output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("name", ["allocates", "allocates_elsewhere"])
def test_an_editor_that_takes_too_much_memory_is_ended(tmp_path, name):
    result = run(tmp_path, name, limit=1, memory_limit="300MB")
    assert told(result) == [("editor_oom", "took more than 300MB of memory")]


def test_a_batch_that_takes_too_much_memory_is_halved_in_a_new_worker(tmp_path):
    trouble = "import numpy, time; x = numpy.ones(100_000_000 * len(requests), 'u1'); time.sleep(0.5)"
    result, calls = batched(tmp_path, trouble, memory_limit="400MB")
    assert {status for status, _ in told(result)} == {"ok"} and calls == [4, 2, 2]


STARVED = [
    "raise MemoryError",
    "raise RuntimeError('CUDA error: out of memory')",
    'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 8 bytes.")',
]


@pytest.mark.parametrize(("trouble", "isolate"), [*((trouble, False) for trouble in STARVED), (STARVED[0], True)])
def test_out_of_memory_halves_the_batch_and_that_is_remembered_and_recorded(tmp_path, trouble, isolate):
    result, calls = batched(tmp_path, f"if len(requests) > 2: {trouble}", limit=12, batch_size=8, isolate=isolate)
    assert {status for status, _ in told(result)} == {"ok"}
    assert calls == [8, 4, 2, 2, 2, 2, 2, 2]
    assert {event["batch_size"] for event in edits(result)} == {2}
    plain, _ = batched(tmp_path, f"if len(requests) > 2: {trouble}", "plain", limit=12, batch_size=1, isolate=False)
    assert lines(plain) == lines(result)


def test_torch_without_memory_is_out_of_memory_and_says_so_the_same_every_time():
    import torch

    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.2 GiB free.")
    assert (
        is_out_of_memory(error)
        and not is_out_of_memory(RuntimeError("a shape"))
        and not is_out_of_memory(ValueError("out of memory"))
    )

    def editor(source):
        raise error

    request = eb.EditRequest(np.zeros((8, 8, 3), np.uint8), "", 0)
    (attempt,) = InProcess(eb.load_editor(editor)).run([request])
    assert (attempt.status, attempt.reason) == ("editor_oom", "OutOfMemoryError: CUDA out of memory")
    assert "1.2 GiB free" in attempt.traceback


def test_one_image_alone_that_does_not_fit_has_failed(tmp_path):
    result, calls = batched(tmp_path, "raise MemoryError", limit=5)
    assert told(result) == [("editor_oom", "MemoryError")] * 5
    assert calls == [4, 2, 1, 1, 1, 1, 1]


def test_the_limit_is_that_of_one_image_size(tmp_path):
    root = tmp_path / "mixed"
    root.mkdir()
    items = []
    for index in range(8):
        side = 24 if index % 2 else 16
        PILImage.fromarray(np.random.default_rng(index).integers(0, 256, (side, 16, 3), np.uint8)).save(
            root / f"{index}.png"
        )
        items.append({"id": f"s{index}", "source": f"{index}.png", "instruction": "Go."})
    (root / "scenarios.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    trouble = "if len(requests) > 2 and len(requests[0].source) == 24: raise MemoryError"
    editor = write(tmp_path, BATCHED.format(calls=str(tmp_path / "calls"), trouble=trouble))
    result = eb.run(editor, f"folder:{root}", [MAE], batch_size=4, output_dir=str(tmp_path / "run"))
    assert {status for status, _ in told(result)} == {"ok"}
    sizes = {event["scenario_id"]: event["batch_size"] for event in edits(result)}
    assert sizes == {f"s{index}": 2 if index % 2 else 4 for index in range(8)}


def test_a_program_may_get_sizes_that_differ_at_once(tmp_path):
    grown = BatchSizes(2, mixed=True)
    images = [np.zeros((height, 8, 3), np.uint8) for height in (8, 9, 8)]
    requests = [eb.EditRequest(image, "", 0) for image in images]

    class Counts:
        mask_access = "none"
        seen = ()

        def edit(self, requests):
            self.seen += (len(requests),)
            return [request.source for request in requests]

    editor = Counts()
    attempts = run_in_batches(InProcess(editor), requests, grown)
    assert [attempt.image.shape[0] for attempt in attempts] == [8, 9, 8] and editor.seen == (2, 1)
    editor.seen = ()
    run_in_batches(InProcess(editor), requests, BatchSizes(2))
    assert editor.seen == (2, 1)
    editor.seen = ()
    run_in_batches(InProcess(editor), requests[1:], BatchSizes(2))
    assert editor.seen == (1, 1)
    assert batch_sizes(make_plan(RunConfig("photos@1", "command:cat {request} {out}"))).mixed


def test_an_automatic_batch_grows_until_memory_runs_out(tmp_path):
    trouble = "if len(requests) > 4: raise MemoryError"
    _, calls = batched(tmp_path, trouble, limit=24, batch_size="auto", isolate=False)
    assert calls == [1, 2, 4, 8, 4, 4, 4, 4, 1]
    (tmp_path / "calls").unlink()
    _, calls = batched(tmp_path, "", "large", "large.py", limit=200, batch_size="auto", isolate=False)
    assert calls == [1, 2, 4, 8, 16, 32, 64, 64, 9]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("memory_limit", "plenty", "memory_limit: 'plenty', expected a size such as 8GB or 512MiB"),
        ("memory_limit", "0", "memory_limit: '0', expected"),
        ("batch_size", "atuo", "batch_size: 'atuo', expected a whole number or auto: did you mean 'auto'?"),
        ("batch_size", 0, "batch_size: 0, expected at least 1"),
        ("max_deaths", 0, "max_deaths: 0, expected at least 1"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(tmp_path, name, value, message):
    with pytest.raises(eb.EditbenchError) as caught:
        eb.run("identity", SMALL, [MAE], limit=1, output_dir=str(tmp_path / "run"), **{name: value})
    assert str(caught.value).startswith(message)


def test_memory_is_told_in_decimal_or_binary_units():
    assert [memory_bytes(text) for text in ("8GB", "512MiB", "1000", None)] == [8 * 10**9, 2**29, 1000, None]


# ------------------------------------------------------------------------------------------------ what is left behind


@pytest.mark.parametrize("name", ["leaves_children", "writes_files"])
def test_what_a_good_editor_forgets_is_removed_at_the_end(tmp_path, name):
    assert set(told(run(tmp_path, name))) == {("ok", None)}  # the fixture looks for the rest


def test_prints_go_to_the_log_of_the_run(tmp_path):
    text = "import os, subprocess, sys\nprint('at import')\nos.system('echo a child')\n"
    text += "\ndef edit(source):\n    print('out')\n    print('err', file=sys.stderr)\n    os.write(1, b'raw\\n')\n"
    text += "    subprocess.run(['echo', 'another child'])\n    return source\n"
    command = ["run", "--suite", SMALL, "--editor", write(tmp_path, text), "--limit", "1", "--metrics", MAE]
    command += ["--json", "--output-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "editbench", *command], capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["statuses"] == {"ok": 1}
    assert done.stderr.splitlines()[1:] == [], "one line of progress and nothing else"
    logged = (tmp_path / "run" / "logs" / "1-of-1.log").read_text().splitlines()
    assert logged == ["at import", "a child", "out", "err", "raw", "another child"]


def test_a_crash_leaves_its_place_in_the_log(tmp_path):
    result = run(tmp_path, "dies", limit=1)
    logged = (result.path / "logs" / "1-of-1.log").read_text()
    assert logged.count("Segmentation fault") == logged.count("in dies") == 2, (
        "of the worker that was started again too"
    )


def test_what_an_editor_changes_of_its_surroundings_stays_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MISBEHAVING_VICTIM", "here")
    monkeypatch.chdir(tmp_path)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    filters, folder = list(warnings.filters), Path.cwd()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    result = run(tmp_path, "changes_surroundings", isolate=False)
    assert set(told(result)) == {("ok", None)}, "it finds what it left"
    assert os.environ["MISBEHAVING_VICTIM"] == "here" and not {"MISBEHAVING", "MISBEHAVING_NEXT"} & set(os.environ)
    assert Path.cwd() == folder and list(warnings.filters) == filters
    assert random.getstate() == python
    now = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(now, numpy, strict=True))


def test_an_editor_finds_its_surroundings_as_it_left_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    seen = []

    def editor(source):
        seen.append((os.environ.get("CALLS"), Path.cwd().name, random.random()))
        os.environ["CALLS"] = str(len(seen))
        if len(seen) == 1:
            random.seed(4)
            os.chdir("elsewhere")
        return source

    eb.run(editor, SMALL, [MAE], limit=3, output_dir=str(tmp_path / "run"))
    drawn = random.Random(4)
    assert seen[1:] == [("1", "elsewhere", drawn.random()), ("2", "elsewhere", drawn.random())]
    assert "CALLS" not in os.environ


def test_the_state_of_torch_is_kept_from_an_editor():
    import torch

    def editor(source):
        torch.manual_seed(3)
        return (torch.rand(source.shape) * 255).byte()

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    request = eb.EditRequest(np.zeros((8, 8, 3), np.uint8), "", 0)
    executor = InProcess(eb.load_editor(editor))
    assert executor.run([request])[0].status == "ok"
    assert torch.equal(torch.rand(3), expected)


# ------------------------------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("isolate", [False, True])
def test_repeats_with_one_seed_show_an_editor_that_ignores_it(tmp_path, isolate):
    result = run(tmp_path, "ignores_the_seed", repeats=2, same_seed=True, isolate=isolate)
    assert len(result.differing_repeats()) == 3
    assert result.records().header.same_seed


def test_an_editor_that_follows_its_seed_does_the_same_again(tmp_path):
    options = {"suite": SMALL, "metrics": [MAE], "limit": 2, "repeats": 2}
    same = eb.run("noise", same_seed=True, output_dir=str(tmp_path / "same"), **options)
    assert same.differing_repeats() == []
    other = eb.run("noise", output_dir=str(tmp_path / "other"), **options)
    assert len(other.differing_repeats()) == 2 and b"same_seed" not in lines(other)[0]
    with pytest.raises(eb.EditbenchError, match=r"same_seed: "):
        eb.run("noise", same_seed=True, output_dir=str(tmp_path / "other"), **options)


def test_the_command_line_reports_what_is_not_deterministic(tmp_path):
    command = ["run", "--suite", SMALL, "--editor", f"{MISBEHAVING}:ignores_the_seed", "--limit", "2"]
    command += ["--metrics", MAE, "--repeats", "2", "--same-seed", "--output-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "editbench", *command], capture_output=True, text=True)
    assert "repeats with one seed differ in 2 of 2 scenarios: the editor is not deterministic" in done.stdout
    done = subprocess.run([sys.executable, "-m", "editbench", *command, "--json"], capture_output=True, text=True)
    assert json.loads(done.stdout)["differing_repeats"] == 2


def test_a_worker_can_be_used_like_an_editor():
    worker = Worker("jpeg:quality=50", Limits())
    request = eb.EditRequest(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), "", 0)
    (there,) = worker.edit([request])
    (here,) = eb.load_editor("jpeg:quality=50").edit([request])
    worker.close()
    assert np.array_equal(there, here)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux says what a process may use")
def test_cores_are_those_that_a_job_was_given(monkeypatch, tmp_path):
    first = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{first}}}); from editbench.limits import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "1\n"
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("editbench.limits._QUOTA", quota)
    for text, expected in (("max 100000", 64), ("400000 100000", 4), ("150000 100000", 2), ("50000 100000", 1)):
        quota.write_text(text + "\n")
        assert cores() == expected
    quota.unlink()
    assert cores() == 64


def test_a_lost_accelerator_is_charged_to_the_edit_that_lost_it_and_to_no_other(tmp_path):
    result = eb.run(f"{LOSING}:edit", SMALL, [MAE], limit=8, output_dir=str(tmp_path / "run"))
    deadly = {name for name, seed in seeds(8).items() if seed % 4 == 0}
    assert 0 < len(deadly) < 8
    found = {record.scenario_id: (record.edit_status, record.reason) for record in result.records().records}
    reason = "its accelerator answered nothing any more"
    assert found == {name: ("editor_killed", reason) if name in deadly else ("ok", None) for name in found}
    (log,) = (tmp_path / "run" / "logs").glob("*.log")
    assert "CUDA error: unspecified launch failure" in log.read_text()


def test_without_isolation_a_lost_accelerator_ends_the_run_and_charges_nobody(tmp_path, monkeypatch):
    for name in ("is_initialized", "synchronize", "get_rng_state_all"):
        monkeypatch.setattr(f"torch.cuda.{name}", getattr(__import__("torch").cuda, name))
    with pytest.raises(eb.EditbenchError, match=r"answers nothing any more .*launch failure.* --isolate"):
        eb.run(f"{LOSING}:edit", SMALL, [MAE], limit=8, output_dir=str(tmp_path / "run"), isolate=False)
    kept = [event for event in events(tmp_path / "run" / "journal") if event["type"] == "edit"]
    first = next(place for place, seed in enumerate(seeds(8).values()) if seed % 4 == 0)
    assert [event["edit_status"] for event in kept] == ["ok"] * first


def test_an_error_that_the_accelerator_survives_is_an_error_like_any_other(tmp_path):
    result = eb.run(f"{LOSING}:clumsy", SMALL, [MAE], limit=2, output_dir=str(tmp_path / "run"))
    assert told(result) == [("editor_error", "RuntimeError: CUDA error: invalid argument")] * 2
