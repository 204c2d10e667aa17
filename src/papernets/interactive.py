"""Tables that sort and filter, scatter plots with a choice of axes: HTML for notebooks.

Both load nothing, work offline and in the built book, and are complete without
JavaScript: the table then keeps its order, the plot its first axis. Libraries that do
the same weigh more than a whole page of the book may.
"""

import html
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

TABLE = Template("""\
<div id="$name">
<p hidden><label>Show rows with <input type="search" size="12"></label>
<output aria-live="polite"></output></p>
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="$label">
<table class="dataframe" style="white-space: nowrap">
<thead><tr>
$head
</tr></thead>
<tbody>
$body
</tbody>
</table>
</div>
</div>
<script>
(() => {
  const box = document.getElementById("$name");
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const after = (a, b) => {
    // Numbers before words: what is not known or not run comes last.
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a < b ? -1 : a > b ? 1 : 0;
  };
  box.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.style.cssText =
      "all: unset; cursor: pointer; text-decoration: underline dotted";
    button.addEventListener("focus", () => {
      button.style.outline = button.matches(":focus-visible") ? "2px solid" : "none";
    });
    button.addEventListener("blur", () => (button.style.outline = "none"));
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      box.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((one, other) => {
        const [a, b] = [value(one, column), value(other, column)];
        const sign = typeof a === typeof b && down ? -1 : 1;
        return sign * after(a, b);
      });
      body.append(...rows);
    });
  });
  const search = box.querySelector("input");
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    box.querySelector("output").textContent =
      wanted ? shown + " of " + rows.length + " rows" : "";
  });
  box.querySelector("p").hidden = false;
})();
</script>
""")


def table(frame: pd.DataFrame, name: str, label: str) -> str:
    """A table whose columns sort at a click and whose rows can be filtered.

    Args:
        frame: shown as it is, without its index.
        name: identifier of the element, unique on the page.
        label: what the table holds, for screen readers.
    """
    head = "\n".join(f'<th scope="col">{html.escape(c)}</th>' for c in frame.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return TABLE.substitute(name=name, label=html.escape(label), head=head, body=body)


SCATTER = Template("""\
<figure id="$name" style="margin: 0">
<svg viewBox="0 0 720 400" role="img" aria-label="$label"
 style="background: white; max-width: 100%; height: auto; font: 13px sans-serif">
<path d="M60 20V350H700" fill="none" stroke="#222222"/>
<g fill="#222222">$heights<g class="ticks">$ticks</g></g>
<polyline class="front" fill="none" stroke="#D55E00" stroke-width="1.5"
 points="$front"/>
<g stroke="#0072B2" fill="#0072B2">
$points
</g>
<text class="x" x="380" y="392" text-anchor="middle" fill="#222222">$x</text>
<text x="16" y="185" transform="rotate(-90 16 185)" text-anchor="middle"
 fill="#222222">$y</text>
</svg>
<figcaption>
<label hidden>Horizontal axis <select>$options</select></label>
<output aria-live="polite">The line is the Pareto front.</output>
</figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$name");
  const layouts = $layouts;
  const select = figure.querySelector("select");
  const points = [...figure.querySelectorAll("g.point")];
  const label = (point, on) => {
    const shown = on || point.dataset.front === "true";
    point.querySelector("text").style.visibility = shown ? "visible" : "hidden";
    if (on) {
      const said = point.querySelector("title").textContent;
      figure.querySelector("output").textContent = said;
    }
  };
  const show = () => {
    const layout = layouts[select.value];
    points.forEach((point, i) => {
      point.setAttribute("transform", "translate(" + layout.places[i] + " 0)");
      point.dataset.front = layout.on_front[i];
      const text = point.querySelector("text");
      const right = layout.places[i] > 560;
      text.setAttribute("text-anchor", right ? "end" : "start");
      text.setAttribute("x", right ? -7 : 7);
      label(point, false);
    });
    figure.querySelector(".front").setAttribute("points", layout.front);
    figure.querySelector(".ticks").innerHTML = layout.ticks;
    figure.querySelector(".x").textContent = select.value;
  };
  points.forEach((point) => {
    point.setAttribute("tabindex", "0");
    point.setAttribute("role", "img");
    point.setAttribute("aria-label", point.querySelector("title").textContent);
    point.addEventListener("mouseenter", () => label(point, true));
    point.addEventListener("focus", () => label(point, true));
    point.addEventListener("mouseleave", () => label(point, false));
    point.addEventListener("blur", () => label(point, false));
  });
  figure.querySelector("svg").setAttribute("role", "group");
  select.addEventListener("change", show);
  figure.querySelector("label").hidden = false;
  show();
})();
</script>
""")
LEFT, RIGHT, TOP, BOTTOM = 75, 690, 30, 340  # of the points, in units of the drawing


def scatter(
    frame: pd.DataFrame, y: str, axes: Mapping[str, str], name: str, label: str
) -> str:
    """Accuracy of networks against one of several costs, with its Pareto front.

    Every point has an error bar, and its name and numbers at the pointer and for
    readers who use the keyboard.

    Args:
        frame: a row per network: `model`, `mean` and `std` (which may be missing), and
            the columns of `axes`.
        y: title of the vertical axis.
        axes: columns along the horizontal axis, by their titles; the smaller the
            better. Those that span more than a factor of ten are logarithmic.
        name: identifier of the element, unique on the page.
        label: what is drawn, for screen readers.
    """
    spread = frame["std"].fillna(0)
    low, high = (frame["mean"] - spread).min(), (frame["mean"] + spread).max()

    def height(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low or 1), 1)

    heights = "".join(
        f'<text x="54" y="{height(v) + 4}" text-anchor="end">{v:g}</text>'
        f'<path d="M60 {height(v)}h640" stroke="#DDDDDD"/>'
        for v in MaxNLocator(6).tick_values(low, high)
        if low <= v <= high
    )
    tops = [height(v) for v in frame["mean"]]
    layouts = {
        title: layout(frame[column].astype(float), frame["mean"], tops)
        for title, column in axes.items()
    }
    first = next(iter(layouts.values()))
    points = []
    for i, row in enumerate(frame.itertuples(index=False)):
        bar = [height(row.mean + sign * spread.iloc[i]) for sign in (-1, 1)]
        costs = "; ".join(f"{t} {number(getattr(row, c))}" for t, c in axes.items())
        said = f"{row.model}: {row.accuracy} %; {costs}"
        points.append(
            f'<g class="point" transform="translate({first["places"][i]} 0)">'
            f"<title>{html.escape(said)}</title>"
            f'<path d="M0 {bar[0]}V{bar[1]}" pointer-events="none"/>'
            f'<circle cx="0" cy="{tops[i]}" r="4"/>'
            f'<text x="7" y="{tops[i] - 6}" stroke="none" fill="#222222" '
            f'pointer-events="none">'
            f"{html.escape(str(row.model))}</text></g>"
        )
    return SCATTER.substitute(
        name=name,
        label=html.escape(label),
        heights=heights,
        ticks=first["ticks"],
        front=first["front"],
        points="\n".join(points),
        x=next(iter(axes)),
        y=html.escape(y),
        options="".join(f"<option>{html.escape(t)}</option>" for t in axes),
        layouts=json.dumps(layouts),
    )


def number(value: float) -> str:
    """ "2016", "0.25", "1,234,567": separators where a number is no year."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"


def layout(x: pd.Series, y: pd.Series, tops: Sequence[float]) -> dict[str, Any]:
    """Where points, ticks and the Pareto front lie along one horizontal axis."""
    logarithmic = x.min() > 0 and x.max() / x.min() > 10
    scaled = np.log(x) if logarithmic else x
    low, high = scaled.min(), scaled.max()

    def place(value: float) -> float:
        at = np.log(value) if logarithmic else value
        return round(LEFT + (RIGHT - LEFT) * (at - low) / (high - low or 1), 1)

    whole = bool((x % 1 == 0).all())  # as years are
    locator = (
        LogLocator(subs=(1, 2, 5)) if logarithmic else MaxNLocator(6, integer=whole)
    )
    values = [
        v for v in locator.tick_values(x.min(), x.max()) if x.min() <= v <= x.max()
    ]
    ticks = "".join(
        f'<text x="{place(v)}" y="368" text-anchor="middle">{v:g}</text>'
        for v in values
    )
    order = front(x, y)
    places = [place(v) for v in x]
    corners = [f"{places[i]},{tops[i]}" for i in order]
    steps = [f"{places[b]},{tops[a]}" for a, b in pairwise(order)]
    between = [p for pair in zip_longest(corners, steps) for p in pair if p]
    return {
        "places": places,
        "on_front": [i in order for i in range(len(places))],
        "front": " ".join(between),
        "ticks": ticks,
    }


def front(x: pd.Series, y: pd.Series) -> list[int]:
    """Positions of the Pareto front, by rising x: none has a smaller x and a larger y.

    Args:
        x: costs, the smaller the better.
        y: accuracies, the larger the better.
    """
    order = sorted(range(len(x)), key=lambda i: (x.iloc[i], -y.iloc[i]))
    kept: list[int] = []
    for i in order:
        if not kept or y.iloc[i] > y.iloc[kept[-1]]:
            kept.append(i)
    return kept
