"""From the name of a model to a pipeline that is ready: which class it is, its weights, and how they are run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editbench.records import loads
from editbench.types import EditbenchError

if TYPE_CHECKING:  # finding out about an editor must not cost the seconds that torch takes
    import torch

Dtype = Literal["bfloat16", "float16", "float32"]
Offload = Literal["none", "model", "sequential"]
Compile = Literal["none", "default", "reduce-overhead", "max-autotune"]

INDEX = "model_index.json"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model before its weights are loaded."""

    pipeline: str
    """The class that it was saved from."""
    commit: str | None
    """Of a model on the hub."""


def find_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """Read a model's `model_index.json`; one on the hub is looked for there, or in the local cache.

    Args:
        model: a folder, or a name on the hub.
        revision: branch, tag or commit on the hub.

    Raises:
        EditbenchError: if there is no such model, or what is there is no pipeline.
    """
    try:
        path, commit = fetched(model, INDEX, revision)
        name = loads(path.read_bytes())["_class_name"]
    except FileNotFoundError:
        raise EditbenchError(
            f"diffusers: {model!r} has no {INDEX}, expected a pipeline as diffusers saves it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EditbenchError(
            f"diffusers: {INDEX} of {model!r} cannot be read: {type(error).__name__}: {error}"
        ) from None
    return Checkpoint(str(name[-1] if isinstance(name, list) else name), commit)


def fetched(model: str, name: str, revision: str | None) -> tuple[Path, str | None]:
    """Return where a small file of a model is, and the commit that it is from; from the hub unless it is cached.

    Raises:
        FileNotFoundError: if the model has no such file.
        EditbenchError: if there is no such model; the message says how to get it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / name).is_file():
            raise FileNotFoundError(folder / name)
        return folder / name, None
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        cached = try_to_load_from_cache(model, name, cache_dir=constants.HF_HUB_CACHE, revision=revision)
        path = Path(cached if isinstance(cached, str) else hf_hub_download(model, name, revision=revision))
    except HFValidationError:
        raise EditbenchError(f"no model {model!r}: neither a folder nor a name on the hub") from None
    except Exception as error:  # no network, no such name, a licence that was not accepted, …
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise FileNotFoundError(name) from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EditbenchError(
            f"no model {model!r}: no such folder, and nothing from the hub ({reason}). If the name is right, "
            f"`hf download {model}` gets it, after `hf auth login` where its licence must be accepted"
        ) from None
    return path, path.parents[name.count("/")].name


@dataclass(frozen=True)
class Loading:
    """How a pipeline is loaded and run; the fields are the editor's options of the same names."""

    dtype: Dtype
    device: str
    revision: str | None
    variant: str | None
    lora: str | None
    lora_scale: float
    offload: Offload
    slicing: bool
    compile: Compile
    safety: bool
    controlnet: str | None


def pipeline_class(name: str) -> Any:
    """Return a class of diffusers.

    Raises:
        EditbenchError: if the installed version does not have it.
    """
    import diffusers

    if not hasattr(diffusers, name):
        raise EditbenchError(f"diffusers {diffusers.__version__} has no {name}: pip install --upgrade diffusers")
    return getattr(diffusers, name)


def load_pipeline(model: str, pipeline: str, how: Loading) -> Any:
    """Load a pipeline, safetensors only, and bring it to where and how it is to run.

    Raises:
        EditbenchError: for what this pipeline or this machine cannot do.
    """
    import torch

    cls = pipeline_class(pipeline)
    dtype = getattr(torch, how.dtype)
    given: dict[str, Any] = {"revision": how.revision, "variant": how.variant}
    if not how.safety:
        given |= {name: value for name, value in _NO_CHECKER.items() if name in inspect.signature(cls).parameters}
    if how.controlnet is not None:
        controlnet = pipeline_class("ControlNetModel")
        given["controlnet"] = controlnet.from_pretrained(how.controlnet, dtype=dtype, use_safetensors=True)
    pipe = cls.from_pretrained(model, dtype=dtype, use_safetensors=True, **given)
    pipe.set_progress_bar_config(disable=True)
    if how.lora is not None:
        _add_lora(pipe, how.lora, how.lora_scale)
    if how.slicing:
        pipe.enable_attention_slicing()
    device = chosen_device(how.device)
    if how.offload == "none":
        pipe.to(device)
    elif device.type == "cpu":
        raise EditbenchError(f"diffusers: offload={how.offload} frees an accelerator, and there is none: leave it out")
    elif how.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    if how.compile != "none":
        network = getattr(pipe, "transformer", None) or pipe.unet
        network.compile(mode=how.compile)
    return pipe


_NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def chosen_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is this machine's accelerator, or the CPU."""
    import torch

    if name != "auto":
        return torch.device(name)
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def _add_lora(pipe: Any, lora: str, scale: float) -> None:
    if not hasattr(pipe, "load_lora_weights"):
        raise EditbenchError(f"diffusers: a {type(pipe).__name__} takes no LoRA: leave lora out")
    path = Path(lora).expanduser()
    if path.is_file():
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="lora")
    else:
        pipe.load_lora_weights(str(path) if path.is_dir() else lora, adapter_name="lora", use_safetensors=True)
    pipe.set_adapters("lora", scale)
