"""The survey chapter: 24 image-recognition networks on CIFAR-10.

`equal_compute` gives all families the same cost, about 20 million multiply-adds an
image, and the same recipe: the comparison that the survey's author asked for. `full`
trains the networks at the size of their papers under that recipe, in the order in which
an accelerator should take them. `paper_recipes` and `authors_recipes` are the schedules
of the papers and of the survey's author, hundreds of epochs long. The studies of
`survey_phenomena` are small comparisons, one for each remark of the survey's article.

`papernets survey --plan equal --budget-minutes 60` takes the next runs of a plan,
`papernets run model_survey --preset paper --study block_orders` those of a comparison.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from papernets.experiments import (
    AnyStudy,
    Measurements,
    Study,
    survey_phenomena,
    tasks_of,
)
from papernets.experiments.campaign import multiply_adds
from papernets.experiments.survey_measures import (
    dense_weights,
    fractal_columns,
    lesions,
    prelu_slopes,
    residual_weights,
    training_rate,
)
from papernets.experiments.survey_recipes import COMMON, PAPERS, SURVEY_AUTHOR
from papernets.models.registry import lookup, source_files
from papernets.recipes import Recipe
from papernets.records import Measurement, Run, Setting

__all__ = ["SOURCES", "plan", "studies"]

# Found here by name, as the functions of the chapter's measurements.
MEASURES = (
    *(dense_weights, fractal_columns, lesions, prelu_slopes, residual_weights),
    training_rate,
)

# Every family at 20 million multiply-adds: the number of its size, the one that
# `models.fit_budget` finds. Row 17 has its instance of 118 layers.
BUDGET_MACS = 20e6
SIZES = {
    "nin": 55,
    "nin_bn": 55,
    "vgg_a": 54,
    "googlenet": 87,
    "googlenet_bn": 87,
    "inception_v2": 76,
    "inception_v3": 53,
    "inception_v4": 70,
    "prelu_net_a": 79,
    "highway_fitnet19": 88,
    "resnet110": 56,
    "squeezenet_bn": 223,
    "preact_resnet164": 57,
    "rir18_wide": 78,
    "stochastic_depth110": 56,
    "swapout_v2_32_w4": 122,
    "wrn28_10": 135,
    "fractalnet20": 279,
    "wresnet_d118": 54,
    "ror3_wrn58_4": 87,
    "densenet100_k24": 74,
    "xception": 46,
    "pyramidnet110_a270": 90,
    "nas_appendix_a": 117,
    "resnext29_16x64d": 56,
    "pyramid_sepdrop182_a150": 64,
}
EQUAL_EPOCHS = 10
SOURCES = tuple(
    dict.fromkeys(
        (
            *survey_phenomena.SOURCES,
            *(f"models/{file}" for model in SIZES for file in source_files(model)),
        )
    )
)
MEDIUM_MACS = 1e9  # full-size networks are taken from here outwards, on a log scale


def of_network(
    model: str,
    recipe: Recipe,
    seeds: int,
    model_args: dict[str, Setting] | None = None,
) -> list[Run]:
    """A network on CIFAR-10 under `recipe`, once for every seed from 0."""
    return [
        Run(
            experiment="model_survey",
            model=model,
            model_args=model_args or {},
            dataset="cifar10",
            recipe=recipe,
            seed=seed,
            test_every_epoch=True,
        )
        for seed in range(seeds)
    ]


def sized(model: str) -> dict[str, Setting]:
    """Arguments of the family's size at `BUDGET_MACS`."""
    scale = lookup(model).scale
    assert scale is not None
    return scale(SIZES[model])


def equal_compute() -> Study:
    """All families at equal cost, recipe and epochs."""
    recipe = COMMON.quick(EQUAL_EPOCHS)
    return {model: of_network(model, recipe, 3, sized(model)) for model in SIZES}


def training_rates() -> Measurements:
    """How fast do the networks of equal cost train, one after the other?

    Half of FractalNet's mini-batches train one column, from a tenth to two thirds of
    it, so that its mean needs as many of them as an epoch has.
    """
    long = {"fractalnet20": 352}
    return {
        model: [
            Measurement(
                experiment="model_survey",
                function="training_rate",
                settings={
                    "model": model,
                    "batches": long.get(model, 10),
                    "epochs": 3,
                    **sized(model),
                },
                dataset="cifar10",
                seed=seed,
            )
            for seed in range(3)
        ]
        for model in SIZES
    }


def full() -> Study:
    """The papers' own sizes, mid-size networks first."""

    def distance(run: Run) -> float:
        return abs(math.log(multiply_adds(run) / MEDIUM_MACS))

    rows = [of_network(model, COMMON, 3) for model in SIZES]
    return {runs[0].model: runs for runs in sorted(rows, key=lambda r: distance(r[0]))}


def paper_recipes() -> Study:
    """Every network as its paper trained it."""
    return {m: of_network(m, PAPERS[m].recipe, 1) for m in SIZES}


def authors_recipes() -> Study:
    """Every network that the survey's author ran, as he trained it."""
    return {m: of_network(m, p.recipe, 1) for m, p in SURVEY_AUTHOR.items()}


PLANS: dict[str, Sequence[Callable[[], Study]]] = {
    "equal": (equal_compute,),
    "full": (full, paper_recipes, authors_recipes),
}


def plan(name: str) -> list[Run]:
    """The runs of a plan by falling priority: the first seed of every network first.

    Raises:
        ValueError: there is no such plan.
    """
    if name not in PLANS:
        raise ValueError(f"no plan {name!r}; there are {', '.join(PLANS)}")
    runs = [task for study in PLANS[name] for task in tasks_of([study()])]
    return [run for run in runs if isinstance(run, Run)]


def studies(preset: str = "paper") -> dict[str, AnyStudy]:
    """The studies of the chapter, by name; "quick" is a miniature on digits."""
    plans = (study for plan in PLANS.values() for study in plan)
    if preset == "paper":
        every: tuple[Callable[[], AnyStudy], ...]
        every = (*plans, training_rates, *survey_phenomena.STUDIES)
        return {study.__name__: study() for study in every}
    recipe = COMMON.quick(2).but(crop_padding=1, precision="fp32")
    return {
        "equal_compute": {
            model: [
                replace(run, dataset="digits")
                for run in of_network(model, recipe, 1, sized(model))
            ]
            for model in ("nin_bn", "resnet110", "densenet100_k24")
        }
    }
