"""Finished images as the authors of benchmarks lay them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from editbench.editors.folder import FolderAnswers, missing_and_extra
from editbench.images import decode
from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.manifests import checked, read_json
from editbench.types import EditbenchError, MaskAccess, Suite, Task


@dataclass(frozen=True)
class Geditv2Gallery:
    """One model of the candidates gallery of GEditBench v2: a folder of its name with `<task>_<six digits>.png`.

    Args:
        path: the downloaded `GEditBench-v2-CandidatesGallery`.
        model: the name of a folder in it.
        mask_access: what the model saw of the mask; the benchmark has none.
    """

    path: Path = bare()
    model: str = field(kw_only=True)
    mask_access: MaskAccess = "none"

    def prepare(self, suite: Suite) -> list[str]:
        """Find the images of the model, and say which are missing or extra.

        Raises:
            EditbenchError: if the gallery or the model is not there, or has no image for the suite.
        """
        if not self.path.is_dir():
            raise EditbenchError(f"no folder {str(self.path)!r} with the candidates gallery of GEditBench v2")
        models = sorted(found.name for found in self.path.iterdir() if found.is_dir() and found.name[0] != ".")
        if self.model not in models:
            hint = did_you_mean(self.model, models) or f", expected one of {', '.join(models) or '(there is none)'}"
            raise EditbenchError(f"{self.path} has no model {self.model!r}{hint}")
        return self._folder.prepare(suite)

    def answer(self, task: Task) -> object | None:
        """Return the decoded image, None where there is none."""
        return self._folder.answer(task)

    @cached_property
    def _folder(self) -> FolderAnswers:
        return FolderAnswers(self.path / self.model, self.mask_access)


@dataclass(frozen=True)
class IcebenchOutputs:
    """Finished images of ICE-Bench: a `gen_info.json`, which gives the path of an image for every item.

    Paths count from the folder of the file or from one of those above it, whichever has the image: the authors' own
    are relative to the root of their project.

    Args:
        path: the file.
        mask_access: what whoever made the images saw of the mask.
    """

    path: Path = bare()
    mask_access: MaskAccess = "none"
    _images: dict[tuple[str, int], Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prepare(self, suite: Suite) -> list[str]:
        """Find the images, and say which are missing or extra.

        Raises:
            EditbenchError: if the file is not one object of texts, or no image answers any scenario.
        """
        self._images.clear()
        listed = checked(dict[str, str], read_json(self.path, dict), str(self.path))
        ids: dict[str, str] = {str(scenario.metadata.get("item_id", scenario.id)): scenario.id for scenario in suite}
        for item_id, place in listed.items():
            self._images[ids.get(item_id, item_id), 0] = self._found(place)
        return missing_and_extra(self.path, self._images, suite)

    def answer(self, task: Task) -> object | None:
        """Return the decoded image, None where there is none."""
        path = self._images.get((task.scenario.id, task.repeat))
        return None if path is None or not path.exists() else decode(path)

    def _found(self, place: str) -> Path:
        folders = self.path.absolute().parents[:5]
        return next((folder / place for folder in folders if (folder / place).is_file()), self.path.parent / place)
