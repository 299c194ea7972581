"""The audit of metrics that read: a picture must agree with its own words more than with another picture's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from editbench.audit.findings import AUROC, auroc
from editbench.board import decimal
from editbench.metrics import score
from editbench.stats import estimate
from editbench.types import Content, EditbenchError, Failed, Image, Metric, Sample, Scenario, Suite, Undefined

PICTURES = 40
"""How many pictures are shown, each of another cluster."""
STRANGERS = 8
"""Whose words every picture is shown with beside its own: those of the pictures that follow it."""


def reads(metric: Metric) -> bool:
    """Whether a metric depends on the words of a scenario: no damage to a picture can be its audit."""
    return "target_prompt" in metric.needs or bool(getattr(metric, "reads", False))


@dataclass(frozen=True)
class Read:
    """What one metric made of right and wrong words."""

    spec: str
    right: tuple[float, ...]
    """Value of every picture with its own words; larger is better."""
    wrong: tuple[tuple[float, ...], ...]
    """Values of every picture with the words of others."""
    clusters: tuple[str, ...]
    problem: str | None = None
    """Why there are no numbers."""

    @property
    def auroc(self) -> float:
        """Probability that right words score higher than wrong ones, whatever the pictures."""
        return auroc(self.right, [value for values in self.wrong for value in values])

    @property
    def preferred(self) -> tuple[float, ...]:
        """For each picture, the share of wrong words that score lower than its own; half of those that equal them."""
        return tuple(auroc([right], wrong) for right, wrong in zip(self.right, self.wrong, strict=True))

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the bounds that are missed; empty for a metric that passes."""
        if self.problem or not self.right:
            return (self.problem or "undefined on every picture",)
        return () if self.auroc >= AUROC else ("wrong words",)


@dataclass(frozen=True)
class _Picture:
    scenario: Scenario
    image: Image
    prompt: str

    def told(self, other: _Picture) -> Sample:
        """Return the picture as an edit that was asked for in another one's words."""
        content = self.scenario.content
        scenario = replace(
            self.scenario,
            instruction=other.scenario.instruction,
            target_prompt=other.prompt,
            load=partial(_same, content),
        )
        return Sample(scenario, self.image)


def _same(content: Content) -> Content:
    return content


def audit_words(metrics: Mapping[str, Metric], suite: Suite) -> Iterator[tuple[int, int, Mapping[str, Read]]]:
    """Show metrics the pictures of a suite with right and wrong words.

    A picture is the ground truth with the target prompt; in a suite without, the source with the source prompt.

    Args:
        metrics: by spec, as from `load_metrics`.
        suite: where pictures and words come from.

    Yields:
        After each picture: how many are done, of how many, and the results so far by spec.

    Raises:
        EditbenchError: if the suite has no two pictures with different words.
    """
    pictures = list(_pictures(suite))
    if len({picture.prompt for picture in pictures}) < 2:
        raise EditbenchError(f"{suite.name}: no two pictures with prompts that differ")
    results = {spec: Read(spec, (), (), ()) for spec in metrics}
    for number, picture in enumerate(pictures):
        following = [*pictures[number + 1 :], *pictures[:number]]
        strangers = [other for other in following if other.prompt != picture.prompt][:STRANGERS]
        rows = score(metrics, [picture.told(other) for other in (picture, *strangers)])
        for spec, metric in metrics.items():
            values = [row[spec] for row in rows]
            failed = next((value for value in values if isinstance(value, Failed)), None)
            if failed is not None:
                results[spec] = replace(results[spec], problem=failed.reason)
            sign = -1.0 if metric.direction == "lower" else 1.0
            own, *others = (None if isinstance(value, Undefined | Failed) else sign * value for value in values)
            wrong = tuple(value for value in others if value is not None)
            if own is None or not wrong:  # prompts between which there is no difference, say
                continue
            so_far = results[spec]
            results[spec] = replace(
                so_far,
                right=(*so_far.right, own),
                wrong=(*so_far.wrong, wrong),
                clusters=(*so_far.clusters, picture.scenario.cluster),
            )
        yield number + 1, len(pictures), results


def _pictures(suite: Suite) -> Iterator[_Picture]:
    clusters: set[str] = set()
    for scenario in suite:
        if len(clusters) == PICTURES:
            return
        if scenario.cluster in clusters or scenario.category == "no-op":
            continue
        image, prompt = scenario.target, scenario.target_prompt
        if image is None:
            image, prompt = scenario.source, scenario.source_prompt
        if prompt:
            clusters.add(scenario.cluster)
            yield _Picture(scenario, image, prompt)


def words_csv(results: Iterable[Read]) -> str:
    """Return one row a metric, in plain decimals of six significant digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header = ["metric", "passes", "missed", "auroc", "preferred", "ci_low", "ci_high", "pictures", "clusters", "wrong"]
    writer.writerow(header)
    for read in results:
        numbers: Sequence[float | int | None] = [None] * 4
        if read.right and not read.problem:
            share = estimate(read.preferred, read.clusters, (0.0, 1.0))
            numbers = [read.auroc, share.mean, share.low, share.high]
        writer.writerow(
            [
                read.spec,
                str(not read.failures).lower(),
                " ".join(read.failures),
                *map(decimal, numbers),
                len(read.right),
                len(set(read.clusters)),
                sum(map(len, read.wrong)),
            ]
        )
    return buffer.getvalue()
