"""How many requests an editor gets at once: as many as asked for, and fewer where memory runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from editbench.execute import Attempt, Executor
from editbench.types import EditRequest, Image

LARGEST = 64
"""Up to where `--batch-size auto` grows."""

Size: TypeAlias = tuple[int, int]
"""Height and width of a source: images of one size are batched together."""

ANY_SIZE: Size = (0, 0)


@dataclass
class BatchSizes:
    """The batch size of every image size; what was learned holds for the rest of a run.

    Args:
        asked: what to begin with.
        mixed: whether images of different sizes may be in one batch.
        growing: whether to double it after every full batch that came back, up to `LARGEST`, until memory runs out.
    """

    asked: int
    mixed: bool = False
    growing: bool = False
    _now: dict[Size, int] = field(default_factory=dict, init=False)
    _halved: set[Size] = field(default_factory=set, init=False)

    def bucket(self, source: Image) -> Size:
        """Return what an image shares with those that it may be batched with."""
        height, width = source.shape[:2]
        return ANY_SIZE if self.mixed else (height, width)

    def of(self, size: Size) -> int:
        """Return how many requests of an image size to put into a batch."""
        return self._now.get(size, self.asked)

    def came_back(self, size: Size, count: int) -> None:
        """Take note of a batch that was answered."""
        if self.growing and size not in self._halved and count == self.of(size):
            self._now[size] = min(2 * count, max(LARGEST, self.asked))

    def was_too_much(self, size: Size, count: int) -> None:
        """Take note of a batch that did not fit: half of it may."""
        self._now[size] = min(self.of(size), max(1, count // 2))
        self._halved.add(size)


def run_in_batches(executor: Executor, requests: Sequence[EditRequest], sizes: BatchSizes) -> list[Attempt]:
    """Run an editor on requests of any sizes, those of one image size together; return an attempt each, in order.

    A batch that runs out of memory is halved until it fits; a request for which there is too little memory alone has
    failed. So has a batch that ended the worker although each of its requests, alone, did not.
    """
    attempts: dict[int, Attempt] = {}
    for size, positions in _by_size(requests, sizes).items():
        waiting = positions
        while waiting:
            batch, waiting = waiting[: sizes.of(size)], waiting[sizes.of(size) :]
            made = dict(zip(batch, executor.run([requests[position] for position in batch]), strict=True))
            starved = [position for position in batch if made[position].status == "editor_oom"]
            if len(batch) > 1 and starved:
                sizes.was_too_much(size, max(made[position].batch_size for position in starved))
                waiting = starved + waiting
                for position in starved:
                    del made[position]
            elif len(batch) > 1 and all(_survived(attempt) for attempt in made.values()):
                sizes.was_too_much(size, len(batch))
            elif all(attempt.status != "not_run" for attempt in made.values()):
                sizes.came_back(size, len(batch))
            attempts.update(made)
    return [attempts[position] for position in range(len(requests))]


def _by_size(requests: Sequence[EditRequest], sizes: BatchSizes) -> dict[Size, list[int]]:
    positions: dict[Size, list[int]] = {}
    for position, request in enumerate(requests):
        positions.setdefault(sizes.bucket(request.source), []).append(position)
    return positions


def _survived(attempt: Attempt) -> bool:
    return attempt.restarts > 0 and attempt.status not in ("editor_killed", "editor_timeout", "not_run")
