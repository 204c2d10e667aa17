"""Network In Network.

M. Lin, Q. Chen, S. Yan, ICLR 2014, arXiv:1312.4400. Survey rows 1a and 1b.

Built here: the CIFAR-10 network of the authors' Caffe definition, three mlpconv stacks
of three convolutions, without (row 1a) and with batch normalisation (row 1b).

Deviations: He initialisation. Row 1b is the survey author's; its last convolution ends
in BN without ReLU, where he normalises before each convolution, the image included.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import conv_bn_relu, he_initialise
from papernets.models.branches import build, conv_relu, require_size
from papernets.models.registry import PaperCard, register


class NIN(nn.Module):
    """Three mlpconv stacks; the average of class k's map is its logit.

    mlpconv = k x k convolution, then two 1x1 convolutions: a small perceptron that
    slides over the image. There is no fully connected layer.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        batch_norm: conv, BN, ReLU in place of conv with bias, ReLU.
        width: multiplies all channels but the class maps (paper: 1).

    Shape: float (N, in_channels, H, W), sides at least 4 -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        batch_norm: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        mlpconv1 = [(192, 5), (160, 1), (96, 1)]
        mlpconv2 = [(192, 5), (192, 1), (192, 1)]
        mlpconv3 = [(192, 3), (192, 1)]  # and the class maps
        pool1 = [nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5)]
        pool2 = [nn.AvgPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5)]
        self.features, channels = build(
            [*mlpconv1, *pool1, *mlpconv2, *pool2, *mlpconv3],
            in_channels,
            width,
            conv_bn_relu if batch_norm else conv_relu,
        )
        self.class_maps = nn.Sequential(
            nn.Conv2d(channels, num_classes, 1, bias=not batch_norm),
            nn.BatchNorm2d(num_classes) if batch_norm else nn.ReLU(inplace=True),
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, 4)
        return self.class_maps(self.features(x)).mean((2, 3))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 200; the stacks stay."""
    return {"width": k / 200}


PAPER: dict[str, Any] = {
    "title": "Network In Network",
    "authors": "M. Lin, Q. Chen, S. Yan",
    "year": 2013,
    "arxiv": "1312.4400",
    "venue": "ICLR 2014",
    "idea": (
        "Every large kernel is followed by two 1x1 convolutions, so that a small "
        "perceptron, and not a linear filter, looks at each neighbourhood of the "
        "image. The last layer has one map for each class, and the average over a map "
        "is the class's logit: global average pooling takes the place of fully "
        "connected layers, which have most of the weights in other networks of the "
        "time."
    ),
    "survey_parameters": 0.1,
}
SLIP = (
    "The survey prints 0.1 M parameters. The nine convolutions have 965,568 weights, "
    "1.0 M: a decimal slip.",
    "The survey dates the paper 2013-11-16; it appeared on arXiv on 2013-12-16.",
)
HE = "He initialisation."

register(
    "nin",
    NIN,
    scale=scale,
    card=PaperCard(
        row="1a",
        variant="the authors' Caffe network for CIFAR-10",
        survey_paper_accuracy=91.19,
        survey_accuracy=90.10,
        survey_mark="partly",
        deviations=(HE,),
        contradictions=SLIP,
        **PAPER,
    ),
)
register(
    "nin_bn",
    NIN,
    batch_norm=True,
    scale=scale,
    card=PaperCard(
        row="1b",
        variant="the same network with batch normalisation, in no paper",
        survey_accuracy=91.52,
        deviations=(
            HE,
            "Batch normalisation after every convolution, which then has no bias; the "
            "class maps are normalised without ReLU. The survey's author puts BN and "
            "ReLU before each convolution, on the image too, where ReLU cuts off "
            "about half of the normalised values.",
        ),
        contradictions=SLIP,
        **PAPER,
    ),
)
