"""What makes the residual networks and their relatives: one section per paper."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from papernets.blocks import StochasticBranch, ZeroPadShortcut
from papernets.models import create, prelu_net
from papernets.models.highway import Highway, HighwayLayer
from papernets.models.preact_resnet import PreActBlock, PreActResNet
from papernets.models.prelu_net import PReLUNet
from papernets.models.rir import RiR, RiRLayer
from papernets.models.ror import RoR
from papernets.models.squeezenet import Fire, SqueezeNet
from papernets.models.stochastic_depth import StochasticDepth
from papernets.models.weighted_residual import WResNet

TINY: list[tuple[str, dict[str, Any]]] = [
    ("prelu_net_a", {"width": 1 / 32}),
    ("highway_fitnet19", {"width": 1 / 8}),
    ("highway_fitnet19", {"width": 1 / 8, "variant": "survey"}),
    ("squeezenet_bn", {"width": 1 / 8}),
    ("preact_resnet164", {"width": 2, "depth": 11}),
    ("preact_resnet164", {"width": 2, "depth": 11, "variant": "survey"}),
    ("preact_resnet110", {"width": 2.5, "depth": 14}),
    ("rir18_wide", {"width": 5}),
    ("rir18_wide", {"width": 5, "variant": "survey"}),
    ("stochastic_depth110", {"width": 2.5, "depth": 14}),
    ("wresnet_d118", {"width": 2.5, "depth": 16}),
    ("ror3_wrn58_4", {"width": 6.5, "depth": 16}),
    ("ror3_wrn58_4", {"width": 8, "depth": 16, "inner_shortcut": "zero_pad"}),
    ("ror3_wrn58_4", {"width": 8, "depth": 16, "variant": "survey"}),
]
SMALLEST = {"prelu_net_a": 8, "highway_fitnet19": 4, "squeezenet_bn": 4}


def fill(modules: Iterable[nn.Module], value: float) -> None:
    """Set the weights of all convolutions in `modules`, their biases to zero."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.constant_(layer.weight, value)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def freeze_norms(model: nn.Module) -> None:
    """Let normalizations use running statistics while the rest is in training mode."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize(("name", "arguments"), TINY)
def test_every_size_from_the_smallest_on(name: str, arguments: dict) -> None:
    model = create(name, in_channels=2, num_classes=7, **arguments).eval()
    smallest = SMALLEST.get(name, 1)
    for size in (smallest, smallest + 1, 28):
        assert model(torch.randn(1, 2, size, size)).shape == (1, 7)
    if smallest > 1:
        with pytest.raises(ValueError, match=rf"too small.*{smallest}x{smallest}"):
            model(torch.randn(1, 2, smallest, smallest - 1))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("highway_fitnet19", {"variant": "mine"}, "variant 'mine' is neither"),
        ("preact_resnet164", {"variant": "mine"}, "variant 'mine' is neither"),
        ("rir18_wide", {"variant": "mine"}, "variant 'mine' is neither"),
        ("ror3_wrn58_4", {"variant": "mine"}, "variant 'mine' is neither"),
        ("ror3_wrn58_4", {"inner_shortcut": "no"}, "inner_shortcut 'no' is neither"),
        ("preact_resnet164", {"depth": 112}, r"depth is 112; it must be 9n \+ 2"),
        ("preact_resnet110", {"depth": 2}, r"depth is 2; it must be 6n \+ 2"),
        ("stochastic_depth110", {"depth": 18}, r"depth is 18; it must be 6n \+ 2"),
        ("stochastic_depth110", {"survival": 0.0}, r"survival is 0.0; it must be in"),
        ("wresnet_d118", {"depth": 110}, r"depth is 110; it must be 6n \+ 4"),
        ("wresnet_d118", {"survival": 1.5}, "survival of wresnet_d118 is 1.5"),
        ("ror3_wrn58_4", {"depth": 56}, r"depth is 56; it must be 6n \+ 4"),
        ("ror3_wrn58_4", {"survival": -1}, "survival of ror3_wrn58_4 is -1"),
    ],
)
def test_bad_arguments(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        create(name, **arguments)


@pytest.mark.parametrize("network", [PreActResNet, StochasticDepth, WResNet, RoR])
def test_fractions_of_a_channel_cost_a_fraction(network: Any) -> None:
    """Quarters of a channel grow a three-block stage by a third of a channel or so."""
    depths = {PreActResNet: 29, StochasticDepth: 20}
    sizes = []
    for width in (3, 3.25, 3.5, 3.75, 4):
        with torch.device("meta"):
            model = network(depth=depths.get(network, 22), width=width)
        sizes.append(sum(p.numel() for p in model.parameters()))
    steps = [after / before for before, after in pairwise(sizes)]
    assert all(1 < step < 1.25 for step in steps)
    assert 1.5 < sizes[-1] / sizes[0] < 1.9


# Delving deep into rectifiers


def chain(layers: int, channels: int) -> nn.Sequential:
    """`layers` PReLU layers whose convolutions have no border."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules.append(nn.Conv2d(channels, channels, 1))
        modules.append(nn.PReLU(channels, prelu_net.SLOPE))
    return nn.Sequential(*modules)


def second_moments(model: nn.Module, layers: list[nn.Module], x: Tensor) -> Tensor:
    """Mean square of what each of `layers` puts out for `x`."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(out.square().mean()))
        for layer in layers
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)


def test_he_initialisation_keeps_the_variance_over_19_layers() -> None:
    """Within a factor of two at every depth; without its factor 2 it would vanish."""
    torch.manual_seed(0)
    he, fan_in = [], []
    for _ in range(8):
        model = chain(19, 256)
        convs = [layer for layer in model if isinstance(layer, nn.Conv2d)]
        x = torch.randn(2, 256, 4, 4)
        prelu_net.initialise(model)
        he.append(second_moments(model, convs, x))
        for conv in convs:
            nn.init.normal_(conv.weight, std=256**-0.5)
        fan_in.append(second_moments(model, convs, x))
    ratio = torch.stack(he).mean(0) / (2 / (1 + prelu_net.SLOPE**2))
    assert len(ratio) == 19
    assert ((ratio > 0.5) & (ratio < 2)).all(), ratio
    lost = torch.stack(fan_in).mean(0)
    assert lost[-1] < 1e-4 * lost[0]


def test_the_whole_prelu_network_keeps_the_variance() -> None:
    """All 19 layers within a factor of 10, borders, pooling and averaging included."""
    torch.manual_seed(0)
    model = PReLUNet(width=1 / 4).eval()
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 19
    moments = second_moments(model, layers, torch.randn(2, 3, 32, 32))
    assert ((moments > 0.1) & (moments < 10)).all(), moments


def test_every_layer_but_the_last_has_a_slope_per_channel() -> None:
    with torch.device("meta"):
        model = PReLUNet()
    slopes = [m.num_parameters for m in model.modules() if isinstance(m, nn.PReLU)]
    assert slopes == [96] + [256] * 5 + [512] * 10 + [4096] * 2
    assert model.classifier[-1].out_features == 10
    small = [m for m in PReLUNet(width=1 / 32).modules() if isinstance(m, nn.PReLU)]
    assert len(small) == 18
    assert all((layer.weight == 0.25).all() for layer in small)


# Highway networks


@pytest.mark.parametrize(("variant", "gated"), [("paper", 13), ("survey", 17)])
def test_highway_gates_start_biased_to_carry(variant: str, gated: int) -> None:
    torch.manual_seed(0)
    model = Highway(width=1 / 4, variant=variant).eval()
    layers = [m for m in model.modules() if isinstance(m, HighwayLayer)]
    assert len(layers) == gated
    gates: list[Tensor] = []
    for layer in layers:
        assert (layer.gate[-1].bias == -2).all()
        layer.gate.register_forward_hook(
            lambda _, __, out: gates.append(torch.sigmoid(out))
        )
    with torch.no_grad():
        model(torch.randn(4, 3, 32, 32))
    mean = torch.stack([gate.mean() for gate in gates]).mean()
    assert 0.05 < mean < 0.4  # sigmoid(-2) is 0.12


@pytest.mark.parametrize("variant", ["paper", "survey"])
def test_highway_gate_chooses_between_carrying_and_transforming(variant: str) -> None:
    x = torch.randn(2, 6, 5, 5)
    closed = HighwayLayer(6, 6, -100.0, variant).eval()
    torch.testing.assert_close(closed(x), x)
    opened = HighwayLayer(6, 6, 100.0, variant).eval()
    torch.testing.assert_close(opened(x), opened.transform(x))
    half = HighwayLayer(6, 6, 0.0, variant).eval()
    fill([half.gate], 0.0)
    torch.testing.assert_close(half(x), (x + half.transform(x)) / 2)


def test_the_surveys_highway_layer_widens_by_zero_channels() -> None:
    layer = HighwayLayer(3, 5, -100.0, "survey").eval()
    x = torch.randn(2, 3, 4, 4)
    out = layer(x)
    torch.testing.assert_close(out[:, :3], x)
    assert out[:, 3:].abs().max() < 1e-6


# SqueezeNet


def test_fire_stacks_two_expansions_of_one_squeeze() -> None:
    torch.manual_seed(0)
    fire = Fire(12, 3, 6, bypass=True).eval()
    x = torch.randn(2, 12, 8, 8)
    squeezed = fire.squeeze(x)
    assert squeezed.shape == (2, 3, 8, 8)
    small, large = (fire(x) - x).split(6, 1)
    torch.testing.assert_close(small, fire.expand1x1(squeezed))
    torch.testing.assert_close(large, fire.expand3x3(squeezed))
    fill([fire.expand1x1, fire.expand3x3], 0.0)
    torch.testing.assert_close(fire(x), x)  # simple bypass


def test_squeezenet_bypasses_every_second_module() -> None:
    with torch.device("meta"):
        model = SqueezeNet()
    fires = [m for m in model.features if isinstance(m, Fire)]
    assert [n for n, fire in enumerate(fires, 2) if fire.bypass] == [3, 5, 7, 9]
    grids: list[int] = []
    for fire in fires:
        fire.register_forward_hook(lambda _, __, out: grids.append(out.shape[-1]))
    model(torch.empty(1, 3, 32, 32, device="meta"))
    assert grids == [32] * 3 + [16] * 4 + [8]


# Pre-activation


def test_preactivation_leaves_a_clean_path_through_the_network() -> None:
    """With silent branches a block is the identity, negative values included."""
    block = PreActBlock(6, 3, 6, 1, bottleneck=True, variant="paper").eval()
    fill([block.branch], 0.0)
    x = torch.randn(2, 6, 4, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("variant", ["paper", "survey"])
def test_first_unit_of_a_stage_shares_its_preactivation(variant: str) -> None:
    torch.manual_seed(0)
    block = PreActBlock(4, 3, 8, 2, bottleneck=True, variant=variant).eval()
    x = torch.randn(2, 4, 6, 6)
    active = torch.relu(block.shared[0](x))
    expected = block.shortcut(active) + block.branch(active)
    torch.testing.assert_close(block(x), expected)
    kind = nn.Conv2d if variant == "paper" else ZeroPadShortcut
    assert isinstance(block.shortcut, kind)
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [n.num_features for n in norms].count(4) == 1


# Resnet in Resnet


def test_rir_streams_exchange_features_but_only_one_has_shortcuts() -> None:
    layer = RiRLayer((3, 2), (3, 2), 1).eval()
    r, t = torch.rand(2, 3, 4, 4) + 1, torch.rand(2, 2, 4, 4)
    fill([layer], 0.0)
    residual, transient = layer((r, t))
    torch.testing.assert_close(residual, r, rtol=1e-4, atol=0)
    assert not transient.any()
    fill([layer.t_to_r], 1.0)  # the transient stream reaches the residual one
    assert (layer((r, t))[0] > residual).all()
    assert not layer((r, t))[1].any()
    fill([layer.t_to_r], 0.0)
    fill([layer.r_to_t], 1.0)  # and the other way round
    torch.testing.assert_close(layer((r, t))[0], residual)
    assert layer((r, t))[1].any()


@pytest.mark.parametrize("variant", ["paper", "survey"])
def test_rir_block_adds_an_outer_shortcut_to_the_residual_stream(variant: str) -> None:
    torch.manual_seed(0)
    model = RiR(width=6, variant=variant).eval()
    streams = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    for block in (model.stages[0], model.stages[2]):
        residual, transient = block.layers(streams)
        out = block(streams)
        torch.testing.assert_close(out[0], residual + block.shortcut(streams[0]))
        torch.testing.assert_close(out[1], transient)
    strides = [layer.r_to_r.stride[0] for layer in model.stages[2].layers]
    assert strides == ([2, 1] if variant == "paper" else [1, 2])
    kind = nn.Conv2d if variant == "paper" else ZeroPadShortcut
    assert isinstance(model.stages[2].shortcut, kind)


def test_rir_is_18_layers_deep_and_its_streams_are_equally_wide() -> None:
    with torch.device("meta"):
        model = RiR()
    layers = [m for m in model.modules() if isinstance(m, RiRLayer)]
    assert 1 + len(layers) + 1 == 18
    widths = [
        (layer.r_to_r.out_channels, layer.t_to_t.out_channels) for layer in layers
    ]
    assert widths == [(48, 48)] * 4 + [(96, 96)] * 6 + [(192, 192)] * 6


# Stochastic depth


def test_survival_falls_linearly() -> None:
    with torch.device("meta"):
        model = create("stochastic_depth110")
    survivals = [block.branch.survival for block in model.stages]
    assert survivals == pytest.approx([1 - l / 108 for l in range(1, 55)])  # noqa: E741
    with torch.device("meta"):
        weighted = create("wresnet_d118")
    survivals = [block.branch.survival for block in weighted.blocks]
    assert survivals[0] == pytest.approx(1 - 0.5 / 57)
    assert survivals[-1] == 0.5


def test_blocks_survive_as_often_as_they_should() -> None:
    """Counts of 200 mini-batches against their binomial distribution, 4 deviations."""
    torch.manual_seed(0)
    model = StochasticDepth(1, depth=14, width=1)
    runs, counts = 200, [0] * 6
    for i, block in enumerate(model.stages):

        def count(*_: Any, i: int = i) -> None:
            counts[i] += 1

        block.branch.branch.register_forward_hook(count)
    x = torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        for _ in range(runs):
            model(x)
    for i, block in enumerate(model.stages):
        p = block.branch.survival
        deviation = (runs * p * (1 - p)) ** 0.5
        assert abs(counts[i] - runs * p) < 4 * deviation, (i, counts[i], runs * p)
    before = list(counts)
    model.eval()(x)  # evaluation keeps every block
    assert counts == [number + 1 for number in before]


def test_evaluation_is_the_expectation_of_training() -> None:
    """The mean branch of many draws is the branch of evaluation."""
    torch.manual_seed(0)
    branch = StochasticDepth(depth=8, width=4).stages[0].branch
    assert isinstance(branch, StochasticBranch)
    branch.survival = 0.7
    x = torch.randn(2, 4, 4, 4)
    expected = branch.eval()(x)
    freeze_norms(branch)
    with torch.no_grad():
        draws = [branch(x) for _ in range(1000)]
    mean = sum(draws) / len(draws)
    torch.testing.assert_close(mean, expected, rtol=0.1, atol=1e-5)  # 5 deviations


def test_a_dropped_block_is_its_shortcut() -> None:
    torch.manual_seed(0)
    model = StochasticDepth(depth=8, width=4)
    x = torch.rand(2, 4, 4, 4)  # not negative, as after a ReLU
    for block in model.stages:
        block.branch.survival = 0.0
        out = block(x)
        assert torch.equal(out, block.shortcut(x))
        x = out
    assert x.shape == (2, 16, 1, 1)
    assert (x[:, 4:] == 0).all()  # new channels are zero


# Weighted residuals


def shortcuts_only(model: WResNet, x: Tensor) -> Tensor:
    """What is left of the network when every branch is silent."""
    x = model.stem(x)
    for block in model.blocks:
        x = block.shortcut(x)
    return model.classifier(x.mean((2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_wresnet_starts_as_the_identity(training: bool) -> None:
    torch.manual_seed(0)
    model = WResNet(depth=22, width=4).train(training)
    x = torch.randn(2, 3, 8, 8)
    stem = model.stem(x)
    for block, alpha in zip(model.blocks[:3], model.alpha, strict=False):
        assert torch.equal(block(stem, alpha), stem)
    assert not model.alpha.any()
    assert torch.equal(model(x), shortcuts_only(model, x))
    nn.init.constant_(model.alpha, 0.1)
    assert not torch.allclose(model(x), shortcuts_only(model, x))


def test_wresnet_learns_its_weights_first_and_its_branches_next() -> None:
    torch.manual_seed(0)
    model = WResNet(depth=10, width=4, survival=1.0)
    x, y = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        assert model.alpha.grad is not None
        assert model.alpha.grad.all()
        for block in model.blocks:
            moved = [bool(p.grad.any()) for p in block.parameters()]
            assert all(moved) if step else not any(moved)
        optimizer.step()
    assert model.alpha.all()


def test_branches_of_a_wresnet_only_add_and_alpha_gives_the_sign() -> None:
    torch.manual_seed(0)
    block = WResNet(depth=10, width=4).eval().blocks[0]
    x = torch.randn(2, 4, 6, 6)
    for alpha in (0.5, -0.5):
        change = (block(x, torch.tensor(alpha)) - x) * alpha
        assert (change >= -1e-6).all()
        assert change.max() > 1e-3


def test_alpha_is_projected_at_the_start_of_training_passes() -> None:
    torch.manual_seed(0)
    model = WResNet(depth=10, width=2, survival=1.0)
    x = torch.randn(2, 3, 8, 8)
    outside, inside = torch.tensor([1.5, -3.0, 0.25]), torch.tensor([1.0, -1.0, 0.25])
    with torch.no_grad():
        model.alpha.copy_(outside)
    model.eval()
    evaluated = model(x)
    assert torch.equal(model.alpha, outside)  # untouched, but counts as projected
    model.project()
    assert torch.equal(model.alpha, inside)
    assert torch.equal(model(x), evaluated)
    with torch.no_grad():
        model.alpha.copy_(outside)
    model.train()
    two_passes = model(x).sum() + model(-x).sum()
    assert torch.equal(model.alpha, inside)
    two_passes.backward()
    assert model.alpha.grad is not None
    assert model.alpha.grad.all()  # those at the bounds can return


def test_projected_gradient_descent_stays_in_bounds() -> None:
    model = WResNet(depth=10, width=2, survival=1.0)
    optimizer = torch.optim.SGD([model.alpha], lr=1e6)
    x = torch.randn(4, 3, 8, 8)
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 2, 3]))
        assert model.alpha.abs().max() <= 1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.alpha.abs().max() > 1  # a step may leave; the next pass returns
    model.project()
    assert model.alpha.abs().max() == 1


def test_1192_layers_are_built() -> None:
    with torch.device("meta"):
        model = create("wresnet_d1192")
    assert len(model.blocks) == 3 * 198


# Residual networks of residual networks


def test_ror_has_shortcuts_at_three_levels() -> None:
    """Level by level silenced, the network is the sum of what is left."""
    torch.manual_seed(0)
    model = RoR(depth=16, width=8).eval()
    assert len(model.stage_shortcuts) == 3
    seen: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    def features(x: Tensor) -> Tensor:
        with torch.no_grad():
            model(x)
        return seen.pop()

    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        stem = model.stem(x)
        everything = stem
        for stage, shortcut in zip(model.stages, model.stage_shortcuts, strict=True):
            blocks = everything
            for block in stage:
                active = block.shared(blocks)
                blocks = block.shortcut(active) + block.branch(active)
            everything = blocks + shortcut(everything)
        expected = everything + model.root_shortcut(stem)
    torch.testing.assert_close(features(x), expected)

    for stage in model.stages:
        fill([block.branch for block in stage], 0.0)
        fill([block.shortcut for block in stage], 0.0)
    with torch.no_grad():  # a stage's first block puts out zero; the others keep it
        second = stem
        for shortcut in model.stage_shortcuts:
            second = shortcut(second)
        expected = second + model.root_shortcut(stem)
    torch.testing.assert_close(features(x), expected)

    fill(model.stage_shortcuts, 0.0)
    with torch.no_grad():
        expected = model.root_shortcut(stem)
    assert expected.any()
    torch.testing.assert_close(features(x), expected)
    fill([model.root_shortcut], 0.0)
    assert not features(x).any()


def test_ror_strides_and_survival() -> None:
    with torch.device("meta"):
        model = create("ror3_wrn58_4")
    levels = [s[-1] for s in (*model.stage_shortcuts, model.root_shortcut)]
    assert [conv.stride[0] for conv in levels] == [1, 2, 2, 4]
    assert [conv.in_channels for conv in levels] == [16, 64, 128, 16]
    assert [conv.out_channels for conv in levels] == [64, 128, 256, 256]
    survivals = [b.branch.survival for stage in model.stages for b in stage]
    assert survivals == pytest.approx([1 - l / 54 for l in range(1, 28)])  # noqa: E741
