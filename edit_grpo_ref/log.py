"""What a run tells: log.jsonl always, one line on the terminal, sample grids, and a tracker where one is installed."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.text import Text

from edit_grpo_ref.config import Settings
from editbench.console import bar
from editbench.durable import StorageError, write_whole
from editbench.images import resize
from editbench.png import encode_png
from editbench.records import loads
from editbench.regions import Mask
from editbench.specs import printable
from editbench.types import EditbenchError, Image


class Clock:
    """Seconds by phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start

    def lap(self) -> dict[str, float]:
        """Return the seconds since the last lap as `seconds/PHASE`, and start anew."""
        found = {f"seconds/{phase}": round(value, 4) for phase, value in self.seconds.items()}
        self.seconds.clear()
        return found


class Tracker(Protocol):
    """Where numbers go besides the log file."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step."""

    def close(self) -> None:
        """Finish."""


class TensorBoard:
    """Event files in the output directory; what they have of steps after `done` is hidden."""

    def __init__(self, folder: Path, done: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise EditbenchError("tracker tensorboard is not installed: pip install tensorboard") from None
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish."""
        self.writer.close()


class Trackio:
    """A local trackio project."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            trackio = importlib.import_module("trackio")
        except ImportError:
            raise EditbenchError("tracker trackio is not installed: pip install trackio") from None
        self.module: Any = trackio
        trackio.init(project="edit-grpo-ref", name=folder.name, config=dict(config))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        self.module.log(dict(numbers), step=step)

    def close(self) -> None:
        """Finish."""
        self.module.finish()


class Bar(Progress):
    """The bar, and below it what a step says: beside each other, they have no room on a terminal of 80 columns."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield both."""
        yield from super().get_renderables()
        yield from (Text(task.fields["below"]) for task in self.tasks if task.fields["below"])


class Log:
    """The log of one run; entering it opens the files. A rank that is not `active` says and writes nothing.

    Args:
        folder: output directory.
        config: of the run.
        done: steps already made; lines about later ones, which an interrupted process left, are dropped.
        active: whether this is the rank that writes.
    """

    def __init__(self, folder: Path, config: Settings, done: int, active: bool = True) -> None:
        self.folder, self.steps, self.done, self.active = folder, config.steps, done, active
        self.path = folder / "log.jsonl"
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        self.tracker: Tracker | None = None
        if active and config.tracker == "tensorboard":
            self.tracker = TensorBoard(folder, done)
        elif active and config.tracker == "trackio":
            self.tracker = Trackio(folder, asdict(config))

    def __enter__(self) -> Self:
        if self.active:
            write_whole(self.path, (line for line in _lines(self.path) if loads(line)["step"] <= self.done))
            columns = bar(self.console).columns
            self.progress = Bar(*columns, console=self.console, disable=not self.console.is_terminal)
            self.progress.start()
            self.task = self.progress.add_task("train", total=self.steps, completed=self.done, note="", below="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()
        if self.tracker is not None:
            self.tracker.close()

    def write(self, step: int, entry: Mapping[str, Any]) -> None:
        """Append one line, and show the bar's note or, away from a terminal, a line at every twentieth of the run.

        Args:
            step: steps made, this one included.
            entry: JSON data; numbers that are not finite become null.
        """
        if not self.active:
            return
        line = json.dumps({"step": step, **{name: _finite(value) for name, value in entry.items()}}, ensure_ascii=False)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error
        if self.tracker is not None:
            self.tracker.write(step, {name: v for name, v in entry.items() if isinstance(v, int | float)})
        if "validation/edit" in entry:
            self.say(f"step {step}: {_note(entry)}")
            return
        note = _note(entry)
        assert self.progress is not None
        self.progress.update(self.task, completed=step, below=note)
        if not self.console.is_terminal and (step * 20 // self.steps > (step - 1) * 20 // self.steps):
            self.say(f"step {step}/{self.steps}: {note}")

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        if self.active:
            if self.progress is not None and self.console.is_terminal:
                self.progress.console.print(printable(text), markup=False, highlight=False)
            else:
                sys.stderr.write(f"{printable(text)}\n")

    def grid(self, step: int, rows: Sequence[Row]) -> None:
        """Write what the policy makes of some scenarios as `grids/step-NNNNNN.png`."""
        if self.active:
            write_whole(self.folder / "grids" / f"step-{step:06d}.png", [encode_png(draw_grid(rows))])


NOTED = {
    "reward": "reward/{}",
    "validation": "validation/{}",
    "σA": "advantage_std/{}",
    "clip": "{}/clip_fraction",
    "KL": "{}/kl",
    "zero variance": "zero_variance/{}",
}
"""What the terminal shows: a word, and the names in the log of its values for edit, keep, or all."""


def _note(entry: Mapping[str, Any]) -> str:
    shown = []
    for word, name in NOTED.items():
        values = [entry.get(name.format(region)) for region in ("edit", "keep", "all")]
        known = [f"{value:.3g}" for value in values if value is not None]
        shown += [f"{word} {'/'.join(known)}"] if known else []
    if failed := sum(entry.get("failed", {}).values()):
        shown.append(f"failed {failed}")
    seconds = {name.partition("/")[2]: value for name, value in entry.items() if name.startswith("seconds/")}
    if seconds:
        shown.append(" ".join(f"{phase} {value:.2g}s" for phase, value in seconds.items()))
    return ", ".join(shown)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a log; one that a kill cut off is redone."""
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        if line.endswith(b"\n"):
            yield line


# ------------------------------------------------------------------------------------------------ sample grids

Row = tuple[str, Image, Mask, Image, Image]
"""Instruction, source, mask, edit before training, edit now."""
TITLES = ("source", "mask", "before", "after", "difference")
SIDE = 128
GAP = 4


def draw_grid(rows: Sequence[Row]) -> Image:
    """Draw one row a scenario: source, mask, edit before training, edit now, and |now − source| four times over."""
    font = ImageFont.load_default(13)
    blocks = []
    for instruction, source, mask, before, after in rows:
        grey = np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
        difference = np.clip(4 * np.abs(after.astype(np.int16) - source), 0, 255).astype(np.uint8)
        cells = [_fit(image) for image in (source, grey, before, after, difference)]
        height = max(cell.shape[0] for cell in cells)
        line = np.full((height + 22, GAP + len(cells) * (SIDE + GAP), 3), 255, np.uint8)
        for number, cell in enumerate(cells):
            left = GAP + number * (SIDE + GAP)
            line[22 : 22 + cell.shape[0], left : left + cell.shape[1]] = cell
        picture = PILImage.fromarray(line)
        ImageDraw.Draw(picture).text((GAP, 3), printable(instruction)[:120], fill=(0, 0, 0), font=font)
        blocks.append(np.asarray(picture))
    head = PILImage.new("RGB", (blocks[0].shape[1], 20), (255, 255, 255))
    for number, title in enumerate(TITLES):
        text = "difference x 4" if title == "difference" else title
        ImageDraw.Draw(head).text((GAP + number * (SIDE + GAP), 3), text, fill=(90, 90, 90), font=font)
    return np.concatenate([np.asarray(head), *blocks])


def _fit(image: Image) -> Image:
    """Bring an image into a square of `SIDE`, small ones by whole factors, so that pixels stay visible."""
    height, width = image.shape[:2]
    if max(height, width) <= SIDE:
        factor = SIDE // max(height, width)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = SIDE / max(height, width)
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
