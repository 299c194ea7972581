import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench.config import RunConfig, parse_shard
from editbench.images import InvalidImage
from editbench.journal import events
from editbench.loops import carry_out
from editbench.merge import merge_runs
from editbench.plan import make_plan, plan_of_run, sample_seed
from editbench.store import RunStore

SMALL = "shapes@1:size=64"
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
METRICS = ("psnr:region=keep", "success", "composite")


def run(tmp_path, editor, name="run", **options):
    options = {"suite": SMALL, "limit": 4, "metrics": METRICS, "output_dir": str(tmp_path / name), **options}
    return eb.run(editor, **options)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.05)
    return None


def statuses(result):
    return {record.edit_status for record in result.records().records}


def lines(result):
    return (result.path / "records.jsonl").read_bytes().splitlines()


# ------------------------------------------------------------------------------------------------ what is recorded


def test_a_run_has_one_record_a_scenario_with_a_value_of_every_metric(tmp_path):
    result = run(tmp_path, "identity")
    file = result.records()
    suite = eb.load_suite(SMALL)
    assert [record.scenario_id for record in file.records] == sorted(suite[index].id for index in range(4))
    assert all(set(record.values) == set(METRICS) for record in file.records)
    assert all(record.values["psnr:region=keep"] == 100.0 for record in file.records)
    frame = result.to_frame()
    assert list(frame["success"]) == [0.0] * 4
    assert (result.path / "run.json").is_file()


def test_records_hold_nothing_that_varies_from_run_to_run(tmp_path):
    first, second = run(tmp_path, "noise", "a"), run(tmp_path, "noise", "b", label="noise")
    assert lines(first) == lines(second)


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_size": 4}, {"timeout": 60.0}])
def test_batch_size_and_worker_process_do_not_change_a_byte(tmp_path, options):
    plain, other = run(tmp_path, "noise", "plain"), run(tmp_path, "noise", "other", **options)
    assert lines(plain) == lines(other)


@pytest.mark.parametrize("name", ["Darkens", "loses_a_file", "says_odd_things"])
def test_an_editor_that_fails_in_batches_gives_the_same_records_in_any(tmp_path, name):
    spec = f"{MISBEHAVING}:{name}"
    one, four = (run(tmp_path, spec, str(size), label=name, batch_size=size) for size in (1, 4))
    worker = run(tmp_path, spec, "worker", label=name, batch_size=4, timeout=60.0)
    assert lines(one) == lines(four) == lines(worker)


def test_equal_edits_share_a_file(tmp_path):
    result = run(tmp_path, f"{MISBEHAVING}:inverts", repeats=2, label="inverts")
    assert len(result.records().records) == 8
    assert len(list((result.path / "edits").glob("*.png"))) == 4


def test_repeats_get_seeds_of_their_own():
    seeds = {sample_seed(0, "x", 0), sample_seed(0, "x", 1), sample_seed(1, "x", 0), sample_seed(0, "y", 0)}
    assert len(seeds) == 4 and all(0 <= seed < 2**31 for seed in seeds)


# ------------------------------------------------------------------------------------------------ misbehaving editors


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("raises", "editor_error", "RuntimeError: no luck with object at 0x…"),
        ("returns_none", "output_invalid", "returned None"),
        ("returns_text", "output_invalid", "returned str"),
        ("wrong_size", "output_invalid", "size 64x56, expected 64x64"),
        ("not_a_number", "output_invalid", "non-finite"),
        ("wrong_range", "output_invalid", "expected [0, 1]"),
        ("exits", "editor_error", "SystemExit: 3"),
        ("says_odd_things", "editor_error", "ValueError: file ? ?"),
        ("says_nothing", "editor_error", "Unsayable"),
        ("loses_a_file", "editor_error", "No such file or directory: '{tmp}/weights.bin'"),
        ("out_of_memory", "editor_oom", "MemoryError"),
        ("ShortBatch", "ok", None),
        ("FailsInBatches", "ok", None),
        ("prints", "ok", None),
    ],
)
def test_a_misbehaving_editor_gets_its_status_and_the_run_goes_on(tmp_path, name, status, reason):
    result = run(tmp_path, f"{MISBEHAVING}:{name}", label=name, batch_size=3)
    records = result.records().records
    assert [record.edit_status for record in records] == [status] * 4
    assert all((reason or "") in (record.reason or "") for record in records)
    if status != "ok":
        values = [value for record in records for value in record.values.values()]
        assert not any(isinstance(value, float) for value in values)


def test_a_failed_edit_counts_as_zero_success_and_not_as_fidelity(tmp_path):
    result = run(tmp_path, f"{MISBEHAVING}:raises", label="raises")
    (board,) = eb.build_boards([result.records()])
    cells = {column.metric: cell for column, cell in board.rows[0].cells.items()}
    assert (cells["success"].estimate.mean, cells["success"].estimate.n) == (0.0, 4)
    assert cells["psnr:region=keep"].estimate.n == 0 and cells["psnr:region=keep"].errors == 4
    assert board.rows[0].failed == 4 and board.rows[0].complete


def test_a_hanging_editor_is_killed_at_its_deadline_and_only_its_sample_is_charged(tmp_path):
    start = time.monotonic()
    result = run(tmp_path, f"{MISBEHAVING}:hangs_sometimes", label="hangs", timeout=1.5, batch_size=2)
    records = result.records().records
    suite = eb.load_suite(SMALL)
    odd = {suite[i].id for i in range(4) if sample_seed(0, suite[i].id, 0) % 2}
    assert {record.scenario_id for record in records if record.edit_status == "editor_timeout"} == odd
    assert {record.reason for record in records if record.edit_status != "ok"} <= {"no answer within 1.5 s"}
    assert time.monotonic() - start < 60


def test_a_deadline_is_that_of_a_sample_whatever_the_batch_size(tmp_path):
    editor = tmp_path / "slow.py"
    editor.write_text(
        "import time\nfrom pathlib import Path\ndef edit(source):\n"
        f"    marker = Path({str(tmp_path / 'once')!r})\n"
        "    if not marker.exists():\n        marker.touch()\n        time.sleep(3)\n    return source\n"
    )
    result = run(tmp_path, f"{editor}:edit", label="slow", timeout=1.5, batch_size=4)
    edits = [event for event in events(result.path / "journal") if event["type"] == "edit"]
    assert [event["edit_status"] for event in edits] == ["editor_timeout", "ok", "ok", "ok"]
    assert edits[0]["seconds"] < 3


def test_what_a_killed_editor_leaves_in_the_temporary_folder_is_removed(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    result = run(tmp_path, f"{MISBEHAVING}:leaves_files", label="leaves", timeout=1.5)
    assert statuses(result) == {"ok", "editor_timeout"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_deadline_for_what_lives_in_this_process_only_is_refused_in_one_line(tmp_path):
    def here(source):
        return source

    for editor in (here, lambda source: source):
        with pytest.raises(
            eb.EditbenchError, match=r"^isolate, timeout, memory_limit: .* an editor that another .* path\.py:NAME$"
        ):
            run(tmp_path, editor, label="here", timeout=5.0)
    assert not (tmp_path / "run").exists()


def test_an_object_in_a_file_can_have_a_deadline(tmp_path):
    editor = tmp_path / "mine.py"
    editor.write_text(
        "class Editor:\n    mask_access = 'none'\n    def __init__(self, by):\n        self.by = by\n"
        "    def edit(self, requests):\n        return [request.source // self.by for request in requests]\n"
        "halved = Editor(2)\n"
    )
    result = run(tmp_path, f"{editor}:halved", timeout=60.0)
    header = result.records().header
    assert statuses(result) == {"ok"} and header.editor.spec == f"{editor}:halved" and header.editor.code_sha256


def test_a_function_without_a_name_gets_a_label(tmp_path):
    def é(source):
        return source

    for number, editor in enumerate((lambda source: source, é)):
        label = run(tmp_path, editor, str(number)).records().header.editor.label
        assert re.fullmatch(r"(lambda-)?[0-9a-f]{8}", label)


def test_an_editor_that_crashes_its_process_is_recorded_with_the_signal(tmp_path):
    result = run(tmp_path, f"{MISBEHAVING}:dies", label="dies", timeout=60.0, limit=2)
    assert [(r.edit_status, r.reason) for r in result.records().records] == [("editor_killed", "signal 11")] * 2


def test_retries_use_the_same_seed_and_are_counted(tmp_path):
    sys.path.insert(0, str(MISBEHAVING.parent))
    try:
        from misbehaving import Flaky
    finally:
        sys.path.pop(0)
    editor = Flaky()
    result = run(tmp_path, editor, label="flaky", retry_on_error=1)
    assert statuses(result) == {"ok"}
    assert len(editor.seeds) == 8 and len(set(editor.seeds)) == 4
    attempts = [event["attempts"] for event in events(result.path / "journal") if event["type"] == "edit"]
    assert attempts == [2] * 4


def test_failed_edits_stay_failed_on_resume_unless_retries_are_asked_for(tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "from pathlib import Path\ndef edit(source):\n    assert Path('"
        + str(tmp_path / "ok")
        + "').exists()\n    return source\n"
    )
    run(tmp_path, f"{editor}:edit", label="later")
    (tmp_path / "ok").touch()
    assert statuses(run(tmp_path, f"{editor}:edit", label="later")) == {"editor_error"}
    assert statuses(run(tmp_path, f"{editor}:edit", label="later", retry_on_error=1)) == {"ok"}


def test_align_resize_is_flagged_and_error_refuses(tmp_path):
    resized = run(tmp_path, f"{MISBEHAVING}:half_size", "resized", label="half", align="resize")
    assert {record.flags for record in resized.records().records} == {("aligned=resize",)}
    assert statuses(run(tmp_path, f"{MISBEHAVING}:half_size", "refused", label="half")) == {"output_invalid"}


# ---------------------------------------------------------------------------------------------------- requests


def test_an_editor_sees_the_mask_only_if_it_declares_it_and_never_an_id(tmp_path):
    seen = []

    def editor(source, instruction, mask, seed):
        seen.append(mask)
        return source

    run(tmp_path, editor, "none", label="none")
    assert seen == [None] * 4
    editor.mask_access = "hint"
    run(tmp_path, editor, "hint", label="hint")
    assert all(mask.dtype == np.bool_ for mask in seen[4:])
    assert {f for f in eb.EditRequest.__dataclass_fields__} == {
        "source", "instruction", "seed", "mask", "source_prompt", "target_prompt",
    }  # fmt: skip


def test_an_editor_cannot_change_the_suite_through_its_input(tmp_path):
    def editor(source, mask):
        source[:] = 0
        return source

    editor.mask_access = "hint"
    result = run(tmp_path, editor, label="vandal")
    assert all(record.values["psnr:region=keep"] < 30 for record in result.records().records)
    assert run(tmp_path, "identity", "after").records().records[0].values["psnr:region=keep"] == 100.0


# ------------------------------------------------------------------------------------------------- bad suites


def folder_suite(tmp_path, count=3):
    root = tmp_path / "suite"
    root.mkdir()
    random = np.random.default_rng(0)
    items = []
    for index in range(count):
        PILImage.fromarray(random.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(root / f"{index}.png")
        mask = np.zeros((32, 40), np.uint8)
        mask[8:20, 10:30] = 255
        PILImage.fromarray(mask).save(root / f"{index}.mask.png")
        items.append({"id": f"s{index}", "source": f"{index}.png", "mask": f"{index}.mask.png", "instruction": "Go."})
    (root / "scenarios.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return root


def test_unreadable_and_missing_data_is_input_invalid_and_leaves_the_denominator(tmp_path):
    root = folder_suite(tmp_path)
    (root / "0.png").write_bytes((root / "0.png").read_bytes()[:200])
    (root / "1.mask.png").unlink()
    result = run(tmp_path, "identity", suite=f"folder:{root}", metrics=("psnr:region=keep",), limit=None)
    found = {record.scenario_id: (record.edit_status, record.reason) for record in result.records().records}
    assert found["s0"] == ("input_invalid", "source '0.png': cannot be decoded (OSError): truncated or corrupt")
    assert found["s1"] == ("input_invalid", "mask '1.mask.png': No such file or directory")
    assert found["s2"] == ("ok", None)
    (board,) = eb.build_boards([result.records()])
    assert board.rows[0].failed == 0 and (board.rows[0].unreadable, board.rows[0].coverage) == (2, 1.0)


def test_a_suite_whose_pixels_change_between_edit_and_score_is_refused(tmp_path):
    root = folder_suite(tmp_path)
    run(tmp_path, "identity", suite=f"folder:{root}", metrics=("psnr:region=keep",), limit=None)
    PILImage.new("RGB", (40, 32)).save(root / "0.png")
    with pytest.raises(eb.EditbenchError, match=r"'s0' .* has other pixels"):
        run(tmp_path, "identity", suite=f"folder:{root}", metrics=("mae:region=keep",), limit=None)


# ------------------------------------------------------------------------------------- resume, score, shard, merge


def test_another_editor_suite_or_seed_in_the_same_directory_is_refused_with_a_diff(tmp_path):
    run(tmp_path, "identity")
    for changed, text in (({"seed": 1}, "seed: 0 -> 1"), ({"limit": 5}, r"suite.scenarios: 4 -> 5")):
        with pytest.raises(eb.EditbenchError, match=text):
            run(tmp_path, "identity", **changed)
    with pytest.raises(eb.EditbenchError, match=r"editor\.spec: 'identity' -> 'noise'"):
        run(tmp_path, "noise")


def test_a_changed_editor_file_is_refused(tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text("def edit(source):\n    return source\n")
    run(tmp_path, f"{editor}:edit", label="mine")
    editor.write_text("def edit(source):\n    return 255 - source\n")
    with pytest.raises(eb.EditbenchError, match=r"editor\.code_sha256"):
        run(tmp_path, f"{editor}:edit", label="mine")


def test_added_metrics_score_the_edits_that_are_there(tmp_path):
    calls = []

    def editor(source):
        calls.append(1)
        return source

    run(tmp_path, editor, label="counted")
    result = run(tmp_path, editor, label="counted", metrics=(*METRICS, "mae:region=edit"))
    assert len(calls) == 4
    assert all(record.values["mae:region=edit"] == 0.0 for record in result.records().records)


def test_edit_then_score_equals_run(tmp_path):
    whole = run(tmp_path, "noise", "whole")
    config = RunConfig(SMALL, "noise", limit=4, metrics=",".join(METRICS), output_dir=str(tmp_path / "parts"))
    for _ in carry_out(make_plan(config), score=False):
        pass
    assert not (tmp_path / "parts" / "records.jsonl").exists()
    for _ in carry_out(make_plan(config), edit=False):
        pass
    assert (tmp_path / "parts" / "records.jsonl").read_bytes().splitlines() == lines(whole)


@pytest.mark.parametrize("together", [True, False])
def test_shards_in_one_directory_or_merged_equal_the_whole(tmp_path, together):
    whole = run(tmp_path, "noise", "whole", limit=5)
    for index in (3, 1, 2):
        name = "shards" if together else f"shard{index}"
        run(tmp_path, "noise", name, limit=5, shard=f"{index}/3")
    if not together:
        missing = merge_runs(tmp_path / "shards", [tmp_path / "shard1", tmp_path / "shard3"])
        assert len(missing) == 2 and not (tmp_path / "shards" / "records.jsonl").exists()
        assert merge_runs(tmp_path / "shards", [tmp_path / f"shard{index}" for index in (1, 2, 3)]) == []
    assert (tmp_path / "shards" / "records.jsonl").read_bytes().splitlines() == lines(whole)
    assert {p.name for p in (tmp_path / "shards" / "edits").iterdir()} == {
        p.name for p in (tmp_path / "whole" / "edits").iterdir()
    }


def test_merging_different_runs_is_refused(tmp_path):
    run(tmp_path, "noise", "a", shard="1/2")
    run(tmp_path, "noise", "b", shard="2/2", seed=1)
    with pytest.raises(eb.EditbenchError, match="seed: 0 -> 1"):
        merge_runs(tmp_path / "merged", [tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_shards_count_from_one(text):
    with pytest.raises(eb.EditbenchError, match="expected i/n"):
        parse_shard(text)


def test_an_unfinished_run_is_incomplete_on_the_board(tmp_path):
    run(tmp_path, "noise", "half", shard="1/2")
    whole = run(tmp_path, "identity", "whole")
    (board,) = eb.build_boards([RunStore(tmp_path / "half").records(), whole.records()])
    assert [(row.editor.label, row.complete) for row in board.rows] == [("identity", True), ("noise", False)]
    assert board.rows[1].statuses == {"not_run": 2, "ok": 2}


def test_a_damaged_edit_is_found_when_it_is_scored_again(tmp_path):
    result = run(tmp_path, "noise")
    path = next((result.path / "edits").glob("*.png"))
    PILImage.new("RGB", (64, 64)).save(path)
    plan = plan_of_run(result.path, "mae:region=edit")
    with pytest.raises(InvalidImage, match="damaged"):
        for _ in carry_out(plan, edit=False):
            pass


def test_a_missing_edit_is_made_again(tmp_path):
    result = run(tmp_path, "noise")
    before = lines(result)
    next((result.path / "edits").glob("*.png")).unlink()
    assert lines(run(tmp_path, "noise")) == before
    assert len(list((result.path / "edits").glob("*.png"))) == 4


# --------------------------------------------------------------------------------------------------- kill, resume

CHILD = """
    import os, signal, sys
    point, count = sys.argv[1], int(sys.argv[2])
    real = getattr(os, point)
    def counted(*args, **kwargs):
        global count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, point, counted)
    from editbench.cli import main
    sys.argv = ["editbench", *sys.argv[3:]]
    main()
"""


@pytest.mark.parametrize(
    ("point", "count"), [("fsync", 3), ("fsync", 8), ("fsync", 13), ("replace", 2), ("replace", 4)]
)
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, point, count):
    whole = run(tmp_path, "noise", "whole", metrics=None)
    killed = tmp_path / "killed"
    command = ["run", "--suite", SMALL, "--editor", "noise", "--limit", "4", "--output-dir", str(killed)]
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), point, str(count), *command], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    done = sum(1 for event in events(killed / "journal") if event["type"] == "edit") if killed.exists() else 0
    assert done < 4
    resumed = subprocess.run([sys.executable, "-m", "editbench", *command], capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert (killed / "records.jsonl").read_bytes().splitlines() == lines(whole)
    edits = [event for event in events(killed / "journal") if event["type"] == "edit"]
    assert len(edits) <= 5, "no more than the batch in flight is redone"


def test_a_journal_torn_in_the_middle_of_a_line_loses_that_line_only(tmp_path):
    result = run(tmp_path, "noise")
    before = lines(result)
    journal = result.path / "journal" / "1-of-1.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    (result.path / "records.jsonl").unlink()
    assert lines(run(tmp_path, "noise")) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_exits_130(tmp_path, number):
    editor = tmp_path / "slow.py"
    editor.write_text("import time\ndef edit(source):\n    time.sleep(0.3)\n    return source\n")
    command = [
        "run",
        "--suite",
        SMALL,
        "--editor",
        f"{editor}:edit",
        "--label",
        "slow",
        "--output-dir",
        tmp_path / "run",
    ]
    command = [sys.executable, "-m", "editbench", *map(str, command)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run" / "journal" / "1-of-1.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    out, error = child.communicate(timeout=60)
    assert child.returncode == 130, error
    assert "issue the same command again" in out
    assert any(event["type"] == "edit" for event in events(tmp_path / "run" / "journal"))


def test_a_worker_leaves_no_process_behind(tmp_path):
    marker = f"editbench-test-{os.getpid()}"
    editor = tmp_path / "parent.py"
    editor.write_text(
        "import subprocess, time\n"
        "def edit(source):\n"
        f"    subprocess.Popen(['sleep', '3600'], env={{'MARKER': '{marker}'}})\n"
        "    time.sleep(3600)\n"
    )
    run(tmp_path, f"{editor}:edit", label="parent", timeout=1.0, limit=1)
    alive = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes() and (process / "comm").read_text() == "sleep\n":
                alive.append(process.name)
        except OSError:
            continue
    assert alive == []


def test_a_worker_ends_with_its_parent_however_that_ended(tmp_path):
    editor = tmp_path / "endless.py"
    editor.write_text(
        "import os, tempfile, time\nfrom pathlib import Path\n"
        "def edit(source):\n"
        f"    Path({str(tmp_path / 'worker')!r}).write_text(f'{{os.getpid()}} {{tempfile.gettempdir()}}')\n"
        "    time.sleep(3600)\n"
    )
    command = ["run", "--suite", SMALL, "--limit", "1", "--editor", f"{editor}:edit", "--timeout", "3000"]
    command += ["--output-dir", str(tmp_path / "run")]
    child = subprocess.Popen([sys.executable, "-m", "editbench", *command], stdout=subprocess.DEVNULL)
    try:
        words = wait_for(lambda: (tmp_path / "worker").exists() and (tmp_path / "worker").read_text().split())
    finally:
        child.kill()
        child.wait()
    worker, folder = words
    assert wait_for(lambda: not Path("/proc", worker).exists() and not Path(folder).exists())


def test_what_an_editor_prints_is_no_part_of_the_json(tmp_path):
    editor = tmp_path / "chatty.py"
    editor.write_text("print('loading')\ndef edit(source):\n    print('editing')\n    return source\n")
    command = ["run", "--suite", SMALL, "--limit", "2", "--editor", f"{editor}:edit", "--metrics", "mae:region=all"]
    command += ["--json", "--output-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "editbench", *command], capture_output=True, text=True)
    assert done.returncode == 0 and isinstance(json.loads(done.stdout), dict)
    assert "loading" not in done.stderr and "editing" not in done.stderr
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert log.read_text().split() == ["loading", "editing", "editing"]


def test_a_run_of_finished_images_claims_no_memory(tmp_path):
    result = run(tmp_path, "target", limit=2)
    edits = [event for event in events(result.path / "journal") if event["type"] == "edit"]
    assert [event["peak_bytes"] for event in edits] == [0, 0]
    own = run(tmp_path, "identity", "own", limit=1)
    assert all(event["peak_bytes"] for event in events(own.path / "journal") if event["type"] == "edit")


def test_results_that_cannot_be_written_exit_4_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "editbench", "run", "--suite", SMALL, "--editor", "identity"]
    child = subprocess.run([*command, "--output-dir", str(tmp_path / "file" / "run")], capture_output=True, text=True)
    assert child.returncode == 4
    assert "cannot write" in child.stderr and "Traceback" not in child.stderr


@pytest.fixture(autouse=True)
def no_run_left_in_the_working_directory():
    existed = Path("runs").exists()
    yield
    if not existed and Path("runs").exists():
        shutil.rmtree("runs")
        pytest.fail("a test wrote into ./runs")
