"""An editor on an accelerator that fails for some seeds, and from then on until its process ends."""

import torch

lost = False


def answer():
    if lost:
        raise RuntimeError("CUDA error: unspecified launch failure")
    return []


torch.cuda.is_initialized = lambda: lost
torch.cuda.synchronize = torch.cuda.get_rng_state_all = answer


def edit(source, seed):
    global lost
    lost = lost or seed % 4 == 0
    answer()
    return source


def clumsy(source, seed):
    torch.cuda.is_initialized = lambda: True
    raise RuntimeError("CUDA error: invalid argument")
