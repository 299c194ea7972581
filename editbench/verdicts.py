"""Verdicts: what `editbench verify` found of a record file, kept beside it, and shown by the board."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from editbench.records import dumps, loads
from editbench.types import EditbenchError

Level = Literal["self-reported", "recomputed", "regenerated"]

SUFFIXES = (".jsonl", ".jsonl.gz")
"""Of record files."""
OF_RUN = "verdict.json"
OF_RECORDS = ".verdict.json"
"""How the file of a verdict is called: in a run directory, and after the name of a record file without its suffix."""


@dataclass(frozen=True)
class Verdict:
    """What a verification found."""

    level: Level
    """`recomputed`: every value of every edit was computed again; `regenerated`: and edits were made again."""
    records_sha256: str
    """Hash of the uncompressed record file that the verdict is about: it says nothing of any other."""
    editbench: str
    """Version that verified."""
    beacon: str
    """The text that decided what was scored and made again."""
    cells: int
    """(Scenario, repeat) whose files and facts were compared: all of them."""
    recomputed: int
    """Of these, how many were scored again."""
    regenerated: int = 0
    """Of these, how many were edited again, with their own seed and with one that the beacon drew."""
    problems: tuple[str, ...] = ()
    """What is not as it should be, one line each; empty if the run stands."""
    remarks: tuple[str, ...] = ()
    """What breaks nothing and a reader should know."""

    def line(self) -> bytes:
        """Return the content of its file."""
        return dumps(asdict(self)).encode() + b"\n"


def level_of(verdict: Verdict | None) -> Level:
    """Return what a board says of a run: what it reports of itself, unless there is a verdict."""
    return "self-reported" if verdict is None else verdict.level


def path_of(records: Path) -> Path:
    """Return where the verdict of a record file is, or that of a run directory."""
    if records.is_dir():
        return records / OF_RUN
    suffix = next((suffix for suffix in reversed(SUFFIXES) if records.name.endswith(suffix)), "")
    return records.with_name(records.name.removesuffix(suffix) + OF_RECORDS)


def read_verdicts(paths: Iterable[Path]) -> dict[str, Verdict]:
    """Return the verdicts that are kept beside record files and in run directories, by the hash of their records.

    Raises:
        EditbenchError: for a file that holds none, naming it.
    """
    return {verdict.records_sha256: verdict for path in paths for verdict in _beside(path)}


def _beside(records: Path) -> Iterator[Verdict]:
    path = path_of(records)
    if not path.is_file():
        return
    from pydantic import ValidationError

    try:
        verdict: Verdict = _type().validate_json(dumps(loads(path.read_bytes())), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EditbenchError(f"{path}: no verdict ({where}: {first['msg']}): verify again with --write") from None
    except ValueError as error:
        raise EditbenchError(f"{path}: malformed JSON ({error}): verify again with --write") from None
    if verdict.problems and verdict.level != "self-reported":
        raise EditbenchError(f"{path}: {verdict.level}, but with problems: verify again with --write")
    yield verdict


@cache
def _type() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Verdict)
