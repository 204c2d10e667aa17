"""Title of the Paper.

A. Author, B. Author, venue and year, arXiv:2001.00001. In no survey.

Built here: the variant, in the paper's words.

Deviations: He initialisation.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import conv3x3, conv_bn_relu, he_initialise
from papernets.models.registry import PaperCard, register


class TemplateBlock(nn.Module):
    """x + BN conv3x3(relu(BN conv3x3(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_bn_relu(channels, channels, 3),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class TemplateNet(nn.Module):
    """conv3x3, a block at each of three sizes, average, linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: channels.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 10, *, width: int = 16
    ) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, width, 3)
        self.stages = nn.Sequential(
            TemplateBlock(width),
            nn.AvgPool2d(2, ceil_mode=True),
            TemplateBlock(width),
            nn.AvgPool2d(2, ceil_mode=True),
            TemplateBlock(width),
        )
        self.classifier = nn.Linear(width, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """1 + k / 16 channels, rounded down; the depth stays."""
    return {"width": 1 + k // 16}


register(
    "template_net",
    TemplateNet,
    scale=scale,
    card=PaperCard(
        title="Title of the Paper",
        authors="A. Author, B. Author",
        year=2020,
        arxiv="2001.00001",
        venue="venue and year",
        variant="the network of its first table",
        idea=(
            "What the paper brought, in two or three sentences. What held before, and "
            "what was changed. A number from the paper stays on the card and is shown "
            "as the paper's."
        ),
        deviations=("He initialisation, as in all networks of this book.",),
    ),
)
