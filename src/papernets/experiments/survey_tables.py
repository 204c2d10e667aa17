"""The survey's table, made again: cards, networks and records side by side.

Functions take the chapter's `Results`. Accuracies are percents; those of the survey and
of the papers are copied from their cards, ours come from records.
"""

import math
from collections.abc import Iterator
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import torch

from papernets import complexity, models, records, training
from papernets.data import SOURCES, load
from papernets.experiments import (
    TIE_OF_SINGLE_SEEDS,
    Results,
    compare,
    enumerated,
    mean_and_std,
    model_survey,
)
from papernets.experiments.campaign import (
    flops_per_epoch,
    multiply_adds,
)
from papernets.experiments.model_survey import (
    BUDGET_MACS,
    EQUAL_EPOCHS,
    SIZES,
    equal_compute,
    full,
    training_rates,
)
from papernets.experiments.survey_recipes import PAPERS, SURVEY_AUTHOR, Published
from papernets.experiments.survey_reports import (
    report_remarks,
    typical_spread,
)
from papernets.models.registry import lookup
from papernets.records import RecordError, Run, RunRecord

MARKS = {"reproduced": "○", "partly": "△", "none": "×", "not run": "φ", "": ""}
NOT_RUN = "not run yet"
CHANCE = 10.0  # percent
LIVE_EPOCHS = 10


# --- Whether the records are those of the networks as they are now -------------------


def built(run: Run) -> tuple[int, int]:
    """Parameters and multiply-adds of a run's network, without making its weights."""
    with torch.device("meta"):
        arguments: dict[str, Any] = dict(run.model_args)
        network = models.create(run.model, image_size=32, **arguments)
    return complexity.count(network), multiply_adds(run)


def require_complete(results: Results) -> None:
    """See to it that the records can carry the chapter.

    Args:
        results: the chapter's records.

    Raises:
        RecordError: a network has no record of equal compute; a record's parameters or
            multiply-adds are not those that its network has now; or a network's rate of
            training was not measured.
    """
    equal = equal_compute()
    for runs in (*equal.values(), *full().values()):
        for run in runs:
            if run.key in results.records:
                require_agreement(results.records[run.key])
    for model, runs in equal.items():
        if results.missing({model: runs}) == runs:
            raise RecordError(
                f"no record of {model} at equal compute, for example "
                f"{runs[0].file_name}; make it with `papernets survey --plan equal`"
            )
    for model, rates in training_rates().items():
        if results.missing({model: rates}):
            raise RecordError(
                f"no record of how fast {model} trains; make it with `papernets run "
                "model_survey --preset paper --study training_rates`"
            )


def require_agreement(record: records.Record) -> None:
    """Raise `RecordError` if a record contradicts the network that it names."""
    assert isinstance(record, RunRecord)
    now = built(record.run)
    then = (record.parameters, record.macs)
    for what, old, new in zip(("parameters", "multiply-adds"), then, now, strict=True):
        if old != new:
            raise RecordError(
                f"{record.run.file_name} has {old} {what}, its network now has "
                f"{new}: the architecture changed; delete the record and make it "
                "anew with `papernets survey`"
            )


# --- Rows ---------------------------------------------------------------------------


def rows_of_survey() -> Iterator[str]:
    """Networks with a row in the survey's table, in its order."""

    def place(model: str) -> tuple[int, str]:
        row = models.card(model).row or ""
        return int(row.rstrip("ab")), row

    with_row = (m for m in models.list_models() if lookup(m).card)
    yield from sorted((m for m in with_row if models.card(m).row), key=place)


def percents(found: list[RunRecord]) -> pd.Series:
    """Test accuracies at the last epoch; a run that diverged guesses."""
    values = [r.test_accuracy for r in found]
    return pd.Series([CHANCE if v is None else 100 * v for v in values], dtype=float)


def flattery(record: RunRecord) -> float:
    """Points by which the best test accuracy of all epochs exceeds the last one."""
    curve = record.curves.test_accuracy
    return 100 * (max(curve) - curve[-1]) if curve else np.nan


def standing(results: Results) -> pd.DataFrame:
    """One row per network at equal compute, the best first.

    Columns: `model`, `year`, `seeds`, `mean`, `std` (NaN for one seed), `accuracy` as
    text, `better` and `worse`: how many networks are above and below it by more than a
    tie; `place`, the places these leave, as text; `parameters`, `macs`; `seconds` of
    training on one thread, by the rate that `training_rates` has measured (NaN if it
    has not); `flattery` in points; `diverged`.
    """
    study = equal_compute()
    found = {
        model: [r for r in group if isinstance(r, RunRecord)]
        for model, group in results.of(study).items()
    }
    values = {model: percents(group) for model, group in found.items()}
    source, rates = SOURCES["cifar10"], measured_rates(results)
    images = EQUAL_EPOCHS * (source.training - source.validation)
    rows = []
    for model, group in found.items():
        others = [compare(values[model], v) for m, v in values.items() if m != model]
        better = sum(text.endswith("lower") for text in others)
        worse = sum(text.endswith("higher") for text in others)
        first, last = better + 1, len(found) - worse
        rows.append(
            {
                "model": model,
                "year": models.card(carded(model)).year,
                "seeds": len(group),
                "mean": values[model].mean(),
                "std": values[model].std(),
                "accuracy": mean_and_std(values[model]),
                "better": better,
                "worse": worse,
                "place": f"{first}" if first == last else f"{first} to {last}",
                "parameters": group[0].parameters,
                "macs": group[0].macs,
                "seconds": images / rates.get(model, np.nan),
                "flattery": np.mean([flattery(r) for r in group]),
                "diverged": sum(r.status == "diverged" for r in group),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.sort_values("mean", ascending=False, ignore_index=True)


def measured_rates(results: Results) -> dict[str, float]:
    """Images per second in training, the median over seeds, of networks by name."""
    study = training_rates()
    if not results.of(study):
        return {}
    rates = results.table(study).groupby("condition").images_per_second.median()
    return {str(model): float(rate) for model, rate in rates.items()}


def carded(model: str) -> str:
    """The network whose card a network of equal compute belongs to."""
    if lookup(model).card:
        return model
    file = models.source_file(model)
    return next(m for m in rows_of_survey() if models.source_file(m) == file)


def survey(results: Results) -> pd.DataFrame:
    """The survey's table, a row per network, all as text.

    What was not trained yet is "not run yet", at full size with its cost in PFLOP.
    """
    place = standing(results).set_index("model") if has_any(results) else None
    by_card: dict[str, str] = {}
    for model in SIZES:  # the first network of a card is the one that the row has
        by_card.setdefault(carded(model), model)
    everything = full()
    rows = []
    for model in rows_of_survey():
        card = models.card(model)
        row: dict[str, str] = {
            "row": card.row or "",
            "network": f"{model}",
            "paper": card.title,
            "year": str(card.year),
            "parameters, survey (M)": shown(card.survey_parameters),
            "paper (M)": shown(card.paper_parameters),
            "paper (%)": shown(card.survey_paper_accuracy),
            "survey (%)": shown(card.survey_accuracy),
            "mark": MARKS[card.survey_mark],
        }
        if model in by_card:
            runs = everything[by_card[model]]
            parameters, macs = size(model)
            row |= {
                "ours (M)": f"{parameters / 1e6:.2f}",
                "multiply-adds (M)": f"{macs / 1e6:,.0f}",
                "full size (%)": at_full_size(results, runs, model),
                "equal compute (%)": NOT_RUN,
            }
            if place is not None and by_card[model] in place.index:
                row["equal compute (%)"] = str(place.accuracy[by_card[model]])
        rows.append(row)
    return pd.DataFrame(rows).fillna("–")[list(COLUMNS)]


COLUMNS = (
    *("row", "network", "year", "equal compute (%)"),
    *("paper (%)", "survey (%)", "mark", "full size (%)"),
    *("parameters, survey (M)", "paper (M)", "ours (M)", "multiply-adds (M)"),
)


def has_any(results: Results) -> bool:
    return bool(results.of(equal_compute()))


def shown(value: float | None) -> str:
    """As the card has it."""
    return "–" if value is None else str(value)


@cache
def size(model: str) -> tuple[int, int]:
    """Parameters and multiply-adds of the network as its card has it."""
    with torch.device("meta"):
        network = models.create(model, image_size=32)
    return complexity.count(network), complexity.profile(network, (3, 32, 32)).macs


def at_full_size(results: Results, runs: list[Run], model: str) -> str:
    """Accuracy and seeds, or what a run would cost; with a name if it is not `model`'s.

    Of the weighted residual networks, that of 118 layers is trained.
    """
    name = "" if runs[0].model == model else f"{runs[0].model} "
    found = [results.records[r.key] for r in runs if r.key in results.records]
    if found:
        values = percents([r for r in found if isinstance(r, RunRecord)])
        return f"{name}{mean_and_std(values)} ({len(values)})"
    cost = flops_per_epoch(runs[0]) * runs[0].recipe.epochs / 1e15
    return f"{name}{NOT_RUN}: {cost:,.0f} PFLOP"


def recipes() -> pd.DataFrame:
    """How every network was trained, by its paper and by the survey's author.

    One row per network, all as text. A question mark follows a setting whose source is
    not confirmed, see `survey_recipes.Published`.
    """
    rows = []
    for model, paper in PAPERS.items():
        own = SURVEY_AUTHOR.get(model)
        rows.append(
            {
                "network": model,
                "trained on": paper.trained_on,
                "optimizer": known("optimizer", paper),
                "epochs": known("epochs", paper),
                "batch": known("batch_size", paper),
                "highest rate": known("lr", paper),
                "weight decay": known("weight_decay", paper),
                "rate falls at epochs": falls(paper),
                "epochs, survey": known("epochs", own) if own else "–",
                "highest rate, survey": known("lr", own) if own else "–",
            }
        )
    return pd.DataFrame(rows)


def known(field: str, published: Published) -> str:
    """A field of a recipe, with a question mark if it is not confirmed."""
    value = getattr(published.recipe, field)
    text = value if isinstance(value, str) else f"{value:g}"
    return f"{text}{'?' if field in published.unconfirmed else ''}"


def falls(published: Published) -> str:
    """ "81, 122; by 0.1"; "8, 16 ... 192; by 0.96?" of many; "linearly"."""
    recipe = published.recipe
    found = [str(epoch) for epoch in recipe.lr_milestones_epochs]
    if not found:
        return f"linearly{'?' if 'schedule' in published.unconfirmed else ''}"
    if len(found) > 4:
        found = [f"{found[0]}, {found[1]} ... {found[-1]}"]
    unsure = {"lr_milestones_epochs", "lr_decay"} & set(published.unconfirmed)
    return f"{', '.join(found)}; by {recipe.lr_decay:g}{'?' if unsure else ''}"


def live() -> pd.DataFrame:
    """Three reduced networks, trained on digits now, as `plots.compare` takes them.

    Takes about a minute on one core.
    """
    rows = []
    for model, runs in model_survey.studies("quick")["equal_compute"].items():
        (run,) = runs
        assert isinstance(run, Run)
        data = load(run.dataset)
        torch.manual_seed(run.seed)
        network = training.build(run, data)
        recipe = run.recipe.quick(LIVE_EPOCHS).but(batch_size=32)
        fit = training.fit(network, data, recipe, seed=run.seed, progress=False)
        rows.append(
            {
                "condition": model,
                "status": fit.status,
                "test_accuracy": fit.test_accuracy,
            }
        )
    return pd.DataFrame(rows)


# --- Sentences ----------------------------------------------------------------------


def report_answer(results: Results) -> str:
    """The chapter's answer in a paragraph."""
    if not has_any(results):
        return f"The networks at equal compute: {NOT_RUN}."
    table = standing(results)
    first, last = table.iloc[0], table.iloc[-1]
    ahead = int((table.better == 0).sum())
    return (
        f"At about {BUDGET_MACS / 1e6:.0f} million multiply-adds an image, one recipe "
        f"and {EQUAL_EPOCHS} epochs on CIFAR-10, {trained_so_far(table)} reach from "
        f"{last.accuracy} % (*{last.model}*) to {first.accuracy} % (*{first.model}*); "
        + (
            "no other is tied with the first. "
            if ahead == 1
            else f"{ahead} of them are tied for the first place. "
        )
        + report_open(results)
        + report_remarks(results)
    )


def report_open(results: Results) -> str:
    """Who could be the best if single seeds have the spread of the comparisons."""
    table, spread = standing(results), typical_spread(results)
    if np.isnan(spread) or not (table.seeds == 1).any():
        return ""
    first = table.iloc[0]
    spreads = table["std"].fillna(spread)
    near = table.model[first["mean"] - table["mean"] < np.maximum(spreads, spreads[0])]
    rule = f"spread of {TIE_OF_SINGLE_SEEDS} points"
    names = enumerated([f"*{model}*" for model in near])
    best = f"the best could be any of {names}" if len(near) > 1 else "it stays first"
    return (
        f"This takes a single seed to have a {rule}; with the median of the "
        f"comparisons below, {spread:.1f} points, {best}. "
    )


def trained_so_far(table: pd.DataFrame) -> str:
    """ "the 26 networks", "the 5 networks trained so far, of 26,"."""
    if len(table) == len(SIZES):
        return f"the {len(table)} networks"
    return f"the {len(table)} networks trained so far, of {len(SIZES)},"


def report_standing(results: Results) -> str:
    """Who is ahead, who is tied with whom, and what training failed."""
    table = standing(results)
    first = table.iloc[0]
    tied = table[(table.better == 0)]
    names = ", ".join(f"*{name}*" for name in tied.model)
    single = int((table.seeds == 1).sum())
    spread = table["std"].dropna()
    measured = f"standard deviations of {spread.min():.2f} to {spread.max():.2f} points"
    assumed = f"with one seed, taken to have a spread of {TIE_OF_SINGLE_SEEDS} points"
    if single == len(table):
        seeds = f"each {assumed}"
    elif single:
        seeds = f"{single} of them {assumed}; the others have {measured}"
    else:
        seeds = f"with {measured}"
    failed = table[table["mean"] < 2 * CHANCE]
    lines = [
        f"{len(table)} of {len(SIZES)} networks are trained, {seeds}. "
        f"The highest mean is that of *{first.model}*, {first.accuracy} %; "
        + (
            "no other network is tied with it."
            if len(tied) == 1
            else f"by nothing but chance the best could be any of {names}."
        ),
        "Between the first and the last network of the table lie "
        f"{first['mean'] - table['mean'].iloc[-1]:.1f} points.",
    ]
    if single > 1:
        # The difference of two has sqrt(2) times the spread of one.
        chance = 2 * NormalDist().cdf(-1 / math.sqrt(2))
        lines[0] += (
            f" Even if single seeds have a spread of {TIE_OF_SINGLE_SEEDS} points, two "
            "equally good networks differ by more than that in "
            f"{100 * chance:.0f} % of cases."
        )
    if len(failed):
        lines.append(
            "Near chance: " + ", ".join(f"*{name}*" for name in failed.model) + "."
        )
    return "\n\n".join(lines)


def report_flattery(results: Results) -> str:
    """What choosing the epoch by the test set would have added."""
    table = standing(results)
    largest = table.sort_values("flattery").iloc[-1]
    if largest.flattery == 0:
        return (
            "Reporting the best of all epochs on the test images would have added "
            "nothing: the rate falls to zero, and the last epoch is the best of every "
            "run."
        )
    changed = reordered(results)
    return (
        "Reporting the best of all epochs on the test images would have added "
        f"{table.flattery.mean():.2f} points on average, and "
        f"{largest.flattery:.2f} to *{largest.model}*; {changed} of "
        f"{len(table)} networks would have changed their rank. With a rate that falls "
        "to zero the last epoch is close to the best."
    )


def reordered(results: Results) -> int:
    """Networks whose rank by mean would be another with the best of all epochs."""
    table = standing(results)
    best = table["mean"] + table.flattery.fillna(0)
    return int(
        (best.rank(ascending=False) != table["mean"].rank(ascending=False)).sum()
    )
