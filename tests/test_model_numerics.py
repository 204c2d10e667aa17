"""Small instances of all networks still compute what they computed; see the helper."""

from collections.abc import Callable

import pytest
from model_numerics import TOLERANCE, distance, measure, prepare, stored
from small_models import BASE, INSTANCES
from torch import nn

from papernets.blocks import StochasticBranch, ZeroPadShortcut
from papernets.models.pyramid_sepdrop import SeparatedDrop
from papernets.models.swapout import Swapout

STORED = stored()


def test_numbers_are_stored_for_every_network_and_no_other() -> None:
    assert STORED.keys() == INSTANCES.keys(), "run tests/model_numerics.py"


@pytest.mark.parametrize("key", INSTANCES)
def test_the_network_computes_what_it_did(key: str) -> None:
    found = measure(prepare(key))
    assert distance(found, STORED[key]) < TOLERANCE, found


# The check would notice


def replace_last(model: nn.Module, kind: type, by: Callable[..., nn.Module]) -> bool:
    """Replace the last module of a kind by `by(module)`; False if there is none."""
    names = [name for name, m in model.named_modules() if isinstance(m, kind)]
    if names:
        model.set_submodule(names[-1], by(model.get_submodule(names[-1])))
    return bool(names)


def without_relu(model: nn.Module) -> bool:
    return replace_last(model, nn.ReLU, lambda _: nn.Identity())


def average_for_maximum(model: nn.Module) -> bool:
    def average(m: nn.MaxPool2d) -> nn.Module:
        return nn.AvgPool2d(m.kernel_size, m.stride, m.padding, m.ceil_mode)

    return replace_last(model, nn.MaxPool2d, average)


def maximum_for_average(model: nn.Module) -> bool:
    def maximum(m: nn.AvgPool2d) -> nn.Module:
        return nn.MaxPool2d(m.kernel_size, m.stride, m.padding, ceil_mode=m.ceil_mode)

    return replace_last(model, nn.AvgPool2d, maximum)


def setting(kind: type, name: str, change: Callable) -> Callable[[nn.Module], bool]:
    """Change an attribute of the last module of a kind."""

    def changed(module: nn.Module) -> nn.Module:
        setattr(module, name, change(getattr(module, name)))
        return module

    return lambda model: replace_last(model, kind, changed)


def other_subsampling(model: nn.Module) -> bool:
    """The first shortcut that halves the image averages instead of skipping pixels."""
    for shortcut in model.modules():
        if isinstance(shortcut, ZeroPadShortcut) and shortcut.stride > 1:
            shortcut.average = not shortcut.average
            return True
    return False


def reflected_border(model: nn.Module) -> bool:
    """The first padded convolution sees a mirror image in place of zeros."""
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and any(conv.padding):
            conv.padding_mode = "reflect"
            return True
    return False


MUTATIONS: dict[str, Callable[[nn.Module], bool]] = {
    "a ReLU less": without_relu,
    "average for maximum": average_for_maximum,
    "maximum for average": maximum_for_average,
    "zeros at the border": reflected_border,
    "momentum of BN": setting(nn.BatchNorm2d, "momentum", lambda m: 0.5 * m),
    "eps of BN": setting(nn.BatchNorm2d, "eps", lambda _: 1e-3),
    "subsampling of shortcuts": other_subsampling,
    "survival": setting(StochasticBranch, "survival", lambda p: 0.99 * p),
    "separate survival": setting(SeparatedDrop, "survival", lambda p: 0.99 * p),
    "swapout": setting(Swapout, "keep", lambda p: 0.99 * p),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_notices(mutation: str) -> None:
    """One changed module of any network that has it changes the stored numbers."""
    mutated = 0
    for key in BASE:
        model = prepare(key)
        if MUTATIONS[mutation](model):
            mutated += 1
            assert distance(measure(model), STORED[key]) > 10 * TOLERANCE, key
    assert mutated
