"""Mutations of bytes and of JSON, and what makes a JSON text contradict itself."""

import json
import re

WORDS = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"NaN",
    b"1e999",
    b"-",
    b"\\ud800",
    b"9" * 400,
    b"\xe2\x80\xae",
    b"../",
    b"null",
    b"true",
    b"\x80",
    b"\x7f\xff\xff\xff",
)
DEEP = "[" * 3000 + "]" * 3000
HOSTILE = (
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "1.0",
    "1e3",
    "255",
    "256",
    "65536",
    "2147483648",
    "9223372036854775808",
    "9" * 400,
    "-" + "9" * 30,
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "-Infinity",
    '""',
    '" "',
    '"a"',
    '"1"',
    '"ok"',
    '"none"',
    '"../x"',
    '"/etc/passwd"',
    '"C:\\\\x"',
    '"CON"',
    '"a."',
    '".."',
    '"a/../../b"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00x"',
    '"\\u001b[31mred"',
    '"\\u202eevil"',
    '"=1+1"',
    '"-1+1"',
    '"@x"',
    '"<script>"',
    '"\\u00e9"',
    '"e\\u0301"',
    '"A B"',
    '"x\\ny"',
    f'"{"a" * 300}"',
    f'"{"b" * 5000}"',
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "[1,2,3]",
    '{"a":1}',
    '{"a":1,"a":2}',
    '{"a":NaN}',
    DEEP,
    '["a","a"]',
    '[1,"a"]',
    "[-1,-1]",
    "[1e999]",
    "[0,0,0]",
    "[9e9]",
)
"""JSON texts in the place of a value."""

_RAW = re.compile(r'"@raw(\d+)@"')


def mutate_bytes(draw, data, seeds):
    """Return bytes with one to four of the usual mistakes in them."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        start = draw.randrange(len(found) + 1)
        length = min(draw.choice((1, 1, 2, 4, 8, 32, 256)), len(found) - start)
        match draw.randrange(9):
            case 0 if length:
                found[start] ^= 1 << draw.randrange(8)
            case 1 if length:
                found[start : start + length] = draw.randbytes(length)
            case 2:
                del found[start : start + length]
            case 3:
                found[start:start] = found[start : start + length] * draw.choice((1, 1, 2, 50))
            case 4:
                del found[start:]
            case 5:
                found[start:start] = draw.choice(WORDS)
            case 6:
                other = draw.choice(seeds)
                found[start:] = other[draw.randrange(len(other) + 1) :]
            case 7 if length:
                found[start : start + length] = bytes(length)
            case _ if length:
                found[start : start + length] = draw.choice((b"\xff", b"\x80", b"\x7f", b"\x01")) * length
    return bytes(found)


def mutate_json(draw, data, seeds):
    """Return a JSON text with values, keys or types exchanged; now and then one whose bytes are damaged."""
    if draw.random() < 0.25:
        return mutate_bytes(draw, data, seeds)
    try:
        value = json.loads(data)
    except ValueError:
        return mutate_bytes(draw, data, seeds)
    raw = []
    box = {"": value}
    for _ in range(draw.choice((1, 1, 1, 2))):
        _exchange(draw, box, raw)
    text = json.dumps(box[""])
    return _RAW.sub(lambda match: raw[int(match[1])], text).encode("utf-8", "surrogatepass")


def _exchange(draw, box, raw):
    places = [
        place for place in _places(box) if not isinstance(place[0][place[1]], str) or "@raw" not in place[0][place[1]]
    ]
    if not places:
        return
    holder, key = draw.choice(places)

    def hostile(text=None):
        raw.append(draw.choice(HOSTILE) if text is None else text)
        return f"@raw{len(raw) - 1}@"

    inner = holder[key]
    match draw.randrange(6):
        case 0 if isinstance(holder, dict) and holder is not box:
            del holder[key]
        case 1 if isinstance(inner, dict):
            inner[draw.choice(("x", "", "id ", "schema", "a\u202eb", "__class__", "image", "error"))] = hostile()
        case 2 if isinstance(inner, dict) and inner:
            name = draw.choice(list(inner))
            pairs = ",".join(f"{json.dumps(other)}:{json.dumps(inner[other])}" for other in [*inner, name])
            if "@raw" not in pairs:
                holder[key] = hostile("{" + pairs + "}")  # a key twice
        case 3 if isinstance(inner, list):
            inner.insert(draw.randrange(len(inner) + 1), hostile())
        case 4 if isinstance(inner, str):
            at = draw.randrange(len(inner) + 1)
            holder[key] = (
                inner[:at] + draw.choice(("\0", "\x1b[1m", "\u202e", "..", "/", " ", "é", "x" * 200)) + inner[at:]
            )
        case 5 if isinstance(inner, int | float) and not isinstance(inner, bool):
            holder[key] = hostile(str(draw.choice((-inner, inner * 2, inner + 1, inner * 10**9, inner / 3))))
        case _:
            other_holder, other_key = draw.choice(places)
            other = other_holder[other_key]
            plain = draw.random() < 0.3 and "@raw" not in json.dumps(other)
            holder[key] = json.loads(json.dumps(other)) if plain else hostile()


def _places(value):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def mutate_lines(draw, data, seeds):
    """Return JSON lines of which one is mutated, lost, doubled, exchanged with another, or ends differently."""
    lines = data.split(b"\n")
    at = draw.randrange(max(len(lines) - 1, 1))
    match draw.randrange(12):
        case 0:
            return mutate_bytes(draw, data, seeds)
        case 1:
            lines.insert(at, lines[at])
        case 2:
            del lines[at]
        case 3:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 4:
            lines[at] = draw.choice(
                (b"", b" ", b"\xef\xbb\xbf" + lines[at], lines[at] + b"\r", lines[at] + b",", b"null", b"[]")
            )
        case _:
            lines[at] = mutate_json(draw, lines[at], [seed.split(b"\n")[0] for seed in seeds])
    return b"\n".join(lines)


class Contradiction(ValueError):
    """What a strict reader of JSON never accepts."""


def contradictions(text):
    """Return what is wrong with a JSON text by our rules, read independently of our reader; empty for nothing."""

    def unique(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise Contradiction("a key twice")
        return dict(pairs)

    def number(digits):
        if digits in ("NaN", "Infinity", "-Infinity") or abs(float(digits)) == float("inf"):
            raise Contradiction(f"number {digits[:20]}")
        return float(digits)

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=number, parse_float=number)
        json.dumps(value, ensure_ascii=False).encode()
    except Contradiction as error:
        return str(error)
    except UnicodeEncodeError:
        return "a lone surrogate"
    except (ValueError, RecursionError) as error:
        return f"no JSON ({type(error).__name__})"
    return ""


def plain_json(value):
    """Whether a value is JSON data that can be written: finite, encodable, keys that are texts."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError):
        return False
    return True
