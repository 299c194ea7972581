"""Where editors run: in this process, or in one killable worker process when a deadline is asked for."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from editbench.images import Accepted, InvalidImage, as_image
from editbench.records import stable_reason
from editbench.types import EditbenchError, Editor, EditRequest, EditStatus, Image, OutputMissing
from editbench.wire import pack_request, read_frame, unpack_attempts

START_SECONDS = 600.0
"""How long a worker may take to import and build its editor."""


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
        return Attempt("output_missing", reason=str(output) or "no image")
    if isinstance(output, InvalidImage):
        return Attempt("output_invalid", reason=str(output))
    if isinstance(output, BaseException):
        status: EditStatus = "editor_oom" if _out_of_memory(output) else "editor_error"
        text = "".join(traceback.format_exception(output)[-8:])
        return Attempt(status, reason=stable_reason(output), traceback=text)
    try:
        accepted: Accepted = as_image(output)
    except InvalidImage as error:
        return Attempt("output_invalid", reason=str(error))
    return Attempt("ok", accepted.image, accepted.flags)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def measured(call: Callable[[], list[Attempt]]) -> list[Attempt]:
    """Call, and share the seconds among the attempts; each gets the peak memory of the call."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: restart the high-water mark of resident memory
    start = time.monotonic()
    attempts = call()
    seconds = round((time.monotonic() - start) / max(len(attempts), 1), 6)
    peak = _peak_bytes()
    return [replace(attempt, seconds=seconds, peak_bytes=peak) for attempt in attempts]


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
    """Runs an editor here. A batch that raises, or has the wrong length, is tried again one by one."""

    editor: Editor

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""
        return measured(lambda: self._attempts(requests))

    def _attempts(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        try:
            outputs = self.editor.edit(requests)
            if not isinstance(outputs, Sequence) or len(outputs) != len(requests):
                got = f"a list of {len(outputs)}" if isinstance(outputs, Sequence) else type(outputs).__name__
                raise InvalidImage(f"returned {got}, expected a list of {len(requests)} images")
        except (Exception, SystemExit) as error:  # sys.exit() in an editor must not end the run
            if len(requests) > 1:
                return [attempt for request in requests for attempt in self._attempts([request])]
            return [judge(error)]
        return [judge(output) for output in outputs]

    def close(self) -> None:
        """Nothing to leave behind."""


# ---------------------------------------------------------------------------------------------- worker process


class Worker:
    """Runs an editor in a process of its own that is killed, with all its children, when a deadline passes.

    The process is started on first use and again after each kill. A batch that misses its deadline, or kills the
    worker, is tried again one by one, so that the culprit alone is charged.

    Args:
        spec: the editor's spec string; the worker builds the editor from it.
        timeout: seconds for one sample.

    Raises:
        EditbenchError: from `run`, if the worker cannot build the editor.
    """

    def __init__(self, spec: str, timeout: float) -> None:
        self._spec = spec
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order."""
        process = self._started()
        start = time.monotonic()
        try:
            answer = self._exchange(process, requests, start + self._timeout * len(requests))
            return [Attempt(**fields) for fields in unpack_attempts(answer)]
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            if not isinstance(error, TimeoutError):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)  # it has closed its pipe: let it end, so that its own status is seen
            code = self._kill()
            if len(requests) > 1:
                return [attempt for request in requests for attempt in self.run([request])]
            seconds = round(time.monotonic() - start, 6)
            if isinstance(error, TimeoutError):
                reason = f"no answer within {self._timeout:g} s"
                return [Attempt("editor_timeout", reason=reason, seconds=seconds)]
            reason = f"signal {-code}" if code < 0 else f"exit status {code}"
            return [Attempt("editor_killed", reason=reason, seconds=seconds)]

    def close(self) -> None:
        """Kill the worker and everything that it started."""
        if self._process is not None:
            self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        command = [sys.executable, "-m", "editbench.worker", self._spec]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env={**os.environ}
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

    def _exchange(self, process: subprocess.Popen[bytes], requests: Sequence[EditRequest], deadline: float) -> Any:
        assert process.stdin is not None
        process.stdin.write(pack_request(requests))
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
        return process.wait() if exited is None else exited


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
