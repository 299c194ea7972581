"""Reading what others may have written, JSON and YAML: strictly, never more than fits, never a pipe, never code."""

from __future__ import annotations

import json
import math
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from editbench.names import shown
from editbench.types import EditbenchError

if TYPE_CHECKING:
    from yaml import Node

LINE_BYTES = 1 << 24
"""Longest line of a file of JSON lines."""
JSON_BYTES = 1 << 26
"""Largest JSON file that is one of our own kinds: run.json, facts of a unit."""
YAML_BYTES = 1 << 20
"""Largest YAML file."""
LARGE = 1e18
"""A float from here on may have been a whole number that has no place in 64 bits."""
YAML_NODES = 100_000
"""Most values in a YAML file, those counted again that an alias repeats: a few lines of aliases stand for billions."""


class TooMuch(EditbenchError):
    """A file, or what it unpacks to, that is larger than anything of its kind; or that is no file."""


def read_limited(path: Path, limit: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        TooMuch: if it has more than `limit`, or is a pipe or a device, which may never end.
        OSError: if it cannot be opened or read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TooMuch("not a file")
    with path.open("rb") as file:
        data = file.read(min(status.st_size, limit) + 1)  # as much memory is taken as is asked for
        while len(data) <= limit and (more := file.read(min(1 << 20, limit + 1 - len(data)))):
            data += more
    if len(data) > limit:
        raise TooMuch(f"more than {limit} bytes")
    return data


def lines_limited(path: Path, limit: int = LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file, their ends included; one is in memory. Raises as `read_limited` does."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise TooMuch(f"{path} is not a file")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) > limit:
                raise TooMuch(f"{path}:{number}: a line of more than {limit} bytes")
            yield line


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpack a gzip file of one or several members; no more than `limit` bytes are ever made.

    Raises:
        TooMuch: if there would be more.
        zlib.error: if it is damaged.
        EOFError: if it is cut off.
    """
    found = bytearray()
    while data or not found:
        member = zlib.decompressobj(wbits=31)  # 31: a gzip header, and its checksum compared
        found += member.decompress(data, limit + 1 - len(found))
        if len(found) > limit:
            raise TooMuch(f"it unpacks to more than {limit} bytes")
        if not member.eof:
            raise EOFError("it is cut off")
        data = member.unused_data
        if not found and not data:
            break
    return bytes(found)


# --------------------------------------------------------------------------------------------- canonical JSON


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_NOT_CANONICAL = re.compile(rb"[:,\[]-?(?:[0-9.]+e|0\.0000|[0-9]{17})")
"""Numbers that orjson may write otherwise than `json`: exponents begin elsewhere, in another form."""


def dumps(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces, shortest floats; NaN and Infinity raise ValueError."""
    try:
        data = orjson.dumps(value, option=_CANONICAL)
        nulls_are_none = b"null" not in data or orjson.loads(data) == value  # NaN is written so too, and equals nothing
        if nulls_are_none and not _NOT_CANONICAL.search(b"," + data):
            return data.decode()
    except orjson.JSONEncodeError:
        pass  # `json` takes more, or says what is wrong
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Parse JSON strictly: a duplicate key, a non-finite number or a lone surrogate raises ValueError."""
    data = text.encode() if isinstance(text, str) else text
    try:
        value = orjson.loads(data)
        if orjson.dumps(value, option=_CANONICAL) == data:  # so no key stands twice, and no number was rounded
            return value
        check_plain(data)
        if b"\n" not in data and count_keys(value) == data.count(b'":'):
            return value
    except ValueError:
        pass  # the other parser says what is wrong, or has the number in full
    return _loads_with_care(data.decode())


def check_plain(data: bytes) -> None:
    """Raise ValueError for JSON with escapes or spaces that could hide a key: else each `":` ends one or begins a text.

    So no key stands twice where there are as many keys as `":`. A whole number of more than 64 bits becomes a float in
    `orjson.loads`, which refuses numbers that are not finite.
    """
    if b"\\" in data or b" :" in data or b"\t" in data or b"\r" in data:
        raise ValueError("not plain")


def count_keys(value: Any) -> int:
    """Return how many keys the objects in JSON data have.

    Raises:
        ValueError: for a number that may have been a whole one of more than 64 bits, which a float was made of.
    """
    kind = type(value)
    if kind is float and not -LARGE < value < LARGE:
        raise ValueError("large number")
    if kind is dict:
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if kind is list else 0


def _loads_with_care(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=finite, parse_float=finite)
        (dumps(value) if "\\u" in text else text).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("lone surrogate") from None
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {shown(next(key for key in keys if keys.count(key) > 1))}")
    return result


def finite(text: str) -> float:
    """Return a number; raises ValueError for NaN, Infinity and what is too large for a float."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"non-finite number {text[:40]}")
    return value


def read_json_file(path: Path, limit: int = JSON_BYTES) -> Any:
    """Read a JSON file, as strictly as `loads`.

    Raises:
        EditbenchError: naming the file and what is wrong.
    """
    try:
        return loads(read_limited(path, limit))
    except OSError as error:
        raise EditbenchError(f"{path}: {error.strerror}") from None
    except TooMuch as error:
        raise TooMuch(f"{path}: {error}") from None
    except ValueError as error:
        raise EditbenchError(f"{path}: malformed JSON ({error})") from None


# -------------------------------------------------------------------------------------------------------- YAML


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain data. Raises as `parse_yaml` does, and for a file that cannot be read."""
    try:
        text = read_limited(path, YAML_BYTES).decode()
    except OSError as error:
        raise EditbenchError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise EditbenchError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except TooMuch as error:
        raise TooMuch(f"{path}: {error}, expected a few options") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML to plain data: no tag makes anything but texts, numbers, dates, lists and mappings.

    Args:
        text: one document.
        where: what errors begin with.

    Raises:
        EditbenchError: for malformed YAML, a key that stands twice, a number that is not finite, aliases that multiply.
    """
    import yaml

    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        value = loader.construct_document(node)
        _check_data(value)
    except yaml.YAMLError as error:
        raise EditbenchError(f"{where}: malformed YAML ({' '.join(str(error).split())[:500]})") from None
    except RecursionError:
        raise EditbenchError(f"{where}: malformed YAML (nested too deeply)") from None
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError) as error:  # `2001-13-45`, `!!int x`
        said = " ".join(str(error).split())[:200]
        raise EditbenchError(f"{where}: malformed YAML ({said or type(error).__name__})") from None
    finally:
        if loader is not None:
            loader.dispose()
    return value


def _count(node: Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for; refuse too many, a circle, and a key that stands twice."""
    import yaml

    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias of what it stands in")
        return known[id(node)]
    known[id(node)] = 0  # being counted
    inner: list[Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen:
                raise ValueError(f"key {name[1]!r} twice")
            seen.add(name)
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    if known[id(node)] > YAML_NODES:
        raise ValueError(f"more than {YAML_NODES} values")
    return known[id(node)]


def _check_data(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"number {value} is not finite")
    if isinstance(value, str):
        value.encode()  # a lone surrogate raises a ValueError
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    for inner in value if isinstance(value, list) else ():
        _check_data(inner)
