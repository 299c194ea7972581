"""The grammar of spec strings: `name[:option=value[,option=value…]]`.

One field of a component may be its *bare* option, written first and without a name (`folder:PATH`). A value with
commas or brackets stands in brackets, and so does a nested spec (`paste:editor=[recolor:leak=0.3],feather=4`).
An address is short for the editor behind it: `http://HOST/PATH,timeout=9` is `http:[http://HOST/PATH],timeout=9`.
Python code is named by `path/to/file.py:Name` or `module:Name`, options following a second colon.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from editbench.types import EditbenchError

OPTION = re.compile(r"([A-Za-z_]\w*)=")
ADDRESS = re.compile(r"https?://")
PYTHON_FILE = re.compile(r"(?P<name>[^:]+\.py:[A-Za-z_]\w*)(?::(?P<options>.*))?", re.DOTALL)
PYTHON_MODULE = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)+:[A-Za-z_]\w*)(?::(?P<options>.*))?", re.DOTALL)
TOP_MODULE = re.compile(r"(?P<name>(?P<module>[A-Za-z_]\w*):[A-Za-z_]\w*)(?:[:,](?P<options>.*))?", re.DOTALL)
"""`module:Name`, which looks like a component with a bare option: only who knows the names can tell."""


class SpecError(EditbenchError):
    """A spec string that names nothing or cannot be read."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `: did you mean 'x'?` for the nearest known words, or an empty string."""
    near = difflib.get_close_matches(word, sorted(known), n=2, cutoff=0.6)
    likeness = [difflib.SequenceMatcher(None, word, name).ratio() for name in near]
    near = [name for name, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - 0.2]
    near += [name for name in sorted(known) if name.split("@")[0] == word and name not in near]
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


@dataclass(frozen=True)
class Spec:
    """A spec string taken apart; values are still text."""

    name: str
    bare: str | None
    options: Mapping[str, str]


def split_list(text: str) -> list[str]:
    """Split a list of specs at its commas; a bare `option=value` continues the item before it.

    >>> split_list("psnr:region=keep,changed:region=edit,tau=0.1,success")
    ['psnr:region=keep', 'changed:region=edit,tau=0.1', 'success']
    """
    items: list[str] = []
    for part in _split(text):
        if items and OPTION.match(part):
            items[-1] += ("," if _has_options(items[-1]) else ":") + part
        elif part:
            items.append(part)
    return items


def parse(text: str, top_module: bool = False) -> Spec:
    """Take a spec string apart.

    Args:
        text: the spec string.
        top_module: whether `module:Name` is Python code in a module of that name, and not a bare option.

    >>> parse("paste:editor=[recolor:leak=0.3],feather=4").options
    {'editor': 'recolor:leak=0.3', 'feather': '4'}

    Raises:
        SpecError: for unbalanced brackets, an option given twice or an empty name.
    """
    match = TOP_MODULE.fullmatch(text) if top_module else _python_name(text)
    if match:
        name, rest = match["name"], match["options"] or ""
    elif ADDRESS.match(text):
        name, rest = "http", text
    else:
        name, _, rest = text.partition(":")
    if not name.strip():
        raise SpecError(f"spec {text!r} has no name, expected name[:option=value,…]")
    bare_parts: list[str] = []
    options: dict[str, str] = {}
    for part in _split(rest) if rest else []:
        option = OPTION.match(part)
        if option and option[1] in options:
            raise SpecError(f"spec {text!r} gives option {option[1]!r} twice")
        if option:
            options[option[1]] = _unquote(part[option.end() :])
        elif options:
            raise SpecError(f"spec {text!r}: {part!r} follows an option; a value with commas stands in brackets")
        else:
            bare_parts.append(part)
    return Spec(name, _unquote(",".join(bare_parts)) if bare_parts else None, options)


def _python_name(text: str) -> re.Match[str] | None:
    return PYTHON_FILE.fullmatch(text) or PYTHON_MODULE.fullmatch(text)


def _has_options(item: str) -> bool:
    match = _python_name(item)
    return match["options"] is not None if match else ":" in item


def _scan(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield each position and character with the depth of brackets after it; quoted values are passed over."""
    depth, position = 0, 0
    while position < len(text):
        character = text[position]
        if character == '"' and (position == 0 or text[position - 1] in "=:,"):
            try:
                _, position = json.JSONDecoder().raw_decode(text, position)
            except json.JSONDecodeError:
                raise SpecError(f"spec {text!r} has an unfinished quoted value") from None
            continue
        depth += (character == "[") - (character == "]")
        yield position, character, depth
        position += 1


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, character, depth in _scan(text):
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if depth != 0:
        raise SpecError(f"spec {text!r} has unbalanced brackets")
    return [*parts, text[start:].strip()]


def _unquote(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            raise SpecError(f"{value!r} goes on after its closing quote: put the whole value in brackets") from None
    if value.startswith("["):
        closing = next((position for position, _, depth in _scan(value) if depth == 0), None)
        return value[1:-1] if closing == len(value) - 1 else value
    return value


def quote(value: str) -> str:
    """Return a value as it stands in a spec: plain, in brackets, or as a JSON string."""
    plain = value and value == value.strip() and not value.startswith('"')
    if plain and not any(character in value for character in ",[]") and _reads_as(value, value):
        return value
    return bracket(value) if plain else json.dumps(value, ensure_ascii=False)


def bracket(value: str) -> str:
    """Return a value in brackets, or as a JSON string where brackets would be read otherwise."""
    written = f"[{value}]"
    return written if _reads_as(written, value) else json.dumps(value, ensure_ascii=False)


def _reads_as(written: str, value: str) -> bool:
    try:
        return not OPTION.match(written) and _split(written) == [written] and _unquote(written) == value
    except SpecError:
        return False


def slug(spec: str) -> str:
    """Return a file name for a spec: readable, safe, and distinct for distinct specs."""
    readable = re.sub(r"[^A-Za-z0-9._@-]+", "-", spec).strip("-.")[:48]
    digest = hashlib.sha256(spec.encode(errors="surrogatepass")).hexdigest()[:8]
    return readable if readable == spec else f"{readable}-{digest}".lstrip("-")


def printable(text: str) -> str:
    """Return text fit for a terminal: names, prompts and file contents may carry escape sequences."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )
