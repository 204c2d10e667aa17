"""Aggregated Residual Transformations for Deep Neural Networks.

S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He, CVPR 2017, arXiv:1611.05431. Survey row
23.

Built here: the CIFAR networks of 29 layers in the form with grouped convolutions,
cardinality x group width = 16x64d, 8x64d and 2x64d. `variant="survey"` has a stem of
256 instead of 64 channels, which gives the survey's parameter figure.

Deviations: none in the architecture.
"""

from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import conv_bn_relu, he_initialise
from papernets.models.registry import PaperCard, register
from papernets.models.wide_resnet import is_survey


def conv_bn(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    """conv1x1, BN."""
    conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class ResNeXtBlock(nn.Module):
    """ReLU(x + F(x)), F = conv1x1, BN, ReLU, grouped conv3x3, BN, ReLU, conv1x1, BN.

    Equal to the sum of `cardinality` narrow bottlenecks. Where the shape changes, x is
    projected: conv1x1, BN.
    """

    def __init__(
        self, in_channels: int, inner: int, channels: int, stride: int, cardinality: int
    ) -> None:
        super().__init__()
        grouped = nn.Conv2d(
            *(inner, inner, 3, stride), padding=1, groups=cardinality, bias=False
        )
        self.branch = nn.Sequential(
            *conv_bn_relu(in_channels, inner, 1),
            grouped,
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            *conv_bn(inner, channels),
        )
        same = stride == 1 and in_channels == channels
        self.shortcut = (
            nn.Identity() if same else conv_bn(in_channels, channels, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.branch(x))


class ResNeXt(nn.Module):
    """conv3x3, BN, ReLU; 3 stages of (depth - 2) / 9 blocks; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 9n + 2 layers.
        cardinality: groups of every 3x3 convolution.
        group_width: channels of a group in the first stage; doubled at stages 2 and 3,
            where the image is halved.
        width: channels after a block of the first stage, doubled likewise; rounded for
            every stage.
        variant: "paper" has a stem of width / 4 channels, "survey" of width.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 29,
        cardinality: int = 16,
        group_width: int = 64,
        width: float = 256,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if depth < 11 or depth % 9 != 2:
            raise ValueError(f"depth is {depth}; it must be 9n + 2, for example 29")
        channels = max(1, round(width if is_survey(variant) else width / 4))
        self.stem = conv_bn_relu(in_channels, channels, 3)
        stages = []
        for stage in range(3):
            inner = cardinality * group_width * 2**stage
            out = round(width * 2**stage)
            for block in range((depth - 2) // 9):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(ResNeXtBlock(channels, inner, out, stride, cardinality))
                channels = out
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(cardinality: int, k: int) -> dict[str, Any]:
    """The cost of group width 1 + k / 32 and four times as wide blocks; 29 layers.

    Groups have whole channels, so the group width is rounded down and the blocks'
    outer width takes up the rest: it solves a width^2 + b width = cost, which adds up
    the multiply-adds per pixel of the 28 convolutions and 3 projections.
    """
    exact, c = 1 + k / 32, cardinality
    cost = 27 * exact + (20 + 158 * c) * exact**2
    group_width = int(exact)
    a, b = 1.25, 6.75 + 19.25 * c * group_width
    rest = cost - 81 * c * group_width**2
    width = (sqrt(b**2 + 4 * a * rest) - b) / (2 * a)
    return {"group_width": group_width, "width": width}


register(
    "resnext29_16x64d",
    ResNeXt,
    cardinality=16,
    scale=partial(scale, 16),
    card=PaperCard(
        row="23",
        title="Aggregated Residual Transformations for Deep Neural Networks",
        authors="S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He",
        year=2016,
        arxiv="1611.05431",
        venue="CVPR 2017",
        variant="ResNeXt-29, 16x64d",
        idea=(
            "The transformation of a block is split into many narrow paths of the same "
            "shape whose outputs are added. Their number, the cardinality, is a third "
            "measure of size beside depth and width, and raising it improves accuracy "
            "more than making the network deeper or wider at the same cost. A grouped "
            "convolution computes all paths at once."
        ),
        survey_parameters=68.3,
        paper_parameters=68.1,
        survey_paper_accuracy=96.42,
        survey_accuracy=95.72,
        survey_mark="reproduced",
        contradictions=(
            "The paper's 68.1 M fit the weights alone. The survey's 68.3 M are all "
            "parameters of the same network with a stem of 256 channels, which is "
            'variant="survey". Its author\'s code has that stem, but shortcuts padded '
            "with zeros, BN and ReLU after the last convolution of a branch and no "
            "ReLU after the addition, which makes 67.6 M weights.",
            "The survey author's 95.72 is of a smaller network, 2x64d.",
        ),
    ),
)
for _cardinality in (8, 2):
    register(
        f"resnext29_{_cardinality}x64d",
        ResNeXt,
        cardinality=_cardinality,
        scale=partial(scale, _cardinality),
    )
