"""The registry of networks: `create` builds one by name, `list_models` names them."""

import difflib
import importlib
import inspect
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
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a network with freshly initialised weights.

    Args:
        name: one of `list_models()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width in pixels; matters only to networks whose layers
            depend on it, the others ignore it.
        arguments: passed to the network's constructor.

    Raises:
        ValueError: unknown name, or an argument the network does not take.
    """
    module, cls = lookup(name)
    build = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    known = set(inspect.signature(build).parameters)
    if unknown := sorted(set(arguments) - known):
        own = sorted(known - {"in_channels", "num_classes", "image_size"})
        raise ValueError(
            f"{name} has no argument {unknown[0]!r}; it takes {', '.join(own)}"
        )
    if image_size is not None and "image_size" in known:
        arguments["image_size"] = image_size
    return build(in_channels=in_channels, num_classes=num_classes, **arguments)


def lookup(name: str) -> tuple[str, str]:
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {list_models()}"
        raise ValueError(f"no model {name!r}; {hint}")
    return REGISTRY[name]


def source_file(name: str) -> str:
    """Name of the file in `papernets/models` that defines the model."""
    return f"{lookup(name)[0]}.py"
