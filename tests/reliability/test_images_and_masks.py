"""Pictures and masks that a harness must survive, as far as no other test is about them."""

import io
import json
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import PngImagePlugin

import editbench as eb
from editbench.board import build_boards
from editbench.images import MAX_PIXELS, InvalidImage, decode
from editbench.masks import decode_mask
from editbench.png import encode_png
from editbench.report.table import to_csv
from editbench.suites import load_suite
from editbench.suites.folder import FolderSuite

NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
PROMPTS = (
    "",
    " ",
    "x " * 500,
    "🙂👩‍👩‍👧 paint",
    "اجعل القرص أحمر",
    "\x1b[2J\x07red\u202edetrevni",
    "a\nb\tc\0d",
    "é" * 3000,
)
EVERYTHING = (
    "psnr:region=keep,psnr:region=all,ssim:region=all,mae:region=edit,delta_e:region=all,gms:region=all,seam,ring"
)


def written(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, *extra):
    """A PNG that claims a size, and holds nothing of it."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        chunk(b"IHDR", header),
        *(chunk(*pair) for pair in extra),
        chunk(b"IDAT", zlib.compress(bytes(100))),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def folder(root, source, **more):
    (root / "a.png").write_bytes(source)
    (root / "scenarios.jsonl").write_text(
        json.dumps({"id": "a", "source": "a.png", "instruction": "Go.", **more}) + "\n"
    )
    return FolderSuite(root)


@pytest.mark.parametrize(
    ("width", "height"), [(8001, 8001), (65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
def test_a_bomb_of_pixels_is_refused_by_its_header(width, height):
    with pytest.raises(InvalidImage, match=r"more than the limit|cannot be decoded|not a PNG"):
        decode(png(width, height))


def test_the_limit_is_64_megapixels():
    assert MAX_PIXELS == 64_000_000


def test_metadata_that_unpacks_to_very_much_is_refused_or_passed_over():
    packed = zlib.compress(bytes(200_000_000), 9)
    heads = {b"zTXt": b"k\0\0", b"iCCP": b"p\0\0", b"iTXt": b"k\0\1\0\0\0"}
    for name, head in heads.items():
        with pytest.raises(InvalidImage):
            decode(png(32, 24, (name, head + packed)))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("k", "a" * 500_000)
    assert np.array_equal(decode(written(PILImage.fromarray(NOISE), pnginfo=notes)).image, NOISE)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1)])
def test_one_pixel_and_twenty_thousand_in_a_row_are_pictures(shape, tmp_path):
    image = np.full((*shape, 3), 7, np.uint8)
    assert np.array_equal(decode(encode_png(image)).image, image)
    suite = folder(tmp_path, encode_png(image))
    run = eb.run(suite=f"folder:{tmp_path}", editor="identity", metrics=EVERYTHING, output_dir=str(tmp_path / "run"))
    (record,) = run.records().records
    assert record.edit_status == "ok" and suite[0].source.shape == image.shape
    text = (tmp_path / "run" / "records.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize("what", ["grey", "alpha", "cmyk", "palette", "bilevel", "16-bit"])
def test_a_source_of_any_mode_is_read_as_an_output_is(what, tmp_path):
    picture = PILImage.fromarray(NOISE)
    data = {
        "grey": written(picture.convert("L")),
        "alpha": written(PILImage.fromarray(np.dstack([NOISE, NOISE[..., 0]]))),
        "cmyk": written(picture.convert("CMYK"), "JPEG"),
        "palette": written(picture.convert("P")),
        "bilevel": written(picture.convert("1")),
        "16-bit": written(PILImage.fromarray(NOISE[..., 0].astype(np.uint16) * 257)),
    }[what]
    assert np.array_equal(folder(tmp_path, data)[0].source, decode(data).image)


def test_identity_has_numbers_and_never_infinity_on_disk(tmp_path):
    run = eb.run(
        suite="shapes@1:size=64", editor="identity", limit=2, metrics=EVERYTHING, output_dir=str(tmp_path / "run")
    )
    values = [value for record in run.records().records for value in record.values.values() if isinstance(value, float)]
    assert values and np.isfinite(values).all() and 100.0 in values
    assert "Infinity" not in (tmp_path / "run" / "records.jsonl").read_text()


@pytest.mark.parametrize("level", [0, 127, 255])
def test_constant_pictures_have_defined_values(level, tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 10:20] = 255
    (tmp_path / "m.png").write_bytes(encode_png(mask))
    folder(tmp_path, encode_png(np.full((40, 40, 3), level, np.uint8)), mask="m.png")
    run = eb.run(suite=f"folder:{tmp_path}", editor="fill", metrics=EVERYTHING, output_dir=str(tmp_path / "run"))
    (record,) = run.records().records
    assert not [spec for spec, value in record.values.items() if type(value).__name__ == "Failed"], record.values
    (board,) = build_boards([run.records()])
    assert board.rows[0].complete and "nan" not in to_csv(board).lower()


def test_prompts_of_every_kind_reach_the_editor_as_they_are(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(NOISE))
    lines = [
        {"id": f"s{n}", "source": "a.png", "instruction": text, "target_prompt": text} for n, text in enumerate(PROMPTS)
    ]
    (tmp_path / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = []

    def edit(source, instruction):
        seen.append(instruction)
        return source

    run = eb.run(
        suite=f"folder:{tmp_path}", editor=edit, label="x", metrics="psnr:region=all", output_dir=str(tmp_path / "run")
    )
    assert seen == list(PROMPTS)
    assert {record.edit_status for record in run.records().records} == {"ok"}


def test_a_pipe_in_the_place_of_a_picture_costs_one_scenario_and_no_time(tmp_path):
    suite = folder(tmp_path, encode_png(NOISE), mask="m.png", target="t.png")
    for name in ("m.png", "t.png"):
        os.mkfifo(tmp_path / name)
    found = []

    def load():
        try:
            _ = suite[0].content
        except InvalidImage as error:
            found.append(str(error))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(30)
    assert found == ["mask 'm.png': not a file"]


def test_a_file_larger_than_any_picture_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("editbench.images.MAX_BYTES", 1000)
    suite = folder(tmp_path, encode_png(NOISE))
    with pytest.raises(InvalidImage, match=r"source 'a\.png': more than 1000 bytes"):
        _ = suite[0].content


@pytest.mark.parametrize("place", [30, -20])
def test_a_picture_that_rotted_is_refused_though_its_pixels_can_be_read(place):
    """Stored, not compressed: every changed byte is a changed pixel, and nothing but the checksum knows."""
    raw = bytearray(written(PILImage.fromarray(NOISE), compress_level=0))
    start, end = raw.index(b"IDAT") + 4, raw.index(b"IEND") - 8
    raw[start + 200 if place > 0 else end + place] ^= 1
    with pytest.raises(InvalidImage, match="the checksum of its chunk IDAT is wrong"):
        decode(bytes(raw))
    with pytest.raises(InvalidImage, match="checksum"):
        decode_mask(bytes(raw), threshold=128)


def test_a_suite_shows_the_same_pixels_as_the_file(tmp_path):
    folder(tmp_path, encode_png(NOISE))
    assert np.array_equal(load_suite(f"folder:{tmp_path}")[0].source, NOISE)
