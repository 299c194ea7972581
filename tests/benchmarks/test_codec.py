"""Writing and reading an edit: beside Pillow, at the settings that could have been chosen."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from editbench.images import decode
from editbench.png import _filtered, encode_png

pytestmark = pytest.mark.slow

SETTINGS = {
    "level 0": {"compress_level": 0},
    "level 1": {"compress_level": 1},
    "level 6, its default": {"compress_level": 6},
    "level 1, run lengths": {"compress_level": 1, "compress_type": zlib.Z_RLE},
}


def by_pillow(image, options):
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", **options)
    return file.getvalue()


def opened(data):
    return np.array(Pillow.open(io.BytesIO(data)))


def each(call, items):
    return lambda: [call(item) for item in items]


def kilobytes(files):
    return f"{sum(map(len, files)) / 1000:.0f} kB"


def packed(rows):
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return packer.compress(rows) + packer.flush()


def pixels_of(file):
    """Return what zlib packed: the only chunk of pixels that a file of ours has."""
    start = file.index(b"IDAT") + 4
    return file[start : start + int.from_bytes(file[start - 8 : start - 4])]


@pytest.fixture(scope="module")
def ours(photographs):
    return [encode_png(image) for image in photographs]


@pytest.fixture(scope="module")
def theirs(photographs):
    """Files by setting."""
    return {name: [by_pillow(image, options) for image in photographs] for name, options in SETTINGS.items()}


def test_encode(race, photographs, ours, theirs):
    peers, least = {}, {}
    for setting, options in SETTINGS.items():
        name = f"Pillow, {setting}: {kilobytes(theirs[setting])}"
        peers[name] = each(lambda image, options=options: by_pillow(image, options), photographs)
        least[name] = 0.7 if setting == "level 0" else 1.2
    race(
        f"four photographs of 512×512 encoded: {kilobytes(ours)}",
        each(encode_png, photographs),
        peers,
        least=least,
        rounds=10,
        note="the floor is zlib's part",
        floor=each(packed, [_filtered(image.reshape(512, -1), 3).data for image in photographs]),
    )
    assert sum(map(len, ours)) <= 1.1 * sum(map(len, theirs["level 1, run lengths"]))


def test_decode(race, photographs, ours, theirs):
    for image, file in zip(photographs, ours, strict=True):
        np.testing.assert_array_equal(decode(file).image, image)
        np.testing.assert_array_equal(opened(file), image)
    files = {"our files": ours} | {f"its own, {setting}": written for setting, written in theirs.items()}
    race(
        "the same decoded",
        each(decode, ours),
        {f"Pillow, {name}": each(opened, written) for name, written in files.items()},
        least=0.8,
        rounds=10,
        note="ours compares checksums; the floor is zlib's part",
        floor=each(zlib.decompress, [pixels_of(file) for file in ours]),
    )
