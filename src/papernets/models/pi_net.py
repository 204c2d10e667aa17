"""Π-Nets: Deep Polynomial Neural Networks.

G. G. Chrysos, S. Moschoglou, G. Bouritsas, Y. Panagakis, J. Deng, S. Zafeiriou,
CVPR 2020, arXiv:2003.03828.

A Π-net joins two branches by a Hadamard product instead of passing one of them
through an activation function, so its output is a polynomial of its input. Built
here: the five-block network of the article the chapter reruns (`PolyNet`), and a
residual one in the shape of ResNet-20 (`PolyResNet`). The paper's own
parametrisations (CCP, NCP, NCP-Skip) are in `papernets.polynomial`.

Deviations: the article's network follows the product-of-blocks figure of the paper,
not one of its ImageNet models; `PolyResNet` uses CIFAR-sized stages.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from papernets.models.registry import register

# Kernel size, stride, padding of the article's five blocks; widths are 1, 2, 4, 8, 16
# times the first one. 28x28 and 32x32 images both end as 3x3 maps.
GEOMETRY = ((3, 1, 1), (4, 2, 1), (4, 2, 1), (2, 1, 0), (4, 2, 1))

JOINS: dict[str, Callable[..., Tensor]] = {
    "product": lambda a, b: a * b,
    "product_relu": lambda a, b: torch.relu(a * b),
    "linear": lambda a: a,
    "relu": torch.relu,
}


class Join(nn.Module):
    """join(conv(x), conv(x)), or join(conv(x)) for the joins of one branch."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        join: str,
        kernel: int,
        stride: int,
        padding: int,
    ) -> None:
        super().__init__()
        branches = 2 if join.startswith("product") else 1
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, channels, kernel, stride, padding)
            for _ in range(branches)
        )
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return JOINS[self.join](*(branch(x) for branch in self.branches))


class PolyNet(nn.Module):
    """Blocks h <- conv(h) * conv(h), flatten, linear: a polynomial of degree 2^blocks.

    Args:
        in_channels: channels of the images, 1 or 3.
        num_classes: number of logits.
        width: channels after the first block; doubled by every following block.
        blocks: 1 to 5; the first ones of the article's five.
        join: "product" (the article's), "product_relu", and with a single branch
            "linear" or "relu".
        image_size: height and width of the images in pixels; sizes the classifier.
        norm: batch normalization after every join. In evaluation mode it is affine, so
            the network stays a polynomial of the same degree.
        dropout: probability of dropping an input of the classifier.
        init_gain: None keeps PyTorch's default initialisation, as the article does;
            otherwise weights are drawn from N(0, init_gain^2 / fan_in), biases are 0.
        init_bias: bias of the second branch of every product, if `init_gain` is given.
            With 1 a block starts as h = a (1 + b): its linear part plus a product, as
            the paper's CCP recursion has it; gain 0.786 then keeps the variance.

    Shape: float (N, in_channels, image_size, image_size) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        width: int = 16,
        blocks: int = 5,
        join: str = "product",
        image_size: int = 32,
        norm: bool = False,
        dropout: float = 0.0,
        init_gain: float | None = None,
        init_bias: float = 0.0,
    ) -> None:
        super().__init__()
        if join not in JOINS:
            raise ValueError(f"join {join!r} is none of {', '.join(JOINS)}")
        if not 1 <= blocks <= len(GEOMETRY):
            raise ValueError(f"blocks is {blocks}; PolyNet has 1 to {len(GEOMETRY)}")
        layers: list[nn.Module] = []
        channels, size = in_channels, image_size
        for i, (kernel, stride, padding) in enumerate(GEOMETRY[:blocks]):
            out = width * 2**i
            layers.append(Join(channels, out, join, kernel, stride, padding))
            if norm:
                layers.append(nn.BatchNorm2d(out))
            channels, size = out, (size + 2 * padding - kernel) // stride + 1
            if size < 1:
                raise ValueError(
                    f"{image_size}x{image_size} images are too small for {blocks} "
                    f"blocks: nothing is left after block {i + 1}; use fewer blocks"
                )
        self.blocks = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels * size**2, num_classes)
        if init_gain is not None:
            initialise(self, init_gain, init_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.blocks(x).flatten(1)))


def initialise(model: nn.Module, gain: float, bias: float) -> None:
    """Draw convolution and linear weights from N(0, gain^2 / fan_in).

    Biases are 0, but `bias` in the second branch of every product. For unit-variance
    inputs and independent branches the variance of a product is gain^4 with bias 0 and
    gain^2 (1 + gain^2) with bias 1, so the gains 1 and 0.786 keep it. PyTorch's default
    has gain 1/sqrt(3): the variance shrinks by nine in every product, and a polynomial
    of degree 32 starts almost constant.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=gain / fan_in**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Join) and len(module.branches) == 2:
            second = module.branches[1]
            assert isinstance(second, nn.Conv2d)
            assert second.bias is not None
            nn.init.constant_(second.bias, bias)


# Scale and shift at the start of the second normalisation of a residual product: its
# factor is 1 plus a small term, as in `PolyNet` with `init_bias=1`. With scale 1 and
# shift 0 every block adds a product of two independent factors with heavy tails.
NEAR_ONE = (0.3, 1.0)


class PolyResidual(nn.Module):
    """shortcut(x) + BN(conv(x)) * BN(conv(x)); the linear twin adds the branches."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, join: str, near_one: bool
    ) -> None:
        super().__init__()
        self.first = conv_bn(in_channels, channels, 3, stride)
        start = NEAR_ONE if near_one else (1.0, 0.0)
        self.second = conv_bn(in_channels, channels, 3, stride, start)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == channels
            else conv_bn(in_channels, channels, 1, stride)
        )
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x), self.second(x)
        return self.shortcut(x) + (a * b if self.join == "product" else a + b)


def conv_bn(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int,
    start: tuple[float, float] = (1.0, 0.0),
) -> nn.Sequential:
    """conv, BN; `start` is the normalisation's scale and shift at the beginning."""
    conv = nn.Conv2d(
        in_channels, channels, kernel, stride, padding=kernel // 2, bias=False
    )
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, start[0])
    nn.init.constant_(norm.bias, start[1])
    return nn.Sequential(conv, norm)


class PolyResNet(nn.Module):
    """ResNet-20's shape without activation functions: degree 2^(3 * blocks).

    Stem conv-BN, three stages of `blocks` residual blocks with `width`, 2 `width` and
    4 `width` channels at full, half and quarter resolution, global average pooling,
    BN, linear. `join="linear"` replaces every product by a sum: same layers, same
    parameters, but an affine function of the image. `near_one` starts one factor of
    every product near 1, see `NEAR_ONE`.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        blocks: int = 3,
        width: int = 16,
        join: str = "product",
        near_one: bool = True,
    ) -> None:
        super().__init__()
        if join not in ("product", "linear"):
            raise ValueError(f"join {join!r} is neither product nor linear")
        self.stem = conv_bn(in_channels, width, 3, 1)
        channels = width
        stages: list[nn.Module] = []
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                out = width * 2**stage
                stages.append(PolyResidual(channels, out, stride, join, near_one))
                channels = out
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm1d(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(self.stem(x)).mean((2, 3))
        return self.classifier(self.norm(features))


register("polynet", PolyNet)
register("poly_resnet20", PolyResNet)
