"""The registry of networks: `create` builds one by name, `list_models` names them."""

import difflib
import importlib
from typing import Any

from torch import nn

# name -> module and class, imported when the model is built.
REGISTRY = {
    "polynet": ("pi_net", "PolyNet"),
    "poly_resnet20": ("pi_net", "PolyResNet"),
}


def list_models() -> list[str]:
    return sorted(REGISTRY)


def create(
    name: str, *, num_classes: int = 10, in_channels: int = 3, **arguments: Any
) -> nn.Module:
    """Build a network with freshly initialised weights.

    Args:
        name: one of `list_models()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        arguments: passed to the network's constructor.

    Raises:
        ValueError: unknown name, or an argument the constructor does not take.
    """
    module, cls = lookup(name)
    build = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    try:
        return build(in_channels=in_channels, num_classes=num_classes, **arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def lookup(name: str) -> tuple[str, str]:
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {list_models()}"
        raise ValueError(f"no model {name!r}; {hint}")
    return REGISTRY[name]


def source_file(name: str) -> str:
    """Name of the file in `papernets/models` that defines the model."""
    return f"{lookup(name)[0]}.py"
