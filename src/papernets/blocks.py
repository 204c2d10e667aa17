"""The few layers that several papers share."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution, padding 1, no bias (a BN follows or precedes it)."""
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)


def conv_bn_relu(
    in_channels: int,
    channels: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] | None = None,
) -> nn.Sequential:
    """conv, BN, ReLU; by default padded so that stride 1 keeps the size."""
    if padding is None:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2)
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ZeroPadShortcut(nn.Module):
    """x[:, :, ::stride, ::stride], new channels are zero.

    Option A of He et al., "Deep Residual Learning", section 3.3: no parameters. With
    `average` the image is averaged over stride x stride pixels instead of subsampled.
    """

    def __init__(self, channels: int, stride: int, *, average: bool = False) -> None:
        super().__init__()
        self.channels, self.stride, self.average = channels, stride, average

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = (
                functional.avg_pool2d(x, self.stride, ceil_mode=True)
                if self.average
                else x[:, :, :: self.stride, :: self.stride]
            )
        return functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class StochasticBranch(nn.Module):
    """branch(x) with probability `survival`, else 0; evaluation: survival * branch(x).

    One draw per mini-batch. Huang et al., "Deep Networks with Stochastic Depth",
    equations 2 and 5.
    """

    def __init__(self, branch: nn.Module, survival: float) -> None:
        super().__init__()
        self.branch, self.survival = branch, survival

    def forward(self, x: Tensor) -> Tensor | float:
        if not self.training:
            return self.survival * self.branch(x)
        if torch.rand(()) < self.survival:  # on the CPU: no wait for a device
            return self.branch(x)
        return 0.0


def linear_survival(block: int, blocks: int, last: float) -> float:
    """Survival probability of block 1 ... `blocks`: falls linearly from 1 to `last`."""
    return 1 - block / blocks * (1 - last)


def he_initialise(model: nn.Module) -> None:
    """Draw convolution and linear weights from N(0, 2 / fan_in); biases 0.

    He et al., "Delving Deep into Rectifiers", equation 10.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
