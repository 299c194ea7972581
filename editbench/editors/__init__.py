"""Editors: loading them from spec strings, plain functions and classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from editbench.editors.external import FunctionEditor
from editbench.registry import create, spec_of
from editbench.specs import PYTHON_FILE
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Editor


def load_editor(editor: str | AnyEditor | Callable[..., object]) -> AnyEditor:
    """Return an editor from a spec string, an object with `edit`, or a plain function.

    Raises:
        EditbenchError: if it is none of these; the message says what is missing.
    """
    spec = editor if isinstance(editor, str) else None
    thing: Any = create("editor", editor) if isinstance(editor, str) else editor
    if isinstance(thing, Composite):
        return thing
    if isinstance(thing, Editor | Answers):
        return thing
    name = spec or f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', type(thing).__name__)}"
    if callable(thing) and not isinstance(thing, type):
        return FunctionEditor(thing, name)
    raise EditbenchError(
        f"editor {name!r} is a {type(thing).__name__}, expected a function (source, instruction, mask, seed) -> image "
        "or a class with mask_access and edit(requests)"
    )


def code_sha256(spec: str) -> str | None:
    """Return the hash of the file of an editor named by `path.py:Name`, None for other editors."""
    match = PYTHON_FILE.fullmatch(spec)
    if match is None:
        return None
    path = Path(match["name"].rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def editor_spec(editor: AnyEditor) -> str:
    """Return the canonical spec of an editor."""
    return spec_of(editor)
