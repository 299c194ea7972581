"""The program of a worker process: builds an editor from its spec and answers frames on stdin."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from editbench.editors import code_sha256, load_editor
from editbench.editors.function import FunctionEditor
from editbench.execute import AcceleratorLost, InProcess, leave
from editbench.orphans import when_orphaned
from editbench.records import encodable, stable_reason
from editbench.registry import spec_of
from editbench.types import Answers, AnyEditor, Composite, Editor
from editbench.wire import pack_attempts, read_frame, unpack_requests, write_frame


def serve(spec: str) -> None:
    """Say what the editor declares, and answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the editor prints goes to the log, not between the frames
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # nor does it, or a child of it, read our frames

    def read(count: int) -> bytes:
        data = requests.read(count)
        if len(data) < count:
            raise EOFError
        return data

    try:
        code = code_sha256(spec)
        editor = load_editor(spec)
        executor = InProcess(editor) if isinstance(editor, Editor) else None
        if executor is not None:
            executor.start()
        declared = {**declaration(editor), "code": code}
    except BaseException as error:
        answers.write(write_frame({"error": encodable(error) or stable_reason(error)}))
        answers.flush()
        return
    answers.write(write_frame(declared))
    answers.flush()
    while True:
        try:
            frame = read_frame(read)
        except EOFError:
            if executor is not None:
                executor.close()
            return
        if "log" in frame.header:
            _log_to(Path(frame.header["log"]))
            continue
        assert executor is not None
        try:
            answers.write(pack_attempts(executor.run(unpack_requests(frame))))
        except AcceleratorLost as lost:
            leave(lost)
        answers.flush()


def declaration(editor: AnyEditor) -> Mapping[str, Any]:
    """Return what a run needs to know about an editor, as JSON data."""
    kind = "composite" if isinstance(editor, Composite) else "answers" if isinstance(editor, Answers) else "editor"
    return {
        "kind": kind,
        "spec": spec_of(editor),
        "mask_access": editor.mask_access,
        "trained_on": list(getattr(editor, "trained_on", ())),
        "control": bool(getattr(editor, "control", False)),
        "batch_size": int(getattr(editor, "batch_size", 1)),
        "mixes_sizes": bool(getattr(editor, "mixes_sizes", False)),
        "code_sha256": getattr(editor, "code_sha256", None),
        "one_by_one": isinstance(editor, FunctionEditor),
    }


def _log_to(path: Path) -> None:
    """Append what was printed so far to a file, and let everything else follow."""
    sys.stdout.flush()
    sys.stderr.flush()
    so_far = Path(os.environ["TMPDIR"], "said.txt")
    with path.open("ab") as log:
        with contextlib.suppress(FileNotFoundError):  # told a second time, it has been moved
            log.write(so_far.read_bytes())
            log.flush()
            so_far.unlink()
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def _end(folder: str) -> None:
    """End this process and everything that it started, and remove its temporary folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve one editor. Arguments: `sys.path` as JSON, its spec, the parent's process id, a temporary folder."""
    _, _, spec, parent, folder = sys.argv
    sys.argv[1:] = []
    when_orphaned(int(parent), partial(_end, folder))  # nobody would wait for the work
    faulthandler.enable(all_threads=False)  # a crash says where, in the log
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # and leaves no file as large as a model
    with contextlib.suppress(BrokenPipeError):  # the parent has ended
        serve(spec)
    _end(folder)
