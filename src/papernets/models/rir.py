"""Resnet in Resnet: Generalizing Residual Architectures.

S. Targ, D. Almeida, K. Lyman, ICLR 2016 workshop, arXiv:1603.08029. Survey row 12.

Built here: "18-layer + wide RiR". A residual and a transient stream run side by side;
only the residual one has shortcuts. With `variant="survey"` the outer shortcuts have no
parameters, and the second layer of a block, not the first, halves the image.

Deviations: none known. The last convolution is followed by BN: the published parameter
counts of this network agree only so.
"""

from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import ZeroPadShortcut, conv3x3, conv_bn_relu, he_initialise
from papernets.models.registry import PaperCard, register

Streams = tuple[Tensor, Tensor]  # residual, transient
Channels = tuple[int, int]


class RiRLayer(nn.Module):
    """r' = ReLU(BN(Wrr r + Wtr t + S(r))), t' = ReLU(BN(Wrt r + Wtt t)).

    W are 3x3 convolutions; S subsamples and adds zero channels where the size changes.
    """

    def __init__(self, inputs: Channels, outputs: Channels, stride: int) -> None:
        super().__init__()
        self.r_to_r = conv3x3(inputs[0], outputs[0], stride)
        self.t_to_r = conv3x3(inputs[1], outputs[0], stride)
        self.r_to_t = conv3x3(inputs[0], outputs[1], stride)
        self.t_to_t = conv3x3(inputs[1], outputs[1], stride)
        same = stride == 1 and inputs[0] == outputs[0]
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(outputs[0], stride)
        self.norm_r = nn.BatchNorm2d(outputs[0])
        self.norm_t = nn.BatchNorm2d(outputs[1])

    def forward(self, streams: Streams) -> Streams:
        r, t = streams
        residual = self.norm_r(self.r_to_r(r) + self.t_to_r(t) + self.shortcut(r))
        transient = self.norm_t(self.r_to_t(r) + self.t_to_t(t))
        return torch.relu(residual), torch.relu(transient)


class RiRBlock(nn.Module):
    """(S(r) + r'', t''): two `RiRLayer`s and an outer shortcut on the residual stream.

    S is the identity; where the size changes a 1x1 convolution, or, in the survey's
    form, subsampling and zero channels.
    """

    def __init__(
        self, inputs: Channels, outputs: Channels, stride: int, variant: str
    ) -> None:
        super().__init__()
        strides = (stride, 1) if variant == "paper" else (1, stride)
        self.layers = nn.Sequential(
            RiRLayer(inputs, outputs, strides[0]),
            RiRLayer(outputs, outputs, strides[1]),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs[0] != outputs[0]:
            self.shortcut = (
                nn.Conv2d(inputs[0], outputs[0], 1, stride, bias=False)
                if variant == "paper"
                else ZeroPadShortcut(outputs[0], stride)
            )

    def forward(self, streams: Streams) -> Streams:
        residual, transient = self.layers(streams)
        return self.shortcut(streams[0]) + residual, transient


class RiR(nn.Module):
    """conv-BN-ReLU for each stream; 2, 3 and 3 blocks; conv1x1 of both, BN; average.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: channels of both streams together in the first stage (paper: 96); doubled
            at stages 2 and 3, where the image is halved. Rounded for every stage.
        variant: "paper" or "survey".

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: float = 96,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        if variant not in ("paper", "survey"):
            raise ValueError(f"variant {variant!r} is neither paper nor survey")
        channels = halves(width)
        self.residual_stem = conv_bn_relu(in_channels, channels[0], 3)
        self.transient_stem = conv_bn_relu(in_channels, channels[1], 3)
        stages = []
        for stage, blocks in enumerate((2, 3, 3)):
            for block in range(blocks):
                out = halves(width * 2**stage)
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(RiRBlock(channels, out, stride, variant))
                channels = out
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Conv2d(sum(channels), num_classes, 1, bias=False),
            nn.BatchNorm2d(num_classes),
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        streams = self.stages((self.residual_stem(x), self.transient_stem(x)))
        return self.classifier(torch.cat(streams, 1)).mean((2, 3))


def halves(width: float) -> Channels:
    """Channels of the residual and the transient stream that share `width`."""
    return round(width) - round(width) // 2, round(width) // 2


def scale(k: int) -> dict[str, Any]:
    """Both streams together 2 + k / 8 channels wide; the 18 layers stay."""
    return {"width": 2 + k / 8}


register(
    "rir18_wide",
    RiR,
    scale=scale,
    card=PaperCard(
        row="12",
        title="Resnet in Resnet: Generalizing Residual Architectures",
        authors="S. Targ, D. Almeida, K. Lyman",
        year=2016,
        arxiv="1603.08029",
        venue="ICLR 2016 workshop",
        variant="18-layer + wide RiR",
        idea=(
            "Two streams run side by side, a residual one with shortcuts and a "
            "transient one without, and every layer passes information between them. "
            "What the residual stream would carry on for ever can be discarded in the "
            "transient one. Plain convolutional networks and ResNets are the special "
            "cases in which one stream is silent."
        ),
        survey_parameters=9.5,
        survey_paper_accuracy=94.99,
        survey_accuracy=94.43,
        survey_mark="partly",
    ),
)
