"""Neural Architecture Search with Reinforcement Learning.

B. Zoph, Q. V. Le, ICLR 2017, arXiv:1611.01578. Survey row 22.

Built here: the network of 15 layers that the paper draws in its appendix A, from the
survey author's matrix of it. The network of 32 M parameters that the survey quotes was
never published layer by layer; `CARD_22A` holds what is known about it.

Deviations: convolutions keep the size of the image, so that the paper's rule for inputs
of different sizes (pad the smaller with zeros) never applies. `variant="survey"` does
without padding and applies the rule, as the survey author did. The matrix has one input
less than the paper's 4.2 M parameters want; see the card.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from papernets.blocks import he_initialise
from papernets.models.registry import PaperCard, register
from papernets.models.wide_resnet import is_survey

# Kernel height and width, filters, and the layers whose outputs are concatenated.
LAYERS: tuple[tuple[int, int, int, tuple[int, ...]], ...] = (
    (3, 3, 36, ()),  # layer 0 reads the image
    (3, 3, 48, (0,)),
    (3, 3, 36, (0, 1)),
    (5, 5, 36, (0, 1, 2)),
    (3, 7, 48, (2, 3)),
    (7, 7, 48, (1, 2, 3, 4)),
    (7, 7, 48, (1, 2, 3, 4, 5)),
    (7, 3, 36, (0, 5, 6)),
    (7, 1, 36, (0, 4, 5, 7)),
    (7, 7, 36, (0, 2, 3, 4, 5, 6, 7, 8)),
    (5, 7, 36, (0, 1, 4, 5, 6, 7, 8, 9)),
    (7, 7, 48, (0, 1, 2, 3, 5, 10)),
    (7, 5, 48, (0, 2, 5, 6, 7, 8, 9, 10, 11)),
    (7, 5, 48, (2, 6, 11, 12)),
    (7, 5, 48, (6, 10, 11, 12, 13)),
)


def skip_matrix() -> list[list[bool]]:
    """Entry [i][j] says whether layer i reads the output of layer j."""
    return [[j in sources for j in range(len(LAYERS))] for *_, sources in LAYERS]


def smallest_size() -> int:
    """Height and width in pixels below which nothing is left without padding."""
    most = 0
    for axis in (0, 1):
        lost: list[int] = []  # pixels that each layer's output lacks
        for high, wide, _, sources in LAYERS:
            before = min((lost[j] for j in sources), default=0)
            lost.append(before + (high, wide)[axis] - 1)
        most = max(most, *lost)
    return most + 1


def concatenate(outputs: list[Tensor]) -> Tensor:
    """Channels side by side; smaller images get zeros at the bottom and the right."""
    height = max(x.shape[2] for x in outputs)
    width = max(x.shape[3] for x in outputs)
    return torch.cat(
        [
            functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
            for x in outputs
        ],
        dim=1,
    )


class NASNet15(nn.Module):
    """15 x (concatenate earlier outputs, conv, ReLU, BN); average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: multiple of the paper's 36 and 48 filters. Layers are rounded at
            different points, one after the other, so that sizes are dense.
        pool: the image is first averaged over pool x pool pixels (paper: 1, not at
            all); for small sizes.
        variant: "paper" keeps the image size, "survey" does not pad convolutions.

    Shape: float (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: float = 1,
        pool: int = 1,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        survey = is_survey(variant)
        self.smallest = smallest_size() * pool if survey else 1
        self.pool = nn.AvgPool2d(pool, ceil_mode=True)
        self.layers, channels = nn.ModuleList(), list[int]()
        for i, (high, wide, filters, sources) in enumerate(LAYERS):
            offset = (2 * i + 4) % 15 / 15  # the order of smallest steps
            channels.append(max(1, int(filters * width + offset)))
            before = sum(channels[j] for j in sources) if sources else in_channels
            padding = (0, 0) if survey else (high // 2, wide // 2)
            conv = nn.Conv2d(before, channels[i], (high, wide), padding=padding)
            norm = nn.BatchNorm2d(channels[i])
            self.layers.append(nn.Sequential(conv, nn.ReLU(inplace=True), norm))
        self.classifier = nn.Linear(channels[-1], num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.smallest:
            size = "x".join(str(side) for side in x.shape[2:])
            raise ValueError(
                f"{size} images are too small without padding; the smallest are "
                f"{self.smallest}x{self.smallest}"
            )
        outputs: list[Tensor] = []
        for layer, (*_, sources) in zip(self.layers, LAYERS, strict=True):
            inputs = [outputs[j] for j in sources] if sources else [self.pool(x)]
            outputs.append(layer(concatenate(inputs)))
        return self.classifier(outputs[-1].mean((2, 3)))


def scale(k: int) -> dict[str, Any]:
    """Filters times (20 + k) / 1024, on images averaged to 16x16.

    At 32x32 the smallest budgets would leave one or two filters to a layer.
    """
    return {"width": (20 + k) / 1024, "pool": 2}


_PAPER: dict[str, Any] = {
    "title": "Neural Architecture Search with Reinforcement Learning",
    "authors": "B. Zoph, Q. V. Le",
    "year": 2016,
    "arxiv": "1611.01578",
    "venue": "ICLR 2017",
    "idea": (
        "A recurrent network, the controller, writes down a network layer by layer: "
        "kernel size, number of filters, and which earlier layers are read. The "
        "network is trained, and its validation accuracy is the reward by which the "
        "controller learns to propose better ones. Found without a human design, the "
        "networks for CIFAR-10 came near the best hand-made ones of their time."
    ),
}
CARD_22A = PaperCard(
    row="22a",
    **_PAPER,
    variant='"depth 49", 32 M parameters; never published, so not built',
    survey_parameters=32,
    paper_parameters=32,
    survey_paper_accuracy=96.16,
    survey_mark="not run",
    contradictions=(
        "The paper derives this network from its controller's by adding filters and "
        "pooling after layers 13 and 24, but prints no list of its layers; the survey "
        "takes 32 M from the paper. Its depth of 49 could not be traced.",
        "96.16 is the figure of the paper's first arXiv version.",
        "The survey marks the row as partly reproduced because of the network of "
        "appendix A.",
    ),
)
register(
    "nas_appendix_a",
    NASNet15,
    scale=scale,
    card=PaperCard(
        row="22b",
        **_PAPER,
        variant="the network of 15 layers in appendix A",
        survey_parameters=4.1,
        paper_parameters=4.2,
        survey_paper_accuracy=94.5,
        survey_accuracy=90.35,
        survey_mark="partly",
        deviations=(
            "Convolutions keep the size of the image, the natural reading; the survey "
            'author\'s do not (variant="survey").',
        ),
        contradictions=(
            "The matrix gives 4.12 M parameters; the paper's 4.2 M would want one more "
            "input of 36 channels to a 7x7 layer of 48 filters (84,672 weights), so a "
            "slip in the survey author's transcription is likely.",
            "94.5 is the paper's figure for this network; the survey's line quotes "
            "96.16, of the network of 32 M parameters.",
        ),
    ),
)
