"""Supervised pre-training of the embedded policy: an editor that understands, under-edits and leaks.

It learns from exact targets that are spoilt on purpose (`spoil`), as editors in the wild are spoilt by their data: the
edit stops short, and the surroundings take on its colour and lose their texture. What reinforcement learning has to
repair is known exactly.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from edit_grpo_ref.examples import Examples, draw_examples, spoil
from edit_grpo_ref.policies.packing import pack
from edit_grpo_ref.policies.tiny import number_words, save_network, vocabulary_of, words_of
from edit_grpo_ref.policies.tiny_network import PATCH, SIDE, Architecture, Network
from edit_grpo_ref.scenes import CATEGORIES
from editbench.durable import write_whole
from editbench.types import EditbenchError


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on, beside the code, torch, the processor and the number of threads."""

    seed: int = 0
    scenes: int = 20_000
    """Scenes to learn from, one edit each."""
    steps: int = 4000
    batch: int = 32
    learning_rate: float = 1.5e-3
    warmup: int = 200
    cooldown: float = 0.25
    """Share of the steps, the last ones, in which the learning rate falls to zero."""
    weight_decay: float = 0.02
    average: float = 0.998
    """Decay of the moving average of the weights, which is what is kept."""
    edit_share: float = 0.5
    """What the pixels of the mask count in the loss, all together: a small object as much as a whole backdrop."""
    shift: float = 3.0
    """How far noise levels lie towards 1, where only the instruction says what is to change (SD3's shift)."""
    strength: tuple[tuple[float, float], ...] = ((0.5, 0.9), (0.6, 1.0), (0.4, 0.8))
    """How much of an edit the network is shown, from and to, for each of `CATEGORIES`; 1 is all of it.

    The checks of some kinds are stricter than those of others: at these shares, each passes now and then.
    """
    tint: float = 0.3
    """How far the surroundings move towards the edit's mean colour, at most."""
    smear: float = 0.3
    """How much of their texture they lose, at most."""
    width: int = 48
    blocks: int = 2
    mask: bool = False
    """Show the network the mask: an ablation."""


RECIPES = {"tiny": Recipe(), "small": Recipe(width=96, blocks=4, scenes=60_000, steps=30_000)}
"""`tiny` made the weights in the package; `small` has 6 times as many and takes hours."""


_TINT_CELLS = 4
"""Places, a side, between which the tint varies."""


class Batch(NamedTuple):
    """What a step learns from, packed as the network takes it."""

    x: torch.Tensor
    level: torch.Tensor
    source: torch.Tensor
    words: torch.Tensor
    mask: torch.Tensor
    residual: torch.Tensor
    """Of the spoilt target over the source: what the network should answer."""
    weight: torch.Tensor
    """Of each element in the loss; 1 on average."""


class Batches:
    """Batches of noisy spoilt pictures: the same for the same recipe and step, whatever came before."""

    def __init__(self, recipe: Recipe, examples: Examples, vocabulary: dict[str, int]) -> None:
        self.recipe, self.examples = recipe, examples
        self.words = number_words(examples.instructions, vocabulary)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        recipe, size = self.recipe, self.recipe.batch
        digest = hashlib.sha256(f"pretrain/{recipe.seed}/{step}".encode()).digest()
        chance = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        chosen = torch.randint(len(self.examples.source), (size,), generator=chance)
        source, target = (
            torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2) / 127.5 - 1
            for pictures in (self.examples.source, self.examples.target)
        )
        mask = torch.from_numpy(self.examples.mask[chosen.numpy()])[:, None].float()
        low, high = torch.tensor(recipe.strength)[chosen % len(CATEGORIES)].T[..., None, None, None]
        strength, smear = torch.rand(2, size, 1, 1, 1, generator=chance)
        tint = recipe.tint * torch.rand(size, 1, _TINT_CELLS, _TINT_CELLS, generator=chance)
        taught = spoil(source, target, mask, low + (high - low) * strength, tint, recipe.smear * smear)
        even = torch.rand(size, generator=chance)
        level = recipe.shift * even / (1 + (recipe.shift - 1) * even)
        noise = torch.randn(size, 3, SIDE, SIDE, generator=chance)
        sigma = level[:, None, None, None]
        noisy = (1 - sigma) * taught + sigma * noise
        area = mask.mean((2, 3), keepdim=True)
        shares = mask * recipe.edit_share / area + (1 - mask) * (1 - recipe.edit_share) / (1 - area)
        weight = shares.expand(-1, 3, -1, -1)
        planes = (noisy, source, mask, taught - source, weight)
        x, clean, region, residual, counts = (pack(plane, PATCH) for plane in planes)
        return Batch(x, level, clean, self.words[chosen], region, residual, counts)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, level, then linearly down to zero."""
    up = (step + 1) / recipe.warmup
    down = (recipe.steps - step) / (recipe.cooldown * recipe.steps)
    return recipe.learning_rate * min(1.0, up, down)


def pretrain(
    output: Path,
    recipe: Recipe | None = None,
    *,
    threads: int = 1,
    stop_after: int | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train the embedded policy from nothing and write its weights; go on where an interrupted call stopped.

    Args:
        output: gets the weights; beside it is a checkpoint, until they are finished.
        recipe: what to do; the one that made the weights in the package if None.
        threads: cores to use; another number sums in another order, and gives weights that differ in the last bits.
        stop_after: stop after this step, as an interruption would.
        tell: called every 50 steps.

    Raises:
        EditbenchError: if the checkpoint is of another recipe.
    """
    recipe = Recipe() if recipe is None else recipe
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    examples = draw_examples(recipe.scenes, threads)
    words = sorted({word for instruction in examples.instructions for word in words_of(instruction)})
    batches = Batches(recipe, examples, vocabulary_of(words))
    student = Student(recipe, len(words) + 2)
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    first = student.resume(checkpoint) if checkpoint.is_file() else 0
    started, losses = time.monotonic(), []
    for step in range(first, recipe.steps):
        losses.append(student.step(step, batches.batch(step)))
        done = step + 1
        if done % 50 == 0 or done == recipe.steps:
            tell(Progress(done, recipe.steps, sum(losses) / len(losses), time.monotonic() - started))
            losses.clear()
        if done % 500 == 0 or done == stop_after:
            student.save(checkpoint, done)
        if done == stop_after:
            return
    notes = {"recipe": asdict(recipe), "torch": str(torch.__version__), "threads": threads}
    save_network(output, words, student.average, notes)
    checkpoint.unlink(missing_ok=True)


@dataclass(frozen=True)
class Progress:
    """How far pre-training is."""

    step: int
    steps: int
    loss: float
    """Mean of the steps since the last report."""
    seconds: float
    """Since this call began to train."""


class Student:
    """The network in training, the moving average of its weights, and the optimiser."""

    def __init__(self, recipe: Recipe, vocabulary: int) -> None:
        self.recipe = recipe
        self.network = Network(Architecture(vocabulary, recipe.width, recipe.blocks, recipe.mask))
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        matrices = [parameter for parameter in self.network.parameters() if parameter.ndim >= 2]
        vectors = [parameter for parameter in self.network.parameters() if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))

    def step(self, step: int, batch: Batch) -> float:
        """Make one update; return the loss, the weighted mean squared error of x0."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        mask = batch.mask if self.recipe.mask else None
        found = self.network(batch.x, batch.level, batch.source, batch.words, mask)
        loss = (batch.weight * (found - batch.residual).square()).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(self.recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return loss.item()

    def save(self, path: Path, step: int) -> None:
        """Write everything that the next step depends on."""
        from safetensors.torch import save

        state = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        state |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        whole = {name: value.detach().contiguous() for name, value in state.items()}
        write_whole(path, [save(whole, {"recipe": _text(self.recipe), "step": str(step)})])

    def resume(self, path: Path) -> int:
        """Read what `save` wrote; return how many steps it had made."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            notes, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["recipe"] != _text(self.recipe):
            raise EditbenchError(f"{path} is of another recipe, {notes['recipe']}: remove it, or choose another output")
        for part, module in (("network", self.network), ("average", self.average)):
            own = {name.removeprefix(f"{part}/"): v for name, v in state.items() if name.startswith(f"{part}/")}
            module.load_state_dict(own)
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimizer/"):
                _, index, kind = name.split("/")
                moments.setdefault(int(index), {})[kind] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        return int(notes["step"])


def _text(recipe: Recipe) -> str:
    return json.dumps(asdict(recipe), sort_keys=True)
