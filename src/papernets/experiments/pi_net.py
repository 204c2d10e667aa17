"""The Π-Net chapter: networks without activation functions, on MNIST and CIFAR-10.

The article (`article`) prints a network, "about 99 %" on MNIST and "about 70 %" on
CIFAR-10. The other studies ask what decides that figure and what it leaves open.

Cost of all runs: about 6 hours on one core with AMX bf16, half of it in `article`
(`papernets run pi_net --preset paper --jobs 2`). Preset "quick" runs the same studies
in miniature on `digits`, in about a minute.
"""

from collections.abc import Mapping
from dataclasses import replace

from papernets.experiments import Study
from papernets.recipes import POLYNET_LITERAL, POLYNET_RELIABLE, Recipe
from papernets.records import Run, Setting

# Second branch of every product starts near 1; see `models.pi_net.initialise`.
SKIP_INIT: dict[str, Setting] = {"init_gain": 0.786, "init_bias": 1.0}

JOINS = {
    "linear": "one branch: linear",
    "relu": "one branch, ReLU",
    "product": "product",
    "product_relu": "product, then ReLU",
}

# One branch has half of the weights; these first widths give the networks of one branch
# about the parameters of the products of width 16 (within 5 %).
MATCHED_WIDTH = {1: 16, 2: 17, 3: 21, 4: 21, 5: 23}


def polynet(
    recipe: Recipe,
    seeds: int,
    model_args: Mapping[str, Setting] | None = None,
    dataset: str = "cifar10",
) -> list[Run]:
    """PolyNet under `recipe`, once for every seed from 0."""
    return [
        Run(
            experiment="pi_net",
            model="polynet",
            model_args=dict(model_args or {}),
            dataset=dataset,
            recipe=recipe,
            seed=seed,
            test_every_epoch=True,
        )
        for seed in range(seeds)
    ]


def article() -> Study:
    """What the article reports, with its recipe in fp32 and its program's 10 epochs."""
    return {
        "MNIST": polynet(POLYNET_LITERAL, 5, dataset="mnist"),
        "CIFAR-10": polynet(POLYNET_LITERAL, 5),
    }


def long() -> Study:
    """How many epochs do the article's 70 % take? The same recipe, longer, in bf16."""
    longer = POLYNET_LITERAL.but(epochs=30, precision="bf16")
    return {"article's recipe, bf16": polynet(longer, 3)}


def details() -> Study:
    """Which detail decides? The article's recipe with one thing changed at a time."""
    base = POLYNET_LITERAL.but(epochs=4, precision="bf16")
    return {
        "article's recipe, bf16": polynet(base, 3),
        "fp32": polynet(base.but(precision="fp32"), 3),
        "standardized inputs": polynet(base.but(scaling="standardize"), 3),
        "learning rate 3e-4": polynet(base.but(lr=3e-4), 3),
        "learning rate 3e-3": polynet(base.but(lr=3e-3), 3),
        "gradients clipped at 1": polynet(base.but(clip_grad_norm=1.0), 3),
        "variance-preserving init": polynet(base, 3, {"init_gain": 1.0}),
        "1 + small init": polynet(base, 3, SKIP_INIT),
        "all of the reliable recipe": polynet(POLYNET_RELIABLE.quick(4), 3, SKIP_INIT),
    }


def joins() -> Study:
    """What does the multiplication buy? Four joins, one to five blocks."""
    recipe = POLYNET_RELIABLE.quick(4)
    return {
        f"{label}, {blocks} {'block' if blocks == 1 else 'blocks'}": polynet(
            recipe,
            3,
            {"join": join, "blocks": blocks, **joined(join, blocks)},
        )
        for blocks in range(1, 6)
        for join, label in JOINS.items()
    }


def joined(join: str, blocks: int) -> dict[str, Setting]:
    """Initialisation that keeps the variance, and the width that matches parameters."""
    if join.startswith("product"):
        return SKIP_INIT
    # He's gain for ReLU, one for linear layers.
    gain = 2**0.5 if join == "relu" else 1.0
    return {"init_gain": gain, "width": MATCHED_WIDTH[blocks]}


def cure() -> Study:
    """Can the overfitting be cured, with the same five products and no activation?"""
    base = POLYNET_RELIABLE.but(epochs=15)
    augmented = base.but(crop_padding=4, flip=True)
    return {
        "reliable recipe": polynet(base, 3, SKIP_INIT),
        "weight decay 1e-4": polynet(base.but(weight_decay=1e-4), 3, SKIP_INIT),
        "dropout 0.5": polynet(base, 3, SKIP_INIT | {"dropout": 0.5}),
        "augmentation": polynet(augmented, 3, SKIP_INIT),
        "augmentation, batch norm": polynet(augmented, 3, SKIP_INIT | {"norm": True}),
        "augmentation, 40 epochs": polynet(augmented.but(epochs=40), 3, SKIP_INIT),
    }


def residual() -> Study:
    """A residual network of products beside its twin in which they are sums."""
    recipe = POLYNET_RELIABLE.but(epochs=8, crop_padding=4, flip=True)
    return {
        label: [
            replace(run, model="poly_resnet20", model_args={"join": join})
            for run in polynet(recipe, 3)
        ]
        for label, join in (("products", "product"), ("sums (linear)", "linear"))
    }


STUDIES = (article, details, cure, joins, residual, long)


def studies(preset: str = "paper") -> dict[str, Study]:
    """The studies of the chapter, by name; "quick" is a miniature of each on digits."""
    full = {study.__name__: study() for study in STUDIES}
    return full if preset == "paper" else {n: miniature(s) for n, s in full.items()}


def miniature(study: Study) -> Study:
    """One seed of every condition: digits, three blocks at most, two epochs."""
    small = {}
    for label, runs in study.items():
        run, arguments = runs[0], dict(runs[0].model_args)
        if run.model == "polynet":
            arguments["blocks"] = min(int(arguments.get("blocks") or 5), 3)
        padding = min(run.recipe.crop_padding, 1)
        small[label] = [
            replace(
                run,
                dataset="digits",
                model_args=arguments,
                recipe=run.recipe.quick(2).but(crop_padding=padding),
            )
        ]
    return small
