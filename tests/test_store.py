import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
import editbench.journal
import editbench.quarantine
from editbench.compaction import compact
from editbench.config import RunConfig
from editbench.durable import StorageError, write_whole
from editbench.images import InvalidImage, pixels_sha256
from editbench.ledger import Ledger
from editbench.loops import carry_out
from editbench.merge import merge_runs
from editbench.plan import make_plan
from editbench.record_files import format_records, read_records
from editbench.records import EditorInfo, Header, InvalidRecords, MetricInfo, SuiteInfo
from editbench.store import RunStore
from editbench.types import Failed, Record

METRIC = "mae:region=keep"
HEADER = Header(
    suite=SuiteInfo("toy@1", "ab" * 32, 3, "toy@1"),
    editor=EditorInfo("mine", "mine", "none"),
    seed=0,
    repeats=1,
    align="error",
    metrics={METRIC: MetricInfo(1, "lower", "", (0.0, 1.0))},
)
START = {"type": "start", "signatures": {METRIC: HEADER.signature(METRIC)}}
SMALL = {"suite": "shapes@1:size=64", "limit": 4}


def edit(scenario_id, status="ok", **more):
    return {
        "type": "edit", "scenario_id": scenario_id, "cluster": "c", "category": "recolour", "turn": 1, "repeat": 0,
        "edit_status": status, "edit_sha256": "e" * 64 if status == "ok" else None,
        "pixels_sha256": None if status == "input_invalid" else "a" * 64, "reason": None, "flags": [], **more,
    }  # fmt: skip


def score(scenario_id, value):
    signed = editbench.journal.signed(START["signatures"])
    values = {METRIC: {"value": value}}
    return {
        "type": "score", "scenario_id": scenario_id, "repeat": 0, "of": "e" * 16, "signed": signed, "values": values,
    }  # fmt: skip


def journal(path, *batches, shard="1-of-1"):
    """Write batches of events as one session; return the journal's path."""
    store = RunStore(path)
    store.open_journal(shard)
    try:
        for batch in batches:
            store.append(batch)
    finally:
        store.close()
    return path / "journal" / f"{shard}.jsonl"


def keep(store, array):
    """Keep an edit; return the hash of its pixels."""
    store.edits.write_edit(pixels_sha256(array), array)
    return pixels_sha256(array)


def compacted(store):
    """Write the records of the cells that there are; return whether each had everything."""
    store.open_journal("1-of-1")
    try:
        cells = store.cells()
        return compact(store, HEADER, [cells[key] for key in sorted(cells)])
    finally:
        store.close()


def image(shade):
    return np.full((6, 8, 3), shade, np.uint8)


def leftovers(folder):
    return [path for path in folder.rglob("*") if "tmp" in path.name]


# ----------------------------------------------------------------------------------------------------- journal


def test_events_come_back_as_they_were_written(tmp_path):
    events = [START, edit("a", reason="line\nend\r\u2028\x85"), score("a", 0.1), edit("b", category="é")]
    journal(tmp_path, events[:1], [], events[1:])
    assert list(editbench.journal.events(tmp_path / "journal")) == events


def test_a_torn_end_is_cut_off_wherever_it_was_torn(tmp_path):
    path = journal(tmp_path, [START, edit("a")], [edit("b")])
    whole = path.read_bytes()
    before = whole.rindex(b"\n", 0, -1) + 1
    for size in range(before, len(whole)):
        path.write_bytes(whole[:size])
        assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a")]
        journal(tmp_path)  # opening it to write makes the file whole again
        assert path.read_bytes() == whole[:before]
    journal(tmp_path, [edit("c")])
    assert [event.get("scenario_id") for event in editbench.journal.events(tmp_path / "journal")] == [None, "a", "c"]


def test_a_torn_line_that_the_file_system_filled_with_zeros_is_cut_off(tmp_path):
    path = journal(tmp_path, [START, edit("a")], [edit("b")])
    whole = path.read_bytes()
    before = whole.rindex(b"\n", 0, -1) + 1
    for tail in (b"\0" * 100, b"\0" * 100 + b"\n", whole[before:-40] + b"\0" * 39 + b"\n"):
        path.write_bytes(whole[:before] + tail)
        assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a")]


def test_of_several_damaged_lines_at_the_end_all_but_the_last_are_moved_aside_as_they_are(tmp_path):
    path = journal(tmp_path, [START, edit("a")], [edit("b")], [edit("c")])
    lines = [line.replace(b'"cluster":"c"', b'"cluster":"x"') for line in path.read_bytes().splitlines(keepends=True)]
    good = path.read_bytes()[: sum(map(len, lines[:3]))]
    path.write_bytes(good + lines[3] + lines[4])
    store = RunStore(tmp_path)
    store.open_journal("1-of-1")
    store.close()
    assert "damaged line 4 moved to" in store.notices[0]
    assert (tmp_path / "quarantine" / path.name).read_bytes() == lines[3]
    assert path.read_bytes() == good


def test_any_flipped_bit_before_the_last_line_is_found_with_file_and_line(tmp_path):
    path = journal(tmp_path, [START, edit("a", seconds=0.25)], [edit("b")], [edit("c")])
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    start = len(lines[0]) + len(lines[1])
    for position in range(start, start + len(lines[2])):
        for bit in (0x01, 0x20):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
            with pytest.raises(InvalidRecords, match=r"1-of-1\.jsonl:3: damaged journal line"):
                list(editbench.journal.events(tmp_path / "journal"))


def test_a_reader_refuses_a_damaged_journal_and_says_what_mends_it(tmp_path):
    result = eb.run("identity", metrics=["success"], output_dir=str(tmp_path / "run"), **SMALL)
    path = result.path / "journal" / "1-of-1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"value":0.0', b'"value":1.0')
    path.write_bytes(b"".join(lines))
    result.path.joinpath("records.jsonl").unlink()
    with pytest.raises(eb.EditbenchError, match=r"1-of-1\.jsonl:4: damaged journal line .* issue the command"):
        result.records()
    assert path.read_bytes() == b"".join(lines)


def test_work_of_a_torn_line_is_done_again_and_no_more(tmp_path):
    made = []

    def editor(source):
        made.append(1)
        return source

    options = {"label": "counted", "metrics": ["success"], "output_dir": str(tmp_path / "run"), **SMALL}
    result = eb.run(editor, **options)
    records = (result.path / "records.jsonl").read_bytes()
    path = result.path / "journal" / "1-of-1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert [b'"type":"edit"' in line for line in lines] == [False, False, *[True, False] * 4, False]
    path.write_bytes(b"".join(lines[:-3]) + lines[-3][:-20])
    eb.run(editor, **options)
    assert len(made) == 5
    assert (result.path / "records.jsonl").read_bytes() == records


def test_a_journal_that_grows_while_it_is_read_is_not_called_damaged(tmp_path):
    path = journal(tmp_path, [START, edit("a")], [edit("b")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    found = editbench.journal.events(tmp_path / "journal")
    assert next(found) == START
    with path.open("ab") as file:  # as another process does
        file.write(whole[-20:])
    assert list(found) == [edit("a")]
    assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a"), edit("b")]


# ------------------------------------------------------------------------------------------------------- cells


def test_a_later_edit_replaces_an_earlier_one_and_its_values(tmp_path):
    journal(tmp_path, [START, edit("a"), score("a", 0.1), score("a", 0.2)])
    assert RunStore(tmp_path).cells()["a", 0].record(HEADER).values == {METRIC: 0.2}
    journal(tmp_path, [START, edit("a", "editor_error")])
    found = RunStore(tmp_path).cells()["a", 0].record(HEADER)
    assert (found.edit_status, found.values) == ("editor_error", {})


@pytest.mark.parametrize("shards", [("2-of-2", "1-of-1"), ("1-of-1", "2-of-2")])
def test_later_means_later_in_time_whatever_the_names_of_the_shards(tmp_path, shards):
    journal(tmp_path, [START, edit("a", "editor_error"), edit("b")], shard=shards[0])
    journal(tmp_path, [START, edit("a"), score("a", 0.1), score("b", 0.2)], shard=shards[1])
    cells = RunStore(tmp_path).cells()
    assert {key: (cell.edit["edit_status"], cell.record(HEADER).values) for key, cell in cells.items()} == {
        ("a", 0): ("ok", {METRIC: 0.1}),
        ("b", 0): ("ok", {METRIC: 0.2}),
    }
    journal(tmp_path, [START, score("b", 0.3)], shard=shards[0])
    assert RunStore(tmp_path).cells()["b", 0].record(HEADER).values == {METRIC: 0.3}


def test_what_was_scored_after_the_shards_were_joined_can_be_merged(tmp_path):
    for number in (1, 2):
        eb.run("identity", metrics=["success"], shard=f"{number}/2", output_dir=str(tmp_path / "run"), **SMALL)
    whole = eb.run("identity", metrics=["success", METRIC], output_dir=str(tmp_path / "run"), **SMALL)
    assert merge_runs(tmp_path / "merged", [whole.path]) == []
    assert (tmp_path / "merged" / "records.jsonl").read_bytes() == (whole.path / "records.jsonl").read_bytes()


def test_merging_again_takes_over_what_was_scored_since_and_refuses_what_was_changed(tmp_path):
    config = RunConfig(editor="noise", metrics="success", output_dir=str(tmp_path / "run"), **SMALL)
    for _ in carry_out(make_plan(config), score=False):
        pass
    edited = shutil.copytree(tmp_path / "run", tmp_path / "edited")
    assert len(merge_runs(tmp_path / "merged", [edited])) == 4
    for _ in carry_out(make_plan(config)):
        pass
    assert merge_runs(tmp_path / "merged", [edited, tmp_path / "run", edited]) == []
    records = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert (tmp_path / "merged" / "records.jsonl").read_bytes() == records
    size = (tmp_path / "merged" / "journal" / "merged.jsonl").stat().st_size
    assert merge_runs(tmp_path / "merged", [tmp_path / "run", edited]) == []
    assert (tmp_path / "merged" / "journal" / "merged.jsonl").stat().st_size == size
    store = RunStore(edited)
    cells, signatures = store.cells(), make_plan(config).signatures
    (scenario_id, repeat), cell = next(iter(cells.items()))
    start = {"type": "start", "signatures": signatures}
    journal(edited, [start, {**cell.edit, "edit_sha256": "0" * 64}], shard="2-of-2")
    for runs, output_dir in (([edited], "merged"), ([tmp_path / "run", edited], "other")):
        with pytest.raises(eb.EditbenchError, match=f"disagree about {scenario_id!r} .repeat {repeat}."):
            merge_runs(tmp_path / output_dir, runs)
    assert not (tmp_path / "other").exists()


def test_values_of_another_signature_are_not_taken_over(tmp_path):
    old = {"type": "start", "signatures": {METRIC: "0" * 12}}
    journal(tmp_path, [old, edit("a"), score("a", 0.1)])
    cell = RunStore(tmp_path).cells()["a", 0]
    assert cell.record(HEADER).values == {} and not cell.has(METRIC, HEADER.signature(METRIC))
    journal(tmp_path, [START, score("a", 0.2)])
    assert RunStore(tmp_path).cells()["a", 0].record(HEADER).values == {METRIC: 0.2}


def test_compacted_records_are_sorted_and_hash_as_those_of_the_journal(tmp_path):
    store = RunStore(tmp_path)
    store.begin(HEADER, {})
    journal(tmp_path, [START, *(event for name in "cab" for event in (edit(name), score(name, 0.5)))])
    unfinished = store.records()
    assert compacted(store)
    assert store.records() == unfinished
    assert [record.scenario_id for record in unfinished.records] == ["a", "b", "c"]


# -------------------------------------------------------------------------------------------------------- lock


def test_what_a_shard_writes_after_another_wrote_the_records_is_newer_than_they_are(tmp_path):
    first, second = RunStore(tmp_path), RunStore(tmp_path)
    first.open_journal("1-of-2")
    first.append([START, edit("a"), score("a", 0.1)])
    second.open_journal("2-of-2")
    second.append([START, edit("b"), score("b", 0.2), {"type": "records", "sha256": "c" * 64}])
    first.append([edit("a", reason="again"), score("a", 0.3)])
    first.close()
    second.close()
    ledger = Ledger()
    with contextlib.closing(ledger):
        ledger.read(editbench.journal.looks(tmp_path / "journal"), lambda key: "ab".index(key[0]))
        assert (ledger.known, ledger.records) == (2, None)


def test_records_that_another_shard_writes_while_this_one_is_opened_stay(tmp_path, monkeypatch):
    journal(tmp_path, [START, edit("a"), score("a", 0.1)])
    store, other, look = RunStore(tmp_path), RunStore(tmp_path), editbench.journal.look
    assert compacted(store)
    other.open_journal("1-of-2")
    other.append([START, edit("a", reason="again"), score("a", 0.3)])

    def long_look(path):
        found = look(path)
        if path.stem == "1-of-2":
            monkeypatch.setattr(editbench.journal, "look", look)
            compact(other, HEADER, other.cells().values())
        return found

    monkeypatch.setattr(editbench.journal, "look", long_look)
    store.open_journal("2-of-2")
    store.close()
    other.close()
    assert not store.notices and store.records().records[0].reason == "again"


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path):
    first, second, other = RunStore(tmp_path), RunStore(tmp_path), RunStore(tmp_path)
    first.open_journal("1-of-2")
    with pytest.raises(eb.EditbenchError, match=rf"is being written by process {os.getpid()} on \w+") as caught:
        second.open_journal("1-of-2")
    assert not isinstance(caught.value, StorageError)
    second.close()
    other.open_journal("2-of-2")
    first.append([START])
    first.close()
    second.open_journal("1-of-2")
    second.append([edit("a")])
    for store in (second, other):
        store.close()
    assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a")]


def test_a_writer_in_another_process_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    code = (
        "import sys; from pathlib import Path; from editbench.store import RunStore\n"
        "store = RunStore(Path(sys.argv[1])); store.open_journal('1-of-1'); print('open', flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(eb.EditbenchError, match=f"is being written by process {child.pid} on "):
            journal(tmp_path, [START])
        child.kill()
    journal(tmp_path, [START])
    assert list(editbench.journal.events(tmp_path / "journal")) == [START]


# ---------------------------------------------------------------------------------------------- write failures


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_whole(path, [b"old"])
    seen = []
    replace = os.replace

    def watched(source, target):
        seen.append((Path(source).read_bytes(), path.read_bytes(), Path(source).parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_whole(path, (chunk for chunk in (b"n", b"e", b"w")))
    assert seen == [(b"new", b"old", True)]
    assert path.read_bytes() == b"new" and leftovers(tmp_path) == []


def test_a_file_is_on_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    write_whole(tmp_path / "file", [b"x"])
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name):
    path = tmp_path / "file"
    write_whole(path, [b"old"])
    monkeypatch.setattr(os, name, full)
    with pytest.raises(StorageError, match=r"^cannot write .*/file: No space left on device$"):
        write_whole(path, [b"new"])
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_contents_that_cannot_be_made_leave_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "records.jsonl"
    write_whole(path, [b"old"])
    bad = Record("a", "c", "recolour", 0, "ok", None, None, values={METRIC: float("nan")})
    with pytest.raises(ValueError):
        write_whole(path, format_records(HEADER, [bad]))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("write", ["begin", "write_edit", "compact"])
def test_whatever_a_store_writes_fails_with_one_message(tmp_path, monkeypatch, name, write):
    store = RunStore(tmp_path / "run")
    monkeypatch.setattr(os, name, full)
    with pytest.raises(StorageError, match="No space left on device"):
        match write:
            case "begin":
                store.begin(HEADER, {})
            case "write_edit":
                keep(store, image(1))
            case "compact":
                store.path.mkdir()
                monkeypatch.setattr(store, "append", lambda events: None)
                compact(store, HEADER, [])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_journal_that_cannot_be_synced_is_an_error_and_keeps_what_it_had(tmp_path, monkeypatch):
    journal(tmp_path, [START, edit("a")])
    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageError, match=r"cannot append to .*1-of-1\.jsonl: No space"),
    ):
        patch.setattr(os, "fsync", full)
        journal(tmp_path, [edit("b")])
    assert list(editbench.journal.events(tmp_path / "journal"))[:2] == [START, edit("a")]


def test_a_journal_that_hits_the_end_of_the_disk_keeps_what_it_had_and_goes_on_later(tmp_path):
    path = journal(tmp_path, [START, edit("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot append to .*1-of-1\.jsonl: File too large"):
            journal(tmp_path, [edit("b"), edit("c")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a")]
    journal(tmp_path, [edit("d")])
    assert list(editbench.journal.events(tmp_path / "journal")) == [START, edit("a"), edit("d")]


def test_a_journal_that_cannot_be_opened_is_not_kept_locked(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"cannot write .*journal: No space"):
        patch.setattr(Path, "write_text", full)
        store.open_journal("1-of-1")
    journal(tmp_path, [START])
    assert list(editbench.journal.events(tmp_path / "journal")) == [START]


# ------------------------------------------------------------------------------------------------------- edits


def test_equal_images_share_a_file_and_others_do_not(tmp_path):
    store = RunStore(tmp_path)
    hashes = [keep(store, array) for array in (image(1), image(1).copy(), image(2), image(1).reshape(8, 6, 3))]
    assert hashes[0] == hashes[1] == pixels_sha256(image(1)) and len(set(hashes)) == 3
    assert {path.name for path in (tmp_path / "edits").iterdir()} == {f"{sha256}.png" for sha256 in hashes}
    assert (store.edits.read_edit(hashes[2]) == image(2)).all()
    assert store.edits.read_edit(hashes[3]).shape == (8, 6, 3)


def test_an_edit_that_is_kept_is_not_written_again(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    sha256 = keep(store, image(1))
    monkeypatch.setattr(os, "replace", full)
    assert keep(store, image(1)) == sha256


def test_an_edit_that_another_version_has_packed_otherwise_is_not_called_damaged(tmp_path):
    store = RunStore(tmp_path)
    sha256 = keep(store, image(1))
    path = store.edits.path_of(sha256)
    PILImage.fromarray(image(1)).save(path, compress_level=9)
    theirs = path.read_bytes()
    keep(store, image(1))
    assert path.read_bytes() == theirs and not store.notices
    PILImage.fromarray(image(2)).save(path)
    keep(store, image(1))
    assert (store.edits.read_edit(sha256) == image(1)).all() and "is damaged" in store.notices[0]


def test_a_damaged_edit_that_another_shard_moves_aside_at_the_same_moment_is_made_again(tmp_path, monkeypatch):
    store, sha256 = RunStore(tmp_path), pixels_sha256(image(1))
    store.edits.write_edit(sha256, image(1))
    path = store.edits.path_of(sha256)
    path.write_bytes(path.read_bytes()[:-5])
    free = editbench.quarantine._free

    def while_another_moves_it(folder, name):
        if path.exists():
            path.rename(tmp_path / "moved")
        return free(folder, name)

    monkeypatch.setattr("editbench.quarantine._free", while_another_moves_it)
    assert store.edits.find_edit(sha256) is None
    assert store.notices == [], "it is told by the shard that moved it"
    store.edits.write_edit(sha256, image(1))
    assert (store.edits.read_edit(sha256) == image(1)).all()


def test_a_damaged_missing_or_exchanged_edit_is_found_when_it_is_read(tmp_path):
    store = RunStore(tmp_path)
    generator = np.random.default_rng(0)
    sha256 = keep(store, generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    path = store.edits.path_of(sha256)
    whole = path.read_bytes()
    pixels = store.edits.read_edit(sha256)
    for position in range(0, len(whole), 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            found = store.edits.read_edit(sha256)
        except InvalidImage:
            continue
        assert (found == pixels).all(), "a damage that is not found must not have touched a pixel"
    for size in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidImage):
            store.edits.read_edit(sha256)
    path.write_bytes(store.edits.path_of(keep(store, image(3))).read_bytes())
    with pytest.raises(InvalidImage, match=f"edit {sha256[:12]} is damaged: its pixels have another hash"):
        store.edits.read_edit(sha256)
    path.unlink()
    with pytest.raises(InvalidImage, match=f"edit {sha256[:12]} is missing"):
        store.edits.read_edit(sha256)


# ---------------------------------------------------------------------------------------------------- run.json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"run\.json: malformed JSON"),
        ("[]", r"run\.json: malformed JSON \(not an object\)"),
        ('{"header": {}, "header": {}}', "duplicate key 'header'"),
        ("{}", r"run\.json: no editbench header"),
        ('{"header": {"schema": 99}}', r"run\.json: schema 99 is newer"),
    ],
)
def test_a_run_that_cannot_be_trusted_is_named_with_its_file(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InvalidRecords, match=message):
        RunStore(tmp_path).read_header()
    with pytest.raises(InvalidRecords, match=r"no run in .*gone"):
        RunStore(tmp_path / "gone").records()


def test_records_that_were_tampered_with_are_not_replaced_by_the_journal(tmp_path):
    store = RunStore(tmp_path)
    store.begin(HEADER, {})
    journal(tmp_path, [START, edit("a"), score("a", 0.5)])
    assert compacted(store)
    store.records_path.write_bytes(store.records_path.read_bytes()[:-3])
    with pytest.raises(InvalidRecords, match="cut off"):
        store.records()


def test_a_value_that_failed_comes_back_from_the_journal(tmp_path):
    failed = {**score("a", 0.0), "of": "editor_oom", "values": {METRIC: {"error": "no edit"}}}
    journal(tmp_path, [START, edit("a", "editor_oom"), failed])
    store = RunStore(tmp_path)
    assert compacted(store)
    (found,) = read_records(store.records_path).records
    assert (found.edit_status, found.values) == ("editor_oom", {METRIC: Failed("no edit")})
