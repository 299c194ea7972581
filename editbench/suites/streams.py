"""Reading JSON files that are larger than memory should be: one item at a time, checked as strictly as small ones."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from editbench.names import shown
from editbench.records import dumps
from editbench.suites.manifests import Item, checked, no_file
from editbench.types import EditbenchError


def read_items(path: Path, prefix: str = "item") -> Iterator[tuple[str, Any]]:
    """Yield `(FILE: LIST NUMBER, value)` for every item of a list in a JSON file; numbers count from 0.

    Memory holds one item at a time. A byte order mark and any line ends are accepted; duplicate keys inside an item
    and non-finite numbers are not.

    Args:
        path: the file.
        prefix: which list: `item` where the file is one, `annotations.item` for a list under that key.

    Raises:
        EditbenchError: naming file and item.
    """
    import ijson

    number, twice = 0, list[str]()
    name = prefix.removesuffix(".item")

    class Object(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if key in self:
                twice.append(key)  # an exception from here would be lost in the parser
            super().__setitem__(key, value)

    try:
        with path.open("rb") as file:
            _skip_mark(file)
            for value in ijson.items(file, prefix, use_float=True, map_type=Object, buf_size=1 << 20):
                if twice:
                    raise ValueError(f"duplicate key {shown(twice[0])}")
                dumps(value).encode()  # what is nested too deeply, or is no text, is found here
                yield f"{path}: {name} {number}", value
                number += 1
        if not number:
            raise ValueError("no item, expected a list of them")
    except FileNotFoundError:
        raise no_file(path) from None
    except RecursionError:
        raise EditbenchError(f"{path}: {name} {number}: malformed JSON (nested too deeply)") from None
    except (ValueError, ijson.JSONError) as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        reason = " ".join(said.partition("(right here)")[0].split())
        raise EditbenchError(f"{path}: {name} {number}: malformed JSON ({reason})") from None
    except OSError as error:
        raise EditbenchError(f"{path} cannot be read: {error.strerror}") from None


def read_checked(path: Path, prefix: str, schema: type[Item]) -> Iterator[Item]:
    """Yield the items of a list as `checked` gives them; the first that is wrong raises."""
    return (checked(schema, value, where) for where, value in read_items(path, prefix))


def _skip_mark(file: IO[bytes]) -> None:
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
