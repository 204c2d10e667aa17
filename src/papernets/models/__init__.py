"""The networks: one file per paper, and the registry that builds them by name."""

from papernets.models import pi_net, resnet
from papernets.models.registry import (
    PaperCard,
    card,
    create,
    list_models,
    source_file,
)

__all__ = [
    "PaperCard",
    "card",
    "create",
    "list_models",
    "pi_net",
    "resnet",
    "source_file",
]
