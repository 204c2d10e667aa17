"""Exact memorization: time, memory, digits and precision, printed as they are measured.

    python benchmarks/memorization.py sizes      (100, 100) and (400, 250), 1 minute
    python benchmarks/memorization.py growing    3 x 3 to 150 x 150, both methods
    python benchmarks/memorization.py cases      thousands of random problems
    python benchmarks/memorization.py files      saving and loading 10,000 points

and likewise for every study of the chapter, with its first seeds only or all of them.
MNIST is read from PAPERNETS_DATA. Seconds are processor seconds of one thread where
nothing else is said; nothing is asserted about them, but every output is.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from papernets.data import load
from papernets.experiments import exact_memorization, tasks_of
from papernets.experiments.memorization_measures import random_points, size, timed
from papernets.memorization import ExactNetwork, memorize


def measured(study: str, seeds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The conditions of a study and what their measurements give, one after the other.

    They are those of `papernets run exact_memorization`, which writes records.
    """
    conditions = exact_memorization.studies()[study]
    for label, tasks in conditions.items():
        for task in tasks_of([{label: tasks[:seeds]}]):
            function = getattr(exact_memorization, task.function)
            data = [load(task.dataset)] if task.dataset else []
            yield label, function(*data, seed=task.seed, **task.settings)


def files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Saving and loading the network of 10,000 random points."""
    network = memorize(*random_points(10_000, seed=0), 100, 100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.json"
        with timed() as saving:
            network.save(path)
        with timed() as loading:
            again = ExactNetwork.load(path)
        if vars(again) != vars(network):
            raise AssertionError("the file holds other weights")
        yield (
            "(100, 100)",
            {
                **size(network),
                "file_megabytes": path.stat().st_size / 1e6,
                "saved_seconds": saving.cpu,
                "loaded_seconds": loading.cpu,
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=["files", *exact_memorization.studies()])
    parser.add_argument("--seeds", type=int, default=1, help="of every condition")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = options.study
    for label, values in (
        files() if study == "files" else measured(study, options.seeds)
    ):
        print(label)
        for name, value in values.items():
            listed = value if isinstance(value, list) else [value]
            print(f"  {name:22}", *(shortened(entry) for entry in listed), flush=True)


def shortened(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
