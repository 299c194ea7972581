"""PNG files of ours, read back by Pillow, which had no part in writing them."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow
from skimage import data

from editbench.png import encode_png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.sampled_from([size, (*size, 3), (*size, 4)])
)


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_pillow_reads_what_was_written(image):
    found = Pillow.open(io.BytesIO(encode_png(image)))
    assert found.format == "PNG" and found.info == {}
    assert found.mode == {2: "L", 3: "RGB", 4: "RGBA"}[image.shape[2] if image.ndim == 3 else 2]
    assert np.array_equal(np.asarray(found), image)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera"])
def test_a_photograph_comes_back_and_is_about_as_small_as_from_pillow(name):
    image = getattr(data, name)()
    ours, theirs = encode_png(image), io.BytesIO()
    Pillow.fromarray(image).save(theirs, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(ours))), image)
    assert len(ours) < 1.05 * len(theirs.getvalue())


def test_each_row_has_the_filter_that_leaves_the_least():
    steps = np.random.default_rng(0).integers(0, 256, 40).astype(np.uint8)
    bands = np.tile(steps, (40, 1))
    for image, kinds in ((bands, [2] * 39), (bands.T.copy(), [1] * 39)):
        packed = encode_png(image)
        rows = zlib.decompress(packed[packed.index(b"IDAT") + 4 : packed.index(b"IEND") - 8])
        assert [rows[row * (image.shape[1] + 1)] for row in range(1, len(image))] == kinds


def test_an_array_that_is_not_contiguous_is_written_as_it_looks():
    image = data.astronaut()[::3, ::-5]
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(encode_png(image)))), image)
