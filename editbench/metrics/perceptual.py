"""Perceptual distances by region: what differs to a network's eye, and nothing that happens in another region.

A network looks at wide surroundings, so outside the region both images show the source's pixels: what an editor did
there cannot reach the value. Conversely the region's own border is seen against source pixels, as if the edit had been
pasted, which is why fidelity is averaged at some distance from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from editbench.images import pixels_sha256
from editbench.metrics import neural
from editbench.metrics.lpips_network import Network
from editbench.metrics.lpips_trunks import LAYOUTS
from editbench.metrics.lpips_weights import Files, hashes, lpips_files, network, shift_tolerant_files
from editbench.metrics.perceptual_averages import Average, average
from editbench.regions import Mask, RegionName, band_width
from editbench.types import Direction, Image, Need, Sample, Scenario, Value, Zone

# ---------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class StLpips:
    """Shift-tolerant LPIPS over a region: LPIPS with a trunk whose strides are blurred, trained to bear small shifts.

    Regions and what is averaged: see `Lpips`.

    References:
        Ghildyal & Liu 2022, "Shift-tolerant perceptual similarity metric" (arXiv 2207.13686); package
        `stlpips-pytorch`.

    Disagreements:
        Its values are not those of LPIPS, and a shift by a pixel or two, which LPIPS and every pixel metric punish, is
        meant to cost little: read `global_shift:part=translation` beside it.

    Args:
        region: where to compare.
        net: which trunk looks at the images.
        margin: how far from the region's border the average begins, in pixels; without effect on `all` and `band`.
    """

    region: RegionName
    net: Literal["alex", "vgg"] = "alex"
    margin: int = 16

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("stlpips-pytorch", "torch")

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    @property
    def weights(self) -> Mapping[str, str]:
        """sha256 by file: `alex_shift_tolerant.pth` or `vgg_shift_tolerant.pth` of the package `stlpips-pytorch`."""
        return hashes(shift_tolerant_files(self.net))

    @property
    def device(self) -> str:
        """What the network runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no value on a scenario, whatever the editor."""
        return _undefined(scenario, self.region, self.margin, f"st_{self.net}")

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        shown = [sample.scenario.region(self.region) for sample in samples]
        averages = [average(sample.scenario, self.region, self.margin) for sample in samples]
        return _distances(samples, shown, averages, network(f"st_{self.net}", shift_tolerant_files(self.net)))


@dataclass(frozen=True)
class Lpips:
    """LPIPS over a region (version 0.1), with torchvision's ImageNet trunks.

    `all` is LPIPS as published: every stage's distances averaged over its own grid. Over any other region, pixels
    outside it are the source's in both images, every stage's distances are interpolated to the image's size
    (`spatial=True` of the package `lpips`), added up, and averaged over the region less `margin` pixels at its border;
    `band` has no margin, being narrower than any. A value does not depend on the output outside the region: fidelity
    over `keep` is the same to the last bit whatever happened in the edit region. An output that equals the source on
    the region has 0.0 exactly. The frame is no border: nothing is left out there.

    What does not hold, trunks being neither symmetric nor blind to the frame: mirrored photographs have another value
    (`st_lpips`, 192 pixels: by 4 % in the median, by up to 36 % over a region, more where it is below 0.02). A frame
    widened or cropped by 16 pixels far from the mask moves `edit` by less than 1 %, and the other regions by what it
    adds or takes away. Values do not depend on batch size or order; allow 1e-5 between machines.

    References:
        Zhang, Isola, Efros, Shechtman & Wang 2018 (arXiv 1801.03924); package `lpips`.

    Disagreements:
        Trunks do not compare: PIE-Bench and BrushNet use `squeeze`, GEditBench v2 and HATIE `alex`. Images that are
        black outside the region (`legacy_pie`, `legacy_brushnet`) shrink the value by the region's share and show the
        network an edge that no editor made; a mean of the ordinary map over the region sees what lies beyond its
        border.

    Args:
        region: where to compare.
        net: which trunk looks at the images.
        margin: how far from the region's border the average begins, in pixels; without effect on `all` and `band`.
        trunk: the file with the trunk's weights, as torchvision names them; None: where torch.hub keeps downloads.
    """

    region: RegionName
    net: Literal["alex", "vgg", "squeeze"] = "alex"
    margin: int = 16
    trunk: Path | None = None

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("lpips", "torch")

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    @property
    def weights(self) -> Mapping[str, str]:
        """sha256 by file: torchvision's ImageNet trunk, which must be downloaded, and the head of the package `lpips`.

        Raises:
            EditbenchError: if the trunk's is missing or not what its name promises.
        """
        return hashes(self._files())

    @property
    def device(self) -> str:
        """What the network runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no value on a scenario, whatever the editor."""
        return _undefined(scenario, self.region, self.margin, self.net)

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        shown = [sample.scenario.region(self.region) for sample in samples]
        averages = [average(sample.scenario, self.region, self.margin) for sample in samples]
        return _distances(samples, shown, averages, network(self.net, self._files()))

    def _files(self) -> Files:
        return lpips_files(self.net, self.trunk, "lpips")


@dataclass(frozen=True)
class Ring:
    """Shift-tolerant LPIPS (alex) just outside the mask, where a seam, a halo or a spilled edit shows.

    The output's pixels are shown up to w pixels from the mask's border on both sides, the source's everywhere else:
    w on the inside, so that a seam has its two sides; no more, so that what the edit is like at its core, and what
    happened far from the mask, changes nothing. Distances are averaged over the w pixels outside.

    References:
        Defined here; the network is that of `StLpips`.

    Disagreements:
        An edit that fills its mask moves the value even without a seam, for the network sees its margin from outside:
        compare editors, or with the value of the ground truth (the control `target`), not with 0.

    Args:
        width: w for images whose smaller side is 512 pixels; scaled as the region `band` is, which is 4 there.
    """

    width: float = 8.0

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("stlpips-pytorch", "torch")
    watches: ClassVar[tuple[Zone, ...]] = ("band",)
    blind: ClassVar[tuple[Zone, ...]] = ("far",)

    def __post_init__(self) -> None:
        if not self.width >= 2:
            raise ValueError(f"width={self.width:g}, expected at least 2 pixels")

    @property
    def weights(self) -> Mapping[str, str]:
        """sha256 by file: `alex_shift_tolerant.pth` of the package `stlpips-pytorch`."""
        return hashes(shift_tolerant_files("alex"))

    @property
    def device(self) -> str:
        """What the network runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why there is no value on a scenario, whatever the editor."""
        for region in ("edit", "keep"):
            if not scenario.regions[region].any():
                return f"empty {region} region"
        return _too_small(scenario, "st_alex")

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        rings, shown = [], []
        for sample in samples:
            regions = sample.scenario.regions
            # 4: the half-width of the band where the smaller side is 512
            width = self.width / 4 * band_width(*sample.scenario.mask.shape)
            near = regions.distance_outside <= width
            rings.append(Average(near & regions.keep))
            shown.append(near & (regions.distance_inside <= width))
        return _distances(samples, shown, rings, network("st_alex", shift_tolerant_files("alex")))


# ---------------------------------------------------------------------------------------------------- distances


def _check_margin(margin: int) -> None:
    if margin < 0:
        raise ValueError(f"margin={margin}, expected 0 or more pixels")


def _undefined(scenario: Scenario, region: RegionName, margin: int, trunk: str) -> str | None:
    if not scenario.region(region).any():
        return f"empty {region} region"
    if not average(scenario, region, margin).pixels.any():
        return "region narrower than the margin"
    return _too_small(scenario, trunk)


def _too_small(scenario: Scenario, trunk: str) -> str | None:
    smallest = LAYOUTS[trunk].smallest
    return f"image smaller than {smallest} pixels" if min(scenario.mask.shape) < smallest else None


def _distances(
    samples: Sequence[Sample], shown: Sequence[Mask], averages: Sequence[Average], trunk: Network
) -> list[Value]:
    """Return each sample's mean distance over a region, where the network sees the output only in `shown`."""
    keys, missing = [], {}
    for sample, mask in zip(samples, shown, strict=True):
        source = sample.scenario.source
        filled = _filled(sample, mask)
        key = None if np.array_equal(filled, source) else _key(trunk, filled)
        if key and key not in sample.memo:
            # What happened in the edit region is a small part of the image, and kept apart it costs less
            parts = [_filled(sample, sample.scenario.regions.keep)] if mask.all() else []
            parts = [part for part in parts if not any(np.array_equal(part, image) for image in (source, filled))]
            missing[id(sample), key] = sample, [*(_key(trunk, part) for part in parts), key], (source, *parts, filled)
        keys.append(key)
    made = trunk.distances([images for *_, images in missing.values()])
    for (sample, names, _), found in zip(missing.values(), made, strict=True):
        sample.memo.update(zip(names, found, strict=True))
    return [mean(sample.memo[key]) if key else 0.0 for sample, key, mean in zip(samples, keys, averages, strict=True)]


def _key(trunk: Network, image: Image) -> tuple[str, str, str]:
    return "perceptual", trunk.recipe, pixels_sha256(image)


def _filled(sample: Sample, mask: Mask) -> Image:
    """Return the output inside a mask and the source outside it."""
    if mask.all():
        return sample.output
    wide = np.repeat(mask, 3, axis=1).reshape(sample.output.shape)  # in half the time that broadcasting takes
    return np.where(wide, sample.output, sample.scenario.source)
