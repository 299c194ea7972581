"""Record files are read a block of lines at a time; what that may not change."""

import math

import pytest

from editbench.blocks import blocks_of, read_block
from editbench.columns import Columns, WrongRow
from editbench.many_records import CHUNK_BYTES, ENOUGH_BYTES, read_many
from editbench.record_files import format_records, read_records
from editbench.records import EditorInfo, Header, InvalidRecords, MetricInfo, SuiteInfo
from editbench.types import Detailed, Failed, Record, Undefined

METRICS = {name: MetricInfo(1, "higher", "", (0.0, 1.0)) for name in ("a", "b", "c")}
CURVE = {"edges": [0, 2.5, None], "curve": [0.25, None], "pixels": [10**18 - 1, 0]}
SEEN = {"answers": ["yes", 'it "is"'], "tokens": {"in": 3}}


def header(scenarios=6, label="mine"):
    suite = SuiteInfo("toy@1", "ab" * 32, scenarios, "toy@1")
    return Header(suite, EditorInfo("mine", label, "none"), 0, 2, "error", METRICS)


def record(index=0, repeat=0, values=(0.5, 0.25, 1.0), status="ok", **more):
    edit = "12" * 32 if status == "ok" else None
    pixels = None if status == "input_invalid" else f"{index:064}"
    found = dict(zip(METRICS, values, strict=True))
    return Record(f"s{index}", "c", "recolour", repeat, status, edit, pixels, values=found, **more)


KINDS = [
    record(0),
    record(0, 1, (Undefined("no prompt"), Detailed(0.5, CURVE), Failed("out of memory"))),
    record(1, values=(Failed("late"),) * 3, status="editor_timeout", reason="late", flags=("slow", "twice"), turn=3),
    record(2, values=(Undefined("no source"),) * 3, status="input_invalid", reason="it is cut off"),
    record(3, values=(Detailed(1.0, {}), 5e-324, 0.0)),
]


def lines(records, **options):
    return [*format_records(header(**options), records)][1:]


def test_every_kind_of_record_is_read_in_a_block_as_it_is_line_by_line():
    text = b"".join(lines(KINDS))
    (block,) = blocks_of([text])
    assert len(read_block(block, sorted(METRICS)).ids) == len(KINDS)
    found = Columns.of_text(header(), [text])
    assert list(found) == KINDS == list(Columns.of_records(KINDS))
    assert [value.details for row in found for value in row.values.values() if isinstance(value, Detailed)] == [
        CURVE,
        {},
    ]
    slowly = Columns(METRICS)
    slowly._add_lines(header(), text[:-1].split(b"\n"))
    assert list(slowly._done()) == KINDS


def test_columns_equal_the_same_records_and_nothing_else():
    found = Columns.of_records(KINDS)
    assert found == KINDS == found
    for other in (KINDS[1:], [*KINDS[:-1], "x"], ["x"] * len(KINDS), "x" * len(KINDS), None):
        assert found != other


def test_what_is_rare_is_read_line_by_line_in_the_middle_of_blocks(monkeypatch):
    monkeypatch.setattr("editbench.blocks.BLOCK_BYTES", 700)
    rare = [
        record(4, values=(0.5, Detailed(0.5, SEEN), 0.5)),
        Record("s5", "c", 'a "b"', 0, "not_run", None, "ef" * 32),
    ]
    text = b"".join(lines([*KINDS, *rare]))
    assert len([*blocks_of([text])]) > 3
    found = Columns.of_text(header(), [text])
    assert list(found) == [*KINDS, *rare]
    assert found[5].values["b"].details == SEEN
    assert found.values["a"].kinds.tolist() == [1, 2, 3, 2, 1, 1, 0]
    assert math.isnan(found.values["a"].numbers[6])


WRONG = {
    "a key twice": lambda line: line.replace(b'"repeat":0', b'"repeat":0,"repeat":0'),
    "a key of a value twice": lambda line: line.replace(b'{"value":0.5}', b'{"value":0.5,"value":0.5}'),
    "a metric twice": lambda line: line.replace(b'"b":', b'"a":{"value":0.5},"b":'),
    "another metric": lambda line: line.replace(b'"c":{"', b'"d":{"'),
    "another field": lambda line: line.replace(b'"repeat"', b'"colour":"red","repeat"'),
    "no field": lambda line: line.replace(b'"repeat":0,', b""),
    "an unknown status": lambda line: line.replace(b'"ok"', b'"good"'),
    "a failure with an edit": lambda line: line.replace(b'"ok"', b'"editor_error"'),
    "a hash in capitals": lambda line: line.replace(b"12" * 32, b"AB" * 32),
    "a short hash": lambda line: line.replace(b"12" * 32, b"12" * 31),
    "an id with a space": lambda line: line.replace(b'"s1"', b'"s 1"'),
    "a category with a control character": lambda line: line.replace(b"recolour", "re\u202ecolour".encode()),
    "a repeat that is true": lambda line: line.replace(b'"repeat":0', b'"repeat":true'),
    "a repeat below 0": lambda line: line.replace(b'"repeat":0', b'"repeat":-1'),
    "a repeat too many": lambda line: line.replace(b'"repeat":0', b'"repeat":2'),
    "a turn of 0": lambda line: line.replace(b'"repeat":0', b'"repeat":0,"turn":0'),
    "flags that are numbers": lambda line: line.replace(b'{"category"', b'{"flags":[1],"category"'),
    "a value that is text": lambda line: line.replace(b"0.5", b'"0.5"'),
    "a value that is true": lambda line: line.replace(b"0.5", b"true"),
    "a value that is null": lambda line: line.replace(b"0.5", b"null"),
    "a value that is infinite": lambda line: line.replace(b"0.5", b"1e999"),
    "a value outside its range": lambda line: line.replace(b"0.5", b"1.5"),
    "a value and a reason": lambda line: line.replace(b'{"value":0.5}', b'{"value":0.5,"error":"x"}'),
    "a reason that is a number": lambda line: line.replace(b'{"value":0.5}', b'{"undefined":1}'),
    "details that are a list": lambda line: line.replace(b'{"value":0.5}', b'{"value":0.5,"details":[]}'),
    "a curve without an edge": lambda line: line.replace(
        b'{"value":0.5}', b'{"value":0.5,"details":{"curve":[0.5],"edges":[0]}}'
    ),
    "a curve of texts": lambda line: line.replace(
        b'{"value":0.5}', b'{"value":0.5,"details":{"curve":["x"],"edges":[0,1]}}'
    ),
    "a key of details twice": lambda line: line.replace(b'{"value":0.5}', b'{"value":0.5,"details":{"x":[1],"x":[1]}}'),
    "two records": lambda line: line[:-1] + b"," + line,
    "half a record": lambda line: line[: len(line) // 2] + b"\n",
    "nothing": lambda line: b"\n",
    "the record before": lambda line: line.replace(b'"s1"', b'"s0"'),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_line_among_others_is_told_as_it_is_alone(what):
    good = lines([record(index) for index in range(4)])
    wrong = WRONG[what](good[1])
    assert wrong != good[1]
    with pytest.raises(WrongRow) as caught:
        Columns.of_text(header(), [good[0], wrong, *good[2:]])
    assert caught.value.row == 1
    with pytest.raises(WrongRow) as alone:
        Columns.of_text(header(), [good[0] + wrong])
    assert str(alone.value) == str(caught.value)


def test_a_whole_number_of_more_than_64_bits_in_details_is_kept():
    (line,) = lines([record(values=(Detailed(0.5, {"n": [2**70, 1.5]}), 0.5, 0.5))])
    (found,) = Columns.of_text(header(), [line])
    assert found.values["a"].details == {"n": [2**70, 1.5]}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """So many record files that it takes two processes."""
    folder, size, index = tmp_path_factory.mktemp("many"), 0, 0
    padding = {"x": [0] * 20_000}
    while size < ENOUGH_BYTES + CHUNK_BYTES:
        records = [record(number, values=(number / 100, Detailed(0.5, padding), 0.5)) for number in range(10, 50)]
        path = folder / f"{index:03}.jsonl"
        path.write_bytes(
            b"".join(format_records(header(40, f"run {index}"), sorted(records, key=lambda r: r.scenario_id)))
        )
        size, index = size + path.stat().st_size, index + 1
    return sorted(folder.iterdir())


def test_two_processes_read_what_one_does_in_order(many, monkeypatch):
    monkeypatch.setattr("editbench.many_records._can_fork", lambda: True)
    found = read_many(many)
    assert [file.header.editor.label for file in found] == [f"run {index}" for index in range(len(many))]
    assert found == [read_records(path) for path in many]
    assert len({id(file.columns.ids) for file in found}) == 1
    monkeypatch.setattr("editbench.many_records._can_fork", lambda: False)
    assert read_many(many) == found


def test_the_first_wrong_file_is_told_whoever_reads_it(many, tmp_path, monkeypatch):
    monkeypatch.setattr("editbench.many_records._can_fork", lambda: True)
    paths = []
    for place in (1, len(many) - 1):
        wrong = tmp_path / many[place].name
        data = many[place].read_bytes()
        wrong.write_bytes(data.replace(b'"category":"recolour"', b'"category":"=1"'))
        paths.append(wrong)
    with pytest.raises(InvalidRecords, match=f"{paths[0].name}:2: .*expected an id"):
        read_many([many[0], paths[0], *many[2:-1], paths[1]])


@pytest.mark.parametrize("size", [1, 7, 64, 700, 10_000])
def test_parts_of_any_size_make_blocks_of_whole_lines(monkeypatch, size):
    monkeypatch.setattr("editbench.blocks.BLOCK_BYTES", 64)
    text = b"".join(b"x" * length + b"\n" for length in [*range(0, 90, 7), 500, 3, 63, 64, 65])
    blocks = [*blocks_of(text[start : start + size] for start in range(0, len(text), size))]
    assert b"".join(block + b"\n" for block in blocks) == text
    assert all(len(block) < 64 or b"\n" not in block for block in blocks)
