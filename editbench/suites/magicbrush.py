"""MagicBrush (arXiv 2306.10012): sessions of edits, with a mask and the ground truth of every turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

from typing_extensions import TypedDict

from editbench.registry import bare
from editbench.suites.benchmark import Row, Terms
from editbench.suites.magicbrush_tables import table_rows, transparent
from editbench.suites.manifests import as_id, checked, each, read_json
from editbench.types import EditbenchError

SESSIONS = "edit_sessions.json"

Captions = Mapping[str, Mapping[str, str]]


class Turn(TypedDict):
    """One edit of a session in `edit_sessions.json`: names of files in `images/SESSION/`."""

    input: str
    mask: str
    output: str
    instruction: str


@dataclass(frozen=True)
class MagicBrush:
    """MagicBrush: the unpacked zip of the test set, or the tables of the hub (train, dev).

    The mask is the transparent part (alpha below 255) of a copy of the source; its colours mean nothing. A chain is a
    session, and the source of each turn after the first is the ground truth of the turn before. Where the test set
    says otherwise, the turn has `metadata.defects`.

    Args:
        path: the folder that holds `edit_sessions.json`, or tables below it.
        split: of the tables: `train` or `dev`; by default all that are there. Those of ImagenHub's copy overlap.
        captions: which caption of the target is the target prompt. `local`, of the edited part alone, is what the
            authors' CLIP-T uses (`legacy_magicbrush:clip_t`); only `global` ones describe the source as well. The
            tables of the authors have no captions, ImagenHub's copy has.
    """

    path: Path = bare()
    split: str = ""
    captions: Literal["local", "global", "none"] = "local"
    terms: ClassVar[Terms] = Terms(
        title="MagicBrush",
        home="huggingface.co/datasets/osunlp/MagicBrush (train, dev); github.com/OSU-NLP-Group/MagicBrush (test)",
        licence="CC-BY-4.0; the test set asks not to be redistributed and not to be trained on",
        redistribution="not allowed",
        citation="Zhang et al., MagicBrush, NeurIPS 2023, arXiv 2306.10012",
        unconfirmed=(
            "That the masks in the tables are transparent as in the test set: their card calls the region white.",
            "How many turns the test set has: 1053 in 535 sessions, as is said.",
        ),
    )

    def rows(self) -> Iterator[Row | EditbenchError]:
        """Yield every turn of every session, in the order of the files."""
        if (self.path / SESSIONS).is_file():
            yield from self._from_sessions()
        else:
            yield from table_rows(self.path, self.split, self.captions)

    def _from_sessions(self) -> Iterator[Row | EditbenchError]:
        if self.split:
            raise EditbenchError(f"{self.path} is the test set, which has no split {self.split!r}")
        captions: Captions = {}
        if self.captions != "none":
            file = self.path / f"{self.captions}_captions.json"
            if not file.is_file():
                raise EditbenchError(f"no file {file}: captions=none loads the turns without target prompts")
            captions = checked(dict[str, dict[str, str]], read_json(file, dict), str(file))
        sessions = read_json(self.path / SESSIONS, dict).items()
        read = partial(_session, self.path / SESSIONS, captions, self.captions == "global")
        for found in each(sessions, read):
            yield from [found] if isinstance(found, EditbenchError) else found


def _session(file: Path, captions: Captions, with_source: bool, entry: tuple[str, object]) -> list[Row]:
    name, value = entry
    turns = checked(list[Turn], value, f"{file}: {name!r}")
    texts = captions.get(name, {})
    rows = []
    for number, (before, turn) in enumerate(zip(chain([None], turns), turns, strict=False), start=1):
        continues = before is None or before["output"] == turn["input"]
        rows.append(
            Row(
                id=as_id(name, number),
                source=f"images/{name}/{turn['input']}",
                instruction=turn["instruction"],
                cluster=name,
                mask=transparent(f"images/{name}/{turn['mask']}"),
                target=f"images/{name}/{turn['output']}",
                source_prompt=texts.get(turn["input"]) if with_source else None,
                target_prompt=texts.get(turn["output"]),
                chain=name,
                turn=number,
                metadata={} if continues else {"defects": ["its input is not the output of the turn before"]},
            )
        )
    return rows
