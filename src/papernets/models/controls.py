"""Networks of the survey's controlled comparisons, which differ in one thing at a time.

`OrderedResNet` has the residual blocks that "Identity Mappings in Deep Residual
Networks" compares (K. He, X. Zhang, S. Ren, J. Sun, ECCV 2016, arXiv:1603.05027, figure
4), and blocks with another join or with none. `WideningNet` has the ways to halve an
image and double its channels of "Rethinking the Inception Architecture for Computer
Vision" (C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, CVPR 2016,
arXiv:1512.00567, section 5), and that of "Deep Pyramidal Residual Networks" (D. Han, J.
Kim, J. Kim, CVPR 2017, arXiv:1610.02915).

Built here: small networks for CIFAR images. They stand in no paper's table.

Deviations: shortcuts are parameter-free everywhere, so that all orders have the same
convolutions; at the change of a stage they see what the block sees.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, conv_bn_relu, he_initialise
from papernets.models.branches import choose
from papernets.models.registry import register
from papernets.models.resnet import ResNet

# The five forms of the paper's figure 4, without a join, and with the mean as a join.
ORDERS = {
    "original": "conv bn relu conv bn + relu",
    "bn_after_addition": "conv bn relu conv + bn relu",
    "relu_before_addition": "conv bn relu conv bn relu +",
    "relu_only_preactivation": "relu conv bn relu conv bn +",
    "full_preactivation": "bn relu conv bn relu conv +",
    "plain": "conv bn relu conv bn relu",
    "mean": "conv bn relu conv bn relu mean",
}
JOINS = ("+", "mean")


def padded(in_channels: int, channels: int, stride: int) -> nn.Module:
    """The shortcut without parameters: x, or zero channels beside it."""
    same = stride == 1 and in_channels == channels
    return nn.Identity() if same else ZeroPadShortcut(channels, stride)


class OrderedBlock(nn.Module):
    """Two convolutions, BN and ReLU in the order of `words`.

    "+" adds the shortcut of the block's input at that place, "mean" takes the mean of
    both. The shortcut is x, padded with zero channels where the shape changes; with
    `learned` it is a conv3x3, BN, ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        words: Sequence[str],
        *,
        learned: bool = False,
    ) -> None:
        super().__init__()
        place = next((i for i, w in enumerate(words) if w in JOINS), len(words))
        self.join = words[place] if place < len(words) else None
        layers: list[nn.Module] = []
        inputs, step = in_channels, stride
        for word in (w for w in words if w not in JOINS):
            if word == "conv":
                layers.append(conv3x3(inputs, channels, step))
                inputs, step = channels, 1
            else:
                layers.append(nn.BatchNorm2d(inputs) if word == "bn" else nn.ReLU())
        self.branch = nn.Sequential(*layers[:place])
        self.after = nn.Sequential(*layers[place:])
        self.shape = in_channels, channels, stride
        self.shortcut: nn.Module = nn.Identity()
        if learned:
            self.shortcut = conv_bn_relu(in_channels, channels, 3, stride)
        elif self.join is not None:
            self.shortcut = padded(*self.shape)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.join is not None:
            y = self.shortcut(x) + y
        if self.join == "mean":
            y = y / 2
        return self.after(y)


class OrderedResNet(ResNet):
    """Stem; 3 stages of (depth - 2) / 6 blocks; head; average; linear.

    The stem is a conv3x3, then as much of BN and ReLU as the blocks do not begin with;
    the head is what they begin with. So every convolution but the first reads a ReLU.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers.
        width: as of `ResNet`.
        order: one of `ORDERS`.
        learned: the shortcut is a convolution, as in a fractal block of two columns.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 20,
        width: float = 16,
        order: str = "original",
        learned: bool = False,
    ) -> None:
        self.words = choose("order", order, ORDERS).split()
        self.learned = learned
        if learned and not set(self.words) & set(JOINS):
            raise ValueError(f"blocks of order {order!r} have no shortcut to learn")
        super().__init__(in_channels, num_classes, depth=depth, width=width)
        beginning = self.words[: self.words.index("conv")]
        stem = list(self.stem)
        self.stem = nn.Sequential(*stem[: len(stem) - len(beginning)])
        channels = self.classifier.in_features
        self.head = nn.Sequential(
            *(nn.BatchNorm2d(channels) if w == "bn" else nn.ReLU() for w in beginning)
        )

    def block(
        self, in_channels: int, channels: int, stride: int, number: int, blocks: int
    ) -> nn.Module:
        return OrderedBlock(
            *(in_channels, channels, stride, self.words), learned=self.learned
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(self.stages(self.stem(x)))
        return self.classifier(features.mean((2, 3)))


class ParallelReduction(nn.Module):
    """cat(ReLU(BN(conv3x3/2)), 2x2 max-pool): the paper's figure 10, right.

    The convolution has the channels that the pooled image lacks.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(in_channels, channels - in_channels, 3, 2)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.conv(x), self.pool(x)), 1)


WAYS = ("before", "after", "parallel", "gradual")


def reduction(way: str, in_channels: int, channels: int) -> list[nn.Module]:
    """Halve the image with one convolution from `in_channels` to `channels`."""
    if way == "parallel":
        return [ParallelReduction(in_channels, channels)]
    conv = conv_bn_relu(in_channels, channels, 3)
    pool = nn.MaxPool2d(2, ceil_mode=True)
    return [conv, pool] if way == "before" else [pool, conv]


class WideningNet(nn.Module):
    """Plain network: conv3x3, BN, ReLU everywhere, halved twice; average; linear.

    Every stage has `layers` layers after its first one, which is the stem or the
    reduction. Stages are width, 2 width and 4 width channels wide. With "before" a
    reduction doubles the channels and then pools, with "after" the other way round,
    with "parallel" a convolution of stride 2 and a pooling stand side by side; with
    "gradual" every layer adds the same number of channels, and poolings leave them.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        way: one of `WAYS`.
        layers: of a stage, without its first.
        width: channels after the stem. Fractions widen the last layers of a stage
            first, so that sizes are dense.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        way: str = "after",
        layers: int = 3,
        width: float = 16,
    ) -> None:
        super().__init__()
        choose("way", way, dict.fromkeys(WAYS))
        per_stage = layers + 1
        if way == "gradual":  # from width to 4 width
            last = 3 * per_stage - 1
            widths = [int(width + 3 * width * i / last) for i in range(last + 1)]
        else:
            widths = [
                int(width * 2**stage + i / per_stage)
                for stage in range(3)
                for i in range(per_stage)
            ]
        found: list[nn.Module] = [conv_bn_relu(in_channels, widths[0], 3)]
        for i in range(1, len(widths)):
            before, after = widths[i - 1], widths[i]
            if i % per_stage == 0:
                found += reduction(way, before, after)
            else:
                found.append(conv_bn_relu(before, after, 3))
        self.features = nn.Sequential(*found)
        self.classifier = nn.Linear(widths[-1], num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"width": 1 + k / 16}


register("ordered_resnet20", OrderedResNet, scale=scale)
register("plain20", OrderedResNet, order="plain", scale=scale)
register("widening_net", WideningNet, scale=scale)
