"""Every figure of the book. Functions take DataFrames and return a matplotlib Figure.

Colours are Okabe and Ito's, which people with colour vision deficiencies can tell
apart; a method keeps its colour through the book (`METHODS`). Figures have a white
ground, so they stay legible on dark pages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import cycle, product
from typing import Any, ParamSpec

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from papernets.interactive import SCALE, front

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, SKY, BLACK = "#D55E00", "#56B4E9", "#222222"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK)

# The colour of a method in every figure of the book, by its name in legends and rows.
# What a chapter is about is blue, what it is compared with vermilion.
METHODS = {
    # where accuracies come from
    "train": ORANGE,
    "test": BLUE,
    # joins of two branches
    "product": BLUE,
    "products": BLUE,
    "ReLU": VERMILION,
    "one branch, ReLU": VERMILION,
    "product, then ReLU": GREEN,
    "one branch: linear": ORANGE,
    # normalization
    "with": BLUE,
    "without": VERMILION,
    "orthogonal start": GREEN,
    "layer norm": PINK,
    # ... and the averages that it is evaluated with
    "running averages": BLUE,
    "batch norm: running averages": BLUE,
    "of training": BLUE,
    "batch norm: all training images": ORANGE,
    "its own": ORANGE,
    "batch norm: the test batch": SKY,
    "statistics of shuffled test batches": SKY,
    "of test batches sorted by class": BLACK,
    # construction, and learning instead
    "compact": BLUE,
    "inoue2019": VERMILION,
    "with restarts": GREEN,
    "without restarts": ORANGE,
    "Adam": BLUE,
    "SGD": VERMILION,
    "L-BFGS": GREEN,
    # what is done to blocks
    "removed": SKY,
    "exchanged with the next": VERMILION,
    # loops of training
    "this book, bf16": BLUE,
    "PyTorch Lightning": VERMILION,
    "this book, bf16, compiled": GREEN,
    "plain loop, 2 workers": ORANGE,
    "this book, fp32": SKY,
}


def colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each name: its own among `METHODS`, or the next that is free."""
    known = {name: METHODS.get(name) for name in names}
    free = cycle([c for c in CYCLE if c not in known.values()] or CYCLE)
    return {name: colour or next(free) for name, colour in known.items()}


P = ParamSpec("P")

STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 122,  # 5.8 inches are the width of the page
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
        rows, columns, figsize=(5.8, height * rows), squeeze=False
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
            for split, colour in colours(["train", "test"]).items():
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
    for label, colour in colours(curves.condition).items():
        part = curves[curves.condition == label]
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
        colour = METHODS.get(condition, BLUE)
        axis.plot(values, [y] * len(values), "o", color=colour, alpha=0.55, ms=5)
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
        for join, label in labels.items():
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
                color=colours(labels.values())[label],
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
    for label, colour in colours(magnitudes).items():
        axis.semilogy(magnitudes[label], "o-", ms=3, color=colour, label=label)
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


@styled
def heat_maps(frame: pd.DataFrame) -> Figure:
    """Accuracy over epochs and learning rates; a row of maps per activation.

    The number at the right of a line is its last accuracy in percent; grey stands for
    runs that diverged or were not made.

    Args:
        frame: columns `activation`, `network`, `lr`, `epoch` and `accuracy` (a
            fraction).
    """
    rows, columns = (list(frame[n].unique()) for n in ("activation", "network"))
    figure, axes = grid(len(columns), len(rows), height=2.3)
    rates, epochs = (sorted(frame[n].unique()) for n in ("lr", "epoch"))
    mesh, (low, high) = None, SCALE
    for (i, activation), (j, network) in product(enumerate(rows), enumerate(columns)):
        part = frame[(frame.activation == activation) & (frame.network == network)]
        table = part.pivot_table("accuracy", "lr", "epoch").reindex(
            index=rates, columns=epochs
        )
        axis = axes[i, j]
        axis.grid(visible=False)
        axis.set_facecolor("#DDDDDD")
        mesh = axis.pcolormesh(100 * table.to_numpy(float), vmin=low, vmax=high)
        last = (100 * table[epochs[-1]]).round(1)
        for y, value in enumerate(last):
            if pd.notna(value):
                at = (len(epochs) + 0.15, y + 0.5)
                axis.annotate(f"{value}", at, va="center", annotation_clip=False)
        axis.set_xticks([k + 0.5 for k in range(len(epochs))], epochs)
        axis.set_yticks([k + 0.5 for k in range(len(rates))], [f"{r:g}" for r in rates])
        axis.set_title(network if i == 0 else "")
        axis.set(xlabel="epoch" if i == len(rows) - 1 else "")
        axis.set(ylabel=f"{activation}: learning rate" if j == 0 else "")
    if mesh is not None:
        figure.colorbar(mesh, ax=axes, label="accuracy (%)", shrink=0.6, pad=0.06)
    return figure


@styled
def small_multiples(
    frame: pd.DataFrame,
    x: str,
    quantities: Mapping[str, str],
    *,
    panel: str,
    line: str,
    log: Sequence[str] = (),
) -> Figure:
    """Means over seeds with bands; a row per quantity, a column per panel.

    The band is one standard deviation wide on each side. On a logarithmic axis mean and
    deviation are those of the logarithm.

    Args:
        frame: one row per point and seed.
        x: its column along the horizontal axis.
        quantities: axis label of each column to draw.
        panel: column that tells the panels of a row apart.
        line: column that tells the lines of a panel apart.
        log: those of `x` and `quantities` with a logarithmic axis.
    """
    panels, names = (list(frame[n].unique()) for n in (panel, line))
    figure, axes = grid(len(panels), len(quantities), height=2.4)
    for (row, (quantity, label)), (column, title) in product(
        enumerate(quantities.items()), enumerate(panels)
    ):
        axis = axes[row, column]
        for name, colour in colours(names).items():
            part = frame[(frame[panel] == title) & (frame[line] == name)]
            values = part.set_index(x)[quantity].astype(float)
            if quantity in log:
                values = np.log10(values.where(values > 0))
            points = values.dropna().groupby(level=0).agg(["mean", "std"]).fillna(0.0)
            middle, spread = points["mean"], points["std"]
            low, high = middle - spread, middle + spread
            if quantity in log:
                middle, low, high = 10**middle, 10**low, 10**high
            axis.plot(middle.index, middle, color=colour, label=name)
            axis.fill_between(middle.index, low, high, color=colour, alpha=0.2, lw=0)
        axis.set_xscale("log" if x in log else "linear")
        if x not in log:  # epochs, steps and layers are whole numbers
            nbins = 5 if frame[x].max() < 100 else 3  # long ones would touch
            axis.xaxis.set_major_locator(MaxNLocator(nbins, integer=True))
        if x in log and len(panels) == 1:  # there is room for every value
            axis.set_xticks(sorted(frame[x].unique()), sorted(frame[x].unique()))
            axis.minorticks_off()
        axis.set_yscale("log" if quantity in log else "linear")
        axis.set(
            title=title if row == 0 else "",
            xlabel=x.replace("_", " ") if row == len(quantities) - 1 else "",
            ylabel=label if column == 0 else "",
        )
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(names) if len("".join(names)) < 60 else 2,
    )
    return figure


@styled
def ridgelines(frame: pd.DataFrame) -> Figure:
    """Distributions by layer, the first layer below; a row of panels per activation.

    Args:
        frame: columns `activation`, `network`, `histogram` (a list over layers of lists
            over bins), `low` and `high` (the ends of the bins). Rows of the same panel
            are averaged.
    """
    rows, columns = (list(frame[n].unique()) for n in ("activation", "network"))
    figure, axes = grid(len(columns), len(rows), height=2.4)
    for (i, activation), (j, network) in product(enumerate(rows), enumerate(columns)):
        part = frame[(frame.activation == activation) & (frame.network == network)]
        axis = axes[i, j]
        axis.set_title(network if i == 0 else "")
        axis.set(xlabel="output" if i == len(rows) - 1 else "")
        axis.set(ylabel=f"{activation}: layer" if j == 0 else "")
        if part.empty:
            axis.annotate("not run yet", (0.3, 0.5), xycoords="axes fraction")
            continue
        layers = np.mean([np.array(h, float) for h in part.histogram], axis=0)
        low, high = part[["low", "high"]].iloc[0]
        edges = np.linspace(low, high, layers.shape[1] + 1)
        # A ridge is at most 1.8 layers high; the square root keeps low ones visible.
        heights = 1.8 * np.sqrt(layers / layers.max())
        for layer in reversed(range(len(layers))):
            axis.stairs(
                layer + 1 + heights[layer],
                edges,
                baseline=layer + 1,
                fill=True,
                color=plt.get_cmap("viridis")(layer / len(layers)),
                alpha=0.9,
            )
        axis.set_yticks(range(1, len(layers) + 1, 3))
    return figure


@styled
def serpentine(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Piecewise linear functions through points, coloured by the units that are active.

    Args:
        curves: for each title, what `serpentine.curve` gives.
    """
    figure, axes = grid(1, len(curves), height=2.2)
    for axis, (title, curve) in zip(axes[:, 0], curves.items(), strict=True):
        knots, points = (curve[curve.kind == kind] for kind in ("knot", "point"))
        corners = np.stack([knots.x, knots.value], axis=1)
        pieces = LineCollection(
            list(np.stack([corners[:-1], corners[1:]], axis=1)),
            array=knots.active[:-1],
            cmap="viridis",
            linewidths=1.6,
        )
        axis.add_collection(pieces)
        axis.plot(knots.x, knots.value, ".", color=BLACK, ms=2, label="knots")
        axis.plot(
            points.x, points.value, "o", mfc="white", color=BLACK, ms=4, label="points"
        )
        axis.autoscale_view()
        axis.set(title=title, ylabel="output")
        figure.colorbar(pieces, ax=axis, label="active units", pad=0.01)
    axes[0, 0].legend(loc="upper left", ncols=2)
    axes[-1, 0].set_xlabel("place on the line")
    return figure


@styled
def growth(table: pd.DataFrame) -> Figure:
    """Seconds and longest numerators against the number of neurons, a line per method.

    Args:
        table: columns `side`, `method`, `built_seconds` and `longest_bits`.
    """
    figure, axes = grid(2, height=3.0)
    quantities = {
        "built_seconds": "processor seconds to build",
        "longest_bits": "longest numerator (bits)",
    }
    for axis, (column, label) in zip(axes[0], quantities.items(), strict=True):
        for method, colour in colours(table.method).items():
            part = table[table.method == method]
            axis.loglog(part.side, part[column], "o-", ms=3, color=colour, label=method)
        ticks = [3, 10, 30, 100]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.set(xlabel="a1 = a2", ylabel=label)
    axes[0, 0].legend()
    return figure


@styled
def bits_needed(
    panels: Mapping[str, pd.DataFrame], formats: Mapping[str, int]
) -> Figure:
    """Bits that a network needs, against several things; a dot per seed.

    Args:
        panels: for each label of an x axis, columns `x`, `bits` and `line`.
        formats: bits of the number formats that are drawn as horizontal lines.
    """
    figure, axes = grid(len(panels), height=3.0)
    for axis, (label, table) in zip(axes[0], panels.items(), strict=True):
        for line, colour in colours(table.line).items():
            part = table[table.line == line]
            mean = part.groupby("x").bits.mean()
            axis.plot(part.x, part.bits, "o", ms=3, alpha=0.5, color=colour)
            axis.plot(mean.index, mean, color=colour, label=line)
        for name, bits in formats.items():
            axis.axhline(bits, color=BLACK, linewidth=0.8, linestyle=":")
            axis.annotate(
                name,
                (1, bits),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                size=7,
            )
        if table.x.max() > 30 * table.x.min():
            axis.set_xscale("log")
        axis.set(xlabel=label, ylabel="bits needed" if axis is axes[0, 0] else "")
    legend_below(figure, axes[0])
    return figure


@styled
def errors(table: pd.DataFrame, column: str, label: str, limit: float) -> Figure:
    """A quantity on a logarithmic scale, a dot per seed and a row per condition.

    Args:
        table: as `Results.table` gives it; missing values are noted beside their row.
        column: what is drawn.
        label: of the axis.
        limit: drawn as a vertical line.
    """
    conditions = list(dict.fromkeys(table.condition))
    figure, axes = grid(1, height=0.7 + 0.32 * len(conditions))
    axis = axes[0, 0]
    for y, condition in enumerate(conditions):
        values = table.loc[table.condition == condition, column].astype(float)
        axis.semilogx(values, [y] * len(values), "o", color=BLUE, alpha=0.55, ms=5)
        if missing := int(values.isna().sum()):
            axis.annotate(
                f"{missing} overflow",
                (0.99, y),
                color=VERMILION,
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
            )
    axis.axvline(limit, color=BLACK, linewidth=1, linestyle=":")
    axis.set_yticks(range(len(conditions)), conditions)
    axis.set_ylim(len(conditions) - 0.5, -0.5)
    axis.set_xlabel(label)
    return figure


@styled
def fitted(table: pd.DataFrame) -> Figure:
    """Share of points that training fits against the capacity used, by kind of input.

    Args:
        table: columns `inputs`, `optimizer`, `share`, `right` and `per_point`, one row
            per run.
    """
    kinds = list(dict.fromkeys(table.inputs))
    figure, axes = grid(len(kinds), height=3.0)
    for axis, kind in zip(axes[0], kinds, strict=True):
        part = table[table.inputs == kind]
        for optimizer, colour in colours(part.optimizer).items():
            runs = part[part.optimizer == optimizer]
            right = 100 * runs.groupby("share").right.agg(["mean", "std"])
            axis.errorbar(
                100 * right.index,
                right["mean"],
                yerr=right["std"].fillna(0),
                marker="o",
                ms=4,
                capsize=3,
                color=colour,
                label=optimizer,
            )
        axis.axhline(100, color=BLACK, linewidth=1, linestyle=":")
        axis.set(title=kind, xlabel="points (% of capacity)", ylim=(0, 105))
        axis.set_ylabel("right (%)" if axis is axes[0, 0] else "")
    axes[0, -1].legend()
    return figure


# --- Performance: frames of `experiments.performance_reports` ------------------------


@styled
def speed_ratios(frame: pd.DataFrame, base: str) -> Figure:
    """Speeds as multiples of one loop's, a row per network, a mark per loop.

    Args:
        frame: columns `model`, `loop` and `ratio`, one row per timed run; a bar is one
            standard deviation on each side.
        base: the loop whose speed is one.
    """
    models = list(dict.fromkeys(frame.model))
    loops = [loop for loop in dict.fromkeys(frame.loop) if loop != base]
    figure, axes = grid(1, height=0.9 + 0.55 * len(models))
    axis: Axes = axes[0, 0]
    axis.axvline(1, color=BLACK, linewidth=1, linestyle=":")
    for index, (loop, marker) in enumerate(zip(loops, "osD^v", strict=False)):
        ratios = frame[frame.loop == loop].groupby("model").ratio.agg(["mean", "std"])
        ratios = ratios.reindex(models)
        heights = len(models) - np.arange(len(models)) + 0.26 - 0.13 * index
        axis.errorbar(
            ratios["mean"],
            heights,
            xerr=ratios["std"].fillna(0),
            fmt=marker,
            ms=4,
            capsize=2,
            color=colours(loops)[loop],
            label=loop,
        )
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50) if t <= 1.3 * frame.ratio.max()]
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(models), 0, -1), models)
    axis.set(xlabel=f"speed ({base} = 1)", ylim=(0.4, len(models) + 0.6))
    legend_below(figure, [axis])
    return figure


@styled
def time_shares(frame: pd.DataFrame) -> Figure:
    """What the time goes to, a stacked bar per row.

    Args:
        frame: column `label`, and one of percentages for each kind of work.
    """
    figure, axes = grid(1, height=1.0 + 0.24 * len(frame))
    axis: Axes = axes[0, 0]
    heights, left = range(len(frame), 0, -1), np.zeros(len(frame))
    for kind, colour in colours(frame.columns.drop("label")).items():
        axis.barh(heights, frame[kind], left=left, color=colour, label=kind)
        left += frame[kind].to_numpy()
    axis.set_yticks(heights, frame.label)
    axis.set(xlabel="part of the time (%)", xlim=(0, 100))
    axis.grid(visible=False, axis="y")
    legend_below(figure, [axis])
    return figure


@styled
def scaling(frame: pd.DataFrame) -> Figure:
    """Seconds against one quantity a panel, both on logarithmic scales.

    Lines join medians, which a first call that fills caches leaves alone; the dotted
    ones are in proportion, through the median at the largest value.

    Args:
        frame: columns `quantity`, `value`, `seconds` and `line`, one row per timed
            call; panels and lines are in the order of their first rows.
    """
    quantities = list(dict.fromkeys(frame.quantity))
    columns = min(3, len(quantities))
    figure, axes = grid(columns, -(-len(quantities) // columns), height=2.4)
    for axis in axes.flat[len(quantities) :]:
        axis.set_visible(False)
    for axis, quantity in zip(axes.flat, quantities, strict=False):
        panel = frame[frame.quantity == quantity]
        for line, colour in colours(panel.line).items():
            part = panel[panel.line == line]
            middle = part.groupby("value").seconds.median()
            axis.loglog(part.value, part.seconds, "o", ms=3, alpha=0.5, color=colour)
            axis.loglog(middle.index, middle, color=colour, label=line)
            proportional = middle.iloc[-1] * middle.index / middle.index[-1]
            axis.loglog(middle.index, proportional, ":", color=colour, linewidth=1)
        if panel.line.nunique() > 1:
            axis.legend(fontsize=7)
        axis.minorticks_off()
        axis.set_xticks(panel.value.unique().astype(float))
        axis.xaxis.set_major_formatter(EngFormatter(places=0, sep=""))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.tick_params(labelsize=7)
        axis.set(xlabel=quantity, ylabel="seconds" if axis in axes[:, 0] else "")
    return figure


# --- The survey: frames of `experiments.survey_tables` -------------------------------


@styled
def standing(table: pd.DataFrame) -> Figure:
    """Networks by accuracy, the best above; whoever may be the best is filled.

    A bar is one standard deviation on each side; a network with one seed has none.
    Numbers at the right are the places that ties leave open.

    Args:
        table: as `survey_tables.standing` gives it.
    """
    figure, axes = grid(1, height=0.7 + 0.24 * len(table))
    axis: Axes = axes[0, 0]
    columns = ("mean", "std", "better", "place")
    for height, (mean, std, better, place) in zip(
        range(len(table), 0, -1), table[list(columns)].to_numpy(), strict=True
    ):
        axis.errorbar(
            mean,
            height,
            xerr=None if np.isnan(std) else std,
            fmt="o",
            ms=5,
            color=BLUE,
            mfc=BLUE if better == 0 else "white",
            capsize=2,
        )
        axis.annotate(
            place,
            (1.01, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    axis.set_yticks(range(len(table), 0, -1), table.model)
    axis.set(xlabel="test accuracy (%)", ylim=(0.3, len(table) + 0.7))
    axis.grid(axis="y", alpha=0.12)
    return figure


@styled
def pareto(
    table: pd.DataFrame, axes_of: Mapping[str, str], log: Sequence[str] = ()
) -> Figure:
    """Accuracy against several costs, with the Pareto front of each.

    Args:
        table: as `survey_tables.standing` gives it.
        axes_of: columns to draw along the horizontal axes, by their titles.
        log: titles of logarithmic axes.
    """
    figure, axes = grid(2, -(-len(axes_of) // 2), height=2.6)
    fronts = {}
    for axis, (title, column) in zip(axes.flat, axes_of.items(), strict=False):
        x, y = table[column].astype(float), table["mean"]
        axis.errorbar(x, y, yerr=table["std"], fmt="o", ms=4, color=BLUE, lw=0.8)
        fronts[column] = best = front(x, y)
        axis.step(
            x.iloc[best], y.iloc[best], where="post", color=VERMILION, linewidth=1.2
        )
        axis.set(xlabel=title, xscale="log" if title in log else "linear")
        axis.margins(x=0.1, y=0.1)  # room for names
        if title not in log and x.max() > 1e6:
            axis.xaxis.set_major_formatter(EngFormatter())
    for axis in axes[:, 0]:
        axis.set(ylabel="test accuracy (%)")
    for axis in axes.flat[len(axes_of) :]:
        axis.set_visible(False)
    figure.draw_without_rendering()  # names are placed by where the points come to lie
    for axis, (column, order) in zip(axes.flat, fronts.items(), strict=False):
        points = table[[column, "mean"]].to_numpy(float)
        label_front(axis, table.model, points, order)
    return figure


# Of a name: left above its point, where no front passes, then the others around it.
SIDES = ((-1, 1), (1, -1), (1, 1), (-1, -1), (-1, 0), (1, 0), (0, 1), (0, -1))
DISTANCES = (3, 10, 20)  # points; names that are not beside their point get a line


def label_front(
    axis: Axes, names: "pd.Series[str]", points: np.ndarray, order: Sequence[int]
) -> None:
    """Write names at the points of a front, such that they do not overlap.

    From the most accurate on, each name takes the place near its point, inside the axes
    and off other names, where it covers the least of points and front. A name for which
    there is none is left out.

    Args:
        axis: as it will be drawn.
        names: of all points.
        points: (n, 2), costs and accuracies.
        order: positions of the front's points.
    """
    dots = axis.transData.transform(points)
    corners = np.repeat(dots[order], 2, axis=0)
    steps = Path(np.column_stack([corners[1:, 0], corners[:-1, 1]]))
    taken: list[Bbox] = []
    for i in reversed(order):
        text = axis.annotate(
            names.iloc[i], points[i], (0, 0), textcoords="offset points", fontsize=7
        )
        text.set_in_layout(False)  # the axes stay where they are
        covered = {}
        for place in product(DISTANCES, SIDES):
            box = put(text, *place)
            inside = axis.bbox.count_contains(box.corners()) == 4
            if inside and not any(box.overlaps(other) for other in taken):
                crossed = steps.intersects_bbox(box, filled=False)
                covered[place] = box.padded(4).count_contains(dots) + crossed
        if not covered:
            text.remove()
            continue
        best = min(covered, key=covered.__getitem__)
        taken.append(put(text, *best))
        if best[0] > DISTANCES[0]:
            line = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0}
            axis.annotate(
                "", points[i], text.xyann, "data", "offset points", arrowprops=line
            )


def put(text: Annotation, far: int, side: tuple[int, int]) -> Bbox:
    """Move a name to one side of its point; where it lies then, in pixels."""
    x, y = side
    text.xyann = (far * x, far * y)
    text.set(ha={-1: "right", 0: "center", 1: "left"}[x])
    text.set(va={-1: "top", 0: "center", 1: "bottom"}[y])
    return text.get_window_extent()


@styled
def curves_by_network(curves: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Training and test accuracy over the epochs, a small panel per network.

    Args:
        curves: as `Results.curves` gives them, with test curves.
        order: networks, from the upper left to the lower right.
    """
    columns = 4
    figure, axes = grid(columns, -(-len(order) // columns), height=1.25)
    for axis in axes.flat[len(order) :]:
        axis.set_visible(False)
    for axis, model in zip(axes.flat, order, strict=False):
        part = curves[curves.condition == model]
        for split, colour in colours(["train", "test"]).items():
            for _, run in part.groupby("seed"):
                axis.plot(run.epoch, 100 * run[f"{split}_accuracy"], color=colour)
        axis.set_title(model, fontsize=6)
        axis.set_ylim(0, 100)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axis.tick_params(labelsize=7)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("accuracy (%)", fontsize=9)
    handles = [
        Line2D([], [], color=colour, label=split)
        for split, colour in colours(["train", "test"]).items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


# --- Phenomena of the survey: frames of `experiments.survey_reports`, maybe empty -----


def not_run(axis: Axes) -> None:
    """Say that there are no records of what the axes would show."""
    axis.annotate(
        "not run yet", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center"
    )


def mean_line(axis: Axes, x: pd.Series, y: pd.Series, colour: str, label: str) -> None:
    """Means over seeds as a line, a dot per seed."""
    mean = y.astype(float).groupby(x).mean()
    axis.plot(x, y, "o", ms=3, alpha=0.4, color=colour)
    axis.plot(mean.index, mean, color=colour, label=label)


@styled
def slopes(frame: pd.DataFrame) -> Figure:
    """Mean slope of every PReLU, a dot per seed; poolings as vertical lines.

    Args:
        frame: as `slope_frame` gives it.
    """
    figure, axes = grid(1, height=2.6)
    axis: Axes = axes[0, 0]
    axis.set(xlabel="PReLU, from the image", ylabel="mean slope")
    if frame.empty:
        not_run(axis)
        return figure
    means = frame.groupby("layer")[["mean", "spread"]].mean()
    low, high = means["mean"] - means.spread, means["mean"] + means.spread
    axis.fill_between(
        means.index, low, high, color=BLUE, alpha=0.2, lw=0, label="spread of channels"
    )
    mean_line(axis, frame.layer, frame["mean"], BLUE, "mean of channels")
    for i, layer in enumerate(frame[frame.before_pooling].layer.unique()):
        axis.axvline(
            layer + 0.5,
            color=BLACK,
            linewidth=1,
            linestyle=":",
            label="pooling" if i == 0 else None,
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def lesions(frame: pd.DataFrame, networks: Sequence[str]) -> Figure:
    """Points lost without a block, and with it and the next one exchanged.

    Bars and crosses are means over seeds; vertical lines are where the image is halved.
    Below, the mean transform gate of every highway layer, a dot per seed.

    Args:
        frame: as `lesion_frame` gives it.
        networks: a row of axes each, in this order.
    """
    figure, axes = grid(1, len(networks) + 1, height=1.5)
    *rows, last = axes[:, 0]
    for axis, network in zip(rows, networks, strict=True):
        axis.set_title(network)
        axis.sharey(axes[0, 0])
        axis.set_ylabel("points lost")
        part = frame[frame.network == network]
        if part.empty:
            not_run(axis)
            continue
        values = part[["block", "side", "removed", "swapped"]].astype(float)
        means = values.groupby("block").mean()
        removed, exchanged = METHODS["removed"], METHODS["exchanged with the next"]
        axis.bar(means.index, means.removed, color=removed, label="removed")
        axis.plot(
            means.index + 0.5,
            means.swapped,
            "x",
            color=exchanged,
            label="exchanged with the next",
        )
        for block in means.index[means.side.diff() < 0]:
            axis.axvline(block - 0.5, color=BLACK, linewidth=1, linestyle=":")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[-1].set_xlabel("block, from the image")
    last.set(title="gates of Highway", ylabel="mean gate", ylim=(0, 1))
    last.set_xlabel("highway layer, from the image")
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    known = frame.dropna(subset="gate")
    if known.empty:
        not_run(last)
    else:
        mean_line(last, known.block, known.gate, BLUE, "")
    legend_below(figure, rows)
    return figure


@styled
def lesions_together(frame: pd.DataFrame, networks: Sequence[str]) -> Figure:
    """Accuracy without several blocks at once, or with several pairs exchanged.

    Args:
        frame: as `together_frame` gives it; lines are means over seeds.
        networks: a colour each, in this order.
    """
    titles = {
        "last": "the last ones removed",
        "any": "any ones removed",
        "exchanged": "pairs exchanged",
    }
    figure, axes = grid(len(titles), height=2.6)
    shades = colours(list(networks))
    for axis, (way, title) in zip(axes[0], titles.items(), strict=True):
        axis.set(title=title, xlabel="number")
        axis.sharey(axes[0, 0])
        part = frame[frame.way == way]
        if part.empty:
            not_run(axis)
        for network in networks:
            rows = part[part.network == network]
            if len(rows):
                mean_line(axis, rows.number, rows.accuracy, shades[network], network)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("validation accuracy (%)")
    legend_below(figure, axes[0])
    return figure


def legend_below(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for axes of which some may be empty."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found.update(zip(labels, handles, strict=True))
    if found:
        figure.legend(
            list(found.values()), list(found), loc="outside lower center", ncols=2
        )


@styled
def residual_weights(
    weights: pd.DataFrame, shares: pd.DataFrame, conditions: Sequence[str]
) -> Figure:
    """Weights of residuals by block over the epochs, and what they weigh at the end.

    Args:
        weights: as `alpha_frame` gives it; lines are epochs of the first seed.
        shares: as `share_frame` gives it; a dot per seed.
        conditions: a row of axes each, in this order.
    """
    figure, axes = grid(2, len(conditions), height=2.3)
    for row, condition in zip(axes, conditions, strict=True):
        row[0].set(title=condition, ylabel="alpha")
        row[1].set(title=condition, ylabel="|alpha F(x)| / |x|")
        part = weights[weights.condition == condition]
        if part.empty:
            not_run(row[0])
            not_run(row[1])
            continue
        part = part[part.seed == part.seed.min()]
        last = part.epoch.max()
        for epoch, line in part.groupby("epoch"):
            row[0].plot(
                line.block,
                line.alpha,
                color=plt.get_cmap("viridis_r")(epoch / last),
                label=f"epoch {epoch}",
            )
        row[0].axhline(0, color=BLACK, linewidth=0.8)
        end = shares[shares.condition == condition]
        mean_line(row[1], end.block, end.share, BLUE, "")
        row[1].set_ylim(bottom=0)
    for axis in axes.flat:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes[-1]:
        axis.set_xlabel("block, from the image")
    legend_below(figure, axes[:, 0])
    return figure


@styled
def column_accuracies(frame: pd.DataFrame, conditions: Sequence[str]) -> Figure:
    """Accuracy of each column of a fractal network and of all joined, a dot per seed.

    Args:
        frame: as `column_frame` gives it.
        conditions: a column of axes each, in this order.
    """
    figure, axes = grid(len(conditions), height=2.8)
    forms = list(dict.fromkeys(sorted(frame.form)))
    for axis, condition in zip(axes[0], conditions, strict=True):
        axis.set_title(condition)
        axis.sharey(axes[0, 0])
        part = frame[frame.condition == condition]
        if part.empty:
            not_run(axis)
            continue
        for shift, (averages, dots) in zip(
            (-0.12, 0.12), part.groupby("averages", sort=False), strict=True
        ):
            places = [forms.index(form) + shift for form in dots.form]
            axis.plot(
                places,
                dots.accuracy,
                "o",
                ms=4,
                alpha=0.6,
                color=METHODS[str(averages)],
                label=averages,
            )
        axis.set_xticks(range(len(forms)), forms, rotation=45, ha="right")
        axis.set_xlim(-0.5, len(forms) - 0.5)
    axes[0, 0].set_ylabel("validation accuracy (%)")
    legend_below(figure, axes[0])
    return figure


@styled
def dense_weights(maps: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """What every layer of a dense block (columns) has from its sources (rows).

    Args:
        maps: as `dense_matrices` gives them, a row of maps each, one per dense block;
            each map has its own brightest colour.
    """
    titles = {
        "weights": "weights, after training over before",
        "need": "rise of the loss without them (nats)",
    }
    blocks = max((len(row) for row in maps.values()), default=1)
    figure, axes = grid(blocks, max(1, len(maps)), height=2.5)
    if not maps:
        not_run(axes[0, 0])
        return figure
    for row, (name, matrices) in zip(axes, maps.items(), strict=True):
        for number, (axis, matrix) in enumerate(zip(row, matrices, strict=True), 1):
            size = len(matrix)
            axis.grid(visible=False)
            image = axis.imshow(matrix, vmin=0)
            axis.set(title=f"block {number}", xlabel="read by layer")
            every = max(1, size // 6)
            axis.set_yticks(range(0, size, every), ["input", *range(1, size)][::every])
            targets = [*map(str, range(1, size)), "next"]
            shown = [*range(0, size - 2, every), size - 1]  # the last name needs room
            axis.set_xticks(shown, [targets[i] for i in shown])
            figure.colorbar(image, ax=axis, shrink=0.6, location="bottom")
        row[0].set_ylabel(f"{titles[name]}\n\nsource")
    return figure
