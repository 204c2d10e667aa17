"""What makes the networks before the residual ones: NIN, VGG, Inception, Xception."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from papernets.models import create
from papernets.models.branches import Concat, build
from papernets.models.googlenet import GoogLeNet, inception
from papernets.models.inception_v2 import InceptionV2
from papernets.models.inception_v3 import InceptionV3
from papernets.models.inception_v4 import InceptionV4
from papernets.models.nin import NIN
from papernets.models.vgg import VGG
from papernets.models.xception import SeparableBlock, Xception, separable_conv

NAMES = (
    "nin",
    "nin_bn",
    "vgg_a",
    "googlenet",
    "googlenet_bn",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "xception",
)


def meta(network: Any, **arguments: Any) -> nn.Module:
    """A network without memory; tensors through it have shapes and no values."""
    with torch.device("meta"):
        return network(**arguments).eval()


def outputs(model: nn.Module, modules: list[nn.Module], size: int) -> list[Tensor]:
    """What `modules` put out for one image of size x size pixels on the meta device."""
    seen: list[Tensor] = []
    for module in modules:
        module.register_forward_hook(lambda _, __, out: seen.append(out))
    model(torch.empty(1, 3, size, size, device="meta"))
    return seen


def kernels(model: nn.Module) -> list[tuple[int, ...]]:
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return [conv.kernel_size for conv in convs]


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


# Network in Network


def test_nin_is_three_small_perceptrons_that_slide_over_the_image() -> None:
    assert kernels(meta(NIN)) == [(k, k) for k in (5, 1, 1, 5, 1, 1, 3, 1, 1)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_nin_averages_one_map_per_class(batch_norm: bool) -> None:
    torch.manual_seed(0)
    model = NIN(num_classes=7, batch_norm=batch_norm, width=0.1).eval()
    maps: list[Tensor] = []
    model.class_maps.register_forward_hook(lambda _, __, out: maps.append(out))
    logits = model(torch.randn(2, 3, 32, 32))
    assert maps[0].shape == (2, 7, 8, 8)
    torch.testing.assert_close(logits, maps[0].mean((2, 3)))
    assert count(model, nn.Linear) == 0
    assert (logits.min() < 0) == batch_norm  # without BN the last layer is a ReLU


# VGG


def test_vgg_a_has_11_weight_layers_and_no_normalisation() -> None:
    model = meta(VGG)
    assert kernels(model) == [(3, 3)] * 8 + [(7, 7), (1, 1), (1, 1)]
    kinds = {type(module) for module in model.modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Dropout}


@pytest.mark.parametrize(
    ("plan", "size", "before_fc6", "logit_map"),
    [("S4", 32, 8, 2), ("S32", 32, 1, 1), ("224", 224, 7, 1), ("224", 256, 8, 2)],
)
def test_vgg_plans(plan: str, size: int, before_fc6: int, logit_map: int) -> None:
    model = meta(VGG, plan=plan)
    features, maps = outputs(model, [model.features, model.classifier], size)
    assert features.shape[1:] == (512, before_fc6, before_fc6)
    assert maps.shape[1:] == (10, logit_map, logit_map)


# Inception


@pytest.mark.parametrize(
    ("network", "arguments", "widths"),
    [
        (GoogLeNet, {}, [256, 480, 512, 512, 512, 528, 832, 832, 1024]),
        (
            InceptionV2,
            {},
            [256, 320, 576, 576, 576, 608, 608, 192 + 256 + 608, 1024, 1024],
        ),
        (InceptionV3, {}, [256, 288, 288, *[768] * 5, 1280, 2048, 2048]),
        (
            InceptionV3,
            {"variant": "table"},
            [288, 288, 288, *[768] * 5, 1280, 2048, 2048],
        ),
        (
            InceptionV3,
            {"variant": "survey"},
            [256, 288, *[768] * 5, 1280, 2048, 2048],
        ),
        (InceptionV4, {}, [*[384] * 4, *[1024] * 8, *[1536] * 4]),
    ],
)
def test_inception_modules_put_out_the_widths_of_the_papers(
    network: type[nn.Module], arguments: dict[str, Any], widths: list[int]
) -> None:
    model = meta(network, **arguments)
    modules = [module for module in model.stages if isinstance(module, Concat)]
    assert [out.shape[1] for out in outputs(model, modules, 32)] == widths


GRIDS = [  # network, arguments, image, sizes of the maps of the inception modules
    (GoogLeNet, {}, 32, [32, 16, 8]),
    (GoogLeNet, {"plan": "S8"}, 32, [16, 8, 4]),
    (GoogLeNet, {"plan": "224"}, 224, [28, 14, 7]),
    (InceptionV2, {}, 32, [32, 16, 8]),
    (InceptionV2, {"plan": "S8"}, 32, [16, 8, 4]),
    (InceptionV2, {"plan": "224"}, 224, [28, 14, 7]),
    *(
        (InceptionV3, {"variant": variant, "plan": plan}, size, grids)
        for variant in ("paper", "table")
        for plan, size, grids in [
            ("S4", 32, [32, 16, 8]),
            ("S8", 32, [16, 8, 4]),
            ("299", 299, [35, 17, 8]),
        ]
    ),
    (InceptionV3, {"variant": "survey"}, 32, [16, 8, 4]),
    (InceptionV3, {"variant": "survey", "plan": "299"}, 224, [25, 13, 7]),
    (InceptionV4, {"plan": "S4"}, 32, [32, 16, 8]),
    (InceptionV4, {}, 32, [16, 8, 4]),
    (InceptionV4, {}, 28, [14, 7, 4]),
    (InceptionV4, {"plan": "299"}, 299, [35, 17, 8]),
]


@pytest.mark.parametrize(("network", "arguments", "size", "grids"), GRIDS)
def test_inception_grids(
    network: type[nn.Module], arguments: dict[str, Any], size: int, grids: list[int]
) -> None:
    model = meta(network, width=0.05, **arguments)
    modules = [module for module in model.stages if isinstance(module, Concat)]
    sides = [out.shape[-1] for out in outputs(model, modules, size)]
    assert sorted(set(sides), reverse=True) == grids


def test_branches_see_the_same_input_and_stand_side_by_side() -> None:
    torch.manual_seed(0)
    layers, channels = build([inception(4, 3, 5, 2, 6, 1)], 8)
    (module,) = layers.eval()
    x = torch.randn(2, 8, 7, 7)
    joined = module(x)
    assert joined.shape == (2, channels, 7, 7)
    assert channels == 4 + 5 + 6 + 1
    start = 0
    for branch, width in zip(module, (4, 5, 6, 1), strict=True):
        assert torch.equal(joined[:, start : start + width], branch(x))
        start += width


def test_large_kernels_are_factorised_step_by_step() -> None:
    def of_modules(network: type[nn.Module], **arguments: Any) -> set[tuple[int, ...]]:
        return set(kernels(meta(network, width=0.05, **arguments).stages))

    squares, sevens, threes = {(1, 1), (3, 3)}, {(1, 7), (7, 1)}, {(1, 3), (3, 1)}
    assert of_modules(GoogLeNet) == squares | {(5, 5)}
    assert of_modules(InceptionV2) == squares
    assert of_modules(InceptionV3) == squares | {(5, 5)} | sevens | threes
    assert of_modules(InceptionV3, variant="survey") == squares | sevens | threes
    assert of_modules(InceptionV4) == squares | sevens | threes


def test_two_3x3_convolutions_see_what_one_5x5_sees() -> None:
    branches, _ = build([[[(2, 5)], [(2, 3), (2, 3)]]], 1)
    for branch in branches.eval()[0]:
        x = torch.rand(1, 1, 11, 11, requires_grad=True)
        # in place of ReLU, which may hide pixels, let all through
        for module in [m for m in branch.modules() if isinstance(m, nn.Conv2d)]:
            nn.init.ones_(module.weight)
        branch(x)[0, 0, 5, 5].backward()
        assert x.grad is not None
        seen = x.grad[0, 0].nonzero()
        assert seen.min() == 3
        assert seen.max() == 7


@pytest.mark.parametrize(
    ("batch_norm", "norms"), [(False, 0), (True, 57)], ids=["paper", "bn"]
)
def test_googlenet_normalises_only_on_demand(batch_norm: bool, norms: int) -> None:
    model = meta(GoogLeNet, batch_norm=batch_norm)
    assert count(model, nn.Conv2d) == 57
    assert count(model, nn.BatchNorm2d) == norms


# Xception


def test_depthwise_then_pointwise_without_activation_between() -> None:
    torch.manual_seed(0)
    module = separable_conv(4, 6).eval()
    depthwise, pointwise, norm = module
    assert isinstance(norm, nn.BatchNorm2d)
    x = torch.randn(1, 4, 5, 5)
    changed = x.clone()
    changed[:, 2] += 1
    moved = (depthwise(x) - depthwise(changed)).abs().amax((0, 2, 3)) > 1e-6
    assert moved.tolist() == [False, False, True, False]  # each channel on its own
    moved = (module(x) - module(changed)).abs().amax((0, 2, 3)) > 1e-6
    assert moved.all()  # pointwise mixes all channels
    centre = torch.zeros(1, 4, 5, 5)
    centre[..., 2, 2] = 1
    dark = torch.zeros(1, 4, 5, 5)
    assert ((pointwise(centre) - pointwise(dark)) != 0).sum() == 6  # one pixel only
    # linear: scaling by -1 goes through, as it would not with a ReLU between
    torch.testing.assert_close(pointwise(depthwise(-x)), -pointwise(depthwise(x)))


@pytest.mark.parametrize(
    ("widths", "stride", "side"), [((4, 4, 4), 1, 8), ((6, 6), 1, 8), ((6, 6), 2, 4)]
)
def test_xception_modules_are_residual(
    widths: tuple[int, ...], stride: int, side: int
) -> None:
    torch.manual_seed(0)
    block = SeparableBlock(4, widths, stride).eval()
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    assert not torch.equal(block(x), block.shortcut(x))
    assert torch.equal(x, before)  # the branch's first ReLU is not in place
    last = [m for m in block.branch.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)  # now F = 0
    assert block(x).shape == (2, widths[-1], side, side)
    assert torch.equal(block(x), block.shortcut(x))
    assert torch.equal(block(x), x) == (widths[-1] == 4)


def test_xception_has_36_convolution_layers_and_12_residuals() -> None:
    model = meta(Xception)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    depthwise = [conv for conv in convs if conv.groups > 1]
    blocks = [m for m in model.modules() if isinstance(m, SeparableBlock)]
    projections = sum(not isinstance(b.shortcut, nn.Identity) for b in blocks)
    assert all(conv.groups == conv.in_channels for conv in depthwise)
    assert len(depthwise) == 34
    assert len(convs) - len(depthwise) - projections == 36
    assert (len(blocks), projections) == (12, 4)
    # ReLU stands before every separable convolution of the blocks but the first
    assert [type(block.branch[0]) is nn.ReLU for block in blocks] == [False] + [
        True
    ] * 11


@pytest.mark.parametrize(
    ("plan", "size", "middle", "end"),
    [("S8", 32, 8, 4), ("S4", 32, 16, 8), ("299", 299, 19, 10)],
)
def test_xception_grids(plan: str, size: int, middle: int, end: int) -> None:
    model = meta(Xception, plan=plan)
    flows = outputs(model, [model.middle_flow, model.exit_flow], size)
    assert [flow.shape[1:] for flow in flows] == [
        (728, middle, middle),
        (2048, end, end),
    ]


# All of them

SMALLEST = [
    ("nin", {}, 4),
    ("vgg_a", {}, 28),
    ("vgg_a", {"plan": "S32"}, 32),
    ("vgg_a", {"plan": "224"}, 224),
    ("googlenet", {}, 4),
    ("googlenet", {"plan": "S8"}, 8),
    ("googlenet", {"plan": "224"}, 31),
    ("inception_v3", {"plan": "299"}, 75),
    ("inception_v3", {"plan": "299", "variant": "table"}, 75),
    ("inception_v3", {"plan": "299", "variant": "survey"}, 29),
    ("inception_v4", {"plan": "299"}, 75),
    ("xception", {"plan": "299"}, 7),
]


@pytest.mark.parametrize(("name", "arguments", "smallest"), SMALLEST)
def test_smallest_images(name: str, arguments: dict[str, Any], smallest: int) -> None:
    with torch.device("meta"):
        model = create(name, width=0.05, **arguments).eval()
        assert model(torch.empty(2, 3, smallest, smallest)).shape == (2, 10)
        for height, width in [(smallest - 1, smallest), (smallest, smallest - 1)]:
            too_small = torch.empty(2, 3, height, width)
            with pytest.raises(ValueError, match=rf"\b{smallest}x{smallest}"):
                model(too_small)


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_v4"])
def test_padded_plans_take_any_image(name: str) -> None:
    with torch.device("meta"):
        model = create(name, width=0.05).eval()
        for size in (1, 33):
            assert model(torch.empty(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize("name", [name for name in NAMES if "nin" not in name])
def test_unknown_plans_are_errors(name: str) -> None:
    with pytest.raises(ValueError, match="plan is 'S5'; it must be one of S4, S"):
        create(name, plan="S5")


def test_unknown_variants_are_errors() -> None:
    with pytest.raises(ValueError, match="one of paper, table, survey"):
        create("inception_v3", variant="seed")


@pytest.mark.parametrize("name", NAMES)
def test_narrow_networks_learn_from_every_parameter(name: str) -> None:
    torch.manual_seed(1)
    model = create(name, in_channels=2, num_classes=7, width=0.15)
    logits = model(torch.randn(2, 2, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert all(p.grad.isfinite().all() for p in model.parameters())
