"""What a submission says of itself, in run.json and in the header: compared with each other and with what is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from editbench.differences import differences
from editbench.editors import answers_sha256, code_sha256
from editbench.metrics import describe
from editbench.names import LABEL
from editbench.placement import leaf_of
from editbench.plan import Plan
from editbench.record_files import RecordFile
from editbench.registry import spec_of
from editbench.types import AnyEditor, EditbenchError
from editbench.verdicts import Verdict, path_of, read_verdicts

OF_RUN = ("seed", "repeats", "same_seed", "align")
"""What run.json says twice: in its configuration and in its header."""


def links(path: Path) -> list[str]:
    """Return a line for each symbolic link among the files of a submission: what it shows may change, or be private."""
    looked = [path / "run.json", path / "records.jsonl", path / "journal", path / "edits", path_of(path)]
    if not (path / "edits").is_symlink():
        looked += sorted((path / "edits").glob("*"))
    return [
        f"{found.relative_to(path)} is a symbolic link, expected a file of its own"
        for found in looked
        if found.is_symlink()
    ]


def extra_edits(path: Path, file: RecordFile) -> list[str]:
    """Return a remark if there are images that no record names."""
    named = {f"{record.edit_sha256}.png" for record in file.records}
    extra = [found.name for found in sorted((path / "edits").glob("*")) if found.name not in named]
    return [f"{len(extra)} files of edits/ belong to no record, {extra[0][:80]} first"] if extra else []


def other_verdict(path: Path, verdict: Verdict) -> Iterator[str]:
    """Yield a remark if a verdict lies in a submission, of which this one knows nothing."""
    try:
        kept = [*read_verdicts([path]).values()]
    except EditbenchError as error:
        yield str(error)
        return
    for other in kept:
        if (other.records_sha256, other.level) != (verdict.records_sha256, verdict.level):
            yield f"verdict.json in it says {other.level}, which boards believe: --write puts this verdict in its place"


def check_run(plan: Plan, file: RecordFile) -> Iterator[str]:
    """Yield what run.json, the header of the records, and the suite loaded here say differently."""
    for line in differences(plan.store.read_header().to_json(), file.header.to_json()):
        yield f"run.json and records.jsonl differ: {line}"
    header, config = file.header, plan.config
    for name in OF_RUN if config.label is None else (*OF_RUN, "label"):
        told, said = getattr(config, name), getattr(header.editor if name == "label" else header, name)
        if told != said:
            yield f"run.json: {name} is {told!r} in its configuration, {said!r} in its header"
    if not LABEL.fullmatch(header.editor.label):
        yield f"label {header.editor.label!r}, expected up to 64 letters, digits or ' ._:=,@()[]+-'"
    if (plan.suite.name, len(plan.suite)) != (header.suite.name, header.suite.scenarios):
        yield (
            f"the header says {header.suite.name} with {header.suite.scenarios} scenarios, the suite is "
            f"{plan.suite.name} with {len(plan.suite)}"
        )


def check_metrics(plan: Plan, file: RecordFile) -> tuple[list[str], list[str]]:
    """Return problems and remarks: how metrics of the header differ from those of this version, here.

    Another library is worth knowing, values are compared all the same; another version, range or set of weights is
    another metric, whose values nobody can compare.
    """
    problems: list[str] = []
    remarks: list[str] = []
    for spec, info in file.header.metrics.items():
        if spec not in plan.metrics:
            problems.append(f"{spec} is not what a metric is called here, or not in run.json")
            continue
        for line in differences(asdict(info), asdict(describe(plan.metrics[spec]))):
            if line.startswith("libraries."):
                remarks.append(f"{spec} is computed otherwise here: {line}")
            else:
                problems.append(f"{spec} is another metric here: {line}")
    return problems, remarks


def check_canaries(run: Mapping[str, Any], plan: Plan) -> tuple[list[str], list[str]]:
    """Return problems and remarks: whether metrics had their known values then, and have them here."""
    then = run.get("canaries")
    remarks = []
    if not isinstance(then, list):
        remarks.append("run.json does not say whether the metrics had their known values on the canaries")
    elif then:
        remarks.append(
            f"when the run was scored, {len(then)} canaries had other values than they should: {then[0]!s:.200}"
        )
    return [f"metrics of this machine: {line}" for line in plan.drift], remarks


def check_editor(file: RecordFile, editor: AnyEditor) -> Iterator[str]:
    """Yield what the header says of its editor, and the editor itself does not."""
    said = file.header.editor
    found = {
        "spec": spec_of(editor),
        "mask_access": editor.mask_access,
        "control": bool(getattr(editor, "control", False)),
        "trained_on": tuple(getattr(editor, "trained_on", ())),
        "code_sha256": answers_sha256(code_sha256(said.spec), leaf_of(editor)),
    }
    for name, value in found.items():
        if getattr(said, name) != value:
            yield f"editor {said.spec!r}: {name} is {getattr(said, name)!r} in the header, {value!r} here"
