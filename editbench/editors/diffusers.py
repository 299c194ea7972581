"""`diffusers:MODEL`: any pipeline of diffusers that edits images. `diffusers_families` has how each is asked."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from PIL import Image as PILImage

from editbench.editors.diffusers_families import AS_IMG2IMG, FAMILIES, Ask, Family, PromptKind
from editbench.editors.diffusers_loading import (
    Compile,
    Dtype,
    Loading,
    Offload,
    chosen_device,
    find_checkpoint,
    load_pipeline,
    pipeline_class,
)
from editbench.editors.sizes import Fit, Fitted, fit_source
from editbench.images import Accepted, InvalidImage, as_image, resize, size_text
from editbench.records import loads
from editbench.registry import bare
from editbench.specs import did_you_mean, parse
from editbench.types import EditbenchError, EditRequest, MaskAccess


@dataclass(frozen=True)
class Diffusers:
    """A pipeline of diffusers as an editor; docs/diffusers.md has the families.

    Each request's noise comes from a generator of its own on the CPU, seeded by the request: it depends on no batch,
    shard or device. Sizes are made legal and brought back as `sizes.py` says. What is left out of `steps`, `guidance`,
    `image_guidance` and `strength` is the pipeline's own default.

    Args:
        model: a folder, or a name on the hub.
        pipeline: the class to load it as; by default the one it was saved from, or img2img for text-to-image.
        prompt: what it reads, `instruction` or `target`; by default what its family is made for. Without a target
            prompt it reads the instruction, and the edit has the flag `prompt=instruction`.
        steps: of denoising.
        guidance: scale of the guidance by the prompt.
        image_guidance: scale of the guidance by the source.
        strength: how far back to noise the source is brought, in (0, 1].
        call: further arguments of the pipeline's call, as it names them: `call=[true_cfg_scale=2,eta=1]`.
        area: pixels to edit at; by default the source's own size.
        max_side: longer side to edit at, at most.
        fit: how a size that the family does not take is made legal: `reflect`, `edge` (padded) or `resize`.
        dtype: of the weights.
        device: `auto` (an accelerator if there is one), `cpu`, `cuda:1`, …
        offload: `model` or `sequential` keeps in the accelerator's memory only what runs.
        slicing: whether attention is computed in slices: slower, in less memory.
        compile: a mode of torch.compile for the denoising network.
        lora: a file or folder of adapters, or a name on the hub.
        lora_scale: what they are multiplied by.
        controlnet: a folder or a name on the hub, for checkpoints that come without.
        safety: whether a safety checker that the model has is asked; what it blacks out has the flag `safety-checker`.
        revision: branch, tag or commit on the hub; the commit found is written into the spec.
        variant: of the weights' files, such as `fp16`.
    """

    model: str = bare()
    pipeline: str | None = None
    prompt: PromptKind | None = None
    steps: int | None = None
    guidance: float | None = None
    image_guidance: float | None = None
    strength: float | None = None
    call: str | None = None
    area: int | None = None
    max_side: int | None = None
    fit: Fit = "reflect"
    dtype: Dtype = "bfloat16"
    device: str = "auto"
    offload: Offload = "none"
    slicing: bool = False
    compile: Compile = "none"
    lora: str | None = None
    lora_scale: float = 1.0
    controlnet: str | None = None
    safety: bool = True
    revision: str | None = None
    variant: str | None = None
    _name: str = field(default="", init=False, repr=False, compare=False)
    """Of the class that it is loaded as."""

    trained_on: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        found = find_checkpoint(self.model, self.revision)
        name = self.pipeline or AS_IMG2IMG.get(found.pipeline, found.pipeline)
        if name not in FAMILIES:
            raise EditbenchError(
                f"diffusers: {self.model} is a {name}, which is in no row of the table of families"
                f"{did_you_mean(name, FAMILIES)} There are {', '.join(FAMILIES)}; docs/diffusers.md says how to add one"
            )
        object.__setattr__(self, "pipeline", None if name == found.pipeline else name)
        object.__setattr__(self, "revision", found.commit or self.revision)
        object.__setattr__(self, "_name", name)
        self._check_numbers()
        self._check_machine()

    def _check_numbers(self) -> None:
        for option in ("steps", "guidance", "image_guidance", "strength"):
            if option not in self._family.argument_names and getattr(self, option) is not None:
                raise EditbenchError(f"diffusers: a {self._name} has no {option}: leave it out")
        for option in ("steps", "area", "max_side"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise ValueError(f"{option}={value}, expected at least 1")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"strength={self.strength}, expected more than 0, at most 1")

    def _check_machine(self) -> None:
        """Find what cannot work before the first edit; only options that need it cost the import of diffusers."""
        for option, package, extra in (("lora", "peft", "train"), ("offload", "accelerate", "train")):
            if getattr(self, option) not in (None, "none") and find_spec(package) is None:
                raise EditbenchError(f"diffusers: {option} needs {package}: pip install 'editbench[{extra}]'")
        if self.offload != "none" and chosen_device(self.device).type == "cpu":
            raise EditbenchError(f"diffusers: offload={self.offload} spares an accelerator, and here is none")
        if self.lora is not None and not hasattr(pipeline_class(self._name), "load_lora_weights"):
            raise EditbenchError(f"diffusers: a {self._name} takes no LoRA: leave it out")
        if self.controlnet is not None and "controlnet" not in inspect.signature(pipeline_class(self._name)).parameters:
            raise EditbenchError(f"diffusers: a {self._name} takes no controlnet: leave it out")
        given = self._extra
        if given:
            cls = pipeline_class(self._name)
            known = {*inspect.signature(cls.__call__).parameters}
            known |= {*inspect.signature(cls.invert).parameters} if hasattr(cls, "invert") else set()
            unknown = [argument for argument in given if argument not in known]
            if unknown:
                raise EditbenchError(
                    f"diffusers: call={self.call!r}: a {self._name} is not called with {unknown[0]!r}"
                    f"{did_you_mean(unknown[0], known)}"
                )

    @property
    def mask_access(self) -> MaskAccess:
        """`region` for inpainting, `none` for all others."""
        return "none" if self._family.mask is None else "region"

    @property
    def _family(self) -> Family:
        return FAMILIES[self._name]

    @property
    def _extra(self) -> dict[str, Any]:
        return {} if self.call is None else {n: _value(text) for n, text in parse(f"call:{self.call}").options.items()}

    @cached_property
    def _options(self) -> dict[str, Any]:
        names = self._family.argument_names.items()
        given = {argument: getattr(self, option) for option, argument in names if getattr(self, option) is not None}
        return {**self._family.defaults, **given, **self._extra}

    @cached_property
    def _loaded(self) -> Any:
        """The pipeline, or why there is none: what takes minutes is not tried again for each scenario."""
        try:
            how = Loading(**{f.name: getattr(self, f.name) for f in fields(Loading)})
            return load_pipeline(self.model, self._name, how)
        except Exception as error:
            return error

    def start(self) -> None:
        """Load the pipeline; raises whatever that raises."""
        if isinstance(self._loaded, Exception):
            raise self._loaded

    def edit(self, requests: Sequence[EditRequest]) -> list[Accepted | Exception]:
        """Edit requests, those of one size at once where the family can.

        Raises:
            Exception: whatever loading or calling the pipeline raises.
        """
        self.start()
        family = self._family
        fitted = [
            fit_source(
                request.source, request.mask, family.multiple, self.fit, self.area, self.max_side, family.smallest
            )
            for request in requests
        ]
        outputs: dict[int, Accepted | Exception] = {}
        for group in _groups([found.source.shape for found in fitted], family.batch):
            chosen = [(requests[position], fitted[position]) for position in group]
            outputs.update(zip(group, self._call(chosen), strict=True))
        return [outputs[position] for position in range(len(requests))]

    def _call(self, chosen: Sequence[tuple[EditRequest, Fitted]]) -> list[Accepted | Exception]:
        import torch

        texts = [self._text(request) for request, _ in chosen]
        asks = [
            Ask(
                picture=PILImage.fromarray(fitted.source),
                mask=None if fitted.mask is None else PILImage.fromarray(fitted.mask.astype(np.uint8) * np.uint8(255)),
                prompt=text,
                source_prompt=request.source_prompt or "",
                generator=torch.Generator("cpu").manual_seed(request.seed),
            )
            for (request, fitted), (text, _) in zip(chosen, texts, strict=True)
        ]
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(chosen[0][0].seed)  # OmniGen's source latents are drawn from the global generator
            given = self._family.call(self._loaded, self._family, asks, dict(self._options))
        images = given.images if hasattr(given, "images") else given.image  # Kandinsky's
        refused = getattr(given, "nsfw_content_detected", None) or [False] * len(asks)
        return [
            _undone(image, fitted, (*flags, "safety-checker") if black else flags)
            for image, black, (_, fitted), (_, flags) in zip(images, refused, chosen, texts, strict=True)
        ]

    def _text(self, request: EditRequest) -> tuple[str, tuple[str, ...]]:
        """Return the prompt of a request, and the flag where it is not the kind that is wanted."""
        if (self.prompt or self._family.prompt) == "instruction":
            return request.instruction, ()
        if request.target_prompt:
            return request.target_prompt, ()
        return request.instruction, ("prompt=instruction",)


def _undone(output: object, fitted: Fitted, flags: tuple[str, ...]) -> Accepted | InvalidImage:
    """Return an output at the size of its source; a size that the pipeline chose by itself is undone, and flagged."""
    try:
        accepted = as_image(output)
    except InvalidImage as error:
        return error
    image, flags = accepted.image, (*accepted.flags, *fitted.flags, *flags)
    if image.shape != fitted.source.shape:
        flags = (*flags, f"pipeline-size={size_text(*image.shape[:2])}")
        image = resize(image, *fitted.source.shape[:2])
    return Accepted(fitted.undo(image), tuple(sorted(flags)))


def _groups(shapes: Sequence[tuple[int, ...]], batch: bool) -> list[list[int]]:
    """Return positions of what goes into one call."""
    if not batch:
        return [[position] for position in range(len(shapes))]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for position, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(position)
    return list(by_shape.values())


def _value(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        return text
