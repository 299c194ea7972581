"""The cases that the page on reliability promises: each names a test that there is, or says why there is none."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"\| (?P<case>[^|]+) \| (?P<tests>.+) \|")
TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>test_\w+)`")
LEAST = {"Editor": 16, "Images and masks": 13, "Suite, ids, paths": 8, "Storage and processes": 15, "Trainer": 3}
"""Headings, and how many kinds of fault and bad input an image-edit harness must survive under each."""


def rows():
    """Yield heading, case and tests of every row below the headings."""
    heading = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        found = ROW.fullmatch(line)
        if heading in LEAST and found and found["case"] not in ("case", "---") and not set(found["case"]) <= {"-"}:
            yield heading, found["case"], found["tests"]


@cache
def functions_of(path):
    return {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("heading", "case", "tests"), [pytest.param(*row, id=row[1][:40]) for row in rows()])
def test_a_case_names_tests_that_exist_or_says_why_not(heading, case, tests):
    if tests.startswith("not tested: "):
        return
    named = TEST.findall(tests)
    assert named and TEST.sub("", tests).strip(", ") == "", f"{case}: {tests!r}, expected `tests/file.py::test_name`, …"
    for path, name in named:
        assert (ROOT / path).is_file() and name in functions_of(path), f"{case}: no {path}::{name}"


@pytest.mark.parametrize("heading", LEAST)
def test_every_kind_of_fault_has_a_row(heading):
    cases = [case for found, case, _ in rows() if found == heading]
    assert len(cases) == len(set(cases)) >= LEAST[heading]
