"""The batch normalization chapter: ten hidden layers on MNIST, with and without.

The article trains (linear, batch normalization, activation) x 10 and reports in words
that the network "breaks" without normalization. `grid` and `narrow` measure that over
three decades of learning rates; the other studies ask why, how much it gains, and what
breaks normalization itself. `batch_norm_measures` has the functions that look into
networks, `batch_norm_reports` what is computed from the records.

`papernets run batch_norm --preset paper --jobs 2` makes all records, and every record
holds its seconds. Preset "quick" runs one seed of every condition on `digits`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from papernets import training
from papernets.data import load
from papernets.experiments import AnyStudy, Measurements, Study
from papernets.experiments.batch_norm_measures import (
    composition,
    landscape,
    network,
    shift,
    signals,
    small_batches,
    speed,
)
from papernets.recipes import PLAIN_SGD
from papernets.records import Measurement, Run, Setting

SOURCES = (
    *training.SOURCES,
    "models/batch_norm.py",
    "experiments/batch_norm_measures.py",
)

# Found here by name, as the functions of the chapter's measurements.
MEASURES = (composition, landscape, shift, signals, small_batches, speed)

ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "ReLU": "relu"}
NORMS = {"batch": "with", "none": "without"}
SEEDS = 5  # of the article's experiment; the other studies have three

# Half a decade apart; the narrow network takes every second one.
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
WIDTH, NARROW = 100, 32

# Other ways to train the ten layers. The sigmoid's careful start has weights up to four
# times as large as that of tanh, and takes larger rates.
ORTHOGONAL: dict[str, Setting] = {"norm": "none", "initialisation": "orthogonal"}
XAVIER = ORTHOGONAL | {"initialisation": "xavier"}
HE = ORTHOGONAL | {"initialisation": "he"}
CURES: dict[str, dict[str, dict[str, Setting]]] = {
    "layer normalization": {a: {"norm": "layer"} for a in ACTIVATIONS},
    "orthogonal start": dict.fromkeys(ACTIVATIONS, ORTHOGONAL),
    "He or Xavier start": {"sigmoid": XAVIER, "tanh": XAVIER, "ReLU": HE},
}
CURE_RATES = {
    "sigmoid": (0.1, 0.3, 1.0, 3.0),
    "tanh": (0.03, 0.1, 0.3, 1.0),
    "ReLU": (0.03, 0.1, 0.3, 1.0),
}

# The networks that are looked into: all at one rate, at which most of them train.
NETWORKS: dict[str, dict[str, Setting]] = {
    "with": {"norm": "batch"},
    "without": {"norm": "none"},
    "orthogonal start": ORTHOGONAL,
}
COMMON_RATE = 0.1

# Rates around the fastest ones.
SPEED_RATES = {
    ("sigmoid", "with"): (0.03, 0.1, 0.3),
    ("sigmoid", "orthogonal start"): (0.1, 0.3, 1.0),
    ("tanh", "with"): (0.03, 0.1, 0.3),
    ("tanh", "without"): (0.1, 0.3, 1.0),
    ("tanh", "orthogonal start"): (0.03, 0.1, 0.3),
    ("ReLU", "with"): (0.03, 0.1, 0.3),
    ("ReLU", "without"): (0.1, 0.3, 1.0),
    ("ReLU", "orthogonal start"): (0.03, 0.1, 0.3),
}
BATCHES = (2, 4, 8, 16, 32, 64, 128)


def runs(lr: float, seeds: int, **model_args: Setting) -> list[Run]:
    """The network under plain SGD, once for every seed from 0."""
    return [
        Run(
            experiment="batch_norm",
            model="mlp10",
            model_args=model_args,
            dataset="mnist",
            recipe=PLAIN_SGD.but(lr=lr),
            seed=seed,
        )
        for seed in range(seeds)
    ]


def measured(function: str, settings: dict[str, Setting]) -> list[Measurement]:
    """A measurement on MNIST for three seeds."""
    return [
        Measurement(
            experiment="batch_norm",
            function=function,
            settings=settings,
            dataset="mnist",
            seed=seed,
        )
        for seed in range(3)
    ]


def rates_of(width: int, rates: Iterable[float]) -> Study:
    return {
        f"{title}, {label}, lr {lr:g}": runs(
            lr, SEEDS, activation=activation, norm=norm, width=width
        )
        for title, activation in ACTIVATIONS.items()
        for norm, label in NORMS.items()
        for lr in rates
    }


def grid() -> Study:
    """The article's experiment: with and without, three activations, seven rates."""
    return rates_of(WIDTH, RATES)


def narrow() -> Study:
    """The same with a third of the units."""
    return rates_of(NARROW, RATES[::2])


def cures() -> Study:
    """Is batch normalization needed, or do other cures train the network as well?"""
    return {
        f"{title}, {cure}, lr {lr:g}": runs(
            lr, 3, activation=activation, width=WIDTH, **settings[title]
        )
        for cure, settings in CURES.items()
        for title, activation in ACTIVATIONS.items()
        for lr in CURE_RATES[title]
    }


def inside(function: str, **settings: Setting) -> Measurements:
    """A measurement of all activations and `NETWORKS`, at the same constant rate."""
    return {
        f"{title}, {label}": measured(
            function,
            {"lr": COMMON_RATE, "activation": activation, **start, **settings},
        )
        for title, activation in ACTIVATIONS.items()
        for label, start in NETWORKS.items()
    }


def signal_flow() -> Measurements:
    """What reaches the layers, and what comes back?"""
    return inside("signals", steps=2_000)


def covariate_shift() -> Measurements:
    """Does normalization reduce the change of a layer's input?"""
    return inside("shift", steps=1_000, every=20)


def smoothness() -> Measurements:
    """Is the loss smoother along the step with normalization?"""
    return inside("landscape", steps=1_000, every=20)


def steps_needed() -> Measurements:
    """How many steps do given accuracies take, at a constant rate?"""
    return {
        f"{title}, {label}, lr {lr:g}": measured(
            "speed",
            {
                "lr": lr,
                "activation": ACTIVATIONS[title],
                **NETWORKS[label],
                "epochs": 10,
                "every": 20,
            },
        )
        for (title, label), rates in SPEED_RATES.items()
        for lr in rates
    }


def batch_sizes() -> Measurements:
    """Where do small batches break it? One epoch, the rate proportional to the size."""
    return {
        f"{norm} normalization, batches of {size}": measured(
            "small_batches",
            {
                "lr": COMMON_RATE * size / 128,
                "activation": "relu",
                "norm": norm,
                "batch_size": size,
                "epochs": 1,
            },
        )
        for norm in ("batch", "layer")
        for size in BATCHES
    }


def batch_composition() -> Measurements:
    """How does the article's layer depend on what else is in the test batch?"""
    return {
        title: measured(
            "composition", {"lr": COMMON_RATE, "activation": activation, "epochs": 3}
        )
        for title, activation in ACTIVATIONS.items()
    }


STUDIES = (
    grid,
    narrow,
    cures,
    signal_flow,
    covariate_shift,
    smoothness,
    steps_needed,
    batch_sizes,
    batch_composition,
)


def studies(preset: str = "paper") -> dict[str, AnyStudy]:
    """The studies of the chapter, by name; "quick" is a miniature of each on digits."""
    full = {study.__name__: study() for study in STUDIES}
    if preset == "paper":
        return full
    return {
        name: {label: [miniature(tasks[0])] for label, tasks in study.items()}
        for name, study in full.items()
    }


def miniature(task: Run | Measurement) -> Any:
    """The same on digits: two epochs of runs, less of measurements."""
    if isinstance(task, Run):
        recipe = task.recipe.quick(2).but(batch_size=32)
        return replace(task, dataset="digits", recipe=recipe)
    small = {"steps": 20, "every": 5, "epochs": 1}
    settings = {k: small.get(k, value) for k, value in task.settings.items()}
    return replace(task, dataset="digits", settings=settings)


# --- Live in the notebook ----------------------------------------------------------


def live(epochs: int = 20, number: int = 2) -> pd.DataFrame:
    """The sigmoid network on digits, now: with and without, at two rates.

    Takes about 20 s on one core.

    Args:
        epochs: of 39 steps each.
        number: of seeds.

    Returns:
        One row per run: `network`, `lr`, `seed`, `status`, `test_accuracy`.
    """
    digits, rows = load("digits"), []
    for norm, name in NORMS.items():
        for lr in (0.1, 1.0):
            recipe = PLAIN_SGD.but(lr=lr, epochs=epochs, batch_size=32)
            for seed in range(number):
                model = network(digits, seed, activation="sigmoid", norm=norm)
                result = training.fit(model, digits, recipe, seed=seed)
                rows.append(
                    {
                        "network": name,
                        "lr": lr,
                        "seed": seed,
                        "status": result.status,
                        "test_accuracy": result.test_accuracy,
                    }
                )
    return pd.DataFrame(rows)
