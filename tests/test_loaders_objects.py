"""COCO, EditVal, GIE-Bench, HATIE and TEdBench: what is particular to them, and what is broken in them."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as PILImage

from editbench import load_suite
from editbench.convert_hatie import MASKS, QUERIES, convert
from editbench.images import InvalidImage
from editbench.suites.coco_masks import decode_segmentation
from editbench.suites.hatie import CONVERTED
from editbench.suites.streams import read_items
from editbench.suites.unpickle import read_pickle
from editbench.testing import examples
from editbench.testing.layouts import WRITERS
from editbench.testing.layouts.hatie import write_hatie_pickles
from editbench.types import EditbenchError


def write(spec, folder, count=2):
    WRITERS[spec].write(folder, examples(count, *WRITERS[spec].size))
    return spec.replace("PATH", str(folder))


def changed(path, change):
    """Read a JSON file, change its data in place, write it back."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# ------------------------------------------------------------------------------------------------ large JSON files


def test_items_come_before_the_rest_of_the_file_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"list": [{"a": 1.5},\r\n {"a": 2}, {"a": ')
    items = read_items(path, "list.item")
    assert [next(items), next(items)] == [(f"{path}: list 0", {"a": 1.5}), (f"{path}: list 1", {"a": 2})]
    with pytest.raises(EditbenchError, match=r"list 2: malformed JSON .*premature EOF"):
        next(items)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": {"b": 1, "b": 2}}]', "item 0: malformed JSON .duplicate key 'b'"),
        ('[{"a": 1}, {"a": NaN}]', "item 1: malformed JSON .lexical error"),
        ('[{"a": 1}] 2', "item 1: malformed JSON .*trailing garbage"),
        ('{"a": 1}', "no item, expected a list"),
        (b'[{"a": "\xff"}]', "item 0: malformed JSON .*UTF8"),
        ("[123456789012345678901234567890]", "item 0: malformed JSON .*overflow"),
    ],
)
def test_what_is_no_strict_json_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EditbenchError, match=message):
        list(read_items(path))


# ----------------------------------------------------------------------------------------------------------- COCO


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_compressed_runs_are_those_of_pycocotools(mask):
    from pycocotools import mask as coco

    counts = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    size = [*mask.shape]
    np.testing.assert_array_equal(decode_segmentation({"size": size, "counts": counts}, *size).mask, mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "no polygon"),
        ([[0, 0, 4, 0]], "polygon 1 has 4 numbers"),
        ([[0, 0, 4, 0, 4, 4, 9]], "polygon 1 has 7 numbers"),
        ([[0, 0, 4, 0, 4, 1e12]], "polygon 1 reaches 1e.12 in a picture of 5x4"),
        ({"size": [4, 5], "counts": [0, 3, 5]}, "runs of 8 pixels together, expected 20"),
        ({"size": [4, 5], "counts": [5, 30]}, "runs of 35 pixels together, expected 20"),
        ({"size": [4, 5], "counts": [-1, 21]}, "a run of length -1"),
        ({"size": [5, 4], "counts": [20]}, "runs for a size of 4x5, but the picture is said to be 5x4"),
        ({"size": [4, 5], "counts": ""}, "runs of 0 pixels together"),
        ({"size": [4, 5], "counts": "é"}, "run-length code with 'é' in it"),
        ({"size": [4, 5], "counts": "PPPP"}, "ends inside a number"),
        ({"size": [4, 5], "counts": "o" * 99}, "run-length code with 'o' in it"),
    ],
)
def test_what_pycocotools_would_fill_with_anything_is_refused(segmentation, message):
    with pytest.raises(InvalidImage, match=message):
        decode_segmentation(segmentation, 4, 5)


def coco(folder, change=lambda data: None, count=3):
    spec = write("coco:PATH", folder, count)
    changed(folder / "annotations" / "instances_val2017.json", change)
    return spec


def test_groups_and_small_objects_are_left_out_and_counted(tmp_path):
    spec = coco(tmp_path, lambda data: data["annotations"][0].update(area=31.5))
    assert [scenario.id for scenario in load_suite(spec)] == ["900", "901", "902"]
    large = load_suite(f"{spec},min_area=32")
    assert [scenario.id for scenario in large] == ["901", "902"]
    assert large.name == "coco:min_area=32.0"
    groups = "left out: 3, a group (iscrowd), no single object (first: 800)"
    assert load_suite(spec).warnings == (groups,)
    assert large.warnings == ("left out: 1, smaller than min_area=32 (first: 900)", groups)
    assert large.identity != load_suite(spec).identity


def test_objects_of_one_picture_are_one_cluster(tmp_path):
    suite = load_suite(coco(tmp_path, lambda data: data["annotations"][2].update(image_id=1)))
    assert [scenario.cluster for scenario in suite] == ["000000000001.jpg", "000000000001.jpg", "000000000003.jpg"]


def test_a_broken_mask_takes_one_object(tmp_path):
    suite = load_suite(coco(tmp_path, lambda data: data["annotations"][0].update(segmentation=[])))
    with pytest.raises(InvalidImage, match=r"^mask: no polygon"):
        _ = suite[0].mask
    assert suite[1].mask.any()


@pytest.mark.parametrize("orientation", [3, 6])
def test_polygons_and_runs_lie_on_the_picture_as_it_is_stored(tmp_path, orientation):
    spec = coco(tmp_path)
    plain = [scenario.load() for scenario in load_suite(spec)]
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    for path in (tmp_path / "val2017").iterdir():
        jpeg, block = path.read_bytes(), exif.tobytes()
        path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2) + block + jpeg[2:])
    suite = load_suite(spec)
    for index, before in enumerate(plain):
        content = suite[index].load()
        np.testing.assert_array_equal(content.source, before.source)
        np.testing.assert_array_equal(content.mask, before.mask)
    assert suite.oddities(0) == ["source '000000000001.jpg': exif-orientation-ignored"]


def test_a_picture_of_another_size_than_annotated_is_refused(tmp_path):
    def change(data):
        data["images"][0].update(height=200)

    with pytest.raises(InvalidImage, match=r"^mask: size 128x200, but the source is 128x96"):
        _ = load_suite(coco(tmp_path, change))[0].mask


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data["annotations"][2].update(image_id=77),
            "annotations 2: image_id=77, which the file does not",
        ),
        (
            lambda data: data["annotations"][2].update(category_id=1),
            "annotations 2: category_id=1, which the file does",
        ),
        (lambda data: data["annotations"][2].update(area="9"), "annotations 2: area='9', expected a valid number"),
        (lambda data: data["annotations"][2].pop("iscrowd"), "annotations 2: no field 'iscrowd'"),
        (lambda data: data["images"][1].pop("file_name"), "images 1: no field 'file_name'"),
        (lambda data: data.pop("categories"), "categories 0: malformed JSON .no item"),
        (lambda data: data["annotations"][2].update(id=900), "id '900' occurs twice"),
    ],
)
def test_a_file_that_contradicts_itself_is_told(tmp_path, change, message):
    with pytest.raises(EditbenchError, match=message):
        load_suite(coco(tmp_path, change))


def test_pictures_may_lie_below_images_without_another_identity(tmp_path):
    spec = coco(tmp_path)
    identity = load_suite(spec).identity
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    moved = load_suite(spec)
    assert moved.identity == identity and not any("coverage" in text for text in moved.warnings)
    assert moved[0].mask.any()


def test_a_split_that_is_not_there_is_hinted_at(tmp_path):
    with pytest.raises(EditbenchError, match=r"instances_val2014\.json.*did you mean 'instances_val2017\.json'"):
        load_suite(f"{coco(tmp_path)},split=val2014")


def test_without_pycocotools_the_extra_is_named_before_anything_is_run(tmp_path, monkeypatch):
    spec = coco(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(EditbenchError, match=r"pip install 'editbench\[coco\]'"):
        load_suite(spec)


# -------------------------------------------------------------------------------------------------------- EditVal


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"cat": {"12": {"colour": {"from": [""], "to": ["red"]}}}},
            "'cat': '12': edit type 'colour': did you mean 'col",
        ),
        ({"cat": {"img12": {"size": {"from": [""], "to": ["small"]}}}}, "'img12': expected the number of a picture"),
        ({"cat": {"12": {"size": {"to": ["small"]}}}}, "'cat': no field '12.size.from'"),
        ({"cat": {"12": {"size": {"from": [""], "to": "small"}}}}, "'cat': 12.size.to='small', expected a valid list"),
    ],
)
def test_an_edit_that_is_no_edit_is_told(tmp_path, data, message):
    (tmp_path / "object.json").write_text(json.dumps(data))
    with pytest.raises(EditbenchError, match=message):
        load_suite(f"editval:{tmp_path}")


def test_every_edit_type_makes_a_sentence_and_all_of_a_picture_are_a_cluster(tmp_path):
    changes = {
        "positional_addition": {"from": [""], "to": ["bag on top"]},
        "object_addition": {"from": [""], "to": ["wine glass"]},
        "alter_parts": {"from": [""], "to": ["add tomato toppings"]},
    }
    (tmp_path / "object.json").write_text(json.dumps({"pizza": {"29982": changes}}))
    suite = load_suite(f"editval:{tmp_path}")
    assert [scenario.instruction for scenario in suite] == [
        "add a bag on top, as seen from the pizza",
        "add a wine glass",
        "add tomato toppings to the pizza",
    ]
    assert {scenario.cluster for scenario in suite} == {"000000029982.jpg"}
    assert "3 of 3 scenarios have no source file" in suite.warnings[0]


# ------------------------------------------------------------------------------------------------------- GIE-Bench


def test_every_known_defect_is_flagged_and_counted(tmp_path):
    spec = write("giebench:PATH", tmp_path, count=4)

    def change(data):
        data[1].update(image=data[0]["image"], edit_instruction=data[0]["edit_instruction"])
        data[2]["object_mask"] = [[0] * 224] * 224
        data.append(
            {**data[0], "edit_type": "Scene Change", "object_mask": [[1] * 224] * 224, "edit_instruction": "Sea."}
        )
        data.append({**data[4], "edit_type": "Add Object", "edit_instruction": "Add."})

    changed(tmp_path / "gie_bench.json", change)
    suite = load_suite(spec)
    again, empty = "the same edit of the same picture occurs before", "the mask is empty"
    unwinnable = "the expected answer is not among the options: the question cannot be won"
    found = [scenario.metadata["defects"] for scenario in suite]
    assert found == [[], [again], [empty], [unwinnable], [], ["the mask covers everything"]]
    assert f"1 of 6 scenarios: {unwinnable} (first: 0003)" in suite.notes
    assert suite[0].metadata["options"] == ["Blue", "Red", "Not visible"]
    assert suite[0].cluster == suite[1].cluster
    assert suite.oddities(0) == ["mask: resized from 224x224"]


@pytest.mark.parametrize("place", ["images2000", "."])
def test_photographs_are_found_where_the_authors_script_leaves_them(tmp_path, place):
    spec = write("giebench:PATH", tmp_path)
    identity = load_suite(spec).identity
    if place == ".":
        (tmp_path / "images" / "animals").rename(tmp_path / "animals")
        (tmp_path / "images").rmdir()
    else:
        (tmp_path / "images").rename(tmp_path / place)
    moved = load_suite(spec)
    assert (moved.identity, moved.warnings) == (identity, ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"object_mask": [[0] * 224] * 223}, r"item 1: object_mask: 223 rows of \[224\] numbers, expected 224 of 224"),
        ({"object_mask": [[0] * 224] * 223 + [[0]]}, r"item 1: object_mask: 224 rows of \[1, 224\] numbers"),
        ({"object_mask": [[255] * 224] * 224}, "item 1: object_mask: numbers 255 to 255, expected 0 and 1"),
        ({"object_mask": "none"}, "item 1: object_mask='none', expected a valid list"),
        ({"multiple_choice_options": "a"}, "item 1: multiple_choice_options='a', expected a valid list"),
    ],
)
def test_a_wrong_entry_is_told_with_its_position(tmp_path, fields, message):
    spec = write("giebench:PATH", tmp_path)
    changed(tmp_path / "gie_bench.json", lambda data: data[1].update(fields))
    with pytest.raises(EditbenchError, match=message):
        load_suite(spec)


# ----------------------------------------------------------------------------------------------------------- HATIE


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (Path(self.path), "executed")


def evil_pickles(witness):
    """Ways to run code from a pickle: functions, classes, old opcodes, and what numpy's own pickles call."""
    command = f"touch {witness}"
    yield from (pickle.dumps({"a": [Evil(str(witness))]}, protocol) for protocol in range(6))
    for module, name in (("os", "system"), ("posix", "system"), ("builtins", "exec"), ("subprocess", "getoutput")):
        argument = f"open({str(witness)!r}, 'w')" if name == "exec" else command
        yield f"c{module}\n{name}\n(V{argument}\ntR.".encode()  # GLOBAL, REDUCE
        yield f"(V{argument}\ni{module}\n{name}\n.".encode()  # INST
        text = pickle.dumps(argument, 4)[2:-1]
        yield b"\x80\x04" + pickle.dumps(module, 4)[2:-1] + pickle.dumps(name, 4)[2:-1] + b"\x93" + text + b"\x85R."
    yield b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nVsystem\ntR."
    yield b"c_codecs\nencode\n(Vabc\nVzip\ntR."
    yield b"cnumpy\ndtype\n(Vobject\ntR."
    yield b"cnumpy.core.multiarray\nfromfile\n(V/etc/passwd\ntR."
    yield b"Pname\n."  # a persistent id


def test_nothing_in_a_pickle_is_run(tmp_path):
    witness, path = tmp_path / "executed", tmp_path / "evil.pkl"
    for data in evil_pickles(witness):
        path.write_bytes(data)
        with pytest.raises(EditbenchError, match=r"evil\.pkl: refused"):
            read_pickle(path)
        assert not witness.exists(), data
    pickle.loads(next(evil_pickles(witness)))
    assert witness.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_arrays_come_as_they_were(tmp_path, protocol):
    masks = [
        np.arange(6).reshape(2, 3) > 2,
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 4)),
    ]
    data = {"a": [1, (2.5, None)], "b": {"x", "y"}, "n": np.int64(7), "masks": masks, "data": b"\xff\x00"}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol))
    read = read_pickle(tmp_path / "a.pkl")
    for found, mask in zip(read.pop("masks"), data.pop("masks"), strict=True):
        np.testing.assert_array_equal(found.array, mask)
    assert read == data


@pytest.fixture
def pickles(tmp_path):
    """HATIE as its authors have it, and a way to change one of the pickles."""
    write_hatie_pickles(tmp_path, examples(2))

    def change(name, change):
        (path,) = tmp_path.rglob(name)
        data = pickle.loads(path.read_bytes())
        change(data)
        path.write_bytes(pickle.dumps(data))

    return tmp_path, change


def test_a_pickle_is_not_read_but_the_converter_named(pickles):
    folder, _ = pickles
    with pytest.raises(
        EditbenchError, match=f"which can run code: convert it, `python -m editbench.convert_hatie {folder}`"
    ):
        load_suite(f"hatie:{folder}")
    command = [sys.executable, "-m", "editbench.convert_hatie", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{folder / CONVERTED}\n")
    assert len(load_suite(f"hatie:{folder}")) == 2


def test_the_converter_says_in_one_line_what_it_refuses(pickles):
    folder, change = pickles
    change(MASKS, lambda data: data.append(Evil(str(folder / "executed"))))
    done = subprocess.run(
        [sys.executable, "-m", "editbench.convert_hatie", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{MASKS}: refused (it names" in done.stderr
    assert not (folder / "executed").exists()
    assert not (folder / CONVERTED).exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MASKS, lambda data: data.pop(), f"{QUERIES}: '2300001', a picture that {MASKS} does not have"),
        (MASKS, lambda data: data[0].pop("editable_objs"), "entry 0: expected a list of dicts with 'image'"),
        (MASKS, lambda data: data[0].update(editable_objs={}), "entry 0: '2300000' has no objects"),
        (MASKS, lambda data: data[0]["editable_objs"]["1058498"].update(mask="rle"), "mask is an array of shape ()"),
        (MASKS, lambda data: data[0]["editable_objs"]["1058498"].update(mask=[[0, 1], [1]]), "mask is a ragged list"),
        (MASKS, lambda data: data[0]["editable_objs"]["1058498"].update(mask=np.full((2, 2), 255)), "rows of 0 and 1"),
    ],
)
def test_pickles_of_another_shape_are_not_converted(pickles, name, change, message):
    folder, changing = pickles
    changing(name, change)
    with pytest.raises(EditbenchError) as told:
        convert(folder)
    assert message in str(told.value)


def test_the_other_queries_are_converted_by_name(pickles):
    folder, _ = pickles
    with pytest.raises(
        EditbenchError, match=r"no queries_w_remove\.pkl below .*: did you mean 'queries_wo_remove\.pkl'"
    ):
        convert(folder, "queries_w_remove.pkl")
    (path,) = folder.rglob(QUERIES)
    path.rename(path.with_name("queries_w_remove.pkl"))
    assert convert(folder, "queries_w_remove.pkl") == folder / CONVERTED


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "obj_rm"}, r"hatie\.jsonl:1: query 0: type='obj_rm': did you mean 'obj_rep'"),
        ({"target": ["7", "dog"]}, r"query 0: target=\['7', 'dog'\], expected \[one of 1058498, its name\]"),
        ({"target": "dog"}, "query 0: target='dog', expected"),
        ({"id": "0"}, r"hatie\.jsonl:1: queries\.0\.id='0', expected a valid integer"),
    ],
)
def test_a_query_that_means_nothing_is_told(tmp_path, fields, message):
    spec = write("hatie:PATH", tmp_path)
    path = tmp_path / CONVERTED
    first, second = map(json.loads, path.read_text().splitlines())
    first["queries"][0].update(fields)
    path.write_text(f"\ufeff{json.dumps(first)}\r\n\r\n{json.dumps(second)}")
    with pytest.raises(EditbenchError, match=message):
        load_suite(spec)


# --------------------------------------------------------------------------------------------------------- TEdBench


def test_rows_with_one_picture_are_one_cluster_and_imagics_output_is_no_target(tmp_path):
    spec = write("tedbench:PATH", tmp_path, count=3)
    (path,) = tmp_path.rglob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[2]["original_image"] = rows[0]["original_image"]
    pq.write_table(pa.Table.from_pylist(rows), path)
    suite = load_suite(spec)
    assert suite[0].cluster == suite[2].cluster != suite[1].cluster
    assert all(scenario.target is None for scenario in suite)
    rows[1]["original_image"] = "a.png"
    pq.write_table(pa.Table.from_pylist([rows[1]]), path)
    with pytest.raises(EditbenchError, match=r"row 0: original_image='a\.png', expected a valid dict"):
        load_suite(spec)


@pytest.mark.parametrize("cell", [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": None}])
def test_a_missing_picture_of_tedbench_costs_its_own_scenario(tmp_path, cell):
    spec = write("tedbench:PATH", tmp_path, count=4)
    (path,) = tmp_path.rglob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[1]["original_image"] = rows[2]["original_image"] = cell
    pq.write_table(pa.Table.from_pylist(rows), path)
    suite = load_suite(spec)
    assert len({scenario.cluster for scenario in suite}) == 4
    for scenario in suite[1], suite[2]:
        with pytest.raises(InvalidImage, match=r"^source '.*, row \d, original_image': "):
            _ = scenario.source
    assert suite[0].source.shape == suite[3].source.shape
