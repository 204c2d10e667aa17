"""The chapter on exact memorization: every training point, with error zero.

K. Inoue (2019) proves that hidden layers of a1 and a2 neurons represent any a1 a2
points; an article prints a program, and names sizes that it never ran. The studies ask
what that takes in time, memory and precision, and whether training finds it, too.

All measurements take about two hours of one core (`papernets run exact_memorization
--preset paper`; every record holds its seconds). Preset "quick" makes a miniature of
every study on `digits` in about a minute.
"""

from dataclasses import replace

from papernets.experiments import Measurements
from papernets.experiments.memorization_measures import (
    constructed,
    growth,
    headline,
    learned,
    precision,
    precision_of_method,
    random_cases,
)
from papernets.records import Measurement, Setting

__all__ = [
    "constructed",
    "growth",
    "headline",
    "learned",
    "precision",
    "precision_of_method",
    "random_cases",
]

SOURCES = (
    "data.py",
    "exact_network.py",
    "memorization.py",
    "experiments/memorization_measures.py",
)

POINTS = 10_000
ARTICLE = (400, 250)  # neurons for 10,000 points with ten outputs
FIRST_LAYERS = (25, 100, 400, 1000, 2000, 5000)
SIDES = (3, 4, 5, 6, 8, 12, 16)
METHODS = ("compact", "inoue2019")
USED = (0.25, 0.5, 0.75, 1.0)

# Learning: 1,000 points at full capacity. With 784 inputs the network has about nine
# parameters per point, as one of (100, 100) neurons has for 10,000 points.
SHAPE = (10, 100)
EVALUATIONS = 2_000
INPUTS = ("images", "small images", "line")
OPTIMIZERS = ("Adam", "SGD", "L-BFGS")
GRID = {"Adam": (3e-4, 1e-3, 3e-3, 1e-2), "SGD": (3e-3, 1e-2, 3e-2, 1e-1)}
WIDTHS = {"images": (1, 2), "small images": (1, 2, 4), "line": (1, 2)}
TUNING_SEED = 100  # not among those that are reported
# The best of the grid at full capacity on random digits; see `rates`.
LEARNING_RATES = {
    "images": {"Adam": 3e-3, "SGD": 1e-2, "L-BFGS": 1.0},
    "small images": {"Adam": 3e-3, "SGD": 1e-2, "L-BFGS": 1.0},
    "line": {"Adam": 3e-3, "SGD": 1e-2, "L-BFGS": 1.0},
}


def measure(
    function: str, seeds: int, dataset: str | None, settings: dict[str, Setting]
) -> list[Measurement]:
    """A measurement of this chapter, once for every seed from 0."""
    return [
        Measurement(
            experiment="exact_memorization",
            function=function,
            settings=settings,
            dataset=dataset,
            seed=seed,
        )
        for seed in range(seeds)
    ]


def sizes() -> Measurements:
    """The article's two headline sizes, in full: time, memory, digits."""
    a1, a2 = ARTICLE
    random: dict[str, Setting] = {"a1": 100, "a2": 100}
    images: dict[str, Setting] = {"a1": a1, "a2": a2}
    return {
        "(100, 100), random points": measure("headline", 1, None, random),
        f"({a1}, {a2}), MNIST": measure("headline", 1, "mnist", images),
    }


def growing() -> Measurements:
    """How do time and digits grow, and where does the published arithmetic stop?"""
    settings: dict[str, Setting] = {"largest": 150, "limit_seconds": 60.0}
    return {"a1 = a2": measure("growth", 1, None, settings)}


def cases() -> Measurements:
    """Thousands of small problems of all kinds of numbers, compared with ==."""
    return {"small problems": measure("random_cases", 4, None, {"count": 1000})}


def methods() -> Measurements:
    """How many bits do the published choices need, how many the compact form?"""
    return {
        f"{method}, {side} x {side}": measure(
            "precision_of_method", 3, None, {"method": method, "side": side}
        )
        for method in METHODS
        for side in SIDES
    }


def full(a1: int) -> dict[str, Setting]:
    """The shape with that first layer that 10,000 images with ten outputs fill."""
    return {"a1": a1, "a2": POINTS // a1 * 10, "points": POINTS}


def shapes() -> Measurements:
    """Which shape needs how many bits, at full capacity?"""
    return {
        f"({a1}, {POINTS // a1 * 10})": measure("precision", 3, "mnist", full(a1))
        for a1 in FIRST_LAYERS
    }


def search() -> Measurements:
    """How far does a longer search for the projection push the limit of float64?"""
    return {
        f"({a1}, {POINTS // a1 * 10}), 256 projections": measure(
            "precision", 3, "mnist", full(a1) | {"draws": 256, "bits": False}
        )
        for a1 in FIRST_LAYERS
        if a1 > ARTICLE[0]
    }


def used() -> Measurements:
    """What does unused capacity buy, with and without restarts?"""
    study = {}
    for share in USED:
        settings = full(ARTICLE[0]) | {"points": round(share * POINTS)}
        study[f"{share:.0%}"] = measure("precision", 3, "mnist", settings)
        if share == 0.5:
            settings |= {"restarts": False}
            label = f"{share:.0%}, no restarts"
            study[label] = measure("precision", 3, "mnist", settings)
    return study


def choices() -> Measurements:
    """What is each free choice worth, in the article's network of 10,000 images?"""
    base = full(ARTICLE[0]) | {"bits": False}
    steps: dict[str, dict[str, Setting]] = {
        "no choice made": {"steer": False, "margin": 1, "draws": 1},
        "c_j tight": {"steer": False, "draws": 1},
        "thresholds steered": {"margin": 1, "draws": 1},
        "both": {"draws": 1},
        "both, 8 projections": {},
        "both, 256 projections": {"draws": 256},
    }
    return {
        label: measure("precision", 3, "mnist", base | changes)
        for label, changes in steps.items()
    }


def training(optimizer: str, inputs: str, **changes: Setting) -> list[Measurement]:
    settings: dict[str, Setting] = {
        "optimizer": optimizer,
        "lr": LEARNING_RATES[inputs][optimizer],
        "a1": SHAPE[0],
        "a2": SHAPE[1],
        "share": 1.0,
        "inputs": inputs,
        "targets": "random",
        "evaluations": EVALUATIONS,
    }
    return measure("learned", 3, "mnist", settings | changes)


def rates() -> Measurements:
    """The learning rates: a grid, at full capacity, with a seed of its own."""
    return {
        f"{optimizer}, {inputs}, {lr:g}": [
            replace(training(optimizer, inputs, lr=lr)[0], seed=TUNING_SEED)
        ]
        for optimizer, grid in GRID.items()
        for inputs in INPUTS
        for lr in grid
    }


def learning() -> Measurements:
    """How much does training fit of what the construction represents?"""
    return {
        f"{optimizer}, {inputs}, {share:.0%}": training(optimizer, inputs, share=share)
        for inputs in INPUTS
        for optimizer in OPTIMIZERS
        for share in USED
    }


def own_labels() -> Measurements:
    """The same with the images' own labels, at full capacity."""
    return {
        f"{optimizer}, {inputs}": training(optimizer, inputs, targets="own")
        for inputs in INPUTS
        for optimizer in OPTIMIZERS
    }


def widths() -> Measurements:
    """How much wider than the construction must a network be to learn all points?"""
    return {
        f"{optimizer}, {inputs}, width x {width}": training(
            optimizer, inputs, **({"width": width} if width > 1 else {})
        )
        for inputs in INPUTS
        for optimizer in OPTIMIZERS
        for width in WIDTHS[inputs]
    }


def longer() -> Measurements:
    """Is the budget the reason? Ten times as many evaluations."""
    changes: dict[str, Setting] = {"evaluations": 10 * EVALUATIONS}
    return {"Adam, line": training("Adam", "line", **changes)}


def exact() -> Measurements:
    """The construction on the points that were to be learned."""
    settings: dict[str, Setting] = {"a1": SHAPE[0], "a2": SHAPE[1]}
    settings["targets"] = "random"
    return {
        inputs: measure("constructed", 3, "mnist", settings | {"inputs": inputs})
        for inputs in INPUTS
    }


STUDIES = (
    *(sizes, growing, cases, methods, shapes, search, used, choices),
    *(exact, rates, learning, own_labels, widths, longer),
)

# Settings of preset "quick", for every setting that decides what a measurement costs.
QUICK: dict[str, Setting] = {
    "a1": 10,
    "a2": 20,
    "points": 20,
    "draws": 2,
    "largest": 8,
    "limit_seconds": 1.0,
    "count": 20,
    "side": 4,
    "evaluations": 50,
}


def studies(preset: str = "paper") -> dict[str, Measurements]:
    """The studies of the chapter, by name; "quick" is a miniature of each on digits."""
    complete = {study.__name__: study() for study in STUDIES}
    if preset == "paper":
        return complete
    return {name: miniature(study) for name, study in complete.items()}


def miniature(study: Measurements) -> Measurements:
    """One seed of every condition, on digits, each number at most that of `QUICK`."""

    def smaller(name: str, value: Setting) -> Setting:
        if name not in QUICK or value is None:
            return value
        return min(value, QUICK[name])  # type: ignore[type-var]

    return {
        label: [
            replace(
                tasks[0],
                dataset=tasks[0].dataset and "digits",
                settings={k: smaller(k, v) for k, v in tasks[0].settings.items()},
            )
        ]
        for label, tasks in study.items()
    }
