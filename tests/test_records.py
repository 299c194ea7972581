import dataclasses
import gzip
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench.differences import differences
from editbench.names import ID, is_name
from editbench.record_files import format_records, read_records
from editbench.records import (
    SCHEMA,
    EditorInfo,
    Header,
    InvalidRecords,
    MetricInfo,
    SuiteInfo,
    dumps,
    loads,
    record_from_json,
    record_to_json,
    value_from_json,
    value_to_json,
)
from editbench.types import EDIT_STATUSES, Failed, Record, Undefined

PSNR = "psnr:region=keep"
INFO = MetricInfo(1, "higher", "dB", (0.0, None), 100.0, None, {"numpy": "2.0"}, {"net.pt": "ab" * 32})
HEADER = Header(
    suite=SuiteInfo("toy@1", "ab" * 32, 4, "toy@1"),
    editor=EditorInfo("mine:strength=0.1", "mine", "hint", trained_on=(PSNR,), code_sha256="cd" * 32),
    seed=0,
    repeats=2,
    align="error",
    metrics={PSNR: INFO, "success": MetricInfo(2, "higher", "", (0.0, 1.0), failed_value=0.0)},
)


def record(scenario_id="a", repeat=0, value=31.25):
    return Record(scenario_id, "c", "recolour", repeat, "ok", "12" * 32, "34" * 32, values={PSNR: value})


def write(path, *records, header=HEADER):
    data = b"".join(format_records(header, records))
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


# ---------------------------------------------------------------------------------------------- canonical JSON


def test_canonical_json_has_sorted_keys_no_spaces_and_plain_unicode():
    assert dumps({"b": [1, None, True], "a": {"é": "\u2028", "Z": "\n"}}) == (
        '{"a":{"Z":"\\n","é":"\u2028"},"b":[1,null,true]}'
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (1 / 3, "0.3333333333333333"), (1.0, "1.0"), (1, "1"), (5e-324, "5e-324"), (1e22, "1e+22")],
)
def test_floats_are_written_as_short_as_they_round_trip(number, text):
    assert dumps(number) == text
    assert loads(text) == number and type(loads(text)) is type(number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_non_finite_number_is_never_written(number):
    with pytest.raises(ValueError):
        dumps({"value": [number]})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[1, {'a': 1e400}]"])
def test_a_non_finite_number_is_never_read(text):
    with pytest.raises(ValueError, match="non-finite number"):
        loads(text.replace("'", '"'))


def test_a_duplicate_key_is_named_at_any_depth():
    with pytest.raises(ValueError, match="duplicate key 'b'"):
        loads('[{"a": {"b": 1, "c": 2, "b": 1}}]')


@pytest.mark.parametrize(
    "text",
    [
        r'"\ud800"',
        r'["a", {"b": "x\uDfFfy"}]',
        r'{"\udc00": 1}',
        r'"\ude00\ud83d"',  # a pair the wrong way round
        '"\ud800"',
        b'"\xed\xa0\x80"',
    ],
)
def test_a_lone_surrogate_is_refused(text):
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [(r'"\ud83d\ude00"', "😀"), (r'"\\ud800"', r"\ud800"), ('"😀"', "😀"), ('"é"'.encode(), "é"), (r'"\u0000"', "\0")],
)
def test_what_only_looks_like_a_lone_surrogate_is_read(text, value):
    assert loads(text) == value


@pytest.mark.parametrize("data", [b'"\xff"', '"é"'.encode("latin-1"), '{"a":1}'.encode("utf-16")])
def test_bytes_are_utf_8_and_nothing_else(data):
    with pytest.raises(ValueError):
        loads(data)


def test_endless_nesting_is_a_value_error_and_not_a_crash():
    with pytest.raises(ValueError, match="nested too deeply"):
        loads("[" * 100_000)


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | finite | text


@given(st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)))
def test_json_comes_back_and_is_canonical(value):
    once = dumps(value)
    assert loads(once) == loads(once.encode()) == value
    assert dumps(loads(once)) == once


@given(st.recursive(leaves | st.floats(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner)))
def test_canonical_json_is_that_of_the_standard_library(value):
    def written(function):
        try:
            return function(value)
        except ValueError:
            return "refused"

    style = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    assert written(dumps) == written(lambda value: json.dumps(value, **style))


@pytest.mark.parametrize("exponent", range(-12, 26))
def test_numbers_of_any_size_are_written_as_by_the_standard_library(exponent):
    for number in (10.0**exponent, -1.5 * 10.0**exponent, 10.0**exponent / 3, 123456789.0 * 10.0**exponent):
        assert dumps([number]) == f"[{number!r}]" and dumps(number) == repr(number)


# ------------------------------------------------------------------------------------------------------ header


def test_a_header_comes_back_through_its_file():
    back = Header.from_json(loads(dumps(HEADER.to_json())))
    assert back == HEADER
    assert {spec: back.signature(spec) for spec in back.metrics} == {
        spec: HEADER.signature(spec) for spec in HEADER.metrics
    }


def test_a_newer_schema_is_refused_in_one_line_that_says_what_to_do():
    data = {**HEADER.to_json(), "schema": SCHEMA + 1, "a_field_of_tomorrow": 1}
    with pytest.raises(
        InvalidRecords, match=f"^schema {SCHEMA + 1} is newer than {SCHEMA}: upgrade editbench"
    ) as caught:
        Header.from_json(data)
    assert "\n" not in str(caught.value)


def changed(path, value):
    """Header data with the field at a dotted path replaced, or removed for `...`."""
    data = json.loads(dumps(HEADER.to_json()))
    *way, last = path.split("/")
    inner = data
    for name in way:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema", ..., "no editbench header"),
        ("schema", "1", "no editbench header"),
        ("seed", ..., "seed"),
        ("suite", ..., "suite"),
        ("metrics", ..., "metrics"),
        ("suite/identity", ..., "identity"),
        ("editor/trained_on", ..., "trained_on"),
        (f"metrics/{PSNR}/range", ..., "range"),
        (f"metrics/{PSNR}/version", ..., "version"),
        ("colour", "red", "colour"),
        ("suite/colour", "red", "colour"),
        ("editor/colour", "red", "colour"),
        (f"metrics/{PSNR}/colour", "red", "colour"),
        ("metrics", [], "malformed"),
        ("editor", None, "malformed"),
        ("repeats", "2", "repeats"),
        ("suite/scenarios", None, "suite.scenarios"),
        ("suite/scenarios", 4.5, "suite.scenarios"),
        ("editor/mask_access", "sometimes", "editor.mask_access"),
        ("editor/trained_on", [1], "editor.trained_on"),
        (f"metrics/{PSNR}/range", [0.0], "range"),
        (f"metrics/{PSNR}/cap", "100", "cap"),
        (f"metrics/{PSNR}/libraries", {"numpy": 2}, "libraries"),
    ],
)
def test_a_missing_unknown_or_mistyped_field_of_a_header_is_named(path, value, named):
    with pytest.raises(InvalidRecords) as caught:
        Header.from_json(changed(path, value))
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "x", 1, {}])
def test_what_is_no_header_is_refused(data):
    with pytest.raises(InvalidRecords, match="no editbench header"):
        Header.from_json(data)


def test_differences_name_each_leaf_once():
    other = replace(HEADER, seed=1, suite=replace(HEADER.suite, identity="ef"), metrics={PSNR: INFO})
    assert differences(HEADER.to_json(), HEADER.to_json()) == []
    lines = differences(HEADER.to_json(), other.to_json())
    assert [line.split(":")[0] for line in lines] == ["metrics.success", "seed", "suite.identity"]
    assert lines[1] == "seed: 0 -> 1"


# --------------------------------------------------------------------------------------------------- signature


def with_info(**changes):
    return replace(HEADER, metrics={PSNR: replace(INFO, **changes)})


@pytest.mark.parametrize(
    ("header", "spec"),
    [
        (replace(HEADER, metrics={"psnr:region=edit": INFO}), "psnr:region=edit"),
        (with_info(version=2), PSNR),
        (with_info(libraries={"numpy": "2.1"}), PSNR),
        (with_info(libraries={}), PSNR),
        (with_info(weights={"net.pt": "ac" * 32}), PSNR),
        (with_info(weights={"other.pt": "ab" * 32}), PSNR),
        (replace(HEADER, suite=replace(HEADER.suite, identity="ac" * 32)), PSNR),
        (replace(HEADER, align="resize"), PSNR),
    ],
    ids=["spec", "version", "library", "no library", "weights", "weights file", "suite", "align"],
)
def test_the_signature_changes_with_everything_a_value_depends_on(header, spec):
    assert header.signature(spec) != HEADER.signature(PSNR)


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, editor=EditorInfo("other", "other", "none", control=True)),
        replace(HEADER, seed=7),
        replace(HEADER, repeats=5),
        replace(HEADER, suite=replace(HEADER.suite, spec="folder:/elsewhere")),
        replace(HEADER, metrics={PSNR: INFO}),
        with_info(libraries=dict(reversed(INFO.libraries.items()))),
    ],
    ids=["editor", "seed", "repeats", "way to the suite", "other metrics", "order"],
)
def test_the_signature_does_not_change_with_who_ran_or_how_often(header):
    assert header.signature(PSNR) == HEADER.signature(PSNR)


def test_a_signature_is_12_hex_digits_and_always_the_same():
    # Whatever changes this constant changes the signatures of every committed board.
    assert HEADER.signature(PSNR) == "31bdc41232f2"


# ----------------------------------------------------------------------------------------------------- records

values = finite | st.builds(Undefined, text) | st.builds(Failed, text)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


def with_its_hashes(record):
    """An edit has a hash if it is there, a scenario if it could be read."""
    edit = record.edit_sha256 if record.edit_status == "ok" else None
    pixels = None if record.edit_status == "input_invalid" else record.pixels_sha256
    return replace(record, edit_sha256=edit, pixels_sha256=pixels)


records = st.builds(
    Record,
    scenario_id=st.from_regex(ID, fullmatch=True),
    cluster=text,
    category=text.filter(is_name),
    repeat=st.integers(0, 9),
    edit_status=st.sampled_from(EDIT_STATUSES),
    edit_sha256=hashes,
    pixels_sha256=hashes,
    reason=st.none() | text.filter(bool),
    flags=st.lists(text, max_size=2).map(tuple),
    values=st.dictionaries(text.filter(is_name), values, max_size=3),
).map(with_its_hashes)


@given(records)
def test_a_record_comes_back(original):
    line = dumps(record_to_json(original))
    back = record_from_json(loads(line.encode()))
    assert back == original and dumps(record_to_json(back)) == line


@given(st.lists(records, max_size=5, unique_by=lambda r: (r.scenario_id, r.repeat)))
def test_a_record_file_comes_back_to_the_byte(tmp_path_factory, originals):
    metrics = {spec: MetricInfo(1, "none", "", (None, None)) for original in originals for spec in original.values}
    header = replace(HEADER, suite=replace(HEADER.suite, scenarios=5), repeats=10, metrics=metrics)
    originals = sorted(originals, key=lambda r: (r.scenario_id, r.repeat))
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    file = read_records(write(path, *originals, header=header))
    assert (file.header, list(file.records)) == (header, originals)
    assert b"".join(format_records(file.header, file.records)) == path.read_bytes()


def test_a_later_turn_is_written_and_read_back():
    later = dataclasses.replace(record(), turn=2)
    assert record_to_json(later)["turn"] == 2
    assert record_from_json(record_to_json(later)) == later


def test_absent_reason_and_flags_and_a_first_turn_are_left_out():
    assert set(record_to_json(record())) == {
        "scenario_id", "cluster", "category", "repeat", "edit_status", "edit_sha256", "pixels_sha256", "values",
    }  # fmt: skip


def test_a_value_is_one_of_three_things():
    assert value_to_json(0.0) == {"value": 0.0}
    assert value_from_json({"value": 3}) == 3.0 and type(value_from_json({"value": 3})) is float
    for wrong in (
        3.0, None, [], {}, {"value": None}, {"value": True}, {"value": "3"}, {"undefined": 3}, {"error": None},
        {"value": 3.0, "error": "x"}, {"mean": 3.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected one of value, undefined, error"):
            value_from_json(wrong)
    with pytest.raises(ValueError, match="non-finite"):
        value_from_json({"value": 10**400})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("values", []),
        ("values", None),
        ("values", {PSNR: {"value": None}}),
        ("values", {PSNR: {"value": 10**400}}),
        ("edit_status", "fine"),
        ("edit_status", ["ok"]),
        ("repeat", True),
        ("repeat", "0"),
        ("repeat", -1),
        ("turn", 0),
        ("turn", True),
        ("scenario_id", 1),
        ("cluster", None),
        ("category", None),
        ("edit_sha256", 12),
        ("edit_sha256", None),
        ("edit_status", "editor_error"),
        ("pixels_sha256", None),
        ("pixels_sha256", ["34"]),
        ("reason", 1),
        ("flags", "alpha"),
        ("flags", None),
        ("flags", [1]),
        ("colour", "red"),
        ("scenario_id", ...),
        ("values", ...),
    ],
)
def test_a_malformed_record_is_named_with_file_and_line(tmp_path, name, value):
    data = record_to_json(record("b"))
    if value is ...:
        del data[name]
    else:
        data[name] = value
    path = write(tmp_path / "records.jsonl", record("a"))
    path.write_bytes(path.read_bytes() + dumps(data).encode() + b"\n")
    with pytest.raises(InvalidRecords) as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert name in str(caught.value) or "metric value" in str(caught.value) or "non-finite" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        (PSNR, -0.001, False),
        (PSNR, -1e-9, True),  # rounding
        (PSNR, 1e6, True),  # no upper end
        ("success", 1.001, False),
        ("success", 1.0000001, True),
        ("success", 5.0, False),
        ("success", Undefined("no checks"), True),
    ],
)
def test_a_value_outside_the_range_of_its_metric_is_refused_with_file_and_line(tmp_path, name, value, good):
    path = write(tmp_path / "records.jsonl", record("a"), replace(record("b"), values={name: value}))
    if good:
        assert read_records(path).records[1].values == {name: value}
        return
    with pytest.raises(InvalidRecords, match=rf"records\.jsonl:3: {name} is {value}, outside its range \[0\.0, "):
        read_records(path)


# ------------------------------------------------------------------------------------------------ record files


def test_a_compressed_file_reads_as_the_plain_one(tmp_path):
    lines = [record("a"), record("a", 1), record("b", value=Undefined("no target"))]
    plain = read_records(write(tmp_path / "records.jsonl", *lines))
    packed = read_records(write(tmp_path / "records.jsonl.gz", *lines))
    assert plain == packed and list(plain.records) == lines


def test_a_file_without_records_is_complete(tmp_path):
    assert read_records(write(tmp_path / "records.jsonl")).records == []


def test_damage_anywhere_in_a_gzip_file_is_found(tmp_path):
    path = write(tmp_path / "records.jsonl.gz", *(record(name) for name in "abc"))
    whole = path.read_bytes()
    damaged = [whole[:size] for size in (0, 5, 30, len(whole) - 4)] + [b"plain", whole + b"more"]
    for position in range(10, len(whole) - 8, 7):  # past the header, which carries no data
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(InvalidRecords) as caught:
            read_records(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = write(tmp_path / "records.jsonl", record("a"), record("b"))
    for cut in (1, 10):
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(InvalidRecords, match="the last line is cut off"):
            read_records(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidRecords, match="the last line is cut off"):
        read_records(path)
    with pytest.raises(InvalidRecords, match=r"no record file .*gone\.jsonl"):
        read_records(tmp_path / "gone.jsonl")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([("b", 0), ("a", 0)], 3),
        ([("a", 1), ("a", 0)], 3),
        ([("a", 0), ("a", 0)], 3),
        ([("a", 0), ("b", 0), ("b", 1), ("b", 1)], 5),
        ([("a", 0), ("Z", 0)], 3),
    ],
)
def test_records_out_of_order_or_twice_are_refused(tmp_path, keys, line):
    path = write(tmp_path / "records.jsonl", *(record(*key) for key in keys))
    with pytest.raises(InvalidRecords, match=rf"records\.jsonl:{line}: .*is a duplicate or out of order"):
        read_records(path)


@pytest.mark.parametrize(("keys", "line"), [([("a", 0), ("a", 2)], 3), ([(name, 0) for name in "abcdefghi"], 10)])
def test_more_records_than_the_header_has_room_for_are_refused(tmp_path, keys, line):
    path = write(tmp_path / "records.jsonl", *(record(*key) for key in keys))
    with pytest.raises(InvalidRecords, match=rf"records\.jsonl:{line}: .*one too many for 4 scenarios x 2"):
        read_records(path)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"\xff\xfe", b'{"a":NaN}', b'{"a":"\\ud800"}', b"[" * 99_999])
def test_a_damaged_line_is_named_with_file_and_line(tmp_path, number, damage):
    path = write(tmp_path / "records.jsonl", record("a"), record("b"))
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InvalidRecords) as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}:{number}: ")


def test_the_hash_is_that_of_the_uncompressed_bytes(tmp_path):
    first = read_records(write(tmp_path / "a.jsonl", record()))
    second = read_records(write(tmp_path / "b.jsonl", record(value=math.nextafter(31.25, 32))))
    assert first.sha256 != second.sha256 and len(first.sha256) == 64
