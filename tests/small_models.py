"""A small instance of every registered network, for the tests of all of them.

A network that is registered gets one without being named here: the size K of its family
and the smallest depth at which a stage repeats its block. Members of a family that
differ in depth or width alone have the same small instance, which is tested once.
"""

import functools
import inspect
from typing import Any

import torch
from torch import nn

from papernets import models
from papernets.models import registry

K = 64  # about 5 channels in the first stage; a step takes some 10 ms
REPEATS = 2
UNSCALED: dict[str, dict[str, Any]] = {
    "poly_resnet20": {"width": 4, "blocks": REPEATS},
    "polynet": {"width": 4, "blocks": REPEATS},
}


def takes(name: str) -> set[str]:
    """Arguments of a network's constructor."""
    return set(inspect.signature(registry.lookup(name).build).parameters)


def small_arguments(name: str) -> dict[str, Any]:
    """What makes `models.create(name, ...)` build the small instance."""
    scale = registry.lookup(name).scale
    arguments = dict(scale(K)) if scale else dict(UNSCALED.get(name, {}))
    if "depth" in takes(name):
        arguments["depth"] = shallow(name, arguments)
    return arguments


def shallow(name: str, arguments: dict[str, Any]) -> int:
    """The depth with `REPEATS` blocks in a stage: the REPEATS-th that is allowed."""
    allowed = 0
    for depth in range(1, 61):
        try:
            with torch.device("meta"):
                models.create(name, **{**arguments, "depth": depth})
        except ValueError:
            continue
        allowed += 1
        if allowed == REPEATS:
            return depth
    raise AssertionError(f"{name} has fewer than {REPEATS} depths")


def instances() -> dict[str, tuple[str, dict[str, Any]]]:
    """Small instances that differ: identifier -> name and arguments.

    The identifier is the name, with "-survey" for the variant of the survey's author.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    seen: list[Any] = []
    for name in models.list_models():
        entry, arguments = registry.lookup(name), small_arguments(name)
        variants = ["paper", "survey"] if "variant" in takes(name) else [None]
        for variant in variants:
            own = arguments if variant in (None, "paper") else {"variant": variant}
            built = {**entry.arguments, **arguments, **own}
            if (entry.build, built) not in seen:
                seen.append((entry.build, built))
                suffix = "-survey" if variant == "survey" else ""
                found[name + suffix] = name, {**arguments, **own}
    return found


INSTANCES = instances()
BASE = [key for key in INSTANCES if "-" not in key]  # one variant of each


def create(key: str, *, image_size: int = 32, **arguments: Any) -> nn.Module:
    """A small instance; arguments go before its own."""
    name, own = INSTANCES[key]
    return models.create(name, image_size=image_size, **{**own, **arguments})


@functools.cache
def smallest_image(key: str) -> int:
    """Side in pixels of the smallest square image that the instance takes."""
    return next(size for size in range(1, 33) if not refusal(key, size))


def refusal(key: str, size: int) -> str:
    """Message of the ValueError for images of size x size pixels, or nothing."""
    try:
        with torch.device("meta"):
            create(key, image_size=size).eval()(torch.empty(1, 3, size, size))
    except ValueError as error:
        return str(error)
    return ""


def image_side(key: str) -> int:
    """16 pixels, which cost a quarter of 32, for networks that take them."""
    return 16 if smallest_image(key) <= 16 else 32


def norms(model: nn.Module) -> list[nn.Module]:
    """Batch normalisations."""
    kinds = nn.BatchNorm1d | nn.BatchNorm2d
    return [module for module in model.modules() if isinstance(module, kinds)]


def normalise(model: nn.Module) -> nn.Module:
    """Only batch normalisations in training mode: batch statistics, nothing random."""
    model.eval()
    for module in norms(model):
        module.train()
    return model
