"""The Π-Net chapter: networks without activation functions, on MNIST and CIFAR-10.

The article (`article`) prints a network, "about 99 %" on MNIST and "about 70 %" on
CIFAR-10. The other studies ask what decides that figure and what it leaves open.

All runs take hours (`papernets run pi_net --preset paper --jobs 2`; every record holds
its seconds). Preset "quick" runs one seed of every condition on `digits`, in minutes.
"""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch import nn

from papernets.data import Dataset
from papernets.experiments import Results, Study, compare, enumerated, mean_and_std
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

JOINS_EPOCHS = 3

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


def ablation() -> Study:
    """Which ingredient can be spared? The reliable recipe without one of them."""
    base = POLYNET_RELIABLE.quick(4)
    constant = base.but(schedule="constant", warmup_epochs=0.0)
    return {
        "all of the reliable recipe": polynet(base, 3, SKIP_INIT),
        "PyTorch's default init": polynet(base, 3),
        "pixels in [0, 1]": polynet(base.but(scaling="unit"), 3, SKIP_INIT),
        "no clipping": polynet(base.but(clip_grad_norm=None), 3, SKIP_INIT),
        "constant learning rate": polynet(constant, 3, SKIP_INIT),
        "highest learning rate 1e-3": polynet(base.but(lr=1e-3), 3, SKIP_INIT),
    }


def joins() -> Study:
    """What does the multiplication buy? Four joins, one to five blocks."""
    recipe = POLYNET_RELIABLE.quick(JOINS_EPOCHS)
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
    base = POLYNET_RELIABLE
    augmented = base.but(crop_padding=4, flip=True)
    return {
        "reliable recipe": polynet(base, 3, SKIP_INIT),
        "weight decay 1e-4": polynet(base.but(weight_decay=1e-4), 3, SKIP_INIT),
        "dropout 0.5": polynet(base, 3, SKIP_INIT | {"dropout": 0.5}),
        "augmentation": polynet(augmented, 3, SKIP_INIT),
        "augmentation, batch norm": polynet(augmented, 3, SKIP_INIT | {"norm": True}),
        "augmentation, 40 epochs": polynet(augmented.but(epochs=40), 3, SKIP_INIT),
    }


RESIDUAL: dict[str, dict[str, Setting]] = {
    "products": {"join": "product"},
    "sums (linear)": {"join": "linear"},
    "products, PyTorch's start": {"join": "product", "near_one": False},
}
ANEW = "products, averages made anew"


def residual() -> Study:
    """A residual network of products beside its twin in which they are sums.

    In a polynomial of degree 512 small errors of batch normalization's running averages
    grow; `ANEW` makes them anew, from 20 batches, before every scoring.
    """
    recipe = POLYNET_RELIABLE.quick(5).but(crop_padding=4, flip=True)

    def runs(recipe: Recipe, arguments: dict[str, Setting]) -> list[Run]:
        return [
            replace(run, model="poly_resnet20", model_args=arguments)
            for run in polynet(recipe, 3)
        ]

    study = {label: runs(recipe, arguments) for label, arguments in RESIDUAL.items()}
    study[ANEW] = runs(recipe.but(norm_batches=20), RESIDUAL["products"])
    return study


STUDIES = (article, details, ablation, cure, joins, residual, long)


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


# --- What the records say, in sentences ---------------------------------------------


def percent(runs: pd.DataFrame, condition: str, column: str) -> pd.Series:
    """An accuracy of every seed of a condition, in percent."""
    return 100 * runs.loc[runs.condition == condition, column].astype(float)


def best_condition(runs: pd.DataFrame) -> str:
    """The condition with the highest mean validation accuracy."""
    return str(runs.groupby("condition").validation_accuracy.mean().idxmax())


def report_article(results: Results) -> str:
    runs, lines = results.table(article()), []
    for condition, claim in (("MNIST", "about 99 %"), ("CIFAR-10", "about 70 %")):
        test = percent(runs, condition, "test_accuracy")
        train = percent(runs, condition, "train_accuracy")
        best = percent(runs, condition, "best_test_accuracy")
        lines.append(
            f"- {condition}: the article reports {claim}; we measure "
            f"**{mean_and_std(test)} %** ({count(test)}, last of 10 epochs), with "
            f"{mean_and_std(train)} % on the training images. Choosing the epoch by "
            f"the test set would have added {(best - test).mean():.2f} points."
        )
    return "\n".join(lines)


def report_long(results: Results, level: float = 70) -> str:
    curves = results.curves(long())
    seeds = curves.groupby("seed")
    first = [
        int(run.epoch[100 * run.test_accuracy >= level].min())
        for _, run in seeds
        if (100 * run.test_accuracy >= level).any()
    ]
    reached = f"in {len(first)} of {len(seeds)} runs"
    if first:
        reached += f", first in epoch {', '.join(map(str, first))}"
    last = curves[curves.epoch == curves.epoch.max()]
    best = 100 * curves.groupby("seed").test_accuracy.max()
    gap = 100 * (last.train_accuracy - last.test_accuracy)
    return (
        f"The test accuracy reaches {level:.0f} % {reached}; its highest value at any "
        f"epoch is {mean_and_std(best)} %. "
        f"After {curves.epoch.max()} epochs it is "
        f"**{mean_and_std(100 * last.test_accuracy)} %**, and the training accuracy "
        f"{gap.mean():.1f} points higher."
    )


def report_details(results: Results) -> str:
    return differences(results, details())


def report_ablation(results: Results) -> str:
    return differences(results, ablation())


def differences(results: Results, study: Study) -> str:
    """Every condition against the first one, by validation accuracy."""
    reference, *others = study
    if reference not in results.of(study):
        return f"*{reference}*, with which the others are compared, was not run yet."
    runs = results.table(study)
    base = percent(runs, reference, "validation_accuracy")
    lines = [f"Against *{reference}* with {mean_and_std(base)} % ({count(base)}):", ""]
    for condition in others:
        values = percent(runs, condition, "validation_accuracy")
        lines.append(
            f"- {condition}: {mean_and_std(values)} % ({count(values)}), "
            f"{compare(values, base)}."
            if len(values)
            else f"- {condition}: not run yet."
        )
    return "\n".join(lines)


def report_joins(results: Results) -> str:
    runs, lines = results.table(joins()), []
    for blocks in range(1, 6):
        part = runs[runs["model.blocks"] == blocks]
        accuracy = {
            join: 100 * part[part["model.join"] == join].test_accuracy.astype(float)
            for join in JOINS
        }
        product = accuracy["product"]
        lines.append(
            f"- {blocks} {'block' if blocks == 1 else 'blocks'}, degree {2**blocks}: "
            f"product {mean_and_std(product)} % ({count(product)}); against the linear "
            f"network {compare(product, accuracy['linear'])}, against ReLU "
            f"{compare(product, accuracy['relu'])}, against a product that is followed "
            f"by ReLU {compare(product, accuracy['product_relu'])}."
        )
    return "\n".join(lines)


def report_depths(results: Results) -> str:
    """With how many blocks the product is better than another join, or worse."""
    runs, texts = results.table(joins()), []
    runs["percent"] = 100 * runs.test_accuracy.astype(float)
    of_join = dict(list(runs.groupby("model.join")))
    for join, name in (("linear", "the linear network"), ("relu", "ReLU")):
        found: dict[str, list[str]] = {"higher": [], "tied": [], "lower": []}
        for blocks in range(1, 6):
            product, other = (
                part[part["model.blocks"] == blocks].percent
                for part in (of_join.get(j, runs[:0]) for j in ("product", join))
            )
            if len(product) and len(other):
                verdict = compare(product, other).split(" points ")[-1]
                found[verdict.replace("a tie", "tied")].append(str(blocks))
        parts = [
            f"{verdict} with {enumerated(numbers)}"
            for verdict, numbers in found.items()
            if numbers
        ]
        texts.append(f"against {name} {', '.join(parts) or 'not run yet'}")
    return f"Products by the number of blocks: {'; '.join(texts)}."


def report_cure(results: Results) -> str:
    runs = results.table(cure())
    best = best_condition(runs)
    test = percent(runs, best, "test_accuracy")
    train = percent(runs, best, "train_accuracy")
    text = (
        f"Best on the validation images: *{best}*, with **{mean_and_std(test)} %** on "
        f"the test images ({count(test)}) and {mean_and_std(train)} % on the training "
        "images."
    )
    reference = next(iter(cure()))
    if best == reference or reference not in set(runs.condition):
        return text
    base = percent(runs, reference, "test_accuracy")
    base_train = percent(runs, reference, "train_accuracy")
    return (
        f"{text} The {reference} alone: {mean_and_std(base)} % and "
        f"{mean_and_std(base_train)} %."
    )


def report_residual(results: Results) -> str:
    found = results.of(residual())
    products, sums, unprepared = RESIDUAL
    if products not in found or sums not in found:
        return "The two networks have not been compared yet."
    runs = results.table(residual())

    def said(condition: str, column: str = "test_accuracy") -> str:
        values = percent(runs, condition, column)
        return f"{mean_and_std(values)} % ({count(values)})"

    fair = ANEW if ANEW in found else products
    product, linear = (percent(runs, c, "test_accuracy") for c in (fair, sums))
    averages = "With averages made anew the" if fair == ANEW else "The"
    text = (
        f"{averages} network of products reaches {said(fair)}, that of {sums} "
        f"{said(sums)}: {compare(product, linear)}, with the same layers and "
        "parameters."
    )
    if fair == ANEW:
        text += (
            " Scored with the running averages of training instead, the products have "
            f"{said(products)}, though on the training images, where a batch has its "
            f"own averages, they have {said(products, 'train_accuracy')}."
        )
    if unprepared in found:
        text += (
            " With PyTorch's scale 1 and shift 0 in all normalisations, and running "
            f"averages, they reach {said(unprepared)}."
        )
    return text


def report_answer(results: Results) -> str:
    """The chapter's answer in one paragraph."""
    figures = "The article's network and recipe were not run yet."
    if set(results.of(article())) == set(article()):
        runs = results.table(article())
        mnist, cifar = (percent(runs, c, "test_accuracy") for c in article())
        figures = (
            f"The article's network and recipe give {mean_and_std(mnist)} % on MNIST "
            f"and {mean_and_std(cifar)} % on CIFAR-10 ({count(cifar)} each), where "
            "about 99 and 70 % were reported."
        )
    table = results.table(joins())
    five = table[table["model.blocks"] == 5]
    product, linear, relu = (
        100 * five[five["model.join"] == join].test_accuracy.astype(float)
        for join in ("product", "linear", "relu")
    )
    cured = results.table(cure())
    best = best_condition(cured)
    longest = percent(cured, best, "test_accuracy")
    return (
        f"{figures} {report_decisive(results)} With five blocks, {JOINS_EPOCHS} epochs "
        "and about equal parameters the products reach "
        f"{mean_and_std(product)} %, the linear network {mean_and_std(linear)} % and "
        f"ReLU {mean_and_std(relu)} % ({count(product)} each). "
        f"{report_depths(results)} Trained for longer (*{best}*) the same five "
        f"products reach {mean_and_std(longest)} % ({count(longest)})."
    )


def report_decisive(results: Results) -> str:
    """What the reliable recipe loses most by."""
    reference, *others = ablation()
    if reference not in results.of(ablation()):
        return "What decides was not run yet."
    runs = results.table(ablation())
    base = percent(runs, reference, "validation_accuracy")
    found = {c: percent(runs, c, "validation_accuracy") for c in others}
    lost = {
        c: base.mean() - values.mean() for c, values in found.items() if len(values)
    }
    if len(lost) < 2:
        return "What decides was not run yet."
    worst, second, *_ = sorted(lost, key=lambda c: -lost[c])
    return (
        "What decides is the recipe: the reliable one of this chapter loses "
        f"{lost[worst]:.1f} points of validation accuracy by one change (*{worst}*), "
        f"and {lost[second]:.1f} by another (*{second}*)."
    )


def count(values: pd.Series) -> str:
    return "1 seed" if len(values) == 1 else f"{len(values)} seeds"


# --- Live in the notebook ----------------------------------------------------------


def trained_on_large_digits(join: str = "product") -> tuple[nn.Module, Dataset]:
    """The article's five blocks, trained for three epochs on digits of 32x32 pixels.

    Every pixel of the digits is repeated 4 x 4 times. Takes about 10 s on one core.
    """
    from papernets import training
    from papernets.data import Split, load

    digits = load("digits")

    def enlarged(split: Split) -> Split:
        images = split.images.repeat_interleave(4, 2).repeat_interleave(4, 3)
        return Split(images, split.labels)

    large = replace(
        digits,
        train=enlarged(digits.train),
        validation=enlarged(digits.validation),
        test=enlarged(digits.test),
    )
    recipe = POLYNET_RELIABLE.quick(3).but(batch_size=32, precision="fp32")
    torch.manual_seed(0)
    arguments = {"join": join, "blocks": 5, **joined(join, 5)}
    model = training.build(polynet(recipe, 1, arguments)[0], large)
    training.fit(model, large, recipe)
    return model.eval(), large


def live(epochs: int = 10, seeds: int = 2) -> pd.DataFrame:
    """Four joins of three blocks, trained on digits now; columns as `records.load`.

    Takes about 15 s on one core.
    """
    from papernets import training
    from papernets.data import load

    digits = load("digits")
    recipe = POLYNET_RELIABLE.quick(epochs).but(batch_size=32, precision="fp32")
    rows = []
    for join, label in JOINS.items():
        for seed in range(seeds):
            torch.manual_seed(seed)
            run = polynet(recipe, 1, {"join": join, "blocks": 3, **joined(join, 3)})[0]
            model = training.build(replace(run, dataset="digits"), digits)
            result = training.fit(model, digits, recipe, seed=seed)
            rows.append(
                {
                    "condition": label,
                    "seed": seed,
                    "status": result.status,
                    "test_accuracy": result.test_accuracy,
                }
            )
    return pd.DataFrame(rows)
