"""A program that runs `editbench` (or `edit-grpo-ref`) in forks of itself, with a fault at one operation on the disk.

Importing takes a second and forking takes none, so hundreds of runs can be killed. One JSON object a line comes in on
stdin for every run, one goes out on stdout.

Every operation of the process on a folder goes through functions of `os`: files there are opened by `_pyio`, Python's
own implementation of files in Python, so that each single write(2) passes here. An audit hook looks for any that does
not (`escaped`), and a test compares the counts with those of strace.
"""

import _pyio

# What pathlib calls is replaced here.
# ruff: noqa: PTH109, PTH118, PTH119, PTH120
import atexit
import builtins
import errno
import io
import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Faults:
    """Counts the operations of this process on one folder, and does something at the n-th.

    Args:
        root: the folder.
        kinds: which operations are counted: open, read, write, fsync, rename, remove, mkdir; all if empty.
        number: at which of them, from 1; 0 for never.
        action: the name of a signal that this process sends itself, or of an errno that the operation raises. A write
            that is killed has written half of its data.
    """

    def __init__(self, root, kinds, number, action):
        self.root, self.kinds, self.number, self.action = os.path.realpath(root), set(kinds), number, action
        self.seen, self.escaped, self.descriptors = [], [], set()
        self.inside = threading.local()
        self.real = {name: getattr(os, name) for name in NAMES}
        self.opened = io.open
        for name in NAMES:
            setattr(os, name, getattr(self, name))
        for module in (builtins, io):
            module.open = self.open_file
        sys.addaudithook(self.audit)

    def below(self, path):
        if isinstance(path, int):
            return path in self.descriptors
        path = os.path.join(os.getcwd(), os.fsdecode(path))
        return f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}/".startswith(f"{self.root}/")

    def point(self, kind, what, half=None):
        if self.kinds and kind not in self.kinds:
            return
        self.seen.append((kind, str(what)))
        if len(self.seen) != self.number:
            return
        if hasattr(errno, self.action):
            code = getattr(errno, self.action)
            raise OSError(code, os.strerror(code), str(what))
        if half is not None and self.action == "SIGKILL":
            half()
        os.kill(os.getpid(), getattr(signal, self.action))

    def call(self, name, *args, **kwargs):
        before, self.inside.yes = getattr(self.inside, "yes", False), True
        try:
            return self.real[name](*args, **kwargs)
        finally:
            self.inside.yes = before

    def audit(self, event, args):
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "os.link", "os.symlink"):
            if getattr(self.inside, "yes", False) or not isinstance(args[0], str | bytes | os.PathLike):
                return
            if self.below(args[0]) and (event != "open" or (args[2] or 0) & WRITING):
                self.escaped.append((event, str(args[0])))

    # ------------------------------------------------------------------------------------------ in the place of os

    def open_file(self, file, *args, **kwargs):
        if isinstance(file, int | str | bytes | os.PathLike) and self.below(file):
            return _pyio.open(file, *args, **kwargs)
        return self.opened(file, *args, **kwargs)

    def open(self, path, flags, mode=0o777, *, dir_fd=None):
        if dir_fd is not None or not self.below(path):
            return self.call("open", path, flags, mode, dir_fd=dir_fd)
        self.point("open" if flags & WRITING else "read", path)
        descriptor = self.call("open", path, flags, mode)
        self.descriptors.add(descriptor)
        return descriptor

    def close(self, descriptor):
        self.descriptors.discard(descriptor)
        return self.call("close", descriptor)

    def write(self, descriptor, data):
        if descriptor in self.descriptors:
            self.point("write", descriptor, half=lambda: self.real["write"](descriptor, bytes(data)[: len(data) // 2]))
        return self.call("write", descriptor, data)

    def fsync(self, descriptor):
        if descriptor in self.descriptors:
            self.point("fsync", descriptor)
        return self.call("fsync", descriptor)

    def ftruncate(self, descriptor, length):
        if descriptor in self.descriptors:
            self.point("write", descriptor)
        return self.call("ftruncate", descriptor, length)

    def _named(self, name, kind, path, *args, **kwargs):
        if kwargs.get("dir_fd") is None and self.below(path):
            self.point(kind, path)
        return self.call(name, path, *args, **kwargs)

    def replace(self, source, target, **more):
        return self._named("replace", "rename", source, target, **more)

    def rename(self, source, target, **more):
        return self._named("rename", "rename", source, target, **more)

    def unlink(self, path, **more):
        return self._named("unlink", "remove", path, **more)

    def remove(self, path, **more):
        return self._named("remove", "remove", path, **more)

    def mkdir(self, path, *args, **more):
        return self._named("mkdir", "mkdir", path, *args, **more)


NAMES = ("open", "close", "write", "fsync", "ftruncate", "replace", "rename", "unlink", "remove", "mkdir")


def run(order):
    """Be the program; return the exit code."""
    os.chdir(order["cwd"])
    os.environ.update(order.get("env", {}))
    for descriptor, name in ((1, "out"), (2, "err")):
        target = os.open(f"{order['log']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, descriptor)
        os.close(target)
    sys.argv = order["argv"]
    program = import_module("editbench.cli" if sys.argv[0] == "editbench" else "edit_grpo_ref.cli")
    faults = Faults(order["root"], order.get("kinds", ()), order.get("number", 0), order.get("action", "SIGKILL"))
    code = 0
    try:
        program.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
        code = 99
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with faults.opened(f"{order['log']}.seen", "w") as file:
        json.dump({"seen": faults.seen, "escaped": faults.escaped}, file)
    return code


def warm_up(orders):
    """Do once, here, what forks will do: they inherit the imports."""
    for order in orders:
        os.chdir(order["cwd"])
        sys.argv = order["argv"]
        program = import_module("editbench.cli" if sys.argv[0] == "editbench" else "edit_grpo_ref.cli")
        quiet = os.open(os.devnull, os.O_WRONLY)
        kept = os.dup(1), os.dup(2)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            program.main()
        except SystemExit:
            sys.stdout.flush()
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in (quiet, *kept):
                os.close(descriptor)


def main():
    """Serve orders until stdin ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if "warm" in order:
            warm_up(order["warm"])
            print("{}", flush=True)
            continue
        child = os.fork()
        if child == 0:
            code = 98
            try:
                code = run(order)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
