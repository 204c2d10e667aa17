"""A notation for networks of parallel branches, and two checks of arguments.

The networks of survey rows 1 to 5 and 9 are written as lists. An item of a list is

* a tuple: a convolution, `(channels, kernel[, stride[, padding]])`;
* a module: applied as it is, it keeps the number of channels (pooling, dropout);
* a list of lists: branches of which each sees the same input.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from papernets.blocks import conv_bn_relu

Layers = Sequence[Any]
Choice = TypeVar("Choice")
GOLDEN = 0.618034  # its multiples are spread most evenly, modulo 1


class Concat(nn.ModuleList):
    """cat(b_1(x), ..., b_n(x)): the channels of all branches, one after another."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


def conv_relu(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int = 1,
    padding: int | None = None,
) -> nn.Sequential:
    """conv with bias, ReLU; by default padded so that stride 1 keeps the size."""
    padding = kernel // 2 if padding is None else padding
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def build(
    layers: Layers,
    channels: int,
    width: float = 1.0,
    conv: Callable[..., nn.Module] = conv_bn_relu,
    place: int | None = None,
) -> tuple[nn.Sequential, int]:
    """Build a list of layers.

    Args:
        layers: in the notation above.
        channels: of the input.
        width: multiplies the channels of every convolution, which are then rounded.
        conv: called with `(in_channels, channels, kernel, ...)` for every tuple.
        place: number of the first layer, if these are layers of a branch. They round
            up from 0.1 to 0.9, each from another fraction: many of them have the same
            channels, and if all changed at the same width, sizes would be far apart.

    Returns:
        The layers in order, and the number of channels they put out.
    """
    built: list[nn.Module] = []
    for number, layer in enumerate(layers, start=place or 0):
        if isinstance(layer, nn.Module):
            built.append(layer)
        elif isinstance(layer, list):
            branches = [
                build(branch, channels, width, conv, number + i)
                for i, branch in enumerate(layer)
            ]
            built.append(Concat(branch for branch, _ in branches))
            channels = sum(out for _, out in branches)
        else:
            rounding = 0.5 if place is None else 0.1 + 0.8 * (GOLDEN * number % 1)
            out = max(1, math.floor(width * layer[0] + rounding))
            built.append(conv(channels, out, *layer[1:]))
            channels = out
    return nn.Sequential(*built), channels


def choose(what: str, word: str, choices: Mapping[str, Choice]) -> Choice:
    """Look up `word`; raises ValueError with all choices if it is not among them."""
    if word not in choices:
        raise ValueError(f"{what} is {word!r}; it must be one of {', '.join(choices)}")
    return choices[word]


def require_size(x: Tensor, smallest: int) -> None:
    """Raise ValueError if the images are lower or narrower than `smallest` pixels."""
    height, width = x.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(
            f"images of {height}x{width} pixels are too small for this network; "
            f"the smallest it takes are {smallest}x{smallest}"
        )
