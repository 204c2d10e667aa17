"""Weighted Residuals for Very Deep Networks.

F. Shen, G. Zeng, 2016, arXiv:1605.08831. Survey row 17.

Built here: WResNet-d, 6n + 4 layers deep. Every residual branch ends with a ReLU, so it
can only add, and is weighted by a learned scalar of either sign that starts at 0: the
network starts without its branches.

Deviations: "-d" is read as stochastic depth with linear decay to 0.5, as the survey's
author read it; the paper's text beyond its first page was not available. Shortcuts add
zero channels where the size changes, also as his.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import (
    StochasticBranch,
    ZeroPadShortcut,
    conv_bn_relu,
    he_initialise,
    linear_survival,
)
from papernets.models.registry import PaperCard, register


class WeightedBlock(nn.Module):
    """x + alpha F(x), F = conv3x3, BN, ReLU, conv3x3, BN, ReLU."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, survival: float
    ) -> None:
        super().__init__()
        branch = nn.Sequential(
            *conv_bn_relu(in_channels, channels, 3, stride),
            *conv_bn_relu(channels, channels, 3),
        )
        self.branch = StochasticBranch(branch, survival)
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(channels, stride)

    def forward(self, x: Tensor, alpha: Tensor) -> Tensor:
        return self.shortcut(x) + alpha * self.branch(x)


class WResNet(nn.Module):
    """conv3x3, BN, ReLU; 3 stages of (depth - 4) / 6 blocks; average; linear.

    `alpha` holds the weights of all blocks, shape (blocks,). It starts at 0, so that
    one step of training moves `alpha` alone; branches follow from the second step on.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 4 layers.
        width: channels of the first stage (paper: 16); doubled at stages 2 and 3, where
            the image is halved. A fraction of a channel gives the last blocks of a
            stage one more.
        survival: probability that the last block survives; 1 keeps every block.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 118,
        width: float = 16,
        survival: float = 0.5,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth is {depth}; it must be 6n + 4, for example 118")
        if not 0 < survival <= 1:
            raise ValueError(f"survival is {survival}; it must be in (0, 1]")
        blocks, channels = (depth - 4) // 6, int(width)
        self.stem = conv_bn_relu(in_channels, channels, 3)
        self.blocks = nn.ModuleList()
        for stage in range(3):
            for block in range(blocks):
                out = int(width * 2**stage + block / blocks)
                stride = 2 if stage > 0 and block == 0 else 1
                survives = linear_survival(len(self.blocks) + 1, 3 * blocks, survival)
                self.blocks.append(WeightedBlock(channels, out, stride, survives))
                channels = out
        self.alpha = nn.Parameter(torch.zeros(len(self.blocks)))
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def project(self) -> None:
        """Move every alpha to the nearest point of [-1, 1].

        The projection of projected stochastic gradient descent. A forward pass in
        training mode begins with it; in evaluation mode `alpha` is not touched, but
        counts as its projection.
        """
        self.alpha.data.clamp_(-1, 1)  # .data: earlier passes may await their backward

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.project()
        x = self.stem(x)
        for block, alpha in zip(self.blocks, self.alpha.clamp(-1, 1), strict=True):
            x = block(x, alpha)
        return self.classifier(x.mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """118 layers, the first stage 1 + k / 16 channels wide.

    1192 layers would be a single channel wide at 20 M multiply-adds.
    """
    return {"depth": 118, "width": 1 + k / 16}


register(
    "wresnet_d1192",
    WResNet,
    depth=1192,
    scale=scale,
    card=PaperCard(
        row="17",
        title="Weighted Residuals for Very Deep Networks",
        authors="F. Shen, G. Zeng",
        year=2016,
        arxiv="1605.08831",
        venue="arXiv 2016",
        variant="WResNet-d, 1192 layers",
        idea=(
            "Every residual branch is multiplied by a learned scalar of either sign "
            "that starts at zero. A ReLU at the end of a branch could otherwise only "
            "add to the signal; and a network of a thousand layers starts as a shallow "
            "one that takes up its branches gradually, so that it converges more "
            "easily."
        ),
        survey_parameters=19.1,
        survey_paper_accuracy=95.3,
        survey_mark="none",
        deviations=(
            '"-d" is taken for stochastic depth, as in the survey; the paper\'s text '
            "beyond its first page was not available.",
        ),
    ),
)
register("wresnet_d118", WResNet, depth=118, scale=scale)
