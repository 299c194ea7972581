"""Benchmarks of instructions and inpainting prompts, their masks by third parties, and their finished images."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage
from typer.testing import CliRunner

import editbench as eb
from editbench import load_suite
from editbench.cli import app
from editbench.images import InvalidImage
from editbench.report.overlays import write_overlays
from editbench.suites import published_terms
from editbench.suites.benchmark import Benchmark
from editbench.testing import check_suite
from editbench.testing.examples import examples
from editbench.testing.layouts import WRITERS
from editbench.testing.layouts.hub import write_geditv2_gallery
from editbench.types import EditbenchError


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    return {spec: (tmp_path_factory.mktemp("written"), WRITERS[spec]) for spec in WRITERS}


@pytest.fixture
def written(masters, tmp_path):
    """A benchmark's folder to break, and what a right loader makes of it; written once."""

    def copy(spec):
        folder, writer = masters[spec]
        if isinstance(writer, list):
            expected = writer
        else:
            expected = writer.write(folder, examples(writer.count, *writer.size))
            masters[spec] = folder, expected
        return shutil.copytree(folder, tmp_path / "data"), expected

    return copy


def command(*words):
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stdout, done.stderr


def change_table(path, change):
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows), path)


def edit_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def states(suite):
    """Which scenarios can be read, and why the others cannot."""
    found = []
    for scenario in suite:
        try:
            found.append(scenario.load() and "ok")
        except InvalidImage as error:
            found.append(str(error))
    return found


# --------------------------------------------------------------------------------------------------- polarity


@pytest.mark.parametrize("name", ["gedit", "imgedit"])
def test_an_inferred_polarity_is_told_with_its_effect_and_the_other_one_is_contradicted_by_area(written, name):
    folder, expected = written(f"{name}:PATH,masks=cocoedit")
    suite = load_suite(f"{name}:{folder},masks=cocoedit")
    share = np.median([item.mask.mean() for item in expected])
    (warning,) = suite.warnings
    assert "masks are black=edit is inferred" in warning and f"cover {share:.0%} of their picture" in warning
    overruled = load_suite(f"{name}:{folder},masks=cocoedit,polarity=white=edit")
    (warning,) = overruled.warnings
    assert "4 of 4 masks looked at cover more than half" in warning
    np.testing.assert_array_equal(overruled[0].mask, ~suite[0].mask)
    assert overruled.spec.endswith("polarity=[white=edit]") and load_suite(overruled.spec).identity
    assert load_suite(f"{name}:{folder}").warnings == ()


def test_a_mask_of_another_size_is_brought_to_the_picture_and_flagged(written):
    folder, expected = written("gedit:PATH,masks=cocoedit")
    for path in folder.rglob("*_mask.png"):
        with PILImage.open(path) as mask:
            mask.resize((mask.width * 2, mask.height * 2), PILImage.Resampling.NEAREST).save(path)
    suite = load_suite(f"gedit:{folder},masks=cocoedit")
    np.testing.assert_array_equal(suite[1].mask, expected[1].mask)
    assert suite.oddities(1) == ["mask: resized from 256x192"]


@pytest.mark.parametrize("spec", ["gedit:PATH,masks=cocoedit", "imgedit:PATH,masks=cocoedit", "icebench:PATH"])
def test_a_mask_of_another_shape_is_refused_and_a_little_stretching_told(written, spec):
    folder, _ = written(spec)
    loaded = spec.replace("PATH", str(folder))
    before = load_suite(loaded)
    index = next(index for index in range(len(before)) if before.row(index).mask)
    path = folder / before.row(index).mask["picture"]
    with PILImage.open(path) as mask:
        height, width = mask.height, mask.width
        mask.transpose(PILImage.Transpose.ROTATE_90).save(path)
    error = states(load_suite(loaded))[index]
    assert error.endswith(
        f"mask: size {height}x{width}, but the source is {width}x{height}: turned, or of another picture?"
    )
    with PILImage.open(path) as mask:
        mask.resize((width * 2, round(height * 2 * 1.04))).save(path)
    suite = load_suite(loaded)
    assert states(suite)[index] == "ok"
    assert suite.oddities(index)[-1].startswith("mask: aspect ratio differs by more than 1%, resized from ")


def test_grey_levels_of_a_mask_are_cut_where_the_authors_cut_them(written):
    folder, _ = written("icebench:PATH")
    levels = np.tile(np.array([0, 128, 129, 255], np.uint8), (96, 32))
    PILImage.fromarray(levels).save(folder / "dataset/images/000000000001_mask.png")
    np.testing.assert_array_equal(load_suite(f"icebench:{folder}")[0].mask, levels > 128)


# ------------------------------------------------------------------------------------------------------ gedit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("language=zh", "language='zh', expected en or cn: did you mean 'cn'"),
        ("language=english", "expected en or cn"),
        ("language=cn,masks=cocoedit", "masks=cocoedit are those of language=en"),
        ("masks=cocoedit", "no folder .*geditbench/fullset for masks=cocoedit: download"),
        ("masks=cocoedt", "did you mean 'cocoedit'"),
    ],
)
def test_what_gedit_does_not_have_is_refused(written, options, message):
    folder, _ = written("gedit:PATH")
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"gedit:{folder},{options}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(task=row.pop("task_type")), "no column 'task_type': did you mean 'task'"),
        (lambda row: row.update(key=7), r"train-00000-of-00002.parquet, row 0: key=7, expected a valid string"),
        (lambda row: row.update(instruction_language="zh"), "row 0: instruction_language='zh', expected en or cn"),
        (lambda row: row.update(Intersection_exist=None), "row 0: Intersection_exist=None, expected a valid boolean"),
    ],
)
def test_a_broken_table_names_file_row_field_and_value(written, change, message):
    folder, _ = written("gedit:PATH")
    change_table(folder / "data" / "train-00000-of-00002.parquet", change)
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"gedit:{folder}")


def test_a_broken_cell_makes_one_scenario_invalid(written):
    folder, expected = written("geditv2:PATH")

    def break_second(row):
        if row["key"] == expected[1].id:
            row["source_image"]["bytes"] = row["source_image"]["bytes"][:200]

    change_table(folder / "data" / "train-00000-of-00001.parquet", break_second)
    found = states(load_suite(f"geditv2:{folder}"))
    assert found[0] == found[2] == "ok" and "row 1, source_image': cannot be decoded" in found[1]


# ---------------------------------------------------------------------------------------------------- imagen


def test_prompts_and_halves_of_editbench_are_options(written):
    folder, expected = written("editbench_imagen:PATH")
    rich = load_suite(f"editbench_imagen:{folder},prompt=mask-rich,part=generated")
    assert [scenario.instruction for scenario in rich] == ["a thing, blue"] * 2
    assert rich[0].metadata["prompt_full"] == expected[2].instruction and rich[0].category == "generated"
    assert rich.name == "editbench_imagen:prompt=mask-rich,part=generated"
    (folder / "annotations_generated.csv").unlink()
    assert len(load_suite(f"editbench_imagen:{folder},part=natural")) == 2
    with pytest.raises(EditbenchError, match=r"no file .*annotations_generated.csv"):
        load_suite(f"editbench_imagen:{folder}")


def test_a_byte_order_mark_and_other_line_ends_change_nothing(written):
    folder, expected = written("editbench_imagen:PATH")
    path = folder / "annotations_natural.csv"
    text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text)
    suite = load_suite(f"editbench_imagen:{folder}")
    assert [scenario.instruction for scenario in suite] == [item.instruction for item in expected]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "prompt_mask-simple",
            "prompt_mask_simple",
            "no column 'prompt_mask-simple': did you mean 'prompt_mask_simple'",
        ),
        ("prompt_mask-simple", "prompt_full", "two columns 'prompt_full'|no column 'prompt_mask-simple'"),
        (",a thing,", ",", "row 1 has too many or too few cells, expected 4"),
        (",a thing,", ",,a thing,", "row 1 has too many or too few cells, expected 4"),
        ("aos_000000000001", "", "row 1: aos='', expected the name of a picture"),
        ("aos_000000000002", "aos_000000000001", "id 'natural-aos_000000000001' occurs twice"),
    ],
)
def test_a_broken_table_of_text_names_file_row_and_column(written, old, new, message):
    folder, _ = written("editbench_imagen:PATH")
    path = folder / "annotations_natural.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"editbench_imagen:{folder}")


def test_corrupt_pictures_and_masks_of_another_size_are_invalid_one_by_one(written):
    folder, _ = written("editbench_imagen:PATH")
    source = folder / "references_natural" / "aos_000000000001.png"
    source.write_bytes(source.read_bytes()[:-400])
    PILImage.new("L", (128, 95)).save(folder / "masks_natural" / "aos_000000000002.png")
    (folder / "masks_generated" / "aos_000000000003.png").unlink()
    suite = load_suite(f"editbench_imagen:{folder}")
    assert states(suite) == [
        "source 'references_natural/aos_000000000001.png': cannot be decoded (OSError): truncated or corrupt",
        "mask: size 128x95, but the source is 128x96",
        "mask: 'masks_generated/aos_000000000003.png': No such file or directory",
        "ok",
    ]
    assert suite.warnings[0].startswith("1 of 4 scenarios have no mask file (first: generated-aos_000000000003)")


# --------------------------------------------------------------------------------------------------- imgedit


def test_edits_of_one_photograph_share_a_cluster(written):
    folder, _ = written("imgedit:PATH")
    edit_json(folder / "basic_edit.json", lambda data: data.update({"9": {**data["1082"], "edit_type": "replace"}}))
    suite = load_suite(f"imgedit:{folder}")
    assert suite[4].id == "9" and suite[4].cluster == suite[0].cluster != suite[1].cluster


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1": {"id": "a.jpg", "prompt": "x"}}', "'1': no field 'edit_type'"),
        ('{"1": {"id": "a.jpg", "promt": "x", "edit_type": "add"}}', "'1': no field 'prompt': did you mean 'promt'"),
        ('{"1": {"id": 7, "prompt": "x", "edit_type": "add"}}', "'1': id=7, expected a valid string"),
        ('{"1": {"id": "a.jpg"}, "1": {}}', "malformed JSON .duplicate key '1'"),
        ('{"1": {"id": "a.jpg", "prompt": "x", "edit_type": "add"}, "/1": {"id": "", "prompt": "", "edit_type": ""}}',
         "id '1' occurs twice"),
        ("[]", "list, expected dict"),
        ("{}", "has no scenarios: ImgEdit-Bench is at huggingface.co"),
    ],
)  # fmt: skip
def test_a_broken_list_of_edits_is_refused(tmp_path, text, message):
    (tmp_path / "basic_edit.json").write_text(text)
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"imgedit:{tmp_path}")


def test_every_broken_item_is_listed_by_a_check(tmp_path):
    (tmp_path / "basic_edit.json").write_text('{"1": {}, "2": {"id": "a", "prompt": "p", "edit_type": "t"}, "3": 4}')
    suite, findings = check_suite(f"imgedit:{tmp_path}")
    assert suite is None and all(finding.error for finding in findings)
    assert [("'1'" in f.text, "'3'" in f.text) for f in findings] == [(True, False), (False, True)]


def test_the_harder_part_has_no_types_and_no_part_has_masks_but_the_basic_one(written):
    folder, _ = written("imgedit:PATH,masks=cocoedit")
    (folder / "UGE").mkdir()
    PILImage.new("RGB", (32, 32)).save(folder / "UGE" / "a.jpg")
    (folder / "UGE" / "UGE_edit.json").write_text('{"1": {"id": "a.jpg", "prompt": "x"}}')
    (scenario,) = load_suite(f"imgedit:{folder},part=uge")
    assert scenario.category == "uge" and scenario.mask.all()
    with pytest.raises(EditbenchError, match="masks=cocoedit are those of part=basic"):
        load_suite(f"imgedit:{folder},part=uge,masks=cocoedit")


def test_a_session_goes_on_from_the_editors_own_output(written):
    folder, _ = written("imgedit:PATH,part=multiturn")
    suite, place = f"imgedit:{folder},part=multiturn", str(folder / "run")
    run = eb.run(negative, suite=suite, metrics="psnr:region=all", chain="own", output_dir=place)
    made = {record.scenario_id: record.edit_sha256 for record in run.records().records}
    first, second, third = (made[f"content_memory-1-turn{turn}"] for turn in (1, 2, 3))
    assert first == third != second


def negative(source, instruction, mask, seed):
    return 255 - source


def test_places_that_an_item_names_outside_of_the_folder_are_not_read(written):
    folder, _ = written("imgedit:PATH")
    PILImage.new("RGB", (32, 32)).save(folder.parent / "secret.jpg")
    edit_json(folder / "basic_edit.json", lambda data: data["1082"].update(id="../secret.jpg"))
    assert "expected a path inside the folder" in states(load_suite(f"imgedit:{folder}"))[0]


# ------------------------------------------------------------------------------------- reasoning and knowledge


def test_what_kris_calls_its_fields_and_how_many_pictures_it_shows(written):
    folder, expected = written("krisbench:PATH")

    def rename(data):
        data["1"]["instruction"] = data["1"].pop("ins_en")

    edit_json(folder / "KRIS_Bench" / "color_change" / "annotation.json", rename)
    suite = load_suite(f"krisbench:{folder / 'KRIS_Bench'}")  # the inner folder is one, too
    assert suite[0].instruction == expected[0].instruction
    assert suite[2].metadata == {"explain": "It must.", "pictures": ["1.jpg", "another.jpg"]}
    PILImage.new("RGB", (64, 64)).save(folder / "KRIS_Bench" / "viewpoint_change" / "1_gt.png")
    assert states(suite) == ["ok", "ok", "target: size 64x64, but the source is 128x96", "ok"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"ori_img": "a.jpg"}, "no field 'ins_en', and no 'instruction'"),
        ({"ori_img": [], "ins_en": "x"}, "expected a picture"),
        ({"ori_img": None, "ins_en": "x"}, r"ori_img.*None, expected a valid string"),
    ],
)
def test_broken_annotations_of_kris_are_refused(tmp_path, item, message):
    with pytest.raises(EditbenchError, match=r"has no <category>/annotation.json"):
        load_suite(f"krisbench:{tmp_path}")
    (tmp_path / "add").mkdir()
    (tmp_path / "add" / "annotation.json").write_text(json.dumps({"1": item}))
    with pytest.raises(EditbenchError, match=f"annotation.json: '1': .*{message}|annotation.json: '1': {message}"):
        load_suite(f"krisbench:{tmp_path}")


def test_nan_is_read_as_absent_and_infinity_is_refused(written):
    folder, _ = written("risebench:PATH")
    manifest = folder / "data" / "data_total.json"
    assert ": NaN" in manifest.read_text()
    suite = load_suite(f"risebench:{folder}")
    assert [scenario.metadata["consistency_free"] for scenario in suite] == [False, True, False, True]
    assert all("NaN" in scenario.instruction for scenario in suite)
    manifest.write_text(manifest.read_text().replace(": NaN", ": Infinity", 1))
    with pytest.raises(EditbenchError, match=r"data_total.json: malformed JSON .non-finite number Infinity"):
        load_suite(f"risebench:{folder}")


def test_the_list_of_the_hub_lies_beside_the_folder_of_pictures(written):
    folder, expected = written("risebench:PATH")
    (folder / "data" / "data_total.json").rename(folder / "datav2_total_w_subtask.json")
    assert states(load_suite(f"risebench:{folder}")) == ["ok"] * len(expected)
    (folder / "datav2_total_w_subtask.json").rename(folder / "data_totals.json")
    with pytest.raises(
        EditbenchError, match=r"has none of data_total.json, data/data_.*did you mean 'data_totals.json'"
    ):
        load_suite(f"risebench:{folder}")
    with pytest.raises(EditbenchError, match=r"no folder .*elsewhere"):
        load_suite(f"risebench:{folder / 'elsewhere'}")


# ------------------------------------------------------------------------------------------------- ice-bench


def test_items_without_a_source_are_left_out_and_counted(written):
    folder, expected = written("icebench:PATH")
    suite = load_suite(f"icebench:{folder}")
    assert suite.warnings == ("left out: 1, no source picture, so nothing to edit (first: Text2Image/0)",)
    inner = load_suite(f"icebench:{folder / 'dataset'}")
    assert states(inner) == ["ok"] * len(expected)


def test_a_line_separator_within_a_text_ends_no_line(written):
    folder, _ = written("icebench:PATH")
    path = folder / "dataset" / "data.jsonl"
    path.write_text(path.read_text().replace("Make it blue.", "Make\u2028it blue."))
    assert load_suite(f"icebench:{folder}")[0].instruction == "Make\u2028it blue."
    path.write_text(path.read_text().replace('"SourceMask"', '"sourceMask"', 1))
    with pytest.raises(EditbenchError, match=r"data.jsonl:1: no field 'SourceMask': did you mean 'sourceMask'"):
        load_suite(f"icebench:{folder}")


# ------------------------------------------------------------------------------------------- finished images


def outputs(folder, expected, place):
    """The sources of a benchmark as finished images of it, listed as ICE-Bench's authors do."""
    listed = {}
    for index, item in enumerate(expected):
        path = folder / "results" / "mine" / "images" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(item.source).save(path)
        listed[item.id.replace("_", "/", 1) if "Inpaint" in item.id else f"Color Editing/{index}"] = place(path)
    (folder / "results" / "mine" / "gen_info.json").write_text(json.dumps(listed))
    return f"icebench_outputs:{folder / 'results' / 'mine' / 'gen_info.json'}"


@pytest.mark.parametrize("place", ["root", "file", "absolute"])
def test_a_gen_info_is_an_editor_wherever_its_paths_count_from(written, place):
    folder, expected = written("icebench:PATH")
    roots = {"root": folder, "file": folder / "results" / "mine", "absolute": None}
    root = roots[place]
    editor = outputs(folder, expected, lambda path: str(path.relative_to(root) if root else path))
    run = eb.run(editor, suite=f"icebench:{folder}", metrics="psnr:region=all", output_dir=str(folder / "run"))
    values = [record.values["psnr:region=all"] for record in run.records().records]
    assert values == [100.0] * len(expected)


def test_what_a_gen_info_lacks_is_told_and_what_is_none_is_refused(written):
    folder, expected = written("icebench:PATH")
    editor = outputs(folder, expected[:3], lambda path: str(path.relative_to(folder)))
    listing = folder / "results" / "mine" / "gen_info.json"
    edit_json(listing, lambda data: data.update({"Other/9": "results/mine/images/0.png"}))
    run = eb.run(editor, suite=f"icebench:{folder}", metrics="psnr:region=all", output_dir=str(folder / "run"))
    assert run.statuses()["output_missing"] == 1
    suite = load_suite(f"icebench:{folder}")
    told = eb.editors.load_editor(editor).prepare(suite)
    assert [text.split(": ", 1)[1] for text in told] == [
        "1 of 4 scenarios have no image: Color_Editing_3",
        "1 of 4 ids are not in the suite: Other/9",
    ]
    refused = ("[]", "list, expected dict"), ('{"a": 1}', "a=1, expected a valid string"), ("{", "malformed JSON")
    for text, message in refused:
        listing.write_text(text)
        with pytest.raises(EditbenchError, match=message):
            eb.editors.load_editor(editor).prepare(suite)


def test_a_model_of_the_gallery_is_an_editor(written):
    folder, expected = written("geditv2:PATH")
    write_geditv2_gallery(folder / "gallery", expected, ["FLUX.1-Kontext", "Bagel"])
    (folder / "gallery" / "Bagel" / f"{expected[0].id}.png").unlink()
    spec = f"geditv2_gallery:{folder / 'gallery'},model=Bagel"
    run = eb.run(spec, suite=f"geditv2:{folder}", metrics="psnr:region=all", output_dir=str(folder / "run"))
    assert run.statuses()["output_missing"] == 1 and run.statuses()["ok"] == 3
    words = ["run", "--suite", f"geditv2:{folder}", "--dry-run", "--editor"]
    code, _, told = command(*words, f"geditv2_gallery:{folder / 'gallery'},model=Bagle")
    assert code == 2 and "has no model 'Bagle': did you mean 'Bagel'?" in told
    code, _, told = command(*words, f"geditv2_gallery:{folder / 'gallery'}")
    assert code == 2 and "needs model: write geditv2_gallery:PATH,model=…" in told


# ------------------------------------------------------------------------------------------ terms and the page


def test_every_loader_says_where_to_get_its_data_and_on_which_terms():
    code, out, _ = command("list", "suites", "--json")
    told = json.loads(out)
    assert code == 0
    loaders = {spec.partition(":")[0] for spec in WRITERS}
    assert loaders <= set(told["terms"]) == set(published_terms()) and set(told["terms"]) <= set(told["suites"])
    for name, terms in told["terms"].items():
        assert all(terms[field] for field in ("title", "home", "licence", "citation")), name
        assert terms["redistribution"] in ("allowed", "allowed with attribution", "not allowed", "unknown")
    assert "licence: MIT; redistribution: allowed with attribution" in command("list", "suites")[1]


def test_a_run_prints_licence_and_citation_once_and_a_dry_run_has_them(written, tmp_path):
    folder, _ = written("risebench:PATH")
    words = ["run", "--suite", f"risebench:{folder}", "--editor", "identity", "--metrics", "psnr:region=all"]
    words += ["--limit", "2", "--output-dir", str(tmp_path / "run")]
    code, plan, _ = command(*words, "--dry-run")
    assert code == 0 and "licence: not found (redistribution: unknown)" in plan and "arXiv 2504.02826" in plan
    code, _, told = command(*words)
    (line,) = [line for line in told.splitlines() if "cite" in line]
    assert code == 0
    assert line.startswith("data of risebench[first=2]: licence not found") and line.endswith("arXiv 2504.02826")


def test_the_page_of_a_benchmark_has_terms_turns_and_what_is_missing(written, tmp_path):
    folder, _ = written("imgedit:PATH,part=multiturn")
    (folder / "multiturn" / "000000000003.jpg").unlink()
    suite, findings = check_suite(f"imgedit:{folder},part=multiturn")
    assert isinstance(suite, Benchmark)
    texts = [finding.text for finding in findings if not finding.error]
    assert "2 of 7 scenarios have no source file (first: version_backtracking-0-turn1)" in "\n".join(texts)
    assert "2 chains of 2 to 3 turns that can be read" in texts
    assert "5 scenarios: the mask covers everything, so nothing is to be kept (first: content_memory-0-turn1)" in texts
    page = write_overlays(suite, findings, tmp_path / "page").read_text()
    assert "arXiv 2505.20275" in page and "turn 3 of content_memory-1" in page and "2 of them unreadable" in page
    assert "No mask is smaller than its picture" in page and '<rect class="bar"' not in page
    assert page.index("No such file") < page.index("2 of 7 scenarios") and page.count("Names and places") == 1


def test_a_check_tells_that_area_contradicts_a_polarity(written):
    folder, _ = written("gedit:PATH,masks=cocoedit")
    _, findings = check_suite(f"gedit:{folder},masks=cocoedit,polarity=white=edit")
    assert any("4 of 4 masks looked at cover more than half" in finding.text for finding in findings)
