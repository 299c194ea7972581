"""Any table of pictures and texts: a dataset of the Hugging Face hub, or a folder of parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from editbench.masks import MaskPolarity
from editbench.registry import bare, written_spec
from editbench.suites.benchmark import Row, Terms
from editbench.suites.hub_download import download
from editbench.suites.manifests import as_id, each
from editbench.suites.parquet import Entry, check_column, find_tables, read_columns
from editbench.types import EditbenchError

TEXTS = ("source_prompt", "target_prompt", "category", "cluster", "chain", "id")
"""Options that name a column of texts which may be empty."""


@dataclass(frozen=True)
class Hub:
    """A dataset of the hub, or a folder of parquet files, with a column map.

    Each option from `source` on names a column. A row whose mask is empty may change everywhere; one without a target
    has none. By default an id is the split and the number of the row in it.

    Args:
        dataset: `owner/name` on the hub, whose parquet files are downloaded once, or a folder.
        revision: branch, tag or commit. The name of the suite has the commit that it stands for.
        split: which files: `SPLIT-00000-of-00005.parquet`, `SPLIT.parquet` or `SPLIT/0000.parquet`; by default all.
        folder: below which folder of the dataset they are; by default all.
        polarity: what in a mask means "edit".
        threshold: grey level (1 to 255) from which a mask is white; by default only two levels are accepted.
        source: the picture to edit.
        instruction: what is asked for.
        mask: where; by default everywhere.
        target: the ground truth, of the same size.
        source_prompt: what the source shows.
        target_prompt: what the result should show.
        category: the kind of edit.
        cluster: the photograph; rows that share one are not independent. By default each row is its own.
        chain: the session of edits, the source of a turn being the target of the turn before it.
        turn: its number in the session, from 1.
        id: of the scenario, text or whole number.
    """

    dataset: str = bare()
    revision: str = "main"
    split: str = ""
    folder: str = ""
    polarity: MaskPolarity = "white=edit"
    threshold: int | None = None
    source: str = "image"
    instruction: str = "instruction"
    mask: str | None = None
    target: str | None = None
    source_prompt: str | None = None
    target_prompt: str | None = None
    category: str | None = None
    cluster: str | None = None
    chain: str | None = None
    turn: str | None = None
    id: str | None = None
    terms: ClassVar[Terms] = Terms(
        title="A dataset of the Hugging Face hub",
        home="huggingface.co/datasets",
        licence="as stated on the dataset's own page",
        redistribution="unknown",
        citation="the dataset's own page",
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and not 1 <= self.threshold <= 255:
            raise EditbenchError(f"hub: threshold={self.threshold}, expected a grey level from 1 to 255")

    @cached_property
    def path(self) -> Path:
        """The folder, or what was downloaded: a snapshot in the cache of the hub's library."""
        given = Path(self.dataset)
        return given if given.is_dir() else download(self.dataset, self.revision, self.split, self.folder)

    @cached_property
    def name(self) -> str:
        """Name and options, with the commit instead of the revision, and without the way to a folder."""
        if not Path(self.dataset).is_dir():
            return written_spec(replace(self, revision=self.path.name[:12]))
        name, _, options = written_spec(replace(self, dataset=".")).partition(":.")
        return f"{name}{options.replace(',', ':', 1)}"

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the rows of the tables, in their order."""
        texts = [column for option in ("instruction", *TEXTS, "turn") if (column := getattr(self, option))]
        maybe = [column for column in (self.mask, self.target) if column]
        folder = self.path / self.folder
        entries = read_columns(folder, self.split, sorted(set(texts)), [self.source], optional_pictures=maybe)
        for column in maybe:
            check_column(find_tables(folder, self.split)[0], column)
        return each((replace(entry, root=self.path) for entry in entries), self._row)

    def _row(self, entry: Entry) -> Row:
        texts = {option: entry.text(getattr(self, option)) for option in TEXTS}
        scenario_id = as_id(texts["id"] or entry.id)
        form = {"form": "file", "polarity": self.polarity, "threshold": self.threshold}
        return Row(
            id=scenario_id,
            source=entry.picture(self.source),
            instruction=entry.instruction(self.instruction),
            category=texts["category"] or "edit",
            cluster=texts["cluster"] or scenario_id,
            mask={**form, "picture": entry.picture(self.mask)} if self.mask and self.mask not in entry.empty else None,
            target=entry.picture(self.target) if self.target and self.target not in entry.empty else None,
            source_prompt=texts["source_prompt"],
            target_prompt=texts["target_prompt"],
            chain=texts["chain"],
            turn=entry.turn(self.turn),
        )
