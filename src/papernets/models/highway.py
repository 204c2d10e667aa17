"""Training Very Deep Networks.

R. K. Srivastava, K. Greff, J. Schmidhuber, NIPS 2015, arXiv:1507.06228. Survey row 7.

Built here: the CIFAR-10 network with the widths of Fitnet-4, "19 layers". With
`variant="survey"` the form of the survey's author: every layer is gated, gates are
three convolutions deep, BN and ReLU precede every convolution.

Deviations: the paper's gate biases were chosen network by network and could not be
confirmed; they are commonly reported as -1 to -3, here -2.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, he_initialise
from papernets.models.branches import require_size
from papernets.models.registry import PaperCard, register

# Channels of the layers; a 2x2 max-pooling between groups.
GROUPS = ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6)


def conv(in_channels: int, channels: int, kernel: int = 3) -> nn.Conv2d:
    """Convolution with bias that keeps the size."""
    return nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)


def bn_relu_conv(in_channels: int, channels: int, kernel: int = 3) -> nn.Sequential:
    """BN, ReLU, conv."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels), nn.ReLU(), conv(in_channels, channels, kernel)
    )


class HighwayLayer(nn.Module):
    """H(x) T(x) + x (1 - T(x)), H = ReLU(conv3x3), T = sigmoid(conv3x3).

    In the survey's form, which may widen x by zero channels, H = conv3x3(ReLU(BN)) and
    T = sigmoid(F3(F2(F1))), F = conv(ReLU(BN)), with kernels of 3, 1 and 1 pixels.
    """

    def __init__(
        self, in_channels: int, channels: int, gate_bias: float, variant: str
    ) -> None:
        super().__init__()
        same = in_channels == channels
        self.carry = nn.Identity() if same else ZeroPadShortcut(channels, 1)
        if variant == "paper":
            self.transform = nn.Sequential(conv(in_channels, channels), nn.ReLU())
            self.gate = nn.Sequential(conv(channels, channels))
        else:
            self.transform = bn_relu_conv(in_channels, channels)
            self.gate = nn.Sequential(
                *bn_relu_conv(channels, channels),
                *bn_relu_conv(channels, channels, 1),
                *bn_relu_conv(channels, channels, 1),
            )
        he_initialise(self)
        last = self.gate[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        carried = self.carry(x)
        gate = torch.sigmoid(self.gate(carried))
        return self.transform(x) * gate + carried * (1 - gate)


class Highway(nn.Module):
    """5, 6 and 6 layers, 2x2 max-pooling between the groups; conv1x1; average.

    In the paper's form a layer that changes the number of channels is a plain
    ReLU(conv3x3), every other one a `HighwayLayer`.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every layer's channels.
        gate_bias: of every gate at the start; negative values carry.
        variant: "paper" or "survey".

    Shape: float (N, in_channels, H, W) -> (N, num_classes); H and W at least 4, else
    ValueError.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: float = 1.0,
        gate_bias: float = -2.0,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if variant not in ("paper", "survey"):
            raise ValueError(f"variant {variant!r} is neither paper nor survey")
        self.variant, channels = variant, in_channels
        layers: list[nn.Module] = []
        for group, widths in enumerate(GROUPS):
            if group > 0:
                layers.append(nn.MaxPool2d(2))
            for out in (round(c * width) for c in widths):
                if variant == "paper" and out != channels:
                    layers.append(nn.Sequential(conv(channels, out), nn.ReLU()))
                else:
                    layers.append(HighwayLayer(channels, out, gate_bias, variant))
                channels = out
        classifier = conv if variant == "paper" else bn_relu_conv
        self.classifier = classifier(channels, num_classes, 1)
        he_initialise(self.classifier)
        for layer in layers:
            if isinstance(layer, nn.Sequential):
                he_initialise(layer)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, 4)
        x = self.features(x)
        if self.variant == "survey":
            x = x.mean((2, 3), keepdim=True)
        return self.classifier(x).mean((2, 3))


def scale(k: int) -> dict[str, Any]:
    """Every layer (k + 32) / 512 as wide; the 19 layers stay."""
    return {"width": (k + 32) / 512}


register(
    "highway_fitnet19",
    Highway,
    scale=scale,
    card=PaperCard(
        row="7",
        title="Training Very Deep Networks",
        authors="R. K. Srivastava, K. Greff, J. Schmidhuber",
        year=2015,
        arxiv="1507.06228",
        venue="NIPS 2015",
        variant="convolutional highway network of 19 layers, widths of Fitnet-4",
        idea=(
            "A layer mixes what it computes with what it received, H(x) T(x) + x (1 - "
            "T(x)), and a gate T, itself computed from the input, sets the proportion "
            "for every unit. Gates that start biased towards carrying the input let "
            "signals and gradients pass through many layers, so that plain SGD trains "
            "depths at which ordinary networks fail."
        ),
        survey_parameters=2.8,
        paper_parameters=2.3,
        survey_paper_accuracy=92.46,
        survey_accuracy=93.35,
        survey_mark="reproduced",
        deviations=(
            "All gates start with the bias -2: the paper's choice could not be "
            "confirmed.",
        ),
        contradictions=(
            "The survey's 2.8 M are the weights of its author's own form, where every "
            'layer is gated by three convolutions (variant="survey"), and his '
            "accuracy is that form's; the paper's network has 2.3 M.",
        ),
    ),
)
