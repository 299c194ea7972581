"""What may be called what: rules for the texts that get into file names, tables, terminals and pages."""

from __future__ import annotations

import re
import reprlib
import unicodedata

LONGEST_ID = 128
ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_ID - 1}}}")
"""Of a scenario."""
ID_RULE = f"up to {LONGEST_ID} letters, digits, '.', '_' or '-'"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:=,@()\[\]+-]{0,63}")
"""Of a run. No leading sign (a spreadsheet would see a formula), no markup, no control characters."""
LABEL_RULE = "up to 64 letters, digits or ' ._:=,@()[]+-', a letter or digit first"
SHA256 = re.compile("[0-9a-f]{64}")
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They reorder the text around them."""
FORMULA = ("=", "+", "-", "@")
"""A cell that begins so is a formula to a spreadsheet (CWE-1236)."""
NAME_RULE = "text without control characters that does not begin with any of = + - @"
LONGEST_NAME = 4096
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}([^/].*)")
"""What names an object store, `s3://bucket/prefix`; a Path has taken one of the slashes away."""


def is_plain(text: str) -> bool:
    """Whether a text has neither control characters, line ends nor surrogates, and nothing that reorders it."""
    return text.isprintable() or not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDIRECTIONAL for character in text
    )


def is_name(text: str) -> bool:
    """Whether a text may be a cell of a table: plain, and no formula."""
    return len(text) <= LONGEST_NAME and not text.startswith(FORMULA) and is_plain(text)


def address_of(path: object) -> str | None:
    """Return the address `protocol://…` that a text, or the path that was made of it, stands for; None for a path."""
    match = ADDRESS.fullmatch(str(path))
    return None if match is None else f"{match[1]}://{match[2].rstrip('/')}"


_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring, _short.maxlong, _short.maxother = 2, 4, 4, 80, 40, 80


def shown(value: object) -> str:
    """Return a value of somebody else as a message may quote it: its `repr`, cut to some eighty characters.

    >>> shown("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _short.repr(value)
