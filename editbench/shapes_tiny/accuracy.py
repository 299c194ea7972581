"""What `shapes-tiny` can tell apart: measured on scenes that it was not trained on, and on the suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editbench.metrics.clip_models import ClipModel, Vectors, load_clip
from editbench.shapes_tiny.scenes import EDITS, draw_edit, picture_pair
from editbench.suites.shapes import Shapes
from editbench.suites.shapes_draw import Stage
from editbench.suites.shapes_scene import draw_scene
from editbench.suites.shapes_stream import Stream
from editbench.suites.shapes_words import prompts
from editbench.types import Image, Scenario

HELD_OUT = "shapes-tiny/held-out"
"""Key of the streams of held-out scenes; those of training start with `shapes-tiny/` and the seed."""
SCENES = 200
EDITS_EACH = 40


def auroc(right: npt.ArrayLike, wrong: npt.ArrayLike) -> float:
    """Return the share of pairs of a right and a wrong value in which the right one is larger; ties count half."""
    first, second = np.asarray(right, np.float64)[:, None], np.asarray(wrong, np.float64)[None]
    return float((first > second).mean() + 0.5 * (first == second).mean())


def measure(folder: Path) -> dict[str, Any]:
    """Return every figure that is reported about the model in a folder."""
    clip = load_clip(str(folder), None, "shapes-tiny")
    suite = list(Shapes())
    return {
        "held_out_retrieval": retrieval(clip, SCENES),
        "held_out_edits": held_out_edits(clip, EDITS_EACH),
        "shapes@1": suite_edits(clip, suite),
        "shapes@1_mismatched_prompts": mismatched(clip, suite),
    }


def retrieval(clip: ClipModel, count: int) -> dict[str, float]:
    """Return how often an image is nearest to its own caption, and a caption to its image, of `count` held-out ones."""
    images, texts = [], []
    for number in range(count):
        key = f"{HELD_OUT}/scene/{number}"
        scene = draw_scene(Stream(key))
        images.append(Stage(256).picture(scene))
        texts.append(prompts(scene, scene, (), (), f"{key}/words")[0])
    cosines = clip.images(images) @ clip.texts(texts).T
    own = np.arange(count)
    return {
        "n": count,
        "image_to_text_top1": _rounded((cosines.argmax(axis=1) == own).mean()),
        "text_to_image_top1": _rounded((cosines.argmax(axis=0) == own).mean()),
    }


def held_out_edits(clip: ClipModel, each: int) -> dict[str, Any]:
    """Return how often the two sides of held-out edits are told apart, `each` of every category."""
    plans = [draw_edit(f"{HELD_OUT}/edit", number) for number in range(each * len(EDITS))]
    plans = [plan for plan in plans if plan.source_prompt != plan.target_prompt]
    pairs = [picture_pair(plan).pictures for plan in plans]
    return _edits(
        [plan.category for plan in plans],
        (clip.images([pair[0] for pair in pairs]), clip.images([pair[1] for pair in pairs])),
        (clip.texts([plan.source_prompt for plan in plans]), clip.texts([plan.target_prompt for plan in plans])),
    )


def suite_edits(clip: ClipModel, suite: Sequence[Scenario]) -> dict[str, Any]:
    """Return how often source and target of scenarios are told apart by their prompts, where these differ."""
    edits = [scenario for scenario in suite if scenario.source_prompt != scenario.target_prompt]
    return _edits(
        [scenario.category for scenario in edits],
        (clip.images([s.source for s in edits]), clip.images([_target(s) for s in edits])),
        (clip.texts([s.source_prompt or "" for s in edits]), clip.texts([s.target_prompt or "" for s in edits])),
    )


def _edits(
    categories: Sequence[str], images: tuple[Vectors, Vectors], texts: tuple[Vectors, Vectors]
) -> dict[str, Any]:
    """How often a picture agrees more with its own prompt than with the one of the other side of the edit."""
    asked = texts[1] - texts[0]
    targets, sources = (images[1] * asked).sum(axis=1) > 0, (images[0] * asked).sum(axis=1) < 0
    names = np.array(categories)
    return {
        category: {
            "n": int(chosen.sum()),
            "target_image": _rounded(targets[chosen].mean()),
            "source_image": _rounded(sources[chosen].mean()),
        }
        for category, chosen in [("all", names != ""), *((name, names == name) for name in dict.fromkeys(categories))]
    }


def mismatched(clip: ClipModel, suite: Sequence[Scenario]) -> dict[str, float]:
    """AUROC of the target image with its own target prompt against the same image with prompts that are not its own."""
    cosines = clip.images([_target(s) for s in suite]) @ clip.texts([s.target_prompt or "" for s in suite]).T
    clusters = np.array([scenario.cluster for scenario in suite])
    foreign = clusters[:, None] != clusters[None]
    edits = [index for index, s in enumerate(suite) if s.source_prompt != s.target_prompt]
    before = clip.texts([suite[index].source_prompt or "" for index in edits])
    after = clip.images([_target(suite[index]) for index in edits])
    return {
        "prompts_of_other_scenes": _rounded(auroc(cosines.diagonal(), cosines[foreign])),
        "own_source_prompt": _rounded(auroc(cosines.diagonal()[edits], (after * before).sum(axis=1))),
    }


def _target(scenario: Scenario) -> Image:
    assert scenario.target is not None
    return scenario.target


def _rounded(value: float) -> float:
    return round(float(value), 4)
