"""Names to components and back: a table of lazy paths, entry points, and "did you mean"."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from editbench.built_in import BUILT_IN, Kind
from editbench.specs import PYTHON_FILE, TOP_MODULE, Spec, SpecError, bracket, did_you_mean, parse, quote
from editbench.types import EditbenchError


def bare(default: Any = MISSING) -> Any:
    """Declare the dataclass field that is written first and without its name."""
    return field(default=default, metadata={"bare": True})


def nested(kind: Kind) -> Any:
    """Declare a dataclass field that holds another component, written as a nested spec."""
    return field(metadata={"kind": kind})


# ----------------------------------------------------------------------------------------- names to components

_names: dict[type, str] = {}
_objects: dict[int, tuple[object, str]] = {}
"""Components that are named themselves, by id; kept here, so that no other object gets that id."""
_paths: dict[str, str] = {}
"""The path of each module that was loaded from a file."""


def names(kind: Kind) -> dict[str, str]:
    """Return every known name of a kind with one line about it; plug-ins are named, not imported."""
    found = {name: entry.about for name, entry in BUILT_IN.get(kind, {}).items()}
    for point in _entry_points(kind):
        origin = f"plug-in {point.dist.name} {point.dist.version}" if point.dist else "plug-in"
        found.setdefault(point.name, origin)
    return found


def lookup(kind: Kind, name: str) -> Any:
    """Import what a name stands for.

    Raises:
        SpecError: if nothing has that name, or importing it fails; the message has the reason.
    """
    if name in BUILT_IN.get(kind, {}):
        module, _, attribute = BUILT_IN[kind][name].path.partition(":")
        thing = getattr(importlib.import_module(module), attribute)
    else:
        try:
            thing = _lookup_foreign(kind, name)
        except EditbenchError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything at import, or be a script
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise SpecError(f"{kind} {name!r} cannot be imported: {reason}") from error
    if isinstance(thing, type):
        _names[thing] = name
    else:
        _objects[id(thing)] = thing, name
    return thing


def _lookup_foreign(kind: Kind, name: str) -> Any:
    if PYTHON_FILE.fullmatch(name):
        path, _, attribute = name.rpartition(":")
        return _attribute(_load_file(Path(path)), attribute, name)
    for point in _entry_points(kind):
        if point.name == name:
            return point.load()
    module, _, attribute = name.rpartition(":")
    if module:
        return _attribute(importlib.import_module(module), attribute, name)
    file = name if name.endswith(".py") else f"{name}.py"
    hint = did_you_mean(name, names(kind)) or f": `editbench list {kind}s` shows all"
    if file == name or Path(file).is_file():
        hint = f": write {file}:NAME for what is called NAME in that file"
    raise SpecError(f"unknown {kind} {name!r}{hint}")


def _entry_points(kind: Kind) -> Iterator[importlib.metadata.EntryPoint]:
    yield from importlib.metadata.entry_points(group=f"editbench.{kind}s")


def comes_with_editbench(kind: Kind, name: str) -> bool:
    """Whether a component is part of this distribution, told from its name alone: nothing is imported."""
    if name in BUILT_IN.get(kind, {}):
        return True
    point = next((point for point in _entry_points(kind) if point.name == name), None)
    return point is not None and point.dist is not None and point.dist.name == "editbench"


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _load_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise SpecError(f"no file {str(path)!r}")
    resolved = path.resolve()
    name = f"editbench_file_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _paths[name] = str(path)
    sys.modules[name] = module  # dataclasses look their module up while it is being executed
    sys.path.append(str(resolved.parent))  # so that a file can import its neighbours; last, so that it hides nothing
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: types.ModuleType, attribute: str, name: str) -> Any:
    if not hasattr(module, attribute):
        public = [word for word in vars(module) if not word.startswith("_")]
        raise SpecError(f"{name.rpartition(':')[0]} has no {attribute!r}{did_you_mean(attribute, public)}")
    return getattr(module, attribute)


# ---------------------------------------------------------------------------------------- specs to components


def create(kind: Kind, spec: str) -> Any:
    """Build the component that a spec string describes.

    Raises:
        SpecError: for an unknown name or option, or a value of the wrong type.
    """
    parsed = _take_apart(kind, spec)
    thing = lookup(kind, parsed.name)
    if not isinstance(thing, type):
        if parsed.bare is not None or parsed.options:
            raise SpecError(f"{kind} {parsed.name!r} is a {type(thing).__name__} and takes no options")
        return thing
    arguments = _arguments(kind, parsed, thing)
    try:
        return thing(**arguments)
    except EditbenchError:
        raise
    except (TypeError, ValueError) as error:
        raise SpecError(f"{kind} {spec!r}: {error}") from error
    except Exception as error:  # a foreign constructor finds no weights, no accelerator, …
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpecError(f"{kind} {spec!r}: {reason}") from error


def _take_apart(kind: Kind, text: str) -> Spec:
    parsed, match = parse(text), TOP_MODULE.fullmatch(text)
    if match is None or parsed.name in names(kind) or not _importable(match["module"]):
        return parsed
    return parse(text, top_module=True)


def _importable(module: str) -> bool:
    try:
        return module != "__main__" and importlib.util.find_spec(module) is not None
    except ValueError:  # made at run time: another process could not import it
        return False


def _arguments(kind: Kind, parsed: Spec, cls: type) -> dict[str, Any]:
    known = {f.name: f for f in fields(cls) if f.init} if is_dataclass(cls) else {}
    if not is_dataclass(cls) and (parsed.options or parsed.bare is not None):
        refused = parsed.bare if parsed.bare is not None else min(parsed.options)
        raise SpecError(f"{kind} {parsed.name!r} has no option {refused!r}: options are the fields of a dataclass")
    given = dict(parsed.options)
    if parsed.bare is not None:
        first = next((f.name for f in known.values() if f.metadata.get("bare")), None)
        if first in given:
            raise SpecError(f"{kind} {parsed.name!r} has option {first!r} twice: {parsed.bare!r} and {given[first]!r}")
        if first is None:
            hint = did_you_mean(parsed.bare, known)
            raise SpecError(f"{kind} {parsed.name!r} has no bare option {parsed.bare!r}, expected option=value{hint}")
        given[first] = parsed.bare
    arguments = {}
    for option, text in given.items():
        if option not in known:
            options = ", ".join(known) or "none"
            hint = did_you_mean(option, known) or f" (it has: {options})"
            raise SpecError(f"{kind} {parsed.name!r} has no option {option!r}{hint}")
        arguments[option] = _convert(known[option], _hint(cls, known[option]), text, f"{kind} {parsed.name!r}")
    missing = [f.name for f in known.values() if _default(f) is MISSING and f.name not in arguments]
    if missing:
        raise SpecError(f"{kind} {parsed.name!r} needs {', '.join(missing)}: {_usage(parsed.name, known)}")
    return arguments


def _hint(cls: type, f: Field[Any]) -> Any:
    """Resolve one annotation; others may name what only a type checker imports."""
    holder = types.SimpleNamespace(__annotations__={f.name: f.type})
    owners = [base for base in cls.__mro__ if vars(base).get("__dataclass_fields__", {}).get(f.name) is f]
    return typing.get_type_hints(holder, globalns=vars(sys.modules[owners[-1].__module__]))[f.name]


def _usage(name: str, known: Mapping[str, Field[Any]]) -> str:
    required = [f for f in known.values() if _default(f) is MISSING]
    required.sort(key=lambda f: not f.metadata.get("bare"))
    parts = [f.name.upper() if f.metadata.get("bare") else f"{f.name}=…" for f in required]
    return f"write {name}:{','.join(parts)}"


def _default(f: Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _convert(f: Field[Any], hint: Any, text: str, owner: str) -> Any:
    if "kind" in f.metadata:
        return create(f.metadata["kind"], text)
    accepted = _alternatives(hint)
    if type(None) in accepted and text == "none":
        return None
    choices = {_format(value): value for kind in accepted for value in _choices(kind)}
    if text in choices:
        return choices[text]
    for kind in accepted:
        try:
            if kind is bool:
                return {"true": True, "false": False}[text]
            if kind is int or kind is float:
                number = kind(text)
                if kind is float and not -1e308 < number < 1e308:
                    raise ValueError
                return number
            if kind in (str, Path):
                return kind(text)
        except (ValueError, KeyError):
            continue
    words = {bool: "true or false", int: "a whole number", float: "a finite number", type(None): "none"}
    if choices:
        words |= {kind: "one of " + ", ".join(map(_format, _choices(kind))) for kind in accepted if _choices(kind)}
    expected = " or ".join(words.get(kind, str(kind)) for kind in accepted)
    raise SpecError(f"{owner}: {f.name}={text!r}, expected {expected}{did_you_mean(text, choices)}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _choices(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def spec_of(component: Any) -> str:
    """Return the canonical spec string of a component; the inverse of `create`.

    Options at their default are left out, `region` is always written.
    """
    given = getattr(component, "spec", None)
    if isinstance(given, str):
        return given
    named = _objects.get(id(component))
    return written_spec(component) if named is None else named[1]


def written_spec(component: Any, name: str | None = None) -> str:
    """Return a spec made of a component's name (by default the one it was looked up by) and its fields."""
    cls = type(component)
    name = name or _names.get(cls)
    if name is None:
        name = python_name(cls)
        for entries in BUILT_IN.values():
            for built_in, entry in entries.items():
                if entry.path == name:
                    name = built_in
    parts = []
    for f in fields(cls) if is_dataclass(cls) else ():
        value = getattr(component, f.name)
        if not f.init or (value == _default(f) and f.name != "region"):
            continue
        if type(value) is int and float in (kinds := _alternatives(_hint(cls, f))) and int not in kinds:
            value = float(value)  # one spelling, whether it came from text or from Python
        text = spec_of(value) if "kind" in f.metadata else _format(value)
        written = quote(text) if "kind" not in f.metadata else _bracket(text)
        parts.append((not f.metadata.get("bare"), written if f.metadata.get("bare") else f"{f.name}={written}"))
    parts.sort(key=lambda part: part[0])
    return f"{name}:{','.join(text for _, text in parts)}" if parts else name


def python_name(thing: Any) -> str:
    """Return where Python code is: `module:name`, or `path.py:name`; of an object, that of its class."""
    code = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{_paths.get(code.__module__, code.__module__)}:{code.__qualname__}"


def _bracket(text: str) -> str:
    return bracket(text) if any(character in text for character in ":,[]") else text


def _format(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
