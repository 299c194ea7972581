"""Editors in a process of their own, which may hang, crash or take all memory without harm to this one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editbench.durable import StorageError
from editbench.execute import ACCELERATOR_LOST, Attempt
from editbench.images import pixels_sha256
from editbench.lifeline import IN_WORKER, PATIENCE_SECONDS, Line, MemoryExceeded, end_all, has_ended
from editbench.limits import Limits, memory_text
from editbench.types import EditbenchError, EditRequest, EditStatus, MaskAccess
from editbench.wire import declared, pack_request, read_frame, unpack_attempts, write_frame

START_SECONDS = 600.0
"""How long a worker may take to import and build its editor."""

STARTS = 3
"""How often a worker is started that is killed, by whatever else is on the machine, before it is ready."""

_ONLY_HERE = re.compile(r"__main__:|[\w.]+:[\w.<>]*<(locals|lambda)>")
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from editbench.worker import main; main()"


class _KilledAtStart(EditbenchError):
    """A worker that was killed before it was ready: no sample had anything to do with it."""


class Ended(Exception):
    """A worker has ended, or had to be ended, before it answered."""

    def __init__(self, status: EditStatus, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.status: EditStatus = status
        self.reason = reason
        self.seconds = seconds

    def attempt(self, restarts: int) -> Attempt:
        """Return what that makes of a request."""
        return Attempt(self.status, reason=self.reason, seconds=round(self.seconds, 6), restarts=restarts)


class Worker:
    """An editor in a process of its own: it stands for the editor, and runs it.

    The process leads a group of its own and is started with this object, so that what the editor declares is known, and
    again after each death. It ends with all its children, and with what it left in the temporary folder, when `close`
    is called, when this object is gone or when this process ends, however that happens.

    A batch is tried as a whole first. If the worker ends on it, its requests are tried one by one, so that the culprit
    alone is charged; a request on which it ended alone is tried once more. One that misses its own deadline is not.

    Resident memory is watched, not limited: an accelerator's libraries reserve far more addresses than they ever use,
    so that a limit of the address space (`RLIMIT_AS`) would refuse every model.

    Args:
        spec: the editor's spec string; the worker builds the editor from it.
        limits: what it may take.

    Raises:
        EditbenchError: if no other process can find the editor by its spec, or if building it fails.
    """

    def __init__(self, spec: str, limits: Limits) -> None:
        if _ONLY_HERE.match(spec):
            raise EditbenchError(
                "isolate, timeout, memory_limit: a process of its own needs an editor that another process can "
                f"import, and {spec!r} exists in this one only: put it into a file and name it path.py:NAME"
            )
        self._given, self._limits = spec, limits
        self._where = str(Path.cwd())  # of this moment: other code may change directory
        self._path = list(sys.path)
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None
        self._log: Path | None = None
        self._dead: set[tuple[object, ...]] = set()
        self._at_work = False
        declared = self._declared = self._start()
        self.kind: str = declared["kind"]
        self.spec: str = declared["spec"]
        self.mask_access: MaskAccess = declared["mask_access"]
        self.trained_on: tuple[str, ...] = tuple(declared["trained_on"])
        self.control: bool = declared["control"]
        self.batch_size: int = declared["batch_size"]
        self.mixes_sizes: bool = declared["mixes_sizes"]
        self.code_sha256: str | None = declared["code_sha256"]
        self.one_by_one: bool = declared["one_by_one"]
        """Whether a batch is no call of its own, as for a plain function."""

    def edit(self, requests: Sequence[EditRequest]) -> list[object]:
        """Return one image a request, or an exception in the place of one."""
        return [a.image if a.image is not None else RuntimeError(a.reason) for a in self.run(requests)]

    def log_to(self, path: Path) -> None:
        """Append to a file what the editor prints, what it has printed so far included."""
        self._log = path
        self._tell_log()

    def run(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Return one attempt a request, in order; `not_run` for those after too many deaths in a row."""
        if len(requests) == 1 or self.one_by_one:
            return [self._alone(request, tries=2) for request in requests]
        if self._has_given_up:
            return [self._not_run()] * len(requests)
        try:
            attempts = self._exchange(requests)
        except Ended as ended:
            if ended.status == "editor_oom":  # a smaller batch may do
                return [replace(ended.attempt(1), batch_size=len(requests))] * len(requests)
            return [self._alone(request, tries=1) for request in requests]
        self._dead.clear()
        return attempts

    def close(self) -> None:
        """End the worker and everything that it started; an editor that is not at work has some seconds to close."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._kill(0.0 if self._at_work else PATIENCE_SECONDS)

    # ------------------------------------------------------------------------------------------------- one sample

    def _alone(self, request: EditRequest, tries: int) -> Attempt:
        if self._has_given_up:
            return self._not_run()
        for number in range(1, tries + 1):
            restarts = 2 - tries + number
            try:
                (attempt,) = self._exchange([request])
            except Ended as ended:
                last = ended.attempt(restarts)
                if ended.status in ("editor_timeout", "not_run"):
                    break
            else:
                self._dead.clear()
                return _with_restarts(attempt, restarts - 1)
        self._dead.add((request.seed, request.instruction, pixels_sha256(request.source)))  # however often it is tried
        return last

    @property
    def _has_given_up(self) -> bool:
        return len(self._dead) >= self._limits.deaths

    def _not_run(self) -> Attempt:
        return Attempt("not_run", reason=f"the worker process ended on {len(self._dead)} samples in a row")

    def _exchange(self, requests: Sequence[EditRequest]) -> list[Attempt]:
        """Send requests and wait for their attempts. Raises Ended."""
        if self._process is None or has_ended(self._process):
            self._restart()
        start = time.monotonic()
        line = self._line(None if self._limits.timeout is None else self._limits.timeout * len(requests))
        self._at_work = True
        try:
            line.send(pack_request(requests))
            answered = unpack_attempts(read_frame(line.read))
            if len(answered) != len(requests):
                raise ValueError
            return [Attempt(**fields) for fields in answered]
        except TimeoutError:
            self._kill()
            reason = f"no answer within {self._limits.timeout:g} s"
            raise Ended("editor_timeout", reason, time.monotonic() - start) from None
        except MemoryExceeded:
            self._kill()
            raise Ended("editor_oom", self._too_much_memory(), time.monotonic() - start) from None
        except (EOFError, BrokenPipeError):
            reason = _how(self._kill(PATIENCE_SECONDS))
        except ValueError:  # the editor has written between the frames
            self._kill()
            reason = "an answer that cannot be read"
        except BaseException:  # an interrupt: its answer would be taken for that of the next request
            self._kill()
            raise
        finally:
            self._at_work = False
        raise Ended("editor_killed", reason, time.monotonic() - start)

    def _too_much_memory(self) -> str:
        return f"took more than {memory_text(self._limits.memory or 0)} of memory"

    # ------------------------------------------------------------------------------------------------ the process

    def _restart(self) -> None:
        try:
            same = self._start() == self._declared
        except StorageError:
            raise
        except (EditbenchError, OSError) as error:  # no memory for one more process
            raise Ended("editor_killed", f"cannot be started again: {error}"[:300], 0.0) from None
        if not same:
            self._kill()
            raise Ended("not_run", "the editor is another one than when it was first started: start a new run", 0.0)

    def _start(self) -> dict[str, Any]:
        """Start the process, again if it is killed before it is ready; return what the editor declares."""
        for _ in range(STARTS - 1):
            with contextlib.suppress(_KilledAtStart):
                return self._start_once()
        return self._start_once()

    def _start_once(self) -> dict[str, Any]:
        self._kill()
        try:
            folder = tempfile.mkdtemp(prefix="editbench-")
            output = Path(folder, "said.txt").open("wb")  # noqa: SIM115
        except OSError as error:
            raise StorageError(f"no room for temporary files ({error}): set TMPDIR to a folder that has some") from None
        said = Path(output.name)
        with output:
            process = self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", _PROGRAM, json.dumps(self._path), self._given, str(os.getpid()), folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                cwd=self._where,
                env={**os.environ, "TMPDIR": folder, IN_WORKER: "1"},
            )
        self._end = weakref.finalize(self, _end, os.getpid(), process, folder)
        try:
            self._tell_log()
            ready = declared(read_frame(self._line(START_SECONDS).read))
        except TimeoutError:
            ready = {"error": f"editor {self._given!r} was not ready within {START_SECONDS:g} s"}
        except MemoryExceeded:
            ready = {"error": f"editor {self._given!r} {self._too_much_memory()} before its first edit"}
        except (EOFError, BrokenPipeError, ValueError):
            last = said.read_text(errors="replace").strip().splitlines()[-1:] if said.exists() else []
            code = self._kill(PATIENCE_SECONDS)
            words = f": {last[0]}" if last else ""
            reason = f"editor {self._given!r} could not be started in a worker process ({_how(code)}{words})"
            if code in (-signal.SIGKILL, -signal.SIGTERM):
                raise _KilledAtStart(reason) from None
            ready = {"error": reason}
        if "error" in ready:
            self._kill()
            raise EditbenchError(str(ready["error"]))
        return ready

    def _tell_log(self) -> None:
        if self._log is not None and self._process is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(BrokenPipeError):  # it has just ended, and the next request will tell
                self._line(START_SECONDS).send(write_frame({"log": str(self._log)}))

    def _line(self, seconds: float | None) -> Line:
        assert self._process is not None
        return Line(self._process, seconds, self._limits.memory)

    def _kill(self, patience: float = 0.0) -> int:
        """End the process; return its exit code. One that has closed its output has some seconds to end by itself."""
        process, self._process = self._process, None
        if process is None:
            return 0
        has_ended(process, patience)
        self._end()
        return -signal.SIGKILL if process.returncode is None else process.returncode


def _end(owner: int, process: subprocess.Popen[bytes], folder: str) -> None:
    if os.getpid() != owner:  # a fork of the owner, which has no say
        return
    end_all(process, folder)
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe:
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel, as behind a broken accelerator
        process.wait(PATIENCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _how(code: int) -> str:
    if code == ACCELERATOR_LOST:
        return "its accelerator answered nothing any more"
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _with_restarts(attempt: Attempt, restarts: int) -> Attempt:
    return replace(attempt, restarts=restarts) if restarts else attempt
