"""Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning.

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, AAAI 2017, arXiv:1602.07261. Survey row 9.

Built here: Inception-v4 (figure 9 and the modules it names).

Deviations: the default plan pads all convolutions and strides less, for 32x32 images;
He initialisation.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import he_initialise
from papernets.models.branches import build, choose, require_size
from papernets.models.registry import PaperCard, register

# Strides of the first convolution, the stem's first and its last split.
PLANS = {"S4": (1, 1, 1), "S8": (1, 1, 2), "299": (2, 2, 2)}


def average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, 1, 1)


def module_a() -> list[Any]:
    """cat(pool, conv1x1, conv3x3, two conv3x3): 4 x 96 channels."""
    double = [(64, 1), (96, 3), (96, 3)]
    return [[average(), (96, 1)], [(96, 1)], [(64, 1), (96, 3)], double]


def reduction_a(pad: int) -> list[Any]:
    """cat(max-pool/2, conv3x3/2, conv3x3/2(conv3x3)); table 1 has these widths."""
    double = [(192, 1), (224, 3), (256, 3, 2, pad)]
    return [[nn.MaxPool2d(3, 2, pad)], [(384, 3, 2, pad)], double]


def module_b() -> list[Any]:
    """cat(pool, conv1x1, 1x7 and 7x1, twice 1x7 and 7x1)."""
    once = [(192, 1), (224, (1, 7)), (256, (7, 1))]
    twice = [(192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1))]
    return [[average(), (128, 1)], [(384, 1)], once, twice]


def reduction_b(pad: int) -> list[Any]:
    """cat(max-pool/2, conv3x3/2(conv1x1), conv3x3/2(7x1(1x7)))."""
    wide = [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, pad)]
    return [[nn.MaxPool2d(3, 2, pad)], [(192, 1), (192, 3, 2, pad)], wide]


def module_c() -> list[Any]:
    """cat(pool, conv1x1, 1x3 | 3x1, 1x3 and 3x1 then 3x1 | 1x3)."""
    once: list[Any] = [(384, 1), [[(256, (1, 3))], [(256, (3, 1))]]]
    twice: list[Any] = [(384, 1), (448, (1, 3)), (512, (3, 1))]
    twice.append([[(256, (3, 1))], [(256, (1, 3))]])
    return [[average(), (256, 1)], [(256, 1)], once, twice]


class InceptionV4(nn.Module):
    """Stem, 4 modules A, reduction, 7 modules B, reduction, 3 modules C, linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        plan: "S8" gives the modules 16x16, 8x8 and 4x4 maps of 32x32 images; "S4"
            32, 16 and 8; "299" is the paper's (35, 17 and 8 of 299x299 images).
        width: multiplies all channels (paper: 1).

    Shape: float (N, in_channels, H, W) -> (N, num_classes). Plan "299" needs sides of
    at least 75.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        plan: str = "S8",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        first, split1, split3 = choose("plan", plan, PLANS)
        pad, self.smallest = (0, 75) if plan == "299" else (1, 1)
        plain = [(64, 1), (96, 3, 1, pad)]
        wide = [(64, 1), (64, (7, 1)), (64, (1, 7)), (96, 3, 1, pad)]
        self.stem, channels = build(
            [
                (32, 3, first, pad),
                (32, 3, 1, pad),
                (64, 3),
                [[nn.MaxPool2d(3, split1, pad)], [(96, 3, split1, pad)]],
                [plain, wide],
                [[(192, 3, split3, pad)], [nn.MaxPool2d(3, split3, pad)]],
            ],
            in_channels,
            width,
        )
        self.stages, channels = build(
            [
                *(module_a() for _ in range(4)),
                reduction_a(pad),
                *(module_b() for _ in range(7)),
                reduction_b(pad),
                *(module_c() for _ in range(3)),
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
    """All channels times k / 800; modules and plan stay."""
    return {"width": k / 800}


register(
    "inception_v4",
    InceptionV4,
    scale=scale,
    card=PaperCard(
        row="9",
        title=(
            "Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
            "Learning"
        ),
        authors="C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi",
        year=2016,
        arxiv="1602.07261",
        venue="AAAI 2017",
        variant="Inception-v4",
        idea=(
            "A deeper and more uniform Inception network: every stage repeats one "
            "module, and the stem has parallel branches too. The paper sets it beside "
            "Inception networks with residual connections, and finds that these train "
            "much faster but end only slightly better than a plain one of the same "
            "cost."
        ),
        survey_mark="not run",
        deviations=(
            "Made for ImageNet. Here all convolutions are padded, the first of them "
            "and the stem's first split have stride 1, so that the modules see 16x16, "
            "8x8 and 4x4 maps of 32x32 images. The paper has no CIFAR-10 result and "
            "the survey's author never ran it.",
        ),
    ),
)
