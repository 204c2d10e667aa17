"""Deep Networks with Stochastic Depth.

G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Q. Weinberger, ECCV 2016, arXiv:1603.09382.
Survey row 13.

Built here: the 110-layer network for CIFAR-10. Every residual branch is skipped at
random, one draw per mini-batch; the probability of survival falls linearly from 1 at
the image to 0.5 at the last block.

Deviations: none in the architecture. Shortcuts average 2x2 pixels where the image is
halved, as is commonly reported of the authors' code.
"""

from typing import Any

from torch import nn

from papernets.blocks import StochasticBranch, ZeroPadShortcut, linear_survival
from papernets.models.registry import PaperCard, register
from papernets.models.resnet import BasicBlock, ResNet


class StochasticBlock(BasicBlock):
    """ReLU(x + b F(x)), F = conv3x3, BN, ReLU, conv3x3, BN; b is 1 with `survival`."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, survival: float
    ) -> None:
        super().__init__(in_channels, channels, stride)
        self.branch = StochasticBranch(self.branch, survival)
        if isinstance(self.shortcut, ZeroPadShortcut):
            self.shortcut.average = True


class StochasticDepth(ResNet):
    """conv3x3, BN, ReLU; 3 stages of (depth - 2) / 6 blocks; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers.
        width: channels of the first stage (paper: 16); doubled at stages 2 and 3, where
            the image is halved. A fraction of a channel gives the last blocks of a
            stage one more.
        survival: probability that the last block survives.
        decay: "linear" falls from 1 at the image to `survival`, block by block;
            "constant" gives all blocks the last one's probability.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 110,
        width: float = 16,
        survival: float = 0.5,
        decay: str = "linear",
    ) -> None:
        if decay not in ("linear", "constant"):
            raise ValueError(f"decay {decay!r} is neither linear nor constant")
        if not 0 < survival <= 1:
            raise ValueError(f"survival is {survival}; it must be in (0, 1]")
        self.survival, self.decay = survival, decay
        super().__init__(in_channels, num_classes, depth=depth, width=width)

    def block(
        self, in_channels: int, channels: int, stride: int, number: int, blocks: int
    ) -> nn.Module:
        survival = self.survival
        if self.decay == "linear":
            survival = linear_survival(number, blocks, survival)
        return StochasticBlock(in_channels, channels, stride, survival)


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"width": 1 + k / 16}


register(
    "stochastic_depth110",
    StochasticDepth,
    depth=110,
    scale=scale,
    card=PaperCard(
        row="13",
        title="Deep Networks with Stochastic Depth",
        authors="G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Q. Weinberger",
        year=2016,
        arxiv="1603.09382",
        venue="ECCV 2016",
        variant="ResNet of 110 layers, linear decay of survival to 0.5",
        idea=(
            "In training, whole residual blocks are skipped at random, later ones more "
            "often than earlier ones, so that each mini-batch trains a shorter "
            "network. At test time all blocks take part, each weighted by its "
            "probability of survival. Training gets faster and the network generalises "
            "better, like an ensemble of networks of many depths with shared weights."
        ),
        survey_parameters=1.7,
        paper_parameters=1.7,
        survey_paper_accuracy=94.75,
        survey_accuracy=94.76,
        survey_mark="reproduced",
        contradictions=(
            "The survey prints 1.7 M parameters here and 1.6 M for the same network "
            "without stochastic depth in row 8.",
        ),
    ),
)
