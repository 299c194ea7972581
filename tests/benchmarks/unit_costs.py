"""What one edit costs the harness here, by the real code, at 512×512: processor seconds, bytes, calls."""

import gc
import os
import pickle
import threading
import time
import tracemalloc
from collections import Counter, deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from unittest.mock import patch

from editbench import loops
from editbench.board import build_boards
from editbench.compaction import compact
from editbench.config import RunConfig
from editbench.ledger import Ledger
from editbench.merge import merge_runs
from editbench.plan import in_order, make_plan, numbers_of
from editbench.pool import Pool
from editbench.pool.seated import Chunk, Order, SeatedWork
from editbench.record_files import read_records
from editbench.work import Outcome

PIXELS = (
    "psnr:region=keep,ssim:region=keep,mae:region=keep,changed:region=keep,delta_e:region=keep,mae:region=band,seam,"
    "band_jump,leak_profile,far_change,mae:region=edit"
)
"""The standard set without checks, targets and `st_lpips`."""
ONE = "mae:region=keep"
DISTINCT, MANY = 64, 20_000
"""Photographs that differ, and lines of a journal."""
SEATS = (64, 512, 4096)
EDIT_SECONDS = 1.5
"""Of the edits that seats pretend to make: each is a chunk of its own."""
ANSWER_SECONDS = 2 * EDIT_SECONDS
"""From giving a chunk to its answer: a seat has two at once."""

SUITE = """
import numpy as np
from dataclasses import dataclass
from functools import cache
from typing import ClassVar
from skimage import data
from editbench.images import resize
from editbench.types import Content, Scenario

@cache
def photographs():
    squares = [data.astronaut(), data.coffee()[:, 100:500], data.chelsea()[:, 75:375]]
    return [resize(np.ascontiguousarray(square), 512, 512) for square in squares]

def content(number):
    rows, columns = np.mgrid[:512, :512]
    picture = np.roll(photographs()[number % 3], 8 * (number // 3), 1)
    return Content(np.ascontiguousarray(picture), (rows - 256) ** 2 + (columns - 256) ** 2 < 112**2)

@dataclass(frozen=True)
class Photographs:
    count: int
    licence: ClassVar[str] = "CC0-1.0"

    @property
    def name(self):
        return f"photographs@1:count={self.count}"

    @property
    def identity(self):
        return f"{self.count:064d}"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return Scenario(f"{index:09}", f"c{index % 500}", "all", "Make it brighter.", lambda: content(index))

    def __iter__(self):
        return (self[index] for index in range(self.count))
"""


def measure(folder):
    """Return {name: figure}; a folder of its own is filled, and takes some 100 MB."""
    (folder / "photographs.py").write_text(SUITE)
    return {
        **of_records(folder),
        **{f"pool seconds, {seats} seats": of_pool(folder, seats) for seats in SEATS},
        **of_worker(folder),
        **of_writer(folder),
        **of_merge(folder),
    }


def plan_of(folder, name, count, editor="jpeg", metrics=None, **options):
    suite = f"{folder / 'photographs.py'}:Photographs:count={count}"
    return make_plan(RunConfig(suite, editor, metrics=metrics or PIXELS, output_dir=str(folder / name), **options))


@contextmanager
def processor_seconds():
    used = []
    start = time.process_time()
    yield used
    used.append(time.process_time() - start)


def held(make):
    """Return the bytes that what is made is held in."""
    tracemalloc.start()
    made = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return size


def outcomes(plan, positions, edit=True, score=True):
    """Do tasks as a process of a pool does, one at a time; return what it answers, and the seconds of each."""
    work = SeatedWork(Order.of(plan, edit, score, "1-of-1"))
    assert work.ready() is None
    warm, *rest = [Chunk((position,), {}, frozenset(), {}) for position in (0, *positions)]
    work.do(warm)
    with processor_seconds() as used:
        made = [work.do(chunk) for chunk in rest]
    work.end()
    return made, used[0] / len(rest)


def of_worker(folder):
    """What the process beside a GPU does for one edit. `jpeg` touches every pixel, as an editor with a VAE does."""
    some, few = range(1, DISTINCT // 2), range(1, DISTINCT // 8)
    made, edit = outcomes(plan_of(folder, "w", DISTINCT, "identity"), some, score=False)
    plan = plan_of(folder, "w", DISTINCT)
    scored = outcomes(plan, some)[1] - outcomes(plan, some, score=False)[1]
    perceptual = plan_of(folder, "w", DISTINCT, metrics="st_lpips:region=keep")
    neural = outcomes(perceptual, few)[1] - outcomes(perceptual, few, score=False)[1]
    pngs = [len(png) for outcome in made for png in outcome.edits.values()]
    return {
        "edit seconds": edit,
        "pixel metrics seconds": scored,
        "st_lpips seconds": neural,
        "PNG bytes": sum(pngs) / len(pngs),
    }


class Canned:
    """A seat that answers at once with what was made before, from its pickle."""

    losses = ()

    def __init__(self, answers):
        self.answers = answers

    def start(self, order):
        return done(None)

    def do(self, chunk):
        answers = [pickle.loads(self.answers[position]) for position in chunk.positions]
        assert len(answers) == 1
        return done(answers[0])

    def end(self, patient):
        pass


def done(answer):
    future = Future()
    future.set_result(answer)
    return future


def of_writer(folder):
    """What the process that writes does for one edit: give, unpickle, PNG and journal with fsync, forget."""
    plan = plan_of(folder, "written", DISTINCT, workers=2)
    made, _ = outcomes(plan, range(DISTINCT))
    answers = [pickle.dumps(replace(outcome, seconds=EDIT_SECONDS), 5) for outcome in made]
    calls, marks = Counter(), []

    def counted(name, call):
        def one(*arguments):
            calls[name] += 1
            return call(*arguments)

        return one

    with (
        patch.object(loops, "seats_of", lambda plan: [Canned(answers), Canned(answers)]),
        patch.object(os, "fsync", counted("syncs", os.fsync)),
        patch.object(type(plan.store), "append", counted("appends", type(plan.store).append)),
    ):
        for step in loops.carry_out(plan):
            marks.append((step.done, time.process_time(), time.monotonic(), calls["syncs"], calls["appends"]))
    marks = marks[DISTINCT // 4 :]
    edits, cpu, _, syncs, appends = (b - a for a, b in zip(marks[0], marks[-1], strict=True))
    wall = median(after[2] - before[2] for before, after in pairwise(marks))
    store = plan.store
    kept = [path.stem for path in (store.path / "edits").iterdir()]
    with processor_seconds() as checked:
        assert all(store.edits.has_edit(sha256) for sha256 in kept)
    return {
        "writer seconds": cpu / edits,
        "writer seconds, this disk": wall,
        "syncs": round(syncs / edits),
        "objects put": round(appends / edits) + 1,
        "check seconds": checked[0] / len(kept),
    }


class Pretending:
    """A seat whose answers are due a while after they were asked for."""

    losses = ()

    def __init__(self, due):
        self.due = due

    def start(self, order):
        return done(None)

    def do(self, chunk):
        future = Future()
        self.due.append((time.monotonic() + ANSWER_SECONDS, future))
        return future

    def end(self, patient):
        pass


def of_pool(folder, seats):
    """What giving tasks to so many seats and hearing of them takes, without pictures: seconds of this thread."""
    plan = plan_of(folder, "pool", 10**6)
    due, ended = deque(), threading.Event()

    def answer():
        while not ended.wait(0.005):
            while due and due[0][0] <= time.monotonic():
                due.popleft()[1].set_result(Outcome([], {}, (), EDIT_SECONDS))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    pool = Pool(plan, [Pretending(due) for _ in range(seats)], Order.of(plan, True, True, "1-of-1"))
    marks = []
    for _ in pool.outcomes(range(10**6), {}):
        marks.append((time.monotonic(), time.thread_time()))
        if marks[-1][0] - marks[0][0] > 1.5 * ANSWER_SECONDS:
            break
    ended.set()
    thread.join()
    return (marks[-1][1] - marks[0][1]) / (len(marks) - 1)


def of_records(folder):
    """What a line of a long journal costs to read, to compact, and on a board: in seconds and bytes of memory."""
    plan = plan_of(folder, "long", MANY)
    templates = [outcome.events for outcome in outcomes(plan, range(8))[0]]
    store = plan.store
    store.begin(plan.header, {})
    store.open_journal("1-of-1")
    store.append([{"type": "start", "signatures": plan.signatures}])
    for start in range(0, MANY, 1000):
        store.append([event for number in range(start, start + 1000) for event in named(templates, number)])
    store.close()
    journal_bytes = (store.path / "journal" / "1-of-1.jsonl").stat().st_size
    numbers = numbers_of(plan)
    store.open_journal("1-of-1")

    def ledger_of(number_of):
        ledger = Ledger()
        store.read_into(ledger, number_of, again=True)
        return ledger

    def board():
        file = read_records(store.records_path)
        return file, build_boards([file])

    with processor_seconds() as read:
        ledger = ledger_of(numbers)
    with processor_seconds() as compacted:
        assert compact(store, plan.header, (ledger.cell(number, checked=False) for number in in_order(plan)))
    ledger.close()
    with processor_seconds() as boarded:
        board()
    sizes = {
        "index bytes": held(lambda: (number_of := numbers_of(plan), ledger_of(number_of))),
        "merged cell bytes": held(store.cells),
        "board bytes": held(board),
    }
    store.close()
    return {
        "journal bytes": journal_bytes / MANY,
        "record bytes": store.records_path.stat().st_size / MANY,
        "journal reading seconds": read[0] / MANY,
        "compaction seconds": compacted[0] / MANY,
        "board seconds": boarded[0] / MANY,
        **{name: size / MANY for name, size in sizes.items()},
    }


def named(templates, number):
    """Return the events of one edit under another name."""
    edit, score = templates[number % len(templates)]
    sha256 = f"{number:064x}"
    told = {"scenario_id": f"{number:09}"}
    return {**edit, **told, "edit_sha256": sha256}, {**score, **told, "of": sha256[:16]}


def of_merge(folder):
    """What `merge` does for one edit of two shards."""
    for shard in ("1/2", "2/2"):
        for _ in loops.carry_out(plan_of(folder, shard[0], DISTINCT, metrics=ONE, shard=shard)):
            pass
    with processor_seconds() as used:
        assert merge_runs(folder / "merged", [folder / "1", folder / "2"]) == []
    return {"merge seconds": used[0] / DISTINCT}


def machine():
    """Describe the machine in a line."""
    from runpy import run_path

    return run_path(str(Path(__file__).with_name("conftest.py")))["machine"]()
