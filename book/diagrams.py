"""Graphs of networks, traced from a forward pass, and drawings of them in SVG.

A network is a graph of function calls. Two views of it are drawn: the whole network,
where a block is one box and equal neighbours are one box with a count, and the inside
of a block, where a chain of layers is one box. Shapes are those of one image.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count, pairwise
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import torch
from torch import Tensor, nn

from papernets import complexity
from papernets.complexity import Layer, Tracer, extent, tensors

WIDTH = 352.0  # of a drawing in pixels: a phone's page at full scale
FONT, LINE, PAD, GAP, ROW_GAP, LANE = 12.0, 16.0, 6.0, 8.0, 22.0, 8.0

# Functions that only pass values on, and the signs of others.
SILENT = ("flatten", "stack", "detach", "clone", "contiguous", "view", "reshape")
SIGNS = {"add": "+", "mul": "×", "cat": "concat", "batch_norm": "BN", "relu": "ReLU"}
SIGNS |= {"prelu": "PReLU"}
POOLS = {"max_pool2d": "max-pool", "avg_pool2d": "average-pool"}


Lines = list[tuple[str, str]]  # what, and the channels or shape it gives


class Call(NamedTuple):
    """One call of a module's forward."""

    module: str  # qualified name
    number: int


@dataclass(frozen=True)
class Op:
    """One function call of the forward pass."""

    label: str
    role: str  # "image", "layer", "pool", "step" or, with several sources, "join"
    sources: tuple[int, ...]  # the operations whose results it reads
    calls: tuple[Call, ...]  # the modules in whose forward it runs, outermost first
    shape: tuple[int, ...]
    layer: Layer | None = None
    receptive_field: tuple[int, ...] | None = None


class Trace(Tracer):
    """A network's operations, in the order of the forward pass, on the meta device.

    Args:
        model: on the meta device; hooks are left in it, and it is in evaluation mode.
        input_shape: (channels, height, width).
    """

    def __init__(self, model: nn.Module, input_shape: Sequence[int]) -> None:
        image = torch.empty(1, *input_shape, device="meta")
        super().__init__(model.eval(), image)
        self.model = model
        self.ops = [Op("image", "image", (), (), tuple(input_shape))]
        self.producers: dict[int, tuple[int, ...]] = {id(image): (0,)}
        self.calls: list[Call] = []
        numbers = count()
        for name, module in model.named_modules():
            module.register_forward_pre_hook(
                lambda *_, n=name: self.calls.append(Call(n, next(numbers)))
            )
            module.register_forward_hook(lambda *_: self.calls.__delitem__(-1))
        with torch.no_grad(), self:
            model(image)
        self.macs = sum(layer.macs for layer in self.layers)
        self.parameters = complexity.count(model)
        self.weights = complexity.count(model, "weights")

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        layers = len(self.layers)
        output = super().__torch_function__(func, types, args, kwargs)
        given = tensors((args, *(kwargs or {}).values()))
        found = {op for t in given for op in self.producers.get(id(t), ())}
        results, sources = tensors(output), tuple(sorted(found))
        if results and sources:
            layer = self.layers[-1] if len(self.layers) > layers else None
            label, role = describe(func.__name__, layer, args, kwargs or {})
            if len(sources) > 1:
                role = "join"
            elif is_idle(func.__name__, layer, given[0], results[0]):
                label = ""
            if label:
                shape, window = results[0].shape[1:], self.windows.get(id(results[0]))
                self.ops.append(
                    Op(
                        *(label, role, sources, tuple(self.calls), tuple(shape)),
                        layer=layer,
                        receptive_field=extent(window),
                    )
                )
                sources = (len(self.ops) - 1,)
            self.producers.update((id(result), sources) for result in results)
        return output


def is_idle(name: str, layer: Layer | None, given: Tensor, result: Tensor) -> bool:
    """Whether a function passes a value on: no padding, the mean of one, ..."""
    if layer is not None:
        return name in POOLS and layer.kernel == (1, 1)
    same = given.numel() == result.numel()
    return name in SILENT or (name in ("cat", "pad", "mean") and same)


def describe(
    name: str, layer: Layer | None, args: Any, kwargs: dict[str, Any]
) -> tuple[str, str]:
    """Label and role of a function call; no label if it only passes values on."""
    if layer is None:
        given = tensors(args)
        numbers = [a for a in args if isinstance(a, int | float)]
        if name in SILENT or (name == "dropout" and kwargs.get("p") == 0):
            return "", ""
        if name == "mul" and numbers:
            return f"× {numbers[0]:.2g}", "step"
        if name == "mul" and given[0].numel() == 1:
            return "× learned scalar", "step"
        if name == "__rsub__":
            return f"{numbers[0]:g} - x", "step"
        return SIGNS.get(name, name), "step"
    if layer.kind == "linear":
        return "linear", "layer"
    if layer.kind not in ("conv2d", *POOLS):
        return "global average", "pool"
    assert layer.kernel
    assert layer.stride
    size = "x".join(map(str, layer.kernel))
    if layer.stride[0] > 1:
        size += f"/{layer.stride[0]}"
    if layer.kind in POOLS:
        return f"{POOLS[layer.kind]} {size}", "pool"
    if layer.groups == args[0].shape[1] > 1:
        return f"depthwise conv{size}", "layer"
    groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
    return f"conv{size}{groups}", "layer"


@dataclass
class Node:
    """A box of a drawing."""

    lines: Lines
    role: str  # as of an operation, or "block"; "end" without a box
    inputs: list[int]  # numbers of other nodes
    ops: list[int] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    times: int = 1
    call: Call | None = None  # of the block

    @property
    def title(self) -> str:
        """What it is, how often, and how many channels each of its layers gives."""
        name = ", ".join(f"{text} {aside}".strip() for text, aside in self.lines)
        return f"{self.times} × {name}" if self.times > 1 else name


def is_own(module: nn.Module) -> bool:
    """Whether its class is not PyTorch's."""
    return not type(module).__module__.startswith("torch.")


def kind(module: nn.Module) -> str:
    """The class of a block; a container of branches is what it contains."""
    if is_own(module) and not isinstance(module, nn.ModuleList | nn.Sequential):
        return type(module).__name__
    if isinstance(module, nn.Conv2d):
        size = "x".join(map(str, module.kernel_size))
        return size if module.stride[0] == 1 else f"{size}/{module.stride[0]}"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        pool = "max" if isinstance(module, nn.MaxPool2d) else "average"
        return pool if module.stride == 1 else f"{pool}/{module.stride}"
    parts = list(filter(None, map(kind, module.children())))
    return f"({' | '.join(parts)})" if is_own(module) else ", ".join(parts)


def shape_text(shape: Sequence[int]) -> str:
    """For example "16 × 32x32"."""
    channels, *sides = map(str, shape)
    return f"{channels} × {'x'.join(sides)}" if sides else channels


def network_view(trace: Trace) -> list[Node]:
    """The whole network: its blocks and the layers between them."""

    def unit(op: Op) -> Call | None:
        calls = (c for c in op.calls if c.module and is_own(module_of(trace, c)))
        return next(calls, None)

    nodes = merge(group(trace, range(len(trace.ops)), unit), attach)
    for node in nodes:
        if node.call:
            node.lines = [(kind(module_of(trace, node.call)), "")]
    return merge(nodes, repeat)


def block_view(trace: Trace, call: Call) -> list[Node]:
    """The inside of a block, with its inputs and its outputs."""
    inside = [i for i, op in enumerate(trace.ops) if call in op.calls]

    def unit(op: Op) -> Call | None:
        inner = op.calls[op.calls.index(call) + 1 :]
        modules = ((c, module_of(trace, c)) for c in inner)
        return next((c for c, m in modules if is_own(m) and not [*m.children()]), None)

    nodes = group(trace, inside, unit)
    for node in nodes:
        if node.role == "layer":
            node.lines = [(node.lines[0][0], str(node.shape[0]))]
    nodes = merge(nodes, chain)
    read = {i for op in trace.ops for i in op.sources}
    outside = {
        source
        for i, op in enumerate(trace.ops)
        if i not in inside
        for source in op.sources
    }
    for i in inside:
        if i in outside or i not in read:
            place = next(p for p, node in enumerate(nodes) if i in node.ops)
            shape = shape_text(trace.ops[i].shape)
            nodes.append(Node([("output", shape)], "end", [place]))
    return nodes


def module_of(trace: Trace, call: Call) -> nn.Module:
    return trace.model.get_submodule(call.module)


def group(
    trace: Trace, ops: Sequence[int], unit: Callable[[Op], Call | None]
) -> list[Node]:
    """A node for every unit, every operation outside of units, and every input."""
    nodes: list[Node] = []
    place: dict[Hashable, int] = {}  # of operations and units
    for i in ops:
        op = trace.ops[i]
        for source in op.sources:
            if source not in place:
                place[source] = len(nodes)
                shape = shape_text(trace.ops[source].shape)
                nodes.append(Node([("input", shape)], "end", []))
        inputs = {place[source] for source in op.sources}
        call = unit(op)
        if call is None or call not in place:
            place[call or i] = len(nodes)
            lines, role = [(op.label, "")], op.role
            if op.role == "image":
                lines, role = [("image", shape_text(op.shape))], "end"
            if call:
                lines, role = [(kind(module_of(trace, call)), "")], "block"
            nodes.append(Node(lines, role, [], call=call))
        place[i] = place[call or i]
        node = nodes[place[i]]
        node.ops.append(i)
        node.inputs = sorted({*node.inputs, *inputs} - {place[i]})
        node.shape = op.shape
    return nodes


def merge(nodes: list[Node], fuse: Callable[[Node, Node], Node | None]) -> list[Node]:
    """Fuse nodes with their only reader, where `fuse` gives a node for the two."""
    readers = Counter(i for node in nodes for i in node.inputs)
    merged: list[Node] = []
    place: list[int] = []
    for node in nodes:
        only = len(node.inputs) == 1 and readers[node.inputs[0]] == 1
        inputs = sorted({place[i] for i in node.inputs})
        fused = fuse(merged[inputs[0]], node) if only else None
        if fused:
            before = merged[inputs[0]]
            ops = [*before.ops, *node.ops]
            fused = replace(fused, ops=ops, inputs=before.inputs, shape=node.shape)
            merged[inputs[0]] = fused
            place.append(inputs[0])
        else:
            place.append(len(merged))
            merged.append(replace(node, inputs=inputs))
    return merged


def attach(before: Node, after: Node) -> Node | None:
    """Normalisation and activation functions belong to the layer next to them."""
    roles = before.role, after.role
    if before.lines[0][0] == "concat" and after.role == "layer":
        roles = "step", after.role
    if "step" not in roles or not set(roles) <= {"layer", "pool", "step"}:
        return None
    title = f"{before.title}, {after.title}"
    role = roles[0] if roles[1] == "step" else roles[1]
    return replace(before, lines=[(title, "")], role=role)


def repeat(before: Node, after: Node) -> Node | None:
    """Equal layers, and blocks of one kind whose images have the same size."""
    start = 1 if before.role == "block" else 0
    if (before.lines, before.role, before.shape[start:]) != (
        *(after.lines, after.role, after.shape[start:]),
    ) or before.role not in ("block", "layer"):
        return None
    return replace(before, times=before.times + after.times)


def chain(before: Node, after: Node) -> Node | None:
    """What follows each other without a branch; a line for each layer."""
    if {before.role, after.role} & {"end", "join"}:
        return None
    lines = [*before.lines, *after.lines]
    if after.role == "step":
        (text, aside), [(step, _)] = before.lines[-1], after.lines
        lines = [*before.lines[:-1], (f"{text}, {step}", aside)]
    role = before.role if after.role == "step" else after.role
    return replace(before, lines=lines, role=role)


def drop_common_steps(nodes: list[Node]) -> str:
    """Take away what follows every convolution alike, and return it."""
    lines = [line for node in nodes for line in node.lines if line[1]]
    lines = [line for line in lines if "conv" in line[0]]
    steps = {text.partition(", ")[2] for text, _ in lines}
    if len(lines) < 4 or len(steps) > 1 or "" in steps:
        return ""
    for node in nodes:
        if node.role != "end":
            node.lines = [(t.partition(", ")[0], aside) for t, aside in node.lines]
    return steps.pop()


def in_words(nodes: Sequence[Node]) -> str:
    """The drawing as a sentence for readers who do not see it."""
    parts = []
    for number, node in enumerate(nodes):
        shape = ""
        if node.role not in ("end", "join") and node.shape:
            shape = f", giving {shape_text(node.shape)}"
        source = ""
        if node.inputs and node.inputs != [number - 1]:
            source = f", from {' and '.join(str(i + 1) for i in node.inputs)}"
        parts.append(f"{number + 1}: {node.title}{shape}{source}")
    return "; ".join(parts) + "."


# Layout: nodes in rows below their inputs; an edge that passes rows has a lane there.


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
    routes: dict[tuple[int, int], list[int]]  # from a node by lanes to its reader
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

    routes = {}
    for reader, sources in enumerate(inputs):
        for source in sources:
            last = lane(source, row[reader] - 1)
            above[reader].append(last)
            path = [lane(source, r) for r in range(row[source], row[reader])]
            routes[source, reader] = [*path, reader]
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


# Drawing.


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
    shift = (width - layout.width) / 2
    x = [place + shift for place in layout.x]
    rows = max(layout.row) + 1
    heights = [0.0] * rows
    for r, (_, height) in zip(layout.row, sizes, strict=False):
        heights[r] = max(heights[r], height)
    tops = [1.0]
    for height in heights:
        tops.append(tops[-1] + height + ROW_GAP)

    parts = []
    for (source, reader), path in layout.routes.items():
        parts.append(edge(source, reader, path, x, tops, heights, layout.row, sizes))
    for i, (node, lines) in enumerate(zip(nodes, texts, strict=True)):
        middle = tops[layout.row[i]] + heights[layout.row[i]] / 2
        parts.append(draw_box(node, lines, x[i], middle, *sizes[i]))
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


def draw_box(
    node: Node,
    lines: Lines,
    x: float,
    y: float,
    width: float,
    height: float,
) -> str:
    """A rounded rectangle around lines of text; ends have no frame."""
    parts = [f'<g class="{node.role}">']
    if node.role != "end":
        radius = height / 2 if node.role == "join" else 4
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}"/>'
        )
    left, right = x - width / 2 + PAD, x + width / 2 - PAD
    if node.role == "end":
        left, right = left - PAD, right + PAD
    for i, (text, aside) in enumerate(lines):
        base = y + (i - (len(lines) - 1) / 2) * LINE + 0.36 * FONT
        both = any(t and a for t, a in lines)
        if text:
            at = f'x="{left:.1f}"' if both else f'x="{x:.1f}" text-anchor="middle"'
            parts.append(f'<text {at} y="{base:.1f}">{escape(text)}</text>')
        if aside:
            at = (
                f'x="{right:.1f}" text-anchor="end"'
                if both
                else (f'x="{x:.1f}" text-anchor="middle"')
            )
            parts.append(
                f'<text class="aside" {at} y="{base:.1f}">{escape(aside)}</text>'
            )
    return "".join([*parts, "</g>"])


def edge(
    source: int,
    reader: int,
    path: Sequence[int],
    x: Sequence[float],
    tops: Sequence[float],
    heights: Sequence[float],
    row: Sequence[int],
    sizes: Sequence[tuple[float, float]],
) -> str:
    """An arrow from a node through lanes to its reader."""

    def port(node: int, toward: float) -> float:
        """Where an edge touches a box: straight above or below, if it can."""
        reach = max(0.0, sizes[node][0] / 2 - 10)
        return min(max(toward, x[node] - reach), x[node] + reach)

    def end(node: int, sign: int) -> float:
        return tops[row[node]] + (heights[row[node]] + sign * sizes[node][1]) / 2

    here, y = port(source, x[path[1]]), end(source, 1)
    line = f"M{here:.1f} {y:.1f}"
    for vertex in path[1:]:
        last = vertex == reader
        there = port(reader, here) if last else x[vertex]
        top = end(reader, -1) if last else tops[row[vertex]]
        middle = tops[row[vertex]] - ROW_GAP / 2
        if y < middle - ROW_GAP / 2:
            line += f"V{middle - ROW_GAP / 2:.1f}"
        if abs(there - here) > 0.5:
            bottom = tops[row[vertex]]
            line += f"C{here:.1f} {middle:.1f} {there:.1f} {middle:.1f} "
            line += f"{there:.1f} {bottom:.1f}"
        line += f"V{top if last else tops[row[vertex]] + heights[row[vertex]]:.1f}"
        here, y = there, tops[row[vertex]] + heights[row[vertex]]
    tip = f"M{here - 3.5:.1f} {top - 6:.1f}h7L{here:.1f} {top:.1f}z"
    return f'<path class="edge" d="{line}"/><path class="tip" d="{tip}"/>'
