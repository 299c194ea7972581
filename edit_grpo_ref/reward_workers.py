"""Who evaluates rewards while rollouts go on: threads of this process, or actors on a Ray cluster.

The edits of a batch are handed over before the next batch is rolled out, and their rewards taken up when all are: by
then most are there. What a sample is worth depends on nothing but the sample, so neither who evaluated it, nor when,
nor beside which others, changes a bit. A worker that is lost costs what it had in hand, which another does again.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from edit_grpo_ref.config import Settings, Workers
from edit_grpo_ref.rewards import Rewards, Scored, joined, load_rewards
from editbench.differences import differences
from editbench.metrics import describe
from editbench.pool import AHEAD, TRIES
from editbench.pool.on_ray import RaySeat, connect
from editbench.pool.seated import Refusal
from editbench.types import Content, EditbenchError, Sample, Scenario

LARGEST = 16
"""Samples in a piece that travels: so many pictures, twice for each actor, are what an object store has to hold."""


@dataclass(frozen=True)
class Order:
    """What an actor is told."""

    expressions: Mapping[str, str]
    timeout: float
    metrics: Mapping[str, Any]
    """Versions, libraries and weights of the trainer's own metrics: an actor's have to be the same."""
    path: tuple[str, ...]
    folder: str


class SeatedRewards:
    """What an actor does: `ready` is called first, `do` for each piece."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._rewards: Rewards | None = None

    def ready(self) -> Refusal | None:
        """Load the rewards."""
        sys.path[:] = self._order.path
        if os.path.isdir(self._order.folder):  # noqa: PTH112
            os.chdir(self._order.folder)
        try:
            self._rewards = load_rewards(self._order.expressions, self._order.timeout)
            changed = differences(self._order.metrics, described(self._rewards))
        except EditbenchError as error:
            changed = [str(error)]
        if changed:
            return Refusal(f"on {platform.node()}: not the rewards of this run:\n  " + "\n  ".join(changed))
        return None

    def do(self, samples: Sequence[Sample]) -> Scored:
        """Evaluate a piece."""
        assert self._rewards is not None
        return self._rewards(samples)

    def end(self) -> None:
        """Nothing is left behind."""


class Seat(Protocol):
    """A place for one worker, which may be started again once it has ended; `RaySeat` is one."""

    losses: tuple[type[BaseException], ...]
    """What a future raises if the worker ended before it answered."""

    def start(self, order: Any) -> Future[Any]:
        """Start a worker; a `Refusal` or None."""

    def do(self, chunk: Any) -> Future[Any]:
        """Give it some samples; their `Scored`."""

    def end(self, patient: bool) -> None:
        """End the worker: after what it has in hand, or at once."""


class ThreadSeat:
    """A thread of this process with rewards of its own: a metric is never asked by two threads at once."""

    losses: tuple[type[BaseException], ...] = ()

    def __init__(self, rewards: Rewards) -> None:
        self._rewards = rewards
        self._executor = ThreadPoolExecutor(1, "rewards")

    def start(self, order: Any) -> Future[Any]:
        """Be there."""
        return self._executor.submit(lambda: None)

    def do(self, chunk: Sequence[Sample]) -> Future[Any]:
        """Evaluate some samples."""
        return self._executor.submit(self._rewards, chunk)

    def end(self, patient: bool) -> None:
        """Let it finish the piece that it works on, without waiting for that unless there is patience."""
        self._executor.shutdown(wait=patient, cancel_futures=True)


@dataclass(frozen=True)
class Loaded:
    """Pixels that travel with their scenario, so that no suite has to be where an actor is."""

    content: Content

    def __call__(self) -> Content:
        """Return them."""
        return self.content


class RewardWorkers:
    """Takes samples as they are made, and gives back their rewards in the order in which they came.

    Args:
        rewards: to evaluate; here and at once, if there are no seats.
        seats: where else.
        order: for seats to which samples have to travel.
    """

    def __init__(self, rewards: Rewards, seats: Sequence[Seat] = (), order: Order | None = None) -> None:
        self._rewards, self._seats, self._order = rewards, seats, order
        self._pieces: list[Sequence[Sample]] = []
        self._found: dict[int, Scored] = {}
        self._todo: deque[int] = deque()
        self._given: dict[Future[Any], tuple[int, int, int | None]] = {}
        """Future to number of the seat, of its worker, and of the piece; none while it starts."""
        self._worker = [0] * len(seats)
        self._ready: set[int] = set()
        self._lost: Counter[tuple[str, int]] = Counter()
        for seat in range(len(seats)):
            self._start(seat)

    def __call__(self, samples: Sequence[Sample]) -> Scored:
        """Evaluate samples while nothing else goes on."""
        self.submit(samples)
        return self.collect()

    def submit(self, samples: Sequence[Sample]) -> None:
        """Take samples, and return at once."""
        size = max(1, -(-len(samples) // max(1, len(self._seats))))
        size = min(size, LARGEST) if self._order else size
        for start in range(0, len(samples), size):
            self._todo.append(len(self._pieces))
            self._pieces.append(samples[start : start + size])
        self._turn(timeout=0)

    def collect(self) -> Scored:
        """Return the rewards of everything that was submitted since the last time.

        Raises:
            EditbenchError: if no worker can evaluate them.
        """
        if not self._seats or not self._pieces:
            self._found = {0: self._rewards([sample for piece in self._pieces for sample in piece])}
        while self._seats and len(self._found) < len(self._pieces):
            self._turn(timeout=None)
        found = [self._found[number] for number in sorted(self._found)]
        self._pieces, self._found, self._todo = [], {}, deque()
        self._lost.clear()
        return joined(found)

    def wait(self) -> None:
        """Wait until somebody is ready.

        Raises:
            EditbenchError: if somebody never will be.
        """
        while self._seats and not self._ready:
            self._turn(timeout=None)

    def close(self) -> None:
        """End all workers; those at work at once."""
        for seat in self._seats:
            seat.end(patient=not self._pieces)

    def _start(self, seat: int) -> None:
        self._worker[seat] += 1
        self._ready.discard(seat)
        self._given[self._seats[seat].start(self._order)] = seat, self._worker[seat], None

    def _turn(self, timeout: float | None) -> None:
        """Take up what is finished, and give out what there is room for."""
        self._give()
        finished, _ = wait(self._given, timeout, FIRST_COMPLETED) if self._given else (set(), set())
        for future in finished:
            self._take(future)
        self._give()

    def _give(self) -> None:
        for _ in range(AHEAD):
            for seat in sorted(self._ready):
                in_hand = sum(at == seat for at, _, _ in self._given.values())
                if self._todo and in_hand < AHEAD:
                    piece = self._todo.popleft()
                    samples = self._pieces[piece]
                    future = self._seats[seat].do(packed(samples) if self._order else samples)
                    self._given[future] = seat, self._worker[seat], piece

    def _take(self, future: Future[Any]) -> None:
        seat, worker, piece = self._given.pop(future)
        try:
            answer = future.result()
        except self._seats[seat].losses as loss:
            self._lose(seat, worker, piece, loss)
            return
        if isinstance(answer, Refusal):
            raise EditbenchError(f"a reward worker cannot start: {answer.message}")
        if piece is None:
            self._ready.add(seat)
            self._lost["seat", seat] = 0
        else:
            self._found[piece] = answer

    def _lose(self, seat: int, worker: int, piece: int | None, loss: BaseException) -> None:
        what, which = ("seat", seat) if piece is None else ("piece", piece)
        self._lost[what, which] += 1
        if self._lost[what, which] >= TRIES:
            when = "before it was ready" if piece is None else f"on the same {len(self._pieces[piece])} samples"
            raise EditbenchError(f"a reward worker ended {TRIES} times {when}: {type(loss).__name__}: {loss}") from None
        if piece is not None:
            self._todo.appendleft(piece)
        if worker == self._worker[seat]:
            self._start(seat)


def described(rewards: Rewards) -> dict[str, Any]:
    """Return what the values of its metrics depend on."""
    return {spec: asdict(describe(metric)) for spec, metric in rewards.metrics.items()}


def packed(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples that hold their pixels, those of a scenario once, and nothing of the suite they are from."""
    scenarios: dict[int, Scenario] = {}
    for sample in samples:
        scenario = sample.scenario
        if id(scenario) not in scenarios:
            scenarios[id(scenario)] = replace(scenario, load=Loaded(scenario.content))
    return [Sample(scenarios[id(sample.scenario)], sample.output) for sample in samples]


@contextmanager
def reward_workers(rewards: Rewards, config: Settings, device: str = "cpu") -> Iterator[RewardWorkers]:
    """Start the workers that a run asks for.

    Args:
        rewards: to evaluate.
        config: of the run.
        device: that rollouts compute on; if it is the CPU, one thread less for them is what a thread for rewards costs.

    Raises:
        EditbenchError: if there is no Ray, or no cluster.
    """
    asked = Workers.parse(config.reward_workers) or Workers(int(device != "cpu" or bool(rewards.services)))
    texts = {name: expression.text for name, expression in rewards.expressions.items()}
    if asked.ray:
        ray = connect(asked.address)
        seats = [RaySeat(ray, config.reward_gpus, SeatedRewards) for _ in range(asked.count)]
        order = Order(texts, config.reward_timeout, described(rewards), tuple(sys.path), os.getcwd())  # noqa: PTH109
        workers = RewardWorkers(rewards, seats, order)
    else:
        more = (load_rewards(texts, config.reward_timeout) for _ in range(1, asked.count))
        workers = RewardWorkers(rewards, [ThreadSeat(own) for own in (rewards, *more)] if asked.count else [])
    try:
        yield workers
    finally:
        workers.close()
