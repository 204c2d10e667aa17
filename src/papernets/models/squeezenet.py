"""SqueezeNet: AlexNet-Level Accuracy with 50x Fewer Parameters and <0.5 MB Model Size.

F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, K. Keutzer, 2016,
arXiv:1602.07360. Survey row 10.

Built here: version 1.0 with simple bypass, and with the survey's batch normalization:
BN and ReLU precede every convolution but the first.

Deviations:
- batch normalization, which the paper does not have;
- the first convolution has stride 1 and no pooling follows it: fire modules then see
  32, 16 and 8 pixels, as they did in the survey, where images were enlarged to 128.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import he_initialise
from papernets.models.branches import require_size
from papernets.models.registry import PaperCard, register

# Squeeze and expand channels of the fire modules 2 to 9 (table 1 of the paper).
FIRES = (
    *((16, 64), (16, 64), (32, 128)),  # fire 2, 3, 4 at 32x32
    *((32, 128), (48, 192), (48, 192), (64, 256)),  # fire 5, 6, 7, 8 at 16x16
    (64, 256),  # fire 9 at 8x8
)
POOL_BEFORE = (5, 9)  # fire modules
BYPASSED = (3, 5, 7, 9)


def bn_relu_conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """BN, ReLU, conv with bias that keeps the size."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2),
    )


class Fire(nn.Module):
    """[E1(s), E3(s)], s = S(x); bypass: x is added. S, E1, E3 = BN, ReLU, conv.

    S squeezes to few channels with 1x1 kernels; E1 and E3 expand them again with 1x1
    and 3x3 kernels, and their outputs are stacked.
    """

    def __init__(
        self, in_channels: int, squeeze: int, expand: int, bypass: bool
    ) -> None:
        super().__init__()
        self.squeeze = bn_relu_conv(in_channels, squeeze, 1)
        self.expand1x1 = bn_relu_conv(squeeze, expand, 1)
        self.expand3x3 = bn_relu_conv(squeeze, expand, 3)
        self.bypass = bypass

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x)
        out = torch.cat((self.expand1x1(squeezed), self.expand3x3(squeezed)), 1)
        return x + out if self.bypass else out


class SqueezeNet(nn.Module):
    """conv; fire 2-4; max-pool; fire 5-8; max-pool; fire 9; dropout; conv1x1; average.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every layer's channels.
        stem_kernel: of the first convolution, in pixels (paper: 7).
        dropout: probability of dropping an input of the last convolution.

    Shape: float (N, in_channels, H, W) -> (N, num_classes); H and W at least 4, else
    ValueError.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: float = 1.0,
        stem_kernel: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels = round(96 * width)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, stem_kernel, padding=stem_kernel // 2)
        ]
        for number, widths in enumerate(FIRES, start=2):
            if number in POOL_BEFORE:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            squeeze, expand = (round(c * width) for c in widths)
            layers.append(Fire(channels, squeeze, expand, number in BYPASSED))
            channels = 2 * expand
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = bn_relu_conv(channels, num_classes, 1)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, 4)
        return self.classifier(self.dropout(self.features(x))).mean((2, 3))


def scale(k: int) -> dict[str, Any]:
    """Every layer k + 60 thousandths as wide; the fire modules stay."""
    return {"width": (k + 60) / 1000}


register(
    "squeezenet_bn",
    SqueezeNet,
    scale=scale,
    card=PaperCard(
        row="10",
        title="SqueezeNet: AlexNet-Level Accuracy with 50x Fewer Parameters and "
        "<0.5 MB Model Size",
        authors="F. N. Iandola, S. Han, M. W. Moskewicz, K. Ashraf, W. J. Dally, "
        "K. Keutzer",
        year=2016,
        arxiv="1602.07360",
        venue="arXiv 2016",
        variant="version 1.0 with simple bypass, and batch normalization",
        idea=(
            "A fire module squeezes its input to few channels by 1x1 convolutions, "
            "then expands it by 1x1 and 3x3 convolutions side by side, so that the "
            "expensive kernels read few channels. Images are halved late, and there is "
            "no fully connected layer. On ImageNet this reaches the accuracy of "
            "AlexNet with a fiftieth of its parameters."
        ),
        survey_parameters=0.7,
        survey_paper_accuracy=82.0,
        survey_accuracy=92.63,
        survey_mark="reproduced",
        deviations=(
            "Batch normalization and ReLU before every convolution but the first, as "
            "in the survey.",
            "Stride 1 in the first convolution and no pooling after it: the images "
            "are 32 pixels wide. The survey's author enlarged them to 128 instead.",
        ),
        contradictions=(
            "The paper has no CIFAR-10 result: the survey's 82 % is AlexNet's, without "
            "augmentation.",
        ),
    ),
)
