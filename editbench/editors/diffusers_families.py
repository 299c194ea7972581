"""The table of diffusers' editing pipelines: by class name, how each is asked.

Adding a family is a row here, a toy of it in `tests/toy_pipelines.py` and, where its call is unlike the others', a
short function. Source: the `__call__` of each pipeline in diffusers, to which a test holds the rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL.Image import Image as Picture

PromptKind = Literal["instruction", "target"]
"""What a model reads: what is to be done, or what the result shows."""


@dataclass(frozen=True)
class Ask:
    """One request in the form that pipelines take."""

    picture: Picture
    """RGB, of a size that the family takes."""
    mask: Picture | None
    """Mode L, 255 = edit, as in all of diffusers' inpainting."""
    prompt: str
    source_prompt: str
    generator: Any
    """A `torch.Generator` on the CPU, seeded by this request alone."""


Call = Callable[[Any, "Family", Sequence[Ask], dict[str, Any]], Any]
"""`(pipeline, family, asks, options) -> output`; asks are of one size, and one only unless the family has `batch`."""


# ------------------------------------------------------------------------------------------------------- calls


def plain(pipe: Any, family: Family, asks: Sequence[Ask], options: dict[str, Any]) -> Any:
    """Call a pipeline as most are called. A single request goes without a list: some read a list as several views."""

    def each(values: list[Any]) -> Any:
        return values if len(values) > 1 else values[0]

    arguments = {
        "prompt": each([ask.prompt for ask in asks]),
        "generator": each([ask.generator for ask in asks]),
        "image": each([ask.picture for ask in asks]),
    }
    if family.mask is not None:
        arguments[family.mask] = each([ask.mask for ask in asks])
    if family.sized:
        arguments["width"], arguments["height"] = asks[0].picture.size
    if isinstance(negative := options.get("negative_prompt"), str):
        options = {**options, "negative_prompt": each([negative] * len(asks))}
    return pipe(**arguments, **options, output_type="np")


def kontext(pipe: Any, family: Family, asks: Sequence[Ask], options: dict[str, Any]) -> Any:
    """Call FLUX.1 Kontext at the picture's own size, not at the nearest on its list."""
    width, height = asks[0].picture.size
    return plain(pipe, family, asks, {"max_area": width * height, "_auto_resize": False, **options})


def omnigen(pipe: Any, family: Family, asks: Sequence[Ask], options: dict[str, Any]) -> Any:
    """Call OmniGen, whose prompt has a place for the picture; more than 1024 pixels a side would be shrunk."""
    (ask,) = asks
    width, height = ask.picture.size
    return pipe(
        prompt=f"<img><|image_1|></img> {ask.prompt}",
        input_images=[ask.picture],
        generator=ask.generator,
        width=width,
        height=height,
        output_type="np",
        **{"max_input_image_size": max(width, height), **options},
    )


def ledits(pipe: Any, family: Family, asks: Sequence[Ask], options: dict[str, Any]) -> Any:
    """Invert the picture, then edit: LEDITS++. Options go to the half that knows them."""
    (ask,) = asks
    of_inversion = inspect.signature(pipe.invert).parameters
    inversion = {name: value for name, value in options.items() if name in of_inversion}
    rest = {name: value for name, value in options.items() if name not in of_inversion}
    pipe.invert(image=ask.picture, generator=ask.generator, **{"source_prompt": ask.source_prompt, **inversion})
    if "generator" in inspect.signature(type(pipe).__call__).parameters:
        rest["generator"] = ask.generator
    return pipe(editing_prompt=[ask.prompt], **rest, output_type="np")


def controlled(pipe: Any, family: Family, asks: Sequence[Ask], options: dict[str, Any]) -> Any:
    """Call ControlNet inpainting; its network is shown the source with −1 in place of what is to be made."""
    import numpy as np
    import torch

    shown = []
    for ask in asks:
        assert ask.mask is not None
        pixels = np.asarray(ask.picture, np.float32) / 255
        pixels[np.asarray(ask.mask) > 127] = -1
        shown.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return plain(pipe, family, asks, {"control_image": torch.stack(shown), **options})


# ------------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True)
class Family:
    """How one class of pipelines is asked."""

    about: str
    prompt: PromptKind
    multiple: int
    """What both sides must be multiples of, in pixels."""
    smallest: int = 1
    """What both sides must have at least, in pixels."""
    batch: bool = False
    """Whether one call takes several requests and gives each what it would get alone."""
    mask: str | None = None
    """The argument that takes the mask; None for a family that edits without one."""
    sized: bool = True
    """Whether it is told height and width."""
    strength: bool = False
    """Whether it starts from the noised source."""
    guidance: str = "guidance_scale"
    image_guidance: str | None = None
    steps: str = "num_inference_steps"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments without which it does not do what its model card says."""
    own_size: str = ""
    """What the pipeline resamples by itself, for people."""
    call: Call = plain

    @property
    def argument_names(self) -> dict[str, str]:
        """The pipeline's name of each option of a spec that it has."""
        names = {"steps": self.steps, "guidance": self.guidance, "image_guidance": self.image_guidance}
        names["strength"] = "strength" if self.strength else None
        return {option: name for option, name in names.items() if name is not None}


def _inpainting(about: str, multiple: int, **rest: Any) -> Family:
    return Family(about, multiple=multiple, **{"prompt": "target", "mask": "mask_image", "strength": True, **rest})


def _img2img(about: str, multiple: int, **rest: Any) -> Family:
    return Family(f"{about}: SDEdit", "target", multiple, strength=True, **rest)


_QWEN: dict[str, Any] = {"guidance": "true_cfg_scale", "defaults": {"negative_prompt": " "}}
"""Guidance needs a negative prompt; the model card has a blank."""
_SEEN = "the source it looks at, to one megapixel"
_ALL = "source and result, to one megapixel"
_LISTED = "source and result, to one of seven sizes"

FAMILIES: dict[str, Family] = {
    # told what to do, without a mask
    "StableDiffusionInstructPix2PixPipeline": Family(
        "InstructPix2Pix", "instruction", 8, batch=True, sized=False, image_guidance="image_guidance_scale"
    ),
    "StableDiffusionXLInstructPix2PixPipeline": Family(
        "InstructPix2Pix on SDXL, CosXL Edit", "instruction", 8, batch=True, image_guidance="image_guidance_scale"
    ),
    "FluxKontextPipeline": Family("FLUX.1 Kontext", "instruction", 16, batch=True, call=kontext),
    "Flux2Pipeline": Family(
        "FLUX.2 dev", "instruction", 16, smallest=64, own_size="a source of more than one megapixel"
    ),
    "Flux2KleinPipeline": Family(
        "FLUX.2 klein", "instruction", 16, smallest=64, own_size="a source of more than one megapixel"
    ),
    "QwenImageEditPipeline": Family("Qwen-Image-Edit", "instruction", 16, own_size=_SEEN, **_QWEN),
    "QwenImageEditPlusPipeline": Family("Qwen-Image-Edit-2509, -2511", "instruction", 16, own_size=_SEEN, **_QWEN),
    "LongCatImageEditPipeline": Family("LongCat-Image-Edit", "instruction", 16, sized=False, own_size=_ALL),
    "Kandinsky5I2IPipeline": Family("Kandinsky 5 Image Lite, editing", "instruction", 16, own_size=_LISTED),
    "OmniGenPipeline": Family("OmniGen", "instruction", 16, image_guidance="img_guidance_scale", call=omnigen),
    # told what the result shows, without a mask
    "LEditsPPPipelineStableDiffusion": Family(
        "LEDITS++", "target", 32, smallest=64, guidance="edit_guidance_scale", steps="num_inversion_steps", call=ledits
    ),
    "LEditsPPPipelineStableDiffusionXL": Family(
        "LEDITS++ on SDXL",
        "target",
        32,
        smallest=64,
        guidance="edit_guidance_scale",
        steps="num_inversion_steps",
        call=ledits,
    ),
    "StableDiffusionImg2ImgPipeline": _img2img("Stable Diffusion", 8, batch=True, sized=False),
    "StableDiffusionXLImg2ImgPipeline": _img2img("SDXL", 8, batch=True, sized=False),
    "StableDiffusion3Img2ImgPipeline": _img2img("Stable Diffusion 3, 3.5", 16, batch=True),
    "FluxImg2ImgPipeline": _img2img("FLUX.1", 16, batch=True),
    "ChromaImg2ImgPipeline": _img2img("Chroma", 16, batch=True),
    "QwenImageImg2ImgPipeline": _img2img("Qwen-Image", 16, batch=True, **_QWEN),
    "ZImageImg2ImgPipeline": _img2img("Z-Image", 16, batch=True),
    # shown the mask
    "StableDiffusionInpaintPipeline": _inpainting("Stable Diffusion inpainting", 8, batch=True),
    "StableDiffusionXLInpaintPipeline": _inpainting("SDXL inpainting", 8, batch=True),
    "StableDiffusion3InpaintPipeline": _inpainting("Stable Diffusion 3 inpainting", 16, batch=True),
    "StableDiffusionControlNetInpaintPipeline": _inpainting(
        "Stable Diffusion with an inpainting ControlNet", 8, batch=True, call=controlled
    ),
    "StableDiffusionXLControlNetInpaintPipeline": _inpainting(
        "SDXL with an inpainting ControlNet", 8, batch=True, call=controlled
    ),
    "FluxFillPipeline": _inpainting("FLUX.1 Fill", 16, batch=True),
    "FluxInpaintPipeline": _inpainting("FLUX.1 inpainting", 16, batch=True),
    "FluxKontextInpaintPipeline": _inpainting(
        "FLUX.1 Kontext inpainting", 16, batch=True, prompt="instruction", call=kontext
    ),
    "Flux2KleinInpaintPipeline": _inpainting("FLUX.2 klein inpainting", 16, smallest=64),
    "QwenImageInpaintPipeline": _inpainting("Qwen-Image inpainting", 16, batch=True, **_QWEN),
    "QwenImageEditInpaintPipeline": _inpainting(
        "Qwen-Image-Edit inpainting", 16, prompt="instruction", sized=False, own_size=_ALL, **_QWEN
    ),
    "ZImageInpaintPipeline": _inpainting("Z-Image inpainting", 16, batch=True),
}

AS_IMG2IMG: dict[str, str] = {
    "StableDiffusionPipeline": "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusion3Pipeline": "StableDiffusion3Img2ImgPipeline",
    "FluxPipeline": "FluxImg2ImgPipeline",
    "ChromaPipeline": "ChromaImg2ImgPipeline",
    "QwenImagePipeline": "QwenImageImg2ImgPipeline",
    "ZImagePipeline": "ZImageImg2ImgPipeline",
    "StableDiffusionControlNetPipeline": "StableDiffusionControlNetInpaintPipeline",
    "StableDiffusionXLControlNetPipeline": "StableDiffusionXLControlNetInpaintPipeline",
}
"""What a text-to-image checkpoint is loaded as unless the spec names another class."""
