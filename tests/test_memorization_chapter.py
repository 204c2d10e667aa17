"""The chapter on exact memorization: its grid, measurements, pictures and sentences."""

import itertools
import json
import math
import re
import statistics
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from papernets import experiments, plots, serpentine
from papernets.data import load
from papernets.experiments import Results, memorization_measures
from papernets.experiments import exact_memorization as chapter
from papernets.memorization import memorize
from papernets.records import Measurement, RecordError

FOLDER = Path(__file__).parents[1] / "results" / "exact_memorization"


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.read(FOLDER)


def values_of(tasks: list[Measurement], name: str) -> list[Any]:
    """One value of every seed, from the JSON files and nothing else."""
    files = [json.loads((FOLDER / task.file_name).read_text()) for task in tasks]
    return [file["values"][name] for file in files]


def spread(values: list[float], digits: int = 1) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


# --- The grid and its records --------------------------------------------------------


def test_conditions_differ_only_in_their_seeds() -> None:
    for name, study in chapter.studies().items():
        for label, tasks in study.items():
            assert len({replace(task, seed=0).key for task in tasks}) == 1, label
            first = [chapter.TUNING_SEED] if name == "rates" else range(len(tasks))
            assert [task.seed for task in tasks] == list(first)
        assert len({tasks[0].key for tasks in study.values()}) == len(study)


def test_every_planned_record_is_there(results: Results) -> None:
    for study in chapter.studies().values():
        assert results.missing(study) == []


def test_three_seeds_where_chance_decides() -> None:
    studies = chapter.studies()
    for name in ("shapes", "search", "choices", "used", "learning", "widths", "longer"):
        assert {len(tasks) for tasks in studies[name].values()} == {3}


def test_the_learning_rates_are_the_best_of_the_grid() -> None:
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for tasks in chapter.rates().values():
        settings, (mse,) = tasks[0].settings, values_of(tasks, "mse")
        mse = math.inf if mse is None else mse
        key = str(settings["inputs"]), str(settings["optimizer"])
        best[key] = min(best.get(key, (math.inf, 0.0)), (mse, settings["lr"]))
    assert len(best) == 6
    for (inputs, optimizer), (_, lr) in best.items():
        assert chapter.LEARNING_RATES[inputs][optimizer] == lr


def test_the_quick_preset_is_a_miniature(tmp_path: Path) -> None:
    for study in chapter.studies("quick").values():
        for tasks in study.values():
            assert len(tasks) == 1
            assert tasks[0].dataset in (None, "digits")
            for name, value in tasks[0].settings.items():
                assert name not in chapter.QUICK or value <= chapter.QUICK[name]
    study = chapter.studies("quick")["used"]
    made = list(experiments.execute_all(experiments.tasks_of([study]), tmp_path))
    assert {record.task.function for record in made} == {"precision"}


# --- Sentences -----------------------------------------------------------------------


def test_the_headline_sizes_keep_their_limits(results: Results) -> None:
    scalar, images = (tasks for tasks in chapter.sizes().values())
    for name, most in (("built_seconds", 2), ("verified_seconds", 30)):
        assert values_of(scalar, name)[0] <= most
    seconds = [values_of(images, f"{n}_seconds")[0] for n in ("built", "verified")]
    assert sum(seconds) <= 180
    assert values_of(images, "peak_memory_gb")[0] < 8
    text = chapter.report_sizes(results)
    for tasks in (scalar, images):
        assert values_of(tasks, "points") == [10_000]
        assert values_of(tasks, "float64_wrong") == [0]
        assert f"built in **{values_of(tasks, 'built_seconds')[0]:.1f} s**" in text
    table = chapter.sizes_table(results)
    assert list(table.loc["points"]) == ["10,000", "10,000"]
    assert (
        table.loc["peak memory"]
        .iloc[1]
        .startswith(f"{values_of(images, 'peak_memory_gb')[0]:.1f}")
    )


def test_sentences_on_growth(results: Results) -> None:
    (tasks,) = chapter.growing().values()
    names = ("side", "method", "built_seconds", "longest_bits")
    rows = list(zip(*(values_of(tasks, name)[0] for name in names), strict=True))
    published = [row for row in rows if row[1] == "inoue2019"]
    compact = [row for row in rows if row[1] == "compact"]
    assert compact[-1][0] == 150
    assert published[-1][2] > 60 > published[-2][2]
    x, y = (np.log([row[i] for row in published[-4:]]) for i in (0, 2))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    text = chapter.report_growth(results)
    assert f"takes {published[-1][2]:.0f} s" in text
    assert f"grows as a<sup>{slope:.1f}</sup>" in text
    assert f"{compact[-1][2]:.1f} s at 150 × 150" in text
    assert f"{compact[-1][3]:,} bits" in text


def test_sentences_on_cases(results: Results) -> None:
    (tasks,) = chapter.cases().values()
    text = chapter.report_cases(results)
    for name in ("compact", "inoue2019", "points"):
        assert f"{sum(values_of(tasks, name)):,}" in text


def test_sentences_on_precision(results: Results) -> None:
    text = chapter.report_shapes(results)
    accuracy = []
    for label, tasks in chapter.shapes().items():
        line = next(line for line in text.splitlines() if line.startswith(f"- {label}"))
        assert f"{spread(values_of(tasks, 'bits_needed'))} bits" in line
        for name in chapter.FORMATS:
            enough = not any(values_of(tasks, f"{name}_wrong"))
            assert (name in line) == enough
        accuracy += [v for v in values_of(tasks, "test_accuracy") if v is not None]
    assert f"{spread([100 * v for v in accuracy])} %" in text
    assert statistics.mean(accuracy) < 0.15
    assert not any(values_of(chapter.shapes()["(400, 250)"], "float64_wrong"))
    text = chapter.report_search(results)
    for label, tasks in chapter.search().items():
        wrong = ", ".join(f"{n:,}" for n in values_of(tasks, "float64_wrong"))
        assert f"{label}: wrong answers in float64, by seed: {wrong}." in text
    text = chapter.report_used(results)
    for label, tasks in chapter.used().items():
        bits = spread(values_of(tasks, "bits_needed"))
        longest = statistics.mean(values_of(tasks, "longest_bits"))
        assert f"- {label}: {bits} bits needed" in text
        assert f"longest numerator {longest:,.0f} bits" in text
    text = chapter.report_choices(results)
    for label, tasks in chapter.choices().items():
        errors = [math.log10(v) for v in values_of(tasks, "float64_error")]
        assert f"{label}: 10<sup>{np.mean(errors):.1f}</sup>" in text


def test_sentences_on_methods(results: Results) -> None:
    study, text = chapter.methods(), chapter.report_methods(results)
    for method in chapter.METHODS:
        bits = values_of(study[f"{method}, 16 x 16"], "bits_needed")
        assert f"{statistics.mean(bits):.0f}" in text
    bits = {
        side: values_of(study[f"inoue2019, {side} x {side}"], "bits_needed")
        for side in chapter.SIDES
    }
    fits = [side for side, values in bits.items() if statistics.mean(values) <= 53]
    expected = f"53 beyond {max(fits)} × {max(fits)}" if fits else "53 at every size"
    assert expected in text


def test_sentences_on_learning(results: Results) -> None:
    study, text = chapter.learning(), chapter.report_learning(results)
    own, answer = chapter.report_own(results), chapter.report_answer(results)
    for inputs in chapter.INPUTS:
        line = next(t for t in text.splitlines() if t.startswith(f"- {inputs}"))
        for optimizer in chapter.OPTIMIZERS:
            right = values_of(study[f"{optimizer}, {inputs}, 100%"], "right")
            shown = f"{spread([100 * v for v in right])} %"
            near = values_of(study[f"{optimizer}, {inputs}, 100%"], "near")
            within = f"{spread([100 * v for v in near])} % within 0.01"
            assert f"{optimizer} {shown} ({within})" in line
            mine = values_of(chapter.own_labels()[f"{optimizer}, {inputs}"], "right")
            expected = f"{spread([100 * v for v in mine])} % right with the images' own"
            assert f"- {inputs}, {optimizer}: {expected} labels, {shown}" in own
            if optimizer == "Adam":
                assert re.search(rf"{shown} with .{{20,30}} \({inputs}\)", answer)
    longer = chapter.report_longer(results)
    for label, tasks in chapter.longer().items():
        right = [100 * v for v in values_of(tasks, "right")]
        assert f"{spread(right)} % ({label})" in longer


def test_sentences_on_widths(results: Results) -> None:
    text = chapter.report_widths(results)
    for inputs in chapter.INPUTS:
        line = next(t for t in text.splitlines() if t.startswith(f"- {inputs}"))
        for optimizer in chapter.OPTIMIZERS:
            perfect = [
                width
                for width in chapter.WIDTHS[inputs]
                if min(
                    values_of(
                        chapter.widths()[f"{optimizer}, {inputs}, width x {width}"],
                        "right",
                    )
                )
                == 1
            ]
            expected = f"at × {perfect[0]}" if perfect else "not up to × "
            assert f"{optimizer} {expected}" in line


def test_the_construction_held_all_points_that_were_to_be_learned() -> None:
    for tasks in chapter.exact().values():
        assert values_of(tasks, "exact") == [1000] * 3


def test_no_sentence_is_made_of_missing_records() -> None:
    for name in vars(chapter):
        if name.startswith("report_"):
            with pytest.raises(RecordError, match="papernets run exact_memorization"):
                getattr(chapter, name)(Results({}))


# --- Measuring -----------------------------------------------------------------------


def test_the_published_method_stops_at_its_limit() -> None:
    found = chapter.growth(seed=0, largest=11, limit_seconds=0.0)
    assert found["method"].count("inoue2019") == 1
    assert found["side"] == [3, 3, 4, 6, 8, 11]


def test_small_images_are_sums_of_pixels() -> None:
    digits = load("digits")
    x, y = memorization_measures.points_to_learn(digits, 5, "small images", "own", 0)
    pixels = digits.train.images[3, 0].numpy().astype(int)
    assert x[3].tolist() == [
        pixels[i : i + 4, j : j + 4].sum() for i in (0, 4) for j in (0, 4)
    ]
    assert y.tolist() == digits.train.labels[:5].tolist()
    line, other = (
        memorization_measures.points_to_learn(digits, 50, "line", "random", seed)
        for seed in (0, 1)
    )
    assert line[0].shape == (50, 1)
    assert (line[0] != other[0]).any()
    assert (line[1] != other[1]).any()


SETTINGS: dict[str, Any] = {
    "a1": 10,
    "a2": 20,
    "share": 0.15,
    "inputs": "images",
    "targets": "random",
    "evaluations": 1500,
}


@pytest.mark.parametrize(
    ("optimizer", "lr"), [("Adam", 0.01), ("SGD", 0.01), ("L-BFGS", 1.0)]
)
def test_training_fits_few_points_and_then_stops(optimizer: str, lr: float) -> None:
    found = chapter.learned(
        load("digits"), seed=0, optimizer=optimizer, lr=lr, **SETTINGS
    )
    assert found["points"] == 30
    assert found["parameters"] == 64 * 10 + 10 + 10 * 20 + 20 + 20 + 1
    assert found["right"] == 1
    assert found["evaluations_used"] <= 1500 + 50
    if optimizer == "L-BFGS":
        assert found["near"] == 1
        assert found["evaluations_used"] < 1000


def test_a_training_that_diverges_answers_nothing() -> None:
    found = chapter.learned(
        load("digits"), seed=0, optimizer="SGD", lr=1e6, **SETTINGS | {"width": 2}
    )
    assert (found["right"], found["near"], found["mse"]) == (0, 0, None)
    assert found["evaluations_used"] < 1500


def test_a_wrong_network_is_noticed_among_the_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert chapter.random_cases(seed=3, count=8)["compact"] == 6
    monkeypatch.setattr(
        "papernets.exact_network.ExactNetwork.evaluate",
        lambda network, x: np.zeros((len(x), network.shape[3]), dtype=object) + 77,
    )
    with pytest.raises(AssertionError, match="problem 24 is not represented"):
        chapter.random_cases(seed=3, count=8)


# --- Pictures ------------------------------------------------------------------------

PLACES = [0, 1, 2, 4, 5, 7, 8, 9, 12]
TARGETS = [3, 1, 4, 1, 5, 9, 2, 6, 5]


def test_the_curve_is_the_function() -> None:
    network = memorize(PLACES, TARGETS, 3, 3)
    curve = serpentine.curve(network, PLACES, TARGETS)
    assert curve.x.is_monotonic_increasing
    points = curve[curve.kind == "point"]
    assert points.x.tolist() == PLACES
    assert points.value.tolist() == TARGETS
    assert points.active.tolist() == [1, 2, 3, 3, 2, 1, 1, 2, 3]
    knots = curve[curve.kind == "knot"]
    where = np.linspace(-1, 12.9, 200)
    exact = network.evaluate([[Fraction(v)] for v in where]).astype(float)
    assert np.interp(where, knots.x, knots.value) == pytest.approx(exact, abs=1e-6)


def test_a_curve_needs_one_input() -> None:
    network = memorize([[0, 1], [1, 0]], [1, 2], 1, 2)
    with pytest.raises(ValueError, match="the network has 2 inputs, expected 1"):
        serpentine.curve(network, [0, 1], [1, 2])


def test_every_unit_adds_a_point_to_every_chunk() -> None:
    stages = serpentine.stages(memorize(PLACES, TARGETS, 3, 3), PLACES, TARGETS)
    assert [sum(hits) for _, hits in stages] == [0, 3, 6, 9]
    for (_, before), (_, after) in itertools.pairwise(stages):
        assert all(b <= a for b, a in zip(before, after, strict=True))


class Tags(HTMLParser):
    """Names and attributes of all elements, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_stepper_is_a_picture_without_scripts() -> None:
    text = serpentine.stepper(memorize(PLACES, TARGETS, 3, 3), PLACES, TARGETS)
    parser = Tags()
    parser.feed(text)
    lines = [a for tag, a in parser.found if tag == "polyline"]
    assert ["display" in (a.get("style") or "") for a in lines] == [True] * 3 + [False]
    circles = [a["data-stage"] for tag, a in parser.found if tag == "circle"]
    assert sorted(str(c) for c in circles) == list("111222333")
    assert [a for tag, a in parser.found if tag == "label"] == [{"hidden": None}]
    assert "3 of 3 units: 9 of 9 points</output>" in text
    assert not re.search(r"https?:|src=|url\(|import", text)
    (label,) = [a["aria-label"] for tag, a in parser.found if tag == "svg"]
    assert "all of 9 points" in str(label)
    assert len(text) < 20_000


def test_figures_of_the_chapter(results: Results) -> None:
    curve = serpentine.curve(memorize(PLACES, TARGETS, 3, 3), PLACES, TARGETS)
    figure = plots.serpentine({"nine": curve})
    assert figure.axes[0].get_title() == "nine"
    assert figure.axes[0].lines[1].get_ydata().tolist() == TARGETS
    growth = chapter.growth_table(results)
    lines = plots.growth(growth).axes[0].lines
    assert [line.get_label() for line in lines] == ["compact", "inoue2019"]
    assert len(lines[0].get_xdata()) == (growth.method == "compact").sum()
    panels = chapter.bits_tables(results)
    figure = plots.bits_needed(panels, chapter.FORMATS)
    assert [axis.get_xlabel() for axis in figure.axes] == list(panels)
    assert {t.get_text() for t in figure.axes[1].texts} == set(chapter.FORMATS)
    figure = plots.fitted(chapter.learning_table(results))
    assert [axis.get_title() for axis in figure.axes] == list(chapter.INPUTS)
    assert len(figure.axes[0].containers) == 3


def test_errors_note_what_overflows() -> None:
    table = pd.DataFrame({"condition": ["a", "a", "b"], "e": [1e-3, None, 1e4]})
    axis = plots.errors(table, "e", "error", limit=0.5).axes[0]
    assert [text.get_text() for text in axis.texts] == ["1 overflow"]
    assert axis.lines[1].get_xdata().tolist() == [1e4]
    assert axis.get_xscale() == "log"


def test_the_live_table() -> None:
    table = chapter.live_sizes()
    assert list(table["points verified"]) == [25, 25, 900]
    example = memorize(chapter.EXAMPLE_X, chapter.EXAMPLE_Y, 3, 3, method="inoue2019")
    assert example.evaluate(chapter.EXAMPLE_X).tolist() == list(chapter.EXAMPLE_Y)
    assert torch.is_tensor(example.to_torch()[0].weight)
