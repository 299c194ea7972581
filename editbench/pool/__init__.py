"""A pool of processes, each with a plan and an editor of its own, that do the tasks of one run.

Who asked for them is the only one that writes: results come back as they are made, a few tasks at a time, and are
journalled as if they had been made here. So a run with a pool leaves the same bytes as one without, may be
resumed with another number of processes, and needs no shared disk. A process that ends costs what it had at hand, which
is given out again.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import Any, Protocol

from editbench.cells import Cell, Key, take_in
from editbench.config import executor_kind
from editbench.limits import cores
from editbench.plan import Plan
from editbench.pool.seated import Chunk, Order, Refusal, pack
from editbench.types import EditbenchError
from editbench.work import Outcome, batch_sizes

AHEAD = 2
"""Chunks that a seat has at once: it works on one while the next is on its way. No more, for balance at the end."""

TRIES = 3
"""How often the process that has a task may end before the task is left for another day."""

CHUNK_SECONDS = 1.0
LARGEST_CHUNK = 32
"""A chunk takes about so long, and has at most so many tasks: results of more would wait in memory."""


class Seat(Protocol):
    """A place for one process of a pool, wherever that is. A process that has ended may be started again."""

    losses: tuple[type[BaseException], ...]
    """What a future raises if the process ended before it answered."""

    def start(self, order: Order) -> Future[Refusal | None]:
        """Start a process, in the place of the one before; what `ready` answers."""

    def do(self, chunk: Chunk) -> Future[Outcome | Refusal]:
        """Give it some tasks."""

    def end(self, patient: bool) -> None:
        """End the process: after its editor has been closed, or at once."""


class Pool:
    """Gives the tasks of a plan to seats.

    Args:
        plan: what to run.
        seats: where.
        order: what each process is told.
    """

    def __init__(self, plan: Plan, seats: Sequence[Seat], order: Order) -> None:
        self._plan, self._seats, self._order = plan, seats, order
        self._given: dict[Future[Any], tuple[int, int, tuple[int, ...]]] = {}
        """Future to number of the seat, number of its process, and positions; none while it starts."""
        self._processes = [0] * len(seats)
        self._starting: Counter[int] = Counter()
        """How often in a row a seat's process ended before it was ready."""
        self._ready: set[int] = set()
        self._again: deque[tuple[int, ...]] = deque()
        self._lost: Counter[int] = Counter()
        self._batch = self._chunk = batch_sizes(plan).asked
        self._exhausted = False
        self._done = False

    def outcomes(self, positions: Iterable[int], cells: dict[Key, Cell]) -> Iterator[Outcome]:
        """Yield what becomes of tasks as it comes back.

        Raises:
            EditbenchError: if a process cannot make the plan, or if tasks are left on which one ended again and again.
        """
        todo = iter(positions)
        self._done = False
        if not any(self._processes):
            for seat in range(len(self._seats)):
                self._start(seat)
        while True:
            self._give(todo, cells)
            if not any(given for _, _, given in self._given.values()) and not self._again and self._exhausted:
                break
            finished, _ = wait(self._given, return_when=FIRST_COMPLETED)
            for future in finished:
                yield from self._take(future, cells)
        self._done = True
        left = sorted(position for position, tries in self._lost.items() if tries >= TRIES)
        if left:
            names = ", ".join(repr(self._plan.suite[p // self._plan.config.repeats].id) for p in left[:5])
            raise EditbenchError(
                f"a process of the pool ended {TRIES} times on each of {len(left)} tasks ({names}): they are left, "
                "everything else is kept; with --isolate an editor that ends its process is charged for it"
            )

    def close(self) -> None:
        """End all processes; those at work at once."""
        for seat in self._seats:
            seat.end(patient=self._done)

    def _start(self, seat: int) -> None:
        self._processes[seat] += 1
        self._ready.discard(seat)
        self._given[self._seats[seat].start(self._order)] = seat, self._processes[seat], ()

    def _give(self, todo: Iterator[int], cells: Mapping[Key, Cell]) -> None:
        """Give every seat that is ready what it can take.

        A task that was lost once is given alone: if its process ends again, that is to be charged to it, and to none
        that waited behind it.
        """
        self._exhausted = False
        given: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
        for seat, _, positions in self._given.values():  # once, for there may be thousands of seats
            given[seat].append(positions)
        for _ in range(AHEAD):
            for seat in self._ready:
                at_hand = given[seat]
                alone = any(self._lost[positions[0]] for positions in at_hand)
                if alone or len(at_hand) >= AHEAD or (self._again and at_hand):
                    continue
                positions = self._again.popleft() if self._again else tuple(islice(todo, self._chunk))
                if not positions:
                    self._exhausted = True
                    return
                chunk = pack(self._plan, positions, cells)
                self._given[self._seats[seat].do(chunk)] = seat, self._processes[seat], positions
                at_hand.append(positions)

    def _take(self, future: Future[Any], cells: dict[Key, Cell]) -> Iterator[Outcome]:
        seat, process, positions = self._given.pop(future)
        try:
            answer = future.result()
        except self._seats[seat].losses as loss:
            self._lose(seat, process, positions, loss)
            return
        if isinstance(answer, Refusal):
            raise EditbenchError(answer.message)
        if answer is None:
            self._ready.add(seat)
            self._starting[seat] = 0
            return
        batches = int(CHUNK_SECONDS * len(positions) / max(answer.seconds, 1e-6)) // self._batch
        self._chunk = self._batch * max(1, min(batches, LARGEST_CHUNK // self._batch))
        for event in answer.events:
            take_in(cells, event, self._plan.signatures)
        yield answer

    def _lose(self, seat: int, process: int, positions: tuple[int, ...], loss: BaseException) -> None:
        """Give out again, one by one, what a process had when it ended, and start another one."""
        self._lost.update(positions)
        self._again.extend((position,) for position in positions if self._lost[position] < TRIES)
        if not positions:
            self._starting[seat] += 1
            if self._starting[seat] >= TRIES:
                words = " ".join(str(loss).split())[:200]
                raise EditbenchError(f"a process of the pool ended {TRIES} times while it made ready: {words}")
        if process == self._processes[seat]:
            self._start(seat)


def seats_of(plan: Plan) -> list[Seat]:
    """Return the seats that a plan asks for.

    Raises:
        EditbenchError: if Ray is asked for and not there.
    """
    config = plan.config
    if executor_kind(config) == "processes":
        from editbench.pool.processes import ProcessSeat

        workers = config.workers or cores()
        return [ProcessSeat(max(1, cores() // workers)) for _ in range(workers)]
    from editbench.pool.on_ray import RaySeat, connect, places

    ray = connect((config.executor or "").partition(":")[2] or None)
    return [RaySeat(ray, config.gpus_per_worker) for _ in range(config.workers or places(ray, config.gpus_per_worker))]
