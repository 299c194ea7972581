"""Turns HATIE's pickles into the JSON lines that `hatie:PATH` reads: `python -m editbench.convert_hatie FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from editbench.durable import write_whole
from editbench.records import dumps
from editbench.regions import Mask
from editbench.specs import did_you_mean
from editbench.suites.hatie import CONVERTED
from editbench.suites.runs import Runs, encode_runs
from editbench.suites.unpickle import PickledArray, read_pickle
from editbench.types import EditbenchError

MASKS = "editable_objs_mask.pkl"
QUERIES = "queries_wo_remove.pkl"
"""What the authors' scripts read unless told otherwise."""


def convert(folder: Path, queries: str = QUERIES) -> Path:
    """Write one JSON line for every picture, with its objects and its queries; return the path of the file.

    Args:
        folder: where the pickles are, at any depth; the file is written here.
        queries: name of the pickle of queries: `queries_wo_remove.pkl` or `queries_w_remove.pkl`.

    Raises:
        EditbenchError: naming the file and what is missing, refused or of another shape than HATIE's.
    """
    lines = _lines(_find(folder, MASKS), _find(folder, queries))
    write_whole(folder / CONVERTED, (dumps(line).encode() + b"\n" for line in lines))
    return folder / CONVERTED


def _lines(masks: Path, queries: Path) -> Iterator[dict[str, Any]]:
    asked = read_pickle(queries)
    if not isinstance(asked, dict):
        raise EditbenchError(f"{queries}: {type(asked).__name__}, expected a dict of lists of queries")
    pictures = read_pickle(masks)
    for number, picture in enumerate(pictures if isinstance(pictures, list) else [None]):
        where = f"{masks}: entry {number}"
        if not isinstance(picture, dict) or not isinstance(picture.get("editable_objs"), dict):
            raise EditbenchError(f"{where}: expected a list of dicts with 'image' and 'editable_objs'")
        image = picture.get("image")
        if image in asked:
            masks_by_id = {
                str(name): _mask(value, f"{where}: object {name!r}") for name, value in picture["editable_objs"].items()
            }
            if len({mask.shape for mask in masks_by_id.values()}) != 1:
                raise EditbenchError(f"{where}: {image!r} has no objects, or objects of several sizes")
            yield {
                "image": str(image),
                "objects": {name: _part(mask) for name, mask in masks_by_id.items()},
                "background": _part(~np.logical_or.reduce([*masks_by_id.values()])),
                "queries": _plain(asked.pop(image), f"{queries}: {image!r}"),
            }
    if asked:
        raise EditbenchError(f"{queries}: {next(iter(asked))!r}, a picture that {masks.name} does not have")


def _mask(value: Any, where: str) -> Mask:
    if not isinstance(value, dict) or "mask" not in value:
        raise EditbenchError(f"{where}: expected a dict with 'mask'")
    stored = value["mask"]
    try:
        mask = stored.array if isinstance(stored, PickledArray) else np.asarray(stored)
        if mask.ndim == 2 and np.isin(mask, (0, 1)).all():
            return mask.astype(np.bool_)
        found = f"an array of shape {mask.shape} and type {mask.dtype}"
    except ValueError:
        found = f"a ragged {type(stored).__name__}"
    raise EditbenchError(f"{where}: mask is {found}, expected rows of 0 and 1")


def _part(mask: Mask) -> Runs:
    return {"size": [*mask.shape], "runs": encode_runs(mask)}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}: {key!r}") for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, where) for inner in value]
    if isinstance(value, PickledArray):
        return value.array.tolist()
    if value is None or isinstance(value, str | int | float):
        return value
    raise EditbenchError(f"{where}: {type(value).__name__}, which JSON has no word for")


def _find(folder: Path, name: str) -> Path:
    pickles = {path.name: path for path in sorted(folder.rglob("*.pkl"))}
    if name not in pickles:
        raise EditbenchError(f"no {name} below {folder}{did_you_mean(name, pickles)}")
    return pickles[name]


def main() -> None:
    """Convert what the command line names; exit code 2 with one line if that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m editbench.convert_hatie", description=__doc__)
    parser.add_argument("folder", type=Path, help="where HATIE's pickles are")
    parser.add_argument("--queries", default=QUERIES, help="name of the pickle of queries (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        sys.stdout.write(f"{convert(arguments.folder, arguments.queries)}\n")
    except EditbenchError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
