"""Every figure of the book. Functions take DataFrames and return a matplotlib Figure.

Colours are Okabe and Ito's, which people with colour vision deficiencies can tell
apart; a condition keeps its colour within a chapter. Figures have a white ground, so
they stay legible on dark pages.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, SKY, BLACK = "#D55E00", "#56B4E9", "#222222"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK)

P = ParamSpec("P")

STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "papernets",
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the book's style, whatever the reader's own settings are."""

    @wraps(draw)
    def drawn(*arguments: P.args, **keywords: P.kwargs) -> Figure:
        with plt.rc_context():
            plt.rcdefaults()
            plt.rcParams.update(STYLE)
            return draw(*arguments, **keywords)

    return drawn


def grid(columns: int, rows: int = 1, height: float = 2.7) -> tuple[Figure, np.ndarray]:
    """An empty figure of the page's width with rows x columns axes."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.4, height * rows), squeeze=False
    )
    plt.close(figure)  # the notebook shows what a cell returns, once
    return figure, axes


@styled
def learning_curves(curves: pd.DataFrame) -> Figure:
    """Accuracy and loss of every seed, training against test, one row per condition.

    Args:
        curves: as `Results.curves` gives them, with test curves.
    """
    conditions = list(dict.fromkeys(curves.condition))
    figure, axes = grid(2, len(conditions))
    for row, condition in zip(axes, conditions, strict=True):
        part = curves[curves.condition == condition]
        for axis, quantity in zip(row, ("accuracy", "loss"), strict=True):
            scale = 100 if quantity == "accuracy" else 1
            for split, colour in (("train", ORANGE), ("test", BLUE)):
                for i, (_, run) in enumerate(part.groupby("seed")):
                    axis.plot(
                        run.epoch,
                        scale * run[f"{split}_{quantity}"],
                        color=colour,
                        alpha=0.7,
                        label=split if i == 0 else None,
                    )
            unit = "%" if quantity == "accuracy" else "nats"
            axis.set(xlabel="epoch", ylabel=f"{quantity} ({unit})", title=condition)
            axis.legend()
    return figure


@styled
def accuracy_curves(
    curves: pd.DataFrame, split: str = "test", level: float | None = None
) -> Figure:
    """Accuracy over epochs, one colour per condition and one line per seed.

    Args:
        curves: as `Results.curves` gives them.
        split: "train", "validation" or "test".
        level: draw a horizontal line at this accuracy in percent.
    """
    figure, axes = grid(1, height=3.2)
    axis: Axes = axes[0, 0]
    for colour, (label, part) in zip(
        cycle_of(curves.condition), curves.groupby("condition", sort=False), strict=True
    ):
        for i, (_, run) in enumerate(part.groupby("seed")):
            axis.plot(
                run.epoch,
                100 * run[f"{split}_accuracy"],
                color=colour,
                alpha=0.75,
                label=label if i == 0 else None,
            )
    if level is not None:
        axis.axhline(level, color=BLACK, linewidth=1, linestyle=":")
    axis.set(xlabel="epoch", ylabel=f"{split} accuracy (%)")
    axis.legend()
    return figure


def cycle_of(conditions: pd.Series) -> list[str]:
    return [CYCLE[i % len(CYCLE)] for i in range(conditions.nunique())]


@styled
def compare(table: pd.DataFrame, column: str = "test_accuracy") -> Figure:
    """Every seed as a dot, mean and standard deviation as a bar, a row per condition.

    Diverged runs are written beside their row.

    Args:
        table: as `Results.table` gives it.
        column: an accuracy, a fraction.
    """
    conditions = list(dict.fromkeys(table.condition))
    figure, axes = grid(1, height=0.7 + 0.32 * len(conditions))
    axis = axes[0, 0]
    for y, condition in enumerate(conditions):
        part = table[table.condition == condition]
        values = 100 * part[column].astype(float)
        axis.plot(values, [y] * len(values), "o", color=BLUE, alpha=0.55, ms=5)
        if values.count() > 1:
            axis.errorbar(
                values.mean(),
                y,
                xerr=values.std(),
                fmt="|",
                color=BLACK,
                capsize=3,
                ms=10,
            )
        if diverged := int((part.status == "diverged").sum()):
            axis.annotate(
                f"{diverged} diverged",
                (0.99, y),
                color=VERMILION,
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
            )
    axis.set_yticks(range(len(conditions)), conditions)
    axis.set_ylim(len(conditions) - 0.5, -0.5)
    axis.set_xlabel(column.replace("_", " ") + " (%)")
    return figure


@styled
def by_blocks(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Test and training accuracy against the number of blocks, a line per join.

    Args:
        table: runs with the columns `model.blocks` and `model.join`.
        labels: legend text of each join.
    """
    figure, axes = grid(2, height=3.0)
    for axis, split in zip(axes[0], ("test", "train"), strict=True):
        for colour, (join, label) in zip(CYCLE, labels.items(), strict=False):
            part = table[table["model.join"] == join]
            grouped = 100 * part.groupby("model.blocks")[f"{split}_accuracy"].agg(
                ["mean", "std"]
            )
            axis.errorbar(
                grouped.index,
                grouped["mean"],
                yerr=grouped["std"].fillna(0),
                marker="o",
                ms=4,
                capsize=3,
                color=colour,
                label=label,
            )
        axis.set(xlabel="blocks", ylabel=f"{split} accuracy (%)")
        axis.set_xticks(range(1, 6))
    axes[0, 0].legend()
    return figure


@styled
def spectra(magnitudes: Mapping[str, Sequence[float]], degree: int) -> Figure:
    """Magnitude of the Chebyshev coefficients along a line, on a logarithmic scale.

    Args:
        magnitudes: for each network, |coefficient| of degree 0, 1, 2, ...
        degree: drawn as a vertical line.
    """
    figure, axes = grid(1, height=3.0)
    axis = axes[0, 0]
    for colour, (label, values) in zip(CYCLE, magnitudes.items(), strict=False):
        axis.semilogy(values, "o-", ms=3, color=colour, label=label)
    axis.axvline(degree, color=BLACK, linewidth=1, linestyle=":")
    axis.annotate(
        f" degree {degree}",
        (degree, 1),
        color=BLACK,
        va="top",
        xycoords=("data", "axes fraction"),
    )
    axis.set(xlabel="degree", ylabel="|coefficient|")
    axis.legend(loc="lower left")
    return figure
