"""Deep Pyramidal Residual Networks with Separated Stochastic Depth.

Y. Yamada, M. Iwamura, K. Kise, 2016, arXiv:1612.01230. Survey row 24.

Built here: PyramidSepDrop, 182 layers, alpha = 150: a PyramidNet of basic blocks whose
branches are dropped in two parts, old channels and new ones.

Deviations: none in the architecture. The authors' code splits the last convolution and
its BN in two; one of each with two masks is the same function.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import linear_survival
from papernets.models.pyramidnet import PyramidBlock, PyramidNet
from papernets.models.registry import PaperCard, register


class SeparatedDrop(nn.Module):
    """concat(a F(x)[:old], b F(x)[old:]), a and b are 1 with probability `survival`.

    One draw of a and of b per mini-batch, independent of each other; else they are 0.
    Evaluation: survival * F(x). The `old` channels are those that the shortcut fills.
    """

    def __init__(self, branch: nn.Module, old: int, survival: float) -> None:
        super().__init__()
        self.branch, self.old, self.survival = branch, old, survival

    def forward(self, x: Tensor) -> Tensor | float:
        if not self.training:
            return self.survival * self.branch(x)
        keep_old, keep_new = (torch.rand(2) < self.survival).tolist()
        if not keep_old and not keep_new:
            return 0.0
        residual = self.branch(x)
        mask = residual.new_full((residual.shape[1], 1, 1), float(keep_new))
        mask[: self.old] = float(keep_old)
        return mask * residual


class PyramidSepDrop(PyramidNet):
    """conv3x3, BN; 3 stages of (depth - 2) / 6 blocks; BN, ReLU; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers.
        alpha: channels that all blocks together add, each an equal share.
        width: channels of the stem; at least 1.
        survival: probability that a part of the last block's branch is not dropped; it
            falls linearly with depth, from 1 at the stem.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 182,
        alpha: float = 150,
        width: float = 16,
        survival: float = 0.5,
    ) -> None:
        self.survival = survival
        super().__init__(
            in_channels, num_classes, depth=depth, alpha=alpha, width=width
        )

    def block(
        self, in_channels: int, channels: int, stride: int, number: int, blocks: int
    ) -> PyramidBlock:
        block = super().block(in_channels, channels, stride, number, blocks)
        survival = linear_survival(number, blocks, self.survival)
        block.branch = SeparatedDrop(block.branch, in_channels, survival)
        return block


def scale(k: int) -> dict[str, Any]:
    """Stem 1 + k / 32 channels wide and alpha three times that; the depth stays."""
    return {"width": 1 + k / 32, "alpha": 3 * (1 + k / 32)}


register(
    "pyramid_sepdrop182_a150",
    PyramidSepDrop,
    depth=182,
    alpha=150,
    scale=scale,
    card=PaperCard(
        row="24",
        title="Deep Pyramidal Residual Networks with Separated Stochastic Depth",
        authors="Y. Yamada, M. Iwamura, K. Kise",
        year=2016,
        arxiv="1612.01230",
        venue="arXiv, 2016",
        variant="PyramidSepDrop, 182 layers, alpha = 150",
        idea=(
            "Stochastic depth is fitted to PyramidNets. In every block the channels "
            "that its shortcut carries on and the channels that it adds are dropped "
            "independently of each other; dropped together, as in a ResNet, the new "
            "channels would have nothing in their place but the zeros of the shortcut."
        ),
        survey_parameters=16.5,
        survey_paper_accuracy=96.69,
        survey_mark="none",
        contradictions=(
            "Widths rounded down, as here, give the survey's 16.5 M; rounded to the "
            "nearest whole number they give 16.6 M.",
            "In the authors' code alpha counts one stage only, a third of the paper's.",
        ),
    ),
)
