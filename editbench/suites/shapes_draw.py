"""Render scenes: objects with soft shading and shadows on a backdrop, nearer ones over farther ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from editbench.colours import COLOURS
from editbench.regions import Mask
from editbench.suites.shapes_forms import BEVELS, FORMS, local
from editbench.suites.shapes_paint import GROUND_COLOURS, ground, quantise, surface
from editbench.suites.shapes_stream import Field
from editbench.types import Image

LIGHT = (-0.45, -0.55, 0.7)
"""Direction to the light: upper left, in front."""
_HALFWAY = (-0.244, -0.298, 0.922)
_SHADOW_SHIFT = (0.2, 0.26)
_SHADOW_SOFTNESS = 0.16
_SHADOW_DEPTH = 0.5


@dataclass(frozen=True)
class Thing:
    """An object, in coordinates where the picture is 1 wide and 1 high."""

    form: str
    colour: str
    material: str
    x: float
    y: float
    radius: float
    turn: float
    """Clockwise, in degrees."""
    seed: int


@dataclass(frozen=True)
class Backdrop:
    """What is behind the objects."""

    kind: str
    colour: str
    seed: int


@dataclass(frozen=True)
class Scene:
    """A picture: the backdrop and its objects from far to near; None keeps the place of an absent one."""

    backdrop: Backdrop
    things: tuple[Thing | None, ...]


Window = tuple[slice, slice]


class Layer(NamedTuple):
    """A rendered object and its shadow, each in a window of the picture."""

    window: Window
    alpha: Field
    colour: Field
    shadow_window: Window
    shadow: Field


def _window(x: float, y: float, reach: float, size: int) -> Window:
    spans = []
    for centre in (y, x):
        low, high = int((centre - reach) * size) - 2, int((centre + reach) * size) + 3
        spans.append(slice(min(max(low, 0), size - 1), max(min(high, size), 1)))
    return spans[0], spans[1]


def _coordinates(window: Window, size: int) -> tuple[Field, Field]:
    down, across = (np.arange(span.start, span.stop, dtype=np.float64) for span in window)
    return ((across + 0.5) / size)[None, :], ((down + 0.5) / size)[:, None]


def _normals(distance: Field, thing: Thing, size: int) -> tuple[Field, Field, Field]:
    """Directions of a surface that is rounded off towards its edge, by differences of the distance."""
    step = 0.5 * size * thing.radius
    across, down = np.zeros_like(distance), np.zeros_like(distance)
    across[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * step
    down[1:-1] = (distance[2:] - distance[:-2]) * step
    edge = 1.0 - np.clip(-distance / BEVELS.get(thing.form, 0.34), 0.0, 1.0)
    return across * edge, down * edge, np.sqrt(np.clip(1.0 - edge * edge, 0.0, 1.0))


def draw_thing(thing: Thing, size: int) -> Layer:
    """Render one object."""
    window = _window(thing.x, thing.y, thing.radius * 1.12, size)
    across, down = _coordinates(window, size)
    u, v = local(across, down, thing.x, thing.y, thing.radius, thing.turn)
    distance = FORMS[thing.form](u, v)
    alpha = np.clip(0.5 - distance * (thing.radius * size), 0.0, 1.0)
    across_normal, down_normal, front_normal = _normals(distance, thing, size)
    facing = across_normal * LIGHT[0] + down_normal * LIGHT[1] + front_normal * LIGHT[2]
    shade = 0.5 + 0.62 * np.maximum(facing, 0.0)
    shine = np.zeros_like(shade)
    if thing.material == "glossy":
        shine = np.maximum(across_normal * _HALFWAY[0] + down_normal * _HALFWAY[1] + front_normal * _HALFWAY[2], 0.0)
        for _ in range(5):
            shine = shine * shine
        shine = shine * np.where(front_normal >= 1.0, 0.0, 170.0)
    red, green, blue = COLOURS[thing.colour]
    softness = 1.2 / (thing.radius * size)
    channels = surface(thing.material, (red, green, blue), u, v, softness, thing.seed)
    colour = np.empty((*alpha.shape, 3))
    for channel, values in enumerate(channels):
        colour[..., channel] = np.clip(values * shade + shine, 0.0, 255.0)
    return Layer(window, alpha, colour, *_draw_shadow(thing, size))


def _draw_shadow(thing: Thing, size: int) -> tuple[Window, Field]:
    x, y = thing.x + _SHADOW_SHIFT[0] * thing.radius, thing.y + _SHADOW_SHIFT[1] * thing.radius
    window = _window(x, y, thing.radius * (1.1 + _SHADOW_SOFTNESS), size)
    across, down = _coordinates(window, size)
    u, v = local(across, down, x, y, thing.radius, thing.turn)
    depth = np.clip(0.5 - FORMS[thing.form](u, v) / (2.0 * _SHADOW_SOFTNESS), 0.0, 1.0)
    return window, depth * depth * (3.0 - 2.0 * depth)


class Stage:
    """Draws the scenes of one scenario, each object and backdrop once.

    Args:
        size: width and height of the pictures in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._layers: dict[Thing, Layer] = {}
        self._grounds: dict[Backdrop, Field] = {}

    def layer(self, thing: Thing) -> Layer:
        """Return a rendered object."""
        if thing not in self._layers:
            self._layers[thing] = draw_thing(thing, self.size)
        return self._layers[thing]

    def picture(self, scene: Scene) -> Image:
        """Render a scene."""
        backdrop = scene.backdrop
        if backdrop not in self._grounds:
            rgb = GROUND_COLOURS[backdrop.colour]
            self._grounds[backdrop] = ground(backdrop.kind, rgb, backdrop.seed, self.size)
        canvas = self._grounds[backdrop].copy()
        for thing in scene.things:
            if thing is not None:
                layer = self.layer(thing)
                canvas[layer.shadow_window] *= (1.0 - _SHADOW_DEPTH * layer.shadow)[..., None]
                below = canvas[layer.window]
                below *= (1.0 - layer.alpha)[..., None]
                below += layer.colour * layer.alpha[..., None]
        return quantise(canvas)

    def visible(self, scene: Scene, index: int) -> Field:
        """Return the share of every pixel that shows the object at `index`."""
        shown = np.zeros((self.size, self.size))
        thing = scene.things[index]
        if thing is not None:
            layer = self.layer(thing)
            shown[layer.window] = layer.alpha
            self._cover(shown, scene, index + 1)
        return shown

    def shaded(self, scene: Scene, index: int) -> Field:
        """Return how strongly every pixel shows the shadow of the object at `index`."""
        shown = np.zeros((self.size, self.size))
        thing = scene.things[index]
        if thing is not None:
            layer = self.layer(thing)
            shown[layer.shadow_window] = layer.shadow
            self._cover(shown, scene, index)
        return shown

    def uncovered(self, scene: Scene) -> Field:
        """Return the share of every pixel that shows the backdrop."""
        shown = np.ones((self.size, self.size))
        self._cover(shown, scene, 0)
        return shown

    def _cover(self, shown: Field, scene: Scene, first: int) -> None:
        for thing in scene.things[first:]:
            if thing is not None:
                layer = self.layer(thing)
                shown[layer.window] *= 1.0 - layer.alpha

    def influence(self, before: Scene, after: Scene, changes: Mapping[int, bool]) -> Mask:
        """Return every pixel that may differ between two scenes.

        Args:
            before: one scene.
            after: the other, with the same backdrop.
            changes: places of the objects that differ, and whether their shadows may differ too.
        """
        mask = np.zeros((self.size, self.size), np.bool_)
        for scene in (before, after):
            for index, with_shadow in changes.items():
                mask |= self.visible(scene, index) > 0.0
                if with_shadow:
                    mask |= self.shaded(scene, index) > 0.0
        return mask


def without(scene: Scene, indices: Collection[int]) -> Scene:
    """Return a scene with some objects left out."""
    things = tuple(None if index in indices else thing for index, thing in enumerate(scene.things))
    return Scene(scene.backdrop, things)
