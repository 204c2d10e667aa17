"""Drawings of the graphs of networks, as SVG.

Nodes stand in rows, each below its inputs, and an edge that passes rows has a lane in
them. A drawing is as wide as the page of a phone: text is broken until it fits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from xml.sax.saxutils import escape

from graphs import (
    Call,
    Lines,
    Node,
    Trace,
    block_view,
    drop_common_steps,
    in_words,
    network_view,
    shape_text,
)

WIDTH = 352.0  # in pixels, at full scale
FONT, LINE, PAD, GAP, ROW_GAP, LANE = 12.0, 16.0, 6.0, 8.0, 22.0, 8.0


@cache
def text_width(text: str) -> float:
    """In pixels at the drawings' size, set in DejaVu Sans, a wide font."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(FONT, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64


@dataclass
class Layout:
    x: list[float]  # centres, of nodes and then of lanes
    row: list[int]
    routes: list[list[int]]  # from a node by lanes to its reader
    width: float


def arrange(inputs: Sequence[Sequence[int]], widths: Sequence[float]) -> Layout:
    """Rows and columns of nodes, such that edges lead down and rarely cross."""
    row: list[int] = []
    for sources in inputs:
        row.append(1 + max((row[i] for i in sources), default=-1))
    wide = list(widths)
    above: list[list[int]] = [[] for _ in inputs]  # neighbours in the row above
    lanes: dict[tuple[int, int], int] = {}  # of a source, in a row

    def lane(source: int, at: int) -> int:
        if at == row[source]:
            return source
        if (source, at) not in lanes:
            up = lane(source, at - 1)
            lanes[source, at] = len(row)
            row.append(at)
            wide.append(0.0)
            above.append([up])
        return lanes[source, at]

    routes = []
    for reader, sources in enumerate(inputs):
        for source in sources:
            last = lane(source, row[reader] - 1)
            above[reader].append(last)
            path = [lane(source, r) for r in range(row[source], row[reader])]
            routes.append([*path, reader])
    below: list[list[int]] = [[] for _ in row]
    for vertex, ups in enumerate(above):
        for up in ups:
            below[up].append(vertex)

    rows = [[v for v in range(len(row)) if row[v] == r] for r in range(max(row) + 1)]
    if len(rows) == len(inputs):
        x = beside(lanes, widths)
    else:
        rows = order(rows, above, below)
        x = balance(rows, above, below, wide, len(inputs))
    left = min(c - w / 2 for c, w in zip(x, wide, strict=True))
    right = max(c + w / 2 for c, w in zip(x, wide, strict=True))
    return Layout([c - left for c in x], row, routes, right - left)


def beside(
    lanes: Mapping[tuple[int, int], int], widths: Sequence[float]
) -> list[float]:
    """Nodes in one column; on its right the lanes, that of the last node nearest."""
    sources = sorted({source for source, _ in lanes}, reverse=True)
    edge = max(widths) / 2 + LANE
    return [0.0] * len(widths) + [
        edge + LANE * sources.index(source) for source, _ in lanes
    ]


def balance(
    rows: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    wide: Sequence[float],
    nodes: int,
) -> list[float]:
    """Every vertex near the middle of its neighbours, lanes above all."""
    x = [0.0] * len(wide)
    for sweep in range(24):
        for vertices in rows if sweep % 2 == 0 else rows[::-1]:
            desired = []
            for v in vertices:
                near = [*above[v], *below[v]] if sweep else above[v]
                # A weak pull to the middle, lest everything lean to one side.
                desired.append(sum(x[u] for u in near) / (len(near) + 0.1))
            weights = [4.0 if v >= nodes else 1.0 for v in vertices]
            gaps = [
                LANE if min(a, b) >= nodes else (wide[a] + wide[b]) / 2 + GAP
                for a, b in pairwise(vertices)
            ]
            for v, place in zip(vertices, apart(desired, weights, gaps), strict=True):
                x[v] = place
    return x


def order(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]]
) -> list[list[int]]:
    """The best order found by a few sweeps of the barycentre method."""

    def crossings() -> int:
        total = 0
        for upper, lower in pairwise(rows):
            place = {v: i for i, v in enumerate(upper)}
            ends = [e for v in lower for e in sorted(place[u] for u in above[v])]
            total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
        return total

    best, fewest = [[*row] for row in rows], crossings()
    for sweep in range(8):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            place = {v: i for vertices in rows for i, v in enumerate(vertices)}
            mean = {}
            for v in row:
                near = above[v] if down else below[v]
                mean[v] = sum(place[u] for u in near) / len(near) if near else place[v]
            row.sort(key=mean.__getitem__)
        if (now := crossings()) < fewest:
            best, fewest = [[*row] for row in rows], now
    return best


def apart(
    desired: Sequence[float], weights: Sequence[float], gaps: Sequence[float]
) -> list[float]:
    """Places in this order, at least `gaps` apart, nearest to the desired ones.

    Weighted least squares: neighbours that would be too close move as one block.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for want, weight, offset in zip(desired, weights, offsets, strict=True):
        mean, size = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            before, heavy, members = blocks.pop()
            mean = (before * heavy + mean * weight) / (heavy + weight)
            weight, size = weight + heavy, size + members
        blocks.append((mean, weight, size))
    means = [mean for mean, _, members in blocks for _ in range(members)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def wrap(node: Node) -> Lines:
    """A box of the whole network: its name in lines that fit, and its shape."""
    if node.role in ("end", "join"):
        return node.lines
    shape = shape_text(node.shape)
    room = WIDTH - 2 * PAD - 2 * GAP - text_width(shape)
    lines: list[str] = []
    for part in node.title.split(" | "):
        if lines and text_width(f"{lines[-1]} | {part}") <= room:
            lines[-1] += f" | {part}"
        else:
            lines.append(part)
    lines[:-1] = [f"{line} |" for line in lines[:-1]]
    return [(lines[0], shape), *((line, "") for line in lines[1:])]


def below(lines: Lines) -> Lines:
    """Narrow lines: channels and shapes under what gives them."""
    return [
        part for text, aside in lines for part in ((text, ""), ("", aside)) if any(part)
    ]


def broken(lines: Lines) -> Lines:
    """Narrower lines: a word each."""
    return [
        (word, aside)
        for text, aside in lines
        for word in text.replace(", ", ",\n").replace("-pool", "-\npool").split("\n")
    ]


@dataclass(frozen=True)
class Place:
    """Where a box stands, or a lane, which has no width."""

    x: float  # of its middle
    width: float
    height: float
    row_top: float
    row_bottom: float

    @property
    def middle(self) -> float:
        return (self.row_top + self.row_bottom) / 2

    @property
    def top(self) -> float:
        return self.middle - self.height / 2

    @property
    def bottom(self) -> float:
        return self.middle + self.height / 2

    def port(self, x: float) -> float:
        """Where an edge touches it that comes from `x`: straight, if it can."""
        reach = max(0.0, self.width / 2 - 10)
        return min(max(x, self.x - reach), self.x + reach)


def draw_network(trace: Trace, identifier: str, title: str) -> str:
    """The whole network; see `draw`."""
    nodes = network_view(trace)
    return draw(nodes, [wrap(node) for node in nodes], identifier, title)


def draw_block(
    trace: Trace, call: Call, identifier: str, title: str
) -> tuple[str, str]:
    """The inside of a block, and what follows every convolution there, if anything."""
    nodes = block_view(trace, call)
    steps = drop_common_steps(nodes)
    return draw(nodes, [node.lines for node in nodes], identifier, title), steps


def draw(
    nodes: Sequence[Node], texts: Sequence[Lines], identifier: str, title: str
) -> str:
    """A drawing of a network or a block as one SVG element.

    Its colours are those of the classes `layer`, `pool`, `block`, `step` and `join` in
    the book's style sheet, so that they follow the page from light to dark.

    Args:
        nodes: in an order in which inputs come first.
        texts: the lines in every box; broken up if the drawing gets too wide.
        identifier: unique within the page.
        title: what it is; what it shows follows from the nodes.
    """
    inputs = [node.inputs for node in nodes]
    is_chain = all(node.inputs == [i - 1] for i, node in enumerate(nodes) if i)
    for narrow in (list, below, broken):
        texts = [narrow(lines) for lines in texts]
        sizes = [box(node, lines) for node, lines in zip(nodes, texts, strict=True)]
        if is_chain:
            widest = max(width for width, _ in sizes)
            sizes = [
                (width if node.role == "end" else widest, height)
                for node, (width, height) in zip(nodes, sizes, strict=True)
            ]
        layout = arrange(inputs, [width for width, _ in sizes])
        if layout.width + 2 <= WIDTH:
            break
    width = max(WIDTH, layout.width + 2)
    heights = [0.0] * (max(layout.row) + 1)
    for r, (_, height) in zip(layout.row, sizes, strict=False):
        heights[r] = max(heights[r], height)
    tops = [1.0]
    for height in heights:
        tops.append(tops[-1] + height + ROW_GAP)
    places = []
    for i, (center, r) in enumerate(zip(layout.x, layout.row, strict=True)):
        size = sizes[i] if i < len(nodes) else (0.0, heights[r])
        x = center + (width - layout.width) / 2
        places.append(Place(x, *size, tops[r], tops[r] + heights[r]))
    parts = [edge([places[v] for v in route]) for route in layout.routes]
    for node, lines, place in zip(nodes, texts, places, strict=False):
        parts.append(draw_box(node, lines, place))
    height = math.ceil(tops[-1] - ROW_GAP + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" '
        f'viewBox="0 0 {math.ceil(width)} {height}" '
        f'aria-labelledby="{identifier}-title {identifier}-desc">\n'
        f'<title id="{identifier}-title">{escape(title)}</title>\n'
        f'<desc id="{identifier}-desc">{escape(in_words(nodes))}</desc>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def box(node: Node, lines: Lines) -> tuple[float, float]:
    """Width and height that the text of a node needs."""
    if node.role == "join" and len(lines[0][0]) == 1:
        return 20.0, 20.0
    width = max(
        text_width(text) + text_width(aside) + (2 * GAP if text and aside else 0)
        for text, aside in lines
    )
    frame = (0.0, 0.0) if node.role == "end" else (2 * PAD, PAD)
    return width + frame[0], len(lines) * LINE + frame[1]


def draw_box(node: Node, lines: Lines, place: Place) -> str:
    """A rounded rectangle around lines of text; ends have no frame."""
    parts = [f'<g class="{node.role}">']
    inset = 0.0
    if node.role != "end":
        inset = PAD
        radius = place.height / 2 if node.role == "join" else 4
        parts.append(
            f'<rect x="{place.x - place.width / 2:.1f}" y="{place.top:.1f}" '
            f'width="{place.width:.1f}" height="{place.height:.1f}" rx="{radius:.1f}"/>'
        )
    left = f'x="{place.x - place.width / 2 + inset:.1f}"'
    right = f'x="{place.x + place.width / 2 - inset:.1f}" text-anchor="end"'
    if not any(text and aside for text, aside in lines):
        left = right = f'x="{place.x:.1f}" text-anchor="middle"'
    base = place.middle - (len(lines) - 1) / 2 * LINE + 0.36 * FONT
    for i, (text, aside) in enumerate(lines):
        y = f'y="{base + i * LINE:.1f}"'
        if text:
            parts.append(f"<text {left} {y}>{escape(text)}</text>")
        if aside:
            parts.append(f'<text class="aside" {right} {y}>{escape(aside)}</text>')
    return "".join([*parts, "</g>"])


def edge(route: Sequence[Place]) -> str:
    """An arrow from a node through lanes to its reader."""
    x = route[0].port(route[1].x)
    line = f"M{x:.1f} {route[0].bottom:.1f}"
    for a, b in pairwise(route):
        before, x = x, b.port(x)
        if a.row_bottom > a.bottom:
            line += f"V{a.row_bottom:.1f}"
        if abs(x - before) > 0.5:
            middle = (a.row_bottom + b.row_top) / 2
            line += f"C{before:.1f} {middle:.1f} {x:.1f} {middle:.1f} "
            line += f"{x:.1f} {b.row_top:.1f}"
        line += f"V{b.bottom if b.width == 0 else b.top:.1f}"
    tip = f"M{x - 3.5:.1f} {b.top - 6:.1f}h7L{x:.1f} {b.top:.1f}z"
    return f'<path class="edge" d="{line}"/><path class="tip" d="{tip}"/>'
