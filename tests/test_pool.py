"""A pool of processes does what one process does, to the byte, whatever becomes of its processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import editbench as eb
import editbench.pool as pool_module
from editbench import journal
from editbench.config import RunConfig
from editbench.loops import carry_out
from editbench.plan import make_plan, plan_of_run
from editbench.pool import AHEAD, LARGEST_CHUNK, TRIES, Pool
from editbench.pool.processes import ProcessSeat
from editbench.pool.seated import Order, Refusal, SeatedWork, pack
from editbench.store import RunStore
from editbench.types import EditbenchError

SUITE = "shapes@1:size=64"
METRICS = "mae:region=keep,psnr:region=all"

MOODY = """
import zlib
def moody(source, instruction, seed):
    if seed % 5 == 0:
        raise ValueError("not today")
    return source[::-1] if seed % 5 == 1 else source[:32] if seed % 5 == 2 else 255 - source
"""


def run(path, editor="recolor", limit=9, **options):
    """Run to the end; return the bytes of the records."""
    config = RunConfig(SUITE, editor, metrics=METRICS, limit=limit, output_dir=str(path), **options)
    for _ in carry_out(make_plan(config)):
        pass
    return (path / "records.jsonl").read_bytes()


@pytest.fixture
def moody(tmp_path):
    """An editor that fails in several ways, by seed."""
    (tmp_path / "moody.py").write_text(MOODY)
    return f"{tmp_path}/moody.py:moody"


def test_a_pool_leaves_the_bytes_of_one_process(tmp_path, moody):
    """Two repeats of an isolated editor that fails on some."""
    one = run(tmp_path / "one", moody, repeats=2, label="moody")
    assert run(tmp_path / "two", moody, repeats=2, label="moody", workers=2) == one
    names = [{path.name for path in (tmp_path / name / "edits").iterdir()} for name in ("one", "two")]
    assert names[0] == names[1] and names[0]
    assert {record.edit_status for record in RunStore(tmp_path / "two").records().records} > {"ok", "editor_error"}
    assert len(list((tmp_path / "two" / "logs").iterdir())) == 2, "what each isolated editor prints has a file"


def test_each_seat_loads_the_editor_once_and_they_share_the_work(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, time, pathlib\n"
        "class Slow:\n"
        "    mask_access = 'none'\n"
        "    def start(self):\n"
        f"        pathlib.Path({str(tmp_path)!r}, f'loaded-{{os.getpid()}}').touch()\n"
        "    def edit(self, requests):\n"
        "        time.sleep(0.1)\n"
        "        return [request.source for request in requests]\n"
    )
    run(tmp_path / "run", f"{tmp_path}/slow.py:Slow", limit=40, workers=2, isolate=False, label="slow")
    assert len(list(tmp_path.glob("loaded-*"))) == 2


def test_a_run_goes_on_with_another_number_of_processes_and_scores_with_them(tmp_path):
    """Edits of one process, half the values of two, the rest of one: nothing is made twice."""
    whole = run(tmp_path / "whole")
    config = RunConfig(SUITE, "recolor", metrics=METRICS, limit=9, output_dir=str(tmp_path / "run"))
    for _ in carry_out(make_plan(config), score=False):
        pass
    plan = plan_of_run(tmp_path / "run", workers=2)
    for step in carry_out(plan, edit=False):
        if step.done >= 4:
            break
    for _ in carry_out(make_plan(replace(config, workers=1))):
        pass
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == whole
    events = list(journal.events(tmp_path / "run" / "journal"))
    assert sum(event["type"] == "edit" for event in events) == 9
    values = [(event["scenario_id"], spec) for event in events if event["type"] == "score" for spec in event["values"]]
    assert len(values) == len(set(values)) == 18


def test_edits_that_were_exchanged_are_made_again_by_a_pool(tmp_path):
    config = RunConfig(SUITE, "recolor", metrics="mae:region=keep", limit=3, output_dir=str(tmp_path))
    for _ in carry_out(make_plan(config)):
        pass
    one, other, *_ = sorted((tmp_path / "edits").iterdir())
    before = one.read_bytes(), other.read_bytes()
    one.write_bytes(before[1])
    other.write_bytes(before[0])
    run(tmp_path, limit=3, workers=1)
    assert (one.read_bytes(), other.read_bytes()) == before
    assert {path.name for path in (tmp_path / "quarantine").iterdir()} == {one.name, other.name}


def test_chains_of_own_outputs_go_on_from_what_another_process_made(tmp_path):
    sessions = Path(__file__).with_name("test_chains.py")
    (tmp_path / "suite.py").write_text(
        f"import runpy\nSessions = runpy.run_path({str(sessions)!r})['Sessions']\nclass Own(Sessions):\n    pass\n"
    )
    (tmp_path / "brighter.py").write_text("def brighter(source, instruction):\n    return source + 3\n")
    options = dict(suite=f"{tmp_path}/suite.py:Own", metrics=["mae:region=all"], chain="own", label="b")
    records = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        eb.run(f"{tmp_path}/brighter.py:brighter", output_dir=str(out), workers=workers, **options)
        records.append((out / "records.jsonl").read_bytes())
    assert records[0] == records[1]
    hashes = [record.edit_sha256 for record in RunStore(tmp_path / "2").records().records]
    assert len(set(hashes)) == len(hashes) == 7


# ------------------------------------------------------------------------------------------- processes that end


def test_a_process_that_is_killed_costs_nothing(tmp_path):
    """SIGKILL from outside, again and again: no innocent task is charged, no process is left."""
    whole = run(tmp_path / "whole", limit=40)
    config = RunConfig(SUITE, "recolor", metrics=METRICS, limit=40, output_dir=str(tmp_path / "run"), workers=2)
    killed = 0
    for _ in carry_out(make_plan(config)):
        if killed < 3 and (found := children()):  # at the first steps: chunks are small, so there are several
            os.kill(found[killed % len(found)], signal.SIGKILL)
            killed += 1
    assert killed == 3
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == whole
    assert children() == []


def children():
    """Return the ids of the processes of pools of this one; those that multiprocessing has for itself are none."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child.pid)
    return found


def test_a_task_that_ends_every_process_is_left_and_named(tmp_path):
    (tmp_path / "poison.py").write_text(
        "import os\ndef poison(source, seed):\n    if seed % 7 == 0:\n        os._exit(9)\n    return source\n"
    )
    config = RunConfig(
        SUITE, f"{tmp_path}/poison.py:poison", "poison", METRICS, limit=8, isolate=False, workers=2,
        output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    seeds = {scenario.id: eb_seed(scenario.id) for scenario in make_plan(config).suite}
    deadly = [name for name, seed in seeds.items() if seed % 7 == 0]
    assert deadly
    with pytest.raises(EditbenchError, match=f"ended 3 times on each of {len(deadly)} tasks .*{deadly[0]!r}"):
        for _ in carry_out(make_plan(config)):
            pass
    assert {record.scenario_id for record in RunStore(tmp_path / "run").records().records} == {*seeds} - {*deadly}
    isolated = replace(config, isolate=True, workers=None)
    for _ in carry_out(make_plan(isolated)):
        pass
    statuses = {record.scenario_id: record.edit_status for record in RunStore(tmp_path / "run").records().records}
    assert [name for name, status in statuses.items() if status == "editor_killed"] == sorted(deadly)


def test_what_a_lost_accelerator_had_at_hand_is_given_to_others(tmp_path):
    losing = f"{Path(__file__).with_name('losing.py')}:edit"
    config = RunConfig(
        SUITE, losing, "losing", METRICS, limit=8, isolate=False, workers=2, output_dir=str(tmp_path / "run")
    )
    names = {scenario.id for scenario in make_plan(config).suite}
    deadly = {name for name in names if eb_seed(name) % 4 == 0}
    assert deadly
    with pytest.raises(EditbenchError, match=f"ended 3 times on each of {len(deadly)} tasks"):
        for _ in carry_out(make_plan(config)):
            pass
    found = {record.scenario_id: record.edit_status for record in RunStore(tmp_path / "run").records().records}
    assert found == dict.fromkeys(names - deadly, "ok")


def eb_seed(scenario_id):
    from editbench.plan import sample_seed

    return sample_seed(0, scenario_id, 0)


PROGRAM = f"""
import sys
from editbench.cli import main
if __name__ == "__main__":
    sys.argv[1:] = ["run", "--suite", "{SUITE}", "--editor", sys.argv[1], "--metrics", "{METRICS}", "--workers", "2",
                    "--output-dir", sys.argv[2], "--label", "slow"]
    main()
"""


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process_and_can_go_on(tmp_path, which):
    (tmp_path / "slow.py").write_text("import time\ndef slow(source):\n    time.sleep(0.05)\n    return source\n")
    command = [sys.executable, "-c", PROGRAM, f"{tmp_path}/slow.py:slow", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    journal_path = tmp_path / "run" / "journal" / "1-of-1.jsonl"
    wait_for(lambda: journal_path.exists() and journal_path.read_text().count('"type":"edit"') > 3)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4, "two seats, and an isolated editor each"
    process.send_signal(which)
    _, error = process.communicate(timeout=60)
    assert process.returncode == (130 if which != signal.SIGKILL else -9), error
    wait_for(lambda: not any(member.is_running() and member.status() != "zombie" for member in family))
    made = journal_path.read_text().count('"type":"edit"')
    assert 3 < made < 200
    plan = make_plan(RunConfig(SUITE, f"{tmp_path}/slow.py:slow", "slow", METRICS, output_dir=str(tmp_path / "run")))
    assert len(plan.store.cells()) == made


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"executor": "processe"},
            "executor 'processe', expected local, processes, ray or ray:ADDRESS: did you mean 'processes'",
        ),
        ({"executor": "local", "workers": 2}, "workers: 2, but --executor local has one"),
        ({"executor": "processes:8"}, "executor 'processes:8', expected"),
        ({"workers": 0}, "workers: 0, expected at least 1"),
        ({"gpus_per_worker": 1}, "gpus_per_worker: 1, which only --executor ray"),
        ({"executor": "ray", "gpus_per_worker": -1}, "gpus_per_worker: -1, expected 0 or more"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(EditbenchError, match=re.escape(message)):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_task_of_a_slurm_array_is_a_shard(tmp_path, monkeypatch):
    """Tasks 4, 6, 8 of `--array=4-8:2`: each has its share, and together they are the run."""
    whole = run(tmp_path / "whole")
    for task in (4, 6, 8):
        for name, number in {"ID": task, "MIN": 4, "STEP": 2, "COUNT": 3}.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(number))
        options = {"limit": 9, "metrics": METRICS, "output_dir": str(tmp_path / "run"), "shard": "slurm"}
        config = RunConfig.from_mapping({"suite": SUITE, "editor": "recolor", **options})
        assert config.shard == f"{(task - 2) // 2}/3"
        for _ in carry_out(make_plan(config)):
            pass
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == whole
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    with pytest.raises(EditbenchError, match=r"shard 'slurm': .* are not all set: is this a task of an array"):
        RunConfig.from_mapping({"suite": SUITE, "editor": "recolor", "shard": "slurm"})


def test_an_object_cannot_be_rebuilt_elsewhere(tmp_path):
    with pytest.raises(EditbenchError, match="needs an editor that other processes can build from its spec"):
        eb.run(lambda source: source, SUITE, limit=2, workers=2, output_dir=str(tmp_path / "run"))


def test_a_process_that_has_another_editor_or_suite_is_refused(tmp_path):
    """On another machine there may be another version of anything that the header names."""
    config = RunConfig(SUITE, "recolor", metrics=METRICS, limit=3, output_dir=str(tmp_path))
    plan = make_plan(config)
    order = Order.of(plan, edit=True, score=True, shard="1-of-1")
    assert SeatedWork(order).ready() is None
    header = {**order.header, "suite": {**order.header["suite"], "identity": "0" * 64}}
    refusal = SeatedWork(replace(order, header=header)).ready()
    assert (
        isinstance(refusal, Refusal) and "suite.identity: '000" in refusal.message and " on " in f" {refusal.message}"
    )


# ------------------------------------------------------------------------------------- who gets what, step by step


class Puppet:
    """A seat without a process: the test decides when and how each of its futures ends."""

    losses = (ConnectionError,)

    def __init__(self):
        self.starts, self.chunks, self.ended = [], [], []

    def start(self, order):
        self.starts.append(Future())
        return self.starts[-1]

    def do(self, chunk):
        self.chunks.append((chunk.positions, Future()))
        return self.chunks[-1][1]

    def end(self, patient):
        self.ended.append(patient)


@pytest.fixture
def puppets(tmp_path):
    """A pool of two puppets, and the work that one of them would do."""
    plan = make_plan(RunConfig(SUITE, "identity", metrics=METRICS, output_dir=str(tmp_path / "run")))
    order = Order.of(plan, edit=True, score=True, shard="1-of-1")
    seats = [Puppet(), Puppet()]
    work = SeatedWork(order)
    assert work.ready() is None
    return Pool(plan, seats, order), seats, work, plan


def answer(work, plan, positions, seconds=2.0):
    return replace(work.do(pack(plan, positions, {})), seconds=seconds)


def test_no_seat_has_more_than_it_can_do_soon_and_chunks_grow_with_speed(puppets):
    pool, (first, second), work, plan = puppets
    first.starts = []
    steps = pool.outcomes(range(200), {})
    original = first.start

    def ready_at_once(order):
        future = original(order)
        future.set_result(None)
        return future

    first.start = ready_at_once
    seen = []
    real_do = first.do

    def do(chunk):
        future = real_do(chunk)
        open_ = [f for _, f in first.chunks if not f.done()]
        assert len(open_) <= AHEAD, "no more than it can have at hand"
        seen.append(len(chunk.positions))
        future.set_result(answer(work, plan, chunk.positions, seconds=0.001))
        return future

    first.do = do
    finished = [key for outcome in steps for key in outcome.finished]
    assert len(finished) == len(set(finished)) == 200
    assert seen[0] == 1 and max(seen) == LARGEST_CHUNK
    assert not second.chunks, "a seat that is not ready is given nothing, and is not waited for"
    pool.close()
    assert first.ended == second.ended == [True]


def test_what_a_lost_process_had_is_given_out_again_one_by_one(puppets):
    pool, (first, second), work, plan = puppets
    pool._chunk = 3
    steps = pool.outcomes(range(6), cells := {})
    script = iter(
        [
            lambda: first.starts[0].set_result(None),
            lambda: first.chunks[0][1].set_exception(ConnectionError("gone")),
            lambda: first.chunks[1][1].set_exception(ConnectionError("gone")),
            lambda: second.starts[0].set_result(None),
        ]
    )
    real_wait = pool_module.wait

    def wait(futures, return_when):
        step = next(script, None)
        if step is not None:
            step()
        else:
            for seat in (first, second):
                for positions, future in seat.chunks:
                    if not future.done():
                        future.set_result(answer(work, plan, positions))
        return real_wait(futures, return_when=return_when)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "wait", wait)
        finished = [key for outcome in steps for key in outcome.finished]
    assert [positions for positions, _ in first.chunks[:2]] == [(0, 1, 2), (3, 4, 5)]
    assert {positions for positions, _ in second.chunks} >= {(0,), (1,), (2,)}
    assert len(finished) == len(set(finished)) == 6 == len(cells)
    assert len(first.starts) == 2, "two chunks were lost with one process, which is replaced once"


def test_a_process_that_never_gets_ready_ends_the_run(puppets):
    pool, (first, second), *_ = puppets
    for seat in (first, second):
        original = seat.start

        def broken(order, original=original):
            future = original(order)
            future.set_exception(ConnectionError("no room for it"))
            return future

        seat.start = broken
    with pytest.raises(EditbenchError, match=rf"ended {TRIES} times while it made ready: no room for it"):
        list(pool.outcomes(range(3), {}))
    pool.close()
    assert first.ended == [False], "a run that ends early does not wait"


def test_a_refusal_of_one_process_ends_the_run(puppets):
    pool, (first, _), *_ = puppets
    steps = pool.outcomes(range(3), {})
    originals = first.start

    def refusing(order):
        future = originals(order)
        future.set_result(Refusal("on n7: no file 'x.py'"))
        return future

    first.start = refusing
    with pytest.raises(EditbenchError, match=r"on n7: no file 'x\.py'"):
        next(steps)


def test_libraries_in_a_pool_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("editbench.pool.cores", lambda: 8)
    from editbench.pool import seats_of

    plan = make_plan(RunConfig(SUITE, "identity", metrics=METRICS, limit=1, workers=3, output_dir="/nowhere"))
    assert [seat._threads for seat in seats_of(plan)] == [2, 2, 2]
    seat = ProcessSeat(3)
    try:
        seat.start(Order.of(plan, edit=True, score=True, shard="1-of-1")).result(60)
        (process,) = seat._processes
        assert b"OMP_NUM_THREADS=3" in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    finally:
        seat.end(patient=True)
    assert "OMP_NUM_THREADS" not in os.environ and not process.is_alive()
