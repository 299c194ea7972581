"""`editbench check editor`: what is wrong with an editor is said in one line, and how to mend it in the next."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from editbench.testing import check_editor
from editbench.toys import tiny_scenarios, toy_scenarios

MISBEHAVING = Path(__file__).with_name("misbehaving.py")


def darkens(source, mask):
    return np.where(mask[..., None], source // 2, source)


darkens.mask_access = "region"


def by_prompt(source, instruction):
    """Follows its instruction, as far as that is anything it knows."""
    return 255 - source if len(instruction) % 2 else source // 2


class Halves:
    mask_access = "none"

    def edit(self, requests):
        return [request.source // 2 for request in requests]


@pytest.mark.parametrize("editor", [darkens, by_prompt, Halves(), "jpeg", "recolor:leak=0.3"])
def test_a_good_editor_has_nothing_to_mend(editor):
    assert check_editor(editor) == []


def test_the_toys_are_of_every_kind_that_trips_an_editor():
    toys = [*toy_scenarios(), *tiny_scenarios()]
    sizes = {toy.source.shape[:2] for toy in toys}
    assert any(height % 2 and width % 2 for height, width in sizes) and min(map(min, sizes)) <= 16
    assert {0.0, 1.0} < {toy.mask.mean() for toy in toys}
    prompts = {toy.instruction for toy in toys}
    assert any("✨" in prompt for prompt in prompts) and any(len(prompt.split()) > 77 for prompt in prompts)


def wants_even_sizes(source):
    height, width = source.shape[:2]
    return source[: height // 2 * 2, : width // 2 * 2] // 2


def fears_empty_masks(source, mask):
    rows = np.flatnonzero(mask.any(axis=1))
    source[rows[0] : rows[-1]] //= 2
    return source


fears_empty_masks.mask_access = "hint"


def reads_ascii(source, instruction):
    instruction.encode("ascii")
    return source // 2


def reads_little(source, instruction):
    if len(instruction.split()) > 77:
        raise ValueError("token indices sequence length is longer than 77")
    return source // 2


def spills(source, mask):
    return 255 - source


spills.mask_access = "region"


class OneOnly:
    mask_access = "none"

    def edit(self, requests):
        (request,) = requests
        return [request.source // 2]


class Mixes:
    mask_access = "none"

    def edit(self, requests):
        return [request.source // (1 + len(requests)) for request in requests]


class Forgets:
    mask_access = "none"

    def edit(self, requests):
        return requests[0].source // 2


def normalised(source):
    return source / 127.5 - 1


def channels_second(source):
    return np.stack([source, source]).transpose(0, 3, 1, 2)


def tells(source):
    print("now editing")
    return source // 2


def unseeded(source):
    return source // 2 + np.random.randint(0, 2, source.shape, np.uint8)  # noqa: NPY002


@pytest.mark.parametrize(
    ("editor", "error", "text", "mend"),
    [
        (lambda source: None, True, "output_invalid: returned None", "no `return image`"),
        (lambda source: "done", True, "output_invalid: returned str", "shape (H, W, 3)"),
        (wants_even_sizes, True, "another size than its source, 64x62 (toy-3, 65x63", "--align resize"),
        (fears_empty_masks, True, "editor_error: IndexError", "in fears_empty_masks"),
        (reads_ascii, True, "editor_error: UnicodeEncodeError", "in reads_ascii"),
        (reads_little, True, "editor_error: ValueError: token indices", "in reads_little"),
        (normalised, True, "expected [0, 1]", "undo the normalisation"),
        (channels_second, True, "expected (H, W, 3)", "channels last"),
        (lambda source: source * np.nan, True, "non-finite", "half precision"),
        (Forgets(), True, "returned ndarray, expected a list of 1 images", "one image a request"),
        (spills, True, "promises to edit only inside the mask", "mask_access = 'hint'"),
        (OneOnly(), False, "a batch of 3 fails", "however many"),
        (Mixes(), False, "another image in a batch of 3", "seeded"),
        (unseeded, False, "another image the second time, with the same seed", "generator that is seeded"),
        (fears_empty_masks, False, "it writes into the source or the mask", "copy before"),
        (tells, False, "it prints, first 'now editing'", "the run's logs"),
        (lambda source: source, False, "every output is its source", ""),
    ],
)
def test_what_is_wrong_is_found_and_how_to_mend_it_is_said(editor, error, text, mend):
    found = [finding for finding in check_editor(editor) if text in finding.text]
    assert [finding.error for finding in found] == [error]
    assert mend in found[0].mend


def check(*arguments, **options):
    command = [sys.executable, "-m", "editbench", "check", "editor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dies", ["error: editor_killed: signal 11", "Fatal Python error: Segmentation fault", "in dies"]),
        ("leaves", ["error: editor_killed: exit status 7"]),
    ],
)
def test_an_editor_that_crashes_does_not_take_the_check_with_it(name, words):
    done = check(f"{MISBEHAVING}:{name}")
    assert done.returncode == 1, done.stderr
    assert all(word in done.stdout for word in words)
    assert "not_run" not in done.stdout and "no more edits were tried" in done.stdout


def test_an_editor_that_hangs_is_told_from_one_that_is_slow():
    done = check(f"{MISBEHAVING}:hangs", "--timeout", "0.3")
    assert done.returncode == 1
    assert "editor_timeout: no answer within 0.3 s" in done.stdout and "--timeout SECONDS" in done.stdout


def test_the_result_as_json_is_all_that_is_printed():
    done = check(f"{MISBEHAVING}:prints", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["errors"] == 0 and "hello" not in done.stderr
    assert any(finding["text"].startswith("it prints, first 'hello") for finding in told["findings"])
    done = check(f"{MISBEHAVING}:returns_none", "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    assert done.returncode == 1 and finding["error"] and "return image" in finding["mend"]


def test_an_editor_that_cannot_be_loaded_is_told_as_by_a_run():
    done = check(f"{MISBEHAVING}:retruns_none")
    assert done.returncode == 2 and "did you mean 'returns_none'?" in done.stderr
