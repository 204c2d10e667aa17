"""The survey's controlled comparisons: costs, networks, measurements, verdicts."""

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from test_records import make
from torch import Tensor, nn

from papernets import models, plots, training
from papernets.blocks import StochasticBranch
from papernets.complexity import Profile, profile
from papernets.data import Dataset, Split, load
from papernets.experiments import Results, model_survey, tasks_of
from papernets.experiments import survey_measures as measures
from papernets.experiments import survey_phenomena as phenomena
from papernets.experiments import survey_reports as reports
from papernets.feed import Feed
from papernets.models.controls import ORDERS, OrderedBlock, OrderedResNet, WideningNet
from papernets.models.densenet import DenseNet
from papernets.models.fractalnet import FractalNet
from papernets.models.highway import Highway
from papernets.models.resnet import BasicBlock, ResNet
from papernets.models.stochastic_depth import StochasticDepth
from papernets.models.weighted_residual import WResNet
from papernets.models.wide_resnet import WideBlock, WideResNet
from papernets.models.xception import SeparableBlock
from papernets.recipes import COMMON
from papernets.records import Curves, Measurement, MeasurementRecord, Run


@pytest.fixture(scope="module")
def digits() -> Dataset:
    torch.set_num_threads(1)
    return load("digits")


def images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


# --- Studies ------------------------------------------------------------------------

STUDIES = {study.__name__: study for study in phenomena.STUDIES}


def network_of(task: Run | Measurement) -> tuple[str, dict[str, Any]]:
    if isinstance(task, Run):
        return task.model, dict(task.model_args)
    others = {"model", "epochs", "alone"}
    settings = {k: v for k, v in task.settings.items() if k not in others}
    return str(task.settings["model"]), settings


def costs(study: str) -> dict[str, Profile]:
    found = {}
    for label, tasks in STUDIES[study]().items():
        name, arguments = network_of(tasks[0])
        with torch.device("meta"):
            found[label] = profile(models.create(name, **arguments))
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_conditions_cost_the_same(study: str) -> None:
    """Multiply-adds within 5 % of each other, parameters within 3 % of each other."""
    found = costs(study)
    macs = [p.macs for p in found.values()]
    assert all(4.5e6 < m < 7e6 for m in macs)
    if study == "cardinality":
        parameters = [p.parameters for p in found.values()]
        assert max(parameters) < 1.03 * min(parameters)
    else:
        assert max(macs) < 1.05 * min(macs)


@pytest.mark.parametrize("study", ["block_orders", "convs_per_block", "survival"])
def test_conditions_have_the_same_weights(study: str) -> None:
    found = costs(study).values()
    assert len({(p.macs, p.parameters, p.activations) for p in found}) == 1


DEEP = 5_271_712  # multiply-adds of 38 layers, 4, 8 and 16 channels wide
FITTED: list[tuple[str, float, int, dict[str, Any]]] = [
    *(("wrn28_10", 5e6, k, {"depth": d}) for d, k in phenomena.SIZES_BY_DEPTH.items()),
    *(("widening_net", 5e6, k, {"way": w}) for w, k in phenomena.SIZES_BY_WAY.items()),
    ("ordered_resnet20", 5e6, phenomena.ORDERED, {}),
    (
        "ordered_resnet20",
        5e6,
        phenomena.ORDERED_LEARNED,
        {"order": "mean", "learned": True},
    ),
    ("prelu_net_a", 5e6, phenomena.PRELU, {}),
    ("fractalnet20", 5e6, phenomena.FRACTAL, {}),
    ("xception", 5e6, phenomena.XCEPTION, {}),
    ("highway_fitnet19", DEEP, phenomena.HIGHWAY, {}),
    ("pyramidnet110_a270", DEEP, phenomena.PYRAMID, {"depth": 38}),
]


@pytest.mark.parametrize(("name", "budget", "k", "arguments"), FITTED)
def test_sizes_are_those_nearest_to_the_budget(
    name: str, budget: float, k: int, arguments: dict[str, Any]
) -> None:
    assert models.fit_budget(name, budget, **arguments)["k"] == k


def test_the_deep_network_has_its_cost() -> None:
    assert costs("lesion_study")["ResNet"].macs == DEEP
    model = models.create("resnet20", **phenomena.DEEP)
    assert len(model.stages) == phenomena.BLOCKS


def test_tasks_differ_in_seeds_and_settings_and_can_be_made(digits: Dataset) -> None:
    assert phenomena.BUDGET_MACS == 5e6
    for name, study in STUDIES.items():
        for tasks in study().values():
            assert [task.seed for task in tasks] == [0, 1, 2]
            assert len({dataclasses.replace(t, seed=0).key for t in tasks}) == 1
            assert tasks[0].dataset == "cifar10"
            assert tasks[0].experiment == "model_survey"
            if isinstance(tasks[0], Run):
                assert tasks[0].recipe == COMMON.quick(5)
                training.build(tasks[0], digits)
            else:
                assert getattr(model_survey, tasks[0].function) in model_survey.MEASURES
        assert len({t[0].key for t in study().values()}) == len(study()), name
    measured = {t.function for t in tasks_of(s() for s in STUDIES.values())
                if isinstance(t, Measurement)}  # fmt: skip
    measured |= {t.function for t in tasks_of([model_survey.training_rates()])}
    assert measured == {function.__name__ for function in model_survey.MEASURES}


def test_sources_are_the_files_of_the_measured_networks() -> None:
    files = set()
    for task in tasks_of(study() for study in STUDIES.values()):
        if isinstance(task, Measurement):
            files |= {f"models/{f}" for f in models.source_files(network_of(task)[0])}
    own = "experiments/survey_measures.py"
    assert set(phenomena.SOURCES) == {*training.SOURCES, *files, own}


def test_mean_survival_is_the_mean() -> None:
    model = StochasticDepth(depth=38, width=4, survival=0.5)
    mean = np.mean(survivals(model))
    assert phenomena.mean_survival(18, 0.5) == pytest.approx(mean)
    constant = phenomena.survival()["constant, same mean"][0].model_args
    chosen = survivals(StochasticDepth(**constant))
    assert chosen == pytest.approx([mean] * 18, abs=1e-4)


def survivals(model: nn.Module) -> list[float]:
    return [m.survival for m in model.modules() if isinstance(m, StochasticBranch)]


# --- Networks -----------------------------------------------------------------------

# Each form of a block written out: from x, its shortcut, convolutions and BNs.
Layer = Callable[[Tensor], Tensor]
relu = torch.relu
FORMULAS: dict[str, Callable[[Tensor, Tensor, list[Layer], list[Layer]], Tensor]] = {
    "original": lambda x, s, c, n: relu(s + n[1](c[1](relu(n[0](c[0](x)))))),
    "bn_after_addition": lambda x, s, c, n: relu(n[1](s + c[1](relu(n[0](c[0](x)))))),
    "relu_before_addition": (
        lambda x, s, c, n: s + relu(n[1](c[1](relu(n[0](c[0](x))))))
    ),
    "relu_only_preactivation": (
        lambda x, s, c, n: s + n[1](c[1](relu(n[0](c[0](relu(x))))))
    ),
    "full_preactivation": (
        lambda x, s, c, n: s + c[1](relu(n[1](c[0](relu(n[0](x))))))
    ),
    "plain": lambda x, _, c, n: relu(n[1](c[1](relu(n[0](c[0](x)))))),
    "mean": lambda x, s, c, n: (s + relu(n[1](c[1](relu(n[0](c[0](x))))))) / 2,
}


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 2)])
@pytest.mark.parametrize("order", ORDERS)
def test_block_is_its_formula(order: str, channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = OrderedBlock(4, channels, stride, ORDERS[order].split())
    x = images(5, 4, 8, 8)
    before = x.clone()
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    shortcut = x[:, :, ::stride, ::stride]
    shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, channels - 4))
    expected = FORMULAS[order](x, shortcut, convs, norms)
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, before)


def seeded(build: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(**arguments)


def test_original_order_is_that_of_resnet() -> None:
    ordered = seeded(OrderedResNet, depth=14, width=5.5, order="original")
    resnet = seeded(ResNet, depth=14, width=5.5)
    x = images(4, 3, 16, 16)
    assert torch.equal(ordered(x), resnet(x))
    assert torch.equal(ordered.eval()(x), resnet.eval()(x))


@pytest.mark.parametrize("order", ORDERS)
def test_every_convolution_but_the_first_reads_a_relu(order: str) -> None:
    """And so does the classifier: stem and head complete the blocks."""
    model = seeded(OrderedResNet, depth=14, width=4, order=order).train()
    readers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    read = {}
    for i, module in enumerate(readers):
        module.register_forward_pre_hook(
            lambda _, inputs, i=i: read.update({i: inputs[0]})
        )
    model(images(4, 3, 16, 16))
    assert [i for i, x in read.items() if (x < 0).any()] == [0]
    # Each kind of layer as often as in the original, and every parameter learns.
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.Conv2d) == 13
    model(images(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("order", ORDERS)
def test_what_an_empty_branch_leaves_of_a_signal(order: str) -> None:
    """With zeros after it, only a clean shortcut passes negative values."""
    block = OrderedBlock(4, 4, 1, ORDERS[order].split()).eval()
    for parameter in block.branch.parameters():
        nn.init.zeros_(parameter)
    x = images(2, 4, 6, 6)
    expected = {
        "original": relu(x),
        "bn_after_addition": relu(x) / math.sqrt(1 + 1e-5),
        "plain": torch.zeros_like(x),
        "mean": x / 2,
    }
    torch.testing.assert_close(block(x), expected.get(order, x))


def test_learned_shortcut_is_a_convolution() -> None:
    block = OrderedBlock(4, 6, 2, ORDERS["mean"].split(), learned=True)
    conv = block.shortcut[0]
    assert (conv.kernel_size, conv.stride) == ((3, 3), (2, 2))
    x = images(5, 4, 8, 8)
    expected = (block.shortcut(x) + block.branch(x)) / 2
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ordered_resnet20", {"order": "x"}, "order is 'x'; it must be one of orig"),
        ("plain20", {"learned": True}, "blocks of order 'plain' have no shortcut"),
        ("widening_net", {"way": "x"}, "way is 'x'; it must be one of before, after"),
        ("wrn28_10", {"convs": 0}, "convs of wrn28_10 is 0; it must be a whole"),
        ("wrn28_10", {"depth": 28, "convs": 3}, r"depth is 28; it must be 9n \+ 4"),
        ("stochastic_depth110", {"decay": "x"}, "decay 'x' is neither linear nor"),
    ],
)
def test_bad_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        models.create(name, **arguments)


@pytest.mark.parametrize("convs", [1, 2, 3, 4])
def test_convolutions_of_a_block(convs: int) -> None:
    model = WideResNet(depth=40, widen=0.25, convs=convs)
    blocks = [m for m in model.modules() if isinstance(m, WideBlock)]
    assert len(blocks) == 36 // convs
    for block in blocks:
        kinds = [type(m) for m in block.branch]
        between = [nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d]
        assert kinds == [nn.Conv2d] + between * (convs - 1)
        assert all(m.stride == (1, 1) for m in block.branch[1:] if hasattr(m, "stride"))
    sides = [b.branch[0].stride[0] for b in blocks]
    assert sides == [1] * (12 // convs) + ([2] + [1] * (12 // convs - 1)) * 2
    model(images(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_survival_is_linear_or_constant() -> None:
    linear = StochasticDepth(depth=14, width=4, survival=0.4)
    assert survivals(linear) == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    constant = StochasticDepth(depth=14, width=4, survival=0.4, decay="constant")
    assert survivals(constant) == [0.4] * 6


def test_xception_without_residuals_is_its_branches() -> None:
    with_them = seeded(models.create, name="xception", width=0.05)
    without = models.create("xception", width=0.05, residual=False)
    state = with_them.state_dict()
    shortcuts = {name for name in state if ".shortcut." in name}
    assert set(state) - shortcuts == set(without.state_dict())
    assert shortcuts
    without.load_state_dict({k: v for k, v in state.items() if k not in shortcuts})
    for module in with_them.modules():
        if isinstance(module, SeparableBlock):
            module.forward = module.branch.forward
    x = images(2, 3, 32, 32)
    assert torch.equal(with_them.eval()(x), without.eval()(x))


@pytest.mark.parametrize(
    ("way", "side", "stride"),
    [("before", 32, 1), ("after", 16, 1), ("parallel", 16, 2)],
)
def test_channels_are_doubled_before_after_or_beside_the_pooling(
    way: str, side: int, stride: int
) -> None:
    with torch.device("meta"):
        layers = profile(WideningNet(way=way, width=8)).layers
    convs = [layer for layer in layers if layer.kind == "conv2d"]
    pools = [layer for layer in layers if layer.kind == "max_pool2d"]
    assert [conv.output_shape[0] for conv in convs] == [
        *[8] * 4,
        *([16 if way != "parallel" else 8] + [16] * 3),
        *([32 if way != "parallel" else 16] + [32] * 3),
    ]
    assert (convs[4].output_shape[1], convs[4].stride) == (side, (stride, stride))
    assert [pool.output_shape[1] for pool in pools] == [16, 8]
    # In order of execution: is the first pooling before the fifth convolution?
    place = layers.index(convs[4]) - layers.index(pools[0])
    assert place == {"before": -1, "after": 1, "parallel": -1}[way]


def test_gradual_widening_adds_the_same_everywhere() -> None:
    with torch.device("meta"):
        layers = profile(WideningNet(way="gradual", width=11)).layers
    convs = [layer.output_shape for layer in layers if layer.kind == "conv2d"]
    assert [c[0] for c in convs] == list(range(11, 45, 3))
    assert [c[1] for c in convs] == [32] * 4 + [16] * 4 + [8] * 4


# --- Measurements -------------------------------------------------------------------

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "prelu_slopes": ("prelu_net_a", {"width": 0.03}),
    "residual_weights": ("wresnet_d118", {"depth": 10, "width": 4}),
    "fractal_columns": ("fractalnet20", {"width": 2, "dropout": 0.0}),
    "dense_weights": ("densenet40_k12", {"depth": 13, "growth": 2, "stem": 3}),
}


def fitted(
    data: Dataset, epochs: int, model: str, settings: dict[str, Any]
) -> tuple[nn.Module, Feed]:
    """The network as a measurement of seed 1 trains it, and the validation images."""
    recipe = measures.recipe_for(data, epochs)
    network = measures.build(data, 1, model, **settings)
    training.fit(network, data, recipe, seed=1)
    return network, measures.validation(data, recipe)


@pytest.mark.parametrize("function", SMALL)
@pytest.mark.parametrize("epochs", [1])
def test_measurements_give_numbers(digits: Dataset, function: str, epochs: int) -> None:
    """Finite ones, and the same again."""
    model, settings = SMALL[function]
    measure = getattr(measures, function)
    first = measure(digits, seed=1, model=model, epochs=epochs, **settings)
    assert first["status"] == "finished"
    task = Measurement(
        experiment="e", function=function, settings={}, dataset="digits", seed=1
    )
    MeasurementRecord(measurement=task, values=first, **origin())
    again = measure(digits, seed=1, model=model, epochs=epochs, **settings)
    assert first == again


def origin() -> dict[str, Any]:
    """The provenance of a record."""
    record = make()
    return {
        f.name: getattr(record, f.name)
        for f in dataclasses.fields(MeasurementRecord)
        if f.name not in ("measurement", "values")
    }


def test_rates_are_those_of_training(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the batches asked for; the fastest epoch but the first."""
    seen = []

    def fit(network: nn.Module, data: Dataset, *rest: Any, **options: Any) -> Any:
        seen.append(len(data.train))
        result = training.fit(network, data, *rest, **options)
        rates = {"images_per_second": [900.0, 5.0, 7.0, 6.0]}
        return dataclasses.replace(result, curves=rates)

    monkeypatch.setattr(measures, "fit", fit)
    model, settings = SMALL["prelu_slopes"]
    fields = {"model": model, "batches": 2, "epochs": 1, **settings}
    found = measures.training_rate(digits, seed=1, **fields)
    assert found == {"status": "finished", "images_per_second": 7.0}
    assert seen == [2 * COMMON.batch_size]


def test_slopes_are_those_of_the_trained_network(digits: Dataset) -> None:
    model, settings = SMALL["prelu_slopes"]
    found = measures.prelu_slopes(digits, seed=1, model=model, epochs=1, **settings)
    network, _ = fitted(digits, 1, model, settings)
    slopes = [m.weight for m in network.modules() if isinstance(m, nn.PReLU)]
    assert found["mean"] == pytest.approx([s.mean().item() for s in slopes], rel=1e-3)
    # conv7x7, pool; 5 conv3x3, pool; 5 conv3x3, pool; 5 conv3x3; two linear layers.
    pooled = [i for i, flag in enumerate(found["before_pooling"]) if flag]
    assert pooled == [0, 5, 10]
    assert found["convolutional"] == [True] * 16 + [False] * 2
    assert len(found["spread"]) == 18


LESIONED: list[tuple[str, dict[str, Any]]] = [
    ("resnet20", {"depth": 14, "width": 3}),
    ("plain20", {"depth": 14, "width": 3}),
    ("stochastic_depth110", {"depth": 14, "width": 3}),
    ("pyramidnet110_a270", {"depth": 14, "width": 3, "alpha": 4}),
    ("highway_fitnet19", {"width": 0.07}),
]


@pytest.mark.parametrize(("model", "settings"), LESIONED)
def test_a_removed_block_takes_no_part(
    digits: Dataset, model: str, settings: dict[str, Any]
) -> None:
    """Its weights may be anything; all others are needed."""
    network = measures.build(digits, 0, model, **settings).eval()
    chain = measures.chain_of_blocks(network)
    x = images(3, 1, 8, 8)
    places = [i for i, m in enumerate(chain) if isinstance(m, measures.BLOCKS)]
    assert len(places) == (13 if model.startswith("highway") else 6)
    whole = network(x)
    for place in places:
        block, damaged = chain[place], copy.deepcopy(chain[place])
        for parameter in damaged.parameters():
            nn.init.constant_(parameter, math.nan)
        with measures.replaced(chain, {place: damaged}):
            assert network(x).isnan().all()
            with measures.replaced(chain, {place: measures.bypass(damaged)}):
                removed = network(x)
        assert removed.isfinite().all()
        assert not torch.equal(removed, whole)
        assert chain[place] is block
    assert torch.equal(network(x), whole)


def test_a_residual_block_without_its_branch_is_its_shortcut() -> None:
    """Of a block that reads ReLUs; with a branch of zeros it is the same."""
    block = BasicBlock(3, 5, 2).eval()
    for parameter in block.branch.parameters():
        nn.init.zeros_(parameter)
    x = images(2, 3, 8, 8).abs()
    assert torch.equal(block(x), measures.bypass(block)(x))


@pytest.mark.parametrize(("model", "settings"), [LESIONED[0], LESIONED[4]])
def test_lesions_by_hand(digits: Dataset, model: str, settings: dict[str, Any]) -> None:
    found = measures.lesions(digits, seed=1, model=model, epochs=1, **settings)
    network, feed = fitted(digits, 1, model, settings)
    assert found["accuracy"] == measures.compact(training.evaluate(network, feed)[1])
    chain = measures.chain_of_blocks(network)
    places = [i for i, m in enumerate(chain) if isinstance(m, measures.BLOCKS)]
    original = list(chain)
    for number, place in enumerate(places):
        chain[place] = measures.bypass(original[place])
        assert found["removed"][number] == measures.compact(
            training.evaluate(network, feed)[1]
        )
        chain[place] = original[place]
        if found["swapped"][number] is not None:
            chain[place], chain[place + 1] = original[place + 1], original[place]
            assert found["swapped"][number] == measures.compact(
                training.evaluate(network, feed)[1]
            )
            chain[place], chain[place + 1] = original[place], original[place + 1]
    if model == "resnet20":  # the second of two blocks of every stage keeps its shape
        assert found["keeps_shape"] == [True, True, False, True, False, True]
        assert [s is None for s in found["swapped"]] == [False] + [True] * 5
        assert found["side"] == [8, 8, 4, 4, 2, 2]
        assert "gate" not in found
        assert "exchanged" in found
    else:  # neighbours in a group of layers with the same width
        swappable = [s is not None for s in found["swapped"]]
        ends = [i for i, p in enumerate(places) if p + 1 not in places]
        assert [i for i, flag in enumerate(swappable) if not flag] == ends
        assert len(found["gate"]) == 13


def test_several_lesions_by_hand(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks that halve no image, and all pairs of one shape, without choice."""
    monkeypatch.setattr(measures, "NUMBERS", (1, 8))
    model, settings = LESIONED[0]
    settings = settings | {"depth": 20}
    found = measures.lesions(digits, seed=1, model=model, epochs=1, **settings)
    network, feed = fitted(digits, 1, model, settings)
    chain = measures.chain_of_blocks(network)
    original = list(chain)
    assert found["numbers"] == [1, 8]
    assert found["last"][0] == found["removed"][-1]
    assert found["side"] == [8] * 3 + [4] * 3 + [2] * 3
    halving = [3, 6]
    for place in set(range(9)) - set(halving):
        chain[place] = measures.bypass(original[place])
    score = measures.compact(training.evaluate(network, feed)[1])
    assert found["last"][1] == found["any"][1] == score
    for place, block in enumerate(original):
        chain[place] = block
    free = [p for p in range(9) if p not in halving]
    means = [found["removed"][p] for p in free]
    assert min(means) <= found["any"][0] <= max(means)
    # Exchanges: 3 pairs of the first stage, one in each other; any one of them.
    scores = []
    for a, b in ((0, 1), (0, 2), (1, 2), (4, 5), (7, 8)):
        chain[a], chain[b] = original[b], original[a]
        scores.append(training.evaluate(network, feed)[1])
        chain[a], chain[b] = original[a], original[b]
    assert min(scores) - 1e-4 <= found["exchanged"][0] <= max(scores) + 1e-4
    again = measures.lesions(digits, seed=1, model=model, epochs=1, **settings)
    assert again == found


def test_blocks_of_different_shapes_are_not_exchanged(digits: Dataset) -> None:
    model, settings = LESIONED[3]
    found = measures.lesions(digits, seed=1, model=model, epochs=1, **settings)
    assert "exchanged" not in found
    assert len(found["last"]) == len(found["any"]) == 3


def test_gates_are_the_sigmoid_of_their_bias(digits: Dataset) -> None:
    network = Highway(in_channels=1, width=0.07, gate_bias=-1.5)
    for layer in network.modules():
        if isinstance(layer, nn.Sequential) and len(layer) == 1:  # a gate
            nn.init.zeros_(layer[0].weight)
    expected = 1 / (1 + math.exp(1.5))
    found = measures.gates(network, images(4, 1, 8, 8))
    assert found == pytest.approx([expected] * 13)


def test_networks_without_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="NIN has no blocks that can be removed"):
        measures.chain_of_blocks(models.create("nin", width=0.05))


def test_alphas_are_noted_after_every_epoch(digits: Dataset) -> None:
    model, settings = SMALL["residual_weights"]
    found = measures.residual_weights(digits, seed=1, model=model, epochs=2, **settings)
    assert np.array(found["alpha"]).shape == (2, 3)
    assert found["alpha"][0] != found["alpha"][1]
    network, _ = fitted(digits, 2, model, settings)
    assert found["alpha"][-1] == measures.compact(network.alpha.tolist())


def test_looks_come_once_an_epoch() -> None:
    looks: list[bool] = []
    model = nn.Linear(2, 2)
    with measures.after_every_epoch(model, lambda: looks.append(model.training)):
        for mode in (False, True, True, False, False, True, False):
            model.train(mode)(torch.zeros(1, 2))
    assert looks == [False, False]
    model.train()(torch.zeros(1, 2))
    model.eval()(torch.zeros(1, 2))
    assert len(looks) == 2  # the hook is gone


def test_sizes_of_weighted_branches_by_hand() -> None:
    torch.manual_seed(0)
    network = WResNet(in_channels=1, depth=10, width=3, survival=0.6).eval()
    nn.init.constant_(network.alpha, -0.25)
    x = images(4, 1, 8, 8)
    found = measures.branch_sizes(network, x)
    signal = network.stem(x)
    for i, block in enumerate(network.blocks):
        inner = block.branch.branch(signal) * block.branch.survival
        way = block.shortcut(signal)
        assert found["branch"][i] == pytest.approx(
            0.25 * inner.abs().mean().item(), rel=1e-3
        )
        ratio = (inner.abs().mean() / way.abs().mean()).item()
        assert found["unweighted"][i] == pytest.approx(ratio, rel=1e-3)
        assert found["share"][i] == pytest.approx(ratio / 4, rel=1e-3)
        signal = way - 0.25 * inner


def test_columns_by_hand(digits: Dataset) -> None:
    """Averages of training, and the form's own; only the shared layers are trained."""
    model, settings = SMALL["fractal_columns"]
    found = measures.fractal_columns(digits, seed=1, model=model, epochs=2, **settings)
    assert found["forms"] == ["column 1", "column 2", "column 3", "joined"]
    recipe = measures.recipe_for(digits, 2)
    network = measures.build(digits, 1, model, **settings)
    assert isinstance(network, FractalNet)
    training.fit(network, digits, recipe.but(norm_batches=0), seed=1)
    feed = measures.validation(digits, recipe)
    for i, form in enumerate([*(network.column(c) for c in range(3)), network]):
        score = training.evaluate(copy.deepcopy(form), feed)[1]
        assert found["running"][i] == measures.compact(score)
    train = Feed(digits.train, digits, recipe, torch.device("cpu"))
    training.average_norms_anew(network, train, 2, 1)
    score = training.evaluate(network, feed)[1]
    assert found["renewed"][-1] == measures.compact(score)
    alone = measures.fractal_columns(
        digits, seed=1, model=model, epochs=1, alone=True, **settings
    )
    assert alone["forms"] == ["column 3"]


def test_matrix_of_a_dense_network_by_hand() -> None:
    """Weights that are 10 target + source in size, of either sign."""
    network = DenseNet(in_channels=1, depth=13, growth=2.5, stem=3)
    layers = [m for m in network.features if hasattr(m, "branch")]
    growths = [m.branch[-2].weight.shape[0] for m in layers[:3]]
    assert growths == [2, 3, 3]
    followers = [m for m in network.features if isinstance(m, nn.Conv2d)]
    readers = [m.branch[-2] for m in layers[:3]] + [followers[0]]
    with torch.no_grad():
        for target, conv in enumerate(readers):
            signs = conv.weight.sign()
            sources = conv.weight.split([3, *growths][: target + 1], dim=1)
            for source, part in enumerate(sources):
                part.fill_(10.0 * target + source)
            conv.weight.mul_(signs)
    first, *_, last = measures.matrices(network, measures.mean_size)
    for source in range(4):
        for target in range(4):
            expected = None if source > target else 10 * target + source
            assert first[source][target] == expected
    head = network.classifier.weight.abs()
    assert last[-1][-1] == pytest.approx(head[:, -growths[-1] :].mean().item())


def test_what_a_dense_network_needs_by_hand(digits: Dataset) -> None:
    """Zeros in the weights by which one layer reads another; then as before."""
    model, settings = SMALL["dense_weights"]
    found = measures.dense_weights(digits, seed=1, model=model, epochs=1, **settings)
    untrained = measures.build(digits, 1, model, **settings)
    initial = measures.matrices(untrained, measures.mean_size)
    assert found["initial"] == measures.compact(initial)
    network, _ = fitted(digits, 1, model, settings)
    trained = measures.matrices(network, measures.mean_size)
    assert found["blocks"] == measures.compact(trained)
    recipe = measures.recipe_for(digits, 1)
    part = digits.validation
    some = Split(part.images[: measures.PROBE], part.labels[: measures.PROBE])
    feed = Feed(some, digits, recipe, torch.device("cpu"))
    whole = training.evaluate(network, feed)[0]
    layers = [m for m in network.features if hasattr(m, "branch")]
    conv = next(m for m in layers[1].branch.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        conv.weight[:, :3] = 0  # the second layer no longer reads the block's input
    rise = training.evaluate(network, feed)[0] - whole
    assert found["needed"][0][0][1] == measures.compact(rise)


@pytest.mark.parametrize("function", [*SMALL, "lesions", "training_rate"])
def test_divergence_is_said(
    digits: Dataset, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = COMMON.but(lr=1e30, clip_grad_norm=None, schedule="constant")
    monkeypatch.setattr(measures, "COMMON", wild)
    model, settings = SMALL.get(function, LESIONED[4])
    if function == "training_rate":
        settings = settings | {"batches": 2}
    measure = getattr(measures, function)
    found = measure(digits, seed=0, model=model, epochs=1, **settings)
    assert found == {"status": "diverged"}


def test_recipe_of_measurements_is_that_of_runs(digits: Dataset) -> None:
    """On images of 32 pixels; smaller ones are shifted less."""
    large = dataclasses.replace(digits, train=enlarged(digits))
    assert large.image_size == 32
    runs = phenomena.width_or_depth()["10 layers"][0].recipe
    assert measures.recipe_for(large, 5) == runs
    assert measures.recipe_for(digits, 5) == runs.but(crop_padding=1)


def enlarged(data: Dataset) -> Split:
    """One image, enlarged to 32 pixels."""
    image = data.train.images[:1].repeat_interleave(4, 2).repeat_interleave(4, 3)
    return Split(image, data.train.labels[:1])


def test_values_are_compact() -> None:
    assert measures.compact([1.23456, [None, math.inf], 2]) == [1.235, [None, None], 2]


# --- Verdicts -----------------------------------------------------------------------

Numbers = tuple[float, ...]


def pretended(runs: dict[str, Numbers], study: str) -> Results:
    """Runs with these test accuracies in percent; seconds likewise."""
    found = {}
    for label, accuracies in runs.items():
        for task, accuracy in zip(STUDIES[study]()[label], accuracies, strict=False):
            assert isinstance(task, Run)
            curves = Curves(
                train_loss=(1.0, 0.5),
                test_accuracy=(accuracy / 200, accuracy / 100),
                seconds=(accuracy / 4, accuracy / 4),
            )
            record = make(task, test_accuracy=accuracy / 100, curves=curves)
            found[task.key] = record
    return Results(found)


def measured(values: dict[str, list[dict[str, Any]]], study: str) -> Results:
    """Measurements with these values, by condition and seed."""
    found = {}
    for label, seeds in values.items():
        for task, own in zip(STUDIES[study]()[label], seeds, strict=False):
            assert isinstance(task, Measurement)
            record = MeasurementRecord(measurement=task, values=own, **origin())
            found[task.key] = record
    return Results(found)


def verdicts(results: Results) -> dict[str, str]:
    table = reports.remarks(results)
    return dict(zip(table.remark, table.verdict, strict=True))


def only(results: Results, *starts: str) -> list[str]:
    """Verdicts of the remarks that begin so; all others were not run."""
    found = verdicts(results)
    chosen = [next(r for r in found if r.startswith(start)) for start in starts]
    return [found[remark] for remark in chosen]


def test_without_records_nothing_was_run() -> None:
    table = reports.remarks(Results({}))
    assert set(table.verdict) == set(table.measured) == {"not run yet"}
    assert table.remark.is_unique
    assert reports.report_remarks(Results({})) == "Tests of the remarks: not run yet."


def test_tables_are_of_runs_that_have_records() -> None:
    assert reports.comparisons(Results({})) == {}
    depths = pretended({"16 layers": (60.0, 61.0, 62.0)}, "width_or_depth")
    slopes = measured({"PReLU-net": [{}]}, "slopes")
    tables = reports.comparisons(Results(depths.records | slopes.records))
    (question,) = tables
    assert re.fullmatch(r"Does width beat depth.*\.", question)
    assert list(tables[question].test) == [
        "not run yet",
        "61.00 ± 1.00",
        *2 * ["not run yet"],
    ]
    columns = depths.summary(STUDIES["width_or_depth"]()).columns
    assert sorted(tables[question]) == sorted(columns)
    assert tables[question].columns[0] == "test"


@pytest.mark.parametrize(
    ("shallow", "deep", "verdict"),
    [
        ((60.0, 61.0, 62.0), (57.0, 58.0, 59.0), "held"),
        ((57.0, 58.0, 59.0), (60.0, 61.0, 62.0), "did not hold"),
        ((57.0, 58.0, 59.0), (58.0, 58.5, 59.0), "a tie"),
        ((60.0,), (59.8,), "a tie"),
        ((60.0,), (), "not run yet"),
    ],
)
def test_a_comparison_of_two(shallow: Numbers, deep: Numbers, verdict: str) -> None:
    results = pretended({"16 layers": shallow, "40 layers": deep}, "width_or_depth")
    assert only(results, "At equal cost width") == [verdict]
    row = reports.remarks(results).set_index("remark").filter(like="At equal", axis=0)
    if verdict == "held":
        assert row.measured.item() == (
            "16 layers: 61.00 ± 1.00 %, against 40 layers: 58.00 ± 1.00 % "
            "(3.0 points higher); 6 of 12 records so far"
        )
        assert reports.report_remarks(results).startswith("Of ")
        text = reports.report_remarks(results)
        assert " remarks of the survey and its papers 1 held and " in text
        assert re.search(
            r"Of \d+ tests of other questions \d+ were not run yet\.", text
        )


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ((50.0, 50.0, 50.0), "held"),
        ((50.0, 60.0, 50.0), "a tie"),
        ((50.0, 70.0, 60.0), "did not hold"),
    ],
)
def test_the_best_of_several(others: Numbers, verdict: str) -> None:
    labels = ["1 per block", "3 per block", "4 per block"]
    runs = {label: (value,) for label, value in zip(labels, others, strict=True)}
    results = pretended({"2 per block": (60.0,), **runs}, "convs_per_block")
    assert only(results, "Two 3x3") == [verdict]


def test_convolved_paths_are_compared() -> None:
    labels = ["mean with a convolution", "sum with a convolution", "no join"]
    runs = dict(zip(labels, [(60.0,), (60.1,), (58.0,)], strict=True))
    found = only(pretended(runs, "joins"), "Two convolved", "The mean of two")
    assert found == ["held", "held"]


def test_cost_of_paths_is_said() -> None:
    runs = {"1 x 13d": (50.0,), "8 x 4d": (60.0,)}
    row = reports.remarks(pretended(runs, "cardinality")).set_index("remark")
    row = row.filter(like="Many narrow", axis=0).iloc[0]
    assert row.measured.endswith("million multiply-adds; 2 of 12 records so far")
    assert row.verdict == "held"


def test_equality_holds_in_a_tie() -> None:
    labels = ["sum with the identity", "mean with the identity"]
    for mean, verdict in ((60.1, "held"), (50.0, "did not hold")):
        runs = dict(zip(labels, [(60.0,), (mean,)], strict=True))
        assert only(pretended(runs, "joins"), "A join by") == [verdict]


def test_a_diverged_run_guesses() -> None:
    results = pretended({"16 layers": (60.0,), "40 layers": (59.9,)}, "width_or_depth")
    key = phenomena.width_or_depth()["40 layers"][0].key
    diverged = dataclasses.replace(
        results.records[key], status="diverged", test_accuracy=None
    )
    assert only(results, "At equal cost") == ["a tie"]
    results = Results({**results.records, key: diverged})
    assert only(results, "At equal cost") == ["held"]


def test_time_is_compared_with_that_of_all_blocks() -> None:
    runs = {
        "all blocks": (60.0, 60.0, 60.0),
        "linear to 0.5": (45.0, 44.0, 46.0),
        "constant, same mean": (46.0, 45.0, 44.0),
        "constant 0.5": (30.0, 30.0, 30.0),
    }
    results = pretended(runs, "survival")
    table = reports.remarks(results).set_index("remark")
    saving = table.filter(like="Skipped blocks", axis=0).iloc[0]
    assert saving.verdict == "held"
    assert "linear to 0.5: 75.00 ± 1.67 %" in saving.measured  # of 60
    assert saving.measured.endswith("all blocks: 100.00 ± 0.00 % (25.0 points lower)")
    found = only(results, "Stochastic depth makes a network more", "Survival that")
    assert found == ["did not hold", "a tie"]


def test_convergence_is_the_epochs_to_what_all_reach() -> None:
    """The first epoch of the made curves has half of the second's accuracy."""
    fast, slow = (90.0, 98.0, 120.0), (50.0, 45.0, 55.0)  # all reach 45 %
    for ours, others, verdict in ((fast, slow, "held"), (slow, fast, "did not hold")):
        runs = {"with residuals": ours, "without residuals": others}
        results = pretended(runs, "xception_residuals")
        table = reports.remarks(results).set_index("remark")
        row = table.filter(like="Xception needs", axis=0).iloc[0]
        assert row.verdict == verdict
        if verdict == "held":
            assert row.measured == (
                "without residuals: 2.0 ± 0.0 epochs; with residuals: 1.0 ± 0.0 epochs"
            )


def test_networks_with_and_without_batch_normalization() -> None:
    accuracies = {"nin": (60.0, 61.0, 62.0), "nin_bn": (70.0,), "googlenet": (60.0,)}
    study = model_survey.equal_compute()
    runs = {
        run.key: make(run, test_accuracy=accuracy / 100)
        for model, found in accuracies.items()
        for run, accuracy in zip(study[model], found, strict=False)
    }
    table = reports.remarks(Results(runs)).set_index("remark")
    rows = table.filter(like="with batch normalization", axis=0)
    assert rows.verdict.tolist() == ["held", "not run yet"]
    assert rows.measured.iloc[0] == (
        "nin_bn: 70.00 %, against nin: 61.00 ± 1.00 % (9.0 points higher)"
    )


def test_symmetry_of_signs() -> None:
    assert reports.asymmetry([1.0, -1.0]) == 0
    assert reports.asymmetry([2.0] * 9) == pytest.approx(3)  # root of the number
    signs = np.random.RandomState(0).choice([-1.0, 1.0], (10_000, 18))
    squares = np.mean([reports.asymmetry(row) ** 2 for row in signs])
    assert squares == pytest.approx(1, abs=0.05)


def alpha_values(alpha: list[float], share: list[float]) -> dict[str, Any]:
    return {
        "status": "finished",
        "alpha": [[0.0] * len(alpha), alpha],
        "share": share,
        "unweighted": share,
    }


def test_weights_of_residuals() -> None:
    seeds = [
        alpha_values([0.1, -0.1, 0.1, -0.3, 0.5, -0.4], [0.2, 0.2, 0.1, 0.1, s, s])
        for s in (0.1, 0.11, 0.12)
    ]
    results = measured({"all blocks": seeds}, "alphas")
    assert of_weights(results, "all blocks") == ["held"] * 2 + ["did not hold"] * 2
    assert of_weights(results, "stochastic depth") == ["not run yet"] * 4
    assert reports.thirds([1, -3, 5, -5, 7, -9]) == (2, 8)
    assert reports.thirds([1, -3, 5, -5, 7, -9], halving=False) == (2, 9)
    positive = alpha_values([0.1] * 6, [0.1] * 6)
    results = measured({"all blocks": seeds, "stochastic depth": [positive]}, "alphas")
    assert of_weights(results, "all blocks")[:2] == ["held", "held"]
    # Blocks survive with 11/12, 10/12 ... 6/12, which evaluation multiplies them by.
    expected = ["a tie", "did not hold", "held", "held"]
    assert of_weights(results, "stochastic depth") == expected
    shares = reports.share_frame(results)
    shares = shares[shares.condition == "stochastic depth"].share
    assert shares.tolist() == pytest.approx([1.2 / (12 - i) for i in range(1, 7)])


def of_weights(results: Results, label: str) -> list[str]:
    """Verdicts on |alpha|, its symmetry, F(x) and alpha F(x)."""
    found = verdicts(results).items()
    return [
        v for remark, v in found if remark.startswith(f"Weighted residuals, {label}:")
    ]


def lesion_values(lost: float, gate: bool = False) -> dict[str, Any]:
    values = {
        "status": "finished",
        "accuracy": 0.6,
        "removed": [0.6 - lost, 0.6 - 3 * lost],
        "swapped": [0.6 - lost, None],
        "keeps_shape": [True, True],
        "side": [32, 32],
        "numbers": [2, 4],
        "last": [0.6 - lost, 0.6 - 2 * lost],
        "any": [0.6 - 2 * lost, 0.6 - 4 * lost],
        "exchanged": [0.595, 0.5],
    }
    return values | ({"gate": [0.2, 0.3]} if gate else {})


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k != name}


def lesion_results() -> Results:
    return measured(
        {
            "ResNet": [lesion_values(0.05)],
            "stochastic depth": [lesion_values(0.02)],
            "PyramidNet": [without(lesion_values(0.05), "exchanged")],
            "Highway": [lesion_values(0.011, gate=True)],
            "plain network": [lesion_values(0.2)],
        },
        "lesion_study",
    )


def test_a_block_that_halves_the_image_is_not_counted() -> None:
    values = lesion_values(0.05) | {"side": [32, 16], "removed": [0.5, 0.1]}
    halves = values | {"keeps_shape": [True, False]}  # else a pooling lies between
    runs = {"ResNet": [halves], "plain network": [values]}
    table = reports.remarks(measured(runs, "lesion_study")).set_index("remark")
    row = table.filter(like="Residual networks", axis=0).iloc[0]
    assert row.measured.startswith("ResNet: 20.00 %, against plain network: 60.00 %")


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ((0.2, 0.3, 0.4), "held"),
        ((0.2, 0.9, 1.6), "a tie"),
        ((1.2, 1.3, 1.4), "did not hold"),
        ((), "not run yet"),
    ],
)
def test_hardly_is_less_than_a_point(lost: Numbers, verdict: str) -> None:
    found = reports.hardly("r", "b", pd.Series(lost, dtype=float))
    assert found.verdict == verdict


def test_chance_of_a_verdict_is_that_of_comparisons() -> None:
    samples = np.random.RandomState(0).normal(size=(2000, 2, 3))
    found = [reports.compare(*map(pd.Series, pair)) != "a tie" for pair in samples]
    chance = reports.chance_of_a_verdict(3)
    assert chance == pytest.approx(np.mean(found), abs=0.03)
    assert 0.15 < chance < 0.25
    assert reports.chance_of_a_verdict(5) < chance


def test_lesions_are_compared() -> None:
    starts = (
        "Residual networks",
        "A layer of a Highway",
        "Stochastic depth makes a network suf",
        "Py",
    )
    assert only(lesion_results(), *starts) == ["held", "held", "held", "a tie"]
    table = reports.remarks(lesion_results()).set_index("remark")
    first = table.filter(like="PyramidNets suffer", axis=0).iloc[0]
    # Of 60 - 10 points above chance, on average (5 + 15) / 2 are lost.
    assert "PyramidNet: 20.00 %, against ResNet: 20.00 % (a tie)" in first.measured
    found = table.filter(like=": hardly changed", axis=0)
    three = ["did not hold", "did not hold", "held"]
    assert found.verdict.tolist() == [*three, *three]
    so_far = "; 5 of 15 records so far"
    lost = [f"lost: {points} points{so_far}" for points in ("1.10", "2.20")]
    assert found.measured.tolist()[:2] == lost
    said = [reports.ARTICLE, *2 * [reports.ASKED], *3 * [reports.ARTICLE]]
    assert found.by.tolist() == said
    found = table.filter(like=": loses more", axis=0)
    assert found.verdict.tolist() == ["held", "held"]
    groups = "without the last 8: 2.20 points; without the last two: 1.10 points"
    assert found.measured.iloc[0] == groups + so_far
    together = reports.together_frame(lesion_results())
    assert len(together) == 5 * 3 * 3 - 3
    ends = together[(together.network == "Highway") & (together.way == "any")]
    assert ends.number.tolist() == [0, 2, 4]
    assert ends.accuracy.tolist() == pytest.approx([60, 57.8, 55.6])
    frame = reports.lesion_frame(lesion_results())
    plain = frame[frame.network == "plain network"]
    assert plain.removed.tolist() == pytest.approx([20, 60])
    assert plain.swapped.isna().tolist() == [False, True]
    assert frame[frame.network == "Highway"].gate.tolist() == [0.2, 0.3]
    assert frame[frame.network == "ResNet"].gate.isna().all()


def column_values(forms: list[str], shift: float = 0.0) -> dict[str, Any]:
    own = [0.4 + 0.05 * i + shift for i in range(len(forms))]
    return {
        "status": "finished",
        "forms": forms,
        "running": [v - 0.2 for v in own],
        "renewed": own,
    }


def column_results() -> Results:
    forms = ["column 1", "column 2", "column 3", "joined"]
    whole = column_values(forms, -0.1)
    whole["renewed"][-1] = 0.9
    return measured(
        {
            "drop-path": [column_values(forms)],
            "no drop-path": [whole],
            "trained alone": [column_values(["column 3"], 0.1)],
        },
        "columns",
    )


def test_columns_are_compared() -> None:
    starts = [f"Columns: {s}" for s in ("alone", "the deepest", "all of", "after")]
    verdicts = ["held", "a tie", "did not hold", "held"]
    assert only(column_results(), *starts) == verdicts


def dense_values() -> dict[str, Any]:
    matrix = [[1.0, 2.0, 3.0, 9.0], [None, 4.0, 5.0, 9.0], [None, None, 6.0, 9.0]]
    blocks = [[*matrix, [None, None, None, 9.0]]]
    ones = [[[None if v is None else 1.0 for v in row] for row in blocks[0]]]
    return {"status": "finished", "blocks": blocks, "initial": ones, "needed": blocks}


def test_share_of_the_farthest_source() -> None:
    """Target 3 reads layer 1 with 5, and layer 2 with 6."""
    assert reports.far_share(dense_values()["blocks"]) == pytest.approx(500 / 6)
    results = measured({"DenseNet": [dense_values()]}, "dense")
    table = reports.remarks(results).set_index("remark")
    row = table.filter(like="Layers of a dense", axis=0).iloc[0]
    assert row.verdict == "measured"
    assert "before: 100.00 %; after training: 83.33 %" in row.measured
    needs = "farthest layer: 5.000 nats; the nearest: 6.000 nats"
    assert row.measured.endswith(f"{needs}; 1 of 3 records so far")
    assert "1 measured" not in reports.report_remarks(results)


def slope_values() -> dict[str, Any]:
    return {
        "status": "finished",
        "mean": [0.5, 0.1, 0.2, 0.1, 0.9],
        "spread": [0.1] * 5,
        "before_pooling": [True, False, True, False, True],
        "convolutional": [True, True, True, True, False],
    }


SLOPES = [
    f"Slopes of PReLU are larger {where}" for where in ("in the first", "before a")
]


def test_slopes_are_compared() -> None:
    results = measured({"PReLU-net": [slope_values()]}, "slopes")
    assert only(results, *SLOPES) == ["held", "held"]
    row = reports.remarks(results).set_index("remark").loc[SLOPES[1] + " pooling"]
    # The only stage with both is the second; linear layers and the first do not count.
    so_far = "; 1 of 3 records so far"
    means = "before pooling: 0.200; others of the same stages: 0.100"
    assert row.measured == means + so_far
    # Six of convolutions: two in each third, and a seventh of a linear layer.
    six = {
        "mean": [0.7, 0.1, 0.3, 0.3, 0.2, 0.4, 0.9],
        "spread": [0.1] * 7,
        "before_pooling": [False] * 7,
        "convolutional": [True] * 6 + [False],
    }
    results = measured({"PReLU-net": [slope_values() | six]}, "slopes")
    row = reports.remarks(results).set_index("remark").loc[SLOPES[0] + " layers"]
    assert row.measured == "first third: 0.400; last third: 0.300" + so_far
    assert row.verdict == "held"
    remark = SLOPES[0] + " layers, also without the very first"
    row = reports.remarks(results).set_index("remark").loc[remark]
    assert row.measured.startswith("first third without the first of all: 0.100; ")
    assert row.verdict == "did not hold"
    flat = slope_values() | {"mean": [0.1, 0.2, 0.1, 0.5, 0.0]}
    results = measured({"PReLU-net": [flat]}, "slopes")
    assert only(results, *SLOPES) == ["did not hold", "did not hold"]


def test_a_diverged_measurement_is_said() -> None:
    diverged = {"status": "diverged"}
    results = measured({"PReLU-net": [diverged]}, "slopes")
    assert only(results, *SLOPES) == ["not run yet", "not run yet"]
    results = measured({"PReLU-net": 3 * [diverged]}, "slopes")
    assert only(results, *SLOPES) == ["diverged", "diverged"]
    assert "1 diverged" in reports.report_remarks(results)  # a question of this book
    assert "2 diverged" in reports.report_remarks(results)
    two = measured({"PReLU-net": [slope_values(), diverged]}, "slopes")
    row = reports.remarks(two).set_index("remark").loc[SLOPES[0] + " layers"]
    note = "1 of the study diverged; 2 of 3 records so far"
    assert row.measured.endswith(note)


# --- Figures ------------------------------------------------------------------------

NETWORKS = list(phenomena.LESIONED)
EMPTY = Results({})


def drawings(results: Results) -> Iterator[Figure]:
    yield plots.slopes(reports.slope_frame(results))
    yield plots.lesions(reports.lesion_frame(results), NETWORKS)
    yield plots.lesions_together(reports.together_frame(results), NETWORKS)
    yield plots.residual_weights(
        reports.alpha_frame(results),
        reports.share_frame(results),
        list(phenomena.alphas()),
    )
    yield plots.column_accuracies(
        reports.column_frame(results), list(phenomena.columns())
    )
    yield plots.dense_weights(reports.dense_matrices(results))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_figures_without_records_say_so() -> None:
    for figure in drawings(EMPTY):
        assert "not run yet" in texts(figure)
        figure.canvas.draw()


def test_figures_show_the_records() -> None:
    parts = [
        measured({"PReLU-net": [slope_values()] * 3}, "slopes"),
        measured({"DenseNet": [dense_values()] * 3}, "dense"),
        measured(
            {
                label: [alpha_values([0.1, -0.2, 0.3], [0.1, 0.2, 0.3])]
                for label in phenomena.alphas()
            },
            "alphas",
        ),
        lesion_results(),
        column_results(),
    ]
    results = Results({k: r for part in parts for k, r in part.records.items()})
    figures = list(drawings(results))
    for figure in figures:
        assert "not run yet" not in texts(figure)
        figure.canvas.draw()
    slopes, lesions, together, weights, columns, dense = figures
    lines = [line.get_ydata() for line in slopes.axes[0].lines]
    assert list(lines[1]) == pytest.approx([0.5, 0.1, 0.2, 0.1, 0.9])  # after the dots
    assert sum(list(line.get_xdata()) == [1.5, 1.5] for line in slopes.axes[0].lines)
    assert list(lesions.axes[-1].lines[-1].get_ydata()) == [0.2, 0.3]
    bars = [bar.get_height() for bar in lesions.axes[-2].patches]
    assert bars == pytest.approx([20, 60])
    shown = [list(line.get_ydata()) for line in together.axes[2].lines]
    assert shown[-1] == pytest.approx([60, 59.5, 50])
    assert list(weights.axes[0].lines[1].get_ydata()) == [0.1, -0.2, 0.3]
    dots = [line.get_ydata() for line in columns.axes[2].lines]
    assert [float(d[0]) for d in dots] == pytest.approx([30, 50])
    ratio = dense.axes[0].images[0].get_array()
    assert isinstance(ratio, np.ma.MaskedArray)
    assert ratio[0, 1] == 2
    shown = dense.axes[1].images[0].get_array()
    assert isinstance(shown, np.ma.MaskedArray)
    assert shown[0, 3] == 9
    assert shown.mask[3, 0]


def test_some_missing_networks_are_named_in_their_row() -> None:
    one = measured({"ResNet": [lesion_values(0.1)]}, "lesion_study")
    figure = plots.lesions(reports.lesion_frame(one), NETWORKS)
    said = [[t.get_text() for t in axis.texts] for axis in figure.axes]
    assert said == [[], *[["not run yet"]] * 5]
    assert isinstance(reports.lesion_frame(one), pd.DataFrame)
