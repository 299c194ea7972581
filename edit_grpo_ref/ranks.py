"""Several processes, one trajectory: what ranks share of a step is summed, and everything else is counter-based.

Start with `torchrun --nproc-per-node N -m edit_grpo_ref train …` or `accelerate launch`. Groups stay whole: a rank
rolls out some of the prompts, all samples of each. Rewards of all groups reach all ranks, gradients are summed. Since
noise depends on scenario, sample and step alone, N ranks and one differ by the order of float32 sums. Where
`accelerate` was told FSDP, the network itself is shared out (`sharding`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

from edit_grpo_ref import sharding
from editbench.types import EditbenchError


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1
    sharded: bool = False
    """Whether each holds a part of every weight: then all have to make every pass through the network together."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def check(self, prompts: int) -> None:
        """Refuse ranks that would have nothing to do."""
        if prompts < self.count:
            raise EditbenchError(f"prompts: {prompts}, expected at least one for each of {self.count} ranks")

    def share(self, total: int) -> range:
        """Return which of `total` prompts are this rank's: a contiguous block, sizes differing by one at most."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks."""
        if self.count == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all ranks, in one message; FSDP has done so already."""
        if self.count == 1 or self.sharded:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def idle(self, batches: int) -> int:
        """Return how many batches this rank has to go through for the others' sake, besides its own."""
        if not self.sharded:
            return 0
        return max(self.gather(batches)) - batches

    def gather(self, data: Any) -> list[Any]:
        """Return JSON data of every rank, in order."""
        if self.count == 1:
            return [data]
        encoded = json.dumps(data).encode()
        sizes = torch.zeros(self.count, dtype=torch.int64)
        sizes[self.rank] = len(encoded)
        sizes = self.sum(sizes)
        table = torch.zeros(self.count, int(sizes.max()), dtype=torch.int32)
        table[self.rank, : len(encoded)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8).int()
        table = self.sum(table).to(torch.uint8)
        return [json.loads(bytes(row[:size].tolist())) for row, size in zip(table, sizes.tolist(), strict=True)]


ALONE = Ranks()


@contextmanager
def start() -> Iterator[Ranks]:
    """Join the process group that `torchrun` or `accelerate launch` describes in the environment; one rank without.

    Tensors on the CPU are summed by Gloo, those on a GPU by NCCL; `cuda` then means the rank's own device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count, sharding.asked())
        distributed.barrier()  # a rank that has left while another still speaks to it may abort that one, or itself
    finally:
        distributed.destroy_process_group()
