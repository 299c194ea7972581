"""From the plan of a scenario to its pixels, its mask and its checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from editbench.regions import Mask
from editbench.suites.checks import ColourBecomes, ColourKept, StructureKept, Window
from editbench.suites.shapes_checks import Absent, NotElsewhere, Position, Sight, Silhouette, Size
from editbench.suites.shapes_draw import Stage, Thing, without
from editbench.suites.shapes_edits import Plan
from editbench.suites.shapes_paint import MATERIALS, PATTERNS, quantise, restyle
from editbench.suites.shapes_steps import GEOMETRIC, Step
from editbench.suites.shapes_stream import Field
from editbench.suites.shapes_surfaces import BackgroundBecomes, Kept, StyleApplied, TextureBecomes
from editbench.suites.shapes_words import ground_phrase
from editbench.types import Check, Content, Image

_WITHOUT_SHADOW = ("recolour", "retexture")
_FULL = 0.999
"""Share of a pixel from which it counts as showing one object alone."""
_NEW_SHARE = 0.2
"""Share of an object's new place that must be new, for its colour there to be a demand."""


def render(plan: Plan, size: int) -> Content:
    """Render a scenario."""
    stage = Stage(size)
    source = stage.picture(plan.before)
    whole = np.ones((size, size), np.bool_)
    if plan.category == "no-op":
        return Content(source, ~whole, source.copy())
    if plan.style is not None:
        target = restyle(plan.style, source)
        checks = (StyleApplied(plan.style, source, target), StructureKept(target))
        return Content(source, whole, target, checks)
    target = stage.picture(plan.after)
    if plan.before.backdrop != plan.after.backdrop:
        shown = stage.uncovered(plan.after)
        name = ground_phrase(plan.after.backdrop)
        background = BackgroundBecomes(name, shown >= 1.0, source, target)
        return Content(source, shown > 0.0, target, (background, Kept("the objects", shown <= 1 - _FULL, target)))
    changes = {step.index: step.kind not in _WITHOUT_SHADOW for step in plan.steps}
    mask = stage.influence(plan.before, plan.after, changes)
    found: list[Check] = []
    for step in plan.steps:
        found += _Judge(plan, stage, step, source, target, mask).checks()
    return Content(source, mask, target, (*found, StructureKept(target, ~mask, subject="the rest")))


@dataclass(frozen=True, eq=False)
class _Judge:
    """Chooses the checks of one step."""

    plan: Plan
    stage: Stage
    step: Step
    source: Image
    target: Image
    mask: Mask

    def checks(self) -> list[Check]:
        thing = self.step.after
        if thing is None:
            old = self.plan.before.things[self.step.index]
            assert old is not None
            core = _solid(self._shown_before)
            gone = Absent(_call(old), core, _window(core, self.stage.size), self.source, self.target)
            return [gone, NotElsewhere(_call(old), core, ~self.mask, self.source)]
        subject = _call(thing)
        demand = self.step.kind not in _WITHOUT_SHADOW
        silhouette = Silhouette(subject, self._sight, self.source, self.target, guard=not demand)
        if self.step.kind == "retexture":
            found: list[Check] = [ColourKept(subject, self._core, (self.source, self.target))]
        else:
            found = [self._colour(thing)]
        if thing.material in PATTERNS and self.step.kind != "recolour":
            found.append(self._texture(thing))
        found.append(silhouette)
        if self.step.kind == "move":
            radius = thing.radius * self.stage.size
            found.append(Position(subject, self._sight, self.source, self.target, radius=radius))
        if self.step.kind == "resize":
            found.append(Size(subject, self._sight, self.source, self.target))
        return found

    @cached_property
    def _shown_before(self) -> Field:
        return self.stage.visible(self.plan.before, self.step.index)

    @cached_property
    def _shown_after(self) -> Field:
        return self.stage.visible(self.plan.after, self.step.index)

    @cached_property
    def _core(self) -> Mask:
        return _solid(self._shown_after)

    @cached_property
    def _sight(self) -> Sight:
        before, after, index = self.plan.before, self.plan.after, self.step.index
        footprints = (self._shown_before > 0.0) | (self._shown_after > 0.0)
        shadows = (self.stage.shaded(before, index) > 0.0) | (self.stage.shaded(after, index) > 0.0)
        near = _grown(footprints, self.stage.size // 16)
        picture = self.stage.picture(without(after, (index,)))
        surroundings = near & ~shadows & ~self.mask
        return Sight(picture, footprints | surroundings, _window(near, self.stage.size))

    def _colour(self, thing: Thing) -> ColourBecomes:
        region, guard = self._core, False
        if self.step.kind in GEOMETRIC or self.step.kind == "add":
            new = self._core & (self._shown_before <= 0.0)
            guard = self._same_colour and float(new.sum()) < _NEW_SHARE * float(self._core.sum())
            if self._same_colour:
                region = _solid(self._shown_before * self._shown_after) if guard else new
        return ColourBecomes(
            _call(thing),
            region,
            self.source,
            thing.colour,
            tolerance=16.0 if guard else 8.0,
            target=self.target,
            guard=guard,
        )

    @property
    def _same_colour(self) -> bool:
        old, new = self.plan.before.things[self.step.index], self.step.after
        return old is None or (new is not None and old.colour == new.colour)

    def _texture(self, thing: Thing) -> TextureBecomes:
        window = self.stage.layer(thing).window
        variants = {}
        for material in MATERIALS:
            colour = self.stage.layer(replace(thing, material=material)).colour
            variants[material] = quantise(colour)
        radius = thing.radius * self.stage.size
        return TextureBecomes(
            _call(thing), thing.material, self._core, window, radius, self.source, self.target, variants
        )


def _call(thing: Thing) -> str:
    return f"the {thing.colour} {thing.form}"


def _solid(shown: Field) -> Mask:
    """Return the pixels that show an object alone; where it is too thin for that, those that show it best."""
    return shown >= min(_FULL, 0.9 * float(shown.max()))


def _grown(region: Mask, steps: int) -> Mask:
    """Return a region and what is within so many steps up, down, left and right of it.

    As `scipy.ndimage.binary_dilation` does, which takes longer, and a fifth of a second to import in every run.
    """
    for _ in range(steps):
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        region = grown
    return region


def _window(region: Mask, size: int) -> Window:
    margin = max(2, size // 32)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
