"""The other end of fork_server.py: run a command with a fault, and see what it has left."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SERVER = Path(__file__).with_name("fork_server.py")


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    out: str
    err: str
    seen: list = field(repr=False)
    """Operations on the disk, (kind, what); empty if it was killed."""


class Forks:
    """Runs commands in forks of one process that has imported everything."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def warm_up(self, cwd, *commands):
        """Run commands once in the server itself, so that forks need not import anything."""
        self._ask({"warm": [{"cwd": str(cwd), "argv": command} for command in commands]})

    def run(self, cwd, argv, root="run", **fault):
        """Run a command in a folder; faults are those of `Faults`, on a folder below it."""
        log = Path(cwd) / "log"
        Path(f"{log}.seen").unlink(missing_ok=True)
        root = str(Path(cwd) / root)
        code = self._ask({"cwd": str(cwd), "argv": argv, "root": root, "log": str(log), **fault})["code"]
        kept = Path(f"{log}.seen")
        facts = json.loads(kept.read_text()) if kept.exists() else {"seen": [], "escaped": []}
        assert facts["escaped"] == [], "operations that were not counted"
        out, err = (Path(f"{log}.{name}").read_text() for name in ("out", "err"))
        return Ended(code, out, err, facts["seen"])

    def close(self):
        """End the server."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)

    def _ask(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())
