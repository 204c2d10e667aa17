"""Delving Deep into Rectifiers.

Subtitle: Surpassing Human-Level Performance on ImageNet Classification. K. He,
X. Zhang, S. Ren, J. Sun, ICCV 2015, arXiv:1502.01852. Survey row 6.

Built here: model A, 19 weight layers, every one but the last followed by a PReLU with
one slope per channel, and the initialisation that belongs to it.

Deviations:
- global average pooling in place of spatial pyramid pooling, as the survey's author
  did; his 43.9 M parameters depend on it;
- the first convolution has stride 1, because images are 32 pixels wide, not 224: its
  pooling stays, and the three stages see 16, 8 and 4 pixels.

As commonly reported, the slopes are exempt from weight decay: a recipe with
`decay="weights"` does that.
"""

from typing import Any

from torch import Tensor, nn

from papernets.models.branches import require_size
from papernets.models.registry import PaperCard, register

SLOPE = 0.25  # of every PReLU at the start (section 2.1)


def initialise(model: nn.Module) -> None:
    """Draw weights from N(0, 2 / ((1 + SLOPE^2) fan_in)); biases 0.

    Section 2.2: a layer and its PReLU then pass the variance on.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def conv_prelu(in_channels: int, channels: int, kernel: int) -> list[nn.Module]:
    """conv, PReLU."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    return [conv, nn.PReLU(channels, SLOPE)]


class PReLUNet(nn.Module):
    """conv7x7, 3 x (max-pool, 5 x conv3x3), average, linear, linear, linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every layer's channels.
        dropout: probability of dropping an input of the last two layers.

    Shape: float (N, in_channels, H, W) -> (N, num_classes); H and W at least 8, else
    ValueError.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, *stages, hidden = (round(c * width) for c in (96, 256, 512, 512, 4096))
        layers, channels = conv_prelu(in_channels, first, 7), first
        for out in stages:
            layers.append(nn.MaxPool2d(2))
            for _ in range(5):
                layers += conv_prelu(channels, out, 3)
                channels = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.PReLU(hidden, SLOPE),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.PReLU(hidden, SLOPE),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, 8)
        return self.classifier(self.features(x).mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """Every layer k + 30 thousandths as wide; the 19 layers stay."""
    return {"width": (k + 30) / 1000}


register(
    "prelu_net_a",
    PReLUNet,
    scale=scale,
    card=PaperCard(
        row="6",
        title="Delving Deep into Rectifiers: Surpassing Human-Level Performance on "
        "ImageNet Classification",
        authors="K. He, X. Zhang, S. Ren, J. Sun",
        year=2015,
        arxiv="1502.01852",
        venue="ICCV 2015",
        variant="model A, global average pooling for spatial pyramid pooling",
        idea=(
            "The PReLU, max(0, x) + a min(0, x), learns the slope a that it has for "
            "negative inputs, one for each channel. The paper derives the variance "
            "that weights need so that a rectified layer passes the variance of its "
            "input on; with this initialisation, now named after its first author, "
            "very deep networks start to learn where others stall."
        ),
        survey_parameters=43.9,
        survey_accuracy=94.98,
        deviations=(
            "Global average pooling in place of spatial pyramid pooling, as in the "
            "survey.",
            "Stride 1 in the first convolution: the images are 32 pixels wide. The "
            "survey's author enlarged them to 224 instead.",
        ),
    ),
)
