"""Swapout: Learning an ensemble of deep architectures.

S. Singh, D. Hoiem, D. Forsyth, NIPS 2016, arXiv:1605.06465. Survey row 14.

Built here: Swapout v2(32) W x 4, a pre-activation network of 32 layers, four times as
wide as ResNet-32. `variant="survey"` is the survey author's network: bottleneck blocks
(47 layers), convolutions with biases, shortcuts padded with zeros, and masks rescaled
by 1 / (1 - drop) in training.

Deviations: none known. Where the shape changes, the activated input is projected by a
1x1 convolution, as pre-activation networks do.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, he_initialise
from papernets.models.registry import PaperCard, register
from papernets.models.wide_resnet import inner_width, is_survey


class Swapout(nn.Module):
    """A * x + B * F(x), every unit of A and B is 0 with probability `drop`, else 1.

    So every unit is one of 0, x, F(x), x + F(x). Evaluation: the expectation
    (1 - drop) (x + F(x)). With `rescale` both are divided by 1 - drop.
    """

    def __init__(self, drop: float, *, rescale: bool = False) -> None:
        super().__init__()
        self.keep = 1 - drop
        self.gain = 1 / self.keep if rescale else 1.0

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        if not self.training:
            return self.keep * self.gain * (x + residual)
        a = torch.empty_like(x).bernoulli_(self.keep)
        b = torch.empty_like(x).bernoulli_(self.keep)
        return self.gain * (a * x + b * residual)


class SwapoutBlock(nn.Module):
    """Swapout(x, F(a(x))), a = BN, ReLU, F = conv3x3, BN, ReLU, conv3x3.

    The survey author's F = conv1x1, BN, ReLU, conv3x3, BN, ReLU, conv1x1. `widths` are
    the channels before, between and after the convolutions of F.
    """

    def __init__(
        self, widths: tuple[int, ...], stride: int, drop: float, survey: bool
    ) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for i, kernel in enumerate((1, 3, 1) if survey else (3, 3)):
            shape = (widths[i], widths[i + 1], kernel, stride if i == 0 else 1)
            conv = nn.Conv2d(*shape, padding=kernel // 2, bias=survey)
            steps += [nn.BatchNorm2d(widths[i]), nn.ReLU(), conv]
        self.activation = nn.Sequential(*steps[:2])
        self.branch = nn.Sequential(*steps[2:])
        same = stride == 1 and widths[0] == widths[-1]
        self.projects = not (same or survey)
        self.shortcut: nn.Module = nn.Identity()
        if self.projects:
            self.shortcut = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
        elif not same:
            self.shortcut = ZeroPadShortcut(widths[-1], stride)
        self.swapout = Swapout(drop, rescale=survey)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        shortcut = self.shortcut(activated if self.projects else x)
        return self.swapout(shortcut, self.branch(activated))


class SwapoutNet(nn.Module):
    """conv3x3; 3 stages of (depth - 2) / 6 blocks; BN, ReLU; average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 6n + 2 layers (of the paper's form; it fixes the number of blocks).
        width: channels of the first stage; doubled at stages 2 and 3, where the image
            is halved. Widths that are not whole are rounded down, and the inner layer
            of every block takes up the rest, so that sizes are dense.
        drop: probability of dropping a unit of x, and of F(x), in the last block; it
            rises linearly from 0 in the first one.
        variant: "paper", or "survey" for the survey author's bottleneck form.

    Shape: float (N, in_channels, H, W) -> (N, num_classes). In evaluation mode every
    mask is replaced by its expectation; the paper's better figures come from
    `stochastic_inference`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        depth: int = 32,
        width: float = 64,
        drop: float = 0.5,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth is {depth}; it must be 6n + 2, for example 32")
        survey, blocks, stages = is_survey(variant), (depth - 2) // 2, []
        channels, before = max(1, int(width)), width
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=survey)
        for block in range(blocks):
            stage, place = divmod(block, blocks // 3)
            after = width * 2**stage
            out = max(1, int(after))
            share = place * 3 / blocks
            inner = inner_width((before, after), (channels, out), share)
            widths = (out, out, 4 * out) if survey else (inner, out)
            stride = 2 if stage > 0 and place == 0 else 1
            rate = drop * block / (blocks - 1)
            stages.append(SwapoutBlock((channels, *widths), stride, rate, survey))
            channels, before = widths[-1], after
        self.stages = nn.Sequential(*stages)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.stages(self.stem(x)))
        return self.classifier(features.mean((2, 3)))


@torch.no_grad()
def stochastic_inference(model: nn.Module, images: Tensor, passes: int = 30) -> Tensor:
    """Class probabilities averaged over `passes` draws of the swapout masks.

    The masks are drawn as in training; everything else, batch normalization above all,
    is in evaluation mode. The model's own modes are restored.

    Shape: float (N, C, H, W) -> (N, num_classes), rows sum to 1. Source: the paper's
    section on inference.
    """
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = isinstance(module, Swapout)
    try:
        draws = (model(images).softmax(1) for _ in range(passes))
        return torch.stack(list(draws)).mean(0)
    finally:
        for module, mode in modes.items():
            module.training = mode


def scale(k: int) -> dict[str, Any]:
    """First stage 1 + k / 16 channels wide; the depth stays."""
    return {"width": 1 + k / 16}


register(
    "swapout_v2_32_w4",
    SwapoutNet,
    depth=32,
    width=64,
    scale=scale,
    card=PaperCard(
        row="14",
        title="Swapout: Learning an ensemble of deep architectures",
        authors="S. Singh, D. Hoiem, D. Forsyth",
        year=2016,
        arxiv="1605.06465",
        venue="NIPS 2016",
        variant="Swapout v2(32) W x 4, drop probability 0 to 0.5",
        idea=(
            "Every unit of a block draws at random whether it puts out 0, its input x, "
            "the transformation F(x) or the sum of both. Dropout, stochastic depth and "
            "residual networks are special cases, and training samples from all "
            "architectures in between. Averaged over random passes at test time, a "
            "wide network of 32 layers performs like far deeper residual networks."
        ),
        survey_parameters=7.1,
        survey_paper_accuracy=95.24,
        survey_accuracy=95.34,
        survey_mark="reproduced",
        contradictions=(
            "The survey's 7.1 M are the weights of its author's network, which has "
            "bottleneck blocks and 47 layers. The paper's network of 32 layers has "
            "7.43 M parameters, which is also the figure commonly reported for it.",
        ),
    ),
)
