"""Residual Networks of Residual Networks: Multilevel Residual Networks.

K. Zhang, M. Sun, T. X. Han, X. Yuan, L. Guo, T. Liu, IEEE TCSVT 2018, arXiv:1608.02908.
Survey row 18.

Built here: RoR-3-WRN58-4 with stochastic depth: a wide residual network with shortcuts
at three levels, around the network, around every stage, around every block. With
`variant="survey"` the form of the survey's author: a stem as wide as the first stage,
BN and ReLU before the first convolution and before every 1x1 convolution.

Deviations: none known. Whether blocks that change the size have 1x1 convolutions or
zero channels as shortcuts could not be confirmed; the former are built.
"""

from math import ceil
from typing import Any

from torch import Tensor, nn

from papernets.blocks import (
    StochasticBranch,
    ZeroPadShortcut,
    conv3x3,
    he_initialise,
    linear_survival,
)
from papernets.models.registry import PaperCard, register


def bn_relu(channels: int) -> list[nn.Module]:
    """BN, ReLU."""
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def projection(
    in_channels: int, channels: int, stride: int, variant: str
) -> nn.Sequential:
    """conv1x1; BN, ReLU, conv1x1 in the survey's form."""
    before = bn_relu(in_channels) if variant == "survey" else []
    return nn.Sequential(
        *before, nn.Conv2d(in_channels, channels, 1, stride, bias=False)
    )


class WideBlock(nn.Module):
    """x + b F(ReLU(BN(x))), F = conv3x3, BN, ReLU, conv3x3; b is 1 with `survival`.

    The innermost level. Where the size changes S(a) + b F(a), a = ReLU(BN(x)); in the
    survey's form S(x), with a BN of its own.
    """

    def __init__(
        self,
        in_channels: int,
        inner: int,
        channels: int,
        stride: int,
        survival: float,
        shortcut: nn.Module | None,
        share: bool,
    ) -> None:
        super().__init__()
        first = bn_relu(in_channels)
        convs = [
            conv3x3(in_channels, inner, stride),
            *bn_relu(inner),
            conv3x3(inner, channels),
        ]
        self.shared = nn.Sequential(*first if share else [])
        branch = nn.Sequential(*convs) if share else nn.Sequential(*first, *convs)
        self.branch = StochasticBranch(branch, survival)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x)
        return self.shortcut(x) + self.branch(x)


class RoR(nn.Module):
    """conv3x3; S0(x) + stages(x), every stage S(x) + blocks(x); BN, ReLU, average.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 4 layers.
        width: channels of the first stage (paper: 4 x 16), a quarter of them in the
            stem; doubled at stages 2 and 3, where the image is halved. Output channels
            are rounded; a fraction of an inner channel gives the last blocks of a stage
            one more.
        survival: probability that the last block survives; 1 keeps every block.
        inner_shortcut: where blocks change the size, "projection" or "zero_pad".
        variant: "paper" or "survey".

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 58,
        width: float = 64,
        survival: float = 0.5,
        inner_shortcut: str = "projection",
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if variant not in ("paper", "survey"):
            raise ValueError(f"variant {variant!r} is neither paper nor survey")
        if inner_shortcut not in ("projection", "zero_pad"):
            raise ValueError(
                f"inner_shortcut {inner_shortcut!r} is neither projection nor zero_pad"
            )
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth is {depth}; it must be 6n + 4, for example 58")
        if not 0 < survival <= 1:
            raise ValueError(f"survival is {survival}; it must be in (0, 1]")
        blocks = (depth - 4) // 6
        stem = channels = ceil(width / 4) if variant == "paper" else round(width)
        before = bn_relu(in_channels) if variant == "survey" else []
        self.stem = nn.Sequential(*before, conv3x3(in_channels, channels))
        self.stages, self.stage_shortcuts = nn.ModuleList(), nn.ModuleList()
        for stage in range(3):
            out = round(width * 2**stage)
            ideal = (width * 2**stage) ** 2 / out  # inner width, makes up for rounding
            down = 2 if stage > 0 else 1
            self.stage_shortcuts.append(projection(channels, out, down, variant))
            layers = []
            for block in range(blocks):
                stride, shortcut = (down if block == 0 else 1), None
                if stride > 1 or channels != out:
                    shortcut = (
                        projection(channels, out, stride, variant)
                        if inner_shortcut == "projection"
                        else ZeroPadShortcut(out, stride)
                    )
                layers.append(
                    WideBlock(
                        channels,
                        int(ideal + block / blocks),
                        out,
                        stride,
                        linear_survival(
                            stage * blocks + block + 1, 3 * blocks, survival
                        ),
                        shortcut,
                        share=shortcut is not None and variant == "paper",
                    )
                )
                channels = out
            self.stages.append(nn.Sequential(*layers))
        self.root_shortcut = projection(stem, channels, 4, variant)
        self.head = nn.Sequential(*bn_relu(channels))
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        root = self.root_shortcut(x)
        for stage, shortcut in zip(self.stages, self.stage_shortcuts, strict=True):
            x = shortcut(x) + stage(x)
        return self.classifier(self.head(root + x).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; depth and levels stay."""
    return {"width": 1 + k / 16}


register(
    "ror3_wrn58_4",
    RoR,
    depth=58,
    width=64,
    scale=scale,
    card=PaperCard(
        row="18",
        title="Residual Networks of Residual Networks: Multilevel Residual Networks",
        authors="K. Zhang, M. Sun, T. X. Han, X. Yuan, L. Guo, T. Liu",
        year=2016,
        arxiv="1608.02908",
        venue="IEEE TCSVT 2018",
        variant="RoR-3-WRN58-4 with stochastic depth",
        idea=(
            "Shortcuts are added at further levels: around every group of residual "
            "blocks and around the whole network, beside those around single blocks. "
            "The network thus learns residuals of residuals, which are thought to be "
            "easier still to optimise. The levels can be put on original, "
            "pre-activation and wide ResNets alike, and are combined with stochastic "
            "depth."
        ),
        survey_parameters=13.6,
        paper_parameters=13.3,
        survey_paper_accuracy=96.23,
        survey_mark="none",
        contradictions=(
            "The survey's 13.6 M fit this network, with 1x1 convolutions or with zero "
            "channels in the innermost shortcuts; its author's own form (variant="
            '"survey") has 13.7 M. The paper\'s 13.3 M do not follow from its '
            "description.",
        ),
    ),
)
register("ror3_wrn40_2", RoR, depth=40, width=32, scale=scale)
