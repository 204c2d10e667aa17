"""Wide Residual Networks.

S. Zagoruyko, N. Komodakis, BMVC 2016, arXiv:1605.07146. Survey row 15.

Built here: the CIFAR networks WRN-depth-widen of the paper's table 1, above all
WRN-28-10; dropout inside the blocks is an option. `variant="survey"` has the survey
author's shortcuts, which pad new channels with zeros instead of projecting.

Deviations: none in the architecture.
"""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, he_initialise
from papernets.models.registry import PaperCard, register


def is_survey(variant: str) -> bool:
    """True for "survey", False for "paper"; raises ValueError for other words."""
    if variant not in ("paper", "survey"):
        raise ValueError(f"variant is {variant!r}; it must be 'paper' or 'survey'")
    return variant == "survey"


class WideBlock(nn.Module):
    """x + F(a(x)), F = conv3x3, BN, ReLU, dropout, conv3x3, a = BN, ReLU.

    F has two convolutions unless told otherwise, with BN, ReLU and dropout between any
    two. Where the shape changes, conv1x1(a(x)) replaces x, or x padded with zeros does.
    """

    def __init__(
        self,
        in_channels: int,
        inner: int,
        channels: int,
        stride: int,
        *,
        zero_pad: bool,
        dropout: float,
        convs: int = 2,
    ) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        widths = [in_channels, *[inner] * (convs - 1), channels]
        layers: list[nn.Module] = [conv3x3(in_channels, widths[1], stride)]
        for before, after in pairwise(widths[1:]):
            layers += [
                nn.BatchNorm2d(before),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                conv3x3(before, after),
            ]
        self.branch = nn.Sequential(*layers)
        same = stride == 1 and in_channels == channels
        self.projects = not (same or zero_pad)
        self.shortcut: nn.Module = nn.Identity()
        if self.projects:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        elif not same:
            self.shortcut = ZeroPadShortcut(channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        source = activated if self.projects else x
        return self.shortcut(source) + self.branch(activated)


class WideResNet(nn.Module):
    """conv3x3; 3 stages of (depth - 4) / (3 convs) blocks; BN, ReLU; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 4 layers, with other blocks 3 `convs` n + 4.
        widen: the paper's k; stages are 16k, 32k and 64k channels wide, and the image
            is halved before the second and the third. Widths that are not whole are
            rounded down, and the inner layer of every block takes up the rest, so
            that sizes are dense.
        dropout: probability of dropping a unit between the convolutions of a block.
        convs: convolutions of a block, the paper's B(3), B(3,3), B(3,3,3), ...
        variant: "paper" projects where the shape changes, "survey" pads with zeros.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 28,
        widen: float = 10,
        dropout: float = 0.0,
        variant: str = "paper",
        convs: int = 2,
    ) -> None:
        super().__init__()
        if convs < 1:
            raise ValueError(f"convs is {convs}; a block has at least 1 convolution")
        blocks, rest = divmod(depth - 4, 3 * convs)
        if blocks < 1 or rest:
            raise ValueError(f"depth is {depth}; it must be {3 * convs}n + 4")
        zero_pad = is_survey(variant)
        self.stem = conv3x3(in_channels, 16)
        channels, before, stages = 16, 16.0, []
        for stage in range(3):
            width = 16 * widen * 2**stage
            out = max(1, int(width))
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                inner = inner_width((before, width), (channels, out), block / blocks)
                stages.append(
                    WideBlock(
                        *(channels, inner, out, stride),
                        zero_pad=zero_pad and out >= channels,  # else nothing to pad
                        dropout=dropout,
                        convs=convs,
                    )
                )
                channels, before = out, width
        self.stages = nn.Sequential(*stages)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.stages(self.stem(x)))
        return self.classifier(features.mean((2, 3)))


def inner_width(
    widths: tuple[float, float], whole: tuple[int, int], share: float
) -> int:
    """Width between the two layers of a block at which it keeps its cost.

    Between `widths` (before, after) that may be fractions the inner width would be
    `after`. The block's outer widths are rounded (`whole`), so the inner one is after *
    sum(widths) / sum(whole), and it is rounded up if its fraction reaches 1 - share:
    the blocks of a stage do it one after the other. Where nothing was rounded, it is
    `after`.
    """
    return max(1, int(widths[1] * sum(widths) / sum(whole) + share))


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"widen": (1 + k / 16) / 16}


register(
    "wrn28_10",
    WideResNet,
    depth=28,
    widen=10,
    scale=scale,
    card=PaperCard(
        row="15",
        title="Wide Residual Networks",
        authors="S. Zagoruyko, N. Komodakis",
        year=2016,
        arxiv="1605.07146",
        venue="BMVC 2016",
        variant="WRN-28-10, without dropout",
        idea=(
            "Residual networks are made wider instead of deeper: blocks with several "
            "times as many channels, and few of them. With a comparable number of "
            "parameters, such a network beats thin ones of a thousand layers and "
            "trains several times faster, since wide layers use parallel hardware "
            "better. Dropout, where it is used, stands between the two convolutions of "
            "a block."
        ),
        survey_parameters=36.2,
        paper_parameters=36.5,
        survey_paper_accuracy=96.0,
        survey_accuracy=95.76,
        survey_mark="reproduced",
        contradictions=(
            "The survey's 36.2 M are the weights of its author's network, whose "
            "shortcuts pad with zeros; the paper's 36.5 M include the projections.",
        ),
    ),
)
for _depth, _widen in ((16, 4), (16, 8), (22, 8), (40, 1), (40, 2), (40, 4)):
    register(
        f"wrn{_depth}_{_widen}", WideResNet, depth=_depth, widen=_widen, scale=scale
    )
