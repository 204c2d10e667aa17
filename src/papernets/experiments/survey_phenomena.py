"""The survey's controlled comparisons, and the phenomena its papers report.

Each study changes one thing of a small network of about five million multiply-adds, and
trains it on CIFAR-10 by the common recipe in five epochs, with three seeds. Conditions
of a comparison cost the same, or have the same parameters where that is the question.
`survey_measures` has the functions that look into networks, `survey_reports` what is
computed from the records.
"""

from collections.abc import Callable
from typing import Any

from papernets import training
from papernets.experiments import AnyStudy, Measurements, Study
from papernets.models.controls import WAYS
from papernets.models.registry import lookup
from papernets.recipes import COMMON
from papernets.records import Measurement, Run, Setting

MEASURED_MODELS = (
    *("branches", "controls", "densenet", "fractalnet", "highway", "prelu_net"),
    *("pyramidnet", "resnet", "stochastic_depth", "weighted_residual"),
)
SOURCES = (
    *training.SOURCES,
    *(f"models/{name}.py" for name in MEASURED_MODELS),
    "experiments/survey_measures.py",
)

BUDGET_MACS = 5e6
EPOCHS = 5
SEEDS = 3

# Sizes of the families at `BUDGET_MACS`, as `models.fit_budget` finds them.
SIZES_BY_DEPTH = {10: 128, 16: 84, 22: 65, 40: 42}
ORDERED, ORDERED_LEARNED = 75, 59
SIZES_BY_WAY = {"before": 86, "after": 100, "parallel": 103, "gradual": 84}
PRELU, FRACTAL, XCEPTION = 22, 120, 22

# A deep and thin network of 18 blocks whose stages have one width each, and the sizes
# of other families at its cost.
DEEP: dict[str, Setting] = {"depth": 38, "width": 4}
BLOCKS = 18
HIGHWAY, PYRAMID = 29, 75

FORMS = {
    "conv-BN-ReLU, ReLU after the addition": "original",
    "BN after the addition": "bn_after_addition",
    "ReLU before the addition": "relu_before_addition",
    "ReLU before the convolutions": "relu_only_preactivation",
    "BN-ReLU-conv": "full_preactivation",
}
# Cardinality to channels of a group in the first stage, at equal parameters.
GROUP_WIDTHS = {1: 13, 2: 9, 4: 6, 8: 4}
WAY_LABELS = {
    "before": "widened, then halved",
    "after": "halved, then widened",
    "parallel": "both in parallel",
    "gradual": "widened by every layer",
}


def of_size(model: str, k: int) -> dict[str, Any]:
    """Arguments of the k-th size of a network's family."""
    scale = lookup(model).scale
    assert scale is not None
    return scale(k)


def trained(model: str, **model_args: Setting) -> list[Run]:
    """A network on CIFAR-10, once for every seed from 0."""
    return [
        Run(
            experiment="model_survey",
            model=model,
            model_args=model_args,
            dataset="cifar10",
            recipe=COMMON.quick(EPOCHS),
            seed=seed,
            test_every_epoch=True,
        )
        for seed in range(SEEDS)
    ]


def measured(function: str, model: str, **settings: Setting) -> list[Measurement]:
    """A measurement of a network on CIFAR-10, once for every seed from 0."""
    return [
        Measurement(
            experiment="model_survey",
            function=function,
            settings={"model": model, "epochs": EPOCHS, **settings},
            dataset="cifar10",
            seed=seed,
        )
        for seed in range(SEEDS)
    ]


# --- The article's three conclusions ------------------------------------------------


def width_or_depth() -> Study:
    """Does width beat depth, once a network is deep enough? Equal multiply-adds."""
    return {
        f"{depth} layers": trained("wrn28_10", depth=depth, **of_size("wrn28_10", k))
        for depth, k in SIZES_BY_DEPTH.items()
    }


def block_orders() -> Study:
    """Is a block better without ReLU on its output, and with BN and ReLU first?"""
    size = of_size("ordered_resnet20", ORDERED)
    return {
        label: trained("ordered_resnet20", order=order, **size)
        for label, order in FORMS.items()
    }


# --- What the papers report ---------------------------------------------------------


def convs_per_block() -> Study:
    """How many 3x3 convolutions should a block have? Always 36 of them in all."""
    return {
        f"{convs} per block": trained("wrn28_10", depth=40, widen=0.25, convs=convs)
        for convs in (1, 2, 3, 4)
    }


def slopes() -> Measurements:
    """Which slopes do the PReLUs learn? Without dropout, which is for wide networks."""
    size = of_size("prelu_net_a", PRELU) | {"dropout": 0.0}
    return {"PReLU-net": measured("prelu_slopes", "prelu_net_a", **size)}


LESIONED: dict[str, tuple[str, dict[str, Setting]]] = {
    # With the shortcuts of the next one: both average where the image is halved.
    "ResNet": ("stochastic_depth110", DEEP | {"survival": 1.0}),
    "stochastic depth": ("stochastic_depth110", DEEP),
    "PyramidNet": (
        "pyramidnet110_a270",
        {"depth": 38, **of_size("pyramidnet110_a270", PYRAMID)},
    ),
    "Highway": ("highway_fitnet19", of_size("highway_fitnet19", HIGHWAY)),
    "plain network": ("plain20", DEEP),
}


def lesion_study() -> Measurements:
    """What does a network lose with one block, or with two exchanged?"""
    return {
        label: measured("lesions", model, **settings)
        for label, (model, settings) in LESIONED.items()
    }


def alphas() -> Measurements:
    """Which weights do the blocks of a weighted residual network get?"""
    return {
        label: measured(
            "residual_weights", "wresnet_d118", depth=40, width=4, survival=survival
        )
        for label, survival in (("all blocks", 1.0), ("stochastic depth", 0.5))
    }


def mean_survival(blocks: int, last: float) -> float:
    """Mean of the probabilities that fall linearly from 1 to `last`, over blocks."""
    return 1 - (1 - last) * (blocks + 1) / (2 * blocks)


def survival() -> Study:
    """What does stochastic depth save, and does its linear decay matter?"""
    same_mean = round(mean_survival(BLOCKS, 0.5), 4)
    rules: dict[str, dict[str, Setting]] = {
        "all blocks": {"survival": 1.0},
        "linear to 0.5": {"survival": 0.5},
        "constant, same mean": {"survival": same_mean, "decay": "constant"},
        "constant 0.5": {"survival": 0.5, "decay": "constant"},
    }
    return {
        label: trained("stochastic_depth110", **DEEP, **rule)
        for label, rule in rules.items()
    }


def columns() -> Measurements:
    """Does drop-path make every column of a fractal network work by itself?"""
    size: dict[str, Setting] = {**of_size("fractalnet20", FRACTAL), "dropout": 0.0}
    whole: dict[str, Setting] = {"drop_path": 0.0, "global_share": 0.0}
    conditions = {
        "drop-path": size,
        "no drop-path": size | whole,
        "trained alone": size | {"alone": True},
    }
    return {
        label: measured("fractal_columns", "fractalnet20", **settings)
        for label, settings in conditions.items()
    }


def joins() -> Study:
    """Is a join by the mean essentially a residual? Two paths through every block.

    The longer path has two convolutions; the shorter one is the identity, or a
    convolution as in a fractal block, at equal multiply-adds.
    """
    size = of_size("ordered_resnet20", ORDERED)
    learned = of_size("ordered_resnet20", ORDERED_LEARNED) | {"learned": True}
    conditions = {
        "sum with the identity": size | {"order": "relu_before_addition"},
        "mean with the identity": size | {"order": "mean"},
        "sum with a convolution": learned | {"order": "relu_before_addition"},
        "mean with a convolution": learned | {"order": "mean"},
        "no join": size | {"order": "plain"},
    }
    return {
        label: trained("ordered_resnet20", **settings)
        for label, settings in conditions.items()
    }


def widening() -> Study:
    """Where should channels be added when the image is halved?"""
    return {
        WAY_LABELS[way]: trained(
            "widening_net", way=way, **of_size("widening_net", SIZES_BY_WAY[way])
        )
        for way in WAYS
    }


def xception_residuals() -> Study:
    """Do the shortcuts of Xception make it better, or only faster to train?"""
    size = of_size("xception", XCEPTION)
    return {
        "with residuals": trained("xception", **size),
        "without residuals": trained("xception", residual=False, **size),
    }


def cardinality() -> Study:
    """Are many narrow paths better than one wide one? Equal parameters."""
    return {
        f"{paths} x {width}d": trained(
            "resnext29_16x64d",
            depth=11,
            width=12,
            cardinality=paths,
            group_width=width,
        )
        for paths, width in GROUP_WIDTHS.items()
    }


def dense() -> Measurements:
    """Which of the earlier layers does a layer of a dense block read, and need?"""
    size: dict[str, Setting] = {"depth": 22, "growth": 3, "stem": 6}
    return {"DenseNet": measured("dense_weights", "densenet40_k12", **size)}


STUDIES: tuple[Callable[[], AnyStudy], ...] = (
    width_or_depth,
    block_orders,
    convs_per_block,
    slopes,
    lesion_study,
    alphas,
    survival,
    columns,
    joins,
    widening,
    xception_residuals,
    cardinality,
    dense,
)
