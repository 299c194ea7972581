"""Parsers of what the trainer reads: checkpoints, the embedded policy, facts of a finished unit, its own log."""

import json
import tempfile
from pathlib import Path

import torch
from fuzz.engine import Parser
from fuzz.texts import contradictions, mutate_bytes, mutate_json
from safetensors.torch import save

from edit_grpo_ref import checkpoint
from edit_grpo_ref.checkpoint import Checkpoint
from edit_grpo_ref.policies.tiny import load_network
from edit_grpo_ref.policies.tiny_network import Architecture, Network
from edit_grpo_ref.study.unit import read_facts
from editbench.types import EditbenchError

HERE = Path(tempfile.mkdtemp(prefix="fuzz-"))


def mutate_tensors(draw, data, seeds):
    """Mutate the JSON header of a safetensors file, or the JSON in its metadata, and state the new length; or bytes."""
    if draw.random() < 0.2:
        return mutate_bytes(draw, data, seeds)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = header["__metadata__"].get("about")
    if about is not None and draw.random() < 0.7:
        header["__metadata__"]["about"] = mutate_json(draw, about.encode(), [b"{}"]).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = mutate_json(draw, data[8 : 8 + size], [b"{}"])
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def saved():
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    config = {"policy": "tiny", "steps": 5, "learning_rate": 1e-3, "metrics": ["a"], "none": None}
    found = Checkpoint(
        3, "tiny", ("psnr:region=keep",), config, tensors, {"w": torch.ones(2)}, {"w.step": torch.tensor(3.0)}
    )

    def read(data):
        path = HERE / "checkpoint.safetensors"
        path.write_bytes(data)
        held = checkpoint.read(path)
        assert type(held.step) is int and held.step >= 0 and isinstance(held.policy, str)
        assert all(isinstance(metric, str) for metric in held.trained_on) and isinstance(held.config, dict)
        about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["about"]
        assert not contradictions(about), contradictions(about)

    return Parser("checkpoint", [checkpoint.encode(found)], read, (EditbenchError,), mutate_tensors, 6000, 120)


def network():
    words = ["paint", "it"]
    made = Network(Architecture(len(words) + 2, width=8, blocks=1))
    state = {name: value.half().contiguous() for name, value in made.state_dict().items()}
    about = json.dumps({"architecture": vars(made.architecture), "words": words})

    def read(data):
        path = HERE / "network.safetensors"
        path.write_bytes(data)
        vocabulary, loaded = load_network(path)
        assert all(isinstance(word, str) for word in vocabulary)
        assert all(torch.isfinite(value).all() for value in loaded.state_dict().values()), "weights that are not finite"

    return Parser("network", [save(state, {"about": about})], read, (EditbenchError,), mutate_tensors, 2000, 15)


def facts():
    good = {"label": "x", "fingerprint": "f", "compute": {"seconds": 1.5}, "curves": {"reward": [[1, 0.5]]}}

    def read(data):
        (HERE / "facts.json").write_bytes(data)
        assert isinstance(read_facts(HERE / "facts.json"), dict)
        assert not contradictions(data), contradictions(data)

    return Parser("facts", [json.dumps(good).encode()], read, (EditbenchError,), mutate_json, 4000, 120)


FACTORIES = {"checkpoint": saved, "network": network, "facts": facts}
