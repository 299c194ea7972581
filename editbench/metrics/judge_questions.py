"""What a judge is asked: texts, images and schemas, and how an answer is read. Nothing here talks to a server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from editbench.images import pixels_sha256
from editbench.records import loads
from editbench.types import Image, Sample, Scenario

PromptName = Literal["viescore_sc", "viescore_pq", "region_edit", "region_keep", "multiple_choice"]
PromptSet = Literal["viescore", "viescore_sc", "viescore_pq", "region_edit", "region_keep", "multiple_choice"]

SETS: dict[PromptSet, tuple[PromptName, ...]] = {
    "viescore": ("viescore_sc", "viescore_pq"),
    "viescore_sc": ("viescore_sc",),
    "viescore_pq": ("viescore_pq",),
    "region_edit": ("region_edit",),
    "region_keep": ("region_keep",),
    "multiple_choice": ("multiple_choice",),
}
"""Which questions make up one value."""

LINE = (255, 0, 255)
"""Colour of the line around a marked region: magenta, as the prompts say."""
DISTRACTORS = 3
"""Wrong options beside the right one; a last one says that nothing of the kind was done."""
MAX_TEXT = 20_000
"""Characters of the longest answer that is read."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class ParseError(ValueError):
    """An answer that is not what was asked for. The message is stable and quotes nothing but numbers and lengths."""


@dataclass(frozen=True)
class Question:
    """One question about one sample."""

    prompt: PromptName
    text: str
    images: tuple[tuple[str, Image], ...]
    """A caption and the pixels of each image."""
    schema: Mapping[str, Any]
    read: Callable[[str], float]
    """Turns the text of an answer into a number, or raises ParseError."""
    mask: str = ""
    """Hash of the mask where it decides what is shown."""

    def identity(self) -> dict[str, Any]:
        """Return everything that the answer depends on and that lies in the question, as JSON data."""
        return {
            "prompt": self.prompt,
            "prompt_sha256": file_sha256(f"{self.prompt}.txt"),
            "text": self.text,
            "images": [[caption, pixels_sha256(image)] for caption, image in self.images],
            "encoding": "image/png",
            "mask": self.mask,
            "schema": self.schema,
        }


# ---------------------------------------------------------------------------------------------------- prompts


@cache
def _file(name: str) -> bytes:
    return (Path(__file__).parent / "prompts" / name).read_bytes()


def file_sha256(name: str) -> str:
    """Return the sha256 of a prompt file: part of the signature of every number that comes of it."""
    return hashlib.sha256(_file(name)).hexdigest()


def files(prompt: PromptName) -> tuple[str, ...]:
    """Return the names of the files that a question is made from."""
    return (f"{prompt}.txt", "distractors.json") if prompt == "multiple_choice" else (f"{prompt}.txt",)


def _filled(prompt: PromptName, **values: str) -> str:
    text = _file(f"{prompt}.txt").decode()
    slots = re.compile("|".join(re.escape(f"{{{name}}}") for name in values) or "(?!)")
    return slots.sub(lambda match: values[match[0][1:-1]], text)


def question(prompt: PromptName, sample: Sample, seed: int) -> Question:
    """Return one question about a sample.

    Args:
        prompt: which one.
        sample: scenario and output.
        seed: of the pass; decides the order of options.
    """
    scenario, output = sample.scenario, sample.output
    before_after = (("Source image:", scenario.source), ("Edited image:", output))
    match prompt:
        case "viescore_sc":
            text = _filled(prompt, instruction=scenario.instruction)
            return Question(prompt, text, before_after, _SCORES, _read_scores)
        case "viescore_pq":
            return Question(prompt, _filled(prompt), (("Image:", output),), _SCORES, _read_scores)
        case "region_edit":
            text = _filled(prompt, instruction=scenario.instruction)
            shown = _inside(sample)
            return Question(prompt, text, shown, _choice("yes", "no"), _reads({"yes": 1.0, "no": 0.0}), _mask(scenario))
        case "region_keep":
            reader = _reads({"yes": 0.0, "no": 1.0})
            return Question(prompt, _filled(prompt), _outside(sample), _choice("yes", "no"), reader, _mask(scenario))
        case "multiple_choice":
            options = _options(scenario.instruction, scenario.category, seed)
            letters = [chr(ord("A") + position) for position in range(len(options))]
            listed = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
            text = _filled(prompt, options=listed, last=letters[-1])
            right = options.index(scenario.instruction)
            worth = {letter: float(position == right) for position, letter in enumerate(letters)}
            return Question(prompt, text, before_after, _choice(*letters), _reads(worth))


# ----------------------------------------------------------------------------------------------------- images


def _mask(scenario: Scenario) -> str:
    mask = scenario.region("edit")
    return hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()


def _inside(sample: Sample) -> tuple[tuple[str, Image], ...]:
    """Show the edit region with its surroundings, which are those of the source in both images.

    The frame is that of the mask and a quarter of its longer side around it, at least 16 pixels. The line runs outside
    the mask and hides nothing of it. What the editor did elsewhere cannot be seen.
    """
    scenario = sample.scenario
    mask = scenario.region("edit")
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    margin = max(16, (max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1) // 4)
    top, bottom = max(0, rows[0] - margin), min(height, rows[-1] + 1 + margin)
    left, right = max(0, columns[0] - margin), min(width, columns[-1] + 1 + margin)
    distance = scenario.regions.distance_outside
    line = (distance > 0) & (distance <= _thickness(mask.shape))
    merged = np.where(mask[..., None], sample.output, scenario.source)
    before, after = (_lined(image, line)[top:bottom, left:right] for image in (scenario.source, merged))
    return ("Before:", before), ("After:", after)


def _outside(sample: Sample) -> tuple[tuple[str, Image], ...]:
    """Show the whole image with the source inside the mask; the line runs inside it and hides nothing of the rest."""
    scenario = sample.scenario
    mask = scenario.region("edit")
    distance = scenario.regions.distance_inside
    line = mask & (distance <= _thickness(mask.shape))
    merged = np.where(mask[..., None], scenario.source, sample.output)
    return ("Before:", _lined(scenario.source, line)), ("After:", _lined(merged, line))


def _thickness(shape: tuple[int, ...]) -> int:
    return max(1, min(shape) // 256)


def _lined(image: Image, line: npt.NDArray[np.bool_]) -> Image:
    drawn = image.copy()
    drawn[line] = LINE
    return drawn


# ---------------------------------------------------------------------------------------------------- options


def _options(instruction: str, category: str, seed: int) -> list[str]:
    """Return the right instruction among wrong ones, in an order that the seed decides, and "none of these" last.

    Wrong ones: up to two variants of the instruction in which its last telling word (a colour, a direction, a size) is
    another one, and instructions of the category from a list; never one that equals the right one.
    """
    lists: Mapping[str, Any] = loads(_file("distractors.json"))
    general = [*lists["instructions"].get(category, ()), *lists["instructions"]["any"]]
    wrong: list[str] = []
    taken = {_plain(instruction), _plain(lists["none"])}
    for candidate in (*_variants(instruction, lists["swaps"])[:2], *sorted(general, key=_order(instruction, 0))):
        if _plain(candidate) not in taken:
            taken.add(_plain(candidate))
            wrong.append(candidate)
    options = sorted([instruction, *wrong[:DISTRACTORS]], key=_order(instruction, seed))
    return [*options, lists["none"]]


def _variants(instruction: str, swaps: Mapping[str, list[str]]) -> list[str]:
    words = [match for match in re.finditer(r"[^\W\d_]+", instruction) if match[0].casefold() in swaps]
    if not words:
        return []
    start, end = words[-1].span()
    found = words[-1][0]
    others = [word.capitalize() if found[0].isupper() else word for word in swaps[found.casefold()]]
    return [instruction[:start] + word + instruction[end:] for word in others]


def _order(instruction: str, seed: int) -> Callable[[str], str]:
    return lambda option: hashlib.sha256(f"{seed}/{instruction}/{option}".encode()).hexdigest()


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


# ---------------------------------------------------------------------------------------------------- answers


def _schema(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"reasoning": {"type": "string"}, name: value}  # the reasons first: what is written later follows them
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _choice(*answers: str) -> dict[str, Any]:
    return _schema("answer", {"type": "string", "enum": list(answers)})


_SCORES = _schema(
    "score", {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 10}, "minItems": 2, "maxItems": 2}
)


def _value(text: str, name: str) -> Any:
    """Return one member of an answer: a JSON object of exactly two, alone or in one fence, with nothing around it.

    An object amid prose is not looked for: it may be one that the judge quotes.
    """
    if len(text) > MAX_TEXT:
        raise ParseError(f"{len(text)} characters, expected at most {MAX_TEXT}")
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    try:
        data = loads(fenced[1] if fenced else text)
    except ValueError:
        raise ParseError("not one JSON object" if text else "empty answer") from None
    match data:
        case {"reasoning": str(), **rest} if set(rest) == {name}:
            return rest[name]
    raise ParseError(f"expected an object of reasoning and {name}")


def _read_scores(text: str) -> float:
    """Return the lower of two scores from 0 to 10, as VIEScore does."""
    scores = _value(text, "score")
    if not isinstance(scores, list):
        raise ParseError("score is no list, expected two numbers")
    if len(scores) != 2:
        raise ParseError(f"{len(scores)} scores, expected 2")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ParseError("a score is no number")
        if not 0 <= score <= 10:
            raise ParseError(f"score {str(score)[:12]}, expected 0 to 10")
    return float(min(scores))


def _reads(worth: Mapping[str, float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        answer = _value(text, "answer")
        if not isinstance(answer, str) or answer not in worth:
            raise ParseError(f"expected one of {', '.join(worth)}")
        return worth[answer]

    return read
