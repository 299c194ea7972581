import subprocess
import sys
from textwrap import dedent

import pytest
import torch

from edit_grpo_ref.policies import Policy, load_policy, select
from editbench.specs import SpecError

POLICY = """
    import contextlib
    from dataclasses import dataclass
    from editbench.registry import bare, written_spec

    @dataclass(frozen=True)
    class Still:
        size: int = 4
        prediction = "velocity"
        @property
        def spec(self): return written_spec(self)
        def encode(self, requests): ...
        def shape(self, condition): return (self.size,)
        def levels(self, steps, condition): ...
        def start(self, noise, level, condition): return noise
        def predict(self, x, level, condition): ...
        def decode(self, x0, condition): ...
        def grid(self, condition): ...
        def spread(self, weights): ...
        def trainable(self): return {}
        def reference(self): return contextlib.nullcontext()

    class Unfinished:
        prediction = "velocity"
        def encode(self, requests): ...
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(dedent(POLICY))
    return path


def test_ones_own_policy_is_named_by_its_file_and_makes_itself_again(file):
    policy = load_policy(f"{file}:Still:size=6")
    assert isinstance(policy, Policy)
    assert policy.shape({}) == (6,)
    assert policy.spec == f"{file}:Still:size=6"
    assert load_policy(policy.spec) == policy


def test_what_is_wrong_with_a_policy_is_said(file):
    with pytest.raises(SpecError, match="unknown policy 'difusers': did you mean 'diffusers'"):
        load_policy("difusers")
    with pytest.raises(SpecError, match="expected tiny, diffusers, module:Name"):
        load_policy("kontext")
    with pytest.raises(SpecError, match="unknown policy 'kontext': expected tiny"):
        load_policy("kontext:lora=4")
    with pytest.raises(SpecError, match="has no option 'sise': did you mean 'size'"):
        load_policy(f"{file}:Still:sise=3")
    with pytest.raises(
        SpecError, match="lacks spec, shape, levels, start, predict, decode, grid, spread, trainable, ref"
    ):
        load_policy(f"{file}:Unfinished")


def test_requests_are_selected_and_repeated():
    condition = {"source": torch.arange(6).reshape(3, 2), "length": torch.tensor([5, 6, 7])}
    chosen = select(condition, torch.tensor([2, 2, 0]))
    assert chosen["source"].tolist() == [[4, 5], [4, 5], [0, 1]]
    assert chosen["length"].tolist() == [7, 7, 5]


def test_naming_policies_does_not_import_torch():
    code = "import sys, edit_grpo_ref.policies; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
