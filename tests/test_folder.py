import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

import editbench as eb
from editbench.report.overlays import write_overlays
from editbench.testing import check_suite
from editbench.types import Failed, Undefined

MASK = np.zeros((24, 32), bool)
MASK[4:12, 6:20] = True


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    PILImage.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    PILImage.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "b.jpg")
    PILImage.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    return tmp_path


def write(root, *items):
    base = {"source": "a.png", "mask": "mask.png", "instruction": "Make it blue."}
    lines = [json.dumps({"id": f"s{number}", **base, **item}) for number, item in enumerate(items)]
    (root / "scenarios.jsonl").write_text("\n".join(lines) + "\n")
    return f"folder:{root}"


def test_every_field_arrives(root):
    item = {
        "source_prompt": "noise", "target_prompt": "blue noise", "target": "b.jpg", "category": "recolour",
        "cluster": "c", "meta": {"camera": "none"},
    }  # fmt: skip
    suite = eb.load_suite(write(root, item, {}))
    first, second = suite
    assert (first.id, first.category, first.cluster, first.metadata) == ("s0", "recolour", "c", {"camera": "none"})
    assert (first.source_prompt, first.target_prompt) == ("noise", "blue noise")
    assert (first.mask == MASK).all() and first.target.shape == (24, 32, 3) and first.checks == ()
    assert (second.category, second.cluster, second.target) == ("edit", "a.png", None)
    assert suite.name == f"folder:{root.name}" and len(suite.identity) == 64


def test_an_absent_mask_means_the_whole_image(root):
    (scenario,) = eb.load_suite(write(root, {"mask": "mask.png"}))
    assert not scenario.mask.all()
    (root / "scenarios.jsonl").write_text('{"id": "x", "source": "a.png", "instruction": "Go."}')
    (scenario,) = eb.load_suite(f"folder:{root / 'scenarios.jsonl'}")
    assert scenario.mask.all()


@pytest.mark.parametrize("polarity", ["white=edit", "black=edit", "transparent=edit"])
def test_polarity_is_converted_once(root, polarity):
    alpha = np.where(MASK, 0, 255).astype(np.uint8)
    pictures = {
        "white=edit": PILImage.fromarray(MASK.astype(np.uint8)),
        "black=edit": PILImage.fromarray((~MASK).astype(np.uint8) * 255),
        "transparent=edit": PILImage.fromarray(np.dstack([np.zeros((24, 32, 3), np.uint8), alpha])),
    }
    pictures[polarity].save(root / "other.png")
    (scenario,) = eb.load_suite(write(root, {"mask": "other.png", "mask_polarity": polarity}))
    assert (scenario.mask == MASK).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x", "source": "a.png"}', "1: no field 'instruction'"),
        (
            '{"id": "x", "source": "a.png", "instruction": "Go.", "instuction": 1}',
            "unknown field 'instuction': did you",
        ),
        ('{"id": "../x", "source": "a.png", "instruction": "Go."}', "id '../x', expected"),
        ('{"id": "x", "source": "../a.png", "instruction": "Go."}', "source='../a.png', expected a path inside"),
        ('{"id": "x", "source": "/etc/passwd", "instruction": "Go."}', "expected a path inside"),
        ('{"id": "x", "source": "C:\\\\a.png", "instruction": "Go."}', "expected a path inside"),
        ('{"id": "x", "source": 3, "instruction": "Go."}', "source=3, expected text"),
        ('{"id": "x", "id": "y", "source": "a.png", "instruction": "Go."}', "duplicate key 'id'"),
        ('{"id": "x", "source": "a.png", "instruction": "Go.", "meta": {"a": 1e999}}', "non-finite number"),
        ('{"id": "x", "source": "a.png", "instruction": "Go.",}', "malformed JSON"),
        ('["x"]', "list, expected a JSON object"),
        ('{"id": "x", "source": "a.png", "instruction": "Go.", "mask_polarity": "white"}', "did you mean 'white=edit'"),
        ('{"id": "x", "source": "a.png", "instruction": "Go.", "mask_threshold": 0.5}', "expected a grey level"),
    ],
)
def test_a_wrong_line_is_refused_with_file_and_line(root, line, message):
    (root / "scenarios.jsonl").write_text(line + "\n")
    with pytest.raises(eb.EditbenchError) as caught:
        eb.load_suite(f"folder:{root}")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{root / 'scenarios.jsonl'}:1: ")


def test_ids_are_unique_up_to_case(root):
    spec = write(root, {"id": "Cat"}, {"id": "dog"}, {"id": "cAT"})
    with pytest.raises(eb.EditbenchError, match=r":3: id 'cAT' stands on line 1 too"):
        eb.load_suite(spec)


def test_byte_order_mark_and_windows_line_ends_are_read(root):
    write(root, {}, {})
    text = (root / "scenarios.jsonl").read_text()
    (root / "scenarios.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [scenario.id for scenario in eb.load_suite(f"folder:{root}")] == ["s0", "s1"]


def test_a_link_out_of_the_folder_is_not_followed(root):
    (root / "inner").mkdir()
    write(root / "inner", {"source": "link.png"})
    (root / "inner" / "link.png").symlink_to(root / "a.png")
    (scenario,) = eb.load_suite(f"folder:{root / 'inner'}")
    with pytest.raises(eb.EditbenchError, match="leads out of"):
        _ = scenario.source


def test_a_link_in_a_circle_costs_one_scenario_and_not_the_run(root):
    (root / "a1.png").symlink_to(root / "a2.png")
    (root / "a2.png").symlink_to(root / "a1.png")
    _, findings = check_suite(write(root, {"source": "a1.png"}, {}))
    (error,) = [finding.text for finding in findings if finding.error]
    assert error.startswith(f"{root / 'scenarios.jsonl'}:1: s0: source 'a1.png': ")
    run = eb.run("identity", suite=f"folder:{root}", output_dir=str(root / "run"))
    assert [record.edit_status for record in run.records().records] == ["input_invalid", "ok"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"id": "a", "source": "a.png", "instruction": "Go."}\n\n\xff\x00\x01\n', "3: byte 0xff at place 1 of"),
        ('{"id": "a", "source": "a.png", "instruction": "Färbe."}'.encode("latin-1"), "1: byte 0xe4 at place 49 of"),
        ('{"id": "a", "source": "a.png", "instruction": "Go."}'.encode("utf-16"), "1: byte 0xff at place 1 of"),
    ],
    ids=["binary", "latin-1", "utf-16"],
)
def test_a_manifest_that_is_not_utf_8_is_refused_with_its_place(root, content, place):
    path = root / "bin.jsonl"
    path.write_bytes(content)
    with pytest.raises(eb.EditbenchError) as caught:
        eb.load_suite(f"folder:{path}")
    assert str(caught.value).startswith(f"{path}:{place} the line is not UTF-8, expected one JSON object a line")
    suite, findings = check_suite(f"folder:{path}")
    assert suite is None and any(place in finding.text for finding in findings)
    command = [sys.executable, "-m", "editbench", "run", "--suite", f"folder:{path}", "--editor", "identity"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2 and place in done.stderr and "Traceback" not in done.stderr


def test_sizes_must_agree(root):
    PILImage.new("L", (16, 16)).save(root / "small.png")
    (scenario,) = eb.load_suite(write(root, {"mask": "small.png"}))
    with pytest.raises(eb.EditbenchError, match=r"mask 'small.png': size 16x16, but the source is 32x24$"):
        _ = scenario.mask
    (scenario,) = eb.load_suite(write(root, {"target": "small.png"}))
    with pytest.raises(eb.EditbenchError, match=r"target 'small.png': size 16x16, but the source is 32x24$"):
        _ = scenario.mask


def turn(root, name, orientation, saved):
    with PILImage.open(root / name) as picture:
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(root / saved, exif=exif)


ADVICE = "; save both without that metadata, turned the same way"


def test_sizes_that_disagree_because_one_was_turned_say_so(root):
    turn(root, "a.png", 6, "turned.png")
    turn(root, "mask.png", 8, "turned_mask.png")
    said = {}
    for item in (
        {"source": "turned.png"},
        {"mask": "turned_mask.png"},
        {"source": "turned.png", "mask": "turned_mask.png", "target": "b.jpg"},
    ):
        (scenario,) = eb.load_suite(write(root, item))
        with pytest.raises(eb.EditbenchError) as caught:
            _ = scenario.mask
        said[tuple(item)] = str(caught.value)
    applied = "after its EXIF orientation is applied"
    assert list(said.values()) == [
        f"mask 'mask.png': size 32x24, but the source is 24x32 {applied}{ADVICE}",
        f"mask 'turned_mask.png': size 24x32 {applied}, but the source is 32x24{ADVICE}",
        f"target 'b.jpg': size 32x24, but the source is 24x32 {applied}{ADVICE}",
    ]


def test_a_mask_that_was_turned_or_scaled_is_noted(root):
    turn(root, "mask.png", 3, "turned.png")
    PILImage.fromarray(MASK.astype(np.uint16) * 65535).save(root / "deep.png")
    suite, findings = check_suite(write(root, {"mask": "turned.png"}, {"mask": "deep.png"}))
    assert [scenario.mask.tolist() for scenario in suite] == [MASK[::-1, ::-1].tolist(), MASK.tolist()]
    texts = [finding.text for finding in findings if not finding.error]
    assert texts[0].endswith(":1: s0: mask 'turned.png': exif-orientation")
    assert texts[1].endswith(":2: s1: mask 'deep.png': 16-bit")


def test_findings_count_lines_as_an_editor_of_text_does(root):
    lines = (root / "scenarios.jsonl", write(root, {}, {"source": "gone.png"}, {"instruction": " "}))[0]
    first, second, third = lines.read_text().splitlines()
    lines.write_text(f"\n{first}\n\n  \n{second}\n\n{third}\n")
    suite, findings = check_suite(f"folder:{root}")
    error, note = (finding.text for finding in findings[:2])
    assert error.startswith(f"{lines}:5: s1: source 'gone.png'") and note == f"{lines}:7: s2: empty instruction"
    assert [suite.where(index) for index in range(3)] == [f"{lines}:{number}" for number in (2, 5, 7)]
    lines.write_text(lines.read_text().replace('"id": "s2"', '"id": "?2"'))  # changed behind the suite's back
    with pytest.raises(eb.EditbenchError, match=r":7: id '\?2'"):
        _ = suite[2]


def test_the_overlay_page_names_file_and_line_and_each_unreadable_scenario_once(root):
    spec = write(root, {}, {"source": "gone.png"}, {"mask": "gone_too.png"})
    lines = root / "scenarios.jsonl"
    lines.write_text("\n" + lines.read_text())
    suite, findings = check_suite(spec)
    for told in (findings, []):  # with and without a check before it
        page = write_overlays(suite, told, root / "out").read_text()
        assert page.count("gone.png") == page.count("gone_too.png") == 1
        assert page.count(f"{lines}:3: s1") == page.count(f"{lines}:4: s2") == 1
        assert page.count("<article") == 1 and "looked at here" not in page


def test_a_grey_mask_is_refused_with_a_histogram_unless_a_threshold_is_given(root):
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (24, 1))
    PILImage.fromarray(ramp).save(root / "soft.png")
    (scenario,) = eb.load_suite(write(root, {"mask": "soft.png"}))
    with pytest.raises(eb.EditbenchError, match=r"248 \(3.1%\).* 28 more levels, expected 0/255 or 0/1"):
        _ = scenario.mask
    (scenario,) = eb.load_suite(write(root, {"mask": "soft.png", "mask_threshold": 128}))
    assert (scenario.mask == (ramp >= 128)).all()


def test_check_lists_every_problem_and_not_the_first_only(root):
    (root / "text.png").write_text("hello")
    PILImage.new("RGBA", (32, 24), (1, 2, 3, 0)).save(root / "glass.png")
    grey = np.full((24, 32), 30_000, np.uint16)
    PILImage.fromarray(grey).save(root / "deep.png")
    turned = PILImage.new("RGB", (24, 32))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "turned.jpg", exif=exif)
    PILImage.fromarray(np.ones((24, 32), np.uint8)).save(root / "full.png")
    items = [{"source": name} for name in ("text.png", "gone.png", "glass.png", "deep.png", "turned.jpg")]
    suite, findings = check_suite(write(root, *items, {"mask": "full.png"}))
    assert suite is not None
    errors = [finding.text for finding in findings if finding.error]
    notes = "\n".join(finding.text for finding in findings if not finding.error)
    manifest = root / "scenarios.jsonl"
    assert errors == [
        f"{manifest}:1: s0: source 'text.png': not a PNG, JPEG or WebP image",
        f"{manifest}:2: s1: source 'gone.png': No such file or directory",
    ]
    for words in ("glass.png': alpha", "deep.png': 16-bit", "turned.jpg': exif-orientation", "s5: the mask covers"):
        assert words in notes
    assert "4 of 6 scenarios read; mask area 14.6% to 100.0%" in notes


def test_check_lists_every_bad_line_of_a_manifest(root):
    write(root, {"id": "../a"}, {}, {"mask": "/x"})
    suite, findings = check_suite(f"folder:{root}")
    assert suite is None
    assert [finding.text.split(": ")[0].rsplit(":", 1)[1] for finding in findings] == ["1", "3"]


def test_the_check_command_writes_an_overlay_page_and_exits_5_on_errors(root):
    (root / "text.png").write_text("hello")
    command = [sys.executable, "-m", "editbench", "check", "suite", write(root, {}, {"source": "text.png"})]
    done = subprocess.run([*command, "--html", str(root / "out")], capture_output=True, text=True)
    assert done.returncode == 5
    place = f"{root / 'scenarios.jsonl'}:2: s1"
    assert f"error: {place}: source 'text.png': not a PNG" in done.stdout
    page = next((root / "out").glob("*.html"))
    assert f"overlays: {page}" in done.stdout and "s0" in page.read_text()
    assert page.read_text().count("not a PNG") == page.read_text().count(place) == 1


def test_a_run_on_a_folder_has_fidelity_and_no_success(root):
    result = eb.run("fill", suite=write(root, {}, {"target": "a.png"}), output_dir=str(root / "run"))
    first, second = result.records().records
    assert first.values["psnr:region=keep"] == 100.0
    assert first.values["success"] == Undefined("no checks")
    assert first.values["target:psnr,region=edit"] == Undefined("no target")
    assert 0 < second.values["target:psnr,region=edit"] < 100
    assert not any(isinstance(value, Failed) for value in first.values.values())


def test_a_suite_of_many_scenarios_costs_little_memory(tmp_path):
    code = f"""
import json, resource
path = {str(tmp_path)!r} + "/scenarios.jsonl"
with open(path, "w") as file:
    for index in range(100_000):
        file.write(json.dumps(dict(id=f"s{{index}}", source="a.png", instruction="Go.")) + "\\n")
import editbench as eb
eb.load_suite
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
suite = eb.load_suite("folder:" + path)
count = sum(1 for scenario in suite)
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, megabytes = map(int, done.stdout.split())
    assert count == 100_000 and megabytes < 40
