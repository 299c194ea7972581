"""Verification of a finished run: is it what it says, and do its edits have the values that it claims?

Nothing in the run's files is trusted: what is compared is the suite, loaded again, the edits themselves, and, where the
editor can be run here, edits that it makes again. docs/verification.md says what each level means and cannot show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from editbench import __version__
from editbench.cells import Cell, Key
from editbench.durable import write_whole
from editbench.limits import Limits
from editbench.placement import leaf_of, place_editor
from editbench.plan import Plan, plan_of_run
from editbench.record_files import RecordFile, read_records
from editbench.records import Header, InvalidRecords
from editbench.store import RunStore
from editbench.types import AnyEditor, EditbenchError, Image, Record, Sample, Scenario
from editbench.verdicts import Level, Verdict, path_of
from editbench.verify import declared, edits
from editbench.verify.again import draw, judge, make_again
from editbench.verify.cells import cell_of, check_cell, compare, compare_again, name_of, without_edit
from editbench.verify.foreign import is_foreign, refuse_foreign, runnable

BATCH = 8
"""Edits that are scored together, so that memory does not grow with the run."""


def verify_run(
    path: Path,
    recompute: int | None = None,
    beacon: str = "",
    regenerate: int = 0,
    against: Sequence[Path] = (),
    trust_code: bool = False,
) -> Verdict:
    """Compare a run with its suite, its files, its own values, other runs, and its editor.

    Args:
        path: a run directory with `run.json`, `records.jsonl` and `edits/`.
        recompute: how many (scenario, repeat) to score again; None for all.
        beacon: a text that decides which, unknown to whoever made the run.
        regenerate: how many to edit again, with the editor that the run names; needs a beacon.
        against: run directories, record files and leaderboards folders whose edits must not be in this one.
        trust_code: whether to load suite, metrics and editor that are not of editbench, which runs their code.

    Raises:
        EditbenchError: if there is no finished run, its suite cannot be loaded or is not what it was, code of others
            would have to be run, or its editor cannot be.
    """
    store = RunStore(path)
    if not store.exists() or not store.records_path.is_file():
        raise EditbenchError(f"{path}: no run.json or no record file records.jsonl, expected a finished run directory")
    if regenerate and not beacon:
        raise EditbenchError("--regenerate needs --beacon: a text that nobody knew when the run was made")
    verdict = Verdict("self-reported", "", __version__, beacon, 0, 0)
    if found := declared.links(path):
        return replace(verdict, problems=tuple(found))
    try:
        run, header, file = store.read_run(), store.read_header(), read_records(store.records_path)
    except InvalidRecords as error:
        return replace(verdict, problems=(str(error),))
    verdict = replace(verdict, records_sha256=file.sha256)
    if not trust_code:
        refuse_foreign("suite", [header.suite.spec, str((run.get("config") or {}).get("suite", ""))])
        refuse_foreign("metric", header.metrics)
    plan = plan_of_run(path)
    editor = _editor_of(file.header, regenerate > 0, trust_code)
    try:
        return _verdict(verdict, plan, file, run, editor, recompute, regenerate, against)
    finally:
        close = None if editor is None else getattr(leaf_of(editor), "close", None)
        if callable(close):
            close()


def _verdict(
    verdict: Verdict,
    plan: Plan,
    file: RecordFile,
    run: Mapping[str, Any],
    editor: AnyEditor | None,
    recompute: int | None,
    regenerate: int,
    against: Sequence[Path],
) -> Verdict:
    problems = [*declared.check_run(plan, file)]
    remarks = declared.extra_edits(plan.store.path, file)
    unlike = [] if editor is None else [*declared.check_editor(file, editor)]
    records = {(record.scenario_id, record.repeat): record for record in file.records}
    cells = {} if plan.chains is None else {key: cell_of(record) for key, record in records.items()}
    scored = _chosen(records, recompute, verdict.beacon)
    wanted = draw(records, regenerate, verdict.beacon) if editor is not None and not unlike else []
    seen: list[edits.Seen] = []
    kept: list[tuple[Scenario, int, Image | None]] = []
    for key, scenario, sample, found in _compared(plan, file.header.repeats, records, scored, cells):
        problems += found
        record = records.get(key)
        if sample is not None and record is not None and record.edit_sha256 is not None:
            seen.append(edits.look(sample, record.edit_sha256, record.repeat))
        if key in wanted:
            kept.append((scenario, key[1], None if sample is None else sample.output))
    parts = [
        (unlike, []),
        declared.check_metrics(plan, file),
        declared.check_canaries(run, plan),
        edits.of_masks(seen, file.header.editor.mask_access),
    ]
    if editor is None or not getattr(editor, "control", False):  # of a control, everybody knows what it copies
        parts += [([], [*edits.of_sources(seen)]), edits.of_targets(seen)]
        parts.append(edits.of_others(seen, edits.edits_of_others(against, file)))
    again = None
    if editor is not None and kept:
        again = judge(make_again(plan, editor, kept, cells, verdict.beacon))
        parts.append(([*again.problems], [*again.remarks]))
    problems += [line for worse, _ in parts for line in worse]
    remarks += [line for _, worth_knowing in parts for line in worth_knowing]
    level: Level = "self-reported"
    if len(scored) >= plan.total and not problems:
        level = "regenerated" if again is not None and again.held else "recomputed"
    verdict = replace(
        verdict,
        level=level,
        cells=plan.total,
        recomputed=len(scored),
        regenerated=0 if again is None else again.count,
        problems=tuple(problems),
        remarks=tuple(remarks),
    )
    return replace(verdict, remarks=(*remarks, *declared.other_verdict(plan.store.path, verdict)))


def _editor_of(header: Header, wanted: bool, trust_code: bool) -> AnyEditor | None:
    """Return the editor that a header names; None where it cannot be loaded here and nobody wants to run it."""
    spec = header.editor.spec
    if wanted and not runnable(spec):
        raise EditbenchError(f"--regenerate: {spec!r} are finished images, there is nothing to run again")
    if not trust_code:
        if wanted:
            refuse_foreign("editor", [spec])
        elif is_foreign("editor", spec):
            return None
    try:
        return place_editor(spec, None, Limits()) if wanted or runnable(spec) else None
    except EditbenchError:
        if wanted:
            raise
        return None


def _compared(
    plan: Plan, repeats: int, records: Mapping[Key, Record], scored: Set[Key], cells: Mapping[Key, Cell]
) -> Iterator[tuple[Key, Scenario, Sample | None, list[str]]]:
    """Yield each (scenario, repeat) of the suite with its edit, if it has one, and what is wrong with its record."""
    waiting: list[tuple[Record, Sample]] = []
    left = dict(records)
    for scenario in plan.suite:
        for repeat in range(repeats):
            key = scenario.id, repeat
            record = left.pop(key, None)
            if record is None:
                yield key, scenario, None, [f"{name_of(key)}: no record"]
                continue
            sample, found = check_cell(plan, scenario, record, cells)
            if key in scored and sample is not None:
                waiting.append((record, sample))
            elif key in scored and not found:
                found += compare(plan.metrics, record, without_edit(plan, scenario, record))
            if len(waiting) == BATCH:
                found += compare_again(plan, waiting)
                waiting = []
            yield key, scenario, sample, found
    rest = [f"{name_of(key)}: not a scenario of {plan.suite.name}" for key in sorted(left)]
    last = [*compare_again(plan, waiting), *rest]
    if last:
        yield ("", -1), scenario, None, last


def _chosen(records: Mapping[Key, Record], count: int | None, beacon: str) -> set[Key]:
    def draw(key: Key) -> str:
        return hashlib.sha256(f"{beacon}/{key[0]}/{key[1]}".encode()).hexdigest()

    return set(sorted(records, key=draw)[:count])


def verdict_lines(path: Path, verdict: Verdict, shown: int = 20) -> Iterator[str]:
    """Yield what people read of a verdict: remarks, the first problems, and a line that sums up."""
    yield from (f"note: {text}" for text in verdict.remarks)
    yield from (f"error: {text}" for text in verdict.problems[:shown])
    if len(verdict.problems) > shown:
        yield f"… and {len(verdict.problems) - shown} more; --json has all"
    state = f"does not stand, {len(verdict.problems)} problems" if verdict.problems else verdict.level
    again = f", {verdict.regenerated} made again" if verdict.regenerated else ""
    yield f"{path}: {state} ({verdict.recomputed} of {verdict.cells} edits scored again{again})"


def write_verdict(path: Path, verdict: Verdict) -> Path:
    """Keep a verdict in its run directory; return its path. Raises StorageError."""
    found = path_of(path)
    write_whole(found, [verdict.line()])
    return found
