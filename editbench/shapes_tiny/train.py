"""Train `shapes-tiny`: seeded, resumable, on one core of a processor."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.records import loads
from editbench.shapes_tiny import CONFIG, MODEL, TRAINING, WORDS, words
from editbench.shapes_tiny.scenes import Pair, captions, draw_edit, picture_pair, view
from editbench.suites.shapes_stream import Stream
from editbench.types import EditbenchError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on, beside the code, torch and the processor."""

    seed: int = 0
    pairs: int = 20_000
    """Edits to learn from: twice as many pictures."""
    steps: int = 2400
    batch: int = 48
    """Edits a step."""
    distractors: int = 2
    """Captions an edit that differ a little from the true ones."""
    learning_rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.05
    simple_steps: float = 0.2
    """Share of the steps, the first ones, that see scenes of one or two objects only."""

    @property
    def key(self) -> str:
        """Key of the streams that scenes, words and windows are drawn from."""
        return f"shapes-tiny/{self.seed}"


def _is_simple(pair: Pair) -> bool:
    return sum(thing is not None for thing in pair.plan.before.things) <= 2


class Data:
    """The pictures to learn from, and batches of them: the same for the same recipe and step."""

    def __init__(self, recipe: Recipe, tokenizer: Any, size: int, mean: list[float], std: list[float]) -> None:
        self.recipe, self.tokenizer, self.size = recipe, tokenizer, size
        self.mean, self.std = (np.array(values, np.float32) * 255 for values in (mean, std))
        self.pairs = [picture_pair(draw_edit(f"{recipe.key}/train", number)) for number in range(recipe.pairs)]
        self.simple = [pair for pair in self.pairs if _is_simple(pair)]

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Return the pictures, the tokens and the texts of a step.

        With B edits and D distractors: `float32 (2B, 3, size, size)`, B before and B after; `int64 (B (2 + D), …)`, the
        captions in the order of the pictures, then the distractors of each edit.
        """
        import torch

        key = f"{self.recipe.key}/step/{step}"
        stream = Stream(key)
        pool = self.simple if step < self.recipe.simple_steps * self.recipe.steps else self.pairs
        chosen = [stream.choice(pool) for _ in range(self.recipe.batch)]
        worded = [captions(pair.plan, f"{key}/{n}", self.recipe.distractors) for n, pair in enumerate(chosen)]
        shown = np.stack([view(pair, side, self.size, stream) for side in (0, 1) for pair in chosen])
        pixels = torch.from_numpy((shown.astype(np.float32) - self.mean) / self.std).permute(0, 3, 1, 2)
        texts = [words[0] for words in worded] + [words[1] for words in worded]
        texts += [text for words in worded for text in words[2]]
        return pixels, self.tokenizer(texts), texts


def contrastive_loss(
    pictures: torch.Tensor, words: torch.Tensor, scale: torch.Tensor, texts: list[str]
) -> torch.Tensor:
    """Return the loss of a batch: CLIP's, and the same again among the captions of one edit alone.

    Args:
        pictures: unit vectors `(2B, d)`, B before and B after.
        words: unit vectors `(B (2 + D), d)`, as `Data.batch` orders them.
        scale: what cosines are multiplied with.
        texts: of `words`; equal ones are all right for a picture (a moved object leaves the caption as it was).
    """
    import torch
    from torch.nn.functional import cross_entropy

    count = len(pictures)
    edits, extra = count // 2, (len(words) - count) // (count // 2)
    logits = scale * pictures @ words.T
    own = torch.arange(edits).repeat(2)
    edit_of = torch.cat([own, torch.arange(edits).repeat_interleave(extra)])
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    same = torch.tensor([numbers[text] for text in texts])
    right = (same[:count, None] == same[None]).float()

    def loss(table: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return cross_entropy(table, truth / truth.sum(1, keepdim=True))

    elsewhere = own[:, None] != edit_of[None]
    among_own = logits.masked_fill(elsewhere, -1e4)
    right_own = right.masked_fill(elsewhere, 0)
    to_words = loss(logits, right) + loss(among_own, right_own)
    true = slice(0, count)  # the distractors belong to no picture
    to_pictures = loss(logits[:, true].T, right[:, true].T) + loss(among_own[:, true].T, right_own[:, true].T)
    return (to_words + to_pictures) / 4


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to zero."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(recipe: Recipe, folder: Path, stop_after: int | None = None) -> None:
    """Train, and write everything that open_clip needs into a folder; go on where an interrupted run stopped.

    Progress goes to the standard error stream.

    Args:
        recipe: what to do.
        folder: gets configuration, vocabulary, weights (float16) and `training.json`; until then, a checkpoint.
        stop_after: stop after this step, as an interruption would.
    """
    import torch
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer
    from torch.nn.functional import normalize

    torch.set_num_threads(1)  # more would change the order of sums, and so the weights
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG.read_text(encoding="utf-8")
    config = loads(text)
    words.write(folder / WORDS.name)
    network, preprocess = config["model_cfg"], config["preprocess_cfg"]
    tokenizer = SimpleTokenizer(str(folder / WORDS.name), context_length=network["text_cfg"]["context_length"])
    model = CLIP(**network)
    model.visual = model.visual.to(memory_format=torch.channels_last)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    checkpoint = folder / "checkpoint.safetensors"
    first, spent = _resume(checkpoint, recipe, model, optimizer)
    started = time.process_time() - spent
    _tell(f"drawing {recipe.pairs} edits, then steps {first + 1} to {recipe.steps}")
    data = Data(recipe, tokenizer, network["vision_cfg"]["image_size"], preprocess["mean"], preprocess["std"])
    for step in range(first, recipe.steps):
        pixels, tokens, texts = data.batch(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", torch.bfloat16):  # twice as fast; the metric itself computes in float32
            pictures = model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        scale = model.logit_scale.exp()
        loss = contrastive_loss(normalize(pictures.float(), dim=-1), model.encode_text(tokens, True), scale, texts)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))  # as CLIP does
        done, seconds = step + 1, time.process_time() - started
        if done % 50 == 0:
            _tell(f"step {done} of {recipe.steps}: loss {loss.item():.3f}, {seconds:.0f} s")
        if done % 200 == 0 or done == stop_after:
            _save(checkpoint, _state(model, optimizer), {"recipe": _text(recipe), "step": done, "seconds": seconds})
        if done == stop_after:
            return
    half = {name: v.half() if v.is_floating_point() else v for name, v in model.state_dict().items()}
    _save(folder / MODEL.name, half, {})
    (folder / CONFIG.name).write_text(text, encoding="utf-8")
    about = {
        "recipe": asdict(recipe),
        "torch": str(torch.__version__),
        "processor_minutes": round((time.process_time() - started) / 60, 1),
    }
    (folder / TRAINING.name).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _text(recipe: Recipe) -> str:
    return json.dumps(asdict(recipe), sort_keys=True)


def _state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
    return state


def _resume(path: Path, recipe: Recipe, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load a checkpoint of the same recipe if there is one; return the steps done and the seconds they took."""
    if not path.is_file():
        return 0, 0.0
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        notes = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if notes["recipe"] != _text(recipe):
        raise EditbenchError(f"{path} is of another recipe, {notes['recipe']}: remove it, or choose another folder")
    model.load_state_dict({name.removeprefix("model/"): v for name, v in state.items() if name.startswith("model/")})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        if name.startswith("optimizer/"):
            _, index, kind = name.split("/")
            moments.setdefault(int(index), {})[kind] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return int(notes["step"]), float(notes["seconds"])


def _save(path: Path, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
    from safetensors.torch import save

    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(save(contiguous, {name: str(value) for name, value in notes.items()}))
    temporary.replace(path)
