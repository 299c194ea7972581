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
