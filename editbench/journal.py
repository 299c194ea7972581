"""The lines of a journal: one checksummed event each, in sessions of writing that are numbered over all shards."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from editbench.names import SHA256, shown
from editbench.records import InvalidRecords, dumps, loads, record_from_json, value_from_json
from editbench.types import Record

_OPENING = re.compile(rb'"event":\{"session":(\d{1,9}),"type":"open"\}\}\n')


_RECORDS = re.compile(rb'"event":\{"sha256":"([0-9a-f]{64})","type":"records"\}\}\n')


def opening(folder: Path) -> dict[str, Any]:
    """Return the event with which the next session begins."""
    sessions = [int(n) for path in folder.glob("*.jsonl") for n in _OPENING.findall(path.read_bytes())]
    return {"type": "open", "session": max(sessions, default=0) + 1}


def records_written(folder: Path) -> set[str]:
    """Return the hashes of every record file that was compacted from these journals."""
    return {sha256.decode() for path in folder.glob("*.jsonl") for sha256 in _RECORDS.findall(path.read_bytes())}


def signed(signatures: Mapping[str, str]) -> str:
    """Return what scores call the signatures that they were made with, those of a `start` event."""
    return checksum(dumps(signatures))


def line(event: Mapping[str, Any]) -> bytes:
    """Return an event as a line with its checksum."""
    text = dumps(event)
    return f'{{"sum":"{checksum(text)}","event":{text}}}\n'.encode()


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of every shard's journal, session by session in the order in which they began.

    Raises:
        InvalidRecords: for a damaged line that is not the torn end of a journal.
    """
    journals = map(_events_of, sorted(folder.glob("*.jsonl")))
    return (event for _, event in heapq.merge(*journals, key=lambda pair: pair[0]))


def intact_length(data: bytes) -> int:
    """Return how many bytes of a journal to keep: all but a last line that was torn by a crash."""
    end = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
    if end and _event(data[last : end - 1]) is None:
        return last
    return end


def is_intact(text: bytes) -> bool:
    """Whether a line of a journal is what was written."""
    return _event(text) is not None


def _events_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    data = path.read_bytes()  # once: another process may be appending
    session = 0
    for number, text in enumerate(data[: intact_length(data)].splitlines(), start=1):
        event = _event(text)
        if event is None:
            raise InvalidRecords(
                f"{path}:{number}: damaged journal line (its checksum does not match): issue the command of the run "
                "again, which moves it aside and does its work again"
            )
        if not _is_known(event):
            raise InvalidRecords(f"{path}:{number}: its checksum is right, but {shown(event)} is no event of a journal")
        if event["type"] == "open":
            session = event["session"]
        else:
            yield session, event


def _event(text: bytes) -> dict[str, Any] | None:
    try:
        data = loads(text)
        event: dict[str, Any] = data["event"]
        return event if data["sum"] == checksum(dumps(event)) else None
    except (ValueError, KeyError, TypeError):
        return None


def _is_known(event: Any) -> bool:
    """Whether an event is one of those that are written."""
    try:
        match event:
            case {"type": "open", "session": int() as session}:
                return 0 < session < 10**9
            case {"type": "start", "signatures": dict() as signatures}:
                return all(isinstance(signature, str) for signature in signatures.values())
            case {"type": "edit"}:
                names = [f.name for f in fields(Record) if f.name != "values"]
                record_from_json({**{name: event[name] for name in names}, "values": {}})
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


def checksum(text: str) -> str:
    """Return the first 16 hex digits of a text's sha256: enough against accidents, nothing against intent."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
