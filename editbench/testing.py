"""The conformance suite: what an editor, a metric or a suite of somebody else's must do, in a short friendly run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from editbench.editors import load_editor
from editbench.execute import Attempt, InProcess
from editbench.images import pixels_sha256
from editbench.metrics import load_metrics, score
from editbench.registry import create
from editbench.specs import parse
from editbench.suites.folder import FolderSuite, manifest_problems, name_of
from editbench.types import (
    Answers,
    Composite,
    Content,
    EditbenchError,
    EditRequest,
    Failed,
    Image,
    MaskAccess,
    Sample,
    Scenario,
    Suite,
    Task,
    Value,
)

PROMPTS = (
    "Make the disc red.",
    "Fais disparaître le disque 🟠, s'il te plaît ✨",
    "Please " + "very carefully " * 60 + "make the disc blue.",
)


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say."""

    error: bool
    """False for a remark that breaks nothing."""
    text: str


def toy_scenarios() -> list[Scenario]:
    """Return small scenarios of several sizes, with an irregular, an empty and a full mask, and three prompts."""
    sizes = ((64, 64), (64, 96), (96, 64), (63, 65), (64, 64), (64, 64))
    scenarios = []
    for index, (height, width) in enumerate(sizes):
        mask = {4: "empty", 5: "full"}.get(index, "disc")
        scenarios.append(
            Scenario(
                id=f"toy-{index}",
                cluster=f"toy-{index}",
                category="no-op" if mask == "empty" else "recolour",
                instruction=PROMPTS[index % len(PROMPTS)],
                load=partial(_toy_content, height, width, index, mask),
                source_prompt="a green disc on a cloudy ground",
                target_prompt="a red disc on a cloudy ground",
            )
        )
    return scenarios


def _toy_content(height: int, width: int, seed: int, kind: str) -> Content:
    rows, columns = np.mgrid[:height, :width]
    random = np.random.default_rng(seed)
    ground = 90 + 60 * rows[..., None] / height + random.integers(0, 40, (height, width, 3))
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 4) ** 2
    source, target = ground.copy(), ground.copy()
    source[disc], target[disc] = (40, 160, 60), (200, 40, 40)
    mask = {"disc": disc, "empty": np.zeros_like(disc), "full": np.ones_like(disc)}[kind]
    target = np.where(mask[..., None], target, source)
    return Content(source.astype(np.uint8), mask, target.astype(np.uint8))


# ------------------------------------------------------------------------------------------------------- suites


def check_suite(spec: str) -> tuple[Suite | None, list[Finding]]:
    """Read every scenario of a suite; return the suite, if it could be loaded, and what was found."""
    try:
        suite: Suite = create("suite", spec)
    except EditbenchError as error:
        parsed = parse(spec)
        problems = manifest_problems(Path(parsed.bare)) if parsed.name == "folder" and parsed.bare else []
        return None, [Finding(True, text) for text in problems or [str(error)]]
    return suite, list(_suite_findings(suite))


def _suite_findings(suite: Suite) -> Iterator[Finding]:
    folded: dict[str, str] = {}
    shares = []
    for index, scenario in enumerate(suite):
        name = name_of(suite, index, scenario.id)
        other = folded.setdefault(scenario.id.casefold(), scenario.id)
        if other is not scenario.id:
            yield Finding(True, f"{name}: id {other!r} is the same up to case")
        try:
            share = float(scenario.mask.mean())
            oddities = suite.oddities(index) if isinstance(suite, FolderSuite) else []
        except Exception as error:  # a suite may be anybody's code
            yield Finding(True, f"{name}: {error}")
            continue
        shares.append(share)
        for text in oddities:
            yield Finding(False, f"{name}: {text}")
        if share == 0:
            yield Finding(False, f"{name}: empty mask, counted as a no-op")
        elif share > 0.9:
            what = "covers everything" if share == 1 else f"covers {share:.0%}: is its polarity right?"
            yield Finding(False, f"{name}: the mask {what}")
        if not scenario.instruction.strip():
            yield Finding(False, f"{name}: empty instruction")
        if min(scenario.source.shape[:2]) < 16:
            yield Finding(False, f"{name}: a side below 16 pixels")
    if shares:
        low, middle, high = np.quantile(shares, [0, 0.5, 1])
        text = f"{len(shares)} of {len(suite)} scenarios read; mask area {low:.1%} to {high:.1%}, median {middle:.1%}"
        yield Finding(False, text)


# ------------------------------------------------------------------------------------------------------ editors


def check_editor(editor: Any) -> list[Finding]:
    """Run an editor (a spec, an object or a function) on toy scenarios; return what is wrong or worth knowing."""
    try:
        loaded = load_editor(editor)
    except EditbenchError as error:
        return [Finding(True, str(error))]
    while isinstance(loaded, Composite):
        loaded = loaded.editor
    if isinstance(loaded, Answers):
        return [Finding(False, "finished images are looked up, there is no code to check")]
    executor = InProcess(loaded)
    findings: list[Finding] = []
    first: dict[str, Attempt] = {}
    for scenario in toy_scenarios():
        request = Task(scenario, 0, 7).request(loaded.mask_access)
        before = pixels_sha256(request.source)
        attempt = first[scenario.id] = executor.run([request])[0]
        name = f"{scenario.id} ({_size(scenario.source)}, {scenario.category}, mask {scenario.mask.mean():.0%})"
        findings += _attempt_findings(name, scenario, attempt, loaded.mask_access)
        if pixels_sha256(request.source) != before and attempt.image is not None:
            findings.append(Finding(False, f"{name}: the editor changes its input in place (it owns a copy: harmless)"))
    findings += _repeat_findings(executor, loaded.mask_access, first)
    executor.close()
    return list(dict.fromkeys(findings))


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _attempt_findings(name: str, scenario: Scenario, attempt: Attempt, access: MaskAccess) -> Iterator[Finding]:
    if attempt.image is None:
        yield Finding(True, f"{name}: {attempt.status}: {attempt.reason}")
        return
    if attempt.image.shape != scenario.source.shape:
        yield Finding(
            True, f"{name}: returned {_size(attempt.image)}; return the source's size, or run with --align resize"
        )
        return
    for flag in attempt.flags:
        yield Finding(False, f"{name}: output accepted with the flag {flag!r}")
    outside = (attempt.image != scenario.source).any(axis=2) & ~scenario.mask
    if access == "region" and outside.any():
        yield Finding(True, f"{name}: mask_access 'region' promises to edit only inside the mask; declare 'hint'")


def _repeat_findings(executor: InProcess, access: MaskAccess, first: dict[str, Attempt]) -> Iterator[Finding]:
    requests: list[EditRequest] = [Task(scenario, 0, 7).request(access) for scenario in toy_scenarios()]
    for again, (name, attempt) in zip(executor.run(requests), first.items(), strict=True):
        if again.status != attempt.status:
            yield Finding(True, f"{name}: {attempt.status} alone, {again.status} in a batch of {len(requests)}")
        elif again.image is not None and attempt.image is not None and (again.image != attempt.image).any():
            yield Finding(False, f"{name}: another image for the same seed, alone or in a batch: not deterministic")


# ------------------------------------------------------------------------------------------------------ metrics


def check_metric(metric: Any) -> list[Finding]:
    """Evaluate a metric (a spec or an object) on toy scenarios; return what is wrong or worth knowing."""
    try:
        ((spec, loaded),) = load_metrics([metric]).items()
    except EditbenchError as error:
        return [Finding(True, str(error))]
    scenarios = toy_scenarios()
    random = np.random.default_rng(0)
    samples = []
    for scenario in scenarios:
        noise = random.integers(-30, 31, scenario.source.shape)
        noisy = np.clip(scenario.source + noise, 0, 255).astype(np.uint8)
        samples += [Sample(scenario, scenario.source.copy()), Sample(scenario, noisy)]
    together = [row[spec] for row in score({spec: loaded}, samples)]
    alone = [score({spec: loaded}, [Sample(s.scenario, s.output)])[0][spec] for s in samples]
    findings = []
    low, high = loaded.range
    for sample, value, single in zip(samples, together, alone, strict=True):
        name = sample.scenario.id
        if value != single:
            findings.append(Finding(True, f"{name}: {value} in a batch, {single} alone: values must not mix samples"))
        if isinstance(value, float) and not low <= value <= high:
            findings.append(Finding(True, f"{name}: {value}, outside the declared range [{low}, {high}]"))
        if not isinstance(value, float):
            word = "failed" if isinstance(value, Failed) else "undefined"
            findings.append(Finding(word == "failed", f"{name}: {word}: {value.reason}"))
    findings += _direction_findings(loaded.direction, together)
    return list(dict.fromkeys(findings))


def _direction_findings(direction: str, values: list[Value]) -> Iterator[Finding]:
    pairs = [
        (clean, noisy)
        for clean, noisy in zip(values[::2], values[1::2], strict=True)
        if isinstance(clean, float) and isinstance(noisy, float)
    ]
    wrong = [pair for pair in pairs if (pair[0] < pair[1] if direction == "higher" else pair[0] > pair[1])]
    if wrong and direction != "none":
        text = (
            f"noise scores better than the untouched source on {len(wrong)} of {len(pairs)} (direction {direction!r})"
        )
        yield Finding(False, text)
