"""What every fuzzed parser shares: a budget of inputs, a watch over time and memory, and what counts as broken.

A parser reads bytes. It returns a value, or raises what its callers handle; anything else is a *crash*. It may take
some seconds of processor time (else a *hang*) and some memory (else a *bomb*). What it returns is checked by the same
function: an AssertionError is a *silent acceptance*, of content that contradicts its own checksum, schema or rules.
"""

import contextlib
import hashlib
import random
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10
"""Of processor time for one input: generous, for machines are busy, and what hangs does so for ever."""
BYTES = 200_000_000
"""By which the peak of resident memory may grow on one input."""
ROOM = 3_000_000_000
"""Bytes of addresses that all inputs of a parser together may take; beyond it, memory errors are raised."""
FOUND = Path(__file__).parents[1] / "found"
"""Inputs that were broken once, a folder for each parser; they are read in every run."""


@dataclass(frozen=True)
class Parser:
    """A parser and how its inputs are made."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    """Parses, and asserts what must hold of whatever it accepts."""
    refuses: tuple[type[Exception], ...]
    """The documented errors, which callers handle."""
    mutate: Callable[[random.Random, bytes, Sequence[bytes]], bytes]
    long: int = 6000
    """Inputs with `--long`."""
    short: int = 250
    """Inputs in every run."""


class Hang(BaseException):
    """The processor time of an input is over; no `except Exception` may swallow it."""


class Broken(AssertionError):
    """An input that ended as none may."""


def fuzz(parser, count, folder):
    """Read `count` mutated inputs; return how many of them were accepted.

    Args:
        parser: which one.
        count: inputs.
        folder: where the bytes of a broken input are left.

    Raises:
        Broken: at the first input that ended badly; says how, and where its bytes are.
    """
    draw = random.Random(f"{parser.name}")
    accepted = 0
    before = reset_peak()
    with watch():
        for seed in parser.seeds:
            if not try_one(parser, seed, folder):
                raise Broken(f"{parser.name} refuses a seed: {seed[:200]!r}")
        for number in range(count):
            before = before if number % 100 else reset_peak()  # which takes milliseconds
            data = parser.mutate(draw, draw.choice(parser.seeds), parser.seeds)
            accepted += try_one(parser, data, folder)
            if (grown := peak() - before) > BYTES:
                raise report(parser, data, folder, f"bomb: {grown // 1_000_000} MB")
    return accepted


def try_one(parser, data, folder):
    """Read one input; return whether it was accepted. Raises Broken."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        parser.read(data)
        accepted = True
    except parser.refuses as error:
        said = str(error)
        accepted = False
        if starved(error):
            raise report(parser, data, folder, "bomb: out of memory") from error
        if len(said) > 4000 or "\n" in said:
            raise report(parser, data, folder, f"message of {len(said)} characters or several lines") from error
    except Hang:
        raise report(parser, data, folder, f"hang: more than {SECONDS} s") from None
    except AssertionError as error:
        raise report(parser, data, folder, f"silent acceptance: {error}") from error
    except (Exception, SystemExit) as error:
        raise report(parser, data, folder, f"crash: {type(error).__name__}: {error}"[:500]) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return accepted


def report(parser, data, folder, what):
    """Leave the bytes of a broken input in a folder and return the error about it."""
    path = folder / parser.name / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Broken(f"{parser.name}: {what}; {len(data)} bytes, {data[:300]!r}, in {path}")


def starved(error):
    """Whether memory ran out, told from an error and those that it was raised from."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


@contextlib.contextmanager
def watch():
    """Turn the end of an input's processor time into `Hang`; the timer of pytest-timeout is another one."""

    def over(number, frame):
        raise Hang

    before = signal.signal(signal.SIGVTALRM, over)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if Path("/proc/self/statm").exists():  # a bomb must not take the machine with it
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def reset_peak():
    """Let the kernel forget the peak of resident memory; return it, in bytes. Elsewhere than on Linux, 0."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return peak()


def peak():
    """Return the peak of resident memory, in bytes; 0 where it is not known."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return 0
    return int(status[status.index(b"VmHWM:") + 6 :].split(None, 1)[0]) * 1024
