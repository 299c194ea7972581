"""Parsers of what a run leaves on disk, and of what it is told: records, journal, run.json, configurations, specs."""

import contextlib
import gzip
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
from fuzz.engine import Parser
from fuzz.texts import contradictions, mutate_bytes, mutate_json, mutate_lines, plain_json

from edit_grpo_ref.study.plan_file import load_plan
from editbench import journal
from editbench.config import RunConfig, read_config
from editbench.names import ID, LABEL
from editbench.record_files import format_records, read_records
from editbench.records import (
    EditorInfo,
    Header,
    InvalidRecords,
    MetricInfo,
    SuiteInfo,
    dumps,
    loads,
)
from editbench.registry import create, spec_of
from editbench.specs import SpecError, parse, quote, slug, split_list
from editbench.store import RunStore
from editbench.types import Detailed, EditbenchError, Failed, Record, Undefined

HERE = Path(tempfile.mkdtemp(prefix="fuzz-"))
HASH = hashlib.sha256(b"x").hexdigest()


def header():
    metric = MetricInfo(1, "higher", "dB", (0.0, None), cap=100.0, libraries={"numpy": "2"}, weights={"w": HASH})
    profile = MetricInfo(1, "lower", "", (0.0, 1.0), failed_value=0.0)
    suite = SuiteInfo("folder:data", HASH, 6, "folder:data")
    editor = EditorInfo("jpeg:quality=40", "jpeg", "none", control=True, trained_on=("psnr:region=keep",))
    return Header(suite, editor, 0, 2, "error", {"psnr:region=keep": metric, "leak_profile": profile}, same_seed=True)


def records():
    details = {"edges": [0, 4.0, None], "curve": [0.5, None], "pixels": [3, 0]}
    good = {"psnr:region=keep": 31.5, "leak_profile": Detailed(0.25, details)}
    bad = {"psnr:region=keep": Failed("no edit"), "leak_profile": Failed("no edit")}
    none = {"psnr:region=keep": Undefined("empty keep region")}
    return [
        Record("a", "a.png", "edit", 0, "ok", HASH, HASH, flags=("alpha",), values=good),
        Record("a", "a.png", "edit", 1, "ok", HASH, HASH, turn=2, values=bad),
        Record("b", "b.png", "remove", 0, "editor_error", None, HASH, reason="RuntimeError: no", values=bad),
        Record("c", "c.png", "édit", 0, "input_invalid", None, None, reason="source 'c.png': not a file", values=none),
    ]


def written(name, data):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --------------------------------------------------------------------------------------------------- records


def check_header(found):
    assert Header.from_json(loads(dumps(found.to_json()))) == found
    assert LABEL.fullmatch(found.editor.label), f"label {found.editor.label!r}"
    for text in (found.suite.name, found.suite.spec, found.editor.spec, *found.editor.trained_on, *found.metrics):
        assert text.isprintable() and not text.startswith(("=", "+", "-", "@")), f"text {text!r}"
    assert found.repeats >= 1 and found.suite.scenarios >= 1 and found.seed >= 0


def check_records(data):
    suffix = ".jsonl.gz" if data[:2] == b"\x1f\x8b" else ".jsonl"
    found = read_records(written(f"records{suffix}", data))
    plain = gzip.decompress(data) if suffix.endswith("gz") else data
    check_header(found.header)
    for line in plain.splitlines():
        assert not contradictions(line), contradictions(line)
    for record in found.records:
        assert ID.fullmatch(record.scenario_id), f"id {record.scenario_id!r}"
        for sha256 in (record.edit_sha256, record.pixels_sha256):
            assert sha256 is None or len(bytes.fromhex(sha256)) == 32, f"hash {sha256!r}"
    again = b"".join(format_records(found.header, found.records))
    assert read_records(written("again.jsonl", again)) == found.__class__(
        found.header, found.records, hashlib.sha256(again).hexdigest()
    )
    from editbench.board import build_boards
    from editbench.report.table import to_csv

    with contextlib.suppress(EditbenchError):  # what is well written may still contradict itself
        (board,) = build_boards([found])
        check_cells(to_csv(board))


def check_cells(table):
    for cell in table.replace("\n", ",").split(","):
        assert not cell.startswith(("=", "+", "@", "\t", '"=')), f"a cell {cell!r}"


BOMB = gzip.compress(bytes(10_000_000), mtime=0)
"""One of many members: what they unpack to is large, and what they are is not."""


def packed(draw, data, seeds):
    plain = mutate_lines(draw, gzip.decompress(data), [gzip.decompress(seed) for seed in seeds])
    if draw.random() < 0.3:
        plain += bytes(draw.choice((1, 10, 10_000)))
    bomb = BOMB * 40 if draw.random() < 0.02 else b""
    made = gzip.compress(plain, 1, mtime=0) + draw.choice((bomb, b"", b"", gzip.compress(b"{}\n"), b"x"))
    return mutate_bytes(draw, made, [data]) if draw.random() < 0.3 else made


# ------------------------------------------------------------------------------------------- journal, run.json


def events():
    edit = {
        "type": "edit",
        "scenario_id": "a",
        "cluster": "a",
        "category": "edit",
        "repeat": 0,
        "edit_status": "ok",
        "edit_sha256": HASH,
        "pixels_sha256": HASH,
        "reason": None,
        "turn": 1,
        "flags": [],
        "seconds": 0.5,
    }
    signature = header().signature("psnr:region=keep")
    start = {"type": "start", "signatures": {"psnr:region=keep": signature}}
    score = {
        "type": "score",
        "scenario_id": "a",
        "repeat": 0,
        "of": HASH[:16],
        "signed": journal.signed(start["signatures"]),
        "values": {"psnr:region=keep": {"value": 30.5}},
    }
    failed = {
        **edit,
        "scenario_id": "b",
        "edit_status": "editor_error",
        "edit_sha256": None,
        "reason": "no",
        "traceback": "x",
    }
    kept = {"type": "records", "sha256": HASH}
    one, two = ({"type": "open", "session": number} for number in (1, 2))
    return [one, start, edit, score, failed, two, start, score, kept]


def check_journal(data):
    run = HERE / "run"
    written("run/run.json", run_json())
    written("run/journal/1-of-1.jsonl", data)
    seen = journal.looks(run / "journal")
    journal.opening(seen)
    store = RunStore(run)
    cells = store.cells()
    file = store.records()
    for record in file.records:
        assert ID.fullmatch(record.scenario_id), record.scenario_id
    assert len(file.records) == len(cells)
    (look,) = seen.values()
    for line in data[: look.intact_bytes].splitlines():
        assert not contradictions(line), contradictions(line)
        told, event = json.loads(line), line.partition(b',"event":')[2][:-1]
        assert told["sum"] == hashlib.sha256(event).hexdigest()[:16], "a wrong checksum"
        assert told["event"] == json.loads(event)


def mutate_journal(draw, data, seeds):
    """Mutate events; half of the time with checksums that are right, as an attacker would have them."""
    if draw.random() < 0.5:
        return mutate_lines(draw, data, seeds)
    lines = data.splitlines()
    at = draw.randrange(len(lines))
    event = mutate_json(draw, json.dumps(json.loads(lines[at])["event"]).encode(), [b"{}"])
    checksum = hashlib.sha256(event).hexdigest()[:16].encode()
    try:
        lines[at] = journal.line(json.loads(event)).strip()
    except (ValueError, RecursionError):
        lines[at] = b'{"sum":"' + checksum + b'","event":' + event + b"}"
    return b"\n".join(lines) + b"\n"


def run_json():
    config = RunConfig("folder:data", "jpeg:quality=40", label="jpeg", repeats=2, sample_id=("a", "b"), batch_size=4)
    told = {name: value for name, value in vars(config).items() if value is not None}
    return (
        dumps({"schema": 1, "header": header().to_json(), "config": told, "argv": ["editbench"], "times": []}) + "\n"
    ).encode()


def check_run_json(data):
    written("run/run.json", data)
    found = RunStore(HERE / "run").read_header()
    check_header(found)
    assert not contradictions(data), contradictions(data)
    config = RunConfig.from_mapping(read_config(HERE / "run" / "run.json"))
    assert plain_json(vars(config) | {"sample_id": list(config.sample_id)})


YAML = b"""suite: shapes@1
editor: "jpeg:quality=40"
metrics: [psnr:region=keep, composite]
limit: 12
sample-id: [a, b]
timeout: 60.5
batch_size: auto
same_seed: true
memory_limit: 8GB
"""
YAML_WORDS = (
    b"&a ",
    b"*a",
    b"!!python/object/apply:os.system [id]",
    b"!!int x",
    b"2001-13-45",
    b".inf",
    b".nan",
    b"? ",
    b"- ",
    b"<<: ",
    b"!!binary x",
    b"%YAML 9",
    b"---\n",
    b"...",
    b"[" * 2000,
    b"{a: " * 500,
    b"0x",
    b"1:2:3",
    b"|\n",
    b"\t",
    b"limit: 3\n",
    b"!!timestamp x",
    b"!!set {a, b}",
    b"!!omap [a: 1]",
    b"!!float .",
    b"!!bool x",
    b"=",
    b"~",
    b"a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d "
    b"[*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
)


def mutate_yaml(draw, data, seeds):
    if draw.random() < 0.4:
        return mutate_bytes(draw, data, seeds)
    places = [at for at, byte in enumerate(data) if byte in b"\n :,["]
    at = draw.choice(places) + 1
    return data[:at] + draw.choice(YAML_WORDS) + data[at + draw.choice((0, 0, 1, 5)) :]


def check_config(data):
    config = RunConfig.from_mapping(read_config(written("config.yaml", data)))
    told = vars(config) | {"sample_id": list(config.sample_id)}
    assert plain_json(told), told
    assert RunConfig.from_mapping(read_config(written("again.json", json.dumps(told).encode()))) == config


def check_study(data):
    load_plan(written("plan.yaml", data))


# ----------------------------------------------------------------------------------------------------- specs

SPECS = (
    "psnr:region=keep",
    "target:ssim,region=edit",
    "changed:region=edit,tau=0.1",
    "composite",
    "noop",
    "mae:region=band",
    "legacy_pie:psnr_unedit",
    "delta_e:region=all",
    'ssim:region=keep,"a,b"',
    "seam_z",
    "leak_auc",
    "success",
)
OTHERS = (
    "paste:editor=[recolor:leak=0.3],feather=4",
    "folder:data/x y",
    "http://127.0.0.1:1/x,timeout=9",
    "a/b.py:Name:x=1",
    "command:[python x.py {request} {out}],batch_size=4",
    "module.part:Name",
    "shapes@1:size=64,categories=recolour+remove",
    'folder:"a\\"b,[c]"',
)
SPEC_WORDS = (
    b",",
    b":",
    b"=",
    b"[",
    b"]",
    b'"',
    b"region=",
    b"keep",
    b"1e999",
    b"nan",
    b"none",
    b"-1",
    b"9" * 30,
    b"\\",
    b" ",
    b"\0",
    b"\n",
    b"tau=",
    b"x=",
    "é".encode(),
    b"psnr",
    b"[[[[",
    b'"\\ud800"',
    b"1_0",
    b"true",
    b"0x1",
)


def check_spec(data):
    text = data.decode("utf-8", "surrogateescape")
    for item in split_list(text):
        found = parse(item)
        assert found.name.strip()
        for value in found.options.values():
            again = parse(f"x:y={quote(value)}")
            assert again.options == {"y": value}, (value, again)
        assert len(slug(item)) <= 60 and "/" not in slug(item) and slug(item).isascii()
        if item.partition(":")[0] in {spec.partition(":")[0] for spec in SPECS}:
            made = create("metric", item)
            written = spec_of(made)
            assert create("metric", written) == made, f"{item!r} becomes {written!r}"
            assert spec_of(create("metric", written)) == written
            for value in vars(made).values():
                assert not isinstance(value, float) or np.isfinite(value), f"{item!r} has {value}"


def mutate_spec(draw, data, seeds):
    if draw.random() < 0.3:
        return mutate_bytes(draw, data, seeds)
    for _ in range(draw.choice((1, 2, 3))):
        at = draw.randrange(len(data) + 1)
        data = data[:at] + draw.choice(SPEC_WORDS) + data[at + draw.choice((0, 0, 1, 3)) :]
    return data


def parsers():
    """Return the parsers of a run's files and of what it is told."""
    lines = b"".join(format_records(header(), records()))
    told = b"".join(map(journal.line, events()))
    refused = (InvalidRecords,)
    plans = [(Path(load_plan.__code__.co_filename).parent / name).read_bytes() for name in ("quick.yaml",)]
    return [
        Parser("records", [lines], check_records, refused, mutate_lines, 6000, 150),
        Parser("records-packed", [gzip.compress(lines, mtime=0)], check_records, refused, packed, 3000, 60),
        Parser("journal", [told], check_journal, refused, mutate_journal, 10_000, 300),
        Parser("run-json", [run_json()], check_run_json, (EditbenchError,), mutate_json, 8000, 250),
        Parser("config", [YAML, run_json()], check_config, (EditbenchError,), mutate_yaml, 2500, 60),
        Parser("study-plan", plans, check_study, (EditbenchError,), mutate_yaml, 300, 5),
        Parser(
            "spec",
            [spec.encode() for spec in (*SPECS, *OTHERS, ",".join(SPECS[:4]))],
            check_spec,
            (SpecError,),
            mutate_spec,
            12_000,
            500,
        ),
    ]


FACTORIES = {parser.name: (lambda parser=parser: parser) for parser in parsers()}
