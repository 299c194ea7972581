"""Finished images in a folder, or listed in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from editbench.images import decode
from editbench.names import is_plain, shown
from editbench.reading import lines_limited
from editbench.records import loads
from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.pictures import inside, is_file
from editbench.types import EditbenchError, MaskAccess, Suite, Task

_FIELDS = {"id", "image_path", "repeat"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class FolderAnswers:
    """Finished images, matched by scenario id and never by order.

    Args:
        path: a folder of `<id>.png` (or .jpg, .jpeg, .webp; `<id>@1.png` answers repeat 1), or a JSONL file with
            `{"id": …, "image_path": …}` and optional `repeat` a line, paths relative to the file and inside its folder.
        mask_access: what whoever made the images saw of the mask.
    """

    path: Path = bare()
    mask_access: MaskAccess = "none"
    _images: dict[tuple[str, int], Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prepare(self, suite: Suite) -> list[str]:
        """Find the images, and say which are missing or extra.

        Raises:
            EditbenchError: if nothing is there, two files answer one scenario, or no file answers any.
        """
        self._images.clear()
        if self.path.is_dir():
            self._read_folder()
        elif self.path.is_file():
            self._read_list()
        else:
            raise EditbenchError(f"no folder or JSONL file {str(self.path)!r} with finished images")
        return missing_and_extra(self.path, self._images, suite)

    def _read_folder(self) -> None:
        for path in sorted(self.path.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                name, _, repeat = path.stem.rpartition("@")
                if name and repeat.isdecimal():
                    self._add(name, int(repeat), path)
                else:
                    self._add(path.stem, 0, path)

    def _read_list(self) -> None:
        for number, line in enumerate(lines_limited(self.path), start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            try:
                item: Any = loads(line)
                scenario_id, image_path, repeat = item["id"], item["image_path"], item.get("repeat", 0)
                if not (isinstance(scenario_id, str) and isinstance(image_path, str) and type(repeat) is int):
                    raise TypeError("id and image_path must be text, repeat a whole number")
                if unknown := sorted(item.keys() - _FIELDS):
                    raise TypeError(f"unknown field {shown(unknown[0])}{did_you_mean(unknown[0], _FIELDS)}")
                path = PurePosixPath(image_path)
                if repeat < 0 or not image_path or path.is_absolute() or ".." in path.parts or not is_plain(image_path):
                    raise TypeError(
                        f"image_path {shown(image_path)} must be inside the folder of the list, repeat 0 or more"
                    )
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EditbenchError(
                    f'{self.path}:{number}: {error}; expected {{"id": "…", "image_path": "…"}} on each line'
                ) from None
            self._add(scenario_id, repeat, self.path.parent / path)

    def _add(self, scenario_id: str, repeat: int, path: Path) -> None:
        other = self._images.setdefault((scenario_id, repeat), path)
        if other is not path:
            raise EditbenchError(f"{other} and {path} both answer scenario {shown(scenario_id)}")

    def answer(self, task: Task) -> object | None:
        """Return the decoded image, None where there is none."""
        path = self._images.get((task.scenario.id, task.repeat))
        if path is None or not path.exists():
            return None
        root = self.path if self.path.is_dir() else self.path.parent
        return decode(inside(root, path.relative_to(root).as_posix()))  # no link of a submission shows other files


def missing_and_extra(listing: Path, images: dict[tuple[str, int], Path], suite: Suite) -> list[str]:
    """Drop what is listed and does not exist; say what of a suite has no image, and what is not in the suite.

    Args:
        listing: the folder or file that names the images, for messages.
        images: by scenario id and repeat; changed in place.
        suite: whose scenarios are to be answered.

    Raises:
        EditbenchError: if no image answers any scenario.
    """
    gone = {key: path for key, path in images.items() if not is_file(path)}
    for key in gone:
        del images[key]
    ids = {scenario.id for scenario in suite}
    found = {scenario_id for scenario_id, _ in images}
    absent = sorted(str(path) for path in gone.values())
    if not ids & found:
        hint = f"it names files that do not exist: {first_few(absent)}" if absent else f"expected {min(ids)}.png, …"
        raise EditbenchError(f"{listing} has no image for any of the {len(ids)} scenarios; {hint}")
    findings = [(absent, f"of {len(gone) + len(images)} files do not exist")]
    for repeat in sorted({0} | {repeat for scenario_id, repeat in images if scenario_id in ids}):
        words = f"of {len(ids)} scenarios have no image" + (f" for repeat {repeat}" if repeat else "")
        findings.append((sorted(name for name in ids if (name, repeat) not in images), words))
    findings.append((sorted(found - ids), f"of {len(found)} ids are not in the suite"))
    return [f"{listing}: {len(which)} {words}: {first_few(which)}" for which, words in findings if which]


def first_few(names: Sequence[str]) -> str:
    """Return the first five of some names, and a sign that there are more."""
    return ", ".join(name[:200] for name in names[:5]) + (", …" if len(names) > 5 else "")
