"""Counts, multiply-adds and receptive fields, each found a second way."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from papernets import models
from papernets.blocks import he_initialise
from papernets.complexity import Layer, Profile, count, profile
from papernets.data import import_torchvision
from papernets.models import registry


def on_meta(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return models.create(name, **arguments)  # type: ignore[arg-type]


def convolutions(found: Profile) -> list[Layer]:
    return [layer for layer in found.layers if layer.kind == "conv2d"]


# Counts and multiply-adds


def test_resnet110_as_in_the_specification() -> None:
    model = on_meta("resnet110")
    found = profile(model)
    assert (found.parameters, found.weights) == (1_727_962, 1_719_856)
    assert (count(model), count(model, "weights")) == (1_727_962, 1_719_856)
    assert found.macs == pytest.approx(252.9e6, rel=1e-3)
    assert found.activations == pytest.approx(1.05e6, rel=5e-3)
    assert found.output_shape == (10,)


@pytest.mark.parametrize(("n", "w"), [(1, 16), (3, 16), (3, 5), (9, 20)])
def test_resnet_closed_form(n: int, w: int) -> None:
    found = profile(on_meta("resnet20", depth=6 * n + 2, width=w))
    # Weights of the stem and of each stage's first convolution, then of the others.
    stages = [
        (27 * w + 2 * n * 9 * w**2, 32),
        (18 * w**2 + (2 * n - 1) * 36 * w**2, 16),
        (72 * w**2 + (2 * n - 1) * 144 * w**2, 8),
    ]
    weights = sum(stage for stage, _ in stages) + 40 * w
    norm = 2 * (w * (2 * n + 1) + 2 * w * 2 * n + 4 * w * 2 * n)
    assert found.weights == weights
    assert found.parameters == weights + norm + 10
    assert found.macs == sum(stage * size**2 for stage, size in stages) + 40 * w
    assert found.activations == w * 1024 * (2 * n + 1) + w * 1024 * n + w * 512 * n + 10
    last = convolutions(found)[-1]
    assert last.receptive_field == (28 * n - 3,) * 2
    assert found.receptive_field == (28 * n - 3 + 7 * 4,) * 2  # 8 positions, 4 apart


# Closed forms for 3x32x32 images and 10 classes: weights, and channels of all batch
# normalisations. n blocks a stage; stages 2 and 3 are twice and four times as wide.


def preact_bottleneck(n: int, w: int) -> tuple[int, int]:
    """Inner width w; the first units of the stages have 18, 23 * 4, 23 * 16 w^2."""
    return 187 * w + (357 * n + 121) * w**2, 42 * n * w + w


def preact_basic(n: int, w: int) -> tuple[int, int]:
    """18 c^2 a unit of c channels, 14 c^2 with a projection from half as many."""
    return 67 * w + (378 * n - 80) * w**2, 14 * n * w + w


def wide_resnet(n: int, k: int) -> tuple[int, int]:
    """As before with c = 16 k, but the first unit widens 16 channels to c."""
    c = 16 * k
    first = (144 + (16 if k > 1 else 0)) * c - 9 * c**2
    return 432 + first + 40 * c + (378 * n - 80) * c**2, 14 * n * c + 16


def densenet(n: int, k: int) -> tuple[int, int]:
    """Three blocks are one of 3 n layers, and two transitions of c x c weights."""
    read = 3 * n * 16 + k * 3 * n * (3 * n - 1) // 2  # channels that the layers read
    c1, c2, c3 = (16 + i * n * k for i in (1, 2, 3))
    return 432 + 9 * k * read + c1**2 + c2**2 + 10 * c3, read + c1 + c2 + c3


def densenet_bc(n: int, k: int) -> tuple[int, int]:
    """Bottlenecks of 4 k channels; transitions keep half of them."""
    weights, norms, c = 27 * 2 * k, 0, 2 * k
    for _ in range(3):
        read = n * c + k * n * (n - 1) // 2
        c += n * k
        weights += 4 * k * read + 36 * n * k**2 + c * (c // 2)
        norms += read + 4 * n * k + c
        end, c = c, c // 2
    return weights - end * (end // 2) + 10 * end, norms  # the last has no transition


def pyramidnet(n: int, step: int, w: int) -> tuple[int, int]:
    """Width w + step i after block i: sums of whole numbers and of their squares."""
    m = 3 * n
    total = m * w + step * m * (m + 1) // 2
    squares = (
        m * w**2 + w * step * m * (m + 1) + step**2 * m * (m + 1) * (2 * m + 1) // 6
    )
    last = w + m * step
    weights = 27 * w + 9 * (2 * squares - step * total) + 10 * last
    return weights, w + 3 * total - m * step + last


def resnext(n: int, c: int, d: int, w: int) -> tuple[int, int]:
    """Cardinality c, group width d: an inner width of c d, an outer one of w."""
    inner = c * d
    weights = (168 * n - 43) * inner * w + 41 * w**2 + 187 * w
    return weights // 4 + 189 * n * inner * d, w // 4 + 7 * n * (2 * inner + w) + 7 * w


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("preact_resnet164", {}, preact_bottleneck(18, 16)),
        ("preact_resnet164", {"depth": 20, "width": 5}, preact_bottleneck(2, 5)),
        ("preact_resnet110", {}, preact_basic(18, 16)),
        ("preact_resnet110", {"depth": 8, "width": 6}, preact_basic(1, 6)),
        ("wrn28_10", {}, wide_resnet(4, 10)),
        ("wrn40_1", {}, wide_resnet(6, 1)),
        ("wrn16_4", {"depth": 10, "widen": 3}, wide_resnet(1, 3)),
        ("densenet100_k24", {}, densenet(32, 24)),
        ("densenet40_k12", {"depth": 13, "growth": 5}, densenet(3, 5)),
        ("densenet_bc100_k12", {}, densenet_bc(16, 12)),
        ("densenet_bc100_k12", {"depth": 22, "growth": 7}, densenet_bc(3, 7)),
        ("pyramidnet110_a270", {}, pyramidnet(18, 5, 16)),
        (
            "pyramidnet110_a84",
            {"depth": 14, "alpha": 18, "width": 4},
            pyramidnet(2, 3, 4),
        ),
        ("resnext29_16x64d", {}, resnext(3, 16, 64, 256)),
        (
            "resnext29_2x64d",
            {"depth": 20, "cardinality": 3, "group_width": 5, "width": 28},
            resnext(2, 3, 5, 28),
        ),
    ],
)
def test_closed_forms(
    name: str, arguments: dict[str, int], expected: tuple[int, int]
) -> None:
    model = on_meta(name, **arguments)
    weights, norms = expected
    assert count(model, "weights") == weights
    assert count(model) == weights + 2 * norms + 10


@pytest.mark.parametrize("shape", [(784,), (1, 28, 28)])
def test_mlp_closed_form(shape: tuple[int, ...]) -> None:
    sizes = [784, 300, 100, 10]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    found = profile(nn.Sequential(nn.Flatten(), *layers), shape)
    weights = 784 * 300 + 300 * 100 + 100 * 10
    assert (found.macs, found.weights) == (weights, weights)
    assert found.parameters == weights + 410
    assert found.activations == 410
    assert found.receptive_field == (None if len(shape) == 1 else (28, 28))
    assert [layer.name for layer in found.layers] == ["1", "2", "3"]


def test_polynet_by_hand() -> None:
    found = profile(on_meta("polynet", in_channels=3, width=4, blocks=2))
    # 2 branches of 3x3x3 weights on 32x32 pixels, of 4x4x4 on 16x16; linear 2048 -> 10.
    macs = 2 * 4 * 27 * 32**2 + 2 * 8 * 64 * 16**2 + 2048 * 10
    assert found.macs == macs
    assert [layer.kind for layer in found.layers] == ["conv2d"] * 4 + ["linear"]
    assert [layer.receptive_field for layer in found.layers] == [
        *[(3, 3)] * 2,
        *[(6, 6)] * 2,
        (36, 36),  # 16 positions, 2 apart
    ]


@pytest.mark.parametrize(
    "name",
    # A thousand layers take seconds; the family's shorter network stands for them.
    [
        n
        for n in models.list_models()
        if n not in ("wresnet_d1192", "preact_resnet1001")
    ],
)
def test_every_model_agrees_with_the_flop_counter(name: str) -> None:
    model = on_meta(name)
    found = profile(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty(1, 3, 32, 32, device="meta"))
    assert 2 * found.macs == counter.get_total_flops()
    assert sum(layer.weights for layer in found.layers) == count(model, "weights")
    assert sum(layer.parameters for layer in found.layers) <= count(model)
    assert found.output_shape == (10,)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        # Before the pooling to one position, 1 + the sum of (kernel - 1) * jump:
        ("resnet18", 1 + 6 + 4 + 4 * 8 + (8 + 48) + (16 + 96) + (32 + 192)),
        ("vgg16", 1 + (5 + 10 + 28 + 56 + 112)),
        ("mobilenet_v2", None),
        ("resnext50_32x4d", None),
        ("densenet121", None),
    ],
)
def test_torchvision_publishes_the_same_figures(name: str, field: int | None) -> None:
    library = import_torchvision().models
    with torch.device("meta"):
        model = library.get_model(name, weights=None)
    published = library.get_model_weights(name).IMAGENET1K_V1.meta
    found = profile(model, (3, 224, 224))
    assert found.parameters == published["num_params"]
    assert found.macs / 1e9 == pytest.approx(published["_ops"], rel=0.01)
    if field is not None:
        before = [x for x in found.layers if x.output_shape[1:] == (7, 7)][-1]
        assert before.receptive_field == (field, field)


# Receptive fields


class Branches(nn.Module):
    """Layers of every kind that changes the window, joined in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 2, 1)
        self.wide = nn.Conv2d(4, 4, (1, 7), padding=(0, 3))
        self.high = nn.Conv2d(4, 4, (5, 1), padding="same")
        self.sparse = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(8, 8, 3, 2, padding=1, groups=4)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 2, 2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.high(self.wide(x)), self.sparse(x)], 1)
        x = self.grouped(x) + x[:, :, 1::2, ::2] + self.pool(x)
        x = torch.stack([x, functional.pad(x[..., 2:, :], (0, 0, 2, 0))]).mean(0)
        first, second = x.chunk(2, 1)
        out = torch.zeros_like(x)
        out[:, 4:] = first * second
        out[:, :4] += functional.avg_pool2d(first, 3, stride=1, padding=1)
        return self.last(out)


def positive(model: nn.Module) -> nn.Module:
    """Without negative weights, so that no influence cancels or dies in a ReLU."""
    for p in model.parameters():
        p.data = p.data.abs() + 0.1
    return model.double().eval()


def run_to(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """Output of the named layer."""
    outputs: list[Tensor] = []
    layer = model.get_submodule(name)
    handle = layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    model(images)
    handle.remove()
    return outputs[0]


def gradient_field(model: nn.Module, name: str, size: int) -> tuple[int, int]:
    """Rows and columns of pixels whose gradient of the centre output is not 0."""
    image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    output = run_to(model, name, image)
    _, _, height, width = output.shape
    centre = output[:, :, height // 2, width // 2].sum()
    (gradient,) = torch.autograd.grad(centre, image)
    touched = gradient[0].abs().sum(0) > 0
    return extent(touched.any(1)), extent(touched.any(0))


def extent(touched: Tensor) -> int:
    found = touched.nonzero().flatten()
    assert 0 < found[0] < found[-1] < len(touched) - 1, "the image is too small"
    return int(found[-1] - found[0] + 1)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet8": (lambda: models.create("resnet20", depth=8, width=2), 65),
    "resnet14": (lambda: models.create("resnet20", depth=14, width=1), 128),
    "polynet": (
        lambda: models.create("polynet", in_channels=3, width=2, image_size=96),
        96,
    ),
    "poly_resnet": (lambda: models.create("poly_resnet20", blocks=1, width=2), 66),
    "branches": (Branches, 64),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_receptive_fields_by_gradient(network: str) -> None:
    build, size = NETWORKS[network]
    model = positive(build())
    layers = convolutions(profile(model, (3, size, size)))
    assert len(layers) >= 6
    for layer in layers:
        assert layer.receptive_field == gradient_field(model, layer.name, size)


def test_receptive_field_through_maxima() -> None:
    """A pixel that is not a number spoils every maximum and every sum it enters."""
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(2, 2, (3, 1)),
        nn.MaxPool2d((2, 3), stride=1, padding=(1, 1), dilation=(2, 1)),
        nn.Conv2d(2, 2, 1),
    ).double()
    size = 40
    images = torch.ones(size, 3, size, size, dtype=torch.float64)
    rows, columns = images.clone(), images.clone()
    for i in range(size):
        rows[i, :, i] = columns[i, :, :, i] = torch.nan
    with torch.no_grad():
        spoilt = [model(x)[:, 0].isnan() for x in (rows, columns)]
    _, height, width = spoilt[0].shape
    measured = tuple(extent(x[:, height // 2, width // 2]) for x in spoilt)
    found = profile(model, (3, size, size))
    assert found.receptive_field == measured == (13, 9)
    assert [layer.kernel for layer in found.layers][1::2] == [(3, 3), (2, 3)]


def test_gates_and_broadcasts() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.body = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x * self.gate(functional.adaptive_avg_pool2d(x, 1)))

    found = profile(Gated(), (3, 16, 16))
    gate, body = convolutions(found)
    assert gate.receptive_field == (16, 16)
    assert body.receptive_field == (18, 18)  # 16 for any position, and its neighbours
    assert found.layers[0].kind == "adaptive_avg_pool2d"
    assert found.layers[0].kernel == (16, 16)


# The interface


def test_table_and_counting_conventions() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 15 * 15, 10),
    )
    found = profile(model)
    table = found.table()
    assert list(table["kind"]) == ["conv2d", "max_pool2d", "linear"]
    assert list(table["name"]) == ["0", "3", "5"]
    assert list(table["output_shape"]) == [(8, 30, 30), (8, 15, 15), (10,)]
    assert list(table["weights"]) == [216, 0, 18000]
    assert list(table["parameters"]) == [216, 0, 18010]
    assert list(table["macs"]) == [216 * 900, 0, 18000]
    assert list(table["activations"]) == [7200, 0, 10]
    assert table["macs"].sum() == found.macs
    assert count(model, "weights") == 216 + 18000
    assert count(model) == 216 + 18010 + 16 + 8
    with pytest.raises(ValueError, match="neither all nor weights"):
        count(model, "bias")


def test_a_shared_layer_costs_twice_and_counts_once() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    found = profile(nn.Sequential(layer, nn.ReLU(), layer), (3, 8, 8))
    assert [x.parameters for x in found.layers] == [84, 0]
    assert found.macs == 2 * 81 * 64
    assert (found.parameters, found.weights) == (84, 81)


def test_the_model_is_left_as_it_is() -> None:
    model = models.create("resnet20", depth=8, width=2).double().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert profile(model) == profile(model.float())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key].to(value.dtype))


def test_what_is_not_understood_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="conv1d"):
        profile(nn.Conv1d(3, 4, 3), (3, 32))
    with pytest.raises(NotImplementedError, match="interpolate"):
        profile(nn.Upsample(scale_factor=2))
    with pytest.raises(RuntimeError, match="size"):
        profile(nn.Conv2d(3, 4, 5), (3, 4, 4))


# Sizes for a budget


@pytest.fixture
def family() -> Iterator[str]:
    """MACs of size k on an 8x8 image: 64 * (3 + 10) * round(k / 4)."""

    def build(in_channels: int, num_classes: int, *, width: float = 1) -> nn.Module:
        middle = nn.Conv2d(in_channels, round(width), 1)
        model = nn.Sequential(
            middle, nn.Conv2d(round(width), num_classes, 1), nn.Flatten()
        )
        he_initialise(model)
        return model

    registry.register("squares", build, scale=lambda k: {"width": k / 4})
    yield "squares"
    del registry.ENTRIES["squares"]


@pytest.mark.parametrize("budget", [64 * 13, 20_000, 20_500, 1e6])
def test_the_nearest_size_is_found(family: str, budget: float) -> None:
    found = models.fit_budget(family, budget, image_size=8, tolerance=0.5)
    costs = {k: 64 * 13 * round(k / 4) for k in range(3, 5000)}
    assert found["macs"] == min(costs.values(), key=lambda cost: abs(cost - budget))
    assert costs[found["k"]] == found["macs"]
    assert found["arguments"] == {"width": found["k"] / 4}


@pytest.mark.parametrize("budget", [20e6, 200e6])
def test_a_family_meets_its_budget(budget: float) -> None:
    found = models.fit_budget("resnet20", budget)
    assert found["macs"] == pytest.approx(budget, rel=0.05)
    scale = registry.lookup("resnet20").scale
    assert scale is not None
    for k in (found["k"] - 1, found["k"] + 1):
        other = profile(on_meta("resnet20", **scale(k))).macs
        assert abs(other - budget) >= abs(found["macs"] - budget)
    torch.manual_seed(0)
    model = models.create("resnet20", budget_macs=budget)
    assert profile(model).macs == found["macs"]
    torch.manual_seed(0)
    twin = models.create("resnet20", **found["arguments"])
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


def test_the_budget_is_for_the_given_images_and_arguments() -> None:
    given = {"num_classes": 100, "in_channels": 1, "image_size": 28, "depth": 14}
    found = models.fit_budget("resnet20", 10e6, **given)
    assert found["arguments"].keys() == {"depth", "width"}
    model = models.create("resnet20", budget_macs=10e6, **given)
    macs = profile(model, (1, 28, 28)).macs
    assert macs == found["macs"] == pytest.approx(10e6, rel=0.05)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 100)


def test_impossible_budgets(family: str) -> None:
    with pytest.raises(ValueError, match="comes in one size"):
        models.create("polynet", budget_macs=20e6)
    with pytest.raises(ValueError, match=r"within 5%; the nearest has 832: .*width"):
        models.create(family, budget_macs=1100, image_size=8)
    with pytest.raises(ValueError, match="must be positive"):
        models.create(family, budget_macs=0)
    for tolerance in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"tolerance is {tolerance}; it must be "):
            models.fit_budget(family, 1100, tolerance=tolerance)
    with pytest.raises(ValueError, match="image_size is 0; it must be a whole numb"):
        models.fit_budget(family, 1100, image_size=0)
    with pytest.raises(ValueError, match="width follows from budget_macs"):
        models.create(family, budget_macs=1e6, width=3)
    with pytest.raises(ValueError, match="no argument 'depth'"):
        models.create(family, budget_macs=1e6, depth=3)
    with pytest.raises(ValueError, match="did you mean 'resnet20'"):
        models.create("resnet_20", budget_macs=1e6)


def test_images_too_small_for_a_network() -> None:
    def build(in_channels: int, num_classes: int, *, width: int = 1) -> nn.Module:
        return nn.Conv2d(in_channels, width, 9)

    registry.register("large_kernel", build, scale=lambda k: {"width": k})
    try:
        with pytest.raises(ValueError, match="large_kernel fails on 4x4 images"):
            models.create("large_kernel", budget_macs=1e6, image_size=4)
    finally:
        del registry.ENTRIES["large_kernel"]


def test_importing_the_models_is_light() -> None:
    """Nothing heavy beside torch: this keeps the import under 0.3 s."""
    code = (
        "import sys, torch; before = set(sys.modules); import papernets.models\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new & {'pandas', 'torchvision', 'sklearn', 'matplotlib'}),"
        " 'papernets.complexity' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["[]", "False"]
