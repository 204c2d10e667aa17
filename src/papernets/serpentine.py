"""The function of one variable that an exact network with one input computes.

It is piecewise linear. Its knots are computed exactly, so pictures drawn through them
show the function and not a sample of it.
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from papernets.exact_network import ExactNetwork


def knots(network: ExactNetwork, low: Any, high: Any) -> tuple[list[Fraction], Any]:
    """Where the slope changes between `low` and `high`, both included.

    Returns the knots and the values that the second hidden layer has there before its
    activation, (knots, a2) of Fractions.
    """
    weights = network.weights()
    if weights.W1.shape[1] != 1:
        raise ValueError(f"the network has {weights.W1.shape[1]} inputs, expected 1")

    def second_layer(x: Sequence[Fraction]) -> Any:
        hidden = np.maximum(np.array(x)[:, None] * weights.W1[:, 0] + weights.b1, 0)
        return hidden @ weights.W2.T + weights.b2

    thresholds = {-b / w for w, b in zip(weights.W1[:, 0], weights.b1, strict=True)}
    inside = {t for t in thresholds if low < t < high}
    edges = sorted({Fraction(low), Fraction(high), *inside})
    values = second_layer(edges)
    zeros = {
        a + (b - a) * p / (p - q)
        for (a, b), (left, right) in zip(
            pairwise(edges), pairwise(values.tolist()), strict=True
        )
        for p, q in zip(left, right, strict=True)
        if p * q < 0
    }
    found = sorted({*edges, *zeros})
    return found, second_layer(found)


def curve(network: ExactNetwork, x: Sequence[int], y: Sequence[int]) -> pd.DataFrame:
    """The function from one step before the first point to one after the last.

    Columns: `x` and `value` of knots and points in order, as floats; `kind`, "knot" or
    "point"; `active`, how many units of the second layer are active from there to the
    next knot.
    """
    margin = (max(x) - min(x)) / Fraction(len(x))
    places, hidden = knots(network, min(x) - margin, max(x) + margin)
    outputs = network.evaluate([[p] for p in places])
    between = (hidden[1:] + hidden[:-1]) / 2
    active = (between > 0).sum(1)
    rows = [
        (float(p), float(v), "knot", int(n))
        for p, v, n in zip(places, outputs, [*active, active[-1]], strict=True)
    ]
    index = np.searchsorted([float(m) for m in places], x) - 1
    rows += [
        (float(p), float(v), "point", int(active[i]))
        for p, v, i in zip(x, y, index, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["x", "value", "kind", "active"])
    return frame.sort_values("x", kind="stable", ignore_index=True)


def stages(
    network: ExactNetwork, x: Sequence[int], y: Sequence[int]
) -> list[tuple[list[tuple[float, float]], list[bool]]]:
    """The function with the first 0, 1, ..., a2 units of the second layer alone.

    For every stage its knots as (x, value), and which points it already represents.
    """
    margin = (max(x) - min(x)) / Fraction(len(x))
    places, hidden = knots(network, min(x) - margin, max(x) + margin)
    weights = network.weights()
    at_points = np.array(
        [np.maximum(weights.W1[:, 0] * p + weights.b1, 0) for p in map(Fraction, x)]
    )
    at_points = np.maximum(at_points @ weights.W2.T + weights.b2, 0)
    found = []
    for units in range(hidden.shape[1] + 1):
        w3 = weights.W3[0] * (np.arange(hidden.shape[1]) < units)
        values = np.maximum(hidden, 0) @ w3 + weights.b3[0]
        hits = at_points @ w3 + weights.b3[0] == np.array(y)
        line = [(float(p), float(v)) for p, v in zip(places, values, strict=True)]
        found.append((line, hits.tolist()))
    return found


FIGURE = Template("""\
<figure id="$name" style="margin: 0">
<svg viewBox="0 0 $width $height" role="img" aria-label="$label"
 style="background: white; max-width: 100%; height: auto">
<g fill="none" stroke="#0072B2" stroke-width="1.6" stroke-linejoin="round">
$curves
</g>
<g stroke="#222222" stroke-width="1">
$points
</g>
</svg>
<figcaption>
<label hidden>Units of the second layer
<input type="range" min="0" max="$last" value="$last" style="vertical-align: middle">
</label>
<output aria-live="polite">$text</output>
</figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$name");
  const texts = $texts;
  const input = figure.querySelector("input");
  const show = () => {
    const stage = Number(input.value);
    figure.querySelectorAll("polyline").forEach((line, i) => {
      line.style.display = i === stage ? "inline" : "none";
    });
    figure.querySelectorAll("circle").forEach((point) => {
      const reached = stage >= Number(point.dataset.stage);
      point.setAttribute("fill", reached ? "#009E73" : "white");
    });
    figure.querySelector("output").textContent = texts[stage];
  };
  input.addEventListener("input", show);
  figure.querySelector("label").hidden = false;
  show();
})();
</script>
""")


def stepper(
    network: ExactNetwork,
    x: Sequence[int],
    y: Sequence[int],
    name: str = "stepper",
    width: int = 720,
    height: int = 300,
) -> str:
    """A figure in HTML: the function, built up unit by unit with a slider.

    It loads nothing. Without JavaScript it is a picture of the complete function.
    """
    found = stages(network, x, y)
    last = len(found) - 1
    complete = found[-1][0]
    low, high = (f(v for _, v in complete) for f in (min, max))
    left, right = complete[0][0], complete[-1][0]

    def place(px: float, py: float) -> str:
        # Earlier stages leave the picture, which then shows a part of them.
        v = (high - py) / (high - low)
        h = (px - left) / (right - left)
        return f"{10 + h * (width - 20):.1f},{12 + v * (height - 24):.1f}"

    curves = []
    for stage, (line, _) in enumerate(found):
        shown = "" if stage == last else ' style="display: none"'
        corners = " ".join(place(*corner) for corner in line)
        curves.append(f'<polyline points="{corners}"{shown}/>')
    points = []
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        reached = next(s for s in range(last + 1) if all(h[i] for _, h in found[s:]))
        cx, cy = place(px, py).split(",")
        circle = f'<circle cx="{cx}" cy="{cy}" r="4" data-stage="{reached}"'
        points.append(f'{circle} fill="#009E73"/>')
    texts = [
        f"{stage} of {last} units: {sum(hits)} of {len(x)} points"
        for stage, (_, hits) in enumerate(found)
    ]
    return FIGURE.substitute(
        name=name,
        width=width,
        height=height,
        label=f"A piecewise linear function through all of {len(x)} points",
        curves="\n".join(curves),
        points="\n".join(points),
        last=last,
        text=texts[-1],
        texts=json.dumps(texts),
    )
