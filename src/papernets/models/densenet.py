"""Densely Connected Convolutional Networks.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, CVPR 2017, arXiv:1608.06993.
Survey row 19.

Built here: the CIFAR networks with three dense blocks, without bottlenecks (L = 100,
k = 24 and L = 40, k = 12) and DenseNet-BC.

Deviations: none in the architecture; average pooling rounds sizes up, which matters
only to images whose height or width is not a multiple of 4.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import conv3x3, he_initialise
from papernets.models.registry import PaperCard, register


def bn_relu(channels: int) -> list[nn.Module]:
    """BN, ReLU."""
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class DenseLayer(nn.Module):
    """concat(x, H(x)), H = BN, ReLU, conv3x3; BC: BN, ReLU, conv1x1, BN, ReLU, conv3x3.

    H(x) has `growth` channels, the 1x1 convolution 4 `growth`.
    """

    def __init__(
        self, channels: int, growth: int, bottleneck: bool, dropout: float
    ) -> None:
        super().__init__()
        layers = bn_relu(channels)
        if bottleneck:
            layers.append(nn.Conv2d(channels, 4 * growth, 1, bias=False))
            layers.append(nn.Dropout(dropout))
            channels = 4 * growth
            layers += bn_relu(channels)
        layers += [conv3x3(channels, growth), nn.Dropout(dropout)]
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.branch(x)), dim=1)


def transition(in_channels: int, channels: int, dropout: float) -> list[nn.Module]:
    """BN, ReLU, conv1x1, 2x2 average pooling."""
    return [
        *bn_relu(in_channels),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.Dropout(dropout),
        nn.AvgPool2d(2, ceil_mode=True),
    ]


class DenseNet(nn.Module):
    """conv3x3; 3 dense blocks with 2 transitions; BN, ReLU; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: the paper's L: 3n + 4 layers, of BC 6n + 4.
        growth: the paper's k: channels that every layer adds. With a fraction, the
            i-th layer of a block ends with round(growth * i) channels more than the
            block's input, so that sizes are dense; at least 1.
        stem: channels of the first convolution; by default 16, of BC 2 `growth`.
        bottleneck: DenseNet-BC: 1x1 convolutions before the 3x3 ones, and transitions
            that halve the channels.
        dropout: probability of dropping a unit after a convolution (paper: 0.2, and
            only without augmentation).

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 100,
        growth: float = 24,
        stem: int | None = None,
        bottleneck: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        per_layer = 6 if bottleneck else 3
        if depth <= 4 or depth % per_layer != 4 % per_layer:
            raise ValueError(f"depth is {depth}; it must be {per_layer}n + 4")
        if growth < 1:
            raise ValueError(f"growth is {growth}; every layer adds at least 1 channel")
        channels = stem or (round(2 * growth) if bottleneck else 16)
        self.stem = conv3x3(in_channels, channels)
        layers: list[nn.Module] = []
        for stage in range(3):
            start = channels
            for i in range(1, (depth - 4) // per_layer + 1):
                new = start + round(growth * i) - channels
                layers.append(DenseLayer(channels, new, bottleneck, dropout))
                channels += new
            if stage < 2:
                out = channels // 2 if bottleneck else channels
                layers += transition(channels, out, dropout)
                channels = out
        self.features = nn.Sequential(*layers, *bn_relu(channels))
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """Growth 1 + k / 32 and a stem 4/3 as wide, as L = 40, k = 12 has it; 40 layers.

    With 100 layers even growth 1 costs 20 M multiply-adds.
    """
    growth = 1 + k / 32
    return {"depth": 40, "growth": growth, "stem": int(4 / 3 * growth)}


def scale_bc(k: int) -> dict[str, Any]:
    """Growth 1 + k / 32; the depth stays."""
    return {"growth": 1 + k / 32}


register(
    "densenet100_k24",
    DenseNet,
    depth=100,
    growth=24,
    scale=scale,
    card=PaperCard(
        row="19",
        title="Densely Connected Convolutional Networks",
        authors="G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger",
        year=2016,
        arxiv="1608.06993",
        venue="CVPR 2017",
        variant="L = 100, k = 24, without bottlenecks or compression",
        idea=(
            "Every layer reads the outputs of all layers before it in its block, "
            "concatenated and not added, and contributes a few channels of its own, "
            "the growth rate k. Features are reused instead of computed anew and "
            "gradients reach early layers directly, so that the network needs fewer "
            "parameters for the same accuracy."
        ),
        survey_parameters=27.0,
        paper_parameters=27.2,
        survey_paper_accuracy=96.26,
        survey_accuracy=95.12,
        survey_mark="reproduced",
        contradictions=(
            "The survey's 27.0 M are the weights alone, the paper's 27.2 M all "
            "parameters of the same network.",
            "The survey author's 95.12 is of a smaller network, L = 40 and k = 12.",
        ),
    ),
)
register("densenet40_k12", DenseNet, depth=40, growth=12, scale=scale)
register(
    "densenet_bc100_k12",
    DenseNet,
    depth=100,
    growth=12,
    bottleneck=True,
    scale=scale_bc,
)
