"""Rethinking the Inception Architecture for Computer Vision.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, CVPR 2016, arXiv:1512.00567.
Survey row 5.

Built here: the network as libraries have it ("paper"), with the stem and the first
modules of the paper's table 1 ("table"), and as the survey's author has it ("survey").

Deviations: no auxiliary classifier; the default plan pads all convolutions and strides
less, for 32x32 images; dropout 0.2, as the survey's author has it; He initialisation.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import he_initialise
from papernets.models.branches import build, choose, require_size
from papernets.models.registry import PaperCard, register

# Strides: first convolution, the stem's first halving, its second halving.
PLANS = {"S4": (1, 1, 1), "S8": (1, 1, 2), "299": (2, 2, 2)}
# Of plan "299": padding where the stride is 2, smallest image. Of modules A:
# projections, kernel of the second branch.
VARIANTS = {
    "paper": (0, 75, (32, 64, 64), 5),
    "table": (0, 75, (64, 64, 64), 5),
    "survey": (1, 29, (32, 64), 3),
}


def average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, 1, 1)


def max_pool(stride: int, pad: int) -> list[Any]:
    """Nothing where the plan does not halve the image."""
    return [nn.MaxPool2d(3, stride, pad)] if stride > 1 else []


def module_a(pool: int, kernel: int) -> list[Any]:
    """cat(conv1x1, k x k, two 3x3, pool); the paper's figure 5 with k = 5."""
    double = [(64, 1), (96, 3), (96, 3)]
    return [[(64, 1)], [(48, 1), (64, kernel)], double, [average(), (pool, 1)]]


def reduction_a(pad: int, first: list[Any]) -> list[Any]:
    """cat(conv3x3/2, conv3x3/2(conv3x3), max-pool/2)."""
    double = [(64, 1), (96, 3), (96, 3, 2, pad)]
    return [[*first, (384, 3, 2, pad)], double, max_pool(2, pad)]


def module_b(n: int) -> list[Any]:
    """cat(conv1x1, 1x7 and 7x1, twice 7x1 and 1x7, pool); the paper's figure 6."""
    once = [(n, 1), (n, (1, 7)), (192, (7, 1))]
    twice = [(n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7))]
    return [[(192, 1)], once, twice, [average(), (192, 1)]]


def reduction_b(pad: int) -> list[Any]:
    """cat(conv3x3/2(conv1x1), conv3x3/2(7x1(1x7)), max-pool/2)."""
    wide = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, pad)]
    return [[(192, 1), (320, 3, 2, pad)], wide, max_pool(2, pad)]


def module_c() -> list[Any]:
    """cat(conv1x1, 1x3 | 3x1, 3x3 then 1x3 | 3x1, pool); the paper's figure 7."""
    once: list[Any] = [(384, 1), [[(384, (1, 3))], [(384, (3, 1))]]]
    twice: list[Any] = [(448, 1), (384, 3), [[(384, (1, 3))], [(384, (3, 1))]]]
    return [[(320, 1)], once, twice, [average(), (192, 1)]]


class InceptionV3(nn.Module):
    """Stem; modules A, reduction, 4 modules B, reduction, 2 modules C; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        variant: "paper": 3 modules A, as in the libraries; "table": table 1's stem;
            "survey": 2 modules A with 3x3 in place of 5x5, another stem.
        plan: "S8" gives the modules 16x16, 8x8 and 4x4 maps of 32x32 images; "S4"
            32, 16 and 8; "299" is the paper's (35, 17 and 8 of 299x299 images).
        width: multiplies all channels (paper: 1).

    Shape: float (N, in_channels, H, W) -> (N, num_classes). Plan "299" needs sides of
    at least 75 (29 for "survey").
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        variant: str = "paper",
        plan: str = "S8",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        pad, self.smallest, projections, kernel = choose("variant", variant, VARIANTS)
        stride1, stride2, stride3 = choose("plan", plan, PLANS)
        valid = 0  # padding of the stem's 3x3 convolutions of stride 1, but the third
        if plan != "299":
            pad, valid, self.smallest = 1, 1, 1
        end = {
            "paper": [(80, 1), (192, 3, 1, valid), *max_pool(stride3, pad)],
            "table": [(80, 3, 1, valid), (192, 3, stride3, pad), (288, 3)],
            "survey": [(64, 3, 1, valid), (80, 3, stride3, pad), (192, 3, 1, valid)],
        }
        start = [(32, 3, stride1, pad), (32, 3, 1, valid), (64, 3)]
        self.stem, channels = build(
            [*start, *max_pool(stride2, pad), *end[variant]], in_channels, width
        )
        before = [(288, 1)] if variant == "survey" else []
        self.stages, channels = build(
            [
                *(module_a(projection, kernel) for projection in projections),
                reduction_a(pad, before),
                *(module_b(n) for n in (128, 160, 160, 192)),
                reduction_b(pad),
                module_c(),
                module_c(),
            ],
            channels,
            width,
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(channels, num_classes)
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, self.smallest)
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 400; modules and plan stay."""
    return {"width": k / 400}


register(
    "inception_v3",
    InceptionV3,
    scale=scale,
    card=PaperCard(
        row="5",
        title="Rethinking the Inception Architecture for Computer Vision",
        authors="C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna",
        year=2015,
        arxiv="1512.00567",
        venue="CVPR 2016",
        variant="the form of the libraries, without auxiliary classifier",
        idea=(
            "Large kernels are factorised: 5x5 into two of 3x3, and n x n into 1 x n "
            "and n x 1, which saves weights and multiply-adds and sees as far. Where "
            "the image is halved, convolutions of stride 2 and a pooling work side by "
            "side, so that the representation does not become a bottleneck. The paper "
            "also introduced label smoothing."
        ),
        survey_parameters=22.5,
        survey_accuracy=94.74,
        deviations=(
            "Made for ImageNet. Here all convolutions are padded, the first has "
            "stride 1 and the stem halves the image once, so that the modules see "
            "16x16, 8x8 and 4x4 maps; the survey's author enlarges the images to "
            "224x224.",
            "Three modules A with a 5x5 branch and a stem ending in 80 and 192 "
            "channels, as in the libraries, where the paper's table 1 has 80, 192 and "
            "288 (variant 'table').",
        ),
        contradictions=(
            "The survey's 22.5 M fits no network for 10 classes: the survey author's "
            "has 21.5 M weights (variant 'survey'), the libraries' 21.8 M, table 1 "
            "gives 22.3 M. Nearest is the author's with 1,000 classes, 22.49 times "
            "2^20 weights; that is a conjecture.",
            "The paper gives no exact figure: its abstract says less than 25 M.",
        ),
    ),
)
