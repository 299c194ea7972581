"""The edits of a run: one PNG for each distinct image, under the hash of its pixels."""

from __future__ import annotations

from pathlib import Path

from editbench.durable import storing, write_whole
from editbench.images import InvalidImage, check_png, verified
from editbench.mirrors import Mirror
from editbench.png import encode_png
from editbench.quarantine import move_aside
from editbench.types import Image


class EditFiles:
    """Reads and writes the edits of a run directory.

    Args:
        root: the run directory.
        mirror: of the run, if it is in an object store: edits are fetched when they are asked for.
        notices: gets a line for each damaged file.
    """

    def __init__(self, root: Path, mirror: Mirror | None, notices: list[str]) -> None:
        self._root, self._mirror, self._notices = root, mirror, notices

    def path_of(self, sha256: str) -> Path:
        """Where the edit with this pixel hash is kept."""
        return self._root / "edits" / f"{sha256}.png"

    def write_edit(self, sha256: str, edit: Image | bytes) -> None:
        """Keep an edit, an image or its PNG, once, under the hash of its pixels. Raises StorageError.

        What is there already and is another file is looked at: another machine or version may have packed the same
        pixels otherwise. If it is not them, it is damaged, and moved to `quarantine/`.
        """
        path, png = self.path_of(sha256), as_png(edit)
        with storing(f"read {path}"):
            there = path.read_bytes() if path.exists() else None
        if there is not None:
            if there == png or _shows(there, sha256):
                return
            self._move_aside(path)
        if self._mirror is not None:
            self._mirror.put(path, png)  # what is only here would be taken for kept
        write_whole(path, [png])

    def intact_png(self, sha256: str) -> bytes | None:
        """Return the file of a kept edit if its checksums are right; a damaged one is moved to `quarantine/`.

        Raises:
            StorageError: if it cannot be read, or a damaged one cannot be moved.
        """
        path = self._fetched(sha256)
        with storing(f"read {path}"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            check_png(data)
        except InvalidImage:
            self._move_aside(path)
            return None
        return data

    def has_edit(self, sha256: str) -> bool:
        """Whether an edit is kept, and the checksums of its file are right. Errors as of `intact_png`."""
        return self.intact_png(sha256) is not None

    def find_edit(self, sha256: str) -> Image | None:
        """Return a kept edit whose pixels have their hash; any other is moved to `quarantine/`, and None returned.

        Errors as of `intact_png`.
        """
        if (data := self.intact_png(sha256)) is None:
            return None
        try:
            return verified(data, sha256)
        except InvalidImage:
            self._move_aside(self.path_of(sha256))
            return None

    def read_edit(self, sha256: str) -> Image:
        """Return a kept edit.

        Raises:
            InvalidImage: if the file is missing, unreadable or not the image that its name says.
        """
        return verified(self._read(sha256), sha256)

    def verified_png(self, sha256: str) -> bytes:
        """Return the file of a kept edit, whose pixels have their hash. Raises InvalidImage as `read_edit` does."""
        data = self._read(sha256)
        verified(data, sha256)
        return data

    def _read(self, sha256: str) -> bytes:
        try:
            return self._fetched(sha256).read_bytes()
        except OSError as error:
            raise InvalidImage(f"edit {sha256[:12]} is missing ({error.strerror})") from error

    def _fetched(self, sha256: str) -> Path:
        path = self.path_of(sha256)
        if self._mirror is not None:
            self._mirror.fetch_edit(path)
        return path

    def _move_aside(self, path: Path) -> None:
        if (target := move_aside(self._root, path)) is None:
            return
        if self._mirror is not None:
            self._mirror.move_aside(path, target)
        self._notices.append(f"{path} is damaged: moved to {target}, and made again")


def _shows(data: bytes, sha256: str) -> bool:
    """Whether a file has the pixels with this hash."""
    try:
        verified(data, sha256)
    except InvalidImage:
        return False
    return True


def as_png(edit: Image | bytes) -> bytes:
    """Return an edit as PNG, as which it may come from another process."""
    return edit if isinstance(edit, bytes) else encode_png(edit)
