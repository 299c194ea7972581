"""A policy of diffusers that notes how much of its network this rank holds."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from edit_grpo_ref.policies.diffusers import Diffusers


@dataclass(frozen=True, eq=False)
class Witness(Diffusers):
    notes: str = ""

    def __post_init__(self):
        super().__post_init__()
        if not torch.distributed.is_initialized():
            return
        held = {
            name: [(w.to_local() if isinstance(w, DTensor) else w).untyped_storage().nbytes(), w.numel() * w.itemsize]
            for name, w in self._family.network.named_parameters()
        }
        encoders = [w for part in (self._family.pipe.text_encoder, self._family.pipe.vae) for w in part.parameters()]
        assert not any(isinstance(w, DTensor) or w.is_meta for w in encoders)
        Path(self.notes, f"rank-{os.environ['RANK']}.json").write_text(json.dumps(held))
