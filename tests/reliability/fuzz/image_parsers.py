"""Parsers of pictures and masks, under a cap of pixels so low that a bomb is one that exceeds a few megabytes."""

import numpy as np
from fuzz.engine import Parser
from fuzz.pictures import contradictions, masks, mutate_jpeg, mutate_png, mutate_webp, pictures
from fuzz.texts import mutate_bytes

from editbench import images
from editbench.images import FORMATS, InvalidImage, decode
from editbench.masks import decode_mask
from editbench.png import encode_png

MAGIC = {"PNG": b"\x89PNG", "JPEG": b"\xff\xd8", "WEBP": b"RIFF"}
assert set(MAGIC) == set(FORMATS)


def read_image(data):
    image, flags = decode(data)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0, image.shape
    assert image.shape[0] * image.shape[1] <= images.MAX_PIXELS, "more pixels than the limit"
    assert list(flags) == sorted(set(flags)), flags
    assert any(data.startswith(magic) for magic in MAGIC.values()), "a format that is not allowed"
    assert not contradictions(data), contradictions(data)
    assert np.array_equal(decode(data).image, image), "another image the second time"
    assert np.array_equal(decode(encode_png(image)).image, image), "another image once written again"


def read_others(data):
    read_image(data)


def mask_reader(polarity, threshold=None):
    def read(data):
        mask, flags = decode_mask(data, polarity, threshold)
        assert mask.dtype == np.bool_ and mask.ndim == 2 and mask.size > 0
        assert list(flags) == sorted(set(flags)), flags
        assert not contradictions(data), contradictions(data)
        written = encode_png(mask.astype(np.uint8) * np.uint8(255))
        assert np.array_equal(decode_mask(written).mask, mask), "another mask once written again"

    return read


def parsers():
    """Return the parsers of pictures."""
    seeds = pictures()
    opaque, layered = masks()
    refused = (InvalidImage,)
    still = {
        "png": [data for data in seeds["png"] if b"acTL" not in data],
        "jpeg": seeds["jpeg"],
        "webp": [data for data in seeds["webp"] if b"ANIM" not in data],
    }
    mutations = {"png": mutate_png, "jpeg": mutate_jpeg, "webp": mutate_webp}
    return [
        *(Parser(f"image-{kind}", still[kind], read_image, refused, mutations[kind], 14_000, 700) for kind in still),
        Parser("image-others", still["png"][:1], read_others, refused, _mixed(seeds), 6000, 200),
        Parser("mask-white", opaque, mask_reader("white=edit"), refused, mutate_png, 6000, 200),
        Parser("mask-black", opaque, mask_reader("black=edit", 128), refused, mutate_png, 6000, 200),
        Parser("mask-transparent", layered, mask_reader("transparent=edit"), refused, mutate_png, 6000, 200),
    ]


def _mixed(seeds):
    """Return mutations of formats that are not allowed, of animations, and of one format behind another's beginning."""
    odd = [
        *seeds["others"],
        *(data for kind in ("png", "webp") for data in seeds[kind] if b"acTL" in data or b"ANIM" in data),
    ]
    magics = [b"", *MAGIC.values(), b"RIFF\x10\0\0\0WEBP", b"GIF89a", b"II*\0"]

    def mutate(draw, data, known):
        made = draw.choice(odd)
        made = draw.choice(magics) + made if draw.random() < 0.3 else made
        return mutate_bytes(draw, made, odd) if draw.random() < 0.8 else made

    return mutate


FACTORIES = {parser.name: (lambda parser=parser: parser) for parser in parsers()}
