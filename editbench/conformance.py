"""What an editor of somebody else's must do, in a short friendly run that says how to mend what is wrong."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from editbench.execute import MUTATES_INPUT, Attempt, Executor, InProcess
from editbench.isolation import Worker
from editbench.limits import Limits
from editbench.placement import innermost, is_third_party, leaf_of, place_editor
from editbench.specs import parse
from editbench.toys import Finding, tiny_scenarios, toy_scenarios
from editbench.types import Answers, AnyEditor, EditbenchError, EditRequest, MaskAccess, Scenario, Task

SEED = 7
DEATHS = 2
"""Edits in a row on which a worker may end before the rest is not tried: it would tell nothing new."""

_CRASH = "Fatal Python error"
BATCH = 3
DEADLINE_SECONDS = 300.0
"""For one edit of somebody else's code, unless told otherwise."""

_MEND = {
    "None": "a path through the editor has no `return image`",
    "expected a list": "`edit(requests)` returns a list with one image a request, in the order of the requests",
    "expected a Pillow image": "return a Pillow image, an array or a tensor of shape (H, W, 3)",
    "expected (H, W, 3)": "put the channels last: of a (3, H, W) array, np.moveaxis(array, 0, -1)",
    "[0, 1]": "return uint8 from 0 to 255, or floats from 0 to 1: divide by 255, or undo the normalisation to [-1, 1]",
    "non-finite": "look for NaN or infinity: half precision overflows in many decoders",
    "expected": "return an image of the source's size: `image.resize(source.size)`, or run with --align resize",
}
"""Words of a reason for which an output is refused, the most telling first, to what to do about it."""


@dataclass
class Findings:
    """Findings, each once, with the edits that it is about; those that are mended in one way are one."""

    _first: dict[tuple[bool, str], Finding] = field(default_factory=dict)
    _about: dict[Finding, list[str]] = field(default_factory=dict)

    def add(self, error: bool, text: str, mend: str = "", about: str = "") -> None:
        """Take in a finding about one edit, or about the editor as a whole."""
        finding = self._first.setdefault((error, mend or text), Finding(error, text, mend))
        self._about.setdefault(finding, []).append(about)

    def all(self) -> list[Finding]:
        """Return the findings, errors first."""
        told = [Finding(f.error, f.text + _of(about), f.mend) for f, about in self._about.items()]
        return sorted(told, key=lambda finding: not finding.error)


def _of(about: Sequence[str]) -> str:
    names = [name for name in dict.fromkeys(about) if name]
    if not names:
        return ""
    return f" ({'; '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''})"


def place_for_check(editor: Any, timeout: float | None = None) -> AnyEditor:
    """Load an editor as a run would, third-party code with a deadline.

    Args:
        editor: a spec string, an editor object or a function.
        timeout: seconds for one edit; by default `DEADLINE_SECONDS` for what runs in a worker process anyway, and for
            programs.

    Raises:
        EditbenchError: if it cannot be loaded.
    """
    if timeout is None and isinstance(editor, str):
        inner = innermost(editor)
        if is_third_party(inner) or parse(inner).name == "command":
            timeout = DEADLINE_SECONDS
    return place_editor(editor, None, Limits(timeout, deaths=DEATHS))


def check_editor(editor: Any, timeout: float | None = None) -> list[Finding]:
    """Run an editor on toy scenarios; return what is wrong or worth knowing, errors first.

    They have several sizes, odd and tiny ones among them, an irregular, an empty and a full mask, and short, long and
    accented prompts with emoji. Each is edited alone, one of them once more with the same seed, and some in a batch.
    In a test of your own: `assert not [finding for finding in check_editor("my_model.py:edit") if finding.error]`.

    Args:
        editor: a spec string, an editor object or a function.
        timeout: seconds for one edit; the editor then runs in a worker process, as third-party specs do anyway.
    """
    try:
        leaf = leaf_of(place_for_check(editor, timeout))
    except EditbenchError as error:
        return [Finding(True, str(error))]
    if isinstance(leaf, Answers):
        return [Finding(False, "finished images are looked up, there is no code to check")]
    executor: Executor = leaf if isinstance(leaf, Worker) else InProcess(leaf)
    findings = Findings()
    try:
        with _listening(executor) as said:
            if isinstance(executor, InProcess):
                executor.start()
            _check(executor, leaf.mask_access, findings)
    except EditbenchError as error:  # it could not be started
        return [Finding(True, str(error))]
    finally:
        executor.close()
    crash = next((number for number, line in enumerate(said) if line.startswith(_CRASH)), len(said))
    if said[:crash]:
        mend = "harmless: from a worker process it goes to the run's logs, else to stderr"
        findings.add(False, f"it prints, first {said[0][:80]!r}", mend)
    if said[crash:]:
        places = [line.strip() for line in said[crash:] if line.strip().startswith("File ")]
        findings.add(True, said[crash], f"at {', called at '.join(places[:2])}" if places else "")
    return findings.all()


@contextlib.contextmanager
def _listening(executor: Executor) -> Iterator[list[str]]:
    """Give a list that holds, afterwards, the lines that the editor has printed meanwhile."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        heard = io.StringIO()
        if isinstance(executor, Worker):
            executor.log_to(log)
            yield said
            executor.close()
        else:
            with contextlib.redirect_stderr(heard):
                yield said
            sys.stderr.write(heard.getvalue())
        text = log.read_text("utf-8", "replace") if log.exists() else heard.getvalue()
        said += [line for line in text.splitlines() if line.strip()]


def _check(executor: Executor, access: MaskAccess, findings: Findings) -> None:
    scenarios = [*toy_scenarios(), *tiny_scenarios()]
    alone: dict[str, Attempt] = {}
    for scenario in scenarios:
        (attempt,) = executor.run([_request(scenario, access)])
        alone[scenario.id] = attempt
        _check_attempt(_name(scenario), scenario, attempt, access, findings)
    made = [(scenario, attempt) for scenario in scenarios if (attempt := alone[scenario.id]).image is not None]
    if made and all(_unchanged(*pair) for pair in made):
        findings.add(False, "every output is its source, unchanged", "an editor that edits does something with these")
    scenario, attempt = (made or [(scenarios[0], alone[scenarios[0].id])])[0]
    (again,) = executor.run([_request(scenario, access)])
    steady = _check_same(_name(scenario), attempt, again, "the second time, with the same seed", findings)
    together = [scenario for scenario in scenarios if scenario.source.shape == scenarios[0].source.shape][:BATCH]
    attempts = executor.run([_request(scenario, access) for scenario in together])
    for scenario, attempt in zip(together, attempts, strict=True):
        if steady or attempt.status != alone[scenario.id].status:
            _check_same(_name(scenario), alone[scenario.id], attempt, f"in a batch of {len(together)}", findings)
    one_by_one = isinstance(executor, Worker) and executor.one_by_one
    if attempts[0].batch_size == 1 and attempts[0].status == "ok" and not one_by_one:
        findings.add(
            False,
            f"a batch of {len(together)} fails, and is tried again one by one",
            "return one image for each of `requests`, however many there are",
        )


def _request(scenario: Scenario, access: MaskAccess) -> EditRequest:
    return Task(scenario, 0, SEED).request(access)


def _name(scenario: Scenario) -> str:
    height, width = scenario.source.shape[:2]
    return f"{scenario.id}, {width}x{height}, mask {scenario.mask.mean():.0%}"


def _same_size(scenario: Scenario, attempt: Attempt) -> bool:
    return attempt.image is not None and attempt.image.shape == scenario.source.shape


def _unchanged(scenario: Scenario, attempt: Attempt) -> bool:
    return attempt.image is not None and np.array_equal(attempt.image, scenario.source)


def _check_attempt(name: str, scenario: Scenario, attempt: Attempt, access: MaskAccess, findings: Findings) -> None:
    if attempt.status == "not_run":
        findings.add(False, f"no more edits were tried: {attempt.reason}")
    elif attempt.image is None:
        findings.add(True, f"{attempt.status}: {attempt.reason}", _mend(attempt), name)
    if attempt.image is None:
        return
    if not _same_size(scenario, attempt):
        got = f"{attempt.image.shape[1]}x{attempt.image.shape[0]}"
        mend = "return the source's size: pad or resize on the way in and undo it, or run with --align resize"
        findings.add(True, f"output_invalid: an image of another size than its source, {got}", mend, name)
        return
    for flag in attempt.flags:
        if flag == MUTATES_INPUT:
            text = "it writes into the source or the mask that it is given"
            findings.add(False, text, "harmless, for it has copies, but flagged in every record: copy before", name)
        else:
            findings.add(False, f"its output is accepted with the flag {flag!r}", "", name)
    outside = (attempt.image != scenario.source).any(axis=2) & ~scenario.mask
    if access == "region" and outside.any():
        text = "mask_access 'region' promises to edit only inside the mask, and it does not"
        findings.add(True, text, "declare mask_access = 'hint', or paste the source back outside", name)


def _check_same(name: str, before: Attempt, after: Attempt, when: str, findings: Findings) -> bool:
    """Compare two attempts at one request; return whether they are the same."""
    if after.status == "not_run":
        return False
    if after.status != before.status:
        mend = _mend(after if after.image is None else before)
        findings.add(True, f"{before.status} at first, {after.status} {when}: {after.reason}", mend, name)
        return False
    if before.image is None or after.image is None or before.image.shape != after.image.shape:
        return True
    largest = int(abs(before.image.astype(int) - after.image).max())
    if largest:
        mend = "draw from a generator that is seeded with the request's seed, one a request"
        findings.add(False, f"another image {when}, by up to {largest} levels: not deterministic", mend, name)
    return not largest


def _mend(attempt: Attempt) -> str:
    reason = attempt.reason or ""
    if attempt.status == "output_invalid":
        return next((mend for words, mend in _MEND.items() if words in reason), _MEND["expected a Pillow image"])
    if attempt.status == "editor_error" and attempt.traceback:
        places = [line.strip() for line in attempt.traceback.splitlines() if line.strip().startswith("File ")]
        return f"raised at {places[-1]}" if places else ""
    return {
        "editor_timeout": "give it longer with --timeout SECONDS, or look for what it waits for",
        "editor_killed": "its process ended: a crash in native code, os._exit, or the machine is out of memory",
        "editor_oom": "use a smaller model, image or precision: this was one image alone",
        "output_missing": "write an image for every request",
    }.get(attempt.status, "")
