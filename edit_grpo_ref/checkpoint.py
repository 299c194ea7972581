"""Checkpoints: one safetensors file that holds everything a run needs to go on, and everything an editor needs.

Tensors: `policy.NAME` (what was trained), `ema.NAME`, `old.NAME`, `optimizer.NAME.KEY`, `rng.cpu`, `rng.DEVICE`. The
header's metadata holds the rest as JSON. The data need no position of their own: which scenarios a step sees, and with
which noise, is a function of the seed and the step. A file is replaced whole: a kill at any moment leaves the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edit_grpo_ref.config import Settings
from edit_grpo_ref.policies import Policy
from edit_grpo_ref.sharding import shared_as, whole
from editbench.durable import StorageError, write_whole
from editbench.records import loads
from editbench.types import EditbenchError

FILE = "checkpoint.safetensors"
FORMAT = "edit_grpo_ref checkpoint"
SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    step: int
    """Updates made so far; training goes on with this number."""
    policy: str
    """Spec of the policy whose parameters these are."""
    trained_on: tuple[str, ...]
    """Metrics, services and benchmark scenarios that a board has to mark."""
    config: Mapping[str, Any]
    """Every option of the run."""
    parameters: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    ema: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """Moving average of the parameters; empty without one."""
    optimizer: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """`NAME.KEY` to the optimiser's state of a parameter."""
    rng: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """State of torch's generators by device."""
    old: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    """Parameters of the policy that rollouts come from, where that is another one (`train_nft`)."""

    def restore(self, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
        """Put parameters, optimiser and generators back to where they were."""
        assign(policy, self.parameters)
        for name, parameter in policy.trainable().items():
            prefix = f"{name}."
            found = {key[len(prefix) :]: value for key, value in self.optimizer.items() if key.startswith(prefix)}
            own = {key: value for key, value in found.items() if "." not in key}
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else shared_as(value, parameter).to(parameter.device, copy=True)
                for key, value in own.items()
            }
        for device, state in self.rng.items():
            if device == "cpu":
                torch.set_rng_state(state)
            elif torch.cuda.is_available():
                torch.cuda.set_rng_state(state, device)


def capture(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    ema: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    step: int,
    trained_on: tuple[str, ...],
    config: Settings,
    kept: bool = True,
) -> Checkpoint:
    """Return the state of a run as a checkpoint; tensors are not copied.

    Args:
        policy: being trained.
        optimizer: of its parameters.
        ema: moving average of the parameters.
        old: policy that rollouts come from.
        step: updates made.
        trained_on: what boards have to mark.
        config: of the run.
        kept: whether this rank writes it; where tensors are shared out all have to call, and others get empty ones.
    """
    parameters = policy.trainable()

    def all_of(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _all_of(value, kept) for name, value in values.items()}

    state = {
        f"{name}.{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    rng = {"cpu": torch.get_rng_state()}
    devices = {str(parameter.device) for parameter in parameters.values() if parameter.device.type == "cuda"}
    rng |= {device: torch.cuda.get_rng_state(device) for device in sorted(devices)}
    values = {name: parameter.detach() for name, parameter in parameters.items()}
    held = (all_of(values), all_of(ema), all_of(state), rng, all_of(old))
    return Checkpoint(step, policy.spec, trained_on, asdict(config), *held)


def _all_of(value: Tensor, kept: bool) -> Tensor:
    """Return a tensor with what other ranks hold of it, on the CPU then: a device may have no room for it."""
    found = whole(value)
    if found is value:
        return value
    return found.cpu() if kept else found.new_empty(0)


def resume(
    folder: Path,
    config: Settings,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    ema: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
) -> int:
    """Go on from the checkpoint in a folder, if there is one; return how many steps are done.

    Raises:
        EditbenchError: with what differs, if it is of a run that was told something else.
    """
    if not (folder / FILE).exists():
        return 0
    found = read(folder)
    if lines := config.resumable_from(found.config):
        raise EditbenchError(
            f"{folder} holds a run that was told something else: {'; '.join(lines)}. Give the same options to resume "
            "it, or another --output-dir"
        )
    found.restore(policy, optimizer)
    for kept, values in ((ema, found.ema), (old, found.old)):
        for name, value in kept.items():
            value.copy_(shared_as(values[name], value))
    return found.step


@contextmanager
def locked(folder: Path, active: bool) -> Iterator[None]:
    """Keep other processes from training into the same folder.

    Raises:
        EditbenchError: if one does already.
        StorageError: if the folder cannot be made.
    """
    if not active:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise EditbenchError(f"another process is training into {folder}: give another --output-dir") from None
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        for left in [*folder.glob(".*.tmp"), *folder.glob("grids/.*.tmp")]:  # by a process that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def encode(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as the bytes of a safetensors file: the same ones for the same state."""
    groups = {
        "policy": checkpoint.parameters,
        "ema": checkpoint.ema,
        "optimizer": checkpoint.optimizer,
        "rng": checkpoint.rng,
        "old": checkpoint.old,
    }
    tensors = {
        f"{group}.{name}": value.contiguous().cpu() for group, held in groups.items() for name, value in held.items()
    }
    about = {name: getattr(checkpoint, name) for name in ("step", "policy", "trained_on", "config")}
    metadata = {"format": FORMAT, "schema": str(SCHEMA), "about": json.dumps(about, sort_keys=True, allow_nan=False)}
    return _sorted_metadata(save(tensors, metadata))


def _sorted_metadata(file: bytes) -> bytes:
    """Put a file's metadata in order: the library writes them in a random one, and the file's hash is in records."""
    size = int.from_bytes(file[:8], "little")
    header = loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into an output directory, whole or not at all.

    Raises:
        StorageError: naming the path; the checkpoint that was there is intact.
    """
    write_whole(folder / FILE, [encode(checkpoint)])


def for_editing(checkpoint: Checkpoint, name: str) -> Checkpoint:
    """Return what an editor needs of a checkpoint, wherever it was trained: the moving average if there is one.

    Args:
        checkpoint: of a finished run.
        name: stands in the options in the place of the output directory.
    """
    config = {**checkpoint.config, "output_dir": name}
    parameters = checkpoint.ema or checkpoint.parameters
    return Checkpoint(checkpoint.step, checkpoint.policy, checkpoint.trained_on, config, parameters)


def read(path: Path, weights_only: bool = False) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file, or the output directory that it is in.
        weights_only: leave optimiser and generators in the file.

    Raises:
        EditbenchError: if there is none, or it is not one, or a newer program wrote it.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise EditbenchError(f"no checkpoint {str(file)!r}: expected what `edit-grpo-ref train --output-dir` wrote")
    groups: dict[str, dict[str, Tensor]] = {"policy": {}, "ema": {}, "optimizer": {}, "rng": {}, "old": {}}
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise EditbenchError(f"{file}: a safetensors file, but not a checkpoint of edit-grpo-ref")
            if int(metadata["schema"]) > SCHEMA:
                raise EditbenchError(f"{file}: schema {metadata['schema']} is newer than {SCHEMA}: update the program")
            for key in opened.keys():  # noqa: SIM118
                group, _, name = key.partition(".")
                if not weights_only or group in ("policy", "ema"):
                    groups[group][name] = opened.get_tensor(key)
            about = loads(metadata["about"])
        _check(about)
    except (SafetensorError, ValueError, KeyError) as error:
        raise EditbenchError(f"{file}: not a checkpoint, or a damaged one ({type(error).__name__})") from None
    about["trained_on"] = tuple(about["trained_on"])
    held = {"parameters" if group == "policy" else group: values for group, values in groups.items()}
    return Checkpoint(**{**about, **held})


def _check(about: Any) -> None:
    match about:
        case {"step": int() as step, "policy": str(), "trained_on": list() as metrics, "config": dict(), **rest}:
            texts = all(isinstance(metric, str) for metric in metrics)
            if texts and not rest and type(step) is int and 0 <= step < 2**63:
                return
    raise ValueError("a checkpoint without step, policy, trained_on and config")


def assign(policy: Policy, values: Mapping[str, Tensor]) -> None:
    """Put parameters into a policy.

    Raises:
        EditbenchError: if names or shapes are not the policy's.
    """
    parameters = policy.trainable()
    for name in sorted(parameters.keys() ^ values.keys()):
        where = "the checkpoint" if name in parameters else f"policy {policy.spec!r}"
        raise EditbenchError(f"{where} has no parameter {name!r}: it belongs to another policy")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != values[name].shape:
                shapes = f"{tuple(values[name].shape)}, expected {tuple(parameter.shape)}"
                raise EditbenchError(f"parameter {name!r} has shape {shapes}: it belongs to another policy")
            parameter.copy_(shared_as(values[name], parameter))
