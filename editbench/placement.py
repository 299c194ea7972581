"""Which process an editor runs in: ours run here, everybody else's code in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from editbench.editors import load_editor
from editbench.isolation import Worker
from editbench.limits import Limits
from editbench.registry import comes_with_editbench, spec_of
from editbench.specs import bracket, parse, quote
from editbench.types import Answers, AnyEditor, Composite, EditbenchError, Editor


def place_editor(editor: str | AnyEditor | Callable[..., object], isolate: bool | None, limits: Limits) -> AnyEditor:
    """Load an editor where it is to run: in this process, or as a `Worker`.

    By default that is a worker for third-party code named by a spec: whatever comes neither with editbench nor with
    edit_grpo_ref, that is `path.py:Name`, `module:Name` and plug-ins. It is never imported here, so that nothing that
    it does, at import or later, can reach this process. Objects and functions that are given as such run here, unless
    a worker is asked for: they may hold what cannot be rebuilt. A composite of ours (`paste`) stays here in any case,
    and so do finished images; the editor inside a composite is placed on its own.

    Args:
        editor: a spec string, an editor object or a function.
        isolate: True or False to force a worker or this process, None for the default.
        limits: of a worker; a timeout and a memory limit need one.

    Raises:
        EditbenchError: if it cannot be loaded, or not where it is asked for.
    """
    limited = limits.timeout is not None or limits.memory is not None
    if isolate is False:
        if limited:
            name = "memory_limit" if limits.timeout is None else "timeout"
            raise EditbenchError(f"{name}: it is enforced by killing a process, which --no-isolate rules out")
        return load_editor(editor)
    if isinstance(editor, str):
        inner = innermost(editor)
        if is_third_party(inner):
            worker = Worker(inner, limits)
            if worker.kind == "editor":
                return _around(editor, worker)
            worker.close()  # a composite of somebody's own: it needs the scenario, which only this process has
            loaded = load_editor(editor)
            leaf = leaf_of(loaded)
            return loaded if isinstance(leaf, Answers) else _with_leaf(loaded, Worker(spec_of(leaf), limits))
    loaded = load_editor(editor)
    leaf = leaf_of(loaded)
    if isinstance(leaf, Answers) or not (isolate or limited):
        return loaded
    return _with_leaf(loaded, Worker(spec_of(leaf), limits))


def is_third_party(spec: str) -> bool:
    """Whether a spec names code that is not part of this distribution."""
    return not comes_with_editbench("editor", parse(spec).name)


def innermost(spec: str) -> str:
    """Return the spec of the editor inside composites of ours: of `paste:editor=[mine.py:edit]`, `mine.py:edit`."""
    parsed = parse(spec)
    inner = parsed.options.get("editor")
    return spec if inner is None or is_third_party(spec) else innermost(inner)


def leaf_of(editor: AnyEditor) -> Editor | Answers:
    """Return the editor that makes the images: the innermost one of a composite."""
    return leaf_of(editor.editor) if isinstance(editor, Composite) else editor


def is_isolated(editor: AnyEditor) -> bool:
    """Whether an editor, or the one that it is made of, runs in a worker process."""
    return isinstance(leaf_of(editor), Worker)


def _around(spec: str, worker: Worker) -> AnyEditor:
    """Build the composites of a spec around a worker, without importing what the worker has."""
    parsed = parse(spec)
    inner = parsed.options.get("editor")
    if inner is None or is_third_party(spec):
        return worker
    stand_in = {name: quote(text) for name, text in parsed.options.items()} | {"editor": bracket("identity")}
    first = [] if parsed.bare is None else [quote(parsed.bare)]
    options = ",".join([*first, *(f"{name}={text}" for name, text in stand_in.items())])
    composite = load_editor(f"{parsed.name}:{options}")
    return replace(composite, editor=_around(inner, worker))  # type: ignore[type-var]


def _with_leaf(editor: AnyEditor, leaf: Worker) -> AnyEditor:
    if not isinstance(editor, Composite):
        return leaf
    return replace(editor, editor=_with_leaf(editor.editor, leaf))  # type: ignore[type-var]
