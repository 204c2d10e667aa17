"""Numbers that small instances of all networks must keep giving.

Run this file to store them anew, after a change of a network that is meant:

    .venv/bin/python tests/model_numerics.py

The numbers depend on the networks alone: weights and images come from NumPy's
`RandomState`, whose streams are frozen, and everything runs in double precision, where
machines and versions of PyTorch differ by some 1e-12. Weights are drawn in the order of
the state dict, so that renamed layers keep the numbers and reordered ones do not.
Nothing is drawn in the passes: random layers stay in evaluation mode.
"""

import json
from pathlib import Path

import numpy as np
import torch
from small_models import INSTANCES, create, normalise
from torch import Tensor, nn

FILE = Path(__file__).with_name("model_numerics.json")
TOLERANCE = 1e-6  # relative to the largest number of the same pass


def uniform(random: np.random.RandomState, shape: torch.Size, bound: float) -> Tensor:
    return torch.from_numpy(random.uniform(-bound, bound, tuple(shape)))


@torch.no_grad()
def prepare(key: str) -> nn.Module:
    """A small instance with weights that are the same everywhere, in double precision.

    Matrices have the variance 2 / fan_in of He et al.; scales, slopes and other vectors
    called `weight` lie around 1, other vectors around 0.
    """
    random = np.random.RandomState(0)
    model = create(key).double()
    for name, p in model.named_parameters():
        bound = (6 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.5
        p.copy_(uniform(random, p.shape, bound))
        if p.ndim == 1 and name.endswith("weight"):
            p.add_(1)
    return model


@torch.no_grad()
def measure(model: nn.Module) -> list[float]:
    """Mean and standard deviation of the logits, and the first two of the first image.

    Of four images of 32x32 pixels: first by batch statistics, then in evaluation mode,
    which uses the running statistics that the first pass has moved.
    """
    images = uniform(np.random.RandomState(1), torch.Size((4, 3, 32, 32)), 2.0)
    found: list[float] = []
    for logits in (normalise(model)(images), model.eval()(images)):
        found += [logits.mean().item(), logits.std().item(), *logits[0, :2].tolist()]
    return found


def distance(found: list[float], stored: list[float]) -> float:
    """The largest difference, each relative to the largest number of its pass."""
    (a, b), worst = (np.reshape(numbers, (2, 4)) for numbers in (found, stored)), 0.0
    for one, other in zip(a, b, strict=True):
        worst = max(worst, np.abs(one - other).max() / np.abs(other).max())
    return float(worst)


def stored() -> dict[str, list[float]]:
    return json.loads(FILE.read_text())


def main() -> None:
    lines = []
    for key in INSTANCES:
        numbers = [float(f"{x:.10g}") for x in measure(prepare(key))]
        lines.append(f"{json.dumps(key)}: {json.dumps(numbers)}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
