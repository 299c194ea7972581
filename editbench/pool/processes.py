"""Seats on this machine: a process each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.process import BaseProcess

from editbench.orphans import when_orphaned
from editbench.pool.seated import Chunk, Order, Refusal, SeatedWork
from editbench.work import Outcome

PATIENCE_SECONDS = 10.0
"""How long an editor may take to close."""

_work: SeatedWork | None = None


class ProcessSeat:
    """A process of its own for one seat, so that its end is the end of nothing else.

    Args:
        threads: of the libraries in it: more than there are cores, all seats together, would wait for each other.
    """

    losses: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executor: ProcessPoolExecutor | None = None
        self._processes: list[BaseProcess] = []

    def start(self, order: Order) -> Future[Refusal | None]:
        """Start a process, in the place of the one before; what `ready` answers."""
        self.end(patient=False)
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks in whatever state they are
        before = set(multiprocessing.active_children())
        with _environment(OMP_NUM_THREADS=str(self._threads)):
            self._executor = ProcessPoolExecutor(1, context, _prepare, (os.getpid(),))
            future = self._executor.submit(_begin, order)
        self._processes = [process for process in multiprocessing.active_children() if process not in before]
        return future

    def do(self, chunk: Chunk) -> Future[Outcome | Refusal]:
        """Give it some tasks."""
        assert self._executor is not None
        try:
            return self._executor.submit(_do, chunk)
        except BrokenProcessPool as loss:  # it has ended since its last answer
            future: Future[Outcome | Refusal] = Future()
            future.set_exception(loss)
            return future

    def end(self, patient: bool) -> None:
        """End the process: after its editor has been closed, or at once."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if patient:
            with contextlib.suppress(Exception):
                executor.submit(_end).result(PATIENCE_SECONDS)
        for process in self._processes:
            process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables for processes that are started meanwhile; what the user has set stays."""
    added = {name: text for name, text in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _prepare(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    when_orphaned(parent, partial(os._exit, 1))


def _begin(order: Order) -> Refusal | None:
    global _work
    _work = SeatedWork(order)
    return _work.ready()


def _do(chunk: Chunk) -> Outcome | Refusal:
    assert _work is not None
    return _work.do(chunk)


def _end() -> None:
    if _work is not None:
        _work.end()
