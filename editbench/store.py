"""A run directory: an append-only journal, one PNG per distinct edit, and the records compacted from them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout

from editbench import journal
from editbench.images import InvalidImage, decode, encode_png, pixels_sha256
from editbench.names import shown
from editbench.reading import JSON_BYTES, TooMuch, read_limited
from editbench.records import (
    Header,
    InvalidRecords,
    RecordFile,
    dumps,
    format_records,
    loads,
    read_records,
    value_from_json,
)
from editbench.types import EditbenchError, Image, Record


class StorageError(EditbenchError):
    """Results could not be written: exit code 4. Everything finished before is intact."""


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file so that a reader sees the old or the new one, never a part, whatever is killed when.

    Raises:
        StorageError: naming the path.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


Key: TypeAlias = tuple[str, int]
"""Scenario id and repeat."""


@dataclass
class Cell:
    """What the journal knows of one (scenario, repeat)."""

    edit: Mapping[str, Any]
    values: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Metric spec to the signature and the JSON value of its latest score."""

    def add(self, values: Mapping[str, Any], signatures: Mapping[str, str]) -> None:
        """Take in the JSON values of a score event."""
        self.values.update({spec: (signatures[spec], value) for spec, value in values.items()})

    def has(self, spec: str, signature: str) -> bool:
        """Whether a metric with this signature has been evaluated."""
        return spec in self.values and self.values[spec][0] == signature

    def record(self, header: Header) -> Record:
        """Return the record, with those of the header's metrics that have been evaluated."""
        names = [f.name for f in fields(Record) if f.name not in ("values", "flags")]
        values = {
            spec: value_from_json(self.values[spec][1])
            for spec in header.metrics
            if self.has(spec, header.signature(spec))
        }
        return Record(**{name: self.edit[name] for name in names}, flags=tuple(self.edit["flags"]), values=values)


class RunStore:
    """Reads and writes one run directory (`runs/<name>/`).

    Args:
        path: the directory; created on the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # an editor may change directory
        self.records_path = self.path / "records.jsonl"
        self._journal: Any = None
        self._opening: list[dict[str, Any]] = []
        self._lock: FileLock | None = None

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
            data = loads(read_limited(path, JSON_BYTES))
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
            changed = differences(_fixed(self.read_header()), _fixed(header))
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

    # -------------------------------------------------------------------------------------------------- journal

    def open_journal(self, shard: str) -> None:
        """Lock one shard of the run and make ready to append to its journal; a torn last line is cut off.

        Raises:
            EditbenchError: if another process holds the shard.
            StorageError: if the directory cannot be written.
        """
        folder = self.path / "journal"
        path = folder / f"{shard}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / f"{shard}.lock")
            owner = folder / f"{shard}.owner"
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                who = owner.read_text().strip() if owner.exists() else "another process"
                raise EditbenchError(f"{self.path} is being written by {who}") from None
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._journal = path.open("ab")
            self._journal.truncate(journal.intact_length(path.read_bytes()))
            self._opening = [journal.opening(folder)]
        except OSError as error:
            self.close()
            raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Append events to the open journal, one checksummed line each, and fsync once.

        Raises:
            StorageError: if they could not be written; what was written before stays.
        """
        lines = [journal.line(event) for event in (*self._opening, *events)]
        if len(lines) == len(self._opening):
            return
        try:
            self._journal.write(b"".join(lines))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise StorageError(f"cannot append to {self._journal.name}: {error.strerror or error}") from error
        self._opening = []

    def close(self) -> None:
        """Release the journal and its lock."""
        if self._journal is not None:
            with contextlib.suppress(OSError):  # a failed append is flushed again, and has been reported
                self._journal.close()
            self._journal = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # -------------------------------------------------------------------------------------------------- records

    def cells(self) -> dict[Key, Cell]:
        """Return what the journals know of each (scenario, repeat); later events replace earlier ones.

        Raises:
            InvalidRecords: for a damaged line that is not the torn end of a journal.
        """
        cells: dict[Key, Cell] = {}
        signatures: dict[str, str] = {}
        for event in journal.events(self.path / "journal"):
            if event["type"] == "start":
                signatures = event["signatures"]
                continue
            key = event["scenario_id"], event["repeat"]
            if event["type"] == "edit":
                cells[key] = Cell(event)
            elif unknown := set(event["values"]) - signatures.keys():
                what = f"a value of {shown(min(unknown))} without the line that says of which version"
                raise InvalidRecords(f"{self.path}: {what}")
            elif key in cells:
                cells[key].add(event["values"], signatures)
        return cells

    def records(self) -> RecordFile:
        """Return the records of the run: the compacted file, or what the journal of an unfinished run holds.

        Raises:
            InvalidRecords: if there is no run here or its files are damaged.
        """
        if self.records_path.exists():
            return read_records(self.records_path)
        header = self.read_header()
        cells = self.cells()
        records = [cells[key].record(header) for key in sorted(cells)]
        return RecordFile(header, records, hashlib.sha256(b"".join(format_records(header, records))).hexdigest())

    def write_records(self, header: Header, cells: Mapping[Key, Cell]) -> None:
        """Write the compacted records. Raises StorageError."""
        write_whole(self.records_path, format_records(header, (cells[key].record(header) for key in sorted(cells))))

    # ---------------------------------------------------------------------------------------------------- edits

    def edit_path(self, sha256: str) -> Path:
        """Where the edit with this pixel hash is kept."""
        return self.path / "edits" / f"{sha256}.png"

    def write_edit(self, image: Image) -> str:
        """Keep an edit, once, under the hash of its pixels; return the hash. Raises StorageError."""
        sha256 = pixels_sha256(image)
        path = self.edit_path(sha256)
        if not path.exists():
            write_whole(path, [encode_png(image)])
        return sha256

    def read_edit(self, sha256: str) -> Image:
        """Return a kept edit.

        Raises:
            InvalidImage: if the file is missing, unreadable or not the image that its name says.
        """
        try:
            image = decode(self.edit_path(sha256)).image
        except OSError as error:
            raise InvalidImage(f"edit {sha256[:12]} is missing ({error.strerror})") from error
        if pixels_sha256(image) != sha256:
            raise InvalidImage(f"edit {sha256[:12]} is damaged: its pixels have another hash")
        return image


def _fixed(header: Header) -> dict[str, Any]:
    fixed = {key: value for key, value in header.to_json().items() if key not in ("metrics", "schema")}
    return {**fixed, "suite": without_place(fixed["suite"])}


def without_place(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of a suite but its spec: the same data, by their identity, may lie elsewhere."""
    return {key: value for key, value in suite.items() if key != "spec"}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line for each leaf that differs between two JSON objects: `editor.spec: 'a' -> 'b'`."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines
