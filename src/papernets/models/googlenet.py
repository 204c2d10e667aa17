"""Going Deeper with Convolutions.

C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke,
A. Rabinovich, CVPR 2015, arXiv:1409.4842. Survey row 3.

Built here: the 22-layer network (Inception v1) without auxiliary classifiers.

Deviations: no auxiliary classifiers and no local response normalisation; strides of the
stem for 32x32 images; He initialisation. Without BN the network trains slowly;
`batch_norm=True` (`googlenet_bn`) is the practical form and not the paper's.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import conv_bn_relu, he_initialise
from papernets.models.branches import build, choose, conv_relu, require_size
from papernets.models.registry import PaperCard, register

# Stride of the first convolution, poolings kept in the stem, smallest image.
PLANS = {"S4": (1, (), 4), "S8": (1, (2,), 8), "224": (2, (1, 2), 31)}


def max_pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def inception(
    one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int
) -> list[Any]:
    """cat(conv1x1, conv3x3(conv1x1), conv5x5(conv1x1), conv1x1(max-pool))."""
    return [
        [(one, 1)],
        [(reduce3, 1), (three, 3)],
        [(reduce5, 1), (five, 5)],
        [nn.MaxPool2d(3, 1, 1), (pool, 1)],
    ]


class GoogLeNet(nn.Module):
    """Stem; inception modules 3a-3b, 4a-4e, 5a-5b; average; dropout; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        batch_norm: conv, BN, ReLU in place of conv with bias, ReLU.
        plan: "S4" keeps 32x32 images at 32x32 up to module 3b (then 16x16, 8x8); "S8"
            halves them in the stem (16, 8, 4); "224" is the paper's (28, 14, 7).
        width: multiplies all channels (paper: 1).

    Shape: float (N, in_channels, H, W), sides at least 4 ("S4"), 8 ("S8") or 31
    ("224") -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        batch_norm: bool = False,
        plan: str = "S4",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        stride, pools, self.smallest = choose("plan", plan, PLANS)
        pool1, pool2 = ([max_pool()] if p in pools else [] for p in (1, 2))
        conv = conv_bn_relu if batch_norm else conv_relu
        self.stem, channels = build(
            [(64, 7, stride), *pool1, (64, 1), (192, 3), *pool2],
            in_channels,
            width,
            conv,
        )
        self.stages, channels = build(
            [
                inception(64, 96, 128, 16, 32, 32),  # 3a
                inception(128, 128, 192, 32, 96, 64),
                max_pool(),
                inception(192, 96, 208, 16, 48, 64),  # 4a
                inception(160, 112, 224, 24, 64, 64),
                inception(128, 128, 256, 24, 64, 64),
                inception(112, 144, 288, 32, 64, 64),
                inception(256, 160, 320, 32, 128, 128),
                max_pool(),
                inception(256, 160, 320, 32, 128, 128),  # 5a
                inception(384, 192, 384, 48, 128, 128),
            ],
            channels,
            width,
            conv,
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.4), nn.Linear(channels, num_classes)
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, self.smallest)
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 800; modules and plan stay."""
    return {"width": k / 800}


register(
    "googlenet",
    GoogLeNet,
    scale=scale,
    card=PaperCard(
        row="3",
        title="Going Deeper with Convolutions",
        authors=(
            "C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, "
            "V. Vanhoucke, A. Rabinovich"
        ),
        year=2014,
        arxiv="1409.4842",
        venue="CVPR 2015",
        variant="without auxiliary classifiers, no BN",
        idea=(
            "An inception module looks at its input at several scales at once, with "
            "1x1, 3x3 and 5x5 convolutions and a pooling side by side, and "
            "concatenates what they give. 1x1 convolutions reduce the number of "
            "channels before the larger kernels, which keeps a network of 22 layers "
            "affordable. Average pooling and one linear layer replace the large fully "
            "connected layers."
        ),
        survey_parameters=6,
        paper_parameters=6.8,
        survey_accuracy=91.33,
        deviations=(
            "Made for ImageNet. Here the first convolution has stride 1 and the two "
            "poolings of the stem are left out, so that the modules see 32x32, 16x16 "
            "and 8x8 maps; the survey's author enlarges the images to 224x224 and "
            "gets 28, 14 and 7.",
            "No auxiliary classifiers and no local response normalisation, as in the "
            "survey author's network.",
        ),
        contradictions=("The paper's 6.8 M include a classifier for 1,000 classes.",),
    ),
)
register("googlenet_bn", GoogLeNet, batch_norm=True, scale=scale)
