"""What cannot be trusted any more: moved into `quarantine/` of its run and named, so that it can be made again."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from editbench import journal
from editbench.claims import Claim
from editbench.durable import StorageError, storing, sync_folder, write_whole
from editbench.types import EditbenchError

FOLDER = "quarantine"


def move_aside(root: Path, path: Path) -> Path:
    """Move a file of a run into its quarantine; return where it is now.

    Raises:
        StorageError: if it cannot be moved.
    """
    target = _free(root / FOLDER, path.name)
    with storing(f"move {path} aside"):
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        sync_folder(target.parent)
    return target


def mend(root: Path, shard: str, others: bool = True) -> list[str]:
    """Move aside what is damaged in the journals and the records of a run; return what was done, one line each.

    Journals that other processes are writing are left to them.

    Args:
        root: the run directory.
        shard: which the caller has claimed.
        others: whether to look at the journals of other shards.

    Raises:
        StorageError: if something cannot be moved.
    """
    folder, notices = root / "journal", []
    for path in sorted(folder.glob("*.jsonl")):
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
            notices.append(_mend_journal(root, path))
    records, known = root / "records.jsonl", journal.records_written(folder)
    if known and records.exists() and hashlib.sha256(records.read_bytes()).hexdigest() not in known:
        target = move_aside(root, records)
        notices.append(f"{records} is not what was written: moved to {target}, and written again")
    return [notice for notice in notices if notice]


def _mend_journal(root: Path, path: Path) -> str | None:
    """Move the damaged lines of a journal aside. A torn end is none of them: it was never finished."""
    with storing(f"read {path}"):
        data = path.read_bytes()
    lines = data[: journal.intact_length(data)].splitlines(keepends=True)
    intact = [journal.is_intact(line) for line in lines]
    damaged = [number for number, good in enumerate(intact) if not good]
    if not damaged:
        return None
    target = _free(root / FOLDER, path.name)
    write_whole(target, [lines[number] for number in damaged])
    write_whole(path, [line for line, good in zip(lines, intact, strict=True) if good])
    numbers = ", ".join(str(number + 1) for number in damaged[:5]) + (", …" if len(damaged) > 5 else "")
    what = "line" if len(damaged) == 1 else "lines"
    return f"{path}: damaged {what} {numbers} moved to {target}; what they held is done again"


def _free(folder: Path, name: str) -> Path:
    number = 1
    while (path := folder / (name if number == 1 else f"{name}.{number}")).exists():
        number += 1
    return path
