"""The survey's tables, figures and sentences, from records made up for the purpose."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import made
from matplotlib.figure import Figure
from test_records import make

import build
from papernets import interactive, plots
from papernets.experiments import Results, survey_tables
from papernets.experiments.model_survey import equal_compute, full, training_rates
from papernets.experiments.survey_phenomena import width_or_depth
from papernets.records import Curves, Record, RecordError, Run, RunRecord

MODELS = ("nin", "resnet110", "wrn28_10")


def trained(run: Run, accuracy: float, best: float | None = None) -> Record:
    parameters, macs = survey_tables.built(run)
    test = (0.2, best or accuracy, accuracy)
    curves = Curves(
        train_loss=(2.0, 1.5, 1.0),
        train_accuracy=(0.2, 0.5, accuracy),
        test_accuracy=test,
        seconds=(10.0, 12.0, 50.0),
    )
    return make(
        run,
        test_accuracy=accuracy,
        parameters=parameters,
        macs=macs,
        curves=curves,
    )


def rated(model: str) -> dict[str, Record]:
    """Records of its rate of training: 500 images per second on median."""
    found = {}
    for task, rate in zip(training_rates()[model], (400.0, 500.0, 900.0), strict=True):
        values = {"status": "finished", "images_per_second": rate}
        found[task.key] = made(task, values)
    return found


@pytest.fixture(scope="module")
def results() -> Results:
    """nin clearly behind; the other two within their spread."""
    accuracies = {
        "nin": (0.60, 0.61, 0.62),
        "resnet110": (0.80, 0.82, 0.84),
        "wrn28_10": (0.83, 0.83, 0.83),
    }
    study = equal_compute()
    runs = [
        trained(run, accuracy, best=accuracy + 0.01)
        for model, values in accuracies.items()
        for run, accuracy in zip(study[model], values, strict=True)
    ]
    rates = {key: record for m in accuracies for key, record in rated(m).items()}
    return Results({record.task.key: record for record in runs} | rates)


def test_ties_leave_places_open(results: Results) -> None:
    table = survey_tables.standing(results).set_index("model")
    assert list(table.index) == ["wrn28_10", "resnet110", "nin"]
    assert list(table.place) == ["1 to 2", "1 to 2", "3"]
    assert table.accuracy["resnet110"] == "82.00 ± 2.00"
    assert table.flattery["nin"] == pytest.approx(1.0)
    assert table.seconds["nin"] == 10 * 45_000 / 500


def test_a_diverged_run_counts_as_a_guess(results: Results) -> None:
    run = equal_compute()["nin"][0]
    lost = dataclasses.replace(
        results.records[run.key], status="diverged", test_accuracy=None
    )
    table = survey_tables.standing(Results({run.key: lost}))
    assert table["mean"].item() == 10
    assert table.diverged.item() == 1


def test_every_row_of_the_survey_is_there(results: Results) -> None:
    table = survey_tables.survey(results).set_index("network")
    assert len(table) == 25  # row 1 is two networks
    assert table.loc["nin", "equal compute (%)"] == "61.00 ± 1.00"
    assert table.loc["vgg_a", "equal compute (%)"] == "not run yet"
    assert table.loc["vgg_a", "full size (%)"].startswith("not run yet: ")
    assert table.loc["resnet110", "survey (%)"] == "93.34"


def test_full_size_runs_replace_their_cost(results: Results) -> None:
    run = full()["resnet110"][0]
    found = Results({**results.records, run.key: trained(run, 0.93)})
    table = survey_tables.survey(found).set_index("network")
    assert table.loc["resnet110", "full size (%)"] == "93.00 (1)"
    # its own 1192 layers are counted, and those of another are trained
    assert table.loc["wresnet_d1192", "full size (%)"].startswith("wresnet_d118 not")


def test_a_row_has_the_network_that_it_names() -> None:
    """And not one that shares its card, as GoogLeNet with batch normalization does."""
    first = {m: equal_compute()[m][0] for m in ("googlenet", "googlenet_bn")}
    found = [trained(first["googlenet"], 0.5), trained(first["googlenet_bn"], 0.7)]
    results = Results({record.task.key: record for record in found})
    table = survey_tables.survey(results).set_index("network")
    assert table.loc["googlenet", "equal compute (%)"] == "50.00"
    assert table.loc["googlenet", "parameters, survey (M)"] == "6"
    assert "googlenet_bn" not in table.index


def test_missing_networks_are_named(results: Results) -> None:
    with pytest.raises(RecordError, match=r"no record of nin_bn .* --plan equal"):
        survey_tables.require_complete(results)
    study = equal_compute()
    first = {runs[0].key: trained(runs[0], 0.5) for runs in study.values()}
    with pytest.raises(RecordError, match=r"how fast nin trains.* training_rates"):
        survey_tables.require_complete(Results(first))
    for model in study:
        first |= rated(model)
    survey_tables.require_complete(Results(first))
    del first[study["xception"][0].key]
    with pytest.raises(RecordError, match="no record of xception"):
        survey_tables.require_complete(Results(first))


@pytest.mark.parametrize("change", [{"parameters": 1}, {"macs": 1}, {"macs": None}])
def test_records_of_another_architecture_are_refused(
    results: Results, change: dict
) -> None:
    key = equal_compute()["nin"][0].key
    record = results.records[key]
    changed = Results({key: dataclasses.replace(record, **change)})
    with pytest.raises(RecordError, match="the architecture changed"):
        survey_tables.require_complete(changed)


def test_sentences(results: Results) -> None:
    text = survey_tables.report_standing(results)
    spread = "standard deviations of 0.00 to 2.00 points. "
    assert f"3 of 26 networks are trained, with {spread}" in text
    assert "*wrn28_10*, *resnet110*" in text
    assert "22.0 points" in text
    first = Results({k: r for k, r in results.records.items() if r.task.seed == 0})
    text = survey_tables.report_standing(first)
    alone = "with one seed, taken to have a spread of 0.3 points"
    assert f"3 of 26 networks are trained, each {alone}. " in text
    pairs = np.random.default_rng(0).normal(0, 0.3, (100_000, 2))
    often = (np.abs(np.diff(pairs)) > 0.3).mean()
    assert f"differ by more than that in {100 * often:.0f} % of cases." in text
    nin = equal_compute()["nin"]
    more = {r.key: results.records[r.key] for r in nin} | first.records
    text = survey_tables.report_standing(Results(more))
    known = "standard deviations of 1.00 to 1.00 points. "
    assert f"2 of them {alone}; the others have {known}" in text
    assert "added 1.00 points on average" in survey_tables.report_flattery(results)


def test_the_best_is_open_if_single_seeds_vary_like_the_comparisons(
    results: Results,
) -> None:
    assert survey_tables.report_open(results) == ""  # no single seeds
    means = {"nin": 0.60, "resnet110": 0.82, "wrn28_10": 0.825}
    single = {
        run.key: trained(run, mean)
        for model, mean in means.items()
        for run in equal_compute()[model][:1]
    }
    assert survey_tables.report_open(Results(single)) == ""  # and no comparisons
    for spread, best in (
        (0.01, "1.0 points, the best could be any of *wrn28_10* and *resnet110*. "),
        (0.004, "0.4 points, it stays first. "),
    ):
        runs = width_or_depth()["16 layers"]
        accuracies = (0.6 - spread, 0.6, 0.6 + spread)
        compared = {
            run.key: trained(run, accuracy)
            for run, accuracy in zip(runs, accuracies, strict=True)
        }
        both = Results(single | compared)
        assert survey_tables.report_open(both).endswith(best)
        assert survey_tables.report_open(both) in survey_tables.report_answer(both)


def test_the_cost_tells_of_work_beside_the_runs(results: Results) -> None:
    """The made records have epochs of 10, 12 and 50 seconds."""
    text = results.cost()
    assert f"their training takes {9 * 30 / 3600:.1f} hours" in text
    steady = Curves(seconds=(9.0, 10.0))
    quiet = {
        key: dataclasses.replace(record, curves=steady)
        for key, record in results.records.items()
        if isinstance(record, RunRecord)
    }
    assert "fastest" not in Results(quiet).cost()


def test_nothing_flatters_where_the_last_epoch_is_the_best() -> None:
    run = equal_compute()["nin"][0]
    text = survey_tables.report_flattery(Results({run.key: trained(run, 0.6)}))
    assert "would have added nothing" in text


costs = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12
)


@given(costs)
def test_nothing_dominates_the_front(points: list[tuple[int, int]]) -> None:
    x, y = (pd.Series(values) for values in zip(*points, strict=True))
    front = interactive.front(x, y)
    for i in range(len(points)):
        dominated = any(
            (x[j] <= x[i] and y[j] > y[i]) or (x[j] < x[i] and y[j] >= y[i])
            for j in range(len(points))
        )
        duplicate = any((x[j], y[j]) == (x[i], y[i]) for j in front if j != i)
        assert (i in front) == (not dominated and not (duplicate and i not in front))


def test_figures(results: Results) -> None:
    table = survey_tables.standing(results)
    assert len(plots.standing(table).axes[0].get_yticks()) == 3
    titles = {"parameters": "parameters", "year": "year", "seconds": "seconds"}
    figure = plots.pareto(table, titles, log=["parameters"])
    assert [axis.get_visible() for axis in figure.axes] == [True, True, True, False]
    curves = results.curves(equal_compute())
    shown = plots.curves_by_network(curves, list(table.model)).axes
    assert [axis.get_title() for axis in shown[:3]] == list(table.model)


def names_along_the_front(figure: Figure) -> list[list[str]]:
    """Of every panel; none lies over another or leaves its panel."""
    figure.draw_without_rendering()
    names = []
    for axis in figure.axes:
        texts = [text for text in axis.texts if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(axis.bbox.count_contains(box.corners()) == 4 for box in boxes)
        names.append([text.get_text() for text in texts])
    return names


@pytest.mark.parametrize("higher", [0.05, 2.0, 10.0])
def test_names_along_the_front_do_not_overlap(higher: float) -> None:
    models = ["first_network", "second_network", "cheap_and_bad", "costly_and_good"]
    table = pd.DataFrame(
        {
            "model": models,
            "mean": [70.0, 70 + higher, 50.0, 90.0],
            "std": math.nan,
            "cost": [3.0, 3.4, 1.0, 9.0],
        }
    )
    names = names_along_the_front(plots.pareto(table, {"cost": "cost"}))[0]
    assert sorted(names) == sorted(models)


def test_names_along_the_measured_fronts() -> None:
    table = survey_tables.standing(Results.read(build.ROOT / "results/model_survey"))
    axes = {"seconds": "seconds", "parameters": "parameters", "macs": "macs"}
    names = names_along_the_front(plots.pareto(table, axes, log=["parameters"]))
    for shown, column in zip(names, axes.values(), strict=False):
        best = interactive.front(table[column].astype(float), table["mean"])
        assert sorted(shown) == sorted(table.model.iloc[best])


def test_a_name_without_a_place_is_left_out() -> None:
    table = pd.DataFrame(
        {
            "model": [f"network_with_a_long_name_{i}" for i in range(60)],
            "mean": [80 + 0.001 * i for i in range(60)],
            "std": math.nan,
            "cost": [1 + 0.001 * i for i in range(60)],
        }
    )
    table.loc[60] = ["far", 10.0, math.nan, 900.0]
    names = names_along_the_front(plots.pareto(table, {"cost": "cost"}))[0]
    assert 1 <= len(names) < 60
    assert "network_with_a_long_name_59" in names


def test_scatter_has_every_network_and_axis(results: Results) -> None:
    table = survey_tables.standing(results)
    axes = {"parameters": "parameters", "year": "year"}
    text = interactive.scatter(table, "accuracy (%)", axes, "scatter", "networks")
    assert text.count('<g class="point"') == 3
    assert "<option>parameters</option><option>year</option>" in text
    assert "$" not in text
    assert not math.isnan(float(text.split("translate(")[1].split()[0]))


def test_table_escapes_its_cells() -> None:
    text = interactive.table(pd.DataFrame({"a<b": ["x & y"]}), "t", "some")
    assert "a&lt;b" in text
    assert "x &amp; y" in text


def test_columns_of_a_table_stand_by_their_kind() -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "mixed": ["–", "3?"], "word": ["a", "b"], "said": ["3", "d" * 99]}
    )
    text = interactive.table(frame, "t", "some")
    heads = re.findall(r'<th scope="col"([^>]*)>(\w+)<', text)
    styles = {name: style for style, name in heads}
    assert styles["n"] == styles["mixed"] == ""
    assert "left" in styles["word"]
    assert "normal" not in styles["word"]
    assert "left; white-space: normal" in styles["said"]


def test_recipes_mark_what_is_not_confirmed() -> None:
    table = survey_tables.recipes().set_index("network")
    assert set(table.index) == set(survey_tables.PAPERS)
    assert table.epochs["nin"] == "307?"  # not stated by the paper
    assert table.epochs["densenet100_k24"] == "300"
    assert table["rate falls at epochs"]["inception_v2"] == "8, 16 ... 192; by 0.96?"
    assert table["rate falls at epochs"]["wrn28_10"] == "60, 120, 160; by 0.2"
    assert table["rate falls at epochs"]["squeezenet_bn"] == "linearly?"
    assert table.optimizer["inception_v4"] == "rmsprop?"
    assert table.optimizer["inception_v2"] == "sgd"
    assert table["epochs, survey"]["inception_v4"] == "–"  # he did not run it


def test_the_answer_counts_ties(results: Results) -> None:
    text = survey_tables.report_answer(results)
    assert (
        "the 3 networks trained so far, of 26, reach from 61.00 ± 1.00 % (*nin*) to "
        "83.00 ± 0.00 % (*wrn28_10*)"
    ) in text
    assert "2 of them are tied for the first place" in text
    assert "not run yet" in survey_tables.report_answer(Results({}))
