"""The site of a leaderboards folder and its tables: complete, linked, and read as what they are."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

import editbench as eb
from editbench import leaderboards
from editbench.board import build_boards
from editbench.record_files import read_records
from editbench.report.groups import group_of
from editbench.report.table import CSV_COLUMNS, FIELDS, schema, to_csv, to_wide

ROOT = Path(__file__).parents[1] / "leaderboards"
TABLES = sorted(ROOT.glob("*.csv"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of a few of the committed runs, and of everything else that is committed."""
    folder = tmp_path_factory.mktemp("site") / "leaderboards"
    shutil.copytree(ROOT / "audit", folder / "audit")
    shutil.copytree(ROOT / "published", folder / "published")
    shutil.copytree(ROOT / "study", folder / "study", ignore=shutil.ignore_patterns("units"))
    for label in ("recolor", "identity", "harmonise", "jpeg"):
        path = folder / "records" / "photos@1" / f"{label}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "records" / "photos@1" / path.name, path)
    page = leaderboards.write_site(folder, folder.parent / "out")
    assert page == folder.parent / "out" / "index.html"
    return page.parent


class Links(HTMLParser):
    """Where a page leads, and where it can be led to."""

    def __init__(self, path):
        super().__init__()
        self.to, self.anchors = [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.add(found.get("id"))
        self.to += [found[name] for name in ("href", "src") if name in found]


def test_every_link_of_the_site_leads_somewhere(site):
    pages = {path: Links(path) for path in site.rglob("*.html")}
    assert {str(path.relative_to(site)) for path in pages} == {
        "index.html", "boards.html", "published.html", "methods.html", "metrics.html", "audit.html", "study/index.html",
    }  # fmt: skip
    for path, found in pages.items():
        for address in found.to:
            if address.startswith(("https://", "data:")):
                continue
            name, _, anchor = address.partition("#")
            target = path.parent / unquote(name) if name else path
            assert target.is_file(), f"{path.name} leads to {address}"
            if anchor:
                assert unquote(anchor) in pages[target].anchors, f"{path.name} leads to {address}"
    assert {"photos@1.csv", "photos@1-wide.csv", "schema.json"} <= {path.name for path in site.iterdir()}


def test_the_site_is_the_same_every_time_and_every_page_says_where_one_is(site, tmp_path):
    again = leaderboards.write_site(site.parent / "leaderboards", tmp_path).parent
    files = [path.relative_to(site) for path in site.rglob("*") if path.is_file()]
    assert [path for path in files if (site / path).read_bytes() != (again / path).read_bytes()] == []
    for path in site.glob("*.html"):
        assert path.read_text("utf-8").count('aria-current="page"') == 1, path


def test_a_folder_without_audit_study_and_publications_has_a_site_without_them(site, tmp_path):
    folder = tmp_path / "few"
    shutil.copytree(site.parent / "leaderboards" / "records", folder / "records")
    out = leaderboards.write_site(folder, tmp_path / "out").parent
    assert {path.name for path in out.glob("*.html")} == {"index.html", "boards.html", "methods.html", "metrics.html"}
    assert "audit.html" not in Links(out / "index.html").to


def test_every_metric_has_a_card_on_the_site(site):
    text = (site / "metrics.html").read_text("utf-8")
    from editbench.built_in import BUILT_IN

    assert set(re.findall(r'<h2 id="([^"]+)"', text)) == set(BUILT_IN["metric"])


# ------------------------------------------------------------------------------------------------------ tables

PARSED = {
    "string": str,
    "boolean": {"true": True, "false": False}.__getitem__,
    "integer": int,
    "number": float,
}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_committed_tables_follow_the_committed_schema(path):
    fields = json.loads((ROOT / "schema.json").read_text("utf-8"))["fields"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        assert rows.fieldnames == [field["name"] for field in fields]
        keys = set()
        for row in rows:
            for field in fields:
                text = row[field["name"]]
                assert text or not field.get("constraints", {}).get("required"), (field["name"], row)
                if text:
                    PARSED[field["type"]](text)
            keys.add((row["suite"], row["label"], row["metric"], row["signature"]))
    assert len(keys) == rows.line_num - 1 > 0


def test_the_schema_describes_every_column_and_is_what_is_committed():
    assert (ROOT / "schema.json").read_text("utf-8") == schema()
    assert tuple(field["name"] for field in json.loads(schema())["fields"]) == CSV_COLUMNS
    assert all(field.about for field in FIELDS)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_tables_load_with_the_right_types_in_one_line(path, monkeypatch):
    frame = eb.read_table(path)
    kinds = {"string": "string", "boolean": "boolean", "integer": "Int64", "number": "Float64"}
    fields = json.loads((ROOT / "schema.json").read_text("utf-8"))["fields"]
    assert [str(kind) for kind in frame.dtypes] == [kinds[field["type"]] for field in fields]
    (line,) = re.findall(r"`(pd\.read_csv\([^`]*)`", (ROOT / "README.md").read_text("utf-8"))
    monkeypatch.chdir(ROOT.parent)
    plain = eval(line.replace("leaderboards/shapes@1.csv", f"leaderboards/{path.name}"), {"pd": pd})
    pd.testing.assert_frame_equal(plain, frame)


def test_a_missing_rank_is_a_missing_integer():
    frame = eb.read_table(ROOT / "shapes@1.csv")
    assert frame["rank"].isna().sum() == frame["control"].sum() > 0


def test_a_label_that_looks_like_nothing_stays_a_label(tmp_path):
    path = tmp_path / "board.csv"
    path.write_text((ROOT / "photos@1.csv").read_text("utf-8").replace(",recolor,", ",nan,"), "utf-8")
    assert "nan" in set(eb.read_table(path)["label"])
    path.write_text("suite,score\nmine,1\n")
    with pytest.raises(eb.EditbenchError, match=r"board\.csv: no table of a board of this version, capped, ci_high"):
        eb.read_table(path)


def test_the_wide_view_has_a_row_a_run_and_every_number_of_the_long_table():
    records = sorted((ROOT / "records" / "photos@1").glob("*.gz"))[:3]
    boards = build_boards(read_records(path) for path in records)
    long = list(csv.DictReader(to_csv(boards[0]).splitlines()))
    wide = {row["label"]: row for row in csv.DictReader(to_wide(boards).splitlines())}
    assert list(wide) == list(dict.fromkeys(line["label"] for line in long))
    for line in long:
        row, metric = wide[line["label"]], line["metric"]
        assert [row[f"{metric}{end}"] for end in ("", " ci_low", " ci_high", " n")] == [
            line[name] for name in ("mean", "ci_low", "ci_high", "n")
        ]
        assert row["rank"] == line["rank"]


def test_columns_stand_in_groups_by_what_they_look_at():
    found = {
        "noop": "ranking",
        "lpips:net=vgg,region=edit": "edit region",
        "far_change": "keep region",
        "mae:region=band": "border",
        "clip_score:region=all,model=shapes-tiny": "whole image",
        "target:psnr,region=edit": "against the target",
        "legacy_pie:psnr_unedit": "legacy protocols",
        "my.py:Mine": "more",
        "seam": "border",
    }
    assert {metric: group_of(metric) for metric in found} == found
