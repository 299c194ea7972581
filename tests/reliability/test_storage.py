"""Storage and processes: one test a row of what a run must survive beside kills and failing disks."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench import journal
from editbench.store import RunStore
from editbench.types import EditbenchError

SUITE = "shapes@1:size=64"
MAE = "mae:region=keep"
EDITOR = """
from pathlib import Path

def edit(source):
    with Path("calls").open("a") as calls:
        calls.write("x")
    return 255 - source
"""


def command(folder, *argv, verb="run", **options):
    """Run the program in a folder, as people do."""
    words = [sys.executable, "-m", "editbench", verb, *argv]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, **options)


RUN = ["--suite", SUITE, "--limit", "3", "--editor", "noise", "--metrics", MAE, "--output-dir", "run"]


def run(folder, editor="calls.py:edit", **options):
    """Run in this process, where nothing has to be imported; return the run and what it said of damage."""
    options = {"limit": 3, "metrics": [MAE], "isolate": False, "label": "calls", **options}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = eb.run(editor, SUITE, output_dir=str(folder / "run"), **options)
    return made, [str(warning.message) for warning in said if warning.category is UserWarning]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an editor that counts its calls."""
    (tmp_path / "calls.py").write_text(EDITOR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calls(folder):
    return len((folder / "calls").read_text())


def records(folder):
    return (folder / "run" / "records.jsonl").read_bytes()


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x04
    path.write_bytes(data)


# ------------------------------------------------------------------------------------------------------- bit rot


def test_bit_rot_in_any_journal_line_is_quarantined_and_only_its_work_is_done_again(place, figure):
    run(place)
    expected, path = records(place), place / "run" / "journal" / "1-of-1.jsonl"
    whole, template = path.read_bytes(), place / "template"
    shutil.copytree(place / "run", template)
    lines = whole.splitlines(keepends=True)
    kinds = [json.loads(line)["event"]["type"] for line in lines]
    assert sorted(set(kinds)) == ["edit", "open", "records", "score", "start"]
    for number, kind in enumerate(kinds[:-1]):
        shutil.rmtree(place / "run")
        shutil.copytree(template, place / "run")
        flip(path, len(b"".join(lines[:number])) + len(lines[number]) // 2)
        before = calls(place)
        _, said = run(place)
        assert records(place) == expected, kind
        assert calls(place) - before == (kind == "edit"), kind
        (kept,) = (place / "run" / "quarantine").iterdir()
        assert kept.read_bytes() != lines[number] and len(kept.read_bytes()) == len(lines[number])
        assert said == [f"{path}: damaged line {number + 1} moved to {kept}; what they held is done again"], said
        again, said = run(place)
        assert said == [] and again.records().sha256
    figure("bit rot: a damaged line in a journal", len(kinds) - 1, len(kinds) - 1)


def test_a_torn_last_line_of_any_length_is_cut_off_and_its_work_done_again(place, long, figure):
    run(place)
    expected, path = records(place), place / "run" / "journal" / "1-of-1.jsonl"
    whole, tried = path.read_bytes(), 0
    for size in range(1, len(whole), 29 if long else 400):
        path.write_bytes(whole[:size])
        (place / "run" / "records.jsonl").unlink()
        run(place)
        assert records(place) == expected
        tried += 1
    figure("torn: a journal cut off anywhere", tried, tried)


def test_bit_rot_in_an_edit_is_quarantined_and_the_edit_is_made_again(place, figure, long):
    run(place)
    expected = records(place)
    path = sorted((place / "run" / "edits").iterdir())[0]
    whole, tried = path.read_bytes(), 0
    places = range(0, len(whole), max(1, len(whole) // (300 if long else 12)))
    for position in places:
        flip(path, position)
        before = calls(place)
        _, said = run(place)
        (kept,) = (place / "run" / "quarantine").iterdir()
        assert said == [f"{path} is damaged: moved to {kept}, and made again"], position
        assert path.read_bytes() == whole and kept.read_bytes() != whole
        assert calls(place) == before + 1 and records(place) == expected
        shutil.rmtree(place / "run" / "quarantine")
        tried += 1
    figure("bit rot: a byte of an edit", tried, tried)


def test_an_edit_that_was_exchanged_for_a_whole_image_is_found_when_it_is_to_be_scored(place):
    run(place)
    path = sorted((place / "run" / "edits").iterdir())[0]
    PILImage.new("RGB", (64, 64)).save(path)
    made, said = run(place, metrics=[MAE, "mse:region=keep"])
    assert len(said) == 1 and "moved to" in said[0]
    assert all(isinstance(record.values["mse:region=keep"], float) for record in made.records().records)


def test_bit_rot_or_an_edited_score_in_the_records_is_quarantined_and_written_again(place):
    made, _ = run(place)
    expected, path = records(place), place / "run" / "records.jsonl"
    for spoiled in (expected[:-9], re.sub(rb'"value":0\.\d+', b'"value":0.001', expected, count=1)):
        path.write_bytes(spoiled)
        with pytest.raises(EditbenchError, match=r"records\.jsonl"):
            made.records()
        before = calls(place)
        _, said = run(place)
        (kept,) = (place / "run" / "quarantine").iterdir()
        assert said == [f"{path} is not what was written: moved to {kept}, and written again"]
        assert kept.read_bytes() == spoiled and records(place) == expected and calls(place) == before
        shutil.rmtree(place / "run" / "quarantine")


def test_what_was_moved_aside_is_said_on_stderr(tmp_path):
    assert command(tmp_path, *RUN).returncode == 0
    path = tmp_path / "run" / "journal" / "1-of-1.jsonl"
    flip(path, path.stat().st_size // 2)
    done = command(tmp_path, *RUN)
    assert done.returncode == 0 and "warning: " in done.stderr and "quarantine/1-of-1.jsonl" in done.stderr


def test_bit_rot_in_a_leaderboard_csv_is_found_and_written_again(tmp_path):
    options = ["--suite", f"{SUITE},categories=background", "--editor", "identity", "--metrics", MAE]
    assert command(tmp_path, *options, "--output-dir", "made").returncode == 0
    folder = tmp_path / "boards" / "records" / f"{SUITE},categories=background"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "made" / "records.jsonl", folder / "identity.jsonl")
    assert command(tmp_path, "boards", verb="board").returncode == 0
    (csv,) = (tmp_path / "boards").glob("*.csv")
    whole = csv.read_bytes()
    flip(csv, len(whole) // 2)
    found = command(tmp_path, "boards", "--check", verb="board")
    assert found.returncode == 5 and csv.name in found.stderr
    assert command(tmp_path, "boards", verb="board").returncode == 0 and csv.read_bytes() == whole


# ----------------------------------------------------------------------------------------------------- processes


def test_a_second_process_is_refused_with_the_owner_and_since_when(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n\ndef edit(source):\n    Path('begun').touch()\n    time.sleep(60)\n"
    )
    argv = ["--suite", SUITE, "--limit", "2", "--editor", "slow.py:edit", "--metrics", MAE, "--output-dir", "run"]
    first = subprocess.Popen(
        [sys.executable, "-m", "editbench", "run", *argv, "--no-isolate"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = command(tmp_path, *argv, "--no-isolate")
        owner = rf"process {first.pid} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\dT[\d:]+\+00:00"
        assert second.returncode == 2 and re.search(rf"is being written by {owner}", second.stderr), second.stderr
    finally:
        first.kill()
        first.wait()


def test_shards_of_one_run_may_be_written_at_the_same_time(tmp_path):
    whole = [word if word != "run" else "whole" for word in RUN]
    assert command(tmp_path, *whole).returncode == 0
    words = [sys.executable, "-m", "editbench", "run", *RUN]
    both = [
        subprocess.Popen([*words, "--shard", f"{n}/2"], cwd=tmp_path, stdout=-3, stderr=subprocess.PIPE) for n in (1, 2)
    ]
    for child in both:
        _, error = child.communicate(timeout=120)
        assert child.returncode == 0, error.decode()
    done = command(tmp_path, *RUN)  # whoever was last has written the records; a third time, nothing is left to do
    assert done.returncode == 0 and records(tmp_path) == (tmp_path / "whole" / "records.jsonl").read_bytes()


def test_a_stale_lock_of_a_dead_process_is_taken_over(place):
    run(place)
    owner = place / "run" / "journal" / "1-of-1.owner"
    assert not owner.exists(), "a process that ends takes its name away"
    owner.write_text(f"process 1 on {socket.gethostname()} since 2020-01-01T00:00:00+00:00\n")
    assert run(place)[1] == []


def test_a_lock_that_another_machine_has_left_is_taken_over_and_told(place):
    run(place)
    owner = place / "run" / "journal" / "1-of-1.owner"
    owner.write_text("process 7 on elsewhere since 2020-01-01T00:00:00+00:00\n")
    _, (said,) = run(place)
    assert "last written by process 7 on elsewhere since 2020-01-01T00:00:00+00:00, which has not closed it" in said


@pytest.mark.parametrize("clock", ["time", "monotonic"])
def test_a_clock_that_goes_backwards_changes_no_record(place, monkeypatch, clock):
    run(place)
    expected = records(place)
    shutil.rmtree(place / "run")
    real, ticks = getattr(time, clock), iter(range(10**9))
    monkeypatch.setattr(time, clock, lambda: real() - 3600 * next(ticks))
    made, said = run(place)
    assert records(place) == expected and said == []
    assert run(place)[0].records() == made.records()


def test_leftovers_of_a_killed_process_are_swept_and_those_of_a_live_one_stay(place):
    import fcntl

    run(place)
    dead, alive = (place / "run" / "edits" / f".{name}.png.{pid}.tmp" for name, pid in (("a", 1), ("b", 2)))
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run(place)
        assert not dead.exists() and alive.exists()
    run(place)
    assert not alive.exists()


# ------------------------------------------------------------------------------------------------------- places


def write_suite(folder, names="abc", shade=100, instruction="Go."):
    folder.mkdir(exist_ok=True)
    grain = np.random.default_rng(0).integers(0, shade, (32, 32, 3), np.uint8)
    for name in names:
        PILImage.fromarray(grain).save(folder / f"{name}.png")
    lines = [{"id": name, "source": f"{name}.png", "instruction": instruction} for name in names]
    (folder / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_read_only_suite_folder_works(tmp_path):
    suite = tmp_path / "suite"
    write_suite(suite)
    mounted = False
    if os.geteuid() == 0:  # whom no permission stops
        bind = subprocess.run(["mount", "--bind", suite, suite], capture_output=True, check=False)
        if bind.returncode:
            pytest.skip("neither permissions nor a mount can make a folder read-only for root here")
        mounted = True
        subprocess.run(["mount", "-o", "remount,bind,ro", suite], check=True)
    suite_mode = suite.stat().st_mode
    try:
        if not mounted:
            suite.chmod(0o555)
        with pytest.raises(OSError):
            (suite / "x").touch()
        argv = ["--suite", "folder:suite", "--editor", "identity", "--metrics", MAE, "--output-dir", "run"]
        done = command(tmp_path, *argv)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in suite.iterdir()) == ["a.png", "b.png", "c.png", "scenarios.jsonl"]
    finally:
        if mounted:
            subprocess.run(["umount", suite], check=True)
        else:
            suite.chmod(suite_mode)


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_run_needs_no_home(tmp_path, home):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    if home is not None:
        environment["HOME"] = home
    done = command(tmp_path, *RUN, env=environment)
    assert done.returncode == 0, done.stderr


NO_TEMPORARY_FOLDER = """
import runpy, tempfile
tempfile._candidate_tempdir_list = lambda: ["/nonexistent"]
runpy.run_module("editbench", run_name="__main__", alter_sys=True)
"""


def test_a_run_needs_no_temporary_folder_and_a_worker_process_says_that_it_does(tmp_path):
    (tmp_path / "raises.py").write_text("def edit(source):\n    raise ValueError('no')\n")
    argv = ["run", "--suite", SUITE, "--limit", "2", "--editor", "raises.py:edit", "--metrics", MAE]
    words = [sys.executable, "-c", NO_TEMPORARY_FOLDER, *argv]
    done = subprocess.run(
        [*words, "--output-dir", "run", "--no-isolate"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and b'"reason":"ValueError: no"' in records(tmp_path), done.stderr
    done = subprocess.run([*words, "--output-dir", "other"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "set TMPDIR to a folder that has some" in done.stderr, done.stderr
    assert not (tmp_path / "other").exists()


# ------------------------------------------------------------------------------------------------- what has changed


FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("schema", sorted(path.name for path in FIXTURES.glob("schema_*")))
def test_files_of_every_schema_so_far_are_read_and_gone_on_with(tmp_path, monkeypatch, schema):
    folder = shutil.copytree(FIXTURES / schema, tmp_path / schema)
    monkeypatch.chdir(folder)
    facts = json.loads((folder / "facts.json").read_text())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    store = RunStore(folder / "run")
    made = store.records()
    found = {record.scenario_id: [record.edit_status, record.values[MAE]] for record in made.records}
    found = {name: [status, value if isinstance(value, float) else None] for name, (status, value) in found.items()}
    assert found == facts
    (board,) = eb.build_boards([made])
    assert board.rows[0].statuses == {"editor_error": 1, "ok": 2}
    assert {path: path.read_bytes() for path in before} == before, "reading leaves files as they are"
    run(folder, "editor.py:edit", label="fixture", metrics=[MAE, "success"])
    again = [event["type"] for event in journal.events(folder / "run" / "journal")]
    assert again.count("edit") == 3 and store.records().records == made.records


@pytest.mark.parametrize("name", ["run.json", "records.jsonl"])
def test_a_newer_schema_is_refused_with_what_to_do(place, name):
    made, _ = run(place)
    path = place / "run" / name
    path.write_text(path.read_text().replace('"schema":1', '"schema":2'))
    for act in (made.records, lambda: RunStore(made.path).read_header()) if name == "run.json" else (made.records,):
        if name == "run.json" and act == made.records:
            continue  # the records stand for themselves
        with pytest.raises(EditbenchError, match="schema 2 is newer than 1: upgrade editbench to read it"):
            act()


def test_a_library_upgrade_between_run_and_resume_scores_again_and_never_mixes(place, monkeypatch):
    from editbench.metrics.pixel import Mae

    run(place)
    before = json.loads(records(place).splitlines()[0])["metrics"][MAE]
    monkeypatch.setattr(Mae, "version", Mae.version + 1)
    monkeypatch.setattr(Mae, "score", lambda self, samples: [0.25 for _ in samples])
    count = calls(place)
    made, _ = run(place)
    assert [record.values[MAE] for record in made.records().records] == [0.25] * 3
    assert made.records().header.metrics[MAE].version == before["version"] + 1
    assert calls(place) == count


def test_a_library_upgrade_between_edits_is_told_and_kept_in_the_journal(place, monkeypatch):
    from editbench import provenance

    run(place, shard="1/2")
    real = provenance.package_version
    monkeypatch.setattr(provenance, "package_version", lambda name: "99" if name == "torch" else real(name))
    _, said = run(place)
    assert len(said) == 1 and re.search(r"made with other code: torch \S+ -> 99", said[0])
    starts = [event for event in journal.events(place / "run" / "journal") if event["type"] == "start"]
    assert [event["made_with"]["packages"]["torch"] == "99" for event in starts] == [False, True]


def test_a_suite_edited_in_between_is_refused_with_the_ids_that_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path / "suite", "abcd")
    options = {"suite": "folder:suite", "metrics": [MAE], "output_dir": str(tmp_path / "run")}
    eb.run("identity", **options)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    write_suite(tmp_path / "suite", "bcde")
    (tmp_path / "suite" / "a.png").unlink()
    PILImage.new("RGB", (32, 32)).save(tmp_path / "suite" / "c.png")
    lines = (tmp_path / "suite" / "scenarios.jsonl").read_text().replace('"d.png", "instruction": "Go."', "X")
    lines = lines.replace("X", '"d.png", "instruction": "Stop."')
    (tmp_path / "suite" / "scenarios.jsonl").write_text(lines)
    said = r"is not what it was when .*:\n  added: e\n  removed: a\n  changed: c, d\n"
    with pytest.raises(EditbenchError, match=said):
        eb.run("identity", **options)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


# --------------------------------------------------------------------------------------------------------- merge


def shards(folder, count=2, **options):
    for index in range(1, count + 1):
        part = {"shard": f"{index}/{count}", "output_dir": str(folder / f"s{index}")}
        eb.run("noise", SUITE, [MAE], limit=4, **part, **options)


def test_a_missing_shard_is_named_by_its_ids_and_exits_3(tmp_path):
    shards(tmp_path)
    done = command(tmp_path, "merged", "s1", verb="merge")
    ids = sorted({record.scenario_id for record in eb.Run(tmp_path / "s2").records().records})
    assert done.returncode == 3 and "2 scenarios are missing" in done.stderr
    assert all(name in done.stderr for name in ids) and not (tmp_path / "merged" / "records.jsonl").exists()
    done = command(tmp_path, "merged", "s2", verb="merge")
    assert done.returncode == 0, done.stderr


def test_a_shard_that_is_there_twice_is_fine_where_it_is_the_same_and_refused_where_not(tmp_path):
    shards(tmp_path)
    shutil.copytree(tmp_path / "s1", tmp_path / "again")
    assert command(tmp_path, "merged", "s1", "again", "s2", verb="merge").returncode == 0
    store = RunStore(tmp_path / "again")
    (scenario_id, _), cell = next(iter(store.cells().items()))
    store.open_journal("1-of-2")
    store.append([{**cell.edit, "edit_status": "editor_error", "edit_sha256": None, "reason": "other"}])
    store.close()
    done = command(tmp_path, "other", "s1", "again", "s2", verb="merge")
    assert done.returncode == 2 and f"disagree about '{scenario_id}'" in done.stderr
    assert not (tmp_path / "other" / "records.jsonl").exists()


def test_a_shard_of_another_configuration_is_refused_with_the_difference(tmp_path):
    shards(tmp_path)
    eb.run("noise", SUITE, [MAE], limit=4, shard="2/2", seed=5, output_dir=str(tmp_path / "seed"))
    done = command(tmp_path, "merged", "s1", "seed", verb="merge")
    assert done.returncode == 2 and "are different runs:\n  seed: 0 -> 5" in done.stderr
    assert not (tmp_path / "merged").exists()
