"""How an editor is called, and what becomes of whatever it answers: an attempt a request, always."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np

from editbench.images import Accepted, InvalidImage, as_image
from editbench.records import encodable, stable_reason
from editbench.registry import spec_of
from editbench.surroundings import Surroundings, set_apart
from editbench.types import EditbenchError, EditFailed, Editor, EditRequest, EditStatus, Image, OutputMissing

MUTATES_INPUT = "mutates_input"
"""Flag of an edit whose editor wrote into the source or the mask that it was given."""

ACCELERATOR_LOST = 71
"""Exit status of a process whose accelerator answers nothing any more."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True)
class Attempt:
    """What one call of an editor gave for one request."""

    status: EditStatus
    image: Image | None = field(default=None, repr=False)
    flags: tuple[str, ...] = ()
    reason: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    batch_size: int = 1
    """Requests in the call that gave it."""
    restarts: int = 0
    """How many worker processes ended on it."""


class AcceleratorLost(EditbenchError):
    """Every later call in this process would fail, so that nothing more may be charged to an editor."""


class Executor(Protocol):
    """Runs one editor on batches of requests; never raises because of the editor, but for an `AcceleratorLost`."""

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""

    def close(self) -> None:
        """Leave no process behind."""


# -------------------------------------------------------------------------------------------------- judgement


def judge(output: object) -> Attempt:
    """Turn what an editor gave for one request into an attempt: an image, or a failure with its reason."""
    if isinstance(output, OutputMissing):
        return Attempt("output_missing", reason=encodable(output) or "no image")
    if isinstance(output, InvalidImage):
        return Attempt("output_invalid", reason=encodable(output))
    if isinstance(output, EditFailed):
        return Attempt(output.status, reason=encodable(output))
    if isinstance(output, BaseException):
        starved = is_out_of_memory(output)
        reason = stable_reason(output)
        if starved:  # what follows the first sentence says how much was free at the moment
            reason = reason.split(". ")[0].removesuffix(".")
        text = encodable("".join(traceback.format_exception(output)[-8:]))
        return Attempt("editor_oom" if starved else "editor_error", reason=reason, traceback=text)
    try:
        accepted: Accepted = as_image(output)
    except InvalidImage as error:
        return Attempt("output_invalid", reason=str(error))
    except Exception as error:  # an array or image type of somebody's own
        return Attempt("output_invalid", reason=f"{type(output).__name__} cannot be read: {stable_reason(error)}")
    return Attempt("ok", accepted.image, accepted.flags)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the machine or the accelerator is out of memory, in the words of any library."""
    if isinstance(error, MemoryError) or any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__):
        return True
    said = encodable(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(words in said for words in _OUT_OF_MEMORY)


def is_accelerator_lost() -> bool:
    """Whether the accelerator of this process refuses everything from now on.

    After some errors (an illegal address, a failed assertion, broken memory) CUDA returns the same error to every call
    until the process ends: "cudaErrorLaunchFailure" and others in the CUDA Runtime API, Error handling.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def leave(lost: AcceleratorLost) -> NoReturn:
    """End this process, and say why: whoever gave it work starts another, or gives the work to others."""
    sys.stderr.write(f"{lost}\n")
    sys.stderr.flush()
    os._exit(ACCELERATOR_LOST)


def timed(call: Callable[[], list[Attempt]]) -> list[Attempt]:
    """Call, and share the seconds among the attempts."""
    start = time.monotonic()
    attempts = call()
    seconds = round((time.monotonic() - start) / max(len(attempts), 1), 6)
    return [replace(attempt, seconds=seconds) for attempt in attempts]


def _peak_bytes() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ------------------------------------------------------------------------------------------------ this process


@dataclass(frozen=True)
class InProcess:
    """Runs an editor here. A batch that raises, or has the wrong length, is tried again one by one.

    One that runs out of memory is not: each of its requests is told so, for a smaller batch may do (`batches.py`).

    What the editor prints goes to stderr, for stdout is ours (`--json`). That holds for Python's `print`; C code and
    child processes write to the descriptor itself, which is left alone: the rest of this process uses it too.

    The editor gets copies. One that writes into them is flagged (`mutates_input`); its output counts all the same, for
    nobody else sees what it wrote. It has global random states, a working directory, an environment and warning filters
    of its own (`surroundings.py`).

    Peak memory is that of this process, unless the editor has an attribute `peak_bytes`, for work done elsewhere.
    """

    editor: Editor
    _surroundings: list[Surroundings] = field(default_factory=list, init=False, repr=False, compare=False)

    def start(self) -> None:
        """Let the editor load what its first edit needs.

        Raises:
            EditbenchError: if it cannot.
        """
        start = getattr(self.editor, "start", None)
        if not callable(start):
            return
        try:
            with set_apart(self._surroundings), contextlib.redirect_stdout(sys.stderr):
                start()
        except EditbenchError:
            raise
        except Exception as error:
            raise EditbenchError(
                f"editor {spec_of(self.editor)!r} could not be started: {stable_reason(error)}"
            ) from error

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: restart the high-water mark of resident memory
        attempts = timed(lambda: self._attempts(requests))
        if any(attempt.status == "editor_oom" for attempt in attempts):
            _free_memory()
        elsewhere = getattr(self.editor, "peak_bytes", None)
        peak = elsewhere if isinstance(elsewhere, int) else _peak_bytes()
        return [replace(attempt, peak_bytes=peak) for attempt in attempts]

    def _attempts(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        given = [_copy(request) for request in requests]
        try:
            with set_apart(self._surroundings), contextlib.redirect_stdout(sys.stderr):
                outputs = self.editor.edit(given)
            if not isinstance(outputs, Sequence) or len(outputs) != len(requests):
                got = f"a list of {len(outputs)}" if isinstance(outputs, Sequence) else type(outputs).__name__
                raise InvalidImage(f"returned {got}, expected a list of {len(requests)} images")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in an editor must not end the run
            if is_accelerator_lost():
                raise AcceleratorLost(
                    f"the accelerator answers nothing any more ({stable_reason(error)}); what was finished is kept: "
                    "issue the same command again, with --isolate for a new process whenever that happens"
                ) from error
            if len(requests) > 1 and not is_out_of_memory(error):
                return [attempt for request in requests for attempt in self._attempts([request])]
            return [replace(judge(error), batch_size=len(requests))] * len(requests)
        attempts = [judge(output) for output in outputs]
        return [_observed(*three, len(requests)) for three in zip(attempts, requests, given, strict=True)]

    def close(self) -> None:
        """Let the editor leave nothing behind."""
        close = getattr(self.editor, "close", None)
        if callable(close):
            close()


def _copy(request: EditRequest) -> EditRequest:
    mask = None if request.mask is None else request.mask.copy()
    return replace(request, source=request.source.copy(), mask=mask)


def _observed(attempt: Attempt, request: EditRequest, given: EditRequest, count: int) -> Attempt:
    """Return an attempt that tells of writing into the input, and how many requests were in its call."""
    attempt = replace(attempt, batch_size=count)
    if attempt.image is None:
        return attempt
    same = np.array_equal(request.source, given.source)
    if request.mask is not None and given.mask is not None:
        same = same and np.array_equal(request.mask, given.mask)
    flags = attempt.flags if same else tuple(sorted({*attempt.flags, MUTATES_INPUT}))
    return replace(attempt, flags=flags)


def _free_memory() -> None:
    """Give back what a failed call held, an accelerator's cache included."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
