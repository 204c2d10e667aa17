"""What each chapter found, in a few sentences that the front page prints.

A sentence whose records do not exist reads "not run yet"; one with fewer seeds than
planned says so. A new chapter adds a function here.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import pandas as pd

from papernets.experiments import (
    AnyStudy,
    Results,
    batch_norm,
    compare,
    exact_memorization,
    mean_and_std,
    model_survey,
    performance,
    performance_reports,
    pi_net,
    survey_tables,
)
from papernets.experiments import batch_norm_reports as reports
from papernets.experiments.survey_reports import report_remarks


class NotRunError(Exception):
    """A condition has no records yet."""


def column(
    results: Results, study: AnyStudy, condition: str, name: str = "test_accuracy"
) -> pd.Series:
    """One number per recorded seed of a condition, as `Results.table` has it.

    Raises:
        KeyError: the study has no such condition, or its records no such column.
        NotRunError: the condition has no records.
    """
    planned = {task.key for task in study[condition]}
    if planned.isdisjoint(results.records):
        raise NotRunError(condition)
    table = results.table(study)
    return table.loc[table.condition == condition, name].astype(float)


def percent(accuracies: pd.Series, digits: int = 2) -> str:
    """ "70.13 ± 0.42 %" of fractions."""
    return f"{mean_and_std(100 * accuracies, digits)} %"


def seeds(made: Collection[pd.Series], planned: int) -> str:
    """ "3 seeds" of one condition; "3 seeds each", "1 to 3 of 5 seeds each" of some."""
    numbers = sorted(map(len, made))
    text = " to ".join(dict.fromkeys([str(numbers[0]), str(numbers[-1])]))
    if numbers[0] < planned:
        text += f" of {planned}"
    text += " seeds" if planned > 1 else " seed"
    return f"{text} each" if len(numbers) > 1 else text


def against(values: pd.Series, reference: pd.Series) -> str:
    """ "1.8 points higher than", "a tie with"; of fractions."""
    verdict = compare(100 * values, 100 * reference)
    return f"{verdict} {'with' if verdict == 'a tie' else 'than'}"


def joined(sentences: Mapping[str, Callable[[], str]]) -> str:
    """The sentences, by subject; a subject without records is called "not run yet"."""

    def texts() -> Iterator[str]:
        for subject, sentence in sentences.items():
            try:
                yield sentence()
            except NotRunError:
                yield f"{subject}: not run yet."

    return " ".join(texts())


def find_pi_net(results: Results) -> str:
    def article() -> str:
        study = pi_net.article()
        mnist, cifar = (column(results, study, c) for c in ("MNIST", "CIFAR-10"))
        planned = len(study["CIFAR-10"])
        return (
            f"The article's network and recipe reach {percent(mnist)} on MNIST (the "
            f"article: about 99 %) and {percent(cifar)} on CIFAR-10 (about 70 %; "
            f"{seeds([mnist, cifar], planned)})."
        )

    def joins() -> str:
        study, names = pi_net.joins(), ("product", "linear", "relu")
        labels = [f"{pi_net.JOINS[name]}, 5 blocks" for name in names]
        product, linear, relu = made = [column(results, study, la) for la in labels]
        return (
            f"After {pi_net.JOINS_EPOCHS} epochs on CIFAR-10 five products reach "
            f"{percent(product)}: {against(product, linear)} the linear network "
            f"({percent(linear)}) and {against(product, relu)} ReLU ({percent(relu)}; "
            f"{seeds(made, len(study[labels[0]]))}). {pi_net.report_depths(results)}"
        )

    def cure() -> str:
        study = pi_net.cure()
        if not results.of(study):
            raise NotRunError("cure")
        best = pi_net.best_condition(results.table(study))
        values = column(results, study, best)
        return (
            f"Of {len(results.of(study))} ways to train the products longer the best, "
            f"by the validation images, reaches {percent(values)} (*{best}*; "
            f"{seeds([values], len(study[best]))})."
        )

    return joined(
        {
            "The article's figures": article,
            "Products against other joins": joins,
            "Longer training": cure,
        }
    )


def find_batch_norm(results: Results) -> str:
    def fractions(study: AnyStudy, network: str) -> dict[str, pd.Series]:
        """Test accuracies at the best learning rate, by activation."""
        if not results.of(study):
            raise NotRunError(network)
        table, found = reports.by_network(results.table(study)), {}
        for activation in batch_norm.ACTIVATIONS:
            part = reports.of(table, activation, network)
            if part.empty:
                raise NotRunError(f"{activation}, {network}")
            found[activation] = reports.at_best_rate(part).test / 100
        return found

    def grid() -> str:
        study = batch_norm.grid()
        with_, bare = (fractions(study, name) for name in ("with", "without"))
        texts = [
            f"the {activation} network {reports.verdict(100 * values)} "
            f"({percent(values)}; with it {percent(with_[activation])})"
            for activation, values in bare.items()
        ]
        number = seeds([*with_.values(), *bare.values()], batch_norm.SEEDS)
        return (
            "Ten hidden layers on MNIST without batch normalization, at the best of "
            f"{len(batch_norm.RATES)} learning rates: {'; '.join(texts)}; {number}."
        )

    def careful() -> str:
        study = batch_norm.cures()
        found = fractions(study, reports.CAREFUL)
        texts = [f"{percent(values)} ({name})" for name, values in found.items()]
        planned = max(map(len, study.values()))
        return (
            "From orthogonal initial weights, without any normalization, they reach "
            f"{', '.join(texts)}; {seeds(found.values(), planned)}."
        )

    return joined(
        {"With and without normalization": grid, "Orthogonal initial weights": careful}
    )


def find_exact_memorization(results: Results) -> str:
    def sizes() -> str:
        study, shapes = exact_memorization.sizes(), exact_memorization.shapes()
        images = next(label for label in study if "MNIST" in label)
        shape = str(exact_memorization.ARTICLE)
        built = column(results, study, images, "built_seconds")
        bits = column(results, shapes, shape, "bits_needed")
        return (
            f"{exact_memorization.POINTS:,} MNIST images with ten outputs in {shape} "
            f"neurons are represented exactly, in {mean_and_std(built, 0)} s of "
            "processor time; in rounded arithmetic the network needs "
            f"{mean_and_std(bits, 1)} bits to answer all of them correctly "
            f"({seeds([bits], len(shapes[shape]))}), and float64 has "
            f"{exact_memorization.FORMATS['float64']}."
        )

    def learning() -> str:
        study = exact_memorization.learning()
        made = {
            inputs: column(results, study, f"Adam, {inputs}, 100%", "right")
            for inputs in exact_memorization.INPUTS
        }
        texts = [f"{percent(v, 1)} ({inputs})" for inputs, v in made.items()]
        number = seeds(made.values(), len(study["Adam, line, 100%"]))
        return (
            "Of as many points with random labels as the construction fits exactly, "
            f"Adam answers {', '.join(texts)} correctly, to the nearest label, by what "
            f"the network sees of an image; {number}."
        )

    return joined({"The article's sizes": sizes, "Training": learning})


def find_model_survey(results: Results) -> str:
    def places() -> str:
        if not survey_tables.has_any(results):
            raise NotRunError("equal_compute")
        study, table = model_survey.equal_compute(), survey_tables.standing(results)
        made = [column(results, study, model) for model in table.model]
        first, last = table.iloc[0], table.iloc[-1]
        macs = model_survey.BUDGET_MACS / 1e6
        return (
            f"At the same cost, {macs:.0f} million multiply-adds an image and "
            f"{model_survey.EQUAL_EPOCHS} epochs on CIFAR-10, "
            f"{survey_tables.trained_so_far(table)} reach from {last.accuracy} % "
            f"(*{last.model}*) to {first.accuracy} % (*{first.model}*; "
            f"{seeds(made, len(study[first.model]))})."
        )

    return f"{joined({'Networks at equal cost': places})} {report_remarks(results)}"


def find_performance(results: Results) -> str:
    def loops() -> str:
        found = performance_reports.ratios(results)
        if found[found.model == "resnet20"].empty:
            raise NotRunError("resnet20")
        loop, plain, lightning = performance_reports.fastest(found, "resnet20")
        alike = found[(found.model == "resnet20") & (found.loop == "ours-fp32")].ratio
        text = (
            f"ResNet-20 trains {mean_and_std(plain)} times as fast as in a plain loop "
            f"over torchvision's data set, and {mean_and_std(lightning)} times as fast "
            f"as in PyTorch Lightning ({performance_reports.LABELS[loop]}; "
            f"{performance.THREADS} threads of one machine, {len(plain)} measurements "
            "each)."
        )
        if loop != "ours-fp32" and len(alike):
            text += (
                " Those two compute in float32, in which it trains "
                f"{mean_and_std(alike)} times as fast as the plain loop."
            )
        return text

    def tables() -> str:
        study = performance.tables()
        label = list(study)[-1]
        read = column(results, study, label, "read_seconds")
        return f"{label} are read in {mean_and_std(read)} s."

    return joined({"Loops": loops, "Records": tables})


FINDINGS: Mapping[str, Callable[[Results], str]] = {
    "pi_net": find_pi_net,
    "exact_memorization": find_exact_memorization,
    "batch_norm": find_batch_norm,
    "model_survey": find_model_survey,
    "performance": find_performance,
}


def finding(chapter: str, results: Results) -> str:
    """What the records of a chapter say, in Markdown.

    Raises:
        ValueError: the chapter has no function here.
    """
    if chapter not in FINDINGS:
        raise ValueError(
            f"the front page has nothing to say about {chapter!r}: write a function in "
            "papernets/experiments/findings.py and name it in FINDINGS"
        )
    return FINDINGS[chapter](results)
