"""Published numbers: the committed tables, what their reader refuses, and that they are never mixed with ours."""

import csv
import io
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from runpy import run_path

import pytest
from rich.console import Console

from editbench import leaderboards
from editbench.board import build_boards
from editbench.published import (
    COLUMNS,
    InvalidPublished,
    compared,
    read_published,
    read_table,
    shipped_folder,
    to_csv,
)
from editbench.records import MetricInfo, SuiteInfo
from editbench.registry import create, names
from editbench.report.leaderboard import render_boards
from editbench.report.published import benchmark_of, beside, remarks
from editbench.report.table import to_csv as board_csv
from editbench.report.terminal import published_tables
from editbench.types import Failed, Record

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "leaderboards" / "published"
PAGES = run_path(str(Path(__file__).with_name("test_report.py")))
check_harmless, record_file, HOSTILE = PAGES["check_harmless"], PAGES["record_file"], PAGES["HOSTILE"]


@pytest.fixture(scope="module")
def cells():
    return read_published(FOLDER)


def lines(name):
    return list(csv.DictReader(io.StringIO((FOLDER / f"{name}.csv").read_text("utf-8"))))


# ---------------------------------------------------------------------------------------------------- the tables


def test_the_committed_tables_are_canonical_and_all_there(cells):
    counts = Counter(cell.benchmark for cell in cells)
    assert counts == {
        "piebench": 11 * 7 + 3 * 7 + 3 * 6 + 5 * 4,
        "piebench_pp": 3 * 4,
        "magicbrush": 3 * 5 + 1 + 2 + 2 + 6 * 5,
        "gedit": 15 + 2 + 10 * 2 + 7 * 6,
        "imgedit": 12 + 4 + 10 + 4 * 2,
        "compbench": 6,
        "risebench": 11,
        "ale_bench": 4,
    }
    for path in FOLDER.glob("*.csv"):
        assert path.read_text("utf-8") == to_csv(cell for cell in cells if cell.benchmark == path.stem)
    shipped = {path.name: path.read_bytes() for path in shipped_folder().glob("*.csv")}  # elsewhere in a wheel
    assert shipped == {path.name: path.read_bytes() for path in FOLDER.glob("*.csv")}


@pytest.mark.parametrize(
    ("suite", "method", "source", "metric", "printed", "number"),
    [
        ("piebench", "DDIM + P2P", "PnPInversion", "legacy_pie:structure_distance", "69.43", "0.06943"),
        ("piebench", "DDIM + P2P", "PnPInversion", "legacy_pie:lpips_unedit", "208.80", "0.2088"),
        ("piebench", "DDIM + P2P", "PnPInversion", "legacy_pie:mse_unedit", "219.88", "0.021988"),
        ("piebench", "DDIM + P2P", "PnPInversion", "legacy_pie:ssim_unedit", "71.14", "0.7114"),
        ("piebench", "Direct + PnP", "PnPInversion", "legacy_pie:psnr_unedit", "22.46", "22.46"),
        ("piebench", "Direct + PnP", "PnPInversion", "legacy_pie:clip_edited", "22.62", "22.62"),
        ("piebench", "NT + P2P", "PnPInversion", "legacy_pie:clip_whole", "24.75", "24.75"),
        ("piebench", "AREdit", "AREdit", "legacy_pie:ssim_unedit", "0.8370", "0.837"),
        ("piebench", "VI (InfEdit) + P2P", "InfEdit#23", "legacy_pie:mse_unedit", "0.0164", "0.0164"),
        ("magicbrush", "HIVE", "Table 2", "legacy_magicbrush:dino", "0.7500", "0.75"),
        ("gedit", "BAGEL", "Bagel#153", "published:gedit_overall", "6.125", "6.125"),
        ("risebench", "Step1X", "paper", "published:risebench_accuracy", "1.9", "0.019"),
        ("compbench", "RC-GRPO-Editing", "2604.09386", "published:compbench_user_preference", "34.0", "0.34"),
    ],
)
def test_numbers_keep_their_digits_and_are_exact_in_the_metrics_unit(
    cells, suite, method, source, metric, printed, number
):
    (cell,) = [c for c in cells if (c.benchmark, c.method, c.metric) == (suite, method, metric) and source in c.source]
    assert str(cell.value) == printed and cell.number == Decimal(number)


def test_disagreements_in_the_files_are_what_an_independent_count_gives():
    found = set()
    for path in FOLDER.glob("*.csv"):
        rows = lines(path.stem)
        for row in rows:
            low, high = interval(row)
            others = set()
            for other in rows:
                same = all(row[name] == other[name] for name in ("split", "track", "method", "metric"))
                if same and not (interval(other)[0] < high and low < interval(other)[1]):
                    others.add(Fraction(other["value"]) / int(other["scale"]))
            assert {Fraction(text) for text in row["disagreement"].split()} == others, row
            if others:
                found.add((path.stem, row["method"]))
    assert found == {
        ("piebench", "VI (InfEdit) + P2P"),
        ("gedit", "BAGEL"),
        ("gedit", "GPT-Image-Edit"),
        *(("imgedit", name) for name in ("MagicBrush", "BAGEL", "Kontext-dev", "Ovis-U1")),
    }


def interval(row):
    """What a printed number may have been before it was rounded."""
    half = Fraction(1, 2 * 10 ** len(row["value"].partition(".")[2]))
    return tuple((Fraction(row["value"]) + side * half) / int(row["scale"]) for side in (-1, 1))


def test_what_is_unconfirmed_doubtful_or_undated_is_marked(cells):
    assert {(c.benchmark, c.source) for c in cells if c.status == "unconfirmed"} == {
        ("magicbrush", "MagicBrush, Table 2 (arXiv 2306.10012)")
    }
    assert {(c.method, c.metric) for c in cells if c.doubt and c.benchmark in ("piebench", "gedit")} == {
        ("RF-Inversion", "legacy_pie:lpips_unedit"),
        *((name, "published:gedit_overall") for name in ("Step1X-v1.2", "Qwen-Image-Edit-2509")),
        *(
            (f"{name} + Edit-R1", f"published:cocoedit_{metric}")
            for name in ("Kontext", "Qwen-Image-Edit")
            for metric in ("lpips", "dino")
        ),
    }
    assert {c.date for c in cells} == {"", "2024-03-12", "2025-09-07"}


def test_published_metrics_cannot_be_mistaken_for_ours(cells):
    assert "published" not in names("metric")
    for metric in {cell.metric for cell in cells}:
        if not metric.startswith("published:"):
            (direction,) = {cell.direction for cell in cells if cell.metric == metric}
            assert create("metric", metric).direction == direction
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{column}`" in readme for column in COLUMNS)


def test_rounding_is_no_disagreement(cells):
    (one,) = [c for c in cells if (c.method, c.metric) == ("LEDITS++", "legacy_pie:structure_distance")]
    assert one.number == Decimal("0.0431")

    def disagree(value, scale):
        return any(c.disagreement for c in compared([one, replace(one, source="b", value=Decimal(value), scale=scale)]))

    assert not disagree("43.12", 1000) and not disagree("43.1", 1000) and not disagree("0.04314", 1)
    assert disagree("43.2", 1000) and disagree("0.04316", 1)


# ------------------------------------------------------------------------------------------------------ refusals

GOOD = dict(
    benchmark="piebench",
    split="whole",
    track="",
    scenarios="700",
    method="Mine",
    metric="legacy_pie:ssim_unedit",
    value="81.40",
    scale="100",
    direction="higher",
    source_kind="readme",
    source="me/mine",
    date="2024-02",
    evidence="repository",
    status="read",
    disagreement="",
    doubt="",
    note="",
)


def table(tmp_path, *rows, header=COLUMNS):
    path = tmp_path / "piebench.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *(row.values() for row in rows)])
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmark": "piebnch"}, "benchmark 'piebnch', expected the name of the file, 'piebench'"),
        ({"metric": "legacy_pie:ssim_unedt"}, "'ssim_unedt', expected one of .*did you mean 'ssim_unedit'"),
        ({"metric": "legacy_pi:ssim"}, r"expected legacy_…:NAME or published:NAME: did you mean 'legacy_pie'"),
        ({"metric": "ssim:region=keep"}, "metric 'ssim:region=keep', expected legacy_…:NAME or published:NAME"),
        ({"metric": "published:gedit_overal"}, r"'published:gedit_overal' is not known: did you mean 'gedit_overall'"),
        ({"metric": "legacy_pie:name=ssim_unedit"}, "expected its canonical spec 'legacy_pie:ssim_unedit'"),
        ({"metric": "evil.py:Evil"}, "metric 'evil.py:Evil', expected legacy_…:NAME"),
        ({"metric": "legacy_evil.py:Evil"}, "metric 'legacy_evil.py:Evil', expected legacy_…:NAME"),
        ({"value": "nan"}, "value 'nan', expected a decimal number as printed"),
        ({"value": "Infinity"}, "value 'Infinity', expected"),
        ({"value": "1e2"}, "value '1e2', expected"),
        ({"value": ".814"}, "value '.814', expected"),
        ({"value": "٣"}, "value '٣', expected"),
        ({"value": ""}, "value '', expected"),
        ({"scale": "1"}, r"value '81.40' at scale 1 is 81.40, outside the range \[-1, 1\] of legacy_pie:ssim_unedit"),
        ({"scale": "50"}, "scale '50', expected one of 1, 100, 1000, 10000"),
        ({"direction": "lower"}, "direction 'lower', expected 'higher': that of legacy_pie:ssim_unedit"),
        ({"source_kind": "reame"}, r"source_kind 'reame', .*: did you mean 'readme'\?"),
        ({"evidence": "hearsay"}, "evidence 'hearsay', expected one of repository, paper"),
        ({"status": "unconfirmd"}, r"status 'unconfirmd', .*did you mean 'unconfirmed'\?"),
        ({"evidence": "memory"}, "status 'read', expected 'unconfirmed': the evidence is memory"),
        ({"date": "2024-02-30"}, "date '2024-02-30', expected YYYY"),
        ({"date": "12.3.2024"}, "date '12.3.2024', expected YYYY"),
        ({"scenarios": "0"}, "scenarios '0', expected a whole number from 1"),
        ({"method": ""}, "method is empty"),
        ({"method": '=HYPERLINK("x")'}, "method '=HYPERLINK.*', expected text that no spreadsheet takes for a formula"),
        ({"note": "\x1b[31m"}, "expected printable text"),
        ({"source": "a\u202eb"}, "expected printable text"),
        ({"method": " Mine"}, "method ' Mine', expected printable text without spaces around it"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_value_and_what_was_expected(tmp_path, change, message):
    path = table(tmp_path, {**GOOD, "method": "Other"}, {**GOOD, **change})
    with pytest.raises(InvalidPublished, match=rf"^{re.escape(str(path))}:3: .*{message}"):
        read_table(path)


def test_a_source_has_one_number_for_one_thing(tmp_path):
    path = table(tmp_path, GOOD, {**GOOD, "value": "81.41"})
    with pytest.raises(InvalidPublished, match=r"piebench\.csv:3: 'piebench, whole, .*' is in line 2 already"):
        read_table(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r":0: columns ''"),
        (b"benchmark,method\n", r":1: columns 'benchmark,method', expected 'benchmark,split"),
        (b"benchmark,methd\n", r":1: column 'methd', expected one of benchmark, .*: did you mean 'method'\?"),
        (
            b"\xef\xbb\xbf" + ",".join(COLUMNS).encode(),
            r":1: column '\\ufeffbenchmark', expected one of benchmark, split",
        ),
        (",".join(COLUMNS).encode() + b"\na,b\n", r":2: 2 fields, expected 17"),
        (",".join(COLUMNS).encode() + b'\n"a" b\n', r":2: "),
        (b"\xff", r": 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, data, message):
    path = tmp_path / "piebench.csv"
    path.write_bytes(data)
    with pytest.raises(InvalidPublished, match=re.escape(str(path)) + message):
        read_table(path)
    with pytest.raises(InvalidPublished, match="no tables of published numbers"):
        read_published(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------ beside a board

LEGACY = {
    "legacy_pie:psnr_unedit": MetricInfo(1, "higher", "dB", (0.0, None)),
    "legacy_pie:ssim_unedit": MetricInfo(1, "higher", "", (-1.0, 1.0)),
    "legacy_pie:clip_whole,model=other": MetricInfo(1, "higher", "", (0.0, 100.0)),
    "psnr:region=keep": MetricInfo(1, "higher", "dB", (0.0, 100.0), cap=100.0),
    "ssim:region=keep": MetricInfo(1, "higher", "", (-1.0, 1.0)),
}
VALUES = dict(zip(LEGACY, (24.5, 0.8, 25.0, 23.0, 0.79), strict=True))


def board_of(suite="piebench", scenarios=8, labels=("mine", "identity"), **options):
    files = []
    for label in labels:
        file = record_file(label, 0.5, metrics={}, control=label == "identity", **options)
        header = replace(file.header, suite=SuiteInfo(suite, "ab" * 32, scenarios, suite), metrics=LEGACY)
        infinite = {"legacy_pie:psnr_unedit": Failed("infinite")} if label == "identity" else {}
        records = [
            Record(r.scenario_id, r.cluster, r.category, 0, "ok", "ee" * 32, "cd" * 32, values={**VALUES, **infinite})
            for r in file.records
        ]
        files.append(replace(file, header=header, records=records))
    return build_boards(files)[0]


def test_a_published_number_is_beside_a_column_of_the_same_legacy_spec_only(cells):
    found = beside(board_of(), cells)
    assert set(found.shared.metrics) == {"legacy_pie:psnr_unedit", "legacy_pie:ssim_unedit"}
    elsewhere = {metric for other in found.others for metric in other.metrics}
    assert {"legacy_pie:clip_whole", "legacy_pie:lpips_unedit", "published:scar_clip"} <= elsewhere
    assert not elsewhere & {*LEGACY}
    assert beside(board_of("shapes@1"), cells) is None
    gedit = beside(board_of("gedit"), cells)
    assert gedit.shared is None and [other.split for other in gedit.others] == ["CN", "EN", "EN · CoCoEdit's masks"]


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("piebench", "piebench"),
        ("piebench@2", "piebench"),
        ("piebench_pp", "piebench_pp"),
        ("piebench[first=24]", "piebench"),
        ("piebench:types=1+2[each=3]", "piebench"),
        ("folder:piebench", "piebench"),
        ("piebenchmark", None),
        ("folder:mine", None),
        ("mine:piebench", None),
        ("", None),
    ],
)
def test_which_suites_are_of_a_benchmark(suite, expected):
    assert benchmark_of(suite, ["piebench", "piebench_pp"]) == expected


def test_what_makes_numbers_incomparable_is_said(cells):
    pie = [cell for cell in cells if cell.benchmark == "piebench"]
    assert remarks("piebench", 700, pie) == []
    assert "24 scenarios here, 700 in what was published" in remarks("piebench", 24, pie)
    assert "a selection (first=24)" in remarks("piebench[first=24]", 24, pie)[0]
    assert "options (types=1)" in remarks("piebench:types=1", 700, pie)[0]
    assert "whether it holds the published data is not known" in remarks("folder:piebench", 700, pie)[0]
    unknown = [cell for cell in cells if cell.benchmark == "magicbrush"]
    assert "how many scenarios the published numbers are over is not known" in remarks("magicbrush", 528, unknown)[0]
    page = check_harmless(render_boards([board_of("piebench[first=8]")], "B", cells))
    assert "not known to be comparable a selection (first=8)" in page.all("aside", "published")[0]["text"]
    assert "known to be comparable" not in render_boards([board_of(scenarios=700)], "B", cells)


def test_the_page_keeps_published_numbers_out_of_the_board(cells):
    board = board_of()
    page = check_harmless(render_boards([board], "B", cells))
    (table,) = page.all("table", "board")
    assert "DDIM + P2P" not in table["text"] and "readme" not in table["text"]
    (aside,) = page.all("aside", "published")
    assert len(page.all("tbody", "foreign")) == 2
    first = page.all("tbody", "foreign")[0]["text"]
    assert "0.7114" in first and "17.87" in first and "readme 2024-03-12" in first
    assert "0.7669≠" in first and "elsewhere 0.8505" in first and "third-party rerun" in first
    assert "mine" not in first and "[" not in first
    second = page.all("tbody", "foreign")[1]["text"]
    assert "0.0793!" in second and "doubtful" in second and "marked sic" in second
    assert "n 0 · G 0" in aside["text"], "identity has no finite value, and says so"
    printed = [cell["title"] for cell in page.all("td", "number") if "printed as" in cell.get("title", "")]
    assert any("printed as 69.43 (the metric times 1000)" in title for title in printed)
    assert len(printed) == sum(cell.benchmark == "piebench" for cell in cells)


def test_unconfirmed_numbers_are_marked_everywhere(cells):
    board = board_of("magicbrush")
    page = check_harmless(render_boards([board], "B", cells))
    marked = [cell["text"] for cell in page.all("th", "label") if "unconfirmed" in cell["text"]]
    assert len(marked) == 6 and any("HIVE" in text for text in marked)
    out = Console(file=io.StringIO(), width=160, markup=False)
    for table in published_tables(board, beside(board, cells), 160):
        out.print(table)
    assert "0.7500?" in out.file.getvalue() and "looked up by nobody" in out.file.getvalue()


def test_ours_are_unchanged_by_what_others_published(cells):
    board = board_of()
    without, with_cells = render_boards([board], "B"), render_boards([board], "B", cells)
    assert "published" not in without
    own = re.compile(r'<table class="board.*?</table>', re.DOTALL)
    assert own.findall(without) == own.findall(with_cells) != []
    assert render_boards([board_of("shapes@1")], "B", cells) == render_boards([board_of("shapes@1")], "B")
    assert "DDIM" not in board_csv(board)


def test_two_signatures_of_ours_stay_two_columns(cells):
    board = board_of()
    other = board_of(labels=("resized",), align="resize")
    both = replace(board, columns=tuple(sorted({*board.columns, *other.columns})), rows=board.rows + other.rows)
    page = check_harmless(render_boards([both], "B", cells))
    heads = [head for head in page.all("th", "number") if head.get("title") == "legacy_pie:psnr_unedit"]
    assert len(heads) == 2 + 2  # in the board, and beside
    (table, _) = published_tables(both, beside(both, cells), 200)
    assert len(table.columns) == 3 + 4


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(cells, text):
    some = [cell for cell in cells if cell.benchmark == "piebench"][:40]
    texts = {name: text for name in ("method", "split", "track", "source", "source_kind", "date", "doubt", "note")}
    hostile = [replace(cell, **texts) for cell in some]
    check_harmless(render_boards([board_of()], "B", hostile))
    check_harmless(render_boards([], "B", [replace(c, benchmark="x" + text) for c in hostile], every_benchmark=True))
    console = Console(file=io.StringIO(), width=160, markup=False)
    for table in published_tables(board_of(), beside(board_of(), hostile), 160):
        console.print(table)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]", console.file.getvalue())


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def small(tmp_path):
    """A leaderboards folder with one suite and the published tables."""
    copy = tmp_path / "leaderboards"
    for name in ("photos@1.csv", "records/photos@1", "published"):
        (shutil.copytree if (path := ROOT / "leaderboards" / name).is_dir() else copy_file)(path, copy / name)
    leaderboards.write(copy)
    return copy


def copy_file(source, destination):
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, destination)


def run(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "editbench", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_leaderboards_folder_gets_a_page_of_its_own(small):
    before = (small / "index.html").read_bytes()
    assert not (small / "published.html").exists() and leaderboards.check(small) == []
    assert leaderboards.check(small, with_published=True) == [small / "published.html"]
    assert f"{small / 'published.html'}\n" in run("board", small, "--with-published").stdout
    assert (small / "index.html").read_bytes() == before and b"GPT-Image-Edit" not in before
    page = check_harmless((small / "published.html").read_text("utf-8"))
    assert [head["text"] for head in page.all("h2")] == sorted(path.stem for path in FOLDER.glob("*.csv"))
    assert leaderboards.check(small) == []
    (small / "published.html").write_text("old")
    assert leaderboards.check(small) == [small / "published.html"], "once it is there it is kept"
    assert leaderboards.write_site(small, small / "site") == small / "site" / "index.html"
    assert {"index.html", "boards.html", "published.html"} <= {path.name for path in (small / "site").iterdir()}


def test_an_unsorted_table_and_a_missing_disagreement_are_stale_until_written(small):
    path = small / "published" / "imgedit.csv"
    committed = path.read_text("utf-8")
    head, *rows = committed.splitlines()
    fresh = [row.replace(",read,3.20,", ",read,,") for row in reversed(rows)]
    path.write_text("\n".join([head, *fresh, ""]), "utf-8")
    assert leaderboards.check(small) == [path]
    leaderboards.write(small)
    assert path.read_text("utf-8") == committed
    path.write_text(committed.replace(",readme,", ",redme,", 1), "utf-8")
    done = run("board", small, "--check", code=2)
    assert f"{path}:2: source_kind 'redme', expected one of paper" in done.stderr and done.stderr.count("\n") == 1


def test_runs_are_shown_beside_published_numbers_without_torch(tmp_path):
    from editbench.record_files import format_records

    file = record_file("mine", 0.5, metrics={})
    header = replace(file.header, suite=SuiteInfo("piebench[first=8]", "ab" * 32, 8, "piebench"), metrics=LEGACY)
    records = [replace(record, values=VALUES) for record in file.records]
    (tmp_path / "mine.jsonl").write_bytes(b"".join(format_records(header, records)))
    code = (
        "import sys\nfrom editbench.cli import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "assert not {'torch', 'pandas', 'skimage', 'transformers'} & set(sys.modules)"
    )
    plain = ["board", tmp_path / "mine.jsonl", "--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html"]
    beside_it = ["board", tmp_path / "mine.jsonl", "--csv", tmp_path / "b.csv", "--html", tmp_path / "b.html"]
    shown = []
    for arguments in (plain, [*beside_it, "--with-published"]):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "DDIM + P2P" not in shown[0] + (tmp_path / "a.html").read_text("utf-8")
    assert "DDIM + P2P" in shown[1] and "Not known to be comparable with the board: a selection (first=8)" in shown[1]
    assert "DDIM + P2P" in (tmp_path / "b.html").read_text("utf-8")
    photos = ROOT / "leaderboards" / "records" / "photos@1" / "identity.jsonl.gz"
    told = run("board", photos, "--with-published").stdout
    assert "photos@1: nothing published is known; there are numbers of ale_bench, compbench, gedit" in told
