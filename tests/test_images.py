import hashlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PILImage
from PIL import ImageCms

from editbench.images import (
    MAX_PIXELS,
    Accepted,
    InvalidImage,
    align,
    as_image,
    decode,
    from_pil,
    pixels_sha256,
    resize,
)
from editbench.masks import decode_mask
from editbench.png import encode_png

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
GREY = NOISE[..., 0]
RED = (255, 0, 0)
ORIENTATION = 0x0112
rgb_images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


def encoded(picture, kind="PNG", **options):
    if isinstance(picture, np.ndarray):
        picture = PILImage.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(orientation):
    exif = PILImage.Exif()
    exif[ORIENTATION] = orientation
    return exif


def mask_of(data, *arguments, **options):
    return decode_mask(data, *arguments, **options).mask


def refusal(call, *arguments, **options):
    with pytest.raises(InvalidImage) as caught:
        call(*arguments, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------ what an editor may return


def test_an_array_of_the_right_kind_is_taken_as_it_is():
    image, flags = as_image(NOISE)
    assert (image == NOISE).all() and image.dtype == np.uint8 and flags == ()


@pytest.mark.parametrize("view", [NOISE, NOISE[::-1, ::-1], np.asfortranarray(NOISE)])
def test_the_accepted_image_shares_no_memory_with_what_the_editor_returned(view):
    returned = view.copy(order="K")
    image, _ = as_image(returned)
    returned[:] = 0
    assert (image == view).all() and image.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_0_to_1_give_back_the_levels_they_came_from(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert (as_image((levels / 255).astype(dtype)).image == levels).all()


def test_floats_are_rounded_to_the_nearest_level_and_never_cut_off():
    values = np.array([[[0.49, 0.51, 1.49]]]) / 255
    assert as_image(values).image.tolist() == [[[0, 1, 1]]]


def test_floats_are_never_rescaled_by_their_own_maximum():
    dark = np.zeros((4, 4, 3))
    dark[0, 0] = 0.2
    assert as_image(dark).image.max() == 51


@pytest.mark.parametrize(("value", "level"), [(-1e-3, 0), (1 + 1e-3, 255)])
def test_floats_a_thousandth_beyond_the_range_are_clipped(value, level):
    assert as_image(np.full((2, 2, 3), value)).image.tolist() == np.full((2, 2, 3), level).tolist()


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0, 255, "[0, 255]"), (-1, 1, "[-1, 1]"), (0, 1.002, "[0, 1.002]"), (-0.002, 1, "[-0.002, 1]")],
)
def test_floats_of_another_range_are_refused_with_their_range(low, high, shown):
    array = np.full((2, 2, 3), 0.5)
    array[0, 0, 0], array[1, 1, 1] = low, high
    assert refusal(as_image, array) == f"float pixels in {shown}, expected [0, 1]"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_single_non_finite_pixel_is_refused(value, dtype):
    array = np.full((4, 4, 3), 0.5, dtype)
    array[3, 3, 2] = value
    assert refusal(as_image, array) == "non-finite pixels (NaN or infinity)"


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint32", "complex64", "object", "S3"])
def test_arrays_of_other_types_are_refused_by_name(dtype):
    message = refusal(as_image, np.zeros((4, 4, 3), dtype))
    assert message == f"array of dtype {np.dtype(dtype)}, expected uint8 or float in [0, 1]"


def test_bool_is_black_and_white():
    image, flags = as_image(np.array([[True, False]]))
    assert image.tolist() == [[[255] * 3, [0] * 3]] and flags == ()


def test_16_bit_levels_are_scaled_by_a_257th_and_not_cut_off():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(levels / 257)  # no ties: 257 is odd
    for accepted in (as_image(levels), as_image(PILImage.fromarray(levels)), decode(encoded(levels))):
        assert (accepted.image == expected[..., None]).all() and accepted.flags == ("16-bit",)


def test_16_bit_colour_arrays_are_scaled_too():
    array = np.array([[[0, 128, 129], [32768, 65535, 257]]], np.uint16)
    assert as_image(array).image.tolist() == [[[0, 0, 1], [128, 255, 1]]]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (None, "None"),
        ([NOISE], "a list of 1"),
        ([], "a list of 0"),
        ((NOISE, NOISE), "a tuple of 2"),
        ("image.png", "str"),
        (encoded(NOISE), "bytes"),
        (0.5, "float"),
        ({"image": NOISE}, "dict"),
        (PILImage.Image, "type"),
    ],
)
def test_anything_that_is_no_image_is_refused_by_its_type(output, shown):
    assert refusal(as_image, output) == f"returned {shown}, expected a Pillow image, an array or a tensor"


@pytest.mark.parametrize(
    "shape",
    [(), (3,), (8, 12, 2), (2, 8, 12), (8, 12, 5), (2, 8, 12, 3), (1, 2, 8, 12), (1, 1, 8, 12, 3), (0, 12, 3), (8, 0)],
)
def test_arrays_of_other_shapes_are_refused_by_shape(shape):
    assert refusal(as_image, np.zeros(shape, np.uint8)) == f"array of shape {shape}, expected (H, W, 3)"


@pytest.mark.parametrize(
    "array",
    [
        NOISE.transpose(2, 0, 1),
        NOISE[None],
        NOISE.transpose(2, 0, 1)[None],
        np.dstack([NOISE, np.full((8, 12), 255, np.uint8)]).transpose(2, 0, 1),
    ],
    ids=["CHW", "1HWC", "1CHW", "CHW with opaque alpha"],
)
def test_channels_first_and_a_batch_of_one_are_accepted(array):
    image, flags = as_image(array)
    assert (image == NOISE).all() and flags == ()


@pytest.mark.parametrize("array", [GREY, GREY[..., None], GREY[None], GREY[None, ..., None], GREY[None, None]])
def test_grey_is_replicated(array):
    assert (as_image(array).image == GREY[..., None]).all()


def test_an_ambiguous_channel_axis_is_read_as_the_last():
    array = np.arange(3 * 7 * 3, dtype=np.uint8).reshape(3, 7, 3)
    assert (as_image(array).image == array).all()


def test_the_order_of_channels_is_never_guessed():
    blue_if_bgr = np.full((6, 5, 3), RED, np.uint8)
    for output in (blue_if_bgr, blue_if_bgr / 255, blue_if_bgr.transpose(2, 0, 1), PILImage.new("RGB", (5, 6), RED)):
        assert (as_image(output).image == RED).all()


def test_a_constant_image_is_kept_and_flagged():
    black = np.zeros((4, 5, 3), np.uint8)
    image, flags = as_image(black)
    assert (image == 0).all() and flags == ("constant",)
    assert as_image(PILImage.new("RGBA", (4, 4), (0, 0, 0, 0))).flags == ("alpha", "constant")
    assert as_image(decode(encoded(black))).flags == ("constant",)
    black[3, 4, 2] = 1
    assert as_image(black).flags == () and as_image(decode(encoded(black))).flags == ()


# ------------------------------------------------------------------------------------------------------ tensors


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_float_tensors_are_accepted_channels_first(dtype):
    import torch

    array = np.array([[0, 0.25, 0.5, 1, 0.75]] * 2)[..., None].repeat(3, axis=2)
    tensor = torch.tensor(array).permute(2, 0, 1).to(getattr(torch, dtype))
    assert (as_image(tensor).image[0, :, 0] == [0, 64, 128, 255, 191]).all()
    assert (as_image(tensor[None]).image == as_image(tensor).image).all()


def test_tensors_obey_the_same_rules_as_arrays():
    import torch

    assert (as_image(torch.from_numpy(NOISE)).image == NOISE).all()
    assert (as_image(torch.from_numpy(NOISE > 127)).image == (NOISE > 127) * 255).all()
    assert as_image(torch.zeros(3, 8, 9, requires_grad=True)).image.shape == (8, 9, 3)
    assert refusal(as_image, torch.zeros(8, 8, 3, dtype=torch.int64)).startswith("array of dtype int64")
    assert refusal(as_image, torch.full((8, 8, 3), torch.nan, dtype=torch.bfloat16)).startswith("non-finite")
    assert refusal(as_image, torch.full((8, 8, 3), 2.0)) == "float pixels in [2, 2], expected [0, 1]"
    assert refusal(as_image, torch.zeros(2, 3, 8, 8)) == "array of shape (2, 3, 8, 8), expected (H, W, 3)"


def test_subclasses_of_tensors_are_tensors():
    import torch

    class Tagged(torch.Tensor):
        pass

    Tagged.__module__ = "torchvision.tv_tensors"
    assert (as_image(torch.from_numpy(NOISE).as_subclass(Tagged)).image == NOISE).all()
    assert (as_image(torch.nn.Parameter(torch.ones(3, 4, 6))).image == 255).all()


def test_tensors_without_pixels_are_refused_and_do_not_crash():
    import torch

    assert refusal(as_image, torch.zeros(3, 8, 8, device="meta")).startswith("tensor that is no array of pixels")
    assert refusal(as_image, torch.ones(3, 8, 8).to_sparse()).startswith("tensor that is no array of pixels")


# ------------------------------------------------------------------------------------------- modes and metadata


def test_alpha_is_composited_over_white():
    picture = PILImage.new("RGBA", (3, 1))
    picture.putdata([(10, 20, 30, 255), (0, 0, 0, 128), (255, 0, 0, 0)])
    for accepted in (as_image(picture), as_image(np.array(picture)), decode(encoded(picture))):
        assert accepted.image.tolist() == [[[10, 20, 30], [127, 127, 127], [255, 255, 255]]]
        assert accepted.flags == ("alpha",)


def test_float_arrays_with_alpha_are_composited():
    image, flags = as_image(np.array([[[0.0, 0.0, 0.0, 0.5], [1.0, 0.0, 0.0, 1.0]]]))
    assert image.tolist() == [[[127] * 3, [255, 0, 0]]] and flags == ("alpha",)


def test_opaque_alpha_changes_nothing_and_leaves_no_flag():
    opaque = np.dstack([NOISE, np.full((8, 12), 255, np.uint8)])
    assert as_image(opaque).flags == () and (as_image(opaque).image == NOISE).all()
    assert as_image(PILImage.fromarray(opaque)).flags == () and (decode(encoded(opaque)).image == NOISE).all()


def palette_with_transparency(transparency):
    picture = PILImage.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    return encoded(picture, transparency=transparency)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_transparent_palette_entries_do_not_leak_their_colour(transparency):
    image, flags = decode(palette_with_transparency(transparency))
    assert image.tolist() == [[[255, 255, 255], [0, 0, 255]]] and flags == ("alpha",)


@pytest.mark.parametrize(
    ("mode", "hidden", "shown"), [("RGB", (255, 0, 0), (255, 0, 1)), ("L", 7, 8), ("LA", (7, 0), (8, 255))]
)
def test_a_transparent_colour_does_not_leak(mode, hidden, shown):
    picture = PILImage.new(mode, (2, 1), hidden)
    picture.putpixel((1, 0), shown)
    options = {} if mode == "LA" else {"transparency": hidden}
    image, flags = decode(encoded(picture, **options))
    assert image[0, 0].tolist() == [255, 255, 255] and image[0, 1].tolist() != [255, 255, 255] and flags == ("alpha",)


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA"])
def test_transparent_pixels_of_rare_modes_do_not_leak(mode):
    first = {"RGBa": "RGBA", "La": "LA", "PA": "PA"}[mode]
    image, flags = as_image(PILImage.new(first, (4, 4)).convert(mode))
    assert (image == 255).all() and flags == ("alpha", "constant")


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_bilevel_grey_and_palette_become_rgb(mode):
    source = PILImage.fromarray(NOISE).convert(mode)
    for accepted in (as_image(source), decode(encoded(source))):
        assert (accepted.image == np.array(source.convert("RGB"))).all() and accepted.flags == ()


def test_cmyk_is_converted_and_flagged():
    ink = PILImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert (as_image(ink).image == RED).all() and as_image(ink).flags == ("cmyk", "constant")
    image, flags = decode(encoded(ink, "JPEG", quality=95))
    assert np.abs(image.astype(int) - RED).max() <= 3 and flags == ("cmyk",)


@pytest.mark.parametrize("mode", ["F", "HSV", "YCbCr", "LAB", "RGBX"])
def test_modes_without_a_defined_conversion_are_refused(mode):
    assert refusal(as_image, PILImage.new(mode, (4, 4))).startswith(f"image mode {mode!r}, expected RGB")


@pytest.mark.parametrize("value", [-1, 65536])
def test_32_bit_grey_beyond_16_bits_is_refused(value):
    assert as_image(PILImage.new("I", (2, 2), 65535)).image.max() == 255
    assert refusal(as_image, PILImage.new("I", (2, 2), value)) == "grey values outside 0..65535"


def test_16_bit_grey_with_a_transparent_level_is_refused_for_it_would_leak():
    raw = encoded(np.full((4, 4), 30000, np.uint16), transparency=30000)
    assert refusal(decode, raw) == "16-bit grey with a transparent level"
    assert "no alpha channel" in refusal(mask_of, raw, "transparent=edit")


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(orientation):
    expected = UPRIGHT[orientation](NOISE)
    flags = ("exif-orientation",) if orientation != 1 else ()
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        raw = encoded(NOISE, kind, exif=oriented(orientation), **options)
        image, found = decode(raw)
        assert (image == expected).all() and found == flags
        assert (as_image(PILImage.open(io.BytesIO(raw))).image == expected).all()
    mask = encoded((GREY > 127).astype(np.uint8), exif=oriented(orientation))
    assert (mask_of(mask) == UPRIGHT[orientation](GREY > 127)).all()


def test_exif_orientation_of_a_jpeg_and_of_16_bit_grey_is_applied():
    assert decode(encoded(NOISE, "JPEG", exif=oriented(6))).image.shape == (12, 8, 3)
    grey = encoded(GREY.astype(np.uint16) * 257, exif=oriented(8))
    assert (decode(grey).image == np.rot90(GREY)[..., None]).all()
    assert decode(grey).flags == ("16-bit", "exif-orientation")


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_changes_nothing(orientation):
    image, flags = decode(encoded(NOISE, exif=oriented(orientation)))
    assert (image == NOISE).all() and flags == ()


@pytest.mark.parametrize("block", [b"garbage, not TIFF", b"II*\0\x08\0\0\0\xff\xff\0", b""])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_corrupt_exif_block_does_not_cost_the_image(kind, block):
    raw, plain = encoded(NOISE, kind, exif=b"Exif\0\0" + block), encoded(NOISE, kind)
    assert (decode(raw).image == decode(plain).image).all() and decode(raw).flags == ()


def test_a_colour_profile_is_ignored_and_flagged():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, flags = decode(encoded(NOISE, icc_profile=profile))
    assert (image == NOISE).all() and flags == ("icc-profile-ignored",)


def test_flags_are_sorted():
    rgba = PILImage.new("RGBA", (8, 4), (0, 0, 0, 0))
    raw = encoded(rgba, exif=oriented(6), icc_profile=b"any")
    assert as_image(decode(raw)).flags == ("alpha", "constant", "exif-orientation", "icc-profile-ignored")


# -------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animated_images_are_refused(kind):
    frames = encoded(NOISE, kind, save_all=True, append_images=[PILImage.fromarray(NOISE[::-1])], lossless=True)
    opened = PILImage.open(io.BytesIO(frames))
    assert refusal(as_image, opened) == "animated image with 2 frames, expected one"
    expected = "not a PNG, JPEG or WebP image" if kind == "GIF" else "animated image with 2 frames, expected one"
    assert refusal(decode, frames) == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_refused_unless_every_pixel_is_there(kind):
    raw = encoded(NOISE, kind)
    whole = decode(raw).image
    refused = 0
    for end in range(len(raw)):
        try:
            assert (decode(raw[:end]).image == whole).all()
        except InvalidImage:
            refused += 1
    assert refused >= len(raw) - 20  # a PNG ends in 12 bytes of trailer and 4 of checksum


@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WEBP"]))
@settings(deadline=None)
def test_damaged_files_are_images_or_refused_and_nothing_else(data, kind):
    raw = bytearray(encoded(NOISE, kind, exif=oriented(6)))
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    for read in (lambda: decode(bytes(raw)).image, lambda: mask_of(bytes(raw), threshold=128)[..., None]):
        try:
            pixels = read()
        except InvalidImage:
            continue
        assert pixels.ndim == 3 and pixels.dtype in (np.uint8, bool)


def test_a_damaged_png_names_its_fault():
    raw = bytearray(encoded(NOISE))
    raw[raw.index(b"IDAT") + 10] ^= 0xFF
    assert refusal(decode, bytes(raw)) == "damaged PNG: the checksum of its chunk IDAT is wrong"


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"<html>502 Bad Gateway</html>", encoded(NOISE, "BMP"), encoded(NOISE, "TIFF")]
)
def test_what_is_no_png_jpeg_or_webp_is_refused(data):
    assert refusal(decode, data) == "not a PNG, JPEG or WebP image"


def header_alone(width, height):
    """Return a PNG that declares a size and ends before its first pixel."""
    raw = encoded(PILImage.new("L", (1, 1)))
    header = struct.pack(">II", width, height) + raw[24:29]
    return raw[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + raw[33 : raw.index(b"IDAT") + 4]


def test_too_many_pixels_are_refused_before_they_are_decoded():
    # There are no pixels to decode: where that were tried first, the file would be called truncated.
    assert refusal(decode, header_alone(8000, 8001)) == f"8000x8001 pixels are more than the limit of {MAX_PIXELS}"
    assert refusal(decode, header_alone(8000, 8000)).endswith("truncated or corrupt")


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_sizes_beyond_pillows_own_limits_are_named_as_such(side):
    # Pillow warns above 89 megapixels and raises above 179.
    assert refusal(decode, header_alone(side, side)).endswith(f"pixels are more than the limit of {MAX_PIXELS}")


def test_decoding_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    decode(encoded(NOISE))
    assert list(warnings.filters) == before


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_an_image_without_pixels_is_refused(mode, size):
    assert refusal(as_image, PILImage.new(mode, size)) == f"empty image of {size[0]}x{size[1]} pixels"


def test_a_pillow_image_that_fails_late_is_refused():
    truncated = PILImage.open(io.BytesIO(encoded(NOISE)[:80]))
    assert refusal(as_image, truncated).startswith("Pillow image that cannot be loaded (")
    closed = PILImage.open(io.BytesIO(encoded(NOISE)))
    closed.close()
    assert refusal(as_image, closed).startswith("Pillow image that cannot be loaded (")
    odd = PILImage.new("RGB", (4, 4))
    odd.info["transparency"] = b"not a colour"
    assert refusal(as_image, odd).startswith("Pillow image that cannot be loaded (")


def test_paths_are_read_and_do_not_get_into_messages(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(NOISE))
    bad.write_bytes(encoded(NOISE)[:100])
    assert (decode(good).image == NOISE).all()
    assert str(tmp_path) not in refusal(decode, bad) and "bad.png" not in refusal(decode, bad)
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "missing.png")


# ---------------------------------------------------------------------------------------------------- alignment


def test_the_right_size_is_left_alone_by_either_policy():
    accepted = Accepted(NOISE, ("alpha",))
    assert align(accepted, 8, 12, "error") is accepted and align(accepted, 8, 12, "resize") is accepted


@pytest.mark.parametrize(("height", "width"), [(16, 24), (12, 8), (8, 13), (7, 12)])
def test_another_size_is_an_error_naming_both_width_first(height, width):
    message = refusal(align, Accepted(NOISE, ()), height, width, "error")
    assert message == f"size 12x8, expected {width}x{height}"


def test_resize_resamples_with_lanczos_and_says_so():
    image, flags = align(Accepted(NOISE, ("alpha", "constant")), 16, 24, "resize")
    expected = PILImage.fromarray(NOISE).resize((24, 16), PILImage.Resampling.LANCZOS)
    assert (image == np.array(expected)).all() and flags == ("aligned=resize", "alpha", "constant")
    assert (resize(NOISE, 16, 24) == image).all()


@pytest.mark.parametrize(
    ("got", "expected", "accepted"),
    [
        ((100, 101), (100, 100), True),
        ((101, 100), (100, 100), True),
        ((100, 102), (100, 100), False),
        ((102, 100), (100, 100), False),
        ((1024, 680), (1024, 683), True),
        ((1216, 832), (1024, 1024), False),
        ((12, 8), (8, 12), False),
    ],
)
def test_a_resize_changes_the_aspect_ratio_by_one_percent_at_most(got, expected, accepted):
    output = Accepted(np.zeros((*got, 3), np.uint8), ())
    if accepted:
        assert align(output, *expected, "resize").image.shape == (*expected, 3)
    else:
        assert refusal(align, output, *expected, "resize") == (
            f"size {got[1]}x{got[0]}, expected {expected[1]}x{expected[0]}: the aspect ratio differs by more than 1%"
        )


# -------------------------------------------------------------------------------------------------------- masks

MASK = GREY > 127


@pytest.mark.parametrize(
    "picture",
    [
        MASK.astype(np.uint8) * 255,
        MASK.astype(np.uint8),
        PILImage.fromarray(MASK),
        MASK[..., None].repeat(3, axis=2).astype(np.uint8) * 255,
        np.dstack([MASK, MASK, MASK, np.ones_like(MASK)]).astype(np.uint8) * 255,
        PILImage.fromarray(MASK.astype(np.uint8) * 255).convert("P"),
        MASK.astype(np.uint16) * 255,
    ],
    ids=["0/255", "0/1", "1-bit", "RGB", "RGBA", "palette", "16-bit"],
)
def test_masks_of_two_levels_are_read(picture):
    mask = mask_of(encoded(picture))
    assert mask.dtype == bool and mask.shape == MASK.shape and (mask == MASK).all()
    assert (mask_of(encoded(picture), "black=edit") == ~MASK).all()


@pytest.mark.parametrize("level", [1, 255])
def test_masks_of_one_level_are_full_or_empty(level):
    assert mask_of(encoded(np.full((3, 4), level, np.uint8))).all()
    assert not mask_of(encoded(np.zeros((3, 4), np.uint8))).any()
    assert mask_of(encoded(np.zeros((3, 4), np.uint8)), "black=edit").all()


def test_transparent_pixels_can_be_the_mask():
    picture = np.dstack([NOISE, np.array([0, 1, 254, 255] * 3, np.uint8)[None].repeat(8, axis=0)])
    assert mask_of(encoded(picture), "transparent=edit")[0].tolist() == [True, True, True, False] * 3
    sharp = mask_of(encoded(picture), "transparent=edit", threshold=255)
    assert sharp[0].tolist() == [True, False, False, False] * 3


def test_a_palettes_transparent_entry_can_be_the_mask():
    assert mask_of(palette_with_transparency(0), "transparent=edit").tolist() == [[True, False]]


def test_a_mask_without_alpha_cannot_be_read_as_transparent():
    message = refusal(mask_of, encoded(MASK.astype(np.uint8)), "transparent=edit")
    assert message == "mask of mode L has no alpha channel, which 'transparent=edit' would read"


def test_transparency_in_a_black_and_white_mask_is_not_guessed_at():
    picture = np.dstack([np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8) * 255])
    assert "mask_polarity 'transparent=edit'" in refusal(mask_of, encoded(picture))


def test_grey_levels_are_refused_with_a_histogram():
    levels = np.zeros((10, 10), np.uint8)
    levels[:4], levels[4, :5], levels[9, 8], levels[9, 9] = 255, 128, 7, 9
    assert refusal(mask_of, encoded(levels)) == (
        "mask has grey levels 0 (53.0%), 255 (40.0%), 128 (5.0%), 9 (1.0%) and 1 more levels, expected 0/255 or 0/1; "
        "or give mask_threshold (128)"
    )


@pytest.mark.parametrize("levels", [[0, 128], [1, 255], [0, 2], [0, 1, 255], [254, 255]])
def test_no_other_levels_pass_for_black_and_white(levels):
    assert refusal(mask_of, encoded(np.array([levels], np.uint8))).startswith("mask has grey levels")


def test_a_threshold_is_the_first_white_level():
    raw = encoded(np.array([[0, 127, 128, 255]], np.uint8))
    assert mask_of(raw, threshold=128).tolist() == [[False, False, True, True]]
    assert mask_of(raw, threshold=127).tolist() == [[False, True, True, True]]
    assert mask_of(raw, "black=edit", threshold=128).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("white", [65535, 255, 1])
def test_16_bit_masks_of_two_levels_are_read(white):
    raw = encoded(MASK.astype(np.uint16) * white)
    assert (mask_of(raw) == MASK).all() and (mask_of(raw, "black=edit") == ~MASK).all()
    assert mask_of(encoded(np.full((2, 2), white, np.uint16))).all()


def test_16_bit_masks_are_scaled_to_8_bits_before_a_threshold_cuts_them():
    levels = np.array([[0, 255, 32_767, 32_768, 65_535]], np.uint16)  # 0, 1, 127 (127.498), 128 (127.502), 255
    assert mask_of(encoded(levels), threshold=128).tolist() == [[False, False, False, True, True]]
    assert mask_of(encoded(levels), threshold=1).tolist() == [[False, True, True, True, True]]
    assert mask_of(encoded(levels), threshold=255).tolist() == [[False, False, False, False, True]]
    assert mask_of(encoded(levels), "black=edit", threshold=128).tolist() == [[True, True, True, False, False]]
    grey = np.arange(256, dtype=np.uint8)[None]
    deep = encoded(grey.astype(np.uint16) * 257)
    for threshold in (1, 100, 128, 255):
        assert (mask_of(deep, threshold=threshold) == mask_of(encoded(grey), threshold=threshold)).all()


def test_16_bit_levels_are_refused_with_a_threshold_that_would_work():
    levels = np.array([[0, 0, 60_000, 60_000, 128]], np.uint16)
    message = refusal(mask_of, encoded(levels))
    assert message == (
        "mask has 16-bit levels 60000 (40.0%), 0 (40.0%), 128 (20.0%), expected 0/65535 or 0/255 or 0/1; "
        "or give mask_threshold (128 on a scale of 0 to 255)"
    )
    assert mask_of(encoded(levels), threshold=128).tolist() == [[False, False, True, True, False]]


@pytest.mark.parametrize("levels", [[0, 255, 65535], [0, 257], [1, 65535]])
def test_no_other_16_bit_levels_pass_for_black_and_white(levels):
    assert refusal(mask_of, encoded(np.array([levels], np.uint16))).startswith("mask has 16-bit levels")


def test_a_transparent_level_of_a_mask_is_not_guessed_at():
    deep = encoded(MASK.astype(np.uint16) * 65535, transparency=0)
    assert refusal(mask_of, deep) == refusal(mask_of, deep, threshold=128) == "16-bit mask with a transparent level"
    for picture in (PILImage.fromarray(MASK), MASK.astype(np.uint8) * 255):
        assert "transparent pixels" in refusal(mask_of, encoded(picture, transparency=0))


def test_what_was_done_to_accept_a_mask_is_said():
    grey = MASK.astype(np.uint8) * 255
    assert decode_mask(encoded(grey)).flags == decode_mask(encoded(grey, exif=oriented(1))).flags == ()
    assert decode_mask(encoded(grey, exif=oriented(3))).flags == ("exif-orientation",)
    deep = encoded(MASK.astype(np.uint16) * 65535, exif=oriented(6))
    assert decode_mask(deep).flags == ("16-bit", "exif-orientation")


def test_a_jpeg_mask_needs_a_threshold_and_then_is_exact():
    square = np.zeros((32, 32), np.uint8)
    square[9:23, 9:23] = 255
    raw = encoded(square, "JPEG", quality=60)
    assert "grey levels" in refusal(mask_of, raw)
    assert (mask_of(raw, threshold=128) == (square > 0)).all()


def test_a_coloured_mask_is_refused():
    assert refusal(mask_of, encoded(PILImage.new("RGB", (4, 4), RED))).startswith("coloured mask")
    assert refusal(mask_of, encoded(NOISE), threshold=128).startswith("coloured mask")
    assert refusal(mask_of, encoded(PILImage.new("CMYK", (8, 8)), "JPEG")).startswith("mask mode 'CMYK'")


# --------------------------------------------------------------------------------------------- encode and hash


@given(rgb_images)
@settings(deadline=None)
def test_png_gives_back_every_pixel(image):
    decoded, flags = decode(encode_png(image))
    assert np.array_equal(decoded, image) and flags == ()
    assert pixels_sha256(decode(encode_png(image)).image) == pixels_sha256(image)


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
@settings(deadline=None)
def test_png_gives_back_every_mask(mask):
    assert (mask_of(encode_png(mask.astype(np.uint8) * np.uint8(255))) == mask).all()


def test_encoding_is_deterministic_and_carries_no_metadata():
    raw = encode_png(NOISE)
    assert raw == encode_png(NOISE.copy()) and PILImage.open(io.BytesIO(raw)).info == {}


def test_the_hash_names_files_on_disk_and_must_never_change():
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert pixels_sha256(image) == hashlib.sha256(b"(1, 2, 3)" + bytes([1, 2, 3, 4, 5, 6])).hexdigest()


def test_the_hash_depends_on_the_shape():
    assert len({pixels_sha256(NOISE.reshape(shape)) for shape in [(8, 12, 3), (12, 8, 3), (4, 24, 3)]}) == 3


@given(rgb_images, st.data())
@settings(deadline=None)
def test_the_hash_depends_on_each_pixel_and_not_on_the_layout_in_memory(image, data):
    assert pixels_sha256(np.asfortranarray(image)) == pixels_sha256(image.copy())
    assert pixels_sha256(image[::-1, ::-1]) == pixels_sha256(image[::-1, ::-1].copy())
    other = image.copy()
    other[tuple(data.draw(st.integers(0, side - 1)) for side in image.shape)] ^= 1
    assert pixels_sha256(other) != pixels_sha256(image)


def test_a_telephone_photograph_with_a_second_picture_is_its_first_picture():
    buffer = io.BytesIO()
    first, second = (PILImage.new("RGB", (16, 16), colour) for colour in ((200, 0, 0), (0, 0, 200)))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    for accepted in (decode(buffer.getvalue()), as_image(PILImage.open(buffer))):
        assert accepted.image[0, 0, 0] > 190


def test_equal_pixels_have_one_hash_whatever_the_file_format():
    files = [encoded(NOISE), encoded(NOISE, "WEBP", lossless=True), encoded(PILImage.fromarray(NOISE).convert("RGBA"))]
    assert len({pixels_sha256(decode(raw).image) for raw in files}) == 1
    assert (from_pil(PILImage.fromarray(NOISE)).image == NOISE).all()
