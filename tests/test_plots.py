"""Figures: what is drawn is what the tables hold."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from papernets import plots


def curves(condition: str, seeds: int) -> pd.DataFrame:
    rows = [
        {
            "condition": condition,
            "seed": seed,
            "epoch": epoch,
            "train_accuracy": 0.1 * epoch + 0.01 * seed,
            "test_accuracy": 0.09 * epoch,
            "train_loss": 2 - 0.1 * epoch,
            "test_loss": 2.1 - 0.1 * epoch,
        }
        for seed in range(seeds)
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def lines(figure: Figure, axis: int) -> list[np.ndarray]:
    return [line.get_ydata() for line in figure.axes[axis].lines]


def test_learning_curves_draw_every_seed() -> None:
    both = pd.concat([curves("MNIST", 3), curves("CIFAR-10", 2)])
    figure = plots.learning_curves(both)
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 4, 4]
    assert lines(figure, 0)[1].tolist() == pytest.approx([11, 21, 31])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["MNIST", "MNIST", "CIFAR-10", "CIFAR-10"]


def test_accuracy_curves_label_each_condition_once() -> None:
    both = pd.concat([curves("a", 3), curves("b", 1)])
    figure = plots.accuracy_curves(both, level=20)
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert lines(figure, 0)[-1] == [20, 20]


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "condition": ["a", "a", "b", "b"],
            "status": ["finished", "finished", "finished", "diverged"],
            "test_accuracy": [0.5, 0.6, 0.7, None],
            "train_accuracy": [0.5, 0.6, 0.7, None],
            "model.blocks": [1, 1, 2, 2],
            "model.join": ["product"] * 4,
        }
    )


def test_compare_shows_dots_spread_and_divergence() -> None:
    axis = plots.compare(table()).axes[0]
    assert axis.lines[0].get_xdata().tolist() == pytest.approx([50, 60])
    assert [text.get_text() for text in axis.texts] == ["1 diverged"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert axis.containers[0].lines[0].get_xdata() == pytest.approx([55])
    assert len(axis.containers) == 1  # no spread from a single value


def test_by_blocks_draws_means() -> None:
    figure = plots.by_blocks(table(), {"product": "products"})
    assert lines(figure, 0)[0].tolist() == pytest.approx([55, 70])


def test_spectra_mark_the_degree() -> None:
    figure = plots.spectra({"x": [1.0, 1e-3, 1e-9]}, degree=1)
    assert lines(figure, 0)[0].tolist() == [1.0, 1e-3, 1e-9]
    assert figure.axes[0].texts[0].get_text() == " degree 1"


def test_style_is_our_own_and_stays_inside() -> None:
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30}):
        figure = plots.compare(table())
        assert mpl.rcParams["font.size"] == 30
    assert figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert figure.axes[0].xaxis.label.get_fontsize() == 9


def test_colours_are_distinct() -> None:
    assert len(set(plots.CYCLE)) == len(plots.CYCLE)
    assert set(plots.METHODS.values()) <= set(plots.CYCLE)


def test_a_method_has_its_colour_in_any_company() -> None:
    """In any order, with others or alone; those without one take what is left."""
    assert plots.colours(["without", "with"]) == {
        "with": plots.BLUE,
        "without": plots.VERMILION,
    }
    names = ["new", "without", "other", "new"]
    assert plots.colours(names) == {
        "new": plots.BLUE,
        "without": plots.VERMILION,
        "other": plots.GREEN,
    }
    many = plots.colours([str(i) for i in range(20)])
    assert len(many) == 20
    assert set(many.values()) == set(plots.CYCLE)


def test_rows_of_methods_have_their_colours() -> None:
    runs = table().replace({"condition": {"a": "one branch, ReLU", "b": "other"}})
    axis = plots.compare(runs).axes[0]
    dots = [line.get_color() for line in axis.lines if line.get_marker() == "o"]
    assert dots == [plots.METHODS["one branch, ReLU"], plots.BLUE]
