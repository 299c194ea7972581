"""FSDP: a network whose weights are shared out over the ranks, as `accelerate launch` was told.

`accelerate` starts the processes and says what is a block; `torch.distributed.fsdp.fully_shard` does the rest. Every
weight is a `DTensor` then, of which a rank holds a part, frozen ones and adapters alike; so are its gradient, its
moving average and the optimiser's state. A block is put together for each pass, by all ranks at once: every
rank makes as many passes as any other.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as distributed
from torch import Tensor

from editbench.types import EditbenchError

NEEDED = {
    "FSDP_VERSION": ("2", "parameters keep their names and dtypes in it"),
    "FSDP_RESHARD_AFTER_FORWARD": (
        "true",
        "the reference and the moving average take the parameters' place in between",
    ),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": ("false", "it leaves text encoders empty on all ranks but the first"),
}
"""What the trainer relies on: variable of `accelerate launch`, its value, and why."""


def asked() -> bool:
    """Whether `accelerate launch` was told to shard.

    Raises:
        EditbenchError: if it was told something that the trainer cannot do.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    for name, (needed, why) in NEEDED.items():
        if (value := os.environ.get(name, "")).lower() != needed:
            raise EditbenchError(f"accelerate: {name.lower()} is {value!r}, expected {needed}: {why}")
    from torch.distributed.fsdp import FSDPModule

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise EditbenchError(f"FSDP: torch {torch.__version__} cannot sum gradients over ranks: install a newer one")
    return True


def shard(network: torch.nn.Module, device: str) -> bool:
    """Share out the weights of a network over the ranks, where that is asked for; return whether it is.

    A policy calls it once, when it has made what is to be trained and before it moves the network to `device`.
    Gradients are then sums over the ranks.
    """
    if not (distributed.is_initialized() and asked()):
        return False
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    plugin = FullyShardedDataParallelPlugin()
    plugin.set_auto_wrap_policy(network)
    is_block = fsdp2_prepare_auto_wrap_policy(plugin, network) or (lambda module: False)
    mesh = init_device_mesh(torch.device(device).type, (distributed.get_world_size(),))
    blocks = [module for module in network.modules() if module is not network and is_block(module)]
    for module in [*reversed(blocks), network]:  # from the inside out
        fully_shard(module, mesh=mesh, reshard_after_forward=True, offload_policy=plugin.cpu_offload)
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # Gloo cannot average
    return True


def is_shared(value: Tensor) -> bool:
    """Whether each rank holds a part of a tensor: whether it is a `DTensor`, whose import costs half a second."""
    return hasattr(value, "device_mesh")


def whole(value: Tensor) -> Tensor:
    """Return all of a tensor, of which each rank may hold a part; then all of them have to ask."""
    return value.full_tensor() if is_shared(value) else value  # type: ignore[attr-defined]


def shared_as(value: Tensor, own: Tensor) -> Tensor:
    """Return this rank's part of a tensor that every rank has wholly, where `own` is shared out."""
    if is_shared(value) or not is_shared(own):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
