import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.text import Text

import editbench
from editbench.board import Board, Cell, Column, Row
from editbench.console import bar
from editbench.records import EditorInfo, MetricInfo, SuiteInfo
from editbench.report.terminal import board_table
from editbench.stats import Estimate

SMALL = "shapes@1:size=32"


def run(*arguments, cwd=None):
    command = [sys.executable, "-m", "editbench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_version():
    assert run("--version").stdout == f"editbench {editbench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "shpes@1", "--editor", "identity"], "unknown suite 'shpes@1': did you mean 'shapes@1'?"),
        (["--suite", "shapes", "--editor", "identity"], "unknown suite 'shapes': did you mean 'shapes@1'?"),
        (["--suite", "shapes@1:size=50", "--editor", "identity"], "size"),
        (["--suite", SMALL, "--editor", "identty"], "unknown editor 'identty': did you mean 'identity'?"),
        (
            ["--suite", SMALL, "--editor", "recolor:leek=1"],
            "editor 'recolor' has no option 'leek': did you mean 'leak'?",
        ),
        (["--suite", SMALL, "--editor", "recolor:leak=lots"], "leak='lots', expected a finite number"),
        (["--suite", SMALL, "--editor", "recolor:leak=7"], "leak=7.0, expected 0 to 1"),
        (["--suite", SMALL, "--editor", "nowhere.py:edit"], "no file 'nowhere.py'"),
        (["--suite", SMALL, "--editor", "folder:nowhere"], "no folder or JSONL file 'nowhere'"),
        (["--suite", SMALL, "--editor", "command:true"], "the command lacks {request}"),
        (["--suite", SMALL, "--editor", "identity", "--metrics", "psnr"], "metric 'psnr' needs region"),
        (["--suite", SMALL, "--editor", "identity", "--metrics", "psnr:region=kep"], "did you mean 'keep'?"),
        (["--suite", SMALL, "--editor", "identity", "--metrics", "success,success"], "metric 'success' is given twice"),
        (["--suite", SMALL, "--editor", "identity", "--shard", "0/2"], "shard '0/2', expected i/n"),
        (["--suite", SMALL, "--editor", "identity", "--align", "crop"], "align"),
        (["--suite", SMALL, "--editor", "identity", "--sample-id", "recolour-00"], "has no scenario 'recolour-00'"),
        (["--suite", SMALL, "--editor", "identity", "--label", "=1+1"], "label '=1+1', expected"),
        (["--suite", SMALL], "no --editor given"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_written(arguments, message, tmp_path):
    done = run("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "word"), [(["rum"], "run"), (["run", "--sute", "x"], "--suite")])
def test_a_mistyped_verb_or_flag_gets_a_suggestion(arguments, word):
    done = run(*arguments)
    assert done.returncode == 2 and word in done.stderr


def test_debug_shows_where(tmp_path):
    done = run("--debug", "run", "--suite", "shpes@1", "--editor", "identity", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_a_run_prints_its_numbers_and_what_to_do_next(tmp_path):
    done = run("run", "--suite", SMALL, "--editor", "biharmonic", "--each", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12/12, 1 failed" in done.stderr
    assert "1 of 12 edits: editor_error" in done.stdout
    assert "1 x ValueError: the mask covers everything: nothing to inpaint from" in done.stdout
    folder = re.search(r"run: +(\S+)", done.stdout)[1]
    assert (tmp_path / folder / "records.jsonl").is_file()
    assert f"editbench report {folder}" in done.stdout


def test_json_output_is_json(tmp_path):
    done = run("run", "--suite", SMALL, "--editor", "fill", "--limit", "3", "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result["complete"] and result["statuses"] == {"ok": 3} and result["means"]["psnr:region=keep"] == 100.0


@pytest.mark.parametrize(("allowed", "code"), [("0.5", 0), ("0.1", 3), ("2", 0), ("0", 3), ("-1", 2)])
def test_fail_on_error_is_a_share_or_a_count(tmp_path, allowed, code):
    arguments = ["run", "--suite", SMALL, "--editor", "biharmonic", "--sample-id", "style-000"]
    arguments += ["--sample-id", "recolour-000", "--sample-id", "remove-000", "--fail-on-error", allowed]
    assert run(*arguments, cwd=tmp_path).returncode == code


def test_dry_run_shows_the_plan_and_writes_nothing(tmp_path):
    done = run("run", "--suite", SMALL, "--editor", "noise", "--repeats", "2", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and "480 (2 of every scenario)" in done.stdout and "MB free" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_holds_the_same_names_and_flags_win(tmp_path):
    config = {"suite": SMALL, "editor": "noise", "limit": 5, "metrics": ["mae:region=keep", "success"], "seed": 3}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    done = run("run", "--config", "run.yaml", "--limit", "2", "--json", "--output-dir", "out", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result["statuses"] == {"ok": 2} and set(result["means"]) == {"mae:region=keep", "success"}
    again = run("run", "--config", "out/run.json", "--output-dir", "again", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["means"] == result["means"]
    assert (tmp_path / "out/records.jsonl").read_bytes() == (tmp_path / "again/records.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sute: shapes@1", "unknown option 'sute': did you mean 'suite'?"),
        ("suite: shapes@1\nlimit: many", "limit: "),
        ("- suite", "list, expected options"),
        ("a: [", "malformed YAML"),
        ("suite: !!python/object/apply:os.system ['true']", "malformed YAML"),
    ],
)
def test_a_wrong_config_file_is_refused(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    done = run("run", "--config", "run.yaml", "--editor", "identity", "--suite", SMALL, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr


def test_the_schema_of_config_files_is_exported():
    schema = json.loads(run("list", "config").stdout)
    assert schema["properties"]["align"]["enum"] == ["error", "resize"] and "suite" in schema["required"]


def test_edit_then_score_then_board(tmp_path):
    options = ["--suite", SMALL, "--editor", "fill", "--limit", "4", "--output-dir", "run"]
    made = run("edit", *options, cwd=tmp_path)
    assert made.returncode == 0 and "fill on shapes@1:size=32[first=4]: 4 of 4 edits are made\n" in made.stdout
    assert "incomplete" not in made.stdout and "┃" not in made.stdout
    assert re.search(r"next: +editbench score \S+/run\n", made.stdout)
    assert not (tmp_path / "run/records.jsonl").exists()
    done = run("score", "run", "--metrics", "mse:region=all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mse:region=all" in (tmp_path / "run/records.jsonl").read_text()
    run("run", "--suite", SMALL, "--editor", "identity", "--limit", "4", "--output-dir", "other", cwd=tmp_path)
    done = run("board", "run", "other", "--csv", "out.csv", "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "identity" in done.stdout and (tmp_path / "out.csv").read_text().count("mse:region=all") == 1
    assert "<table" in (tmp_path / "out.html").read_text()


def test_a_shard_names_the_others_and_how_to_join_them(tmp_path):
    options = ["--suite", SMALL, "--editor", "fill", "--limit", "4", "--metrics", "success"]
    done = run("run", *options, "--shard", "1/2", "--output-dir", "one", cwd=tmp_path)
    assert done.returncode == 0 and "2 of 4 edits are for other shards than 1/2" in done.stdout
    assert "editbench merge" in done.stdout and "editbench report" not in done.stdout
    assert "(incomplete: 50 % tried)" in done.stdout
    done = run("run", *options, "--shard", "2/2", "--output-dir", "one", cwd=tmp_path)
    assert "editbench report" in done.stdout and "shards" not in done.stdout and "incomplete" not in done.stdout


METRICS = """
from dataclasses import dataclass
from editbench.regions import RegionName


@dataclass(frozen=True)
class Flaky:
    version = 1
    direction = "higher"
    unit = ""
    range = (0.0, 1.0)
    needs = ()
    libraries = ()

    def score(self, samples):
        raise ValueError("no luck")


@dataclass(frozen=True)
class Depth(Flaky):
    region: RegionName

    def score(self, samples):
        return [0.25 for _ in samples]
"""


def test_metrics_of_ones_own_are_in_the_table_and_their_errors_below_it(tmp_path):
    (tmp_path / "m.py").write_text(METRICS)
    options = ["--suite", SMALL, "--editor", "jpeg", "--limit", "3", "--output-dir", "out"]
    metrics = "m.py:Flaky,m.py:Depth:region=edit,psnr:region=all,success"
    done = run("run", *options, "--metrics", metrics, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.250" in done.stdout and "psnr ↑" in done.stdout and "region=all" in done.stdout
    assert "m.py:Flaky: 3 errors on good edits, the first: ValueError: no luck\n" in done.stdout
    again = json.loads(run("run", *options, "--metrics", metrics, "--json", cwd=tmp_path).stdout)
    assert again["errors"] == {"m.py:Flaky": 3}


def test_names_are_never_read_as_markup(tmp_path):
    options = ["--suite", SMALL, "--editor", "paste:editor=[recolor:leak=0.3]", "--metrics", "mae:region=keep"]
    done = run("run", *options, "--limit", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "shapes@1:size=32[first=3] · 3 scenarios" in done.stdout
    assert "paste:editor=[recolor:leak=0.3]" in done.stdout and "paste:editor=[recolor:leak=0.3]: 3/3" in done.stderr
    text = Text()
    with bar(Console(file=io.StringIO(), force_terminal=True)) as progress:
        progress.add_task("a=[b] folder:x:y", total=1, note="[c] :smile:")
        for cell in progress.make_tasks_table(progress.tasks).columns[0].cells:
            text.append_text(cell)
        for cell in progress.make_tasks_table(progress.tasks).columns[3].cells:
            text.append_text(cell)
    assert text.plain == "a=[b] folder:x:y[c] :smile:"


def test_the_help_shows_what_options_default_to():
    told = " ".join(run("run", "--help").stdout.replace("│", " ").split())
    for default in ("the editor's spec", "the standard set", "runs/<suite>/<label>", "what the editor asks for, or 1"):
        assert f"[default: ({default})]" in told


def interval(mean, low, high, largest=1.0):
    found = Cell(Estimate(mean, low, high, 9, 9), MetricInfo(1, "higher", "", (0.0, largest)), 0, 0, 0, 0, ())
    row = Row(EditorInfo("x", "x", "none"), {Column("m", "s"): found}, {"ok": 9}, 0, None, "")
    table = board_table(Board(SuiteInfo("[b]toy[/b]", "", 9, ""), (Column("m", "s"),), (row,)), 100)
    assert table.title.plain.startswith("[b]toy[/b]")
    (text,) = table.columns[4].cells
    return text.plain


def test_an_interval_is_a_plus_minus_only_where_it_is_symmetric():
    assert interval(0.5, 0.4, 0.6) == "0.500 ±0.100"
    assert interval(0.5, 0.41, 0.6) == "0.500 ±0.100"
    assert interval(0.6667, 0, 1) == "0.667 [0, 1]"
    assert interval(0.1, 0, 0.326) == "0.100 [0, 0.326]"
    assert interval(95.0, 80.04, 100.0, largest=100.0) == "95.0 [80.0, 100]"
    assert interval(0.0, 0.0, 0.0) == "0.000 ±0.000" and interval(0.5, None, None) == "0.500"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["suite", "shpes@1"], 2),
        (["editor", "identty"], 2),
        (["metric", "psnr:region=kep"], 2),
        (["metric", "m.py:Flaky"], 5),
        (["editor", "m.py:Flaky"], 2),
        (["editor", "identity"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_checks_exit_5_for_findings_and_2_for_what_cannot_be_loaded(tmp_path, arguments, code):
    (tmp_path / "m.py").write_text(METRICS)
    done = run("check", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def test_the_package_lists_what_it_offers():
    assert set(editbench.__all__) <= set(dir(editbench)) and "__version__" in dir(editbench)


def test_report_writes_the_gallery_of_a_run(tmp_path):
    run("run", "--suite", SMALL, "--editor", "fill", "--limit", "3", "--output-dir", "run", cwd=tmp_path)
    done = run("report", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / done.stdout.strip()).read_text()
    assert "recolour-000" in page and "peak" in page.lower()


def test_boards_of_things_that_are_no_runs(tmp_path):
    (tmp_path / "x.jsonl").write_text("{}\n")
    for path in ("nowhere", "x.jsonl"):
        done = run("board", path, cwd=tmp_path)
        assert done.returncode == 2 and path in done.stderr and done.stderr.count("\n") == 1


def test_names_with_terminal_escapes_are_printed_harmlessly(tmp_path):
    (tmp_path / "scenarios.jsonl").write_text('{"id": "x", "source": "\\u001b[31m.png", "instruction": "Go."}\n')
    done = run("check", "suite", f"folder:{tmp_path}", "--html", tmp_path / "out")
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("verb", ["--help", "list"])
def test_help_and_list_answer_at_once(verb):
    """The bound is 0.4 s; a test of seconds would fail on a busy machine, so it is a ratio in one run."""

    def best(*command):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("-m", "editbench", verb) < 6 * best("-c", "import numpy")


def test_the_program_is_installed_under_its_name():
    assert (Path(sys.executable).parent / "editbench").is_file()


def test_a_reader_that_has_seen_enough_is_no_error_of_ours():
    command = [sys.executable, "-u", "-m", "editbench", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        listing.stdout.close()
        assert "internal error" not in listing.stderr.read()
