"""What holds for every registered network, tested on small instances of all of them."""

import copy
import functools
import io
import math
import shutil
from typing import Any

import pytest
import torch
from small_models import (
    BASE,
    INSTANCES,
    create,
    image_side,
    normalise,
    norms,
    refusal,
    small_arguments,
    smallest_image,
)
from torch import Tensor, nn
from torch.nn import functional

from papernets import models
from papernets.data import load
from papernets.models import registry

each = pytest.mark.parametrize("key", INSTANCES)

# Networks whose training passes are random: dropout, or parts dropped at random.
STOCHASTIC = {
    *("fractalnet20", "googlenet", "googlenet_bn", "inception_v3", "inception_v4"),
    *("nin", "nin_bn", "prelu_net_a", "pyramid_sepdrop182_a150", "ror3_wrn40_2"),
    *("squeezenet_bn", "stochastic_depth110", "swapout_v2_32_w4", "vgg_a"),
    *("wresnet_d118", "xception"),
}
# Networks without batch normalisation, as the papers have them.
UNNORMALISED = {
    *("googlenet", "highway_fitnet19", "mlp10", "nin", "polynet", "prelu_net_a"),
    "vgg_a",
}
# Where weights do not start with the variance 2 / fan_in of He et al.: the root of
# fan_in times the variance.
PYTORCH = 1 / math.sqrt(3)  # default of PyTorch's layers
GAINS = {
    "fractalnet20": 1.0,  # Xavier, as Caffe has it
    "mlp10": PYTORCH,
    "poly_resnet20": PYTORCH,  # as the article's network
    "polynet": PYTORCH,
    "prelu_net_a": math.sqrt(2 / (1 + 0.25**2)),  # He et al. for slopes of 0.25
}


def images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def seeded(key: str, seed: int = 0, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    return create(key, **arguments)


def trained(key: str) -> nn.Module:
    """In evaluation mode, with statistics and weights unlike the initial ones."""
    model = seeded(key).train()
    with torch.no_grad():
        model(images(8, 3, 32, 32, seed=1))
        for p in model.parameters():
            p.add_(0.1 * torch.rand_like(p) - 0.05)
    return model.eval()


def test_every_registered_network_has_a_small_instance() -> None:
    built = [
        (registry.lookup(name).build, {**registry.lookup(name).arguments, **arguments})
        for name, arguments in INSTANCES.values()
    ]
    for name in models.list_models():
        entry = registry.lookup(name)
        arguments = {**entry.arguments, **small_arguments(name)}
        assert (entry.build, arguments) in built


# Forward and backward


@each
def test_every_parameter_learns(key: str) -> None:
    """Each gets a gradient in the first steps of one of a few draws of the weights.

    Not always in the first: a part may be dropped, and a ReLU of one channel be dead.
    """
    waiting = {name for name, _ in create(key).named_parameters()}
    for draw in range(10):
        model = seeded(key, draw).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(4):
            logits = model(images(4, 3, 32, 32, seed=step))
            assert logits.shape == (4, 10)
            assert logits.isfinite().all()
            optimizer.zero_grad()
            functional.cross_entropy(logits, torch.arange(4)).backward()
            for name, p in model.named_parameters():
                if p.grad is not None:
                    assert p.grad.isfinite().all(), name
                    waiting -= {name} if p.grad.any() else set()
            if not waiting:
                return
            optimizer.step()
    assert not waiting


@each
def test_training_is_random_where_the_paper_says_so(key: str) -> None:
    """Without batch statistics, training passes of the others all equal evaluation."""
    model, x = trained(key), images(2, 3, 32, 32)
    expected = model(x)
    model.train()
    for norm in norms(model):
        norm.eval()
    equal = [torch.equal(model(x), expected) for _ in range(20)]
    assert all(equal) if INSTANCES[key][0] not in STOCHASTIC else not all(equal)


@each
def test_batch_statistics_are_used_in_training_and_only_there(key: str) -> None:
    model, x = trained(key), images(4, 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    evaluated = model(x)
    assert torch.equal(model(x), evaluated)  # nothing is random, nothing moves
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    normalised = normalise(model)(x)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    if INSTANCES[key][0] in UNNORMALISED and "survey" not in key:
        assert torch.equal(normalised, evaluated)
        assert not moved
    else:
        assert not torch.allclose(normalised, evaluated)
        assert moved == {k for k in before if k.endswith(("_mean", "_var", "_tracked"))}


@each
@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 2), (4, 100)])
def test_an_image_is_classified_alike_alone_and_in_a_batch(
    key: str, in_channels: int, num_classes: int
) -> None:
    model = seeded(key, in_channels=in_channels, num_classes=num_classes)
    x = images(3, in_channels, 32, 32)
    with torch.no_grad():
        model.train()(x)
        model.double().eval()  # for tight tolerances
        logits = model(x.double())
        assert logits.shape == (3, num_classes)
        assert logits.isfinite().all()
        for i in range(3):
            torch.testing.assert_close(model(x[i : i + 1].double())[0], logits[i])


# State


@each
def test_state_dict_round_trip(key: str) -> None:
    model, x = trained(key), images(2, 3, 32, 32)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = seeded(key, seed=1).eval()
    assert not torch.equal(fresh(x), model(x))
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(fresh(x), model(x))


@each
def test_initialisation_follows_the_seed(key: str) -> None:
    one, same, other = (seeded(key, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


@each
def test_weights_start_with_the_variance_of_the_paper(key: str) -> None:
    """Every convolution and linear layer, within 5 standard deviations."""
    gain = GAINS.get(INSTANCES[key][0], math.sqrt(2))
    for name, module in seeded(key).named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            found = weight.square().mean() * weight[0].numel() / gain**2
            # The mean square of n normal values has the standard deviation sqrt(2 / n).
            assert abs(found - 1) < 5 * math.sqrt(2 / weight.numel()), name


# PyTorch's ways to run a network


@each
def test_bfloat16_is_near(key: str) -> None:
    """bfloat16 rounds to 2^-9 = 0.2 %, and errors of up to 60 layers add like roots."""
    model, x = seeded(key), images(8, 3, 32, 32)
    with torch.no_grad():
        model.train()(x)
        expected = model.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(x).float()
    error = (found - expected).square().mean().sqrt()
    assert 0 < error < 0.03 * expected.square().mean().sqrt()


@pytest.mark.parametrize(
    "key",
    [
        *("densenet_bc100_k12", "fractalnet20", "inception_v3", "nas_appendix_a"),
        *("rir18_wide", "ror3_wrn40_2", "swapout_v2_32_w4", "wresnet_d118"),
    ],
)
def test_export(key: str) -> None:
    model, x = trained(key), images(2, 3, 32, 32)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize(
    "key",
    [
        *("fractalnet20", "highway_fitnet19", "nas_appendix_a"),
        *("rir18_wide", "swapout_v2_32_w4", "wresnet_d118"),
    ],
)
def test_compiler_sees_the_whole_network(key: str) -> None:
    """As one graph, without a break; compiling it would take half a minute each."""
    model, x = trained(key), images(2, 3, 32, 32)
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(found, model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_compiled_network_gives_the_same() -> None:
    torch.manual_seed(0)
    model, x = create("resnet110", depth=8).eval(), images(2, 3, 32, 32)
    with torch.no_grad():
        found = torch.compile(model)(x)
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", models.list_models())
def test_full_size(name: str) -> None:
    with torch.device("meta"):
        model = models.create(name, in_channels=4, num_classes=100, image_size=32)
        assert model.eval()(torch.empty(2, 4, 32, 32)).shape == (2, 100)


# Bad input


@each
def test_images_too_small_are_refused_with_the_smallest_size(key: str) -> None:
    smallest = smallest_image(key)
    for size in range(1, smallest):
        message = refusal(key, size)
        assert "too small" in message
        if INSTANCES[key][0] == "polynet":  # of which it depends on the blocks
            assert "use fewer blocks" in message
        else:
            assert f"{smallest}x{smallest}" in message
    for size in range(smallest, smallest + 6):
        assert not refusal(key, size)


SCALED = [name for name in models.list_models() if registry.lookup(name).scale]


def test_all_networks_of_the_survey_come_in_sizes() -> None:
    cards = {name: registry.lookup(name).card for name in models.list_models()}
    assert {name for name, card in cards.items() if card and card.row} <= set(SCALED)


@pytest.mark.parametrize(
    "name",
    # Shapes of a thousand layers take seconds; preact_resnet164 stands for its family.
    [name for name in SCALED if name != "preact_resnet1001"],
)
def test_budgets_are_met_or_refused(name: str) -> None:
    found = models.fit_budget(name, 20e6)
    assert found["macs"] == pytest.approx(20e6, rel=0.05)
    with pytest.raises(ValueError, match=rf"^no size of {name} has .*nearest has \d+"):
        models.create(name, budget_macs=1)


@pytest.mark.parametrize("name", sorted(set(models.list_models()) - set(SCALED)))
def test_networks_of_one_size_refuse_budgets(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} comes in one size"):
        models.create(name, budget_macs=20e6)


@pytest.mark.parametrize("name", models.list_models())
def test_mistyped_names_lead_to_the_nearest(name: str) -> None:
    for typed in (name[1:], name + "_", name.replace("_", "-", 1) + "s"):
        with pytest.raises(ValueError, match=rf"'{typed}'; did you mean '{name}'\?$"):
            models.create(typed)


# Learning


@functools.cache
def digits(side: int) -> tuple[Tensor, Tensor]:
    """32 handwritten digits of 8x8 pixels, enlarged to `side`, and their labels.

    Real images that come with scikit-learn, so that this runs without a download.
    """
    data = load("digits")
    pixels = (data.train.images[:32] / 255 - data.mean[0]) / data.std[0]
    times = side // 8
    return (
        pixels.repeat_interleave(times, 2).repeat_interleave(times, 3),
        data.train.labels[:32],
    )


# FractalNet without its regularisers, as the paper also trains it: with drop-path the
# running statistics mix passes of one column with passes of several, and fit neither.
PLAIN = {"fractalnet20": {"drop_path": 0.0, "global_share": 0.0, "dropout": 0.0}}
# The logits of NIN are rectified: after a step too long a class stays at 0 for good.
LEARNING_RATES = {"nin": 5e-4}


def learn(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor
) -> None:
    """Ten steps."""
    for _ in range(10):
        loss = functional.cross_entropy(model.train()(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("key", BASE)
def test_32_images_are_learnt(key: str) -> None:
    """All of them right in evaluation mode, after random passes in training too."""
    x, labels = digits(image_side(key))
    model = seeded(key, in_channels=1, image_size=x.shape[-1], **PLAIN.get(key, {}))
    rate = LEARNING_RATES.get(key, 2e-3)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(60):  # most need 2 to 10, the random ones up to 30
        learn(model, optimizer, x, labels)
        if accuracy(model.eval(), x, labels) == 1:
            return
    assert accuracy(model, x, labels) == 1


def test_drop_path_trains_every_column_and_their_mean() -> None:
    """By statistics of each form; 32 images, as above."""
    x, labels = digits(16)
    model = seeded("fractalnet20", in_channels=1, width=6, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(40):
        learn(model, optimizer, x, labels)
        forms = [normalise(model), *(model.column(i) for i in range(3))]
        if all(accuracy(form, x, labels) == 1 for form in forms):
            return
    assert [accuracy(form, x, labels) for form in forms] == [1, 1, 1, 1]
