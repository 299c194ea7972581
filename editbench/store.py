"""A run directory: an append-only journal, one PNG per distinct edit, and the records compacted from them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editbench import journal
from editbench.cells import Cell, Key
from editbench.claims import Claim
from editbench.differences import changed_fields
from editbench.durable import sha256_of, storing, sweep, write_whole
from editbench.edit_files import EditFiles
from editbench.heartbeats import Heartbeat
from editbench.journal import Look
from editbench.ledger import Ledger
from editbench.mirrors import mirror_of
from editbench.quarantine import FOLDER, mend
from editbench.reading import JSON_BYTES, TooMuch, read_limited
from editbench.record_files import RecordFile, file_of, format_records, read_records
from editbench.records import (
    Header,
    InvalidRecords,
    dumps,
    loads,
)
from editbench.types import EditbenchError


class RunStore:
    """Reads and writes one run directory (`runs/<name>/`).

    Args:
        path: the directory; created on the first write. Or the address of one in an object store, `s3://…`.

    Raises:
        EditbenchError: for an address of which the protocol lacks a guarantee.
        StorageError: for an address that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._mirror = mirror_of(path)
        self.path = path.absolute() if self._mirror is None else self._mirror.folder  # an editor may change directory
        self.records_path = self.path / "records.jsonl"
        self.notices: list[str] = []
        """What became of damaged files, and what else a user should know; one line each."""
        self.edits = EditFiles(self.path, self._mirror, self.notices)
        self._journal: Any = None
        self._opening: list[dict[str, Any]] = []
        self._seen: dict[Path, Look] = {}
        """The journals, when this shard was opened."""
        self._claim: Claim | Heartbeat | None = None

    # ------------------------------------------------------------------------------------------------ run.json

    def read_run(self) -> dict[str, Any]:
        """Return run.json.

        Raises:
            InvalidRecords: if it is missing or malformed.
        """
        path = self.path / "run.json"
        if not path.is_file():
            raise InvalidRecords(f"no run in {self.path} (no run.json)")
        try:
            with storing(f"read {path}"):
                text = read_limited(path, JSON_BYTES)
            data = loads(text)
            if not isinstance(data, dict):
                raise ValueError("not an object")
        except (ValueError, TooMuch) as error:
            raise InvalidRecords(f"{path}: malformed JSON ({error})") from error
        return data

    def read_header(self) -> Header:
        """Return the header of the run. Raises as `read_run` does."""
        data = self.read_run()
        try:
            return Header.from_json(data.get("header"))
        except InvalidRecords as error:
            raise InvalidRecords(f"{self.path / 'run.json'}: {error}") from error

    def exists(self) -> bool:
        """Whether there is a run in this directory."""
        return (self.path / "run.json").exists()

    def refuse_another(self, header: Header) -> None:
        """Check that the directory is free, or that the run in it is the same one.

        Raises:
            EditbenchError: if suite, editor, seed, repeats or alignment differ from the run already here.
        """
        if not self.exists() and any((self.path / "journal").glob("*.jsonl")):
            raise EditbenchError(f"{self.path} has the journal of a run but no run.json: restore it, or remove both")
        if self.exists():
            changed = changed_fields(self.read_header(), header, metrics=False)
            if changed:
                lines = "\n  ".join(changed)
                raise EditbenchError(
                    f"{self.path} holds another run:\n  {lines}\n"
                    "Give another --output-dir or --label, or remove the directory."
                )

    def begin(self, header: Header, details: Mapping[str, Any]) -> None:
        """Write run.json, after `refuse_another`.

        Raises:
            EditbenchError: if another run is here.
            StorageError: if the directory cannot be written.
        """
        self.refuse_another(header)
        run = dumps({"schema": header.schema, "header": header.to_json(), **details})
        self.write(self.path / "run.json", [run.encode() + b"\n"])

    def write(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Write a file of the run, whole. Raises StorageError."""
        write_whole(path, chunks)
        if self._mirror is not None:
            self._mirror.put(path)

    # -------------------------------------------------------------------------------------------------- journal

    def open_journal(self, shard: str) -> None:
        """Claim one shard of the run and make ready to append to its journal.

        What killed processes have left is removed; a torn last line is cut off. Other damaged lines, of this shard and
        of those that nobody is writing, are moved to `quarantine/`, and so is a record file that is not the one that
        was written. `notices` tells.

        Raises:
            EditbenchError: if another process holds the shard.
            StorageError: if the directory cannot be written.
        """
        folder = self.path / "journal"
        path = folder / f"{shard}.jsonl"
        self._claim = Claim(folder, shard) if self._mirror is None else self._mirror.open(shard)
        if self._claim.left_by is not None:
            self.notices.append(
                f"{self.path} was last written by {self._claim.left_by}, which has not closed it: if that still runs, "
                "stop it"
            )
        try:
            with storing(f"write {folder}"):
                for place in (self.path, self.path / "edits", self.path / FOLDER, folder):
                    sweep(place)
                notices, self._seen = mend(self.path, shard, others=self._mirror is None)
                self.notices += notices
                self._journal = path.open("ab")
                self._journal.truncate(self._seen[path].intact_bytes if path in self._seen else 0)
                if self._mirror is not None:
                    self._mirror.settle()
                self._opening = [journal.opening(self._seen)]
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[Mapping[str, Any]]) -> tuple[Path, list[int]]:
        """Append events to the open journal, one checksummed line each, and fsync once.

        Returns:
            The journal, and where in it the line of each event begins.

        Raises:
            StorageError: if they could not be written; what was written before stays.
        """
        path = Path(self._journal.name)
        if not events:
            return path, []
        if self._claim is not None:
            self._claim.check()
        lines = [journal.line(event) for event in (*self._opening, *events)]
        with storing(f"append to {path}"):
            self._journal.seek(0, os.SEEK_END)
            offsets = list(itertools.accumulate(map(len, lines), initial=self._journal.tell()))[:-1]
            self._journal.write(b"".join(lines))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        if self._mirror is not None:
            self._mirror.append(b"".join(lines))
        offsets, self._opening = offsets[len(self._opening) :], []
        return path, offsets

    def close(self) -> None:
        """Release the journal and its lock."""
        if self._journal is not None:
            with contextlib.suppress(OSError):  # a failed append is flushed again, and has been reported
                self._journal.close()
            self._journal = None
        if self._claim is not None:
            if self._mirror is not None:
                self._mirror.close()
            self._claim.release()
            self._claim = None

    # -------------------------------------------------------------------------------------------------- records

    def read_into(self, ledger: Ledger, number_of: Callable[[Key], int], again: bool = False) -> None:
        """Let a ledger take in the journals of all shards, as they were when this one was opened.

        Args:
            ledger: an empty one.
            number_of: as of `Ledger.read`.
            again: whether to look at them as they are now.

        Raises:
            InvalidRecords: for a damaged line that is not the torn end of a journal.
            StorageError: if they cannot be read.
        """
        if again and self._mirror is not None:
            self._mirror.refresh()
        with storing(f"read {self.path / 'journal'}"):
            ledger.read(journal.looks(self.path / "journal") if again else self._seen, number_of)

    def cells(self) -> dict[Key, Cell]:
        """Return what the journals know of each (scenario, repeat); later events replace earlier ones.

        Raises:
            InvalidRecords: for a damaged line that is not the torn end of a journal.
        """
        return {key: cell for key, cell in self._cells()}

    def _cells(self) -> Iterator[tuple[Key, Cell]]:
        """Yield the cells that the journals know of, one at a time, in the order of records."""
        numbers: dict[Key, int] = {}
        ledger = Ledger()
        with storing(f"read {self.path / 'journal'}"), contextlib.closing(ledger):
            self.read_into(ledger, lambda key: numbers.setdefault(key, len(numbers)), again=True)
            for key in sorted(numbers):
                if (cell := ledger.cell(numbers[key])) is not None:
                    yield key, cell

    def records(self) -> RecordFile:
        """Return the records of the run: the compacted file, or what the journal of an unfinished run holds.

        Raises:
            InvalidRecords: if there is no run here or its files are damaged.
        """
        if self.records_path.exists():
            with storing(f"read {self.records_path}"):
                file = read_records(self.records_path)
                known = journal.records_written(self.path / "journal")
            if known and file.sha256 not in known:
                raise InvalidRecords(
                    f"{self.records_path}: not what the run has written (its hash is another): issue the command of "
                    "the run again, which moves it aside and writes it again"
                )
            return file
        header = self.read_header()
        return file_of(header, (cell.record(header) for _, cell in self._cells()))

    def has_written(self, sha256: str, header: Header) -> bool:
        """Whether the record file is there and has this hash and header, and the journals, when opened, said so."""
        known = any(sha256 in found.records for found in self._seen.values())
        with storing(f"read {self.records_path}"):
            if not known or not self.records_path.exists() or sha256_of(self.records_path) != sha256:
                return False
            with self.records_path.open("rb") as file:
                return file.readline() == next(format_records(header, []))
