"""Where the weights of the perceptual metrics are, and the networks made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from editbench.metrics import neural
from editbench.metrics.lpips_network import Network, load
from editbench.types import EditbenchError

Files = dict[str, Path]
"""Files of weights by the name that they have in a signature."""

_TRUNKS: Mapping[str, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
"""torchvision's ImageNet weights, IMAGENET1K_V1; a name ends with the first digits of the file's sha256."""
_DOWNLOAD = "https://download.pytorch.org/models/"


def hashes(files: Files) -> dict[str, str]:
    """Return the sha256 of each file."""
    return {name: neural.file_sha256(path) for name, path in files.items()}


def network(trunk: str, files: Files) -> Network:
    """Return the network that reads these files, loaded once a process."""
    return load(trunk, tuple((path, neural.file_sha256(path)) for path in files.values()))


def shift_tolerant_files(net: str) -> Files:
    """Return the file with trunk and head of a shift-tolerant LPIPS, as `stlpips-pytorch` ships it.

    Raises:
        EditbenchError: if that is not installed.
    """
    name = f"{net}_shift_tolerant.pth"
    return {name: neural.packaged_file("stlpips-pytorch", f"weights/vST0.0/{name}", "st_lpips")}


def lpips_files(net: str, trunk: Path | None, needed_by: str) -> Files:
    """Return the files with trunk and head of LPIPS.

    Args:
        net: alex, vgg or squeeze.
        trunk: torchvision's checkpoint of the trunk; None: where torch.hub keeps downloads.
        needed_by: the metric, for the message.

    Raises:
        EditbenchError: if one is missing, or bears the official name and is something else.
    """
    head = neural.packaged_file("lpips", f"weights/v0.1/{net}.pth", needed_by)
    path = _trunk_file(net, trunk, needed_by)
    return {path.name: path, f"lpips v0.1 {head.name}": head}


def _trunk_file(net: str, given: Path | None, needed_by: str) -> Path:
    """Return the file with torchvision's weights of a trunk, downloading nothing.

    Raises:
        EditbenchError: if it is missing, or bears the official name and is something else.
    """
    name = _TRUNKS[net]
    path = given or _hub() / "checkpoints" / name
    get = f"download {_DOWNLOAD}{name}"
    if not path.is_file():
        where = f"to {path.parent}, or name your copy with trunk=PATH" if given is None else "there"
        raise EditbenchError(f"{needed_by} needs {path}, which does not exist: {get} {where}")
    promised = path.stem.rpartition("-")[2] if path.name == name else ""
    if not (sha256 := neural.file_sha256(path)).startswith(promised):
        raise EditbenchError(f"{path}: its sha256 begins with {sha256[:8]}, not {promised}: delete it and {get} there")
    return path


def _hub() -> Path:
    """Return `torch.hub.get_dir()`, without the seconds that importing torch takes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser() / "hub"
