"""Editors: loading them from spec strings, plain functions and classes."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import shlex
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from editbench.editors.function import FunctionEditor
from editbench.registry import create, python_name
from editbench.specs import PYTHON_FILE, parse
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Editor, MaskAccess


def load_editor(editor: str | AnyEditor | Callable[..., object]) -> AnyEditor:
    """Return an editor from a spec string, an object with `edit`, or a plain function.

    What only describes an editor (the address of a service) is asked for it: its `opened()` returns one, or raises.

    Raises:
        EditbenchError: if it is none of these; the message says what is missing.
    """
    if not isinstance(editor, str):
        return _loaded(editor, None)
    with contextlib.redirect_stdout(sys.stderr):  # what it prints while it loads its weights
        return _loaded(create("editor", editor), editor)


def _loaded(thing: Any, spec: str | None) -> AnyEditor:
    name = spec or python_name(thing)
    if isinstance(thing, type):
        raise EditbenchError(f"editor {name!r} is a class, expected an instance of it")
    if callable(getattr(thing, "opened", None)):
        thing = thing.opened()
    if isinstance(thing, Composite):
        inner = _loaded(thing.editor, _nested(spec))
        _check_trained_on(thing, name)
        return thing if inner is thing.editor else replace(thing, editor=inner)  # type: ignore[type-var]
    if isinstance(thing, Editor | Answers):
        if thing.mask_access not in get_args(MaskAccess):
            raise EditbenchError(f"editor {name!r}: mask_access={thing.mask_access!r}, expected none, hint, region")
        _check_trained_on(thing, name)
        size = getattr(thing, "batch_size", 1)
        if type(size) is not int or size < 1:
            raise EditbenchError(f"editor {name!r}: batch_size={size!r}, expected a whole number of at least 1")
        return thing
    if callable(thing):
        _check_trained_on(thing, name)
        return FunctionEditor(thing, name)
    raise EditbenchError(
        f"editor {name!r} is a {type(thing).__name__}, expected a function (source, instruction, mask, seed) -> image "
        "or a class with mask_access and edit(requests)"
    )


def _check_trained_on(thing: Any, name: str) -> None:
    given = getattr(thing, "trained_on", ())
    if not isinstance(given, tuple | list) or not all(isinstance(metric, str) for metric in given):
        raise EditbenchError(f"editor {name!r}: trained_on={given!r}, expected a tuple of metric specs: ('mae',)")


def _nested(spec: str | None) -> str | None:
    """Return the spec of the editor that a composite is made of."""
    return None if spec is None else parse(spec).options.get("editor")


def code_sha256(editor: str | AnyEditor | Callable[..., object]) -> str | None:
    """Return the hash of an editor's own code, so that an edited editor is not taken for the one it was.

    That is the file of `path.py:Name`, the files that a command line names, and the source of a function or class that
    is given as an object; in a composite, those of its editor. What they import is not looked at.

    Args:
        editor: a spec string, an editor object or a function.

    Returns:
        None for what comes with the package or a plug-in: their versions are part of the provenance.

    Raises:
        EditbenchError: if a file named by `path.py:Name` does not exist.
    """
    if not isinstance(editor, str):
        return _object_sha256(editor.editor if isinstance(editor, Composite) else editor)
    match = PYTHON_FILE.fullmatch(editor)
    if match is not None:
        path = Path(match["name"].rpartition(":")[0])
        if not path.is_file():
            raise EditbenchError(f"no file {str(path)!r}")
        return _files_sha256([path])
    inner = _nested(editor)
    if inner is not None:
        return code_sha256(inner)
    parsed = parse(editor)
    if parsed.name != "command" or not parsed.bare:
        return None
    return _files_sha256(_files_of_command(parsed.bare))


def answers_sha256(code: str | None, editor: object) -> str | None:
    """Return the hash of all that decides an editor's answers: its code, and what it declares beside that.

    Args:
        code: from `code_sha256`.
        editor: once loaded; its attribute `code_sha256` may stand for weights, or for a service's version.
    """
    declared = getattr(editor, "code_sha256", None)
    if code is None or declared is None:
        return code or declared
    return hashlib.sha256(f"{code}{declared}".encode()).hexdigest()


def _files_of_command(program: str) -> list[Path]:
    """Return the files that a command line names, an interpreter apart."""
    try:
        words = shlex.split(program)
    except ValueError:  # refused with a reason when the editor is built
        return []
    interpreter = Path(words[0]).name.startswith("python") if words else False
    return [path for path in map(Path, words[interpreter:]) if path.is_file()]


def _files_sha256(paths: Sequence[Path]) -> str | None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if len(digests) > 1 else next(iter(digests), None)


def _object_sha256(thing: object) -> str | None:
    subject = thing if isinstance(thing, types.FunctionType | types.MethodType) else type(thing)
    if (getattr(subject, "__module__", "") or "").partition(".")[0] == "editbench":
        return None
    try:
        text = inspect.getsource(subject)
    except (OSError, TypeError):  # typed at a prompt: no source is kept, but the compiled code is
        code = getattr(subject, "__code__", None)
        text = repr((code.co_code, code.co_names, [c for c in code.co_consts if not inspect.iscode(c)])) if code else ""
    return hashlib.sha256(text.encode()).hexdigest() if text else None
