"""The batch normalization chapter: grid, measurements, tables, sentences, figures."""

import copy
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from papernets import experiments, plots, training
from papernets.data import Dataset, load
from papernets.experiments import Results, batch_norm
from papernets.experiments import batch_norm_measures as measures
from papernets.experiments import batch_norm_reports as reports
from papernets.feed import Feed
from papernets.recipes import PLAIN_SGD
from papernets.records import Curves, Measurement, RecordError, Run, RunRecord

RECORDS = Path(__file__).parents[1] / "results" / "batch_norm"
RECIPE = PLAIN_SGD.but(batch_size=64, lr=0.2)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    torch.set_num_threads(1)
    return load("digits")


@pytest.fixture(autouse=True)
def small_batches_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of digits has 19 steps instead of 9."""
    monkeypatch.setattr(measures, "PLAIN_SGD", RECIPE)


# --- Studies -----------------------------------------------------------------------


def test_every_condition_differs_only_in_its_seeds() -> None:
    for name, study in batch_norm.studies().items():
        for tasks in study.values():
            assert [task.seed for task in tasks] == list(range(len(tasks)))
            assert len(tasks) == (5 if name in ("grid", "narrow") else 3)
            assert len({dataclasses.replace(t, seed=0).key for t in tasks}) == 1
        assert len({tasks[0].key for tasks in study.values()}) == len(study)


def test_the_grid_covers_three_decades() -> None:
    runs = experiments.tasks_of([batch_norm.grid()])
    rates = {run.recipe.lr for run in runs}
    assert max(rates) / min(rates) == pytest.approx(1000)
    conditions = {(r.model_args["activation"], r.model_args["norm"]) for r in runs}
    assert len(runs) == len(conditions) * len(rates) * 5 == 6 * 7 * 5
    assert {(r.recipe.momentum, r.recipe.weight_decay) for r in runs} == {(0, 0)}


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_tasks_can_be_executed(preset: str, digits: Dataset) -> None:
    """Every model can be built, every function exists and takes its settings."""
    for task in experiments.tasks_of(batch_norm.studies(preset).values()):
        if isinstance(task, Run):
            if task.seed == 0:
                training.build(task, digits)
        else:
            assert isinstance(task, Measurement)
            function = getattr(batch_norm, task.function)
            assert function in batch_norm.MEASURES
        assert task.dataset == ("mnist" if preset == "paper" else "digits")


def test_quick_measurements_run(tmp_path: Path) -> None:
    studies = batch_norm.studies("quick")
    for name in ("signal_flow", "covariate_shift", "smoothness"):
        record = experiments.execute(next(iter(studies[name].values()))[0], tmp_path)
        assert record.data_sha256
    assert len(list(tmp_path.rglob("*.json"))) == 3


# --- Measurements ------------------------------------------------------------------


def test_steps_are_those_of_fit(digits: Dataset) -> None:
    recipe = RECIPE.but(epochs=2, schedule="constant")
    one, other = (measures.network(digits, 3, norm="batch") for _ in range(2))
    training.fit(one, digits, recipe, seed=3)
    steps = 2 * (len(digits.train) // 64)
    for _ in measures.gradient_steps(other, digits, recipe, 3, steps):
        pass
    for a, b in zip(
        one.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_signals(digits: Dataset) -> None:
    """Weights of a normalized network grow by orthogonal steps; the start by hand."""
    found = measures.signals(
        digits, seed=1, lr=0.1, steps=30, activation="tanh", norm="batch"
    )
    assert found["moments"] == [0, 10, 30]
    assert found["pythagoras"] == pytest.approx(found["growth"], rel=0.01)
    model = measures.network(digits, 1, activation="tanh", norm="batch").train()
    images, labels = measures.probe(digits, RECIPE)
    output = model.hidden[:4](images)
    assert found["spread"][0][0] == pytest.approx(output.std(0).mean().item(), rel=1e-3)
    functional.cross_entropy(model(images), labels).backward()
    last = measures.linear_layers(model)[-1].weight
    assert found["gradient"][0][-1] == pytest.approx(last.grad.norm().item(), rel=1e-3)
    assert found["weight"][0][-1] == pytest.approx(last.norm().item(), rel=1e-3)
    assert sum(found["first_histogram"][0]) == pytest.approx(1000, abs=20)


def test_signals_smaller_than_float32_resolves(digits: Dataset) -> None:
    """Each layer of the sigmoid network leaves a small part, down to the last."""
    found = measures.signals(
        digits, seed=0, lr=0.1, steps=1, activation="sigmoid", norm="none"
    )
    for spread in found["spread"]:
        left = np.divide(spread[1:], spread[:-1])
        assert left.max() < 2 * left.min()
    assert spread[-1] < 1e-8


def test_histogram_puts_the_rest_into_the_last_bin() -> None:
    values = torch.tensor([0.0, 0.05, 3.0, 100.0])
    found = measures.histogram(values, "relu")
    assert (found[0], found[22], found[-1], sum(found)) == (500, 250, 250, 1000)


def test_values_that_are_not_finite_become_none() -> None:
    values = torch.tensor([[1.23456, float("nan")], [float("inf"), 0.0]])
    assert measures.compact(values) == [[1.235, None], [None, 0.0]]


def test_moments_move_by_what_is_added(digits: Dataset) -> None:
    before = measures.network(digits, 0, activation="tanh", norm="none")
    after = copy.deepcopy(before)
    last = measures.linear_layers(after)[-1]
    with torch.no_grad():
        last.bias += 0.25
    images, _ = measures.probe(digits, RECIPE)
    changes = measures.moment_changes(before, after, images)
    assert changes["activation_absolute_mean"] == pytest.approx([0.0] * 9 + [0.25])
    assert changes["activation_variance"][-1] == pytest.approx(0, abs=1e-4)
    spread = measures.layer_signals(before, images)[0][-1].std(0)
    assert changes["activation_mean"][-1] == pytest.approx(
        (0.25 / spread).mean().item(), rel=1e-3
    )
    assert max(changes["layer_mean"][:9]) == 0 < changes["layer_mean"][-1]


def test_gradient_changes_by_the_step_of_the_layers_below(digits: Dataset) -> None:
    model = measures.network(digits, 0, activation="tanh", norm="batch")
    images, labels = measures.probe(digits, RECIPE)
    still = measures.gradient_changes(model, images, labels, lr=0.0)
    assert still["gradient"] == [0.0] * 9
    assert still["cosine"] == pytest.approx([1.0] * 9, abs=1e-5)
    found = measures.gradient_changes(model, images, labels, lr=0.5)
    twin = copy.deepcopy(model).train()
    functional.cross_entropy(twin(images), labels).backward()
    third = measures.linear_layers(twin)[2].weight
    old = third.grad.clone()
    with torch.no_grad():
        for module in twin.hidden[:7]:  # flatten, and two of (linear, norm, tanh)
            for parameter in module.parameters():
                parameter -= 0.5 * parameter.grad
    new = torch.autograd.grad(functional.cross_entropy(twin(images), labels), third)[0]
    relative = ((new - old).norm() / old.norm()).item()
    assert found["gradient"][1] == pytest.approx(relative, rel=1e-4)
    cosine = functional.cosine_similarity(old.flatten(), new.flatten(), 0).item()
    assert found["cosine"][1] == pytest.approx(cosine, abs=1e-5)


def test_landscape_along_the_step(digits: Dataset) -> None:
    model = measures.network(digits, 0, activation="tanh", norm="batch")
    before = copy.deepcopy(model.state_dict())
    images, labels = measures.probe(digits, RECIPE)
    found = measures.along_the_step(model, images, labels, lr=0.3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])  # looking changes nothing
    twin = copy.deepcopy(model).train()

    def gradient() -> tuple[float, torch.Tensor]:
        twin.zero_grad()
        loss = functional.cross_entropy(twin(images), labels)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in twin.parameters()])

    losses, distances = [], []
    loss, start = gradient()
    own = [p.grad.clone() for p in twin.parameters()]
    for length in (0.5, 0.5, 1.0, 2.0):  # up to 0.5, 1, 2 and 4 rates
        with torch.no_grad():
            for parameter, g in zip(twin.parameters(), own, strict=True):
                parameter -= 0.3 * length * g
        value, moved = gradient()
        losses.append(value)
        distances.append((moved - start).norm().item())
    expected = {
        "loss": loss,
        "lowest": min(losses),
        "highest": max(losses),
        "distance": max(distances),
        "relative": max(distances) / start.norm().item(),
        "smoothness": max(
            d / (0.3 * t * start.norm().item())
            for d, t in zip(distances, measures.STEP_LENGTHS, strict=True)
        ),
    }
    assert {n: found[n] for n in expected} == pytest.approx(expected, rel=1e-3)


def test_steps_to_an_accuracy(digits: Dataset) -> None:
    settings = {"activation": "relu", "norm": "batch"}
    found = measures.speed(digits, seed=0, lr=0.1, epochs=10, every=3, **settings)
    first = found["steps_to_90"]
    assert found["steps_to_80"] <= first
    assert first % 3 == 0
    model = measures.network(digits, 0, **settings)
    feed = Feed(digits.validation, digits, RECIPE, torch.device("cpu"))
    accuracy = {}
    recipe = RECIPE.but(lr=0.1)
    for step, _, _ in measures.gradient_steps(model, digits, recipe, 0, first + 1):
        if step % 3 == 0:
            accuracy[step] = training.evaluate(model, feed)[1]
    assert accuracy.pop(first) >= 0.9 > max(accuracy.values())
    slow = measures.speed(digits, seed=0, lr=1e-6, epochs=1, every=3, **settings)
    assert {slow[f"steps_to_{level}"] for level in measures.LEVELS} == {None}


def test_accuracy_depends_on_the_test_batch(digits: Dataset) -> None:
    found = measures.composition(digits, seed=0, lr=0.2, epochs=4, activation="tanh")
    assert found["sizes"] == [1, 2, 5, 10, 100]
    counts = np.bincount(digits.test.labels) / len(digits.test)
    # Alone every image gives the same logits.
    assert found["shuffled"][0] == found["sorted_by_class"][0]
    assert found["shuffled"][0] in counts.tolist()
    assert found["shuffled"][0] < 0.2 < 0.8 < found["running"]
    assert found["sorted_by_class"][3] < 0.6 < found["shuffled"][4]


def test_small_batches(digits: Dataset) -> None:
    settings = {"seed": 0, "lr": 0.05, "epochs": 2, "activation": "relu"}
    found = measures.small_batches(digits, batch_size=8, norm="batch", **settings)
    assert min(found[n] for n in ("running", "batch", "population")) > 0.7
    layer = measures.small_batches(digits, batch_size=8, norm="layer", **settings)
    assert layer["running"] > 0.7
    assert layer["batch"] is layer["population"] is None
    settings["lr"] = 1e6
    bare = measures.small_batches(digits, batch_size=8, norm="none", **settings)
    assert set(bare.values()) == {None}


def test_population_is_the_average_over_the_training_images(digits: Dataset) -> None:
    model = measures.network(digits, 0, norm="batch")
    measures.estimate_population(model, digits, RECIPE)
    linear, norm = model.hidden[1], model.hidden[2]
    assert isinstance(norm, nn.BatchNorm1d)
    feed = Feed(digits.train, digits, RECIPE, torch.device("cpu"))
    batches = [linear(images.flatten(1)) for images, _ in feed.in_order()]
    mean = torch.stack([b.mean(0) for b in batches]).mean(0)
    variance = torch.stack([b.var(0) for b in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


# --- Tables and sentences ----------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.read(RECORDS)


def runs_of(*rows: tuple[float, int, str, float, float]) -> pd.DataFrame:
    """Runs of a made-up network: rate, seed, status, validation and test accuracy."""
    columns = ["recipe.lr", "seed", "status", "validation_accuracy", "test_accuracy"]
    table = pd.DataFrame(list(rows), columns=columns)
    return reports.by_network(table.assign(condition="tanh, with, lr"))


def test_rates_are_chosen_by_validation() -> None:
    runs = runs_of(
        (0.1, 0, "finished", 0.95, 0.90),
        (0.1, 1, "finished", 0.95, 0.90),
        (1.0, 0, "finished", 0.94, 0.99),
        (1.0, 1, "finished", 0.94, 0.99),
        (3.0, 0, "finished", 0.99, 0.99),
        (3.0, 1, "diverged", 0.99, None),
    )
    assert reports.best_rate(runs) == 0.1
    assert reports.at_best_rate(runs).test.tolist() == [90, 90]
    assert reports.largest_rate(runs) == 1.0
    assert reports.largest_rate(runs[runs.lr == 3]) is None
    assert set(runs.network) == {"with"}


def test_the_fastest_rate_is_one_that_all_seeds_get_there_with() -> None:
    records = pd.DataFrame(
        {"lr": [0.1, 0.1, 1.0, 1.0], "steps_to_90": [50, 70, 10, None]}
    )
    rate, steps = reports.fastest(records, 90)
    assert (rate, list(steps)) == (0.1, [50, 70])
    assert reports.fastest(records[records.lr == 1], 90) == (None, None)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        ([11.35, 9.8], "stays at chance"),
        ([40], "gets above 90 % with 0 of 1 seeds"),
        ([11.35, 96, 91], "gets above 90 % with 2 of 3 seeds"),
        ([97, 90], "trains"),
    ],
)
def test_verdict(percent: list[float], expected: str) -> None:
    assert reports.verdict(pd.Series(percent)) == expected


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.5, 0.7], "less"),
        ([0.5, 0.9], "about as much"),
        ([0.9], "about as much"),
        ([1.2, 2], "about as much"),
        ([2, 1.3], "more"),
    ],
)
def test_a_difference_shows_in_every_seed(ratios: list[float], expected: str) -> None:
    assert reports.less_or_more(ratios).strip("*") == expected


def committed(study: dict[str, list[Any]], condition: str) -> list[dict[str, Any]]:
    """The records of a condition, from the JSON files and nothing else."""
    files = [RECORDS / task.file_name for task in study[condition]]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def chosen(study: dict[str, list[Run]], group: str) -> str | None:
    """Mean and deviation at the best validated rate, from the JSON files."""
    best: tuple[float, list[float]] = (-1.0, [])
    for condition in study:
        found = committed(study, condition) if condition.startswith(group) else []
        if found:
            validated = statistics.mean(
                (r["curves"]["validation_accuracy"] or [0])[-1]
                if r["status"] == "finished"
                else 0
                for r in found
            )
            test = [100 * r["test_accuracy"] for r in found if r["test_accuracy"]]
            best = max(best, (validated, test), key=lambda pair: pair[0])
    if not best[1]:
        return None
    spread = f" ± {statistics.stdev(best[1]):.2f}" if len(best[1]) > 1 else ""
    return f"{statistics.mean(best[1]):.2f}{spread}"


@pytest.mark.parametrize("activation", batch_norm.ACTIVATIONS)
def test_sentences_follow_from_the_records(results: Results, activation: str) -> None:
    grid, cures = batch_norm.grid(), batch_norm.cures()
    numbers = [chosen(grid, f"{activation}, {name}, ") for name in ("with", "without")]
    careful = chosen(cures, f"{activation}, orthogonal start, ")
    answer, text = reports.report_answer(results), reports.report_grid(results)
    line = next(t for t in text.splitlines() if t.startswith(f"- {activation}"))
    for number in numbers:
        assert f"{number} %" in answer
        assert f"**{number} % (" in line
    assert f"{careful} % ({activation})" in answer
    for study, subject in ((grid, "rates"), (cures, "networks")):
        assert f"{subject} ({len(next(iter(study.values())))} seeds each)" in answer
    assert f"orthogonal start {careful} %" in reports.report_cures(results)
    table = reports.overview(results, grid)
    assert table.loc[f"{activation}, with", "test accuracy (%)"] == numbers[0]


def test_speed_follows_from_the_records(results: Results) -> None:
    study = batch_norm.steps_needed()
    fewest = {}
    for condition in study:
        steps = [r["values"]["steps_to_95"] for r in committed(study, condition)]
        if steps and None not in steps:
            group = condition.rsplit(", ", 1)[0]
            fewest.setdefault(group, []).append(statistics.mean(steps))
    share = 100 * min(fewest["ReLU, with"]) / min(fewest["ReLU, orthogonal start"])
    text = reports.report_speed(results)
    line = next(t for t in text.splitlines() if t.startswith("- ReLU"))
    assert f"95 % after {min(fewest['ReLU, with']):,.0f} steps" in line
    assert f"**{share:.0f} %** of the steps of *orthogonal start*" in line
    *_, explained, _, count = reports.report_explanation(results).splitlines()
    assert explained.startswith("- ReLU")
    assert f"it takes {10000 / share:.0f} % of the steps to 95 %." in explained
    # tanh: 533 ± 81 steps against 500 ± 87
    assert count == (
        "The network whose inputs move farther is slower with ReLU, faster with "
        "sigmoid and as fast with tanh."
    )
    line = next(t for t in text.splitlines() if t.startswith("- tanh"))
    assert line.endswith(" %** of the steps of *orthogonal start* (a tie).")


def test_shift_follows_from_the_records(results: Results) -> None:
    study = batch_norm.covariate_shift()
    medians = [
        statistics.median(
            value
            for record in committed(study, f"tanh, {name}")
            for value in record["values"]["gradient"]
        )
        for name in ("with", "orthogonal start")
    ]
    text = reports.report_shift(results)
    line = next(t for t in text.splitlines() if t.startswith("- tanh"))
    low, high = (
        by_seed(
            statistics.median(record["values"]["gradient"])
            / statistics.median(other["values"]["gradient"])
            for record, other in zip(
                *(
                    committed(study, f"tanh, {name}")
                    for name in ("with", "orthogonal start")
                ),
                strict=True,
            )
        )
        for by_seed in (min, max)
    )
    ratio = medians[0] / medians[1]
    assert f"(× {ratio:.2g}, {low:.2g} to {high:.2g})." in line


REPORTS = (
    *(reports.report_answer, reports.report_grid, reports.report_cures),
    *(reports.report_shift, reports.report_smoothness, reports.report_speed),
    *(reports.report_explanation, reports.report_cost),
    *(reports.report_batch_sizes, reports.report_composition),
    *(reports.signal_table, reports.scale_table, reports.shift_table),
    *(reports.smoothness_table, reports.steps_table),
)


def test_missing_conditions_are_named(results: Results) -> None:
    """One record of a study is enough for tables and sentences; none are an error."""
    for report in REPORTS:
        with pytest.raises(RecordError, match="papernets run batch_norm"):
            report(Results({}))
    some = {}
    for study in batch_norm.studies().values():
        keys = (task.key for tasks in study.values() for task in tasks)
        first = next(key for key in keys if key in results.records)
        some[first] = results.records[first]
    for report in REPORTS:
        said = report(Results(some))
        text = said if isinstance(said, str) else said.to_string()
        if report not in (reports.report_batch_sizes, reports.report_composition):
            assert "not run yet" in text or report is reports.report_answer
        assert "nan" not in text


# --- Figures -----------------------------------------------------------------------


def test_heat_map_shows_means_and_gaps() -> None:
    frame = pd.DataFrame(
        {
            "activation": "tanh",
            "network": ["with"] * 3,
            "lr": [0.1, 0.1, 1.0],
            "epoch": [1, 2, 1],
            "accuracy": [0.5, 0.963, None],
        }
    )
    axis = plots.heat_maps(frame).axes[0]
    values = axis.collections[0].get_array()
    assert values.filled(-1).round(1).tolist() == [[50.0, 96.3], [-1, -1]]
    assert [text.get_text() for text in axis.texts] == ["96.3"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["0.1", "1"]


def test_small_multiples_draw_means_and_bands() -> None:
    frame = pd.DataFrame(
        {
            "panel": ["a"] * 4 + ["b"] * 2,
            "line": ["x", "x", "y", "y", "x", "x"],
            "step": [1, 1, 1, 1, 1, 1],
            "value": [1.0, 3.0, 10.0, 1000.0, 5.0, 5.0],
            "other": [1.0] * 6,
        }
    )
    draw = {"panel": "panel", "line": "line"}
    axes = plots.small_multiples(frame, "step", {"value": "v", "other": "o"}, **draw)
    axis = axes.axes[0]
    assert [line.get_ydata().tolist() for line in axis.lines] == [[2.0], [505.0]]
    assert [axis.get_title() for axis in axes.axes] == ["a", "b", "", ""]
    low, high = axis.collections[0].get_paths()[0].vertices[:, 1].min(), 2 + 2**0.5
    assert (low, high) == (pytest.approx(2 - 2**0.5), pytest.approx(high))
    logarithmic = plots.small_multiples(
        frame, "step", {"value": "v"}, log=("value",), **draw
    ).axes[0]
    assert logarithmic.lines[1].get_ydata().tolist() == pytest.approx([100.0])
    assert logarithmic.get_yscale() == "log"


def test_ridgelines_draw_each_layer_and_name_what_is_missing() -> None:
    frame = pd.DataFrame(
        {
            "activation": ["tanh", "tanh", "ReLU"],
            "network": ["with", "without", "with"],
            "histogram": [[[500, 500], [1000, 0]]] * 3,
            "low": [-1.0, -1.0, 0.0],
            "high": [1.0, 1.0, 4.0],
        }
    )
    axes = plots.ridgelines(frame).axes
    second, first = (patch.get_data() for patch in axes[0].patches)
    assert first.edges.tolist() == [-1, 0, 1]
    assert (first.baseline, second.baseline) == (1, 2)
    assert second.values.tolist() == pytest.approx([2 + 1.8, 2])
    assert first.values.tolist() == pytest.approx([1 + 1.8 * 0.5**0.5] * 2)
    assert [text.get_text() for text in axes[3].texts] == ["not run yet"]


def test_every_run_is_in_the_heat_map(results: Results) -> None:
    """Also with a run that diverged after three epochs."""
    table = reports.every_run(results, batch_norm.grid())
    assert len(table) == 6 * 7 * 5 * 10
    assert table.accuracy.notna().all()
    run = batch_norm.grid()["tanh, with, lr 0.1"][1]
    record = results.records[run.key]
    assert isinstance(record, RunRecord)
    curves = {
        name: values[:3] for name, values in dataclasses.asdict(record.curves).items()
    }
    lost = dataclasses.replace(record, status="diverged", curves=Curves(**curves))
    changed = Results({**results.records, run.key: lost})
    table = reports.every_run(changed, batch_norm.grid())
    rows = table[(table.network == "tanh, with") & (table.lr == 0.1)]
    accuracies = rows[rows.seed == 1].accuracy.tolist()
    assert accuracies[:3] == pytest.approx(
        [100 * a for a in record.curves.validation_accuracy[:3]]
    )
    assert np.isnan(accuracies[3:]).all()
    assert len(accuracies) == 10
    assert rows[rows.seed != 1].accuracy.notna().all()


def test_accuracy_map_has_no_mean_over_some_of_the_seeds(results: Results) -> None:
    table = reports.accuracy_map(results, batch_norm.grid())
    cell = table[(table.lr == 0.1) & (table.epoch == 10) & (table.network == "with")]
    condition = committed(batch_norm.grid(), "tanh, with, lr 0.1")
    mean = statistics.mean(r["curves"]["validation_accuracy"][-1] for r in condition)
    assert cell.set_index("activation").accuracy["tanh"] == pytest.approx(mean)
