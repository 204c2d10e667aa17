"""Identity Mappings in Deep Residual Networks.

K. He, X. Zhang, S. Ren, J. Sun, ECCV 2016, arXiv:1603.05027. Survey row 11.

Built here: the CIFAR-10 networks with full pre-activation; bottleneck blocks (9n + 2
layers: 164, 1001) or basic ones (6n + 2 layers: 110). With `variant="survey"` shortcuts
have no parameters.

Deviations: none in the architecture of the 164-layer network. Its shortcuts follow the
authors' code, 1x1 convolutions of the pre-activated input; the 110-layer network has
the same ones.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, he_initialise
from papernets.models.registry import PaperCard, register


def bn_relu(channels: int) -> list[nn.Module]:
    """BN, ReLU."""
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def conv1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_channels, channels, 1, stride, bias=False)


class PreActBlock(nn.Module):
    """x + F(x); where the size changes S(a) + F(a), a = ReLU(BN(x)).

    F begins with BN and ReLU in the first form, without them in the second. Basic: F =
    conv3x3, BN, ReLU, conv3x3; bottleneck: F = conv1x1, BN, ReLU, conv3x3, BN, ReLU,
    conv1x1. S is a conv1x1, or adds zero channels in the survey's form.
    """

    def __init__(
        self,
        in_channels: int,
        inner: int,
        channels: int,
        stride: int,
        bottleneck: bool,
        variant: str,
    ) -> None:
        super().__init__()
        if bottleneck:
            convs = [
                conv1x1(in_channels, inner, stride),
                *bn_relu(inner),
                conv3x3(inner, inner),
                *bn_relu(inner),
                conv1x1(inner, channels),
            ]
        else:
            convs = [
                conv3x3(in_channels, inner, stride),
                *bn_relu(inner),
                conv3x3(inner, channels),
            ]
        self.shared: nn.Module = nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1 and in_channels == channels:
            convs = [*bn_relu(in_channels), *convs]
        else:
            self.shared = nn.Sequential(*bn_relu(in_channels))
            self.shortcut = (
                conv1x1(in_channels, channels, stride)
                if variant == "paper"
                else ZeroPadShortcut(channels, stride)
            )
        self.branch = nn.Sequential(*convs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x)
        return self.shortcut(x) + self.branch(x)


class PreActResNet(nn.Module):
    """conv3x3; 3 stages of n blocks; BN, ReLU, average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 9n + 2 layers with bottlenecks, 6n + 2 without.
        bottleneck: blocks of three convolutions whose output is four times as wide.
        width: inner channels of the first stage (paper: 16); doubled at stages 2 and 3,
            where the image is halved. Output channels are rounded; a fraction of an
            inner channel gives the last blocks of a stage one more.
        variant: "paper" or "survey".

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 164,
        bottleneck: bool = True,
        width: float = 16,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if variant not in ("paper", "survey"):
            raise ValueError(f"variant {variant!r} is neither paper nor survey")
        convs, expansion = (3, 4) if bottleneck else (2, 1)
        blocks, rest = divmod(depth - 2, 3 * convs)
        if blocks < 1 or rest:
            raise ValueError(f"depth is {depth}; it must be {3 * convs}n + 2")
        channels = round(width)
        self.stem = conv3x3(in_channels, channels)
        stages = []
        for stage in range(3):
            out = round(width * 2**stage * expansion)
            ideal = (width * 2**stage) ** 2 * expansion / out  # makes up for rounding
            for block in range(blocks):
                inner = int(ideal + block / blocks)
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(
                    PreActBlock(channels, inner, out, stride, bottleneck, variant)
                )
                channels = out
        self.stages = nn.Sequential(*stages, *bn_relu(channels))
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"width": 1 + k / 16}


register(
    "preact_resnet164",
    PreActResNet,
    depth=164,
    scale=scale,
    card=PaperCard(
        row="11",
        title="Identity Mappings in Deep Residual Networks",
        authors="K. He, X. Zhang, S. Ren, J. Sun",
        year=2016,
        arxiv="1603.05027",
        venue="ECCV 2016",
        variant="164 layers, bottleneck blocks, full pre-activation",
        idea=(
            "Batch normalization and ReLU move in front of the convolutions, and "
            "nothing follows the addition. The sum of a block then is exactly its "
            "input plus a residual, so that forward signals and gradients pass from "
            "any block to any other along the shortcuts alone. With such blocks, "
            "networks of a thousand layers train easily and generalise better than "
            "with the original ones."
        ),
        survey_parameters=1.6,
        paper_parameters=1.7,
        survey_paper_accuracy=94.54,
        survey_accuracy=94.39,
        survey_mark="reproduced",
        contradictions=(
            "The paper's 1.7 M are all parameters of the network with 1x1 shortcuts; "
            "the survey's 1.6 M are the weights of its author's network, whose "
            'shortcuts add zero channels (variant="survey").',
        ),
    ),
)
register("preact_resnet110", PreActResNet, depth=110, bottleneck=False, scale=scale)
register("preact_resnet1001", PreActResNet, depth=1001, scale=scale)
