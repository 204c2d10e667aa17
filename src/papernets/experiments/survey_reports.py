"""What the survey's comparisons and measurements say: one table, one sentence, frames.

Functions take the chapter's `Results`. Remarks are those of the survey's article and of
its papers, in this book's words. Comparisons are of test accuracies of runs, and of
validation accuracies of measurements, which look at a network in several ways; a
difference within one standard deviation is a tie. What has no records yet is "not run
yet" in the table, and missing in the frames, of which the figures say the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeGuard

import numpy as np
import pandas as pd

from papernets import records
from papernets.blocks import linear_survival
from papernets.experiments import (
    AnyStudy,
    Results,
    Study,
    compare,
    enumerated,
    mean_and_std,
)
from papernets.experiments.campaign import multiply_adds
from papernets.experiments.model_survey import equal_compute
from papernets.experiments.survey_measures import NUMBERS
from papernets.experiments.survey_phenomena import (
    BLOCKS,
    EPOCHS,
    FORMS,
    LESIONED,
    SEEDS,
    STUDIES,
    WAY_LABELS,
    alphas,
    block_orders,
    cardinality,
    columns,
    convs_per_block,
    dense,
    joins,
    lesion_study,
    mean_survival,
    slopes,
    survival,
    widening,
    width_or_depth,
    xception_residuals,
)
from papernets.records import MeasurementRecord, Run

HELD, FAILED, TIE = "held", "did not hold", "a tie"
NOT_RUN, DIVERGED, MEASURED = "not run yet", "diverged", "measured"
ARTICLE, ASKED = "the article", "asked, not said"
CHANCE = 10.0  # percent, what a run that diverged counts as
SYMMETRIC = 2.0  # standard deviations of a sum whose terms have random signs
HARDLY = 1.0  # points: a network that loses less hardly changes


@dataclass(frozen=True)
class Finding:
    """A remark, and what the records say about it."""

    remark: str
    by: str  # who made it
    measured: str
    verdict: str  # HELD, FAILED, TIE, MEASURED (nothing to judge), DIVERGED or NOT_RUN


# --- Rows of records ----------------------------------------------------------------


def finished(results: Results, study: AnyStudy) -> pd.DataFrame:
    """A row per record, without diverged ones; none if nothing was run."""
    if not results.of(study):
        return pd.DataFrame({"condition": [], "seed": []})
    table = results.table(study)
    return table[table.status == "finished"]


def accuracies(results: Results, study: Study) -> dict[str, pd.Series]:
    """Test accuracies in percent, one number per seed, of every condition.

    A run that diverged guesses.
    """
    found = {label: records.load(group) for label, group in results.of(study).items()}
    return {
        label: (100 * found[label].test_accuracy.astype(float)).fillna(CHANCE)
        if label in found
        else empty()
        for label in study
    }


def empty() -> pd.Series:
    return pd.Series(dtype=float)


def per_seed(
    table: pd.DataFrame, condition: str, value: Callable[[pd.Series], float]
) -> pd.Series:
    """A number of every record of a condition."""
    rows = table[table.condition == condition]
    return pd.Series([value(row) for _, row in rows.iterrows()], dtype=float)


# --- Verdicts -----------------------------------------------------------------------


def said(groups: Mapping[str, pd.Series], unit: str = "%", digits: int = 2) -> str:
    """ "one: 70.13 ± 0.42 %; other: 68.20 ± 0.31 %"."""
    texts = [f"{k}: {mean_and_std(v, digits)} {unit}" for k, v in groups.items()]
    return "; ".join(text.strip() for text in texts)


def judged(
    remark: str,
    by: str,
    groups: Mapping[str, pd.Series],
    winner: str,
    losers: Sequence[str],
    *,
    fewer: bool = False,
) -> Finding:
    """Whether one condition is better than each of some others.

    Args:
        remark: what was said.
        by: by whom.
        groups: percents of every condition, one number per seed.
        winner: the one that is said to be better.
        losers: those that it is compared with.
        fewer: lower numbers are better.

    The remark held if it beats all of them, and did not if one of them beats it.
    """
    if any(groups[label].empty for label in (winner, *losers)):
        return Finding(remark, by, NOT_RUN, NOT_RUN)
    better, worse = ("lower", "higher") if fewer else ("higher", "lower")
    differences = {label: compare(groups[winner], groups[label]) for label in losers}
    verdict = TIE
    if all(text.endswith(better) for text in differences.values()):
        verdict = HELD
    if any(text.endswith(worse) for text in differences.values()):
        verdict = FAILED
    texts = [
        f"{said({label: groups[label]})} ({text})"
        for label, text in differences.items()
    ]
    measured = f"{said({winner: groups[winner]})}, against {', '.join(texts)}"
    return Finding(remark, by, measured, verdict)


def equal(
    remark: str, by: str, groups: Mapping[str, pd.Series], one: str, other: str
) -> Finding:
    """Whether two conditions are the same; see `judged`."""
    found = judged(remark, by, groups, one, [other])
    verdicts = {TIE: HELD, NOT_RUN: NOT_RUN}
    return Finding(remark, by, found.measured, verdicts.get(found.verdict, FAILED))


def larger(
    remark: str,
    by: str,
    groups: Mapping[str, pd.Series],
    one: str,
    other: str,
    unit: str = "",
    digits: int = 3,
) -> Finding:
    """Whether numbers that are no percents are larger; ties are those of `compare`."""
    a, b = groups[one], groups[other]
    if a.empty or b.empty:
        return Finding(remark, by, NOT_RUN, NOT_RUN)
    difference, spread = a.mean() - b.mean(), np.nanmax([a.std(), b.std(), 0.0])
    verdict = HELD if difference > 0 else FAILED
    if abs(difference) <= spread:
        verdict = TIE
    text = said({one: a, other: b}, unit=unit, digits=digits)
    return Finding(remark, by, text, verdict)


# --- The remarks --------------------------------------------------------------------


def findings(results: Results) -> list[Finding]:
    """Every remark of the article and its papers that was put to the test."""
    found = []
    for study, judge in JUDGES:
        planned = study()
        made = [record for group in results.of(planned).values() for record in group]
        total = sum(len(tasks) for tasks in planned.values())
        diverged = sum(
            isinstance(record, MeasurementRecord)
            and record.values["status"] == "diverged"
            for record in made
        )
        for finding in judge(results):
            if finding.verdict != NOT_RUN:
                if diverged:
                    finding = noted(finding, f"{diverged} of the study diverged")
                if len(made) < total and study in STUDIES:
                    finding = noted(finding, f"{len(made)} of {total} records so far")
            elif diverged and len(made) == total:
                finding = replace(finding, measured=DIVERGED, verdict=DIVERGED)
            found.append(finding)
    return found


def noted(finding: Finding, note: str) -> Finding:
    return replace(finding, measured=f"{finding.measured}; {note}")


def of_norms(results: Results) -> list[Finding]:
    """Two networks at equal cost without and with batch normalization."""
    found = accuracies(results, equal_compute())
    return [
        judged(
            f"{title} is more accurate with batch normalization",
            *(ARTICLE, found, f"{model}_bn", [model]),
        )
        for title, model in (("NIN", "nin"), ("GoogLeNet", "googlenet"))
    ]


def of_depth(results: Results) -> list[Finding]:
    depth = accuracies(results, width_or_depth())
    return [
        judged(
            "At equal cost width beats depth, once a network is deep enough",
            *(ARTICLE, depth, "16 layers", ["40 layers"]),
        )
    ]


def of_orders(results: Results) -> list[Finding]:
    orders = accuracies(results, block_orders())
    original, *_, without_relu, full = FORMS
    others = [label for label in FORMS if label != full]
    return [
        judged(
            "No ReLU on a block's output, batch normalization where it was",
            *(ARTICLE, orders, without_relu, [original]),
        ),
        judged(
            "Blocks of BN-ReLU-conv rather than the original ones",
            *(ARTICLE, orders, full, [original]),
        ),
        judged(
            "BN-ReLU-conv is the best of five orders",
            *("paper of row 11", orders, full, others),
        ),
    ]


def of_convs(results: Results) -> list[Finding]:
    convs = accuracies(results, convs_per_block())
    two = "2 per block"
    return [
        judged(
            "Two 3x3 convolutions in a block are better than 1, 3 or 4",
            *(ARTICLE, convs, two, [label for label in convs if label != two]),
        )
    ]


def of_joins(results: Results) -> list[Finding]:
    joined = accuracies(results, joins())
    mean, convolved = "mean with the identity", "mean with a convolution"
    return [
        equal(
            "A join by the mean is essentially a residual",
            *(ARTICLE, joined, mean, "sum with the identity"),
        ),
        equal(
            "Two convolved paths may be joined by the mean or by the sum",
            *(ASKED, joined, convolved, "sum with a convolution"),
        ),
        judged(
            "The mean of two convolved paths is better than one path alone",
            *(ASKED, joined, convolved, ["no join"]),
        ),
    ]


def of_widening(results: Results) -> list[Finding]:
    ways = accuracies(results, widening())
    before, after = WAY_LABELS["before"], WAY_LABELS["after"]
    return [
        judged(
            "Channels should be added before the image is halved",
            *(ARTICLE, ways, before, [after]),
        ),
        judged(
            "Better still is to add a few channels in every layer",
            *("paper of row 21", ways, WAY_LABELS["gradual"], [before]),
        ),
    ]


def of_cardinality(results: Results) -> list[Finding]:
    study = cardinality()
    paths = accuracies(results, study)
    one, *_, most = paths
    found = judged(
        "Many narrow paths are better than one wide one of as many parameters",
        *("paper of row 23", paths, most, [one]),
    )
    if found.verdict != NOT_RUN:
        costs = [multiply_adds(study[label][0]) / 1e6 for label in (most, one)]
        cost = "; {:.1f} against {:.1f} million multiply-adds".format(*costs)
        found = replace(found, measured=found.measured + cost)
    return [found]


def of_survival(results: Results) -> list[Finding]:
    rules = accuracies(results, survival())
    every, linear, *others = rules
    table = finished(results, survival())
    time = {label: empty() for label in rules}
    if len(table):
        seconds = results.curves(survival()).groupby(["condition", "seed"]).seconds
        spent = seconds.min() * seconds.count()  # as `RunRecord.undisturbed_seconds`
        base = spent.get(every, empty()).mean()
        time = {
            label: 100 * spent.get(label, empty()).reset_index(drop=True) / base
            for label in rules
        }
        if pd.isna(base):
            time = {label: empty() for label in rules}
    expected = 100 * mean_survival(BLOCKS, 0.5)
    saving = judged(
        "Skipped blocks save training time (in percent of that with all blocks; "
        f"{expected:.0f} % of the blocks run)",
        *("paper of row 13", time, linear, [every]),
        fewer=True,
    )
    return [
        judged(
            "Stochastic depth makes a network more accurate",
            *("paper of row 13", rules, linear, [every]),
        ),
        judged(
            "Survival that falls linearly is the most accurate",
            *(ARTICLE, rules, linear, others),
        ),
        saving,
    ]


def thirds(values: Sequence[float], halving: bool = True) -> tuple[float, float]:
    """Means of the absolute values of the first and of the last third.

    Args:
        values: one per block of three stages.
        halving: with the block that halves the image, the first of the last stage.
    """
    sizes = np.abs(np.asarray(values, float))
    third = max(1, len(sizes) // 3)
    start = len(sizes) - third + (not halving)
    return float(sizes[:third].mean()), float(sizes[start:].mean())


def asymmetry(values: Sequence[float]) -> float:
    """|sum| over the root of the sum of squares: about 1 if signs are random."""
    numbers = np.asarray(values, float)
    return float(abs(numbers.sum()) / np.sqrt((numbers**2).sum()))


def symmetric(remark: str, by: str, sums: pd.Series) -> Finding:
    """Whether sums, over their spread for random signs, are small in every seed."""
    if sums.empty:
        return Finding(remark, by, NOT_RUN, NOT_RUN)
    text = said({"|sum| over its spread for random signs": sums}, unit="")
    return Finding(remark, by, text, HELD if (sums < SYMMETRIC).all() else FAILED)


def unscaled(row: pd.Series, name: str) -> list[float]:
    """Sizes of branches without the survival that multiplies them in evaluation."""
    values = row[name]
    return [
        value / linear_survival(block, len(values), row.survival)
        for block, value in enumerate(values, 1)
    ]


FIRST, LAST = "first third of blocks", "last third"


def ends(
    table: pd.DataFrame, label: str, value: Callable[[pd.Series], tuple[float, float]]
) -> dict[str, pd.Series]:
    """A number of the first and of the last third of the blocks, one per seed."""
    return {
        FIRST: per_seed(table, label, lambda row: value(row)[0]),
        LAST: per_seed(table, label, lambda row: value(row)[1]),
    }


def of_alphas(results: Results) -> list[Finding]:
    """Of networks trained with all blocks, and of those with stochastic depth.

    Zeros are half of what passes by a block that halves the image, so these are left
    out of sizes that are compared with it.
    """
    table, found = finished(results, alphas()), []
    for label in alphas():
        title, upper = f"Weighted residuals, {label}", "larger in upper layers"
        sizes = ends(table, label, lambda row: thirds(row.alpha[-1]))
        sums = per_seed(table, label, lambda row: asymmetry(row.alpha[-1]))
        found += [
            larger(f"{title}: |alpha| is {upper}", ARTICLE, sizes, LAST, FIRST),
            symmetric(f"{title}: alpha lies symmetrically around zero", ARTICLE, sums),
        ]
        for what, name in (("F(x)", "unweighted"), ("alpha F(x)", "share")):

            def against_shortcut(
                row: pd.Series, name: str = name
            ) -> tuple[float, float]:
                return thirds(unscaled(row, name), halving=False)

            remark = f"{title}: {what}, against its shortcut, is {upper}"
            groups = ends(table, label, against_shortcut)
            found.append(larger(remark, ASKED, groups, LAST, FIRST))
    return found


def of_columns(results: Results) -> list[Finding]:
    frame = column_frame(results)
    frame = frame[frame.averages == "its own"]
    groups = {
        f"{form}, {condition}": part.accuracy
        for (condition, form), part in frame.groupby(["condition", "form"], sort=False)
    }
    dropped, whole, alone = columns()
    names = {
        "dropped": f"column 3, {dropped}",
        "whole": f"column 3, {whole}",
        "alone": f"column 3, {alone}",
        "dropped, joined": f"joined, {dropped}",
        "whole, joined": f"joined, {whole}",
    }
    for name in names.values():
        groups.setdefault(name, empty())
    running = joined_by_averages(results, dropped)
    return [
        judged(
            "Columns: alone, the deepest is more accurate after drop-path than without",
            *("paper of row 16", groups, names["dropped"], [names["whole"]]),
        ),
        judged(
            "Columns: the deepest is more accurate after drop-path than trained alone",
            *(ASKED, groups, names["dropped"], [names["alone"]]),
        ),
        judged(
            "Columns: all of them joined are more accurate with drop-path",
            *(ASKED, groups, names["dropped, joined"], [names["whole, joined"]]),
        ),
        judged(
            "Columns: after drop-path, batch normalization needs averages made anew",
            *(ASKED, running, "made anew", ["those of training"]),
        ),
    ]


def joined_by_averages(results: Results, condition: str) -> dict[str, pd.Series]:
    """Accuracy of all columns joined, by the averages used."""
    frame = column_frame(results)
    frame = frame[(frame.condition == condition) & (frame.form == "joined")]
    return {
        name: frame.loc[frame.averages == averages, "accuracy"]
        for name, averages in (
            ("those of training", "of training"),
            ("made anew", "its own"),
        )
    }


def of_xception(results: Results) -> list[Finding]:
    study = xception_residuals()
    last = accuracies(results, study)
    with_them, without = study
    needed = {label: empty() for label in study}
    if len(finished(results, study)):
        curves = results.curves(study)
        seeds = [curves.condition, curves.seed]
        level = curves.test_accuracy.groupby(seeds).max().min()
        first = curves[curves.test_accuracy >= level].groupby(["condition", "seed"])
        for (label, _), epoch in first.epoch.min().items():
            needed[label] = pd.concat([needed[label], pd.Series([float(epoch)])])
    return [
        larger(
            "Xception needs more epochs without residuals for what all seeds reach",
            *(ARTICLE, needed, without, with_them),
            unit="epochs",
            digits=1,
        ),
        judged(
            f"Residuals make Xception more accurate after {EPOCHS} epochs",
            *(ASKED, last, with_them, [without]),
        ),
    ]


def of_lesions(results: Results) -> list[Finding]:
    table = finished(results, lesion_study())

    def share(row: pd.Series) -> float:
        """Percent of the accuracy above chance, lost with a block that halves none."""
        before = [row.side[0], *row.side]  # a pooling may lie between two layers
        blocks = zip(row.keeps_shape, row.side, before, strict=False)
        free = [
            i for i, (keeps, out, ahead) in enumerate(blocks) if keeps or out == ahead
        ]
        left = 100 * float(np.mean([row.removed[i] for i in free]))
        whole = 100 * row.accuracy
        return 100 * (whole - left) / (whole - CHANCE)

    losses = {label: per_seed(table, label, share) for label in LESIONED}
    resnet, stochastic, pyramid, highway, plain = LESIONED
    found = [
        judged(text, by, losses, one, [other], fewer=True)
        for text, by, one, other in (
            (
                "Residual networks suffer less from a lost block than plain ones",
                *("Veit et al. 2016", resnet, plain),
            ),
            (
                "A layer of a Highway network is less missed than a plain block",
                *(ASKED, highway, plain),
            ),
            (
                "Stochastic depth makes a network suffer less from a lost block",
                *(ASKED, stochastic, resnet),
            ),
            (
                "PyramidNets suffer less from a lost block than ResNets",
                *("paper of row 21", pyramid, resnet),
            ),
        )
    ]

    def lost(network: str, way: str, place: int) -> pd.Series:
        return per_seed(
            table, network, lambda row: 100 * (row.accuracy - row[way][place])
        )

    # The survey says of Highway networks only that upper layers may be missing.
    for network, others in ((highway, ASKED), (resnet, ARTICLE)):
        found += [
            hardly(f"{network}: hardly changed {text}", by, lost(network, way, 0))
            for way, text, by in (
                ("last", "without its last two layers or blocks", ARTICLE),
                ("any", "without two of any place", others),
                ("exchanged", "if two pairs are exchanged", others),
            )
        ]
        few, many = "without the last two", f"without the last {NUMBERS[-1]}"
        groups = {few: lost(network, "last", 0), many: lost(network, "last", -1)}
        found.append(
            larger(
                f"{network}: loses more if too many upper layers are removed",
                *(ARTICLE, groups, many, few),
                unit="points",
                digits=2,
            )
        )
    return found


def hardly(remark: str, by: str, lost: pd.Series) -> Finding:
    """Whether fewer than `HARDLY` points are lost, by more or less than the spread."""
    if lost.empty:
        return Finding(remark, by, NOT_RUN, NOT_RUN)
    distance = HARDLY - lost.mean()
    verdict = HELD if distance > 0 else FAILED
    if abs(distance) <= np.nan_to_num(lost.std()):
        verdict = TIE
    return Finding(remark, by, said({"lost": lost}, unit="points"), verdict)


def of_slopes(results: Results) -> list[Finding]:
    table = slope_frame(results)
    table = table[table.convolutional.astype(bool)]
    place = table.groupby("seed").cumcount() + 1
    count = table.groupby("seed")["mean"].transform("size")
    third = (count // 3).clip(lower=1)
    # A stage is what lies between two poolings; its neighbours are in it.
    flags = table.before_pooling.astype(int)
    stage = flags.groupby(table.seed).cumsum() - flags
    by_stage = [table.seed, stage]
    mixed = table.before_pooling.groupby(by_stage).transform("nunique") == 2
    groups = {
        name: part.groupby("seed")["mean"].mean()
        for name, part in (
            ("before pooling", table[mixed & (flags == 1)]),
            ("others of the same stages", table[mixed & (flags == 0)]),
        )
    }
    ends = {
        name: table[part].groupby("seed")["mean"].mean()
        for name, part in (
            ("first third", place <= third),
            ("last third", place > count - third),
            ("first third without the first of all", place.between(2, third)),
        )
    }
    remark = "Slopes of PReLU are larger in the first layers"
    return [
        larger(remark, ARTICLE, ends, "first third", "last third"),
        larger(
            f"{remark}, also without the very first",
            *(ASKED, ends, "first third without the first of all", "last third"),
        ),
        larger(
            "Slopes of PReLU are larger before a pooling",
            *(ARTICLE, groups, "before pooling", "others of the same stages"),
        ),
    ]


def of_dense(results: Results) -> list[Finding]:
    remark, by = (
        "Layers of a dense block spread their weights over all before them",
        "paper of row 19",
    )
    table = finished(results, dense())
    if table.empty:
        return [Finding(remark, by, NOT_RUN, NOT_RUN)]
    condition = next(iter(dense()))

    def mean_of(value: Callable[[pd.Series], float]) -> pd.Series:
        return per_seed(table, condition, value)

    weights = {
        "before": mean_of(lambda row: far_share(row.initial)),
        "after training": mean_of(lambda row: far_share(row.blocks)),
    }
    needs = {
        "the farthest layer": mean_of(lambda row: far_and_near(row.needed)[0]),
        "the nearest": mean_of(lambda row: far_and_near(row.needed)[1]),
    }
    text = (
        f"mean weight of the farthest layer over that of the nearest, {said(weights)}"
        f"; rise of the loss without {said(needs, unit='nats', digits=3)}"
    )
    return [Finding(remark, by, text, MEASURED)]


Matrices = Sequence[Sequence[Sequence[float | None]]]


def far_and_near(blocks: Matrices) -> tuple[float, float]:
    """Means of what belongs to the farthest and to the nearest layer that one reads.

    Over all layers of dense blocks that read two or more. The block's input, which all
    read, is left out: it has more channels than a layer.
    """
    far, near = [], []
    for matrix in np.array(blocks, float):
        inner = matrix[:-1, :-1]  # what follows the block is no layer of it
        far += list(inner[1, 2:])
        near += list(inner.diagonal()[2:])
    return float(np.mean(far)), float(np.mean(near))


def far_share(blocks: Matrices) -> float:
    """The farthest in percent of the nearest; see `far_and_near`."""
    far, near = far_and_near(blocks)
    return 100 * far / near


JUDGES: tuple[
    tuple[Callable[[], AnyStudy], Callable[[Results], list[Finding]]], ...
] = (
    (equal_compute, of_norms),
    (width_or_depth, of_depth),
    (block_orders, of_orders),
    (convs_per_block, of_convs),
    (survival, of_survival),
    (alphas, of_alphas),
    (joins, of_joins),
    (columns, of_columns),
    (widening, of_widening),
    (xception_residuals, of_xception),
    (cardinality, of_cardinality),
    (lesion_study, of_lesions),
    (slopes, of_slopes),
    (dense, of_dense),
)


# --- The table and the sentence -----------------------------------------------------


def remarks(results: Results) -> pd.DataFrame:
    """One row per remark: `remark`, `by`, `measured`, `verdict`."""
    return pd.DataFrame([asdict(finding) for finding in findings(results)])


def report_remarks(results: Results) -> str:
    """How many of the remarks held, and of those that this book adds."""
    table = remarks(results)
    if table.verdict.isin([NOT_RUN, MEASURED]).all():
        return f"Tests of the remarks: {NOT_RUN}."
    own = table.by == ASKED
    chance = 100 * chance_of_a_verdict(SEEDS)
    return (
        f"{counted(table[~own], 'tests of remarks of the survey and its papers')}. "
        f"{counted(table[own], 'tests of other questions')}. Two conditions that do "
        f"not differ get a verdict in {chance:.0f} % of comparisons of {SEEDS} seeds "
        "(simulated, normal spread)."
    )


def counted(table: pd.DataFrame, what: str) -> str:
    """ "Of 3 remarks 1 held and 2 were not run yet"."""
    counts = {
        HELD: "held",
        FAILED: "did not",
        TIE: "ended in a tie",
        DIVERGED: "diverged",
        NOT_RUN: "were not run yet",
    }
    verdicts = table.verdict[table.verdict != MEASURED]
    texts = [
        f"{number} {words}"
        for verdict, words in counts.items()
        if (number := int((verdicts == verdict).sum()))
    ]
    return f"Of {len(verdicts)} {what} {enumerated(texts)}"


def chance_of_a_verdict(seeds: int, draws: int = 100_000) -> float:
    """How often `compare` finds a difference between two samples of one normal."""
    samples = np.random.default_rng(0).standard_normal((2, draws, seeds))
    one, other = samples.mean(-1)
    spread = samples.std(-1, ddof=1).max(0)
    return float((np.abs(one - other) >= spread).mean())


# --- Tables of comparisons ----------------------------------------------------------


def comparisons(results: Results) -> dict[str, pd.DataFrame]:
    """Question and table of every comparison of trained networks that has a record.

    The table is that of `Results.summary`, accuracies first, which a narrow screen
    shows without scrolling; measurements have figures instead.
    """
    return {
        (study.__doc__ or study.__name__).partition("\n")[0]: accuracies_first(
            results.summary(planned)
        )
        for study in STUDIES
        if is_comparison(planned := study()) and results.of(planned)
    }


def typical_spread(results: Results) -> float:
    """Median standard deviation of test accuracies, in points, of all comparisons.

    NaN if no condition has two seeds.
    """
    studies = [planned for study in STUDIES if is_comparison(planned := study())]
    spreads = [
        values.std()
        for study in studies
        for values in accuracies(results, study).values()
    ]
    return float(pd.Series(spreads, dtype=float).median())


def accuracies_first(summary: pd.DataFrame) -> pd.DataFrame:
    first = ["test", "validation", "train"]
    return summary[first + [name for name in summary if name not in first]]


def is_comparison(study: AnyStudy) -> TypeGuard[Study]:
    """Whether the study's tasks are runs, not measurements."""
    return all(isinstance(task, Run) for tasks in study.values() for task in tasks)


# --- Frames for figures -------------------------------------------------------------


def frame(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows of a figure; the columns are there even if no row is."""
    return pd.DataFrame(list(rows), columns=list(columns))


def slope_frame(results: Results) -> pd.DataFrame:
    """One row per seed and PReLU, counted from 1; `spread` is that over channels."""
    table = finished(results, slopes())
    names = ("mean", "spread", "before_pooling", "convolutional")
    rows = [
        {"seed": r.seed, "layer": i, **dict(zip(names, values, strict=True))}
        for _, r in table.iterrows()
        for i, values in enumerate(zip(*(r[n] for n in names), strict=True), 1)
    ]
    return frame(("seed", "layer", *names), rows)


def lesion_frame(results: Results) -> pd.DataFrame:
    """One row per network, seed and block: points lost without it, or swapped.

    `swapped` is missing where the block and the next one differ in shape, `gate` in
    networks other than Highway.
    """
    table = finished(results, lesion_study())
    rows = []
    for _, row in table.iterrows():
        number = len(row.removed)
        gate = row.get("gate")
        gate = gate if isinstance(gate, list) else [None] * number
        for i in range(number):
            swapped = row.swapped[i]
            rows.append(
                {
                    "network": row.condition,
                    "seed": row.seed,
                    "block": i + 1,
                    "side": row.side[i],
                    "removed": 100 * (row.accuracy - row.removed[i]),
                    "swapped": None
                    if swapped is None
                    else 100 * (row.accuracy - swapped),
                    "gate": gate[i],
                }
            )
    names = ("network", "seed", "block", "side", "removed", "swapped", "gate")
    return frame(names, rows)


def together_frame(results: Results) -> pd.DataFrame:
    """One row per network, seed, `way` and `number` of blocks: accuracy in percent.

    Ways are "last", "any" and "exchanged"; see `survey_measures.lesions`.
    """
    table = finished(results, lesion_study())
    rows = [
        {"network": r.condition, "seed": r.seed, "way": way, "number": n, "accuracy": a}
        for _, r in table.iterrows()
        for way in ("last", "any", "exchanged")
        if isinstance(r.get(way), list)
        for n, a in zip(
            [0, *r.numbers], 100 * np.array([r.accuracy, *r[way]]), strict=True
        )
    ]
    return frame(("network", "seed", "way", "number", "accuracy"), rows)


def alpha_frame(results: Results) -> pd.DataFrame:
    """One row per condition, seed, epoch and block, with `alpha`."""
    table = finished(results, alphas())
    rows = [
        {"condition": r.condition, "seed": r.seed, "epoch": e, "block": b, "alpha": a}
        for _, r in table.iterrows()
        for e, epoch in enumerate(r.alpha, 1)
        for b, a in enumerate(epoch, 1)
    ]
    return frame(("condition", "seed", "epoch", "block", "alpha"), rows)


def share_frame(results: Results) -> pd.DataFrame:
    """One row per condition, seed and block, with `share` of alpha F(x) against x."""
    table = finished(results, alphas())
    rows = [
        {"condition": r.condition, "seed": r.seed, "block": b, "share": share}
        for _, r in table.iterrows()
        for b, share in enumerate(unscaled(r, "share"), 1)
    ]
    return frame(("condition", "seed", "block", "share"), rows)


def column_frame(results: Results) -> pd.DataFrame:
    """One row per condition, seed, form and kind of `averages`; accuracy in percent."""
    table = finished(results, columns())
    rows = [
        {
            "condition": r.condition,
            "seed": r.seed,
            "form": form,
            "averages": averages,
            "accuracy": 100 * value,
        }
        for _, r in table.iterrows()
        for averages, values in (("of training", r.running), ("its own", r.renewed))
        for form, value in zip(r.forms, values, strict=True)
    ]
    return frame(("condition", "seed", "form", "averages", "accuracy"), rows)


def dense_matrices(results: Results) -> dict[str, list[np.ndarray]]:
    """Of every dense block (source, target), means over seeds; NaN where none reads.

    Returns:
        "weights": sizes after training over those before it; "need": nats by which the
        loss rises without these weights. Empty without records.
    """
    table = finished(results, dense())
    if table.empty:
        return {}

    def means(name: str) -> list[np.ndarray]:
        of_seeds = [[np.array(block, float) for block in row] for row in table[name]]
        return [np.mean(blocks, axis=0) for blocks in zip(*of_seeds, strict=True)]

    pairs = zip(means("blocks"), means("initial"), strict=True)
    return {"weights": [end / start for end, start in pairs], "need": means("needed")}
