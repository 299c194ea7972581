"""Trunks: what the networks behind the perceptual metrics consist of, and how activations pass through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import torch

State: TypeAlias = "Mapping[str, torch.Tensor]"
"""Weights by name."""

_EDGE = 16
"""Pixels that decide the outermost result of `BlurredConvolution`: 11 of its filter, rounded up generously."""


class Convolution(NamedTuple):
    """A convolution and a rectifier; `name` is that of its weight and bias in the state dict."""

    name: str
    stride: int = 1
    padding: int = 1


class Pool(NamedTuple):
    """A maximum over squares of `size`; `ceiling` keeps a last square that the frame cuts."""

    size: int
    stride: int = 2
    ceiling: bool = False


class Blur(NamedTuple):
    """Every second pixel of the image blurred by [1 2 1] both ways, mirrored by two pixels at the frame."""

    name: str


class BlurredConvolution(NamedTuple):
    """A convolution, a `Blur` and a rectifier."""

    name: str
    blur: str
    padding: int


class Fire(NamedTuple):
    """SqueezeNet's module: a 1x1 convolution whose result a 1x1 and a 3x3 convolution expand side by side."""

    name: str


Step: TypeAlias = Convolution | Pool | Blur | BlurredConvolution | Fire


class Layout(NamedTuple):
    """What a trunk consists of. What each stage ends with enters the distance."""

    stages: tuple[tuple[Step, ...], ...]
    smallest: int
    """The smallest side of an image, in pixels, that gets through."""


LAYOUTS: Mapping[str, Layout] = {
    # Krizhevsky 2014, Simonyan & Zisserman 2015, Iandola et al. 2016 as torchvision numbers their layers, cut into
    # stages as the package `lpips` 0.1.4 cuts them.
    "alex": Layout(
        (
            (Convolution("features.0", 4, 2),),
            (Pool(3), Convolution("features.3", padding=2)),
            (Pool(3), Convolution("features.6")),
            (Convolution("features.8"),),
            (Convolution("features.10"),),
        ),
        smallest=31,
    ),
    "vgg": Layout(
        (
            (Convolution("features.0"), Convolution("features.2")),
            (Pool(2), Convolution("features.5"), Convolution("features.7")),
            (Pool(2), *map(Convolution, ("features.10", "features.12", "features.14"))),
            (Pool(2), *map(Convolution, ("features.17", "features.19", "features.21"))),
            (Pool(2), *map(Convolution, ("features.24", "features.26", "features.28"))),
        ),
        smallest=16,
    ),
    "squeeze": Layout(
        (
            (Convolution("features.0", 2, 0),),
            (Pool(3, ceiling=True), Fire("features.3"), Fire("features.4")),
            (Pool(3, ceiling=True), Fire("features.6"), Fire("features.7")),
            (Pool(3, ceiling=True), Fire("features.9")),
            (Fire("features.10"),),
            (Fire("features.11"),),
            (Fire("features.12"),),
        ),
        smallest=17,
    ),
    # Ghildyal & Liu 2022 (ST-LPIPS, arXiv 2207.13686): pools that move by one pixel, then blur and drop every second.
    "st_alex": Layout(
        (
            (BlurredConvolution("net.slice1.0", "net.slice1.1", 2),),
            (Pool(3, 1), Blur("net.slice2.4"), Convolution("net.slice2.5", padding=2)),
            (Pool(3, 1), Blur("net.slice3.8"), Convolution("net.slice3.9")),
            (Convolution("net.slice4.11"),),
            (Convolution("net.slice5.13"),),
        ),
        smallest=21,
    ),
    "st_vgg": Layout(
        (
            (Convolution("net.slice1.0"), Convolution("net.slice1.2")),
            (Pool(2, 1), Blur("net.slice2.5"), *map(Convolution, ("net.slice2.6", "net.slice2.8"))),
            (Pool(2, 1), Blur("net.slice3.11"), *map(Convolution, ("net.slice3.12", "net.slice3.14", "net.slice3.16"))),
            (Pool(2, 1), Blur("net.slice4.19"), *map(Convolution, ("net.slice4.20", "net.slice4.22", "net.slice4.24"))),
            (Pool(2, 1), Blur("net.slice5.27"), *map(Convolution, ("net.slice5.28", "net.slice5.30", "net.slice5.32"))),
        ),
        smallest=18,
    ),
}


def apply(step: Step, x: torch.Tensor, state: State) -> torch.Tensor:
    """Return what a step makes of `float32 (n, channels, h, w)`."""
    import torch
    from torch.nn import functional

    match step:
        case Convolution(name, stride, padding):
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            return functional.conv2d(x, weight, bias, stride, padding).relu_()
        case Pool(size, stride, ceiling):
            return functional.max_pool2d(x, size, stride, ceil_mode=ceiling)
        case Blur(name):
            filters = state[f"{name}.filt"]
            return functional.conv2d(functional.pad(x, (2, 2, 2, 2), "reflect"), filters, stride=2, groups=x.shape[1])
        case BlurredConvolution():
            return _blurred_convolution(step, x, state).relu_()
        case Fire(name):
            x = apply(Convolution(f"{name}.squeeze", padding=0), x, state)
            sides = (Convolution(f"{name}.expand1x1", padding=0), Convolution(f"{name}.expand3x3"))
            return torch.cat([apply(side, x, state) for side in sides], 1)


def _blurred_convolution(step: BlurredConvolution, x: torch.Tensor, state: State) -> torch.Tensor:
    """Convolve and blur in one pass with one filter, three times as fast as in two.

    Only the outermost row and column on each side, where the blur sees mirrored results of the convolution, come from
    the two passes: they run on strips of `_EDGE` pixels, the last ones starting at an even pixel as the blur does.
    """
    from torch.nn import functional

    def in_two_passes(part: torch.Tensor) -> torch.Tensor:
        part = functional.conv2d(part, state[f"{step.name}.weight"], state[f"{step.name}.bias"], padding=step.padding)
        return apply(Blur(step.blur), part, state)

    filters = state[f"{step.name}.weight and blur"]
    blurred = functional.conv2d(x, filters, state[f"{step.name}.bias"], stride=2, padding=step.padding + 2)
    bottom, right = ((side - _EDGE) // 2 * 2 for side in x.shape[2:])
    blurred[:, :, :1] = in_two_passes(x[:, :, :_EDGE])[:, :, :1]
    blurred[:, :, -1:] = in_two_passes(x[:, :, bottom:])[:, :, -1:]
    blurred[..., :1] = in_two_passes(x[..., :_EDGE])[..., :1]
    blurred[..., -1:] = in_two_passes(x[..., right:])[..., -1:]
    return blurred


def weight_and_blur(weight: torch.Tensor, blur: torch.Tensor) -> torch.Tensor:
    """Return the filters `(channels, 3, k + 2, k + 2)` whose results are blurred ones of `weight`, without stride."""
    from torch.nn import functional

    by_input = weight.transpose(0, 1).contiguous()
    return functional.conv2d(by_input, blur, padding=2, groups=len(weight)).transpose(0, 1)


def parameters(step: Step) -> list[tuple[str, str]]:
    """Return the names of a step's entries in the state dict, and of which part of them."""
    match step:
        case Convolution(name):
            return [(name, "weight"), (name, "bias")]
        case Blur(name):
            return [(name, "filt")]
        case BlurredConvolution(name, blur):
            return [(name, "weight"), (name, "bias"), (blur, "filt")]
        case Fire(name):
            inner = ("squeeze", "expand1x1", "expand3x3")
            return [(f"{name}.{layer}", part) for layer in inner for part in ("weight", "bias")]
        case Pool():
            return []
