"""Answers of judges, kept on disk: one file an answer, named by the hash of everything that it depends on.

They are kept in `EDITBENCH_CACHE`, or else where the machine keeps caches (`XDG_CACHE_HOME`, `~/.cache`): an answer
costs money, and a second one may differ from the first. Whatever a judge answered is kept, be it a refusal or nonsense:
to ask until an answer pleases is no measurement. What it did not answer (a lost connection, an error of the server) is
not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from editbench.metrics.features import CACHE
from editbench.metrics.judge_client import Reply
from editbench.records import dumps, loads


@dataclass(frozen=True)
class Answer:
    """A reply, and the day on which it was given."""

    reply: Reply
    date: str
    """ISO day, UTC."""


def folder() -> Path:
    """Return where answers are kept."""
    given = os.environ.get(CACHE)
    if given:
        return Path(given) / "judge"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "editbench" / "judge"


def key_of(question: Mapping[str, Any]) -> str:
    """Return the name of an answer: the hash of everything that was asked, and of whom."""
    return hashlib.sha256(dumps(question).encode()).hexdigest()


def recall(question: Mapping[str, Any]) -> Answer | None:
    """Return the answer that is kept for a question; None where there is none, or its file is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        data = loads(_path(question).read_bytes())
        entry = data["entry"]
        if data["sha256"] == _checksum(entry) and entry["question"] == question:
            return Answer(Reply(**entry["reply"]), entry["date"])
    return None


def keep(question: Mapping[str, Any], reply: Reply) -> Answer:
    """Keep a reply under today's date; where another process was first, return the answer that it kept."""
    answer = Answer(reply, datetime.now(UTC).date().isoformat())
    entry = {"question": question, **asdict(answer)}
    path = _path(question)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # a folder that cannot be written costs answers, not results
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(dumps({"entry": entry, "sha256": _checksum(entry)}).encode() + b"\n")
        other = recall(question)
        if other is not None:
            temporary.unlink()
            return other
        temporary.replace(path)
    return answer


def _path(question: Mapping[str, Any]) -> Path:
    key = key_of(question)
    return folder() / key[:2] / f"{key}.json"


def _checksum(entry: Any) -> str:
    return hashlib.sha256(dumps(entry).encode()).hexdigest()
