"""`python -m edit_grpo_ref` is the `edit-grpo-ref` program, as torchrun needs it."""

import os
import sys

from edit_grpo_ref.cli import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        if "WORLD_SIZE" not in os.environ or not isinstance(end.code, int | None):
            raise
        # Now and then a thread of Gloo outlives its group, and taking the interpreter down then aborts the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)
