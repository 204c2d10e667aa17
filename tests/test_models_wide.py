"""What makes each of the wide, dense, fractal, pyramidal and aggregated networks."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from papernets.models import nas
from papernets.models.densenet import DenseLayer, DenseNet
from papernets.models.fractalnet import FractalBlock, FractalNet
from papernets.models.nas import LAYERS, NASNet15
from papernets.models.pyramid_sepdrop import PyramidSepDrop, SeparatedDrop
from papernets.models.pyramidnet import PyramidBlock, PyramidNet, pyramid_widths
from papernets.models.registry import ENTRIES
from papernets.models.resnext import ResNeXt, ResNeXtBlock
from papernets.models.swapout import Swapout, SwapoutNet, stochastic_inference
from papernets.models.wide_resnet import WideBlock, WideResNet, inner_width

TINY: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (SwapoutNet, {"depth": 8, "width": 6, "drop": 0.2}),
    (SwapoutNet, {"depth": 8, "width": 4, "variant": "survey"}),
    (WideResNet, {"depth": 10, "widen": 0.5}),
    (WideResNet, {"depth": 10, "widen": 1, "variant": "survey", "dropout": 0.3}),
    (FractalNet, {"width": 6, "drop_path": 0, "global_share": 0}),
    (DenseNet, {"depth": 13, "growth": 4}),
    (DenseNet, {"depth": 16, "growth": 2.5, "bottleneck": True, "dropout": 0.1}),
    (PyramidNet, {"depth": 14, "alpha": 11, "width": 6.5}),
    (NASNet15, {"width": 0.15, "pool": 2}),
    (NASNet15, {"width": 0.15, "variant": "survey"}),
    (ResNeXt, {"cardinality": 4, "group_width": 2, "width": 12}),
    (ResNeXt, {"cardinality": 2, "group_width": 3, "width": 9, "variant": "survey"}),
    (PyramidSepDrop, {"depth": 14, "alpha": 11, "survival": 1}),
]


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def randomise_norms(model: nn.Module) -> nn.Module:
    """Running statistics, scales and shifts unlike the initial ones; evaluation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize(("build", "arguments"), TINY)
@pytest.mark.parametrize("size", [28, 32])
def test_every_parameter_learns(
    build: type[nn.Module], arguments: dict[str, Any], size: int
) -> None:
    torch.manual_seed(0)
    model = build(in_channels=2, num_classes=7, **arguments)
    logits = model(torch.randn(4, 2, size, size))
    assert logits.shape == (4, 7)
    assert logits.isfinite().all()
    functional.cross_entropy(logits, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (SwapoutNet, {"depth": 20, "variant": "seed"}, "'paper' or 'survey'"),
        (SwapoutNet, {"depth": 30}, "6n \\+ 2"),
        (WideResNet, {"depth": 32}, "6n \\+ 4"),
        (WideResNet, {"variant": "author"}, "'paper' or 'survey'"),
        (DenseNet, {"depth": 41}, "3n \\+ 4"),
        (DenseNet, {"depth": 103, "bottleneck": True}, "6n \\+ 4"),
        (DenseNet, {"growth": 0.9}, "at least 1"),
        (PyramidNet, {"depth": 109}, "6n \\+ 2"),
        (PyramidSepDrop, {"depth": 180}, "6n \\+ 2"),
        (ResNeXt, {"depth": 28}, "9n \\+ 2"),
        (ResNeXt, {"variant": ""}, "'paper' or 'survey'"),
        (NASNet15, {"variant": "same"}, "'paper' or 'survey'"),
    ],
)
def test_impossible_arguments(
    build: type[nn.Module], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build(**arguments)


# Sizes


def multiply_adds(name: str, k: int) -> int:
    """Of the k-th size of a family, for one 32x32 image."""
    entry, total = ENTRIES[name], 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * layer.weight[0].numel()

    assert entry.scale is not None
    with torch.device("meta"):
        model = entry.build(**{**entry.arguments, **entry.scale(k)}).eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(add)
        model(torch.empty(1, 3, 32, 32))
    return total


# The size of each family that is nearest to 20 M multiply-adds.
AT_20_MILLION = {
    "swapout_v2_32_w4": 122,
    "wrn28_10": 135,
    "fractalnet20": 279,
    "densenet100_k24": 74,
    "pyramidnet110_a270": 90,
    "nas_appendix_a": 117,
    "resnext29_16x64d": 56,
    "pyramid_sepdrop182_a150": 64,
}


@pytest.mark.parametrize(("name", "k"), AT_20_MILLION.items())
def test_sizes_meet_a_budget(name: str, k: int) -> None:
    assert multiply_adds(name, k) == pytest.approx(20e6, rel=0.02)


@pytest.mark.parametrize("share", [0, 0.4, 0.8])
def test_inner_widths(share: float) -> None:
    assert inner_width((64.0, 128.0), (64, 128), share) == 128  # nothing was rounded
    widths = [inner_width((w, w), (4, 4), share) for w in (4, 4.25, 4.5, 4.75)]
    assert widths == [int(w**2 / 4 + share) for w in (4, 4.25, 4.5, 4.75)]


# Swapout


def test_swapout_has_four_outcomes_for_every_unit() -> None:
    torch.manual_seed(0)
    x, residual = torch.full((2, 3, 80, 80), 3.0), torch.full((2, 3, 80, 80), 5.0)
    y = Swapout(0.3).train()(x, residual)
    values, counts = y.unique(return_counts=True)
    assert values.tolist() == [0, 3, 5, 8]  # 0, x, F(x), x + F(x)
    expected = torch.tensor([0.3 * 0.3, 0.7 * 0.3, 0.3 * 0.7, 0.7 * 0.7])
    # 38,400 independent units: five standard deviations are at most 0.013
    torch.testing.assert_close(counts / y.numel(), expected, atol=0.013, rtol=0)


@pytest.mark.parametrize("rescale", [False, True])
def test_swapout_evaluates_to_its_expectation(rescale: bool) -> None:
    torch.manual_seed(0)
    layer = Swapout(0.4, rescale=rescale)
    x, residual = torch.ones(200_000), -3 * torch.ones(200_000)
    mean = layer.train()(x, residual).mean()
    expected = layer.eval()(x, residual)
    assert expected.unique().tolist() == pytest.approx([-2.0 if rescale else -1.2])
    torch.testing.assert_close(mean, expected[0], atol=0.03, rtol=0)


def test_swapout_drops_more_with_depth() -> None:
    with torch.device("meta"):
        model = SwapoutNet()
    rates = [1 - m.keep for m in model.modules() if isinstance(m, Swapout)]
    assert rates == pytest.approx([0.5 * i / 14 for i in range(15)])


def test_stochastic_inference_draws_masks_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = randomise_norms(SwapoutNet(depth=8, width=4))
    images = torch.randn(3, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.stages[0].train()  # a mode to be restored
    modes = [m.training for m in model.modules()]
    one, two = (stochastic_inference(model, images, passes=1) for _ in range(2))
    assert not torch.equal(one, two)
    torch.testing.assert_close(one.sum(1), torch.ones(3))
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():  # no BN statistic has moved
        assert torch.equal(value, before[name])
    many = torch.stack([stochastic_inference(model, images, 40) for _ in range(2)])
    assert (many[0] - many[1]).abs().max() < (one - two).abs().max()


def test_stochastic_inference_without_drop_is_evaluation() -> None:
    torch.manual_seed(0)
    model = randomise_norms(SwapoutNet(depth=8, width=4, drop=0))
    images = torch.randn(2, 3, 32, 32)
    expected = model(images).softmax(1)
    torch.testing.assert_close(stochastic_inference(model, images, 2), expected)


def test_survey_swapout_is_a_bottleneck_network_of_47_layers() -> None:
    with torch.device("meta"):
        paper, survey = SwapoutNet(), SwapoutNet(variant="survey")
    assert len(convolutions(survey)) + 1 == 47
    assert all(c.bias is not None for c in convolutions(survey))
    three = [c for c in convolutions(paper) if c.kernel_size == (3, 3)]
    assert len(three) + 1 == 32
    assert all(c.bias is None for c in convolutions(paper))


# Wide residual networks


def test_wide_stages() -> None:
    with torch.device("meta"):
        model = WideResNet()
    assert [
        c.out_channels for c in convolutions(model.stages) if c.stride == (2, 2)
    ] == [
        *(320, 320, 640, 640)  # shortcut and first convolution of two stages
    ]
    widths = [block.branch[-1].out_channels for block in model.stages]
    assert widths == [160] * 4 + [320] * 4 + [640] * 4


def test_wide_block_without_branch_is_its_shortcut() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8)
    same = WideBlock(4, 4, 4, 1, zero_pad=False, dropout=0)
    padded = WideBlock(4, 6, 6, 2, zero_pad=True, dropout=0)
    projected = WideBlock(4, 6, 6, 2, zero_pad=False, dropout=0)
    for block in (same, padded, projected):
        nn.init.zeros_(block.branch[-1].weight)
        randomise_norms(block)
    assert torch.equal(same(x), x)
    y = padded(x)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert not y[:, 4:].any()
    activated = projected.activation(x)  # the branch's own BN and ReLU
    torch.testing.assert_close(projected(x), projected.shortcut(activated))


def test_wide_dropout_is_between_the_convolutions() -> None:
    block = WideBlock(8, 8, 8, 1, zero_pad=False, dropout=1.0).train()
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(block(x), x)  # everything that the last convolution reads is 0
    assert not torch.equal(block.eval()(x), x)


# FractalNet


def fractal_block(columns: int, drop_path: float = 0.15) -> FractalBlock:
    torch.manual_seed(columns)
    return FractalBlock(3, [5] * 2 ** (columns - 1), columns, 0.0, drop_path)


def test_fractal_rule() -> None:
    x = torch.randn(2, 3, 6, 6)
    two = randomise_norms(fractal_block(2))
    (a,), (b, c) = two.columns
    torch.testing.assert_close(two(x), (a(x) + c(b(x))) / 2)
    three = randomise_norms(fractal_block(3))
    (a,), (b, c), (d, e, f, g) = three.columns
    middle = (b(x) + e(d(x))) / 2
    torch.testing.assert_close(three(x), (a(x) + c(middle) + g(f(middle))) / 3)


@pytest.mark.parametrize("drop_path", [0.0, 0.15, 0.6, 1.0])
def test_local_drop_path_keeps_an_input(drop_path: float) -> None:
    torch.manual_seed(0)
    block = fractal_block(3, drop_path).train()
    draws = [tuple(block.survivors([0, 1, 2])) for _ in range(3000)]
    assert all(draws)
    assert all(set(draw) <= {0, 1, 2} and len(set(draw)) == len(draw) for draw in draws)
    for i in range(3):  # a third of the cases with none left goes to each
        expected = 1 - drop_path + drop_path**3 / 3
        assert sum(i in d for d in draws) / 3000 == pytest.approx(expected, abs=0.05)
    assert block.eval().survivors([0, 1, 2]) == [0, 1, 2]


def test_local_drop_path_averages_the_survivors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = fractal_block(2)
    (a,), (b, c) = randomise_norms(block).columns
    x = torch.randn(2, 3, 6, 6)
    for kept, expected in (([0], a(x)), ([1], c(b(x)))):
        monkeypatch.setattr(
            block, "survivors", lambda inputs, k=kept: k if len(inputs) > 1 else inputs
        )
        torch.testing.assert_close(block(x), expected)


def test_local_drop_path_keeps_the_expectation() -> None:
    """Of a join, over draws; a draw's share of column 0 deviates by at most a half."""
    block = fractal_block(2, drop_path=0.6)
    (a,), (b, c) = randomise_norms(block).columns
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        apart = (a(x) - c(b(x))).abs()
        expected = block(x)
        block.training = True  # its layers stay in evaluation mode
        mean = torch.stack([block(x) for _ in range(1000)]).mean(0)
    assert ((mean - expected).abs() <= 5 * 0.5 / 1000**0.5 * apart + 1e-5).all()


def columns_used(model: FractalNet, x: Tensor) -> list[set[int]]:
    """Which columns of each block run a convolution in a forward pass."""
    used: list[set[int]] = [set() for _ in model.blocks]
    hooks = [
        layer.register_forward_hook(lambda *_, u=used[b], c=c: u.add(c))
        for b, block in enumerate(model.blocks)
        for c, column in enumerate(block.columns)
        for layer in column
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return used


def test_global_drop_path_is_one_column_of_the_whole_network() -> None:
    torch.manual_seed(0)
    model = FractalNet(width=2, global_share=1).train()
    x = torch.randn(2, 3, 32, 32)
    seen = []
    for _ in range(12):
        used = columns_used(model, x)
        assert len(used[0]) == 1
        assert all(columns == used[0] for columns in used)
        seen.append(min(used[0]))
    assert set(seen) == {0, 1, 2}
    assert columns_used(model.eval(), x) == [{0, 1, 2}] * 5


def test_half_of_the_batches_are_global() -> None:
    torch.manual_seed(0)
    model = FractalNet(width=1).train()
    draws = [model.draw_column() for _ in range(2000)]
    assert draws.count(None) / 2000 == pytest.approx(0.5, abs=0.06)
    for column in range(3):
        assert draws.count(column) / 2000 == pytest.approx(1 / 6, abs=0.05)
    assert all(model.eval().draw_column() is None for _ in range(20))


def test_deepest_column_is_a_network_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = FractalNet(width=2)
    randomise_norms(model)
    deepest = model.column()
    assert len(convolutions(deepest)) == 20
    assert len(convolutions(model.column(0))) == 5
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p in deepest.parameters())
    x = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(deepest(x), model(x))
    monkeypatch.setattr(model, "draw_column", lambda: 2)
    torch.testing.assert_close(deepest(x), model(x))


def test_fractal_dropout_rises_from_block_to_block() -> None:
    with torch.device("meta"):
        model = FractalNet()
    rates = [
        {m.p for m in block.modules() if isinstance(m, nn.Dropout)}
        for block in model.blocks
    ]
    assert [min(r) for r in rates] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert all(len(r) == 1 for r in rates)


# DenseNet


def test_dense_layer_appends_to_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 7, 6, 6)
    for bottleneck in (False, True):
        layer = DenseLayer(7, 5, bottleneck, 0.0).eval()
        y = layer(x)
        assert y.shape == (2, 12, 6, 6)
        assert torch.equal(y[:, :7], x)
        assert y[:, 7:].any()


def test_dense_channels_grow_by_the_growth_rate() -> None:
    with torch.device("meta"):
        model = DenseNet(depth=100, growth=24)
    reads = [c.in_channels for c in convolutions(model.features)]
    starts = (16, 784, 1552)
    layers = [start + 24 * i for start in starts for i in range(32)]
    assert reads == [*layers[:32], 784, *layers[32:64], 1552, *layers[64:]]
    assert model.classifier.in_features == 2320


def test_dense_compression_halves_the_channels() -> None:
    with torch.device("meta"):
        model = DenseNet(depth=100, growth=12, bottleneck=True)
    compressions = [
        (c.in_channels, c.out_channels)
        for c in convolutions(nn.Sequential(*model.features.children()))
        if c.kernel_size == (1, 1) and c.out_channels != 48
    ]
    assert compressions == [(24 + 192, 108), (108 + 192, 150)]
    assert model.classifier.in_features == 150 + 192


# PyramidNet


def test_pyramid_widths() -> None:
    assert pyramid_widths(16, 270, 54) == list(range(16, 287, 5))
    assert pyramid_widths(16, 150, 90)[:5] == [16, 17, 19, 21, 22]
    with torch.device("meta"):
        built = PyramidNet(depth=110, alpha=270)
    assert [b.branch[1].out_channels for b in built.stages] == list(range(21, 287, 5))
    strides = [b.branch[1].stride[0] for b in built.stages]
    assert [i for i, stride in enumerate(strides) if stride == 2] == [18, 36]


def test_pyramid_shortcut_averages_and_pads() -> None:
    torch.manual_seed(0)
    block = PyramidBlock(4, 7, 2).eval()
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 4, 8, 8)
    y = block(x)
    torch.testing.assert_close(y[:, :4], functional.avg_pool2d(x, 2))
    assert not y[:, 4:].any()


# Neural architecture search

# Row i, read from the paper's figure by the survey's author: what layer i concatenates.
SKIPS = (
    "...............",
    "#..............",
    "##.............",
    "###............",
    "..##...........",
    ".####..........",
    ".#####.........",
    "#....##........",
    "#...##.#.......",
    "#.#######......",
    "##..######.....",
    "####.#....#....",
    "#.#..#######...",
    "..#...#....##..",
    "......#...####.",
)


def test_nas_skip_matrix() -> None:
    assert nas.skip_matrix() == [[mark == "#" for mark in row] for row in SKIPS]


@pytest.mark.parametrize("variant", ["paper", "survey"])
def test_nas_layers_read_what_the_matrix_says(variant: str) -> None:
    """Mark the output of every layer with its number, and look who reads it."""
    torch.manual_seed(0)
    model = NASNet15(width=0.15, variant=variant).eval()
    found: dict[int, list[float]] = {}

    def read(i: int, inputs: Tensor) -> None:
        found[i] = inputs[0, :, 0, 0].unique().tolist()

    for i, layer in enumerate(model.layers):
        layer.register_forward_pre_hook(lambda _, x, i=i: read(i, x[0]))
        layer.register_forward_hook(lambda _, x, y, i=i: torch.full_like(y, i))
    model(torch.full((1, 3, 20, 20), -1.0))
    assert found.pop(0) == [-1]
    assert found == {
        i: [j for j, mark in enumerate(row) if mark == "#"]
        for i, row in enumerate(SKIPS)
        if i > 0
    }


def test_nas_kernels_and_filters() -> None:
    with torch.device("meta"):
        model = NASNet15()
    built = [(*c.kernel_size, c.out_channels) for c in convolutions(model)]
    assert built == [layer[:3] for layer in LAYERS]
    assert {layer[2] for layer in LAYERS} == {36, 48}


def test_nas_pads_smaller_inputs_at_the_bottom_and_the_right() -> None:
    big, small = torch.ones(1, 2, 4, 5), 2 * torch.ones(1, 1, 3, 3)
    joined = nas.concatenate([big, small])
    assert joined.shape == (1, 3, 4, 5)
    assert torch.equal(joined[:, :2], big)
    assert torch.equal(joined[:, 2:, :3, :3], small)
    assert joined[:, 2:].sum() == small.sum()


def test_nas_without_padding_says_its_smallest_size() -> None:
    size = nas.smallest_size()
    model = NASNet15(width=0.1, variant="survey").eval()
    assert model(torch.randn(1, 3, size, size)).shape == (1, 10)
    with pytest.raises(ValueError, match=f"smallest are {size}x{size}"):
        model(torch.randn(1, 3, size - 1, 32))


def test_the_large_nas_network_has_a_card_and_no_builder() -> None:
    assert nas.CARD_22A.row == "22a"
    assert "22a" not in {e.card.row for e in ENTRIES.values() if e.card}


# ResNeXt


def test_resnext_block_is_a_sum_of_paths() -> None:
    """The grouped form (c) of the paper's figure 3 equals its form (a)."""
    torch.manual_seed(0)
    block = ResNeXtBlock(6, 12, 6, 1, cardinality=4)
    randomise_norms(block)
    reduce, norm1, _, grouped, norm2, _, expand, norm3 = block.branch
    x = torch.randn(2, 6, 8, 8)

    def rectified(norm: nn.BatchNorm2d, y: Tensor, part: slice) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = norm.running_mean[part], norm.running_var[part]
        return functional.batch_norm(
            y, *statistics, norm.weight[part], norm.bias[part]
        ).relu()

    total = torch.zeros(2, 6, 8, 8)
    for path in range(4):
        part = slice(3 * path, 3 * path + 3)
        y = rectified(norm1, functional.conv2d(x, reduce.weight[part]), part)
        y = functional.conv2d(y, grouped.weight[part], padding=1)
        y = rectified(norm2, y, part)
        total = total + functional.conv2d(y, expand.weight[:, part])
    torch.testing.assert_close(block(x), torch.relu(x + norm3(total)))


def test_resnext_cardinality() -> None:
    with torch.device("meta"):
        model = ResNeXt(cardinality=16, group_width=64)
    spatial = [c for c in convolutions(model.stages) if c.kernel_size == (3, 3)]
    assert [c.groups for c in spatial] == [16] * 9
    assert [c.out_channels for c in spatial] == [1024] * 3 + [2048] * 3 + [4096] * 3
    assert [c.stride[0] for c in spatial] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [tuple(c.weight.shape[1:]) for c in spatial[::3]] == [
        *((64, 3, 3), (128, 3, 3), (256, 3, 3))
    ]


# PyramidSepDrop


def test_old_and_new_channels_are_dropped_separately() -> None:
    torch.manual_seed(0)
    layer = SeparatedDrop(nn.Identity(), old=3, survival=0.7)
    x = torch.ones(2, 5, 1, 1)
    counts = dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], 0)
    for _ in range(2000):
        y = torch.as_tensor(layer.train()(x)).expand_as(x)
        assert torch.equal(y[:, :3], y[:1, :1].expand(2, 3, 1, 1))  # all old ones alike
        assert torch.equal(y[:, 3:], y[:1, 4:].expand(2, 2, 1, 1))  # all new ones alike
        counts[int(y[0, 0]), int(y[0, 4])] += 1
    for (old, new), count in counts.items():
        expected = (0.7 if old else 0.3) * (0.7 if new else 0.3)
        assert count / 2000 == pytest.approx(expected, abs=0.055)
    torch.testing.assert_close(layer.eval()(x), 0.7 * x)


def test_separated_drop_splits_where_the_shortcut_ends() -> None:
    with torch.device("meta"):
        model = PyramidSepDrop()
    widths = pyramid_widths(16, 150, 90)
    drops = [m for m in model.modules() if isinstance(m, SeparatedDrop)]
    assert [d.old for d in drops] == widths[:-1]
    expected = [1 - 0.5 * i / 90 for i in range(1, 91)]
    assert [d.survival for d in drops] == pytest.approx(expected)


def test_fully_dropped_pyramid_block_is_its_shortcut() -> None:
    block = PyramidSepDrop(depth=8, survival=0.0).stages[-1]  # survival 0 at the end
    x = torch.randn(2, block.branch.old, 8, 8)
    assert torch.equal(block.train()(x), block.shortcut(x))
