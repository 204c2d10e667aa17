"""What the records of the batch normalization chapter say, in tables and sentences.

Functions take the chapter's `Results`. Conditions without records are left out of
figures and called "not run yet" in tables and sentences. A learning rate is chosen by
the mean validation accuracy of its runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from papernets.experiments import (
    AnyStudy,
    Results,
    Study,
    compare,
    enumerated,
    mean_and_std,
)
from papernets.experiments.batch_norm import (
    ACTIVATIONS,
    CURES,
    NORMS,
    batch_composition,
    batch_sizes,
    covariate_shift,
    cures,
    grid,
    signal_flow,
    smoothness,
    steps_needed,
)
from papernets.experiments.batch_norm_measures import LEVELS, RANGES
from papernets.recipes import PLAIN_SGD

TRAINS = 90.0  # accuracy in percent from which on a network counts as trained
CHANCE = 15.0  # ... and below which it has learned nothing; always "1" gives 11.35
SIMILAR = 1.25  # ratios between this and its inverse count as no difference
TRAINING_IMAGES = 55_000
CAREFUL = "orthogonal start"
NOT_RUN = "not run yet"


# --- Rows of records ----------------------------------------------------------------


def by_network(table: pd.DataFrame) -> pd.DataFrame:
    """Add `activation` and `network`, as the label of the condition has them.

    Runs also get `lr`, and `validation` and `test` in percent, where a diverged run has
    validated 0.
    """
    names = table.condition.str.extract(r"(\w+), ([^,]+)")
    table = table.assign(activation=names[0], network=names[1])
    if "recipe.lr" in table:
        accuracy = 100 * table[["validation_accuracy", "test_accuracy"]].astype(float)
        table["lr"] = table["recipe.lr"]
        table["test"] = accuracy.test_accuracy
        finished = table.status == "finished"
        table["validation"] = accuracy.validation_accuracy.where(finished, 0.0)
    return table


def groups(study: AnyStudy) -> list[tuple[str, str]]:
    """The pairs of activation and network that a study compares."""
    pairs = (label.split(", ") for label in study)
    return list(dict.fromkeys((pair[0], pair[1]) for pair in pairs))


def of(table: pd.DataFrame, activation: str, network: str) -> pd.DataFrame:
    """The rows of one network."""
    return table[(table.activation == activation) & (table.network == network)]


def best_rate(runs: pd.DataFrame) -> float:
    """The learning rate with the highest mean validation accuracy."""
    return max(runs.lr.unique(), key=lambda lr: runs[runs.lr == lr].validation.mean())


def at_best_rate(runs: pd.DataFrame) -> pd.DataFrame:
    """Of every network the runs at its best learning rate."""
    parts = [
        part[part.lr == best_rate(part)]
        for _, part in runs.groupby(["activation", "network"], sort=False)
    ]
    return pd.concat(parts)


def largest_rate(runs: pd.DataFrame) -> float | None:
    """The largest rate at which every seed reaches `TRAINS`, if there is one."""
    worst = runs.groupby("lr").validation.min()
    trained = worst[worst >= TRAINS]
    return None if trained.empty else float(trained.index.max())


# --- Frames for figures -------------------------------------------------------------


def accuracy_map(results: Results, study: Study) -> pd.DataFrame:
    """Mean validation accuracy over activation, network, rate and epoch.

    An epoch that one of the seeds did not reach has none.
    """
    keys = ["activation", "network", "lr"]
    runs = by_network(results.table(study))[["key", *keys]]
    runs["made"] = runs.groupby(keys).key.transform("size")
    curves = runs.merge(results.curves(study).drop(columns="lr"), on="key")
    cells = curves.groupby([*keys, "epoch", "made"], sort=False)
    table = cells.validation_accuracy.agg(["mean", "size"]).reset_index()
    return table.assign(accuracy=table["mean"].where(table["size"] == table.made))


def every_run(results: Results, study: Study) -> pd.DataFrame:
    """Validation accuracy in percent: one row per condition, seed and epoch.

    `network` is the activation with the network; an epoch that a run did not reach,
    since it diverged, has no accuracy.
    """
    runs = by_network(results.table(study))
    runs["network"] = runs.activation + ", " + runs.network
    curves = results.curves(study)
    epochs = pd.DataFrame({"epoch": sorted(curves.epoch.unique())})
    reached = curves[["key", "epoch", "validation_accuracy"]]
    table = runs[["key", "network", "lr", "seed"]].merge(epochs, how="cross")
    table = table.merge(reached, on=["key", "epoch"], how="left")
    return table.assign(accuracy=100 * table.pop("validation_accuracy"))


def curves_at_best_rate(results: Results, study: Study) -> pd.DataFrame:
    """One row per epoch and seed; accuracies in percent."""
    chosen = at_best_rate(by_network(results.table(study)))
    curves = results.curves(study).drop(columns="lr")
    curves["validation_accuracy"] *= 100
    return chosen[["key", "activation", "network", "lr"]].merge(curves, on="key")


def over_layers(results: Results, moment: int) -> pd.DataFrame:
    """Spread, gradient and norm of the weights: one row per network, seed and layer.

    Args:
        moment: 0 is the start, -1 the end of the measurement.
    """
    table = by_network(results.table(signal_flow()))
    quantities = ["spread", "gradient", "weight"]
    for name in quantities:
        table[name] = [values[moment] for values in table[name]]
    table["layer"] = [list(range(1, len(v) + 1)) for v in table.spread]
    return table.explode([*quantities, "layer"], ignore_index=True)


def histograms(results: Results, moment: str) -> pd.DataFrame:
    """Distributions of activations at the "first" or the "last" moment."""
    table = results.table(signal_flow())
    ranges = [RANGES[activation] for activation in table.activation]
    table[["low", "high"]] = ranges
    return by_network(table.rename(columns={f"{moment}_histogram": "histogram"}))


def along_training(results: Results) -> pd.DataFrame:
    """Loss and gradient along the step: one row per network, seed and sampled step."""
    table = by_network(results.table(smoothness()))
    lists = ["loss", "lowest", "highest", "relative", "smoothness", "cosine"]
    table["step"] = [
        list(range(0, every * len(losses), every))
        for every, losses in zip(table.every, table.loss, strict=True)
    ]
    long = table.explode(["step", *lists], ignore_index=True)
    long[lists] = long[lists].astype(float)
    return long.assign(loss_range=long.highest - long.lowest)


def by_batch_size(results: Results) -> pd.DataFrame:
    """Test accuracy in percent: one row per batch size, seed and way to evaluate."""
    table = results.table(batch_sizes())
    titles = {name: title for title, name in ACTIVATIONS.items()}
    table["activation"] = table.activation.map(titles)
    ways = (
        ("batch", "running", "batch norm: running averages"),
        ("batch", "batch", "batch norm: the test batch"),
        ("batch", "population", "batch norm: all training images"),
        ("layer", "running", "layer norm"),
    )
    parts = [
        part.assign(evaluation=way, accuracy=100 * part[column].astype(float))
        for norm, column, way in ways
        if not (part := table[table.norm == norm]).empty
    ]
    return pd.concat(parts, ignore_index=True)


def by_test_batch(results: Results) -> pd.DataFrame:
    """Test accuracy in percent: one row per test batch size, seed and statistics."""
    table = results.table(batch_composition())
    table["running"] = [
        [running] * len(sizes)
        for running, sizes in zip(table.running, table.sizes, strict=True)
    ]
    ways = {
        "shuffled": "statistics of shuffled test batches",
        "sorted_by_class": "of test batches sorted by class",
        "running": "running averages",
    }
    parts = [
        table.assign(statistics=way, accuracy=table[column], batch_size=table.sizes)
        for column, way in ways.items()
    ]
    long = pd.concat(parts).explode(["accuracy", "batch_size"], ignore_index=True)
    return long.assign(accuracy=100 * long.accuracy.astype(float))


# --- Tables ------------------------------------------------------------------------


def network_table(
    results: Results, study: AnyStudy, row: Callable[[pd.DataFrame], Mapping[str, str]]
) -> pd.DataFrame:
    """A row of texts per network, made of its records by `row`."""
    table = by_network(results.table(study))
    rows = {
        f"{activation}, {network}": {"": NOT_RUN} if part.empty else row(part)
        for activation, network in groups(study)
        for part in [of(table, activation, network)]
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def overview(results: Results, study: Study) -> pd.DataFrame:
    """Runs, best rate, test accuracy there, and how far the rates go."""

    def row(runs: pd.DataFrame) -> dict[str, str]:
        largest = largest_rate(runs)
        return {
            "runs": f"{len(runs)}",
            "best rate": f"{best_rate(runs):g}",
            "test accuracy (%)": mean_and_std(at_best_rate(runs).test),
            "largest rate that trains": f"{largest:g}" if largest else "none",
            "diverged": f"{(runs.status == 'diverged').sum()}",
        }

    return network_table(results, study, row)


def signal_table(results: Results) -> pd.DataFrame:
    """Spread and gradient from one end of the network to the other, start and end."""

    def row(records: pd.DataFrame) -> dict[str, str]:
        texts = {}
        for name, title, first, last in (
            ("spread", "spread, layer 10 / 1", 0, -1),
            ("gradient", "gradient, layer 1 / 10", -1, 0),
        ):
            for moment, when in ((0, "at the start"), (-1, "after 2,000 steps")):
                ratios = [v[moment][last] / v[moment][first] for v in records[name]]
                texts[f"{title}, {when}"] = f"{geometric_mean(ratios):.2g}"
        return texts

    return network_table(results, signal_flow(), row)


def scale_table(results: Results) -> pd.DataFrame:
    """How the weights grow, and what that does to the effective rate lr / |W|²."""

    def row(records: pd.DataFrame) -> dict[str, str]:
        squares = np.square([[w[0], w[-1]] for w in records.weight])
        factor = (squares[:, 1] / squares[:, 0]).mean()
        steps = np.sum(records.pythagoras.tolist()) / np.sum(records.growth.tolist())
        return {
            "|W|², end / start": f"{factor:.2f}",
            "effective rate, end / start": f"{1 / factor:.2f}",
            "squared steps / growth of |W|²": f"{steps:.2f}",
        }

    return network_table(results, signal_flow(), row)


SHIFTS = {
    "layer_mean": "mean of a layer's input (in std)",
    "layer_variance": "its variance (relative)",
    "activation_mean": "mean before the activation (in std)",
    "gradient": "gradient, by the layers below (relative)",
    "cosine": "its cosine",
}


def shift_table(results: Results) -> pd.DataFrame:
    """Change in one step of what a layer gets: medians over layers and seeds."""
    return network_table(
        results,
        covariate_shift(),
        lambda r: {title: f"{median(r[name]):.2g}" for name, title in SHIFTS.items()},
    )


def smoothness_table(results: Results) -> pd.DataFrame:
    """Loss and gradient along the step: medians over sampled steps and seeds."""
    columns = {
        "relative": "change of the gradient (relative)",
        "cosine": "its cosine",
        "smoothness": "change / length of the step",
    }
    return network_table(
        results,
        smoothness(),
        lambda r: {title: f"{median(r[name]):.2g}" for name, title in columns.items()},
    )


def steps_table(results: Results) -> pd.DataFrame:
    """Steps to each of `LEVELS`, each at its fastest rate."""

    def row(records: pd.DataFrame) -> dict[str, str]:
        texts = {}
        for level in LEVELS:
            rate, steps = fastest(records, level)
            texts[f"{level} %"] = (
                "never"
                if steps is None
                else f"{mean_and_std(steps, 0)} (rate {rate:g})"
            )
        return texts

    return network_table(results, steps_needed(), row)


def fastest(records: pd.DataFrame, level: int) -> tuple[float | None, pd.Series | None]:
    """The rate at which all seeds reach `level` in the fewest steps, and those steps.

    None if at no rate all seeds reach it.
    """
    steps = records[f"steps_to_{level}"].astype(float)
    complete = [
        rate for rate in records.lr.unique() if steps[records.lr == rate].notna().all()
    ]
    if not complete:
        return None, None
    rate = min(complete, key=lambda rate: steps[records.lr == rate].mean())
    return rate, steps[records.lr == rate]


def geometric_mean(ratios: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(ratios)))))


def median(lists: pd.Series) -> float:
    """Of all numbers in lists of the same length; None counts as missing."""
    return float(np.nanmedian([np.array(values, float) for values in lists]))


# --- Sentences ----------------------------------------------------------------------


def verdict(percent: pd.Series) -> str:
    """What becomes of a network, from the accuracies of its seeds."""
    if (percent < CHANCE).all():
        return "stays at chance"
    trained = int((percent >= TRAINS).sum())
    if trained == len(percent):
        return "trains"
    return f"gets above {TRAINS:g} % with {trained} of {len(percent)} seeds"


def at_rate(runs: pd.DataFrame) -> str:
    """ "97.50 ± 0.10 % (5 seeds, rate 0.1)", the test accuracy at the best rate."""
    test = at_best_rate(runs).test
    number = "1 seed" if len(test) == 1 else f"{len(test)} seeds"
    return f"{mean_and_std(test)} % ({number}, rate {best_rate(runs):g})"


def report_answer(results: Results) -> str:
    """The chapter's answer in one paragraph: does it break, why, what else helps?"""
    runs, sentences, verdicts = by_network(results.table(grid())), [], set()
    made: list[pd.Series] = []
    for activation in ACTIVATIONS:
        with_, without = (of(runs, activation, name) for name in NORMS.values())
        if not (with_.empty or without.empty):
            normal, bare = (at_best_rate(part).test for part in (with_, without))
            made += [normal, bare]
            verdicts.add(verdict(bare))
            sentences.append(
                f"the {activation} network {verdict(bare)} ({mean_and_std(bare)} %; "
                f"with it {mean_and_std(normal)} %)"
            )
    depends = "That depends on the activation. " if len(verdicts) > 1 else ""
    parts = [
        f"{depends}Without batch normalization, at the best of "
        f"{runs.lr.nunique()} learning rates{seeds_each(made)}: {'; '.join(sentences)}."
    ]
    if fading := spread_left(results, "without"):
        parts.append(
            "A likely cause is that the image fades from layer to layer: before "
            "training, without normalization, a unit of layer 10 varies over the "
            f"images {listed(fading)} times as much as one of layer 1."
        )
    if any(CAREFUL in label for label in results.of(cures())):
        other = by_network(results.table(cures()))
        careful = {
            activation: at_best_rate(part).test
            for activation in ACTIVATIONS
            if not (part := of(other, activation, CAREFUL)).empty
        }
        texts = {a: f"{mean_and_std(test)} %" for a, test in careful.items()}
        others = all(verdict(test) == "trains" for test in careful.values())
        parts.append(
            ("Normalization is not the only cure: from" if others else "From")
            + " orthogonal initial weights, without any normalization, the networks"
            f"{seeds_each(careful.values())} reach {listed(texts)}."
        )
    return " ".join(parts)


def seeds_each(made: Iterable[pd.Series]) -> str:
    """ " (5 seeds each)", " (2 to 5 seeds each)"; nothing of nothing."""
    numbers = sorted({len(values) for values in made})
    text = " to ".join(dict.fromkeys(map(str, numbers[:1] + numbers[-1:])))
    return f" ({text} seeds each)" if numbers else ""


def listed(texts: Mapping[str, str]) -> str:
    """ "1 (sigmoid), 2 (tanh)", of texts by activation."""
    return ", ".join(f"{text} ({name})" for name, text in texts.items())


def spread_left(results: Results, network: str) -> dict[str, str]:
    """The spread over images in the last layer over that in the first, at the start."""
    if not results.of(signal_flow()):
        return {}
    table = by_network(results.table(signal_flow()))
    found = {}
    for activation in ACTIVATIONS:
        part = of(table, activation, network)
        if not part.empty:
            ratios = [moments[0][-1] / moments[0][0] for moments in part.spread]
            found[activation] = f"{geometric_mean(ratios):.2g}"
    return found


def report_grid(results: Results, study: Study | None = None) -> str:
    """With against without, for every activation."""
    runs, lines = by_network(results.table(study or grid())), []
    for activation in ACTIVATIONS:
        with_, without = (of(runs, activation, name) for name in NORMS.values())
        if with_.empty or without.empty:
            lines.append(f"- {activation}: {NOT_RUN}.")
            continue
        bare = at_best_rate(without).test
        line = (
            f"- {activation}: **{at_rate(with_)}** with normalization, "
            f"**{at_rate(without)}** without: it {verdict(bare)}."
        )
        largest, other = largest_rate(with_), largest_rate(without)
        if largest and other:
            ratio = largest / other
            line += (
                f" The largest rate that trains is {ratio:.3g} times as large with "
                "normalization."
            )
        elif largest:
            line += (
                f" The best of {len(without)} runs without, at "
                f"{without.lr.nunique()} rates, ends at {without.test.max():.2f} %."
            )
        lines.append(line)
    return "\n".join(lines)


def report_cures(results: Results) -> str:
    """Batch normalization beside layer normalization and careful starts."""
    normal, lines = by_network(results.table(grid())), []
    if not results.of(cures()):
        return f"The other cures: {NOT_RUN}."
    other = by_network(results.table(cures()))
    for activation in ACTIVATIONS:
        reference = of(normal, activation, "with")
        if reference.empty:
            lines.append(f"- {activation}: {NOT_RUN}.")
            continue
        base, parts = at_best_rate(reference).test, []
        for cure in CURES:
            runs = of(other, activation, cure)
            if runs.empty:
                parts.append(f"{cure}: {NOT_RUN}")
                continue
            test = at_best_rate(runs).test
            outcome = (
                compare(test, base)
                if test.mean() >= TRAINS
                else f"which {verdict(test)}"
            )
            parts.append(f"{cure} {at_rate(runs)}, {outcome}")
        lines.append(
            f"- {activation}: batch normalization {at_rate(reference)}; "
            f"{'; '.join(parts)}."
        )
    return "\n".join(lines)


def report_shift(results: Results) -> str:
    """Does normalization reduce the shift?"""
    return against_careful(
        results,
        covariate_shift(),
        {
            "layer_mean": "the mean of a layer's input changes",
            "layer_variance": "its variance",
            "gradient": "a layer's gradient, by the step of the layers below,",
        },
    )


def report_smoothness(results: Results) -> str:
    """Is the gradient more predictive?"""
    return against_careful(
        results,
        smoothness(),
        {
            "relative": "relative to its length the gradient changes",
            "smoothness": "relative to the length of the step",
        },
    )


def against_careful(
    results: Results, study: AnyStudy, quantities: Mapping[str, str]
) -> str:
    """Medians with normalization beside those of the bare network that trains.

    A difference has to show in every seed. The networks without normalization and
    without a careful start hardly move, and are no yardstick.
    """
    table = by_network(results.table(study))
    lines = [
        f"With normalization, against the *{CAREFUL}*, a factor of medians and its "
        f"range over seeds (from {1 / SIMILAR:g} to {SIMILAR:g} in any seed counts as "
        "no difference):",
        "",
    ]
    for activation in ACTIVATIONS:
        with_, careful = (of(table, activation, name) for name in ("with", CAREFUL))
        if with_.empty or careful.empty:
            lines.append(f"- {activation}: {NOT_RUN}.")
            continue
        seeds = sorted(set(with_.seed) & set(careful.seed))
        texts = []
        for name, title in quantities.items():
            ratios = [
                median(with_[with_.seed == seed][name])
                / median(careful[careful.seed == seed][name])
                for seed in seeds
            ]
            texts.append(
                f"{title} {less_or_more(ratios)} "
                f"(× {median(with_[name]) / median(careful[name]):.2g}, "
                f"{min(ratios):.2g} to {max(ratios):.2g})"
            )
        lines.append(f"- {activation}: {'; '.join(texts)}.")
    return "\n".join(lines)


def less_or_more(ratios: Sequence[float]) -> str:
    """What all seeds agree on."""
    if max(ratios) < 1 / SIMILAR:
        return "**less**"
    return "**more**" if min(ratios) > SIMILAR else "about as much"


def report_speed(results: Results, level: int = LEVELS[-1]) -> str:
    """The share of the steps that normalization needs to reach `level` percent."""
    table, lines = by_network(results.table(steps_needed())), []
    limit = 10 * (TRAINING_IMAGES // PLAIN_SGD.batch_size)
    for activation in ACTIVATIONS:
        with_ = of(table, activation, "with")
        _, steps = fastest(with_, level) if len(with_) else (None, None)
        if steps is None:
            lines.append(
                f"- {activation}, with: {NOT_RUN if with_.empty else 'never'}."
            )
            continue
        texts = []
        for name in ("without", CAREFUL):
            other = of(table, activation, name)
            if other.empty:
                continue
            _, reference = fastest(other, level)
            share = (
                100 * steps.mean() / (limit if reference is None else reference.mean())
            )
            bound, late = ("less than ", f" ({limit:,} do not suffice)")
            if reference is not None:
                bound = ""
                late = " (a tie)" if compare(steps, reference) == "a tie" else ""
            texts.append(f"{bound}**{share:.0f} %** of the steps of *{name}*{late}")
        lines.append(
            f"- {activation}: {level} % after {steps.mean():,.0f} steps with "
            f"normalization, {' and '.join(texts) or NOT_RUN}."
        )
    return "\n".join(lines)


def report_explanation(results: Results, level: int = LEVELS[-1]) -> str:
    """Is the network with the larger shift the slower one?"""
    shifts = by_network(results.table(covariate_shift()))
    records, lines = by_network(results.table(steps_needed())), []
    farther: dict[str, list[str]] = {"slower": [], "faster": [], "as fast": []}
    for activation in ACTIVATIONS:
        pairs = [
            (of(shifts, activation, name), of(records, activation, name))
            for name in (CAREFUL, "with")
        ]
        if any(part.empty for pair in pairs for part in pair):
            lines.append(f"- {activation}: {NOT_RUN}.")
            continue
        careful, normal = (median(moved.layer_mean) for moved, _ in pairs)
        steps = [fastest(needed, level)[1] for _, needed in pairs]
        if steps[0] is None or steps[1] is None:
            lines.append(f"- {activation}: one of them never reaches {level} %.")
            continue
        share = 100 * steps[0].mean() / steps[1].mean()
        tie = compare(steps[0], steps[1]) == "a tie"
        lines.append(
            f"- {activation}: from the orthogonal start the mean of a layer's input "
            f"moves {careful / normal:.2g} times as far, and it takes {share:.0f} % of "
            f"the steps to {level} %{', a tie' if tie else ''}."
        )
        slower = (share > 100) == (careful > normal)
        outcome = "as fast" if tie else "slower" if slower else "faster"
        farther[outcome].append(activation)
    said = [
        f"{how} with {enumerated(names)}" for how, names in farther.items() if names
    ]
    if said:
        lines += ["", f"The network whose inputs move farther is {enumerated(said)}."]
    return "\n".join(lines)


def report_cost(results: Results) -> str:
    """What a step costs, from the images per second of the grid."""
    runs = by_network(results.table(grid()))
    rate = runs.groupby("network").images_per_second.median()
    if len(rate) < 2:
        return f"The cost of a step: {NOT_RUN}."
    return (
        "A step with normalization takes "
        f"{rate['without'] / rate['with']:.2f} times as long as one without (medians "
        f"of {len(runs)} runs on one thread each)."
    )


def report_batch_sizes(results: Results) -> str:
    """Accuracy for every training batch size and way to evaluate."""
    table = by_batch_size(results)
    lines = [
        "Test accuracy in %, with the size of the training batches in parentheses "
        f"({table.seed.nunique()} seeds):",
        "",
    ]
    for name, part in table.groupby("evaluation", sort=False):
        texts = [
            f"{mean_and_std(rows.accuracy, 1)} ({size})"
            for size, rows in part.groupby("batch_size")
        ]
        lines.append(f"- {str(name).replace(':', ',')}: {', '.join(texts)}.")
    return "\n".join(lines)


def report_composition(results: Results) -> str:
    """How the test batch decides the accuracy of the article's layer."""
    table = by_test_batch(results)
    lines = [
        "Test accuracy in %, with the size of the test batches in parentheses "
        f"({table.seed.nunique()} seeds):",
        "",
    ]
    for activation, part in table.groupby("condition", sort=False):
        ways = part.groupby(["statistics", "batch_size"], sort=False).accuracy
        values = ways.agg(lambda accuracies: mean_and_std(accuracies, 1))
        *own, running = dict.fromkeys(part.statistics)
        texts = [
            f"{name} " + ", ".join(f"{values[name, n]} ({n})" for n in (1, 10, 100))
            for name in own
        ]
        lines.append(
            f"- {activation}: {running} {values[running].iloc[0]}; {'; '.join(texts)}."
        )
    return "\n".join(lines)
