"""Finished images in parquet tables: an editor that looks answers up by scenario id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from editbench.editors.folder import first_few
from editbench.images import decode
from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.manifests import as_id
from editbench.suites.parquet import Entry, read_columns
from editbench.suites.pictures import Reference, read_bytes
from editbench.types import EditbenchError, MaskAccess, Suite, Task


@dataclass(frozen=True)
class TableAnswers:
    """Finished images in a column of parquet files, matched by scenario id, never by order or split.

    Args:
        path: the folder with the tables.
        image: the column of the images.
        id: the column of the scenario ids, or several joined by `+`: `idx+hash` makes the id `IDX-HASH`, as the suite
            `emuedit` has them.
        model: whose images, where the tables have those of several models.
        model_column: the column that says so.
        mask_access: what whoever made the images saw of the mask.
    """

    path: Path = bare()
    image: str = "edited_image"
    id: str = "id"
    model: str | None = None
    model_column: str = "model"
    mask_access: MaskAccess = "none"
    _images: dict[str, Reference] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prepare(self, suite: Suite) -> list[str]:
        """Find the images, and say which are missing or extra.

        Raises:
            EditbenchError: if a table cannot be read, two rows answer one scenario, or no row answers any.
        """
        self._images.clear()
        models, places = set(), dict[str, str]()
        for entry in self._entries():
            scenario_id = as_id(*(entry.values[column] for column in self.id.split("+")))
            models.add(str(entry.values.get(self.model_column)))
            if self.model is not None and str(entry.values[self.model_column]) != self.model:
                continue
            if scenario_id in places:
                advice = f"; say model=NAME, one of {', '.join(sorted(models))}" if len(models) > 1 else ""
                raise EditbenchError(f"{places[scenario_id]} and {entry.where} both answer {scenario_id!r}{advice}")
            places[scenario_id] = entry.where
            if self.image not in entry.empty:
                self._images[scenario_id] = entry.picture(self.image)
        if not places:
            hint = did_you_mean(str(self.model), models) or f": it has {', '.join(sorted(models)) or 'no rows'}"
            raise EditbenchError(f"{self.path} has no images of model {self.model!r}{hint}")
        ids = {scenario.id for scenario in suite}
        absent, extra = sorted(ids - self._images.keys()), sorted(self._images.keys() - ids)
        if not ids & places.keys():
            raise EditbenchError(
                f"{self.path} has no image for any of the {len(ids)} scenarios: the ids made of its column {self.id!r} "
                f"are like {min(places)!r}, those of the suite like {absent[0]!r}"
            )
        findings = [
            (absent, f"of {len(ids)} scenarios have no image"),
            (extra, f"of {len(self._images)} images are of no scenario"),
        ]
        return [f"{self.path}: {len(names)} {words}: {first_few(names)}" for names, words in findings if names]

    def _entries(self) -> Iterator[Entry]:
        texts = [*self.id.split("+"), *([self.model_column] if self.model is not None else [])]
        optional = [] if self.model_column in texts else [self.model_column]
        return read_columns(self.path, "", texts, [self.image], optional, [self.image])

    def answer(self, task: Task) -> object | None:
        """Return the decoded image, None where there is none."""
        reference = self._images.get(task.scenario.id)
        if reference is None or task.repeat:
            return None
        return decode(read_bytes(self.path, reference))
