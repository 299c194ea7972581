"""The program of a worker process: builds an editor from its spec and answers frames on stdin."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from functools import partial

from editbench.editors import load_editor
from editbench.execute import InProcess
from editbench.orphans import when_orphaned
from editbench.records import encodable, stable_reason
from editbench.types import Editor
from editbench.wire import pack_attempts, read_frame, unpack_requests, write_frame


def serve(spec: str) -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the editor prints goes to stderr, not between the frames
    requests = os.fdopen(os.dup(0), "rb")

    def read(count: int) -> bytes:
        data = requests.read(count)
        if len(data) < count:
            raise EOFError
        return data

    try:
        editor = load_editor(spec)
        start = getattr(editor, "start", None)
        if callable(start):
            start()
    except BaseException as error:
        answers.write(write_frame({"error": encodable(error) or stable_reason(error)}))
        answers.flush()
        return
    assert isinstance(editor, Editor)
    answers.write(write_frame({"ready": True}))
    answers.flush()
    while True:
        try:
            frame = read_frame(read)
        except EOFError:
            return
        answers.write(pack_attempts(InProcess(editor).run(unpack_requests(frame))))
        answers.flush()


def _end(folder: str) -> None:
    """End this process and everything that it started, and remove its temporary folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _, spec, parent, folder = sys.argv
    when_orphaned(int(parent), partial(_end, folder))  # nobody would wait for the work
    with contextlib.suppress(BrokenPipeError):  # the parent has ended
        serve(spec)
    _end(folder)
