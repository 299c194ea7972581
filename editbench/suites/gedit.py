"""GEdit-Bench (Step1X-Edit, arXiv 2504.17761): 606 requests of users in English and as many in Chinese."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.specs import did_you_mean
from editbench.suites.benchmark import Row, Terms
from editbench.suites.cocoedit_masks import UNCONFIRMED, Masks, Polarity, find_masks, mask_form
from editbench.suites.manifests import as_id, checked, each
from editbench.suites.parquet import Entry, read_entries
from editbench.types import EditbenchError

LANGUAGES = ("en", "cn")


class Item(TypedDict):
    """The columns that are read; `input_image` is the picture, of about 512² pixels."""

    task_type: str
    key: str
    instruction: str
    instruction_language: str
    Intersection_exist: bool


@dataclass(frozen=True)
class GEdit:
    """GEdit-Bench as the Hugging Face hub has it: parquet files, below `path` at any depth.

    It has no masks: the whole picture may change. CoCoEdit's authors drew some for its English half;
    `gedit:PATH,masks=cocoedit` reads them from `PATH/geditbench/fullset/<task>/en/<key>_mask.png`. They are brought to
    the size of `input_image` where they have another.

    Args:
        path: the downloaded folder.
        language: `en` or `cn`; its code says `zh` in one place, where the data says `cn`.
        masks: `none`, or `cocoedit`.
        polarity: of those masks; inferred, so its effect is told before every run.
    """

    path: Path = bare()
    language: str = "en"
    masks: Masks = "none"
    polarity: Polarity = "black=edit"
    terms: ClassVar[Terms] = Terms(
        title="GEdit-Bench",
        home="huggingface.co/datasets/stepfun-ai/GEdit-Bench",
        licence="MIT",
        redistribution="allowed with attribution",
        citation="Liu et al., Step1X-Edit, 2025, arXiv 2504.17761",
        unconfirmed=(
            "Whether items share photographs is not recorded: each is a cluster of its own.",
            *UNCONFIRMED,
        ),
    )

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            hint = ": did you mean 'cn'?" if self.language == "zh" else did_you_mean(self.language, LANGUAGES)
            raise EditbenchError(f"gedit: language={self.language!r}, expected en or cn{hint}")
        if self.masks == "cocoedit" and self.language != "en":
            raise EditbenchError("gedit: masks=cocoedit are those of language=en: no others are known")

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield the items of one language, in the order of the tables."""
        masks = find_masks(self.path, "geditbench/fullset") if self.masks == "cocoedit" else None
        for row in each(read_entries(self.path, "", Item, ["input_image"]), partial(self._row, masks)):
            if row is not None:
                yield row

    def _row(self, masks: str | None, entry: Entry) -> Row | None:
        item = checked(Item, entry.values, entry.where)
        if item["instruction_language"] not in LANGUAGES:
            found = item["instruction_language"]
            raise EditbenchError(f"{entry.where}: instruction_language={found!r}, expected en or cn")
        if item["instruction_language"] != self.language:
            return None
        task, key = item["task_type"], item["key"]
        return Row(
            id=as_id(task, key),
            source=entry.picture("input_image"),
            instruction=item["instruction"],
            category=task,
            mask=None if masks is None else mask_form(f"{masks}/{task}/en/{key}_mask.png", self.polarity),
            metadata={"key": key, "Intersection_exist": item["Intersection_exist"]},
        )
