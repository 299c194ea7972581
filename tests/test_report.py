import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench.board import build_boards
from editbench.record_files import RecordFile
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.report.gallery import write_gallery
from editbench.report.labels import LONGEST, overlap
from editbench.report.leaderboard import render_boards
from editbench.report.numbers import decimals, fixed
from editbench.report.overlays import write_overlays
from editbench.report.page import visible
from editbench.report.pictures import ANCHORS, heat_map, outline, overlay, thumbnail, thumbnail_mask, write_picture
from editbench.report.scatter import scatter
from editbench.suites import load_suite, select_first
from editbench.toys import Finding
from editbench.types import EditbenchError, Failed, Record, Undefined

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '=HYPERLINK("https://example.org")',
    "\x1b[31mred\x1b[0m\x07",
    "left \u202egnp.exe \u2066right",
    "{{ 7 * 7 }} {% raw %}",
    "lone \ud800 surrogate",
)

TOY = """
from dataclasses import dataclass
import numpy as np
from editbench.names import is_name
from editbench.types import CheckResult, Content, EditbenchError, Scenario

HOSTILE = HOSTILE_STRINGS


@dataclass(frozen=True)
class Blue:
    name: str = "the square is blue"
    guard: bool = False

    def __call__(self, output):
        passed = bool(output[20:30, 20:30, 2].mean() > 200)
        return CheckResult(passed, float(passed))


def content(index):
    if index == 4:
        raise EditbenchError("mask 'm<b>.png': truncated")
    source = np.full((40, 400 if index == 3 else 48, 3), 30 * index, np.uint8)
    source[20:30, 20:30] = (200, 30, 30)
    mask = np.zeros(source.shape[:2], bool)
    if index != 2:
        mask[18:32, 18:32] = True
    target = source.copy()
    target[20:30, 20:30] = (30, 30, 220)
    return Content(source, mask, target, (Blue(),))


@dataclass(frozen=True)
class ToySuite:
    name = "toy@1"
    identity = "0123456789abcdef" * 4
    licence = "<b>none</b>"

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if not 0 <= index < 8:
            raise IndexError(index)
        words = HOSTILE[index].encode("utf-8", "replace").decode()
        category = f"kind {index % 2} {words}"
        category = category if is_name(category) else f"kind {index % 2}"
        return Scenario(f"s-{index}", f"c-{index // 2}", category, words, lambda: content(index))

    def __iter__(self):
        return (self[index] for index in range(8))


@dataclass(frozen=True)
class Flaky:
    mask_access = "region"

    def edit(self, requests):
        answers = []
        for request in requests:
            if request.instruction.startswith("<script>"):
                raise ValueError("bad <script>alert(1)</script>")
            image = request.source.copy()
            image[request.mask] = (20, 20, 230)
            answers.append(image)
        return answers
"""


class Page(HTMLParser):
    """The elements of a page, with the text directly inside each."""

    VOID = ("meta", "link", "img", "br", "input", "path", "line", "circle", "rect", "stop", "polyline")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open[-1]["tag"] == tag, (tag, self.open[-1])
        self.open.pop()

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, kind=""):
        return [e for e in self.elements if e["tag"] == tag and kind in [*(e.get("class") or "").split(), ""]]


def check_harmless(text):
    """Nothing foreign: no element, handler, address or control character that we did not write."""
    page = Page(text)
    for element in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in element), element
        for name in ("src", "href", "action", "xlink:href"):
            assert not re.match(r"\s*(\w+:)?//|\s*javascript:", element.get(name) or ""), element
    assert [script.get("type", "") for script in page.all("script")] in ([], [""], ["application/json", ""])
    assert len(page.all("style")) == 1
    assert not re.search(r"@import|url\((?!#)", page.all("style")[0]["text"])
    assert "<script>alert" not in text and "<img src=x" not in text and "49" not in page.all("title")[0]["text"]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]", text)
    assert "<b>" not in text
    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    return page


# ------------------------------------------------------------------------------------------------------ boards

METRICS = {
    "composite": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "success": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "psnr:region=keep": MetricInfo(1, "higher", "dB", (0.0, 100.0), cap=100.0),
    "mae:region=keep": MetricInfo(1, "lower", "", (0.0, 1.0)),
    "<b>odd</b>": MetricInfo(1, "none", "", (None, None)),
}


def record_file(
    label, quality, scenarios=8, records=8, failed=0, align="error", metrics=METRICS, suite="toy@1", **editor
):
    header = Header(
        SuiteInfo(suite, "ab" * 32, scenarios, "toy@1"),
        EditorInfo(f"spec of {label}", label, "none", **editor),
        seed=0,
        repeats=1,
        align=align,
        metrics=metrics,
    )
    lines = []
    for index in range(records):
        numbers = {
            "composite": quality * (index % 3) / 2,
            "success": float(index % 3 > 0) * (quality > 0),
            "psnr:region=keep": 100.0 if index < 2 else 30.0 + quality,
            "mae:region=keep": (1 - quality) / 10 + index / 1000,
            "<b>odd</b>": Undefined("never"),
        }
        values = {name: Failed("no edit") if index < failed else numbers[name] for name in metrics}
        status = "editor_error" if index < failed else "ok"
        edit = "ee" * 32 if status == "ok" else None
        lines.append(Record(f"s-{index}", f"c-{index // 2}", "edit", 0, status, edit, "cd" * 32, values=values))
    return RecordFile(header, lines, "ef" * 32)


def some_files():
    fewer = {name: METRICS[name] for name in ("composite", "success")}
    return [
        record_file("good", 0.9, trained_on=("psnr:region=keep",)),
        record_file("poor", 0.4, failed=3),
        record_file("other signature", 0.5, align="resize"),
        record_file("few metrics", 0.6, metrics=fewer),
        record_file("half", 0.8, records=4),
        record_file("identity", 0.0, control=True),
        record_file("target", 1.0, control=True),
        record_file("elsewhere", 0.3, suite="other@2"),
        record_file("no records", 0.3, records=0, suite="other@2"),
    ]


def test_boards_have_a_section_a_suite_and_a_row_a_run():
    page = check_harmless(render_boards(build_boards(some_files()), "Boards"))
    assert [heading["text"] for heading in page.all("h2")] == ["other@2", "toy@1"]
    labels = [
        re.split("[\n†]", cell["text"])[0].removesuffix(" front")
        for cell in page.all("th", "label")
        if cell.get("scope") == "row"
    ]
    assert sorted(labels) == sorted([
        "good", "poor", "other signature", "few metrics", "half incomplete: 50 % tried", "identity control",
        "target control", "elsewhere", "no records incomplete: 0 % tried",
    ])  # fmt: skip
    assert labels[-1] == "half incomplete: 50 % tried"
    assert [cell["text"] for cell in page.all("td", "rank")][-7:] == ["", "1", "2", "", "3", "", ""]


def test_numbers_of_several_signatures_stand_in_several_columns():
    board = next(board for board in build_boards(some_files()) if board.suite.name == "toy@1")
    page = Page(render_boards([board], "Boards"))
    assert len(page.all("th", "number")) == 2 * len(METRICS) + 2
    assert len({code["text"] for code in page.all("code")} & {c.signature for c in board.columns}) == len(board.columns)
    assert len(page.all("svg", "scatter")) == 0, "no one column of success to plot"


def test_every_number_has_its_n_and_clusters():
    page = Page(render_boards(build_boards([file for file in some_files() if file.header.align == "error"]), "Boards"))
    cells = [cell for cell in page.all("td", "number") if "interval" in cell.get("title", "")]
    assert len(cells) > 20
    assert all(re.search(r"n = \d+ scenarios in G = \d+ clusters", cell["title"]) for cell in cells)
    heads = [cell for cell in page.all("th", "number") if cell.get("title") in METRICS]
    assert len(heads) == 2 * len(METRICS) and all(re.search(r"n \d+ · G \d+", head["text"]) for head in heads)
    poor = [cell for cell in cells if "n = 5 scenarios" in cell["title"]]
    assert len(poor) == 2 and all("n 5 · G 3" in cell["text"] for cell in poor)
    assert any("2 capped" in cell["text"] for cell in cells)
    assert any("errors on 3" in cell["title"] for cell in cells)
    points = [title["text"] for title in page.all("title")[1:]]
    assert len(points) == 6 and all(text.count("n = ") == 2 for text in points)


def test_the_plot_pins_the_controls_at_the_ends_of_its_axes():
    page = Page(render_boards(build_boards(some_files()[:2] + some_files()[5:7]), "Boards"))
    texts = {text["text"]: text for text in page.all("text")}
    assert float(texts["identity"]["y"]) > float(texts["target"]["y"])
    assert float(texts["identity"]["x"]) < float(texts["target"]["x"])


def crowd(count):
    """A board of many runs: some on top of each other, most without an edit, and names of every length."""
    names = [f"editor {'x' * (7 * i % 41)}{i}" for i in range(count)]
    return [record_file(name, 0.9 * (i % 4) / 3, control=i % 5 == 0) for i, name in enumerate(names)]


@pytest.mark.parametrize("count", [1, 6, 12, 24])
def test_every_point_has_a_label_that_covers_nothing(count):
    plot = scatter(build_boards(crowd(count))[0])
    assert len(plot.points) == count
    named = sorted(name for label in plot.labels for name in label.group.names)
    assert named == sorted(point.row.editor.label for point in plot.points)
    drawn = [point.mark for point in plot.points]
    if count <= 6:  # in a crowd, intervals this wide leave no room: a label then stands over one, with a halo
        drawn += [box for point in plot.points for box in point.whiskers]
    axis = (plot.left, plot.bottom, plot.right, plot.height)
    for index, label in enumerate(plot.labels):
        left, top, right, bottom = label.box
        assert left >= plot.left and right <= plot.width and top >= 0 and bottom <= plot.height
        others = [other.box for other in plot.labels[:index]]
        assert not [box for box in (*drawn, axis, *others) if overlap(label.box, box)], label.lines
        assert all(len(line) <= LONGEST for line in label.lines)


def test_points_on_top_of_each_other_share_a_label_and_far_ones_are_joined_to_theirs():
    files = [record_file(name, 0.9, control=name != "mine") for name in ("mine", "his", "hers")]
    (label,) = scatter(build_boards(files)[0]).labels
    assert label.lines == ("mine, hers, his",) and not label.group.control
    page = Page(render_boards(build_boards(crowd(24)), "Boards"))
    joined = [label for label in scatter(build_boards(crowd(24))[0]).labels if label.leader]
    assert len(page.all("path", "leader")) == len(joined) > 0


def test_errors_of_metrics_and_unreadable_inputs_are_stated():
    file = record_file("mine", 0.9)
    broken = replace(file.records[3], values={**file.records[3].values, "composite": Failed("x<y")})
    invalid = dict.fromkeys(METRICS, Failed("input invalid"))
    unread = replace(file.records[7], edit_status="input_invalid", pixels_sha256=None, edit_sha256=None, values=invalid)
    records = [*file.records[:3], broken, *file.records[4:7], unread]
    page = check_harmless(render_boards(build_boards([replace(file, records=records)]), "Boards"))
    assert "incomplete: 1 error" in page.all("th", "label")[1]["text"]
    cell = page.all("td", "number")[0]
    assert "1 error" in cell["text"] and "1 of them on good edits, the first: x<y" in cell["title"]
    assert "of 71 unreadable" in page.all("td", "number")[-2]["text"]


def test_the_same_boards_give_the_same_bytes():
    files = some_files()
    assert render_boards(build_boards(files), "B") == render_boards(build_boards(files[::-1])[::-1], "B")


def test_trained_on_is_marked_in_its_cells_only():
    page = Page(render_boards(build_boards([record_file("good", 0.9, trained_on=("psnr:region=keep",))]), "Boards"))
    assert [cell["title"].split(":")[0] for cell in page.all("td", "number") if "†" in cell["text"]] == ["psnr"]


def test_boards_without_ranking_values_or_rows():
    odd = {"<b>odd</b>": METRICS["<b>odd</b>"]}
    page = check_harmless(render_boards(build_boards([record_file("only", 0.5, metrics=odd)]), "Boards"))
    assert "–" in page.all("td", "number")[0]["text"] and "n 0" in page.all("th", "number")[0]["text"]
    assert page.all("td", "rank") == []
    check_harmless(render_boards([], "Boards"))
    check_harmless(render_boards(build_boards([record_file("bare", 0.5, metrics={})]), "Boards"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_boards_stays_text(text):
    encodable = text.replace("\ud800", "")
    info = replace(METRICS["success"], unit=encodable)
    file = record_file(text, 0.5, suite=text, trained_on=(text,))
    header = replace(
        file.header,
        metrics={**METRICS, encodable: info},
        editor=replace(file.header.editor, spec=text),
    )
    page = check_harmless(render_boards(build_boards([RecordFile(header, file.records, file.sha256)]), text))
    assert page.all("h1")[0]["text"] == visible(text)


def test_numbers_keep_their_digits():
    assert fixed(31.257, 2) == "31.26" and fixed(0.0, 3) == "0.000" and fixed(4e-6, 3) == "4e-06"
    assert decimals([31.2, 100.0], 100.0) == 2 and decimals([0.5], 1.0) == 3 and decimals([], None) == 2
    assert decimals([0.00123], 1.0) == 5


# ----------------------------------------------------------------------------------------------------- gallery


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY.replace("HOSTILE_STRINGS", repr(HOSTILE)), encoding="utf-8")
    return path


def edits_of(page):
    """The data that the gallery's script draws from."""
    return json.loads(page.all("script")[0]["text"])


def check_pictures(sources, folder):
    assert sources and all(re.fullmatch(r"img/[0-9a-f]{24}\.(png|jpg)", source) for source in sources)
    assert sources == {f"img/{file.name}" for file in (folder / "img").iterdir()}
    for source in sources:
        with PILImage.open(folder / source) as picture:
            assert max(picture.size) <= 256


def test_the_gallery_has_a_card_a_record(toy, tmp_path):
    metrics = ("composite", "success", "noop", "psnr:region=keep")
    run = eb.run(
        f"{toy}:Flaky",
        suite=f"{toy}:ToySuite",
        metrics=metrics,
        repeats=2,
        label="flaky",
        output_dir=str(tmp_path / "run"),
    )
    path = write_gallery(run.path, load_suite(f"{toy}:ToySuite"), tmp_path / "page")
    page = check_harmless(path.read_text("utf-8"))
    records = run.records().records
    edits = edits_of(page)
    assert len(edits) == len(records) == 16
    assert [edit["status"] for edit in edits].count("editor_error") == 2
    assert [edit["status"] for edit in edits].count("input_invalid") == 2
    assert {edit["category"] for edit in edits} == {option["text"] for option in page.all("option")[1:9]}
    failed = next(edit for edit in edits if edit["status"] == "editor_error")
    assert failed["reason"] == "ValueError: bad <script>alert(1)</script>"
    # A failed edit counts as 0 where it counts, and "worst first" begins with it; fidelity leaves it out.
    assert [sort for *_, sort in failed["values"]] == [0, 0, None, None]
    assert [note for _, _, note, _ in failed["values"]][:2] == ["no edit: counts as this"] * 2
    assert "truncated" in next(edit["problem"] for edit in edits if edit["status"] == "input_invalid")
    assert edits[1]["repeat"] == 1 and visible(HOSTILE[4]) in (edits[8]["category"], edits[8]["instruction"])
    assert "seconds an edit" in page.all("dl", "facts")[0]["text"] and "(n 14)" in page.all("dl", "facts")[0]["text"]
    rows = [row for row in page.all("tr") if "title" in row]
    assert len(rows) == len(metrics) and all("n = " in row["title"] for row in rows)
    names = ("source", "mask", "output", "difference", "region")
    check_pictures({edit[name] for edit in edits for name in names if name in edit}, tmp_path / "page")
    before = path.read_bytes()
    assert write_gallery(run.path, load_suite(f"{toy}:ToySuite"), tmp_path / "page").read_bytes() == before


def test_the_gallery_of_an_unfinished_run_shows_what_there_is(toy, tmp_path):
    run = eb.run(
        "identity", suite=f"{toy}:ToySuite", metrics=["success"], shard="1/2", output_dir=str(tmp_path / "run")
    )
    page = check_harmless(write_gallery(run.path, load_suite(f"{toy}:ToySuite"), tmp_path / "page").read_text("utf-8"))
    assert len(edits_of(page)) == len(run.records().records) == 4
    assert "incomplete" in page.all("header")[0]["text"]


def test_the_gallery_shows_what_is_wrong_with_an_edit(toy, tmp_path):
    run = eb.run("identity", suite=f"{toy}:ToySuite", metrics=["success"], output_dir=str(tmp_path / "run"))
    for edit in (run.path / "edits").glob("*.png"):
        edit.unlink()
    page = Page(write_gallery(run.path, load_suite(f"{toy}:ToySuite"), tmp_path / "page").read_text("utf-8"))
    assert len([edit for edit in edits_of(page) if "is missing" in edit.get("problem", "")]) == 7


def test_the_gallery_refuses_another_suite(toy, tmp_path):
    run = eb.run("identity", suite=f"{toy}:ToySuite", metrics=["success"], output_dir=str(tmp_path / "run"))
    with pytest.raises(EditbenchError, match="restore the suite"):
        write_gallery(run.path, select_first(load_suite(f"{toy}:ToySuite"), 3), tmp_path / "page")


# ---------------------------------------------------------------------------------------------------- overlays


def test_the_overlays_show_every_scenario_and_list_the_unreadable(toy, tmp_path):
    path = write_overlays(
        load_suite(f"{toy}:ToySuite"), [Finding(False, text) for text in ("first", *HOSTILE)], tmp_path
    )
    page = check_harmless(path.read_text("utf-8"))
    assert len(page.all("article", "card")) == 7
    assert [item["text"] for item in page.all("li", "unreadable")] == ["s-4 mask 'm<b>.png': truncated"]
    assert [item["text"] for item in page.all("li")][: 1 + len(HOSTILE)] == ["first", *map(visible, HOSTILE)]
    assert sum(int(title["text"].split(": ")[1].split()[0]) for title in page.all("title")[1:]) == 7
    findings = [Finding(True, "s-4: mask 'm<b>.png': truncated")]
    again = Page(write_overlays(load_suite(f"{toy}:ToySuite"), findings, tmp_path / "again").read_text("utf-8"))
    assert "".join(item["text"] for item in again.all("li")).count("truncated") == 1
    assert "empty mask" in page.all("article")[2]["text"] and "10.2 %" in page.all("article")[0]["text"]
    check_pictures({image["src"] for image in page.all("img")}, tmp_path)
    assert all(image.get("loading") == "lazy" for image in page.all("img"))


def test_the_overlays_stop_at_the_limit(toy, tmp_path):
    page = Page(write_overlays(load_suite(f"{toy}:ToySuite"), [], tmp_path, limit=2).read_text("utf-8"))
    assert len(page.all("article")) == 2 and "the first 2" in page.all("header")[0]["text"]
    assert "all is well" in page.all("main")[0]["text"]


# ---------------------------------------------------------------------------------------------------- pictures


def test_heat_maps_share_one_scale():
    source = np.zeros((1, 3, 3), np.uint8)
    output = source.copy()
    output[0, 1], output[0, 2] = 64, 255
    assert heat_map(source, output).tolist() == [[list(ANCHORS[0]), list(ANCHORS[-1]), list(ANCHORS[-1])]]
    assert heat_map(source, output).tolist() == heat_map(output, source).tolist()
    lightness = [heat_map(source[:, :1], np.full((1, 1, 3), step, np.uint8)).sum() for step in range(0, 64, 8)]
    assert lightness == sorted(set(lightness))


def test_overlays_change_the_mask_and_its_border_only():
    source = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:15] = True
    changed = (overlay(source, mask) != source).any(axis=2)
    near = np.zeros_like(mask)
    near[4:16, 4:16] = True
    assert changed[6:14, 6:14].mean() > 0.9 and not changed[~near].any()
    for whole in (np.zeros_like(mask), np.ones_like(mask)):
        assert (outline(source, whole) == source).all()


def test_thumbnails_fit_and_keep_small_masks(tmp_path):
    assert thumbnail(np.zeros((1000, 300, 3), np.uint8)).shape == (256, 77, 3)
    assert thumbnail(np.zeros((3, 2000, 3), np.uint8)).shape == (1, 256, 3)
    small = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (thumbnail(small)[::8, ::8] == small).all() and thumbnail(small).shape == (160, 240, 3)
    mask = np.zeros((1024, 1024), bool)
    mask[100:102, 300:304] = True
    assert thumbnail_mask(mask).sum() == 1
    assert write_picture(small, tmp_path) == write_picture(small.copy(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_policy_hashes_are_those_of_the_page():
    text = render_boards([], "Boards")
    page = Page(text)
    policy = html.unescape(page.all("meta")[1]["content"])
    for tag in ("style", "script"):
        digest = hashlib.sha256(page.all(tag)[0]["text"].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
