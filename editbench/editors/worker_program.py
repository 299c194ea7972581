"""A program that stays: one JSON line a request on its standard input, one an answer on its standard output."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any, ClassVar

from editbench.editors.protocol import ProtocolError, output_from_json, request_to_json
from editbench.lifeline import IN_WORKER
from editbench.records import dumps, loads
from editbench.types import EditbenchError, EditRequest, MaskAccess

START_SECONDS = 600.0
"""How long a program may take to say that it is ready."""
END_SECONDS = 5.0
"""How long it may take to end once its input has."""
MAX_BYTES = 1 << 28
"""A longer line is no answer."""


class ProgramFailed(RuntimeError):
    """A program ended badly, or said something else than an answer; a request is left without one."""


class WorkerProgram:
    """A program that is started once and answers line by line, until its input ends.

    When it can take requests, it writes `{"ready": true}`. For each line that it reads, a request as in
    docs/protocol.md, it writes one with `{"image": …}` or `{"error": …}`, and flushes. Anything else on its standard
    output fails the request and ends the program, for then it is not known which answer belongs to which request. What
    is meant for people goes to standard error, whose last line is the reason of an early end. A program that has ended
    is started again for the next request, unless it was never ready.

    Args:
        spec: of the editor.
        program: command line, split as a shell would.
        mask_access: whether requests carry the mask.
    """

    trained_on: ClassVar[tuple[str, ...]] = ()
    batch_size: ClassVar[int] = 1
    mixes_sizes: ClassVar[bool] = True
    peak_bytes: ClassVar[int] = 0

    def __init__(self, spec: str, program: str, mask_access: MaskAccess) -> None:
        self.spec = spec
        self.mask_access = mask_access
        self._words = shlex.split(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._own_group = False
        self._said = bytearray()
        self._was_ready = False
        self._never: str | None = None

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Ask the program one request after the other; what it cannot answer fails that request alone."""
        return [self._answer(request) for request in requests]

    def start(self) -> None:
        """Start the program and wait until it is ready.

        Raises:
            EditbenchError: if it never is.
        """
        try:
            self._started()
        except ProgramFailed as error:
            raise EditbenchError(f"command {shlex.join(self._words)!r}: {error}") from error.__cause__

    def close(self) -> None:
        """End the program: its input ends, and whatever is left of it a little later is killed."""
        if self._process is not None:
            self._end(END_SECONDS)

    def _answer(self, request: EditRequest) -> object:
        try:
            self._started()
            data = self._exchange(dumps(request_to_json(request)).encode() + b"\n")
            assert self._stderr is not None
            self._stderr.seek(0)  # the program's own position too: what it says is of interest where it fails
            self._stderr.truncate()
            return output_from_json(data)
        except ProtocolError as error:
            self._end(0.0)
            return ProgramFailed(f"the program wrote a wrong answer: {error}")
        except ProgramFailed as error:
            return error
        except BaseException:
            self._end(0.0)
            raise

    # ---------------------------------------------------------------------------------------------- the process

    def _started(self) -> None:
        if self._process is not None:
            return
        if self._never is not None:
            raise ProgramFailed(self._never)
        # A worker process of ours is killed with its group, which the program therefore must not leave. Anywhere else
        # it gets a group of its own, so that what it starts can be killed with it.
        self._own_group = IN_WORKER not in os.environ
        self._said.clear()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        pipe = subprocess.PIPE
        group = 0 if self._own_group else None
        try:
            self._process = subprocess.Popen(
                self._words, stdin=pipe, stdout=pipe, stderr=self._stderr, bufsize=0, process_group=group
            )
        except OSError as error:
            self._stderr.close()
            raise ProgramFailed(f"cannot start {self._words[0]!r}: {error.strerror}") from None
        try:
            data = self._exchange(b"", time.monotonic() + START_SECONDS)
            if data.get("ready") is not True:
                self._end(0.0)
                raise ProgramFailed('the program did not begin with {"ready": true}')
        except ProgramFailed as error:
            reason = f"{error} (before it was ready)"
            if not self._was_ready:
                self._never = reason
            raise ProgramFailed(reason) from error.__cause__
        except BaseException:
            self._end(0.0)
            raise
        self._was_ready = True

    def _exchange(self, line: bytes, deadline: float | None = None) -> dict[str, Any]:
        """Write a line and read one; both at once, for the program may write before it has read everything."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        rest = memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if rest:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while rest or b"\n" not in self._said:
                if rest and b"\n" in self._said:
                    raise self._noise("before it had read the request")
                events = selector.select(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if not events:
                    self._end(0.0)
                    raise ProgramFailed(f"the program was not ready within {START_SECONDS:g} s")
                for key, _ in events:
                    if key.fileobj is process.stdout:
                        chunk = os.read(process.stdout.fileno(), 1 << 20)
                        if not chunk:
                            raise self._ended()
                        self._said += chunk
                        if len(self._said) > MAX_BYTES:
                            raise self._noise(f"more than {MAX_BYTES} bytes without an end of line")
                    else:
                        try:
                            rest = rest[os.write(process.stdin.fileno(), rest[: 1 << 20]) :]
                        except BrokenPipeError:  # it has ended, or will not read any more
                            rest = rest[:0]
                        if not rest:
                            selector.unregister(process.stdin)
        text, _, self._said = self._said.partition(b"\n")
        with contextlib.suppress(ValueError):
            if isinstance(data := loads(bytes(text)), dict):
                return data
        raise self._noise("what is no JSON object", text)

    def _noise(self, what: str, text: bytes | bytearray = b"") -> ProgramFailed:
        """End the program; the text, which may be another one each time, goes to the journal and not to the record."""
        failure = ProgramFailed(f"the program wrote to standard output {what}: print to standard error instead")
        failure.__cause__ = ProgramFailed(f"it wrote {bytes((text or self._said)[:200])!r}")
        self._end(0.0)
        return failure

    def _ended(self) -> ProgramFailed:
        return ProgramFailed(self._end(END_SECONDS))

    def _end(self, grace: float) -> str:
        """End the program, at the latest after some seconds; return how it ended."""
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and process.stdout is not None
        assert self._stderr is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if grace:
                process.wait(grace)
        code = process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(process.pid, signal.SIGKILL)
            elif code is None:
                process.kill()
        process.stdout.close()
        process.wait()
        size = os.fstat(self._stderr.fileno()).st_size
        tail = os.pread(self._stderr.fileno(), 10_000, max(0, size - 10_000))
        self._stderr.close()
        return how_it_ended(process.returncode if code is None else code, tail)


def how_it_ended(code: int, stderr: bytes) -> str:
    """Return one line about the end of a program: its status or signal, and the last line that it wrote."""
    said = stderr[-10_000:].decode(errors="replace").strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"status {code}"
    return f"the program ended with {how}" + (f": {said[-1]}" if said else "")
