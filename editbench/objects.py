"""Object stores: whole objects below one address, put, created exclusively, listed and fetched; every failure told."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from editbench.durable import StorageError
from editbench.names import shown
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

STORES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
"""Protocols that have what a run needs, the library for each, and the extra that brings it."""
BESIDE = "run into a folder of this machine and copy it when it is finished, or use s3:// or gs://"
MISSING = {
    "durability": ("memory",),
    "whole objects (a reader may see a part of one)": ("ftp", "sftp", "ssh", "smb", "webdav", "dav", "davs"),
    "writing": ("http", "https", "github", "zip", "tar", "data"),
}
"""Guarantees, and the protocols that are known to lack them."""


@dataclass(frozen=True)
class Found:
    """What a listing says of an object."""

    size: int
    """Bytes."""
    version: str
    """Another one for other content."""
    modified: datetime
    """By the clock of the store."""


class Objects:
    """The objects below an address. Libraries of file systems share no exception: whatever one raises is told.

    Requests that fail for a passing reason (503, a time-out, a lost connection) are tried again by the library of the
    protocol, a limited number of times: see docs/scaling.md.

    Args:
        address: `s3://bucket/prefix` or `gs://bucket/prefix`.

    Raises:
        EditbenchError: for a protocol that lacks a guarantee, which is named, or if its library is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        protocol, _, self._root = address.partition("://")
        if protocol not in STORES:
            raise EditbenchError(_refusal(address, protocol))
        if any(sign in address for sign in "*?[]"):
            raise EditbenchError(f"{address}: an address may not have * ? [ ], which the libraries of stores expand")
        library, extra = STORES[protocol]
        try:
            importlib.import_module(library)
        except ImportError:
            raise EditbenchError(f'{address}: {library} is missing: pip install "editbench[{extra}]"') from None
        import fsspec

        try:
            self._files: Any = fsspec.filesystem(protocol, use_listings_cache=False)
            self._files.retries = 2  # s3fs: around botocore's own attempts, of which AWS_MAX_ATTEMPTS is the number
        except Exception as error:
            raise self._failure("reach", address, error) from error

    def put(self, name: str, data: bytes) -> None:
        """Write an object: a reader sees the old one or the new one. Raises StorageError."""
        try:
            self._files.pipe_file(self._path(name), data)
        except Exception as error:
            raise self._failure("write", self.of(name), error) from error

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if there is none of this name, and say whether that is so; no two callers hear True.

        Args:
            name: of the object.
            data: its content, like that of no other caller: an answer that was lost on its way is told by it.

        Raises:
            StorageError: if it could not be written.
        """
        try:
            self._files.pipe_file(self._path(name), data, mode="create")
        except Exception as error:
            failure = self._failure("write", self.of(name), error)
            try:
                there = self.get(name)
            except StorageError:
                raise failure from error
            if there is None:
                raise failure from error
            return there == data
        return True

    def get(self, name: str) -> bytes | None:
        """Return the content of an object; None if there is none. Raises StorageError."""
        try:
            return bytes(self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure("read", self.of(name), error) from error

    def get_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the content of those objects that are there, many at a time. Raises StorageError."""
        if not names:
            return {}
        paths = {self._path(name): name for name in names}
        try:
            found = self._files.cat(list(paths), on_error="return")
        except Exception as error:
            raise self._failure("read", self.address, error) from error
        contents = {}
        for path, data in found.items() if isinstance(found, dict) else [(next(iter(paths)), found)]:
            if isinstance(data, bytes):
                contents[paths[path]] = data
            elif not isinstance(data, FileNotFoundError):
                raise self._failure("read", self.of(paths[path]), data) from data
        return contents

    def names(self, below: str = "") -> dict[str, Found]:
        """List the objects whose names begin with a folder; that of the address itself is the empty name.

        Raises:
            StorageError: if they cannot be listed.
        """
        try:
            listed = self._files.find(self._path(below), detail=True)
        except Exception as error:
            raise self._failure("list", self.of(below), error) from error
        # of an empty folder to which an object is added just then, s3fs returns the folder
        objects = ((path, info) for path, info in listed.items() if info.get("type") != "directory")
        return {path[len(self._root) + 1 :]: _found(info) for path, info in objects}

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects, those that are not there too. Raises StorageError."""
        if not names:
            return
        try:
            self._files.rm([self._path(name) for name in names])
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failure("remove", self.of(names[0]), error) from error

    def probe(self) -> datetime:
        """Try what a run relies on, leave nothing behind, and return what time it is by the clock of the store.

        Raises:
            EditbenchError: naming the guarantee that is missing.
            StorageError: if the store cannot be written.
        """
        name, one, other = f".probe-{uuid.uuid4().hex}", uuid.uuid4().bytes, uuid.uuid4().bytes
        if not self.create(name, one):
            raise EditbenchError(f"{self.address} lacks consistency: what was just written is not read; {BESIDE}")
        try:
            second = self.create(name, other)
            read, listed = self.get(name), self.names(name)
        finally:
            self.delete([name])
        if second or read != one:
            raise EditbenchError(
                f"{self.address} lacks exclusive creation (If-None-Match on S3, ifGenerationMatch on GCS): two "
                f"processes could write one shard; {BESIDE}"
            )
        if name not in listed:
            raise EditbenchError(f"{self.address} lacks consistency: what was just written is not listed; {BESIDE}")
        return listed[name].modified

    def of(self, name: str) -> str:
        """Return the address of an object."""
        return f"{self.address}/{name}" if name else self.address

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _failure(self, verb: str, what: str, error: BaseException) -> StorageError:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        return StorageError(f"cannot {verb} {what}: {words}")


def _found(info: Mapping[str, Any]) -> Found:
    version = info.get("ETag") or info.get("etag") or info.get("md5Hash")
    modified = info.get("LastModified") or info.get("mtime")
    if not isinstance(modified, datetime):
        raise StorageError(f"cannot list {info.get('name')}: the store does not say when it was written")
    return Found(int(info["size"]), str(version), modified)


def _refusal(address: str, protocol: str) -> str:
    if protocol in ("file", "local"):
        return f"{address}: give the path alone, without {protocol}://"
    for guarantee, protocols in MISSING.items():
        if protocol in protocols:
            return f"{address}: {protocol}:// lacks {guarantee}: {BESIDE}"
    from fsspec import available_protocols

    known = available_protocols()
    if protocol not in known:
        return f"{address}: unknown protocol {shown(protocol)}, expected s3 or gs{did_you_mean(protocol, STORES)}"
    return (
        f"{address}: {protocol}:// is not known to have exclusive creation and to read what was just written, without "
        f"which two processes could write one shard: {BESIDE}"
    )
