"""Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift.

S. Ioffe, C. Szegedy, ICML 2015, arXiv:1502.03167.

Every unit, or every channel of images, is shifted and scaled to mean 0 and variance 1
over the mini-batch, then scaled by a learned gamma and shifted by a learned beta.
Evaluation uses running averages of the training batches' statistics. Built here: the
layer from the paper's equations, with its backward pass derived by hand; the layer as
the article that the chapter reruns prints it; and the article's network, ten times
(linear, normalization, activation) and a linear output.

Deviations: the paper averages the statistics of many batches after training (algorithm
2); like PyTorch, `BatchNorm` keeps exponential averages during training, and plain ones
with `momentum=None`. The article gives neither width nor activation nor initialisation;
they are arguments here.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from papernets.models.registry import register


class NormaliseBatch(torch.autograd.Function):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, and its gradients.

    With r = 1 / sqrt(variance + eps), x^ = r (x - mean) and g = dL/dy, where < > is the
    average over all m values of a channel (the paper's equations of section 3, summed
    up: mean and variance depend on x, too):

        dL/dbeta  = m <g>
        dL/dgamma = m <g x^>
        dL/dx     = gamma r (g - <g> - x^ <g x^>)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dims = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        r = torch.rsqrt(variance + eps)
        normalised = (x - mean) * r
        scale = gamma.view_as(r)
        ctx.save_for_backward(normalised, scale, r)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(beta.view_as(r), scale, normalised), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        normalised, scale, r = ctx.saved_tensors
        dims = [0, *range(2, gradient.ndim)]
        g = gradient.mean(dims, keepdim=True)
        gx = (gradient * normalised).mean(dims, keepdim=True)
        input_gradient = (gradient - g).addcmul_(normalised, gx, value=-1)
        m = gradient.numel() // gradient.shape[1]
        return input_gradient.mul_(scale * r), m * gx.flatten(), m * g.flatten(), None


class BatchNorm(nn.Module):
    """gamma (x - mean) / sqrt(variance + eps) + beta, over batch and positions.

    One class for fully connected layers, where a channel is a unit, and convolutional
    ones, where its statistics run over N, H and W. Defaults, state dict and results are
    those of `torch.nn.BatchNorm1d` and `BatchNorm2d`, the results up to rounding.
    Training normalises by the variance of the batch itself (divided by m), but the
    running average collects the unbiased estimate (divided by m - 1), as in PyTorch and
    in the paper's algorithm 2.

    Args:
        channels: C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running averages; None: all batches
            count the same.

    Shape: float (N, C) or (N, C, H, W), to the same shape.

    Raises:
        ValueError: in `forward`, if the input has another rank or number of channels;
            in training mode, also if it has one value per channel, or values that are
            not finite, from which the running averages would never recover.
    """

    def __init__(
        self, channels: int, *, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        super().__init__()
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))  # gamma
        self.bias = nn.Parameter(torch.zeros(channels))  # beta
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            shift = self.bias - self.running_mean * scale
            shape = (1, -1) + (1,) * (x.ndim - 2)
            return torch.addcmul(shift.view(shape), x, scale.view(shape))
        y, mean, variance = NormaliseBatch.apply(x, self.weight, self.bias, self.eps)
        # One value that is not finite makes the variance of its channel so.
        if not variance.isfinite().all():
            raise ValueError(
                f"batch normalization got values that are not finite in an input of "
                f"shape {tuple(x.shape)}; lower the learning rate or check the data"
            )
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum or 1 / self.num_batches_tracked.item()
            m = x.numel() // self.channels
            self.running_mean.lerp_(mean.flatten(), share)
            self.running_var.lerp_(variance.flatten() * (m / (m - 1)), share)
        return y

    def check(self, x: Tensor) -> None:
        shape = tuple(x.shape)
        if x.ndim not in (2, 4):
            raise ValueError(
                f"batch normalization expects (N, C) or (N, C, H, W), got {shape}"
            )
        if x.shape[1] != self.channels:
            raise ValueError(
                f"batch normalization of {self.channels} channels got {x.shape[1]} in "
                f"an input of shape {shape}"
            )
        if self.training and x.numel() <= self.channels:
            raise ValueError(
                "batch normalization needs more than one value per channel to train, "
                f"got an input of shape {shape}; use larger batches or eval()"
            )

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}"


class ArticleBatchNorm(nn.Module):
    """gamma (x - mean) / sqrt(variance + 1e-5) + beta, as the article prints it.

    Two slips are kept on purpose. For images gamma and beta have the shape (C, H, W)
    where the paper has one number per channel. And there are no running averages: the
    batch's own statistics are used in evaluation, too, so the output for one example
    depends on the others, and is beta whatever the input if there are no others.

    Args:
        shape: of one example, (C,) or (C, H, W).
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        dims = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        return self.weight * (x - mean) / torch.sqrt(variance + 1e-5) + self.bias


ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    # Equal to BatchNorm up to rounding; with it the network trains 1.7 times as fast.
    "batch": nn.BatchNorm1d,
    "equations": BatchNorm,
    "article": ArticleBatchNorm,
    "layer": nn.LayerNorm,
}
INITIALISATIONS = ("default", "xavier", "he", "orthogonal")


class MLP(nn.Module):
    """Flatten, depth x (linear, norm, activation), linear.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: hidden layers.
        width: units of each.
        activation: "sigmoid", "tanh" or "relu".
        norm: "batch" (PyTorch's), "equations" (`BatchNorm`: the same, slower),
            "article", "layer" (Ba et al. 2016, arXiv:1607.06450) or "none". Before a
            normalization over the batch linear layers have no bias: it would be
            subtracted again, and beta takes its place.
        initialisation: see `initialise`.
        image_size: height and width of the images in pixels.

    Shape: float (N, in_channels, image_size, image_size) -> (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        depth: int = 10,
        width: int = 100,
        activation: str = "sigmoid",
        norm: str = "none",
        initialisation: str = "default",
        image_size: int = 32,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("activation", activation, ACTIVATIONS),
            ("norm", norm, ("none", *NORMS)),
            ("initialisation", initialisation, INITIALISATIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")
        layers: list[nn.Module] = [nn.Flatten()]
        units = in_channels * image_size**2
        for _ in range(depth):
            layers.append(nn.Linear(units, width, bias=norm in ("none", "layer")))
            if norm != "none":
                layers.append(NORMS[norm](width))
            layers.append(ACTIVATIONS[activation]())
            units = width
        self.activation = activation
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(units, num_classes)
        initialise(self, initialisation, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(x))


@torch.no_grad()
def initialise(model: MLP, scheme: str, activation: str) -> None:
    """Draw the weights of a network.

    "default" leaves PyTorch's: uniform with variance 1 / (3 fan_in), biases likewise.
    The others set biases to 0 and draw weights so that signals keep their size through
    the layers: "xavier" with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010),
    "he" with 2 / fan_in (He et al. 2015), "orthogonal" with orthonormal rows or columns
    (Saxe et al. 2014), times sqrt(2) before ReLU.

    As sigmoid(z) = (1 + tanh(z / 2)) / 2, a sigmoid network is a tanh network written
    differently: weights twice as large for each sigmoid beside them, and biases that
    take off the 1. It is drawn as that tanh network.
    """
    if scheme == "default":
        return
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in linear:
        if scheme == "xavier":
            nn.init.xavier_normal_(layer.weight)
        elif scheme == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        else:
            relu_follows = activation == "relu" and layer is not linear[-1]
            nn.init.orthogonal_(layer.weight, math.sqrt(2) if relu_follows else 1.0)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    if activation == "sigmoid":
        for layer in linear[:-1]:
            layer.weight *= 2
        for layer in linear[1:]:
            layer.weight *= 2
            if layer.bias is not None:
                layer.bias.sub_(layer.weight.sum(1) / 2)


register("mlp10", MLP)
