"""Architecture as arithmetic: what every layer costs, and how far it sees."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Layer:
    """One convolution, linear layer or pooling."""

    name: str  # qualified name of the module in whose forward it runs
    kind: str  # PyTorch's name, such as "conv2d"; "mean" if over the whole image
    kernel: tuple[int, ...] | None  # height and width; None: linear
    stride: tuple[int, ...] | None
    groups: int
    output_shape: tuple[int, ...]  # of one image
    parameters: int  # weight and bias, unless an earlier layer shares them
    weights: int  # weight alone
    macs: int  # multiply-adds, 0 for poolings
    activations: int  # output elements, 0 for poolings
    receptive_field: tuple[int, ...] | None  # height and width in pixels


@dataclass(frozen=True)
class Profile:
    """A network's layers, in the order of the forward pass, and its totals."""

    layers: tuple[Layer, ...]
    output_shape: tuple[int, ...]
    parameters: int  # all of them, those of normalisation and slopes too
    weights: int  # of convolutions and linear layers
    macs: int  # multiply-adds of convolutions and linear layers; FLOPs are twice that
    activations: int  # output elements of convolutions and linear layers
    receptive_field: tuple[int, ...] | None  # of the output

    def table(self) -> "pandas.DataFrame":
        """One row per layer, one column per field of `Layer`."""
        import pandas

        return pandas.DataFrame([asdict(layer) for layer in self.layers])


def count(model: nn.Module, kind: str = "all") -> int:
    """Number of parameters, a shared one counted once.

    `kind="weights"` leaves out biases, normalisation and activation slopes: it counts
    the weights of convolutions and linear layers.
    """
    if kind == "all":
        return sum(p.numel() for p in model.parameters())
    if kind != "weights":
        raise ValueError(f"kind {kind!r} is neither all nor weights")
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum({id(m.weight): m.weight.numel() for m in layers}.values())


def profile(model: nn.Module, input_shape: Sequence[int] = (3, 32, 32)) -> Profile:
    """Cost and receptive field of every layer, for one image in evaluation mode.

    Runs once, on the meta device, where tensors have shapes and no memory.
    The receptive field is the region of the image that one position of a layer's output
    can depend on: where branches meet, the smallest rectangle around those of all
    inputs. It is that of an unbounded image, so it may exceed the given one; of inputs
    other than (C, H, W) it is None. Products of two activations (polynomial networks,
    attention) are no layers and cost nothing. The model is left as it is.

    Raises:
        NotImplementedError: a convolution that is not 2-dimensional, or an image
            resized by other means than convolution, pooling, padding and slices.
        ValueError, RuntimeError: from the network or PyTorch, for images too small.
    """
    memo: dict[int, Any] = {}  # a copy on the meta device without copying weights
    for t in [*model.parameters(), *model.buffers()]:
        new = torch.empty_like(t, device="meta")
        memo[id(t)] = nn.Parameter(new) if isinstance(t, nn.Parameter) else new
    twin = copy.deepcopy(model, memo).eval()
    dtype = next((p.dtype for p in model.parameters()), None)
    image = torch.empty(1, *input_shape, device="meta", dtype=dtype)
    tracer = Tracer(twin, image)
    with torch.no_grad(), tracer:
        output = twin(image)
    return Profile(
        layers=tuple(tracer.layers),
        macs=sum(layer.macs for layer in tracer.layers),
        activations=sum(layer.activations for layer in tracer.layers),
        output_shape=tuple(output.shape[1:]),
        parameters=count(model),
        weights=count(model, "weights"),
        receptive_field=extent(tracer.windows.get(id(output))),
    )


class Window(NamedTuple):
    """Along one axis, position i sees pixels first + i * jump ... last + i * jump."""

    first: int = 0
    last: int = 0
    jump: int = 1  # 0: all positions see the same

    def slide(
        self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> "Window":
        """After a convolution, a pooling, a padding or a slice."""
        first = self.first - padding * self.jump
        last = self.last + (dilation * (kernel - 1) - padding) * self.jump
        return Window(first, last, self.jump * stride)


Windows = tuple[Window, ...]  # of rows and columns
PASSING = ("batch_norm", "relu", "dropout")  # slow on the meta device, so left out
LAYERS = {  # and the names of their positional arguments
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "linear": ("input", "weight", "bias"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
}


class Tracer(TorchFunctionMode):
    """Records layers, and passes windows on from tensor to tensor."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.windows: dict[int, Windows] = {}  # by id of the tensor
        self.kept = [image]  # the tensors, so that no id is used twice
        self.uncounted = {id(p): p.numel() for p in model.parameters()}
        self.modules: list[str] = []  # in whose forward we are
        if image.ndim == 4:
            self.windows[id(image)] = (Window(), Window())
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, n=name: self.modules.append(n))
            module.register_forward_hook(lambda *_: self.modules.__delitem__(-1))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        output = args[0].detach() if name in PASSING else func(*args, **kwargs)
        results = tensors(args[0] if name == "__setitem__" else output)
        if not results:
            return output  # a shape, a device, ...
        if name.startswith("conv") and name != "conv2d":
            raise NotImplementedError(f"{name} is no layer of an image classifier")
        names = LAYERS.get(name, ("input", "other"))
        named = dict(zip(names, args, strict=False)) | kwargs
        given = tensors((args, *kwargs.values()))
        sources = [t for t in given if id(t) in self.windows]
        if sources:
            after = [self.carry(name, named, t, results[0]) for t in sources]
            joined = tuple(join(windows) for windows in zip(*after, strict=True))
            self.windows.update((id(result), joined) for result in results)
        self.kept += results
        size = args[0].shape[2:] if name in ("mean", "adaptive_avg_pool2d") else ()
        if len(size) == 2 and results[0].shape[2:].numel() == 1:
            named = {"kernel_size": size}  # all positions of an image
        if name in LAYERS or "kernel_size" in named:
            self.record(name, named, results[0])
        return output

    def record(self, kind: str, named: dict[str, Any], output: Tensor) -> None:
        kernel, stride = (None, None) if kind == "linear" else geometry(named)[:2]
        weight, bias = named.get("weight"), named.get("bias")
        macs = 0 if weight is None else output.numel() * weight[0].numel()
        own, of_bias = (self.uncounted.pop(id(p), 0) for p in (weight, bias))
        layer = Layer(
            name=self.modules[-1],
            kind=kind,
            kernel=kernel,
            stride=stride,
            groups=named.get("groups", 1),
            output_shape=tuple(output.shape[1:]),
            parameters=own + of_bias,
            weights=own,
            macs=macs,
            activations=output.numel() if macs else 0,
            receptive_field=extent(self.windows.get(id(output))),
        )
        self.layers.append(layer)

    def carry(
        self, name: str, named: dict[str, Any], source: Tensor, result: Tensor
    ) -> Windows:
        """Windows of a function's result, as far as this source is concerned."""
        windows, sizes = self.windows[id(source)], source.shape[-2:]
        moves: list[Any] = []  # arguments of `slide` for rows and for columns
        if name in ("conv2d", "max_pool2d", "avg_pool2d"):
            moves = list(zip(*geometry(named), strict=True))
        elif name == "pad":
            moves = [(1, 1, before) for before in [*named["other"], 0, 0][2::-2]]
        elif name == "__getitem__" and isinstance(index := named["other"], tuple):
            if index[0] is ...:
                index = (slice(None),) * (source.ndim - len(index) + 1) + index[1:]
            if len(index) == source.ndim and all(isinstance(i, slice) for i in index):
                cuts = map(slice.indices, index[-2:], sizes)
                moves = [(1, step, -start) for start, _, step in cuts]
        if moves:
            return tuple(w.slide(*move) for w, move in zip(windows, moves, strict=True))
        if source.ndim < 3 or result.shape[-2:] == sizes:
            return windows  # position by position
        targets = result.shape[-2:] if result.ndim == source.ndim else (1, 1)
        after = []
        for window, size, target in zip(windows, sizes, targets, strict=True):
            if target > 1 and size not in (1, target) and window.jump:
                raise NotImplementedError(f"receptive field after {name}")
            after.append(window.slide(size, 0) if target == 1 else window)
        return tuple(after)


def geometry(named: dict[str, Any]) -> list[tuple[int, ...]]:
    """Kernel, stride, padding, dilation, each as (height, width)."""
    conv = "weight" in named
    kernel = pair(named["weight"].shape[2:] if conv else named["kernel_size"])
    stride = pair(named.get("stride") or (1 if conv else kernel))
    padding, dilation = named.get("padding", 0), pair(named.get("dilation", 1))
    if padding == "same":
        padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    return [kernel, stride, pair(0 if padding == "valid" else padding), dilation]


def pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def join(windows: Sequence[Window]) -> Window:
    """Where branches meet."""
    firsts, lasts, jumps = zip(*windows, strict=True)
    return Window(min(firsts), max(lasts), max(jumps))


def extent(windows: Windows | None) -> tuple[int, ...] | None:
    return tuple(last - first + 1 for first, last, _ in windows) if windows else None


def tensors(value: Any) -> list[Tensor]:
    """Tensors in nested tuples and lists."""
    if isinstance(value, list | tuple):
        return [t for item in value for t in tensors(item)]
    return [value] if isinstance(value, Tensor) else []
