"""PIE-Bench, PIE-Bench++ and BrushBench: what is particular to them, what breaks them, and PIE-Bench's numbers."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as Pillow
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.regression import mean_squared_error

import editbench as eb
from editbench import load_suite
from editbench.suites.piebench_pp import Item
from editbench.testing import check_suite, examples
from editbench.testing.layouts import WRITERS
from editbench.testing.layouts.pie import write_jpeg
from editbench.types import EditbenchError


def write(spec, folder, count=2):
    WRITERS[spec].write(folder, examples(count, *WRITERS[spec].size))
    return spec.replace("PATH", str(folder))


@pytest.fixture
def piebench(tmp_path):
    """Two items of PIE-Bench, and a way to change the mapping file."""
    spec, mapping = write("piebench:PATH", tmp_path), tmp_path / "mapping_file.json"

    def change(number, **fields):
        data = json.loads(mapping.read_text())
        data[list(data)[number]].update(fields)
        mapping.write_text(json.dumps(data))

    return spec, mapping, change


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask": "0 3"}, "'000000000002': mask='0 3', expected a valid list"),
        ({"mask": [0, 3.5]}, "'000000000002': mask.1=3.5, expected a valid integer"),
        ({"editing_type_id": 3}, "'000000000002': editing_type_id=3, expected a valid string"),
        ({"editing_type_id": "10"}, "'000000000002': editing_type_id='10', expected '0' to '9'"),
        ({"original_prompt": None}, "'000000000002': original_prompt=None, expected a valid string"),
    ],
)
def test_a_wrong_field_is_told_with_file_item_value_and_expectation(piebench, fields, message):
    spec, mapping, change = piebench
    change(1, **fields)
    with pytest.raises(EditbenchError, match=f"^{mapping}: {message}"):
        load_suite(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {}, "a": {}}', "malformed JSON .duplicate key 'a'"),
        ('{"a": NaN}', "malformed JSON .non-finite number NaN"),
        ('{"a": ', "malformed JSON"),
        ("[]", "list, expected dict"),
        ('{"a": 7}', "'a': 7, expected a valid dict"),
        ("{}", "has no scenarios: PIE-Bench is at the form"),
        (b'{"\xff": 1}', "byte 2 is not UTF-8 text"),
    ],
)
def test_a_broken_mapping_file_is_refused(piebench, text, message):
    spec, mapping, _ = piebench
    mapping.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EditbenchError, match=message):
        load_suite(spec)


def test_a_mapping_file_of_another_name_is_hinted_at(piebench):
    spec, mapping, _ = piebench
    mapping.rename(mapping.with_name("mapping_flie.json"))
    with pytest.raises(EditbenchError, match=r"did you mean 'mapping_flie\.json'"):
        load_suite(spec)


def test_every_broken_item_is_listed_by_the_check(piebench):
    spec, _, change = piebench
    change(0, mask=None)
    change(1, blended_word=0)
    suite, findings = check_suite(spec)
    assert suite is None
    assert ["mask=None" in findings[0].text, "blended_word=0" in findings[1].text] == [True, True]


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(piebench):
    spec, mapping, _ = piebench
    before = load_suite(spec)
    text = json.dumps(json.loads(mapping.read_text()), indent=1).replace("\n", "\r\n")
    mapping.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_suite(spec).identity == before.identity


def test_broken_pixels_take_one_scenario_each_and_nothing_else(tmp_path):
    folder = tmp_path / "data"
    spec = write("piebench:PATH", folder, count=1)
    mapping = folder / "mapping_file.json"
    (good,) = json.loads(mapping.read_text()).values()
    picture = folder / "annotation_images" / good["image_path"]
    (picture.parent / "cut.jpg").write_bytes(picture.read_bytes()[:2000])
    write_jpeg(picture.parent / "small.jpg", examples(1)[0].source)
    at = good["image_path"].rpartition("/")[0]
    broken = {
        "odd": ({"mask": [1, 2, 3]}, "mask: 3 numbers in the run-length code, expected pairs of start and length"),
        "beyond": ({"mask": [262144, 1]}, "mask: run 1 has start 262144, expected 0 to 262143"),
        "negative": ({"mask": [0, 1, 9, -1]}, "mask: run 2 has length -1, expected 0 or more"),
        "cut": ({"image_path": f"{at}/cut.jpg"}, "cut.jpg': cannot be decoded (OSError): truncated or corrupt"),
        "small": ({"image_path": f"{at}/small.jpg"}, "mask: size 512x512, but the source is 128x96"),
        "missing": ({"image_path": f"{at}/none.jpg"}, "none.jpg': No such file or directory"),
        "outside": ({"image_path": "../../../etc/passwd"}, "expected a path inside the folder"),
    }
    items = {name: {**good, **fields} for name, (fields, _) in broken.items()}
    mapping.write_text(json.dumps({**items, "good": good, "odd-but-fine": {**good, "mask": [0, 9, 4, 9, 262140, 99]}}))
    run = eb.run("identity", suite=spec, metrics=["mae:region=all"], output_dir=str(tmp_path / "run"))
    found = {record.scenario_id: record for record in run.records().records}
    assert {name for name, record in found.items() if record.edit_status == "ok"} == {"good", "odd-but-fine"}
    for name, (_, reason) in broken.items():
        assert found[name].edit_status == "input_invalid"
        assert reason in found[name].reason
    suite, findings = check_suite(spec)
    assert any("odd-but-fine: mask: overlapping runs, run past the end" in finding.text for finding in findings)
    assert any("2 of 9 scenarios have no source file (first: missing)" in finding.text for finding in findings)
    assert any("unconfirmed: No licence was found" in text for text in suite.notes)


# ------------------------------------------------------------------------------------------------ PIE-Bench's numbers


def restated(mapping, key, root, output):
    """PIE-Bench's protocol on one item, from its description: pairs, frame, black fill, means over the whole frame."""
    item = mapping[key]
    flat = np.zeros(512 * 512)
    for start, length in zip(item["mask"][::2], item["mask"][1::2], strict=True):
        for pixel in range(start, min(start + length, 512 * 512)):
            flat[pixel] = 1
    mask = flat.reshape(512, 512)
    mask[0, :] = mask[-1, :] = 1
    mask[:, 0] = mask[:, -1] = 1
    source = np.array(Pillow.open(root / "annotation_images" / item["image_path"])).astype(np.float32) / 255
    edited = output.astype(np.float32) / 255
    values = {}
    for part, weight in (("", np.ones_like(mask)), ("_unedit", 1 - mask), ("_edit", mask)):
        if part == "_unedit" and (1 - mask).sum() == 0:
            continue  # the authors write "nan"
        pair = [torch.tensor(image * weight[..., None]).permute(2, 0, 1)[None].float() for image in (edited, source)]
        values[f"psnr{part}"] = float(peak_signal_noise_ratio(*pair, data_range=1.0))
        values[f"mse{part}"] = float(mean_squared_error(*(image.contiguous() for image in pair)))
        values[f"ssim{part}"] = float(structural_similarity_index_measure(*pair, data_range=1.0))
    return values


def test_the_benchmark_and_its_legacy_metrics_give_what_its_protocol_gives(tmp_path):
    spec = write("piebench:PATH", tmp_path / "data", count=3)
    path = tmp_path / "data" / "mapping_file.json"
    mapping = json.loads(path.read_text())
    keys = list(mapping)
    mapping[keys[1]]["mask"], mapping[keys[2]]["mask"] = [], [0, 512 * 512]  # nothing, and a new style
    path.write_text(json.dumps(mapping))
    names = [f"{kind}{part}" for kind in ("psnr", "mse", "ssim") for part in ("", "_unedit", "_edit")]
    metrics = [f"legacy_pie:{name}" for name in names]
    run = eb.run("jpeg", suite=spec, metrics=metrics, output_dir=str(tmp_path / "run"))
    for record in run.records().records:
        output = np.array(Pillow.open(tmp_path / "run" / "edits" / f"{record.edit_sha256}.png"))
        expected = restated(mapping, record.scenario_id, tmp_path / "data", output)
        found = {name: record.values[f"legacy_pie:{name}"] for name in names}
        undefined = {name for name, value in found.items() if not isinstance(value, float)}
        assert undefined == set(names) - set(expected)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=2e-4, abs=1e-6), name
    assert len(run.records().records) == 3


# ----------------------------------------------------------------------------------------------------- PIE-Bench++


@pytest.fixture
def table(tmp_path):
    """A table of PIE-Bench++ with one row, and a way to change it."""
    write("piebench_pp:PATH", tmp_path, count=1)
    (path,) = tmp_path.rglob("V1-*.parquet")
    (row,) = pq.read_table(path).to_pylist()

    def change(**fields):
        pq.write_table(pa.Table.from_pylist([{**row, **fields}]), path)
        return f"piebench_pp:{tmp_path}"

    change.path = path
    return change


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask": "0 3 x 4"}, r"row 0 \('000000000001'\): mask, expected whole numbers separated by spaces"),
        ({"edit_action": "__import__('os').abort()"}, "edit_action: .*expected a Python literal .ValueError"),
        ({"edit_action": "{" * 5000}, "edit_action: .*expected a Python literal"),
        ({"edit_action": "{'a': {'position': 1, 'edit_type': 1}}"}, "edit_action: no field 'a.action'"),
        ({"aspect_mapping": "{'a': {1, 2}}"}, "aspect_mapping: .*expected a Python literal .TypeError"),
        ({"blended_words": "['a,b']"}, "blended_words: malformed JSON"),
        ({"target_prompt": None}, "row 0: target_prompt=None, expected a valid string"),
    ],
)
def test_what_is_wrong_in_a_cell_is_told(table, fields, message):
    spec = table(**fields)
    with pytest.raises(EditbenchError, match=message):
        load_suite(spec)


def test_literals_prompts_and_the_type_are_read_as_they_stand(table):
    spec = table(
        edit_action=r"{'a \d dog': {'position': 3, 'edit_type': 1, 'action': '-'}}", target_prompt="a [blue] [[box]"
    )
    suite = load_suite(spec)
    assert suite[0].metadata["edit_action"] == {r"a \d dog": {"position": 3, "edit_type": 1, "action": "-"}}
    assert (suite[0].instruction, suite[0].target_prompt) == ("a blue box", "a blue box")
    assert (suite[0].category, suite[0].cluster) == ("change_object", "000000000001")


def test_a_snapshot_in_the_hubs_cache_is_made_of_links_to_files_without_a_name(table, tmp_path):
    spec = table()
    blob = tmp_path.parent / f"{tmp_path.name}-blob"
    table.path.rename(blob)
    table.path.symlink_to(blob)
    (scenario,) = load_suite(spec)
    assert scenario.category == "change_object" and scenario.source.shape == (512, 512, 3)


def test_the_hubs_own_conversion_and_a_single_type_load_too(table):
    spec = table()
    place = table.path.parent / "V1"
    place.mkdir()
    table.path.rename(place / "0000.parquet")
    assert load_suite(spec)[0].category == "change_object"
    assert load_suite(f"piebench_pp:{place.parent}")[0].category == "change_object"
    place.parent.rename(place.parent.with_name("animals"))
    with pytest.raises(EditbenchError, match="no folder above it is called as a type of PIE-Bench"):
        load_suite(spec)


@pytest.mark.parametrize("column", [*Item.__annotations__, "image"])
def test_a_missing_column_is_named(table, column):
    spec = table()
    pq.write_table(pq.read_table(table.path).drop_columns([column]), table.path)
    with pytest.raises(EditbenchError, match=f"no column '{column}'"):
        load_suite(spec)


# ------------------------------------------------------------------------------------------------------ BrushBench


def as_brushnet(runs):
    """BrushNet's `rle2mask`, restated: a start of 0 is the slice from -1."""
    flat = np.zeros(512 * 512, bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(512, 512)


def test_a_start_of_zero_is_left_out_as_by_the_authors_and_told(tmp_path):
    spec = write("brushbench:PATH", tmp_path)
    path = tmp_path / "mapping_file.json"
    mapping = json.loads(path.read_text())
    runs = [0, 7, 1, 3, 600, 20]
    mapping["000000000001"]["inpainting_mask"] = runs
    mapping["000000000002"]["outpainting_mask"] = [1, 2, 3]
    path.write_text(json.dumps(mapping))
    suite = load_suite(spec)
    np.testing.assert_array_equal(suite[0].mask, as_brushnet(runs))
    assert [row.id for row in suite][:2] == ["000000000001-inside", "000000000001-outside"]
    assert suite[0].cluster == suite[1].cluster != suite[2].cluster
    assert [text for text in suite.notes if "1 of 4 scenarios: a run starts at 0" in text]
    with pytest.raises(EditbenchError, match="3 numbers in the run-length code"):
        _ = suite[3].mask
    assert suite[2].mask.any()


def test_a_field_that_brushbench_lacks_is_told(tmp_path):
    spec = write("brushbench:PATH", tmp_path)
    path = tmp_path / "mapping_file.json"
    path.write_text(path.read_text().replace("outpainting_mask", "outpainting_msk"))
    with pytest.raises(EditbenchError, match="'000000000001': no field 'outpainting_mask': did you mean"):
        load_suite(spec)
