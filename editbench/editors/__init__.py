"""Editors: loading them from spec strings, plain functions and classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from editbench.editors.external import FunctionEditor
from editbench.registry import create, spec_of
from editbench.specs import PYTHON_FILE, parse
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Editor, MaskAccess


def load_editor(editor: str | AnyEditor | Callable[..., object]) -> AnyEditor:
    """Return an editor from a spec string, an object with `edit`, or a plain function.

    Raises:
        EditbenchError: if it is none of these; the message says what is missing.
    """
    return _loaded(create("editor", editor), editor) if isinstance(editor, str) else _loaded(editor, None)


def _loaded(thing: Any, spec: str | None) -> AnyEditor:
    name = spec or f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', type(thing).__name__)}"
    if isinstance(thing, type):
        raise EditbenchError(f"editor {name!r} is a class, expected an instance of it")
    if isinstance(thing, Composite):
        inner = _loaded(thing.editor, _nested(spec))
        return thing if inner is thing.editor else replace(thing, editor=inner)  # type: ignore[type-var]
    if isinstance(thing, Editor | Answers):
        if thing.mask_access not in get_args(MaskAccess):
            raise EditbenchError(f"editor {name!r}: mask_access={thing.mask_access!r}, expected none, hint, region")
        return thing
    if callable(thing):
        return FunctionEditor(thing, name)
    raise EditbenchError(
        f"editor {name!r} is a {type(thing).__name__}, expected a function (source, instruction, mask, seed) -> image "
        "or a class with mask_access and edit(requests)"
    )


def _nested(spec: str | None) -> str | None:
    """Return the spec of the editor that a composite is made of."""
    return None if spec is None else parse(spec).options.get("editor")


def code_sha256(spec: str) -> str | None:
    """Return the hash of the file of an editor named by `path.py:Name`, alone or in a composite; None for others."""
    match = PYTHON_FILE.fullmatch(spec)
    if match is None:
        inner = _nested(spec)
        return None if inner is None else code_sha256(inner)
    path = Path(match["name"].rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def editor_spec(editor: AnyEditor) -> str:
    """Return the canonical spec of an editor."""
    return spec_of(editor)
