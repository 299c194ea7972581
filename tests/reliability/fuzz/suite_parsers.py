"""Parsers of what says what a suite has: manifests, tables, mask forms; and of finished images handed over."""

import json
import pickle
import tempfile
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
from fuzz.engine import Parser
from fuzz.texts import contradictions, mutate_bytes, mutate_json, mutate_lines

from editbench.editors.folder import FolderAnswers
from editbench.images import InvalidImage
from editbench.masks import AcceptedMask
from editbench.names import ID, is_name
from editbench.png import encode_png
from editbench.published import read_table, shipped_folder
from editbench.suites import load_suite
from editbench.suites.coco_masks import decode_segmentation
from editbench.suites.folder import FolderSuite
from editbench.suites.manifests import read_csv, read_json, read_json_lines, read_literal
from editbench.suites.mask_forms import read_mask
from editbench.suites.runs import encode_runs
from editbench.suites.streams import read_items
from editbench.suites.unpickle import read_pickle
from editbench.testing import examples
from editbench.testing.layouts import WRITERS
from editbench.types import EditbenchError, Task

HERE = Path(tempfile.mkdtemp(prefix="fuzz-"))
HEIGHT, WIDTH = 12, 16
PIXELS = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
INSIDE = np.zeros((HEIGHT, WIDTH), np.bool_)
INSIDE[3:8, 4:12] = True


def check_suite(suite, root, most=3):
    """Look at the first scenarios of a suite: at texts, names, and pixels where they can be had."""
    for scenario in islice(suite, most):
        assert ID.fullmatch(scenario.id), f"id {scenario.id!r}"
        assert is_name(scenario.category), f"category {scenario.category!r}"
        for text in (
            scenario.instruction,
            scenario.source_prompt,
            scenario.target_prompt,
            scenario.cluster,
            scenario.chain,
        ):
            assert isinstance(text, str | None)
            (text or "").encode()
        assert type(scenario.turn) is int and scenario.turn >= 1
        try:
            content = scenario.content
        except InvalidImage as error:
            assert len(str(error)) < 12_000
            continue
        assert content.mask.dtype == np.bool_ and content.mask.shape == content.source.shape[:2]
        assert content.target is None or content.target.shape == content.source.shape
        assert not (content.source == 255).all(), "a picture from outside of the folder"
    assert len(list(islice(suite, most))) == min(len(suite), most)


# ------------------------------------------------------------------------------------------- folders of anybody


@cache
def folder():
    """A folder with pictures, a white picture beside it, and a link to that one."""
    root = HERE / "suite"
    (root / "deep").mkdir(parents=True)
    mask = encode_png(INSIDE.astype(np.uint8) * np.uint8(255))
    for name, data in (("a.png", encode_png(PIXELS)), ("deep/b.png", encode_png(255 - PIXELS)), ("m.png", mask)):
        (root / name).write_bytes(data)
    (HERE / "x").write_bytes(encode_png(np.full((HEIGHT, WIDTH, 3), 255, np.uint8)))
    (root / "a").symlink_to("../x")
    return root


def scenarios():
    folder()
    good = [
        {
            "id": "a",
            "source": "a.png",
            "mask": "m.png",
            "instruction": "Paint it.",
            "meta": {"n": 1},
            "category": "edit",
        },
        {
            "id": "b",
            "source": "deep/b.png",
            "mask": "m.png",
            "instruction": "",
            "mask_polarity": "black=edit",
            "target": "a.png",
        },
        {
            "id": "c",
            "source": "a.png",
            "instruction": "é",
            "mask": "m.png",
            "mask_threshold": 7,
            "cluster": "k",
            "source_prompt": "s",
            "target_prompt": "t",
        },
    ]

    def read(data):
        (folder() / "scenarios.jsonl").write_bytes(data)
        check_suite(FolderSuite(folder()), folder())
        for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            assert not line.strip() or not contradictions(line.decode("utf-8-sig")), contradictions(line)

    seeds = ["".join(json.dumps(line) + "\n" for line in good).encode(), json.dumps(good[0]).encode()]
    return Parser("scenarios", seeds, read, (EditbenchError,), mutate_lines, 8000, 300)


def answers():
    folder()
    good = [{"id": "a", "image_path": "a.png"}, {"id": "b", "image_path": "deep/b.png", "repeat": 1}]

    def read(data):
        (folder() / "scenarios.jsonl").write_text('{"id": "a", "source": "a.png", "instruction": ""}\n')
        (folder() / "list.jsonl").write_bytes(data)
        editor = FolderAnswers(folder() / "list.jsonl")
        suite = FolderSuite(folder())
        editor.prepare(suite)
        for repeat in (0, 1):
            found = editor.answer(Task(suite[0], repeat, 0))
            assert found is None or not (found.image == 255).all(), "a picture from outside of the folder"
        for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
            assert not line.strip() or not contradictions(line), contradictions(line)
            assert not line.strip() or set(json.loads(line)) <= {"id", "image_path", "repeat"}, line

    seeds = ["".join(json.dumps(line) + "\n" for line in good).encode()]
    return Parser("answers", seeds, read, (EditbenchError,), mutate_lines, 5000, 150)


# -------------------------------------------------------------------------------------------------- benchmarks

LAYOUTS = {
    "brushbench:PATH": "*.json",
    "coco:PATH": "*.json",
    "editbench_imagen:PATH": "*.csv",
    "editval:PATH": "*.json",
    "giebench:PATH": "*.json",
    "hatie:PATH": "*.jsonl",
    "icebench:PATH": "*.json*",
    "imgedit:PATH": "*.json",
    "imgedit:PATH,part=multiturn": "*.json*",
    "krisbench:PATH": "*.json",
    "magicbrush:PATH": "*.json",
    "piebench:PATH": "*.json",
    "risebench:PATH": "*.json",
    "gedit:PATH": "*.parquet",
    "emuedit:PATH": "*.parquet",
    "humanedit:PATH": "*.parquet",
    "tedbench:PATH": "*.parquet",
}
"""Loaders, and where their manifests are."""


def layout(spec):
    root = HERE / spec.replace(":", "-").replace(",", "-").replace("=", "-")
    written = WRITERS[spec]
    written.write(root, examples(min(written.count, 3), *written.size))
    files = sorted(path for path in root.rglob(LAYOUTS[spec]) if path.is_file())
    manifest = max(files, key=lambda path: path.stat().st_size)
    whole = manifest.read_bytes()
    loaded = spec.replace("PATH", str(root))
    table = manifest.suffix == ".parquet"

    def read(data):
        manifest.unlink()  # a reader that keeps a file open keeps the one that was
        manifest.write_bytes(data)
        check_suite(load_suite(loaded), root)

    mutate = {".json": mutate_json, ".jsonl": mutate_lines}.get(manifest.suffix, mutate_bytes)
    many = (800, 20) if table else (2000 if len(whole) < 100_000 else 200, 25 if len(whole) < 100_000 else 4)
    return Parser(name_of(spec), [whole], read, (EditbenchError,), mutate, *many)


def name_of(spec):
    return "suite-" + spec.replace(":PATH", "").replace(",", "-").replace("=", "-")


# ------------------------------------------------------------------------------------------------ masks, texts


def check_mask(found):
    assert isinstance(found, AcceptedMask)
    assert found.mask.dtype == np.bool_ and found.mask.ndim == 2 and found.mask.size <= 300_000, found.mask.shape


def coco():
    from pycocotools import mask as library

    packed = library.encode(np.asfortranarray(INSIDE))
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], INSIDE.T.ravel(), [2]]))), prepend=-1).tolist()
    sizes = [HEIGHT, WIDTH]
    good = [{"segmentation": [[1.0, 1.0, 9.0, 1.0, 9.5, 9.0]], "size": sizes}]
    good += [{"segmentation": {"size": sizes, "counts": packed["counts"].decode()}, "size": sizes}]
    good += [
        {
            "segmentation": {"size": sizes, "counts": [runs[0] + 1, *runs[1:-1], HEIGHT * WIDTH - sum(runs[:-1]) - 1]},
            "size": sizes,
        }
    ]

    def read(data):
        told = json.loads(data)
        check_mask(decode_segmentation(told["segmentation"], HEIGHT, WIDTH))

    def mutate(draw, data, seeds):
        made = mutate_json(draw, data, seeds)
        try:
            return made if "segmentation" in json.loads(made) else data
        except (ValueError, TypeError, RecursionError):
            return data

    return Parser(
        "mask-coco", [json.dumps(form).encode() for form in good[:2]], read, (InvalidImage,), mutate, 12_000, 300
    )


def runs():
    good = [
        {"form": "runs", "runs": encode_runs(INSIDE, first), "first": first, "size": [HEIGHT, WIDTH]}
        for first in (0, 1)
    ]

    def read(data):
        numbers = json.loads(data)
        form = {**good[0], "runs": numbers}
        check_mask(read_mask(form, folder(), PIXELS))

    def mutate(draw, data, seeds):
        numbers = json.loads(data)
        for _ in range(draw.choice((1, 2, 3))):
            at = draw.randrange(len(numbers) + 1)
            numbers[at : at + draw.choice((0, 1, 2))] = [
                draw.choice((0, 1, -1, 5, 191, 192, 193, 2**31, 2**63 - 1, -(2**63), 2**64))
            ]
        return json.dumps(numbers).encode()

    seeds = [json.dumps(form["runs"]).encode() for form in good]
    return Parser("mask-runs", seeds, read, (InvalidImage,), mutate, 12_000, 300)


def text(name, suffix, seeds, read_file, mutate, long=5000):
    path = HERE / f"{name}{suffix}"

    def read(data):
        path.write_bytes(data)
        read_file(path, data)

    return Parser(name, seeds, read, (EditbenchError,), mutate, long, 150)


def _strict(read_file):
    def read(path, data):
        read_file(path)
        plain = data.removeprefix(b"\xef\xbb\xbf")
        assert not contradictions(plain.decode()), contradictions(plain.decode())

    return read


def _items(path, data):
    found = list(read_items(path))
    json.dumps(found, allow_nan=False)
    wrong = contradictions(data.removeprefix(b"\xef\xbb\xbf").decode())
    assert wrong in ("", "a lone surrogate"), wrong  # which its parser, yajl, turns into a question mark


def _literal(path, data):
    found = read_literal(data.decode("utf-8", "replace"), dict, "x")
    json.dumps(found, allow_nan=False)


def _columns(path, data):
    for _, cells in read_csv(path, ["id", "text"]):
        assert all(isinstance(cell, str) for cell in cells.values())


def _lines(path, data):
    for _, value in read_json_lines(path):
        json.dumps(value, allow_nan=False)


DATA = json.dumps({"a": [1, 2.5, None, True, "é\n"], "b": {"c": "x", "d": [[]]}}).encode()
ITEMS = json.dumps([{"id": 1, "name": "a", "size": 2.5}, {"id": 2, "name": "é", "size": None}]).encode()
PICKLED = [
    pickle.dumps({"a": [1, 2.5, "x", b"y", {1, 2}, None], "b": ({"c": True},)}, protocol) for protocol in range(6)
]
PICKLED += [pickle.dumps({"mask": np.eye(4, dtype=np.uint8), "n": np.float32(2)}, protocol) for protocol in (2, 4, 5)]


def _published():
    path = next(path for path in sorted(shipped_folder().glob("*.csv")))
    lines = path.read_bytes().splitlines(keepends=True)
    folder_ = HERE / "published"
    folder_.mkdir(exist_ok=True)

    def read(data):
        (folder_ / path.name).write_bytes(data)
        for cell in read_table(folder_ / path.name):
            texts = [value for value in vars(cell).values() if isinstance(value, str)]
            assert all(text.isprintable() and not text.startswith(("=", "+", "-", "@")) for text in texts[:1])

    return Parser("published", [b"".join(lines[:8])], read, (EditbenchError,), mutate_bytes, 4000, 100)


FACTORIES = {
    "scenarios": scenarios,
    "answers": answers,
    **{name_of(spec): partial(layout, spec) for spec in LAYOUTS},
    "mask-coco": coco,
    "mask-runs": runs,
    "manifest-json": partial(
        text, "manifest-json", ".json", [DATA], _strict(lambda path: read_json(path, dict)), mutate_json
    ),
    "manifest-lines": partial(text, "manifest-lines", ".jsonl", [DATA + b"\n" + DATA + b"\n"], _lines, mutate_lines),
    "manifest-items": partial(text, "manifest-items", ".json", [ITEMS], _items, mutate_json),
    "manifest-csv": partial(text, "manifest-csv", ".csv", [b'id,text\n1,a\n2,"b,""c"""\n'], _columns, mutate_bytes),
    "manifest-literal": partial(
        text, "manifest-literal", "", [b"{'a': [1, 2.5, None, True, 'x'], 'b': {'c': -3}}"], _literal, mutate_bytes
    ),
    "pickle": partial(text, "pickle", ".pkl", PICKLED, lambda path, data: read_pickle(path), mutate_bytes, 10_000),
    "published": _published,
}
