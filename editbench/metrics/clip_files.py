"""Where the files of an open_clip model are on this machine, found without contacting a model hub."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editbench.metrics.neural import file_sha256
from editbench.records import loads
from editbench.specs import did_you_mean
from editbench.types import EditbenchError

SHAPES_TINY = "shapes-tiny"
"""The model that comes with this package, for the pictures and prompts of `shapes@1` alone."""
CONFIG = "open_clip_config.json"
"""What open_clip calls the description of a model in a folder of its own, local or on the hub."""
_HUB = "hf-hub:"
_CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weights in the order in which open_clip prefers them."""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json")
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class ClipFiles:
    """What a model is made of, and what open_clip has to be told to make it."""

    name: str
    """As open_clip's `create_model` and `get_tokenizer` understand it: an architecture or `local-dir:FOLDER`."""
    checkpoint: Path
    others: tuple[Path, ...] = ()
    """Files beside the weights that values depend on: configuration, vocabulary."""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """How images are resized and normalised, where the weights demand it rather than the configuration."""
    quick_gelu: bool | None = None
    """The activation that the weights were trained with, where it is known; the configuration's otherwise."""
    vocabulary: Path | None = None
    """Byte-pair merges, where they are not open_clip's own."""

    @property
    def weights(self) -> dict[str, str]:
        """Return sha256 by name of file."""
        return {path.name: file_sha256(path) for path in (self.checkpoint, *self.others)}


def clip_files(model: str, pretrained: str | None, needed_by: str) -> ClipFiles:
    """Find the files of a model in a folder, in a local checkpoint or in the cache of the model hub.

    Tags of pretrained weights are listed inside open_clip: finding one imports it, and torch.

    Args:
        model: `shapes-tiny`, an architecture of open_clip, a folder with an `open_clip_config.json` (or that file), or
            `hf-hub:OWNER/NAME`.
        pretrained: a checkpoint's path or, for an architecture, one of open_clip's tags; None where a folder has both.
        needed_by: the metric, for messages.

    Raises:
        EditbenchError: if there is no such model, or its files are not here; the message says how to get them.
    """
    if model == SHAPES_TINY:
        spec = importlib.util.find_spec("editbench")
        assert spec is not None and spec.submodule_search_locations is not None
        return _in_folder(Path(spec.submodule_search_locations[0]) / "shapes_tiny", pretrained, needed_by)
    if model.startswith(_HUB):
        config = _cached(model.removeprefix(_HUB), (CONFIG,))
        if config is None:
            raise _missing(needed_by, model, pretrained, f"{model} is")
        return _in_folder(config.parent, pretrained, needed_by)
    path = Path(model).expanduser()
    if path.name == CONFIG and path.is_file():
        path = path.parent
    if path.is_dir():
        return _in_folder(path, pretrained, needed_by)
    return _architecture(model.replace("/", "-"), pretrained, needed_by)


def _in_folder(folder: Path, pretrained: str | None, needed_by: str) -> ClipFiles:
    config = folder / CONFIG
    try:
        text_cfg = loads(config.read_bytes())["model_cfg"]["text_cfg"]
    except (OSError, ValueError, KeyError, TypeError):
        raise EditbenchError(f"{needed_by}: {config} cannot be read, expected JSON with a model_cfg") from None
    if pretrained is None:
        found = [folder / name for name in _CHECKPOINTS if (folder / name).is_file()]
        if not found:
            raise EditbenchError(f"{needed_by}: no weights in {folder}, expected {' or '.join(_CHECKPOINTS)}")
        checkpoint = found[0]
    else:
        checkpoint = Path(pretrained).expanduser()
        if not checkpoint.is_file():
            raise EditbenchError(f"{needed_by}: no file pretrained={pretrained!r}, expected weights of {folder}")
    named = (text_cfg.get("tokenizer_kwargs") or {}).get("bpe_path")
    vocabulary = None if named is None else folder / named
    others = [config, *(folder / name for name in _TOKENIZER if (folder / name).is_file())]
    if vocabulary is not None:
        if not vocabulary.is_file():
            raise EditbenchError(f"{needed_by}: no vocabulary {vocabulary}, which {CONFIG} asks for")
        others.append(vocabulary)
    return ClipFiles(f"local-dir:{folder}", checkpoint, tuple(others), vocabulary=vocabulary)


def _architecture(model: str, pretrained: str | None, needed_by: str) -> ClipFiles:
    known = _architectures()
    if model not in known:
        hint = did_you_mean(model, [SHAPES_TINY, *known])
        hint = hint or f", expected {SHAPES_TINY}, an architecture of open_clip, {_HUB}OWNER/NAME or a folder"
        raise EditbenchError(f"{needed_by}: no model {model!r}{hint}")
    text_cfg = loads(known[model].read_bytes())["text_cfg"]
    others = []
    for repository, names in (
        (text_cfg.get("hf_tokenizer_name"), _TOKENIZER),
        (text_cfg.get("hf_model_name"), ("config.json",)),
    ):
        if repository:
            found = [path for name in names if (path := _cached(repository, (name,)))]
            if not found:
                raise _missing(needed_by, model, pretrained, f"{names[0]} of {repository} is")
            others += found
    if pretrained is not None and (local := Path(pretrained).expanduser()).is_file():
        return ClipFiles(model, local, tuple(others))
    tag = _tag(model, pretrained, needed_by)
    checkpoint = _of_tag(tag)
    if checkpoint is None:
        raise _missing(needed_by, model, pretrained, f"the weights {pretrained} of {model} are")
    preprocess = {name: tag[name] for name in _PREPROCESS if name in tag}
    return ClipFiles(model, checkpoint, tuple(others), preprocess, bool(tag.get("quick_gelu", False)))


def _architectures() -> dict[str, Path]:
    """Return the configurations that open_clip ships; finding a package does not import it."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise EditbenchError("open_clip is not installed: pip install open_clip_torch")
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def _tag(model: str, pretrained: str | None, needed_by: str) -> Mapping[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(model)
    expected = f"expected a checkpoint's path or one of {', '.join(tags)}" if tags else "expected a checkpoint's path"
    if pretrained is None:
        raise EditbenchError(f"{needed_by}: model={model} needs pretrained=…, {expected}")
    tag: Mapping[str, Any] = get_pretrained_cfg(model, pretrained)
    if not tag:
        hint = did_you_mean(pretrained, tags) or f", {expected}"
        raise EditbenchError(f"{needed_by}: pretrained={pretrained!r} is no file and no tag of {model}{hint}")
    return tag


def _of_tag(tag: Mapping[str, Any]) -> Path | None:
    """Return the file that open_clip would use for a tag, if it has been downloaded."""
    if tag.get("hf_hub"):
        repository, name = os.path.split(tag["hf_hub"])
        stem = name.removesuffix(".bin").removesuffix(".pth")
        names = (f"{stem}.safetensors", name) if name else (_CHECKPOINTS[0], _CHECKPOINTS[2])
        found = _cached(repository, names)
        if found:
            return found
    if tag.get("url"):
        path = Path("~/.cache/clip").expanduser() / Path(tag["url"]).name
        return path if path.is_file() else None
    return None


def _cached(repository: str, names: tuple[str, ...]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _missing(needed_by: str, model: str, pretrained: str | None, what: str) -> EditbenchError:
    arguments = f"'{model}'" if pretrained is None else f"'{model}', '{pretrained}'"
    command = f"import open_clip as o; o.create_model({arguments}); o.get_tokenizer('{model}')"
    return EditbenchError(
        f'{needed_by}: {what} not on this machine, and a run contacts no model hub: python -c "{command}"'
    )
