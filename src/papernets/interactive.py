"""Sortable tables, scatter plots with a choice of axes, heat maps: HTML for notebooks.

All load nothing, work offline and in the built book, and are complete without
JavaScript: the table then keeps its order, the plot its first axis, the map its last
epoch. Libraries that do the same weigh more than a whole page of the book may.
"""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import LogLocator, MaxNLocator

SENTENCE = 50  # characters; longer texts of a table are wrapped

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
    texts = frame.map(str)
    styles = [column_style(texts[name]) for name in texts]
    head = "\n".join(
        f'<th scope="col"{style}>{html.escape(str(name))}</th>'
        for name, style in zip(texts, styles, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{style}>{html.escape(text)}</td>"
            for text, style in zip(row, styles, strict=True)
        )
        + "</tr>"
        for row in texts.itertuples(index=False)
    )
    return TABLE.substitute(name=name, label=html.escape(label), head=head, body=body)


def column_style(texts: Iterable[str]) -> str:
    """Numbers stand at the right, words at the left; sentences are wrapped."""
    if any(len(text) > SENTENCE for text in texts):
        return ' style="text-align: left; white-space: normal; min-width: 18em"'
    if any(text[:1].isdigit() for text in texts):
        return ""
    return ' style="text-align: left"'


SCATTER = Template("""\
<figure id="$name" style="margin: 0">
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="$label">
<svg viewBox="0 0 720 400" role="img" aria-label="$label" style="background: white;
 display: block; min-width: 34rem; max-width: 45rem; font: 13px sans-serif">
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
</div>
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
  const put = (point, anchor, y) => {
    const text = point.querySelector("text");
    text.setAttribute("text-anchor", anchor);
    text.setAttribute("x", anchor === "end" ? -7 : 7);
    text.setAttribute("y", y);
    return text;
  };
  const sides = (place) => place > 560 ? ["end", "start"] : ["start", "end"];
  const heights = (point) => {
    const top = Number(point.querySelector("circle").getAttribute("cy"));
    return [top - 6, top + 16];
  };
  // Each name on the front in turn takes the first place where it meets none before
  // it: above or below its point, to the right or left. One without is seen on demand.
  const apart = (layout) => {
    const taken = [];
    const place = (point) => layout.places[points.indexOf(point)];
    const named = points.filter((point) => point.dataset.front === "true");
    named.sort((a, b) => place(b) - place(a));
    for (const point of named) {
      const free = sides(place(point)).some((side) => heights(point).some((y) => {
        const box = put(point, side, y).getBoundingClientRect();
        const meets = taken.some((other) => box.left < other.right &&
          other.left < box.right && box.top < other.bottom && other.top < box.bottom);
        if (!meets) taken.push(box);
        return !meets;
      }));
      if (!free) point.dataset.front = "false";
      label(point, false);
    }
  };
  const show = () => {
    const layout = layouts[select.value];
    points.forEach((point, i) => {
      point.setAttribute("transform", "translate(" + layout.places[i] + " 0)");
      point.dataset.front = layout.on_front[i];
      put(point, sides(layout.places[i])[0], heights(point)[0]);
      label(point, false);
    });
    apart(layout);
    figure.querySelector(".front").setAttribute("points", layout.front);
    figure.querySelector(".ticks").innerHTML = layout.ticks;
    figure.querySelector(".x").textContent = select.value;
  };
  points.forEach((point) => {
    point.setAttribute("tabindex", "0");
    point.setAttribute("role", "img");
    point.setAttribute("aria-label", point.querySelector("title").textContent);
    point.addEventListener("mouseenter", () => label(point, true));
    point.addEventListener("focus", () => {
      point.scrollIntoView({block: "nearest", inline: "nearest"});
      label(point, true);
    });
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
LEFT, RIGHT, TOP, BOTTOM = 75, 690, 30, 325  # of the points, in units of the drawing
HIDDEN = ' style="visibility: hidden"'


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
            f'pointer-events="none"{"" if first["on_front"][i] else HIDDEN}>'
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
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


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


HEAT_MAP = Template("""\
<style>
#$name table {border-collapse: separate; border-spacing: 1px; line-height: 1.2;
  print-color-adjust: exact}
#$name td, #$name th {min-width: 2.6rem; padding: 0.15rem; text-align: center}
#$name small {font-size: 0.8em}
#$name tbody th {background: var(--pst-color-background, var(--jp-layout-color0));
  left: 0; position: sticky; white-space: normal; z-index: 1}
</style>
<figure id="$name" style="margin: 0">
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="$label">
<table aria-label="$label">
<thead><tr>
<td>$column</td>
$head
</tr></thead>
<tbody>
$body
</tbody>
</table>
</div>
<figcaption>
<label hidden>Epoch <input type="range" min="$first" max="$last" value="$last"
 style="vertical-align: middle"></label>
<output aria-live="polite">Epoch $last</output>
</figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$name");
  const epochs = $epochs;
  const input = figure.querySelector("input");
  const output = figure.querySelector("output");
  const table = figure.querySelector("table");
  const heads = [...table.querySelectorAll("thead th")];
  const rows = [...table.tBodies[0].rows].map((r) => [...r.querySelectorAll("td")]);
  const cells = rows.flat();
  let chosen = null;
  const say = () => {
    const parts = ["Epoch " + input.value];
    if (chosen) {
      parts.push(
        chosen.parentElement.querySelector("th").textContent,
        "$column " + heads[cells.indexOf(chosen) % heads.length].textContent
      );
    }
    const said = chosen
      ? epochs[input.value][cells.indexOf(chosen)][4]
      : "choose a cell by pointer, finger or arrow keys for its seeds";
    output.textContent = parts.join(", ") + ": " + said;
  };
  const choose = (cell) => {
    if (!cells.includes(cell)) return;
    for (const other of cells) {
      other.tabIndex = other === cell ? 0 : -1;
      other.style.outline = other === cell ? "3px solid" : "none";
    }
    chosen = cell;
    say();
  };
  const show = () => {
    epochs[input.value].forEach(([mean, spread, ground, ink], i) => {
      cells[i].querySelector("span").textContent = mean;
      cells[i].querySelector("small").textContent = spread;
      cells[i].style.backgroundColor = ground;
      cells[i].style.color = ink;
    });
    say();
  };
  const moves = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    Home: [0, -Infinity], End: [0, Infinity],
  };
  table.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const at = cells.indexOf(document.activeElement);
    const within = (place, length) => Math.max(0, Math.min(length - 1, place));
    const row = within(Math.floor(at / heads.length) + move[0], rows.length);
    const next = rows[row][within((at % heads.length) + move[1], heads.length)];
    next.focus();
    next.scrollIntoView({block: "nearest", inline: "nearest"});
  });
  table.addEventListener("pointerover", (event) => choose(event.target.closest("td")));
  table.addEventListener("focusin", (event) => choose(event.target));
  input.addEventListener("input", show);
  // The cells are one stop of the tabulator, and scroll into view.
  table.parentElement.removeAttribute("tabindex");
  table.setAttribute("role", "grid");
  cells.forEach((cell, i) => {
    cell.tabIndex = i === 0 ? 0 : -1;
    cell.style.outlineOffset = "-3px";
  });
  figure.querySelector("label").hidden = false;
  output.style.cssText = "display: block; min-height: 5em";  // room for every sentence
  show();
})();
</script>
""")
# Percent: guessing one of ten classes, and every answer right.
SCALE = (10, 100)


def heat_map(
    frame: pd.DataFrame, row: str, column: str, titles: str, name: str, label: str
) -> str:
    """Accuracies of all runs, a cell per condition: mean, spread and every seed.

    A slider goes through the epochs. A cell tells its seeds to a pointer, to a finger
    and to readers who walk over the map with the arrow keys.

    Args:
        frame: a row per run and epoch: `epoch` (whole numbers without a gap), `seed`,
            `accuracy` in percent (missing if the run has diverged), and the columns
            named by `row` and `column`. The map has their values in the order in which
            they occur; a pair without a run stays grey.
        row: column of `frame` with the name of each row of the map.
        column: column of `frame` with numbers, along the columns of the map.
        titles: what these numbers are, in words.
        name: identifier of the element, unique on the page.
        label: what is drawn, for screen readers.
    """
    rows, columns = (list(dict.fromkeys(frame[key])) for key in (row, column))
    first, last = int(frame["epoch"].min()), int(frame["epoch"].max())
    groups = frame.sort_values("seed").groupby([row, column, "epoch"])
    found = {key: part["accuracy"].tolist() for key, part in groups}
    cells = {
        epoch: [cell(found.get((r, c, epoch), [])) for r in rows for c in columns]
        for epoch in range(first, last + 1)
    }
    drawn = iter(cells[last])
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(str(r))}</th>'
        f"{''.join(drawn_cell(next(drawn)) for _ in columns)}</tr>"
        for r in rows
    )
    return HEAT_MAP.substitute(
        name=name,
        label=html.escape(label),
        column=html.escape(titles),
        head="\n".join(f'<th scope="col">{c:g}</th>' for c in columns),
        body=body,
        first=first,
        last=last,
        epochs=json.dumps(cells, ensure_ascii=False),
    )


def cell(accuracies: Sequence[float]) -> list[str]:
    """Mean, spread, ground, ink, and the sentence of one cell, from its seeds."""
    values = pd.Series(accuracies, dtype=float)
    known = values.dropna()
    seeds = "1 seed" if len(values) == 1 else f"{len(values)} seeds"
    listed = ", ".join(f"{value:.2f}" for value in known)
    if values.empty or len(known) < len(values):
        said = f"{len(values) - len(known)} of {seeds} diverged"
        said += f"; the others: {listed} %" if listed else ""
        return ["–", "", "#DDDDDD", "black", said if len(values) else "not run yet"]
    spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
    low, high = SCALE
    rgb = np.array(colormaps["viridis"]((values.mean() - low) / (high - low))[:3])
    # Relative luminance and the grey on which black and white are equally legible, by
    # the Web Content Accessibility Guidelines 2.2.
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = linear @ (0.2126, 0.7152, 0.0722) > 0.179
    return [
        f"{values.mean():.1f}",
        f"± {values.std():.1f}" if spread else "",
        to_hex(tuple(rgb)),
        "black" if light else "white",
        f"{values.mean():.2f}{spread} % ({seeds}: {listed})",
    ]


def drawn_cell(content: Sequence[str]) -> str:
    mean, spread, ground, ink, _ = content
    return (
        f'<td style="background-color: {ground}; color: {ink}">'
        f"<span>{mean}</span><br><small>{spread}</small></td>"
    )
