"""Very Deep Convolutional Networks for Large-Scale Image Recognition.

K. Simonyan, A. Zisserman, ICLR 2015, arXiv:1409.1556. Survey row 2.

Built here: configuration A, 8 convolutions and 3 fully connected layers, for 10
classes; no batch normalisation, no local response normalisation.

Deviations: of the five poolings the default plan keeps two, so that 32x32 images still
meet the 7x7 weights of the first fully connected layer; fully connected layers are
convolutions whose logits are averaged over the positions left; He initialisation.
"""

from typing import Any

from torch import Tensor, nn

from papernets.blocks import he_initialise
from papernets.models.branches import build, choose, conv_relu, require_size
from papernets.models.registry import PaperCard, register

# Pooled groups, kernel of the first fully connected layer, smallest image.
PLANS = {
    "S4": ((1, 2), 7, 28),
    "S32": ((1, 2, 3, 4, 5), 1, 32),
    "224": ((1, 2, 3, 4, 5), 7, 224),
}


class VGG(nn.Module):
    """Groups of conv3x3, ReLU, a 2x2 max-pool after some; fc6, fc7, fc8.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        plan: "S4" pools after groups 1 and 2; "224" after all five, as the paper on
            224x224 images; "S32" after all five, with 1x1 in place of 7x7 in fc6,
            which leaves 28 of the 129 M parameters.
        width: multiplies all channels (paper: 1).

    Shape: float (N, in_channels, H, W), sides at least 28 ("S4"), 32 ("S32") or
    224 ("224") -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        plan: str = "S4",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        pooled, fc6_kernel, self.smallest = choose("plan", plan, PLANS)
        layers: list[Any] = []
        groups = ((64,), (128,), (256, 256), (512, 512), (512, 512))
        for number, group in enumerate(groups, start=1):
            layers += [(channels, 3) for channels in group]
            if number in pooled:
                layers.append(nn.MaxPool2d(2))
        self.features, channels = build(layers, in_channels, width, conv_relu)
        fc6, fc7 = (4096, fc6_kernel, 1, 0), (4096, 1)
        self.hidden, channels = build(
            [fc6, nn.Dropout(0.5), fc7, nn.Dropout(0.5)], channels, width, conv_relu
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        require_size(x, self.smallest)
        return self.classifier(self.hidden(self.features(x))).mean((2, 3))


def scale(k: int) -> dict[str, Any]:
    """All channels times k / 400; the layers stay."""
    return {"width": k / 400}


register(
    "vgg_a",
    VGG,
    scale=scale,
    card=PaperCard(
        row="2",
        title="Very Deep Convolutional Networks for Large-Scale Image Recognition",
        authors="K. Simonyan, A. Zisserman",
        year=2014,
        arxiv="1409.1556",
        venue="ICLR 2015",
        variant="configuration A, 8 convolutions and 3 fully connected layers",
        idea=(
            "Stacks of small 3x3 convolutions take the place of large kernels: two of "
            "them see as far as one of 5x5, with fewer weights and one more "
            "nonlinearity. All configurations follow one plan, so that depth can be "
            "studied by itself, and on ImageNet accuracy grew with it up to 16 and 19 "
            "weight layers."
        ),
        survey_parameters=129,
        survey_accuracy=92.1,
        deviations=(
            "Made for ImageNet. Here max-pooling follows groups 1 and 2 only, so that "
            "32x32 images reach fc6 as 8x8 maps and its 7x7 weights stay; the survey's "
            "author enlarges the images to 224x224 instead (plan '224').",
            "Fully connected layers are convolutions; the logits are averaged over "
            "the positions that remain (2x2 here).",
            "Dropout after fc6 and fc7, as commonly reported of the paper; the "
            "survey's author has it before them.",
            "He initialisation: without BN, small random weights are slow to start.",
        ),
    ),
)
