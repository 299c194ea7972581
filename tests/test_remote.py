"""Runs below `s3://` and `gs://`, on servers of this machine that can be made to fail."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from http import HTTPStatus
from pathlib import Path

import pytest

import editbench as eb
from editbench import heartbeats, mirrors
from editbench.cli import app
from editbench.durable import StorageError
from editbench.heartbeats import Heartbeat
from editbench.mirrors import Mirror
from editbench.names import address_of
from editbench.objects import Objects
from editbench.record_files import read_records
from editbench.store import RunStore
from editbench.types import EditbenchError

SERVER = Path(__file__).with_name("object_server.py")
METRIC = "mae:region=keep"
SMALL = {"suite": "shapes@1:size=64", "limit": 4, "metrics": [METRIC]}
FLAGS = ["--suite", SMALL["suite"], "--limit", "4", "--metrics", METRIC]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "mine",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "3",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def server():
    """A local S3; asked for things with `server("kill", pid=…)`."""
    from s3fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        process = subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True)
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)

        def ask(what, **options):
            query = "&".join(f"{name}={value}" for name, value in options.items())
            with urllib.request.urlopen(f"{address}/-/{what}?{query}") as answer:
                return json.loads(answer.read() or "null")

        Objects("s3://bucket")._files.mkdir("bucket")
        yield ask
        S3FileSystem.clear_instance_cache()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def place(server):
    """The address of a run that is not there yet."""
    yield f"s3://bucket/{uuid.uuid4().hex}"
    forget()
    server("fail", how="503", puts=0, count=0)


@pytest.fixture
def client(server):
    """A client of its own, that reads the environment again."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def impatient(monkeypatch, client):
    """A client that asks once."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def forget():
    """Know nothing of any store, as a process on another machine."""
    mirrors._mirrors.clear()
    mirrors._room.cache_clear()


def started(address, *flags, editor="recolor"):
    command = [sys.executable, "-m", "editbench", "run", *FLAGS, "--editor", editor, "--output-dir", address, *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    out, err = process.communicate()
    return process.returncode, out + err


def cli(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        app(list(arguments))
    captured = capsys.readouterr()
    return end.value.code, captured.out + captured.err


def events(text):
    """The events of a journal, without what varies from run to run."""
    varies = {"seconds", "peak_bytes", "made_with"}
    found = [json.loads(line)["event"] for line in text.splitlines()]
    return [{name: value for name, value in event.items() if name not in varies} for event in found]


def journal_of(address, shard="1-of-1"):
    forget()
    return (Mirror(address).folder / "journal" / f"{shard}.jsonl").read_text()


def edited(address, shard="1-of-1"):
    return [event["scenario_id"] for event in events(journal_of(address, shard)) if event["type"] == "edit"]


def copied(address, folder):
    """Copy everything, as any tool does."""
    objects = Objects(address)
    for name in objects.names():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(objects.get(name))
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same run in a folder."""
    return eb.run("recolor", output_dir=str(tmp_path_factory.mktemp("here") / "run"), **SMALL).path


# ---------------------------------------------------------------------------------------------------------- the run


def test_a_run_in_a_store_is_the_run_that_a_folder_has(place, here, tmp_path):
    eb.run("recolor", output_dir=place, **SMALL)
    copy = copied(place, tmp_path / "copy")
    names = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == names - {
        "journal/1-of-1.lock"
    }
    for name in names - {"run.json", "journal/1-of-1.lock", "journal/1-of-1.jsonl"}:
        assert (copy / name).read_bytes() == (here / name).read_bytes(), name
    assert events((copy / "journal/1-of-1.jsonl").read_text()) == events((here / "journal/1-of-1.jsonl").read_text())
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (copy, here))
    assert one["config"].pop("output_dir") == place
    other["config"].pop("output_dir")
    assert one["config"] == other["config"] and one["header"] == other["header"]


def test_a_copy_of_a_finished_run_goes_on_as_any_run_directory(place, tmp_path, monkeypatch):
    eb.run("recolor", output_dir=place, **SMALL)
    copy = copied(place, tmp_path / "copy")
    monkeypatch.setattr(mirrors, "Objects", None)
    before = (copy / "records.jsonl").read_bytes()
    eb.run("recolor", output_dir=str(copy), **SMALL)
    assert (copy / "records.jsonl").read_bytes() == before


def test_it_is_resumed_and_scored_elsewhere_without_an_edit(place):
    eb.run("recolor", output_dir=place, **SMALL)
    forget()
    run = eb.run("recolor", output_dir=place, **{**SMALL, "metrics": [METRIC, "psnr:region=keep"]})
    assert len(run.records().header.metrics) == 2
    assert len(edited(place)) == 4


def test_verbs_take_addresses(place, here, capsys, tmp_path):
    assert cli(capsys, "run", *FLAGS, "--editor", "recolor", "--output-dir", place)[0] == 0
    told = []
    for arguments in (
        ["board", place],
        ["board", f"{place}/records.jsonl"],
        ["compare", place, str(here)],
        ["report", place, "--output-dir", str(tmp_path / "report")],
        ["verify", place, "--write"],
        ["score", place, "--metrics", "psnr:region=keep"],
        ["merge", f"{place}-merged", place],
    ):
        forget()
        code, text = cli(capsys, *arguments)
        assert code == 0, text
        told.append(text)
    assert not any(str(mirrors._room()) in text.replace("\n", "") for text in told)
    assert (tmp_path / "report" / "index.html").is_file()
    assert Objects(place).get("verdict.json") is not None
    assert place in told[4] and f"{place}-merged" in told[6]
    assert json.loads(Objects(place).get("run.json"))["config"]["output_dir"] == place
    merged = Objects(f"{place}-merged")
    assert merged.get("records.jsonl") == Objects(place).get("records.jsonl")
    assert json.loads(merged.get("run.json"))["merged_from"] == [place]


def test_what_cannot_be_read_or_written_there_is_told(place, here, capsys):
    Objects(place).put("records/suite/label.jsonl", b"")
    for arguments, expected in (
        (["board", f"{place}/other"], "no run and no record file"),
        (["board", place], "a leaderboards folder: copy it here"),
        (["report", place], "give --output-dir"),
        (["demo", "--output-dir", place], "the demo writes pages too"),
        (["board", str(here), "--csv", f"{place}/board.csv"], "only runs go into object stores"),
    ):
        code, text = cli(capsys, *arguments)
        assert code == 2 and expected in text


# ------------------------------------------------------------------------------------------------- killed and broken


@pytest.mark.parametrize(
    ("number", "when"),
    [
        pytest.param(6, "after", id="claimed"),
        pytest.param(8, "after", id="an edit without its line"),
        pytest.param(9, "after", id="a line without its value"),
        pytest.param(21, "after", id="segments beside the whole journal"),
    ],
)
def test_a_run_killed_at_its_nth_object_is_finished_by_the_same_command(place, server, here, number, when):
    process = started(place)
    server("kill", pid=process.pid, put=number, when=when)
    assert ended(process)[0] == -signal.SIGKILL
    kept = edited(place) if Objects(place).names("journal") else []
    forget()
    eb.run("recolor", output_dir=place, **SMALL)
    assert Objects(place).get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert sorted(edited(place)) == sorted(record.scenario_id for record in RunStore(here).records().records)
    assert edited(place)[: len(kept)] == kept
    assert set(Objects(place).names("journal")) == {"journal/1-of-1.jsonl"}
    assert not Objects(place).names("claims")


@pytest.mark.parametrize("left", [(1, 2, 3), (3,), (1, 3), (1, 2)])
def test_segments_that_are_left_of_a_journal_that_was_put_whole_are_not_read_again(place, left):
    """Removing thousands takes several requests, which may be answered in any order, and a process may be killed."""
    store = RunStore(Path(place))
    store.open_journal("1-of-1")
    for number in range(3):
        store.append([{"type": "start", "signatures": {}, "made_with": number}])
    segments = Objects(place).get_all([f"journal/1-of-1/{number:08}.jsonl" for number in left])
    store.close()
    for name, data in segments.items():
        Objects(place).put(name, data)
    assert [json.loads(line)["event"]["made_with"] for line in journal_of(place).splitlines()[1:]] == [0, 1, 2]
    store = RunStore(Path(place))
    store.open_journal("1-of-1")
    store.append([{"type": "start", "signatures": {}, "made_with": 3}])
    assert len(journal_of(place).splitlines()) == 4 + 2
    store.close()
    assert len(journal_of(place).splitlines()) == 4 + 2


def test_a_store_that_is_busy_for_a_while_is_waited_for(place, server, here):
    server("fail", how="503", puts=9, count=2)
    eb.run("recolor", output_dir=place, **SMALL)
    assert Objects(place).get("records.jsonl") == (here / "records.jsonl").read_bytes()


def test_a_store_that_goes_away_ends_a_run_with_exit_4_and_what_is_safe(place, server, here, capsys, impatient):
    server("fail", how="away", puts=12, count=10**6)
    code, text = cli(capsys, "run", *FLAGS, "--editor", "recolor", "--output-dir", place)
    assert code == 4, text
    assert f"cannot write {place}/" in text and f"edits are safe in {place}" in text
    assert "Traceback" not in text
    server("fail", how="away", puts=0, count=0)
    safe = edited(place)
    assert f"; {len(safe)} of 4 edits are safe" in text.replace("\n", " ") and 0 < len(safe) < 4
    forget()
    assert cli(capsys, "run", *FLAGS, "--editor", "recolor", "--output-dir", place)[0] == 0
    assert Objects(place).get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert len(edited(place)) == 4


@pytest.mark.parametrize("puts", [10, 11, 12, 13])
def test_a_run_that_the_store_has_ended_goes_on_in_the_same_process(place, server, here, impatient, puts):
    server("fail", how="away", puts=puts, count=10**6)
    with pytest.raises(EditbenchError, match="cannot write"):
        eb.run("recolor", output_dir=place, **SMALL)
    server("fail", how="away", puts=0, count=0)
    eb.run("recolor", output_dir=place, **SMALL)
    assert Objects(place).get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert {Path(name).name for name in Objects(place).names("edits")} == {e.name for e in (here / "edits").iterdir()}


def test_a_record_file_that_was_put_again_is_read_again(place, here):
    objects, lines = Objects(f"{place}.jsonl"), (here / "records.jsonl").read_bytes().splitlines(keepends=True)
    for count in (5, 4):
        objects.put("", b"".join(lines[:count]))
        assert len(read_records(mirrors.here(Path(f"{place}.jsonl"))).records) == count - 1


def test_a_store_that_is_away_from_the_start_is_told_before_anything_is_loaded(place, server, capsys, impatient):
    server("fail", how="away", puts=0, count=10**6)
    code, text = cli(capsys, "run", *FLAGS, "--editor", "no such editor", "--output-dir", place)
    assert code == 4 and f"cannot read {place}" in text


def test_a_bucket_that_is_not_there_is_named(server, capsys):
    code, text = cli(capsys, "run", *FLAGS, "--editor", "identity", "--output-dir", "s3://nobucket/run")
    assert code == 4 and "cannot list s3://nobucket/run/journal: The specified bucket does not exist" in text


def test_missing_credentials_are_told(place, client, monkeypatch, capsys, tmp_path):
    for name in CREDENTIALS:
        if "KEY" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    code, text = cli(capsys, "run", *FLAGS, "--editor", "identity", "--output-dir", place)
    assert code == 4 and "credentials" in text


def test_a_damaged_edit_is_moved_aside_in_the_store_and_made_again(place, here):
    run = eb.run("recolor", output_dir=place, **SMALL)
    objects, sha256 = Objects(place), run.records().records[0].edit_sha256
    good = objects.get(f"edits/{sha256}.png")
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 1
    objects.put(f"edits/{sha256}.png", bytes(damaged))
    forget()
    with pytest.warns(UserWarning, match=f"{place}/edits/{sha256}.png is damaged: moved to {place}/quarantine/"):
        eb.run("recolor", output_dir=place, **SMALL)
    assert objects.get(f"edits/{sha256}.png") == good
    assert objects.get(f"quarantine/{sha256}.png") == bytes(damaged)
    assert objects.get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert len(edited(place)) == 4  # the same edit is no news


def test_damaged_lines_and_records_are_moved_aside_in_the_store(place, here):
    eb.run("recolor", output_dir=place, **SMALL)
    objects = Objects(place)
    lines = objects.get("journal/1-of-1.jsonl").splitlines(keepends=True)
    (number,) = [number for number, line in enumerate(lines) if b'"edit"' in line and b'"add-000"' in line]
    lines[number] = lines[number].replace(b"add-000", b"add-001")
    objects.put("journal/1-of-1.jsonl", b"".join(lines))
    objects.put("records.jsonl", objects.get("records.jsonl").replace(b"0", b"1", 1))
    forget()
    with pytest.warns(UserWarning, match=f"{place}/.* moved to {place}/quarantine/"):
        eb.run("recolor", output_dir=place, **SMALL)
    assert objects.get("quarantine/1-of-1.jsonl") == lines[number]
    assert objects.get("quarantine/records.jsonl") is not None
    assert objects.get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert lines[number] not in objects.get("journal/1-of-1.jsonl")


def test_what_was_moved_aside_is_not_there_any_more_even_if_nothing_is_made_again(place):
    run = eb.run("recolor", output_dir=place, **SMALL)
    objects, sha256 = Objects(place), run.records().records[0].edit_sha256
    for name in (f"edits/{sha256}.png", "records.jsonl"):
        objects.put(name, b"damaged")
    forget()
    store = RunStore(Path(place))
    assert not store.edits.has_edit(sha256)
    store.open_journal("1-of-1")
    store.close()
    assert objects.get(f"edits/{sha256}.png") is None and objects.get("records.jsonl") is None
    assert set(objects.names("quarantine")) == {f"quarantine/{sha256}.png", "quarantine/records.jsonl"}


# ------------------------------------------------------------------------------------------------------- one writer


def test_a_second_process_is_refused_with_the_owner_and_shards_are_not(place, capsys):
    store = RunStore(Path(place))
    store.open_journal("1-of-2")
    try:
        code, text = ended(started(place, "--shard", "1/2"))
        assert code == 2 and f"{place} is being written by process {os.getpid()} on " in text, text
        eb.run("recolor", output_dir=place, shard="2/2", **SMALL)
    finally:
        store.close()
    forget()
    run = eb.run("recolor", output_dir=place, shard="1/2", **SMALL)
    assert len(run.records().records) == 4


def test_the_shard_that_ends_last_writes_the_records_and_those_in_other_prefixes_are_merged(place, here, capsys):
    both = [started(place, "--shard", f"{number}/2") for number in (1, 2)]
    results = [ended(process) for process in both]
    assert [code for code, *_ in results] == [0, 0], results
    assert Objects(place).get("records.jsonl") == (here / "records.jsonl").read_bytes()
    for number in (1, 2):
        eb.run("recolor", output_dir=f"{place}/apart-{number}", shard=f"{number}/2", **SMALL)
    forget()
    code, text = cli(capsys, "merge", f"{place}/all", f"{place}/apart-1")
    assert code == 3 and f"{place}/all: 2 scenarios are missing" in text
    code, text = cli(capsys, "merge", f"{place}/all", f"{place}/apart-1", f"{place}/apart-2")
    assert code == 0
    assert Objects(f"{place}/all").get("records.jsonl") == (here / "records.jsonl").read_bytes()


def test_a_folder_that_is_no_longer_empty_when_it_is_looked_at_again_has_objects_only(place, monkeypatch):
    """s3fs asks twice about an empty folder; what another process adds in between makes it a folder in the listing."""
    objects = Objects(place)
    find = objects._files.find

    def find_while_another_writes(path, **options):
        monkeypatch.setattr(objects._files, "find", find)
        lists = objects._files._lsdir

        async def list_and_write(*args, **more):
            listed = await lists(*args, **more)
            await objects._files._pipe_file(f"{path}/a.png", b"a")
            return listed

        with monkeypatch.context() as patch:
            patch.setattr(objects._files, "_lsdir", list_and_write)
            return find(path, **options)

    monkeypatch.setattr(objects._files, "find", find_while_another_writes)
    assert objects.names("edits") == {}
    assert [*objects.names("edits")] == ["edits/a.png"]


def left(place, **claim):
    """Leave a claim as a process does that was killed."""
    owner = {"owner": "process 7 on elsewhere since 2026", "machine": "elsewhere", "process": 7, "started": 1.0}
    Objects(place).put("claims/1-of-1/00000004", json.dumps({**owner, **claim}).encode())


def test_a_claim_of_another_machine_is_taken_over_when_it_has_lapsed_and_told(place, monkeypatch):
    left(place)
    with pytest.raises(EditbenchError, match=r"is being written by process 7 on elsewhere since 2026, heard of \d+ s"):
        eb.run("recolor", output_dir=place, **SMALL)
    monkeypatch.setattr(heartbeats, "LAPSE_SECONDS", -1.0)
    with pytest.warns(UserWarning, match="was last written by process 7 on elsewhere since 2026"):
        eb.run("recolor", output_dir=place, **SMALL)
    assert not Objects(place).names("claims")


def test_a_claim_of_a_process_of_this_machine_that_has_ended_is_taken_over_at_once(place):
    left(place, machine=heartbeats._machine(), process=os.getpid(), started=1.0)
    eb.run("recolor", output_dir=place, **SMALL)


def test_of_two_that_take_over_at_once_one_is_refused(place):
    left(place, machine=heartbeats._machine())
    objects, won, refused = Objects(place), [], []

    def claim():
        try:
            won.append(Heartbeat(Objects(place), "1-of-1"))
        except EditbenchError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) <= 1 and len(refused) == 4 - len(won)
    assert len(objects.names("claims")) == len(won)
    for one in won:
        one.release()


def test_an_owner_that_lives_is_heard_of(place, monkeypatch):
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    claim = Heartbeat(Objects(place), "1-of-1")
    first = claim._seen
    deadline = time.monotonic() + 10
    while claim._seen == first and time.monotonic() < deadline:
        time.sleep(0.01)
    claim.release()
    assert claim._seen > first
    assert not Objects(place).names("claims")


def test_a_process_whose_place_was_taken_writes_nothing_more(place, monkeypatch):
    sleeper = RunStore(Path(place))
    sleeper.open_journal("1-of-1")
    sleeper.append([{"type": "records", "sha256": "a" * 64}])
    forget()
    monkeypatch.setattr(heartbeats, "LAPSE_SECONDS", -1.0)
    other = RunStore(Path(place))
    monkeypatch.setattr(heartbeats, "_machine", lambda: "another")
    other.open_journal("1-of-1")
    assert "was last written by process" in other.notices[0]
    other.append([{"type": "records", "sha256": "b" * 64}])
    with pytest.raises(StorageError, match="another one has taken its place"):
        sleeper.append([{"type": "records", "sha256": "c" * 64}])
    sleeper.close()
    other.close()
    journal = journal_of(place)
    assert "b" * 64 in journal and "c" * 64 not in journal


def test_a_segment_is_written_once_whoever_thinks_that_it_is_its_turn(place):
    sleeper = RunStore(Path(place))
    sleeper.open_journal("1-of-1")
    Objects(place).put("journal/1-of-1/00000001.jsonl", b"of another process")
    with pytest.raises(StorageError, match="another process has written it"):
        sleeper.append([{"type": "records", "sha256": "c" * 64}])
    sleeper.close()
    assert Objects(place).get("journal/1-of-1/00000001.jsonl") == b"of another process"


# ------------------------------------------------------------------------------------------------ what is not there


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("memory://run", "memory:// lacks durability"),
        ("ftp://host/run", "ftp:// lacks whole objects"),
        ("http://host/run", "http:// lacks writing"),
        ("az://container/run", "az:// is not known to have exclusive creation"),
        ("file:///data/run", "give the path alone"),
        ("s3a://bucket/run", "s3a:// is not known"),
        ("s3://bucket/run[first=6]", "an address may not have * ? [ ]"),
        ("gcss://bucket/run", "unknown protocol 'gcss', expected s3 or gs"),
    ],
)
def test_a_file_system_that_lacks_a_guarantee_is_refused_with_its_name(address, expected, capsys):
    code, text = cli(capsys, "run", *FLAGS, "--editor", "identity", "--output-dir", address)
    assert code == 2 and expected in text


def test_a_missing_library_is_told_with_what_brings_it(monkeypatch):
    for library, address, extra in (("s3fs", "s3://bucket/run", "s3"), ("gcsfs", "gs://bucket/run", "gcs")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(EditbenchError, match=rf'{library} is missing: pip install "editbench\[{extra}\]"'):
            Objects(address)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://bucket/run/", "s3://bucket/run"),
        (Path("s3://bucket/run"), "s3://bucket/run"),
        ("runs/s3:/x", None),
        (Path("/runs/x"), None),
        ("run", None),
    ],
)
def test_addresses_are_told_from_paths(path, address):
    assert address_of(path) == address


def test_runs_in_folders_load_no_library_of_stores(tmp_path):
    script = (
        "import sys, editbench as eb; "
        f"eb.run('identity', 'shapes@1:size=64', ['{METRIC}'], limit=1, output_dir={str(tmp_path / 'run')!r}); "
        "assert not {'fsspec', 's3fs', 'gcsfs', 'botocore', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --------------------------------------------------------------------------------------------------- Google's stores


@pytest.fixture(scope="module")
def google():
    """A local GCS, to which is added what it lacks and Google's has: the precondition that an object is not there."""
    from fsspec.config import conf
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects as handlers

    emulated, upload = {"preconditions": True}, handlers._multipart_upload

    def conditional(request, response, storage):
        if emulated["preconditions"] and request.query.get("ifGenerationMatch") == ["0"]:
            with contextlib.suppress(NotFound):
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        upload(request, response, storage)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers, "_multipart_upload", conditional)
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks Google what kind of bucket this is
        patch.setitem(conf, "gs", {"token": "anon"})
        with server.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket"):
            yield emulated
    forget()


def test_a_run_on_gcs_is_the_run_that_a_folder_has_and_goes_on(google, here):
    place = f"gs://bucket/{uuid.uuid4().hex}"
    eb.run("recolor", output_dir=place, shard="1/2", **SMALL)
    forget()
    eb.run("recolor", output_dir=place, shard="2/2", **SMALL)
    objects = Objects(place)
    assert objects.get("records.jsonl") == (here / "records.jsonl").read_bytes()
    assert set(objects.names("journal")) == {"journal/1-of-2.jsonl", "journal/2-of-2.jsonl"}
    assert set(objects.names("edits")) == {f"edits/{path.name}" for path in (here / "edits").glob("*")}
    assert not objects.names("claims")


def test_on_gcs_a_living_owner_refuses(google):
    place = f"gs://bucket/{uuid.uuid4().hex}"
    store = RunStore(Path(place))
    store.open_journal("1-of-1")
    forget()
    try:
        with pytest.raises(EditbenchError, match=f"^{place} is being written by process {os.getpid()} on "):
            eb.run("recolor", output_dir=place, **SMALL)
    finally:
        store.close()


def test_a_gcs_without_preconditions_is_refused(google, monkeypatch):
    monkeypatch.setitem(google, "preconditions", False)
    with pytest.raises(EditbenchError, match="lacks exclusive creation"):
        eb.run("recolor", output_dir="gs://bucket/run", **SMALL)
