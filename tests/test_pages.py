"""Pages in a real browser: what they do, that hostile text does nothing, that anybody can use them."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from statistics import median, quantiles

import numpy as np
import pytest

import editbench as eb
from editbench import leaderboards
from editbench.board import build_boards
from editbench.compare import Compared, compare, load_runs
from editbench.names import is_name
from editbench.record_files import RecordFile, format_records
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.report.comparison_page import write_comparison
from editbench.report.edits import Pictures, Shot, Shown, mean_of
from editbench.report.gallery import render_gallery
from editbench.report.leaderboard import render_boards
from editbench.report.overlays import write_overlays
from editbench.report.pictures import write_picture
from editbench.toys import Finding
from editbench.types import Content, Detailed, Failed, Record, Scenario, Undefined

HOSTILE = (
    "<script>hacked.push(1)</script>",
    "</script><script>hacked.push(2)</script>",
    "<!--<script>",
    '"><img src=x onerror=hacked.push(3)>',
    "' onmouseover='hacked.push(4)' autofocus onfocus='hacked.push(5)",
    "javascript:hacked.push(6)",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}${hacked.push(7)}",
    "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "left \u202egnp.exe \u2066right \u200f\u05d0\u05d1",
    "W" * 400,
    "ﷺ" * 60 + "\u0301" * 80,
    "a\u2028b\u2029c\x00d\x7f",
    "&lt;b&gt; &amp; %3Cscript%3E __proto__",
)
METRICS = {
    "composite": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "success": MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0),
    "psnr:region=keep": MetricInfo(1, "higher", "dB", (0.0, 100.0), cap=100.0),
    "mae:region=keep": MetricInfo(1, "lower", "", (0.0, 1.0)),
    "leak_profile": MetricInfo(1, "lower", "", (0.0, 1.0)),
    "seam": MetricInfo(1, "lower", "", (0.0, 1.0)),
}


def record_file(label, quality, ids=12, suite="toy@1", metrics=METRICS, category="edit", failed=0, **editor):
    """The records of a run whose numbers follow from its quality, 0 to 1; the last ones failed."""
    editor = {"mask_access": "none", **editor}
    header = Header(
        SuiteInfo(suite, "ab" * 32, 12, "toy@1"),
        EditorInfo(f"spec of {label}", label, **editor),
        seed=0,
        repeats=1,
        align="error",
        metrics=metrics,
    )
    records = []
    for index in range(ids):
        leak = (1 - quality) / 10 * (1 + index / 20)
        profile = {"edges": [0, 4, 16, None], "curve": [leak, leak / 2, None if index % 2 else leak / 8]}
        values = {
            "composite": quality * (index % 3) / 2,
            "success": float(index % 3 > 0) * (quality > 0),
            "psnr:region=keep": 100.0 if quality == 1 else 30.0 + quality + index % 4,
            "mae:region=keep": leak,
            "leak_profile": Detailed(leak, profile),
            "seam": Undefined("no border"),
        }
        ok = index < ids - failed
        known = {name: values.get(name, values["seam"]) if ok else Failed("no edit") for name in metrics}
        edit = ("ok", "ee" * 32) if ok else ("editor_error", None)
        records.append(Record(f"s-{index:02}", f"c-{index // 2}", category, 0, *edit, "cd" * 32, values=known))
    return RecordFile(header, records, "ef" * 32)


def gallery(file, count, folder, words=("Make it blue.",)):
    """The page of a run with as many edits as asked for, each with pictures of its own."""
    row = build_boards([file])[0].rows[0]
    means = [mean_of(column, cell) for column, cell in row.cells.items()]
    pictures = []
    for index in range(min(count, 60)):
        image = np.full((32, 32, 3), 4 * index, np.uint8)
        image[8:24, 8:24, 0] = 255
        pictures.append([f"img/{write_picture(np.roll(image, turn, axis=2), folder / 'img')}" for turn in range(3)])
    shots = []
    for index in range(count):
        source, output, other = pictures[index % len(pictures)]
        quality = (7919 * index % count) / count
        values = [Shown(f"{quality:.3f}", "value", "", quality) for _ in means]
        words_of = words[index % len(words)]
        values[-1] = Shown("undefined", "none", words_of, None)
        record = replace(file.records[index % len(file.records)], scenario_id=f"{file.records[0].scenario_id}-{index}")
        shown = Pictures(source, other, output, other, other)
        shots.append(Shot(record, f"{words_of} {index}", shown, tuple(values), "1 s"))
    page = folder / "index.html"
    page.write_text(render_gallery(file, row, means, shots), encoding="utf-8")
    return page


def some_boards(suite="toy@1", **more):
    return build_boards([
        record_file("good", 0.9, suite=suite, mask_access="hint", trained_on=("psnr:region=keep",), **more),
        record_file("poor", 0.4, suite=suite, failed=3, **more),
        record_file("half", 0.8, suite=suite, ids=6, mask_access="region", **more),
        record_file("identity", 0.0, suite=suite, control=True, **more),
        record_file("target", 1.0, suite=suite, control=True, mask_access="region", **more),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    path = tmp_path_factory.mktemp("boards") / "index.html"
    parts = [f"toy@1[category={name}]" for name in ("add", "remove")]
    found = [board for suite in ("toy@1", *parts, "other@2") for board in some_boards(suite)]
    path.write_text(render_boards(found, "Boards"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    return gallery(record_file("mine", 0.7, failed=2), 90, tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Every kind of page, with every hostile text in every place."""
    folder = tmp_path_factory.mktemp("hostile")
    files = []
    metrics = {**METRICS, **{text.replace("\x00", ""): METRICS["success"] for text in HOSTILE}}
    for index, text in enumerate(HOSTILE):
        editor = {"trained_on": HOSTILE, "mask_access": "hint"}
        file = record_file(text, index / 20, suite=HOSTILE[0], metrics=metrics, failed=2, category=HOSTILE[1], **editor)
        records = [
            replace(record, scenario_id=f"{record.scenario_id} {text}", reason=text, flags=HOSTILE, cluster=text)
            for record, text in zip(file.records, HOSTILE, strict=False)
        ]
        files.append(replace(file, records=records))
    (folder / "boards.html").write_text(render_boards(build_boards(files), HOSTILE[2]), encoding="utf-8")
    page = gallery(files[3], len(HOSTILE), folder, HOSTILE)
    page.rename(folder / "gallery.html")
    write_overlays(HostileSuite(), [Finding(True, text, text) for text in HOSTILE], folder).rename(
        folder / "overlays.html"
    )
    runs = [Compared(file.header.editor.label, file) for file in files[:3]]
    write_comparison(compare(runs, slices=("category",)), {}, folder / "comparison.html")
    leaderboards.write_site(hostile_folder(folder / "leaderboards"), folder / "site")
    return folder


def hostile_folder(folder):
    """A leaderboards folder: labels and suites have to be plain there, nothing else has."""
    for label in ("mine", "identity"):
        file = record_file(
            label,
            0.4,
            trained_on=tuple(filter(is_name, HOSTILE)),
            category=HOSTILE[0],
            metrics={HOSTILE[3]: METRICS["success"]},
        )
        path = folder / "records" / "toy@1" / f"{label}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(format_records(file.header, file.records)))
    (folder / "audit").mkdir()
    with (folder / "audit" / "toy@1.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("metric", "passes"), *((text.replace("\x00", ""), "false") for text in HOSTILE)])
    (folder / "audit" / "toy@1.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='1200' height='9'/>")
    return folder


class HostileSuite:
    name = HOSTILE[3]
    identity = HOSTILE[4]
    licence = HOSTILE[9]

    def __len__(self):
        return len(HOSTILE)

    def __iter__(self):
        for number, text in enumerate(HOSTILE):
            mask = np.zeros((24, 24), bool)
            mask[4:12, 4:12] = True
            category = text if is_name(text) else "edit"
            yield Scenario(
                f"s-{number}", text, category, text, lambda mask=mask: Content(np.zeros((24, 24, 3), np.uint8), mask)
            )


def check_quiet(browser):
    """Nothing ran that should not, nothing was refused, nothing was asked of the outside."""
    assert browser.run("return hacked") == []
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


# ------------------------------------------------------------------------------------------------- every page

KINDS = (
    "boards",
    "gallery",
    "overlays",
    "comparison",
    "site/index",
    "site/boards",
    "site/methods",
    "site/metrics",
    "site/audit",
)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_neither_runs_nor_breaks_the_layout(browser, hostile, kind):
    for size in (browser.PHONE, browser.DESKTOP):
        browser.open(hostile / f"{kind}.html", size=size)
        assert browser.overflow() <= 0
        for button in browser.all("thead button, .controls input[type=checkbox]"):
            browser.run("arguments[0].click()", button)
        browser.run(
            "for (const e of document.querySelectorAll('[title], a, bdi')) e.dispatchEvent(new Event('mouseover'))"
        )
        check_quiet(browser)
    assert "49" not in browser.driver.title
    foreign = "return [...document.querySelectorAll('[onerror], [onmouseover], [onfocus], [href^=javascript]')].length"
    assert browser.run(foreign) == 0
    scripts = (
        "return [...document.querySelectorAll('body script')].filter((e) => e.parentElement !== document.body).length"
    )
    assert browser.run(scripts) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious(browser, hostile, boards, edits, kind):
    """Among usual names in the light on a desk, and among hostile ones in the dark on a phone."""
    usual = {"boards": boards, "gallery": edits}.get(kind, hostile / f"{kind}.html")
    for path, scheme, size in ((usual, "light", browser.DESKTOP), (hostile / f"{kind}.html", "dark", browser.PHONE)):
        browser.open(path, size=size, scheme=scheme)
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(19, 21, 24)") == (scheme == "dark")
        assert browser.serious() == {}
        check_quiet(browser)


# ----------------------------------------------------------------------------------------------------- boards


def labels(browser, section=1):
    return [text.split("\n")[0].split(" ")[0] for text in browser.texts(f"section:nth-of-type({section}) tbody .label")]


def test_boards_sort_by_click_and_by_key_and_say_so(browser, boards):
    browser.open(boards)
    assert labels(browser, 2) == ["target", "good", "poor", "identity", "half"]
    button = browser.one("section:nth-of-type(2) thead th[title='mae:region=keep'] button")
    button.send_keys("\n")
    head = "section:nth-of-type(2) th[title='mae:region=keep']"
    assert browser.one(head).get_attribute("aria-sort") == "ascending"
    assert labels(browser, 2) == ["target", "good", "poor", "identity", "half"]
    button.send_keys(" ")
    assert browser.one(head).get_attribute("aria-sort") == "descending"
    # What is incomplete stays below, and a run without a number would stand behind those with one.
    assert labels(browser, 2) == ["identity", "poor", "good", "target", "half"]
    assert "mae:region=keep, descending" in browser.one("#said").text
    browser.all("section:nth-of-type(2) thead button")[1].click()
    assert labels(browser, 2) == ["good", "identity", "poor", "target", "half"]
    assert len(browser.all("[aria-sort]")) == 1
    assert labels(browser, 1) == ["target", "good", "poor", "identity", "half"], "other boards stay"


def test_a_run_without_a_number_stands_behind_those_with_one_either_way(browser, tmp_path):
    fewer = {name: METRICS[name] for name in ("composite", "success")}
    files = [record_file("few", 0.6, metrics=fewer), record_file("good", 0.9), record_file("poor", 0.4)]
    (tmp_path / "boards.html").write_text(render_boards(build_boards(files), "Boards"), encoding="utf-8")
    browser.open(tmp_path / "boards.html")
    button = browser.one("thead th[title='psnr:region=keep'] button")
    for expected in (["good", "poor", "few"], ["poor", "good", "few"]):
        browser.run("arguments[0].click()", button)
        assert labels(browser) == expected


def test_boards_filter_by_suite_part_mask_access_controls_and_columns(browser, boards):
    browser.open(boards)
    assert browser.texts("h2") == ["other@2", "toy@1", "toy@1[category=add]", "toy@1[category=remove]"]
    browser.choose("[name=suite]", "toy@1")
    assert browser.texts("h2") == ["toy@1", "toy@1[category=add]", "toy@1[category=remove]"]
    browser.choose("[name=part]", "category=remove")
    assert browser.texts("h2") == ["toy@1[category=remove]"]
    assert browser.one("#said").text == "5 rows"
    browser.choose("[name=mask]", "hint")
    assert labels(browser, 4) == ["target", "good", "identity"], "controls are no editors whose access is chosen"
    browser.one("[name=controls]").click()
    assert labels(browser, 4) == ["good"]
    before = browser.texts("section:nth-of-type(4) thead th[title]")
    browser.one("[name=group][value='keep region']").click()
    after = browser.texts("section:nth-of-type(4) thead th[title]")
    assert len(before) - len(after) == 3 and not any("psnr" in head for head in after)
    assert browser.texts("[name=group]") == [""] * 3, "groups without a column are not offered"


def test_every_head_stands_over_its_column(browser, boards):
    browser.open(boards)
    script = """
    const [groups, heads] = document.querySelector("table.board").tHead.rows;
    const row = document.querySelector("table.board tbody tr[data-mask]");
    const lefts = (cells) => [...cells].map((cell) => Math.round(cell.getBoundingClientRect().left));
    const firsts = [0];
    for (const cell of groups.cells) firsts.push(firsts.at(-1) + cell.colSpan);
    const under = firsts.slice(0, -1).map((column) => lefts(heads.cells)[column]);
    return [lefts(heads.cells), lefts(row.cells), lefts(groups.cells), under];
    """
    heads, cells, groups, under = browser.run(script)
    assert heads == cells and groups == under


def test_a_board_is_read_out_with_its_caption_heads_and_marks(browser, boards):
    browser.open(boards)
    assert "95 % intervals" in browser.run("return document.querySelector('caption').textContent")
    good = next(row for row in browser.all("section:nth-of-type(2) tbody tr") if "good" in row.text)
    assert good.find_element("css selector", "th").get_attribute("scope") == "row"
    assert "front" in good.text and "† trained on psnr:region=keep" in good.text
    assert "complete\n12 ok" in good.text
    assert "incomplete: 50 % tried" in browser.one("section:nth-of-type(2) tbody.incomplete").text
    figures = browser.run(
        "return [...document.querySelectorAll('svg[role=img]')].map((e) => e.getAttribute('aria-label'))"
    )
    assert len(figures) == 8 and all(figures)


def test_a_board_prints_whole_and_without_its_controls(browser, boards):
    browser.open(boards)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.texts(".controls") == []
        shown = browser.run("const e = document.querySelector('.scroll.table'); return e.scrollHeight - e.clientHeight")
        assert shown <= 0 and browser.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# ---------------------------------------------------------------------------------------------------- gallery


def ids(browser):
    return [text.split("-")[-1] for text in browser.texts(".card .link")]


def order_of(count, reverse=False):
    """Edits from the worst to the best; those without a number do not occur."""
    return [str(index) for index in sorted(range(count), key=lambda i: 7919 * i % count, reverse=reverse)]


def test_the_gallery_shows_the_worst_first_a_page_at_a_time(browser, edits):
    browser.open(edits)
    worst = order_of(90)
    assert ids(browser) == worst[:24] and browser.one("#count").text == "90 of 90 edits"
    browser.one("[name=next]").send_keys("\n")
    assert ids(browser) == worst[24:48] and browser.one("#page").text == "page 2 of 4"
    assert browser.run("return document.activeElement === document.querySelector('.card')"), "focus follows"
    browser.one("[name=last]").click()
    assert ids(browser) == worst[72:] and not browser.one("[name=next]").is_enabled()
    browser.choose("[name=order]", "best")
    assert ids(browser) == worst[::-1][:24]
    browser.choose("[name=sort]", "")
    assert ids(browser) == [str(index) for index in range(24)]
    check_quiet(browser)


def test_the_gallery_filters_by_status_part_and_words(browser, edits):
    browser.open(edits)
    browser.choose("[name=status]", "editor_error")
    assert set(browser.texts(".card h3 .badge.bad")) == {"editor_error"} and browser.one("#count").text.startswith(
        "14 "
    )
    browser.choose("[name=status]", "")
    browser.choose("[name=part]", "0-10")
    assert ids(browser) == order_of(90)[:9]
    browser.choose("[name=part]", "90-100")
    assert ids(browser) == order_of(90)[81:]
    browser.choose("[name=part]", "")
    browser.one("[name=find]").send_keys("BLUE. 77")
    browser.wait("document.querySelectorAll('.card').length === 1")
    assert ids(browser) == ["77"]


def test_a_link_leads_to_its_scenario_whatever_was_chosen(browser, edits):
    browser.open(edits, "#scenario=s-00-13")
    linked = browser.one(".card.linked")
    assert "s-00-13" in linked.text and browser.run("return document.activeElement === arguments[0]", linked)
    assert browser.run(
        "const { top } = arguments[0].getBoundingClientRect(); return top >= 0 && top < innerHeight", linked
    )
    browser.choose("[name=part]", "0-1")
    assert ids(browser) == order_of(90)[:1]
    browser.run("location.hash = '#part=0-1&scenario=s-00-13'")
    browser.wait("document.querySelector('.card.linked')")
    assert "s-00-13" in browser.one(".card.linked").text
    browser.open(edits, "#sort=mae%3Aregion%3Dkeep&order=best&page=2&status=nonsense")
    assert browser.one("[name=sort]").get_attribute("value") == "mae:region=keep"
    assert ids(browser) == order_of(90)[24:48]
    browser.one(".card .link").click()
    assert browser.run("return location.hash") == f"#scenario=s-00-{order_of(90)[24]}"


def test_the_slider_uncovers_the_source_by_key(browser, edits):
    browser.open(edits)
    slider, before = browser.one("figure input[type=range]"), browser.one(".frame img.before")
    clip = "return getComputedStyle(arguments[0]).clipPath"
    assert browser.run(clip, before) == "inset(0px 100% 0px 0px)", "the output is what is seen first"
    for _ in range(3):
        slider.send_keys("\ue014")  # right arrow
    assert browser.run(clip, before) == "inset(0px 97% 0px 0px)"
    assert "output of s-00-" in slider.get_attribute("aria-label")
    source = browser.one(".card figure img").get_attribute("src")
    assert before.get_attribute("src") == source != browser.all(".card figure img")[2].get_attribute("src")


def test_the_region_toggle_leaves_one_region(browser, edits):
    browser.open(edits)
    assert browser.all("img.edit, img.keep") == []
    for region in ("edit", "keep"):
        browser.choose("[name=region]", region)
        over = browser.all(f".frame img.{region}")
        assert len(over) == 4 * 24
        assert browser.run("return getComputedStyle(arguments[0]).mixBlendMode", over[0]) == "multiply"
        inverted = browser.run("return getComputedStyle(arguments[0]).filter", over[0]) == "invert(1)"
        assert inverted == (region == "keep")


def felt(browser, last):
    """What a reader feels of the page that is open, in milliseconds; `last` is the number of its last page of cards."""
    gaps = browser.run_async(
        """
        const gaps = [];
        let last = performance.now();
        const end = last + 1500;
        requestAnimationFrame(function frame(now) {
          gaps.push(now - last);
          last = now;
          scrollBy(0, 40);
          if (now < end) requestAnimationFrame(frame);
          else arguments_done(gaps);
        });
        """
    )
    turned = f"const t = performance.now(); turn({last}); return performance.now() - t"
    return {
        "first paint": browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime"),
        "frame gap median": median(gaps),
        "frame gap 95 %": quantiles(gaps, n=20)[-1],
        "turning a page": min(browser.run(turned) for _ in range(3)),
    }


def test_five_thousand_scenarios_draw_no_more_than_ninety(browser, tmp_path, edits, record_property):
    counts, measured = {}, {}
    browser.open(edits)  # the first page that a browser shows waits for the browser
    for page, last in ((edits, 3), (gallery(record_file("mine", 0.7), 5000, tmp_path), 100)):
        browser.open(page)
        browser.wait("performance.getEntriesByName('first-contentful-paint').length")
        counts[page] = browser.run("return [document.querySelectorAll('*').length, document.images.length]")
        loaded = browser.run("return [...document.images].filter((one) => one.complete && one.naturalWidth).length")
        measured[page] = felt(browser, last)
    few, many = counts.values()
    assert many[0] <= few[0] + 20 and many[1] == few[1] == 24 * 5
    assert browser.one("#count").text == "5000 of 5000 edits"
    assert page.stat().st_size < 5000 * 800
    assert 0 < loaded < many[1], "pictures out of sight are not loaded"
    record_property("measured", json.dumps(list(measured.values())))
    print(*measured.values(), sep="\n")  # milliseconds are reported, and judged by those of 90 scenarios alone
    small, large = measured.values()
    assert all(large[what] <= 10 * small[what] for what in large), (small, large)
    assert large["frame gap 95 %"] <= 10 * large["frame gap median"], large
    check_quiet(browser)


# ------------------------------------------------------------------------------------------------- comparison


def test_a_comparison_has_a_line_a_metric_and_names_what_flipped(browser, tmp_path):
    files = [record_file("mine", 0.9), record_file("other", 0.4), record_file("failing", 0.9, failed=3)]
    write_comparison(compare([Compared(file.header.editor.label, file) for file in files]), {}, tmp_path / "c.html")
    browser.open(tmp_path / "c.html")
    rows = browser.all("section:nth-of-type(1) table.board tbody tr")
    twigs = {row.find_element("css selector", "th").text.split(" ")[0]: row for row in rows}
    assert sorted(twigs) == sorted(METRICS)
    place = "const box = arguments[0].getBBox(); return box.x + box.width / 2"
    for metric in ("composite", "mae:region=keep", "psnr:region=keep"):
        twig = twigs[metric].find_element("css selector", ".twig")
        assert browser.run(place, twig) > 50, f"{metric}: better is on the right, whatever the direction"
    assert twigs["seam"].find_elements("css selector", "svg") == [], "nothing to compare"
    won = browser.texts("section:nth-of-type(2) td.names")
    assert won[0] == "s-10, s-11" and won[1] == "", "where the failed edits cost the success"
    check_quiet(browser)


def test_pictures_of_both_outputs_stand_side_by_side(browser, tmp_path):
    runs = []
    for leak in ("0", "0.6"):
        folder, metrics = tmp_path / leak, ["composite", "success", "mae:region=keep"]
        runs.append(eb.run(f"recolor:leak={leak}", "shapes@1:size=64", metrics, limit=8, output_dir=str(folder)))
    page = tmp_path / "page" / "index.html"
    paths = [run.path for run in runs]
    loaded = load_runs(paths)
    leaderboards.export_comparison(compare(loaded), loaded, paths, page)
    browser.open(page)
    captions = browser.texts(".card:first-of-type figcaption")
    assert captions == ["source", "mask", "A", "B"]
    browser.wait("document.images[3].complete")
    first = [image.get_attribute("src") for image in browser.all(".card:first-of-type img")]
    assert len(set(first)) == 4, "the outputs differ, since one leaks"
    assert browser.run("return [...document.images].slice(0, 4).every((image) => image.naturalWidth > 0)")
    check_quiet(browser)


def test_without_a_browser_the_tests_say_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    chromium = run_path(str(Path(__file__).with_name("browser.py")))["chromium"]
    with pytest.raises(RuntimeError, match="apt-get install chromium chromium-driver"), chromium():
        pass
