"""What the edits of a submission have in common: copies of sources, of targets, of others' edits; a mask that shows."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from editbench.cells import Key
from editbench.record_files import RecordFile, read_records
from editbench.records import Header, loads
from editbench.regions import Mask
from editbench.store import RunStore
from editbench.types import Image, MaskAccess, Sample
from editbench.verdicts import SUFFIXES
from editbench.verify.foreign import is_foreign, runnable

SHARE = 0.1
"""Above this share of edits, and with more than one, copies are a problem; a single coincidence is a remark."""
BORDER = 0.9
"""An edit ends where the mask ends if this share of the mask's outermost pixels changed, and no pixel beyond them."""
PIXELS = 2
"""So many of them, at least, must be no part of what the target changes."""
CONFINED = 0.5
"""Above this share of telling edits that end where the mask ends, the mask was used."""
TELLING = 5
"""So many telling edits at least, before anything is said about the mask."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one edit."""

    key: Key
    sha256: str
    unchanged: bool
    """Every pixel is the source's."""
    is_target: bool | None
    """Every pixel is the target's; None if there is no target, or it is the source."""
    contained: bool | None
    """No pixel outside the mask changed, and some inside did; None if nothing changed or there is no such border."""
    confined: bool | None
    """And the change goes right up to the mask's border, where nothing but the mask ends; None also if there is no such
    place: where the object that is edited fills its mask, whoever finds it and edits it well ends there too."""


def look(sample: Sample, sha256: str, repeat: int) -> Seen:
    """Compare an edit with source, target and mask of its scenario."""
    scenario, output = sample.scenario, sample.output
    source, mask, target = scenario.source, scenario.mask, scenario.target
    changed = _changed(output, source)
    wanted = None if target is None or target.shape != source.shape else _changed(target, source)
    same = None if target is None or wanted is None or not wanted.any() else bool((output == target).all())
    contained = confined = None
    if changed.any() and mask.any() and not mask.all():
        contained = not bool((changed & ~mask).any())
        telling = _telling(mask, wanted)
        if np.count_nonzero(telling) >= PIXELS:
            confined = contained and bool(changed[telling].mean() >= BORDER)
    return Seen((scenario.id, repeat), sha256, not bool(changed.any()), same, contained, confined)


def _changed(image: Image, source: Image) -> npt.NDArray[np.bool_]:
    changed: npt.NDArray[np.bool_] = (image != source).any(axis=-1)
    return changed


def _telling(mask: Mask, wanted: npt.NDArray[np.bool_] | None) -> Mask:
    """Return the outermost pixels of a mask, without those that the target changes."""
    from scipy.ndimage import binary_dilation

    outermost: Mask = mask & binary_dilation(~mask, np.ones((3, 3)))
    return outermost if wanted is None else outermost & ~wanted


def of_sources(edits: Sequence[Seen]) -> Iterator[str]:
    """Yield a remark about edits that changed nothing."""
    unchanged = sum(seen.unchanged for seen in edits)
    if edits and unchanged == len(edits):
        yield f"every one of the {len(edits)} edits is its source, unchanged"
    elif unchanged:
        yield f"{unchanged} of {len(edits)} edits are their source, unchanged (no-op rate {unchanged / len(edits):.1%})"


def of_targets(edits: Sequence[Seen]) -> tuple[list[str], list[str]]:
    """Return problems and remarks about edits that are the suite's own answer, bit for bit."""
    asked = [seen.is_target for seen in edits if seen.is_target is not None]
    return _copies(sum(asked), len(asked), "the suite's target, bit for bit: no editor hits it without having it")


def of_others(edits: Sequence[Seen], others: Iterable[tuple[str, Mapping[Key, str]]]) -> tuple[list[str], list[str]]:
    """Return problems and remarks about edits that are those of another submission, bit for bit.

    Args:
        edits: of this submission; those that changed nothing or are the target are not counted.
        others: label and hashes of edits of each.
    """
    problems, remarks = [], []
    own = {seen.key: seen.sha256 for seen in edits if not seen.unchanged and not seen.is_target}
    for label, theirs in others:
        equal = sum(theirs.get(key) == sha256 for key, sha256 in own.items())
        worse, worth_knowing = _copies(equal, len(own), f"that of {label!r} on the same scenario, bit for bit")
        problems += worse
        remarks += worth_knowing
    return problems, remarks


def _copies(count: int, total: int, what: str) -> tuple[list[str], list[str]]:
    if not count:
        return [], []
    line = f"{count} of {total} edits ({count / total:.1%}) are each {what}"
    return ([line], []) if count > max(1, SHARE * total) else ([], [line])


def of_masks(edits: Sequence[Seen], access: MaskAccess) -> tuple[list[str], list[str]]:
    """Return problems and remarks about a mask that can be seen in edits of an editor that declares never to see it.

    An editor that is not shown where the mask ends cannot end there, pixel for pixel, scenario after scenario.
    """
    told = [seen.confined for seen in edits if seen.confined is not None]
    inside = [seen.contained for seen in edits if seen.contained is not None]
    if access != "none":
        return [], []
    if len(told) >= TELLING and sum(told) > CONFINED * len(told):
        share = f"{sum(told)} of {len(told)} edits ({sum(told) / len(told):.0%})"
        return [f"mask_access is 'none', but {share} end exactly where the mask ends: the mask was used"], []
    if len(inside) >= TELLING and sum(inside) > CONFINED * len(inside):
        return [], [
            f"mask_access is 'none', and {sum(inside)} of {len(inside)} edits leave every pixel outside the mask as it "
            "was: were they pasted into their sources?"
        ]
    return [], []


# ---------------------------------------------------------------------------------------------------- others


def edits_of_others(paths: Iterable[Path], file: RecordFile) -> Iterator[tuple[str, dict[Key, str]]]:
    """Yield label and edits of each other submission on the same suite; controls are nobody's.

    What is left out: the same records, and editors that are this one, made of this one, or that this one is made of.

    Args:
        paths: run directories, record files and leaderboards folders.
        file: the records of this submission.

    Raises:
        EditbenchError: for a path that is none of these, or damaged records.
    """
    for other in _files(paths, file.header):
        if other.sha256 != file.sha256 and not other.header.editor.control and not _related(file.header, other.header):
            edits = {(r.scenario_id, r.repeat): r.edit_sha256 for r in other.records if r.edit_sha256 is not None}
            yield other.header.editor.label, edits


def _files(paths: Iterable[Path], header: Header) -> Iterator[RecordFile]:
    for path in paths:
        if (path / "records").is_dir():
            records = sorted(p for suffix in SUFFIXES for p in (path / "records").glob(f"*/*{suffix}"))
            yield from (read_records(p) for p in records if _identity(p) == header.suite.identity)
        else:
            other = read_records(path) if path.is_file() else RunStore(path).records()
            if other.header.suite.identity == header.suite.identity:
                yield other


def _identity(path: Path) -> str:
    """Return the suite of a record file from its first line alone: a folder may hold a thousand files."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return Header.from_json(loads(file.readline())).suite.identity


def _related(one: Header, two: Header) -> bool:
    """Whether one editor is the other, or is made of it; a folder, an address or a file of code may be anybody's."""
    specs, hashes = (one.editor.spec, two.editor.spec), (one.editor.code_sha256, two.editor.code_sha256)
    if specs[0] == specs[1] and hashes[0] == hashes[1] is not None:
        return True
    if any(is_foreign("editor", spec) or not runnable(spec) for spec in specs):
        return False
    return specs[0] == specs[1] or f"[{specs[0]}]" in specs[1] or f"[{specs[1]}]" in specs[0]
