"""Xception: Deep Learning with Depthwise Separable Convolutions.

F. Chollet, CVPR 2017, arXiv:1610.02357. Survey row 20.

Built here: the network of the paper's figure 5, 36 convolution layers in 14 modules.

Deviations: the default plan strides less, for 32x32 images; He initialisation.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from papernets.blocks import conv_bn_relu, he_initialise
from papernets.models.branches import choose, require_size
from papernets.models.registry import PaperCard, register

# Strides of the first convolution and of the first two modules; the padding of the
# first two convolutions; smallest image.
PLANS = {
    "S4": (1, 1, 1, 1, 1),
    "S8": (1, 1, 2, 1, 1),
    "299": (2, 2, 2, 0, 7),
}


def separable_conv(in_channels: int, channels: int) -> nn.Sequential:
    """BN(pointwise(depthwise(x))): 3x3 within each channel, then 1x1 across them."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, 1, 1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class SeparableBlock(nn.Module):
    """shortcut(x) + F(x), F = (ReLU, separable conv) for each width, max-pool.

    The shortcut is conv1x1, BN where the width or the size changes, else x. With
    `first_relu=False` F starts with a separable convolution; with `residual=False` the
    block is F alone.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        stride: int = 1,
        *,
        first_relu: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *widths), widths, strict=False):
            layers += [nn.ReLU(), separable_conv(before, after)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.branch = nn.Sequential(*layers[0 if first_relu else 1 :])
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if not residual:
            return
        if stride > 1 or in_channels != widths[-1]:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False),
                nn.BatchNorm2d(widths[-1]),
            )

    def forward(self, x: Tensor) -> Tensor:
        if not self.residual:
            return self.branch(x)
        return self.shortcut(x) + self.branch(x)


class Xception(nn.Module):
    """Entry flow, middle flow of 8 blocks, exit flow, average, dropout, linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        plan: "S8" takes 32x32 images through the middle flow as 8x8 maps; "S4" as
            16x16; "299" is the paper's (19x19 of 299x299 images).
        width: multiplies all channels (paper: 1).
        residual: False leaves out the shortcuts of all modules (the paper's figure 9
            compares both).

    Shape: float (N, in_channels, H, W) -> (N, num_classes). Plan "299" needs sides of
    at least 7.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        plan: str = "S8",
        width: float = 1.0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        first, stride1, stride2, pad, self.smallest = choose("plan", plan, PLANS)

        def w(channels: int) -> int:
            return max(1, round(width * channels))

        block = partial(SeparableBlock, residual=residual)

        self.entry_flow = nn.Sequential(
            conv_bn_relu(in_channels, w(32), 3, first, pad),
            conv_bn_relu(w(32), w(64), 3, 1, pad),
            block(w(64), (w(128), w(128)), stride1, first_relu=False),
            block(w(128), (w(256), w(256)), stride2),
            block(w(256), (w(728), w(728)), 2),
        )
        self.middle_flow = nn.Sequential(
            *(block(w(728), (w(728),) * 3) for _ in range(8))
        )
        self.exit_flow = nn.Sequential(
            block(w(728), (w(728), w(1024)), 2),
            separable_conv(w(1024), w(1536)),
            nn.ReLU(),
            separable_conv(w(1536), w(2048)),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(w(2048), num_classes)
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, self.smallest)
        x = self.exit_flow(self.middle_flow(self.entry_flow(x)))
        return self.classifier(x.mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 400; the modules and the plan stay."""
    return {"width": k / 400}


register(
    "xception",
    Xception,
    scale=scale,
    card=PaperCard(
        row="20",
        title="Xception: Deep Learning with Depthwise Separable Convolutions",
        authors="F. Chollet",
        year=2016,
        arxiv="1610.02357",
        venue="CVPR 2017",
        variant="figure 5, without the optional fully connected layers",
        idea=(
            "The idea behind inception modules at its extreme: correlations in space "
            "and across channels are handled separately, by a 3x3 convolution within "
            "each channel and a 1x1 convolution across them. A plain stack of such "
            "depthwise separable convolutions with residual connections is a little "
            "more accurate on ImageNet than Inception-v3, with about as many "
            "parameters."
        ),
        paper_parameters=22.9,
        survey_mark="not run",
        deviations=(
            "Made for ImageNet. Here the first convolution and the first module have "
            "stride 1 (a module of stride 1 has no pooling), so that the middle flow "
            "sees 8x8 maps of 32x32 images. The paper has no CIFAR-10 result and the "
            "survey's author never ran it.",
        ),
        contradictions=("The paper's 22.9 M include a classifier for 1,000 classes.",),
    ),
)
