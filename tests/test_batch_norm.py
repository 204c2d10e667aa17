"""Batch normalization: the layer, the network, and what is measured of them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from papernets import models, training
from papernets.data import Dataset, load
from papernets.experiments import batch_norm_measures as measures
from papernets.models.batch_norm import (
    INITIALISATIONS,
    MLP,
    NORMS,
    ArticleBatchNorm,
    BatchNorm,
    NormaliseBatch,
)
from papernets.recipes import PLAIN_SGD

FORMS = [((6, 3), nn.BatchNorm1d), ((4, 3, 5, 2), nn.BatchNorm2d)]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def pair(
    reference: Callable[..., nn.Module], **arguments: Any
) -> tuple[BatchNorm, nn.Module]:
    """Ours and PyTorch's, with the same gamma and beta, in float64."""
    ours, theirs = BatchNorm(3, **arguments), reference(3, **arguments)
    state = {"weight": random(3, seed=1), "bias": random(3, seed=2)}
    ours.load_state_dict(theirs.state_dict() | state)
    theirs.load_state_dict(ours.state_dict())
    return ours.double(), theirs.double()


def close(ours: Tensor | None, theirs: Tensor | None) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize(("shape", "reference"), FORMS)
def test_same_as_pytorch(
    shape: tuple[int, ...], reference: Callable[..., nn.Module], momentum: float | None
) -> None:
    """Outputs, gradients and running statistics of three steps, then evaluation."""
    ours, theirs = pair(reference, momentum=momentum, eps=1e-3)
    for step in range(3):
        x = 5 * random(*shape, seed=step) + step
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [m(i) for m, i in zip((ours, theirs), inputs, strict=True)]
        close(*outputs)
        for output in outputs:
            (output * random(*shape, seed=9)).sum().backward()
        close(inputs[0].grad, inputs[1].grad)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            close(mine.grad, other.grad)
        for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
            close(mine, other)
    x = random(*shape, seed=7)
    close(ours.eval()(x), theirs.eval()(x))
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("shape", [shape for shape, _ in FORMS])
def test_gradients_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    inputs = (random(*shape), random(3, seed=1), random(3, seed=2))
    for tensor in inputs:
        tensor.requires_grad_()

    def output(*tensors: Tensor) -> Tensor:
        return NormaliseBatch.apply(*tensors, 1e-5)[0]

    assert torch.autograd.gradcheck(output, inputs)


@pytest.mark.parametrize("shape", [shape for shape, _ in FORMS])
def test_backward_is_that_of_the_equations(shape: tuple[int, ...]) -> None:
    """The hand-derived gradients beside those of autograd through each equation."""
    x, gamma, beta = random(*shape), random(3, seed=1), random(3, seed=2)
    view = (1, 3) + (1,) * (len(shape) - 2)
    dims = [0, *range(2, len(shape))]
    for tensor in (x, gamma, beta):
        tensor.requires_grad_()
    mean = x.mean(dims, keepdim=True)
    variance = ((x - mean) ** 2).mean(dims, keepdim=True)
    normalised = (x - mean) / torch.sqrt(variance + 1e-5)
    y = gamma.view(view) * normalised + beta.view(view)
    ours = NormaliseBatch.apply(x, gamma, beta, 1e-5)[0]
    close(ours, y)
    weights = random(*shape, seed=3)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), (x, gamma, beta)),
        torch.autograd.grad((y * weights).sum(), (x, gamma, beta)),
        strict=True,
    ):
        close(mine, theirs)


def test_running_variance_is_the_unbiased_one() -> None:
    layer = BatchNorm(1, momentum=1.0)
    y = layer(torch.tensor([[1.0], [3.0]]))
    assert layer.running_mean.item() == 2.0
    assert layer.running_var.item() == pytest.approx(2.0)  # of the sample; biased: 1
    assert y.flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)


def test_output_does_not_depend_on_the_scale_of_the_weights() -> None:
    """Scale invariance: the same output, the gradient divided by the scale."""
    norm = BatchNorm(5, eps=0.0).double()
    x, w = random(8, 4), random(5, 4, seed=1)
    gradients, outputs = [], []
    for scale in (1.0, 7.0):
        weight = (scale * w).requires_grad_()
        outputs.append(norm(x @ weight.T))
        loss = (outputs[-1] * random(8, 5, seed=2)).sum()
        gradients.append(torch.autograd.grad(loss, weight)[0])
        assert (gradients[-1] * weight).sum(1).abs().max() < 1e-10  # orthogonal
    close(outputs[0], outputs[1])
    close(gradients[0], 7 * gradients[1])


def bad(*shape: int, value: float = 0.0) -> Tensor:
    x = torch.randn(shape)
    x.view(-1)[:1] += value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (bad(5), r"expects \(N, C\) or \(N, C, H, W\), got \(5,\)"),
        (bad(2, 3, 4), r"expects \(N, C\) or \(N, C, H, W\), got \(2, 3, 4\)"),
        (bad(2, 4), r"of 3 channels got 4 in an input of shape \(2, 4\)"),
        (bad(2, 4, 3, 3), r"of 3 channels got 4 in an input of shape \(2, 4, 3, 3\)"),
        (bad(1, 3), r"more than one value per channel to train, got .* \(1, 3\)"),
        (bad(1, 3, 1, 1), r"more than one value per channel .* \(1, 3, 1, 1\)"),
        (bad(0, 3), r"more than one value per channel .* \(0, 3\)"),
        (bad(4, 3, value=math.nan), r"not finite in an input of shape \(4, 3\)"),
        (bad(4, 3, 2, 2, value=math.inf), r"not finite in an input .*\(4, 3, 2, 2\)"),
    ],
)
def test_bad_input(x: Tensor, message: str) -> None:
    layer = BatchNorm(3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match=f"^batch normalization .*{message}"):
        layer(x)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])  # nothing is half updated


def test_evaluation_takes_single_examples() -> None:
    layer = BatchNorm(3).eval()
    assert layer(torch.zeros(1, 3)).shape == (1, 3)
    assert layer(torch.zeros(1, 3, 1, 1)).shape == (1, 3, 1, 1)


def test_layer_of_the_article() -> None:
    """The paper's within a batch; gamma too large for images; no other batches."""
    x = random(6, 3)
    article, paper = ArticleBatchNorm(3).double(), BatchNorm(3).double()
    close(article(x), paper(x))
    images = ArticleBatchNorm(64, 32, 32)
    assert images.weight.numel() == 64 * 32 * 32
    torch.testing.assert_close(
        images(torch.ones(2, 64, 32, 32)), torch.zeros(2, 64, 32, 32)
    )
    alone = article.eval()(x[:1])
    close(alone, article.bias.detach()[None])
    assert (article(x[:2])[0] - article(x)[0]).abs().max() > 0.1


# --- The network -------------------------------------------------------------------


def small(**arguments: Any) -> MLP:
    torch.manual_seed(0)
    settings = {"depth": 4, "width": 16, "image_size": 8} | arguments
    return MLP(**settings)


@pytest.mark.parametrize(
    ("norm", "count"),
    # 784 x 100 + 9 x 100 x 100 weights, 10 x 100 biases or beta, then gamma; 1,010
    [("none", 170_410), ("batch", 171_410), ("article", 171_410), ("layer", 172_410)],
)
def test_parameter_counts(norm: str, count: int) -> None:
    model = models.create("mlp10", in_channels=1, image_size=28, norm=norm)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("norm", ["none", *NORMS])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_every_parameter_gets_a_gradient(norm: str, activation: str) -> None:
    model = small(norm=norm, activation=activation, initialisation="orthogonal")
    model(torch.randn(32, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_network_is_the_articles_formula() -> None:
    model = small(norm="batch", activation="tanh")
    x = torch.randn(9, 1, 8, 8)
    h, layers = x.flatten(1), iter(model.hidden[1:])
    for linear, norm, _ in zip(layers, layers, layers, strict=True):
        h = torch.tanh(norm(functional.linear(h, linear.weight)))
    torch.testing.assert_close(model.classifier(h), model(x))


def test_training_with_our_layer_is_that_with_pytorchs(digits: Dataset) -> None:
    """Both start equal and stay equal for ten steps, in float64."""
    recipe = PLAIN_SGD.but(batch_size=64, lr=0.5)
    ends = []
    for norm in ("batch", "equations"):
        model = small(norm=norm).double()
        optimizer = training.build_optimizer(model, recipe)
        served = measures.batches(digits, recipe, seed=0)
        for _, (images, labels) in zip(range(10), served, strict=False):
            optimizer.zero_grad()
            functional.cross_entropy(model(images.double()), labels).backward()
            optimizer.step()
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        close(value, ends[1][name])


@pytest.mark.parametrize("scheme", ["xavier", "he", "orthogonal"])
def test_careful_sigmoid_starts_as_a_tanh_network(scheme: str) -> None:
    sigmoid = small(activation="sigmoid", initialisation=scheme).double()
    tanh = small(activation="tanh", initialisation=scheme).double()
    x = random(5, 1, 8, 8)
    # Weights are drawn in single precision.
    torch.testing.assert_close(sigmoid(x), tanh(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("scheme", "activation", "variance"),
    [
        ("default", "tanh", 1 / 3),
        ("xavier", "tanh", 1.0),
        ("orthogonal", "tanh", 1.0),
        ("orthogonal", "relu", 2.0),
        ("he", "relu", 2.0),
    ],
)
def test_initial_variance(scheme: str, activation: str, variance: float) -> None:
    """Variance of a hidden weight, times fan-in."""
    model = small(width=200, activation=activation, initialisation=scheme)
    weight = measures.linear_layers(model)[2].weight
    assert 200 * weight.var().item() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "gelu"}, "activation 'gelu' is none of sigmoid, tanh, relu"),
        ({"norm": "group"}, "norm 'group' is none of none, batch, equations, article"),
        ({"initialisation": "zero"}, "initialisation 'zero' is none of default, "),
    ],
)
def test_bad_arguments(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        models.create("mlp10", **arguments)
    assert INITIALISATIONS[0] == "default"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    torch.set_num_threads(1)
    return load("digits")
