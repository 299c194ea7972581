"""Whatever operation on the disk fails, a run completes, or exits 4 with all that was finished; then it goes on."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from runpy import run_path

import pytest

from editbench.journal import events
from editbench.store import RunStore

Forks = run_path(str(Path(__file__).with_name("forks.py")))["Forks"]

SUITE = "shapes@1:size=64"
RUN = ["editbench", "run", "--suite", SUITE, "--limit", "4", "--batch-size", "2", "--editor", "noise"]
METRICS = ["--metrics", "mae:region=keep"]
RUN += [*METRICS, "--output-dir", "run"]
ERRORS = ("ENOSPC", "EIO", "EACCES")
KINDS = ("open", "read", "write", "fsync", "rename", "mkdir")


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    forks = Forks()
    forks.warm_up(tmp_path_factory.mktemp("warm"), RUN)
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def records(forks, tmp_path_factory):
    """What a run without faults gives."""
    folder = tmp_path_factory.mktemp("whole")
    assert forks.run(folder, RUN).code == 0
    return (folder / "run" / "records.jsonl").read_bytes()


def safe(folder):
    """The edits that are finished, each of them intact."""
    if not (folder / "run" / "run.json").exists():
        return set()
    store = RunStore(folder / "run")
    cells = store.cells() if (folder / "run" / "journal").exists() else {}
    for cell in cells.values():
        store.edits.read_edit(cell.edit["edit_sha256"])
    return set(cells)


def check_failure(folder, ended):
    """Exit 4, one line, which says how much is safe, and is right."""
    assert ended.code == 4, (ended.code, ended.err)
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("editbench: ") and "Traceback" not in ended.err and "run" in last
    kept = safe(folder)
    said = re.search(r"(\d+) of 4 edits are safe in ", last)
    # lines that a failed fsync has left may be there although nobody was promised them
    assert (int(said[1]) if said else 0) <= len(kept), last
    assert said is not None or not kept or "cannot read" in last, last
    return kept


def go_on(forks, folder, kept, records):
    """Without faults, the same command makes what is missing, and only that."""
    again = forks.run(folder, RUN)
    assert again.code == 0, again.err
    edited = [event["scenario_id"] for event in events(folder / "run" / "journal") if event["type"] == "edit"]
    assert set(Counter(edited).values()) == {1}, "what was safe is not made again"
    assert len(edited) == 4 and {name for name, _ in kept} <= set(edited)
    assert (folder / "run" / "records.jsonl").read_bytes() == records
    assert not [path for path in folder.rglob("*.tmp")]
    assert not (folder / "run" / "quarantine").exists(), "nothing that was finished is given up"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_the_nth_failure_of_an_operation_ends_in_exit_4_with_everything_finished_intact(
    forks, records, tmp_path, long, figure, kind
):
    tried = 0
    for code in ERRORS if long else ("EIO",):
        for number in range(1, 1000) if long else (3, 9):
            folder = tmp_path / "place"
            folder.mkdir()
            ended = forks.run(folder, RUN, kinds=[kind], number=number, action=code)
            if len(ended.seen) < number:
                shutil.rmtree(folder)
                break
            if ended.code == 0:  # an operation that does not matter, such as telling others who we are
                assert (folder / "run" / "records.jsonl").read_bytes() == records
                kept = safe(folder)
            else:
                kept = check_failure(folder, ended)
            go_on(forks, folder, kept, records)
            shutil.rmtree(folder)
            tried += 1
    figure(f"failure: the n-th {kind} of a run raises {', '.join(ERRORS)}", tried, tried)


@pytest.mark.parametrize("size", [1_500, 3_000, 11_250])
def test_a_limit_of_file_size_is_told_with_what_is_safe_and_the_run_goes_on_later(forks, records, tmp_path, size):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    done = process(tmp_path, preexec_fn=limited)
    assert done.returncode == 4 and "File too large" in done.stderr, done.stderr
    go_on(forks, tmp_path, safe(tmp_path), records)


def process(folder, argv=RUN, **options):
    command = [sys.executable, "-m", "editbench", *argv[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of its own, of 128 kB."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "editbench-test", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_exits_4_with_what_is_safe_and_the_run_goes_on_with_room(
    forks, records, tmp_path, small_disk
):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 72_000)
    done = process(small_disk)
    assert done.returncode == 4 and os.strerror(errno.ENOSPC) in done.stderr, done.stderr
    kept = safe(small_disk)
    assert 0 < len(kept) < 4
    assert f"{len(kept)} of 4 edits are safe in " in done.stderr
    ballast.unlink()
    go_on(forks, small_disk, kept, records)


def test_a_run_that_does_not_fit_on_the_disk_is_refused_before_its_first_edit_with_both_numbers(small_disk):
    big = ["editbench", "run", "--suite", SUITE, "--editor", "noise", "--output-dir", "run", *METRICS]
    for argv in (big, [*big, "--dry-run"]):
        done = process(small_disk, argv)
        assert done.returncode == 4, done.stderr
        assert re.search(r"about [\d.]+ MB are needed and 0\.1 MB are free", done.stderr)
        assert not (small_disk / "run" / "edits").exists()


def test_a_full_disk_is_found_by_a_probe_before_an_editor_is_loaded(tmp_path, small_disk):
    (small_disk / "ballast").write_bytes(b"x" * 128 * 1024)
    (tmp_path / "slow.py").write_text("open('imported', 'w').close()\ndef edit(source):\n    return source\n")
    argv = ["editbench", "run", "--suite", SUITE, "--editor", "slow.py:edit", "--output-dir", str(small_disk / "run")]
    done = process(tmp_path, argv)
    assert done.returncode == 4 and str(small_disk / "run") in done.stderr, done.stderr
    assert not (tmp_path / "imported").exists()


def test_an_output_folder_that_may_not_be_written_is_named_before_an_editor_is_loaded(tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    (tmp_path / "slow.py").write_text("open('imported', 'w').close()\ndef edit(source):\n    return source\n")
    argv = ["editbench", "run", "--suite", SUITE, "--editor", "slow.py:edit", "--output-dir", str(small_disk / "run")]
    for more in ([], ["--dry-run"]):
        done = process(tmp_path, [*argv, *more])
        assert done.returncode == 4, done.stderr
        assert f"cannot write {small_disk / 'run'}: Read-only file system" in done.stderr
    assert not (tmp_path / "imported").exists()
