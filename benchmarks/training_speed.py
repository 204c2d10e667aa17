"""Images per second of the training loop against a plain PyTorch loop, as ratios.

    python benchmarks/training_speed.py --threads 2 --repeats 3

The plain loop is what most repositories use: torchvision's data set, a DataLoader and
fp32. All variants train PolyNet on real CIFAR-10 (in `PAPERNETS_DATA`) with Adam; they
take turns in one process, so that a noisy machine disturbs all alike.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.nn import functional

from papernets import models, training
from papernets.data import Dataset, Split, data_folder, import_torchvision, load
from papernets.provenance import peak_memory
from papernets.recipes import POLYNET_LITERAL


def plain_loop(batch: int, workers: int, images: int) -> Callable[[], float]:
    """A measurement of the plain loop: seconds for `images` images."""
    torchvision = import_torchvision()
    dataset: Any = torchvision.datasets.CIFAR10(
        data_folder(), train=True, transform=torchvision.transforms.ToTensor()
    )
    model = models.create("polynet", in_channels=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def measure() -> float:
        subset = torch.utils.data.Subset(dataset, range(images))
        loader: Any = torch.utils.data.DataLoader(
            subset, batch, shuffle=True, num_workers=workers, drop_last=True
        )
        began = time.perf_counter()
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return time.perf_counter() - began

    return measure


def engine(data: Dataset, images: int, **recipe: Any) -> Callable[[], float]:
    """A measurement of `training.fit` in its own loop, without evaluation."""
    part = Split(data.train.images[:images], data.train.labels[:images])
    few = Split(data.test.images[:100], data.test.labels[:100])
    small = replace(data, train=part, validation=few, test=few)
    model = models.create("polynet", in_channels=3)

    def measure() -> float:
        result = training.fit(model, small, POLYNET_LITERAL.but(epochs=1, **recipe))
        return result.curves["seconds"][0]

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=6_400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    batch, images = options.batch, options.images
    training.tune_process(options.threads)
    data = load("cifar10")
    variants = {
        "plain loop, 0 workers": plain_loop(batch, 0, images),
        "plain loop, 2 workers": plain_loop(batch, 2, images),
        "engine, fp32, channels_last": engine(data, images, batch_size=batch),
        "engine, bf16, channels_last": engine(
            data, images, batch_size=batch, precision="bf16"
        ),
        "the same, crop and flip": engine(
            data,
            images,
            batch_size=batch,
            precision="bf16",
            crop_padding=4,
            flip=True,
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for measure in variants.values():
        measure()  # warm-up
    for _ in range(options.repeats):
        for name, measure in variants.items():
            rates[name].append(images / measure())
    base = rates["plain loop, 0 workers"]
    print(f"PolyNet, CIFAR-10, batch {batch}, {torch.get_num_threads()} threads")
    for name, values in rates.items():
        ratios = [v / b for v, b in zip(values, base, strict=True)]
        print(
            f"{name:30} {statistics.median(values):7,.0f} images/s   "
            f"{statistics.median(ratios):5.2f} x  ({min(ratios):.2f} to "
            f"{max(ratios):.2f})"
        )
    print(f"peak resident memory {peak_memory() / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
