"""Deep Pyramidal Residual Networks.

D. Han, J. Kim, J. Kim, CVPR 2017, arXiv:1610.02915. Survey row 21.

Built here: additive PyramidNets of basic blocks for CIFAR, above all depth 110 with
alpha = 270.

Deviations: none in the architecture. Widths are 16 + k alpha / N rounded down once;
read to the letter, the paper's recursion would round at every step and lose fractions.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, he_initialise
from papernets.models.registry import PaperCard, register


def pyramid_widths(width: float, alpha: float, blocks: int) -> list[int]:
    """Channels after the stem and after each block: floor(width + k alpha / blocks)."""
    return [int(width + alpha * k / blocks) for k in range(blocks + 1)]


class PyramidBlock(nn.Module):
    """pad(x) + F(x), F = BN, conv3x3, BN, ReLU, conv3x3, BN.

    The shortcut averages 2x2 pixels where the image is halved.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch: nn.Module = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            conv3x3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = ZeroPadShortcut(channels, stride, average=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


class PyramidNet(nn.Module):
    """conv3x3, BN; 3 stages of (depth - 2) / 6 blocks; BN, ReLU; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers.
        alpha: channels that all blocks together add, each an equal share.
        width: channels of the stem; at least 1.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 110,
        alpha: float = 270,
        width: float = 16,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth is {depth}; it must be 6n + 2, for example 110")
        blocks = (depth - 2) // 2
        widths = pyramid_widths(width, alpha, blocks)
        self.stem = nn.Sequential(
            conv3x3(in_channels, widths[0]), nn.BatchNorm2d(widths[0])
        )
        halved = (blocks // 3, 2 * blocks // 3)  # the first blocks of stages 2 and 3
        self.stages = nn.Sequential()
        for i in range(blocks):
            stride = 2 if i in halved else 1
            block = self.block(widths[i], widths[i + 1], stride, i + 1, blocks)
            self.stages.append(block)
        self.norm = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(widths[-1], num_classes)
        he_initialise(self)

    def block(
        self, in_channels: int, channels: int, stride: int, number: int, blocks: int
    ) -> PyramidBlock:
        """The residual block with this number, from 1 to `blocks`."""
        return PyramidBlock(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.stages(self.stem(x)))
        return self.classifier(features.mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """Stem 1 + k / 32 channels wide and alpha three times that; the depth stays.

    So the last block is four times as wide as the stem. The slope of alpha = 270 would
    leave a single channel in the stem at small sizes.
    """
    return {"width": 1 + k / 32, "alpha": 3 * (1 + k / 32)}


register(
    "pyramidnet110_a270",
    PyramidNet,
    depth=110,
    alpha=270,
    scale=scale,
    card=PaperCard(
        row="21",
        title="Deep Pyramidal Residual Networks",
        authors="D. Han, J. Kim, J. Kim",
        year=2016,
        arxiv="1610.02915",
        venue="CVPR 2017",
        variant="110 layers, alpha = 270, additive, basic blocks",
        idea=(
            "The number of channels grows by a small step at every block, while the "
            "blocks of a ResNet keep it and double it where the image is halved. The "
            "load is spread over all blocks, and the network suffers less when a "
            "single one is removed. A block has one ReLU only, between its "
            "convolutions, and its shortcut pads the new channels with zeros."
        ),
        survey_parameters=28.4,
        paper_parameters=28.3,
        survey_paper_accuracy=96.23,
        survey_accuracy=95.9,
        survey_mark="reproduced",
        contradictions=(
            "The survey's 28.4 M are the weights alone; all parameters are 28.5 M, so "
            "the paper's 28.3 M is slightly less than its own description gives.",
        ),
    ),
)
register("pyramidnet110_a84", PyramidNet, depth=110, alpha=84, scale=scale)
