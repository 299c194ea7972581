"""The lines of a journal: one checksummed event each, in sessions of writing that are numbered over all shards."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from editbench.names import SHA256, shown
from editbench.reading import LINE_BYTES
from editbench.records import InvalidRecords, dumps, loads, record_from_json, value_from_json
from editbench.types import Record

_HEAD, _MIDDLE, _END = b'{"sum":"', b'","event":', b"}\n"
_SUM = slice(len(_HEAD), len(_HEAD) + 16)
_EVENT = slice(_SUM.stop + len(_MIDDLE), -len(_END))

_OPENING = re.compile(rb'\{"session":(\d{1,9}),"type":"open"\}')
_RECORDS = re.compile(rb'\{"sha256":"([0-9a-f]{64})","type":"records"\}')
_OPENING_END, _RECORDS_END = b'"type":"open"}', b'"type":"records"}'

_ID = rb'"scenario_id":"([ !#-\[\]-~]+)"'
_EDIT_END = b'"type":"edit"}'
_REPEAT = b',"repeat":'
_EDIT = re.compile(rb',"repeat":(\d{1,9}),"restarts":\d+,' + _ID)
_SCORE = re.compile(rb'\{"of":"[^"\\]*","repeat":(\d{1,9}),' + _ID + rb',"signed":"[^"\\]*","type":"score","values":')
"""How they are written; a quotation mark within a text would be escaped."""

_EDIT_NAMES = tuple(f.name for f in fields(Record) if f.name != "values")


# ----------------------------------------------------------------------------------------------------- writing


def signed(signatures: Mapping[str, str]) -> str:
    """Return what scores call the signatures that they were made with, those of a `start` event."""
    return checksum(dumps(signatures).encode())


def opening(seen: Mapping[Path, Look]) -> dict[str, Any]:
    """Return the event with which the next session begins."""
    return {"type": "open", "session": 1 + max((n for known in seen.values() for n, _ in known.sessions), default=0)}


def line(event: Mapping[str, Any]) -> bytes:
    """Return an event as a line with its checksum."""
    text = dumps(event).encode()
    return b"".join((_HEAD, checksum(text).encode(), _MIDDLE, text, _END))


def checksum(text: bytes) -> str:
    """Return the first 16 hex digits of a text's sha256: enough against accidents, nothing against intent."""
    return hashlib.sha256(text).hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Look:
    """What the lines of a journal tell without being parsed."""

    intact_bytes: int
    """How much of the file to keep: all but a last line that was torn by a crash."""
    damaged: tuple[int, ...]
    """Which lines before that are not what was written, counted from 0."""
    sessions: tuple[tuple[int, int], ...]
    """(number, where its first line begins), in the order of the file."""
    records: frozenset[str]
    """The hashes of the record files that were compacted from it."""


def look(path: Path) -> Look:
    """Look at every line of a journal; one is in memory at a time."""
    sessions, damaged, records = [(0, 0)], [], set()
    intact, torn = 0, False
    with path.open("rb") as file:
        for number, (offset, text) in enumerate(lines(file, os.fstat(file.fileno()).st_size)):
            if not text.endswith(b"\n") and len(text) < LINE_BYTES:
                break
            if torn:
                damaged.append(number - 1)
                intact = offset  # it is kept until it is moved aside
            event = event_text(text)
            torn = event is None
            if event is None:
                continue
            intact = offset + len(text)
            if event.endswith(_OPENING_END) and (opening := _OPENING.fullmatch(event)):
                sessions.append((int(opening[1]), offset))
            elif event.endswith(_RECORDS_END) and (written := _RECORDS.fullmatch(event)):
                records.add(written[1].decode())
    return Look(intact, tuple(damaged), tuple(sessions), frozenset(records))


def looks(folder: Path) -> dict[Path, Look]:
    """Look at the journals of all shards."""
    return {path: look(path) for path in sorted(folder.glob("*.jsonl"))}


def records_written(folder: Path) -> frozenset[str]:
    """Return the hashes of every record file that was compacted from the journals of a run."""
    found = set()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for _, text in lines(file, os.fstat(file.fileno()).st_size):
                if text.endswith(_RECORDS_END + _END) and (event := event_text(text)) is not None:
                    found |= {sha256.decode() for sha256 in _RECORDS.findall(event)}
    return frozenset(found)


def located(seen: Mapping[Path, Look]) -> Iterator[tuple[Path, int, bytes]]:
    """Yield the events of journals but for openings, unparsed, each with its file and where its line begins.

    They come session by session, in the order in which those began.

    Raises:
        InvalidRecords: for a damaged line that is not the torn end of a journal.
    """
    spans = []
    for path, known in seen.items():
        if known.damaged:
            raise InvalidRecords(
                f"{path}:{known.damaged[0] + 1}: damaged journal line (its checksum does not match): issue the "
                "command of the run again, which moves it aside and does its work again"
            )
        ends = [offset for _, offset in known.sessions[1:]]
        for (session, start), end in zip(known.sessions, [*ends, known.intact_bytes], strict=True):
            spans.append((session, path, start, end))
    for _, path, start, end in sorted(spans):
        with path.open("rb") as file:
            file.seek(start)
            for offset, text in lines(file, end - start):
                if not text.endswith(_OPENING_END + _END):
                    yield path, start + offset, text[_EVENT]


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of every shard's journal. Order and errors as of `located`, and of `parsed`."""
    return (parsed(path, raw) for path, _, raw in located(looks(folder)))


def parsed(path: Path, raw: bytes, checked: bool = True) -> dict[str, Any]:
    """Return an event.

    Args:
        path: of the journal.
        raw: what its line says.
        checked: whether to look at more than that it is JSON.

    Raises:
        InvalidRecords: naming the file, if it is none that is ever written.
    """
    try:
        event = loads(raw)
    except ValueError as error:
        raise InvalidRecords(f"{path}: a line whose checksum is right and which is no JSON ({error})") from error
    if checked and not _is_known(event):
        raise InvalidRecords(f"{path}: its checksum is right, but {shown(event)} is no event of a journal")
    known: dict[str, Any] = event
    return known


def subject(path: Path, raw: bytes) -> tuple[str, str, int] | None:
    """Return type, scenario id and repeat of an edit or a score, found without parsing it; None for other events.

    Raises:
        InvalidRecords: as `parsed` does, if it has to be parsed, for it is not as we write it.
    """
    is_edit = raw.endswith(_EDIT_END)
    if found := _EDIT.match(raw, raw.find(_REPEAT)) if is_edit else _SCORE.match(raw):
        return "edit" if is_edit else "score", found[2].decode(), int(found[1])
    event = parsed(path, raw)
    return (event["type"], event["scenario_id"], event["repeat"]) if "repeat" in event else None


def event_text(text: bytes) -> bytes | None:
    """Return what a line says, unparsed; None if it is not what was written."""
    if not (text.startswith(_HEAD) and text.endswith(_END) and text[_SUM.stop : _EVENT.start] == _MIDDLE):
        return None
    event = text[_EVENT]
    return event if text[_SUM] == checksum(event).encode() else None


def lines(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of the next `size` bytes, each with where it begins; another process may be appending more."""
    offset = 0
    while offset < size and (text := file.readline(min(LINE_BYTES, size - offset))):
        yield offset, text
        offset += len(text)


def _is_known(event: Any) -> bool:
    """Whether an event is one of those that are written."""
    try:
        match event:
            case {"type": "open", "session": int() as session}:
                return 0 < session < 10**9
            case {"type": "start", "signatures": dict() as signatures}:
                return all(isinstance(signature, str) for signature in signatures.values())
            case {"type": "edit"}:
                record_from_json({**{name: event[name] for name in _EDIT_NAMES}, "values": {}})
                return True
            case {"type": "records", "sha256": str() as sha256}:
                return SHA256.fullmatch(sha256) is not None
            case {
                "type": "score",
                "scenario_id": str(),
                "repeat": int(),
                "of": str(),
                "signed": str(),
                "values": dict() as values,
            }:
                return all(value_from_json(value) is not None for value in values.values())
    except (ValueError, KeyError):
        return False
    return False
