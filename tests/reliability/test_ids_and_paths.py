"""Names and paths as somebody hostile writes them: ids, labels, links, pipes, archives, YAML."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from fuzz.run_parsers import header, records

from editbench.config import RunConfig, read_config
from editbench.editors import load_editor
from editbench.images import InvalidImage
from editbench.names import is_name, is_plain, shown
from editbench.plan import make_plan
from editbench.png import encode_png
from editbench.reading import TooMuch, lines_limited, parse_yaml, read_limited
from editbench.record_files import format_records, read_records
from editbench.records import InvalidRecords
from editbench.suites import load_suite
from editbench.suites.folder import FolderSuite
from editbench.types import EditbenchError, Scenario, Task

BLACK = encode_png(np.zeros((20, 20, 3), np.uint8))
HOSTILE_NAMES = (
    *("=HYPERLINK(1)", "-1+1", "+1", "@SUM(1)", "<script>alert(1)</script>", "\x1b[31mred", "a\u202eb", "a\0b"),
    *("a\nb", "\t=1", "x" * 10_000, "", " a", "é", "a/b", ".."),
)
HOSTILE_PATHS = (
    "../x.png",
    "/etc/passwd",
    "C:\\x.png",
    "a\\..\\x.png",
    "a\0.png",
    "",
    "deep/../../x.png",
    "//x",
    "c:x.png",
)


def suite(root, *items):
    (root / "a.png").write_bytes(BLACK)
    lines = [{"id": f"s{number}", "source": "a.png", "instruction": "Go.", **item} for number, item in enumerate(items)]
    (root / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return FolderSuite(root)


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "CON ", ".a", "-a", "a b", "A" * 129, "e\u0301", "ﬁ"])
def test_an_id_outside_the_rule_is_refused_with_file_and_line(name, tmp_path):
    with pytest.raises(EditbenchError, match=r"scenarios\.jsonl:2: id .*expected up to 128 letters"):
        suite(tmp_path, {}, {"id": name})
    with pytest.raises(EditbenchError, match="expected an id of"):
        Scenario(id=name, cluster="c", category="edit", instruction="", load=lambda: None)


@pytest.mark.parametrize("name", ["CON", "a.", "A" * 128, "nul.png", "0", "a..b"])
def test_an_id_that_is_odd_and_allowed_names_no_file(name, tmp_path):
    import editbench as eb

    suite(tmp_path, {"id": name})
    eb.run(suite=f"folder:{tmp_path}", editor="identity", metrics="mae:region=all", output_dir=str(tmp_path / "run"))
    files = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [file for file in files if file.startswith(name) and len(name) > 1]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
@pytest.mark.parametrize("field", ["source", "mask", "target"])
def test_a_path_out_of_the_folder_is_refused_with_file_and_line(field, path, tmp_path):
    with pytest.raises(
        EditbenchError, match=rf"scenarios\.jsonl:1: {field}=.*expected a path inside the suite's folder"
    ):
        suite(tmp_path, {field: path})


@pytest.mark.parametrize("name", ["b" * 300 + ".png", "gone.png", "deep", "🙂gone.png", "a.png/"])
def test_a_file_that_cannot_be_is_named_and_costs_its_scenario(name, tmp_path):
    (tmp_path / "deep").mkdir()
    found = suite(tmp_path, {"source": name}, {})
    if name == "a.png/":
        return
    with pytest.raises(InvalidImage, match="source '"):
        _ = found[0].content
    assert found[1].source.shape == (20, 20, 3)


def test_names_in_any_script_are_read(tmp_path):
    found = suite(tmp_path, {"source": "🙂 é.png"})
    (tmp_path / "🙂 é.png").write_bytes(BLACK)
    assert found[0].source.shape == (20, 20, 3)


def test_links_and_pipes_of_a_submission_show_nothing_of_this_machine(tmp_path):
    outside = tmp_path / "private.png"
    outside.write_bytes(encode_png(np.full((20, 20, 3), 9, np.uint8)))
    given = tmp_path / "given"
    given.mkdir()
    (given / "s0.png").symlink_to(outside)
    (given / "s1.png").write_bytes(BLACK)
    os.mkfifo(given / "s2.png")
    scenarios = suite(tmp_path, {}, {}, {})
    answers = load_editor(f"folder:{given}")
    assert any("s2" in line for line in answers.prepare(scenarios))
    with pytest.raises(InvalidImage, match="a link that leads out of the folder"):
        answers.answer(Task(scenarios[0], 0, 0))
    assert answers.answer(Task(scenarios[1], 0, 0)) is not None
    assert answers.answer(Task(scenarios[2], 0, 0)) is None


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.pkl", "x.pt", "x.npy"])
def test_archives_and_pickles_are_no_data(name, tmp_path):
    magic = {"zip": b"PK\3\4", "gz": b"\x1f\x8b", "pkl": b"\x80\4", "pt": b"PK\3\4", "npy": b"\x93NUMPY"}[
        name.rpartition(".")[2]
    ]
    (tmp_path / name).write_bytes(magic + bytes(200))
    with pytest.raises(InvalidImage, match="not a PNG, JPEG or WebP"):
        _ = suite(tmp_path, {"source": name})[0].content
    for spec in (f"folder:{tmp_path / name}",):
        with pytest.raises(EditbenchError):
            load_suite(spec)
        with pytest.raises(EditbenchError):
            load_editor(spec).prepare(suite(tmp_path, {}))


# -------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("label", HOSTILE_NAMES[:11])
def test_a_label_that_a_spreadsheet_a_page_or_a_terminal_would_obey_is_refused(label, tmp_path):
    config = RunConfig("shapes@1:size=64", "identity", label=label, limit=1, output_dir=str(tmp_path / "run"))
    with pytest.raises(EditbenchError, match=r"label .*expected up to 64"):
        make_plan(config)
    told = header()
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(format_records(replace(told, editor=replace(told.editor, label=label)), records())))
    with pytest.raises(InvalidRecords, match=r"label .*expected up to 64"):
        read_records(path)


@pytest.mark.parametrize("text", HOSTILE_NAMES[:4] + HOSTILE_NAMES[5:11])
def test_nothing_in_a_record_file_becomes_a_formula_or_an_escape(text, tmp_path):
    told, path = header(), tmp_path / "x.jsonl"
    assert not is_name(text)
    for changed in (
        replace(told, suite=replace(told.suite, name=text)),
        replace(told, editor=replace(told.editor, spec=text)),
        replace(told, editor=replace(told.editor, trained_on=(text,))),
        replace(told, metrics={**told.metrics, text: told.metrics["leak_profile"]}),
    ):
        path.write_bytes(b"".join(format_records(changed, [])))
        with pytest.raises(InvalidRecords, match="in the header, expected text without control"):
            read_records(path)
    path.write_bytes(b"".join(format_records(told, [replace(records()[0], category=text)])))
    with pytest.raises(InvalidRecords, match=r"x\.jsonl:2: .*of category"):
        read_records(path)


def test_text_is_plain_whatever_its_script():
    for text in ("é", "🙂", "اجعل", "a b", "日本 語"):
        assert is_plain(text)
    for text in ("\x1b", "\x9b", "a\u2028b", "\u2066", "\ud800", "\r"):
        assert not is_plain(text)
    assert len(shown({"a" * 1000: [["b" * 1000] * 1000] * 1000})) < 500


def test_what_the_terminal_shows_of_hostile_data_cannot_move_it(tmp_path):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    suite(tmp_path, {"instruction": evil, "meta": {evil: evil}, "cluster": evil}, {"source": "b\u202e.png"})
    (tmp_path / "edit.py").write_text("def edit(source, instruction):\n    raise ValueError(instruction)\n")
    commands = [
        [
            "run",
            "--suite",
            f"folder:{tmp_path}",
            "--editor",
            f"{tmp_path}/edit.py:edit",
            "--label",
            "x",
            "--no-isolate",
        ],
        ["check", "suite", f"folder:{tmp_path}", "--html", str(tmp_path / "page")],
        ["run", "--suite", f"folder:{tmp_path}", "--editor", "identity", "--label", evil],
        ["run", "--suite", evil, "--editor", "identity"],
        ["list", "editors", evil],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "editbench", *command], capture_output=True, text=True, cwd=tmp_path
        )
        shown_ = done.stdout + done.stderr
        assert "internal error" not in shown_
        if command[0] != "list":  # whose parser of arguments quotes what the user typed
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown_), shown_


# ---------------------------------------------------------------------------------------------- limits of files

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 100000 values"),
        ("a: &a [*a]", "an alias of what it stands in"),
        ("suite: x\nsuite: y", "key 'suite' twice"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: .inf", "not finite"),
        ("a: 2001-13-45", "malformed YAML"),
        ("[" * 5000, "malformed YAML"),
        ("a: \x00", "malformed YAML"),
    ],
)
def test_yaml_that_multiplies_runs_or_contradicts_itself_is_refused(text, said, tmp_path):
    start = time.process_time()
    with pytest.raises(EditbenchError, match=said):
        parse_yaml(text, "x")
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(EditbenchError, match=said):
        read_config(tmp_path / "run.yaml")
    assert time.process_time() - start < 60


def test_files_that_never_end_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 101)
    with pytest.raises(TooMuch, match="more than 100 bytes"):
        read_limited(path, 100)
    assert read_limited(path, 101) == b"a" * 101
    with pytest.raises(TooMuch, match=r"x:1: a line of more than 100 bytes"):
        list(lines_limited(path, 100))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "/dev/zero"):
        with pytest.raises(TooMuch, match="not a file"):
            read_limited(tmp_path / name, 100)
    monkeypatch.setattr("editbench.reading.YAML_BYTES", 10)
    (tmp_path / "run.yaml").write_text("suite: shapes@1")
    with pytest.raises(EditbenchError, match=r"run\.yaml: more than 10 bytes"):
        read_config(tmp_path / "run.yaml")


@pytest.mark.parametrize("name", ["records.jsonl.gz", "records.jsonl"])
def test_a_record_file_unpacks_to_no_more_than_fits(name, tmp_path, monkeypatch):
    import gzip

    lines = b"".join(format_records(header(), records()))
    path = tmp_path / name
    path.write_bytes(gzip.compress(lines + bytes(10_000)) if name.endswith("gz") else lines + bytes(10_000))
    monkeypatch.setattr("editbench.record_files.MAX_BYTES", 5000)
    with pytest.raises(InvalidRecords, match="more than 5000 bytes"):
        read_records(path)
