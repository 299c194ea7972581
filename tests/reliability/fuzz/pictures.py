"""Small pictures of every kind, mutations of their structure, and an independent look at their checksums."""

import io
import struct
import zlib

import numpy as np
from fuzz.texts import mutate_bytes
from PIL import Image, ImageCms, PngImagePlugin

PNG = b"\x89PNG\r\n\x1a\n"
HEIGHT, WIDTH = 20, 24
SIZES = (0, 1, 2, 23, 24, 25, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def written(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures():
    """Return a dict from a format to the bytes of small pictures in it: modes, metadata, animation."""
    pixels = np.random.default_rng(0)
    noise = pixels.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    colour, alpha = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    grey, deep = colour.convert("L"), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Title", "a" * 50, zip=True)
    notes.add_itxt("note", "é" * 20)
    frames = {"save_all": True, "append_images": [grey.convert("RGB")]}
    png = [
        written(image, "PNG")
        for image in (colour, alpha, grey, deep, colour.convert("P"), grey.convert("1"), alpha.convert("LA"))
    ]
    png += [written(colour, "PNG", exif=exif, icc_profile=profile, pnginfo=notes), written(grey, "PNG", transparency=7)]
    png += [
        written(colour.quantize(16), "PNG", transparency=bytes(range(0, 160, 10))),
        written(colour, "PNG", **frames),
    ]
    jpeg = [written(colour, "JPEG"), written(grey, "JPEG"), written(colour.convert("CMYK"), "JPEG")]
    jpeg += [written(colour, "JPEG", progressive=True, exif=exif, icc_profile=profile, comment=b"note")]
    jpeg += [written(colour, "JPEG", subsampling=0, restart_marker_blocks=2)]
    webp = [
        written(colour, "WEBP"),
        written(alpha, "WEBP", lossless=True),
        written(colour, "WEBP", exif=exif, icc_profile=profile),
    ]
    webp += [written(colour, "WEBP", **frames)]
    others = [
        written(colour, kind)
        for kind in ("GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "DDS", "JPEG2000")
        if kind.upper() in Image.SAVE
    ]
    return {"png": png, "jpeg": jpeg, "webp": webp, "others": others}


def masks():
    """Return PNGs that are masks, of every form that is accepted."""
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    inside[4:12, 6:18] = True
    forms = [
        Image.fromarray(inside),
        Image.fromarray(inside.astype(np.uint8)),
        Image.fromarray(inside.astype(np.uint8) * 255),
    ]
    forms += [
        Image.fromarray(inside.astype(np.uint16) * 65535),
        Image.fromarray(inside.astype(np.uint8) * 255).convert("RGB"),
    ]
    layered = np.dstack([np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.where(inside, 0, 255).astype(np.uint8)])
    return [written(form, "PNG") for form in forms], [written(Image.fromarray(layered), "PNG")]


# --------------------------------------------------------------------------------------------------------- png


def chunks(data):
    """Yield the name, the body and whether the checksum is right for every whole chunk of a PNG."""
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body, stated = (
            data[at + 4 : at + 8],
            data[at + 8 : at + 8 + length],
            data[at + 8 + length : at + 12 + length],
        )
        if len(stated) < 4:
            return
        yield name, body, struct.unpack(">I", stated)[0] == zlib.crc32(name + body)
        at += 12 + length


def chunk(name, body, length=None, right=True):
    checksum = zlib.crc32(name + body) ^ (0 if right else 1)
    return struct.pack(">I", len(body) if length is None else length) + name + body + struct.pack(">I", checksum)


def mutate_png(draw, data, seeds):
    """Return a PNG with a mutated structure, its checksums right in most cases."""
    parts = [(name, body) for name, body, _ in chunks(data)]
    if draw.random() < 0.3 or not parts:
        return mutate_bytes(draw, data, seeds)
    for _ in range(draw.choice((1, 1, 2))):
        at = draw.randrange(len(parts))
        name, body = parts[at]
        match draw.randrange(10):
            case 0:
                parts[at] = (name, mutate_bytes(draw, body, [other for _, other in parts]))
            case 1:
                parts.insert(draw.randrange(len(parts) + 1), parts[at])
            case 2 if len(parts) > 1:
                del parts[at]
            case 3:
                parts[at] = (
                    draw.choice((b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iCCP", b"eXIf", b"IEND", b"abcd")),
                    body,
                )
            case 4:
                packed = zlib.compress(bytes(draw.choice((100, 10_000, 3_000_000))))
                head = draw.choice(
                    ((b"zTXt", b"k\0\0"), (b"iCCP", b"p\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"IDAT", b""))
                )
                parts.insert(draw.randrange(1, len(parts) + 1), (head[0], head[1] + packed))
            case 5 | 6:
                header = bytearray(parts[0][1].ljust(13, b"\0")[:13])
                if draw.random() < 0.6:
                    place = draw.choice((0, 4))
                    header[place : place + 4] = struct.pack(">I", draw.choice(SIZES))
                else:
                    header[draw.randrange(8, 13)] = draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
                parts[0] = (parts[0][0], bytes(header))
            case 7 if name == b"IDAT":
                try:
                    raw = bytearray(zlib.decompress(body))
                except zlib.error:
                    continue
                parts[at] = (name, zlib.compress(mutate_bytes(draw, bytes(raw), [bytes(raw)])))
            case _:
                other = [(name, body) for name, body, _ in chunks(draw.choice(seeds))]
                parts[at:] = other[draw.randrange(len(other) + 1) :]
        if not parts:
            return PNG
    wrong = draw.randrange(len(parts)) if draw.random() < 0.15 else -1
    odd = draw.choice(SIZES) if draw.random() < 0.05 else None
    made = [
        chunk(name, body, odd if place == wrong else None, place != wrong) for place, (name, body) in enumerate(parts)
    ]
    return PNG + b"".join(made)


# -------------------------------------------------------------------------------------------------- jpeg, webp


def mutate_jpeg(draw, data, seeds):
    """Return a JPEG with its marker segments mutated, doubled, lost, exchanged, or of another length."""
    if draw.random() < 0.4:
        return mutate_bytes(draw, data, seeds)
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        parts.append(data[at : at + 2 + length])
        at += 2 + length
    scan = data[at:]
    if not parts:
        return mutate_bytes(draw, data, seeds)
    at = draw.randrange(len(parts))
    match draw.randrange(7):
        case 0:
            parts.insert(draw.randrange(len(parts) + 1), parts[at])
        case 1:
            del parts[at]
        case 2:
            parts[at] = parts[at][:2] + struct.pack(">H", draw.choice((0, 1, 2, 3, 8, 100, 65535))) + parts[at][4:]
        case 3:
            parts[at] = parts[at][:4] + mutate_bytes(draw, parts[at][4:], [data])
        case 4:
            frames = [place for place, part in enumerate(parts) if part[1] in (0xC0, 0xC2)]
            for place in frames:
                sizes = struct.pack(">HH", draw.choice(SIZES) & 0xFFFF, draw.choice(SIZES) & 0xFFFF)
                parts[place] = parts[place][:5] + sizes + parts[place][9:]
        case 5:
            body = draw.choice(
                (b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"MPF\0", b"JFIF\0", b"Photoshop 3.0\0", b"Adobe\0")
            ) + draw.randbytes(40)
            marker = draw.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE))
            parts.insert(
                draw.randrange(len(parts) + 1), bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
            )
        case _:
            scan = mutate_bytes(draw, scan, [scan])
    return data[:2] + b"".join(parts) + scan


def mutate_webp(draw, data, seeds):
    """Return a WebP with chunks mutated, doubled, lost or of another length; the outer length is mostly right."""
    if draw.random() < 0.4:
        return mutate_bytes(draw, data, seeds)
    parts, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack("<I", data[at + 4 : at + 8])
        parts.append([data[at : at + 4], length, data[at + 8 : at + 8 + length]])
        at += 8 + length + length % 2
    if not parts:
        return mutate_bytes(draw, data, seeds)
    at = draw.randrange(len(parts))
    match draw.randrange(6):
        case 0:
            parts.insert(draw.randrange(len(parts) + 1), list(parts[at]))
        case 1:
            del parts[at]
        case 2:
            parts[at][1] = draw.choice((0, 1, parts[at][1] + 1, parts[at][1] + 1000, 2**31, 2**32 - 1))
        case 3:
            parts[at][0] = draw.choice(
                (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"XMP ")
            )
        case _:
            parts[at][2] = mutate_bytes(draw, parts[at][2], [data])
            parts[at][1] = len(parts[at][2])
    body = b"".join(
        name + struct.pack("<I", length) + inner + b"\0" * (len(inner) % 2) for name, length, inner in parts
    )
    stated = len(body) + 4 if draw.random() < 0.9 else draw.choice(SIZES) & 0xFFFFFFFF
    return b"RIFF" + struct.pack("<I", stated) + b"WEBP" + body


def contradictions(data):
    """Return what contradicts a PNG's own checksums; empty for nothing, and for any other format."""
    if not data.startswith(PNG):
        return ""
    found = list(chunks(data))
    names = [name for name, _, _ in found]
    until = names.index(b"IEND") if b"IEND" in names else len(found)
    wrong = [name for name, _, right in found[:until] if not right and name in (b"IHDR", b"PLTE", b"IDAT")]
    return f"chunk {wrong[0]!r} with a wrong checksum" if wrong else ""
