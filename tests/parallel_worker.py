"""What the processes of `tests/test_parallel.py` do: train, then print the curves.

torchrun --nproc-per-node 2 tests/parallel_worker.py
"""

import json
from typing import Any

import torch

from papernets import models, parallel
from papernets.data import load
from papernets.recipes import Recipe
from papernets.training import fit

RECIPE = Recipe(
    name="r",
    epochs=2,
    batch_size=128,
    lr=0.05,
    weight_decay=1e-3,
    crop_padding=1,
    flip=True,
    clip_grad_norm=1.0,
)
CASES: dict[str, dict[str, Any]] = {
    "without normalization": {"name": "mlp10", "width": 24, "activation": "relu"},
    "batch normalization": {"name": "mlp10", "width": 24, "norm": "batch"},
    "stochastic depth": {"name": "stochastic_depth110", "depth": 8, "width": 4},
    "averages made anew": {"name": "resnet20", "depth": 8, "width": 4},
}


def trained(case: str, parts: int = 1) -> dict[str, list[float]]:
    """Curves of a case, in one process or in all that train together."""
    digits = load("digits")
    arguments = dict(CASES[case])
    torch.manual_seed(0)
    model = models.create(
        arguments.pop("name"), in_channels=1, image_size=8, **arguments
    )
    anew = 3 if case == "averages made anew" else 0
    recipe = RECIPE.but(batch_parts=parts, norm_batches=anew)
    result = fit(model, digits, recipe, seed=1)
    return result.curves | {"test_loss": [result.test_loss or 0.0]}


def main() -> None:
    torch.set_num_threads(1)
    with parallel.job("cpu"):
        curves = {case: trained(case) for case in CASES}
        if parallel.rank_and_size()[0] == 0:
            print(json.dumps(curves))


if __name__ == "__main__":
    main()
