"""FractalNet: Ultra-Deep Neural Networks without Residuals.

G. Larsson, M. Maire, G. Shakhnarovich, ICLR 2017, arXiv:1605.07648. Survey row 16.

Built here: the CIFAR network of 20 layers, five blocks of three columns, with local
and global drop-path drawn anew for every mini-batch.

Deviations: convolutions have no bias and BN has scale and shift (the authors' Caffe
network has it the other way round); pooling rounds sizes up, so that 28x28 images pass
too.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from papernets.blocks import conv3x3
from papernets.models.registry import PaperCard, register


def conv_dropout(in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    """conv3x3, dropout, BN, ReLU."""
    return nn.Sequential(
        conv3x3(in_channels, channels),
        nn.Dropout(dropout),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class FractalBlock(nn.Module):
    """f_1 = conv, f_{c+1}(z) = mean(conv(z), f_c(f_c(z))).

    Unrolled: column c = 0, 1, ... is a chain of 2^c convolutions, and wherever columns
    end on the same row they are joined: all of them go on from their mean. Joins that
    follow each other directly in the formula are one join.

    Args:
        in_channels: channels of the input.
        rows: channels after each of the 2^(columns - 1) rows.
        columns: how often the rule is applied.
        dropout: probability of dropping a unit after a convolution.
        drop_path: probability of dropping an input of a join in training.
    """

    def __init__(
        self,
        in_channels: int,
        rows: list[int],
        columns: int,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.columns = nn.ModuleList()
        for column in range(columns):
            ends = rows[len(rows) // 2**column - 1 :: len(rows) // 2**column]
            chain = (
                conv_dropout(*ab, dropout) for ab in pairwise([in_channels, *ends])
            )
            self.columns.append(nn.Sequential(*chain))
        self.drop_path = drop_path

    def chain(self, column: int) -> nn.Sequential:
        """The layers of one column."""
        chain = self.columns[column]
        assert isinstance(chain, nn.Sequential)
        return chain

    def survivors(self, inputs: list[int]) -> list[int]:
        """Local drop-path: the inputs of a join that are not dropped, at least one."""
        if not self.training:
            return inputs
        kept = torch.rand(len(inputs)) >= self.drop_path
        kept[torch.randint(len(inputs), ())] |= not kept.any()
        return [inputs[i] for i in kept.nonzero().flatten().tolist()]

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        """All columns, or only one."""
        if column is not None:
            return self.chain(column)(x)
        state = [x] * len(self.columns)
        rows = len(self.chain(-1))
        for row in range(1, rows + 1):
            ending = [c for c in range(len(state)) if row * 2**c % rows == 0]
            outputs = [
                self.chain(c)[row * 2**c // rows - 1](state[c])
                for c in self.survivors(ending)
            ]
            joined = torch.stack(outputs).mean(0)
            for c in ending:
                state[c] = joined
        return state[-1]


class FractalNet(nn.Module):
    """5 x (fractal block, 2x2 max pooling); average; linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        columns: columns of every block; the depth is 5 * 2^(columns - 1).
        width: channels of the first block; the others have 2, 4, 8 and 8 times as
            many. A fraction widens the last rows of a block first, so that sizes are
            dense.
        dropout: probability of dropping a unit in the last block; it rises linearly
            from 0 in the first one.
        drop_path: local drop-path: probability of dropping an input of a join.
        global_share: probability of a mini-batch with global drop-path: it sees a
            single column, the same in all blocks; the others see the local one.

    Shape: float (N, in_channels, H, W) -> (N, num_classes). In evaluation mode all
    columns are joined; `column` gives one of them alone.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        columns: int = 3,
        width: float = 64,
        dropout: float = 0.4,
        drop_path: float = 0.15,
        global_share: float = 0.5,
    ) -> None:
        super().__init__()
        self.blocks, channels = nn.ModuleList(), in_channels
        depth = 2 ** (columns - 1)
        for block, multiple in enumerate((1, 2, 4, 8, 8)):
            rows = [max(1, int(multiple * width + r / depth)) for r in range(depth)]
            self.blocks.append(
                FractalBlock(channels, rows, columns, dropout * block / 4, drop_path)
            )
            channels = rows[-1]
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(channels, num_classes)
        self.columns, self.global_share = columns, global_share
        for module in self.modules():  # Caffe's Xavier filler: variance 1 / fan_in
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
        nn.init.zeros_(self.classifier.bias)

    def draw_column(self) -> int | None:
        """Global drop-path: the mini-batch's only column; None: all columns."""
        if self.training and torch.rand(()) < self.global_share:
            return int(torch.randint(self.columns, ()))
        return None

    def forward(self, x: Tensor) -> Tensor:
        column = self.draw_column()
        for block in self.blocks:
            x = self.pool(block(x, column))
        return self.classifier(x.mean((2, 3)))

    def column(self, index: int = -1) -> nn.Sequential:
        """A plain network: one column (by default the deepest), sharing its layers."""
        layers: list[nn.Module] = []
        for block in self.blocks:
            assert isinstance(block, FractalBlock)
            layers += [block.chain(index), self.pool]
        average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(*layers, average, self.classifier)


def scale(k: int) -> dict[str, Any]:
    """First block 1 + k / 32 channels wide; columns and depth stay."""
    return {"width": 1 + k / 32}


register(
    "fractalnet20",
    FractalNet,
    columns=3,
    scale=scale,
    card=PaperCard(
        row="16",
        title="FractalNet: Ultra-Deep Neural Networks without Residuals",
        authors="G. Larsson, M. Maire, G. Shakhnarovich",
        year=2016,
        arxiv="1605.07648",
        venue="ICLR 2017",
        variant="20 layers: 5 blocks, 3 columns",
        idea=(
            "Very deep networks can be trained without residual connections. A rule is "
            "applied again and again, one convolution beside two copies of the block "
            "so far, and the resulting paths of different lengths are joined by their "
            "mean. Drop-path drops inputs of the joins, or all columns but one, so "
            "that every column also learns to work as a network by itself."
        ),
        survey_parameters=33.7,
        paper_parameters=38.6,
        survey_paper_accuracy=95.41,
        survey_accuracy=93.77,
        survey_mark="partly",
        deviations=(
            "BN has scale and shift, convolutions have no bias: the authors' Caffe "
            "network has it the other way round; the functions are nearly the same.",
            "Pooling rounds sizes up, so that 28x28 images pass too.",
        ),
        contradictions=(
            "The paper's 38.6 M parameters do not follow from its own description, "
            "which gives the 33.7 M that the survey prints.",
            "The survey's 95.41 is the paper's figure with heavy augmentation (C10++); "
            "with shifts and flips (C10+) it is 95.40.",
        ),
    ),
)
