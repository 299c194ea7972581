"""Any program, in any language and environment, as an editor."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from editbench.editors.worker_program import ProgramFailed, WorkerProgram, how_it_ended
from editbench.images import InvalidImage, decode
from editbench.png import encode_png
from editbench.records import dumps
from editbench.registry import bare, written_spec
from editbench.types import EditbenchError, EditRequest, MaskAccess, OutputMissing


@dataclass(frozen=True)
class Command:
    """Run any program, in any environment: on a folder of requests, or as one that stays.

    `mode=batch` starts it for every batch. It finds `requests.jsonl` in `{request}`: one object a line with `name`,
    `instruction`, `seed`, `source` (a PNG beside it), and `mask` (white = edit, only with mask_access hint or region),
    `source_prompt`, `target_prompt` where there are any. It writes `{out}/<name>.png`, or `{out}/<name>.error.txt` with
    the reason of a failure.

    `mode=worker` starts it once, so that a model is loaded once: see `WorkerProgram`.

    Args:
        program: command line, with `{request}` and `{out}` in mode batch; split as a shell would, but run without one.
        mask_access: whether requests carry the mask.
        batch_size: requests for one start of the program in mode batch.
        mode: how the program is spoken to.
    """

    program: str = bare()
    mask_access: MaskAccess = "none"
    batch_size: int = 16
    mode: Literal["batch", "worker"] = "batch"
    _peaks: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    trained_on: ClassVar[tuple[str, ...]] = ()
    mixes_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for placeholder in ("{request}", "{out}"):
            if self.mode == "worker" and placeholder in self.program:
                raise ValueError(f"a program that stays gets no {placeholder}: its requests come on standard input")
            if self.mode == "batch" and placeholder not in self.program:
                raise ValueError(
                    f"the command lacks {placeholder}, expected PROGRAM {{request}} {{out}}, or PROGRAM,mode=worker"
                )
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}, expected at least 1")
        try:
            words = shlex.split(self.program)
        except ValueError as error:
            raise EditbenchError(f"command {self.program!r} cannot be split into words: {error}") from None
        if shutil.which(words[0]) is None:
            raise EditbenchError(f"command {self.program!r}: no program {words[0]!r} (not found, or not executable)")
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        if Path(words[0]).name.startswith("python") and script.endswith(".py") and not Path(script).is_file():
            raise EditbenchError(f"command {self.program!r}: no file {script!r}")

    def opened(self) -> Command | WorkerProgram:
        """Return what runs the program in its mode; nothing is started yet."""
        return (
            self
            if self.mode == "batch"
            else WorkerProgram(written_spec(self, "command"), self.program, self.mask_access)
        )

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the program during the last `edit`; 0 if it was too little to be told from our own."""
        return max(self._peaks, default=0)

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Start the program once for all requests; each output is judged on its own.

        If it ends badly, what it left without an answer is tried again one by one: the culprit alone is charged.
        """
        self._peaks.clear()
        outputs = self._answers(requests)
        if len(requests) == 1:
            return outputs
        return [
            self._answers([request])[0] if isinstance(output, ProgramFailed) else output
            for request, output in zip(requests, outputs, strict=True)
        ]

    def _answers(self, requests: Sequence[EditRequest]) -> list[object]:
        with tempfile.TemporaryDirectory(prefix="editbench-") as temporary:
            folder = Path(temporary).resolve()
            for name in ("request", "out"):
                (folder / name).mkdir()
            names = [f"{index:04d}" for index in range(len(requests))]
            lines = [_write(folder / "request", *pair) for pair in zip(names, requests, strict=True)]
            text = "".join(dumps(line) + "\n" for line in lines)
            (folder / "request" / "requests.jsonl").write_text(text, "utf-8")
            failure = self._start(folder)
            return [_output(folder, name, failure) for name in names]

    def _start(self, folder: Path) -> str | None:
        """Run the program to its end; return how it failed."""
        places = {"{request}": str(folder / "request"), "{out}": str(folder / "out")}
        words = shlex.split(self.program)
        for placeholder, place in places.items():
            words = [word.replace(placeholder, place) for word in words]
        with (folder / "stderr").open("wb") as stderr:
            try:
                nothing = subprocess.DEVNULL  # a worker's own standard input holds its next requests
                process = subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=stderr)
            except OSError as error:
                raise RuntimeError(f"cannot start {words[0]!r}: {error.strerror}") from None
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
        process.returncode = os.waitstatus_to_exitcode(status)
        self._peaks.append(_beyond_ours(usage.ru_maxrss))
        if process.returncode == 0:
            return None
        return how_it_ended(process.returncode, (folder / "stderr").read_bytes())


def _beyond_ours(peak: int) -> int:
    """Return the peak memory of a child in bytes; 0 unless it is more than ours, which Linux counts for the child."""
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) if peak > 1.02 * ours else 0


def _write(folder: Path, name: str, request: EditRequest) -> dict[str, object]:
    source = f"{name}.source.png"
    (folder / source).write_bytes(encode_png(request.source))
    line: dict[str, object] = {
        "name": name,
        "source": source,
        "instruction": request.instruction,
        "source_prompt": request.source_prompt,
        "target_prompt": request.target_prompt,
        "seed": request.seed,
    }
    if request.mask is not None:
        line["mask"] = f"{name}.mask.png"
        (folder / f"{name}.mask.png").write_bytes(encode_png(request.mask.astype(np.uint8) * np.uint8(255)))
    return {key: value for key, value in line.items() if value is not None}


def _output(folder: Path, name: str, failure: str | None) -> object:
    reason = folder / "out" / f"{name}.error.txt"
    if reason.is_file():
        return RuntimeError(_stable(reason.read_text("utf-8", "replace").strip(), folder, name))
    image = folder / "out" / f"{name}.png"
    if image.is_file():
        try:
            return decode(image)
        except InvalidImage as error:
            if failure is None:
                return error
    if failure is not None:
        return ProgramFailed(_stable(failure, folder, name))
    return OutputMissing("the program ended well without writing {out}/{name}.png")


def _stable(text: str, folder: Path, name: str) -> str:
    """Return what a program said without what depends on the batch: its temporary folders, the name of a request."""
    for place in ("request", "out"):
        text = text.replace(str(folder / place), f"{{{place}}}")
    for ending in (".source.png", ".mask.png", ".png", ".error.txt"):
        text = text.replace(name + ending, "{name}" + ending)
    return text[:500]
