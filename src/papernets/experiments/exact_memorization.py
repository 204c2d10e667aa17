"""The chapter on exact memorization: every training point, with error zero.

K. Inoue (2019) proves that hidden layers of a1 and a2 neurons represent any a1 a2
points; an article prints a program, and names sizes that it never ran. The studies ask
what that takes in time, memory and precision, and whether training finds it, too.

`papernets run exact_memorization --preset paper` makes all measurements, and every
record holds its seconds. Preset "quick" makes a miniature of every study on `digits`.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from papernets.experiments import Measurements, Results, enumerated, mean_and_std
from papernets.experiments.memorization_measures import (
    NEAR,
    constructed,
    growth,
    headline,
    learned,
    precision,
    precision_of_method,
    random_cases,
    random_points,
)
from papernets.memorization import memorize
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
GRID = {
    "Adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "SGD": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
}
WIDTHS = {"images": (1, 2), "small images": (1, 2, 4), "line": (1, 2)}
TUNING_SEED = 100  # not among those that are reported
# The best of the grid at full capacity on random digits; see `rates`.
LEARNING_RATES = {
    "images": {"Adam": 1e-3, "SGD": 3e-3, "L-BFGS": 1.0},
    "small images": {"Adam": 3e-3, "SGD": 1e-1, "L-BFGS": 1.0},
    "line": {"Adam": 1e-2, "SGD": 3e-1, "L-BFGS": 1.0},
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
        f"({a1}, {POINTS // a1 * 10}), 64 projections": measure(
            "precision", 3, "mnist", full(a1) | {"draws": 64, "bits": False}
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
            label = f"{share:.0%} without restarts"
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
        "both, 64 projections": {"draws": 64},
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
    return {
        inputs: training("Adam", inputs, **changes)
        for inputs in INPUTS
        if inputs != "images"
    }


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


# --- Tables ------------------------------------------------------------------------

FORMATS = {"float32": 24, "float64": 53, "longdouble": 64}  # bits; the last on x86


def sizes_table(results: Results) -> pd.DataFrame:
    """One row per headline size: time, memory and length of numbers, as text."""
    table = results.table(sizes()).set_index("condition")
    return pd.DataFrame(
        {
            "points": [f"{n:,}" for n in table.points],
            "outputs": table.outputs.astype(str),
            "built": [f"{s:.1f} s" for s in table.built_seconds],
            "verified": [f"{s:.0f} s" for s in table.verified_seconds],
            "peak memory": [f"{gb:.1f} GB" for gb in table.peak_memory_gb],
            "longest numerator": [f"{bits:,} bits" for bits in table.longest_bits],
            "all of W2": [f"{mb:,.0f} MB" for mb in table.megabytes],
            "wrong in float64": table.float64_wrong.astype(str),
        },
        index=list(table.index),
    ).T


def growth_table(results: Results) -> pd.DataFrame:
    """One row per network: side, method, seconds, longest numerator in bits."""
    columns = ["side", "method", "built_seconds", "verified_seconds", "longest_bits"]
    table = results.table(growing())[columns].explode(columns, ignore_index=True)
    return table.astype({name: float for name in columns if name != "method"})


def bits_tables(results: Results) -> dict[str, pd.DataFrame]:
    """What `plots.bits_needed` draws: x, bits and the name of the line, by x label."""
    method, shape, share = (results.table(s()) for s in (methods, shapes, used))
    share["restarts"] = ~share.condition.str.endswith("without restarts")
    lines = {True: "with restarts", False: "without restarts"}
    panels = {
        "a1 = a2, random points": (method.side, method, method.method),
        "a1, 10,000 images": (shape.a1, shape, shape.dataset.map(lambda _: "compact")),
        "images in (400, 250)": (share.points, share, share.restarts.map(lines)),
    }
    return {
        label: pd.DataFrame({"x": x, "bits": table.bits_needed, "line": line})
        for label, (x, table, line) in panels.items()
    }


def learning_table(results: Results) -> pd.DataFrame:
    """The runs of `learning`, with parameters per point."""
    table = results.table(learning())
    return table.assign(per_point=table.parameters / table.points)


# --- What the records say, in sentences ----------------------------------------------


def percent(values: pd.Series) -> str:
    return f"{mean_and_std(100 * values.astype(float), 1)} %"


def count(number: int, noun: str) -> str:
    """ "no seeds", "1 seed", "2 seeds"."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'s' if number != 1 else ''}"


def power(table: pd.DataFrame, column: str) -> float:
    """The exponent of growth with a1 = a2, fitted to the last four sizes."""
    last = table.sort_values("side").tail(4)
    return float(np.polyfit(np.log(last.side), np.log(last[column]), 1)[0])


def report_sizes(results: Results) -> str:
    lines = []
    for label, part in results.table(sizes()).groupby("condition", sort=False):
        row = part.iloc[0]
        lines.append(
            f"- {label}: {row.points:,} points, {count(row.outputs, 'output')}, are "
            f"built in **{row.built_seconds:.1f} s** and verified, all of them, in "
            f"{row.verified_seconds:.0f} s of processor time (by the clock of a busy "
            f"machine {row.built_wall_seconds:.0f} and {row.verified_wall_seconds:.0f} "
            f"s), with {row.peak_memory_gb:.1f} GB at most. Rounded to float64 the "
            f"network gives {count(row.float64_wrong, 'wrong answer')}."
        )
    return "\n".join(lines)


def report_growth(results: Results) -> str:
    table = growth_table(results)
    published = table[table.method == "inoue2019"]
    compact = table[table.method == "compact"]
    last, largest = published.iloc[-1], compact.iloc[-1]
    same = compact[compact.side == last.side].iloc[0]
    slow, fast = (power(part, "built_seconds") for part in (published, compact))
    hours = last.built_seconds * (100 / last.side) ** slow / 3600
    return (
        f"The published arithmetic takes {last.built_seconds:.0f} s of processor time "
        f"at {last.side:.0f} × {last.side:.0f} neurons. At a × a neurons it grows as "
        f"a<sup>{slow:.1f}</sup>, which makes about {hours:.0f} hours at 100 × 100. "
        f"The compact form takes {same.built_seconds:.2f} s at {last.side:.0f} × "
        f"{last.side:.0f} and {largest.built_seconds:.1f} s at {largest.side:.0f} × "
        f"{largest.side:.0f}, growing as a<sup>{fast:.1f}</sup>; "
        f"its longest numerator then has {largest.longest_bits:,.0f} bits. Both "
        "methods ran in one process, on the same points; the exponents are fitted to "
        "the four largest sizes of each."
    )


def report_cases(results: Results) -> str:
    table = results.table(cases())
    return (
        f"{table.compact.sum():,} random problems by the compact form and "
        f"{table.inoue2019.sum():,} by the published one, {table.points.sum():,} "
        "points in all: integers, fractions and floats, in clusters and next to each "
        "other, with one to four outputs. Every output of every network equals its "
        "target."
    )


def report_methods(results: Results) -> str:
    table = results.table(methods())
    means = table.groupby(["method", "side"]).bits_needed.mean()
    published, compact = means["inoue2019"], means["compact"]
    last, limit = published.index.max(), FORMATS["float64"]
    fits = published[published <= limit].index
    where = f"beyond {max(fits)} × {max(fits)}" if len(fits) else "at every size"
    return (
        "With the published choices the bits that give every label of random points "
        f"exceed float64's {limit} {where}: {published.iloc[0]:.0f} are needed at "
        f"{published.index[0]} × {published.index[0]} and {published[last]:.0f} at "
        f"{last} × {last}, where the compact form needs {compact[last]:.0f}."
    )


def report_shapes(results: Results) -> str:
    table = results.table(shapes())
    lines = []
    for label, part in table.groupby("condition", sort=False):
        fit = [name for name in FORMATS if (part[f"{name}_wrong"] == 0).all()]
        enough = (
            f"{enumerated(fit)} suffice{'s' if len(fit) == 1 else ''}"
            if fit
            else "no native format suffices"
        )
        lines.append(
            f"- {label}: {mean_and_std(part.bits_needed, 1)} bits; {enough} for all "
            f"{count(len(part), 'projection')}."
        )
    accuracy = percent(table.test_accuracy.dropna())
    return "\n".join(
        [
            *lines,
            "",
            "Of the 10,000 test images, which they have never seen, these networks "
            f"recognise {accuracy}; one in ten is chance.",
        ]
    )


def report_search(results: Results) -> str:
    table = results.table(search())
    lines = ["With a longer search, in the shapes with more chunks:", ""]
    for label, part in table.groupby("condition", sort=False):
        wrong = ", ".join(f"{n:,}" for n in part.float64_wrong)
        lines.append(f"- {label}: wrong answers in float64, by seed: {wrong}.")
    return "\n".join(lines)


def report_used(results: Results) -> str:
    lines = [
        f"- {label}: {mean_and_std(part.bits_needed, 1)} bits needed; "
        f"longest numerator {part.longest_bits.mean():,.0f} bits, all of W2 "
        f"{part.megabytes.mean():,.0f} MB."
        for label, part in results.table(used()).groupby("condition", sort=False)
    ]
    title = f"By the share of the capacity of {ARTICLE} neurons in use:"
    return "\n".join([title, "", *lines])


def report_choices(results: Results) -> str:
    table = results.table(choices())
    seeds = table.groupby("condition").size().max()
    lines = [
        "Largest error of a float64 output (mean of the logarithms over "
        f"{count(seeds, 'seed')}), and most wrong answers:",
        "",
    ]
    for label, part in table.groupby("condition", sort=False):
        errors = np.log10(part.float64_error.astype(float))
        overflows = int(part.float64_error.isna().sum())
        wrong = int(part.float64_wrong.max())
        lines.append(
            f"- {label}: 10<sup>{errors.mean():.1f}</sup>, "
            f"{'up to ' if wrong else ''}{count(wrong, 'wrong answer')}"
            + (f", {count(overflows, 'overflow')}." if overflows else ".")
        )
    return "\n".join(lines)


def report_learning(results: Results) -> str:
    table = learning_table(results)
    full_capacity = table[table.share == 1]
    seeds = full_capacity.groupby("condition").size().max()
    lines = [
        "Points that are answered correctly at full capacity, and in parentheses those "
        f"within {NEAR} of their target ({count(seeds, 'seed')} each; chance is one in "
        "ten):",
        "",
    ]
    for inputs in INPUTS:
        part = full_capacity[full_capacity.inputs == inputs]
        if part.empty:
            continue
        found = [
            f"{optimizer} {percent(runs.right)} ({percent(runs.near)} within {NEAR})"
            for optimizer, runs in part.groupby("optimizer", sort=False)
        ]
        lines.append(
            f"- {inputs}, {part.per_point.iloc[0]:.1f} parameters per point: "
            f"{', '.join(found)}."
        )
    built = results.table(exact())
    return "\n".join(
        [
            *lines,
            "",
            f"The construction gives all {built.exact.iloc[0]:,} points exactly in "
            f"every case, in {built.built_seconds.max():.2f} s at most.",
        ]
    )


def report_widths(results: Results) -> str:
    table = results.table(widths())
    lines = []
    for inputs in INPUTS:
        found = []
        for optimizer in OPTIMIZERS:
            part = table[(table.inputs == inputs) & (table.optimizer == optimizer)]
            width = part.get("width", pd.Series(index=part.index)).fillna(1)
            perfect = part.right.groupby(width).min() == 1
            if part.empty:
                continue
            reached = perfect[perfect].index.min()
            found.append(
                f"{optimizer} not up to × {width.max():.0f}"
                if pd.isna(reached)
                else f"{optimizer} at × {reached:.0f}"
            )
        if found:
            lines.append(f"- {inputs}: {', '.join(found)}.")
    title = (
        "The smallest multiple of both hidden layers' widths at which every seed "
        "answers every point correctly:"
    )
    return "\n".join([title, "", *lines])


def report_own(results: Results) -> str:
    own, random = results.table(own_labels()), results.table(learning())
    random = random[random.share == 1]
    lines = []
    for (inputs, optimizer), part in own.groupby(["inputs", "optimizer"], sort=False):
        same = random[(random.inputs == inputs) & (random.optimizer == optimizer)]
        lines.append(
            f"- {inputs}, {optimizer}: {percent(part.right)} right with the images' "
            f"own labels, {percent(same.right)} with random digits."
        )
    return "\n".join(lines)


def report_longer(results: Results) -> str:
    found = [
        f"{percent(part.right)} ({label})"
        for label, part in results.table(longer()).groupby("condition", sort=False)
    ]
    return (
        f"With {10 * EVALUATIONS:,} evaluations instead of {EVALUATIONS:,} Adam "
        f"answers correctly {enumerated(found)} at full capacity."
    )


def report_answer(results: Results) -> str:
    """The chapter's answer in one paragraph."""
    table = results.table(sizes())
    scalar, images = table[table.outputs == 1].iloc[0], table[table.outputs > 1].iloc[0]
    shape = results.table(shapes())
    article = shape[shape.condition == str(ARTICLE)]
    runs = learning_table(results)
    runs = runs[(runs.share == 1) & (runs.optimizer == "Adam")]
    trained = [
        f"{percent(part.right)} with {part.per_point.mean():.1f} parameters per point "
        f"({inputs})"
        for inputs, part in runs.groupby("inputs", sort=False)
    ]
    return (
        f"They work at the article's own sizes: {scalar.points:,} random points in "
        f"(100, 100) neurons are built in {scalar.built_seconds:.1f} s of processor "
        f"time, {images.points:,} MNIST images with ten outputs in {ARTICLE} neurons "
        f"in {images.built_seconds:.0f} s, and every output is proved to equal its "
        "target. In rounded arithmetic the latter needs "
        f"{mean_and_std(article.bits_needed, 1)} bits to answer all images correctly "
        f"({count(len(article), 'seed')}); float64 has {FORMATS['float64']}. It "
        f"recognises {percent(article.test_accuracy)} of the test images, where one in "
        "ten is chance. Whether training comes as far depends on the inputs, and with "
        "them on the number of parameters: at full capacity, with random labels, Adam "
        f"answers correctly {enumerated(trained)}; the construction looks at no more "
        "than the line, a single number for every image."
    )


# --- Live in the notebook ----------------------------------------------------------

# The example that the article prints: nine points with five inputs, 3 x 3 neurons.
EXAMPLE_X = (
    (93, 4, 14, 4, 27),
    (59, 91, 60, 14, 12),
    (58, 47, 31, 52, 6),
    (20, 69, 86, 98, 32),
    (80, 98, 37, 72, 76),
    (57, 85, 12, 60, 63),
    (35, 68, 23, 67, 49),
    (21, 2, 69, 51, 41),
    (38, 15, 42, 90, 28),
)
EXAMPLE_Y = (1, 81, 17, 65, 25, 33, 45, 77, 10)


def live_sizes() -> pd.DataFrame:
    """Squares of 5 and 30 neurons built and verified now, by both methods or one."""
    rows = []
    for side, method in ((5, "inoue2019"), (5, "compact"), (30, "compact")):
        x, y = random_points(side * side, seed=0)
        network = memorize(x, y, side, side, method=method)
        report = network.verify(x, y)
        rows.append(
            {
                "neurons": f"{side} × {side}",
                "method": method,
                "points verified": report.points,
                "longest numerator, bits": network.bits[0],
            }
        )
    return pd.DataFrame(rows)
