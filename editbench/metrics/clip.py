"""Agreement of images with texts and with each other in the embedding of a CLIP model (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from editbench.metrics import neural
from editbench.metrics.clip_files import clip_files
from editbench.metrics.clip_models import LIBRARIES, load_clip
from editbench.metrics.views import CONTEXT, View, check_view, shown
from editbench.types import Detailed, Direction, Need, Sample, Scenario, Value


def _detailed(value: float, truncated: dict[str, int]) -> Value:
    cut = {name: count for name, count in truncated.items() if count}
    return Detailed(value, cut) if cut else value


@dataclass(frozen=True)
class ClipScore:
    """Agreement of the output with the target prompt: 100 · max(cos(image, text), 0).

    Images are resized and cropped as the model demands; CLIP's own way cuts the ends off an oblong one. A prompt that
    exceeds the model's context is cut off, and the value then carries the number of `truncated_tokens`.

    References:
        Hessel, Holtzman, Forbes, Le Bras & Choi 2021, "CLIPScore" (arXiv 2104.08718).

    Disagreements:
        Scaled as torchmetrics and the tables of the field do; the paper's own factor is 2.5. Models do not compare:
        PIE-Bench has ViT-L/14, MagicBrush ViT-B/32, and captions local in one table and global in another.
        `legacy_pie:clip_edited` shows the model a crop on black, an object of its own; the window here shows context.

    Args:
        region: `all` for the whole image, `edit` for a window around the mask.
        model: `shapes-tiny`, an architecture of open_clip, a folder with an `open_clip_config.json` or
            `hf-hub:OWNER/NAME`.
        pretrained: for an architecture, one of open_clip's tags or a checkpoint's path.
        context: margin of the window, as a share of the longer side of the mask's bounding box.
    """

    region: View
    model: str
    pretrained: str | None = None
    context: float = CONTEXT

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    needs: ClassVar[tuple[Need, ...]] = ("target_prompt",)
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_view(self.region, self.context)

    @property
    def weights(self) -> dict[str, str]:
        """sha256 by file of the model named by `model` and `pretrained`; `shapes-tiny` comes with this package.

        Raises:
            EditbenchError: if one is missing.
        """
        return clip_files(self.model, self.pretrained, "clip_score").weights

    @property
    def device(self) -> str:
        """What the model runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        clip = load_clip(self.model, self.pretrained, "clip_score")
        prompts = [sample.scenario.target_prompt or "" for sample in samples]
        outputs = clip.images([shown(s.output, s.scenario, self.region, self.context) for s in samples])
        cosines = (outputs * clip.texts(prompts)).sum(axis=1)
        return [
            _detailed(100 * min(max(float(cosine), 0.0), 1.0), {"truncated_tokens": clip.truncated(prompt)})
            for cosine, prompt in zip(cosines, prompts, strict=True)
        ]


@dataclass(frozen=True)
class ClipDirectional:
    """Whether the image changed in the direction in which the prompts differ: cos(Δimage, Δtext).

    Δimage is the output's embedding less the source's, Δtext the target prompt's less the source prompt's, all of
    length 1 before they are subtracted. An output that looks to the model as the source does has no direction and
    counts 0. Undefined where a prompt is missing, or the model sees no difference between them.

    References:
        Gal et al. 2022, StyleGAN-NADA (arXiv 2108.00946); as used by Brooks, Holynski & Efros 2023, InstructPix2Pix.

    Disagreements:
        A direction has no length: a hardly visible edit may score as high as a complete one, and noise decides between
        outputs near the source. Read `clip_image`, or `changed`, beside it.

    Args:
        region: as for `clip_score`.
        model: as for `clip_score`.
        pretrained: as for `clip_score`.
        context: as for `clip_score`.
    """

    region: View
    model: str
    pretrained: str | None = None
    context: float = CONTEXT

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("target_prompt",)
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_view(self.region, self.context)

    @property
    def weights(self) -> dict[str, str]:
        """sha256 by file of the model named by `model` and `pretrained`; `shapes-tiny` comes with this package.

        Raises:
            EditbenchError: if one is missing.
        """
        return clip_files(self.model, self.pretrained, "clip_directional").weights

    @property
    def device(self) -> str:
        """What the model runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def undefined(self, scenario: Scenario) -> str | None:
        """Return why the prompts of a scenario give no direction."""
        before, after = scenario.source_prompt, scenario.target_prompt
        if not before or not after:
            return "no target prompt" if before else "no source prompt"
        if before == after:
            return "equal prompts"
        clip = load_clip(self.model, self.pretrained, "clip_directional")
        return "prompts equal to the model" if clip.tokens(before) == clip.tokens(after) else None

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        clip = load_clip(self.model, self.pretrained, "clip_directional")
        scenarios = [sample.scenario for sample in samples]
        before = [scenario.source_prompt or "" for scenario in scenarios]
        after = [scenario.target_prompt or "" for scenario in scenarios]
        sources = clip.images([shown(s.source, s, self.region, self.context) for s in scenarios])
        outputs = clip.images([shown(s.output, s.scenario, self.region, self.context) for s in samples])
        moved, asked = outputs - sources, clip.texts(after) - clip.texts(before)
        lengths = np.linalg.norm(moved, axis=1) * np.linalg.norm(asked, axis=1)
        products = (moved * asked).sum(axis=1)
        return [
            _detailed(
                float(np.clip(product / length, -1, 1)) if length else 0.0,
                {"truncated_tokens": clip.truncated(second), "truncated_source_tokens": clip.truncated(first)},
            )
            for product, length, first, second in zip(products, lengths, before, after, strict=True)
        ]


@dataclass(frozen=True)
class ClipImage:
    """Likeness of the output to the source: the cosine of their embeddings; 1 for an output that is the source.

    References:
        Radford et al. 2021, "Learning transferable visual models from natural language supervision" (arXiv 2103.00020).

    Disagreements:
        Tables call two things CLIP-I: likeness to the source, as here and on Emu Edit's test set, and likeness to the
        ground truth, as MagicBrush does (`legacy_magicbrush:clip_i`). Doing nothing is best here.

    Args:
        region: as for `clip_score`.
        model: as for `clip_score`.
        pretrained: as for `clip_score`.
        context: as for `clip_score`.
    """

    region: View
    model: str
    pretrained: str | None = None
    context: float = CONTEXT

    version: ClassVar[int] = 1
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_view(self.region, self.context)

    @property
    def weights(self) -> dict[str, str]:
        """sha256 by file of the model named by `model` and `pretrained`; `shapes-tiny` comes with this package.

        Raises:
            EditbenchError: if one is missing.
        """
        return clip_files(self.model, self.pretrained, "clip_image").weights

    @property
    def device(self) -> str:
        """What the model runs on, and in which precision."""
        return f"{neural.device().type} float32"

    def score(self, samples: Sequence[Sample]) -> list[Value]:
        """Return one value a sample."""
        clip = load_clip(self.model, self.pretrained, "clip_image")
        sources = clip.images([shown(s.scenario.source, s.scenario, self.region, self.context) for s in samples])
        outputs = clip.images([shown(s.output, s.scenario, self.region, self.context) for s in samples])
        alike = (sources == outputs).all(axis=1)
        cosines = np.where(alike, 1.0, np.clip((sources * outputs).sum(axis=1), -1, 1))
        return [float(cosine) for cosine in cosines]
