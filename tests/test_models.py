"""The networks: parameter counts, shapes, and what makes each of them."""

import math

import numpy as np
import pytest
import torch

from papernets import models
from papernets.experiments import pi_net
from papernets.models import registry
from papernets.models.pi_net import GEOMETRY, JOINS, Join, PolyNet, PolyResidual

COUNTS = [
    ("polynet", {"in_channels": 1}, 1_220_362),  # as the article's code gives them
    ("polynet", {"in_channels": 3}, 1_220_938),
    ("poly_resnet20", {}, 249_562),  # 464 + 14,016 + 47,040 + 187,264 + 128 + 650
]


def closed_form(in_channels: int, blocks: int, branches: int, width: int) -> int:
    """Parameters of PolyNet on 32x32 images, from the geometry of its blocks."""
    total, channels, size = 0, in_channels, 32
    for i, (kernel, stride, padding) in enumerate(GEOMETRY[:blocks]):
        out = width * 2**i
        total += branches * out * (channels * kernel**2 + 1)
        channels, size = out, (size + 2 * padding - kernel) // stride + 1
    return total + 10 * (channels * size**2 + 1)


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "arguments", "count"), COUNTS)
def test_parameter_counts(name: str, arguments: dict, count: int) -> None:
    assert parameters(models.create(name, **arguments)) == count


@pytest.mark.parametrize("blocks", range(1, 6))
@pytest.mark.parametrize("join", JOINS)
def test_counts_follow_from_the_geometry(join: str, blocks: int) -> None:
    model = PolyNet(3, join=join, blocks=blocks, width=6)
    branches = 2 if join.startswith("product") else 1
    assert parameters(model) == closed_form(3, blocks, branches, 6)


@pytest.mark.parametrize("blocks", range(1, 6))
def test_joins_are_compared_at_equal_parameters(blocks: int) -> None:
    counts = [
        parameters(PolyNet(3, join=join, blocks=blocks, **pi_net.joined(join, blocks)))
        for join in pi_net.JOINS
    ]
    assert max(counts) / min(counts) < 1.05


@pytest.mark.parametrize("name", ["polynet", "poly_resnet20", "resnet20"])
@pytest.mark.parametrize("size", [28, 32])
def test_every_parameter_gets_a_gradient(name: str, size: int) -> None:
    model = models.create(name, in_channels=2, num_classes=7, image_size=size)
    logits = model(torch.randn(3, 2, size, size))
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    with torch.inference_mode():
        assert model.eval()(torch.randn(1, 2, size, size)).isfinite().all()


@pytest.mark.parametrize("blocks", range(1, 6))
def test_product_network_is_the_articles_formula(blocks: int) -> None:
    model = PolyNet(1, blocks=blocks, width=4, image_size=28).eval()
    x = torch.randn(2, 1, 28, 28)
    h = x
    for block in model.blocks:
        first, second = block.branches
        h = first(h) * second(h)
    assert torch.equal(model(x), model.classifier(h.flatten(1)))


def test_linear_join_is_affine() -> None:
    for model in (
        PolyNet(3, join="linear", width=4),
        models.create("poly_resnet20", join="linear", blocks=1, width=4).eval(),
    ):
        model.double()
        a, b = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
        middle = (model(a) + model(b)) / 2
        torch.testing.assert_close(model((a + b) / 2), middle)


@pytest.mark.parametrize(("gain", "bias"), [(1.0, 0.0), (0.786, 1.0)])
def test_initialisation_keeps_the_variance(gain: float, bias: float) -> None:
    """One product of unit-variance inputs has unit variance, over many draws."""
    torch.manual_seed(0)
    values = []
    for _ in range(40):
        model = PolyNet(64, width=64, blocks=1, init_gain=gain, init_bias=bias)
        block = model.blocks[0]
        values.append(block(torch.randn(4, 64, 8, 8))[:, :, 2:-2, 2:-2])
    assert torch.cat(values).var().item() == pytest.approx(1, abs=0.08)


def test_a_residual_product_starts_as_its_first_factor_and_a_little() -> None:
    block = PolyResidual(8, 8, 1, "product", near_one=True)
    x = torch.randn(64, 8, 8, 8)
    first, second = block.first(x), block.second(x)
    torch.testing.assert_close(block(x), x + first * second)
    assert second.mean().item() == pytest.approx(1, abs=0.01)
    assert second.std().item() == pytest.approx(0.3, abs=0.01)
    assert (first.mean().item(), first.std().item()) == pytest.approx((0, 1), abs=0.01)


def test_norm_and_dropout_are_where_they_should_be() -> None:
    model = PolyNet(3, norm=True, dropout=0.5, width=4)
    kinds = [type(layer) for layer in model.blocks]
    assert kinds == [Join, torch.nn.BatchNorm2d] * 5
    assert model.dropout.p == 0.5


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("polinet", {}, "no model 'polinet'; did you mean 'polynet'?"),
        ("zzz", {}, "no model 'zzz'; there are"),
        ("polynet", {"bloks": 2}, "polynet has no argument 'bloks'; it takes blocks, "),
        ("polynet", {"blocks": 6}, "blocks is 6; PolyNet has 1 to 5"),
        ("polynet", {"join": "sum"}, "join 'sum' is none of product"),
        ("polynet", {"image_size": 8}, "8x8 images are too small for 5 blocks"),
        ("polynet", {"num_classes": 0}, "num_classes is 0; it must be a whole number"),
        ("polynet", {"in_channels": 0}, "in_channels is 0; it must be a whole number"),
        ("mlp10", {"image_size": 0}, "image_size is 0; it must be a whole number, at "),
        ("resnet20", {"image_size": 8.5}, "image_size is 8.5; it must be a whole numb"),
        ("mlp10", {"width": "abc"}, "width of mlp10 is 'abc'; it must be a whole numb"),
        ("mlp10", {"width": 2.5}, "width of mlp10 is 2.5; it must be a whole number"),
        ("mlp10", {"depth": True}, "depth of mlp10 is True; it must be a whole number"),
        ("mlp10", {"depth": -3}, "depth of mlp10 is -3; it must be a whole number f"),
        (
            "mlp10",
            {"depth": 99999999999},
            "depth of mlp10 is 99999999999; it must be a",
        ),
        ("mlp10", {"norm": 1}, "norm of mlp10 is 1; it must be a word"),
        ("resnet20", {"width": True}, "width of resnet20 is True; it must be a numb"),
        ("resnet20", {"width": math.nan}, "width of resnet20 is nan; it must be posit"),
        ("resnet20", {"width": "x"}, "width of resnet20 is 'x'; it must be a number"),
        ("resnet20", {"width": 1e30}, r"width of resnet20 is 1e\+30; it must be pos"),
        ("resnet20", {"width": 0}, "width of resnet20 is 0; it must be positive"),
        ("densenet40_k12", {"stem": 2.5}, "stem of densenet40_k12 is 2.5; it must be "),
        ("densenet40_k12", {"bottleneck": 1}, "bottleneck of densenet40_k12 is 1; it "),
        ("polynet", {"init_gain": math.inf}, "init_gain of polynet is inf; it must be"),
        ("pyramid_sepdrop182_a150", {"survival": 5}, "survival of .* must be a prob"),
        ("fractalnet20", {"drop_path": -0.1}, "drop_path of fractalnet20 is -0.1; it "),
        ("swapout_v2_32_w4", {"drop": math.nan}, "drop of swapout_v2_32_w4 is nan; it"),
        ("poly_resnet20", {"join": "relu"}, "join 'relu' is neither product nor lin"),
    ],
)
def test_bad_arguments(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")):
        models.create(name, **arguments)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, IndexError, OverflowError])
def test_what_a_constructor_does_not_expect_is_one_sentence(
    error: type[Exception],
) -> None:
    def build(in_channels: int, num_classes: int, *, width: int = 1) -> torch.nn.Module:
        raise error("too wide\nin layer 3")

    registry.register("broken", build)
    message = "^broken cannot be built with width=2: too wide$"
    try:
        with pytest.raises(ValueError, match=message):
            models.create("broken", width=2)
    finally:
        del registry.ENTRIES["broken"]


def test_nothing_given_may_be_given() -> None:
    """None, and whole numbers for floats, as of NumPy."""
    with torch.device("meta"):
        models.create("densenet40_k12", stem=None, growth=np.int64(4), dropout=0)
        models.create("polynet", init_gain=None, width=np.int64(4))


def test_image_size_is_ignored_by_networks_that_fit_any() -> None:
    assert models.create("poly_resnet20", image_size=8)(torch.randn(2, 3, 8, 8)).shape


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("polynet", ("pi_net.py",)),
        ("stochastic_depth110", ("stochastic_depth.py", "resnet.py")),
        ("swapout_v2_32_w4", ("swapout.py", "wide_resnet.py")),
        ("inception_v4", ("inception_v4.py", "branches.py")),
    ],
)
def test_files_that_define_a_network(name: str, files: tuple[str, ...]) -> None:
    assert models.source_files(name) == files
