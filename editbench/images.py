"""The one place where pixels enter or leave: decode, validate, align. Masks: `masks.py`; writing: `png.py`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from editbench.reading import TooMuch, read_limited
from editbench.types import EditbenchError, Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000
"""Larger images are refused before their pixels are decoded."""
MAX_BYTES = 1 << 29
"""Larger files are not read: 64 million pixels of 16 bits and four channels are as many bytes."""
MAX_ASPECT_CHANGE = 0.01
"""A resize that changes the aspect ratio by more than this share is refused."""

_TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""What undoes EXIF orientation 2, 3, …, 8."""

AlignPolicy = Literal["error", "resize"]


class InvalidImage(EditbenchError):
    """An image, or what should have been one, that cannot be accepted. The message is stable and free of paths."""


class Accepted(NamedTuple):
    """An image, and what had to be done to accept it."""

    image: Image
    flags: tuple[str, ...]


def size_text(height: int, width: int) -> str:
    """Return a size as people write it, width first."""
    return f"{width}x{height}"


# --------------------------------------------------------------------------------------------------- decode


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever Pillow's decoders and conversions raise (OSError, TypeError, struct.error, …) into InvalidImage."""
    try:
        yield
    except InvalidImage:
        raise
    except PILImage.DecompressionBombError:  # Pillow's own, much larger limit
        raise InvalidImage(f"pixels are more than the limit of {MAX_PIXELS}") from None
    except UnidentifiedImageError:
        raise InvalidImage("not a PNG, JPEG or WebP image") from None
    except Exception as error:
        raise InvalidImage(f"cannot be decoded ({type(error).__name__}): truncated or corrupt") from error


def open_image(data: bytes | Path) -> PILImage.Image:
    """Decode a PNG, JPEG or WebP completely.

    Args:
        data: the bytes of a file, or its path.

    Raises:
        InvalidImage: if it is unreadable, truncated, damaged, animated, too large or in another format.
        OSError: if the file itself cannot be opened.
    """
    if isinstance(data, Path):
        try:
            data = read_limited(data, MAX_BYTES)
        except TooMuch as error:
            raise InvalidImage(str(error)) from None
    with decoding(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are checked here, and broken metadata
        opened = PILImage.open(io.BytesIO(data), formats=FORMATS)
        if opened.width * opened.height > MAX_PIXELS:
            size = size_text(opened.height, opened.width)
            raise InvalidImage(f"{size} pixels are more than the limit of {MAX_PIXELS}")
        if opened.format != "MPO" and getattr(opened, "n_frames", 1) != 1:
            raise InvalidImage(f"animated image with {opened.n_frames} frames, expected one")  # type: ignore[attr-defined]
        if opened.format == "PNG":
            _check_sums(data)
        opened.load()
    return opened


def _check_sums(png: bytes) -> bool:
    """Compare the checksums of whole critical chunks: Pillow passes over that of the pixels, and shows what rotted.

    Returns:
        Whether the last chunk is there; Pillow decides about a file that is cut off.
    """
    view, at = memoryview(png), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(view[at : at + 4])
        name = png[at + 4 : at + 8]
        stated = view[end : end + 4]
        if name[:1].isupper() and len(stated) == 4 and zlib.crc32(view[at + 4 : end]) != int.from_bytes(stated):
            word = name.decode() if name.isalpha() else "of no name"
            raise InvalidImage(f"damaged PNG: the checksum of its chunk {word} is wrong")
        if name == b"IEND":
            return True
        at = end + 4
    return False


def decode(data: bytes | Path, stored: bool = False) -> Accepted:
    """Decode a file to an `Image`, as `from_pil` does. Raises as `open_image` does."""
    opened = open_image(data)
    with decoding():  # a palette or a transparent colour that does not fit the mode shows only now
        return from_pil(opened, stored)


def check_png(data: bytes) -> None:
    """Compare the chunks of a PNG of ours with their checksums. Raises InvalidImage if it is damaged or cut off."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or not _check_sums(data):
        raise InvalidImage("damaged PNG: it is cut off")


def verified(data: bytes, sha256: str) -> Image:
    """Return the image of an encoded edit. Raises InvalidImage if it is damaged, or its pixels have another hash."""
    image = decode(data).image
    if pixels_sha256(image) != sha256:
        raise InvalidImage(f"edit {sha256[:12]} is damaged: its pixels have another hash")
    return image


def from_pil(image: PILImage.Image, stored: bool = False) -> Accepted:
    """Convert a Pillow image of any usual mode to an `Image`.

    Orientation (EXIF) is applied, unless the image is wanted as it is stored; alpha is composited over white, so
    that hidden colour does not leak; 16-bit grey is scaled by 1/257 (`Image.convert` would saturate it); an ICC profile
    is ignored. Each leaves a flag.

    Raises:
        InvalidImage: for modes without a defined conversion (`F`, `I` beyond 16 bits, `LAB`, ...).
    """
    if 0 in image.size:
        raise InvalidImage(f"empty image of {size_text(image.height, image.width)} pixels")
    flags = set()
    turned = upright(image)
    if turned is not image:
        image = image if stored else turned
        flags.add("exif-orientation-ignored" if stored else "exif-orientation")
    if image.info.get("icc_profile"):
        flags.add("icc-profile-ignored")
    if image.mode.startswith("I;16") or image.mode == "I":
        if "transparency" in image.info:
            raise InvalidImage("16-bit grey with a transparent level")
        grey = eight_bits(np.asarray(image))
        return Accepted(np.repeat(grey[..., None], 3, axis=2), tuple(sorted(flags | {"16-bit"})))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        if np.asarray(rgba)[..., 3].min() < 255:
            flags.add("alpha")
            white = PILImage.new("RGBA", rgba.size, (255, 255, 255, 255))
            rgba = PILImage.alpha_composite(white, rgba)
        image = rgba
    elif image.mode == "CMYK":
        flags.add("cmyk")
    elif image.mode not in ("RGB", "L", "P", "1"):
        raise InvalidImage(f"image mode {image.mode!r}, expected RGB, RGBA, L, LA, P, 1, CMYK or 16-bit grey")
    return Accepted(np.array(image.convert("RGB")), tuple(sorted(flags)))


def upright(image: PILImage.Image) -> PILImage.Image:
    """Apply the EXIF orientation; the same object comes back where there is none, or none that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a corrupt block raises SyntaxError, struct.error, ...
        return image
    return image.transpose(PILImage.Transpose[_TURNS[orientation - 2]]) if orientation in range(2, 9) else image


def eight_bits(levels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale levels of 0..65535 to 0..255, each to the nearest.

    Raises:
        InvalidImage: for levels outside that range.
    """
    if levels.min() < 0 or levels.max() > 65535:
        raise InvalidImage("grey values outside 0..65535")
    return ((levels.astype(np.int64) * 2 + 257) // 514).astype(np.uint8)


# ------------------------------------------------------------------------------------------ accept an output


def as_image(output: object) -> Accepted:
    """Accept what an editor returned: a Pillow image, an array or a tensor.

    uint8 means 0..255, uint16 0..65535, bool black and white, float must lie in [0, 1] (± 1e-3). Channels come last;
    a first axis of 1, 3 or 4 is accepted where the last cannot be the channels. Nothing is ever rescaled by its own
    maximum, and channel order is never guessed.

    Raises:
        InvalidImage: naming what was returned and what is expected.
    """
    if isinstance(output, Accepted):
        return Accepted(output.image, _with_constant(output))
    if isinstance(output, PILImage.Image):
        try:
            if (frames := getattr(output, "n_frames", 1)) != 1 and output.format != "MPO":
                raise InvalidImage(f"animated image with {frames} frames, expected one")
            output.load()
            accepted = from_pil(output)
        except InvalidImage:
            raise
        except Exception as error:
            raise InvalidImage(f"Pillow image that cannot be loaded ({type(error).__name__})") from error
        return Accepted(accepted.image, _with_constant(accepted))
    if any(base.__module__.split(".")[0] == "torch" for base in type(output).__mro__) and hasattr(output, "detach"):
        try:
            tensor = output.detach().cpu()
            output = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        except Exception as error:  # sparse, meta, quantised, ...
            raise InvalidImage(f"tensor that is no array of pixels ({type(error).__name__})") from error
    if not isinstance(output, np.ndarray):
        raise InvalidImage(f"returned {_describe(output)}, expected a Pillow image, an array or a tensor")
    accepted = _from_array(output)
    return Accepted(accepted.image, _with_constant(accepted))


def _with_constant(accepted: Accepted) -> tuple[str, ...]:
    image = accepted.image
    constant = bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())
    return tuple(sorted({*accepted.flags, "constant"})) if constant else accepted.flags


def _describe(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__


def _from_array(array: npt.NDArray[Any]) -> Accepted:
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise InvalidImage(f"array of shape {shape}, expected (H, W, 3)")
    flags: tuple[str, ...] = ()
    if array.dtype == np.bool_:
        pixels = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint8:
        pixels = array
    elif array.dtype == np.uint16:
        pixels, flags = eight_bits(array), ("16-bit",)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise InvalidImage("non-finite pixels (NaN or infinity)")
        low, high = float(array.min()), float(array.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise InvalidImage(f"float pixels in [{low:.4g}, {high:.4g}], expected [0, 1]")
        pixels = np.floor(np.clip(array.astype(np.float64), 0, 1) * 255 + 0.5).astype(np.uint8)
    else:
        raise InvalidImage(f"array of dtype {array.dtype}, expected uint8 or float in [0, 1]")
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[-1] == 4:
        accepted = from_pil(PILImage.fromarray(pixels))
        return Accepted(accepted.image, tuple(sorted({*flags, *accepted.flags})))
    return Accepted(np.ascontiguousarray(pixels).copy(), flags)


def align(accepted: Accepted, height: int, width: int, policy: AlignPolicy) -> Accepted:
    """Bring an output to the size of its source, or refuse it.

    Args:
        accepted: the output.
        height: of the source, in pixels.
        width: of the source, in pixels.
        policy: `error` refuses any other size; `resize` resamples with Pillow's Lanczos filter and sets the flag
            `aligned=resize`, unless the aspect ratio differs by more than 1 %.

    Raises:
        InvalidImage: naming both sizes.
    """
    got_height, got_width = accepted.image.shape[:2]
    if (got_height, got_width) == (height, width):
        return accepted
    sizes = f"size {size_text(got_height, got_width)}, expected {size_text(height, width)}"
    if policy == "error":
        raise InvalidImage(sizes)
    ratio = (got_width * height) / (got_height * width)
    if max(ratio, 1 / ratio) > 1 + MAX_ASPECT_CHANGE:
        raise InvalidImage(f"{sizes}: the aspect ratio differs by more than {MAX_ASPECT_CHANGE:.0%}")
    return Accepted(resize(accepted.image, height, width), tuple(sorted({*accepted.flags, "aligned=resize"})))


def resize(image: Image, height: int, width: int) -> Image:
    """Resample with Pillow's Lanczos filter: one resizer, so that one size change gives one number."""
    return np.array(PILImage.fromarray(image).resize((width, height), PILImage.Resampling.LANCZOS))


# ------------------------------------------------------------------------------------------- hash and encode


def pixels_sha256(image: Image) -> str:
    """Hash of shape and pixels: equal for equal images, whatever the file format."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
