"""Where editors run: in this process, or in one killable worker process when a deadline is asked for."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from editbench.images import Accepted, InvalidImage, as_image
from editbench.records import encodable, stable_reason
from editbench.types import EditbenchError, EditFailed, Editor, EditRequest, EditStatus, Image, OutputMissing
from editbench.wire import Frame, pack_request, read_frame, unpack_attempts

START_SECONDS = 600.0
"""How long a worker may take to import and build its editor."""

_ONLY_HERE = re.compile(r"__main__:|[\w.]+:[\w.<>]*<(locals|lambda)>")


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


class Executor(Protocol):
    """Runs one editor on batches of requests; never raises because of the editor."""

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
        status: EditStatus = "editor_oom" if _out_of_memory(output) else "editor_error"
        text = encodable("".join(traceback.format_exception(output)[-8:]))
        return Attempt(status, reason=stable_reason(output), traceback=text)
    try:
        accepted: Accepted = as_image(output)
    except InvalidImage as error:
        return Attempt("output_invalid", reason=str(error))
    return Attempt("ok", accepted.image, accepted.flags)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


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

    What the editor prints goes to stderr, for stdout is ours (`--json`). That holds for Python's `print`; C code and
    child processes write to the descriptor itself, which is left alone: the rest of this process uses it too.

    Peak memory is that of this process, unless the editor has an attribute `peak_bytes`, for work done elsewhere.
    """

    editor: Editor

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: restart the high-water mark of resident memory
        attempts = timed(lambda: self._attempts(requests))
        elsewhere = getattr(self.editor, "peak_bytes", None)
        peak = elsewhere if isinstance(elsewhere, int) else _peak_bytes()
        return [replace(attempt, peak_bytes=peak) for attempt in attempts]

    def _attempts(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        untouched = [_copy(request) for request in requests] if len(requests) > 1 else []
        try:
            with contextlib.redirect_stdout(sys.stderr):
                outputs = self.editor.edit(requests)
            if not isinstance(outputs, Sequence) or len(outputs) != len(requests):
                got = f"a list of {len(outputs)}" if isinstance(outputs, Sequence) else type(outputs).__name__
                raise InvalidImage(f"returned {got}, expected a list of {len(requests)} images")
        except (Exception, SystemExit) as error:  # sys.exit() in an editor must not end the run
            if untouched:  # the editor may have drawn on its input before it failed
                return [attempt for request in untouched for attempt in self._attempts([request])]
            return [judge(error)]
        return [judge(output) for output in outputs]

    def close(self) -> None:
        """Let the editor leave nothing behind."""
        close = getattr(self.editor, "close", None)
        if callable(close):
            close()


def _copy(request: EditRequest) -> EditRequest:
    mask = None if request.mask is None else request.mask.copy()
    return replace(request, source=request.source.copy(), mask=mask)


# ---------------------------------------------------------------------------------------------- worker process


class Worker:
    """Runs an editor in a process of its own that is killed, with all its children, when a deadline passes.

    The process is started on first use and again after each kill. It gets one request at a time, whatever the batch
    size: the deadline is that of one sample, and what it costs to miss it is charged to that sample alone. Temporary
    files that the editor leaves are removed with the process; if this process is killed, the worker ends too.

    Args:
        spec: the editor's spec string; the worker builds the editor from it.
        timeout: seconds for one sample.

    Raises:
        EditbenchError: if no other process can find the editor by its spec, or, from `run`, if building it fails.
    """

    def __init__(self, spec: str, timeout: float) -> None:
        if _ONLY_HERE.match(spec):
            raise EditbenchError(
                f"timeout: a deadline needs an editor that another process can import, and {spec!r} exists in this one "
                "only: put it into a file and name it path.py:NAME"
            )
        self._spec = spec
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""
        return [self._attempt(request) for request in requests]

    def _attempt(self, request: EditRequest) -> Attempt:
        process = self._started()
        start = time.monotonic()
        try:
            (fields,) = unpack_attempts(self._exchange(process, request, start + self._timeout))
            return Attempt(**fields)
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            if not isinstance(error, TimeoutError):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)  # it has closed its pipe: let it end, so that its own status is seen
            code = self._kill()
            seconds = round(time.monotonic() - start, 6)
            if isinstance(error, TimeoutError):
                return Attempt("editor_timeout", reason=f"no answer within {self._timeout:g} s", seconds=seconds)
            reason = f"signal {-code}" if code < 0 else f"exit status {code}"
            return Attempt("editor_killed", reason=reason, seconds=seconds)

    def close(self) -> None:
        """Kill the worker and everything that it started."""
        if self._process is not None:
            self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._folder = tempfile.mkdtemp(prefix="editbench-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "editbench.worker", self._spec, str(os.getpid()), self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "TMPDIR": self._folder},
        )
        try:
            ready = read_frame(_reader(self._process, time.monotonic() + START_SECONDS))
        except (TimeoutError, EOFError):
            self._kill()
            raise EditbenchError(f"editor {self._spec!r} could not be started in a worker process") from None
        if "error" in ready.header:
            self._kill()
            raise EditbenchError(str(ready.header["error"]))
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], request: EditRequest, deadline: float) -> Frame:
        assert process.stdin is not None
        process.stdin.write(pack_request([request]))
        process.stdin.flush()
        return read_frame(_reader(process, deadline))

    def _kill(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        exited = process.poll()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        code = process.wait() if exited is None else exited
        shutil.rmtree(self._folder, ignore_errors=True)
        return code


def _reader(process: subprocess.Popen[bytes], deadline: float) -> Callable[[int], bytes]:
    """Return a function that reads exactly n bytes from the worker, or raises TimeoutError or EOFError."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()

    def read(count: int) -> bytes:
        return b"".join(_chunks(descriptor, count, deadline))

    return read


def _chunks(descriptor: int, count: int, deadline: float) -> Iterator[bytes]:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while count:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(descriptor, min(count, 1 << 20))
            if not chunk:
                raise EOFError
            count -= len(chunk)
            yield chunk
