"""A run directory: an append-only journal, one PNG per distinct edit, and the records compacted from them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from editbench import journal
from editbench.cells import Cell, Key, take_in
from editbench.claims import Claim
from editbench.differences import changed_fields
from editbench.durable import storing, sweep, write_whole
from editbench.heartbeats import Heartbeat
from editbench.images import InvalidImage, check_png, decode, pixels_sha256
from editbench.mirrors import mirror_of
from editbench.names import shown
from editbench.quarantine import FOLDER, mend, move_aside
from editbench.reading import JSON_BYTES, TooMuch, read_limited
from editbench.record_files import RecordFile, format_records, read_records
from editbench.records import (
    Header,
    InvalidRecords,
    dumps,
    loads,
)
from editbench.types import EditbenchError, Image


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
        self._journal: Any = None
        self._opening: list[dict[str, Any]] = []
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
        write_whole(self.path / "run.json", [run.encode() + b"\n"])
        self._share(self.path / "run.json")

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
                self.notices += mend(self.path, shard, others=self._mirror is None)
                self._journal = path.open("ab")
                self._journal.truncate(journal.intact_length(path.read_bytes()))
                if self._mirror is not None:
                    self._mirror.settle()
                self._opening = [journal.opening(folder)]
        except BaseException:
            self.close()
            raise

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Append events to the open journal, one checksummed line each, and fsync once.

        Raises:
            StorageError: if they could not be written; what was written before stays.
        """
        lines = [journal.line(event) for event in (*self._opening, *events)]
        if len(lines) == len(self._opening):
            return
        if self._claim is not None:
            self._claim.check()
        with storing(f"append to {self._journal.name}"):
            self._journal.write(b"".join(lines))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        if self._mirror is not None:
            self._mirror.append(b"".join(lines))
        self._opening = []

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

    def cells(self) -> dict[Key, Cell]:
        """Return what the journals know of each (scenario, repeat); later events replace earlier ones.

        Raises:
            InvalidRecords: for a damaged line that is not the torn end of a journal.
        """
        if self._mirror is not None:
            self._mirror.refresh()
        cells: dict[Key, Cell] = {}
        signed: dict[str, Mapping[str, str]] = {}
        with storing(f"read {self.path / 'journal'}"):
            for event in journal.events(self.path / "journal"):
                if event["type"] == "start":
                    signed[journal.signed(event["signatures"])] = event["signatures"]
                elif event["type"] == "edit":
                    take_in(cells, event, {})
                elif event["type"] == "score" and event["signed"] in signed:
                    if unknown := event["values"].keys() - signed[event["signed"]].keys():
                        what = f"a value of {shown(min(unknown))} without the line that says of which version"
                        raise InvalidRecords(f"{self.path}: {what}")
                    take_in(cells, event, signed[event["signed"]])
        return cells

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
        cells = self.cells()
        records = [cells[key].record(header) for key in sorted(cells)]
        return RecordFile(header, records, _sha256(format_records(header, records)))

    def write_records(self, header: Header, cells: Mapping[Key, Cell]) -> None:
        """Write the compacted records, and their hash into the open journal before. Raises StorageError."""

        def lines() -> Iterator[bytes]:
            return format_records(header, (cells[key].record(header) for key in sorted(cells)))

        sha256 = _sha256(lines())
        with storing(f"read {self.records_path}"):
            known = journal.records_written(self.path / "journal")
            if sha256 in known and self.records_path.exists() and _sha256([self.records_path.read_bytes()]) == sha256:
                return
        if self._journal is not None:
            self.append([{"type": "records", "sha256": sha256}])
        write_whole(self.records_path, lines())
        self._share(self.records_path)

    # ---------------------------------------------------------------------------------------------------- edits

    def edit_path(self, sha256: str) -> Path:
        """Where the edit with this pixel hash is kept."""
        return self.path / "edits" / f"{sha256}.png"

    def write_png(self, sha256: str, data: bytes) -> None:
        """Keep an edit, once, under the hash of its pixels. Raises StorageError."""
        path = self.edit_path(sha256)
        if not path.exists():
            write_whole(path, [data])
            self._share(path)

    def read_png(self, sha256: str) -> bytes:
        """Return the file of a kept edit, as it is. Raises StorageError."""
        path = self._kept(sha256)
        with storing(f"read {path}"):
            return path.read_bytes()

    def has_edit(self, sha256: str, pixels: bool) -> bool:
        """Whether an edit is kept and intact; a damaged one is moved to `quarantine/`.

        Args:
            sha256: its hash.
            pixels: whether to decode and hash it; otherwise only the checksums of its file are looked at.

        Raises:
            StorageError: if a damaged one cannot be moved.
        """
        path = self._kept(sha256)
        with storing(f"read {path}"):
            if not path.exists():
                return False
            data = path.read_bytes()
        try:
            if not pixels:
                check_png(data)
            elif pixels_sha256(decode(data).image) != sha256:
                raise InvalidImage("has other pixels")
        except InvalidImage:
            target = move_aside(self.path, path)
            if self._mirror is not None:
                self._mirror.move_aside(path, target)
            self.notices.append(f"{path} is damaged: moved to {target}, and made again")
            return False
        return True

    def read_edit(self, sha256: str) -> Image:
        """Return a kept edit.

        Raises:
            InvalidImage: if the file is missing, unreadable or not the image that its name says.
        """
        try:
            image = decode(self._kept(sha256)).image
        except OSError as error:
            raise InvalidImage(f"edit {sha256[:12]} is missing ({error.strerror})") from error
        if pixels_sha256(image) != sha256:
            raise InvalidImage(f"edit {sha256[:12]} is damaged: its pixels have another hash")
        return image

    def _kept(self, sha256: str) -> Path:
        path = self.edit_path(sha256)
        if self._mirror is not None:
            self._mirror.fetch_edit(path)
        return path

    def _share(self, path: Path) -> None:
        if self._mirror is not None:
            self._mirror.put(path)


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
