"""Graphs of networks, traced from a forward pass.

A network is a graph of function calls. It has two views: the whole network, where a
block is one node and equal neighbours are one node with a count, and the inside of a
block, where a chain of layers is one node. Shapes are those of one image.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import nn

from papernets import complexity
from papernets.complexity import Layer, Tracer, extent, tensors

SILENT = ("flatten", "stack", "detach", "clone", "contiguous", "view", "reshape")
SIGNS = {
    "add": "+",
    "mul": "×",
    "cat": "concat",
    "batch_norm": "BN",
    "relu": "ReLU",
    "prelu": "PReLU",
}
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
            same = given[0].numel() == results[0].numel()
            label, role = describe(func.__name__, layer, args, kwargs or {}, same)
            if label:
                shape, window = results[0].shape[1:], self.windows.get(id(results[0]))
                self.ops.append(
                    Op(
                        label=label,
                        role="join" if len(sources) > 1 else role,
                        sources=sources,
                        calls=tuple(self.calls),
                        shape=tuple(shape),
                        layer=layer,
                        receptive_field=extent(window),
                    )
                )
                sources = (len(self.ops) - 1,)
            self.producers.update((id(result), sources) for result in results)
        return output


def describe(
    name: str, layer: Layer | None, args: Any, kwargs: dict[str, Any], same: bool
) -> tuple[str, str]:
    """Label and role of a function call; no label if it only passes a value on.

    `same` says that it gives as many numbers as it reads.
    """
    if layer is None:
        numbers = [a for a in args if isinstance(a, int | float)]
        if (
            name in SILENT
            or (name in ("cat", "pad", "mean") and same)
            or (name == "dropout" and kwargs.get("p") == 0)
        ):
            return "", ""
        if name == "mul" and numbers:
            return f"× {numbers[0]:.3g}", "step"
        if name == "mul" and tensors(args)[0].numel() == 1:
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
        return ("", "") if size == "1x1" else (f"{POOLS[layer.kind]} {size}", "pool")
    if layer.groups == args[0].shape[1] > 1:
        return f"depthwise conv{size}", "layer"
    groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
    return f"conv{size}{groups}", "layer"


@dataclass
class Node:
    """A node of a view."""

    lines: Lines
    role: str  # as of an operation, or "block", or "end": an input or an output
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
