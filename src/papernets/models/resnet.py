"""Deep Residual Learning for Image Recognition.

K. He, X. Zhang, S. Ren, J. Sun, CVPR 2016, arXiv:1512.03385. Survey row 8.

Built here: the CIFAR-10 networks of section 4.2, 6n + 2 layers deep (20, 32, 44, 56,
110), with parameter-free shortcuts (option A).

Deviations: none in the architecture.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, conv_bn_relu, he_initialise
from papernets.models.registry import PaperCard, register


class BasicBlock(nn.Module):
    """ReLU(x + F(x)), F = conv3x3, BN, ReLU, conv3x3, BN."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch: nn.Module = nn.Sequential(
            *conv_bn_relu(in_channels, channels, 3, stride),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.branch(x))


class ResNet(nn.Module):
    """conv3x3, BN, ReLU; 3 stages of (depth - 2) / 6 blocks; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers.
        width: channels of the first stage (paper: 16); doubled at stages 2 and 3, where
            the image is halved. A fraction widens the last blocks of each stage first.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 110,
        width: float = 16,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth is {depth}; it must be 6n + 2, for example 20")
        self.stem = conv_bn_relu(in_channels, int(width), 3)
        blocks = (depth - 2) // 6
        channels = int(width)
        stages: list[nn.Module] = []
        for stage in range(3):
            for block in range(blocks):
                out = int(width * 2**stage + block / blocks)
                stride = 2 if stage > 0 and block == 0 else 1
                number = len(stages) + 1
                stages.append(self.block(channels, out, stride, number, 3 * blocks))
                channels = out
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def block(
        self, in_channels: int, channels: int, stride: int, number: int, blocks: int
    ) -> nn.Module:
        """The residual block with this number, from 1 to `blocks`."""
        return BasicBlock(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"width": 1 + k / 16}


register(
    "resnet110",
    ResNet,
    depth=110,
    scale=scale,
    card=PaperCard(
        row="8",
        title="Deep Residual Learning for Image Recognition",
        authors="K. He, X. Zhang, S. Ren, J. Sun",
        year=2015,
        arxiv="1512.03385",
        venue="CVPR 2016",
        variant="110 layers, option A shortcuts (section 4.2)",
        idea=(
            "A block learns what has to be added to its input, the F(x) of x + F(x), "
            "and not the whole mapping; the shortcut that carries x is the identity. "
            "Plain networks fit even their training images worse when they get deeper. "
            "Residual ones gain from depth, because a superfluous block only has to "
            "learn zero."
        ),
        survey_parameters=1.6,
        paper_parameters=1.7,
        survey_paper_accuracy=93.57,
        survey_accuracy=93.34,
        survey_mark="reproduced",
        contradictions=(
            "The survey prints 1.6 M parameters here and 1.7 M for the same network in "
            "row 13; 1.6 fits only as 1.64 times 2^20 weights.",
        ),
    ),
)
for _depth in (20, 32, 44, 56):
    register(f"resnet{_depth}", ResNet, depth=_depth, scale=scale)
