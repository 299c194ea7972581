"""Edits made again: is it this editor that made the edits of a submission, and did it make them with these seeds?

The beacon draws k edits. Each is made twice: with the seed of the run, and with a fresh one that nobody knew before.
An editor that is the same on every seed must have made the same edit, but for rounding. For every other editor the
question is whether submitted and new edits come from one distribution, for accelerators do not repeat their bits. If
they do, each pair can be swapped, so that the sum of differences is as likely as its negative: a sign-flip test, exact
whatever the distribution, of each quantity in `QUANTITIES` and for either seed, corrected for their number (Holm). An
honest submission is refused with a probability of at most `ALPHA`, all tests together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from editbench.cells import Cell, Key
from editbench.editing import edit_batch, executor_of
from editbench.execute import InProcess
from editbench.metrics import load_metrics, score
from editbench.placement import leaf_of
from editbench.plan import Plan, sample_seed
from editbench.stats import holm, sign_flip
from editbench.types import Answers, AnyEditor, Image, Record, Sample, Scenario, Task
from editbench.verify.cells import given, name_of
from editbench.work import batch_sizes

ALPHA = 0.01
"""Largest probability of refusing an honest submission."""
METRICS = ("composite", "mae:region=keep", "mae:region=edit", "ssim:region=edit")
QUANTITIES = ("ok", *METRICS)
"""What is compared: whether there is an edit, and metrics without a network. A failed edit has a composite of 0."""
ROUNDING = 1.0
"""Mean difference, in levels of 255, that libraries and processors make to one deterministic edit."""
FEWEST = math.ceil(1 + math.log2(2 * len(QUANTITIES) / ALPHA))
"""Clusters without which no difference could be seen: 2 ** (1 − G) is the least p of G of them."""


@dataclass(frozen=True)
class Again:
    """One edit of a submission beside the same edit made here."""

    scenario: Scenario
    """As the editor was given it."""
    repeat: int
    submitted: Image | None
    own: Image | None
    """Made here with the seed of the run; None if it failed."""
    fresh: Image | None
    """Made here with another seed."""


@dataclass(frozen=True)
class Regenerated:
    """What making edits again has shown."""

    count: int
    held: bool
    """Whether it was enough to tell, and nothing speaks against the submission."""
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def draw(records: Mapping[Key, Record], count: int, beacon: str) -> list[Key]:
    """Return the edits to make again: those that were tried, in an order that the beacon decides."""

    def place(key: Key) -> str:
        return hashlib.sha256(f"{beacon}/again/{key[0]}/{key[1]}".encode()).hexdigest()

    tried = [key for key, record in records.items() if record.edit_status not in ("input_invalid", "not_run")]
    return sorted(tried, key=place)[:count]


def make_again(
    plan: Plan,
    editor: AnyEditor,
    chosen: Sequence[tuple[Scenario, int, Image | None]],
    cells: Mapping[Key, Cell],
    beacon: str,
) -> list[Again]:
    """Run an editor on the chosen edits, with the run's seeds and with fresh ones.

    Args:
        plan: of the submission.
        editor: the one that the submission names, placed where it is to run; it is closed at the end.
        chosen: scenario, repeat, and the submitted edit.
        cells: the edits of the submission, for chains of own outputs.
        beacon: decides the fresh seeds.
    """
    made = []
    leaf = leaf_of(editor)
    if isinstance(leaf, Answers):
        leaf.prepare(plan.suite)
    new = replace(plan, editor=editor, config=replace(plan.config, retry_on_error=0, batch_size=1))
    executor, sizes = executor_of(new), batch_sizes(new)
    try:
        if isinstance(executor, InProcess):
            executor.start()
        for scenario, repeat, submitted in chosen:
            numbers = 0 if plan.header.same_seed else repeat
            seeds = sample_seed(plan.header.seed, scenario.id, numbers), _fresh(beacon, scenario.id, repeat)
            tasks = [given(plan, Task(scenario, repeat, seed), cells) for seed in seeds]
            (_, own), (_, fresh) = (edit_batch(new, executor, [task], sizes)[0] for task in tasks)
            made.append(Again(tasks[0].shown, repeat, submitted, own, fresh))
    finally:
        if executor is not None:
            executor.close()
    return made


def _fresh(beacon: str, scenario_id: str, repeat: int) -> int:
    digest = hashlib.sha256(f"{beacon}/fresh/{scenario_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def judge(made: Sequence[Again]) -> Regenerated:
    """Compare edits of a submission with those made here."""
    equal = sum(_same(pair.submitted, pair.own) for pair in made)
    if all(_same(pair.own, pair.fresh) for pair in made):  # the seed changes nothing
        problems = tuple(line for pair in made for line in _differs(pair))
        shown = any(pair.own is not None for pair in made)
        remark = "every edit made again has failed, which shows nothing"
        return Regenerated(len(made), shown and not problems, problems, () if shown else (remark,))
    own, fresh = (
        [_differences(pair.scenario, pair.submitted, new) for pair, new in _new(made, which)] for which in (0, 1)
    )
    clusters = [pair.scenario.cluster for pair in made]
    problems = tuple(refusals({"the run's seed": own, "a fresh seed": fresh}, clusters))
    enough = len(set(clusters)) >= FEWEST
    remarks = []
    if not enough:
        found = f"edits of {len(set(clusters))} clusters were made again"
        remarks.append(f"{found}, too few to tell anything: --regenerate needs those of {FEWEST}")
    if equal < len(made):
        remarks.append(
            f"{equal} of {len(made)} edits that were made again with the run's seed are the same to the last bit"
        )
    return Regenerated(len(made), enough and not problems, problems, tuple(remarks))


def _new(made: Sequence[Again], which: int) -> Iterator[tuple[Again, Image | None]]:
    for pair in made:
        yield pair, (pair.own, pair.fresh)[which]


def _same(one: Image | None, two: Image | None) -> bool:
    return one is two if one is None or two is None else one.shape == two.shape and bool((one == two).all())


def _differs(pair: Again) -> Iterator[str]:
    name, old, new = name_of((pair.scenario.id, pair.repeat)), pair.submitted, pair.own
    if old is None or new is None:
        if old is not new:
            how = "failed" if new is None else "did not fail"
            yield f"{name}: made again, the edit {how}, and the seed changes nothing"
        return
    distance = np.abs(old.astype(int) - new).mean()
    if distance > ROUNDING:
        yield f"{name}: made again, the edit is {distance:.1f} levels away, and the seed changes nothing"


def _differences(scenario: Scenario, old: Image | None, new: Image | None) -> dict[str, float]:
    """Return new − old for each quantity that both have."""
    metrics: Any = load_metrics(METRICS)
    values = [{} if image is None else score(metrics, [Sample(scenario, image)])[0] for image in (old, new)]
    found = {"ok": float((new is not None) - (old is not None))}
    for name in METRICS:
        before, after = (row.get(name, metrics[name].failed_value if name == "composite" else None) for row in values)
        if isinstance(before, float) and isinstance(after, float):
            found[name] = after - before
    return found


def refusals(differences: Mapping[str, Sequence[Mapping[str, float]]], clusters: Sequence[str]) -> Iterator[str]:
    """Yield a line for each quantity in which new edits differ from submitted ones beyond chance.

    Args:
        differences: new − submitted, of each quantity, one mapping an edit, by the seed that was used.
        clusters: of each edit.
    """
    names = sorted(set(clusters))
    tests = [(seed, name) for seed in differences for name in QUANTITIES]
    sums = np.zeros((len(names), len(tests)))
    for column, (seed, name) in enumerate(tests):
        for cluster, found in zip(clusters, differences[seed], strict=True):
            sums[names.index(cluster), column] += found.get(name, 0.0)
    for (seed, name), of_clusters, p in zip(tests, sums.T, holm(sign_flip(sums)), strict=True):
        if p is not None and p <= ALPHA:
            mean = of_clusters.sum() / len(clusters)
            yield f"made again with {seed}, {name} is {mean:+.3g} on average (p = {p:.2g} of {len(tests)} comparisons)"
