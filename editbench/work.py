"""What is done with a batch of tasks, wherever that is: edits where they are missing, then values where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from editbench.batches import BatchSizes, Size
from editbench.cells import Cell, Key, take_in
from editbench.chains import Edits
from editbench.editing import edit_batch, executor_of, is_news, needs_edit
from editbench.execute import InProcess
from editbench.isolation import Worker
from editbench.placement import leaf_of
from editbench.plan import Plan, sample_seed
from editbench.scoring import check_same_pixels, score_batch
from editbench.types import Editor, Image, Task

LOOK_AHEAD = 2
"""How many batches of tasks may wait for others of their image size."""


@dataclass(frozen=True)
class Outcome:
    """What became of tasks: events for the journal, and the edits that they name."""

    events: Sequence[Mapping[str, Any]]
    edits: Mapping[str, Image | bytes]
    """New edits, by the hash of their pixels; as PNG where another process made them."""
    finished: tuple[Key, ...] = ()
    """Tasks for which nothing is left to do."""
    seconds: float = 0.0
    """How long it took; in a pool."""


class Crew(Protocol):
    """Who does the tasks of a plan: this process alone, or a pool."""

    def outcomes(self, positions: Iterable[int], cells: dict[Key, Cell]) -> Iterator[Outcome]:
        """Yield what becomes of tasks, in any order; `cells` have taken it in by then."""

    def close(self) -> None:
        """Leave no process behind."""


class Alone:
    """This process does everything. Arguments as of `Work`."""

    def __init__(self, plan: Plan, edit: bool, score: bool) -> None:
        self._edits = plan.store.edits
        self.work = Work(plan, edit, score)

    def outcomes(self, positions: Iterable[int], cells: dict[Key, Cell]) -> Iterator[Outcome]:
        """Yield the edits of each batch, then its values."""
        return self.work.outcomes(positions, cells, self._edits)

    def close(self) -> None:
        """Let the editor leave nothing behind."""
        self.work.close()


class Work:
    """Does the tasks of a plan, and holds what that needs: the editor, loaded once, and the batch sizes it bears.

    Args:
        plan: what to run.
        edit: whether to make missing edits.
        score: whether to evaluate metrics.
    """

    def __init__(self, plan: Plan, edit: bool = True, score: bool = True) -> None:
        self._plan, self._edit, self._score = plan, edit, score
        self._executor = executor_of(plan)
        self._sizes = batch_sizes(plan)
        self._started = not isinstance(self._executor, InProcess)  # a worker has, or else it would not be there

    def log_to(self, path: Path) -> None:
        """Append what an isolated editor prints to a file."""
        if isinstance(self._executor, Worker):
            self._executor.log_to(path)

    def close(self) -> None:
        """Let the editor leave nothing behind."""
        if self._executor is not None:
            self._executor.close()

    def outcomes(self, positions: Iterable[int], cells: dict[Key, Cell], edits: Edits) -> Iterator[Outcome]:
        """Yield the edits of each batch, then its values; `cells` take them in.

        Args:
            positions: of tasks, counted through all repeats of all scenarios.
            cells: what is known of them, and of the turns that they go on from.
            edits: where their edits are, as far as there are any.

        Raises:
            EditbenchError: if a scenario has other pixels than when it was edited.
        """
        for batch in self._batches(self._task(position, cells, edits) for position in positions):
            yield from self._do(batch, cells, edits)

    def _task(self, position: int, cells: Mapping[Key, Cell], edits: Edits) -> Task:
        plan = self._plan
        place, repeat = divmod(position, plan.config.repeats)
        scenario, config = plan.suite[place], plan.config
        task = Task(scenario, repeat, sample_seed(config.seed, scenario.id, 0 if config.same_seed else repeat))
        return task if plan.chains is None else plan.chains.given(task, cells, edits)

    def _batches(self, tasks: Iterable[Task]) -> Iterator[list[Task]]:
        """Yield tasks in batches, of one image size each unless sizes may mix.

        It looks a few batches ahead for more of one size. What cannot be read is alone.
        """
        alike: dict[Size, list[Task]] = {}
        for task in tasks:
            size = self._size_of(task)
            if size is None:
                yield [task]
                continue
            waiting = alike.setdefault(size, [])
            waiting.append(task)
            full = len(waiting) >= self._sizes.of(size)
            if full or sum(map(len, alike.values())) >= LOOK_AHEAD * self._sizes.of(size):
                yield alike.pop(size if full else next(iter(alike)))
        yield from alike.values()

    def _size_of(self, task: Task) -> Size | None:
        try:
            return self._sizes.bucket(task.shown.source)
        except Exception:  # a suite may be anybody's code
            return None

    def _do(self, batch: Sequence[Task], cells: dict[Key, Cell], edits: Edits) -> Iterator[Outcome]:
        finished = tuple(task.key for task in batch)
        images: dict[Key, Image] = {}
        for task in batch:
            check_same_pixels(self._plan, task.scenario, cells.get(task.key))
        if self._edit:
            events, new = self._make(batch, cells, edits, images)
            yield self._outcome(Outcome(events, new, () if self._score else finished), cells)
        if self._score:
            events = score_batch(self._plan, batch, cells, edits, images)
            yield self._outcome(Outcome(events, {}, finished), cells)

    def _make(
        self, batch: Sequence[Task], cells: Mapping[Key, Cell], edits: Edits, images: dict[Key, Image]
    ) -> tuple[list[dict[str, Any]], dict[str, Image]]:
        """Make the edits that are missing; return their events, and those not kept yet; leave all in `images`."""
        plan = self._plan
        found = images if self._score else None
        wanting = [task for task in batch if needs_edit(plan, cells, edits, task, found)]
        if wanting and not self._started:
            assert isinstance(self._executor, InProcess)
            self._executor.start()
            self._started = True
        made = edit_batch(plan, self._executor, wanting, self._sizes)
        new: dict[str, Image] = {}
        news = []
        for (event, image), task in zip(made, wanting, strict=True):
            if plan.chains is not None:
                event["given_sha256"] = plan.chains.given_sha256(task, cells)
            if image is not None:
                sha256 = event["edit_sha256"]
                if sha256 not in new and not edits.has_edit(sha256):
                    new[sha256] = image
                images[task.key] = image
            if is_news(event, cells):
                news.append(event)
        return news, new

    def _outcome(self, outcome: Outcome, cells: dict[Key, Cell]) -> Outcome:
        for event in outcome.events:
            take_in(cells, event, self._plan.signatures)
        return outcome


def batch_sizes(plan: Plan) -> BatchSizes:
    """Return how many requests to begin with: as many as the run was told, or else as the editor asks for."""
    leaf = None if plan.editor is None else leaf_of(plan.editor)
    asked, told = int(getattr(leaf, "batch_size", 1)), plan.config.batch_size
    mixed = not isinstance(leaf, Editor) or bool(getattr(leaf, "mixes_sizes", False))
    return BatchSizes(told if isinstance(told, int) else asked, mixed, growing=told == "auto")
