"""Editors that misbehave on every second instruction, each in one way."""

import sys
import time

import numpy as np


def raises(source, instruction, mask, seed):
    raise RuntimeError(f"no luck with object at {id(source):#x}")


def returns_none(source, instruction, mask, seed):
    return None


def returns_text(source, instruction, mask, seed):
    return "done"


def wrong_size(source, instruction, mask, seed):
    return source[:-8]


def half_size(source, instruction, mask, seed):
    return source[::2, ::2]


def not_a_number(source, instruction, mask, seed):
    return np.full(source.shape, np.nan)


def wrong_range(source, instruction, mask, seed):
    return source.astype(float)


def exits(source, instruction, mask, seed):
    sys.exit(3)


def hangs(source, instruction, mask, seed):
    time.sleep(3600)


def hangs_sometimes(source, instruction, mask, seed):
    if seed % 2:
        time.sleep(3600)
    return source


def dies(source, instruction, mask, seed):
    import ctypes

    ctypes.string_at(0)


def out_of_memory(source, instruction, mask, seed):
    raise MemoryError


def prints(source, instruction, mask, seed):
    print("hello from the editor")
    return source


class ShortBatch:
    mask_access = "none"

    def edit(self, requests):
        return [request.source for request in requests][:1]


class FailsInBatches:
    mask_access = "none"

    def edit(self, requests):
        if len(requests) > 1:
            raise RuntimeError("one at a time, please")
        return [requests[0].source]


class Flaky:
    """Fails on the first call for each seed, then works; remembers the seeds it was given."""

    mask_access = "none"

    def __init__(self):
        self.seeds = []

    def edit(self, requests):
        (request,) = requests
        self.seeds.append(request.seed)
        if self.seeds.count(request.seed) == 1:
            raise RuntimeError("not yet")
        return [request.source]


class Darkens:
    """Draws on its input, and gives up on a batch once it has done so."""

    mask_access = "hint"

    def edit(self, requests):
        for request in requests:
            request.source[request.mask] //= 2
        if len(requests) > 2:
            raise MemoryError
        return [request.source for request in requests]


def says_odd_things(source, instruction, mask, seed):
    raise ValueError("file \ud800 \udcff")


class Unsayable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def says_nothing(source, instruction, mask, seed):
    raise Unsayable


def loses_a_file(source, instruction, mask, seed):
    import tempfile
    from pathlib import Path

    folder = tempfile.mkdtemp()
    Path(folder).rmdir()
    Path(folder, "weights.bin").read_bytes()


def leaves_files(source, instruction, mask, seed):
    import tempfile
    from pathlib import Path

    (Path(tempfile.mkdtemp(prefix="left-behind-")) / "large.bin").write_bytes(bytes(1000))
    if seed % 2:
        time.sleep(3600)
    return source


def inverts(source, instruction, mask, seed):
    return 255 - source


# ---------------------------------------------------------------------------------------- what is no good image


def _pillow(source, mode):
    from PIL import Image

    return Image.fromarray(source).convert(mode)


def _hidden_colour(source):
    return np.dstack([np.full_like(source, 77), np.zeros(source.shape[:2], np.uint8)])


RETURNS = {
    "transposed": lambda source: source.transpose(1, 0, 2),
    "channels_first": lambda source: source.transpose(2, 0, 1),
    "two_channels": lambda source: source[..., :2],
    "rgba": lambda source: _pillow(source, "RGBA"),
    "transparent": _hidden_colour,
    "grey": lambda source: _pillow(source, "L"),
    "palette": lambda source: _pillow(source, "P"),
    "bilevel": lambda source: _pillow(source, "1"),
    "cmyk": lambda source: _pillow(source, "CMYK"),
    "float_mode": lambda source: _pillow(source, "F"),
    "sixteen_bit": lambda source: source.astype(np.uint16) * 257,
    "signed": lambda source: source / 127.5 - 1,
    "infinite": lambda source: np.where(source > 200, np.inf, source / 255),
    "black": lambda source: np.zeros_like(source),
    "integers": lambda source: source.astype(np.int64),
    "objects": lambda source: source.astype(object),
    "empty": lambda source: source[:0],
    "a_class": lambda source: np.ndarray,
}


def __getattr__(name):
    """`returns_cmyk` and so on: an editor for each way of returning something else than was asked for."""
    if name.startswith("returns_") and name[8:] in RETURNS:
        make = RETURNS[name[8:]]
        return lambda source: make(source)
    raise AttributeError(name)


def returns_generator(source):
    yield source


class Lazy:
    mask_access = "none"

    def edit(self, requests):
        yield from (request.source for request in requests)


class Reuses:
    """Answers with one buffer, again and again."""

    mask_access = "none"

    def edit(self, requests):
        buffer = getattr(self, "buffer", None)
        if buffer is None:
            buffer = self.buffer = requests[0].source.copy()
        buffer[:] = 255 - requests[0].source
        return [buffer for _ in requests]


_buffer = {}


def reuses(source):
    buffer = _buffer.setdefault(source.shape, source.copy())
    buffer[:] = 255 - source
    return buffer


def mutates(source, mask):
    answer = 255 - source
    source[:] = 0
    mask[:] = True
    return answer


mutates.mask_access = "hint"


# ---------------------------------------------------------------------------------------------- ways to end badly


class Ended(BaseException):
    """Not even an Exception."""


def raises_anything(source):
    raise Ended("over")


def interrupts(source):
    raise KeyboardInterrupt


def leaves(source):
    import os

    os._exit(7)


def leaves_well(source):
    import os

    os._exit(0)


def aborts(source):
    import os

    os.abort()


def kills_itself(source):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def stops(source):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSTOP)
    return source


def closes_everything(source):
    import os

    os.closerange(0, 100)
    return source


def writes_everywhere(source):
    import contextlib
    import os

    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.set_blocking(descriptor, False)
            os.write(descriptor, b"hello, is anybody there? " * 10)
    return source


def asks(source):
    return source if input("continue? ") == "y" else None


def allocates(source):
    blocks = []
    while True:
        blocks.append(np.ones(20_000_000, np.uint8))
        time.sleep(0.005)


def allocates_elsewhere(source):
    import subprocess

    subprocess.run([sys.executable, "-c", "import time; x = bytes(1) * 500_000_000; time.sleep(60)"], check=True)
    return source


# ---------------------------------------------------------------------------------------------- what is left behind


def leaves_children(source):
    """A child, a child in a session of its own, and a daemon that nobody is the parent of."""
    import os
    import subprocess

    subprocess.Popen(["sleep", "3600"])
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(["sleep", "3600"])
        os._exit(0)
    os.wait()
    return source


def changes_surroundings(source):
    """Checks that it finds what it left, and leaves more."""
    import os
    import random
    import tempfile
    import warnings
    from pathlib import Path

    count = int(os.environ.get("MISBEHAVING", "0"))
    if count:
        assert str(Path.cwd()) == os.environ["MISBEHAVING_FOLDER"]
        assert random.random() == float(os.environ["MISBEHAVING_NEXT"])
    os.environ["MISBEHAVING"] = str(count + 1)
    os.environ.pop("MISBEHAVING_VICTIM", None)
    os.chdir(tempfile.gettempdir())
    os.environ["MISBEHAVING_FOLDER"] = str(Path.cwd())
    random.seed(count)
    state = random.getstate()
    os.environ["MISBEHAVING_NEXT"] = repr(random.random())
    random.setstate(state)
    np.random.seed(count)  # noqa: NPY002
    warnings.simplefilter("ignore")
    return source


def ignores_the_seed(source):
    return np.random.randint(0, 256, source.shape, np.uint8)  # noqa: NPY002


def writes_files(source):
    import tempfile
    from pathlib import Path

    (Path(tempfile.mkdtemp()) / "cache.bin").write_bytes(bytes(1000))
    tempfile.NamedTemporaryFile(delete=False).close()
    return source
