"""What cannot be trusted any more: moved into `quarantine/` of its run and named, so that it can be made again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from editbench import journal
from editbench.claims import Claim
from editbench.durable import StorageError, sha256_of, storing, sync_folder, write_whole
from editbench.journal import Look
from editbench.types import EditbenchError

FOLDER = "quarantine"


def move_aside(root: Path, path: Path) -> Path | None:
    """Move a file of a run into its quarantine; return where it is now, or None if another process has moved it.

    Raises:
        StorageError: if it cannot be moved.
    """
    target = _free(root / FOLDER, path.name)
    with storing(f"move {path} aside"):
        target.parent.mkdir(exist_ok=True)
        try:
            path.replace(target)
        except FileNotFoundError:
            return None
        sync_folder(target.parent)
    return target


def mend(root: Path, shard: str, others: bool = True) -> tuple[list[str], dict[Path, Look]]:
    """Move aside what is damaged in the journals and the records of a run.

    Journals that other processes are writing are left to them.

    Args:
        root: the run directory.
        shard: which the caller has claimed.
        others: whether to look at the journals of other shards.

    Returns:
        What was done, one line each; and the journals as they are now.

    Raises:
        StorageError: if something cannot be moved.
    """
    notices, folder = [], root / "journal"
    with storing(f"read {folder}"):
        seen = journal.looks(folder)
    for path, found in seen.items():
        if not found.damaged:
            continue
        with contextlib.ExitStack() as held:
            if path.stem != shard:
                if not others:
                    continue
                try:
                    held.callback(Claim(folder, path.stem).release)
                except StorageError:
                    raise
                except EditbenchError:
                    continue
            notices.append(_mend_journal(root, path, journal.look(path)))
            seen[path] = journal.look(path)
    records = root / "records.jsonl"
    known = {sha256 for found in seen.values() for sha256 in found.records}
    if known and records.exists() and not _was_written(records, known) and (target := move_aside(root, records)):
        notices.append(f"{records} is not what was written: moved to {target}, and written again")
    return notices, seen


def _was_written(records: Path, known: set[str]) -> bool:
    """Whether a record file is one of those that are known, or that another shard has written meanwhile."""
    sha256 = sha256_of(records)
    return sha256 in known or sha256 in journal.records_written(records.parent / "journal")


def _mend_journal(root: Path, path: Path, found: Look) -> str:
    """Move the damaged lines of a journal aside. A torn end is none of them: it was never finished."""
    target, damaged = _free(root / FOLDER, path.name), {*found.damaged}
    for place, moved in ((target, True), (path, False)):
        with storing(f"read {path}"), path.open("rb") as file:
            lines = enumerate(journal.lines(file, found.intact_bytes))
            write_whole(place, (line for number, (_, line) in lines if (number in damaged) == moved))
    numbers = ", ".join(str(number + 1) for number in found.damaged[:5]) + (", …" if len(damaged) > 5 else "")
    what = "line" if len(damaged) == 1 else "lines"
    return f"{path}: damaged {what} {numbers} moved to {target}; what they held is done again"


def _free(folder: Path, name: str) -> Path:
    number = 1
    while (path := folder / (name if number == 1 else f"{name}.{number}")).exists():
        number += 1
    return path
