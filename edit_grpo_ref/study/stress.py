"""Conditions that stress the study's claim: masks that are wrong, masks of some sizes only, a judge that errs.

Suites and a metric like any other: the trainer does not know of them.

    edit-grpo-ref train --suite "edit_grpo_ref.study.stress:WrongMasks:suite=[grpo_scenes@1:split=train],kind=shifted"
    edit-grpo-ref train --reward-edit "[edit_grpo_ref.study.stress:Judge:noise=0.02,bias=1]"
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np
from scipy import ndimage

from editbench.images import pixels_sha256
from editbench.regions import Mask
from editbench.registry import create, nested
from editbench.types import Content, Direction, EditbenchError, Need, Sample, Scenario, Suite, Value

DILATION, SHIFT = 1 / 16, 1 / 8
"""By how much of the picture's side masks grow on every side, and move down and to the right."""
THRESHOLD = 0.1
"""Mean absolute change, of the full range, from which a pixel counts as edited: above the base policy's usual leak."""


def _module(name: str) -> str:
    return f"edit_grpo_ref.study.stress:{name}"


@dataclass(frozen=True)
class WrongMasks:
    """Another suite's scenarios with masks that are wrong: for rewards, and for credit. Targets and checks stay.

    Args:
        suite: whose scenarios.
        kind: `dilated` by 1/16 of the side; `shifted` by 1/8 of it, down and to the right; `predicted`: where an edit
            by the base policy differs from the source by more than 0.1, the whole picture where it does nowhere.
    """

    suite: Suite = nested("suite")
    kind: Literal["dilated", "shifted", "predicted"] = "dilated"

    @property
    def name(self) -> str:
        """The spec, with the name of the inner suite."""
        return f"{_module('WrongMasks')}:suite=[{self.suite.name}],kind={self.kind}"

    @property
    def identity(self) -> str:
        """sha256 of the inner suite's and of how its masks are wrong."""
        told = f"{self.suite.identity} {self.kind} {DILATION} {SHIFT} {THRESHOLD}"
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def licence(self) -> str:
        """That of the inner suite."""
        return self.suite.licence

    def __len__(self) -> int:
        return len(self.suite)

    def __getitem__(self, index: int) -> Scenario:
        scenario = self.suite[index]
        return replace(scenario, load=partial(self._content, scenario))

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))

    def _content(self, scenario: Scenario) -> Content:
        return replace(scenario.content, mask=self._mask(scenario))

    def _mask(self, scenario: Scenario) -> Mask:
        mask, side = scenario.mask, max(scenario.mask.shape)
        if self.kind == "dilated":
            return np.asarray(ndimage.binary_dilation(mask, iterations=round(DILATION * side)))
        if self.kind == "shifted":
            by = round(SHIFT * side)
            return np.asarray(ndimage.shift(mask.astype(np.uint8), (by, by), order=0) > 0)
        changed = _changed_by_the_base(scenario)
        return changed if changed.any() else np.ones_like(mask)


def _changed_by_the_base(scenario: Scenario) -> Mask:
    from edit_grpo_ref.editor import BASE, GrpoEditor
    from editbench.plan import sample_seed
    from editbench.types import Task

    seed = sample_seed(0, scenario.id, 0)
    (image,) = GrpoEditor(BASE).edit([Task(scenario, 0, seed).request("none")])
    change = np.abs(image.astype(np.float32) - scenario.source).mean(axis=2) / 255
    return np.asarray(change > THRESHOLD)


@dataclass(frozen=True)
class Sized:
    """The scenarios of another suite whose mask covers a share of the picture within bounds.

    Args:
        suite: whose scenarios; only the first `among` are looked at, since finding a share needs the pixels.
        least: smallest share, in [0, 1].
        most: largest.
        among: how many to look at.

    Raises:
        EditbenchError: if there is none.
    """

    suite: Suite = nested("suite")
    least: float = 0.0
    most: float = 1.0
    among: int = 400

    @property
    def name(self) -> str:
        """The spec, with the name of the inner suite."""
        bounds = f"least={self.least:g},most={self.most:g},among={self.among}"
        return f"{_module('Sized')}:suite=[{self.suite.name}],{bounds}"

    @property
    def identity(self) -> str:
        """sha256 of the inner suite's and of the bounds."""
        told = f"{self.suite.identity} {self.least:g} {self.most:g} {self.among}"
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def licence(self) -> str:
        """That of the inner suite."""
        return self.suite.licence

    @cached_property
    def _indices(self) -> list[int]:
        found = [
            index
            for index in range(min(self.among, len(self.suite)))
            if self.least <= float(self.suite[index].mask.mean()) <= self.most
        ]
        if not found:
            raise EditbenchError(f"{self.name}: no mask covers between {self.least:g} and {self.most:g} of a picture")
        return found

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Scenario:
        return self.suite[self._indices[index]]

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Judge:
    """A judge of the edit that errs as vision-language judges do: it is noisy, and sees the whole picture.

    −(edit error against the target) − bias · (keep error) + noise · z, errors as means of absolute differences, z a
    normal number that the picture's own pixels decide: the same picture gets the same mark.

    Args:
        noise: standard deviation of what is added; edits of one scenario by the base policy differ by about 0.02.
        bias: how much of what happens outside the mask it blames on the edit.
    """

    noise: float = 0.02
    bias: float = 1.0

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    needs: ClassVar[tuple[Need, ...]] = ("target",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no mark on a scenario: a region has no pixel."""
        share = scenario.mask.mean()
        return None if 0 < share < 1 else f"empty {'edit' if share == 0 else 'keep'} region"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one mark a sample."""
        edit, keep = (create("metric", spec).score(samples) for spec in ("target:mae,region=edit", "mae:region=keep"))
        return [
            -edit_error - self.bias * keep_error + self.noise * _normal(sample)
            for edit_error, keep_error, sample in zip(edit, keep, samples, strict=True)
        ]


def _normal(sample: Sample) -> float:
    digest = hashlib.sha256(f"{sample.scenario.id} {pixels_sha256(sample.output)}".encode()).hexdigest()
    return float(np.random.default_rng(int(digest[:15], 16)).standard_normal())
