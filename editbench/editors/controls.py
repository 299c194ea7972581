"""Controls: editors whose place on every axis is known beforehand. They pin both ends of every table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image as PILImage

from editbench.images import resize
from editbench.registry import nested
from editbench.types import Answers, Editor, EditRequest, Image, MaskAccess, Scenario, Suite, Task


@dataclass(frozen=True)
class Identity:
    """Return the source: perfect fidelity, no edit."""

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Return the sources."""
        return [request.source for request in requests]


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to the whole image; sigma in units of the full range."""

    sigma: float = 0.1

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma={self.sigma}, expected at least 0")

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Return noisy sources; the noise depends on the request's seed alone."""
        outputs = []
        for request in requests:
            noise = np.random.default_rng(request.seed).normal(0, self.sigma * 255, request.source.shape)
            outputs.append(np.clip(np.rint(request.source + noise), 0, 255).astype(np.uint8))
        return outputs


@dataclass(frozen=True)
class Blur:
    """Blur the whole image with a Gaussian; sigma in pixels."""

    sigma: float = 3.0

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma={self.sigma}, expected at least 0")

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Return blurred sources."""
        from scipy.ndimage import gaussian_filter

        return [
            np.rint(gaussian_filter(request.source.astype(np.float64), (self.sigma, self.sigma, 0))).astype(np.uint8)
            for request in requests
        ]


@dataclass(frozen=True)
class Jpeg:
    """Send the whole image through JPEG."""

    quality: int = 75

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality={self.quality}, expected 1 to 95")

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Return decoded JPEGs of the sources."""
        outputs = []
        for request in requests:
            buffer = io.BytesIO()
            PILImage.fromarray(request.source).save(buffer, "JPEG", quality=self.quality)
            outputs.append(np.array(PILImage.open(buffer)))
        return outputs


@dataclass(frozen=True)
class Fill:
    """Paint the mask mid-grey: as local as an edit can be, and never what was asked for."""

    mask_access: ClassVar[MaskAccess] = "region"
    control: ClassVar[bool] = True

    def edit(self, requests: Sequence[EditRequest]) -> list[Image]:
        """Return the sources with (128, 128, 128) inside the mask."""
        outputs = [request.source.copy() for request in requests]
        for request, output in zip(requests, outputs, strict=True):
            output[request.mask] = 128
        return outputs


@dataclass(frozen=True)
class Target:
    """Answer with the suite's ground truth."""

    mask_access: ClassVar[MaskAccess] = "region"
    control: ClassVar[bool] = True

    def prepare(self, suite: Suite) -> list[str]:
        """Nothing to prepare."""
        return []

    def answer(self, task: Task) -> Image | None:
        """Return the target, None where the suite has none."""
        return task.scenario.target


@dataclass(frozen=True)
class Shuffle:
    """Answer with another scenario's target, or its source where it has none, resized to fit.

    The other scenario is the first one half a suite further on that comes from another cluster.
    """

    _suite: list[Suite] = field(default_factory=list, init=False, repr=False, compare=False)
    _positions: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    mask_access: ClassVar[MaskAccess] = "none"
    control: ClassVar[bool] = True

    def prepare(self, suite: Suite) -> list[str]:
        """Remember the suite, and where each scenario stands in it."""
        self._suite[:] = [suite]
        self._positions.clear()
        self._positions.update((scenario.id, position) for position, scenario in enumerate(suite))
        return []

    def answer(self, task: Task) -> Image:
        """Return the other scenario's image."""
        (suite,) = self._suite
        count = len(suite)
        start = self._positions[task.scenario.id]
        others = (suite[(start + count // 2 + step) % count] for step in range(count))
        other = next((found for found in others if found.cluster != task.scenario.cluster), None)
        if other is None:
            raise ValueError("the suite has only one cluster: nothing to shuffle with")
        image = other.source if other.target is None else other.target
        height, width = task.scenario.source.shape[:2]
        return image if image.shape == (height, width, 3) else resize(image, height, width)


@dataclass(frozen=True)
class Paste:
    """Keep another editor's output inside the mask and the source outside.

    Args:
        editor: the other editor.
        feather: width in pixels, inside the mask, over which the output fades in; 0 pastes hard.
    """

    editor: Editor | Answers = nested("editor")
    feather: int = 0

    mask_access: ClassVar[MaskAccess] = "region"

    def __post_init__(self) -> None:
        if self.feather < 0:
            raise ValueError(f"feather={self.feather}, expected at least 0")

    @property
    def control(self) -> bool:
        """True if the other editor is a control."""
        return bool(getattr(self.editor, "control", False))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Those of the other editor."""
        trained_on: Any = getattr(self.editor, "trained_on", ())
        return tuple(trained_on)

    def compose(self, scenario: Scenario, output: Image) -> Image:
        """Return the output inside the mask and the source outside."""
        if self.feather == 0:
            return np.where(scenario.mask[..., None], output, scenario.source)
        weight = np.clip(scenario.regions.distance_inside / (self.feather + 1), 0, 1)[..., None]
        return np.rint(scenario.source + weight * (output.astype(np.float64) - scenario.source)).astype(np.uint8)
