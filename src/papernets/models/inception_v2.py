"""Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift.

S. Ioffe, C. Szegedy, ICML 2015, arXiv:1502.03167. Survey row 4.

Built here: the network of the paper's appendix ("BN-Inception", Inception v2), without
auxiliary classifiers.

Deviations: an ordinary 7x7 convolution in the stem, as in the survey author's network,
where the paper has a separable one; strides of the stem for 32x32 images; He
initialisation.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import he_initialise
from papernets.models.branches import build, choose
from papernets.models.registry import PaperCard, register

# Stride of the first convolution, poolings kept in the stem.
PLANS = {"S4": (1, ()), "S8": (1, (2,)), "224": (2, (1, 2))}


def max_pool(stride: int = 2) -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride, 1)


def inception(
    one: int,
    three: tuple[int, int],
    double: tuple[int, int],
    pool: int,
    pooling: type[nn.Module] = nn.AvgPool2d,
) -> list[Any]:
    """cat(conv1x1, conv3x3(conv1x1), conv3x3(conv3x3(conv1x1)), conv1x1(pool))."""
    return [
        [(one, 1)],
        [(three[0], 1), (three[1], 3)],
        [(double[0], 1), (double[1], 3), (double[1], 3)],
        [pooling(3, 1, 1), (pool, 1)],
    ]


def reduction(three: tuple[int, int], double: tuple[int, int]) -> list[Any]:
    """cat(conv3x3/2(conv1x1), conv3x3/2(conv3x3(conv1x1)), max-pool/2)."""
    return [
        [(three[0], 1), (three[1], 3, 2)],
        [(double[0], 1), (double[1], 3), (double[1], 3, 2)],
        [max_pool()],
    ]


class InceptionV2(nn.Module):
    """Stem; modules 3a-3c, 4a-4e, 5a-5b; average; linear. Every conv has BN, ReLU.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        plan: "S4" keeps 32x32 images at 32x32 up to module 3c (then 16x16, 8x8); "S8"
            halves them in the stem (16, 8, 4); "224" is the paper's (28, 14, 7).
        width: multiplies all channels (paper: 1).

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        plan: str = "S4",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        stride, pools = choose("plan", plan, PLANS)
        pool1, pool2 = ([max_pool()] if p in pools else [] for p in (1, 2))
        self.stem, channels = build(
            [(64, 7, stride), *pool1, (64, 1), (192, 3), *pool2], in_channels, width
        )
        self.stages, channels = build(
            [
                inception(64, (64, 64), (64, 96), 32),  # 3a
                inception(64, (64, 96), (64, 96), 64),
                reduction((128, 160), (64, 96)),  # 3c
                inception(224, (64, 96), (96, 128), 128),  # 4a
                inception(192, (96, 128), (96, 128), 128),
                inception(160, (128, 160), (128, 160), 128),
                inception(96, (128, 192), (160, 192), 128),
                reduction((128, 192), (192, 256)),  # 4e
                inception(352, (192, 320), (160, 224), 128),  # 5a
                inception(352, (192, 320), (192, 224), 128, nn.MaxPool2d),
            ],
            channels,
            width,
        )
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 800; modules and plan stay."""
    return {"width": k / 800}


register(
    "inception_v2",
    InceptionV2,
    scale=scale,
    card=PaperCard(
        row="4",
        title=(
            "Batch Normalization: Accelerating Deep Network Training by Reducing "
            "Internal Covariate Shift"
        ),
        authors="S. Ioffe, C. Szegedy",
        year=2015,
        arxiv="1502.03167",
        venue="ICML 2015",
        variant="the appendix's network without auxiliary classifiers",
        idea=(
            "Batch normalization: every channel is normalised by its mean and variance "
            "over the mini-batch, then scaled and shifted by learned parameters. "
            "Learning rates can be higher, initialisation matters less, and training "
            "takes a fraction of the steps. The network it was shown on is an "
            "Inception network whose 5x5 convolutions are replaced by two of 3x3."
        ),
        survey_parameters=10,
        survey_accuracy=94.89,
        deviations=(
            "Made for ImageNet. Here the first convolution has stride 1 and the two "
            "poolings of the stem are left out, so that the modules see 32x32, 16x16 "
            "and 8x8 maps; the survey's author enlarges the images to 224x224.",
            "The stem's 7x7 convolution is an ordinary one, as in the survey author's "
            "network; the paper's is separable.",
            "Module 4e passes the maximum through; the survey author's the average.",
        ),
        contradictions=(
            "With the printed projections of 128 channels, modules 4c and 4d put out "
            "608 channels; the size column of the paper's table says 576. Built here "
            "as the projections are printed. With 96 in their place the network has "
            "0.09 M weights less; both round to the survey's 10 M.",
        ),
    ),
)
