"""The program of a worker process: `python -m editbench.worker SPEC` builds an editor and answers frames on stdin."""

from __future__ import annotations

import os
import sys

from editbench.editors import load_editor
from editbench.execute import InProcess
from editbench.records import stable_reason
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
    except BaseException as error:
        answers.write(write_frame({"error": str(error) or stable_reason(error)}))
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


if __name__ == "__main__":
    serve(sys.argv[1])
