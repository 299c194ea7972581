"""Transformers checkpoints that are on this machine already: a folder, or the hub's cache. Nothing is downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editbench.metrics.neural import file_sha256
from editbench.records import loads
from editbench.types import EditbenchError

_CONFIG = "config.json"
_TENSORS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where a checkpoint keeps its tensors, in the order in which transformers looks."""
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""The two forms in which CLIP's vocabulary comes; either is enough."""


def model_folder(model: str, needed_by: str) -> Path:
    """Return the folder of a checkpoint.

    Args:
        model: a folder, or the id of a model in the hub's local cache (its `main` revision).
        needed_by: the metric, for the message.

    Raises:
        EditbenchError: if there is no such checkpoint here; the message says how to get it.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _cached(model) or folder
    missing = None if (folder / _CONFIG).is_file() else _CONFIG
    if missing is None and not any((folder / name).is_file() for name in _TENSORS):
        missing = " or ".join(name for name in _TENSORS if "index" not in name)
    if missing is None:
        return folder
    if folder.is_dir():
        raise EditbenchError(f"{needed_by}: {str(folder)!r} has no {missing}, expected a transformers checkpoint")
    raise EditbenchError(
        f"{needed_by} needs {model}, which is neither a folder nor in the hub's cache: "
        f"run `hf download {model}`, or give model=FOLDER"
    )


def _cached(model: str) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with contextlib.suppress(HFValidationError):
        for name in (*_TENSORS, _CONFIG):  # a snapshot may hold no more than a configuration
            found = try_to_load_from_cache(model, name, cache_dir=constants.HF_HUB_CACHE)
            if isinstance(found, str):
                return Path(found).parent
    return None


def model_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint, without torch."""
    config: dict[str, Any] = loads((folder / _CONFIG).read_bytes())
    return config


def model_weights(folder: Path, needed_by: str, text: bool = False) -> dict[str, str]:
    """Return the sha256 of every file of a checkpoint that a value depends on, by name; without torch.

    Args:
        folder: as returned by `model_folder`.
        needed_by: the metric, for the message.
        text: whether its tokenizer is used as well.

    Raises:
        EditbenchError: if a file is missing.
    """
    names = [_CONFIG, *_tensor_files(folder)]
    if text:
        names += _tokenizer_files(folder, needed_by)
    for name in names:
        if not (folder / name).is_file():
            raise EditbenchError(f"{needed_by}: {str(folder)!r} has no {name}; run `hf download` again")
    return {name: file_sha256(folder / name) for name in names}


def _tensor_files(folder: Path) -> list[str]:
    first = next(name for name in _TENSORS if (folder / name).is_file())
    if not first.endswith(".index.json"):
        return [first]
    parts: dict[str, str] = loads((folder / first).read_bytes())["weight_map"]
    return [first, *sorted(set(parts.values()))]


def _tokenizer_files(folder: Path, needed_by: str) -> tuple[str, ...]:
    for names in _TOKENIZERS:
        if all((folder / name).is_file() for name in names):
            return names
    raise EditbenchError(f"{needed_by}: {str(folder)!r} has no tokenizer.json, and no vocab.json with merges.txt")


def load(kind: str, folder: Path, **options: Any) -> Any:
    """Return a model in evaluation mode and float32, on the processor, with every weight from the checkpoint.

    Args:
        kind: name of a class of transformers.
        folder: as returned by `model_folder`.
        options: passed to the class.

    Raises:
        EditbenchError: if the checkpoint lacks a weight, which transformers would fill in at random.
    """
    import transformers

    with _quiet():
        model, report = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **options
        )
    incomplete = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if incomplete:
        raise EditbenchError(f"{str(folder)!r} is no complete {kind}: no weights for {', '.join(incomplete[:3])}")
    return model.float().eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports off the terminal; `load` reads the report itself."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
